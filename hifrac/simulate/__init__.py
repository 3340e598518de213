"""Simulated galaxies, drawn in the look of SDSS colour cutouts.

A simulated galaxy is a Sersic bulge and an exponential disk with, if wanted,
spiral arms and star-forming clumps; its fluxes are those of its magnitude and
colours. There is no dust, and no relation between gas and light. All
randomness comes from the ``rng`` given: the same seed gives the same picture.
"""

from hifrac.simulate.galaxy import SimulatedGalaxy
from hifrac.simulate.pictures import (
    encode_jpeg,
    model_flux,
    render,
    render_sky,
    render_star,
)

__all__ = [
    "SimulatedGalaxy",
    "encode_jpeg",
    "model_flux",
    "render",
    "render_sky",
    "render_star",
]
