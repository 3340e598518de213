"""The training samples: pictures and labels read from the data directory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from hifrac.core.config import data_dir
from hifrac.core.input import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE, LocalCutouts

__all__ = ["BRIGHT", "DeepSample", "TrainingSample", "read_deep", "read_sample", "sky_groups"]

#: An undetected galaxy is bright when its central light (``flux_16px``, red
#: counts within 16 px) reaches that of nearly every detection (250 of 259).
BRIGHT = 30.0

#: Galaxies closer than this never stand in different folds.
SEPARATION = 90 * u.arcsec


@dataclass(frozen=True)
class TrainingSample:
    """Pictures with labels; detections first, then bright undetected galaxies.

    Attributes
    ----------
    objid : array of str, shape (n,)
        SDSS photometric objID.
    pixels : array of uint8, shape (n, width, width, 3)
        The decoded cutouts.
    detected : array of bool, shape (n,)
        Whether ALFALFA detected the galaxy.
    log_hi_fraction : array of float, shape (n,)
        log10(M_HI / M*); NaN where undetected.
    photometry : array of float, shape (n, 2)
        Catalogue g-i and i, of the detections; NaN elsewhere. A baseline's
        input, never the network's.
    gswlc_offset : array of float, shape (n,)
        log10 of the ratio of the stellar masses of Taylor et al. (2011) and
        GSWLC-2; NaN where either is unknown.
    ra, dec : array of float, shape (n,)
        ICRS positions in degrees; NaN where they are not known well.
    ebv : array of float, shape (n,)
        Galactic reddening E(B-V) in mag; NaN where not even the field's position is known.
    group : array of int, shape (n,)
        Galaxies of one group stay in one fold.
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
    """Galaxies with a deeper HI measurement that ALFALFA did not detect; arrays of length n.

    Attributes
    ----------
    objid : array of str
        SDSS photometric objID.
    pixels : array of uint8, shape (n, width, width, 3)
        The decoded cutouts.
    log_hi_fraction : array of float
        log10(M_HI / M*), or its upper limit.
    is_limit : array of bool
        Where it is an upper limit.
    ra, dec : array of float
        ICRS positions in degrees.
    ebv : array of float
        Galactic reddening E(B-V) in mag.
    """

    objid: np.ndarray
    pixels: np.ndarray
    log_hi_fraction: np.ndarray
    is_limit: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    ebv: np.ndarray


def _pictures(root: Path, objid: np.ndarray, width: int) -> np.ndarray:
    """The decoded cutouts of the archive, all of them or an error."""
    recipe = replace(SDSS_RECIPE, width=width)
    pixels = np.empty((len(objid), width, width, 3), dtype=np.uint8)
    nowhere = np.zeros(len(objid))
    with LocalCutouts(root / "cutouts" / "sdss_cutouts.zip", name="objid") as archive:
        for row, cutout in enumerate(archive.fetch(nowhere, nowhere, objid)):
            if cutout.error is not None:
                raise cutout.error
            pixels[row] = recipe.decode(cutout.data)
    return pixels


def _root(folder: str | Path | None) -> Path:
    root = Path(folder) if folder is not None else data_dir()
    if root is None:
        raise ValueError("data_dir: none is configured; set HIFRAC_DATA_DIR or conf.data_dir")
    return root


def read_deep(folder: str | Path | None = None, *, width: int = 128) -> DeepSample | None:
    """Read the RESOLVE galaxies that ALFALFA did not detect.

    Parameters
    ----------
    folder, width
        As of `read_sample`.

    Returns
    -------
    sample : DeepSample or None
        None if the data directory has no ``resolve_labels.ecsv``.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.core.exceptions.RowError
        As `read_sample`.
    """
    root = _root(folder)
    if not (root / "cutouts" / "resolve_labels.ecsv").is_file():
        return None
    table = _table(
        root,
        "resolve_labels.ecsv",
        ("objid", "ra", "dec", "log_hi_fraction_true", "is_limit", "alfalfa_detected"),
    )
    table = table[~table["alfalfa_detected"]]
    objid = np.asarray(table["objid"], dtype=str)
    return DeepSample(
        objid=objid,
        pixels=_pictures(root, objid, width),
        log_hi_fraction=np.asarray(table["log_hi_fraction_true"], dtype=float),
        is_limit=np.asarray(table["is_limit"], dtype=bool),
        ra=(ra := plain_floats(table["ra"])),
        dec=(dec := plain_floats(table["dec"])),
        ebv=galactic_ebv(ra, dec),
    )


