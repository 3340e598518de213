"""The pictures turned and mirrored: at random while training, all eight ways when testing.

The sky has neither up nor left, so that a galaxy's picture may be turned and
mirrored without changing what it says. The eight ways that move whole pixels
are the dihedral group of the square (Dieleman et al. 2015, MNRAS 450, 1441).
Pictures are (n, c, h, w), of uint8 or float; they come back in the same dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Number of ways to put a square on itself: four turns, mirrored or not.
N_DIHEDRAL = 8


def dihedral(pictures: Tensor, which: int) -> Tensor:
    """Turn and mirror pictures of any dtype, pixel by pixel.

    By ``which % 4`` right angles counterclockwise on the screen, after mirroring left to right if ``which``
    is at least 4.
    """
    _require_pictures(pictures)
    if not 0 <= which < N_DIHEDRAL:
        raise ValueError(f"which must be 0 to {N_DIHEDRAL - 1}, got {which}")
    if which % 2:
        _require_square(pictures)
    mirrored = pictures.flip(3) if which >= 4 else pictures
    return torch.rot90(mirrored, which % 4, (2, 3))


def rotate(pictures: Tensor, degrees: Tensor) -> Tensor:
    """Rotate pictures about their centre by any angle, reflecting them at their borders.

    The angles, shape (n,), are counterclockwise on the screen. Values are interpolated bilinearly; uint8 is
    rounded again. (torchvision rotates all pictures by one angle, and has no reflection.)
    """
    _require_pictures(pictures)
    if tuple(degrees.shape) != (len(pictures),):
        raise ValueError(f"degrees must be ({len(pictures)},), got {tuple(degrees.shape)}")
    values = pictures if pictures.is_floating_point() else pictures.float()
    height, width = pictures.shape[2:]
    angle = torch.deg2rad(degrees.to(values))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    zero = torch.zeros_like(angle)
    # Where each pixel comes from, in units of half the picture, which differ along its two axes.
    rows = [cosine, -sine * (height / width), zero, sine * (width / height), cosine, zero]
    matrix = torch.stack(rows, 1).reshape(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    turned = functional.grid_sample(
        values, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned if pictures.is_floating_point() else turned.round().to(pictures.dtype)


class Augmentation:
    """A random orientation for each square picture of a batch; the generator's seed fixes all that follows.

    Before the dihedral transform pictures are rotated, with a probability, by up to ``max_degrees`` either
    way. The text of the paper has 0 degrees, its code 10 and 0.75.
    """

    def __init__(
        self, generator: torch.Generator, *, max_degrees: float = 0.0, probability: float = 0.75
    ) -> None:
        if not 0 <= max_degrees <= 180:
            raise ValueError(f"max_degrees must be from 0 to 180, got {max_degrees}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, got {probability}")
        self.generator = generator
        self.max_degrees = max_degrees
        self.probability = probability

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return each picture in an orientation of its own; the given ones are not changed."""
        _require_pictures(pictures)
        _require_square(pictures)
        n, result = len(pictures), pictures
        if self.max_degrees > 0:
            degrees = (2 * self._uniform(n) - 1) * self.max_degrees
            # What is not rotated is not interpolated either.
            rows = (self._uniform(n) < self.probability).nonzero()[:, 0]
            if len(rows):
                result, rows, degrees = result.clone(), rows.to(pictures.device), degrees[rows]
                result[rows] = rotate(result[rows], degrees.to(pictures.device))
        which = torch.randint(N_DIHEDRAL, (n,), generator=self.generator, device=self.generator.device)
        return _oriented(result, which.to(pictures.device))

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator, device=self.generator.device)


class DihedralMean(nn.Module):
    """The mean answer of a network in evaluation mode over all eight orientations of square pictures."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the mean answers, one row a picture."""
        if self.network.training:  # where answers depend on the rest of the batch
            raise RuntimeError("network must be in evaluation mode: call eval() first")
        total = self.network(pictures)
        for which in range(1, N_DIHEDRAL):
            total = total + self.network(dihedral(pictures, which))
        return total / N_DIHEDRAL


def _oriented(pictures: Tensor, which: Tensor) -> Tensor:
    """Apply to each picture its own element of `dihedral`: a transposition or none, then mirrors.

    Without asking how many pictures have which: a GPU would have to be waited for.
    """
    which = which[:, None, None, None]
    result = torch.where(which % 2 == 1, pictures.transpose(2, 3), pictures)
    for elements, axis in (((1, 2, 6, 7), 2), ((2, 3, 4, 7), 3)):
        is_mirrored = torch.stack([which == element for element in elements]).any(0)
        result = torch.where(is_mirrored, result.flip(axis), result)
    return result


def _require_pictures(pictures: Tensor) -> None:
    if pictures.ndim != 4:
        raise ValueError(f"pictures must be (n, c, h, w), got {tuple(pictures.shape)}")


def _require_square(pictures: Tensor) -> None:
    if pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"pictures must be square to be turned, got {tuple(pictures.shape)}")
