"""Tables on disk, in every format that Astropy reads and writes."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import registry
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning

__all__ = ["output_format", "plain_table", "read_table", "write_table"]

# Astropy knows a VOTable by its content, which a file to be written does not have.
_VOTABLE = (".vot", ".votable", ".xml")

# Messages about what a format cannot hold; the documentation says it once.
_FORMAT_LIMITS = (
    "The unit '.*' could not be saved in native FITS format",
    "Attribute `.*` of type .* cannot be added to FITS Header",
    "Keyword name '.*' is greater than 8 characters",
    ".*W50.*",
    "(?s).*(table|column) contains mixin columns.*",
)


def read_table(path: str | Path) -> Table:
    """Read a table, its format recognised by Astropy.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no table that Astropy can read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            return Table.read(path)
    except Exception as error:  # each reader of Astropy raises errors of its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be read as a table: {reason[0]}") from error


def output_format(path: str | Path) -> str:
    """The format that the name of a file asks for.

    Raises
    ------
    ValueError
        If no format, or more than one, goes by that extension.
    """
    if Path(path).suffix.lower() in _VOTABLE:
        return "votable"
    found = registry.identify_format("write", Table, str(path), None, [], {})
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f"the format of {path} is not known by its name; "
        "use for instance .ecsv, .fits, .csv, .vot or .parquet"
    )


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
    ValueError
        If the format is not known.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    kind = output_format(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already")
    # Same extension: some writers look at it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    options = {"serialize_meta": True, "path": "result"} if kind == "hdf5" else {}
    try:
        with warnings.catch_warnings():
            for message in _FORMAT_LIMITS:
                warnings.filterwarnings("ignore", message=message, category=Warning)
            plain = plain_table(table)
            if kind == "fits":
                _suit_fits(plain)
            plain.write(partial, format=kind, overwrite=True, **options)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def plain_table(table: Table) -> Table:
    """The same columns without quantities and objects: what every file format can hold."""
    result = Table(meta=dict(table.meta))
    for name in table.colnames:
        column = table[name]
        info = column.info
        if isinstance(column, SkyCoord):
            result[f"{name}_ra"] = Column(column.icrs.ra.deg, unit=u.deg)
            result[f"{name}_dec"] = Column(column.icrs.dec.deg, unit=u.deg)
            continue
        if isinstance(column, u.Quantity):
            mask = getattr(column, "mask", None)
            values = np.asarray(getattr(column, "unmasked", column).value)
            kind = Column if mask is None else MaskedColumn
            plain = kind(values, unit=column.unit, **({} if mask is None else {"mask": mask}))
        elif getattr(column, "dtype", np.dtype(float)).kind == "O":
            mask = np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))
            text = ["" if hidden else str(value) for value, hidden in zip(column, mask, strict=True)]
            plain = MaskedColumn(text, mask=mask, dtype=str)
        else:
            plain = column.copy()
        plain.info.description, plain.info.format = info.description, info.format
        result[name] = plain
    return result


def _suit_fits(table: Table) -> None:
    """Say in words what a FITS header has no place for."""
    for column in table.columns.values():
        if column.unit is not None and str(column.unit).startswith("dex"):
            column.description = f"{column.description or ''} [{column.unit}]".strip()
            column.unit = None
    provenance = table.meta.pop("hifrac", None)
    if provenance is not None:
        lines = [f"hifrac {key}: {json.dumps(value, ensure_ascii=True)}" for key, value in provenance.items()]
        table.meta["comments"] = [*table.meta.get("comments", []), *lines]
