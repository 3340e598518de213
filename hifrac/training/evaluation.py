"""Figures of merit of a model on galaxies that it was not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.core.config import conf
from hifrac.core.exceptions import HifracWarning, RowError
from hifrac.core.input import parse_labelled
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import LocalCutouts
from hifrac.metrics import bootstrap_errors, coverage, detection_auc, regression_metrics
from hifrac.models import Model, ModelCard
from hifrac.models.calibration import ConformalTable
from hifrac.models.registry import bundled_models, held_out_answers
from hifrac.training.cnn.augment import N_DIHEDRAL

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

    Galaxies that the model learned from are judged like the others, and said to be there: they are
    known by the names in ``out_of_fold.ecsv`` or ``splits.ecsv`` of the model's folder.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    table : `~astropy.table.Table`
        With the columns named below, and positions as of ``read_labelled`` for a
        model that corrects for reddening. Galaxies that the model learned from are looked for by
        ``name`` and, where there is one, by ``objid``.
    cutouts : path-like
        Folder or archive of pictures of the model's recipe.
    name, target : str
        Columns of the pictures' names and of the measured values (for a
        model that knows classes alone: boolean, or 0 and 1).
    is_limit : str, optional
        Column of truth values, see ``flags_of``: where the value is an upper limit.
        Not for classes.
    orientations : {1, 8}, optional
        8 for the mean answer over all orientations of each picture.

    Returns
    -------
    figures : `~astropy.table.Table`
        A row for all galaxies, and one for each third of the estimates: ``sample``, ``n``,
        ``estimate_min``, ``estimate_max``, then ``regression_figures``,
        ``coverage_68``, ``coverage_90`` (of the model's own intervals; NaN
        if it has none), and with ``is_limit`` ``n_limits``,
        ``limits_violated`` (share of limits below the estimate). For classes
        one row with ``class_figures``. ``meta`` counts the rows that were left out: ``without_label``,
        ``without_picture``, and the ``first_failure``; and of those judged ``learned_from``, galaxies
        that the model learned from, and ``perhaps_learned_from``, of which that cannot be told: the
        model's folder names no galaxies, or calls them by another kind of name than the table.

    Raises
    ------
    ValueError
        If a column is missing or holds the wrong kind of values, ``orientations`` is neither 1 nor
        8, no row with a label has a picture, or of two classes only one has.
    TypeError, ~astropy.units.UnitConversionError
        If positions or ``ebv`` are not numbers, or have the wrong unit.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If the model learned from some of the galaxies that it is judged on, or corrects for a reddening
        that is not known.
    """
    from hifrac.training.data import flags_of, numbers_of, require_columns

    if orientations not in (1, N_DIHEDRAL):
        raise ValueError(f"orientations must be 1 or {N_DIHEDRAL}, got {orientations}")
    require_columns(table, [name, target, *([] if is_limit is None else [is_limit])])
    truth = numbers_of(table, target)
    labelled = np.isfinite(truth)
    log_odds = _log_odds(model.card)
    if log_odds is not None:
        _require_classes(truth[labelled], target, is_limit, model.card)
    limits = np.zeros(len(table), dtype=bool)
    if is_limit is not None:
        limits = flags_of(table, is_limit)
    ebv = np.full(len(table), np.nan)
    if "ebv" in model.card.inputs:
        positions = parse_labelled(table, "ebv")
        ebv = galactic_ebv(positions.ra, positions.dec, positions.ebv)
        if count := int(np.sum(np.isnan(ebv[labelled]))):
            warnings.warn(
                f"table: {count} of {labelled.sum()} rows have neither a valid position nor ebv, the "
                f"reddening: {model.card.name!r} takes it to be the typical one",
                HifracWarning,
                stacklevel=2,
            )
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
    meta["learned_from"], meta["perhaps_learned_from"] = _count_learned(
        _learned_names(model), table[rows], name
    )
    if count := meta["learned_from"]:
        warnings.warn(
            f"{model.card.name!r} learned from {count} of the {len(rows)} galaxies that it is judged on: of "
            "these the figures are optimistic; those of held-out galaxies are in its card",
            HifracWarning,
            stacklevel=2,
        )
    outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    truth, limits = truth[rows], limits[rows]
    if log_odds is not None:
        if np.ptp(truth) == 0:
            raise ValueError(
                f"target: of the classes in {target} only {truth[0]:g} has a picture: nothing to tell"
            )
        found = class_figures(truth == 1, outputs[log_odds])
        return Table(rows=[{"sample": "all", "n": len(rows), **found}], meta=meta)
    return _regression_table(model, outputs, truth, limits, is_limit is not None, meta)


def _log_odds(card: ModelCard) -> str | None:
    """The output of a model that tells two classes apart; None for one that estimates a value."""
    if "estimate" not in card.outputs:
        return "detection_logit"
    # Other classes are called estimate as well, but only they have an accuracy, and never an interval.
    return "estimate" if card.calibration is None and "accuracy" in card.figures else None


def _require_classes(truth: np.ndarray, target: str, is_limit: str | None, card: ModelCard) -> None:
    if strange := sorted(set(np.unique(truth).tolist()) - {0.0, 1.0}):
        raise ValueError(
            f"target: {target} must hold the classes 0 and 1, got {strange[0]:g}: {card.name!r} tells two "
            f"classes apart ({card.target})"
        )
    if is_limit is not None:
        raise ValueError(f"is_limit: classes have no upper limits, and {card.name!r} tells two classes apart")


def _learned_names(model: Model) -> set[str] | None:
    """The names of the galaxies that a model learned from; None if its folder does not say."""
    from hifrac.core.tables import read_table
    from hifrac.training.splits import TRAIN

    # What is known of a bundled model is known of its copies: the weights are the same.
    folders = [] if model.folder is None else [model.folder]
    folders += [one for one in bundled_models().values() if ModelCard.read(one).sha256 == model.card.sha256]
    for one in folders:
        if (answers := held_out_answers(one)) is not None:  # the last fit is to all of them
            return set(answers["objid"].tolist())
        if not (one / "splits.ecsv").is_file():
            continue
        split = read_table(one / "splits.ecsv")
        if "objid" in split.colnames:
            # Without roles there are folds: cross-validation, after which the model was fitted to all.
            rows = split[split["role"] == TRAIN] if "role" in split.colnames else split
            return {str(name).strip() for name in rows["objid"]}
    return None


def _count_learned(known: set[str] | None, table: Table, column: str) -> tuple[int, int]:
    """How many rows a model learned from, and of how many that cannot be told."""
    if known is None:
        return 0, len(table)
    kinds = {_kind(name) for name in known}
    columns = [
        ["" if one is np.ma.masked else str(one).strip() for one in table[key]]
        for key in dict.fromkeys((column, "objid"))
        if key in table.colnames
    ]
    learned = untold = 0
    for names in zip(*columns, strict=True):
        if not known.isdisjoint(names):
            learned += 1
        elif not any(name and _kind(name) in kinds for name in names):
            untold += 1
    return learned, untold


def _kind(name: str) -> int | None:
    """What names can be compared: words, or numbers; of SDSS objIDs, those of one version of its sky."""
    return int(name) >> 59 if name.isascii() and name.isdigit() else None


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
        # Along rows and columns: as `hifrac.training.cnn.augment.dihedral` of channels last.
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
