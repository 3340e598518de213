"""Pictures that are not what they claim to be: bands swapped, another pixel scale.

The distance from the training set learns from these alone what to look out
for; what else `hifrac.training.strange.strange_pictures` tries it on, it has never seen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

__all__ = ["ALTERATIONS"]


def _bands(*order: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.ascontiguousarray(pixels[..., list(order)])


def _half_scale(pixels: np.ndarray) -> np.ndarray:
    """The inner half of the pictures, twice as large."""
    quarter, width = pixels.shape[1] // 4, pixels.shape[1]
    inner = _planes(pixels[:, quarter : width - quarter, quarter : width - quarter])
    return _pictures(functional.interpolate(inner, size=width, mode="bilinear", align_corners=False))


def _double_scale(pixels: np.ndarray) -> np.ndarray:
    """The pictures half as large; around them, their reflection."""
    quarter = pixels.shape[1] // 4
    return _pictures(
        functional.pad(functional.avg_pool2d(_planes(pixels), 2), (quarter,) * 4, mode="reflect")
    )


def _planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()


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
