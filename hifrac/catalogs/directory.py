"""The data directory that training and the experiments read, made from labels and a source of pictures."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Column, QTable, Table

from hifrac import images
from hifrac.catalogs import _files
from hifrac.catalogs._registry import CATALOGS
from hifrac.catalogs.labels import FRACTION, LABEL_COLUMNS
from hifrac.core.columns import result_column
from hifrac.core.exceptions import BadImageError, RowError
from hifrac.core.files import whole_file
from hifrac.core.flags import Flag
from hifrac.core.input import parse
from hifrac.core.measurements import plain_floats
from hifrac.core.tables import write_table
from hifrac.cutouts import Cutout, CutoutSource, LocalCutouts

_ARCHIVE, _LABELS, _INDEX, _MISSING = (
    "sdss_cutouts.zip",
    "hi_labels.ecsv",
    "index.ecsv",
    "missing.ecsv",
)
_NEEDED = tuple(name for name in LABEL_COLUMNS if name not in ("agc", "abs_i", "log_mhi"))

_APERTURE, _SKY = 16.0, 50.0  # pixels from the centre: the light within, the background beyond
_WIDTH = 128  # the sky beyond 50 pixels must be there
# No catalogue of the registry: the galaxies that the densities are counted with.
_DENSITY = "sdss_dr7_volume_limited.fits"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same pictures make the same archive on any day


def central_light(pixels: np.ndarray) -> float:
    """Measure ``flux_16px``, the mean of the red channel within 16 pixels of the centre above the background.

    Parameters
    ----------
    pixels : array of uint8, shape (height, width, 3)
        Red, green and blue; no side below 128 pixels.

    Returns
    -------
    light : float
        In levels of the picture. The background is the median of the red channel beyond 50 pixels.

    Raises
    ------
    ValueError
        If the picture is too small.
    """
    if pixels.ndim != 3 or min(pixels.shape[:2]) < _WIDTH:
        raise ValueError(f"pixels must be a picture of {_WIDTH} pixels or more, got shape {pixels.shape}")
    height, width = pixels.shape[:2]
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    red = pixels[..., 0]
    return float(red[distance <= _APERTURE].mean() - np.median(red[distance > _SKY]))


def in_alfalfa(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return whether positions lie in the area of ALFALFA.

    Parameters
    ----------
    ra, dec : array-like of float
        ICRS positions in degrees.

    Returns
    -------
    inside : array of bool
        07h30m < RA < 16h30m or 22h < RA < 3h, and 0 < Dec < 36 deg (Haynes et al. 2018, section 2); its
        ragged edges are not followed. False where a position is not known.
    """
    ra, dec = np.asarray(ra, float) % 360, np.asarray(dec, float)
    spring, fall = (ra > 112.5) & (ra < 247.5), (ra > 330) | (ra < 45)
    return (spring | fall) & (dec > 0) & (dec < 36)


def copy_catalogs(folder: str | os.PathLike[str]) -> list[Path]:
    """Copy the catalogues that are on this computer into ``catalogs/`` of a data directory.

    Parameters
    ----------
    folder : path-like
        The data directory. What is there already stays; the NASA-Sloan Atlas (2.9 GB) is not copied.

    Returns
    -------
    copied : list of path
        The new files, from the configured data directory or the cache.
    """
    target = Path(folder) / "catalogs"
    copied = []
    paths = [_files.folder() / _DENSITY]
    for name, catalog in CATALOGS.items():
        if name != "nsa":
            paths += _files.local_files(catalog) or _files.kept_files(catalog)
    for path in paths:
        # RESOLVE's labels belong to pictures, and stay with them.
        if not path.is_file() or path.parent.name == "cutouts" or (target / path.name).exists():
            continue
        target.mkdir(parents=True, exist_ok=True)
        with whole_file(target / path.name) as partial:
            shutil.copyfile(path, partial)
        copied.append(target / path.name)
    return copied


