"""Calibrated intervals: conformal quantiles of residuals the model never trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_ndtr, ndtr

#: The tabulated probabilities: median, 68% and 90% intervals.
LEVELS = (0.05, 0.16, 0.50, 0.84, 0.95)

Outputs = Mapping[str, np.ndarray]


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
        return cls(n=ranked.size, levels=tuple(levels), values=_conformal_quantiles(ranked, levels))

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
        return self.estimate(outputs) + self.value(level) * self._unit(outputs)

    def score(self, outputs: Outputs, truth: np.ndarray) -> np.ndarray:
        """Return what is ranked for the intervals: residuals, in units of the network's spread if it has one.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            What `hifrac.models.Model.run` gave.
        truth : array of float, shape (n,)
            The measured values.
        """
        return (truth - self.estimate(outputs)) / self._unit(outputs)

    @staticmethod
    def _unit(outputs: Outputs) -> np.ndarray | float:
        return np.exp(outputs["log_spread"]) if "log_spread" in outputs else 1.0


@dataclass(frozen=True)
class PopulationTable:
    """Intervals that hold for two parent populations: what ALFALFA detects, and what it misses.

    One picture may be that of a galaxy rich enough in HI to be in a
    HI-selected sample, or of its twin that is not. The truth of a picture is taken to be
    distributed as a mixture of two normal distributions: one about the
    network's estimate, and one that lies ``poor_shift`` from it, whose share
    follows from ``gas_poor_logit``. The quantiles of that mixture are
    calibrated: ``ranks`` says which quantile of it a share ``levels`` of held-out
    detections lies below (distributional conformal prediction: Chernozhukov,
    Wuethrich & Zhu 2021, PNAS 118, e2107794118).

    Parameters
    ----------
    n, n_poor : int
        How many held-out detections, and galaxies that ALFALFA missed, the table rests on.
    levels, ranks : tuple of float
        Probabilities, increasing, between 0 and 1; that of 0.5 is the estimate's.
    spread_factor : float
        Standard deviation of the first population, in units of the network's spread.
    slope, intercept : float
        Calibration of ``gas_poor_logit`` (Platt 1999), at equal odds.
    poor_shift, poor_spread : float
        Mean and standard deviation of the second population about the estimate, in
        dex; from a fit that knows upper limits (Tobin 1958, Econometrica 26, 24).
    log_odds_estimate : float
        Natural logarithm of the prior odds of the second population: for the estimate,
    log_odds_interval : float
        and for the interval.

    Raises
    ------
    ValueError
        If levels and ranks differ in length, are not increasing or do not lie
        between 0 and 1, levels lack 0.5, a number is not finite, or a spread
        not positive.
    """

    n: int
    n_poor: int
    levels: tuple[float, ...]
    ranks: tuple[float, ...]
    spread_factor: float
    slope: float
    intercept: float
    poor_shift: float
    poor_spread: float
    log_odds_estimate: float
    log_odds_interval: float

    def __post_init__(self) -> None:
        for name in ("levels", "ranks"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            values = getattr(self, name)
            if any(np.diff(values) <= 0) or not all(0 < value < 1 for value in values):
                raise ValueError(f"{name} must be increasing, between 0 and 1, got {values}")
        if len(self.levels) != len(self.ranks) or 0.5 not in self.levels:
            raise ValueError("levels and ranks must have the same length, and levels must have 0.5")
        numbers = (
            self.slope,
            self.intercept,
            self.poor_shift,
            self.log_odds_estimate,
            self.log_odds_interval,
            self.spread_factor,
            self.poor_spread,
        )
        if not np.all(np.isfinite(numbers)):
            raise ValueError("slope, intercept, poor_shift, the spreads and odds must be finite")
        if not (self.spread_factor > 0 and self.poor_spread > 0):
            raise ValueError("spread_factor and poor_spread must be positive")

    def p_poor(self, outputs: Outputs, log_odds: float) -> np.ndarray:
        """Return the probability of the second population at some prior odds."""
        return expit(self.slope * np.asarray(outputs["gas_poor_logit"]) + self.intercept + log_odds)

    def cdf(self, outputs: Outputs, value: np.ndarray, log_odds: float) -> np.ndarray:
        """Return the share of the mixture below a value, before calibration.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            What `hifrac.models.Model.run` gave.
        value : array of float, shape (n,)
            log10(M_HI / M*).
        log_odds : float
            Natural logarithm of the prior odds of the second population.
        """
        offset = value - outputs["estimate"]
        poor = self.p_poor(outputs, log_odds)
        spread = self.spread_factor * np.exp(outputs["log_spread"])
        return (1 - poor) * ndtr(offset / spread) + poor * ndtr((offset - self.poor_shift) / self.poor_spread)

    def score(self, outputs: Outputs, truth: np.ndarray) -> np.ndarray:
        """Return what is ranked for the intervals: `cdf` at the truth, at the odds ``log_odds_interval``.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            What `hifrac.models.Model.run` gave.
        truth : array of float, shape (n,)
            The measured values.
        """
        return self.cdf(outputs, truth, self.log_odds_interval)

    def estimate(self, outputs: Outputs) -> np.ndarray:
        """Return the median of each picture, at the odds ``log_odds_estimate``."""
        return self._solve(outputs, self.ranks[self.levels.index(0.5)], self.log_odds_estimate)

    def quantile(self, outputs: Outputs, level: float) -> np.ndarray:
        """Return a quantile of each picture, at the odds ``log_odds_interval``; on its side of the estimate.

        Raises
        ------
        ValueError
            If the level is not in the table.
        """
        if level not in self.levels:
            raise ValueError(f"level must be one of {self.levels}, got {level}")
        estimate = self.estimate(outputs)
        if level == 0.5:
            return estimate
        side = np.minimum if level < 0.5 else np.maximum
        return side(
            estimate, self._solve(outputs, self.ranks[self.levels.index(level)], self.log_odds_interval)
        )

    def _solve(self, outputs: Outputs, rank: float, log_odds: float) -> np.ndarray:
        """Find the values below which a share ``rank`` of each mixture lies, by bisection to 1e-9 dex."""
        spread = self.spread_factor * np.exp(outputs["log_spread"])
        reach = 12 * np.maximum(spread, self.poor_spread) + abs(self.poor_shift)
        low, high = outputs["estimate"] - reach, outputs["estimate"] + reach
        for _ in range(40):
            middle = 0.5 * (low + high)
            below = self.cdf(outputs, middle, log_odds) < rank
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where(np.isfinite(outputs["gas_poor_logit"]), 0.5 * (low + high), np.nan)

    @classmethod
    def fit(
        cls,
        outputs: Outputs,
        truth: np.ndarray,
        poor_outputs: Outputs,
        poor_truth: np.ndarray,
        is_limit: np.ndarray,
        *,
        log_odds_estimate: float,
        log_odds_interval: float,
        levels: Sequence[float] = LEVELS,
    ) -> PopulationTable:
        """Build the table from the answers of networks that did not see the galaxies.

        Parameters
        ----------
        outputs, poor_outputs : mapping of str to array of float, shape (n,) and (m,)
            ``estimate``, ``log_spread`` and ``gas_poor_logit`` of detections,
            and of galaxies that ALFALFA missed.
        truth : array of float, shape (n,)
            log10(M_HI / M*) of the detections.
        poor_truth : array of float, shape (m,)
            The same of the others, or an upper limit.
        is_limit : array of bool, shape (m,)
            Where it is an upper limit.
        log_odds_estimate, log_odds_interval : float
            As for the class.
        levels : sequence of float, optional
            The probabilities wanted.

        Raises
        ------
        ValueError
            If there are too few galaxies for the outermost level, or fewer than five
            of the second population with a value.
        """
        if np.count_nonzero(~is_limit) < 5:
            raise ValueError("is_limit must leave five values or more")
        for name, values in (("truth", truth), ("poor_truth", poor_truth)):
            if not np.all(np.isfinite(values)):
                raise ValueError(f"{name} must be finite")
        residual = truth - outputs["estimate"]
        factor = float(np.sqrt(np.mean((residual / np.exp(outputs["log_spread"])) ** 2)))
        slope, intercept = _platt(outputs["gas_poor_logit"], poor_outputs["gas_poor_logit"])
        shift, spread = _tobit(poor_truth - poor_outputs["estimate"], is_limit)
        table = cls(
            n=len(truth),
            n_poor=len(poor_truth),
            levels=tuple(levels),
            ranks=tuple(levels),
            spread_factor=factor,
            slope=slope,
            intercept=intercept,
            poor_shift=shift,
            poor_spread=spread,
            log_odds_estimate=log_odds_estimate,
            log_odds_interval=log_odds_interval,
        )
        ranks = dict(
            zip(
                levels,
                _conformal_quantiles(table.score(outputs, truth), levels),
                strict=True,
            )
        )
        ranks[0.5] = float(np.median(table.cdf(outputs, truth, log_odds_estimate)))
        if np.any(np.diff([ranks[level] for level in levels]) <= 0):
            raise ValueError("log_odds_estimate and log_odds_interval are too far apart")
        return cls(**{**vars(table), "ranks": tuple(ranks[level] for level in levels)})


def _platt(detections: np.ndarray, poor: np.ndarray) -> tuple[float, float]:
    """Fit slope and intercept of the probability of the second population, both counting alike."""
    from scipy.optimize import minimize

    def loss(at: np.ndarray) -> float:
        costs = [np.mean(np.logaddexp(0, sign * (at[0] * logit + at[1]))) for sign, logit in signs]
        return sum(costs) + 1e-6 * float(at @ at)

    signs = ((1.0, np.asarray(detections)), (-1.0, np.asarray(poor)))
    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(intercept)


def _tobit(residual: np.ndarray, is_limit: np.ndarray) -> tuple[float, float]:
    """Fit mean and standard deviation of normal values, some of them upper limits (Tobin 1958)."""
    from scipy.optimize import minimize

    def loss(at: np.ndarray) -> float:
        scaled = (residual - at[0]) / np.exp(at[1])
        return -float(np.sum(np.where(is_limit, log_ndtr(scaled), -0.5 * scaled**2 - at[1])))

    start = np.array([residual[~is_limit].mean(), np.log(residual[~is_limit].std() + 0.05)])
    shift, log_spread = minimize(loss, start, method="Nelder-Mead").x
    return float(shift), float(np.exp(log_spread))


def _conformal_quantiles(values: np.ndarray, levels: Sequence[float]) -> tuple[float, ...]:
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
