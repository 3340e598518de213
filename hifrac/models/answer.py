"""A model's answer: the outputs of its network, calibrated, with the flags that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hifrac.models.cards import ModelCard

#: Levels of the intervals that a result has, by the end of their columns' names.
INTERVAL_LEVELS = {"p16": 0.16, "p84": 0.84, "p05": 0.05, "p95": 0.95}

#: The numbers of an answer, by their names in `hifrac.core.RESULT_COLUMNS`.
ANSWER_COLUMNS = (
    "log_hi_fraction",
    *(f"log_hi_fraction_{name}" for name in INTERVAL_LEVELS),
    "log_hi_fraction_gswlc",
    "p_detect",
    "ood_score",
)


@dataclass(frozen=True, eq=False)
class Answer:
    """The calibrated answer of a model to n pictures; NaN where it has none.

    Attributes
    ----------
    estimate : `~numpy.ndarray` of float, shape (n,)
        Median of the target, in its unit.
    gswlc : `~numpy.ndarray` of float, shape (n,)
        The same on the stellar masses of GSWLC-2.
    p_detect : `~numpy.ndarray` of float, shape (n,)
        Probability that an ALFALFA-like survey detects the galaxy, at equal prior odds.
    ood_score : `~numpy.ndarray` of float, shape (n,)
        Percentile of the distance from the training set, 0 to 100.
    flags : `~numpy.ndarray` of int32, shape (n,)
        UNLIKELY_DETECTION, OUT_OF_DISTRIBUTION and HIGH_REDDENING, see `~hifrac.Flag`.
    quantiles : dict of float to `~numpy.ndarray` of float, shape (n,)
        Quantiles of the target at the levels of ``INTERVAL_LEVELS``; empty for a model without an interval.
    """

    estimate: np.ndarray
    gswlc: np.ndarray
    p_detect: np.ndarray
    ood_score: np.ndarray
    flags: np.ndarray
    quantiles: dict[float, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_outputs(
        cls, card: ModelCard, outputs: Mapping[str, np.ndarray], ebv: np.ndarray | None = None
    ) -> Answer:
        """Calibrate what a network gave.

        Parameters
        ----------
        card : `~hifrac.models.ModelCard`
            The model's: it has the calibration and the detection table.
        outputs : mapping of str to array of float, shape (n,)
            The outputs of the network by name, as of `hifrac.models.Model.run`.
        ebv : array of float, shape (n,), optional
            Galactic reddening E(B-V) in mag, NaN where unknown, for the flag HIGH_REDDENING.
        """
        n = len(next(iter(outputs.values())))
        estimate, quantiles = outputs.get("estimate", np.full(n, np.nan)), {}
        if card.calibration is not None:
            estimate = card.calibration.estimate(outputs)
            quantiles = {
                level: card.calibration.quantile(outputs, level) for level in INTERVAL_LEVELS.values()
            }
        p_detect, ood_score, flags = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.int32)
        if card.detection is not None:
            if "detection_logit" in outputs:
                p_detect = card.detection.p_detect(outputs["detection_logit"])
            if "distance" in outputs:
                ood_score = card.detection.ood_score(outputs["distance"])
            flags = card.detection.flags(p_detect, ood_score, ebv).astype(np.int32)
        return cls(
            estimate=estimate,
            gswlc=estimate + outputs.get("gswlc_offset", np.nan),
            p_detect=p_detect,
            ood_score=ood_score,
            flags=flags,
            quantiles=quantiles,
        )

    def columns(self) -> dict[str, np.ndarray]:
        """Return the numbers by the names of ``ANSWER_COLUMNS``."""
        unknown = np.full_like(self.estimate, np.nan)
        interval = [self.quantiles.get(level, unknown) for level in INTERVAL_LEVELS.values()]
        values = (self.estimate, *interval, self.gswlc, self.p_detect, self.ood_score)
        return dict(zip(ANSWER_COLUMNS, values, strict=True))
