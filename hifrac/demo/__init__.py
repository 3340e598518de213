"""The demonstration: a bundled sample of simulated galaxies, and a figure of its estimates."""
