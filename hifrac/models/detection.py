"""Detection and distance: which rows to trust.

Two questions, two numbers. A probability: would an ALFALFA-like survey detect this galaxy (``p_detect``), or
do its stars form (``p_star_forming``), as those of all galaxies that the model learned from? ``ood_score``:
does the picture resemble what the model was trained on at all?
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hifrac.core.flags import Flag


@dataclass(frozen=True)
class DetectionTable:
    """What turns the network's raw answers into ``p_detect``, or ``p_star_forming``, and ``ood_score``.

    Parameters
    ----------
    slope, intercept : float
        Calibration of the log odds (Platt 1999), fitted to
        out-of-fold log odds at equal prior odds.
    threshold : float
        ``p_detect`` below it is flagged UNLIKELY_DETECTION, ``p_star_forming`` NOT_STAR_FORMING.
    percentiles : tuple of float
        Percentiles, increasing from 0 to 100.
    distances : tuple of float
        Held-out training pictures: the distance at each percentile.
    ood_threshold : float
        ``ood_score`` at or above it is flagged OUT_OF_DISTRIBUTION.
    largest_ebv : float or None
        Galactic reddening E(B-V) in mag above which a row is flagged HIGH_REDDENING, the largest of
        the training set; None for a model that knows no reddening.
    posterior_slope : float
        What the log odds of the posterior count beside those of the network, see `probability`.

    Raises
    ------
    ValueError
        If percentiles and distances differ in length, are not increasing, or
        the percentiles do not run from 0 to 100; or if a number is not finite.

    Examples
    --------
    >>> from hifrac.models import DetectionTable
    >>> table = DetectionTable(slope=1.0, intercept=0.0, threshold=0.1, percentiles=(0, 50, 100),
    ...                        distances=(1.0, 2.0, 4.0), ood_threshold=99.0)
    >>> table.probability([0.0, 2.0]).round(2), table.ood_score([2.0, 3.0])
    (array([0.5 , 0.88]), array([50., 75.]))
    """

    slope: float
    intercept: float
    threshold: float
    percentiles: tuple[float, ...]
    distances: tuple[float, ...]
    ood_threshold: float
    largest_ebv: float | None = None
    posterior_slope: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "percentiles", tuple(float(value) for value in self.percentiles))
        object.__setattr__(self, "distances", tuple(float(value) for value in self.distances))
        if len(self.percentiles) != len(self.distances):
            raise ValueError("percentiles and distances differ in length")
        if any(np.diff(self.percentiles) <= 0) or any(np.diff(self.distances) < 0):
            raise ValueError("percentiles and distances must be increasing")
        if not self.percentiles or (self.percentiles[0], self.percentiles[-1]) != (0, 100):
            raise ValueError("percentiles must run from 0 to 100")
        numbers = [self.slope, self.intercept, self.posterior_slope, self.threshold, self.ood_threshold]
        numbers += self.distances
        if self.largest_ebv is not None:
            numbers.append(self.largest_ebv)
        if not np.all(np.isfinite(numbers)):
            raise ValueError("slopes, intercept, thresholds, distances and largest_ebv must be finite")

    def probability(self, logit: np.ndarray, posterior_log_odds: np.ndarray | float = 0.0) -> np.ndarray:
        """Return ``p_detect`` or ``p_star_forming``, at equal prior odds.

        Parameters
        ----------
        logit : array of float
            Raw log odds of the network.
        posterior_log_odds : array of float, optional
            Log odds that follow from the HI fraction and the limit of the survey, of a model that has them.

        Returns
        -------
        probability : array of float
            Between 0 and 1.
        """
        log_odds = self.slope * np.asarray(logit, dtype=float) + self.intercept
        log_odds = log_odds + self.posterior_slope * np.asarray(posterior_log_odds, dtype=float)
        # tanh does not overflow, whatever the logit.
        return 0.5 * (1 + np.tanh(0.5 * log_odds))

    def ood_score(self, distance: np.ndarray) -> np.ndarray:
        """Return the percentile of a distance among held-out training pictures.

        Parameters
        ----------
        distance : array of float
            Distance of the network.

        Returns
        -------
        score : array of float
            0 to 100; 100 for a picture farther than all of them, or for a
            distance that is not finite.
        """
        score = np.interp(np.asarray(distance, dtype=float), self.distances, self.percentiles)
        return np.where(np.isfinite(distance), score, 100.0)

    def flags(
        self,
        probability: np.ndarray,
        ood_score: np.ndarray,
        ebv: np.ndarray | None = None,
        *,
        unlikely: Flag = Flag.UNLIKELY_DETECTION,
    ) -> np.ndarray:
        """Return the flags that follow from the two numbers and the reddening.

        Parameters
        ----------
        probability, ood_score : array of float, shape (n,)
            As of the methods; NaN flags nothing.
        ebv : array of float, shape (n,), optional
            Galactic reddening E(B-V) in mag; NaN where unknown.
        unlikely : `~hifrac.Flag`, optional
            The flag of a low probability.

        Returns
        -------
        flags : array of int, shape (n,)
            Sums of `~hifrac.Flag`.
        """
        flags = np.where(probability < self.threshold, int(unlikely), 0)
        flags |= np.where(ood_score >= self.ood_threshold, int(Flag.OUT_OF_DISTRIBUTION), 0)
        if ebv is None or self.largest_ebv is None:
            return flags
        return flags | np.where(ebv > self.largest_ebv, int(Flag.HIGH_REDDENING), 0)
