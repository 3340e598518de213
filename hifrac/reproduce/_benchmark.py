"""Every estimator that can run on a survey, scored on that survey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.utils.masked import Masked

from hifrac import catalogs, relations
from hifrac.catalogs import CatalogFlag, _files, match_ids, match_positions, plain_values
from hifrac.catalogs.columns import CATALOG_COLUMNS, catalog_column
from hifrac.catalogs.samples import with_stellar_mass
from hifrac.core import config
from hifrac.core.exceptions import without_warnings
from hifrac.core.measurements import plain_floats
from hifrac.cutouts import CutoutSource, LocalCutouts, source_for
from hifrac.estimator import HIFractionEstimator
from hifrac.metrics import metrics_table, score_estimates
from hifrac.models import Model, load_model
from hifrac.models.registry import held_out_answers
from hifrac.reproduce._inputs import selection_of

#: The surveys: names of catalogues, and of samples in Wu (2020).
SURVEYS = {
    "xgass": "xGASS",
    "nibles": "NIBLES",
    "resolve": "",
    "durbala2020": "alpha.100",
    "alfalfa_a40": "alpha.40A",
}
#: The columns of photometry that an estimator may need, by the names of the catalogues.
PHOTOMETRY = ("nuv_minus_r", "u_minus_r", "u_minus_i", "g_minus_r", "g_minus_i", "mu_i")
#: Surveys of galaxies that ALFALFA detected; the others chose theirs by other light.
_HI_SELECTED = ("durbala2020", "alfalfa_a40")
_BOUNDS = ("log_hi_fraction_p16", "log_hi_fraction_p84")
_FOLDS = 10
_NO_PICTURES = (
    "no pictures: give cutouts (--cutouts), or fetch them: hifrac catalogs write NAME -o galaxies.ecsv, "
    "then hifrac fetch galaxies.ecsv"
)
_MATCH = 5 * u.arcsec

#: Of one estimator, for each row: ``estimate``, and maybe ``lower`` and ``upper``, NaN for nothing, and
#: ``out_of_range`` where by its own rule.
_Answer = dict[str, np.ndarray]
#: What an estimator makes: its answers, each by what to add to the name of the estimator.
_Answers = dict[str, _Answer]


class _CannotRunError(Exception):
    """Why an estimator cannot run on a table."""


def benchmark(
    survey: str,
    *,
    cutouts: str | Path | None = None,
    model: str | Path | None = None,
    photometry: Table | None = None,
    common: bool = False,
    draws: int = 1000,
) -> Table:
    """Score every estimator that can run on a survey, detections and upper limits apart.

    These are the relations of `hifrac.relations` for which there is photometry; a linear relation fitted to
    the survey's own detections by its first colour, scored on the tenths that it was not fitted to; the
    estimates of Teimoorinia et al. (2017) where that catalogue is on this computer; and a model, where
    pictures are. Galaxies that the model learned from are scored by the answers of cross-validation
    that are kept with it, on a line of their own, with their intervals where those are kept too.

    Parameters
    ----------
    survey : str
        "xgass", "nibles", "resolve", "durbala2020" or "alfalfa_a40".
    cutouts : path-like, optional
        Folder or archive of pictures, named by the survey's ``objid``; by default
        ``cutouts/sdss_cutouts.zip`` of the data directory if there is one, else the local store, which
        ``hifrac fetch`` fills.
    model : str or path-like, optional
        As `hifrac.models.load_model` takes it; ``conf.model`` by default.
    photometry : `~astropy.table.Table`, optional
        With ``ra``, ``dec`` and any of ``nuv_minus_r``, ``u_minus_r``, ``u_minus_i``, ``g_minus_r``,
        ``g_minus_i``, ``mu_i`` and ``objid``: taken within 5 arcsec, instead of what the survey has.
    common : bool, optional
        Whether all are scored on the galaxies that each of them has an estimate for.
    draws : int, optional
        Samples of the bootstrap; 0 for no errors.

    Returns
    -------
    table : `~astropy.table.Table`
        A row for each estimator: those of `hifrac.metrics.score_estimates`, less ``left_out``, and
        ``no_input``, rows with a measured value and without photometry or picture, and ``out_of_range``,
        rows that the estimator itself masks. ``meta``: ``survey``, ``stellar_mass``, ``notes``,
        ``not_run`` (reasons by estimator), ``published`` (the name in `hifrac.metrics.published_metrics`).

    Raises
    ------
    ValueError
        If the survey is unknown, no estimator can run, ``photometry`` has nothing to use, or with
        ``common`` no galaxy is left.
    ~hifrac.catalogs.CatalogError
        If a catalogue cannot be had.

    Examples
    --------
    With a data directory:

    >>> from hifrac.metrics import format_metrics
    >>> from hifrac.reproduce import benchmark
    >>> print(format_metrics(benchmark("xgass")))  # doctest: +SKIP
    """
    if survey not in SURVEYS:
        raise ValueError(f"survey must be one of {', '.join(SURVEYS)}, got {survey!r}")
    sample, notes = _read_survey(survey)
    if photometry is not None:
        notes.append(_take_photometry(sample, photometry))
    truth = plain_values(sample, "log_hi_fraction")
    is_limit = np.asarray(sample["log_mhi_limit"].filled(False))
    answers: _Answers = {}
    not_run: dict[str, str] = {}
    for name, estimate in _estimators(sample, notes, truth, is_limit, cutouts, model).items():
        try:
            answers |= {name + suffix: answer for suffix, answer in estimate().items()}
        except _CannotRunError as reason:
            not_run[name] = str(reason)
    rows = np.isfinite(truth)
    answers = {name: own for name, own in answers.items() if np.isfinite(own["estimate"][rows]).any()}
    if not answers:
        reasons = "; ".join(f"{name}: {why}" for name, why in not_run.items())
        raise ValueError(f"survey: no estimator can run on {survey} ({reasons})")
    if common:
        rows &= np.all([np.isfinite(own["estimate"]) for own in answers.values()], axis=0)
        if not rows.any():
            raise ValueError("common: no galaxy has an estimate of every estimator")
    scores = {name: _score(own, truth, is_limit, rows, draws) for name, own in answers.items()}
    table = metrics_table(scores)
    provenance = sample.meta.get("hifrac_masses") or sample.meta.get("hifrac", {})
    table.meta = {
        "survey": survey,
        "rows": len(truth),
        "with_hi": int(np.isfinite(truth).sum()),
        "limits": int((is_limit & np.isfinite(truth)).sum()),
        "stellar_mass": str(provenance.get("stellar_mass", "unknown")),
        "common": common,
        "notes": notes,
        "not_run": not_run,
        "published": SURVEYS[survey],
    }
    return table


def _score(
    answer: _Answer, truth: np.ndarray, is_limit: np.ndarray, rows: np.ndarray, draws: int
) -> dict[str, float]:
    chosen: dict[str, Any] = {name: values[rows] for name, values in answer.items()}
    out_of_range = int(np.sum(chosen.pop("out_of_range", 0)))
    scores = score_estimates(truth[rows], is_limit=is_limit[rows], draws=draws, **chosen)
    return scores | {"no_input": scores.pop("left_out") - out_of_range, "out_of_range": out_of_range}


_DURBALA_COLOURS = (
    "Colours g-i are those of Durbala et al. (2020), corrected for extinction inside the galaxies as well; "
    "where flagged BAD_PHOTOMETRY they are not used."
)


def _read_survey(name: str) -> tuple[QTable, list[str]]:
    """Return the table of a survey with the photometry that there is, and what to know of it."""
    notes: list[str] = []
    if name == "durbala2020":
        return _good_photometry(catalogs.durbala2020()), [_DURBALA_COLOURS]
    if name == "resolve":
        table = catalogs.resolve()
        if {"i_mag", "r50"} <= set(table.colnames):
            table["mu_i"] = relations.mu_i(table["i_mag"], table["r50"])
            text = "mu_i is made of i_mag and r50 of RESOLVE, which are not the Petrosian ones of zhang2009."
            notes.append(text)
        return table, notes
    if name == "nibles":
        references = [read() for read in (catalogs.alfalfa_a100, catalogs.tmrs) if _at_hand(read.__name__)]
        table = catalogs.nibles(signs_from=references)
        notes.append("The file does not tell upper limits: all are taken for values.")
    elif name == "alfalfa_a40":
        table = with_stellar_mass(catalogs.alfalfa_a40(), catalogs.durbala2020(), by="agc")
        text = "Stellar masses of Durbala et al. (2020); the colours u-r are those of alpha.40, of SDSS DR7."
        notes.append(text)
    else:
        table = catalogs.xgass()
    return table, [*notes, _with_alfalfa_photometry(table)]


def _with_alfalfa_photometry(table: QTable) -> str:
    """Add colours and identifiers of ALFALFA-SDSS, where ALFALFA detected; return a note."""
    if not _at_hand("durbala2020"):
        return "Durbala et al. (2020) is not on this computer: no optical photometry from there."
    durbala = _good_photometry(catalogs.durbala2020())
    by_id = "agc" in table.colnames
    match = match_ids(table["agc"], durbala["agc"]) if by_id else match_positions(table, durbala, _MATCH)
    is_matched = _join(table, durbala, match["row"], ("g_minus_i", "objid"))
    limits = np.asarray(table["log_mhi_limit"].filled(False))
    of_limits = f", {np.sum(is_matched & limits)} of {limits.sum()} limits," if limits.any() else ""
    return (
        f"{is_matched.sum()} of {len(is_matched)} galaxies{of_limits} are in ALFALFA-SDSS, and have its g-i "
        f"and objid. {_DURBALA_COLOURS}"
    )


def _good_photometry(durbala: QTable) -> QTable:
    bad = (np.asarray(durbala["catalog_flags"].filled(0)) & int(CatalogFlag.BAD_PHOTOMETRY)) != 0
    colour = np.where(bad, np.nan, plain_values(durbala, "g_minus_i"))
    durbala["g_minus_i"] = catalog_column("g_minus_i", colour)
    return durbala


def _join(table: QTable, other: Table, row, names: tuple[str, ...]) -> np.ndarray:
    """Add columns of another table by the rows matched to it; return where there was a match."""
    is_matched = ~np.asarray(row.mask)
    place = np.asarray(row.filled(0))
    for name in names:
        mask = ~is_matched
        if name == "objid":
            values = np.asarray(other[name].astype(str))[place]
            mask |= np.asarray(getattr(other[name], "mask", np.zeros(len(other), bool)))[place]
        else:
            values = np.where(is_matched, plain_values(other, name)[place], np.nan)
        if name in CATALOG_COLUMNS:
            table[name] = catalog_column(name, values, mask)
        else:
            table[name] = Masked(values, mask=~np.isfinite(values))
    return is_matched


def _take_photometry(table: QTable, photometry: Table) -> str:
    """Take photometry from another table, and return a note."""
    accepted = (*PHOTOMETRY, "objid")
    names = tuple(name for name in accepted if name in photometry.colnames)
    if not names:
        columns = ", ".join(photometry.colnames)
        raise ValueError(f"photometry has none of {', '.join(accepted)}; its columns are {columns}")
    if "objid" in names and photometry["objid"].dtype.kind == "f":
        raise ValueError("photometry: objid must be text or integers: a float cannot hold its digits")
    try:
        match = match_positions(table, photometry, _MATCH)
    except KeyError as error:
        raise ValueError(f"photometry: {error.args[0]}") from error
    is_matched = _join(table, photometry, match["row"], names)
    if not is_matched.any():
        raise ValueError(f"photometry has no galaxy of the survey within {_MATCH}")
    return f"{', '.join(names)} of {is_matched.sum()} galaxies from the table given."


def _at_hand(name: str) -> bool:
    catalog = catalogs.CATALOGS[name]
    return bool(_files.local_files(catalog) or _files.kept_files(catalog))


def _estimators(
    table: QTable, notes: list[str], truth: np.ndarray, is_limit: np.ndarray, cutouts: Any, model: Any
) -> dict[str, Callable[[], _Answers]]:
    name = Path(str(model or config.conf.model)).name
    estimators: dict[str, Callable[[], _Answers]] = {
        "zhang2009": partial(_relation, table, relations.zhang2009, g_minus_r="g_minus_r", mu_i="mu_i")
    }
    for band in ("g-r", "g-i", "u-r", "u-i"):
        estimate = partial(relations.eckert2015_pgf, band=band)
        column = band.replace("-", "_minus_")
        estimators[f"eckert2015_{band.replace('-', '')}"] = partial(_relation, table, estimate, color=column)
    return estimators | {
        "linear fit": partial(_linear_fit, table, truth, is_limit),
        "teimoorinia2017": partial(_teimoorinia, table),
        name: partial(_pictures, name, table, notes, cutouts, model),
    }


def _relation(table: QTable, relation: Callable[..., QTable], **columns: str) -> _Answers:
    for column in columns.values():
        if column not in table.colnames:
            raise _CannotRunError(f"no {column}")
    return {"": _of_relation(relation(**{name: table[column] for name, column in columns.items()}))}


def _of_relation(result: QTable) -> _Answer:
    flags = np.asarray(result["relation_flags"])
    out_of_range = (flags & int(relations.RelationFlag.OUT_OF_RANGE)) != 0
    out_of_range &= (flags & int(relations.RelationFlag.MISSING_INPUT)) == 0
    return _interval(result) | {"out_of_range": out_of_range}


def _interval(result: Table, prefix: str = "") -> _Answer:
    """Return the estimates of a table, and their bounds where it has these."""
    columns = {"estimate": "log_hi_fraction", "lower": _BOUNDS[0], "upper": _BOUNDS[1]}
    columns = {name: prefix + column for name, column in columns.items()}
    return {name: plain_floats(result[c]) for name, c in columns.items() if c in result.colnames}


def _linear_fit(table: QTable, truth: np.ndarray, is_limit: np.ndarray) -> _Answers:
    """Fit a line to the detections by the survey's first colour; each tenth by the other nine."""
    for colour in (name for name in PHOTOMETRY if name in table.colnames and name != "mu_i"):
        values = plain_values(table, colour)
        fitted_on = np.isfinite(values) & np.isfinite(truth) & ~is_limit
        if fitted_on.sum() >= 3 * _FOLDS:
            break
    else:
        raise _CannotRunError("no colour of enough detections to fit a line to")
    fold = np.full(len(table), -1)
    fold[fitted_on] = np.random.default_rng(0).permutation(fitted_on.sum()) % _FOLDS
    answer: _Answer = {}
    for number in range(-1, _FOLDS):  # -1: what was not fitted to, limits among them
        rows = fold == number
        train = fitted_on & ~rows
        line = relations.fit_linear_relation(truth[train], colour=values[train])
        part = _of_relation(line.predict(colour=values[rows]))
        for name, column in part.items():
            answer.setdefault(name, np.full(len(table), np.nan))[rows] = column
    return {f" ({colour})": answer}


