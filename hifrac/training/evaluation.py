"""The cross-validated table: the network beside simple models, on the same folds."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hifrac.calibration import ConformalTable
from hifrac.metrics import coverage, detection_auc, regression_metrics
from hifrac.models import ModelCard
from hifrac.models.structure import StructureNet
from hifrac.training.data import BeyondSample, TrainingSample
from hifrac.training.fit import OutOfFold

__all__ = ["beyond_table", "cross_validation_table", "crossfold_coverage", "radial_colours"]

N_BOOTSTRAP = 1000
BEYOND_FIGURES = ("offset", "rmse", "coverage_68", "limits_violated", "limits_below_p16")


def radial_colours(features: np.ndarray) -> np.ndarray:
    """The mean red, green and blue in 14 circular annuli: the first 42 measurements."""
    return features[:, StructureNet.columns(("circles",))]


def _held_out(model, inputs: np.ndarray, target: np.ndarray, fold: np.ndarray, method: str) -> np.ndarray:
    answers = np.empty(len(target))
    for number in np.unique(fold):
        held_out = fold == number
        fitted = model().fit(inputs[~held_out], target[~held_out])
        raw = getattr(fitted, method)(inputs[held_out])
        answers[held_out] = raw[:, 1] if raw.ndim == 2 else raw
    return answers


def crossfold_coverage(truth: np.ndarray, estimate: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Coverage of the conformal intervals, each fold judged by residuals of the others.

    Parameters
    ----------
    truth, estimate : array of float, shape (n,)
        Measured values and out-of-fold estimates.
    fold : array of int, shape (n,)
        The fold of each row.

    Returns
    -------
    shares : dict
        ``coverage_68``, ``coverage_90``.
    """
    limits = np.empty((4, len(truth)))
    for number in np.unique(fold):
        held_out = fold == number
        table = ConformalTable.from_residuals((truth - estimate)[~held_out])
        for row, level in zip(limits, (0.16, 0.84, 0.05, 0.95), strict=True):
            row[held_out] = estimate[held_out] + table.value(level)
    return {
        "coverage_68": coverage(truth, limits[0], limits[1]),
        "coverage_90": coverage(truth, limits[2], limits[3]),
    }


def _regression_row(name: str, truth: np.ndarray, estimate: np.ndarray, fold: np.ndarray) -> dict:
    figures = regression_metrics(truth, estimate)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(truth), (N_BOOTSTRAP, len(truth)))
    squared = (estimate - truth) ** 2
    figures["rmse_error"] = float(np.std(np.sqrt(squared[draws].mean(1))))
    return {"model": name, **figures, **crossfold_coverage(truth, estimate, fold), "auc": np.nan}


def cross_validation_table(sample: TrainingSample, features: np.ndarray, answers: OutOfFold) -> Table:
    """Figures of merit of the network and of simple models on the same folds.

    Parameters
    ----------
    sample : TrainingSample
        The labelled galaxies.
    features : array of float, shape (n, features)
        Raw measurements of their pictures.
    answers : OutOfFold
        The network's answers, from `~hifrac.training.fit.cross_validate`.

    Returns
    -------
    table : `~astropy.table.Table`
        One row a model: ``rmse`` with its bootstrap error, ``slope``,
        ``slope_inverse``, ``sigma``, ``offset``, ``nmad``, ``coverage_68``,
        ``coverage_90`` (of the 259 detections), and ``auc`` (detections
        against bright undetected galaxies), NaN where a model has no answer.
    """
    seen = sample.detected
    truth, fold = sample.log_hi_fraction[seen], answers.fold[seen]
    colours = radial_colours(features)
    penalties = np.logspace(-2, 4, 25)

    def ridge():
        return make_pipeline(StandardScaler(), RidgeCV(penalties))

    def logistic():
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))

    def forest():
        return RandomForestClassifier(300, random_state=0, n_jobs=-1)

    by_colour = _held_out(ridge, colours[seen], truth, fold, "predict")
    by_catalogue = _held_out(LinearRegression, sample.photometry[seen], truth, fold, "predict")
    rows = [
        _regression_row("structure network", truth, answers.log_hi_fraction[seen], fold),
        _regression_row("ridge (or logistic) on radial colours", truth, by_colour, fold),
        _regression_row("linear in catalogue g-i and i", truth, by_catalogue, fold),
    ]
    rows.append(dict.fromkeys(rows[0], np.nan) | {"model": "random forest on radial colours"})
    scores = {
        0: answers.detection_logit,
        1: _held_out(logistic, colours, seen, answers.fold, "predict_proba"),
        3: _held_out(forest, colours, seen, answers.fold, "predict_proba"),
    }
    for row, score in scores.items():
        rows[row]["auc"] = detection_auc(seen, score)
    table = Table(rows=rows)
    for name in table.colnames[1:]:
        table[name].info.format = ".3f"
    return table


def beyond_table(
    sample: BeyondSample, card: ModelCard, estimate: np.ndarray, p_detect: np.ndarray, ood_score: np.ndarray
) -> Table:
    """How the estimates fare on galaxies that ALFALFA did not detect.

    Parameters
    ----------
    sample : BeyondSample
        The galaxies, their HI fractions and upper limits.
    card : ModelCard
        Calibration and thresholds of the model.
    estimate, p_detect, ood_score : array of float, shape (n,)
        Its answers, from networks that did not train on the galaxies.

    Returns
    -------
    table : `~astropy.table.Table`
        For detections and upper limits, all of them and those without a flag:
        ``n``; ``offset`` (mean of estimate minus value or limit, dex);
        ``rmse`` and ``coverage_68`` (detections alone); ``limits_violated``
        (share of estimates above the limit), ``limits_below_p16`` (share of
        limits below the interval); NaN where a figure has no meaning.
    """
    flagged = card.recognition.flags(p_detect, ood_score) != 0
    difference = estimate - sample.log_hi_fraction
    low, high = (card.calibration.value(level) for level in (0.16, 0.84))
    rows = []
    for limits in (False, True):
        for unflagged in (False, True):
            chosen = (sample.is_limit == limits) & ~(flagged & unflagged)
            d = difference[chosen]
            name = ("upper limits" if limits else "detections") + (", without a flag" if unflagged else "")
            row = {"sample": name, "n": len(d), **dict.fromkeys(BEYOND_FIGURES, np.nan)}
            if len(d):
                row["offset"] = d.mean()
                if limits:
                    row["limits_violated"] = np.mean(d > 0)
                    row["limits_below_p16"] = np.mean(d + low > 0)
                else:
                    row["rmse"] = np.sqrt(np.mean(d**2))
                    row["coverage_68"] = np.mean((d + low <= 0) & (d + high >= 0))
            rows.append(row)
    table = Table(rows=rows)
    for name in table.colnames[2:]:
        table[name].info.format = ".3f"
    return table
