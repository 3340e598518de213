"""From a published table to the columns of the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle
from astropy.table import QTable, Table

import hifrac
from hifrac.catalogs._files import Raw, load
from hifrac.catalogs._registry import Catalog
from hifrac.catalogs._remote import vizier_tables
from hifrac.catalogs.columns import CATALOG_COLUMNS, CatalogColumn, CatalogFlag, catalog_column
from hifrac.catalogs.errors import CatalogFormatError
from hifrac.catalogs.matching import match_ids
from hifrac.core.measurements import C_KM_S
from hifrac.core.text_tables import NULL_WORDS

_SENTINELS = (-9999, -999)
_SENTINELS_OF_LOGARITHMS = (-99.99, -99.9, -99)


@dataclass(frozen=True)
class Field:
    """One published column and what it becomes.

    Attributes
    ----------
    column : str
        Our name: a key of `CATALOG_COLUMNS`, or a name with "_" in front for what is used and not shown.
    labels : tuple of str
        Its names in the published files and at the service; case and
        punctuation do not matter.
    required : bool
        Whether the catalogue is unusable without it.
    missing : tuple of numbers
        Values that stand for none.
    least : float or None
        Smaller values stand for none, too.
    dtype : type or None
        float, int or str; by default that of the registry.
    convert : callable or None
        What is done to the numbers.
    """

    column: str
    labels: tuple[str, ...]
    required: bool = False
    missing: tuple[float | int, ...] = ()
    least: float | None = None
    dtype: type | None = None
    convert: Callable[[np.ndarray], np.ndarray] | None = None


class Values(dict):
    """Columns as pairs of values and mask, by our names; ``len(values)`` counts columns, ``rows`` rows."""

    rows: int = 0

    def floats(self, name: str) -> np.ndarray:
        """Return a column as floats, NaN where masked; all NaN if it is not there."""
        if name not in self:
            return np.full(self.rows, np.nan)
        values, mask = self[name]
        return np.where(mask, np.nan, values.astype(float))

    def put(self, name: str, values: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Set a column."""
        values = np.asarray(values)
        self[name] = (values, np.zeros(self.rows, bool) if mask is None else np.asarray(mask, bool))


def extract(
    table: Table,
    fields: tuple[Field, ...],
    *,
    labels: Mapping[str, str] | None = None,
    what: str = "the table",
) -> Values:
    """Take the columns of ``fields`` from a published table.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As published.
    fields : tuple of Field
        What to look for.
    labels : mapping, optional
        For renamed columns: our name to the table's.
    what : str, optional
        What the table is, for messages.

    Returns
    -------
    values : Values
        What was found.

    Raises
    ------
    CatalogFormatError
        If required columns are missing, there are no rows, or a column does not hold numbers.
    """
    pairs, absent = _find(table, fields, labels or {})
    if absent:
        raise CatalogFormatError(
            f"{what} has no column for {', '.join(absent)}; it has {', '.join(table.colnames[:60])}. "
            "If they have other names, say so with labels={...}"
        )
    if len(table) == 0:
        raise CatalogFormatError(f"{what} has no rows")
    result = Values()
    result.rows = len(table)
    for entry, label in pairs:
        result[entry.column] = _convert(table[label], entry, f"{what}, column {label}")
    return result


def load_published(
    catalog: Catalog,
    path: str | Path | tuple | list | None,
    *wanted: tuple[Field, ...],
    read: Callable[[list[Path]], list[Table]] | None = None,
) -> Raw:
    """Return the raw tables of a catalogue, one for each set of fields; VizieR is the service.

    Parameters, errors and the rest as of ``hifrac.catalogs._files.load``.
    """

    def fetch(_: Path) -> list[Table]:
        return choose_tables(vizier_tables(catalog.address), wanted, catalog.name)

    return load(catalog, path, parts=len(wanted), fetch=fetch, read=read)


def choose_tables(tables: Mapping[str, Table], wanted: Sequence[tuple[Field, ...]], what: str) -> list[Table]:
    """Choose of a service's tables, for each set of fields, the longest that has them.

    Raises
    ------
    CatalogFormatError
        If none has them; the message lists what was offered.
    """
    chosen = []
    for fields in wanted:
        fitting = [table for table in tables.values() if len(table) and not _find(table, fields, {})[1]]
        if not fitting:
            needed = [entry.labels[0] for entry in fields if entry.required]
            offered = "; ".join(f"{name}: {', '.join(table.colnames)}" for name, table in tables.items())
            raise CatalogFormatError(
                f"{what}: no table has columns like {', '.join(needed)}. Offered: {offered}"
            )
        chosen.append(max(fitting, key=len))
    return chosen


