"""The magnitudes, colours, redshift and stellar mass of a galaxy, as its picture shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

#: What is read off a picture, in this order: magnitudes as observed, not corrected for the Galaxy.
PHOTOMETRIC = ("g_minus_i", "i", "u_minus_g", "g_minus_r", "r_minus_i", "i_minus_z", "log_cz", "log_mstar")

_HIDDEN, _DROPOUT = 96, 0.2


class PhotometryHead(nn.Module):
    """A linear map of the measurements, plus a small network.

    Parameters
    ----------
    n_features : int
        The measurements of a picture, the reddening by the Galaxy last.
    n_more : int, optional
        How many quantities are read beside ``PHOTOMETRIC``, after them.
    """

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        input_center: Tensor
        input_scale: Tensor
        center: Tensor
        scale: Tensor

    def __init__(self, n_features: int, n_more: int = 0) -> None:
        super().__init__()
        n = len(PHOTOMETRIC) + n_more
        self.register_buffer("input_center", torch.zeros(n_features))
        self.register_buffer("input_scale", torch.ones(n_features))
        self.register_buffer("center", torch.zeros(n))
        self.register_buffer("scale", torch.ones(n))
        self.linear = nn.Linear(n_features, n)
        self.deep = nn.Sequential(
            nn.Linear(n_features, _HIDDEN),
            nn.SiLU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, n),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``PHOTOMETRIC``, and what is read beside them, (n, 8 + n_more), of measurements."""
        return self.standard(self.inputs(features)) * self.scale + self.center

    def inputs(self, features: Tensor) -> Tensor:
        """Return the measurements in units of their spread, softly limited."""
        return bound((features - self.input_center) / self.input_scale)

    def standard(self, inputs: Tensor) -> Tensor:
        """Return the quantities in units of their spread, from what `inputs` gives."""
        return self.linear(inputs) + self.deep(inputs)


def bound(features: Tensor) -> Tensor:
    """Limit standardised measurements softly.

    Far outside the training set a measurement says "far", not "how far": one
    odd pixel must not move the estimate by a dex.
    """
    return 4.0 * torch.tanh(features / 4.0)
