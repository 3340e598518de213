"""Tables on disk, in every format that Astropy reads and writes."""

from __future__ import annotations

import json
import mmap
import re
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import registry
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time

from hifrac.core.files import whole_file
from hifrac.core.measurements import known_unit

# Astropy knows a VOTable by its content, which a file to be written does not have.
_VOTABLE = (".vot", ".votable", ".xml")

_REMOTE_STREAM = re.compile(rb"<STREAM\b[^>]*\bhref\s*=\s*[\"']\s*((?:https?|ftp)://[^\"'?]*)", re.IGNORECASE)

# Messages about what a format cannot hold; the documentation says it once.
_FORMAT_LIMITS = (
    "The unit '.*' could not be saved in native FITS format",
    "'.*' did not parse as fits unit",
    "Attribute `.*` of type .* cannot be added to FITS Header",
    "Keyword name '.*' is greater than 8 characters",
    ".*W50.*",
    "(?s).*(table|column) contains mixin columns.*",
)


def read_table(path: str | Path) -> Table:
    """Read a table, its format recognised by Astropy.

    Parameters
    ----------
    path : path-like
        File to read.

    Returns
    -------
    table : `~astropy.table.Table`
        The table as it stands in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    IsADirectoryError
        If it is a folder.
    ValueError
        If it is no table that Astropy can read.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a table")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    _refuse_remote_rows(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A file that was cut off is an error: half a table is none.
            warnings.filterwarnings("error", message=".*truncated.*")
            table = Table.read(path)
    except Exception as error:  # each reader of Astropy raises errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if reason.startswith("Format could not be identified"):
            reason = "neither its name nor its content tells the format; use .ecsv, .fits, .csv and such"
        raise ValueError(f"{path} cannot be read as a table: {reason}") from error
    if not table.colnames:
        raise ValueError(f"{path} cannot be read as a table: it has no columns")
    for column in table.columns.values():
        if isinstance(getattr(column, "unit", None), u.UnrecognizedUnit):
            column.unit = known_unit(column.unit)
    return table


def _refuse_remote_rows(path: Path) -> None:
    """Refuse a VOTable whose rows are at another address: reading a file must not touch the network."""
    with path.open("rb") as file:
        if b"<VOTABLE" not in file.read(2000).upper():
            return
        file.seek(0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            addresses = [match[1].decode("utf-8", "replace") for match in _REMOTE_STREAM.finditer(content)]
    if addresses:
        raise ValueError(f"{path} cannot be read as a table: its rows are at another address: {addresses[0]}")


def output_format(path: str | Path) -> str:
    """Return the format that the name of a file asks for.

    Raises
    ------
    ValueError
        If no format, or more than one, goes by that extension.
    """
    if Path(path).suffix.lower() in _VOTABLE:
        return "votable"
    formats = registry.identify_format("write", Table, str(path), None, [], {})
    if len(formats) == 1:
        return formats[0]
    raise ValueError(
        f"the format of {path} is not known by its name; "
        "use for instance .ecsv, .fits, .csv, .vot or .parquet"
    )


def check_output(table: Table, path: str | Path, *, overwrite: bool = False) -> None:
    """Make sure that a table of such columns can be written, before the work that fills it.

    The table is written beside its place as a trial, and removed again: that
    finds the missing folder, the missing library, and the column that the
    format cannot hold.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError, OSError
        As `write_table`.
    """
    _write(table, Path(path), overwrite=overwrite, keep=False)


def write_table(table: Table, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a table whole or not at all.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Written as the format can hold it: ECSV, HDF5 and Parquet give all back,
        units and ``meta`` included. FITS has no unit dex, which goes into the
        column's comment, and takes ``meta["hifrac"]`` as COMMENT cards. VOTable
        keeps units, CSV numbers alone.
    path : path-like
        Its extension decides the format.
    overwrite : bool, optional
        Whether an existing file is replaced.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If it is a folder.
    ValueError
        If the format is not known, or cannot hold the table.
    OSError
        If the file cannot be written.
    """
    _write(table, Path(path), overwrite=overwrite, keep=True)


