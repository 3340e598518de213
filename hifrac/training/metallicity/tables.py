"""Figures of merit of galaxies that were held out, beside simple models and the published network."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from hifrac.metrics import bootstrap_errors, coverage
from hifrac.models.calibration import LEVELS
from hifrac.models.detection import DetectionTable
from hifrac.models.measuring import MeasuringNet
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.training.evaluation import SHARES, coverage_across
from hifrac.training.measuring.evidence import EVIDENCE
from hifrac.training.measuring.measurements import radial_colours
from hifrac.training.metallicity.calibrate import rows_with
from hifrac.training.metallicity.cross_validation import OutOfFold
from hifrac.training.metallicity.sample import PUBLISHED
from hifrac.training.tables import (
    COVERAGE_TARGETS,
    MOST_EVIDENCE,
    N_BOOTSTRAP,
    auc_with_error,
    formatted,
    nmad,
    percentile_columns,
    regression_row,
    residual_row,
    rmse,
    shares_with_errors,
    thirds,
)

#: What was asked for: table, evidence, figure, its range.
TARGETS = (
    ("cross_validation", "picture", "rmse", 0.0, 0.105),
    *(("cross_validation", "picture", *share) for share in COVERAGE_TARGETS),
    ("cross_validation", MOST_EVIDENCE, "rmse", 0.0, 0.095),
    *(("cross_validation", MOST_EVIDENCE, *share) for share in COVERAGE_TARGETS),
)
#: Simple models, of the picture and of a catalogue.
_RIDGE = RidgeCV(np.logspace(-2, 4, 25))
_BY_COLOURS = make_pipeline(StandardScaler(), _RIDGE)
_BY_CATALOGUE = make_pipeline(
    StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), _RIDGE
)
#: u-r, as observed, of galaxies that are most probably passive; Strateva et al. (2001, AJ 122, 1861) part the
#: two kinds at 2.22.
_RED = 2.6
#: Bounds of bins of p_star_forming.
_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def cross_validation_table(answers: OutOfFold, features: np.ndarray) -> Table:
    """Tabulate figures of the galaxies with a metallicity, by what is known of them, and of simple models.

    The estimate is the median. ``features`` are raw measurements. Models of which the name says so have the
    galaxies with photometry alone.
    """
    galaxies = answers.galaxies
    table = [_figures(answers, name, rows_with(galaxies, name), name) for name in EVIDENCE]
    rows, some = rows_with(galaxies, "picture"), rows_with(galaxies, MOST_EVIDENCE)
    table.append(_figures(answers, "picture, of galaxies with photometry", some, "picture"))
    colours, catalogue = radial_colours(features), np.asarray(galaxies["photometry"])
    for name, make, inputs, part in (
        ("ridge on radial colours", _BY_COLOURS, colours, rows),
        (
            "quadratic in colours, magnitude, redshift and mass of the catalogue",
            _BY_CATALOGUE,
            catalogue,
            some,
        ),
    ):
        truth, fold = np.asarray(galaxies["oh"])[part], answers.fold[part]
        estimate = cross_val_predict(make, inputs[part], truth, cv=PredefinedSplit(fold))
        table.append(regression_row(name, truth, estimate, coverage_across(truth - estimate, fold)))
        table[-1] |= {"n": len(part)}
    names = ["model", "n", *(name for name in table[0] if name not in ("model", "n"))]
    return formatted(Table(rows=table, names=names), first=2)


def _figures(answers: OutOfFold, name: str, rows: np.ndarray, evidence: str) -> dict[str, Any]:
    truth, quantiles = np.asarray(answers.galaxies["oh"])[rows], answers.quantiles(rows, evidence)
    row = regression_row(name, truth, quantiles[:, LEVELS.index(0.5)], shares(truth, quantiles))
    return {**row, "n": len(rows)}


def shares(truth: np.ndarray, quantiles: np.ndarray) -> dict[str, float]:
    """Return the coverage of the 68% and the 90% interval, given quantiles at `LEVELS`."""
    ends = {name: [quantiles[:, LEVELS.index(level)] for level in levels] for name, levels in SHARES.items()}
    return {name: coverage(truth, *interval) for name, interval in ends.items()}


def published_table(answers: OutOfFold) -> Table:
    """Compare with the network of Wu & Boada (2019) on the same galaxies, by the width of its pictures.

    ``difference`` is the RMSE of this model less that of the published one, with the error of samples of
    galaxies, the same for both.
    """
    galaxies, table = answers.galaxies, []
    published = np.asarray(galaxies["published"])
    for evidence in ("picture", "picture+z", MOST_EVIDENCE):
        rows = rows_with(galaxies, evidence)
        truth = np.asarray(galaxies["oh"])[rows]
        own = answers.quantiles(rows, evidence)[:, LEVELS.index(0.5)] - truth
        for column, side in enumerate(PUBLISHED):
            other = published[rows, column] - truth
            both = np.isfinite(other)
            pair = own[both], other[both]
            errors = bootstrap_errors(_difference, *pair, draws=N_BOOTSTRAP)
            row: dict[str, Any] = {"evidence": evidence, "published_width": side, "n": int(both.sum())}
            for name, value in _difference(*pair).items():
                row |= {name: value, f"{name}_error": errors[name]}
            table.append(row)
    return formatted(Table(rows=table), first=3)


def _difference(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return {
        "rmse": rmse(own),
        "rmse_published": rmse(other),
        "difference": rmse(own) - rmse(other),
        "correlation": float(np.corrcoef(own, other)[0, 1]),
    }


def thirds_table(answers: OutOfFold, features: np.ndarray) -> Table:
    """Tabulate errors and coverage by thirds of size, mass and the like, and of the measured metallicity."""
    galaxies, table = answers.galaxies, []
    for evidence in EVIDENCE:
        rows = rows_with(galaxies, evidence)
        truth, quantiles = np.asarray(galaxies["oh"])[rows], answers.quantiles(rows, evidence)
        estimate = quantiles[:, LEVELS.index(0.5)]
        width = quantiles[:, LEVELS.index(0.84)] - quantiles[:, LEVELS.index(0.16)]
        for name, values in {
            "size": features[rows, MeasuringNet.columns(("segment_shape",))[0]],
            "brightness": -answers.outputs["mag_r"][rows],
            "mass": answers.outputs["log_mstar"][rows],
            "width": width,
            "estimate": estimate,
            "measured": truth,
        }.items():
            for third, part in thirds(values):
                figures = residual_row(estimate[part] - truth[part])
                figures |= shares(truth[part], quantiles[part]) | {"width_68": float(np.median(width[part]))}
                table.append({"evidence": evidence, "thirds_of": name, "third": third, **figures})
    return formatted(Table(rows=table), first=4)


def readings_table(answers: OutOfFold, read: np.ndarray) -> Table:
    """Tabulate how well photometry, redshift and mass are read, (n, 8), off pictures with a metallicity."""
    rows = rows_with(answers.galaxies, MOST_EVIDENCE)
    truth = np.asarray(answers.galaxies["photometry"])[rows]
    table = []
    for name, residual, true in zip(PHOTOMETRIC, (read[rows] - truth).T, truth.T, strict=True):
        row = {"quantity": name, "n": len(rows), "offset": residual.mean(), "sigma": residual.std()}
        table.append({**row, "nmad": nmad(residual), "standard_deviation": true.std()})
    return formatted(Table(rows=table), first=2)


def star_forming_table(answers: OutOfFold, detection: DetectionTable) -> Table:
    """Tabulate what p_star_forming tells, what is flagged, and in bins how often lines say so.

    ``star_forming`` is the share that is, if of both kinds there were as many: what p_star_forming says.
    """
    galaxies = answers.galaxies
    probability = detection.probability(answers.outputs["star_forming_logit"])
    truth, labelled = np.asarray(galaxies["star_forming"]), np.isfinite(galaxies["oh"])
    is_told = np.isfinite(truth)
    columns = [PHOTOMETRIC.index(name) for name in ("u_minus_g", "g_minus_r")]
    is_red = np.asarray(galaxies["photometry"])[:, columns].sum(axis=1) > _RED
    table = []
    for name, rows in (
        ("all", is_told),
        ("without a metallicity", is_told & ~labelled),
        ("star-forming", truth == 1),
        ("not star-forming", truth == 0),
        (f"u-r > {_RED:g}, lines unknown", is_red & ~is_told),
    ):
        if not rows.any():
            continue
        row = _star_forming_row(name, truth[rows], probability[rows], detection.threshold)
        if len(np.unique(truth[rows])) == 2:
            row["auc"], row["auc_error"] = auc_with_error(truth[rows] == 1, probability[rows])
        table.append(row)
    weights = [1 / np.sum(truth == value) for value in (0, 1)]
    for low, high in pairwise(_BINS):
        rows = is_told & (probability >= low) & ((probability < high) | (high == 1))
        if rows.any():
            name = f"p from {low:g} to {high:g}"
            row = _star_forming_row(name, truth[rows], probability[rows], detection.threshold)
            share = np.average(truth[rows], weights=np.where(truth[rows] == 1, weights[1], weights[0]))
            table.append(row | shares_with_errors({"star_forming": float(share)}, int(rows.sum())))
    return formatted(Table(rows=table), first=3)


def _star_forming_row(
    name: str, truth: np.ndarray, probability: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Return counts, the mean probability and the share that is flagged; the rest is NaN."""
    row: dict[str, Any] = {"galaxies": name, "n": len(truth), "n_star_forming": int(np.sum(truth == 1))}
    row |= {"p_star_forming": np.mean(probability), "flagged": np.mean(probability < threshold)}
    return row | dict.fromkeys(("star_forming", "star_forming_error", "auc", "auc_error"), np.nan)


