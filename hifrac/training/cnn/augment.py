"""The pictures turned and mirrored: at random while training, all eight ways when testing.

The sky has neither up nor left, so that a galaxy's picture may be turned and
mirrored without changing what it says. The eight ways that move whole pixels
are the dihedral group of the square (Dieleman et al. 2015, MNRAS 450, 1441).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Number of ways to put a square on itself: four turns, mirrored or not.
N_DIHEDRAL = 8


def dihedral(pictures: Tensor, which: int, *, channels_last: bool = False) -> Tensor:
    """Turn and mirror pictures, pixel by pixel.

    Parameters
    ----------
    pictures : Tensor of any dtype, shape (n, c, h, w) or (n, h, w, c)
        Pictures; square ones if they are turned by an odd number of right angles.
    which : int
        0 to 7: ``which % 4`` right angles counterclockwise on the screen, after
        mirroring left to right if ``which`` is at least 4. 0 changes nothing.
    channels_last : bool, optional
        Whether the shape is (n, h, w, c).

    Returns
    -------
    pictures : Tensor
        In the given layout and dtype.

    Raises
    ------
    ValueError
        If the shape or ``which`` is wrong.
    """
    rows, columns = _axes(pictures, channels_last)
    _require_element("which", which)
    if which % 2 and pictures.shape[rows] != pictures.shape[columns]:
        raise ValueError(f"pictures must be square to be turned, got {_of(pictures)}")
    mirrored = pictures.flip(columns) if which >= 4 else pictures
    return torch.rot90(mirrored, which % 4, (rows, columns))


def compose(first: int, second: int) -> int:
    """The element that does what ``first`` and then ``second`` do."""
    _require_element("first", first)
    _require_element("second", second)
    # What is mirrored afterwards turns the other way.
    turns = second + (first if second < 4 else -first)
    return turns % 4 + 4 * ((first >= 4) != (second >= 4))


def inverse(which: int) -> int:
    """The element that undoes ``which``."""
    _require_element("which", which)
    return which if which >= 4 else -which % 4


def rotate(pictures: Tensor, degrees: Tensor, *, channels_last: bool = False) -> Tensor:
    """Rotate pictures about their centre by any angle, reflecting them at their borders.

    Parameters
    ----------
    pictures : Tensor of uint8 or float, shape (n, c, h, w) or (n, h, w, c)
        Pictures.
    degrees : Tensor of float, shape (n,)
        Angles, counterclockwise on the screen.
    channels_last : bool, optional
        Whether the shape is (n, h, w, c).

    Returns
    -------
    pictures : Tensor
        Interpolated bilinearly; uint8 is rounded again.

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    _axes(pictures, channels_last)
    if _of(degrees) != (len(pictures),):
        raise ValueError(f"degrees must be ({len(pictures)},), got {_of(degrees)}")
    planes = pictures.permute(0, 3, 1, 2) if channels_last else pictures
    values = planes if planes.is_floating_point() else planes.float()
    height, width = planes.shape[2:]
    angle = torch.deg2rad(degrees.to(values))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    zero = torch.zeros_like(angle)
    # Where each pixel comes from, in units of half the picture, which differ along its two axes.
    rows = [cosine, -sine * (height / width), zero, sine * (width / height), cosine, zero]
    matrix = torch.stack(rows, 1).reshape(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(planes.shape), align_corners=False)
    turned = functional.grid_sample(
        values, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    if not planes.is_floating_point():
        turned = turned.round().to(planes.dtype)
    return turned.permute(0, 2, 3, 1) if channels_last else turned


class Augmentation:
    """A random orientation for each picture of a batch.

    Parameters
    ----------
    generator : `torch.Generator`
        Where the randomness comes from; its seed fixes all that follows.
    max_degrees : float, optional
        Before the dihedral transform, pictures are rotated by up to this angle
        either way. 0, the paper's text, by default; its code has 10.
    probability : float, optional
        Of that rotation; 0.75 as in the paper's code.
    channels_last : bool, optional
        Whether pictures are (n, h, w, c).

    Raises
    ------
    ValueError
        If ``max_degrees`` is not from 0 to 180 or ``probability`` not from 0 to 1.

    Notes
    -----
    Called with pictures (n, c, h, w) of uint8 or float, square, it returns as
    many of the same layout and dtype; the given ones are not changed.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        max_degrees: float = 0.0,
        probability: float = 0.75,
        channels_last: bool = False,
    ) -> None:
        if not 0 <= max_degrees <= 180:
            raise ValueError(f"max_degrees must be from 0 to 180, got {max_degrees}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, got {probability}")
        self.generator = generator
        self.max_degrees = max_degrees
        self.probability = probability
        self.channels_last = channels_last

    def __call__(self, pictures: Tensor) -> Tensor:
        """Each picture in an orientation of its own."""
        n = len(pictures)
        rows, columns = _axes(pictures, self.channels_last)
        if pictures.shape[rows] != pictures.shape[columns]:
            raise ValueError(f"pictures must be square to be turned, got {_of(pictures)}")
        result = pictures.clone()
        if self.max_degrees > 0:
            degrees = (2 * self._uniform(n) - 1) * self.max_degrees
            # What is not rotated is not interpolated either.
            chosen = (self._uniform(n) < self.probability).to(pictures.device)
            if chosen.any():
                angles = degrees.to(pictures.device)[chosen]
                result[chosen] = rotate(result[chosen], angles, channels_last=self.channels_last)
        which = torch.randint(N_DIHEDRAL, (n,), generator=self.generator, device=self.generator.device)
        which = which.to(pictures.device)
        for element in range(1, N_DIHEDRAL):
            chosen = which == element
            result[chosen] = dihedral(result[chosen], element, channels_last=self.channels_last)
        return result

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator, device=self.generator.device)


class DihedralMean(nn.Module):
    """The mean answer of a network over all eight orientations of each picture.

    Parameters
    ----------
    network : Module
        In evaluation mode; answers pictures with one Tensor, one row a picture.
    channels_last : bool, optional
        Whether its pictures are (n, h, w, c).
    """

    def __init__(self, network: nn.Module, *, channels_last: bool = False) -> None:
        super().__init__()
        self.network = network
        self.channels_last = channels_last

    def forward(self, pictures: Tensor) -> Tensor:
        """The mean answers.

        Parameters
        ----------
        pictures : Tensor, shape (n, c, h, w) or (n, h, w, c)
            Square pictures.

        Returns
        -------
        answers : Tensor, shape (n, ...)

        Raises
        ------
        RuntimeError
            If the network is in training mode, where answers depend on the
            rest of the batch.
        ValueError
            If the pictures are not square.
        """
        if self.network.training:
            raise RuntimeError("network must be in evaluation mode: call eval() first")
        total = self.network(pictures)
        for which in range(1, N_DIHEDRAL):
            total = total + self.network(dihedral(pictures, which, channels_last=self.channels_last))
        return total / N_DIHEDRAL


def _axes(pictures: Tensor, channels_last: bool) -> tuple[int, int]:
    """The axes of rows and columns."""
    if pictures.ndim != 4:
        layout = "(n, h, w, c)" if channels_last else "(n, c, h, w)"
        raise ValueError(f"pictures must be {layout}, got {_of(pictures)}")
    return (1, 2) if channels_last else (2, 3)


def _require_element(name: str, which: int) -> None:
    if not 0 <= which < N_DIHEDRAL:
        raise ValueError(f"{name} must be 0 to {N_DIHEDRAL - 1}, got {which}")


def _of(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
