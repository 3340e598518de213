"""Figures of merit of estimates against measured values, with bootstrap errors, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from astropy.table import Table

__all__ = [
    "bootstrap_errors",
    "detection_auc",
    "format_metrics",
    "metrics_table",
    "pit",
    "published_metrics",
    "regression_metrics",
    "score_estimates",
]

#: What the columns of a table of figures mean; those of errors have ``_error`` at the end.
_DESCRIPTIONS = {
    "estimator": "what made the estimates",
    "n": "measured values with an estimate",
    "rmse": "root mean square of estimate minus measured value (dex)",
    "slope": "of the linear regression of estimate on measured value",
    "slope_inverse": "of the linear regression of measured value on estimate",
    "sigma": "standard deviation of estimate minus measured value, ddof=1 (dex)",
    "offset": "mean of estimate minus measured value (dex)",
    "nmad": "1.4826 times the median absolute deviation (dex)",
    "coverage": "share of measured values inside their intervals",
    "n_limits": "upper limits with an estimate",
    "limits_violated": "share of upper limits that lie below their estimate",
    "left_out": "rows without a measured value or an estimate",
}
_SHARES = ("coverage", "limits_violated")
_FIGURES = ("rmse", "slope", "slope_inverse", "sigma", "offset", "nmad")


def _pair(left, right, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    both = " and ".join(dict.fromkeys(names))
    # numpy drops a mask without a word, and what lies under it would count.
    if np.any(getattr(left, "mask", False)) or np.any(getattr(right, "mask", False)):
        raise ValueError(f"{both} must not be masked: select the rows first")
    left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"{both} must be one-dimensional and equally long, got {left.shape}, {right.shape}")
    if not (np.all(np.isfinite(left)) and np.all(np.isfinite(right))):
        raise ValueError(f"{both} must be finite")
    return left, right


def regression_metrics(truth, estimate) -> dict[str, float]:
    """Compute the figures of Wu (2020, Table 2), and the robust scatter.

    Parameters
    ----------
    truth, estimate : array-like of float, shape (n,)
        Measured and estimated values, in dex; n at least 3, all finite.

    Returns
    -------
    figures : dict
        ``rmse``; ``slope`` (of the linear regression of estimate on truth, as in the paper);
        ``slope_inverse`` (of truth on estimate: unity, together with no offset, means that the estimate is
        an unbiased predictor); ``sigma`` (standard deviation of estimate minus truth, ddof=1); ``offset``
        (its mean); ``nmad`` (1.4826 times its median absolute deviation from the median).

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than 3 rows, a value is masked
        or not finite, or truth or estimate is constant.

    Examples
    --------
    >>> from hifrac.metrics import regression_metrics
    >>> figures = regression_metrics([-0.5, 0.0, 0.4], [-0.4, 0.1, 0.3])
    >>> {name: round(value, 3) for name, value in figures.items()}
    {'rmse': 0.1, 'slope': 0.787, 'slope_inverse': 1.231, 'sigma': 0.115, 'offset': 0.033, 'nmad': 0.0}
    """
    truth, estimate = _pair(truth, estimate, ("truth", "estimate"))
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
    """Return the share of measured values inside their closed intervals, of which there is at least one."""
    truth, lower = _pair(truth, lower, ("truth", "lower"))
    truth, upper = _pair(truth, upper, ("truth", "upper"))
    if truth.size == 0:
        raise ValueError("truth must have at least one row")
    return float(np.mean((lower <= truth) & (truth <= upper)))


def limits_violated(limit, estimate) -> float:
    """Return the share of upper limits, of which there is at least one, that lie below their estimate."""
    limit, estimate = _pair(limit, estimate, ("limit", "estimate"))
    if limit.size == 0:
        raise ValueError("limit must have at least one row")
    return float(np.mean(estimate > limit))


def share_interval(successes, n) -> np.ndarray:
    """Return lower and upper bounds of 68.3% of shares, by Wilson (1927, J. Am. Stat. Assoc. 22, 209).

    They are 0 and 1 where ``n`` is 0.
    """
    from astropy.stats import binom_conf_interval

    successes, n = np.asarray(successes), np.asarray(n)
    bounds = binom_conf_interval(successes, np.maximum(n, 1), interval="wilson")
    return np.where(n > 0, bounds, np.reshape([0.0, 1.0], (2, *n.ndim * [1])))


def pit(truth, quantiles, levels) -> np.ndarray:
    """Compute the probability integral transform: what each distribution gives to less than the truth.

    It is spread evenly from 0 to 1 if the distributions are what they say.

    Parameters
    ----------
    truth : array-like of float, shape (n,)
        Measured values.
    quantiles : array-like of float, shape (n, m)
        Quantiles of each distribution, not decreasing along a row.
    levels : array-like of float, shape (m,)
        Their levels, increasing, between 0 and 1; at least two.

    Returns
    -------
    rank : array of float, shape (n,)
        Between 0 and 1. Between the quantiles, and beyond the outermost, the normal deviate of the
        level is taken to be linear in the value: exact for a normal distribution.

    Raises
    ------
    ValueError
        If shapes do not fit, levels or quantiles do not increase, the outermost two quantiles on a side
        coincide, or a value is masked or not finite.

    Examples
    --------
    >>> from hifrac.metrics import pit
    >>> pit([0.0, 0.3], [[-0.3, 0.0, 0.3], [-0.3, 0.0, 0.3]], [0.16, 0.5, 0.84]).round(2)
    array([0.5 , 0.84])
    """
    from scipy.special import ndtr, ndtri

    if np.any(getattr(quantiles, "mask", False)):
        raise ValueError("quantiles must not be masked: select the rows first")
    quantiles, levels = np.asarray(quantiles, dtype=float), np.asarray(levels, dtype=float)
    truth, _ = _pair(truth, truth, ("truth", "truth"))
    if levels.ndim != 1 or levels.size < 2 or not np.all(np.diff(levels, prepend=0, append=1) > 0):
        raise ValueError(f"levels must be two or more, increasing between 0 and 1, got {levels}")
    if quantiles.shape != (truth.size, levels.size):
        raise ValueError(f"quantiles must have shape {(truth.size, levels.size)}, got {quantiles.shape}")
    if not np.all(np.isfinite(quantiles)):
        raise ValueError("quantiles must be finite")
    step = np.diff(quantiles, axis=1)
    if np.any(step < 0):
        raise ValueError("quantiles must not decrease along a row")
    if np.any(step[:, [0, -1]] == 0):
        raise ValueError("quantiles: the outermost two of a side coincide, and nothing follows beyond them")
    deviate = ndtri(levels)
    rows = np.arange(truth.size)
    # The segment that holds the truth; the first and the last go on for ever.
    segment = np.clip((quantiles < truth[:, None]).sum(axis=1) - 1, 0, levels.size - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (truth - quantiles[rows, segment]) / step[rows, segment]
    share = np.where(step[rows, segment] > 0, share, 0.5)
    return ndtr(deviate[segment] + share * np.diff(deviate)[segment])


def bootstrap_errors(
    figures: Callable[..., Any],
    *columns,
    draws: int = 1000,
    seed: int = 0,
    strata=None,
) -> Any:
    """Compute errors of figures: their standard deviations over samples drawn with replacement.

    Parameters
    ----------
    figures : callable
        Takes the columns, and returns a number or a mapping of numbers, such as `regression_metrics`.
    *columns : array-like, shape (n, ...)
        What rows are drawn of; all equally long.
    draws : int, optional
        How many samples.
    seed : int, optional
        Fixes the samples.
    strata : array-like of bool or int, shape (n,), optional
        Each value is drawn as often as it occurs: the numbers of detections and
        non-detections, for instance, are then those of the sample.

    Returns
    -------
    errors : float or dict of str to float
        As ``figures`` returns them. Samples that have no figure (a ValueError, as of a constant truth) do
        not count; NaN if fewer than two have one.

    Raises
    ------
    ValueError
        If the lengths differ, there is no row, one is masked, or ``draws`` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.metrics import bootstrap_errors
    >>> residuals = np.random.default_rng(0).normal(0, 0.25, 400)  # dex
    >>> round(bootstrap_errors(np.mean, residuals, draws=200), 3)
    0.013
    """
    if any(np.any(getattr(column, "mask", False)) for column in columns):
        raise ValueError("columns must not be masked: select the rows first")
    arrays = [np.asarray(column) for column in columns]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1 or lengths[0] == 0:
        raise ValueError(f"columns must be equally long, and not empty, got {lengths}")
    if draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    n = lengths[0]
    groups = [np.arange(n)]
    if strata is not None:
        strata = np.asarray(strata)
        if strata.shape != (n,):
            raise ValueError(f"strata must have {n} values, got shape {strata.shape}")
        groups = [np.flatnonzero(strata == value) for value in np.unique(strata)]
    rng = np.random.default_rng(seed)
    samples: list[Any] = []
    for _ in range(draws):
        rows = np.concatenate([rng.choice(group, group.size) for group in groups])
        try:
            samples.append(figures(*(array[rows] for array in arrays)))
        except ValueError:
            continue
    if not samples:
        figures(*arrays)  # says what is wrong with the sample itself
        return float("nan")

    def spread(values: list[float]) -> float:
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    if isinstance(samples[0], Mapping):
        return {name: spread([sample[name] for sample in samples]) for name in samples[0]}
    return spread(samples)


def score_estimates(
    truth, estimate, *, is_limit=None, lower=None, upper=None, draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Compute all figures of an estimator on a sample, detections and upper limits apart, with errors.

    Parameters
    ----------
    truth, estimate : array-like, column or quantity, shape (n,)
        Measured values (or upper limits) and estimates, in dex. Rows where one is masked or
        not finite are left out and counted.
    is_limit : array-like of bool, shape (n,), optional
        Where ``truth`` is an upper limit; masked counts as false.
    lower, upper : array-like, column or quantity, shape (n,), optional
        Limits of the intervals of the estimates, both or none.
    draws, seed : int, optional
        Of `bootstrap_errors`. 0 draws for no errors.

    Returns
    -------
    figures : dict
        ``n``, `regression_metrics` and ``coverage`` of the detections, ``n_limits`` and
        ``limits_violated`` of the limits, an ``_error`` for each figure, ``left_out``. NaN where there are
        too few rows for a figure; and for the error of a share of 0 or 1, which samples of the sample
        do not tell.

    Raises
    ------
    TypeError
        If values are not numbers.
    ValueError
        If lengths differ, or one of ``lower`` and ``upper`` is missing.

    Examples
    --------
    >>> from hifrac.metrics import score_estimates
    >>> truth, estimate = [-0.5, 0.0, 0.4, -1.2], [-0.4, 0.1, 0.3, -1.0]
    >>> figures = score_estimates(truth, estimate, is_limit=[False, False, False, True], draws=0)
    >>> figures["n"], round(figures["rmse"], 3), figures["n_limits"], figures["limits_violated"]
    (3, 0.1, 1, 1.0)
    """
    from hifrac.core.measurements import parse_numbers

    if (lower is None) != (upper is None):
        raise ValueError("lower and upper must be given together")
    given = {"truth": truth, "estimate": estimate}
    if lower is not None:
        given |= {"lower": lower, "upper": upper}
    arrays = {name: parse_numbers(values, name) for name, values in given.items()}
    limit = np.zeros(arrays["truth"].shape, bool)
    if is_limit is not None:
        limit = np.asarray(getattr(is_limit, "unmasked", is_limit))
        if limit.dtype != bool:
            raise ValueError(f"is_limit must be boolean, got {limit.dtype}")
        limit = limit & ~np.asarray(getattr(is_limit, "mask", False), dtype=bool)
    shapes = {name: array.shape for name, array in {**arrays, "is_limit": limit}.items()}
    if len(set(shapes.values())) > 1 or limit.ndim != 1:
        raise ValueError(f"lengths differ, or are not of one dimension: {shapes}")
    good = np.all(np.isfinite(list(arrays.values())), axis=0)
    measured = [array[good & ~limit] for array in arrays.values()]
    limits = [array[good & limit] for array in list(arrays.values())[:2]]

    def of_detections(true, estimated, *interval):
        figures = regression_metrics(true, estimated)
        if interval:
            figures["coverage"] = coverage(true, *interval)
        return figures

    names = [*_FIGURES, *(["coverage"] if lower is not None else [])]
    result: dict[str, float] = {"n": int(measured[0].size)}
    result |= _with_errors(of_detections, measured, names, draws, seed)
    result["n_limits"] = int(limits[0].size)
    result |= _with_errors(
        lambda *pair: {"limits_violated": limits_violated(*pair)}, limits, ["limits_violated"], draws, seed
    )
    result["left_out"] = int(np.sum(~good))
    return result


