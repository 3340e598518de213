"""Pictures that are not what they claim to be: bands swapped, another pixel scale.

The distance from the training set learns from these alone what to look out
for; of what `hifrac.training.ood_tests.ood_pictures` tries it on, it has seen the swapped bands,
other pixel scales made by another interpolation (in surroundings of the same kinds), and nothing else.

They are measured as they are when they are read, compressed as the survey's own pictures are:
`as_read`. Otherwise the distance would learn to tell the compression.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from hifrac.images import JPEG_QUALITY, compress

__all__ = ["ALTERATIONS", "SURROUNDINGS", "as_read", "sky"]


def as_read(pixels: np.ndarray) -> np.ndarray:
    """Pictures (n, width, width, 3) as they are after `hifrac.cutouts.CutoutRecipe.decode`."""
    return np.stack([compress(one, quality=JPEG_QUALITY["sdss"]) for one in pixels])


def _bands(*order: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.ascontiguousarray(pixels[..., list(order)])


def _half_scale(pixels: np.ndarray) -> np.ndarray:
    """The inner half of the pictures, twice as large."""
    quarter, width = pixels.shape[1] // 4, pixels.shape[1]
    inner = _planes(pixels[:, quarter : width - quarter, quarter : width - quarter])
    return _pictures(functional.interpolate(inner, size=width, mode="bilinear"))


def _double_scale(pixels: np.ndarray) -> np.ndarray:
    """The pictures half as large, by two interpolations in turn, with all `SURROUNDINGS` in turn."""
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
    """On the darkest corner of the picture, mirrored until it fills the field."""
    side = small.shape[1]
    return _in_the_middle(small[number], sky(small[number], 2 * side))


def _mirrored(small: np.ndarray, number: int) -> np.ndarray:
    side = small.shape[1]
    before, after = side // 2, side - side // 2
    return np.pad(small[number], ((before, after), (before, after), (0, 0)), mode="reflect")


def _among_others(small: np.ndarray, number: int) -> np.ndarray:
    """Among the pictures that follow in the list, turned; of most of them, their sky."""
    side = small.shape[1]
    wide = np.empty((3 * side, 3 * side, 3), np.uint8)
    for tile in range(9):
        other = np.rot90(small[(number + 1 + tile) % len(small)], tile % 4)
        top, left = side * (tile // 3), side * (tile % 3)
        wide[top : top + side, left : left + side] = other if tile % 3 == number % 3 else sky(other, side)
    start = side // 2
    return _in_the_middle(small[number], wide[start : start + 2 * side, start : start + 2 * side])


def _in_the_middle(small: np.ndarray, wide: np.ndarray) -> np.ndarray:
    side = len(small)
    wide = wide.copy()
    wide[side // 2 : side // 2 + side, side // 2 : side // 2 + side] = small
    return wide


def sky(picture: np.ndarray, width: int) -> np.ndarray:
    """The darkest corner of a picture, mirrored until it fills another one."""
    corner = _darkest_corner(picture)
    return np.pad(corner, ((0, width - len(corner)),) * 2 + ((0, 0),), mode="symmetric")


#: What may be around pictures (n, width, width, 3) in a field twice as wide; gives one of them, by number.
SURROUNDINGS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "on sky": _on_sky,
    "mirrored": _mirrored,
    "among others": _among_others,
}


def _darkest_corner(picture: np.ndarray) -> np.ndarray:
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
