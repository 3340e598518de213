"""Pictures that are not what they claim to be: bands swapped, another pixel scale.

The distance from the training set learns from these alone what to look out
for; of what `hifrac.training.strange.strange_pictures` tries it on, it has seen the swapped bands,
other pixel scales made by another interpolation, and nothing else.

All are compressed as the survey's pictures are, as they will be when they are read
(`hifrac.cutouts.CutoutRecipe.decode`). Otherwise the distance would learn to tell the compression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch.nn import functional

from hifrac.images import JPEG_QUALITY, compress

__all__ = ["ALTERATIONS", "as_read", "darkest_corner", "on_sky"]


def as_read(pixels: Iterable[np.ndarray]) -> np.ndarray:
    """Pictures (width, width, 3) as they are when they have become files, and are read."""
    return np.stack([compress(one, quality=JPEG_QUALITY["sdss"]) for one in pixels])


def _bands(*order: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: as_read(np.ascontiguousarray(pixels[..., list(order)]))


def _half_scale(pixels: np.ndarray) -> np.ndarray:
    """The inner half of the pictures, twice as large."""
    quarter, width = pixels.shape[1] // 4, pixels.shape[1]
    inner = _planes(pixels[:, quarter : width - quarter, quarter : width - quarter])
    return as_read(_pictures(functional.interpolate(inner, size=width, mode="bilinear", align_corners=False)))


def _double_scale(pixels: np.ndarray) -> np.ndarray:
    """The pictures half as large; around them, their own sky."""
    return as_read([on_sky(one) for one in _pictures(functional.avg_pool2d(_planes(pixels), 2))])


def on_sky(small: np.ndarray) -> np.ndarray:
    """A picture in the middle of one twice as wide, which its darkest corner fills, mirrored."""
    side = small.shape[0]
    corner = darkest_corner(small)
    wide = np.pad(corner, ((0, 2 * side - len(corner)),) * 2 + ((0, 0),), mode="symmetric")
    wide[side // 2 : side // 2 + side, side // 2 : side // 2 + side] = small
    return wide


def darkest_corner(picture: np.ndarray) -> np.ndarray:
    """Of the four corners, a quarter of the side each, the one with the least light."""
    side = picture.shape[0] // 4
    ends = (slice(0, side), slice(-side, None))
    return min((picture[rows, columns] for rows in ends for columns in ends), key=lambda one: one.mean())


def _planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(0, 3, 1, 2).float()


def _pictures(planes: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(planes.round().byte().permute(0, 2, 3, 1).numpy())


#: What each does to pictures (n, width, width, 3) of uint8, by name.
ALTERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "red and blue swapped": _bands(2, 1, 0),
    "red and green swapped": _bands(1, 0, 2),
    "green and blue swapped": _bands(0, 2, 1),
    "bands rotated": _bands(1, 2, 0),
    "bands rotated back": _bands(2, 0, 1),
    "half the pixel scale": _half_scale,
    "twice the pixel scale": _double_scale,
}
