"""A model's answer: the outputs of its network, calibrated, with the flags that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from hifrac.core.measurements import BANDS
from hifrac.core.quantities import PROBABILITIES
from hifrac.models.calibration import (
    ConformalTable,
    ConformalTables,
    QuantileTable,
    SpectralTable,
    estimate_names,
)

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence
    from hifrac.models.cards import ModelCard
    from hifrac.models.posterior import Posterior
    from hifrac.spectra import Latents

#: Levels of the intervals that a result has, by the end of their columns' names.
INTERVAL_LEVELS = {"p16": 0.16, "p84": 0.84, "p05": 0.05, "p95": 0.95}

_EVIDENCE_NAMES = {"log_cz": "z", "g_minus_i": "photometry"}


@dataclass(frozen=True, eq=False)
class Answer:
    """The calibrated answer of a model to n pictures; NaN where it has none.

    Attributes
    ----------
    estimate : `~numpy.ndarray` of float, shape (n,)
        Median of the target, in its unit.
    probability : `~numpy.ndarray` of float, shape (n,)
        ``p_detect``, that an ALFALFA-like survey detects the galaxy, or ``p_star_forming``, that its stars
        form; at equal prior odds.
    ood_score : `~numpy.ndarray` of float, shape (n,)
        Percentile of the distance from the training set, 0 to 100.
    flags : `~numpy.ndarray` of int32, shape (n,)
        UNLIKELY_DETECTION or NOT_STAR_FORMING, OUT_OF_DISTRIBUTION and HIGH_REDDENING, see `~hifrac.Flag`.
    probability_column : str
        Which probability it is.
    quantiles : dict of float to `~numpy.ndarray` of float, shape (n,)
        Quantiles of the target at the levels of ``INTERVAL_LEVELS``; empty for a model without an interval.
    samples : `~numpy.ndarray` of float, shape (n, k), or None
        Draws from each distribution, if they were asked for.
    more : dict of str to `~numpy.ndarray` of float, shape (n,) or (n, k)
        What else the model says, by the names of the result columns: of one of spectra the spectrum.

    Examples
    --------
    >>> from hifrac import load_model
    >>> from hifrac.demo import PICTURES
    >>> from hifrac.images import decode
    >>> picture = decode((PICTURES / "sim-01-elliptical.jpg").read_bytes())
    >>> answer = load_model("default").answer(picture[None])
    >>> answer.estimate.shape, answer.probability_column, sorted(answer.quantiles)
    ((1,), 'p_detect', [0.05, 0.16, 0.84, 0.95])
    """

    estimate: np.ndarray
    probability: np.ndarray
    ood_score: np.ndarray
    flags: np.ndarray
    probability_column: str = "p_detect"
    quantiles: dict[float, np.ndarray] = field(default_factory=dict)
    samples: np.ndarray | None = None
    more: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_outputs(
        cls,
        card: ModelCard,
        outputs: Mapping[str, np.ndarray],
        ebv: np.ndarray | None = None,
        posterior: Posterior | None = None,
        *,
        evidence: Evidence | None = None,
        selection: str = "intrinsic",
        shares: np.ndarray | None = None,
        space: Latents | None = None,
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
        posterior : Posterior, optional
            What follows for the galaxies, of a model that has distributions; estimate and quantiles are its.
        evidence : Evidence, optional
            What is known of the galaxies beside their pictures, for a calibration that uses it.
        selection : {"intrinsic", "alfalfa", "undetected"}, optional
            How the galaxies came into the sample: whose distribution it is, of a posterior.
        shares : array of float, shape (n, k), optional
            Draw the values below which these shares of the distributions lie: uniform random numbers.
        space : `~hifrac.spectra.Latents`, optional
            What makes spectra of the latents that the network gave, for a calibration of such.
        """
        n = len(next(iter(outputs.values())))
        estimate, quantiles, samples = outputs.get("estimate", np.full(n, np.nan)), {}, None
        levels = tuple(INTERVAL_LEVELS.values())
        log_odds: np.ndarray | float = 0.0
        bound: np.ndarray | float = 1.0
        more: dict[str, np.ndarray] = {}
        if posterior is not None:
            density = posterior.density(selection)
            estimate, *interval = density.quantile([0.5, *levels]).numpy().T
            quantiles = dict(zip(levels, interval, strict=True))
            samples = None if shares is None else density.quantile(shares).numpy()
            log_odds, bound = posterior.detection_log_odds.numpy(), posterior.detection_bound.numpy()
        elif isinstance(card.calibration, ConformalTable):
            estimate = card.calibration.estimate(outputs)
            quantiles = {level: card.calibration.quantile(outputs, level) for level in levels}
        elif isinstance(card.calibration, ConformalTables):
            first, *others = _each_target(card.calibration, outputs)
            estimate, quantiles = first[1:]
            for column, value, of_column in others:
                more[column] = value
                more |= {f"{column}_{name}": of_column[level] for name, level in INTERVAL_LEVELS.items()}
        elif isinstance(card.calibration, QuantileTable):
            calibrate = partial(card.calibration.quantiles, outputs, ebv, evidence)
            estimate, *interval = calibrate(np.array([0.5, *levels])).T
            quantiles = dict(zip(levels, interval, strict=True))
            samples = None if shares is None else calibrate(shares)
        if space is not None and isinstance(card.calibration, SpectralTable):
            more = card.calibration.columns(outputs, ebv, evidence, space)
        column = next((name for name, of in PROBABILITIES.items() if of.output in outputs), "p_detect")
        logit, _, unlikely = PROBABILITIES[column]
        probability, ood_score, flags = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.int32)
        if card.detection is not None:
            if logit in outputs:
                probability = np.minimum(card.detection.probability(outputs[logit], log_odds), bound)
            if "distance" in outputs:
                ood_score = card.detection.ood_score(outputs["distance"])
            flags = card.detection.flags(probability, ood_score, ebv, unlikely=unlikely).astype(np.int32)
        return cls(estimate, probability, ood_score, flags, column, quantiles, samples, more)

    def columns(self, target: str) -> dict[str, np.ndarray]:
        """Return the numbers by the names of their result columns, given that of the estimate."""
        unknown = np.full_like(self.estimate, np.nan)
        interval = {
            f"{target}_{name}": self.quantiles.get(level, unknown) for name, level in INTERVAL_LEVELS.items()
        }
        draws = {} if self.samples is None else {f"{target}_samples": self.samples}
        more = {self.probability_column: self.probability, "ood_score": self.ood_score}
        return {target: self.estimate, **interval, **draws, **more, **self.more}


def _each_target(
    calibration: ConformalTables, outputs: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray, dict[float, np.ndarray]]]:
    """Yield the result column of each target, its estimate, and its quantiles."""
    names = estimate_names(len(calibration.columns))
    for column, name in zip(calibration.columns, names, strict=True):
        table, own = calibration.table(column), {"estimate": outputs[name]}
        quantiles = {level: table.quantile(own, level) for level in INTERVAL_LEVELS.values()}
        yield column, table.estimate(own), quantiles


def evidence_text(evidence: Evidence, uses: Iterable[str]) -> np.ndarray:
    """Say of each row what of some attributes is used, such as "picture+z+photometry", or "picture+gri"."""
    text = np.full(len(evidence), "picture", dtype=object)
    for name in uses:
        is_there = np.isfinite(getattr(evidence, name))
        if name == "magnitudes":
            bands = ["".join(compress(BANDS, row)) for row in is_there]
            text += np.array([f"+{row}" if row else "" for row in bands], dtype=object)
            continue
        if name == "g_minus_i":
            is_there &= np.isfinite(evidence.i)
        text[is_there] += f"+{_EVIDENCE_NAMES.get(name, name)}"
    return text.astype(str)
