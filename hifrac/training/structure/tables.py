"""Figures of merit of galaxies that were held out, of the network and of simple models on the same folds."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hifrac.metrics import bootstrap_errors, detection_auc, score_estimates
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import StructureNet
from hifrac.training.evaluation import FIGURES, crossfold_coverage
from hifrac.training.structure.cross_validation import Calibrated, OutOfFold, calibrate_across
from hifrac.training.structure.sample import Labels, TrainingSample

N_BOOTSTRAP = 1000

#: Logarithms of prior odds that the table of parent populations shows, beside those of a model.
SHOWN_ODDS = (-8.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0)


def radial_colours(features: np.ndarray) -> np.ndarray:
    """The mean red, green and blue in 14 circular annuli: the first 42 measurements."""
    return features[:, StructureNet.columns(("circles",))]


def _rmse(truth: np.ndarray, estimate: np.ndarray) -> float:
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


def _auc(detected: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    error = bootstrap_errors(detection_auc, detected, score, draws=N_BOOTSTRAP, strata=detected)
    return detection_auc(detected, score), error


def _regression_figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Each figure of merit, and its bootstrap error."""
    judged = score_estimates(truth, estimate, draws=N_BOOTSTRAP)
    return {key: judged[key] for name in FIGURES for key in (name, f"{name}_error")}


def _regression_row(name: str, truth: np.ndarray, estimate: np.ndarray, shares: dict[str, float]) -> dict:
    row = {"model": name, **_regression_figures(truth, estimate)}
    for share, value in shares.items():
        # The standard error of a share of so many galaxies.
        row |= {share: value, f"{share}_error": float(np.sqrt(value * (1 - value) / len(truth)))}
    return {**row, "auc": np.nan, "auc_error": np.nan}


def _held_out(model, inputs: np.ndarray, target: np.ndarray, fold: np.ndarray, method: str) -> np.ndarray:
    answers = np.empty(len(target))
    for number in np.unique(fold):
        held_out = fold == number
        fitted = model().fit(inputs[~held_out], target[~held_out])
        raw = getattr(fitted, method)(inputs[held_out])
        answers[held_out] = raw[:, 1] if raw.ndim == 2 else raw
    return answers


def cross_validation_table(
    sample: TrainingSample,
    features: np.ndarray,
    answers: OutOfFold,
    calibrated: Calibrated,
    *,
    without: tuple[OutOfFold, Calibrated],
) -> Table:
    """Figures of merit of the network and of simple models on the same folds.

    Parameters
    ----------
    sample : TrainingSample
        The labelled galaxies.
    features : array of float, shape (n, features)
        Raw measurements of their pictures, or of more; those of the sample come first.
    answers : OutOfFold
        The network's answers, from `~hifrac.training.structure.cross_validation.cross_validate`.
    calibrated : Calibrated
        Its estimates and intervals.
    without : (OutOfFold, Calibrated)
        The same of a network that was not told the reddening.

    Returns
    -------
    table : `~astropy.table.Table`
        One row a model: ``rmse``, ``slope``, ``slope_inverse``, ``sigma``, ``offset``, ``nmad``,
        ``coverage_68``, ``coverage_90`` (of the detections), and ``auc`` (detections
        against bright undetected galaxies), each with its ``_error``; NaN where a model has no answer.
    """
    n = len(sample.objid)
    seen = sample.detected
    truth, fold = sample.log_hi_fraction[seen], answers.fold[:n][seen]
    colours = radial_colours(features[:n])
    penalties = np.logspace(-2, 4, 25)

    def ridge():
        return make_pipeline(StandardScaler(), RidgeCV(penalties))

    def trees():
        return ExtraTreesRegressor(500, min_samples_leaf=2, random_state=0, n_jobs=-1)

    def logistic():
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))

    def forest():
        return RandomForestClassifier(300, random_state=0, n_jobs=-1)

    rows = np.flatnonzero(seen)
    table, scores = [], []
    for name, said, made in (
        ("structure network", answers, calibrated),
        ("structure network without the reddening", *without),
    ):
        shares = {
            "coverage_68": made.coverage(sample.log_hi_fraction, rows, 0.16, 0.84),
            "coverage_90": made.coverage(sample.log_hi_fraction, rows, 0.05, 0.95),
        }
        table.append(_regression_row(name, truth, made.estimate[rows], shares))
        scores.append(said.outputs["detection_logit"][:n])
    for name, model, inputs in (
        ("ridge (or logistic) on radial colours", ridge, colours[seen]),
        ("extremely randomised trees on radial colours", trees, colours[seen]),
        ("linear in catalogue g-i and i", LinearRegression, sample.photometry[seen]),
    ):
        estimate = _held_out(model, inputs, truth, fold, "predict")
        table.append(_regression_row(name, truth, estimate, crossfold_coverage(truth, estimate, fold)))
    table.append(dict.fromkeys(table[0], np.nan) | {"model": "random forest on radial colours"})
    all_folds = answers.fold[:n]
    scores += [_held_out(make, colours, seen, all_folds, "predict_proba") for make in (logistic, forest)]
    for row, score in zip((*table[:3], table[-1]), scores, strict=True):
        row["auc"], row["auc_error"] = _auc(seen, score)
    return _formatted(Table(rows=table))