def _table(folder: Path, name: str, columns: tuple[str, ...]) -> Table:
    path = folder / "cutouts" / name
    if not path.is_file():
        raise FileNotFoundError(f"data_dir: {path} is missing (set HIFRAC_DATA_DIR or conf.data_dir)")
    table = Table.read(path, format="ascii.ecsv")
    if missing := [column for column in columns if column not in table.colnames]:
        raise ValueError(f"data_dir: {path} lacks the columns {', '.join(missing)}")
    return table


def sky_groups(objid: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Groups of galaxies that must not be split between folds.

    Galaxies of one SDSS field (bits 16 and up of the objID: rerun, run, camcol,
    field; SDSS glossary, "ObjID"), and galaxies closer than 90 arcsec where
    positions are known.

    Parameters
    ----------
    objid : array of str, shape (n,)
        SDSS photometric objIDs.
    ra, dec : array of float, shape (n,)
        ICRS positions in degrees; NaN where unknown.

    Returns
    -------
    group : array of int, shape (n,)
        Labels from 0.
    """
    # What is left of an objID without its last 16 bits, the object's number, is the field.
    field = np.array([int(one) >> 16 for one in objid])
    _, first, by_field = np.unique(field, return_index=True, return_inverse=True)
    links = [np.stack([np.arange(len(objid)), first[by_field]])]
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if known.size > 1:
        positions = SkyCoord(ra[known], dec[known], unit="deg")
        one, other, _, _ = positions.search_around_sky(positions, SEPARATION)
        links.append(np.stack([known[one], known[other]]))
    rows, columns = np.concatenate(links, axis=1)
    graph = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(len(objid), len(objid)))
    return connected_components(graph, directed=False)[1]


def read_sample(folder: str | Path | None = None, *, width: int = 128) -> TrainingSample:
    """Read the labelled galaxies and the bright undetected ones of the ALFALFA footprint.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; `~hifrac.core.config.data_dir` by default.
    width : int, optional
        Side of the pictures in pixels.

    Returns
    -------
    sample : TrainingSample

    Raises
    ------
    ValueError
        If no data directory is configured, or a table lacks a column.
    FileNotFoundError
        If a file is missing.
    ~hifrac.core.exceptions.RowError
        If a picture is missing or damaged: training takes all or nothing.
    """
    root = _root(folder)
    labels = _table(
        root,
        "hi_labels.ecsv",
        (
            *("objid", "ra", "dec", "log_hi_fraction_true", "g_minus_i", "i_cmodel"),
            *("log_mstar_taylor", "log_mstar_gswlc"),
        ),
    )
    index = _table(
        root,
        "index.ecsv",
        ("objid", "ra_approx", "dec_approx", "alfalfa_footprint", "alfalfa_detected", "flux_16px"),
    )
    bright = index["alfalfa_footprint"] & ~index["alfalfa_detected"] & (index["flux_16px"] >= BRIGHT)
    undetected = np.asarray(index["objid"][bright], dtype=str)
    n, extra = len(labels), len(undetected)
    objid = np.concatenate([np.asarray(labels["objid"], dtype=str), undetected])
    nan = np.full(extra, np.nan)
    pixels = _pictures(root, objid, width)
    ra, dec = (np.concatenate([np.asarray(labels[name], dtype=float), nan]) for name in ("ra", "dec"))
    photometry = np.full((n + extra, 2), np.nan)
    for column, name in enumerate(("g_minus_i", "i_cmodel")):
        photometry[:n, column] = labels[name]
    taylor, gswlc = (plain_floats(labels[name]) for name in ("log_mstar_taylor", "log_mstar_gswlc"))
    # To a tenth of a degree, which is no position, but enough for the dust.
    nearby = [plain_floats(index[name][bright]) for name in ("ra_approx", "dec_approx")]
    return TrainingSample(
        objid=objid,
        pixels=pixels,
        detected=np.arange(n + extra) < n,
        log_hi_fraction=np.concatenate([np.asarray(labels["log_hi_fraction_true"], dtype=float), nan]),
        photometry=photometry,
        gswlc_offset=np.concatenate([taylor - gswlc, nan]),
        ra=ra,
        dec=dec,
        ebv=np.concatenate([galactic_ebv(ra[:n], dec[:n]), galactic_ebv(*nearby)]),
        group=sky_groups(objid, ra, dec),
    )
