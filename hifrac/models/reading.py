"""Networks that read photometry, redshift and mass off the measurements of a picture, and more off these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hifrac.models.measuring import MeasuringNet
from hifrac.models.photometry import PHOTOMETRIC, PhotometryHead, bound


class ReadingNet(MeasuringNet):
    """Measures a galaxy, and reads ``PHOTOMETRIC`` off the measurements by heads whose mean counts.

    Parameters
    ----------
    width : int
        Side of the square pictures in pixels; at least 64 and a multiple of 4.
    n_heads : int
        How many heads: from 1 to 16.
    n_more : int, optional
        How many quantities they read beside ``PHOTOMETRIC``, after them.
    """

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        reading_center: Tensor
        reading_scale: Tensor

    def __init__(self, width: int, n_heads: int, n_more: int = 0) -> None:
        super().__init__(width)
        if not 1 <= n_heads <= 16:
            raise ValueError(f"n_heads must be from 1 to 16, got {n_heads}")
        n = len(PHOTOMETRIC) + n_more
        self.photometry = nn.ModuleList(PhotometryHead(self.n_features, n_more) for _ in range(n_heads))
        self.register_buffer("reading_center", torch.zeros(n))
        self.register_buffer("reading_scale", torch.ones(n))

    def quantities(self, features: Tensor) -> Tensor:
        """Return ``PHOTOMETRIC`` that the picture shows, and what is read beside them, (n, 8 + n_more)."""
        total = torch.zeros_like(self.reading_center)
        for head in self.photometry:
            total = total + head(features)
        return total / len(self.photometry)

    def standard_readings(self, quantities: Tensor) -> Tensor:
        """Return what is read in units of its spread, softly limited."""
        return bound((quantities - self.reading_center) / self.reading_scale)

    def magnitudes(self, quantities: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the magnitudes u, g, r, i and z, (n,) each, that follow from ``PHOTOMETRIC``."""
        i, g = quantities[:, 1], quantities[:, 0] + quantities[:, 1]
        return quantities[:, 2] + g, g, g - quantities[:, 3], i, i - quantities[:, 5]
