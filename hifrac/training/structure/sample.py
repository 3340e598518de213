"""The galaxies of the default model: detected, undetected, and measured by a deeper survey."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE, LocalCutouts
from hifrac.training.data import BRIGHT, _root, _table
from hifrac.training.splits import sky_groups


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

    Raises
    ------
    ValueError
        If no data directory is configured, or a table lacks a column.
    FileNotFoundError
        If a file is missing.
    ~hifrac.core.RowError
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
    ValueError, FileNotFoundError, ~hifrac.core.RowError
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


@dataclass(frozen=True)
class Labels:
    """What is known of galaxies; arrays of shape (n,).

    Attributes
    ----------
    detected, undetected : array of bool
        Whether ALFALFA detected the galaxy, or missed it although it is bright; for some neither holds.
    gas_poor : array of bool
        Whether a deeper survey measured what ALFALFA missed.
    log_hi_fraction : array of float
        log10(M_HI / M*) of ``detected`` and ``gas_poor`` galaxies, NaN elsewhere.
    is_limit : array of bool
        Where that is an upper limit.
    gswlc_offset : array of float
        As of `~hifrac.training.data.TrainingSample`.
    ebv : array of float
        Galactic reddening E(B-V) in mag, NaN where unknown.
    group : array of int
        Galaxies of one group are never on both sides of a split.
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


def combine(
    sample: TrainingSample, beyond: DeepSample | None, fold: np.ndarray
) -> tuple[np.ndarray, Labels, np.ndarray]:
    """One list of galaxies out of two that overlap: the sample's, then what is new.

    Parameters
    ----------
    sample : TrainingSample
        Detections and undetected galaxies.
    beyond : DeepSample or None
        Galaxies measured beyond ALFALFA, most of them undetected ones of the sample.
    fold : array of int, shape (n,)
        The fold of each galaxy of the sample.

    Returns
    -------
    pixels : array of uint8, shape (m, width, width, 3)
        The pictures.
    labels : Labels
        What is known of the m galaxies.
    fold : array of int, shape (m,)
        Their folds: those of the sample, and for new galaxies that of their
        group, or any one.
    """
    n = len(sample.objid)
    where = {name: row for row, name in enumerate(sample.objid)}
    new = np.array([] if beyond is None else [name not in where for name in beyond.objid], dtype=bool)
    extra = int(new.sum())
    bad = np.full(extra, np.nan)
    log_hi_fraction = np.concatenate([sample.log_hi_fraction, bad])
    gas_poor, is_limit = np.zeros(n + extra, dtype=bool), np.zeros(n + extra, dtype=bool)
    pixels, group, ebv = sample.pixels, sample.group, sample.ebv.copy()
    if beyond is not None:
        places = iter(range(n, n + extra))
        rows = np.array([where[name] if name in where else next(places) for name in beyond.objid])
        if np.any(sample.detected[rows[rows < n]]):
            raise ValueError("beyond holds galaxies that are detections of the sample")
        gas_poor[rows], is_limit[rows] = True, beyond.is_limit
        log_hi_fraction[rows] = beyond.log_hi_fraction
        pixels = np.concatenate([pixels, beyond.pixels[new]])
        ebv[rows[rows < n]] = beyond.ebv[rows < n]
        ebv = np.concatenate([ebv, beyond.ebv[new]])
        # Of the sample's undetected galaxies RESOLVE knows where they are.
        known = {axis: getattr(sample, axis).copy() for axis in ("ra", "dec")}
        for axis, values in known.items():
            values[rows[rows < n]] = getattr(beyond, axis)[rows < n]
        positions = [np.concatenate([known[axis], getattr(beyond, axis)[new]]) for axis in ("ra", "dec")]
        linked = sky_groups(np.concatenate([sample.objid, beyond.objid[new]]), *positions)
        # A group takes the fold of its first galaxy that has one; a wholly new one any.
        fold = np.concatenate([fold, np.full(extra, -1)])
        for number, label in enumerate(np.unique(linked[rows])):
            kin = np.flatnonzero(linked == label)
            placed = fold[kin][fold[kin] >= 0]
            fold[kin] = placed[0] if placed.size else number % (fold.max() + 1)
        group = linked
    detected = np.concatenate([sample.detected, np.zeros(extra, dtype=bool)])
    labels = Labels(
        detected=detected,
        undetected=~detected & (np.arange(n + extra) < n),
        gas_poor=gas_poor,
        log_hi_fraction=log_hi_fraction,
        is_limit=is_limit,
        gswlc_offset=np.concatenate([sample.gswlc_offset, bad]),
        ebv=ebv,
        group=group,
    )
    return pixels, labels, fold


def require_labels(labels: Labels) -> None:
    """Refuse what nothing can be learned from.

    Raises
    ------
    ValueError
        If there are fewer than 20 detections or non-detections, a target is
        not finite, or the targets are all the same.
    """
    target = labels.log_hi_fraction[labels.detected]
    if labels.detected.sum() < 20 or labels.undetected.sum() < 20:
        raise ValueError("detected must hold at least 20 detections and 20 non-detections")
    if not np.all(np.isfinite(target)) or np.ptp(target) == 0:
        raise ValueError("target must be finite and not constant")
