"""The light of a simulated galaxy through the atmosphere, drawn by GalSim (Rowe et al. 2015, A&C 10, 121)."""

from __future__ import annotations

import numpy as np

from hifrac.simulate import _light as light
from hifrac.simulate import _look as look
from hifrac.simulate.galaxy import SimulatedGalaxy

_LARGEST_INDEX = 6.2  # of galsim.Sersic


def galaxy_flux(
    galaxy: SimulatedGalaxy, *, width: int, pixel_scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Nanomaggies per pixel in i, r, g, shape (width, width, 3): profiles convolved with seeing and pixel.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    ValueError
        If the galaxy has arms, or a bulge of an index that GalSim does not draw.
    """
    try:
        import galsim
    except ImportError as error:
        raise ImportError('renderer="galsim" needs GalSim: pip install "hifrac[galsim]"') from error
    if galaxy.n_arms:
        raise ValueError(f'n_arms must be 0 with renderer="galsim", got {galaxy.n_arms}')
    if galaxy.bulge_fraction and galaxy.bulge_index > _LARGEST_INDEX:
        raise ValueError(
            f'bulge_index must be at most {_LARGEST_INDEX} with renderer="galsim", got {galaxy.bulge_index}'
        )
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
        deviate = galsim.BaseDeviate(int(rng.integers(1, 2**31)))
        knots = galsim.RandomKnots(galaxy.n_clumps, profile=round_disk, rng=deviate)
        blurred = galsim.Convolve(
            tilted(knots, galaxy.axial_ratio), galsim.Gaussian(sigma=light.clump_sigma(galaxy))
        )
        parts.append((blurred, weights[2]))
    seeing = galsim.Moffat(beta=look.MOFFAT_BETA, fwhm=look.SEEING_FWHM)
    total = np.zeros((width, width, 3))
    for profile, flux in parts:
        seen = galsim.Convolve(profile, seeing)
        image = seen.drawImage(nx=width, ny=width, scale=pixel_scale, dtype=float)
        total += image.array[::-1, :, np.newaxis] * flux
    return total
