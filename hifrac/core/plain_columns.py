"""What a file format can hold: columns of any type to plain ones, and what each format lacks."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time, TimeDelta

from hifrac.core.exceptions import warn_caller

# Types that some formats lack, and the next ones that hold all their values.
_WIDER = {"f2": "f4", "f16": "f8", "c32": "c16"}
_WIDER_IN = {
    "fits": {"i1": "i2"},
    "votable": {"i1": "i2", "u2": "i4", "u4": "i8"},
}


def suited_table(table: Table, file_format: str) -> Table:
    """Return the same columns as a file format holds them; the table itself stays as it is."""
    plain = plain_table(table)
    for name in plain.colnames:
        column = plain[name]
        if isinstance(column, Time):
            if file_format in ("fits", "votable"):
                plain[name] = Column(column.isot, description=column.info.description)
            continue
        if column.dtype.kind == "c" and file_format == "parquet":
            place = plain.colnames.index(name)
            plain.add_column(np.real(column), name=f"{name}.real", index=place)
            plain.add_column(np.imag(column), name=f"{name}.imag", index=place + 1)
            plain.remove_column(name)
            continue
        _replace(plain, name, _in_a_cell(_widened(column, file_format), file_format))
        if file_format.startswith("ascii.") and file_format != "ascii.ecsv":
            plain[name].format = None  # it would cut digits off
    if file_format == "fits":
        _suit_fits(plain)
    return plain


def plain_table(table: Table) -> Table:
    """Return the same columns without quantities, objects and structures."""
    result = Table(meta=dict(table.meta))
    for name in table.colnames:
        for part_name, part in _parts(table[name], name).items():
            plain = _plain_column(part)
            if name == part_name:
                info = table[name].info
                plain.info.description, plain.info.format = info.description, info.format
            result[part_name] = plain
    return result


def _parts(column: Any, name: str) -> dict[str, Any]:
    """Return the columns that a column of coordinates, or of a structure, is made of."""
    if isinstance(column, SkyCoord):
        sphere = column.icrs.spherical
        return {f"{name}_ra": sphere.lon.to(u.deg), f"{name}_dec": sphere.lat.to(u.deg)}
    fields = getattr(getattr(column, "dtype", None), "names", None)
    return {f"{name}.{field}": column[field] for field in fields} if fields else {name: column}


def _plain_column(column: Any) -> Any:
    """Return a column of numbers, text or times."""
    if isinstance(column, TimeDelta):
        return Column(column.to_value(u.s), unit=u.s)
    if isinstance(column, Time):
        return column.copy()
    if isinstance(column, u.Quantity):
        mask = getattr(column, "mask", None)
        values = np.asarray(getattr(column, "unmasked", column).value)
        plain = Column(values) if mask is None else MaskedColumn(values, mask=mask)
        plain.unit = column.unit
        return plain
    if not hasattr(column, "dtype"):  # some other kind of Astropy's columns
        return Column([str(value) for value in column])
    kind = column.dtype.kind
    if kind in "OV":
        return _text_of_objects(column)
    if kind in "mM":
        return _text_of_times(column)
    if kind == "S":
        return _decoded(column)
    wider = _WIDER.get(column.dtype.str[1:])
    return column.copy() if wider is None else column.astype(wider)


def _text_of_objects(column: Any) -> MaskedColumn:
    hidden = np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))
    mask = [bool(np.all(hide)) or value is None for value, hide in zip(column, hidden, strict=True)]
    text = ["" if hide else str(value) for value, hide in zip(column, mask, strict=True)]
    return MaskedColumn(text, mask=mask, dtype=str)


def _text_of_times(column: Any) -> Column:
    """Return ISO 8601 for moments, and seconds for spans."""
    values = np.asarray(np.ma.getdata(column))
    mask = np.isnat(values) | np.ma.getmaskarray(column)
    if values.dtype.kind == "m":
        plain = np.where(mask, np.nan, values / np.timedelta64(1, "s"))
        return MaskedColumn(plain, mask=mask, unit=u.s) if mask.any() else Column(plain, unit=u.s)
    text = np.where(mask, "", np.datetime_as_string(values))
    return MaskedColumn(text, mask=mask) if mask.any() else Column(text)


def _decoded(column: Any) -> Any:
    """Return bytes that are no UTF-8 as text of Latin-1; others stay."""
    values = np.asarray(np.ma.getdata(column))
    try:
        np.char.decode(values, "utf-8")
    except UnicodeDecodeError:
        text = np.char.decode(values, "latin-1")
        return MaskedColumn(text, mask=column.mask) if hasattr(column, "mask") else Column(text)
    return column.copy()


def _replace(table: Table, name: str, column: Any) -> None:
    """Put a column in the place of another, with its unit and description."""
    previous = table[name]
    if column is not previous:
        column.description = previous.description
        if column.dtype.kind not in "US":  # text has no unit, nor the format of numbers
            column.unit, column.format = previous.unit, previous.format
        table[name] = column


def _widened(column: Any, file_format: str) -> Any:
    """Return a column in a type that the format has; integers that it has no type for become text."""
    if file_format == "votable" and column.dtype.kind == "u" and column.dtype.itemsize == 8:
        values = np.ma.getdata(column)
        mask = np.ma.getmaskarray(column)
        if (np.where(mask, 0, values) <= np.uint64(np.iinfo(np.int64).max)).all():
            return column.astype(np.int64)
        text = np.asarray(values).astype(str)
        return MaskedColumn(text, mask=mask) if mask.any() else Column(text)
    wider = _WIDER_IN.get(file_format, {}).get(column.dtype.str[1:])
    return column if wider is None else column.astype(wider)


def holds_vectors(file_format: str) -> bool:
    """Return whether a format has more than one number in a cell."""
    return not file_format.startswith("ascii.") or file_format == "ascii.ecsv"


def _in_a_cell(column: Any, file_format: str) -> Any:
    """Return vectors as text (JSON), where a format has one value to a cell, or no vectors of text."""
    if np.ndim(column) < 2:
        return column
    if not holds_vectors(file_format) or (column.dtype.kind in "US" and file_format in ("fits", "votable")):
        return Column([json.dumps(np.ma.asarray(row).tolist(), default=str) for row in column], dtype=str)
    return column


def _suit_fits(table: Table) -> None:
    """Say in words what a FITS header has no place for, and keep what is masked apart."""
    for name in table.colnames:
        column = table[name]
        if column.info.description:
            column.info.description = column.info.description.encode("ascii", "replace").decode()
        if isinstance(column, MaskedColumn) and column.dtype.kind in "biu" and column.mask.any():
            table[name] = _with_null(column)
        elif column.dtype.kind == "U":
            _ascii_alone(table, name)
        column = table[name]
        unit = getattr(column, "unit", None)
        if unit is not None and not _fits_has(unit):
            unit_text = str(unit).encode("ascii", "replace").decode()
            column.description = f"{column.description or ''} [{unit_text}]".strip()
            column.unit = None
    for name in table.colnames:
        if not name.isascii():
            table.rename_column(name, name.encode("ascii", "replace").decode())
    comments = table.meta.pop("comments", [])
    lines = comments.splitlines() if isinstance(comments, str) else [str(line) for line in comments]
    provenance = table.meta.pop("hifrac", None) or {}
    lines += [f"hifrac {key}: {json.dumps(value, ensure_ascii=True)}" for key, value in provenance.items()]
    if lines:
        table.meta["comments"] = lines


def _with_null(column: MaskedColumn) -> MaskedColumn:
    """Return integers whose null is none of them: FITS masks every integer that equals it."""
    # FITS has no masked truth values.
    dtype = np.dtype(np.int16) if column.dtype.kind == "b" else column.dtype
    values, limits = column.data.data.astype(dtype), np.iinfo(dtype)
    used = set(values[~column.mask].tolist())
    candidates = chain((limits.min, limits.max), range(limits.min + 1, limits.max))
    null = next((number for number in candidates if number not in used), column.fill_value)
    return MaskedColumn(
        values, mask=column.mask, fill_value=null, unit=column.unit, description=column.description
    )


def _fits_has(unit: Any) -> bool:
    """Return whether a unit stands in a FITS header as it is, and is read from there as the same."""
    try:
        return isinstance(unit, u.UnitBase) and u.Unit(unit.to_string("fits"), format="fits") == unit
    except ValueError:
        return False


def _ascii_alone(table: Table, name: str) -> None:
    """Write what is not ASCII as FITS can hold it, by escapes, with a warning."""
    column = table[name]
    text = np.asarray(np.ma.getdata(column))
    encoded = np.char.encode(text, "ascii", "backslashreplace").astype(str)
    if not np.array_equal(encoded, text):
        warn_caller(f"FITS holds ASCII text alone: {name} is written with escapes such as \\xf8")
        replaced = MaskedColumn(encoded, mask=column.mask) if hasattr(column, "mask") else Column(encoded)
        replaced.description = column.description
        table[name] = replaced