def join_by(left: Values, right: Values, key: str) -> Values:
    """Return all rows of ``left`` with the columns of ``right`` where the key is the same, else masked.

    Raises
    ------
    CatalogFormatError
        If a key occurs twice in ``right``.
    """
    if len(np.unique(right[key][0])) != right.rows:
        raise CatalogFormatError(f"{key} occurs more than once in the second table")
    match = match_ids(left[key][0], right[key][0])["row"]
    there, rows = ~np.ma.getmaskarray(match), np.ma.getdata(match)
    result = Values(left)
    result.rows = left.rows
    for name, (values, mask) in right.items():
        if name not in result:
            result[name] = (values[rows], mask[rows] | ~there)
    result.put("_joined", there)
    return result


def assemble(
    catalog: Catalog, values: Values, raw: Raw, *, flags: np.ndarray | None = None, **notes: Any
) -> QTable:
    """Return the harmonised table, with provenance.

    Parameters
    ----------
    catalog : Catalog
        What it is.
    values : Values
        Its columns, in the units of the registry. Redshift and velocity follow
        from each other, and the fraction from the masses, where not given.
    raw : Raw
        Where it came from.
    flags : array of int, optional
        ``catalog_flags``.
    **notes
        More for ``meta``: what the masses are, what was repaired.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row for each of the catalogue.
    """
    n = values.rows
    if "z" not in values and "v" in values:
        values.put("z", values.floats("v") / C_KM_S)
    if "v" not in values and "z" in values:
        values.put("v", values.floats("z") * C_KM_S)
    if "log_hi_fraction" not in values:
        values.put("log_hi_fraction", values.floats("log_mhi") - values.floats("log_mstar"))
    if "log_mhi_limit" not in values:
        values.put("log_mhi_limit", np.zeros(n, bool), ~np.isfinite(values.floats("log_mhi")))
    method = notes.get("stellar_mass")
    if "log_mstar_method" not in values and method:
        values.put("log_mstar_method", np.full(n, method), ~np.isfinite(values.floats("log_mstar")))
    bits = np.zeros(n, np.int64) if flags is None else np.asarray(flags, np.int64)
    bits |= np.where(values.floats("z") <= 0, int(CatalogFlag.BAD_REDSHIFT), 0)
    values.put("catalog_flags", bits)
    table = QTable()
    for name, entry in CATALOG_COLUMNS.items():
        if name in values:
            table[name] = catalog_column(name, *values[name])
        elif entry.when == "always":
            table[name] = catalog_column(name, _nothing(entry.dtype, n), np.ones(n, bool))
    table.meta["hifrac"] = {
        "catalog": catalog.name,
        "title": catalog.title,
        "version": hifrac.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **raw.origin,
        "rows": n,
        **notes,
        "references": [catalog.reference],
        "bibcode": catalog.bibcode,
    }
    raw.keep()
    return table


def expect_rows(raw: Raw, catalog: Catalog, rows: int) -> None:
    """Check that published files have their published number of rows, and are not cut off.

    Raises
    ------
    CatalogFormatError
        If a file in the data directory has another number of rows.
    """
    if raw.published and catalog.rows and rows != catalog.rows:
        raise CatalogFormatError(
            f"{raw.origin['files'][0]} has {rows} rows, but {catalog.reference} has {catalog.rows}: "
            "cut off, or another catalogue. For a part of the catalogue, give its path"
        )


def _nothing(dtype: type, n: int) -> np.ndarray:
    return np.full(n, np.nan) if dtype is float else np.zeros(n, dtype="U1" if dtype is str else dtype)


def _plain_label(label: str) -> str:
    return "".join(letter for letter in label.casefold() if letter.isalnum())


