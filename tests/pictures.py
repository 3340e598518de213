"""Synthetic pictures that look like survey cutouts: sky noise and a galaxy in the middle."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw


def galaxy(seed: int = 0, width: int = 128) -> np.ndarray:
    """Pixels of a galaxy with colour, on noisy dark sky."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:width, :width] - (width - 1) / 2
    radius = np.hypot(x, y / rng.uniform(0.5, 1)) / (width / 12)
    light = 200 * np.exp(-radius)[..., None] * np.array([1.0, 0.8, 0.55])
    return np.clip(light + rng.normal(6, 3, (width, width, 3)), 0, 255).astype(np.uint8)


def spiral() -> np.ndarray:
    """Pixels of a galaxy without any symmetry of its own."""
    from hifrac.simulate import SimulatedGalaxy, render

    arms = SimulatedGalaxy(
        i_mag=14.5, g_minus_r=0.45, r_minus_i=0.2, r50=8.0, axial_ratio=0.55, position_angle=25.0,
        bulge_fraction=0.2, n_arms=2, n_clumps=25, clump_fraction=0.15,
    )  # fmt: skip
    return render(arms, rng=4)


def objid(field: int, number: int = 7) -> str:
    """An SDSS objID: its last 16 bits are the object's number, the others its field."""
    return str((1237648722312298496 >> 16) + field << 16 | number)


def jpeg_of(row: int, *, i_mag: float, g_minus_r: float, axial_ratio: float) -> bytes:
    """A picture, as of the SDSS service, of a galaxy whose size and angle follow from its row."""
    from hifrac.simulate import SimulatedGalaxy, encode_jpeg, render

    galaxy = SimulatedGalaxy(
        i_mag=i_mag,
        g_minus_r=g_minus_r,
        r_minus_i=0.5 * g_minus_r,
        r50=3.0 + row % 5,
        axial_ratio=axial_ratio,
        position_angle=37.0 * row % 180,
    )
    return encode_jpeg(render(galaxy, rng=row, field=False))


def batch(*pictures: np.ndarray):
    """Pictures as a network takes them: a tensor (n, 3, height, width)."""
    import torch

    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def sky(seed: int = 0, width: int = 128, level: float = 4.0) -> np.ndarray:
    """Pixels of empty sky: noise only, correlated between neighbours as resampled pictures have it."""
    noise = np.random.default_rng(seed).normal(0, 6, (width + 1, width + 1, 3))
    noise = (noise[1:, 1:] + noise[1:, :-1] + noise[:-1, 1:] + noise[:-1, :-1]) / 4
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def printed(width: int = 128, text_at=(4, 24), colour=(255, 255, 255)) -> np.ndarray:
    """Pixels of what a service prints instead of a picture."""
    picture = Image.new("RGB", (width, width))
    ImageDraw.Draw(picture).text(text_at, "a, dec) is outside th", fill=colour)
    return np.array(picture)


def encode(pixels: np.ndarray, kind: str = "JPEG", **options) -> bytes:
    """A file of pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def fits_cube(planes: np.ndarray) -> bytes:
    """A FITS file whose primary image is an array."""
    from astropy.io import fits

    file = io.BytesIO()
    fits.PrimaryHDU(planes).writeto(file)
    return file.getvalue()
