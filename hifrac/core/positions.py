"""Positions of a table: which columns have them, in which units or as which text, to degrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, Table

from hifrac.core.angles import EXAMPLE, AmbiguousAngleError, is_sexagesimal, text_degrees
from hifrac.core.columns import DEC_ALIASES, POSITION_COLUMNS, RA_ALIASES
from hifrac.core.exceptions import warn_caller
from hifrac.core.measurements import find_column, parse_numbers
from hifrac.core.text_tables import NULL_WORDS
from hifrac.core.units import is_sexagesimal_unit, known_unit, name_and_unit


class NoPositionsError(ValueError):
    """A table without positions."""


def table_positions(
    table: Table, ra: str | None = None, dec: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return RA and Dec in degrees, from the columns named, or those of known names, or a SkyCoord column.

    Columns of numbers come before a SkyCoord column, and that before columns of text.

    Raises
    ------
    NoPositionsError
        If there are none.
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If a column does not hold angles, or text that could be hours or degrees.
    """
    if ra is not None or dec is not None:
        names = _named(table, ra, dec)
    else:
        coordinates = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
        pairs = list(_pairs(table))
        numeric = next((pair for pair in pairs if all(_is_numeric(table[name]) for name in pair)), None)
        if numeric is None and len(coordinates) == 1:
            return coord_degrees(table[coordinates[0]], coordinates[0])
        names = numeric or (pairs[0] if pairs else _mixture(table, coordinates))
    columns = [table[name] for name in names]
    texts = [_cells(column) for column in columns]
    _check_ambiguous(columns, texts, names)
    degrees = (
        _degrees(columns[0], texts[0], names[0], is_ra=True),
        _degrees(columns[1], texts[1], names[1], is_ra=False),
    )
    unitless = [
        name
        for name, column, cells in zip(names, columns, texts, strict=True)
        if _unit(column, name) is None and not (cells is not None and is_sexagesimal(cells))
    ]
    if unitless:
        warn_caller(f"{' and '.join(unitless)} {'have' if unitless[1:] else 'has'} no unit: read as degrees")
    return degrees


