"""The texture of a picture: what its noise and its edges say of pixel scale, bands and origin.

A picture at another pixel scale, of other bands, or of no survey at all may
show a galaxy of a common shape; the steps between its neighbouring pixels
give it away. They are of no use for the HI fraction and serve the distance
from the training set alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Number of columns that `texture` gives.
N_TEXTURE = 25


def texture(pixels: Tensor, brightness: Tensor) -> Tensor:
    """Measure the steps between neighbouring pixels, in the sky and in what is bright.

    Parameters
    ----------
    pixels : Tensor of float, shape (n, 3, width, width)
        Red, green and blue, 0 to 1.
    brightness : Tensor of float, shape (n, width / 2, width / 2)
        Their mean over the channels, binned two by two.

    Returns
    -------
    measurements : Tensor, shape (n, 25)
        Natural logarithms. In the sky: the mean step to the next pixel in
        each channel; by how much steps over 2, 4 and 8 pixels exceed those over
        1, 2 and 4 (the pixel scale, by the width of the point-spread function and
        the resampling of the noise); steps along rows against those along columns;
        steps of the mean of the channels against those of each (how the
        noise of the bands goes together). Then the level of the sky; the steps of one
        band against those of the next; and how steps grow with distance, of all
        channels together, in what is bright.

    Notes
    -----
    Every eighth row and column is looked at: 2,048 pixels a channel, twice, are enough.
    """
    # The sky of the pictures lies at 0.02 to 0.1.
    faint = torch.exp(brightness * -10.0)
    along = (pixels[:, :, 0::8], faint[:, 0::4].repeat_interleave(2, dim=2)[:, None])
    across = (
        pixels[:, :, :, 0::8].transpose(2, 3).contiguous(),
        faint[:, :, 0::4].transpose(1, 2).repeat_interleave(2, dim=2)[:, None],
    )
    rows = _steps(along[0], along[1], 1)
    columns = _steps(across[0], across[1], 1)
    sky = [torch.log(rows + columns + 2e-3)]
    bright = [torch.log(_bright(along, across, 1) + 5e-3)]
    for lag in (2, 4, 8):
        sky.append(torch.log(_steps(along[0], along[1], lag) + _steps(across[0], across[1], lag) + 2e-3))
        if lag < 8:
            bright.append(torch.log(_bright(along, across, lag) + 5e-3))
    grey = _steps(along[0].mean(1, keepdim=True), along[1], 1)
    grey = grey + _steps(across[0].mean(1, keepdim=True), across[1], 1)
    level = (along[0] * along[1]).sum((2, 3)) / along[1].sum((2, 3)).clamp(min=1e-3)
    return torch.cat(
        [
            sky[0],
            sky[1] - sky[0],
            sky[2] - sky[1],
            sky[3] - sky[2],
            torch.log(rows + 1e-3) - torch.log(columns + 1e-3),
            torch.log(grey + 2e-3) - sky[0],
            torch.log(level + 0.01),
            sky[0][:, :2] - sky[0][:, 1:],
            (bright[1] - bright[0]).mean(1, keepdim=True),
            (bright[2] - bright[1]).mean(1, keepdim=True),
        ],
        1,
    )


def _steps(lines: Tensor, weight: Tensor, lag: int) -> Tensor:
    """Average the steps between pixels so far apart on lines (n, c, lines, pixels), weighted: (n, c)."""
    weight = weight[..., lag:]
    steps = (lines[..., lag:] - lines[..., :-lag]).abs()
    return (steps * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-3)


def _bright(along: tuple[Tensor, Tensor], across: tuple[Tensor, Tensor], lag: int) -> Tensor:
    """Average the steps where it is bright."""
    return _steps(along[0], 1.0 - along[1], lag) + _steps(across[0], 1.0 - across[1], lag)
