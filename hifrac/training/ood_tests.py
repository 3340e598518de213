"""Pictures that no estimate should be trusted for: what the out-of-distribution flag is tried on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from hifrac.training.augmentations_ood import ALTERATIONS, SURROUNDINGS, sky

__all__ = ["ood_pictures"]


def ood_pictures(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Strange pictures of each kind, made of real ones where the kind allows.

    Parameters
    ----------
    pixels : array of uint8, shape (n, width, width, 3)
        Real cutouts; width a multiple of 4.
    rng : `~numpy.random.Generator`
        Draws noise, stars, and parts of photographs.

    Returns
    -------
    pictures : dict of str to array of uint8, shape (n, width, width, 3)
        By kind. Other pixel scales are made by other interpolation than
        `~hifrac.training.augmentations_ood.ALTERATIONS` uses.
    """
    width = pixels.shape[1]

    def each(make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.stack([make(one) for one in pixels])

    def noise(grey: bool) -> np.ndarray:
        shape = (width, width, 1 if grey else 3)
        values = rng.normal(rng.uniform(10, 128), rng.uniform(3, 60), shape)
        return np.broadcast_to(_to_uint8(values), (width, width, 3))

    reduced = np.stack([_reduced(one) for one in pixels])
    photographs = load_sample_images().images
    swaps = [alter(pixels) for name, alter in ALTERATIONS.items() if "scale" not in name]
    return {
        "white noise, colour": each(lambda _: noise(grey=False)),
        "white noise, grey": each(lambda _: noise(grey=True)),
        "uniform picture": each(lambda _: np.full((width, width, 3), rng.integers(0, 256, 3), np.uint8)),
        "sky without an object": each(lambda one: sky(one, width)),
        "smooth noise": each(lambda _: _smooth_noise(width, rng)),
        "single star": each(lambda one: _star(one, rng)),
        "half the pixel scale": each(_magnified),
        **{
            f"twice the pixel scale, {name}": np.stack(
                [around(reduced, number) for number in range(len(reduced))]
            )
            for name, around in SURROUNDINGS.items()
        },
        "red and blue swapped": swaps[0],
        "red and green swapped": swaps[1],
        "green and blue swapped": swaps[2],
        "bands rotated": swaps[3],
        "bands rotated back": swaps[4],
        "inverted": 255 - pixels,
        "photograph": each(lambda _: _part(photographs[rng.integers(len(photographs))], width, rng)),
        "20 pixels off centre": np.roll(pixels, (20, 20), (1, 2)),
    }


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _smooth_noise(width: int, rng: np.random.Generator) -> np.ndarray:
    values = ndimage.gaussian_filter(rng.normal(size=(width, width, 3)), (1.2, 1.2, 0))
    return _to_uint8(values * rng.uniform(6, 20) + rng.uniform(5, 15))


def _star(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A star of random brightness and colour on the sky of a picture; Moffat profile, beta = 3."""
    width = picture.shape[0]
    axis = np.arange(width) - (width - 1) / 2
    radius = np.hypot(axis, axis[:, None])
    half_width = 0.5 * rng.uniform(1.1, 1.6) / 0.4  # seeing in arcsec, pixels of 0.4 arcsec
    profile = (1 + (radius / half_width) ** 2 * (2 ** (1 / 3) - 1)) ** -3
    flux = 10 ** rng.uniform(0, 3.3) * profile[..., None] * 10 ** (0.4 * rng.uniform(-0.5, 0.5, 3))
    mean = flux.mean(2, keepdims=True)
    levels = flux / np.maximum(mean, 1e-9) * np.arcsinh(10 * mean) * 35 + sky(picture, width)
    brightest = levels.max(2, keepdims=True)
    return _to_uint8(np.where(brightest > 255, levels * 255 / brightest, levels))


def _magnified(picture: np.ndarray) -> np.ndarray:
    width = picture.shape[0]
    box = (width // 4, width // 4, width - width // 4, width - width // 4)
    return np.asarray(Image.fromarray(picture).resize((width, width), Image.BICUBIC, box=box))


def _reduced(picture: np.ndarray) -> np.ndarray:
    width = picture.shape[0]
    return np.asarray(Image.fromarray(picture).resize((width // 2, width // 2), Image.LANCZOS))


def _part(photograph: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """A square part of a photograph, of random place and size."""
    size = int(rng.integers(width, min(photograph.shape[:2]) + 1))
    top, left = (int(rng.integers(0, side - size + 1)) for side in photograph.shape[:2])
    part = Image.fromarray(photograph[top : top + size, left : left + size])
    return np.asarray(part.resize((width, width), Image.BILINEAR))