def coord_degrees(coord: SkyCoord, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS degrees of a SkyCoord of at most one dimension; ValueError for another."""
    if coord.ndim > 1:
        raise ValueError(f"{name} must be one-dimensional, got a SkyCoord of shape {coord.shape}")
    try:
        sphere = coord.icrs.spherical
    except Exception as error:  # Astropy raises AttributeError for a frame without place or time
        raise ValueError(f"{name} cannot be transformed from {coord.frame.name} to ICRS: {error}") from error
    return parse_numbers(sphere.lon, name, u.deg), parse_numbers(sphere.lat, name, u.deg)


def _named(table: Table, ra: str | None, dec: str | None) -> tuple[str, str]:
    """Return the columns that the user named."""
    if ra is None or dec is None:
        raise ValueError("ra and dec must be given together (--ra, --dec)")
    found = find_column(table, ra), find_column(table, dec)
    for asked, name, parameter in ((ra, found[0], "ra"), (dec, found[1], "dec")):
        if name is None:
            raise ValueError(
                f"{parameter}: data has no column {asked!r}; its columns are {', '.join(table.colnames)}"
            )
    return str(found[0]), str(found[1])


def _by_alias(table: Table) -> dict[str, str]:
    """Return the columns by what their names are without case, unit, blanks and points."""
    names = [name for name in table.colnames if not isinstance(table[name], SkyCoord)]
    by_alias: dict[str, str] = {}
    # "ra" rather than "RA", and that rather than "RA (deg)"
    for name in sorted(names, key=lambda name: (name != name.lower(), name_and_unit(name)[0] != name)):
        alias = name_and_unit(name)[0].lower().replace(".", "").replace(" ", "_")
        by_alias.setdefault(alias, name)
    return by_alias


def _pairs(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the pairs of columns of one system, the likeliest first; at last those of TOPCAT's matches."""
    by_alias = _by_alias(table)
    for suffix in ("", "_1"):
        for ra, names in POSITION_COLUMNS:
            for dec in names:
                if ra + suffix in by_alias and dec + suffix in by_alias:
                    yield by_alias[ra + suffix], by_alias[dec + suffix]


def _mixture(table: Table, coordinates: list[str]) -> tuple[str, str]:
    """Return an RA and a Dec of two systems, or raise what is wrong with the table."""
    by_alias = _by_alias(table)
    names = [
        next((by_alias[alias] for alias in aliases if alias in by_alias), None)
        for aliases in (RA_ALIASES, DEC_ALIASES)
    ]
    if names[0] is not None and names[1] is not None:
        return names[0], names[1]
    if coordinates:
        raise ValueError(
            f"data has several SkyCoord columns ({', '.join(coordinates)}); add ra and dec, or keep one"
        )
    missing = [name for name, column in zip(("ra", "dec"), names, strict=True) if column is None]
    raise NoPositionsError(
        f"data has no {' and no '.join(missing)}; its columns are {', '.join(table.colnames) or '(none)'}; "
        f"accepted, in any case: {', '.join(RA_ALIASES)} with {', '.join(DEC_ALIASES)}, "
        "or one SkyCoord column; others can be named by ra= and dec= (--ra, --dec)"
    )


def _is_numeric(column: Any) -> bool:
    return getattr(column, "dtype", np.dtype(object)).kind in "fiu"


def _cells(column: Any) -> np.ndarray | None:
    """Return the text of a column of text or objects, empty where there is none; None for others."""
    dtype = getattr(column, "dtype", None)
    if dtype is None or dtype.kind not in "USO" or np.ndim(column) != 1:
        return None
    mask = np.broadcast_to(getattr(column, "mask", False), len(column))
    cells = [
        "" if hide or value is None else value.decode() if isinstance(value, bytes) else str(value)
        for value, hide in zip(column, mask, strict=True)
    ]
    return np.array(["" if cell.strip() in (*NULL_WORDS, "nan") else cell for cell in cells], dtype=str)


def _unit(column: Any, name: str) -> Any:
    """Return the unit that the column, or its name, says; None for none."""
    written = getattr(column, "unit", None)
    if is_sexagesimal_unit(written):
        return None
    unit = known_unit(written)
    if unit is None:
        unit = name_and_unit(name)[1]
        if not (isinstance(unit, u.UnitBase) and unit.is_equivalent(u.deg)):
            unit = u.deg if name.lower().endswith("deg") else None
    return unit


def _check_ambiguous(columns: list[Any], texts: list[np.ndarray | None], names: tuple[str, str]) -> None:
    """Refuse numbers up to 24 beside sexagesimal declinations: they may be hours or degrees."""
    ra, dec = columns[0], texts[1]
    if dec is None or _unit(ra, names[0]) is not None or not is_sexagesimal(dec):
        return
    if texts[0] is not None and is_sexagesimal(texts[0]):
        return
    values = parse_numbers(ra, names[0]) if texts[0] is None else text_degrees(texts[0], names[0], is_ra=True)
    if np.isfinite(values).any() and np.nanmax(values) <= 24:
        raise AmbiguousAngleError(
            f"{names[0]} has numbers up to 24 beside sexagesimal text in {names[1]}, hours or degrees: "
            f"give {names[0]} its unit, or {EXAMPLE}"
        )


def _degrees(column: Any, cells: np.ndarray | None, name: str, *, is_ra: bool) -> np.ndarray:
    """Return a column of angles in degrees; without a unit they are such."""
    unit = _unit(column, name)
    if cells is not None and is_sexagesimal(cells):
        meant = "hourangle" if unit == u.hourangle else "deg" if unit == u.deg else None
        return text_degrees(cells, name, is_ra=is_ra, unit=meant)
    if cells is not None:
        values = text_degrees(cells, name, is_ra=is_ra)
    else:
        try:
            values = parse_numbers(column, name)
        except TypeError as error:
            raise TypeError(f"{error}; {EXAMPLE}") from error
    if unit is None:
        return values
    return parse_numbers(Column(values, unit=unit), name, u.deg, what="an angle")
