"""The galaxies of the default model: a row a picture, with all that the label files say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from hifrac.core.reddening import galactic_ebv
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.training.data import data_folder, numbers_of, read_alfalfa, read_data_table
from hifrac.training.measuring.galaxies import PHOTOMETRY, Galaxies, read_photometry, with_pictures

#: Label files that a data directory may lack.
RESOLVE, MANGA = "resolve_labels.ecsv", "himanga_labels.ecsv"
_ALFALFA = {
    "ra": "ra",
    "dec": "dec",
    "log_hi_fraction": "log_hi_fraction_true",
    "log_mstar": "log_mstar_taylor",
    "log_mstar_gswlc": "log_mstar_gswlc",
    "velocity": "v_helio",
    "axis_ratio": "axial_ratio",
}
_NEARBY = ("ra_approx", "dec_approx")
_RESOLVE = (
    *("objid", "ra", "dec", "cz", "g_minus_i", "i_mag", "axial_ratio", "log_hi_fraction_true"),
    *("is_limit", "confused", "alfalfa_detected"),
)
_MANGA = ("objid", "OBJRA", "OBJDEC", "VOPT", "LOGMSTARS", "LOGMHI", "LOGHILIM200KMS", "conflag")
#: RESOLVE's g-i is corrected for dust inside the galaxy. Constant, slope in it and in log10(a/b) of the
#: colour before that, fitted to the 57 galaxies that have SDSS colours too; their scatter is 0.12 mag.
_RESOLVE_COLOUR = (0.203, 0.940, 0.320)


def read_sample(folder: str | Path | None = None, *, width: int = 128) -> Galaxies:
    """Read the pictures that the label files of a data directory tell of, and bright undetected galaxies.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default.
    width : int, optional
        Side of the pictures in pixels.

    Returns
    -------
    galaxies : Galaxies
        ``table``, with a row for each galaxy, the detections first: ``objid``; ``detected`` by ALFALFA;
        ``undetected`` although bright and in its footprint; ``missed`` by ALFALFA, and measured by RESOLVE;
        ``manga``, measured for HI-MaNGA alone. ``log_hi_fraction`` is log10(M_HI / M*), an upper limit where
        ``is_limit``; ``confused`` with another galaxy in the beam; ``resolve`` is RESOLVE's value of galaxies
        that ALFALFA detected. ``g_minus_i`` and ``i``, corrected for the foreground, ``log_cz``,
        ``axis_ratio``, ``log_mstar`` and ``log_mstar_gswlc`` are of catalogues; ``photometry``, (n, 8), are
        ``PHOTOMETRIC`` of SDSS, as observed; ``ra``, ``dec`` and ``ebv``; NaN where unknown. ``ebv`` and
        ``dec_nearby`` are known even of a field. Those of one ``group`` share a fold. ``pixels``,
        (n, width, width, 3).

    Raises
    ------
    ValueError
        If no data directory is configured, or a table lacks a column.
    FileNotFoundError
        If ``hi_labels.ecsv``, ``index.ecsv`` or the pictures are missing.
    ~hifrac.core.RowError
        If a picture is missing or damaged: training takes all or nothing.

    Examples
    --------
    With a data directory:

    >>> from hifrac.training import read_sample
    >>> galaxies = read_sample("/data/hifrac")  # doctest: +SKIP
    >>> galaxies.table["objid", "log_hi_fraction", "is_limit"]  # doctest: +SKIP
    """
    cutouts = data_folder(folder)
    table, nearby = _read_alfalfa(cutouts)
    # Of two files that say the same of a galaxy, the first counts.
    for name, read in ((PHOTOMETRY, _read_photometry), (RESOLVE, _read_resolve), (MANGA, _read_manga)):
        if (cutouts / name).is_file():
            table = _join(table, read(cutouts))
    nearby = np.pad(nearby, ((0, 0), (0, len(table) - nearby.shape[1])), constant_values=np.nan)
    # To a tenth of a degree, which is no position, but enough for the dust.
    pairs = zip(("ra", "dec"), nearby, strict=True)
    places = [np.where(np.isfinite(table[name]), table[name], near) for name, near in pairs]
    table["ebv"] = galactic_ebv(*places)
    table["dec_nearby"] = places[1]
    return with_pictures(table, cutouts, width)


_NUMBERS = (
    *("ra", "dec", "log_hi_fraction", "resolve", "g_minus_i", "i", "log_cz", "axis_ratio"),
    *("log_mstar", "log_mstar_gswlc"),
)
_SWITCHES = ("detected", "undetected", "missed", "manga", "is_limit", "confused")


def _rows(objid: np.ndarray, **columns: np.ndarray) -> Table:
    """Make rows with all columns of the sample, empty where not given."""
    n = len(objid)
    table = Table({"objid": np.asarray(objid, dtype=str)})
    for name in _NUMBERS:
        table[name] = columns.get(name, np.full(n, np.nan))
    for name in _SWITCHES:
        table[name] = columns.get(name, np.zeros(n, dtype=bool))
    table["photometry"] = columns.get("photometry", np.full((n, len(PHOTOMETRIC)), np.nan))
    return table


def _join(table: Table, more: Table) -> Table:
    """Add rows, and to those that are there already what is not known yet."""
    row_of = {name: row for row, name in enumerate(table["objid"])}
    old = np.array([name in row_of for name in more["objid"]], dtype=bool)
    rows = np.array([row_of[name] for name in more["objid"][old]], dtype=int)
    # Of a galaxy with an HI fraction, or that should have one, no other tells it.
    labelled = np.asarray(np.isfinite(table["log_hi_fraction"][rows]) | table["detected"][rows])
    for name in (*_NUMBERS, "photometry"):
        own = np.asarray(table[name][rows])
        stays = labelled if name == "log_hi_fraction" else np.isfinite(own)
        table[name][rows] = np.where(stays, own, more[name][old])
    for name in _SWITCHES:
        table[name][rows] |= more[name][old] & ~labelled
    return vstack([table, more[~old]])


def _read_alfalfa(cutouts: Path) -> tuple[Table, np.ndarray]:
    """Read detections and bright undetected galaxies; and where about they are, shape (2, n)."""
    table = read_alfalfa(cutouts, tuple(_ALFALFA.values()), _NEARBY)
    columns = {name: np.asarray(table[column]) for name, column in _ALFALFA.items()}
    detected = np.asarray(table["detected"])
    columns["log_cz"] = np.log10(columns.pop("velocity"))
    rows = _rows(table["objid"], detected=detected, undetected=~detected, **columns)
    return rows, np.stack([np.asarray(table[name]) for name in _NEARBY])


def _read_resolve(cutouts: Path) -> Table:
    """Read the galaxies of RESOLVE (Eckert et al. 2015, Stark et al. 2016), most of which ALFALFA missed."""
    table = read_data_table(cutouts, RESOLVE, _RESOLVE)
    missed, is_limit = ~np.asarray(table["alfalfa_detected"]), np.asarray(table["is_limit"])
    constant, slope, inclined = _RESOLVE_COLOUR
    axis_ratio, value = numbers_of(table, "axial_ratio"), numbers_of(table, "log_hi_fraction_true")
    return _rows(
        table["objid"],
        missed=missed,
        is_limit=is_limit & missed,
        confused=np.asarray(table["confused"]) & missed,
        log_hi_fraction=np.where(missed, value, np.nan),
        resolve=np.where(is_limit, np.nan, value),
        ra=numbers_of(table, "ra"),
        dec=numbers_of(table, "dec"),
        log_cz=np.log10(numbers_of(table, "cz")),
        g_minus_i=constant + slope * numbers_of(table, "g_minus_i") - inclined * np.log10(axis_ratio),
        i=numbers_of(table, "i_mag"),
        axis_ratio=axis_ratio,
    )


def _read_manga(cutouts: Path) -> Table:
    """Read the galaxies of HI-MaNGA (Masters et al. 2019, Stark et al. 2021)."""
    table = read_data_table(cutouts, MANGA, _MANGA)
    log_mhi = numbers_of(table, "LOGMHI")
    is_limit = ~(log_mhi > 0)
    log_mhi = np.where(is_limit, numbers_of(table, "LOGHILIM200KMS"), log_mhi)
    return _rows(
        table["objid"],
        manga=np.ones(len(table), dtype=bool),
        is_limit=is_limit,
        confused=numbers_of(table, "conflag") > 0,
        log_hi_fraction=log_mhi - numbers_of(table, "LOGMSTARS"),
        ra=numbers_of(table, "OBJRA"),
        dec=numbers_of(table, "OBJDEC"),
        log_cz=np.log10(numbers_of(table, "VOPT")),
    )


def _read_photometry(cutouts: Path) -> Table:
    """Read magnitudes and redshifts of SDSS."""
    return _rows(**read_photometry(cutouts))