def out_of_fold_table(answers: OutOfFold, probability: np.ndarray) -> Table:
    """Tabulate the held-out answers, a row a galaxy with a metallicity.

    ``oh`` and its quantiles are of the picture alone; what ends in ``_z``, ``_z_photometry`` and the like
    knows that too, and is masked where it is not known.
    """
    galaxies = answers.galaxies
    rows = rows_with(galaxies, "picture")
    table = Table({"objid": galaxies["objid"][rows], "fold": answers.fold[rows]})
    table["oh_p50"] = np.asarray(galaxies["oh"])[rows]
    table["p_star_forming"] = probability[rows].round(4)
    table["distance"] = answers.outputs["distance"][rows].round(4)
    for evidence in EVIDENCE:
        end = evidence.removeprefix("picture").replace("+", "_").replace("log_mstar", "mstar")
        part = rows_with(galaxies, evidence)
        at = np.searchsorted(rows, part)
        quantiles = answers.quantiles(part, evidence)
        for name, values in zip(percentile_columns(f"oh{end}", LEVELS), quantiles.T, strict=True):
            column = MaskedColumn(np.zeros(len(rows)), mask=np.ones(len(rows), dtype=bool))
            column[at] = values.round(4)
            table[name] = column if column.mask.any() else np.asarray(column)
    return table
