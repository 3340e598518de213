"""Every estimator that can run on a survey, judged on that survey: detections and upper limits apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.utils.masked import Masked

from hifrac import catalogs, relations
from hifrac.catalogs import CatalogFlag, _files, match_ids, match_positions, plain_values
from hifrac.catalogs.samples import with_stellar_mass
from hifrac.core import config
from hifrac.core.input import plain_floats
from hifrac.metrics import metrics_table, score_estimates

__all__ = ["PHOTOMETRY", "SURVEYS", "benchmark"]

#: The columns of photometry that an estimator may need, by the names of the catalogues.
PHOTOMETRY = ("nuv_minus_r", "u_minus_r", "u_minus_i", "g_minus_r", "g_minus_i", "mu_i")
_ECKERT = ("g-r", "g-i", "u-r", "u-i")
_BOUNDS = ("log_hi_fraction_p16", "log_hi_fraction_p84")
_FOLDS = 10
_MATCH = 5 * u.arcsec


@dataclass
class _Sample:
    """A survey's table, and what to know of it."""

    table: QTable
    notes: list[str] = field(default_factory=list)
    published: str = ""  # the name of the sample in Wu (2020)


@dataclass
class _Answer:
    """What one estimator says of the rows: NaN for nothing, ``out_of_range`` where by its own rule."""

    estimate: np.ndarray
    p16: np.ndarray | None = None
    p84: np.ndarray | None = None
    out_of_range: np.ndarray | None = None


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
    """Judge on a survey every estimator that can run on its table.

    These are the relations of `hifrac.relations` for which there is photometry; a linear relation fitted to
    the survey's own detections by its first colour, judged on the tenths that it was not fitted to; the
    estimates of Teimoorinia et al. (2017) where that catalogue is on this computer; and a model, where
    pictures are. Galaxies that the model learned from are judged by the answers of cross-validation
    that are kept with it, on a line of their own: its intervals too, where those are kept
    (``log_hi_fraction_p16`` and ``log_hi_fraction_p84`` of ``out_of_fold.ecsv``); else a note says why not.

    Parameters
    ----------
    survey : str
        One of `SURVEYS`.
    cutouts : path-like, optional
        Folder or archive of pictures, named by the survey's ``objid``; by default
        ``cutouts/sdss_cutouts.zip`` of the data directory, if there is one.
    model : str or path-like, optional
        As `hifrac.models.load_model` takes it; ``conf.model`` by default.
    photometry : `~astropy.table.Table`, optional
        With ``ra``, ``dec`` and any of `PHOTOMETRY` and ``objid``: taken within 5 arcsec, instead of what
        the survey has.
    common : bool, optional
        Whether all are judged on the galaxies that each of them has an estimate for.
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
    """
    if survey not in SURVEYS:
        raise ValueError(f"survey must be one of {', '.join(SURVEYS)}, got {survey!r}")
    sample = _SAMPLES[survey]()
    if photometry is not None:
        _take_photometry(sample, photometry)
    truth = plain_values(sample.table, "log_hi_fraction")
    is_limit = np.asarray(sample.table["log_mhi_limit"].filled(False))
    answers: dict[str, _Answer] = {}
    not_run: dict[str, str] = {}
    for name, ask in _estimators(sample, truth, is_limit, cutouts, model).items():
        try:
            answers |= ask(name)
        except _CannotRunError as reason:
            not_run[name] = str(reason)
    answers = {
        name: one for name, one in answers.items() if np.any(np.isfinite(one.estimate) & np.isfinite(truth))
    }
    if not answers:
        reasons = "; ".join(f"{name}: {why}" for name, why in not_run.items())
        raise ValueError(f"survey: no estimator can run on {survey} ({reasons})")
    rows = np.isfinite(truth)
    if common:
        rows &= np.all([np.isfinite(one.estimate) for one in answers.values()], axis=0)
        if not rows.any():
            raise ValueError("common: no galaxy has an estimate of every estimator")
    table = metrics_table({name: _row(one, truth, is_limit, rows, draws) for name, one in answers.items()})
    table.meta = {
        "survey": survey,
        "rows": len(truth),
        "with_hi": int(np.isfinite(truth).sum()),
        "limits": int((is_limit & np.isfinite(truth)).sum()),
        "stellar_mass": str(_scale(sample.table)),
        "common": common,
        "notes": sample.notes,
        "not_run": not_run,
        "published": sample.published,
    }
    return table


