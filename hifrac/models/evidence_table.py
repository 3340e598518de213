"""What tables tell of galaxies against what their pictures show, as normal distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hifrac.core.reddening import EXTINCTION_PER_EBV

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence
    from hifrac.models.calibration import Outputs

#: What is read off a picture that a table may tell, too: names of the network's outputs.
READINGS = ("mag_u", "mag_g", "mag_r", "mag_i", "mag_z", "log_cz", "log_mstar")

_UNKNOWN = 1e4  # the error of what is not known
_DUST = np.array([*(EXTINCTION_PER_EBV[band] for band in "ugriz"), 0.0, 0.0])
_MASS = READINGS.index("log_mstar")


@dataclass(frozen=True, kw_only=True)
class EvidenceTable:
    """The part of a calibration that any subset of evidence rests on.

    Catalogues differ from what the picture shows by a vector d, of magnitudes, redshift and stellar mass,
    that is normally distributed. The evidence tells some of its components, and these what goes with them.

    Parameters
    ----------
    evidence_covariance : tuple of tuple of float, shape (7, 7)
        That of the differences between catalogue and picture, in the order of ``READINGS``.
    evidence_mean, evidence_limits : tuple of float, shape (7,)
        The mean of these differences, and how far they may be from it: what is farther is moved there.
    typical_ebv : float
        E(B-V) where it is not known, mag.

    Raises
    ------
    ValueError
        If lengths are wrong, a number is not finite, or the covariance is none.
    """

    # Errors of tables: of magnitudes and log10(cz), which those of the training set have too; and of stellar
    # masses, whose scales differ.
    errors: ClassVar[tuple[float, ...]] = (0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.10)

    evidence_covariance: tuple[tuple[float, ...], ...]
    evidence_mean: tuple[float, ...]
    evidence_limits: tuple[float, ...]
    typical_ebv: float

    def __post_init__(self) -> None:
        n = len(READINGS)
        self._set_numbers("evidence_mean", n)
        self._set_numbers("evidence_limits", n)
        self._set_covariance("evidence_covariance", n)
        if not np.isfinite(self.typical_ebv):
            raise ValueError(f"typical_ebv must be finite, got {self.typical_ebv}")
        if min(self.evidence_limits) <= 0:
            raise ValueError("evidence_limits must be positive")

    def _set_numbers(self, name: str, size: int) -> None:
        """Make floats of a field that must have so many finite numbers."""
        values = tuple(float(value) for value in getattr(self, name))
        object.__setattr__(self, name, values)
        if len(values) != size or not np.all(np.isfinite(values)):
            raise ValueError(f"{name} must be {size} finite numbers, got {values}")

    def _set_matrix(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """Make floats of a field that must have rows of finite numbers; return them as an array."""
        rows = tuple(tuple(float(value) for value in row) for row in getattr(self, name))
        object.__setattr__(self, name, rows)
        if [len(row) for row in rows] != [shape[1]] * shape[0] or not np.all(np.isfinite(rows)):
            raise ValueError(f"{name} must be {shape[0]} by {shape[1]} finite numbers")
        return np.array(rows)

    def _set_covariance(self, name: str, size: int) -> None:
        """Make floats of a field that must be a covariance."""
        covariance = self._set_matrix(name, (size, size))
        if not np.allclose(covariance, covariance.T):
            raise ValueError(f"{name} must be {size} by {size} finite numbers, and symmetric")
        if np.linalg.eigvalsh(covariance)[0] < -1e-9:
            raise ValueError(f"{name} must have no negative eigenvalue")

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

    def conditional(
        self,
        outputs: Outputs,
        ebv: np.ndarray | None,
        evidence: Evidence | None,
        cross: np.ndarray,
        prior: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the evidence tells of k numbers: their means (n, k) and covariances (n, k, k).

        Parameters
        ----------
        outputs, ebv, evidence
            As of the other methods.
        cross : array of float, shape (7, k)
            Covariances of the differences and the numbers, whose means are 0.
        prior : array of float, shape (k, k)
            Covariance of the numbers without evidence.
        """
        n, size = len(outputs[READINGS[0]]), len(prior)
        difference = self.differences(outputs, ebv, evidence)
        is_known = np.isfinite(difference)
        if evidence is None or not is_known.any():
            return np.zeros((n, size)), np.tile(prior, (n, 1, 1))
        error = np.where(is_known, self.errors, _UNKNOWN)
        error[:, _MASS] = np.hypot(error[:, _MASS], np.nan_to_num(evidence.log_mstar_err))
        noise = np.eye(len(READINGS)) * error[:, None, :] ** 2
        gain = np.linalg.solve(np.array(self.evidence_covariance) + noise, np.tile(cross, (n, 1, 1)))
        gain = gain.transpose(0, 2, 1)
        expected = (gain @ np.where(is_known, difference, 0.0)[..., None])[..., 0]
        return expected, prior - gain @ cross
