"""The metallicity of each galaxy as a distribution: the estimate of its picture, moved by evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hifrac.models.calibration import SCORE_LEVELS, checked_levels, conformal_quantiles, extrapolated
from hifrac.models.evidence_table import READINGS, EvidenceTable

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence
    from hifrac.models.calibration import Outputs

_MOST_MASS = 3.0  # standard deviations of the mass within which slope and error change with it
_MASS = READINGS.index("log_mstar")


@dataclass(frozen=True, kw_only=True)
class MetallicityTable(EvidenceTable):
    """The calibration of a metallicity network, for any subset of evidence.

    What the evidence tells is that of the mass, see `EvidenceTable`, with the parameters of that. The
    estimate moves with the mass, less where the picture shows a massive galaxy, as the mass-metallicity
    relation flattens; its variance is that with the mass known, plus what is left of the mass's times the
    square of the slope. The truth is distributed as location + unit x score; the scores are those of galaxies
    that were held out.

    Parameters
    ----------
    n : int
        How many galaxies were held out.
    levels : tuple of float
        Probabilities, increasing, between 0 and 1.
    score_quantiles : tuple of float
        Quantiles of the scores at the levels.
    slope, slope_change : float
        Change of 12 + log(O/H) with the stellar mass (dex by dex) beyond what the picture shows, at
        ``mass_center``; and its change with the mass that the picture shows, in units of ``mass_scale``.
    mass_center, mass_scale : float
        Mean and standard deviation of that mass over the training set, log10(M*/Msun).
    log_unit : tuple of float, shape (2,)
        Natural logarithm of the error with all evidence, and its change with the mass.

    Raises
    ------
    ValueError
        If lengths are wrong, levels or quantiles do not increase, a number is not finite, or the covariance
        is none.
    """

    n: int
    levels: tuple[float, ...]
    score_quantiles: tuple[float, ...]
    slope: float
    slope_change: float
    mass_center: float
    mass_scale: float
    log_unit: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "levels", checked_levels(self.levels))
        self._set_numbers("score_quantiles", len(self.levels))
        self._set_numbers("log_unit", 2)
        for name in ("slope", "slope_change", "mass_center", "mass_scale"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        if any(np.diff(self.score_quantiles) < 0):
            raise ValueError("score_quantiles must not decrease")
        if self.mass_scale <= 0:
            raise ValueError("mass_scale must be positive")

    def with_scores(self, scores: np.ndarray, levels: Sequence[float] = SCORE_LEVELS) -> MetallicityTable:
        """Return the table with the quantiles of held-out scores; a ValueError if they are too few."""
        quantiles = conformal_quantiles(scores, levels)
        return replace(self, n=len(scores), levels=tuple(levels), score_quantiles=quantiles)

    def standard_mass(self, outputs: Outputs) -> np.ndarray:
        """Return the mass that the picture shows, in units of its spread, within limits: shape (n,)."""
        mass = (np.asarray(outputs["log_mstar"], dtype=float) - self.mass_center) / self.mass_scale
        return np.clip(mass, -_MOST_MASS, _MOST_MASS)

    def location_and_unit(
        self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of each distribution, and the unit of its width, shape (n,) each.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            Those of the network by name.
        ebv : array of float, shape (n,), or None
            Galactic reddening E(B-V) in mag; NaN where unknown.
        evidence : `~hifrac.core.evidence.Evidence` or None
            What is known of the galaxies.
        """
        mass = self.standard_mass(outputs)
        expected, left = self._mass_difference(outputs, ebv, evidence)
        slope = self.slope + self.slope_change * mass
        variance = np.exp(2 * (self.log_unit[0] + self.log_unit[1] * mass)) + slope**2 * left
        return np.asarray(outputs["estimate"], dtype=float) + slope * expected, np.sqrt(variance)

    def _mass_difference(
        self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the mass's difference, given the evidence, shape (n,) each."""
        cross = np.array(self.evidence_covariance)[:, [_MASS]]
        expected, left = self.conditional(outputs, ebv, evidence, cross, cross[[_MASS]])
        return expected[:, 0], np.maximum(left[:, 0, 0], 0.0)

    def quantiles(
        self,
        outputs: Outputs,
        ebv: np.ndarray | None,
        evidence: Evidence | None,
        levels: Sequence[float] | np.ndarray,
    ) -> np.ndarray:
        """Return quantiles of 12 + log(O/H), shape (n, k).

        Parameters
        ----------
        outputs, ebv, evidence
            As of `location_and_unit`.
        levels : array of float, shape (k,) or (n, k)
            Probabilities between 0 and 1.

        Returns
        -------
        quantiles : array of float, shape (n, k)
            NaN where an output is NaN.
        """
        from scipy.special import ndtri

        location, unit = self.location_and_unit(outputs, ebv, evidence)
        scores = extrapolated(
            ndtri(np.asarray(levels, dtype=float)), ndtri(self.levels), np.array(self.score_quantiles)
        )
        return location[:, None] + unit[:, None] * np.atleast_2d(scores)