def _with_errors(figures: Callable, columns: list, names: list[str], draws: int, seed: int) -> dict:
    """Return figures by name, each with its error after it; NaN where there are too few rows."""
    nothing = dict.fromkeys(names, float("nan"))
    try:
        values, errors = figures(*columns), nothing
        if draws:
            errors = bootstrap_errors(figures, *columns, draws=draws, seed=seed)
    except ValueError:
        values = errors = nothing
    result: dict[str, float] = {}
    for name in names:
        error = errors[name]
        if name in _SHARES and values[name] in (0, 1):
            error = float("nan")
        result |= {name: values[name], f"{name}_error": error}
    return result


def metrics_table(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Put the figures of several estimators in a table.

    Parameters
    ----------
    rows : mapping of str to mapping
        The figures of each estimator by its name, as `score_estimates` gives them.

    Returns
    -------
    table : `~astropy.table.Table`
        One row each, ``estimator`` and the figures, with their descriptions; NaN where one has not what
        others have.

    Raises
    ------
    ValueError
        If there are no rows.

    Examples
    --------
    >>> from hifrac.metrics import metrics_table, regression_metrics
    >>> truth = [-0.5, 0.0, 0.4]
    >>> estimates = {"network": [-0.4, 0.1, 0.3], "colour": [0.0, 0.0, 0.1]}
    >>> rows = {name: regression_metrics(truth, values) for name, values in estimates.items()}
    >>> metrics_table(rows)["rmse"].round(3).tolist()
    [0.1, 0.337]
    """
    if not rows:
        raise ValueError("rows must have the figures of at least one estimator")
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table({"estimator": list(rows)})
    for name in names:
        table[name] = [row.get(name, float("nan")) for row in rows.values()]
    for column in table.itercols():
        what = _DESCRIPTIONS.get(column.name.removesuffix("_error"), "")
        column.info.description = f"bootstrap error of {what}" if column.name.endswith("_error") else what
    return table


def format_metrics(table: Table, *, decimals: int = 3) -> str:
    """Write a table of figures as text, as Table 2 of Wu (2020): each figure with its error.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `metrics_table`, or any with such columns.
    decimals : int, optional
        Digits after the point; more or fewer where an error would have none or more than two that count.

    Returns
    -------
    text : str
        A line for the names, then one for each row. What is NaN is "--".

    Examples
    --------
    >>> from astropy.table import Table
    >>> from hifrac.metrics import format_metrics
    >>> table = Table({"estimator": ["network"], "n": [400], "rmse": [0.2531], "rmse_error": [0.0093]})
    >>> print(format_metrics(table))
    estimator  n       rmse
    --------- --- -------------
    network   400 0.253 ± 0.009
    """
    shown = Table()
    for name in table.colnames:
        if name.endswith("_error") and name.removesuffix("_error") in table.colnames:
            continue
        values = table[name]
        if values.dtype.kind != "f":
            shown[name] = [str(value) for value in values]
            continue
        errors = table[f"{name}_error"] if f"{name}_error" in table.colnames else np.full(len(table), np.nan)
        shown[name] = [written_value(*pair, decimals=decimals) for pair in zip(values, errors, strict=True)]
    left = [name for name in shown.colnames if table[name].dtype.kind in "UO"]
    align = ["<" if name in left else ">" for name in shown.colnames]
    return "\n".join(shown.pformat(max_lines=-1, max_width=-1, align=align))


def written_value(value: float, error: float, *, decimals: int = 3) -> str:
    """Write a value with its error, both with as many decimals as leave one or two digits of the error."""
    if not np.isfinite(value):
        return "--"
    if not (np.isfinite(error) and error > 0):
        return f"{value:z.{decimals}f}"
    # The place of the first digit, after rounding to two: 0.0996 is 0.10.
    first = -int(np.floor(np.log10(float(f"{error:.1e}"))))
    decimals = max(0, min(max(decimals, first), first + 1))
    return f"{value:z.{decimals}f} ± {error:.{decimals}f}"


def written_figures(figures: Mapping[str, float]) -> dict[str, str]:
    """Write figures as text, each with the one of the same name and ``_error`` as its error."""
    errors = {name.replace("_error", ""): error for name, error in figures.items() if "_error" in name}
    texts = {}
    for name, value in figures.items():
        if "_error" not in name:
            error = errors.get(name, float("nan"))
            is_integer = isinstance(value, int) or isinstance(error, int)
            texts[name] = str(value) if is_integer else written_value(value, error)
    return texts


def published_metrics() -> Table:
    r"""Read the figures of Tables 2 and 3 of Wu (2020), as published.

    Returns
    -------
    table : `~astropy.table.Table`
        68 rows: ``table``, ``cut`` ("all", or which galaxies), ``sample``, ``estimator`` (CNN, or the FCNN of
        Teimoorinia et al. 2017), ``n``, ``rmse``, ``slope``, ``sigma``, ``offset``, and ``consistent``:
        False for the one row of which ``rmse``\ :sup:`2` is not ``sigma``\ :sup:`2` (n - 1)/n +
        ``offset``\ :sup:`2` within rounding, a misprint. Upper limits of xGASS count as values here.

    Examples
    --------
    >>> from hifrac.metrics import published_metrics
    >>> print(published_metrics()["sample", "estimator", "n", "rmse", "slope"][:3])
      sample  estimator  n    rmse  slope
                              dex
    --------- --------- ---- ------ ------
    alpha.40A       CNN 7128 0.2335 0.8427
    alpha.100       CNN 6087 0.2975 0.7325
       NIBLES       CNN  899 0.3705 0.8395
    """
    from importlib import resources

    return Table.read(resources.files("hifrac") / "data" / "wu2020_tables_2_3.ecsv")


def detection_auc(detected, score) -> float:
    """Compute the area under the receiver operating characteristic.

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

    Examples
    --------
    >>> from hifrac.metrics import detection_auc
    >>> detection_auc([True, True, False, False], [0.9, 0.4, 0.6, 0.1])
    0.75
    """
    from scipy.stats import rankdata

    if np.asarray(detected).dtype != bool:
        raise ValueError(f"detected must be boolean, got {np.asarray(detected).dtype}")
    _, score = _pair(detected, score, ("detected", "score"))
    detected = np.asarray(detected)
    positives = int(detected.sum())
    negatives = detected.size - positives
    if not positives or not negatives:
        raise ValueError("detected must have both detections and non-detections")
    ranks = rankdata(score)
    return float((ranks[detected].sum() - positives * (positives + 1) / 2) / (positives * negatives))