def gswlc_table(labels: Labels, answers: OutOfFold, calibrated: Calibrated) -> Table:
    """Figures of the estimates for the stellar masses of GSWLC-2, of the detections that have such.

    Parameters
    ----------
    labels : Labels
        What is known of the galaxies.
    answers : OutOfFold
        The network's answers.
    calibrated : Calibrated
        Its estimates for the masses of Taylor et al. (2011).

    Returns
    -------
    table : `~astropy.table.Table`
        For the column ``log_hi_fraction_gswlc``, and for ``log_hi_fraction`` as if it were for these
        masses too: the number ``n`` of galaxies, ``rmse``, ``slope``, ``slope_inverse``, ``sigma``,
        ``offset`` and ``nmad``, each with its bootstrap error.
    """
    rows = labels.detected & np.isfinite(labels.gswlc_offset)
    truth = (labels.log_hi_fraction + labels.gswlc_offset)[rows]
    plain = calibrated.estimate[rows]
    estimates = {
        "log_hi_fraction_gswlc": plain + answers.outputs["gswlc_offset"][rows],
        "log_hi_fraction": plain,
    }
    table = Table(
        rows=[
            {"column": name, "n": len(truth), **_regression_figures(truth, estimate)}
            for name, estimate in estimates.items()
        ]
    )
    return _formatted(table, first=2)


def tercile_table(labels: Labels, calibrated: Calibrated) -> Table:
    """Figures of the detections, by tercile of what was estimated.

    Parameters
    ----------
    labels : Labels
        What is known of the galaxies.
    calibrated : Calibrated
        Their estimates and intervals.
    """
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
                "coverage_68": calibrated.coverage(truth, part, 0.16, 0.84),
                "coverage_90": calibrated.coverage(truth, part, 0.05, 0.95),
                "width_68": float(width),
            }
        )
    return _formatted(Table(rows=table), first=2)


def _beyond_row(labels: Labels, calibrated: Calibrated, rows: np.ndarray) -> dict[str, float]:
    truth, limit = labels.log_hi_fraction, labels.is_limit
    values, limits = rows[~limit[rows]], rows[limit[rows]]
    row = dict.fromkeys(
        (
            "n",
            "offset",
            "rmse",
            "coverage_68",
            "coverage_90",
            "n_limits",
            "limits_violated",
            "limits_below_p05",
        ),
        np.nan,
    ) | {"n": len(values), "n_limits": len(limits)}
    if len(values):
        row["offset"] = float(np.mean(calibrated.estimate[values] - truth[values]))
        row["rmse"] = _rmse(truth[values], calibrated.estimate[values])
        row["coverage_68"] = calibrated.coverage(truth, values, 0.16, 0.84)
        row["coverage_90"] = calibrated.coverage(truth, values, 0.05, 0.95)
    if len(limits):
        row["limits_violated"] = float(np.mean(calibrated.estimate[limits] > truth[limits]))
        row["limits_below_p05"] = float(np.mean(calibrated.quantile[0.05][limits] > truth[limits]))
    return row


def deep_table(labels: Labels, calibrated: Calibrated, flagged: np.ndarray) -> Table:
    """How the estimates fare on galaxies that ALFALFA did not detect, each held out.

    Parameters
    ----------
    labels : Labels
        What is known of the galaxies.
    calibrated : Calibrated
        Their estimates and intervals.
    flagged : array of bool, shape (n,)
        Whether a flag warns of the row.

    Returns
    -------
    table : `~astropy.table.Table`
        For all of them and for those without a flag: of those with a value their number ``n``,
        ``offset`` (mean of estimate minus value, dex), ``rmse``, ``coverage_68`` and
        ``coverage_90``; of upper limits their number, ``limits_violated``
        (share of estimates above the limit), ``limits_below_p05`` (share of
        limits below the whole interval); NaN where a figure has no meaning.
    """
    poor = np.flatnonzero(labels.gas_poor)
    parts = {"all": poor, "without a flag": poor[~flagged[poor]]}
    table = Table(
        rows=[{"sample": name, **_beyond_row(labels, calibrated, rows)} for name, rows in parts.items()]
    )
    return _formatted(table)


def parents_table(answers: OutOfFold, labels: Labels, model_odds: tuple[float, float]) -> Table:
    """What it costs the one population to serve the other: figures for a range of prior odds.

    Parameters
    ----------
    answers : OutOfFold
        Answers of networks that did not see the galaxies.
    labels : Labels
        What is known of them.
    model_odds : (float, float)
        Those of the model, for estimate and interval; its row comes first.

    Returns
    -------
    table : `~astropy.table.Table`
        One row for each pair of odds: ``rmse``, ``coverage_68`` and ``coverage_90`` of the detections, and
        the figures of `deep_table`.
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
                "alfalfa_coverage_68": calibrated.coverage(truth, rows, 0.16, 0.84),
                "alfalfa_coverage_90": calibrated.coverage(truth, rows, 0.05, 0.95),
                **_beyond_row(labels, calibrated, np.flatnonzero(labels.gas_poor)),
            }
        )
    return _formatted(Table(rows=table), first=2)


def ood_table(
    distance: dict[str, np.ndarray], held_out: dict[str, np.ndarray], detection: DetectionTable
) -> Table:
    """Share of pictures of each kind that are flagged as out of distribution.

    Parameters
    ----------
    distance : dict of str to array of float
        Distances of strange pictures, by kind.
    held_out : dict of str to array of float
        The same of real pictures that the network did not see.
    detection : DetectionTable
        What turns a distance into a score.
    """
    rows = []
    for real, kinds in ((True, held_out), (False, distance)):
        for name, values in kinds.items():
            flagged = detection.ood_score(values) >= detection.ood_threshold
            rows.append({"pictures": name, "real": real, "n": len(values), "flagged": float(flagged.mean())})
    return _formatted(Table(rows=rows), first=3)


def _formatted(table: Table, first: int = 1) -> Table:
    for name in table.colnames[first:]:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".3f"
    return table
