"""Answers for galaxies by networks, and intervals by tables, that did not see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from hifrac.metrics import coverage
from hifrac.models.calibration import LEVELS, ConformalTable, PopulationTable
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import StructureNet
from hifrac.training.evaluation import SHARES, fit_detection
from hifrac.training.structure.heads import EDGE_PERCENTILES, FEWEST_GAS_POOR, fit_heads, set_state
from hifrac.training.structure.measurements import Measurements
from hifrac.training.structure.sample import Galaxies, Labels

#: Pictures farther out than 97% of held-out training pictures are flagged.
OOD_PERCENTILE = 97.0
PERCENTILES = (*range(100), 99.5, 99.9, 100)


@dataclass(frozen=True)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group.

    ``outputs``, as ``NetworkOutput``, are by name; ``distances``, (n, 9), are not yet divided by their
    edges; ``fold`` is that in which the row was held out.
    """

    outputs: dict[str, np.ndarray]
    distances: np.ndarray
    fold: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of some rows."""
        return {name: values[rows] for name, values in self.outputs.items()}


@dataclass(frozen=True)
class HeldOut:
    """What networks answer for galaxies that they did not see, and what is made of it."""

    answers: OutOfFold
    calibrated: Calibrated
    without_reddening: tuple[OutOfFold, Calibrated]
    calibration: ConformalTable | PopulationTable
    detection: DetectionTable

    @property
    def p_detect(self) -> np.ndarray:
        """Probability of a detection."""
        return self.detection.p_detect(self.answers.outputs["detection_logit"])


def hold_out(
    network: StructureNet, galaxies: Galaxies, measured: Measurements, log_odds: tuple[float, float]
) -> HeldOut:
    """Answer for each galaxy without its fold, told the reddening and not, and calibrate the answers."""
    labels, fold = galaxies.labels, galaxies.fold
    augmented = measured.augmented, measured.augmented_rows
    answers = cross_validate(network, measured.features, labels, fold, *augmented)
    answers = set_edges(network, answers, labels)
    unaware = cross_validate(network, measured.without_reddening, labels, fold, *augmented)
    calibrated, unaware_calibrated = (calibrate_across(part, labels, log_odds) for part in (answers, unaware))
    return HeldOut(
        answers=answers,
        calibrated=calibrated,
        without_reddening=(unaware, unaware_calibrated),
        calibration=calibrate(answers, labels, np.ones(len(labels), dtype=bool), log_odds),
        detection=fit_detection_and_ood(answers, labels),
    )


def cross_validate(
    network: StructureNet,
    features: np.ndarray,
    labels: Labels,
    fold: np.ndarray,
    augmented: np.ndarray,
    augmented_rows: np.ndarray,
) -> OutOfFold:
    """Answer for each row with everything learned without its fold; the network is overwritten.

    The augmented pictures, as of `fit_heads`, are those of ``augmented_rows``, shape (k,).
    """
    outputs: dict[str, np.ndarray] = {}
    distances = np.empty((len(fold), len(EDGE_PERCENTILES)))
    for number in np.unique(fold):
        held_out, rest = fold == number, fold != number
        fit_heads(network, features[rest], labels[rest], augmented[:, rest[augmented_rows]])
        with torch.inference_mode():
            raw = torch.from_numpy(features[held_out]).float()
            answers = network.forward_head(raw)
            distances[held_out] = network.distances(raw).numpy()
        for name, values in answers._asdict().items():
            outputs.setdefault(name, np.empty(len(fold)))[held_out] = values.numpy()
    return OutOfFold(outputs, distances, fold)


def set_edges(network: StructureNet, answers: OutOfFold, labels: Labels) -> OutOfFold:
    """Put the edge of each distance where few held-out pictures lie beyond, in network and answers."""
    edge = np.array(
        [
            np.percentile(balanced(column, labels), percent)
            for column, percent in zip(answers.distances.T, EDGE_PERCENTILES, strict=True)
        ]
    )
    set_state(network, edge=edge)
    distance = (answers.distances / edge).max(1)
    return replace(answers, outputs={**answers.outputs, "distance": distance})


def balanced(values: np.ndarray, labels: Labels) -> np.ndarray:
    """Draw values of detections and of undetected galaxies such that both count alike."""
    levels = np.linspace(0, 1, 2001)
    return np.concatenate(
        [np.quantile(values[rows], levels) for rows in (labels.detected, labels.undetected)]
    )


@dataclass(frozen=True)
class Calibrated:
    """Estimates of log10(M_HI / M*), and quantiles by level (see ``LEVELS``), of held-out galaxies, in dex.

    ``pit`` is the probability integral transform: the share of the detections of the other folds that lie
    lower in their own distributions than the truth (or upper limit) in this one; NaN without it.
    """

    estimate: np.ndarray
    quantile: dict[float, np.ndarray]
    pit: np.ndarray

    def coverage(self, truth: np.ndarray, rows: np.ndarray, low: float, high: float) -> float:
        """Return the share of some rows whose truth lies between two quantiles."""
        return coverage(truth[rows], self.quantile[low][rows], self.quantile[high][rows])

    def shares(self, truth: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return the coverage of the 68% and of the 90% interval."""
        return {name: self.coverage(truth, rows, *levels) for name, levels in SHARES.items()}


