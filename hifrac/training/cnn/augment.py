"""The pictures turned, mirrored and changed: at random while training, all eight ways when testing.

The sky has neither up nor left, so that a galaxy's picture may be turned and
mirrored without changing what it says. The eight ways that move whole pixels
are the dihedral group of the square (Dieleman et al. 2015, MNRAS 450, 1441).
Pictures are (n, c, h, w), of uint8 or float; they come back in the same dtype.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hifrac.models.xresnet import centre

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


def rotate(
    pictures: Tensor, degrees: Tensor, *, zoom: Tensor | None = None, offset: Tensor | None = None
) -> Tensor:
    """Rotate pictures about their centre by any angle, reflecting them at their borders.

    The angles, shape (n,), are counterclockwise on the screen. ``zoom``, shape (n,), enlarges the pictures
    before, and ``offset``, shape (n, 2), is how far to the right and down the part that is shown lies, in
    halves of a side. Values are interpolated bilinearly, once; uint8 is rounded again. (torchvision rotates
    all pictures by one angle, and has no reflection.)
    """
    _require_pictures(pictures)
    n = len(pictures)
    zoom = torch.ones(n) if zoom is None else zoom
    offset = torch.zeros(n, 2) if offset is None else offset
    for name, values, shape in (("degrees", degrees, (n,)), ("zoom", zoom, (n,)), ("offset", offset, (n, 2))):
        if tuple(values.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(values.shape)}")
    values = pictures if pictures.is_floating_point() else pictures.float()
    height, width = pictures.shape[2:]
    angle = torch.deg2rad(degrees.to(values))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    # Where each pixel comes from, in units of half the picture, which differ along its two axes.
    rows = [cosine, -sine * (height / width), sine * (width / height), cosine]
    linear = torch.stack(rows, 1).reshape(-1, 2, 2) / zoom.to(values)[:, None, None]
    matrix = torch.cat([linear, linear @ offset.to(values)[:, :, None]], 2)
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    turned = functional.grid_sample(
        values, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned if pictures.is_floating_point() else turned.round().to(pictures.dtype)


def light(pictures: Tensor, balance: Tensor, contrast: Tensor) -> Tensor:
    """Change the brightness of pictures of 0 to 255, each as a whole; what leaves that range is cut.

    The distance from the mean of the picture is multiplied by 1 + ``contrast``, or divided by
    1 - ``contrast`` if that is negative, and 255 ``balance`` is added; both have shape (n,).
    """
    factor = torch.where(contrast < 0, 1 / (1 - contrast), 1 + contrast)
    factor, shift = (number.to(pictures.device)[:, None, None, None] for number in (factor, 255 * balance))
    mean = pictures.float().mean((1, 2, 3), keepdim=True)
    values = ((pictures - mean) * factor + mean + shift).clamp(0, 255)
    return values if pictures.is_floating_point() else values.round().to(pictures.dtype)


class Augmentation:
    """A random view of each square picture of a batch; the generator's seed fixes all that follows.

    Parameters
    ----------
    generator : `torch.Generator`
        On the CPU.
    max_degrees : float, optional
        With a probability, pictures are rotated by up to this angle either way. The text of Wu (2020) has 0
        degrees, its code 10 and 0.75; Wu & Boada (2019) have 10 and, as a default of fastai, 0.75.
    max_zoom : float, optional
        With the same probability, pictures are enlarged by up to this factor, and a random part of the former
        size is shown (Wu & Boada 2019: 1.1). Both at once interpolate once.
    lighting : float, optional
        Largest change of balance and of contrast, see `light` (Wu & Boada 2019: 0.05).
    frame, crop : int, optional
        Pictures are first cut or padded with zeros to the side ``frame``; of them, in the end, a random part
        of the side ``crop`` is shown.
    probability, dihedral : float, optional
        Of a rotation, and of a zoom; and of the dihedral transform, which may be the identity (1/2, a default
        of fastai, in Wu & Peek 2020).

    Notes
    -----
    The dihedral transform is the last but one, the crop the last.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        max_degrees: float = 0.0,
        max_zoom: float = 1.0,
        lighting: float = 0.0,
        frame: int | None = None,
        crop: int | None = None,
        probability: float = 0.75,
        dihedral: float = 1.0,
    ) -> None:
        if not 0 <= max_degrees <= 180:
            raise ValueError(f"max_degrees must be from 0 to 180, got {max_degrees}")
        if not 1 <= max_zoom < math.inf:
            raise ValueError(f"max_zoom must be at least 1, got {max_zoom}")
        if not 0 <= lighting < 1:
            raise ValueError(f"lighting must be from 0 to 1, got {lighting}")
        for name, share in (("probability", probability), ("dihedral", dihedral)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {share}")
        self.generator = generator
        self.max_degrees = max_degrees
        self.max_zoom = max_zoom
        self.lighting = lighting
        self.frame, self.crop = frame, crop
        self.probability, self.dihedral = probability, dihedral

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return each picture in an orientation of its own; the given ones are not changed."""
        _require_pictures(pictures)
        _require_square(pictures)
        result = pictures if self.frame is None else centre(pictures, self.frame)
        if self.max_degrees > 0 or self.max_zoom > 1:
            result = self._rotated_and_enlarged(result)
        if self.lighting > 0:
            balance, contrast = (self._symmetric(len(result)) * self.lighting for _ in range(2))
            result = light(result, balance, contrast)
        which = torch.randint(
            N_DIHEDRAL, (len(result),), generator=self.generator, device=self.generator.device
        )
        if self.dihedral < 1:
            which = torch.where(self._uniform(len(result)) < self.dihedral, which, 0)
        result = _oriented(result, which.to(pictures.device))
        return result if self.crop is None else self._cropped(result, self.crop)

    def _rotated_and_enlarged(self, pictures: Tensor) -> Tensor:
        """Rotate and enlarge some of the pictures."""
        n = len(pictures)
        degrees, zoom, offset = torch.zeros(n), torch.ones(n), torch.zeros(n, 2)
        if self.max_degrees > 0:
            angle = self._symmetric(n) * self.max_degrees
            degrees = torch.where(self._uniform(n) < self.probability, angle, degrees)
        if self.max_zoom > 1:
            factor = 1 + (self.max_zoom - 1) * self._uniform(n)
            zoom = torch.where(self._uniform(n) < self.probability, factor, zoom)
            offset = (zoom[:, None] - 1) * self._symmetric(2 * n).reshape(n, 2)
        # What is neither rotated nor enlarged is not interpolated.
        rows = ((degrees != 0) | (zoom > 1)).nonzero()[:, 0]
        if not len(rows):
            return pictures
        result, here = pictures.clone(), rows.to(pictures.device)
        result[here] = rotate(result[here], degrees[rows], zoom=zoom[rows], offset=offset[rows])
        return result

    def _cropped(self, pictures: Tensor, side: int) -> Tensor:
        """Return a random part of each picture."""
        n, channels, height, _ = pictures.shape
        if side > height:
            raise ValueError(f"crop must be at most the side of the pictures, {height}, got {side}")
        start = torch.randint(height - side + 1, (2, n, 1), generator=self.generator)
        rows, columns = (start + torch.arange(side)).to(pictures.device)
        picture, channel = (torch.arange(number, device=pictures.device) for number in (n, channels))
        return pictures[
            picture[:, None, None, None],
            channel[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator, device=self.generator.device)

    def _symmetric(self, n: int) -> Tensor:
        """Draw numbers from -1 to 1."""
        return 2 * self._uniform(n) - 1


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
