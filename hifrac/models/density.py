"""Distributions of many values at once, as histograms: cut, weighted, and asked for quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hifrac.models.selection import as_double


def _normal_scores() -> Tensor:
    """Return the edges of the bins of a distribution, in standard deviations: finest about the middle."""
    steps = torch.linspace(-1, 1, 257, dtype=torch.float64, device="cpu")
    return 12 * torch.sinh(3 * steps) / np.sinh(3.0)


NORMAL_SCORES = _normal_scores()
# Of the lower half, where the difference of two probabilities keeps its digits, and its mirror image.
_LOWER_HALF = torch.special.ndtr(NORMAL_SCORES[: len(NORMAL_SCORES) // 2 + 1]).diff()
_MASSES = torch.cat([_LOWER_HALF, _LOWER_HALF.flip(0)])
_IS_LOWER = NORMAL_SCORES[:-1] < 0


@dataclass(frozen=True, eq=False)
class Density:
    """Distributions of n values, as histograms of narrow bins.

    Attributes
    ----------
    edges : Tensor, shape (n, m + 1)
        Edges of the bins, not decreasing.
    masses : Tensor, shape (n, m)
        Probabilities of the bins; the sum of a row is 1.
    """

    edges: Tensor
    masses: Tensor

    @classmethod
    def split_normal(cls, mode: Tensor, below: Tensor, above: Tensor) -> Density:
        """Return split normal distributions, see `hifrac.models.population.Population`."""
        mode, below, above = mode[:, None], below[:, None], above[:, None]
        side = torch.where(_IS_LOWER, below, above)
        edges = mode + torch.where(NORMAL_SCORES < 0, below, above) * NORMAL_SCORES
        return cls(edges, _MASSES * side * 2 / (below + above))

    @classmethod
    def of_scores(cls, location: Tensor, unit: Tensor, scores: Tensor) -> Density:
        """Return distributions of location + unit x score; ``scores`` (n, m + 1) are at `NORMAL_SCORES`."""
        edges = location[:, None] + unit[:, None] * scores
        return cls(edges, _MASSES.expand(len(edges), -1))

    @property
    def middles(self) -> Tensor:
        """The middles of the bins, shape (n, m)."""
        return 0.5 * (self.edges[:, 1:] + self.edges[:, :-1])

    def weighted(self, log_weights: Tensor) -> Density:
        """Return the distributions times weights (n, m), of which natural logarithms are given.

        So there is an answer even where all weights are too small for a number.
        """
        masses = self.masses * torch.exp(log_weights - log_weights.max(1, keepdim=True).values)
        return Density(self.edges, masses / masses.sum(1, keepdim=True))

    def below(self, limit: Tensor) -> Density:
        """Return the distributions of values known to lie below a limit (n,); NaN is none."""
        if not torch.isfinite(limit).any():
            return self
        limit = torch.nan_to_num(limit, nan=np.inf)[:, None]
        lower = self.edges[:, :-1]
        share = ((limit - lower) / (self.edges[:, 1:] - lower)).clamp(0, 1)
        masses = self.masses * share
        total = masses.sum(1, keepdim=True)
        # A limit below all bins leaves one value, the limit.
        masses = torch.where(total > 0, masses / total, 1 / masses.shape[1])
        return Density(torch.minimum(self.edges, limit), masses)

    def shifted(self, offset: Tensor) -> Density:
        """Return the distributions of the values plus an offset (n,)."""
        return Density(self.edges + offset[:, None], self.masses)

    @cached_property
    def _cumulative(self) -> Tensor:
        return torch.nn.functional.pad(self.masses.cumsum(1), (1, 0))

    def quantile(self, levels: Any) -> Tensor:
        """Return the values (n, k) below which shares (k,) or (n, k) of each distribution lie."""
        levels = as_double(levels).expand(len(self.edges), -1)
        return _interpolate(levels * self._cumulative[:, -1:], self._cumulative, self.edges)

    def cdf(self, values: Any) -> Tensor:
        """Return the probabilities below values (n,)."""
        return _interpolate(as_double(values)[:, None], self.edges, self._cumulative)[:, 0]

    def mean(self) -> Tensor:
        """Return the means (n,)."""
        return (self.masses * self.middles).sum(1)

    def std(self) -> Tensor:
        """Return the standard deviations (n,)."""
        return torch.sqrt((self.masses * (self.middles - self.mean()[:, None]) ** 2).sum(1))


def _interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Interpolate rows of y (n, m) over rows of x (n, m), not decreasing, at (n, k); held at the ends."""
    right = torch.searchsorted(x.contiguous(), at.contiguous()).clamp(1, x.shape[1] - 1)
    low, high = x.gather(1, right - 1), x.gather(1, right)
    share = ((at - low) / (high - low)).clamp(0, 1)
    share = torch.where(high > low, share, (at >= high).to(x.dtype))
    start = y.gather(1, right - 1)
    return start + share * (y.gather(1, right) - start)