def _write(table: Table, path: Path, *, overwrite: bool, keep: bool) -> None:
    file_format = output_format(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    options = {"serialize_meta": True, "path": "result"} if file_format == "hdf5" else {}
    try:
        with whole_file(path, keep=keep) as partial, warnings.catch_warnings():
            for message in _FORMAT_LIMITS:
                warnings.filterwarnings("ignore", message=message, category=Warning)
            plain = plain_table(table)
            if file_format in ("fits", "votable"):
                _times_as_text(plain)
            if file_format == "fits":
                _suit_fits(plain)
            plain.write(partial, format=file_format, overwrite=True, **options)
    except OSError as error:  # would name the partial file
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error
    except Exception as error:  # each writer of Astropy raises errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be written: {reason}") from error


def plain_table(table: Table) -> Table:
    """Return the same columns without quantities and objects: what every file format can hold."""
    result = Table(meta=dict(table.meta))
    for name in table.colnames:
        column = table[name]
        info = column.info
        if isinstance(column, SkyCoord):
            sphere = column.icrs.spherical
            result[f"{name}_ra"] = _plain_quantity(sphere.lon.to(u.deg))
            result[f"{name}_dec"] = _plain_quantity(sphere.lat.to(u.deg))
            continue
        if isinstance(column, u.Quantity):
            plain = _plain_quantity(column)
        elif getattr(column, "dtype", np.dtype(float)).kind == "O":
            hidden = np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))
            mask = [bool(hide) or value is None for value, hide in zip(column, hidden, strict=True)]
            text = ["" if hide else str(value) for value, hide in zip(column, mask, strict=True)]
            plain = MaskedColumn(text, mask=mask, dtype=str)
        else:
            plain = column.copy()
        plain.info.description, plain.info.format = info.description, info.format
        result[name] = plain
    return result


def _plain_quantity(values: u.Quantity) -> Column:
    """Return a column of a quantity, masked if it is."""
    mask = getattr(values, "mask", None)
    plain = np.asarray(getattr(values, "unmasked", values).value)
    if mask is None:
        return Column(plain, unit=values.unit)
    return MaskedColumn(plain, unit=values.unit, mask=mask)


def _times_as_text(table: Table) -> None:
    """Write times as ISO 8601 where a format has no times, or pairs of numbers that nobody can read."""
    for name in table.colnames:
        if isinstance(table[name], Time):
            table[name] = Column(table[name].isot, description=table[name].info.description)


def _suit_fits(table: Table) -> None:
    """Say in words what a FITS header has no place for, and keep what is masked apart."""
    for name in table.colnames:
        column = table[name]
        if column.info.description:
            column.info.description = column.info.description.encode("ascii", "replace").decode()
        if isinstance(column, MaskedColumn) and column.dtype.kind in "biu" and column.mask.any():
            # FITS has no masked truth values, and masks every integer that equals the null.
            dtype = np.dtype(np.int16) if column.dtype.kind == "b" else column.dtype
            values, limits = column.data.data.astype(dtype), np.iinfo(dtype)
            used = set(values[~column.mask].tolist())
            candidates = chain((limits.min, limits.max), range(limits.min + 1, limits.max))
            null = next((number for number in candidates if number not in used), column.fill_value)
            table[name] = MaskedColumn(
                values, mask=column.mask, fill_value=null, unit=column.unit, description=column.description
            )
        elif getattr(column, "dtype", np.dtype(float)).kind == "U":
            for value in column:
                if value is not np.ma.masked and not value.isascii():
                    raise ValueError(f"FITS holds ASCII text alone, but {name} has {str(value)!r}")
        elif str(getattr(column, "unit", "")).startswith("dex"):
            column.description = f"{column.description or ''} [{column.unit}]".strip()
            column.unit = None
    provenance = table.meta.pop("hifrac", None)
    if provenance is not None:
        lines = [f"hifrac {key}: {json.dumps(value, ensure_ascii=True)}" for key, value in provenance.items()]
        table.meta["comments"] = [*table.meta.get("comments", []), *lines]
