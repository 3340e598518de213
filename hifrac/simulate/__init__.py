"""Simulated galaxies, drawn in the look of SDSS colour cutouts.

A simulated galaxy is a Sersic bulge and an exponential disk with, if wanted,
spiral arms and star-forming clumps; its fluxes are those of its magnitude and
colours. There is no dust, and no relation between gas and light. All
randomness comes from the ``rng`` given: the same seed gives the same picture.

`render_table` makes pictures from the photometry of a catalogue.
"""

from hifrac.simulate.galaxy import SimulatedGalaxy
from hifrac.simulate.photometry import galaxy_from_photometry, observed_colour
from hifrac.simulate.pictures import encode_jpeg, model_flux, render, render_sky, render_star
from hifrac.simulate.tables import render_table

__all__ = [
    "SimulatedGalaxy",
    "encode_jpeg",
    "galaxy_from_photometry",
    "model_flux",
    "observed_colour",
    "render",
    "render_sky",
    "render_star",
    "render_table",
]
