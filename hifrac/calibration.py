"""Calibrated intervals: conformal quantiles of residuals the model never trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ConformalTable"]


@dataclass(frozen=True)
class ConformalTable:
    """Quantiles of out-of-fold residuals, truth minus estimate.

    A new galaxy drawn like those of the residuals has its truth below
    ``estimate + value(level)`` with a probability of at least ``level`` for
    levels above one half, at most ``level`` below, whatever their
    distribution, if the residuals are of galaxies held out from one fit (Vovk,
    Gammerman & Shafer 2005, chapter 2). Pooled residuals of cross-validation,
    added to the estimate of a later fit, carry no such guarantee in general
    (Barber et al. 2021, Ann. Stat. 49, 486): that the nominal share is reached
    is then measured, not proved.

    Parameters
    ----------
    n : int
        The number of residuals.
    levels : tuple of float
        Probabilities, increasing, between 0 and 1.
    values : tuple of float
        The residual quantile of each level, in dex.

    Raises
    ------
    ValueError
        If levels and values differ in length, are not increasing, or a value
        is not finite.
    """

    n: int
    levels: tuple[float, ...]
    values: tuple[float, ...]

    LEVELS = (0.05, 0.16, 0.50, 0.84, 0.95)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(float(level) for level in self.levels))
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if len(self.levels) != len(self.values):
            raise ValueError(f"levels and values differ in length: {len(self.levels)}, {len(self.values)}")
        if not np.all(np.isfinite(self.values)):
            raise ValueError(f"values must be finite, got {self.values}")
        if any(np.diff(self.levels) <= 0) or any(np.diff(self.values) < 0):
            raise ValueError("levels and values must be increasing")
        if not all(0 < level < 1 for level in self.levels):
            raise ValueError(f"levels must lie between 0 and 1, got {self.levels}")

    @classmethod
    def from_residuals(cls, residuals, levels: Sequence[float] = LEVELS) -> ConformalTable:
        """Build the table from residuals.

        Parameters
        ----------
        residuals : array-like of float, shape (n,)
            Truth minus out-of-fold estimate, in dex.
        levels : sequence of float, optional
            The probabilities wanted.

        Returns
        -------
        table : ConformalTable

        Raises
        ------
        ValueError
            If a residual is not finite, or there are too few of them for the
            outermost level: n must be at least 1/level - 1, where level counts
            from the nearer end.
        """
        ranked = np.asarray(residuals, dtype=float)
        if ranked.ndim != 1 or not np.all(np.isfinite(ranked)):
            raise ValueError("residuals must be one-dimensional and finite")
        ranked = np.sort(ranked)
        n = ranked.size
        values = []
        for level in levels:
            # The rank among n + 1: the new galaxy is one of the exchangeable draws.
            position = (n + 1) * level
            if level < 0.5:
                rank = math.floor(position + 1e-9)
            elif level > 0.5:
                rank = math.ceil(position - 1e-9)
            elif n:
                values.append(float(np.median(ranked)))
                continue
            else:
                rank = 0
            if not 1 <= rank <= n:
                raise ValueError(f"residuals: {n} are too few for the level {level}")
            values.append(float(ranked[rank - 1]))
        return cls(n=n, levels=tuple(levels), values=tuple(values))

    def value(self, level: float) -> float:
        """The residual quantile of one tabulated level, in dex.

        Raises
        ------
        ValueError
            If the level is not in the table.
        """
        try:
            return self.values[self.levels.index(level)]
        except ValueError:
            raise ValueError(f"level must be one of {self.levels}, got {level}") from None
