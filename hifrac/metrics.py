"""Figures of merit of estimates against measured values."""

from __future__ import annotations

import numpy as np

__all__ = ["coverage", "detection_auc", "regression_metrics"]


def _pair(truth, estimate) -> tuple[np.ndarray, np.ndarray]:
    # numpy drops a mask without a word, and what lies under it would count.
    if np.any(getattr(truth, "mask", False)) or np.any(getattr(estimate, "mask", False)):
        raise ValueError("truth and estimate must not be masked: select the rows first")
    truth, estimate = np.asarray(truth, dtype=float), np.asarray(estimate, dtype=float)
    if truth.ndim != 1 or truth.shape != estimate.shape:
        raise ValueError(
            "truth and estimate must be one-dimensional and equally long, "
            f"got {truth.shape}, {estimate.shape}"
        )
    if not (np.all(np.isfinite(truth)) and np.all(np.isfinite(estimate))):
        raise ValueError("truth and estimate must be finite")
    return truth, estimate


def regression_metrics(truth, estimate) -> dict[str, float]:
    """The figures of Wu (2020, Table 2), and the robust scatter.

    Parameters
    ----------
    truth, estimate : array-like of float, shape (n,)
        Measured and estimated values, in dex; n at least 3, all finite.

    Returns
    -------
    figures : dict
        ``rmse``; ``slope`` (of the linear regression of estimate on truth, as
        in the paper); ``slope_inverse`` (of truth on estimate: unity,
        together with no offset, means that the estimate is an unbiased predictor); ``sigma`` (standard
        deviation of estimate minus truth, ddof=1); ``offset`` (its mean);
        ``nmad`` (1.4826 times its median absolute deviation from the median).

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than 3 rows, a value is masked
        or not finite, or truth or estimate is constant.
    """
    truth, estimate = _pair(truth, estimate)
    if truth.size < 3:
        raise ValueError(f"truth must have at least 3 rows, got {truth.size}")
    if np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        raise ValueError("truth and estimate must not be constant: a slope has no meaning")
    difference = estimate - truth
    covariance = np.cov(truth, estimate)
    return {
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "slope": float(covariance[0, 1] / covariance[0, 0]),
        "slope_inverse": float(covariance[0, 1] / covariance[1, 1]),
        "sigma": float(np.std(difference, ddof=1)),
        "offset": float(np.mean(difference)),
        "nmad": float(1.4826 * np.median(np.abs(difference - np.median(difference)))),
    }


def coverage(truth, lower, upper) -> float:
    """Share of the truths inside their closed intervals.

    Parameters
    ----------
    truth, lower, upper : array-like of float, shape (n,)
        Measured values and the limits of their intervals; n at least 1.

    Returns
    -------
    share : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the lengths differ, there is no row, or a value is masked or not
        finite.
    """
    truth, lower = _pair(truth, lower)
    truth, upper = _pair(truth, upper)
    if truth.size == 0:
        raise ValueError("truth must have at least one row")
    return float(np.mean((lower <= truth) & (truth <= upper)))


def detection_auc(detected, score) -> float:
    """Area under the receiver operating characteristic.

    Parameters
    ----------
    detected : array-like of bool, shape (n,)
        Which rows are detections; at least one of each kind.
    score : array-like of float, shape (n,)
        Larger for likelier detections.

    Returns
    -------
    area : float
        The probability that a detection scores above a non-detection, ties
        counted one half (Hanley & McNeil 1982, Radiology 143, 29).

    Raises
    ------
    ValueError
        If the lengths differ, a value is masked, a score is not finite, or one
        kind is missing.
    """
    from scipy.stats import rankdata

    if np.asarray(detected).dtype != bool:
        raise ValueError(f"detected must be boolean, got {np.asarray(detected).dtype}")
    _, score = _pair(detected, score)
    detected = np.asarray(detected)
    positives = int(detected.sum())
    negatives = detected.size - positives
    if not positives or not negatives:
        raise ValueError("detected must have both detections and non-detections")
    ranks = rankdata(score)
    return float((ranks[detected].sum() - positives * (positives + 1) / 2) / (positives * negatives))