def _find(
    table: Table, fields: tuple[Field, ...], labels: Mapping[str, str]
) -> tuple[list[tuple[Field, str]], list[str]]:
    """Return pairs of a field and the table's column, and the required fields that have none."""
    if unknown := set(labels) - {entry.column for entry in fields}:
        raise ValueError(f"labels: {', '.join(sorted(unknown))} is no column that is looked for")
    exact = {name: name for name in table.colnames}
    loose: dict[str, str] = {}
    for name in table.colnames:
        loose.setdefault(_plain_label(name), name)
    pairs, absent = [], []
    for entry in fields:
        accepted = (labels[entry.column],) if entry.column in labels else entry.labels
        names = [exact.get(label) or loose.get(_plain_label(label)) for label in accepted]
        names.append(exact.get(entry.column) if entry.column not in labels else None)  # harmonised already
        name = next((label for label in names if label is not None), None)
        if name is not None:
            pairs.append((entry, name))
        elif entry.required or entry.column in labels:
            absent.append(f"{entry.column} ({' or '.join(accepted)})")
    return pairs, absent


def _convert(column: Any, entry: Field, what: str) -> tuple[np.ndarray, np.ndarray]:
    column_entry = CATALOG_COLUMNS.get(entry.column)
    dtype = entry.dtype or (column_entry.dtype if column_entry else float)
    mask = np.array(getattr(column, "mask", np.zeros(len(column), bool)), bool)
    unit = getattr(column, "unit", None)
    values = np.asarray(getattr(getattr(column, "unmasked", column), "value", column))
    values = np.ma.getdata(values)
    if values.ndim != 1:
        raise CatalogFormatError(f"{what} has more than one number in a row")
    if values.dtype.kind in "SO":
        values = np.array(
            [text.decode() if isinstance(text, bytes) else str(text) for text in values], dtype=str
        )
    if dtype is str:
        if values.dtype.kind == "f" and np.any(np.abs(np.where(mask, 0, values)) >= 2**53):
            raise CatalogFormatError(f"{what} has lost digits of its identifiers: a float cannot hold them")
        text = np.char.strip(values.astype(str))
        none = np.isin(text, ["nan", *NULL_WORDS, *(str(value) for value in entry.missing)])
        return text, mask | none | (np.char.strip(text, ".-") == "")
    if values.dtype.kind == "U":
        numbers, empty = _numbers_from_text(values, entry, what)
        mask |= empty
    else:
        numbers = values.astype(values.dtype.newbyteorder("="))
    if dtype is float:
        numbers = numbers.astype(float)
        mask |= ~np.isfinite(numbers) | _is_sentinel(numbers, column_entry)
        numbers = _in_unit(numbers, unit, column_entry)
    elif numbers.dtype.kind == "f":
        mask |= ~np.isfinite(numbers)
        numbers = np.where(mask, 0, numbers).astype(np.int64)
    for value in entry.missing:
        mask |= numbers == value
    if entry.least is not None:
        with np.errstate(invalid="ignore"):
            mask |= numbers < entry.least
    if entry.convert is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            numbers = entry.convert(np.where(mask, np.nan, numbers) if dtype is float else numbers)
    return numbers, mask


def _numbers_from_text(values: np.ndarray, entry: Field, what: str) -> tuple[np.ndarray, np.ndarray]:
    text = np.char.strip(values)
    empty = np.isin(text, NULL_WORDS) | (np.char.lower(text) == "nan")
    result = np.full(len(text), np.nan)
    try:
        try:
            result[~empty] = text[~empty].astype(float)
        except ValueError:
            if entry.column not in ("ra", "dec", "ra_hi", "dec_hi"):
                raise
            unit = u.hourangle if entry.column.startswith("ra") else u.deg
            result[~empty] = Angle(text[~empty], unit=unit).deg
    except ValueError as reason:
        raise CatalogFormatError(f"{what} holds text where numbers are expected: {reason}") from reason
    return result, empty


def _is_sentinel(numbers: np.ndarray, entry: CatalogColumn | None) -> np.ndarray:
    """Find what surveys write for no number; -99 may be a velocity, but no magnitude or logarithm."""
    none = np.isin(numbers, _SENTINELS)
    unit = getattr(entry, "unit", None)
    if unit == u.mag or unit == u.dex or isinstance(unit, u.DexUnit):
        none |= np.isin(numbers, _SENTINELS_OF_LOGARITHMS)
    return none


def _in_unit(numbers: np.ndarray, unit: Any, entry: CatalogColumn | None) -> np.ndarray:
    """Return numbers in the unit of the registry, if the column says another."""
    if unit is None or entry is None or entry.unit is None or isinstance(unit, u.UnrecognizedUnit):
        return numbers
    try:
        return numbers * u.Unit(unit).to(entry.unit)
    except (u.UnitConversionError, AttributeError, TypeError):
        return numbers  # logarithms, which services write in a dozen ways
