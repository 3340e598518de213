"""Units as archives and users spell them: the one table of spellings, and how a unit is read."""

from __future__ import annotations

import re
from typing import Any

from astropy import units as u

#: Spellings that Astropy does not read, in lower case, without brackets around the whole.
UNIT_SPELLINGS = {
    "decimal degrees": u.deg,
    "decimal degree": u.deg,
    "degs": u.deg,
    "°": u.deg,
    "hours": u.hour,
    "hr": u.hour,
    "hrs": u.hour,
    "hour angle": u.hourangle,
    "arcsecs": u.arcsec,
    "asec": u.arcsec,
    "sqarcsec": u.arcsec**2,
    "sq arcsec": u.arcsec**2,
    "sq. arcsec": u.arcsec**2,
    "magnitude": u.mag,
    "mags": u.mag,
    "ab mag": u.ABmag,
    "mag ab": u.ABmag,
    "abmag": u.ABmag,
    "mag (ab)": u.ABmag,
    "mag(vega)": u.mag,
    "vega mag": u.mag,
    "vegamag": u.mag,
    "msun": u.solMass,
    "m_sun": u.solMass,
    "msol": u.solMass,
    "m_sol": u.solMass,
    "m☉": u.solMass,
    "m⊙": u.solMass,
    "m_⊙": u.solMass,
    "solar mass": u.solMass,
    "solar masses": u.solMass,
    "m/msun": u.solMass,
    "m*/msun": u.solMass,
    "lsun": u.solLum,
    "l_sun": u.solLum,
    "solar luminosity": u.solLum,
    "nanomaggies": u.Unit("nmgy"),
    "nanomaggy": u.Unit("nmgy"),
    "nmaggy": u.Unit("nmgy"),
    "nmgys": u.Unit("nmgy"),
    "km/sec": u.km / u.s,
    "kms": u.km / u.s,
    "kms-1": u.km / u.s,
    "angstroms": u.AA,
    "microns": u.um,
}

_NO_UNIT = ("", "-", "--", "---", "none", "null", "unitless", "dimensionless", "no unit")
_LOGARITHM = re.compile(r"(?:log10|log_10|log|lg|dex) ?(?:\((.*)\)|\[(.*)\]| (.+))", re.IGNORECASE)
_QUOTIENT = re.compile(r"(.+?)/ ?((?:sq\.? ?|square )arcsec(?:onds?|s)?)", re.IGNORECASE)
# What sexagesimal text has for a unit: of no number.
_OF_TEXT = re.compile(r'["\']?[hd]: ?m: ?s["\']?|hms|dms|h m s|d m s', re.IGNORECASE)


def known_unit(unit: Any) -> Any:
    """Return the unit that is meant, whatever its spelling; None for none.

    Parameters
    ----------
    unit : unit, str or None
        As a column, a file or a user has it.

    Returns
    -------
    unit : unit or None
        An `~astropy.units.UnrecognizedUnit` where nothing is known by that name.
    """
    if unit is None:
        return None
    if isinstance(unit, u.DexUnit) and _is_in_brackets(unit.physical_unit):
        return unit.physical_unit
    if isinstance(unit, u.UnrecognizedUnit | str):
        text = str(unit).strip()
        is_none = text.lower() in _NO_UNIT
        unit = None if is_none else _read(text) or u.Unit(text, parse_strict="silent")
    return None if unit is None or unit == u.dimensionless_unscaled else unit


def is_sexagesimal_unit(unit: Any) -> bool:
    """Return whether it is what catalogues write for the unit of sexagesimal text, such as "h:m:s"."""
    return unit is not None and _OF_TEXT.fullmatch(str(unit).strip()) is not None


def name_and_unit(name: str) -> tuple[str, Any]:
    """Return the name of a column without a unit in brackets behind it, and that unit (None without one)."""
    match = re.fullmatch(r"(.*?\S)\s*[\[(]([^\[\]()]*)[\])]", name.strip())
    if match is None:
        return name.strip(), None
    unit = known_unit(match[2])
    return match[1], None if isinstance(unit, u.UnrecognizedUnit) else unit


def _is_in_brackets(unit: Any) -> bool:
    """Return whether ``[unit]`` means the unit: nobody tabulates the logarithm of an angle or magnitude."""
    return isinstance(unit, u.UnitBase) and (unit.is_equivalent(u.deg) or unit.is_equivalent(u.mag))


def _read(text: str) -> Any:
    """Return the unit of a text, or None."""
    if text.startswith("[") and text.endswith("]"):
        inner = _read(text[1:-1].strip())
        if inner is None or isinstance(inner, u.function.FunctionUnitBase):
            return inner
        # In CDS tables, and those of older versions of Astropy, brackets are a logarithm.
        return inner if _is_in_brackets(inner) else u.dex(inner)
    if text.startswith("(") and text.endswith(")"):
        return _read(text[1:-1].strip())
    if (unit := _parse(text)) is not None:
        return unit
    if match := _LOGARITHM.fullmatch(text):
        inner = _read(next(part for part in match.groups() if part is not None).strip())
        return u.dex(inner) if isinstance(inner, u.UnitBase) else None
    if match := _QUOTIENT.fullmatch(text):
        above, below = _read(match[1].strip()), u.arcsec**2
        return above / below if isinstance(above, u.UnitBase) else None
    return None


def _parse(text: str) -> Any:
    """Return the unit of a spelling of ours or of Astropy's, in its own or in lower case, or None."""
    lower = " ".join(text.lower().split())
    if lower in UNIT_SPELLINGS:
        return UNIT_SPELLINGS[lower]
    for spelling in filter(None, (text, lower, lower.removesuffix("s"), lower.removesuffix("."))):
        for unit_format in ("generic", "fits", "cds"):
            try:
                return u.Unit(spelling, format=unit_format)
            except (ValueError, TypeError):
                continue
    return None
