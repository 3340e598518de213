"""Figures of merit of galaxies that were held out, of the network and of simple models on the same folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hifrac.metrics import bootstrap_errors, detection_auc, score_estimates
from hifrac.models.calibration import LEVELS
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import StructureNet
from hifrac.training.evaluation import FIGURES, coverage_across
from hifrac.training.structure.cross_validation import Calibrated, HeldOut, OutOfFold, calibrate_across
from hifrac.training.structure.heads import FEWEST_GSWLC, fit_distances
from hifrac.training.structure.measurements import Measurements, measure
from hifrac.training.structure.ood import as_read, ood_pictures
from hifrac.training.structure.sample import Galaxies, Labels, TrainingSample

N_BOOTSTRAP = 1000
#: Of whose galaxies the out-of-distribution tests are made: not those on which the distances were designed.
OOD_FOLD = 1
#: Logarithms of prior odds that the table of parent populations shows, beside those of a model.
SHOWN_ODDS = (-8.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0)

#: The simple models: regressions, and what tells detections from other galaxies.
_REGRESSIONS: dict[str, Callable[[], Any]] = {
    "ridge (or logistic) on radial colours": lambda: make_pipeline(
        StandardScaler(), RidgeCV(np.logspace(-2, 4, 25))
    ),
    "extremely randomised trees on radial colours": lambda: ExtraTreesRegressor(
        500, min_samples_leaf=2, random_state=0, n_jobs=-1
    ),
    "linear in catalogue g-i and i": LinearRegression,
}
_CLASSIFIERS: tuple[Callable[[], Any], ...] = (
    lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000)),
    lambda: RandomForestClassifier(300, random_state=0, n_jobs=-1),
)


def radial_colours(features: np.ndarray) -> np.ndarray:
    """Return the mean red, green and blue in 14 circular annuli: the first 42 measurements."""
    return features[:, StructureNet.columns(("circles",))]


def tabulate(
    network: StructureNet,
    galaxies: Galaxies,
    measured: Measurements,
    held_out: HeldOut,
    log_odds: tuple[float, float],
) -> dict[str, Table]:
    """Tabulate the figures of held-out galaxies."""
    labels, answers, calibrated = galaxies.labels, held_out.answers, held_out.calibrated
    tables = {
        "cross_validation": cross_validation_table(
            galaxies.sample, measured.features, answers, calibrated, without=held_out.without_reddening
        ),
        "terciles": tercile_table(labels, calibrated),
        "ood_tests": _ood_tests(network, galaxies, measured, held_out),
    }
    if labels.gas_poor.any():
        detection = held_out.detection
        flagged = detection.flags(held_out.p_detect, detection.ood_score(answers.outputs["distance"])) != 0
        tables["deep_sample"] = deep_table(labels, calibrated, flagged)
        tables["parents"] = parents_table(answers, labels, log_odds)
    if np.isfinite(labels.gswlc_offset).sum() >= FEWEST_GSWLC:
        tables["gswlc"] = gswlc_table(labels, answers, calibrated)
    return tables


def network_figures(table: Table) -> dict[str, float]:
    """Return the figures of the network that the card shows."""
    with_error = ("rmse_error", "auc_error")
    return {
        key: round(float(table[key][0]), 4)
        for key in table.colnames
        if key not in ("model", "sigma") and (key in with_error or not key.endswith("_error"))
    }


def cross_validation_table(
    sample: TrainingSample,
    features: np.ndarray,
    answers: OutOfFold,
    calibrated: Calibrated,
    *,
    without: tuple[OutOfFold, Calibrated],
) -> Table:
    """Tabulate figures of merit of the network and of simple models on the same folds, a row a model.

    ``features``, of the pictures of the sample and perhaps of more after them, are raw measurements;
    ``without`` are answers and intervals of a network that was not told the reddening. Coverages are of the
    detections, ``auc`` is detections against bright undetected galaxies; NaN where a model has no answer.
    """
    n, detected = len(sample.objid), sample.detected
    fold, colours = answers.fold[:n], radial_colours(features[:n])
    truth, rows = sample.log_hi_fraction[detected], np.flatnonzero(detected)
    table, scores = [], []
    for name, of_network, intervals in (
        ("structure network", answers, calibrated),
        ("structure network without the reddening", *without),
    ):
        shares = intervals.shares(sample.log_hi_fraction, rows)
        table.append(_regression_row(name, truth, intervals.estimate[rows], shares))
        scores.append(of_network.outputs["detection_logit"][:n])
    for name, make in _REGRESSIONS.items():
        inputs = sample.photometry if "catalogue" in name else colours
        estimate = _held_out(make, inputs[detected], truth, fold[detected], "predict")
        shares = coverage_across(truth - estimate, fold[detected])
        table.append(_regression_row(name, truth, estimate, shares))
    table.append(dict.fromkeys(table[0], np.nan) | {"model": "random forest on radial colours"})
    scores += [_held_out(make, colours, detected, fold, "predict_proba") for make in _CLASSIFIERS]
    for row, score in zip((*table[:3], table[-1]), scores, strict=True):
        row["auc"], row["auc_error"] = _auc(detected, score)
    return _formatted(Table(rows=table))


def _held_out(
    make: Callable[[], Any], inputs: np.ndarray, target: np.ndarray, fold: np.ndarray, method: str
) -> np.ndarray:
    """Answer for each row by a simple model that did not see its fold."""
    answers = np.empty(len(target))
    for number in np.unique(fold):
        held_out = fold == number
        fitted = make().fit(inputs[~held_out], target[~held_out])
        raw = getattr(fitted, method)(inputs[held_out])
        answers[held_out] = raw[:, 1] if raw.ndim == 2 else raw
    return answers


def _regression_row(name: str, truth: np.ndarray, estimate: np.ndarray, shares: dict[str, float]) -> dict:
    row = {"model": name, **_regression_figures(truth, estimate)}
    for share, value in shares.items():
        # The standard error of a share of so many galaxies.
        row |= {share: value, f"{share}_error": float(np.sqrt(value * (1 - value) / len(truth)))}
    return {**row, "auc": np.nan, "auc_error": np.nan}


def _regression_figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Compute each figure of merit, and its bootstrap error."""
    scores = score_estimates(truth, estimate, draws=N_BOOTSTRAP)
    return {key: scores[key] for name in FIGURES for key in (name, f"{name}_error")}


