"""The metallicity of each galaxy as a distribution: the estimate of its picture, moved by evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from hifrac.core.reddening import EXTINCTION_PER_EBV
from hifrac.models.calibration import SCORE_LEVELS, checked_levels, conformal_quantiles, extrapolated

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence
    from hifrac.models.calibration import Outputs

#: What is read off a picture that a table may tell, too: names of the network's outputs.
READINGS = ("mag_u", "mag_g", "mag_r", "mag_i", "mag_z", "log_cz", "log_mstar")

# Errors of tables: of magnitudes and log10(cz), which those of the training set have too; and of stellar
# masses, whose scales differ.
_ERRORS = np.array([0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.10])
_UNKNOWN = 1e4  # the error of what is not known
_MOST_MASS = 3.0  # standard deviations of the mass within which slope and error change with it
_DUST = np.array([*(EXTINCTION_PER_EBV[band] for band in "ugriz"), 0.0, 0.0])
_MASS = READINGS.index("log_mstar")


@dataclass(frozen=True, kw_only=True)
class MetallicityTable:
    """The calibration of a metallicity network, for any subset of evidence.

    Catalogues differ from what the picture shows by a vector d, of magnitudes, redshift and stellar mass,
    that is normally distributed. The evidence tells some of its components, and these that of the mass. The
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
    evidence_covariance : tuple of tuple of float, shape (7, 7)
        That of the differences between catalogue and picture, in the order of ``READINGS``.
    evidence_mean, evidence_limits : tuple of float, shape (7,)
        The mean of these differences, and how far they may be from it: what is farther is moved there.
    slope, slope_change : float
        Change of 12 + log(O/H) with the stellar mass (dex by dex) beyond what the picture shows, at
        ``mass_center``; and its change with the mass that the picture shows, in units of ``mass_scale``.
    mass_center, mass_scale : float
        Mean and standard deviation of that mass over the training set, log10(M*/Msun).
    log_unit : tuple of float, shape (2,)
        Natural logarithm of the error with all evidence, and its change with the mass.
    typical_ebv : float
        E(B-V) where it is not known, mag.

    Raises
    ------
    ValueError
        If lengths are wrong, levels or quantiles do not increase, a number is not finite, or the covariance
        is none.
    """

    n: int
    levels: tuple[float, ...]
    score_quantiles: tuple[float, ...]
    evidence_covariance: tuple[tuple[float, ...], ...]
    evidence_mean: tuple[float, ...]
    evidence_limits: tuple[float, ...]
    slope: float
    slope_change: float
    mass_center: float
    mass_scale: float
    log_unit: tuple[float, ...]
    typical_ebv: float

    def __post_init__(self) -> None:
        n = len(READINGS)
        object.__setattr__(self, "levels", checked_levels(self.levels))
        sizes = {"score_quantiles": len(self.levels), "log_unit": 2}
        sizes |= dict.fromkeys(("evidence_mean", "evidence_limits"), n)
        for name, size in sizes.items():
            values = tuple(float(value) for value in getattr(self, name))
            object.__setattr__(self, name, values)
            if len(values) != size or not np.all(np.isfinite(values)):
                raise ValueError(f"{name} must be {size} finite numbers, got {values}")
        rows = tuple(tuple(float(value) for value in row) for row in self.evidence_covariance)
        object.__setattr__(self, "evidence_covariance", rows)
        covariance = np.array(rows) if [len(row) for row in rows] == [n] * n else np.full((n, n), np.nan)
        if not np.all(np.isfinite(covariance)) or not np.allclose(covariance, covariance.T):
            raise ValueError(f"evidence_covariance must be {n} by {n} finite numbers, and symmetric")
        if np.linalg.eigvalsh(covariance)[0] < -1e-9:
            raise ValueError("evidence_covariance must have no negative eigenvalue")
        for name in ("slope", "slope_change", "mass_center", "mass_scale", "typical_ebv"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        if any(np.diff(self.score_quantiles) < 0):
            raise ValueError("score_quantiles must not decrease")
        if self.mass_scale <= 0 or min(self.evidence_limits) <= 0:
            raise ValueError("mass_scale and evidence_limits must be positive")

    def with_scores(self, scores: np.ndarray, levels: Sequence[float] = SCORE_LEVELS) -> MetallicityTable:
        """Return the table with the quantiles of held-out scores; a ValueError if they are too few."""
        quantiles = conformal_quantiles(scores, levels)
        return replace(self, n=len(scores), levels=tuple(levels), score_quantiles=quantiles)

    def differences(self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None) -> np.ndarray:
        """Return evidence minus what the picture shows, less the mean and limited: (n, 7), NaN if unknown."""
        shown = np.stack([np.asarray(outputs[name], dtype=float) for name in READINGS], axis=1)
        if evidence is None:
            return np.full(shown.shape, np.nan)
        dust = np.full(len(shown), np.nan) if ebv is None else np.asarray(ebv, dtype=float)
        dust = np.where(np.isfinite(dust), dust, self.typical_ebv)
        table = np.column_stack([evidence.magnitudes, evidence.log_cz, evidence.log_mstar])
        difference = table - (shown - dust[:, None] * _DUST) - self.evidence_mean
        limits = np.array(self.evidence_limits)
        return np.clip(difference, -limits, limits)

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
        covariance = np.array(self.evidence_covariance)
        n = len(outputs["estimate"])
        difference = self.differences(outputs, ebv, evidence)
        is_known = np.isfinite(difference)
        if evidence is None or not is_known.any():
            return np.zeros(n), np.full(n, covariance[_MASS, _MASS])
        error = np.where(is_known, _ERRORS, _UNKNOWN)
        error[:, _MASS] = np.hypot(error[:, _MASS], np.nan_to_num(evidence.log_mstar_err))
        noise = np.eye(len(covariance)) * error[:, None, :] ** 2
        gain = np.linalg.solve(covariance + noise, np.tile(covariance[_MASS, :, None], (n, 1, 1)))[..., 0]
        expected = np.sum(gain * np.where(is_known, difference, 0.0), axis=1)
        return expected, np.maximum(covariance[_MASS, _MASS] - gain @ covariance[_MASS], 0.0)

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
        location, unit = self.location_and_unit(outputs, ebv, evidence)
        scores = extrapolated(
            ndtri(np.asarray(levels, dtype=float)), ndtri(self.levels), np.array(self.score_quantiles)
        )
        return location[:, None] + unit[:, None] * np.atleast_2d(scores)
