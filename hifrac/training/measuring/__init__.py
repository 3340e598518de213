"""What learners of measuring networks share: galaxies, measurements, readings, distances, evidence."""
