"""The galaxies of the default model: detected, undetected, and measured by a deeper survey."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE
from hifrac.training.data import ARCHIVE, DEEP, data_folder, decode_all, read_alfalfa, read_data_table
from hifrac.training.splits import assign_folds, sky_groups

_LABEL_COLUMNS = (
    *("ra", "dec", "log_hi_fraction_true", "g_minus_i", "i_cmodel"),
    *("log_mstar_taylor", "log_mstar_gswlc"),
)
_NEARBY_COLUMNS = ("ra_approx", "dec_approx")
_DEEP_COLUMNS = ("objid", "ra", "dec", "log_hi_fraction_true", "is_limit", "alfalfa_detected")


@dataclass(frozen=True)
class TrainingSample:
    """Pictures, uint8 (n, width, width, 3), with labels; detections first, then bright undetected galaxies.

    Arrays of shape (n,), NaN where unknown: ``log_hi_fraction`` is log10(M_HI / M*) of the detections;
    ``ra`` and ``dec`` are ICRS degrees; ``ebv`` is the Galactic reddening in mag, known even of a field;
    ``gswlc_offset`` is log10 of the ratio of the stellar masses of Taylor et al. (2011) and GSWLC-2.
    ``photometry``, (n, 2), is g-i and i of the detections: a baseline's input, never the network's. Galaxies
    of one group stay in one fold.
    """

    objid: np.ndarray
    pixels: np.ndarray
    detected: np.ndarray
    log_hi_fraction: np.ndarray
    photometry: np.ndarray
    gswlc_offset: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    ebv: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class DeepSample:
    """Galaxies that ALFALFA did not detect and a deeper survey measured; arrays as of `TrainingSample`.

    ``log_hi_fraction`` is an upper limit where ``is_limit``.
    """

    objid: np.ndarray
    pixels: np.ndarray
    log_hi_fraction: np.ndarray
    is_limit: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    ebv: np.ndarray


def read_sample(folder: str | Path | None = None, *, width: int = 128) -> TrainingSample:
    """Read the labelled galaxies and the bright undetected ones of the ALFALFA footprint.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default.
    width : int, optional
        Side of the pictures in pixels.

    Returns
    -------
    sample : TrainingSample
        Arrays with an entry for each galaxy, detections first: ``objid``, ``pixels`` (n, width, width, 3),
        ``detected``, ``log_hi_fraction`` (NaN where undetected), ``ra``, ``dec``, ``ebv``, ``group``.

    Raises
    ------
    ValueError
        If no data directory is configured, or a table lacks a column.
    FileNotFoundError
        If a file is missing.
    ~hifrac.core.RowError
        If a picture is missing or damaged: training takes all or nothing.
    """
    cutouts = data_folder(folder)
    table = read_alfalfa(cutouts, _LABEL_COLUMNS, _NEARBY_COLUMNS)
    objid, detected = (np.asarray(table[name]) for name in ("objid", "detected"))
    column = {name: np.asarray(table[name]) for name in (*_LABEL_COLUMNS, *_NEARBY_COLUMNS)}
    ra, dec = column["ra"], column["dec"]
    # To a tenth of a degree, which is no position, but enough for the dust.
    nearby = (np.where(detected, ra, column["ra_approx"]), np.where(detected, dec, column["dec_approx"]))
    return TrainingSample(
        objid=objid,
        pixels=decode_all(objid, cutouts / ARCHIVE, replace(SDSS_RECIPE, width=width)),
        detected=detected,
        log_hi_fraction=column["log_hi_fraction_true"],
        photometry=np.stack([column["g_minus_i"], column["i_cmodel"]], 1),
        gswlc_offset=column["log_mstar_taylor"] - column["log_mstar_gswlc"],
        ra=ra,
        dec=dec,
        ebv=galactic_ebv(*nearby),
        group=sky_groups(objid, ra, dec),
    )


def read_deep(folder: str | Path | None = None, *, width: int = 128) -> DeepSample | None:
    """Read the RESOLVE galaxies that ALFALFA did not detect; None without ``resolve_labels.ecsv``."""
    cutouts = data_folder(folder)
    if not (cutouts / DEEP).is_file():
        return None
    table = read_data_table(cutouts, DEEP, _DEEP_COLUMNS)
    table = table[~table["alfalfa_detected"]]
    objid = np.asarray(table["objid"], dtype=str)
    pixels = decode_all(objid, cutouts / ARCHIVE, replace(SDSS_RECIPE, width=width))
    ra, dec = plain_floats(table["ra"]), plain_floats(table["dec"])
    return DeepSample(
        objid=objid,
        pixels=pixels,
        log_hi_fraction=np.asarray(table["log_hi_fraction_true"], dtype=float),
        is_limit=np.asarray(table["is_limit"], dtype=bool),
        ra=ra,
        dec=dec,
        ebv=galactic_ebv(ra, dec),
    )


@dataclass(frozen=True)
class Labels:
    """What is known of galaxies; arrays of shape (n,).

    ALFALFA detected them, or missed them although they are bright (``undetected``), or neither; ``gas_poor``
    are those that a deeper survey measured and ALFALFA missed. ``log_hi_fraction`` is known of ``detected``
    and ``gas_poor`` galaxies, and an upper limit where ``is_limit``; all else is as of `TrainingSample`.
    """

    detected: np.ndarray
    undetected: np.ndarray
    gas_poor: np.ndarray
    log_hi_fraction: np.ndarray
    is_limit: np.ndarray
    gswlc_offset: np.ndarray
    ebv: np.ndarray
    group: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Labels:
        return Labels(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True)
class Galaxies:
    """The galaxies to learn from, and their folds: those of the sample, then what is new in the deep one."""

    sample: TrainingSample
    objid: np.ndarray
    pixels: np.ndarray
    labels: Labels
    fold: np.ndarray


def combine(sample: TrainingSample, deep: DeepSample | None, fold: np.ndarray) -> Galaxies:
    """Join two lists of galaxies that overlap: the sample's, then what is new in the deep one.

    ``fold`` are the folds of the sample; a new galaxy gets that of its group, or any one.
    """
    n, objid = len(sample.objid), sample.objid
    if deep is not None:
        objid = np.concatenate([objid, deep.objid[~np.isin(deep.objid, objid)]])
    unknown = np.full(len(objid) - n, np.nan)
    pixels, group = sample.pixels, sample.group
    detected = np.concatenate([sample.detected, np.zeros(len(unknown), dtype=bool)])
    log_hi_fraction, ra, dec, ebv = (
        np.concatenate([values, unknown])
        for values in (sample.log_hi_fraction, sample.ra, sample.dec, sample.ebv)
    )
    gas_poor, is_limit = np.zeros((2, len(detected)), dtype=bool)
    if deep is not None:
        row_of = {name: row for row, name in enumerate(objid)}
        rows = np.array([row_of[name] for name in deep.objid], dtype=int)
        if np.any(detected[rows]):
            raise ValueError("deep holds galaxies that are detections of the sample")
        pixels = np.concatenate([pixels, deep.pixels[rows >= n]])
        gas_poor[rows], is_limit[rows] = True, deep.is_limit
        log_hi_fraction[rows], ebv[rows] = deep.log_hi_fraction, deep.ebv
        # Of the sample's undetected galaxies the deeper survey knows where they are.
        ra[rows], dec[rows] = deep.ra, deep.dec
        group = sky_groups(objid, ra, dec)
        fold = _folds_of_groups(np.concatenate([fold, np.full(len(unknown), -1)]), group, rows)
    labels = Labels(
        detected=detected,
        undetected=~detected & (np.arange(len(detected)) < n),
        gas_poor=gas_poor,
        log_hi_fraction=log_hi_fraction,
        is_limit=is_limit,
        gswlc_offset=np.concatenate([sample.gswlc_offset, unknown]),
        ebv=ebv,
        group=group,
    )
    return Galaxies(sample, objid, pixels, labels, fold)


def _folds_of_groups(fold: np.ndarray, group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Put the groups of some rows into the fold of their first galaxy that has one; new ones into any."""
    for number, label in enumerate(np.unique(group[rows])):
        members = np.flatnonzero(group == label)
        placed = fold[members][fold[members] >= 0]
        fold[members] = placed[0] if placed.size else number % (fold.max() + 1)
    return fold


def read_galaxies(folder: str | Path | None, *, width: int, n_folds: int, seed: int) -> Galaxies:
    """Read both samples of a data directory, and share their galaxies out to folds."""
    sample, deep = read_sample(folder, width=width), read_deep(folder, width=width)
    return combine(sample, deep, assign_folds(sample.detected, sample.group, n_folds, seed))