def write_directory(
    table: Table,
    source: CutoutSource,
    folder: str | os.PathLike[str],
    *,
    undetected: Table | None = None,
    overwrite: bool = False,
    progress: Callable[[RowError | None], object] | None = None,
) -> QTable:
    """Write pictures and labels as a data directory.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Galaxies with a measured HI mass: the columns of
        ``hifrac.catalogs.labels.label_table``.
    source : `~hifrac.cutouts.CutoutSource`
        Where the pictures come from, such as `~hifrac.cutouts.SkyServerCutouts`. They must be JPEG files of
        128 pixels or more.
    folder : path-like
        The data directory; ``cutouts/`` in it is filled. One that an earlier call with some of these
        galaxies began is completed: its pictures are not asked for again.
    undetected : `~astropy.table.Table`, optional
        Galaxies of the survey's area without a counterpart in it: ``objid`` and a position.
    overwrite : bool, optional
        Whether what ``cutouts/`` holds of these files is replaced.
    progress : callable, optional
        Called for each picture with None, or with the error that stopped it.

    Returns
    -------
    report : `~astropy.table.QTable`
        A row for each row of ``table``, then of ``undetected``: ``objid``, ``ra``, ``dec``,
        ``alfalfa_detected``, ``flags`` (`hifrac.core.flags`; 0 if nothing stopped the picture) and
        ``reason``, empty for the rows that are in the directory. Two reasons carry no flag: another
        row before has the same objid, or ``log_hi_fraction_true`` is not known.

    Raises
    ------
    ValueError
        If a table lacks a column, or the source's pictures are too small.
    TypeError
        If ``objid`` is a floating-point number, which loses digits.
    FileExistsError
        If the folder holds pictures of other galaxies or of another recipe, or files that this
        function did not write, and ``overwrite`` is false.
    OSError
        If a file cannot be written.

    Notes
    -----
    ``sdss_cutouts.zip`` has the pictures as they came, ``<objid>.jpg`` in the order of objid and without
    their time: the same pictures make the same file. ``hi_labels.ecsv`` has the rows of ``table`` with a
    picture, ``index.ecsv`` a row per picture (run, camcol and field are decoded from objid; ``flux_16px``
    is `central_light`), and ``missing.ecsv`` the other rows of the report. Each is written whole or
    not at all. Pictures pass through one by one and are not held.

    An interruption loses no picture that a survey service gave, because these are in the local store.
    """
    if missing := [name for name in _NEEDED if name not in table.colnames]:
        raise ValueError(f"table has no column {', '.join(missing)}")
    recipe = getattr(source, "recipe", None)
    if recipe is not None and recipe.width < _WIDTH:
        raise ValueError(f"source must give pictures of {_WIDTH} pixels or more, got {recipe}")
    if recipe is not None and recipe.scale_column is not None:
        raise ValueError(f"source must give pictures of one pixel scale, got {recipe}")
    report = _galaxies(table, undetected)
    here = Path(folder).expanduser() / "cutouts"
    wanted = np.flatnonzero(report["reason"] == "")
    wanted = np.array(sorted(wanted, key=lambda row: int(report["objid"][row])), dtype=int)
    stored = _stored_names(here, set(report["objid"][wanted]), recipe, overwrite)
    here.mkdir(parents=True, exist_ok=True)
    reasons, flags = report["reason"].tolist(), np.array(report["flags"])
    light = np.full(len(report), np.nan)
    with (
        whole_file(here / _ARCHIVE) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.comment = _signature(recipe)
        for row, cutout in _pictures(report, wanted, source, here / _ARCHIVE, stored):
            error = cutout.error
            if error is None:
                try:
                    data, light[row] = _checked_picture(cutout, recipe)
                    archive.writestr(_entry(report["objid"][row]), data)
                except RowError as reason:
                    error = reason
            if error is not None:
                flags[row], reasons[row] = int(error.flag), str(error)
            if progress is not None:
                progress(error)
    report["flags"], report["reason"] = result_column("flags", flags), reasons
    _write_tables(table, report, light, here, recipe, source)
    return report


def _galaxies(table: Table, undetected: Table | None) -> QTable:
    """Return the rows of both tables, with what keeps some of them from having a picture."""
    parts = [(table, "table", True)]
    if undetected is not None:
        if "objid" not in undetected.colnames:
            raise ValueError("undetected has no column objid")
        parts.append((undetected, "undetected", False))
    names, ra, dec, detected = [], [], [], []
    for galaxies, what, is_detected in parts:
        position = parse(galaxies)
        names += _names(galaxies["objid"], what)
        ra.append(position.ra)
        dec.append(position.dec)
        detected += [is_detected] * len(galaxies)
    report = QTable({"objid": np.array(names, dtype=str), "alfalfa_detected": np.array(detected, dtype=bool)})
    report["ra"], report["dec"] = np.concatenate(ra) << u.deg, np.concatenate(dec) << u.deg
    unknown = np.zeros(len(report), bool)
    unknown[: len(table)] = ~np.isfinite(plain_floats(table[FRACTION]))
    nowhere = ~np.isfinite(report["ra"].value)
    flags, reasons = np.zeros(len(report), np.int32), []
    seen: set[str] = set()
    for row, name in enumerate(names):
        reason = ""
        if not _is_objid(name):
            flags[row], reason = Flag.FETCH_FAILED, f"objid is no SDSS photometric objID: {name!r}"
        elif nowhere[row]:
            flags[row], reason = Flag.BAD_COORDINATE, Flag.BAD_COORDINATE.summary
        elif name in seen:
            reason = "an earlier row has the same objid"
        elif unknown[row]:
            reason = f"{FRACTION} is not known"
        seen.add(name)
        reasons.append(reason)
    report["flags"], report["reason"] = result_column("flags", flags), np.array(reasons, dtype=object)
    return report["objid", "ra", "dec", "alfalfa_detected", "flags", "reason"]


def _names(column: Any, what: str) -> list[str]:
    values = np.ma.asarray(column)
    if values.dtype.kind == "f":
        raise TypeError(f"objid of {what} must be integers or text: floating-point numbers lose digits")
    hidden = np.ma.getmaskarray(values)
    plain = np.ma.getdata(values)
    if plain.dtype.kind == "S":
        plain = np.char.decode(plain)
    return ["" if hide else str(name).strip() for name, hide in zip(plain, hidden, strict=True)]


def _is_objid(name: str) -> bool:
    return name.isascii() and name.isdigit() and name[0] != "0" and int(name) < 2**63


def _signature(recipe: Any) -> bytes:
    """Return what an archive of this module says of itself: whose it is, and how its pictures were made."""
    return json.dumps({"hifrac": None if recipe is None else recipe.to_dict()}, sort_keys=True).encode()


def _stored_names(here: Path, names: set[str], recipe: Any, overwrite: bool) -> set[str]:
    """Return the objids of an earlier call's pictures; raise an error if the folder is of no such call."""
    if overwrite:
        return set()
    path = here / _ARCHIVE
    if not path.exists():
        if tables := [name for name in (_LABELS, _INDEX) if (here / name).exists()]:
            raise FileExistsError(f"folder: {here / tables[0]} exists already, without its pictures")
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            comment, files = archive.comment, archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise FileExistsError(f"folder: {path} exists already, and cannot be read: {error}") from error
    if comment != _signature(recipe):
        raise FileExistsError(f"folder: {path} exists already, with pictures of another recipe or origin")
    stored = {name.removesuffix(".jpg") for name in files}
    if others := stored - names:
        raise FileExistsError(
            f"folder: {path} exists already, with {len(others)} pictures of other galaxies, "
            f"such as {min(others)}"
        )
    return stored


def _pictures(
    report: QTable, rows: np.ndarray, source: CutoutSource, archive: Path, stored: set[str]
) -> Iterator[tuple[int, Cutout]]:
    """Yield the picture of each row, in the order of the rows: what is in the archive is not asked for."""
    is_stored = np.array([report["objid"][row] in stored for row in rows], dtype=bool)
    new, ra, dec = rows[~is_stored], report["ra"].value, report["dec"].value
    fetched = iter(source.fetch(ra[new], dec[new], report["objid"][new].tolist()))
    old = rows[is_stored]
    local = LocalCutouts(archive) if len(old) else None
    copies = iter(()) if local is None else local.fetch(ra[old], dec[old], report["objid"][old].tolist())
    try:
        for row, has_copy in zip(rows.tolist(), is_stored.tolist(), strict=True):
            yield row, next(copies if has_copy else fetched)
    finally:
        if local is not None:
            local.close()
        # Ends the requests that are going on, if the source has any.
        if hasattr(fetched, "close"):
            fetched.close()


def _checked_picture(cutout: Cutout, recipe: Any) -> tuple[bytes, float]:
    """Return the bytes and the `central_light` of a JPEG picture."""
    data = cutout.data or b""
    if not data.startswith(b"\xff\xd8"):
        raise BadImageError("not a JPEG picture")
    decode = images.decode if recipe is None else recipe.decode
    pixels = decode(data) if cutout.pixels is None else cutout.pixels
    try:
        return data, central_light(pixels)
    except ValueError as error:
        raise BadImageError(str(error)) from error


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{name}.jpg", _EPOCH)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    return entry


def _write_tables(
    table: Table, report: QTable, light: np.ndarray, here: Path, recipe: Any, source: CutoutSource
) -> None:
    there = report["reason"] == ""
    about = {"source": source.describe(), "recipe": "unknown" if recipe is None else str(recipe)}
    labels = Table(table[there[: len(table)]], copy=True)
    labels["objid"] = np.array(report["objid"][: len(table)][there[: len(table)]], dtype=str)
    labels.meta = {**table.meta, **about}
    write_table(labels, here / _LABELS, overwrite=True)
    index = _index(report[there], light[there])
    index.meta = about
    write_table(index, here / _INDEX, overwrite=True)
    left_out = QTable(report[~there], copy=True)
    left_out["reason"] = np.array(left_out["reason"], dtype=str)
    write_table(left_out, here / _MISSING, overwrite=True)


def _index(report: QTable, light: np.ndarray) -> Table:
    order = np.array(sorted(range(len(report)), key=lambda row: int(report["objid"][row])), dtype=int)
    report, light = report[order], light[order]
    # SDSS glossary, "ObjID": run in bits 32 to 47, camcol in 29 to 31, field in 16 to 27.
    bits = np.array([int(name) for name in report["objid"]], dtype=np.int64)
    index = Table({"objid": np.array(report["objid"], dtype=str)})
    index["run"], index["camcol"], index["field"] = bits >> 32 & 0xFFFF, bits >> 29 & 7, bits >> 16 & 0xFFF
    for name in ("ra", "dec"):
        index[f"{name}_approx"] = Column(report[name].value, unit=u.deg, description="J2000")
    detected = np.asarray(report["alfalfa_detected"])
    # What ALFALFA detected lies in its area, whatever the shape of the edge.
    index["alfalfa_footprint"] = in_alfalfa(report["ra"].value, report["dec"].value) | detected
    index["flux_16px"] = light
    index["alfalfa_detected"] = detected
    return index
