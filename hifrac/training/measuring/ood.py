"""Pictures that are not what they claim to be: some teach the distance, others test it.

The distance from the training set learns from `AUGMENTATIONS_OOD` alone what to look out for: bands swapped,
another pixel scale. Of `ood_pictures`, on which it is tried, it has seen the swapped bands, and other pixel
scales made by another interpolation (in surroundings of the same kinds). Pictures are measured as they are
when they are read, compressed as the survey's own: otherwise the distance would learn to tell the
compression.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images
from torch.nn import functional

from hifrac.images import JPEG_QUALITY, compress


def as_read(pixels: np.ndarray) -> np.ndarray:
    """Return pictures (n, width, width, 3) as they are after `hifrac.cutouts.CutoutRecipe.decode`."""
    return np.stack([compress(picture, quality=JPEG_QUALITY["sdss"]) for picture in pixels])


def _bands(*order: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.ascontiguousarray(pixels[..., list(order)])


def _half_scale(pixels: np.ndarray) -> np.ndarray:
    """Enlarge the inner half of the pictures to the whole."""
    quarter, width = pixels.shape[1] // 4, pixels.shape[1]
    inner = _planes(pixels[:, quarter : width - quarter, quarter : width - quarter])
    return _pictures(functional.interpolate(inner, size=width, mode="bilinear"))


def _double_scale(pixels: np.ndarray) -> np.ndarray:
    """Halve the pictures, by two interpolations in turn, and put them into all `SURROUNDINGS` in turn."""
    planes, half = _planes(pixels), pixels.shape[1] // 2
    means = _pictures(functional.avg_pool2d(planes, 2))
    smooth = _pictures(functional.interpolate(planes, size=half, mode="bilinear", antialias=True))
    around = [*SURROUNDINGS.values()]
    return np.stack(
        [
            around[number % len(around)](smooth if number // len(around) % 2 else means, number)
            for number in range(len(pixels))
        ]
    )


def _on_sky(small: np.ndarray, number: int) -> np.ndarray:
    """Put a picture on the darkest corner of the picture, mirrored until it fills the field."""
    side = small.shape[1]
    return _in_the_middle(small[number], sky(small[number], 2 * side))


def _mirrored(small: np.ndarray, number: int) -> np.ndarray:
    """Put a picture among its mirror images."""
    side = small.shape[1]
    before, after = side // 2, side - side // 2
    return np.pad(small[number], ((before, after), (before, after), (0, 0)), mode="reflect")


def _among_others(small: np.ndarray, number: int) -> np.ndarray:
    """Put a picture among those that follow in the list, turned; of most of them, their sky."""
    side = small.shape[1]
    wide = np.empty((3 * side, 3 * side, 3), np.uint8)
    for tile in range(9):
        other = np.rot90(small[(number + 1 + tile) % len(small)], tile % 4)
        top, left = side * (tile // 3), side * (tile % 3)
        wide[top : top + side, left : left + side] = other if tile % 3 == number % 3 else sky(other, side)
    start = side // 2
    return _in_the_middle(small[number], wide[start : start + 2 * side, start : start + 2 * side])


def _in_the_middle(small: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """Put a picture into the middle of one twice as wide."""
    side = len(small)
    wide = wide.copy()
    wide[side // 2 : side // 2 + side, side // 2 : side // 2 + side] = small
    return wide


def sky(picture: np.ndarray, width: int) -> np.ndarray:
    """Mirror the darkest corner of a picture until it fills another one."""
    corner = _darkest_corner(picture)
    return np.pad(corner, ((0, width - len(corner)),) * 2 + ((0, 0),), mode="symmetric")


#: What may be around pictures (n, width, width, 3) in a field twice as wide; gives one of them, by number.
SURROUNDINGS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "on sky": _on_sky,
    "mirrored": _mirrored,
    "among others": _among_others,
}


def _darkest_corner(picture: np.ndarray) -> np.ndarray:
    """Return that of the four corners, a quarter of the side each, with the least light."""
    side = picture.shape[0] // 4
    ends = (slice(0, side), slice(-side, None))
    return min((picture[rows, columns] for rows in ends for columns in ends), key=np.mean)


def _planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(0, 3, 1, 2).float()


def _pictures(planes: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(planes.round().byte().permute(0, 2, 3, 1).numpy())


#: What each does to pictures (n, width, width, 3) of uint8, by name.
AUGMENTATIONS_OOD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "red and blue swapped": _bands(2, 1, 0),
    "red and green swapped": _bands(1, 0, 2),
    "green and blue swapped": _bands(0, 2, 1),
    "bands rotated": _bands(1, 2, 0),
    "bands rotated back": _bands(2, 0, 1),
    "half the pixel scale": _half_scale,
    "twice the pixel scale": _double_scale,
}

#: The width of a blur that changes no estimate, as by poor seeing: standard deviation in pixels.
BLUR = 0.8


def _blurred(pixels: np.ndarray) -> np.ndarray:
    return _to_uint8(ndimage.gaussian_filter(pixels.astype(float), (0, BLUR, BLUR, 0)))


#: What may be done to pictures without making them strange.
HARMLESS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"blurred": _blurred}


def ood_pictures(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make pictures that no estimate should be trusted for, of real ones where that is possible.

    All are uint8 (n, width, width, 3), by what they are; the width must be a multiple of 4. Other pixel
    scales are made by other interpolation than `AUGMENTATIONS_OOD` uses.
    """
    width = pixels.shape[1]

    def each(make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.stack([make(picture) for picture in pixels])

    def noise(grey: bool) -> np.ndarray:
        shape = (width, width, 1 if grey else 3)
        values = rng.normal(rng.uniform(10, 128), rng.uniform(3, 60), shape)
        return np.broadcast_to(_to_uint8(values), (width, width, 3))

    photographs = load_sample_images().images
    # In this order, because all draw from one generator.
    pictures = {
        "white noise, colour": each(lambda _: noise(grey=False)),
        "white noise, grey": each(lambda _: noise(grey=True)),
        "uniform picture": each(lambda _: np.full((width, width, 3), rng.integers(0, 256, 3), np.uint8)),
        "sky without an object": each(lambda picture: sky(picture, width)),
        "smooth noise": each(lambda _: _smooth_noise(width, rng)),
        "single star": each(lambda picture: _star(picture, rng)),
        "half the pixel scale": each(_magnified),
    }
    halved = each(_reduced)
    for name, around in SURROUNDINGS.items():
        pictures[f"twice the pixel scale, {name}"] = np.stack(
            [around(halved, number) for number in range(len(halved))]
        )
    for name, augment in AUGMENTATIONS_OOD.items():
        if "scale" not in name:
            pictures[name] = augment(pixels)
    pictures["inverted"] = 255 - pixels
    pictures["photograph"] = each(lambda _: _part(photographs[rng.integers(len(photographs))], width, rng))
    pictures["20 pixels off centre"] = np.roll(pixels, (20, 20), (1, 2))
    return pictures


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _smooth_noise(width: int, rng: np.random.Generator) -> np.ndarray:
    values = ndimage.gaussian_filter(rng.normal(size=(width, width, 3)), (1.2, 1.2, 0))
    return _to_uint8(values * rng.uniform(6, 20) + rng.uniform(5, 15))


def _star(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a star of random brightness and colour on the sky of a picture; Moffat profile, beta = 3."""
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
    return np.asarray(Image.fromarray(picture).resize((width, width), Image.Resampling.BICUBIC, box=box))


def _reduced(picture: np.ndarray) -> np.ndarray:
    width = picture.shape[0]
    return np.asarray(Image.fromarray(picture).resize((width // 2, width // 2), Image.Resampling.LANCZOS))


def _part(photograph: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a square part of a photograph, out, of random place and size."""
    size = int(rng.integers(width, min(photograph.shape[:2]) + 1))
    top, left = (int(rng.integers(0, side - size + 1)) for side in photograph.shape[:2])
    part = Image.fromarray(photograph[top : top + size, left : left + size])
    return np.asarray(part.resize((width, width), Image.Resampling.BILINEAR))
