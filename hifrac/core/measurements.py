"""Columns of numbers, as files and users have them, to plain arrays: what is accepted, masked and refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import constants
from astropy import units as u
from astropy.table import Table

from hifrac.core.exceptions import warn_caller
from hifrac.core.units import known_unit

C_KM_S = constants.c.to_value(u.km / u.s)


def plain_floats(values: Any) -> np.ndarray:
    """Return the plain floats of a quantity or column, NaN where masked."""
    mask = getattr(values, "mask", None)
    if mask is None:
        mask = False
    plain = getattr(values, "unmasked", values)
    if isinstance(plain, np.ma.MaskedArray):
        plain = plain.data
    plain = np.asarray(getattr(plain, "value", plain), dtype=float)
    return np.where(mask, np.nan, plain)


def parse_numbers(values: Any, name: str, *units: u.UnitBase | str, what: str = "") -> np.ndarray:
    """Return a column of numbers as plain floats, NaN where masked or not finite.

    Parameters
    ----------
    values : array-like, column or (masked) quantity, shape (n,)
        A single number counts as one row.
    name : str
        What messages call it.
    *units : unit or str
        The unit of the result, and others, or names of such, whose numbers are taken as they are. Numbers
        without a unit are in the first. Without any, every unit is accepted, and nothing is converted.
    what : str, optional
        What the message of a wrong unit asks for; by default the first unit.

    Raises
    ------
    TypeError
        If it does not hold numbers.
    ValueError
        If it has more than one dimension.
    ~astropy.units.UnitConversionError
        If its unit cannot be converted to the first of ``units``. Logarithms of quantities never are.
    """
    dtype = getattr(values, "dtype", None) or np.asarray(getattr(values, "unmasked", values)).dtype
    if dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold numbers, got {dtype}")
    numbers = np.atleast_1d(plain_floats(values))
    if numbers.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {numbers.shape}")
    unit = known_unit(getattr(values, "unit", None))
    if units and unit is not None and unit not in units and str(unit) not in units:
        try:
            if not (_is_linear(unit) and _is_linear(units[0])):
                raise u.UnitConversionError(f"{unit} is a logarithm, and {units[0]} another")
            numbers = unit.to(units[0], numbers)
        except (u.UnitConversionError, AttributeError, TypeError, ValueError) as error:
            raise u.UnitConversionError(
                f"{name} must be {what or f'in {units[0]}'}, got the unit {unit}"
            ) from error
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _is_linear(unit: Any) -> bool:
    """Return whether a factor converts the unit: not so of dex(solMass), or of mag / arcsec2."""
    if not isinstance(unit, u.UnitBase):
        return False
    return unit.is_equivalent(u.dex) or not any(base.is_equivalent(u.dex) for base in unit.bases)


@dataclass(frozen=True)
class Measurement:
    """What is accepted for one of the quantities that an estimate can use beside the picture."""

    aliases: tuple[str, ...]  # names of its column in any case, in the order in which they are looked for
    units: tuple[u.UnitBase | str, ...]  # as of parse_numbers; a name spares the import of its module
    what: str  # for messages: what it must be
    low: float  # numbers outside of the two belong to no galaxy, and are unknown
    high: float
    range_text: str = ""  # with it, such numbers are warned of
    unit_text: str = ""
    absurd: float = np.inf  # a median above is that of another quantity
    hint: str = ""  # which one


_AXIS_RATIOS = (
    "axis_ratio",
    "b/a",
    "ba",
    "b_a",
    "axial_ratio",
    "expab_r",
    "devab_r",
    "sersic_ba",
    "elpetro_ba",
)


#: The bands of SDSS.
BANDS = "ugriz"


def _magnitude(*aliases: str, what: str = "a magnitude", low: float = 5.0, high: float = 25.0) -> Measurement:
    """Return what is accepted for a magnitude, a colour or an extinction."""
    return Measurement(
        aliases,
        (u.mag, u.ABmag),
        what,
        low=low,
        high=high,
        range_text=f", {low:g} to {high:g}",
        unit_text="a magnitude (that of a flux in nmgy is 22.5 - 2.5 log10(flux))",
    )


def _magnitudes(band: str) -> dict[str, Measurement]:
    """Return what is accepted for the magnitudes of one band, and for its extinction."""
    systems = ("mag", "cmodelmag", "modelmag") if band == "i" else ("mag", "modelmag", "cmodelmag")
    observed = [*(f"{system}_{band}" for system in systems), band]
    dered, extinction = f"dered_{band}", f"extinction_{band}"
    return {
        dered: _magnitude(dered, what=f"the magnitude in {band}, corrected for the foreground"),
        f"mag_{band}": _magnitude(*observed, what=f"the magnitude in {band} as observed"),
        extinction: _magnitude(extinction, what=f"the Galactic extinction in {band}", low=0.0, high=20.0),
    }


#: What an estimate uses beside the picture; the documentation's table of columns is made from it.
MEASUREMENTS = {
    "z": Measurement(
        # z may be a magnitude where redshift is there as well.
        ("redshift", "z"),
        (u.dimensionless_unscaled, "redshift"),
        "redshifts",
        low=-np.inf,
        high=20.0,  # no galaxy is known beyond; such a row is flagged, which needs no warning
        unit_text="redshifts without a unit",
        absurd=20.0,
        hint=f"if it is cz in km/s, divide it by {C_KM_S:g}",
    ),
    "ebv": Measurement(
        ("ebv",),
        (u.mag,),
        "a reddening",
        low=0.0,
        high=np.inf,
        range_text=", which is not negative",
    ),
    "log_mstar": Measurement(
        ("log_mstar",),
        (u.dex(u.solMass), u.dex),
        "log10(M*/Msun)",
        low=3.0,  # sentinels such as -99 and 99 are outside
        high=14.0,
        range_text=", 3 to 14",
        absurd=20.0,
        hint="is it the mass itself?",
    ),
    "log_mstar_err": Measurement(
        ("log_mstar_err",),
        (u.dex, u.dex(u.solMass)),
        "the error of log_mstar",
        low=0.0,
        high=3.0,
        range_text=", 0 to 3",
    ),
    "log_mhi_limit": Measurement(
        ("log_mhi_limit",),
        (u.dex(u.solMass), u.dex),
        "an upper limit of log10(M_HI/Msun)",
        low=4.0,
        high=12.0,
        range_text=", 4 to 12",
        absurd=20.0,
        hint="is it the mass itself?",
    ),
    "axis_ratio": Measurement(
        _AXIS_RATIOS,
        (u.dimensionless_unscaled,),
        "the minor over the major axis",
        low=0.01,  # SDSS has none below 0.05
        high=1.0,
        range_text=", 0 to 1",
    ),
    "g_minus_i": _magnitude(
        "g_minus_i", what="the colour g-i, corrected for the foreground", low=-1.0, high=3.0
    ),
    "i": _magnitude("i", what="the magnitude in i, corrected for the foreground where g_minus_i is given"),
    # The last letter of a name is the band: each in g has its partner in the others.
    **{name: measurement for band in BANDS for name, measurement in _magnitudes(band).items()},
}


def parse_measurement(values: Any, measurement: str, name: str = "") -> np.ndarray:
    """Return the values of one of `MEASUREMENTS`, NaN where unknown.

    Parameters
    ----------
    values : array-like, column or (masked) quantity, shape (n,)
        Its values.
    measurement : str
        A key of `MEASUREMENTS`.
    name : str, optional
        What messages call it; by default the key.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        As `parse_numbers`; and ValueError if most of it are numbers of another quantity.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If a value is that of no galaxy, as sentinels are: it is unknown.
    """
    expected, name = MEASUREMENTS[measurement], name or measurement
    numbers = parse_numbers(values, name, *expected.units, what=expected.unit_text)
    is_finite = np.isfinite(numbers)
    # One sentinel of 99 must not stop a table, and a column of masses must not become one of warnings.
    if is_finite.any() and np.median(numbers[is_finite]) > expected.absurd:
        raise ValueError(f"{name} must be {expected.what}, got {numbers[is_finite].max():g}: {expected.hint}")
    return possible(numbers, measurement, name)


def possible(numbers: np.ndarray, measurement: str, name: str) -> np.ndarray:
    """Return plain numbers, NaN where outside of the range of one of `MEASUREMENTS`, and warn of them."""
    expected = MEASUREMENTS[measurement]
    with np.errstate(invalid="ignore"):
        is_possible = (numbers >= expected.low) & (numbers <= expected.high)
    bad = np.flatnonzero(np.isfinite(numbers) & ~is_possible)
    if bad.size and expected.range_text:
        warn_caller(
            f"{name} must be {expected.what}{expected.range_text}: {bad.size} of {len(numbers)} rows are "
            f"taken to be unknown, the first is row {bad[0]} with {numbers[bad[0]]:g}"
        )
    return np.where(is_possible, numbers, np.nan)


def find_measurement(table: Table, measurement: str, data: str = "data") -> str | None:
    """Return the column that has one of `MEASUREMENTS`, by its aliases in any case; None without one.

    Raises
    ------
    ValueError
        If several differ only in case, and none is of lower case.
    """
    for alias in MEASUREMENTS[measurement].aliases:
        if (column := find_column(table, alias, data)) is not None:
            return column
    return None


def find_column(table: Table, name: str, data: str = "data") -> str | None:
    """Return the column of a name, else the only one that has it in another case; None without either.

    Raises
    ------
    ValueError
        If there are several in other cases.
    """
    if name in table.colnames:
        return name
    columns = [column for column in table.colnames if column.lower() == name.lower()]
    if len(columns) > 1:
        raise ValueError(f"{data} has {' and '.join(columns)}, and no {name}: rename one of them to {name}")
    return columns[0] if columns else None
