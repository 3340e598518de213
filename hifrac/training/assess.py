"""Figures of merit of a model on galaxies that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac._input import parse_ebv
from hifrac.calibration import ConformalTable
from hifrac.config import conf
from hifrac.cutouts import LocalCutouts
from hifrac.exceptions import RowError
from hifrac.metrics import bootstrap_errors, coverage, detection_auc, regression_metrics
from hifrac.models import Model
from hifrac.reddening import galactic_ebv
from hifrac.training.augment import N_DIHEDRAL

__all__ = ["class_figures", "evaluate", "held_out_coverage", "regression_figures"]

FIGURES = ("rmse", "slope", "slope_inverse", "sigma", "offset", "nmad")
SHARES = {"coverage_68": (0.16, 0.84), "coverage_90": (0.05, 0.95)}
#: Parts of which residuals make the intervals of the others.
N_PARTS = 5


def regression_figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """`~hifrac.metrics.regression_metrics` and the RMSE's bootstrap error; NaN where they mean nothing.

    Parameters
    ----------
    truth, estimate : array of float, shape (n,)
        Measured and estimated values.

    Returns
    -------
    figures : dict
        ``rmse``, ``rmse_error``, ``slope``, ``slope_inverse``, ``sigma``, ``offset``, ``nmad``.
    """
    if len(truth) < 3 or np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        return dict.fromkeys(("rmse", "rmse_error", *FIGURES[1:]), np.nan)
    figures = regression_metrics(truth, estimate)
    error = bootstrap_errors(lambda one, other: np.sqrt(np.mean((one - other) ** 2)), truth, estimate)
    return {
        "rmse": figures["rmse"],
        "rmse_error": error,
        **{name: figures[name] for name in FIGURES[1:]},
    }


def class_figures(truth: np.ndarray, logit: np.ndarray) -> dict[str, float]:
    """Accuracy and area under the receiver operating characteristic, the latter with its bootstrap error.

    Parameters
    ----------
    truth : array of bool, shape (n,)
        Whether a row is of class 1; both classes must be there.
    logit : array of float, shape (n,)
        Its log odds at equal prior odds.

    Returns
    -------
    figures : dict
        ``accuracy``, ``auc``, ``auc_error``.
    """
    return {
        "accuracy": float(np.mean((logit > 0) == truth)),
        "auc": detection_auc(truth, logit),
        "auc_error": bootstrap_errors(detection_auc, truth, logit, strata=truth),
    }


def held_out_coverage(scaled: np.ndarray, seed: int) -> dict[str, float]:
    """Coverage of intervals, each part of the held-out galaxies judged by residuals of the others.

    Parameters
    ----------
    scaled : array of float, shape (n,)
        Truth minus estimate, in units of the predicted spread where there is one.
    seed : int
        Fixes the parts.

    Returns
    -------
    shares : dict
        ``coverage_68`` and ``coverage_90``; empty if the others are too few for the outermost level.
    """
    part = np.random.default_rng(seed).permutation(len(scaled)) % N_PARTS
    inside = {name: np.zeros(len(scaled), dtype=bool) for name in SHARES}
    for number in range(N_PARTS):
        judged = part == number
        try:
            table = ConformalTable.from_residuals(scaled[~judged])
        except ValueError:
            return {}
        for name, (low, high) in SHARES.items():
            inside[name][judged] = (scaled[judged] >= table.value(low)) & (
                scaled[judged] <= table.value(high)
            )
    return {name: float(np.mean(values)) for name, values in inside.items()}


def evaluate(
    model: Model,
    table: Table,
    cutouts: str | Path,
    *,
    name: str = "objid",
    target: str,
    is_limit: str | None = None,
    orientations: int = 1,
) -> Table:
    """Judge a model on labelled pictures.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    table : `~astropy.table.Table`
        With the columns named below, and ``ra`` and ``dec`` (degrees) where they are known.
    cutouts : path-like
        Folder or archive of pictures of the model's recipe.
    name, target : str
        Columns of the pictures' names and of the measured values (for a
        model that knows classes alone: 0 or 1).
    is_limit : str, optional
        Boolean column: where the value is an upper limit.
    orientations : {1, 8}, optional
        8 for the mean answer over all orientations of each picture.

    Returns
    -------
    figures : `~astropy.table.Table`
        A row for all galaxies, and one for each third of the estimates: ``sample``, ``n``,
        ``estimate_min``, ``estimate_max``, then `regression_figures`,
        ``coverage_68``, ``coverage_90`` (of the model's own intervals; NaN
        if it has none), and with ``is_limit`` ``n_limits``,
        ``limits_violated`` (share of limits below the estimate). For classes
        one row with `class_figures`. ``meta`` counts the rows that were left out: ``without_label``,
        ``without_picture``, and the ``first_failure``.

    Raises
    ------
    ValueError
        If a column is missing or holds the wrong kind of values, ``orientations`` is neither 1 nor
        8, or no row with a label has a picture.
    """
    from hifrac.training.pictures import numbers_of, require_columns

    if orientations not in (1, N_DIHEDRAL):
        raise ValueError(f"orientations must be 1 or {N_DIHEDRAL}, got {orientations}")
    require_columns(table, [name, target, *([] if is_limit is None else [is_limit])])
    truth = numbers_of(table, target)
    limits = np.zeros(len(table), dtype=bool)
    if is_limit is not None:
        limits = numbers_of(table, is_limit) == 1
    labelled = np.isfinite(truth)
    ebv = np.full(len(table), np.nan)
    if "ebv" in model.card.inputs:
        position = (numbers_of(table, key, optional=True) for key in ("ra", "dec"))
        ebv = galactic_ebv(*position, parse_ebv(table))
    rows, parts, failures = [], [], []
    for chunk, pixels, failed in _batches(model, table[name], np.flatnonzero(labelled), cutouts, name):
        failures += failed
        if chunk:
            rows += chunk
            parts.append(_run(model, pixels, ebv[chunk], orientations))
    meta = {
        "model": model.card.name,
        "sha256": model.card.sha256,
        "target": target,
        "orientations": orientations,
        "without_label": int(np.sum(~labelled)),
        "without_picture": len(failures),
    }
    if failures:
        meta["first_failure"] = failures[0]
    if not rows:
        raise ValueError(
            f"table: of {len(table)} rows none has a label and a picture"
            + (f"; the first failure: {failures[0]}" if failures else "")
        )
    outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    truth, limits = truth[rows], limits[rows]
    if "estimate" not in outputs:
        if not set(np.unique(truth)) == {0.0, 1.0}:
            raise ValueError(f"{target} must hold 0 and 1, both: the model {model.card.name!r} knows classes")
        found = class_figures(truth == 1, outputs["detection_logit"])
        return Table(rows=[{"sample": "all", "n": len(rows), **found}], meta=meta)
    return _regression_table(model, outputs, truth, limits, is_limit is not None, meta)


def _regression_table(
    model: Model, outputs: dict, truth: np.ndarray, limits: np.ndarray, with_limits: bool, meta: dict
) -> Table:
    table = model.card.calibration
    estimate = outputs["estimate"] if table is None else table.estimate(outputs)
    order = np.argsort(np.argsort(estimate, kind="stable"), kind="stable")
    third = order * 3 // len(order)
    names = ("all", "lowest third", "middle third", "highest third")
    rows = []
    for number, sample in enumerate(names):
        chosen = np.full(len(truth), True) if number == 0 else third == number - 1
        measured = chosen & ~limits
        row = {"sample": sample, "n": int(measured.sum())}
        for key, edge in (("estimate_min", np.min), ("estimate_max", np.max)):
            row[key] = float(edge(estimate[chosen])) if chosen.any() else np.nan
        row |= regression_figures(truth[measured], estimate[measured])
        for key, levels in SHARES.items():
            row[key] = np.nan
            if table is not None and measured.any():
                low, high = (table.quantile(outputs, level)[measured] for level in levels)
                row[key] = coverage(truth[measured], low, high)
        if with_limits:
            below = estimate[chosen & limits] > truth[chosen & limits]
            row["n_limits"] = below.size
            row["limits_violated"] = float(below.mean()) if below.size else np.nan
        rows.append(row)
    return Table(rows=rows, meta=meta)


def _run(model: Model, pixels: np.ndarray, ebv: np.ndarray, orientations: int) -> dict[str, np.ndarray]:
    """The outputs of pictures (n, h, w, 3), the mean over their orientations."""
    total = model.run(pixels, ebv)
    for which in range(1, orientations):
        mirrored = pixels[:, :, ::-1] if which >= 4 else pixels
        # Along rows and columns: as `hifrac.training.augment.dihedral` of channels last.
        turned = np.ascontiguousarray(np.rot90(mirrored, which % 4, (1, 2)))
        total = {key: value + total[key] for key, value in model.run(turned, ebv).items()}
    return {key: value / orientations for key, value in total.items()}


def _batches(
    model: Model, names, rows: np.ndarray, cutouts: str | Path, column: str
) -> Iterator[tuple[list[int], np.ndarray, list[str]]]:
    """Rows with a picture, their pixels, and what stopped the others."""
    recipe, size = model.card.recipe, conf.batch_size
    with LocalCutouts(cutouts, name=column) as source:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            nowhere = np.zeros(len(part))
            served, pixels, failed = [], [], []
            for row, cutout in zip(part, source.fetch(nowhere, nowhere, names[part]), strict=True):
                try:
                    if cutout.error is not None:
                        raise cutout.error
                    pixels.append(recipe.decode(cutout.data))
                except RowError as error:
                    failed.append(f"row {row}: {error}")
                else:
                    served.append(int(row))
            yield served, np.stack(pixels) if pixels else np.empty(0), failed
