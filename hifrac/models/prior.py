"""HI fractions of galaxies that ALFALFA detects: a prior from photometry, and what a picture adds."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hifrac.models.photometry import PHOTOMETRIC

_DEGREE = 4
#: Ranges of g-i, i, log10(cz) and b/a: of the galaxies that it is fitted to. Beyond, it stays as at the end.
RANGES = ((-0.1, 1.5), (11.0, 19.0), (2.9, 4.25), (0.1, 1.0))


def _exponents() -> Tensor:
    """Return the exponents of all terms from degree 1 to 4, shape (69, 4)."""
    n = len(RANGES)
    terms = [
        term for degree in range(1, _DEGREE + 1) for term in combinations_with_replacement(range(n), degree)
    ]
    return torch.tensor([[term.count(variable) for variable in range(n)] for term in terms])


class Prior(nn.Module):
    """log10(M_HI/M*) as a polynomial of fourth degree in g-i, i, log10(cz) and b/a, in double precision.

    Buffers: ``center`` and ``scale`` (4) of the clipped variables, ``term_center`` and ``term_scale`` (69) of
    the terms, ``coefficients`` (69) and ``intercept``.
    """

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        center: Tensor
        scale: Tensor
        term_center: Tensor
        term_scale: Tensor
        coefficients: Tensor
        intercept: Tensor
        low: Tensor
        high: Tensor
        exponents: Tensor

    def __init__(self) -> None:
        super().__init__()
        exponents = _exponents()
        n_terms, n = exponents.shape
        for name, size in (("center", n), ("term_center", n_terms), ("coefficients", n_terms)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        for name, size in (("scale", n), ("term_scale", n_terms)):
            self.register_buffer(name, torch.ones(size, dtype=torch.float64))
        self.register_buffer("intercept", torch.zeros((), dtype=torch.float64))
        low, high = torch.tensor(RANGES, dtype=torch.float64).unbind(1)
        self.register_buffer("low", low.contiguous(), persistent=False)
        self.register_buffer("high", high.contiguous(), persistent=False)
        self.register_buffer("exponents", exponents, persistent=False)

    def forward(self, g_minus_i: Tensor, i: Tensor, log_cz: Tensor, axis_ratio: Tensor) -> Tensor:
        """Return log10(M_HI/M*) in dex, shape (n,), in double precision.

        Parameters
        ----------
        g_minus_i, i : Tensor, shape (n,)
            Colour and magnitude, corrected for the Galaxy.
        log_cz : Tensor, shape (n,)
            log10 of cz in km/s.
        axis_ratio : Tensor, shape (n,)
            b/a.
        """
        terms = self.terms(self.clipped(g_minus_i, i, log_cz, axis_ratio))
        return ((terms - self.term_center) / self.term_scale) @ self.coefficients + self.intercept

    def clipped(self, g_minus_i: Tensor, i: Tensor, log_cz: Tensor, axis_ratio: Tensor) -> Tensor:
        """Return the four variables within their ranges, shape (n, 4)."""
        variables = torch.stack([g_minus_i, i, log_cz, axis_ratio], 1).to(self.low.dtype)
        return torch.minimum(torch.maximum(variables, self.low), self.high)

    def terms(self, clipped: Tensor) -> Tensor:
        """Return the terms of the polynomial in the standardised variables, shape (n, 69)."""
        variables = (clipped - self.center) / self.scale
        powers = torch.stack([variables**degree for degree in range(5)], 2)
        terms = powers[:, 0, self.exponents[:, 0]]
        for variable in range(1, 4):
            terms = terms * powers[:, variable, self.exponents[:, variable]]
        return terms


class Residual(nn.Linear):
    """What a picture adds to the prior: linear in its measurements, and in a few extra quantities.

    Parameters
    ----------
    n_features : int
        Standardised measurements.
    n_extra : int
        Quantities that come behind them, with their ``extra_center`` and ``extra_scale``.
    """

    if TYPE_CHECKING:
        extra_center: Tensor
        extra_scale: Tensor

    def __init__(self, n_features: int, n_extra: int) -> None:
        super().__init__(n_features + n_extra, 1)
        self.n_features = n_features
        self.register_buffer("extra_center", torch.zeros(n_extra))
        self.register_buffer("extra_scale", torch.ones(n_extra))

    def of_features(self, standard: Tensor) -> Tensor:
        """Return the part (n,) that the measurements (n, n_features) make, the constant included."""
        return functional.linear(standard, self.weight[:, : self.n_features], self.bias)[:, 0]

    def of_extra(self, extra: Tensor) -> Tensor:
        """Return the part (n,) that the extra quantities (n, n_extra) make, in their precision."""
        scaled = (extra - self.extra_center) / self.extra_scale
        return scaled @ self.weight[0, self.n_features :].to(scaled.dtype)


class Residuals(nn.Module):
    """What a picture adds where the photometry is its own, where the redshift is known, and where all is."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.picture = Residual(n_features, len(PHOTOMETRIC))
        self.redshift = Residual(n_features, 1)
        self.photometry = Residual(n_features, 2)
