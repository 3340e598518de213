"""Figures of merit of galaxies that were held out, and of a written model on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table, vstack

from hifrac.core.config import conf
from hifrac.core.evidence import Evidence, parse_evidence
from hifrac.core.exceptions import RowError, warn_caller
from hifrac.core.input import parse_labelled
from hifrac.core.reddening import galactic_ebv
from hifrac.core.tables import read_table
from hifrac.metrics import bootstrap_errors, coverage, detection_auc, regression_metrics
from hifrac.models import Answer, Model, ModelCard
from hifrac.models.answer import INTERVAL_LEVELS
from hifrac.models.calibration import ConformalTable
from hifrac.models.detection import DetectionTable
from hifrac.models.registry import bundled_models, held_out_answers
from hifrac.training.cnn.augment import N_DIHEDRAL, dihedral
from hifrac.training.data import flags_of, numbers_of, pictures_or_errors, require_classes, require_columns
from hifrac.training.splits import TRAIN

FIGURES = ("rmse", "slope", "slope_inverse", "sigma", "offset", "nmad")
SHARES = {"coverage_68": (0.16, 0.84), "coverage_90": (0.05, 0.95)}
#: p_detect is flagged below the value that 90% of the held-out detections reach.
COMPLETENESS = 0.90
#: Parts of which residuals make the intervals of the others.
N_PARTS = 5


def regression_figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Compute `FIGURES` and the RMSE's bootstrap error, after it; NaN where they mean nothing."""
    if len(truth) < 3 or np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        return dict.fromkeys(("rmse", "rmse_error", *FIGURES[1:]), np.nan)
    figures = regression_metrics(truth, estimate)
    error = bootstrap_errors(lambda one, other: np.sqrt(np.mean((one - other) ** 2)), truth, estimate)
    return {"rmse": figures["rmse"], "rmse_error": error, **{name: figures[name] for name in FIGURES[1:]}}


def several_figures(residuals: np.ndarray, columns: Sequence[str]) -> dict[str, float]:
    """Compute the error of several targets: of all together, and of each.

    Parameters
    ----------
    residuals : `~numpy.ndarray`, shape (n, n_targets)
        In units of the scatter of each target; NaN where a label is missing.
    columns : sequence of str, shape (n_targets,)
        Names of the targets.

    Returns
    -------
    figures : dict of str to float
        ``rmse`` and ``mse``, the root of the mean square and the mean square over galaxies and targets, and
        ``rmse_<column>``, each with its bootstrap error over galaxies.
    """

    def figures(residuals: np.ndarray) -> dict[str, float]:
        if np.isnan(residuals).all(axis=0).any():  # a bootstrap sample without a label
            raise ValueError("each target must have a residual")
        squares = np.nanmean(residuals**2, axis=0)
        mse = float(np.nanmean(residuals**2))
        each = {f"rmse_{name}": float(np.sqrt(value)) for name, value in zip(columns, squares, strict=True)}
        return {"rmse": float(np.sqrt(mse)), "mse": mse, **each}

    errors = bootstrap_errors(figures, residuals)
    both = ((name, value, errors[name]) for name, value in figures(residuals).items())
    return {
        key: number
        for name, value, error in both
        for key, number in ((name, value), (f"{name}_error", error))
    }


def class_figures(truth: np.ndarray, logit: np.ndarray) -> dict[str, float]:
    """Compute accuracy and area under the receiver operating characteristic, with its bootstrap error.

    ``truth``, boolean, is whether a row is of class 1; ``logit`` are its log odds at equal prior odds.
    """
    return {
        "accuracy": float(np.mean((logit > 0) == truth)),
        "auc": detection_auc(truth, logit),
        "auc_error": bootstrap_errors(detection_auc, truth, logit, strata=truth),
    }