def _rmse(truth: np.ndarray, estimate: np.ndarray) -> float:
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


def _auc(detected: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    error = bootstrap_errors(detection_auc, detected, score, draws=N_BOOTSTRAP, strata=detected)
    return detection_auc(detected, score), error


def tercile_table(labels: Labels, calibrated: Calibrated) -> Table:
    """Tabulate figures of the detections, by tercile of what was estimated."""
    rows = np.flatnonzero(labels.detected)
    truth, estimate = labels.log_hi_fraction, calibrated.estimate
    table = []
    for number, part in enumerate(np.array_split(rows[np.argsort(estimate[rows])], 3)):
        width = np.median(calibrated.quantile[0.84][part] - calibrated.quantile[0.16][part])
        table.append(
            {
                "tercile": ("lowest", "middle", "highest")[number],
                "n": len(part),
                "rmse": _rmse(truth[part], estimate[part]),
                "offset": float(np.mean(estimate[part] - truth[part])),
                **calibrated.shares(truth, part),
                "width_68": float(width),
            }
        )
    return _formatted(Table(rows=table), first=2)


def gswlc_table(labels: Labels, answers: OutOfFold, calibrated: Calibrated) -> Table:
    """Tabulate figures of the estimates for the stellar masses of GSWLC-2, of the detections that have such.

    Of the column ``log_hi_fraction_gswlc``, and of ``log_hi_fraction`` as if it were for these masses too.
    """
    rows = labels.detected & np.isfinite(labels.gswlc_offset)
    truth = (labels.log_hi_fraction + labels.gswlc_offset)[rows]
    plain = calibrated.estimate[rows]
    estimates = {
        "log_hi_fraction_gswlc": plain + answers.outputs["gswlc_offset"][rows],
        "log_hi_fraction": plain,
    }
    table = [
        {"column": name, "n": len(truth), **_regression_figures(truth, estimate)}
        for name, estimate in estimates.items()
    ]
    return _formatted(Table(rows=table), first=2)


def deep_table(labels: Labels, calibrated: Calibrated, flagged: np.ndarray) -> Table:
    """Tabulate how the estimates fare on galaxies that ALFALFA did not detect, each held out.

    All of them, and those without a flag: ``offset`` is the mean of estimate minus value;
    ``limits_violated`` is the share of estimates above the limit, ``limits_below_p05`` that of limits below
    the whole interval.
    """
    rows = np.flatnonzero(labels.gas_poor)
    samples = {"all": rows, "without a flag": rows[~flagged[rows]]}
    table = [{"sample": name, **_deep_row(labels, calibrated, part)} for name, part in samples.items()]
    return _formatted(Table(rows=table))


def _deep_row(labels: Labels, calibrated: Calibrated, rows: np.ndarray) -> dict[str, float]:
    """Compute the figures of `deep_table` of some galaxies."""
    truth, estimate = labels.log_hi_fraction, calibrated.estimate
    values, limits = rows[~labels.is_limit[rows]], rows[labels.is_limit[rows]]
    row: dict[str, float] = {"n": len(values)}
    row |= dict.fromkeys(("offset", "rmse", "coverage_68", "coverage_90"), np.nan)
    row |= {"n_limits": len(limits), "limits_violated": np.nan, "limits_below_p05": np.nan}
    if len(values):
        row["offset"] = float(np.mean(estimate[values] - truth[values]))
        row["rmse"] = _rmse(truth[values], estimate[values])
        row |= calibrated.shares(truth, values)
    if len(limits):
        row["limits_violated"] = float(np.mean(estimate[limits] > truth[limits]))
        row["limits_below_p05"] = float(np.mean(calibrated.quantile[0.05][limits] > truth[limits]))
    return row


def parents_table(answers: OutOfFold, labels: Labels, model_odds: tuple[float, float]) -> Table:
    """Tabulate what it costs the one parent population to serve the other: figures for a range of prior odds.

    Those of the model come first. The coverages are of the detections; then come the figures of
    `deep_table`.
    """
    rows = np.flatnonzero(labels.detected)
    truth = labels.log_hi_fraction
    table = []
    for odds in (model_odds, *((value, value) for value in SHOWN_ODDS)):
        calibrated = calibrate_across(answers, labels, odds)
        table.append(
            {
                "log_odds_estimate": odds[0],
                "log_odds_interval": odds[1],
                "alfalfa_rmse": _rmse(truth[rows], calibrated.estimate[rows]),
                **{f"alfalfa_{key}": share for key, share in calibrated.shares(truth, rows).items()},
                **_deep_row(labels, calibrated, np.flatnonzero(labels.gas_poor)),
            }
        )
    return _formatted(Table(rows=table), first=2)


def _ood_tests(network: StructureNet, galaxies: Galaxies, measured: Measurements, held_out: HeldOut) -> Table:
    """Count what is flagged of pictures made of the galaxies of a fold that the distances do not know."""
    labels, rest = galaxies.labels, galaxies.fold != OOD_FOLD
    learned = rest[measured.augmented_rows]
    fit_distances(network, measured.features[rest], labels.detected[rest], measured.augmented[:, learned])
    pixels = galaxies.pixels[measured.augmented_rows[~learned]]
    with torch.inference_mode():
        distance = {
            name: (
                network.distances(torch.from_numpy(measure(network, as_read(pictures))).float())
                / network.edge
            )
            .amax(1)
            .numpy()
            for name, pictures in ood_pictures(pixels, np.random.default_rng(0)).items()
        }
    of_real = held_out.answers.outputs["distance"]
    real = {
        "ALFALFA detections, held out": of_real[labels.detected],
        "undetected galaxies, held out": of_real[labels.undetected],
    }
    if labels.gas_poor.any():
        real["galaxies that ALFALFA missed, held out"] = of_real[labels.gas_poor]
    return ood_table(distance, real, held_out.detection)


def ood_table(
    distance: dict[str, np.ndarray], held_out: dict[str, np.ndarray], detection: DetectionTable
) -> Table:
    """Tabulate the share of pictures that are flagged as out of distribution.

    ``distance`` are of pictures that are not what they claim to be, ``held_out`` of real ones that the
    network did not see.
    """
    rows = []
    for real, distances in ((True, held_out), (False, distance)):
        for name, values in distances.items():
            flagged = detection.ood_score(values) >= detection.ood_threshold
            rows.append({"pictures": name, "real": real, "n": len(values), "flagged": float(flagged.mean())})
    return _formatted(Table(rows=rows), first=3)


def out_of_fold_table(galaxies: Galaxies, held_out: HeldOut) -> Table:
    """Tabulate the held-out answers, a row a galaxy."""
    labels, calibrated = galaxies.labels, held_out.calibrated
    table = Table(
        {
            "objid": galaxies.objid,
            "detected": labels.detected,
            "undetected": labels.undetected,
            "gas_poor": labels.gas_poor,
            "is_limit": labels.is_limit,
            "fold": galaxies.fold,
            "log_hi_fraction": calibrated.estimate,
            **{
                f"log_hi_fraction_p{round(100 * level):02d}": calibrated.quantile[level]
                for level in LEVELS
                if level != 0.5
            },
            "pit": calibrated.pit,
            "p_detect": held_out.p_detect,
            "distance": held_out.answers.outputs["distance"],
        }
    )
    table.round(4)
    return table


def _formatted(table: Table, first: int = 1) -> Table:
    for name in table.colnames[first:]:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".3f"
    return table
