"""The light of a simulated galaxy through the atmosphere, drawn by GalSim (Rowe et al. 2015, A&C 10, 121)."""

from __future__ import annotations

import numpy as np

from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe
from hifrac.simulate import _light as light
from hifrac.simulate import _look as look
from hifrac.simulate.galaxy import SimulatedGalaxy


def galsim_flux(
    galaxy: SimulatedGalaxy, *, rng: np.random.Generator | int, recipe: CutoutRecipe = SDSS_RECIPE
) -> np.ndarray:
    """Nanomaggies per pixel in i, r, g, shape (width, width, 3): profiles convolved with seeing and pixel.

    GalSim draws no arms, and no Sersic index above 6.2.
    """
    import galsim

    assert galaxy.n_arms == 0
    # x runs to the west and y to the north, once the rows are turned.
    angle = (galaxy.position_angle + 90.0) * galsim.degrees

    def tilted(profile: galsim.GSObject, ratio: float) -> galsim.GSObject:
        return profile.shear(galsim.Shear(q=ratio, beta=angle))

    weights = light.part_fluxes(galaxy)
    # A shear keeps the area: the major axis is longer than the radius of the round profile.
    parts: list[tuple[galsim.GSObject, np.ndarray]] = []
    if weights[0].any():
        ratio = light.bulge_ratio(galaxy)
        radius = galaxy.bulge_size * galaxy.r50 * np.sqrt(ratio)
        bulge = galsim.Sersic(n=galaxy.bulge_index, half_light_radius=radius)
        parts.append((tilted(bulge, ratio), weights[0]))
    round_disk = galsim.Exponential(half_light_radius=galaxy.r50 * np.sqrt(galaxy.axial_ratio))
    if weights[1].any():
        parts.append((tilted(round_disk, galaxy.axial_ratio), weights[1]))
    if weights[2].any():
        deviate = galsim.BaseDeviate(int(np.random.default_rng(rng).integers(1, 2**31)))
        knots = galsim.RandomKnots(galaxy.n_clumps, profile=round_disk, rng=deviate)
        blurred = galsim.Convolve(
            tilted(knots, galaxy.axial_ratio), galsim.Gaussian(sigma=light.clump_sigma(galaxy))
        )
        parts.append((blurred, weights[2]))
    seeing = galsim.Moffat(beta=look.MOFFAT_BETA, fwhm=look.SEEING_FWHM)
    width = recipe.width
    total = np.zeros((width, width, 3))
    for profile, flux in parts:
        seen = galsim.Convolve(profile, seeing)
        image = seen.drawImage(nx=width, ny=width, scale=recipe.pixel_scale, dtype=float)
        total += image.array[::-1, :, np.newaxis] * flux
    return total
