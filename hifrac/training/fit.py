"""Fitting the heads of the structure network, and cross-validating the fit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor, LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold

from hifrac.models.structure import StructureNet, bound
from hifrac.training.data import TrainingSample

__all__ = ["OutOfFold", "assign_folds", "centred", "cross_validate", "fit_heads", "measure"]

# Penalties tried by the inner cross-validation; HuberRegressor weighs them
# against the sum of the losses, in units of the residual scale.
HUBER_PENALTIES = (25.0, 50.0, 100.0, 200.0, 400.0)
LOGISTIC_INVERSE_PENALTIES = (0.01, 0.03, 0.1, 0.3)


# With 259 labels the HI fraction is read from these alone; the rest serve the
# detection head, which has 7,000 pictures, and the distance. Groups chosen by
# forward selection in repeated cross-validation on folds of other seeds.
FRACTION_GROUPS = ("circles", "growth", "segment_shape", "colour_quantiles")


@dataclass(frozen=True)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group; arrays of shape (n,).

    Attributes
    ----------
    log_hi_fraction, detection_logit, distance : array of float
        As in `~hifrac.models.structure.NetworkOutput`.
    fold : array of int
        The fold in which the row was held out.
    """

    log_hi_fraction: np.ndarray
    detection_logit: np.ndarray
    distance: np.ndarray
    fold: np.ndarray


def measure(network: StructureNet, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Raw measurements of pictures (n, width, width, 3), as float64 (n, features)."""
    batches = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            part = np.require(pixels[start : start + batch_size], requirements=["C", "W"])
            batch = torch.from_numpy(part).permute(0, 3, 1, 2)
            batches.append(network.measure(batch.float()).double().numpy())
    return np.concatenate(batches)


def assign_folds(detected: np.ndarray, group: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The fold, 0 to n_folds - 1, that holds each row out; groups are never split."""
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.empty(len(detected), dtype=int)
    for number, (_, held_out) in enumerate(splitter.split(detected, detected, group)):
        fold[held_out] = number
    return fold


def fit_heads(
    network: StructureNet, features: np.ndarray, detected: np.ndarray, target: np.ndarray, group: np.ndarray
) -> StructureNet:
    """Fit the learned part of a structure network, in place.

    Parameters
    ----------
    network : StructureNet
        The network; returned.
    features : array of float, shape (n, features)
        Raw measurements of the training pictures.
    detected : array of bool, shape (n,)
        Whether the galaxy is a detection.
    target : array of float, shape (n,)
        log10(M_HI / M*) of the detections; ignored elsewhere.
    group : array of int, shape (n,)
        Groups that the inner cross-validation, which chooses the penalties,
        does not split.

    Returns
    -------
    network : StructureNet

    Raises
    ------
    ValueError
        If there are fewer than 20 detections or non-detections, a target is
        not finite, or the targets are all the same.
    """
    target = target[detected]
    if detected.sum() < 20 or (~detected).sum() < 20:
        raise ValueError("detected must hold at least 20 detections and 20 non-detections")
    if not np.all(np.isfinite(target)) or np.ptp(target) == 0:
        raise ValueError("target must be finite and not constant")
    # The scale is that of the detections: the estimate is for galaxies like them.
    center = features[detected].mean(0)
    scale = features[detected].std(0)
    scale[scale < 1e-6] = 1.0
    standard = (features - center) / scale
    bounded = bound(torch.from_numpy(standard)).numpy()

    columns = StructureNet.columns(FRACTION_GROUPS)
    # A few labels are wrong (catalogue photometry of shredded galaxies); Huber's
    # loss keeps them from steering the fit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fraction = GridSearchCV(
            HuberRegressor(max_iter=2000),
            {"alpha": HUBER_PENALTIES},
            scoring="neg_mean_squared_error",
            cv=GroupKFold(5),
            n_jobs=-1,
        ).fit(bounded[detected][:, columns], target, groups=group[detected])
        detection = GridSearchCV(
            LogisticRegression(class_weight="balanced", max_iter=3000),
            {"C": LOGISTIC_INVERSE_PENALTIES},
            scoring="roc_auc",
            cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
            n_jobs=-1,
        ).fit(bounded, detected, groups=group)
    # Shrunk covariance (Ledoit & Wolf 2004) of all training pictures: many of
    # the measurements are nearly collinear.
    covariance = LedoitWolf().fit(standard)
    root = np.linalg.cholesky(covariance.precision_)

    regression, logistic = fraction.best_estimator_, detection.best_estimator_
    weights = np.zeros(features.shape[1])
    weights[columns] = regression.coef_
    state = network.state_dict()
    values = {
        "center": center,
        "scale": scale,
        "location": covariance.location_,
        "whitening": root,
        "fraction.weight": weights[None],
        "fraction.bias": np.array([regression.intercept_]),
        "detection.weight": logistic.coef_,
        "detection.bias": logistic.intercept_,
    }
    for name, value in values.items():
        state[name].copy_(torch.from_numpy(np.asarray(value)))
    return network.eval()


def cross_validate(sample: TrainingSample, features: np.ndarray, fold: np.ndarray) -> OutOfFold:
    """Out-of-fold answers; everything learned, penalties included, is learned without the fold.

    Parameters
    ----------
    sample : TrainingSample
        The labelled galaxies.
    features : array of float, shape (n, features)
        Their raw measurements.
    fold : array of int, shape (n,)
        As from `assign_folds`.

    Returns
    -------
    answers : OutOfFold
    """
    answers = np.empty((3, len(fold)))
    for number in np.unique(fold):
        held_out, rest = fold == number, fold != number
        network = fit_heads(
            StructureNet(sample.pixels.shape[1]),
            features[rest],
            sample.detected[rest],
            sample.log_hi_fraction[rest],
            sample.group[rest],
        )
        with torch.inference_mode():
            raw = torch.from_numpy(features[held_out]).float()
            answers[:, held_out] = torch.stack(network.forward_head(network.standardise(raw))).numpy()
    return OutOfFold(*answers, fold=fold)


def centred(answers: OutOfFold, target: np.ndarray, detected: np.ndarray) -> tuple[OutOfFold, float]:
    """Shift estimates to medians: half of the held-out galaxies lie above theirs.

    Parameters
    ----------
    answers : OutOfFold
        Out-of-fold answers.
    target : array of float, shape (n,)
        log10(M_HI / M*) of the detections.
    detected : array of bool, shape (n,)
        Whether the galaxy is a detection.

    Returns
    -------
    answers : OutOfFold
        Each fold shifted by the median residual of the others.
    shift : float
        The median residual of all, for the final network.
    """
    residual = (target - answers.log_hi_fraction)[detected]
    fold = answers.fold[detected]
    estimate = answers.log_hi_fraction.copy()
    for number in np.unique(answers.fold):
        estimate[answers.fold == number] += np.median(residual[fold != number])
    return replace(answers, log_hi_fraction=estimate), float(np.median(residual))
