"""What a user may bring instead of a table of Astropy: frames, arrays, pairs, text, names and files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, QTable, Row, Table

from hifrac.core.angles import parse_position
from hifrac.core.arrow import column_from_arrow, column_from_objects, from_arrow
from hifrac.core.config import conf
from hifrac.core.exceptions import BadCoordinateError, warn_caller
from hifrac.core.tables import read_table

#: What may be handed in, for messages and the documentation.
SHAPES = (
    "SkyCoord, of at most one dimension",
    "Table, QTable or Row of Astropy",
    "DataFrame of pandas or polars",
    "pyarrow.Table",
    "structured array, HDU or VOTable of Astropy, result of pyvo",
    "dict of columns or of single values, or a list of such dicts",
    "list of (ra, dec) in degrees, or array of shape (n, 2)",
    "text of one position, such as '10h20m30s +12d30m' or '155.125 12.5', the name of an object, "
    "or a list of these",
    "path of a file",
)


def as_table(data: Any, *, text_columns: Collection[str] = ()) -> Table | SkyCoord:
    """Return the data as a table, or as the SkyCoord that they are.

    Parameters
    ----------
    data : object
        One of `SHAPES`.
    text_columns : collection of str, optional
        As of `~hifrac.core.read_table`, for a file.

    Raises
    ------
    TypeError
        If it is none of them.
    ValueError
        If a text is no position and no name that the name service knows, or a file no table.
    """
    if isinstance(data, SkyCoord | Table):
        return data
    if isinstance(data, Row):
        return data.table[data.index : data.index + 1]
    if isinstance(data, str | os.PathLike):
        return read_input(data, text_columns=text_columns)
    for is_shape, convert in _LIBRARIES:
        if is_shape(data):
            return convert(data)
    if isinstance(data, Mapping):
        return _of_mapping(data)
    if isinstance(data, Sequence | np.ndarray):
        return _of_sequence(data)
    raise TypeError(f"data must be one of: {'; '.join(SHAPES)}; got {type(data).__name__}")


def read_input(
    text: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    table: int | str | None = None,
    text_columns: Collection[str] = (),
) -> Table:
    """Read a file; or a text that is one position, or the name of an object.

    Parameters
    ----------
    text : str or path-like
        If there is no file of that name and it looks like none, it is a position or a name.
    format, table, text_columns
        As of `~hifrac.core.read_table`.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, ValueError
        As of `~hifrac.core.read_table`; and ValueError if a name is not known.
    """
    path = Path(text)
    looks_like_path = not isinstance(text, str) or os.sep in text or re.search(r"\.[A-Za-z]\w{0,7}$", text)
    if path.exists() or (looks_like_path and parse_position(str(text)) is None):
        return read_table(path.expanduser(), format=format, table=table, text_columns=text_columns)
    ra, dec = _located(str(text))
    return QTable({"name": [str(text)], "ra": [ra] * u.deg, "dec": [dec] * u.deg})


# A name service that was silent so often is not asked for the other names of a list.
_MOST_SILENCES = 2


class _NoServiceError(BadCoordinateError):
    """The name service gave no answer, neither of an object nor that there is none."""


def _located(text: str, *, may_ask: bool = True) -> tuple[float, float]:
    """Return the position of a text, or of the object of that name."""
    if (position := parse_position(text)) is not None:
        return position
    from astropy.coordinates import jparser
    from astropy.coordinates.name_resolve import NameResolveError

    try:
        coord = jparser.to_skycoord(text)  # SDSS J102030.00+123000.0 is a position
    except (ValueError, AttributeError):
        if conf.offline or not may_ask:
            reason = "the name service gave no answer for others"
            if conf.offline:
                reason = "hifrac.conf.offline forbids asking for an object of that name"
            raise BadCoordinateError(f"{text!r} is no position and no file, and {reason}") from None
        try:
            coord = SkyCoord.from_name(text)
        except NameResolveError as error:
            reason = str(error).splitlines()[0]
            if reason.startswith("All Sesame queries"):
                silence = "the name service gives no answer: is there a network?"
                raise _NoServiceError(f"{text!r} is no position and no file, and {silence}") from error
            raise BadCoordinateError(
                f"{text!r} is no position, no file, and no object that the name service knows: {reason}"
            ) from error
    return float(coord.icrs.ra.deg), float(coord.icrs.dec.deg)


def _of_texts(texts: Sequence[str]) -> Table:
    """Return the positions of texts; a row whose text is none is left without one, with a warning."""
    degrees, unknown, n_silences = [], [], 0
    for text in texts:
        try:
            degrees.append(_located(text, may_ask=n_silences < _MOST_SILENCES))
        except BadCoordinateError as error:
            degrees.append((np.nan, np.nan))
            unknown.append(str(error))
            n_silences += isinstance(error, _NoServiceError)
    if unknown:
        warn_caller(f"{len(unknown)} of {len(texts)} names have no position: {unknown[0]}")
    ra, dec = np.array(degrees, dtype=float).T
    return QTable({"name": list(texts), "ra": ra * u.deg, "dec": dec * u.deg})


def _of_sequence(data: Any) -> Table | SkyCoord:
    """Return the table of a list or array."""
    if isinstance(data, np.ndarray) and data.dtype.names:
        return Table(data)
    if len(data) and all(isinstance(item, str) for item in data):
        return _of_texts([str(item) for item in data])
    if len(data) and all(isinstance(item, SkyCoord) for item in data):
        return SkyCoord(list(data))
    if len(data) and all(isinstance(item, Mapping) for item in data):
        names = dict.fromkeys(name for item in data for name in item)
        return Table({name: column_from_objects([item.get(name) for item in data]) for name in names})
    pairs = [data] if isinstance(data, tuple) and len(data) == 2 and np.ndim(data[0]) == 0 else list(data)
    if isinstance(data, tuple) and pairs is not data and len(pairs) == 2 and np.ndim(data[0]) == 1:
        raise TypeError("data is a tuple of two arrays: give a dict with ra and dec, or a list of (ra, dec)")
    if not all(np.ndim(pair) == 1 and len(pair) == 2 for pair in pairs):
        raise TypeError(
            f"data must be pairs of ra and dec, in degrees, got a {type(data).__name__} of something else; "
            f"accepted: {'; '.join(SHAPES)}"
        )
    columns = {
        name: column_from_objects([pair[place] for pair in pairs]) for place, name in enumerate(("ra", "dec"))
    }
    for column in columns.values():
        if column.dtype.kind in "fiu":
            column.unit = u.deg
    return Table(columns)


def _of_mapping(data: Mapping[str, Any]) -> Table:
    """Return the table of a dict of columns, or of the values of one row."""
    is_row = all(np.ndim(values) == 0 for values in data.values())
    table = Table()
    for name, values in data.items():
        if is_row:
            values = u.Quantity([values]) if isinstance(values, u.Quantity) else [values]
        table[str(name)] = column_from_objects(values) if _is_loose(values) else values
    return table


def _is_loose(values: Any) -> bool:
    """Return whether values are Python's own, of which None must not make objects."""
    dtype = getattr(values, "dtype", None)
    if dtype is None:
        return isinstance(values, list | tuple) and all(
            np.ndim(value) == 0 and not hasattr(value, "unit") for value in values
        )
    return isinstance(dtype, np.dtype) and dtype.kind == "O" and isinstance(values, np.ndarray)


