"""Columns of Arrow, and so of Parquet, pandas and polars, to columns of Astropy and back, digit by digit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table, meta
from astropy.time import Time

from hifrac.core.plain_columns import suited_table
from hifrac.core.units import known_unit

if TYPE_CHECKING:
    import pyarrow


def from_arrow(arrow: pyarrow.Table) -> Table:
    """Return the same columns as a table of Astropy.

    Integers, text, categories and truth values with nulls become masked columns, without a detour through
    floats; times become ``datetime64``; the fields of a struct become columns ``name.field``; lists of
    one length become vectors; what is left becomes text (JSON).
    """
    arrow = flattened(arrow)
    columns = zip(arrow.column_names, arrow.columns, arrow.schema, strict=True)
    table = Table(meta=_table_meta(arrow.schema))
    for name, values, field in columns:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        table[name] = column_from_arrow(values)
        if "unit" in metadata:
            table[name].unit = known_unit(metadata["unit"])
        table[name].description = metadata.get("description")
        table[name].format = metadata.get("format")
    return table


def flattened(arrow: pyarrow.Table) -> pyarrow.Table:
    """Return the fields of structs as columns ``name.field``."""
    import pyarrow

    while any(pyarrow.types.is_struct(field.type) for field in arrow.schema):
        arrow = arrow.flatten()
    return arrow


#: Key of the metadata of a schema with what made a result (JSON): such a table is one of `to_arrow`.
PROVENANCE = b"hifrac"
# That of Astropy's own reader.
_HEADER = b"table_meta_yaml"


def to_arrow(table: Table) -> pyarrow.Table:
    """Return the same columns as a table of Arrow, such that its schema does not depend on the rows.

    What is masked becomes null; vectors become lists of one length, in which masked floats are NaN, for
    Astropy reads no lists that are null; times become text. The unit, description and format of a column are
    metadata of its field; ``meta`` is metadata of the schema, twice: all of it as Astropy's reader of Parquet
    wants it, and ``meta["hifrac"]`` as JSON.
    """
    import pyarrow

    plain = suited_table(table, "parquet")
    for name in plain.colnames:
        if isinstance(plain[name], Time):
            plain[name] = Column(plain[name].isot, description=plain[name].info.description)
    fields, arrays = [], []
    lengths = {}
    for column in plain.columns.values():
        values = np.asarray(np.ma.getdata(column))
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        if values.dtype.kind == "U":
            lengths[f"table::len::{column.name}"] = str(max(values.dtype.itemsize // 4, 1))
        array = _arrow_array(values, np.ma.getmaskarray(column))
        facts = {"unit": column.unit, "description": column.description, "format": column.format}
        metadata = {key: str(value) for key, value in facts.items() if value}
        fields.append(pyarrow.field(column.name, array.type, metadata=metadata))
        arrays.append(array)
    header = "\n".join(meta.get_yaml_from_table(plain))
    provenance = json.dumps(plain.meta.get("hifrac", {}), default=str)
    metadata = {PROVENANCE.decode(): provenance, _HEADER.decode(): header, **lengths}
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields, metadata=metadata))


def _arrow_array(values: np.ndarray, mask: np.ndarray) -> pyarrow.Array:
    """Return an array of numpy, with a mask of the same shape, as one of Arrow."""
    import pyarrow

    if values.dtype.kind != "U":  # Arrow is little-endian
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.ndim == 1:
        return pyarrow.array(values, mask=mask)
    size = int(np.prod(values.shape[1:]))
    mask = mask.reshape(len(values), size)
    if values.dtype.kind == "f":
        items = np.where(mask, values.dtype.type(np.nan), values.reshape(len(values), size))
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(items.ravel()), size)
    items = pyarrow.array(values.ravel(), mask=mask.ravel())
    return pyarrow.FixedSizeListArray.from_arrays(items, size, mask=pyarrow.array(mask.all(axis=1)))


def _table_meta(schema: pyarrow.Schema) -> dict[str, Any]:
    """Return the ``meta`` of the table that a schema of `to_arrow` is of."""
    if PROVENANCE not in (schema.metadata or {}):
        return {}
    return meta.get_header_from_yaml(schema.metadata[_HEADER].decode().split("\n")).get("meta", {})


def column_from_arrow(values: Any) -> Column:
    """Return a (chunked) array of Arrow as a column, masked where it has nulls."""
    import pyarrow
    from pyarrow import types

    kind = values.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        values = values.cast(kind.storage_type)
    if types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    if types.is_null(kind):
        values = values.cast(pyarrow.int64())  # floats would spoil identifiers that it is stacked with
    if types.is_decimal(kind) and kind.scale <= 0 and kind.precision <= 18:
        values = values.cast(pyarrow.int64())
    mask = np.asarray(values.is_null().to_numpy(**_zero_copy(values)), bool)
    data = _plain_array(values)
    if not mask.any():
        return Column(data)
    return MaskedColumn(data, mask=np.broadcast_to(mask.reshape(-1, *[1] * (data.ndim - 1)), data.shape))


def column_from_objects(values: Iterable[Any]) -> Column:
    """Return Python's objects (None and pandas' NA among them) as a column of one type, text if need be."""
    import pyarrow

    items = [None if _is_nothing(value) else value for value in values]
    items = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
    try:
        return column_from_arrow(pyarrow.array(items, from_pandas=True))
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        mask = [item is None for item in items]
        text = ["" if item is None else str(item) for item in items]
        return MaskedColumn(text, mask=mask, dtype=str) if any(mask) else Column(text, dtype=str)


def _is_nothing(value: Any) -> bool:
    return value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType")


def _zero_copy(values: Any) -> dict[str, bool]:
    """Return the option that arrays need and chunked arrays do not have."""
    import pyarrow

    return {} if isinstance(values, pyarrow.ChunkedArray) else {"zero_copy_only": False}


def _plain_array(values: Any) -> np.ndarray:
    """Return the values as an array of numpy; what stands where there is a null does not matter."""
    from pyarrow import types

    kind = values.type
    if types.is_boolean(kind) or types.is_integer(kind):
        filled = values.fill_null(False if types.is_boolean(kind) else 0)
        return np.asarray(filled.to_numpy(**_zero_copy(filled)))
    if types.is_floating(kind):
        data = np.asarray(values.to_numpy(**_zero_copy(values)))
        return data.astype(np.float32) if data.dtype == np.float16 else data
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_duration(kind):
        return np.asarray(values.to_numpy(**_zero_copy(values)))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _vectors(values)
    if types.is_decimal(kind) and kind.scale > 0:
        return np.array([np.nan if value is None else float(value) for value in values.to_pylist()])
    return np.array(["" if value is None else _text(value) for value in values.to_pylist()], dtype=str)


def _vectors(values: Any) -> np.ndarray:
    """Return lists of one length, and of plain values, as an array of two dimensions; others as JSON."""
    import pyarrow.compute as pc
    from pyarrow import types

    item = values.type.value_type
    if types.is_fixed_size_list(values.type):
        sizes = [values.type.list_size]
    else:
        sizes = pc.list_value_length(values).drop_null().unique().to_pylist()
    if len(sizes) == 1 and sizes[0] and (types.is_floating(item) or types.is_integer(item)):
        items = pc.list_flatten(values)  # without the lists that are null
        if types.is_floating(item) or not items.null_count:
            vectors = np.zeros((len(values), sizes[0]), dtype=item.to_pandas_dtype())
            vectors[np.asarray(values.is_valid())] = np.asarray(items).reshape(-1, sizes[0])
            return vectors
    return _vectors_of_lists(values.to_pylist())


def _vectors_of_lists(lists: list[Any]) -> np.ndarray:
    """Return lists of Python as `_vectors`."""
    first: list[Any] = next((row for row in lists if row), [])
    filler = "" if first and isinstance(first[0], str) else 0
    rows = [[filler] * len(first) if row is None else row for row in lists]
    is_plain = all(len(row) == len(first) for row in rows) and all(
        isinstance(item, int | float | str) for row in rows for item in row
    )
    if first and is_plain:
        return np.array(rows)
    return np.array(["" if row is None else _text(row) for row in lists], dtype=str)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, default=str) if isinstance(value, list | dict | tuple) else str(value)
