"""Figures of merit of galaxies that were held out, of the model and of simple ones on the same folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hifrac.core.measurements import C_KM_S
from hifrac.metrics import bootstrap_errors
from hifrac.models.calibration import EVIDENCE_SETS, LEVELS
from hifrac.models.density import Density
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.population import Population
from hifrac.models.structure import StructureNet
from hifrac.training.evaluation import SHARES, coverage_across
from hifrac.training.measuring.measurements import radial_colours
from hifrac.training.structure.cross_validation import (
    EVIDENCE,
    Distributions,
    OutOfFold,
    distributions,
    summary,
)
from hifrac.training.structure.heads import G_MINUS_I, MAGNITUDE
from hifrac.training.structure.priors import Catalogs, Sample, fit_population
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

#: log10(cz) within which ALFALFA could see a galaxy.
NEARBY = np.log10(0.06 * C_KM_S)
#: What was asked for: table, evidence (of missed galaxies with selection "intrinsic"), figure, its range.
TARGETS = (
    ("cross_validation", "picture", "rmse", 0.0, 0.203),
    *(("cross_validation", "picture", *share) for share in COVERAGE_TARGETS),
    ("cross_validation", MOST_EVIDENCE, "rmse", 0.0, 0.175),
    *(("cross_validation", MOST_EVIDENCE, *share) for share in COVERAGE_TARGETS),
    ("missed", "picture+z", "rmse", 0.0, 0.36),
    ("missed", "picture+z", "offset", -0.10, 0.10),
    *(("missed", "picture+z", *share) for share in COVERAGE_TARGETS),
    ("missed", MOST_EVIDENCE, "rmse", 0.0, 0.30),
    ("missed", MOST_EVIDENCE, "offset", -0.10, 0.10),
    ("missed", MOST_EVIDENCE, "limits_violated", 0.0, 0.35),
    ("missed", MOST_EVIDENCE, "sum_medians", -0.10, 0.10),
    ("missed", MOST_EVIDENCE, "sum_means", -0.10, 0.10),
    *(("missed", MOST_EVIDENCE, *share) for share in COVERAGE_TARGETS),
    ("detection", "p_detect", "auc", 0.98, 1.0),
)

#: The simple models: of the HI fraction, and what tells detections from other galaxies.
_REGRESSIONS = {
    "ridge (or logistic) on radial colours": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 25))),
    "linear in catalogue g-i and i": LinearRegression(),
}
_LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))


def cross_validation_table(answers: OutOfFold, features: np.ndarray, p_detect: np.ndarray) -> Table:
    """Tabulate figures of the galaxies that ALFALFA detected, by what is known of them, and of simple models.

    ``features`` are raw measurements, ``p_detect`` of the picture alone. ``auc`` is detections against bright
    undetected galaxies; NaN where a model does not tell.
    """
    galaxies = answers.galaxies
    rows, detected = np.flatnonzero(galaxies["detected"]), np.asarray(galaxies["detected"])
    truth, fold = np.asarray(galaxies["log_hi_fraction"])[rows], answers.fold[rows]
    table = []
    for evidence in EVIDENCE:
        held_out = distributions(answers, rows, evidence, "alfalfa")
        table.append(_row(evidence, truth, held_out.estimate, _shares(held_out.below)))
    photometry = np.column_stack([galaxies["g_minus_i"], galaxies["i"]])
    for name, make in _REGRESSIONS.items():
        inputs = photometry if "catalogue" in name else radial_colours(features)
        estimate = cross_val_predict(make, inputs[rows], truth, cv=PredefinedSplit(fold))
        table.append(_row(name, truth, estimate, coverage_across(truth - estimate, fold)))
    seen = detected | np.asarray(galaxies["undetected"])
    colours = radial_colours(features)[seen]
    folds = PredefinedSplit(answers.fold[seen])
    logistic = cross_val_predict(_LOGISTIC, colours, detected[seen], cv=folds, method="decision_function")
    for row, score in ((table[0], p_detect[seen]), (table[len(EVIDENCE)], logistic)):
        row["auc"], row["auc_error"] = auc_with_error(detected[seen], score)
    return formatted(Table(rows=table))


def _row(name: str, truth: np.ndarray, estimate: np.ndarray, shares: dict[str, float]) -> dict[str, Any]:
    return {**regression_row(name, truth, estimate, shares), "auc": np.nan, "auc_error": np.nan}


def _shares(below: np.ndarray) -> dict[str, float]:
    """Return the coverage of the 68% and the 90% interval, given the probabilities below the truth."""
    return {name: float(np.mean((below >= low) & (below <= high))) for name, (low, high) in SHARES.items()}


def thirds_table(answers: OutOfFold, features: np.ndarray) -> Table:
    """Tabulate errors and coverage of the detections by thirds of size, colour and the like."""
    rows = np.flatnonzero(answers.galaxies["detected"])
    truth = np.asarray(answers.galaxies["log_hi_fraction"])[rows]
    size = features[rows, StructureNet.columns(("segment_shape",))[0]]
    shown = {
        "size": size,
        "colour": answers.read[rows, G_MINUS_I],
        "brightness": -answers.read[rows, MAGNITUDE],
    }
    table = []
    for evidence in EVIDENCE_SETS:
        held_out = distributions(answers, rows, evidence, "alfalfa")
        residual, quantiles = held_out.estimate - truth, held_out.quantiles
        width = quantiles[:, LEVELS.index(0.84)] - quantiles[:, LEVELS.index(0.16)]
        for name, values in {**shown, "width": width, "estimate": held_out.estimate}.items():
            for third, part in thirds(values):
                figures = residual_row(residual[part])
                figures |= _shares(held_out.below[part]) | {"width_68": float(np.median(width[part]))}
                table.append({"evidence": evidence, "thirds_of": name, "third": third, **figures})
    return formatted(Table(rows=table), first=4)


def gswlc_table(answers: OutOfFold) -> Table:
    """Tabulate estimates on both scales of stellar masses, of the detections that have masses of GSWLC-2."""
    offset = np.asarray(answers.galaxies["log_mstar"] - answers.galaxies["log_mstar_gswlc"])
    rows = np.flatnonzero(answers.galaxies["detected"] & np.isfinite(offset))
    value = np.asarray(answers.galaxies["log_hi_fraction"])[rows]
    table = []
    for evidence in EVIDENCE_SETS:
        for scale, truth in (("taylor", value), ("gswlc", value + offset[rows])):
            held_out = distributions(answers, rows, evidence, "alfalfa", scale)
            row = _row(evidence, truth, held_out.estimate, _shares(held_out.below))
            figures = {key: figure for key, figure in row.items() if key != "model" and "auc" not in key}
            table.append({"evidence": evidence, "mass_scale": scale, "n": len(rows), **figures})
    return formatted(Table(rows=table), first=3)


def missed_table(answers: OutOfFold) -> Table:
    """Tabulate how estimates fare on galaxies that ALFALFA did not detect and RESOLVE measured, unconfused.

    See `_figures_with_limits`; ``sum_medians`` and ``sum_means`` are log10 of the sum of M_HI that is
    estimated, by the medians and by the means of the distributions, over that measured.
    """
    galaxies = answers.galaxies
    rows = np.flatnonzero(galaxies["missed"] & ~galaxies["confused"])
    value, is_limit = (np.asarray(galaxies[name])[rows] for name in ("log_hi_fraction", "is_limit"))
    mass = answers.by_fold(rows, MOST_EVIDENCE, lambda posterior, _: posterior.galaxies.log_mstar)[~is_limit]
    table = []
    for evidence in EVIDENCE_SETS:
        for selection in ("intrinsic", "undetected", "alfalfa"):
            held_out = distributions(answers, rows, evidence, selection)
            row = {
                "evidence": evidence,
                "selection": selection,
                **_figures_with_limits(held_out, value, is_limit),
            }
            measured = np.sum(10 ** (value[~is_limit] + mass))
            for name, logs in (("sum_medians", held_out.estimate), ("sum_means", held_out.log_mean)):
                row[name] = float(np.log10(np.sum(10 ** (logs[~is_limit] + mass)) / measured))
            table.append(row)
    return formatted(Table(rows=table), first=2)


def _figures_with_limits(
    held_out: Distributions, value: np.ndarray, is_limit: np.ndarray
) -> dict[str, float]:
    """Compute figures of values some of which are upper limits.

    ``rmse`` and ``offset`` (of estimate minus value) are of the values; ``limits_violated`` is the share of
    medians above the limit, ``p_below_limit`` the mean probability below it. Coverages are of all: of a limit
    the rank is anything below its probability, as often each.
    """
    residual = (held_out.estimate - value)[~is_limit]
    error = bootstrap_errors(rmse, residual, draws=N_BOOTSTRAP)
    row = {"n": len(residual), "rmse": rmse(residual), "rmse_error": error, "offset": float(residual.mean())}
    row["offset_error"] = float(residual.std(ddof=1) / np.sqrt(len(residual)))
    ranks = np.where(is_limit, np.linspace(0.0025, 0.9975, 200)[:, None], 1.0) * held_out.below
    row |= shares_with_errors(_shares(ranks), len(value))
    above = (held_out.estimate > value)[is_limit]
    row |= {"n_limits": int(is_limit.sum()), "limits_violated": np.nan, "p_below_limit": np.nan}
    if is_limit.any():
        row |= {
            "limits_violated": float(above.mean()),
            "p_below_limit": float(held_out.below[is_limit].mean()),
        }
    return row


def xgass_table(network: StructureNet, catalogs: Catalogs, seed: int) -> Table:
    """Tabulate what photometry alone says of xGASS, the population fitted without each fifth of its galaxies.

    Confused galaxies, and those in the sky of the pictures, are never learned from. The population of
    ``network`` is that of the catalogues; it is left so.
    """
    xgass = catalogs.xgass
    learned = np.asarray(~xgass["held_out"] & ~xgass["confused"])
    fold = np.where(learned, np.random.default_rng(seed).integers(0, 5, len(xgass)), -1)
    value = np.asarray(xgass["log_hi_fraction"])
    columns = np.empty((len(xgass), len(LEVELS) + 3))
    start = network.population.state_dict()
    for number in range(-1, 5):
        population = Population()
        population.load_state_dict(start)
        if number >= 0:
            fit_population(population, [catalogs.samples[0], Sample.of(xgass[learned & (fold != number)])])
        sample = Sample.of(xgass[fold == number])
        density = Density.split_normal(*population.at(*sample.inputs.T))
        columns[fold == number] = summary(density, value[fold == number]).numpy()
    samples = {"unconfused, outside the sky of the pictures": learned, "all": np.ones(len(xgass), dtype=bool)}
    rows = []
    for name, chosen in samples.items():
        held_out = Distributions(columns[chosen, :-3], *columns[chosen, -3:].T)
        limits = np.asarray(xgass["is_limit"])[chosen]
        rows.append({"sample": name, **_figures_with_limits(held_out, value[chosen], limits)})
    return formatted(Table(rows=rows))


def learning_curve_table(residuals: dict[int, dict[str, np.ndarray]]) -> Table:
    """Tabulate the error with so many detections to learn from, by what is known of the others."""
    rows: list[dict[str, Any]] = []
    for size, by_evidence in residuals.items():
        row: dict[str, Any] = {"n_labels": size}
        for name, residual in by_evidence.items():
            error = bootstrap_errors(rmse, residual, draws=N_BOOTSTRAP)
            row |= {name: rmse(residual), f"{name}_error": error}
        rows.append(row)
    return formatted(Table(rows=rows))


def readings_table(answers: OutOfFold) -> Table:
    """Tabulate how well photometry, redshift and shape are read off held-out pictures."""
    galaxies = answers.galaxies
    truth = np.column_stack([galaxies["photometry"], galaxies["axis_ratio"]])
    nearby = np.asarray(galaxies["log_cz"]) < NEARBY
    table = []
    for column, name in enumerate((*PHOTOMETRIC, "axis_ratio")):
        row: dict[str, Any] = {"quantity": name}
        residual = answers.read[:, column] - truth[:, column]
        for where, rows in (("", np.isfinite(residual)), ("_nearby", np.isfinite(residual) & nearby)):
            part = residual[rows]
            row |= {f"n{where}": part.size, f"sigma{where}": part.std() if part.size else np.nan}
            row[f"nmad{where}"] = nmad(part) if part.size else np.nan
        table.append(row)
    return formatted(Table(rows=table))


def detection_table(answers: OutOfFold, scores: dict[str, np.ndarray]) -> Table:
    """Tabulate the area under the curve of scores, against all undetected galaxies, and nearby ones."""
    galaxies = answers.galaxies
    detected, undetected = np.asarray(galaxies["detected"]), np.asarray(galaxies["undetected"])
    nearby = undetected & (np.asarray(galaxies["log_cz"]) < NEARBY)
    table = []
    for name, score in scores.items():
        row: dict[str, Any] = {"score": name}
        for where, others in (("", undetected), ("_nearby", nearby)):
            row[f"n_undetected{where}"], both = int(others.sum()), detected | others
            row[f"auc{where}"], row[f"auc{where}_error"] = (
                auc_with_error(detected[both], score[both]) if others.any() else (np.nan, np.nan)
            )
        table.append(row)
    return formatted(Table(rows=table))


def out_of_fold_table(answers: OutOfFold, p_detect: np.ndarray) -> Table:
    """Tabulate the held-out answers to pictures alone, a row a galaxy whose HI somebody looked for.

    ``log_hi_fraction`` and its quantiles are for galaxies that ALFALFA detects, ``intrinsic`` ones for
    galaxies as they are; those that end in ``_z_photometry`` know all of `EVIDENCE`. ``pit`` is the
    probability below the measured value, of the first for detections and of the second for the others. All
    but the first are of galaxies with a measured value or limit.
    """
    galaxies = answers.galaxies
    labelled = np.isfinite(galaxies["log_hi_fraction"])
    rows = np.flatnonzero(galaxies["detected"] | galaxies["undetected"] | labelled)
    labelled = labelled[rows]
    table = galaxies["objid", "detected", "undetected", "missed", "is_limit"][rows]
    table.rename_column("missed", "gas_poor")
    table["fold"] = answers.fold[rows]
    columns = _quantiles(distributions(answers, rows, "picture", "alfalfa"), LEVELS, "log_hi_fraction")
    columns |= {"p_detect": p_detect[rows], "distance": answers.outputs["distance"][rows]}
    for name, values in columns.items():
        table[name] = values.round(4)
    for evidence, end in (("picture", ""), (MOST_EVIDENCE, "_z_photometry")):
        alike = [distributions(answers, rows[labelled], evidence, kind) for kind in ("alfalfa", "intrinsic")]
        detected = galaxies["detected"][rows][labelled]
        columns = {f"pit{end}": np.where(detected, *(part.below for part in alike))}
        for held_out, begin in zip(alike, ("", "intrinsic_"), strict=True):
            columns |= _quantiles(held_out, (0.16, 0.5, 0.84), f"{begin}log_hi_fraction{end}")
        for name in [name for name in columns if name not in table.colnames]:
            table[name] = MaskedColumn(np.zeros(len(table)), mask=~labelled)
            table[name][labelled] = columns[name].round(4)
    return table


def _quantiles(held_out: Distributions, levels: tuple[float, ...], name: str) -> dict[str, np.ndarray]:
    """Name the columns of some quantiles as those of a result."""
    columns = zip(percentile_columns(name, levels), levels, strict=True)
    return {column: held_out.quantiles[:, LEVELS.index(level)] for column, level in columns}
