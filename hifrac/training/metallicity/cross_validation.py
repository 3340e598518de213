"""Answers for galaxies by networks, and distributions by calibrations, that did not see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from hifrac.models.calibration import LEVELS
from hifrac.models.metallicity import MetallicityNet
from hifrac.models.metallicity_table import MetallicityTable
from hifrac.training.measuring.distances import EDGE_PERCENTILES, distances_of, fit_distances, set_edge
from hifrac.training.measuring.evidence import EVIDENCE, evidence_of
from hifrac.training.measuring.linear import outputs_of
from hifrac.training.measuring.measurements import Measurements
from hifrac.training.measuring.ood import HARMLESS
from hifrac.training.metallicity.calibrate import fit_table
from hifrac.training.metallicity.heads import fit_heads, fit_metallicity


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group.

    ``outputs``, as of `MetallicityOutput`, are by name; ``distances``, (n, 9), are not yet divided by their
    edges, and ``harmless``, (k, 9), are those of pictures that `HARMLESS` made; ``fold`` is that in which the
    row was held out, and ``tables``, one a fold, are calibrated by the galaxies of the others.
    """

    galaxies: Table
    outputs: dict[str, np.ndarray]
    distances: np.ndarray
    harmless: np.ndarray
    fold: np.ndarray
    tables: list[MetallicityTable]

    def quantiles(self, rows: np.ndarray, evidence: str) -> np.ndarray:
        """Return quantiles at `LEVELS`, (n, 5), of some rows (numbers), each by the table of its fold."""
        quantiles = np.empty((len(rows), len(LEVELS)))
        for number, table in enumerate(self.tables):
            part = np.flatnonzero(self.fold[rows] == number)
            galaxies = self.galaxies[rows[part]]
            outputs = {name: values[rows[part]] for name, values in self.outputs.items()}
            known = evidence_of(galaxies, EVIDENCE[evidence])
            quantiles[part] = table.quantiles(outputs, np.asarray(galaxies["ebv"]), known, LEVELS)
        return quantiles


def cross_validate(
    network: MetallicityNet, galaxies: Table, fold: np.ndarray, measured: Measurements
) -> OutOfFold:
    """Answer for each row with everything learned without its fold; the network is overwritten.

    Its readings are learned already, of galaxies without a metallicity. What calibrates a fold is of
    estimates for the galaxies of each other fold that knew neither.
    """
    features, labelled = measured.features, np.isfinite(galaxies["oh"])
    outputs: dict[str, np.ndarray] = {}
    distances, harmless = np.empty((len(fold), len(EDGE_PERCENTILES))), []
    tables = []
    for number in range(fold.max() + 1):
        held_out, rest = fold == number, fold != number
        tables.append(_table_without(network, galaxies, fold, features, rest & labelled))
        fit_heads(network, features[rest], galaxies[rest])
        fit_distances(network, measured, labelled, rest)
        distances[held_out] = distances_of(network, features[held_out])
        altered = measured.augmented_of(held_out)
        harmless += [distances_of(network, altered[name]) for name in HARMLESS]
        for name, values in outputs_of(network, features[held_out]).items():
            outputs.setdefault(name, np.empty(len(fold)))[held_out] = values
    return OutOfFold(galaxies, outputs, distances, np.concatenate(harmless), fold, tables)


def _table_without(
    network: MetallicityNet, galaxies: Table, fold: np.ndarray, features: np.ndarray, rows: np.ndarray
) -> MetallicityTable:
    """Calibrate by some labelled rows, a mask, each estimated without its fold."""
    outputs: dict[str, np.ndarray] = {}
    for number in np.unique(fold[rows]):
        rest, held_out = rows & (fold != number), rows & (fold == number)
        fit_metallicity(network, features[rest], galaxies[rest])
        for name, values in outputs_of(network, features[held_out]).items():
            outputs.setdefault(name, np.empty(len(fold)))[held_out] = values
    return fit_table({name: values[rows] for name, values in outputs.items()}, galaxies[rows])


def calibrate(answers: OutOfFold) -> MetallicityTable:
    """Calibrate by all galaxies with a metallicity, each held out."""
    rows = np.isfinite(answers.galaxies["oh"])
    return fit_table({name: values[rows] for name, values in answers.outputs.items()}, answers.galaxies[rows])


def set_edges(network: MetallicityNet, answers: OutOfFold) -> OutOfFold:
    """Put the edge of each distance where few held-out pictures lie beyond, in network and answers."""
    labelled = np.isfinite(answers.galaxies["oh"])
    distance = set_edge(network, answers.distances, labelled, ~labelled, answers.harmless)
    return replace(answers, outputs={**answers.outputs, "distance": distance})
