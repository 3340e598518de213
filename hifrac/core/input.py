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
from hifrac.core.exceptions import HifracWarning

__all__ = [
    "Positions",
    "find_column",
    "parse",
    "parse_ebv",
    "parse_labelled_positions",
    "parse_log_mstar",
    "plain_floats",
]

#: log10(M*/Msun): no galaxy is outside, but sentinels such as -99 and 99 are.
_MASSES = (3.0, 14.0)


class _NoPositionsError(ValueError):
    """A table without positions."""


@dataclass(frozen=True)
class Positions:
    """Parsed input.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        The input columns with their units, a new table of its own.
    ra, dec : array of float, shape (n,)
        ICRS degrees, RA from 0 to 360; NaN where the row has no valid position.
    """

    table: QTable
    ra: np.ndarray
    dec: np.ndarray


def parse(data: Any) -> Positions:
    """Parse a SkyCoord or a table.

    Raises
    ------
    TypeError
        If ``data`` is neither, or its positions are not numbers.
    ValueError
        If a table has no positions, ``data`` has more than one dimension, or
        its frame cannot be transformed to ICRS.
    ~astropy.units.UnitConversionError
        If a position's unit is no angle.
    """
    if isinstance(data, SkyCoord):
        ra, dec = _of_skycoord(data, "data")
        table = QTable({"ra": ra * u.deg, "dec": dec * u.deg})
        return Positions(table, *_valid(ra, dec))
    if isinstance(data, Row):
        data = data.table[data.index : data.index + 1]
    if not isinstance(data, Table):
        raise TypeError(f"data must be a SkyCoord, Table or QTable, got {type(data).__name__}")
    return Positions(_carried(data), *_valid(*_table_positions(data)))


