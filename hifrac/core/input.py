"""What a user may hand in, parsed: positions in degrees, and the table to carry through."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Row, Table
from astropy.utils.masked import Masked

from hifrac.core.columns import DEC_ALIASES, POSITION_COLUMNS, RA_ALIASES
from hifrac.core.exceptions import HifracWarning, warn_caller
from hifrac.core.measurements import (
    MEASUREMENTS,
    find_measurement,
    known_unit,
    parse_measurement,
    parse_numbers,
)


class _NoPositionsError(ValueError):
    """A table without positions."""


@dataclass(frozen=True)
class Positions:
    """Parsed input.

    Attributes
    ----------
    table : `~astropy.table.Table`
        The input columns with their units, a new table of its own.
    ra, dec : array of float, shape (n,)
        ICRS degrees, RA from 0 to 360; NaN where the row has no valid position.
    z, ebv, log_mstar : array of float, shape (n,), or None
        Redshift, Galactic reddening E(B-V) (mag) and log10(M*/Msun); NaN where unknown, None where the
        table has no such column, or it was not wanted.
    """

    table: Table
    ra: np.ndarray
    dec: np.ndarray
    z: np.ndarray | None = None
    ebv: np.ndarray | None = None
    log_mstar: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, rows: np.ndarray) -> Positions:
        """Return some of the rows."""
        measured = {name: getattr(self, name) for name in MEASUREMENTS}
        return Positions(
            self.table[rows],
            self.ra[rows],
            self.dec[rows],
            **{name: None if values is None else values[rows] for name, values in measured.items()},
        )


def parse(data: Any, *measurements: str) -> Positions:
    """Parse a SkyCoord or a table.

    Parameters
    ----------
    data : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table` or `~astropy.table.Row`
        What the user gave.
    *measurements : str
        Which of ``z``, ``ebv`` and ``log_mstar`` are wanted, if the table has them: what is not wanted
        is not looked at, and cannot be wrong.

    Raises
    ------
    TypeError
        If ``data`` is neither, or its positions or measurements are not numbers.
    ValueError
        If a table has no positions, ``data`` has more than one dimension, its frame cannot be
        transformed to ICRS, or a measurement is another quantity than it should be.
    ~astropy.units.UnitConversionError
        If a position's unit is no angle, or that of a measurement another quantity's.
    """
    if isinstance(data, Row):
        data = data.table[data.index : data.index + 1]
    ra, dec = sky_positions(data)
    if isinstance(data, SkyCoord):
        return Positions(QTable({"ra": ra * u.deg, "dec": dec * u.deg}), ra, dec)
    return Positions(_carried(data), ra, dec, **_measured(data, measurements))


def sky_positions(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the ICRS degrees of a SkyCoord, table or row, NaN where invalid; errors as of `parse`."""
    if isinstance(data, SkyCoord):
        return _valid(*_of_skycoord(data, "data"))
    if isinstance(data, Row):
        data = data.table[data.index : data.index + 1]
    if not isinstance(data, Table):
        raise TypeError(f"data must be a SkyCoord, Table or QTable, got {type(data).__name__}")
    return _valid(*_table_positions(data))


def parse_labelled(table: Table, *measurements: str) -> Positions:
    """Parse a table of labels, which may have no positions; errors and the rest as of `parse`.

    ``ra`` and ``dec`` (in any case) without a unit are degrees, as the documentation of such tables
    says, and nothing to warn of. The ``table`` of the result is the one that was given.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(ra|dec) has no unit: ", HifracWarning)  # in any case
            ra, dec = _valid(*_table_positions(table))
    except _NoPositionsError:
        ra, dec = np.full(len(table), np.nan), np.full(len(table), np.nan)
    return Positions(table, ra, dec, **_measured(table, measurements))


def _measured(table: Table, measurements: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the measurements that a table has of those wanted."""
    columns = {name: find_measurement(table, name) for name in measurements}
    return {
        name: parse_measurement(table[column], name, column)
        for name, column in columns.items()
        if column is not None
    }


def _of_skycoord(coord: SkyCoord, name: str) -> tuple[np.ndarray, np.ndarray]:
    if coord.ndim > 1:
        raise ValueError(f"{name} must be one-dimensional, got a SkyCoord of shape {coord.shape}")
    try:
        sphere = coord.icrs.spherical
    except Exception as error:  # Astropy raises AttributeError for a frame without place or time
        raise ValueError(f"{name} cannot be transformed from {coord.frame.name} to ICRS: {error}") from error
    return parse_numbers(sphere.lon, name, u.deg), parse_numbers(sphere.lat, name, u.deg)


def _table_positions(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return RA and Dec in degrees, from columns of known names or from a SkyCoord column."""
    coordinates = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    numbers = [name for name in table.colnames if name not in coordinates]
    by_name = {name.lower(): name for name in reversed(numbers)}
    by_name |= {name: name for name in numbers if name.islower()}  # "ra" rather than "RA"
    pairs = ((ra, dec) for ra, names in POSITION_COLUMNS for dec in names)
    columns = next(([by_name[name] for name in pair] for pair in pairs if by_name.keys() >= set(pair)), None)
    if columns is None:
        columns = [
            next((by_name[alias] for alias in aliases if alias in by_name), None)
            for aliases in (RA_ALIASES, DEC_ALIASES)
        ]
    if None not in columns:
        ra, dec = columns
        return _degrees(table[ra], ra), _degrees(table[dec], dec)
    if len(coordinates) == 1:
        return _of_skycoord(table[coordinates[0]], coordinates[0])
    if coordinates:
        raise ValueError(
            f"data has several SkyCoord columns ({', '.join(coordinates)}); add ra and dec, or keep one"
        )
    missing = [name for name, column in zip(("ra", "dec"), columns, strict=True) if column is None]
    raise _NoPositionsError(
        f"data has no {' and no '.join(missing)}; its columns are {', '.join(table.colnames) or '(none)'}; "
        f"accepted, in any case: {', '.join(RA_ALIASES)} with {', '.join(DEC_ALIASES)}, "
        "or one SkyCoord column"
    )


def _degrees(column: Any, name: str) -> np.ndarray:
    """Return a column of angles in degrees, with a warning where it has no unit."""
    try:
        degrees = parse_numbers(column, name, u.deg, what="an angle")
    except TypeError as error:
        raise TypeError(f"{error}; make sexagesimal text a SkyCoord column first") from error
    if known_unit(getattr(column, "unit", None)) is None:
        warn_caller(f"{name} has no unit: read as degrees")
    return degrees


def _valid(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA wrapped to 0-360; both NaN where the position is not on the sphere."""
    with np.errstate(invalid="ignore"):
        good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (ra >= -180) & (ra <= 360)
    return np.where(good, np.where(good, ra, 0) % 360.0, np.nan), np.where(good, dec, np.nan)


def _carried(table: Table) -> QTable:
    """Return a copy of the table as a QTable, units kept.

    QTable alone warns of masked columns in logarithmic units and drops them to
    plain columns; these become masked `~astropy.units.Dex` and the like here.
    It also warns of a unit on what are no numbers, which stays a plain column.
    """
    result = QTable(meta=table.meta, copy=True)
    for name in table.colnames:
        column = table[name]
        unit = getattr(column, "unit", None)
        quantity_class = getattr(unit, "_quantity_class", u.Quantity)
        if isinstance(column, MaskedColumn) and unit is not None and quantity_class is not u.Quantity:
            info = column.info
            column = Masked(quantity_class(np.asarray(column.data.data, dtype=float), unit), mask=column.mask)
            column.info.description, column.info.format = info.description, info.format
            column.info.meta = copy.deepcopy(info.meta)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="column .* has a unit but is kept as a")
            result[name] = column
    return result