def coverage_across(scaled: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """Compute the coverage of conformal intervals, each part scored with the residuals of the others.

    ``scaled`` is truth minus estimate, in units of the predicted spread where there is one.
    """
    limits = {name: np.empty((2, len(scaled))) for name in SHARES}
    for number in np.unique(part):
        held_out = part == number
        table = ConformalTable.from_residuals(scaled[~held_out])
        for name, levels in SHARES.items():
            limits[name][:, held_out] = [[table.value(level)] for level in levels]
    return {name: coverage(scaled, *values) for name, values in limits.items()}


def held_out_coverage(scaled: np.ndarray, seed: int) -> dict[str, float]:
    """Compute `coverage_across` random parts; nothing if they are too few for the outermost level."""
    part = np.random.default_rng(seed).permutation(len(scaled)) % N_PARTS
    try:
        return coverage_across(scaled, part)
    except ValueError:
        return {}


def fit_detection(detected: np.ndarray, logit: np.ndarray, **ood: Any) -> DetectionTable:
    """Calibrate held-out log odds (Platt 1999), both classes counting alike; ``ood`` is for the table."""
    from sklearn.linear_model import LogisticRegression

    platt = LogisticRegression(class_weight="balanced", C=1e6).fit(logit[:, None], detected)
    slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    table = DetectionTable(slope=slope, intercept=intercept, threshold=0.0, **ood)
    threshold = np.quantile(table.probability(logit[detected]), 1 - COMPLETENESS)
    return replace(table, threshold=round(float(threshold), 3))


def evaluate(
    model: Model,
    table: Table,
    cutouts: str | Path,
    *,
    name: str = "objid",
    target: str | Sequence[str],
    is_limit: str | None = None,
    orientations: int = 1,
    selection: str | None = None,
    bands: str | None = None,
) -> Table:
    """Score a model on labelled pictures.

    Galaxies that the model learned from are scored like the others, and said to be there: they are
    known by the names in ``out_of_fold.ecsv`` or ``splits.ecsv`` of the model's folder.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    table : `~astropy.table.Table`
        With the columns named below; for a model that corrects for reddening also positions, as
        `~hifrac.HIFractionEstimator.predict` takes them, or ``ebv``; redshifts, magnitudes and the like are
        used as there. Galaxies that the model learned from are looked for by ``name`` and, where there is
        one, by ``objid``.
    cutouts : path-like
        Folder or archive of pictures of the model's recipe.
    name : str
        Column of the pictures' names.
    target : str or sequence of str
        Column of the measured values (for a model that knows classes alone: boolean, or 0 and 1); of a model
        of several targets one for each, in its order.
    is_limit : str, optional
        Column of truth values, boolean or 0 and 1: where the value is an upper limit. Not for classes.
    orientations : {1, 8}, optional
        8 for the mean answer over all orientations of each picture.
    selection : str, optional
        How the galaxies came into the table, as of `~hifrac.HIFractionEstimator`.
    bands : str, optional
        Filters of the planes of the files, such as ``"yzirg"``, where they do not say, of a model that reads
        fluxes.

    Returns
    -------
    figures : `~astropy.table.Table`
        A row for all galaxies, and one for each third of the estimates, and so for each of several targets,
        whose column is in ``target``: ``sample``, ``n``,
        ``estimate_min``, ``estimate_max``, then ``rmse``, ``rmse_error``, ``slope``, ``slope_inverse``,
        ``sigma``, ``offset``, ``nmad``, ``coverage_68``, ``coverage_90`` (of the model's own intervals; NaN
        if it has none), and with ``is_limit`` ``n_limits``,
        ``limits_violated`` (share of limits below the estimate). For classes
        one row with ``accuracy``, ``auc``, ``auc_error``. ``meta`` counts the rows that were left out:
        ``without_label``, ``without_picture``, and the ``first_failure``; and of those scored
        ``learned_from``, galaxies that the model learned from, and ``perhaps_learned_from``, of which
        that cannot be told: the model's folder names no galaxies, or calls them by another kind of name
        than the table.

    Raises
    ------
    ValueError
        If a column is missing or holds the wrong kind of values, the model has another number of targets,
        ``orientations`` is neither 1 nor
        8, ``selection`` is none that the model has, no row with a label has a picture, or of two classes
        only one has.
    TypeError, ~astropy.units.UnitConversionError
        If positions or ``ebv`` are not numbers, or have the wrong unit.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If the model learned from some of the galaxies that it is scored on, or corrects for a reddening
        that is not known.

    Examples
    --------
    The simulated galaxies have no measured gas: in its place what a relation gives for the stellar mass.

    >>> from hifrac import load_model
    >>> from hifrac.demo import PICTURES, sample_table
    >>> from hifrac.training import evaluate
    >>> table = sample_table()
    >>> table["log_hi_fraction"] = 6.0 - 0.6 * table["log_mstar"]
    >>> figures = evaluate(load_model("default"), table, PICTURES, name="name", target="log_hi_fraction")
    >>> print(figures["sample", "n"])
        sample     n
    ------------- ---
              all  24
     lowest third   8
     middle third   8
    highest third   8
    """
    model.require(selection=selection)
    if orientations not in (1, N_DIHEDRAL):
        raise ValueError(f"orientations must be 1 or {N_DIHEDRAL}, got {orientations}")
    targets = [target] if isinstance(target, str) else list(target)
    require_columns(table, [name, *targets, *([] if is_limit is None else [is_limit])])
    if len(targets) != len(columns := model.card.target_columns):
        raise ValueError(
            f"target must be {len(columns)} columns, because {model.card.name!r} estimates "
            f"{', '.join(columns)}; got {', '.join(targets)}"
        )
    truth = np.stack([numbers_of(table, column) for column in targets], axis=1)
    labelled = np.flatnonzero(np.isfinite(truth).any(axis=1))
    log_odds = _log_odds(model.card)
    if log_odds is not None:
        _require_classes(truth[labelled, 0], targets[0], is_limit, model.card)
    limits = flags_of(table, is_limit)
    ebv, evidence = _evidence(model, table, labelled)
    rows, outputs, failures = [], [], []
    for served, pixels, failed in _batches(model, table[name], labelled, cutouts, name, bands):
        failures += failed
        if served:
            rows += served
            outputs.append(_mean_outputs(model, pixels, ebv[served], orientations))
    if not rows:
        raise ValueError(
            f"table: of {len(table)} rows none has a label and a picture"
            + (f"; the first failure: {failures[0]}" if failures else "")
        )
    meta = {
        "model": model.card.name,
        "sha256": model.card.sha256,
        "target": ", ".join(targets),
        "orientations": orientations,
        "without_label": len(table) - len(labelled),
        "without_picture": len(failures),
        **({"first_failure": failures[0]} if failures else {}),
        **_count_learned(model, table[rows], name),
    }
    gathered = {key: np.concatenate([batch[key] for batch in outputs]) for key in outputs[0]}
    if log_odds is not None:
        return _class_table(truth[rows, 0], gathered[log_odds], targets[0], meta)
    known = None if evidence is None else evidence[np.array(rows)]
    answer = model.interpret(gathered, ebv[rows], evidence=known, selection=selection)
    return _targets_table(answer, columns, truth[rows], limits[rows], is_limit is not None, meta)


def _targets_table(
    answer: Answer,
    columns: Sequence[str],
    truth: np.ndarray,
    limits: np.ndarray,
    with_limits: bool,
    meta: dict[str, Any],
) -> Table:
    """Tabulate the figures of each target, of the rows that have a label of it."""
    tables = []
    for number, column in enumerate(columns):
        rows = np.isfinite(truth[:, number])
        if not rows.any():
            raise ValueError(f"target: no row with a picture has a value of {column}")
        estimates = answer.columns(columns[0])
        quantiles = {level: estimates[f"{column}_{name}"][rows] for name, level in INTERVAL_LEVELS.items()}
        known = {level: values for level, values in quantiles.items() if np.isfinite(values).any()}
        own = estimates[column][rows], known
        tables.append(_regression_table(*own, truth[rows, number], limits[rows], with_limits, meta))
        if len(columns) > 1:
            tables[-1].add_column(np.full(len(tables[-1]), column), 0, name="target")
    return tables[0] if len(tables) == 1 else vstack(tables, metadata_conflicts="silent")


def _log_odds(card: ModelCard) -> str | None:
    """Return the output of a model that tells two classes apart; None for one that estimates a value."""
    if "estimate" not in card.outputs:
        return "detection_logit"
    # Other classes are called estimate as well, but only they have an accuracy, and never an interval.
    return "estimate" if card.calibration is None and "accuracy" in card.figures else None


def _require_classes(truth: np.ndarray, target: str, is_limit: str | None, card: ModelCard) -> None:
    classes = f"{card.name!r} tells two classes apart"
    require_classes(truth, f"target: {target} must hold", f": {classes} ({card.target})")
    if is_limit is not None:
        raise ValueError(f"is_limit: classes have no upper limits, and {classes}")


def _evidence(model: Model, table: Table, labelled: np.ndarray) -> tuple[np.ndarray, Evidence | None]:
    """Return the E(B-V) of each row for a model that corrects for it, and what else it uses of the table.

    Warns where the reddening is unknown.
    """
    if "ebv" not in model.card.inputs:
        return np.full(len(table), np.nan), None
    positions = parse_labelled(table, "ebv")
    ebv = galactic_ebv(positions.ra, positions.dec, positions.ebv)
    if count := int(np.sum(np.isnan(ebv[labelled]))):
        warn_caller(
            f"table: {count} of {len(labelled)} rows have neither a valid position nor ebv, the "
            f"reddening: {model.card.name!r} takes it to be the typical one"
        )
    return ebv, parse_evidence(table, ebv, positions.dec) if model.uses_evidence else None


def _batches(
    model: Model, names: np.ndarray, rows: np.ndarray, cutouts: str | Path, column: str, bands: str | None
) -> Iterator[tuple[list[int], np.ndarray, list[str]]]:
    """Yield rows with a picture, their pixels, and what stopped the others, a batch at a time."""
    pictures = pictures_or_errors(names[rows], cutouts, model.card.recipe, column, bands=bands)
    for start in range(0, len(rows), conf.batch_size):
        batch = rows[start : start + conf.batch_size]
        served, pixels, failed = [], [], []
        for row, picture in zip(batch, islice(pictures, len(batch)), strict=True):
            if isinstance(picture, RowError):
                failed.append(f"row {row}: {picture}")
            else:
                served.append(int(row))
                pixels.append(picture)
        yield served, np.stack(pixels) if pixels else np.empty(0), failed


def _mean_outputs(
    model: Model, pixels: np.ndarray, ebv: np.ndarray, orientations: int
) -> dict[str, np.ndarray]:
    """Return the outputs of pictures (n, h, w, 3), the mean over their orientations."""
    total, planes = model.run(pixels, ebv), torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for which in range(1, orientations):
        turned = dihedral(planes, which).permute(0, 2, 3, 1).contiguous().numpy()
        total = {key: value + total[key] for key, value in model.run(turned, ebv).items()}
    return {key: value / orientations for key, value in total.items()}


def _learned_names(model: Model) -> set[str] | None:
    """Return the names of the galaxies that a model learned from; None if its folder does not say."""
    # What is known of a bundled model is known of its copies: the weights are the same.
    folders = [] if model.folder is None else [model.folder]
    folders += [
        folder for folder in bundled_models().values() if ModelCard.read(folder).sha256 == model.card.sha256
    ]
    for folder in folders:
        if (answers := held_out_answers(folder)) is not None:  # the last fit is to all of them
            return set(answers["objid"].tolist())
        if not (folder / "splits.ecsv").is_file():
            continue
        split = read_table(folder / "splits.ecsv")
        if "objid" in split.colnames:
            # Without roles there are folds: cross-validation, after which the model was fitted to all.
            rows = split[split["role"] == TRAIN] if "role" in split.colnames else split
            return {str(name).strip() for name in rows["objid"]}
    return None


def _count_learned(model: Model, table: Table, column: str) -> dict[str, int]:
    """Count the rows that a model learned from, and those of which that cannot be told."""
    learned = _learned_names(model)
    if learned is None:
        return {"learned_from": 0, "perhaps_learned_from": len(table)}
    comparable = {_sky_version(name) for name in learned}
    columns = [
        ["" if value is np.ma.masked else str(value).strip() for value in table[key]]
        for key in dict.fromkeys((column, "objid"))
        if key in table.colnames
    ]
    rows = list(zip(*columns, strict=True))
    unseen = [names for names in rows if learned.isdisjoint(names)]
    untold = sum(not any(name and _sky_version(name) in comparable for name in names) for names in unseen)
    if count := len(rows) - len(unseen):
        warn_caller(
            f"{model.card.name!r} learned from {count} of the {len(rows)} galaxies that it is judged on: of "
            "these the figures are optimistic; those of held-out galaxies are in its card"
        )
    return {"learned_from": count, "perhaps_learned_from": untold}


def _sky_version(name: str) -> int | None:
    """Tell names that can be compared: words, or numbers; of SDSS objIDs, those of one version of its sky."""
    return int(name) >> 59 if name.isascii() and name.isdigit() else None


def _class_table(truth: np.ndarray, logit: np.ndarray, target: str, meta: dict[str, Any]) -> Table:
    if np.ptp(truth) == 0:
        raise ValueError(
            f"target: of the classes in {target} only {truth[0]:g} has a picture: nothing to tell"
        )
    return Table(rows=[{"sample": "all", "n": len(truth), **class_figures(truth == 1, logit)}], meta=meta)


def _regression_table(
    estimate: np.ndarray,
    quantiles: dict[float, np.ndarray],
    truth: np.ndarray,
    limits: np.ndarray,
    with_limits: bool,
    meta: dict[str, Any],
) -> Table:
    """Tabulate the figures of all rows and of each third of the estimates."""
    rank = np.argsort(np.argsort(estimate, kind="stable"), kind="stable")
    third = rank * 3 // len(rank)
    samples = {"all": np.full(len(truth), True)} | {
        f"{name} third": third == number for number, name in enumerate(("lowest", "middle", "highest"))
    }
    rows = []
    for sample, chosen in samples.items():
        measured = chosen & ~limits
        row: dict[str, Any] = {"sample": sample, "n": int(measured.sum())}
        for key, edge in (("estimate_min", np.min), ("estimate_max", np.max)):
            row[key] = float(edge(estimate[chosen])) if chosen.any() else np.nan
        row |= regression_figures(truth[measured], estimate[measured])
        for key, levels in SHARES.items():
            row[key] = np.nan
            if quantiles and measured.any():
                low, high = (quantiles[level][measured] for level in levels)
                row[key] = coverage(truth[measured], low, high)
        if with_limits:
            below = estimate[chosen & limits] > truth[chosen & limits]
            row["n_limits"] = below.size
            row["limits_violated"] = float(below.mean()) if below.size else np.nan
        rows.append(row)
    return Table(rows=rows, meta=meta)
