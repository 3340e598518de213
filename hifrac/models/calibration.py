"""Calibrated intervals: conformal quantiles of residuals the model never trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence
    from hifrac.spectra import Latents

#: The tabulated probabilities: median, 68% and 90% intervals.
LEVELS = (0.05, 0.16, 0.50, 0.84, 0.95)

#: Those of the scores of `PosteriorTable`.
SCORE_LEVELS = (0.05, 0.10, 0.16, 0.25, 0.35, 0.50, 0.65, 0.75, 0.84, 0.90, 0.95)

#: What may be known of a galaxy; everything else is measured on its picture.
EVIDENCE_SETS = ("picture", "picture+z", "picture+photometry", "picture+z+photometry")

#: How a galaxy came into a sample: whether ALFALFA detects it or not; that it does; that it does not.
SELECTIONS = ("intrinsic", "alfalfa", "undetected")

#: The scales of stellar masses: Taylor et al. (2011), and `GSWLC`.
MASS_SCALES = ("taylor", "gswlc")
GSWLC = "GSWLC-2 (Salim et al. 2018)"

#: What may be asked of a model with a `PosteriorTable`.
CHOICES = {"selection": SELECTIONS, "mass_scale": MASS_SCALES, "photometry": ("sdss",)}

Outputs = Mapping[str, np.ndarray]


@runtime_checkable
class QuantileTable(Protocol):
    """A calibration that makes a distribution of the outputs, and of what else is known of a galaxy."""

    def quantiles(
        self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None, levels: np.ndarray
    ) -> np.ndarray:
        """Return quantiles (n, k) of the target at levels between 0 and 1, shape (k,) or (n, k)."""
        ...


@runtime_checkable
class SpectralTable(QuantileTable, Protocol):
    """A calibration that makes spectra of the outputs as well."""

    def columns(
        self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None, space: Latents
    ) -> dict[str, np.ndarray]:
        """Return result columns (n,) and (n, k) beside the quantiles."""
        ...


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

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.models import ConformalTable
    >>> residuals = np.linspace(-0.5, 0.5, 101)  # dex
    >>> table = ConformalTable.from_residuals(residuals)
    >>> table.quantile({"estimate": np.array([-0.3])}, 0.84).round(2)
    array([0.05])
    """

    n: int
    levels: tuple[float, ...]
    values: tuple[float, ...]

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
        return cls(n=ranked.size, levels=tuple(levels), values=conformal_quantiles(ranked, levels))

    def value(self, level: float) -> float:
        """Return the residual quantile of one tabulated level, in dex.

        Raises
        ------
        ValueError
            If the level is not in the table.
        """
        try:
            return self.values[self.levels.index(level)]
        except ValueError:
            raise ValueError(f"level must be one of {self.levels}, got {level}") from None

    def estimate(self, outputs: Outputs) -> np.ndarray:
        """Return the estimate of each picture: the network's.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            What `hifrac.models.Model.run` gave.
        """
        return np.asarray(outputs["estimate"])

    def quantile(self, outputs: Outputs, level: float) -> np.ndarray:
        """Return a quantile of each picture's interval.

        Where the network says how well it knows (``log_spread``), residuals
        are in units of that.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            What `hifrac.models.Model.run` gave.
        level : float
            One of the tabulated levels.

        Raises
        ------
        ValueError
            If the level is not in the table.
        """
        unit = np.exp(outputs["log_spread"]) if "log_spread" in outputs else 1.0
        return self.estimate(outputs) + self.value(level) * unit


