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
        Red, green and blue, 0 to 255.
    brightness : Tensor of float, shape (n, width / 2, width / 2)
        Their mean over the channels, binned two by two, 0 to 1.

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
    along = pixels[:, :, 0::8] / 255.0
    along_weights = _weights(brightness[:, 0::4], 2)
    across = pixels[..., 0::8] / 255.0
    across_weights = _weights(brightness[..., 0::4], 1)
    rows = _steps(along, along_weights, 1, 3)
    columns = _steps(across, across_weights, 1, 2)
    both = [rows + columns] + [
        _steps(along, along_weights, lag, 3) + _steps(across, across_weights, lag, 2) for lag in (2, 4, 8)
    ]
    sky = [torch.log(steps[..., 0] + 2e-3) for steps in both]
    bright = [torch.log(steps[..., 1] + 5e-3) for steps in both[:3]]
    grey = _steps(along.mean(1, keepdim=True), along_weights, 1, 3)
    grey = grey + _steps(across.mean(1, keepdim=True), across_weights, 1, 2)
    level = _mean(along, along_weights)[..., 0]
    return torch.cat(
        [
            sky[0],
            sky[1] - sky[0],
            sky[2] - sky[1],
            sky[3] - sky[2],
            torch.log(rows[..., 0] + 1e-3) - torch.log(columns[..., 0] + 1e-3),
            torch.log(grey[..., 0] + 2e-3) - sky[0],
            torch.log(level + 0.01),
            sky[0][:, :2] - sky[0][:, 1:],
            (bright[1] - bright[0]).mean(1, keepdim=True),
            (bright[2] - bright[1]).mean(1, keepdim=True),
        ],
        1,
    )


def _weights(brightness: Tensor, dim: int) -> Tensor:
    """Return how faint and how bright each pixel is, of bins that are two pixels long: (n, 2, ...)."""
    faint = torch.exp(brightness * -10.0).repeat_interleave(2, dim)
    return torch.stack([faint, 1.0 - faint], 1)


def _steps(lines: Tensor, weights: Tensor, lag: int, dim: int) -> Tensor:
    """Average the steps between pixels so far apart, in the sky and where it is bright: (n, c, 2)."""
    length = lines.shape[dim] - lag
    steps = (lines.narrow(dim, lag, length) - lines.narrow(dim, 0, length)).abs_()
    return _mean(steps, weights.narrow(dim, lag, length))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Average values (n, c, ...) under weights (n, 2, ...): (n, c, 2)."""
    weights = weights.flatten(2)
    return values.flatten(2) @ weights.transpose(1, 2) / weights.sum(2)[:, None].clamp(min=1e-3)