def _teimoorinia(table: QTable) -> _Answers:
    if not _at_hand("teimoorinia2017"):
        raise _CannotRunError("that catalogue is not on this computer: hifrac catalogs fetch teimoorinia2017")
    other = catalogs.teimoorinia2017()
    if "objid_dr7" in table.colnames:
        row = match_ids(table["objid_dr7"], other["objid_dr7"])["row"]
    elif np.isfinite(plain_values(other, "ra")).any():
        row = match_positions(table, other, _MATCH)["row"]
    else:
        raise _CannotRunError("that catalogue has no positions, and the survey no objid_dr7")
    estimate = plain_values(other, "log_hi_fraction_estimate")[np.asarray(row.filled(0))]
    return {"": {"estimate": np.where(np.asarray(row.mask), np.nan, estimate)}}


def _pictures(name: str, table: QTable, notes: list[str], cutouts: str | Path | None, model: Any) -> _Answers:
    """Return the model's answers of galaxies that it does not know, and held-out ones of the others."""
    if "objid" not in table.colnames:
        raise _CannotRunError("no objid to name the pictures")
    objid = np.asarray(table["objid"].filled(""))
    loaded = load_model(model)
    held_out = None if loaded.folder is None else held_out_answers(loaded.folder)
    if held_out is None:
        notes.append(f"{name} does not tell which galaxies it learned from: some may be among these.")
    selection = selection_of(loaded.card)
    if selection is not None and table.meta["hifrac"]["catalog"] not in _HI_SELECTED:
        selection = "intrinsic"
    learned = np.zeros(len(table), bool) if held_out is None else np.isin(objid, held_out["objid"])
    new = (objid != "") & ~learned & np.isfinite(plain_values(table, "log_hi_fraction"))
    answers = {"": dict.fromkeys(("estimate", "lower", "upper"), np.full(len(table), np.nan))}
    if new.any():
        # Rows without an estimate are counted.
        with _source_of(loaded, cutouts) as source, without_warnings(r"\d+ of \d+ rows have no estimate"):
            estimator = HIFractionEstimator(loaded, cutouts=source, selection=selection)
            result = estimator.predict(table["ra", "dec", "objid"][new])
        place = np.cumsum(new) - 1
        answers[""] = {key: np.where(new, values[place], np.nan) for key, values in _interval(result).items()}
    notes.append(f"Masses that {name} learned: {loaded.card.mass_scale}.")
    if held_out is not None and learned.any():
        prefix = "intrinsic_" if selection == "intrinsic" else ""
        bounds = {prefix + name for name in _BOUNDS}
        if not bounds <= set(held_out.colnames):
            notes.append(f"{name}, held out: no coverage, for no held-out intervals are kept with the model.")
            held_out.remove_columns(bounds & set(held_out.colnames))
        place = np.asarray(match_ids(objid, held_out["objid"])["row"].filled(0))
        own = _interval(held_out, prefix)
        answers[", held out"] = {key: np.where(learned, values[place], np.nan) for key, values in own.items()}
    if not np.isfinite(answers[""]["estimate"]).any():
        reason = _NO_PICTURES if cutouts is None else f"none of its galaxies has a picture in {cutouts}"
        if len(answers) == 1:
            raise _CannotRunError(reason)
        notes.append(f"{name} of galaxies that it has not learned from: {reason}.")
    return answers


@contextmanager
def _source_of(model: Model, cutouts: str | Path | None) -> Iterator[CutoutSource]:
    """Give the pictures of a collection, that of the data directory by default, or else what was fetched."""
    folder, recipe = config.data_dir(), model.card.recipe
    if cutouts is None and folder is not None and (path := folder / "cutouts" / "sdss_cutouts.zip").is_file():
        cutouts = path
    if cutouts is None:
        with config.conf.set_temp("offline", True):
            yield source_for(recipe)
    else:
        with LocalCutouts(cutouts, name="objid") as source:
            yield source
