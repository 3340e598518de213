"""The light of a simulated galaxy, part by part, on a fine grid.

Arrays are pictures: north is up (towards row 0) and east is left. Bands are i, r, g.
"""

from __future__ import annotations

import numpy as np
from astropy.modeling.functional_models import Sersic2D
from scipy import ndimage, special

from hifrac.simulate.galaxy import SimulatedGalaxy

# Colours of the parts relative to the disk, (g-r, r-i) in mag: bulges are old, clumps young.
BULGE_EXCESS = (0.30, 0.15)
CLUMP_EXCESS = (-0.40, -0.25)
# How sharp the arms are (concentration of a von Mises profile), and how much they show in i, r, g.
ARM_SHARPNESS = 1.5
ARM_STRENGTH = np.array([0.8, 0.9, 1.0])

#: Fine pixels along the side of a pixel of the picture.
OVERSAMPLING = 4


def band_fluxes(i_mag: float, g_minus_r: float, r_minus_i: float) -> np.ndarray:
    """Return the nanomaggies in i, r, g (a nanomaggy is 22.5 mag)."""
    magnitudes = i_mag + np.array([0.0, r_minus_i, r_minus_i + g_minus_r])
    return 10.0 ** (0.4 * (22.5 - magnitudes))


def grid(n_pixels: int, pixel_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets to the north (a column) and to the east (a row) of the centre, in arcsec."""
    n_fine = n_pixels * OVERSAMPLING
    offset = (np.arange(n_fine) - (n_fine - 1) / 2.0) * pixel_scale / OVERSAMPLING
    return -offset[:, np.newaxis], -offset[np.newaxis, :]


def _sersic(
    north: np.ndarray, east: np.ndarray, *, r50: float, index: float, axial_ratio: float, theta: float
) -> np.ndarray:
    """Return the surface brightness per square arcsec of a Sersic profile of unit flux.

    The normalisation is equation 4 of Graham & Driver (2005, PASA 22, 118).
    """
    b = special.gammaincinv(2.0 * index, 0.5)
    total = 2.0 * np.pi * index * np.exp(b) * b ** (-2.0 * index) * special.gamma(2.0 * index)
    amplitude = 1.0 / (total * r50**2 * axial_ratio)
    # The angle of Sersic2D runs from its first axis to its second: from north to east.
    return Sersic2D.evaluate(north, east, amplitude, r50, index, 0.0, 0.0, 1.0 - axial_ratio, theta)


def _arms(galaxy: SimulatedGalaxy, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the brightness of the arms relative to the smooth disk: mean 1 on each circle of its plane.

    Logarithmic spirals; the contrast fades inside half the half-light radius.
    """
    radius = np.hypot(along, across) / galaxy.r50
    winding = np.log(np.maximum(radius, 1e-3)) / np.tan(np.radians(galaxy.pitch_angle))
    phase = galaxy.n_arms * (np.arctan2(across, along) - winding)
    arms = np.exp(ARM_SHARPNESS * np.cos(phase)) / special.i0(ARM_SHARPNESS)
    return 1.0 + galaxy.arm_contrast * (1.0 - np.exp(-((radius / 0.5) ** 2))) * (arms - 1.0)


def _clumps(galaxy: SimulatedGalaxy, north: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the clumps as an image of unit flux on the fine grid (less what falls outside)."""
    scale_length = galaxy.r50 / 1.678
    n_drawn = galaxy.n_clumps * (20 if galaxy.n_arms else 1)
    radius = np.minimum(rng.gamma(2.0, scale_length, n_drawn), 3.0 * scale_length)
    angle = rng.uniform(0.0, 2.0 * np.pi, n_drawn)
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    if galaxy.n_arms:  # clumps are candidates that lie on the arms, of many drawn
        weight = np.maximum(_arms(galaxy, along, across), 1e-6) ** 2
        chosen = rng.choice(n_drawn, galaxy.n_clumps, replace=False, p=weight / weight.sum())
        along, across = along[chosen], across[chosen]
    flux = rng.lognormal(0.0, 0.8, galaxy.n_clumps)
    theta = np.radians(galaxy.position_angle)
    across = across * galaxy.axial_ratio
    clump_north = along * np.cos(theta) - across * np.sin(theta)
    clump_east = along * np.sin(theta) + across * np.cos(theta)
    step = north[0, 0] - north[1, 0]
    edges = np.append(north[::-1, 0] - step / 2.0, north[0, 0] + step / 2.0)
    image, _, _ = np.histogram2d(clump_north, clump_east, bins=(edges, edges), weights=flux / flux.sum())
    return ndimage.gaussian_filter(image[::-1, ::-1], clump_sigma(galaxy) / step, mode="constant")


def clump_sigma(galaxy: SimulatedGalaxy) -> float:
    """Return the Gaussian width of a clump, in arcsec."""
    return float(np.clip(0.08 * galaxy.r50, 0.2, 1.0))


def part_fluxes(galaxy: SimulatedGalaxy) -> np.ndarray:
    """Return the nanomaggies of bulge, disk and clumps (rows) in i, r, g (columns).

    The colours of the parts are shifted together until the whole has the colours asked for.
    """
    clump_share = galaxy.clump_fraction if galaxy.n_clumps else 0.0
    shares = np.array([galaxy.bulge_fraction, 1.0 - galaxy.bulge_fraction - clump_share, clump_share])
    excess = np.array([BULGE_EXCESS, (0.0, 0.0), CLUMP_EXCESS])
    redness = np.stack([np.zeros(3), excess[:, 1], excess.sum(axis=1)], axis=1)
    weights = shares[:, np.newaxis] * 10.0 ** (-0.4 * redness)
    return weights * band_fluxes(galaxy.i_mag, galaxy.g_minus_r, galaxy.r_minus_i) / weights.sum(axis=0)


def bulge_ratio(galaxy: SimulatedGalaxy) -> float:
    """Return the axial ratio of the bulge: rounder than the disk, the more so the smaller it is."""
    return 1.0 - (1.0 - galaxy.axial_ratio) * galaxy.bulge_fraction


def galaxy_flux(
    galaxy: SimulatedGalaxy, *, n_pixels: int, pixel_scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the light of a galaxy above the atmosphere: nanomaggies per pixel, (n_pixels, n_pixels, 3).

    The galaxy is centred; ``pixel_scale`` is in arcsec, and ``rng`` places the clumps.
    """

    def binned(fine: np.ndarray) -> np.ndarray:
        return fine.reshape(n_pixels, OVERSAMPLING, n_pixels, OVERSAMPLING).sum(axis=(1, 3))[..., np.newaxis]

    north, east = grid(n_pixels, pixel_scale)
    theta = np.radians(galaxy.position_angle)
    weights = part_fluxes(galaxy)
    area = (pixel_scale / OVERSAMPLING) ** 2
    total = np.zeros((n_pixels, n_pixels, 3))
    if weights[0].any():
        ratio, r50 = bulge_ratio(galaxy), galaxy.bulge_size * galaxy.r50
        bulge = _sersic(north, east, r50=r50, index=galaxy.bulge_index, axial_ratio=ratio, theta=theta)
        total += area * binned(bulge) * weights[0]
    if weights[1].any():
        disk = _sersic(north, east, r50=galaxy.r50, index=1.0, axial_ratio=galaxy.axial_ratio, theta=theta)
        shown = binned(disk)
        if galaxy.n_arms:
            along = north * np.cos(theta) + east * np.sin(theta)
            across = (east * np.cos(theta) - north * np.sin(theta)) / galaxy.axial_ratio
            shown = shown + ARM_STRENGTH * (binned(disk * _arms(galaxy, along, across)) - shown)
        total += area * shown * weights[1]
    if weights[2].any():
        total += binned(_clumps(galaxy, north, rng)) * weights[2]
    return total
