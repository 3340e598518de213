"""Answers for galaxies by networks, and intervals by tables, that did not see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hifrac.metrics import coverage
from hifrac.models.calibration import LEVELS, ConformalTable, PopulationTable
from hifrac.models.structure import StructureNet
from hifrac.training.structure.heads import EDGE_PERCENTILES, FEWEST_GAS_POOR, _set, fit_heads
from hifrac.training.structure.sample import Labels


@dataclass(frozen=True)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group.

    Attributes
    ----------
    outputs : dict of str to array of float, shape (n,)
        As ``NetworkOutput``, by name.
    distances : array of float, shape (n, 9)
        The distances, before they are divided by their edges.
    fold : array of int, shape (n,)
        The fold in which the row was held out.
    """

    outputs: dict[str, np.ndarray]
    distances: np.ndarray
    fold: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of some rows."""
        return {name: values[rows] for name, values in self.outputs.items()}


def cross_validate(
    network: StructureNet,
    features: np.ndarray,
    labels: Labels,
    fold: np.ndarray,
    altered: np.ndarray,
    altered_rows: np.ndarray,
) -> OutOfFold:
    """Out-of-fold answers; everything learned is learned without the fold.

    Parameters
    ----------
    network : StructureNet
        One whose learned part is overwritten.
    features, labels, altered
        As of `fit_heads`.
    altered_rows : array of int, shape (k,)
        Of which of the rows the altered pictures are.
    fold : array of int, shape (n,)
        The fold of each row.

    Returns
    -------
    answers : OutOfFold
    """
    outputs: dict[str, np.ndarray] = {}
    distances = np.empty((len(fold), len(EDGE_PERCENTILES)))
    for number in np.unique(fold):
        held_out, rest = fold == number, fold != number
        fit_heads(network, features[rest], labels[rest], altered[:, rest[altered_rows]])
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
    _set(network, edge=edge)
    distance = (answers.distances / edge).max(1)
    return OutOfFold({**answers.outputs, "distance": distance}, answers.distances, answers.fold)


def balanced(values: np.ndarray, labels: Labels) -> np.ndarray:
    """Values of detections and undetected galaxies such that both kinds count alike."""
    levels = np.linspace(0, 1, 2001)
    return np.concatenate(
        [np.quantile(values[kind], levels) for kind in (labels.detected, labels.undetected)]
    )


def calibrate(
    answers: OutOfFold, labels: Labels, rows: np.ndarray, log_odds: tuple[float, float]
) -> ConformalTable | PopulationTable:
    """The table of intervals that rests on some of the held-out galaxies.

    Parameters
    ----------
    answers : OutOfFold
        Answers of networks that did not see the galaxies.
    labels : Labels
        What is known of them.
    rows : array of bool, shape (n,)
        Which of them to take.
    log_odds : (float, float)
        Prior odds of gas-poor galaxies, for estimate and interval; not used without such galaxies.

    Returns
    -------
    table : PopulationTable, or ConformalTable without gas-poor galaxies
    """
    seen, poor = rows & labels.detected, rows & labels.gas_poor
    truth = labels.log_hi_fraction[seen]
    if poor.sum() < FEWEST_GAS_POOR or np.count_nonzero(poor & ~labels.is_limit) < 5:
        unit = np.exp(answers.outputs["log_spread"][seen])
        return ConformalTable.from_residuals((truth - answers.outputs["estimate"][seen]) / unit)
    return PopulationTable.fit(
        answers[seen],
        truth,
        answers[poor],
        labels.log_hi_fraction[poor],
        labels.is_limit[poor],
        log_odds_estimate=log_odds[0],
        log_odds_interval=log_odds[1],
    )


@dataclass(frozen=True)
class Calibrated:
    """Estimates and quantiles of held-out galaxies; arrays of shape (n,).

    Attributes
    ----------
    estimate : array of float
        log10(M_HI / M*), in dex.
    quantile : dict of float to array of float
        By level, see ``LEVELS``.
    pit : array of float
        Probability integral transform: the share of the detections of the other folds that
        lie lower in their own distributions than the truth (or upper limit) in this one; NaN without it.
    """

    estimate: np.ndarray
    quantile: dict[float, np.ndarray]
    pit: np.ndarray

    def coverage(self, truth: np.ndarray, rows: np.ndarray, low: float, high: float) -> float:
        """Share of some rows whose truth lies between two quantiles."""
        return coverage(truth[rows], self.quantile[low][rows], self.quantile[high][rows])


def calibrate_across(answers: OutOfFold, labels: Labels, log_odds: tuple[float, float]) -> Calibrated:
    """Estimates and intervals of each fold, by a table that rests on the others.

    Parameters
    ----------
    answers, labels, log_odds
        As of `calibrate`.
    """
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
