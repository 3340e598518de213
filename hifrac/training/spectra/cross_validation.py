"""Spectra of galaxies by networks, and distributions by calibrations, that did not see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from hifrac.models.calibration import LEVELS
from hifrac.models.spectrum import SpectrumNet
from hifrac.models.spectrum_table import RATIOS, SpectrumTable
from hifrac.spectra import LinearLatents
from hifrac.training.measuring.distances import EDGE_PERCENTILES, distances_of, fit_distances, set_edge
from hifrac.training.measuring.evidence import EVIDENCE, evidence_of
from hifrac.training.measuring.linear import outputs_of
from hifrac.training.measuring.measurements import Measurements
from hifrac.training.measuring.ood import HARMLESS
from hifrac.training.spectra.calibrate import fit_table
from hifrac.training.spectra.heads import fit_heads, fit_lines, lines_of
from hifrac.training.spectra.sample import MEASURED, with_lines


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group.

    ``outputs``, as of `SpectrumOutput`, are by name; ``truth``, (n, 3), are `MEASURED` on the scale of
    MPA-JHU, to which those of Thomas et al. (2013) are moved by offsets fitted without the fold; ``fold`` is
    that in which the row was held out, and ``tables``, one a fold, are calibrated by galaxies of the others.
    """

    galaxies: Table
    space: LinearLatents
    outputs: dict[str, np.ndarray]
    truth: np.ndarray
    fold: np.ndarray
    tables: list[SpectrumTable]

    def flux(self, rows: np.ndarray, evidence: str) -> np.ndarray:
        """Return template spectra at the levels 0.16, 0.5 and 0.84 of some rows, numbers: (3, n, pixels)."""
        flux = np.empty((3, len(rows), len(self.space.mean)))
        for number, table in enumerate(self.tables):
            part = np.flatnonzero(self.fold[rows] == number)
            galaxies, outputs = self._part(rows[part])
            known = evidence_of(galaxies, EVIDENCE[evidence])
            ebv = np.asarray(galaxies["ebv"])
            flux[:, part] = table.flux(self.space, outputs, ebv, known, (0.16, 0.5, 0.84))
        return flux

    def line_quantiles(self, rows: np.ndarray, name: str, evidence: str = "picture") -> np.ndarray:
        """Return quantiles at `LEVELS`, (n, 5), of one of `MEASURED`, the equivalent width in Angstrom."""
        quantiles = np.empty((len(rows), len(LEVELS)))
        for number, table in enumerate(self.tables):
            part = np.flatnonzero(self.fold[rows] == number)
            galaxies, outputs = self._part(rows[part])
            known = evidence_of(galaxies, EVIDENCE[evidence])
            ebv = np.asarray(galaxies["ebv"])
            if name == "h_alpha":
                quantiles[part] = table.quantiles(outputs, ebv, known, LEVELS)
            else:
                ratio = RATIOS[MEASURED.index(name) - 1]
                quantiles[part] = table.ratio(outputs, ebv, known, ratio, LEVELS)
        return quantiles

    def _part(self, rows: np.ndarray) -> tuple[Table, dict[str, np.ndarray]]:
        return self.galaxies[rows], {name: values[rows] for name, values in self.outputs.items()}


def cross_validate(
    network: SpectrumNet, galaxies: Table, fold: np.ndarray, measured: Measurements, space: LinearLatents
) -> tuple[OutOfFold, SpectrumTable]:
    """Answer for each row with everything learned without its fold; the network is overwritten.

    Returns the calibration by all of them as well, and puts the edges of the distances into the network.
    """
    features, labelled = measured.features, with_lines(galaxies)
    outputs: dict[str, np.ndarray] = {}
    truth = np.asarray(galaxies["lines"]).copy()
    distances, harmless = np.empty((len(fold), len(EDGE_PERCENTILES))), []
    residuals = []
    for number in range(fold.max() + 1):
        held_out, rest = fold == number, fold != number
        offsets = fit_heads(network, features[rest], galaxies[rest])
        truth[held_out] -= np.nan_to_num(np.asarray(galaxies["portsmouth"]))[held_out, None] * offsets
        fit_distances(network, measured, labelled, rest)
        distances[held_out] = distances_of(network, features[held_out])
        altered = measured.augmented_of(held_out)
        harmless += [distances_of(network, altered[name]) for name in HARMLESS]
        for name, values in outputs_of(network, features[held_out]).items():
            outputs.setdefault(name, np.empty(len(fold)))[held_out] = values
        residuals.append(_line_residuals(network, galaxies, fold, features, rest & labelled))
    outputs["distance"] = set_edge(network, distances, labelled, ~labelled, np.concatenate(harmless))
    tables = []
    for number, values in enumerate(residuals):
        rest = fold != number
        part = {name: column[rest] for name, column in outputs.items()}
        tables.append(fit_table(part, galaxies[rest], values[rest], space))
    answers = OutOfFold(galaxies, space, outputs, truth, fold, tables)
    return answers, fit_table(outputs, galaxies, truth - lines_of(outputs), space)


def _line_residuals(
    network: SpectrumNet, galaxies: Table, fold: np.ndarray, features: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return truth minus estimate of `MEASURED`, (n, 3), each without its fold too; NaN but in some rows."""
    residuals = np.full((len(fold), len(MEASURED)), np.nan)
    for number in np.unique(fold[rows]):
        rest, held_out = rows & (fold != number), rows & (fold == number)
        offsets = fit_lines(network, features[rest], galaxies[rest])
        truth = np.asarray(galaxies["lines"])[held_out]
        truth = truth - np.asarray(galaxies["portsmouth"])[held_out, None] * offsets
        residuals[held_out] = truth - lines_of(outputs_of(network, features[held_out]))
    return residuals