@dataclass(frozen=True, kw_only=True)
class ConformalTables:
    """One `ConformalTable` for each of several targets.

    Parameters
    ----------
    columns : tuple of str
        Their result columns.
    n : tuple of int, shape (columns,)
        How many residuals each has.
    levels : tuple of float
        Probabilities, increasing, between 0 and 1.
    values : tuple of tuple of float, shape (columns, levels)
        The residual quantiles, in the units of the targets.

    Raises
    ------
    ValueError
        If there are fewer than two columns, or one twice; if lengths differ, or as `ConformalTable`.
    """

    columns: tuple[str, ...]
    n: tuple[int, ...]
    levels: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        for name in ("columns", "n", "levels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "values", tuple(tuple(row) for row in self.values))
        if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns must be two or more different ones, got {', '.join(self.columns)}")
        if not len(self.columns) == len(self.n) == len(self.values):
            raise ValueError(
                f"columns, n and values differ in length: {len(self.columns)}, {len(self.n)}, "
                f"{len(self.values)}"
            )
        tables = {
            column: ConformalTable(n, self.levels, values)
            for column, n, values in zip(self.columns, self.n, self.values, strict=True)
        }
        object.__setattr__(self, "_tables", tables)

    @classmethod
    def from_residuals(cls, residuals: Mapping[str, np.ndarray]) -> ConformalTables:
        """Build the tables from the residuals of each target; see `ConformalTable.from_residuals`."""
        tables = [ConformalTable.from_residuals(values) for values in residuals.values()]
        return cls(
            columns=tuple(residuals),
            n=tuple(table.n for table in tables),
            levels=tables[0].levels,
            values=tuple(table.values for table in tables),
        )

    def table(self, column: str) -> ConformalTable:
        """Return the table of one target."""
        return self._tables[column]  # type: ignore[attr-defined]  # set where the class is frozen


def estimate_names(n_targets: int) -> tuple[str, ...]:
    """Return what the outputs of a network of so many targets are called."""
    return ("estimate", *(f"estimate_{number}" for number in range(2, n_targets + 1)))


@dataclass(frozen=True, kw_only=True)
class PosteriorTable:
    """The calibration of a structure network for galaxies that ALFALFA detects, by what is known of them.

    The truth of a galaxy is distributed as location + unit x score: ``hifrac.models.posterior`` makes the
    first two, and the scores are those of galaxies that were held out. Between the tabulated levels they are
    interpolated as on probability paper, where a normal distribution is a straight line, and extrapolated
    beyond.

    Parameters
    ----------
    n : int
        How many galaxies were held out.
    levels : tuple of float
        Probabilities, increasing, between 0 and 1.
    widths : mapping of str to tuple of float
        Of each of ``EVIDENCE_SETS`` intercept and slope of the natural logarithm of the unit against that of
        the spread of all galaxies alike, given a detection.
    scores, scores_gswlc : mapping of str to tuple of float
        Of each the quantiles of the scores at the levels, for the masses of Taylor et al. (2011) and of
        GSWLC-2.
    scatter_gswlc : float
        Scatter that the masses of GSWLC-2 add to those of Taylor for galaxies as they are, dex.
    noise_slope, noise_center : float, optional
        Where ALFALFA is noisier it detects richer galaxies: by how much, per unit of log10 of the noise
        over its median, and the mean of that over the galaxies of the scores.

    Raises
    ------
    ValueError
        If a set of evidence is missing, lengths differ, levels do not increase or do not lie between 0 and 1,
        scores decrease, or a number is not finite or is negative where it must not be.

    Examples
    --------
    >>> from hifrac import list_models
    >>> card = next(card for card in list_models() if card.name == "default")
    >>> sorted(card.calibration.scores)
    ['picture', 'picture+photometry', 'picture+z', 'picture+z+photometry']
    """

    n: int
    levels: tuple[float, ...]
    widths: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, tuple[float, ...]]
    scores_gswlc: Mapping[str, tuple[float, ...]]
    scatter_gswlc: float
    noise_slope: float = 0.0
    noise_center: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", checked_levels(self.levels))
        sizes = {"widths": 2, "scores": len(self.levels), "scores_gswlc": len(self.levels)}
        for name, size in sizes.items():
            rows = {key: tuple(float(value) for value in row) for key, row in getattr(self, name).items()}
            object.__setattr__(self, name, rows)
            if set(rows) != set(EVIDENCE_SETS):
                raise ValueError(
                    f"{name} must have {', '.join(EVIDENCE_SETS)}; got {', '.join(rows) or 'none'}"
                )
            if any(len(row) != size or not np.all(np.isfinite(row)) for row in rows.values()):
                raise ValueError(f"{name} must have {size} finite numbers for each set of evidence")
            if size > 2 and any(np.any(np.diff(row) < 0) for row in rows.values()):
                raise ValueError(f"{name} must not decrease")
        if not np.all(np.isfinite([self.noise_slope, self.noise_center])):
            raise ValueError("noise_slope and noise_center must be finite")
        if not (np.isfinite(self.scatter_gswlc) and self.scatter_gswlc >= 0):
            raise ValueError(f"scatter_gswlc must be finite and not negative, got {self.scatter_gswlc}")

    @classmethod
    def from_scores(
        cls,
        scores: Mapping[str, np.ndarray],
        scores_gswlc: Mapping[str, np.ndarray],
        widths: Mapping[str, tuple[float, ...]],
        scatter_gswlc: float,
        levels: Sequence[float] = SCORE_LEVELS,
    ) -> PosteriorTable:
        """Build the table from the scores of held-out galaxies.

        Parameters
        ----------
        scores, scores_gswlc : mapping of str to array of float, shape (n,) and (m,)
            Of each of ``EVIDENCE_SETS``: truth minus location, by the unit, on the two mass scales.
        widths, scatter_gswlc
            As of the class.
        levels : sequence of float, optional
            The probabilities wanted.

        Raises
        ------
        ValueError
            As of the class, or if there are too few scores for the outermost level.
        """
        quantiles = [
            {name: conformal_quantiles(np.asarray(values), levels) for name, values in rows.items()}
            for rows in (scores, scores_gswlc)
        ]
        return cls(
            n=len(next(iter(scores.values()))),
            levels=tuple(levels),
            widths=widths,
            scores=quantiles[0],
            scores_gswlc=quantiles[1],
            scatter_gswlc=scatter_gswlc,
        )

    def scores_at(self, normal_scores: np.ndarray, mass_scale: str) -> np.ndarray:
        """Return the scores (sets, m) at quantiles of the standard normal distribution (m,)."""
        nodes = np.array([NormalDist().inv_cdf(level) for level in self.levels])
        rows = self.scores_gswlc if mass_scale == "gswlc" else self.scores
        return np.stack([extrapolated(normal_scores, nodes, np.array(rows[name])) for name in EVIDENCE_SETS])


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities between which scores can be interpolated; a ValueError if they are none."""
    levels = tuple(float(level) for level in levels)
    if any(np.diff(levels) <= 0) or not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels must be increasing, between 0 and 1, got {levels}")
    if len(levels) < 2:
        raise ValueError("levels must be two or more")
    return levels


def extrapolated(x: np.ndarray, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate linearly, and go on beyond the ends as between the first, or the last, two nodes."""
    right = np.clip(np.searchsorted(nodes, x), 1, len(nodes) - 1)
    slope = np.diff(values) / np.diff(nodes)
    return values[right] + slope[right - 1] * (x - nodes[right])


def conformal_quantiles(values: np.ndarray, levels: Sequence[float]) -> tuple[float, ...]:
    """Return quantiles such that a new value lies outside with at most the nominal probability.

    Raises
    ------
    ValueError
        If there are too few values for the outermost level.
    """
    ranked = np.sort(values)
    n = ranked.size
    quantiles = []
    for level in levels:
        # The rank among n + 1: the new galaxy is one of the exchangeable draws.
        position = (n + 1) * level
        if level == 0.5 and n:
            quantiles.append(float(np.median(ranked)))
            continue
        rank = math.floor(position + 1e-9) if level < 0.5 else math.ceil(position - 1e-9)
        if not 1 <= rank <= n:
            raise ValueError(f"residuals: {n} are too few for the level {level}")
        quantiles.append(float(ranked[rank - 1]))
    return tuple(quantiles)