def parse_labelled_positions(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The positions of a table of labels, which may have none.

    They are found as `parse` finds them, but ``ra`` and ``dec`` (in any case) without a unit are
    degrees, as the documentation of such tables says, and nothing to warn of.

    Returns
    -------
    ra, dec : array of float, shape (n,)
        ICRS degrees; NaN where the row, or the table, has no valid position.

    Raises
    ------
    TypeError
        If positions are not numbers.
    ValueError
        If there are several SkyCoord columns, or one that cannot be transformed to ICRS.
    ~astropy.units.UnitConversionError
        If a position's unit is no angle.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(ra|dec) has no unit: ", HifracWarning)  # in any case
            return _valid(*_table_positions(table))
    except _NoPositionsError:
        return np.full(len(table), np.nan), np.full(len(table), np.nan)


def _of_skycoord(coord: SkyCoord, name: str) -> tuple[np.ndarray, np.ndarray]:
    if coord.ndim > 1:
        raise ValueError(f"{name} must be one-dimensional, got a SkyCoord of shape {coord.shape}")
    try:
        sphere = coord.icrs.spherical
    except Exception as error:  # Astropy raises AttributeError for a frame without place or time
        raise ValueError(f"{name} cannot be transformed from {coord.frame.name} to ICRS: {error}") from error
    return tuple(np.atleast_1d(plain_floats(angle.to(u.deg))) for angle in (sphere.lon, sphere.lat))


def plain_floats(values: Any) -> np.ndarray:
    """Plain floats of a quantity or column, NaN where masked."""
    mask = getattr(values, "mask", None)
    if mask is None:
        mask = False
    plain = getattr(values, "unmasked", values)
    if isinstance(plain, np.ma.MaskedArray):
        plain = plain.data
    plain = np.asarray(getattr(plain, "value", plain), dtype=float)
    return np.where(mask, np.nan, plain)


def _table_positions(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec in degrees, from columns of known names or from a SkyCoord column."""
    coordinates = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    numbers = [name for name in table.colnames if name not in coordinates]
    by_name = {name.lower(): name for name in reversed(numbers)}
    by_name |= {name: name for name in numbers if name.islower()}  # "ra" rather than "RA"
    pairs = ((ra, dec) for ra, names in POSITION_COLUMNS for dec in names)
    found = next(([by_name[one] for one in pair] for pair in pairs if by_name.keys() >= set(pair)), None)
    if found is None:
        found = [
            next((by_name[alias] for alias in aliases if alias in by_name), None)
            for aliases in (RA_ALIASES, DEC_ALIASES)
        ]
    if None not in found:
        return _degrees(table[found[0]], found[0]), _degrees(table[found[1]], found[1])
    if len(coordinates) == 1:
        return _of_skycoord(table[coordinates[0]], coordinates[0])
    if coordinates:
        raise ValueError(
            f"data has several SkyCoord columns ({', '.join(coordinates)}); add ra and dec, or keep one"
        )
    missing = [name for name, column in zip(("ra", "dec"), found, strict=True) if column is None]
    raise _NoPositionsError(
        f"data has no {' and no '.join(missing)}; its columns are {', '.join(table.colnames) or '(none)'}; "
        f"accepted, in any case: {', '.join(RA_ALIASES)} with {', '.join(DEC_ALIASES)}, "
        "or one SkyCoord column"
    )


def _degrees(column: Any, name: str) -> np.ndarray:
    unit = getattr(column, "unit", None)
    dtype = getattr(column, "dtype", None)
    if dtype is None or dtype.kind not in "fiu":
        raise TypeError(
            f"{name} must hold numbers, got {type(column).__name__ if dtype is None else dtype}; "
            "make sexagesimal text a SkyCoord column first"
        )
    if np.ndim(column) != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {np.shape(column)}")
    if unit is None or unit == u.dimensionless_unscaled:
        warnings.warn(f"{name} has no unit: read as degrees", HifracWarning, stacklevel=5)
        return plain_floats(column)
    try:
        return plain_floats(column) * u.Unit(unit).to(u.deg)
    except (u.UnitConversionError, AttributeError, TypeError, ValueError) as error:
        raise u.UnitConversionError(f"{name} must be an angle, got the unit {unit}") from error


def _valid(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA wrapped to 0-360; both NaN where the position is not on the sphere."""
    with np.errstate(invalid="ignore"):
        good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (ra >= -180) & (ra <= 360)
    return np.where(good, np.where(good, ra, 0) % 360.0, np.nan), np.where(good, dec, np.nan)


def _carried(table: Table) -> QTable:
    """A copy of the table as a QTable, units kept.

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


def parse_ebv(table: Table) -> np.ndarray | None:
    """Galactic reddening E(B-V) of the column ``ebv`` in mag, NaN where unknown; None without the column.

    Raises
    ------
    TypeError
        If it does not hold numbers.
    ValueError
        If it has more than one dimension.
    ~astropy.units.UnitConversionError
        If its unit is not mag, or none.

    Warns
    -----
    ~hifrac.core.exceptions.HifracWarning
        If a value is negative, as sentinels are: it is unknown.
    """
    if (found := find_column(table, "ebv")) is None:
        return None
    values = _numbers(table[found], found, (u.mag,))
    return _plausible(values, values >= 0, found, "a reddening, which is not negative")


def parse_log_mstar(table: Table) -> np.ndarray | None:
    """log10(M*/Msun) of the column ``log_mstar``, NaN where unknown; None without the column.

    Raises
    ------
    TypeError
        If it does not hold numbers.
    ValueError
        If it has more than one dimension, or most of it are no logarithms.
    ~astropy.units.UnitConversionError
        If its unit is not dex(solMass), dex, or none.

    Warns
    -----
    ~hifrac.core.exceptions.HifracWarning
        If a value is that of no galaxy, as sentinels are: it is unknown.
    """
    if (found := find_column(table, "log_mstar")) is None:
        return None
    values = _numbers(table[found], found, (u.dex(u.solMass), u.dex))
    low, high = _MASSES
    known = values[np.isfinite(values)]
    # One sentinel of 99 must not stop a table, and a column of masses must not become one of warnings.
    if known.size and np.median(known) > 20:
        raise ValueError(f"{found} must be log10(M*/Msun), got {known.max():g}: is it the mass itself?")
    return _plausible(
        values, (values >= low) & (values <= high), found, f"log10(M*/Msun), {low:g} to {high:g}"
    )


def find_column(table: Table, name: str) -> str | None:
    """The column of a name, else the only one that is it in another case; None without either.

    Raises
    ------
    ValueError
        If there are several in other cases.
    """
    if name in table.colnames:
        return name
    found = [one for one in table.colnames if one.lower() == name]
    if len(found) > 1:
        raise ValueError(f"data has {' and '.join(found)}, and no {name}: rename one of them to {name}")
    return found[0] if found else None


def _plausible(values: np.ndarray, good: np.ndarray, name: str, what: str) -> np.ndarray:
    """The values, NaN and with a warning where they cannot be what they are said to be."""
    bad = np.flatnonzero(np.isfinite(values) & ~good)
    if bad.size:
        warnings.warn(
            f"{name} must be {what}: {bad.size} of {len(values)} rows are taken to be unknown, "
            f"the first is row {bad[0]} with {values[bad[0]]:g}",
            HifracWarning,
            stacklevel=4,
        )
    return np.where(good, values, np.nan)


def _numbers(column: Any, name: str, units: tuple[u.UnitBase, ...]) -> np.ndarray:
    """The finite values of a column in one of these units or without any, NaN elsewhere."""
    unit = getattr(column, "unit", None)
    if getattr(column, "dtype", np.dtype(object)).kind not in "fiu":
        raise TypeError(f"{name} must hold numbers, got {getattr(column, 'dtype', type(column))}")
    if np.ndim(column) != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {np.shape(column)}")
    if unit not in (None, u.dimensionless_unscaled, *units):
        raise u.UnitConversionError(f"{name} must be in {units[0]}, got the unit {unit}")
    values = plain_floats(column)
    return np.where(np.isfinite(values), values, np.nan)
