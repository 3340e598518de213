"""What a user may hand in, parsed: positions in degrees, and the table to carry through."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from hifrac.core.columns import is_logarithm, plain_logarithm
from hifrac.core.exceptions import warn_caller, without_warnings
from hifrac.core.measurements import find_column, find_measurement, parse_measurement
from hifrac.core.positions import NoPositionsError, coord_degrees, table_positions
from hifrac.core.shapes import as_table
from hifrac.core.units import known_unit


@dataclass(frozen=True)
class Positions:
    """Parsed input.

    Attributes
    ----------
    table : `~astropy.table.Table`
        The input columns with their units (of logarithms in the description), a new table of its own.
    ra, dec : array of float, shape (n,)
        ICRS degrees, RA from 0 to 360; NaN where the row has no valid position.
    z, ebv, log_mstar : array of float, shape (n,), or None
        Redshift, Galactic reddening E(B-V) (mag) and log10(M*/Msun); NaN where unknown, None where the
        table has no such column, or it was not wanted.
    are_known : bool
        False if the table has no positions at all, and does not need them: its pictures have names.
    """

    table: Table
    ra: np.ndarray
    dec: np.ndarray
    z: np.ndarray | None = None
    ebv: np.ndarray | None = None
    log_mstar: np.ndarray | None = None
    are_known: bool = True

    @property
    def usable(self) -> np.ndarray:
        """True for the rows whose picture can be asked for."""
        return np.isfinite(self.ra) | (not self.are_known)

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, rows: np.ndarray) -> Positions:
        """Return some of the rows."""
        measured = {name: getattr(self, name) for name in ("z", "ebv", "log_mstar")}
        return Positions(
            self.table[rows],
            self.ra[rows],
            self.dec[rows],
            **{name: None if values is None else values[rows] for name, values in measured.items()},
            are_known=self.are_known,
        )


def parse(
    data: Any,
    *measurements: str,
    ra: str | None = None,
    dec: str | None = None,
    name: str | None = None,
) -> Positions:
    """Parse what a user has: coordinates, a table of any library, a file, or text.

    Parameters
    ----------
    data : object
        As of `hifrac.core.shapes.as_table`.
    *measurements : str
        Which of ``z``, ``ebv`` and ``log_mstar`` are wanted, if the table has them: what is not wanted
        is not looked at, and cannot be wrong.
    ra, dec : str, optional
        Columns of positions, if their names are not known.
    name : str, optional
        The column that names pictures at hand: it stays text in a file, and with it no positions are needed.

    Raises
    ------
    TypeError
        If ``data`` is nothing of that, or its positions or measurements are not numbers.
    ValueError
        If a table has no positions, ``data`` has more than one dimension, its frame cannot be
        transformed to ICRS, or a measurement is another quantity than it should be.
    ~astropy.units.UnitConversionError
        If a position's unit is no angle, or that of a measurement another quantity's.
    """
    data = as_table(data, text_columns=() if name is None else (name,))
    if isinstance(data, SkyCoord):
        degrees = _valid(*coord_degrees(data, "data"))
        table = QTable({axis: values * u.deg for axis, values in zip(("ra", "dec"), degrees, strict=True)})
        return Positions(table, *degrees)
    measured = _measured(data, measurements)
    try:
        degrees = _valid(*table_positions(data, ra, dec))
    except NoPositionsError:
        if name is None or find_column(data, name) is None:
            raise
        nowhere = np.full(len(data), np.nan)
        warn_caller("data has no ra and dec: its pictures are found by name, their places are not known")
        return Positions(_carried(data), nowhere, nowhere.copy(), are_known=False, **measured)
    return Positions(_carried(data), *degrees, **measured)


def sky_positions(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the ICRS degrees of a SkyCoord, table or row, NaN where invalid; errors as of `parse`."""
    data = as_table(data)
    return _valid(*(coord_degrees(data, "data") if isinstance(data, SkyCoord) else table_positions(data)))


def parse_labelled(table: Table, *measurements: str) -> Positions:
    """Parse a table of labels, which may have no positions; errors and the rest as of `parse`.

    ``ra`` and ``dec`` (in any case) without a unit are degrees, as the documentation of such tables
    says, and nothing to warn of. The ``table`` of the result is the one that was given.
    """
    try:
        with without_warnings("(?i)(ra|dec|ra and dec) (has|have) no unit: "):
            ra, dec = _valid(*table_positions(table))
    except NoPositionsError:
        ra, dec = np.full(len(table), np.nan), np.full(len(table), np.nan)
    return Positions(table, ra, dec, **_measured(table, measurements))


def _measured(table: Table, measurements: tuple[str, ...]) -> dict[str, Any]:
    """Return the measurements that a table has of those wanted."""
    columns = {name: find_measurement(table, name) for name in measurements}
    return {
        name: parse_measurement(table[column], name, column)
        for name, column in columns.items()
        if column is not None
    }


def _valid(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA wrapped to 0-360; both NaN where the position is not on the sphere."""
    with np.errstate(invalid="ignore"):
        good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (ra >= -180) & (ra <= 360)
    return np.where(good, np.where(good, ra, 0) % 360.0, np.nan), np.where(good, dec, np.nan)


def _carried(table: Table) -> QTable:
    """Return a copy of the table as a QTable, units kept; logarithms are plain, as those of a result are.

    QTable alone warns of masked magnitudes and drops them to plain columns;
    these become masked `~astropy.units.Magnitude` here.
    It also warns of a unit on what are no numbers, which stays a plain column.
    """
    result = QTable(meta=table.meta, copy=True)
    for name in table.colnames:
        column = table[name]
        unit = getattr(column, "unit", None)
        quantity_class = getattr(unit, "_quantity_class", u.Quantity)
        if is_logarithm(known_unit(unit)) and column.dtype.kind in "fiu":
            column = plain_logarithm(column)
        elif isinstance(column, MaskedColumn) and unit is not None and quantity_class is not u.Quantity:
            info = column.info
            column = Masked(quantity_class(np.asarray(column.data.data, dtype=float), unit), mask=column.mask)
            column.info.description, column.info.format = info.description, info.format
            column.info.meta = copy.deepcopy(info.meta)
        is_plain = unit is not None and not _can_be_quantity(column)
        if is_plain:
            column = column.copy()
            column.unit = None
        result[name] = column
        if is_plain:
            result[name].unit = unit
    return result


def _can_be_quantity(column: Any) -> bool:
    """Return whether QTable makes a quantity of a column with a unit, and does not warn that it cannot."""
    if not isinstance(column, Column) or column.dtype.kind in "fiu":
        return True
    try:
        u.Quantity(column.data, column.unit, subok=True)
    except Exception:  # as QTable has it
        return False
    return True