def _row(
    one: _Answer, truth: np.ndarray, is_limit: np.ndarray, rows: np.ndarray, draws: int
) -> dict[str, float]:
    interval = {} if one.p16 is None else {"lower": one.p16[rows], "upper": one.p84[rows]}
    figures = score_estimates(
        truth[rows], one.estimate[rows], is_limit=is_limit[rows], draws=draws, **interval
    )
    beyond = np.zeros(len(truth), bool) if one.out_of_range is None else one.out_of_range
    left_out = figures.pop("left_out")
    out_of_range = int(np.sum(beyond & rows))
    return figures | {"no_input": left_out - out_of_range, "out_of_range": out_of_range}


def _scale(table: QTable) -> Any:
    provenance = table.meta.get("hifrac_masses") or table.meta.get("hifrac", {})
    return provenance.get("stellar_mass", "unknown")


# The surveys


def _xgass() -> _Sample:
    sample = _Sample(catalogs.xgass(), published="xGASS")
    _photometry_of_alfalfa(sample, "agc")
    return sample


def _nibles() -> _Sample:
    signs = [one() for one in (catalogs.alfalfa_a100, catalogs.tmrs) if _at_hand(one.__name__)]
    sample = _Sample(catalogs.nibles(signs_from=signs), published="NIBLES")
    sample.notes.append("The file does not tell upper limits: all are taken for values.")
    _photometry_of_alfalfa(sample, "position")
    return sample


def _resolve() -> _Sample:
    table = catalogs.resolve()
    sample = _Sample(table)
    if {"i_mag", "r50"} <= set(table.colnames):
        table["mu_i"] = relations.mu_i(_masked(table, "i_mag"), _masked(table, "r50"))
        sample.notes.append(
            "mu_i is made of i_mag and r50 of RESOLVE, which are not the Petrosian ones of zhang2009."
        )
    return sample


def _durbala2020() -> _Sample:
    sample = _Sample(_good_photometry(catalogs.durbala2020()), published="alpha.100")
    sample.notes.append(_DURBALA_COLOURS)
    return sample


def _alfalfa_a40() -> _Sample:
    table = with_stellar_mass(catalogs.alfalfa_a40(), catalogs.durbala2020(), by="agc")
    sample = _Sample(table, published="alpha.40A")
    sample.notes.append(
        "Stellar masses of Durbala et al. (2020); the colours u-r are those of alpha.40, of SDSS DR7."
    )
    _photometry_of_alfalfa(sample, "agc")
    return sample


_SAMPLES: dict[str, Callable[[], _Sample]] = {
    "xgass": _xgass,
    "nibles": _nibles,
    "resolve": _resolve,
    "durbala2020": _durbala2020,
    "alfalfa_a40": _alfalfa_a40,
}

#: The surveys: names of catalogues.
SURVEYS = tuple(_SAMPLES)

_DURBALA_COLOURS = (
    "Colours g-i are those of Durbala et al. (2020), corrected for extinction inside the galaxies as well; "
    "where flagged BAD_PHOTOMETRY they are not used."
)


def _photometry_of_alfalfa(sample: _Sample, by: str) -> None:
    """Colours and object identifiers of ALFALFA-SDSS, for the galaxies that ALFALFA detected."""
    if not _at_hand("durbala2020"):
        sample.notes.append(
            "Durbala et al. (2020) is not on this computer: no optical photometry from there."
        )
        return
    durbala = _good_photometry(catalogs.durbala2020())
    if by == "position":
        match = match_positions(sample.table, durbala, _MATCH)
    else:
        match = match_ids(sample.table[by], durbala[by])
    found = _join(sample.table, durbala, match["row"], ("g_minus_i", "objid"))
    limits = np.asarray(sample.table["log_mhi_limit"].filled(False))
    of_limits = f", {np.sum(found & limits)} of {limits.sum()} limits," if limits.any() else ""
    sample.notes.append(
        f"{found.sum()} of {len(found)} galaxies{of_limits} are in ALFALFA-SDSS, and have its g-i and objid. "
        f"{_DURBALA_COLOURS}"
    )