def calibrate_across(answers: OutOfFold, labels: Labels, log_odds: tuple[float, float]) -> Calibrated:
    """Calibrate estimates and intervals of each fold, as `calibrate`, by a table that rests on the others."""
    estimate, pit = np.empty((2, len(labels)))
    quantile = {level: np.empty(len(labels)) for level in LEVELS}
    truth = labels.log_hi_fraction
    for number in np.unique(answers.fold):
        held_out = answers.fold == number
        table = calibrate(answers, labels, ~held_out, log_odds)
        outputs = answers[held_out]
        others = ~held_out & labels.detected
        ranked = np.sort(table.score(answers[others], truth[others]))
        score = table.score(outputs, truth[held_out])
        # A new value falls between two of n with probability 1 / (n + 1): the middle of that gap.
        pit[held_out] = np.where(
            np.isfinite(score), (np.searchsorted(ranked, score) + 0.5) / (len(ranked) + 1), np.nan
        )
        estimate[held_out] = table.estimate(outputs)
        for level, values in quantile.items():
            values[held_out] = table.quantile(outputs, level)
    return Calibrated(estimate, quantile, pit)


def calibrate(
    answers: OutOfFold, labels: Labels, rows: np.ndarray, log_odds: tuple[float, float]
) -> ConformalTable | PopulationTable:
    """Make the table of estimates and intervals that rests on some rows of the held-out galaxies.

    ``log_odds`` are the prior odds of gas-poor galaxies, for estimate and interval. With too few such
    galaxies they are not used, and the table is a ConformalTable.
    """
    detected, gas_poor = rows & labels.detected, rows & labels.gas_poor
    truth = labels.log_hi_fraction[detected]
    if gas_poor.sum() < FEWEST_GAS_POOR or np.count_nonzero(gas_poor & ~labels.is_limit) < 5:
        unit = np.exp(answers.outputs["log_spread"][detected])
        return ConformalTable.from_residuals((truth - answers.outputs["estimate"][detected]) / unit)
    return PopulationTable.fit(
        answers[detected],
        truth,
        answers[gas_poor],
        labels.log_hi_fraction[gas_poor],
        labels.is_limit[gas_poor],
        log_odds_estimate=log_odds[0],
        log_odds_interval=log_odds[1],
    )


def fit_detection_and_ood(answers: OutOfFold, labels: Labels) -> DetectionTable:
    """Calibrate p_detect, and the score of the distance from the training set."""
    rows = labels.detected | labels.undetected
    # Both count alike, although there are many more undetected galaxies.
    distances = np.percentile(balanced(answers.outputs["distance"], labels), PERCENTILES)
    ebv = labels.ebv[labels.detected | labels.gas_poor]
    ebv = ebv[np.isfinite(ebv)]
    return fit_detection(
        labels.detected[rows],
        answers.outputs["detection_logit"][rows],
        percentiles=PERCENTILES,
        distances=tuple(distances),
        ood_threshold=OOD_PERCENTILE,
        # The largest reddening, in mag, of the galaxies that the estimate learned from.
        largest_ebv=float(np.ceil(ebv.max() * 1000) / 1000) if ebv.size else None,
    )