def _of_pandas(frame: Any) -> Table:
    """Return the columns of a DataFrame of pandas, its index among them if it has a name."""
    import pyarrow

    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    table = Table()
    for place, name in enumerate(frame.columns):
        series = frame.iloc[:, place]
        if series.dtype.kind == "O":
            column: Column = column_from_objects(series)
        else:
            column = column_from_arrow(pyarrow.array(series, from_pandas=series.dtype.kind != "f"))
        table[str(name)] = column
    return table


def _of_series(series: Any) -> Table:
    return _of_mapping({str(name): value for name, value in series.items()})


def _of_hdu(hdu: Any) -> Table:
    return Table.read(hdu)


def _has(*names: str) -> Any:
    return lambda data: all(hasattr(data, name) for name in names)


# Told by what they can do, for none of the libraries needs to be there. pandas' Series is one row.
_LIBRARIES = (
    (_has("iloc", "columns"), _of_pandas),
    (_has("iloc", "items", "to_frame"), _of_series),
    (_has("to_arrow", "columns"), lambda frame: from_arrow(frame.to_arrow())),
    (_has("column_names", "schema", "num_rows"), from_arrow),
    (_has("columns", "header", "data", "fileinfo"), _of_hdu),
    (_has("to_table"), lambda result: result.to_table()),
)