def _good_photometry(durbala: QTable) -> QTable:
    bad = (np.asarray(durbala["catalog_flags"].filled(0)) & int(CatalogFlag.BAD_PHOTOMETRY)) != 0
    durbala["g_minus_i"] = catalogs.columns.catalog_column(
        "g_minus_i", np.where(bad, np.nan, plain_values(durbala, "g_minus_i"))
    )
    return durbala


def _join(table: QTable, other: Table, row, names: tuple[str, ...]) -> np.ndarray:
    """Columns of another table by the rows matched to it; where they were found."""
    there = ~np.asarray(row.mask)
    place = np.asarray(row.filled(0))
    for name in names:
        if name == "objid":
            text, hidden = (
                np.asarray(other[name].astype(str)),
                getattr(other[name], "mask", np.zeros(len(other), bool)),
            )
            values, mask = text[place], ~there | np.asarray(hidden)[place]
        else:
            values, mask = np.where(there, plain_values(other, name)[place], np.nan), None
        if name in catalogs.CATALOG_COLUMNS:
            table[name] = catalogs.columns.catalog_column(name, values, mask)
        else:
            table[name] = Masked(values, mask=~np.isfinite(values))
    return there


def _take_photometry(sample: _Sample, photometry: Table) -> None:
    names = tuple(name for name in (*PHOTOMETRY, "objid") if name in photometry.colnames)
    if not names:
        raise ValueError(
            f"photometry has none of {', '.join((*PHOTOMETRY, 'objid'))}; its columns are "
            f"{', '.join(photometry.colnames)}"
        )
    if "objid" in names and photometry["objid"].dtype.kind == "f":
        raise ValueError("photometry: objid must be text or integers: a float cannot hold its digits")
    try:
        match = match_positions(sample.table, photometry, _MATCH)
    except KeyError as error:
        raise ValueError(f"photometry: {error.args[0]}") from error
    found = _join(sample.table, photometry, match["row"], names)
    if not found.any():
        raise ValueError(f"photometry has no galaxy of the survey within {_MATCH}")
    sample.notes.append(f"{', '.join(names)} of {found.sum()} galaxies from the table given.")


def _at_hand(name: str) -> bool:
    catalog = catalogs.CATALOGS[name]
    return bool(_files.local_files(catalog) or _files.kept_files(catalog))


# The estimators


def _estimators(
    sample: _Sample, truth: np.ndarray, is_limit: np.ndarray, cutouts: Any, model: Any
) -> dict[str, Callable[[str], dict[str, _Answer]]]:
    table = sample.table
    asked: dict[str, Callable[[str], dict[str, _Answer]]] = {}
    asked["zhang2009"] = lambda name: {
        name: _of_relation(
            relations.zhang2009(g_minus_r=_masked(table, "g_minus_r"), mu_i=_masked(table, "mu_i"))
        )
    }
    for band in _ECKERT:
        column = band.replace("-", "_minus_")
        asked[f"eckert2015_{band.replace('-', '')}"] = lambda name, band=band, column=column: {
            name: _of_relation(relations.eckert2015_pgf(_masked(table, column), band=band))
        }
    asked["linear fit"] = lambda name: _refitted(name, table, truth, is_limit)
    asked["teimoorinia2017"] = lambda name: {name: _teimoorinia(table)}
    label = Path(str(model or config.conf.model)).name
    asked[label] = lambda name: _of_pictures(name, sample, cutouts, model)
    return asked


def _masked(table: QTable, name: str):
    if name not in table.colnames:
        raise _CannotRunError(f"no {name}")
    return table[name]


def _of_relation(result: QTable) -> _Answer:
    flags = np.asarray(result["relation_flags"])
    beyond = (flags & int(relations.RelationFlag.OUT_OF_RANGE)) != 0
    beyond &= (flags & int(relations.RelationFlag.MISSING_INPUT)) == 0
    columns = (plain_floats(result[f"log_hi_fraction{which}"]) for which in ("", "_p16", "_p84"))
    return _Answer(*columns, out_of_range=beyond)


def _refitted(name: str, table: QTable, truth: np.ndarray, is_limit: np.ndarray) -> dict[str, _Answer]:
    """A line fitted to the detections by the survey's first colour; each tenth by the other nine."""
    colours = [one for one in PHOTOMETRY if one in table.colnames and one != "mu_i"]
    usable = {one: np.isfinite(plain_values(table, one)) & np.isfinite(truth) & ~is_limit for one in colours}
    usable = {one: rows for one, rows in usable.items() if rows.sum() >= 3 * _FOLDS}
    if not usable:
        raise _CannotRunError("no colour of enough detections to fit a line to")
    colour = next(iter(usable))
    values, fitted_on = plain_values(table, colour), usable[colour]
    fold = np.full(len(table), -1)
    fold[fitted_on] = np.random.default_rng(0).permutation(fitted_on.sum()) % _FOLDS
    answer = _Answer(
        *(np.full(len(table), np.nan) for _ in range(3)), out_of_range=np.zeros(len(table), bool)
    )
    for number in range(-1, _FOLDS):  # -1: what was not fitted to, limits among them
        rows = fold == number
        train = fitted_on & ~rows
        part = _of_relation(
            relations.fit_linear_relation(truth[train], colour=values[train]).predict(colour=values[rows])
        )
        for name_of in ("estimate", "p16", "p84", "out_of_range"):
            getattr(answer, name_of)[rows] = getattr(part, name_of)
    return {f"{name} ({colour})": answer}


def _teimoorinia(table: QTable) -> _Answer:
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
    return _Answer(np.where(np.asarray(row.mask), np.nan, estimate))


def _of_pictures(name: str, sample: _Sample, cutouts: Any, model: Any) -> dict[str, _Answer]:
    """The model's answers of galaxies that it does not know, and its held-out ones of those that it does."""
    table = sample.table
    if "objid" not in table.colnames:
        raise _CannotRunError("no objid to name the pictures")
    if cutouts is None:
        folder = config.data_dir()
        cutouts = None if folder is None else folder / "cutouts" / "sdss_cutouts.zip"
        if cutouts is None or not cutouts.is_file():
            raise _CannotRunError("no pictures: give cutouts (--cutouts), or a data directory that has them")
    from hifrac.cutouts import LocalCutouts
    from hifrac.estimator import HIFractionEstimator
    from hifrac.models import load_model
    from hifrac.models.registry import held_out_answers

    loaded = load_model(model)
    objid = np.asarray(table["objid"].filled(""))
    kept = held_out_answers(loaded.folder)
    if kept is None:
        sample.notes.append(f"{name} does not tell which galaxies it learned from: some may be among these.")
    known = np.zeros(len(table), bool) if kept is None else np.isin(objid, kept["objid"])
    new = _Answer(*(np.full(len(table), np.nan) for _ in range(3)))
    rows = np.flatnonzero((objid != "") & ~known & np.isfinite(plain_values(table, "log_hi_fraction")))
    if rows.size:
        with LocalCutouts(cutouts, name="objid") as source:
            estimator = HIFractionEstimator(loaded, cutouts=source)
            result = estimator.predict(table["ra", "dec", "objid"][rows])
        for mine, theirs in (("estimate", ""), ("p16", "_p16"), ("p84", "_p84")):
            getattr(new, mine)[rows] = plain_floats(result[f"log_hi_fraction{theirs}"])
    sample.notes.append(f"Masses that {name} learned: {loaded.card.mass_scale}.")
    answers = {name: new}
    if known.any():
        place = np.asarray(match_ids(objid, kept["objid"])["row"].filled(0))
        bounds = _BOUNDS if set(_BOUNDS) <= set(kept.colnames) else ()
        if not bounds:
            sample.notes.append(
                f"{name}, held out: no coverage, for no held-out intervals are kept with the model."
            )
        answers[f"{name}, held out"] = _Answer(
            *(np.where(known, plain_floats(kept[one])[place], np.nan) for one in ("log_hi_fraction", *bounds))
        )
    if not any(np.isfinite(one.estimate).any() for one in answers.values()):
        raise _CannotRunError(f"none of its galaxies has a picture in {cutouts}")
    return answers
