"""The columns of the harmonised catalogues, and the bits of ``catalog_flags``: the registry.

Names, units and meanings are public interface; the documentation page of the
catalogues is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, Table
from astropy.utils.masked import Masked

from hifrac.core.flags import BitFlag
from hifrac.core.measurements import parse_numbers

__all__ = ["CATALOG_COLUMNS", "CatalogColumn", "CatalogFlag", "catalog_column", "plain_values"]

_DEX_SOLAR = u.dex(u.solMass)
_DEX_RATE = u.dex(u.solMass / u.yr)


class CatalogFlag(BitFlag):
    """One bit of the ``catalog_flags`` column; ``summary`` says what it means."""

    NO_COUNTERPART = 1, "no optical counterpart is known: the position is that of the HI signal"
    NOT_EXTRAGALACTIC = 2, "a high velocity cloud, not a galaxy: it has no distance and no mass"
    PRIOR = 4, "a weak signal, taken for real because an optical redshift agrees (ALFALFA code 2)"
    CONFUSED = 8, "another galaxy in the beam may contribute to the HI signal"
    BAD_FLUX = 16, "the HI flux is no measurement (negative, or the largest number of the format)"
    BAD_PHOTOMETRY = 32, "optical photometry missing, or uncertain by more than 0.05 mag"
    DEC_SIGN_UNKNOWN = 64, "the sign of the declination was lost: the position may be its mirror image"
    DEC_SIGN_CONFIRMED = 128, "the sign of the declination agrees with a second catalogue"
    DEC_SIGN_REPAIRED = 256, "the sign of the declination was turned, after a second catalogue"
    BAD_REDSHIFT = 512, "the redshift is uncertain, zero or negative"
    DERIVED_FRACTION = 1024, "the catalogue's own HI mass fraction is lost: this one is made from the masses"


@dataclass(frozen=True)
class CatalogColumn:
    """One column of a harmonised catalogue.

    Attributes
    ----------
    name : str
        Its name.
    unit : `~astropy.units.UnitBase` or None
        Its unit; None for plain numbers and text.
    kind : type
        float, int, bool or str.
    description : str
        What it means.
    always : bool
        Whether every catalogue has it, masked if need be; else only those that measured it.
    """

    name: str
    unit: u.UnitBase | None
    kind: type
    description: str
    always: bool = False


def _columns() -> dict[str, CatalogColumn]:
    def core(name, unit, kind, description):
        return CatalogColumn(name, unit, kind, description, always=True)

    one = CatalogColumn
    entries = (
        core("name", None, str, "the catalogue's name of the galaxy"),
        core("ra", u.deg, float, "right ascension (J2000) of the optical counterpart, else of the HI signal"),
        core("dec", u.deg, float, "declination (J2000), likewise"),
        core("z", None, float, "heliocentric redshift; v/c where the catalogue gives a velocity"),
        core("v", u.km / u.s, float, "heliocentric velocity cz (optical convention)"),
        core("distance", u.Mpc, float, "distance, of the catalogue itself"),
        core("log_mhi", _DEX_SOLAR, float, "HI mass, or its upper limit where log_mhi_limit"),
        core("log_mhi_err", u.dex, float, "error of log_mhi; masked for limits and where none is published"),
        core("log_mhi_limit", None, bool, "True: not detected, log_mhi and log_hi_fraction are upper limits"),
        core("log_mstar", _DEX_SOLAR, float, "stellar mass, of the method that log_mstar_method names"),
        core("log_mstar_err", u.dex, float, "error of log_mstar"),
        core("log_mstar_method", None, str, "how the stellar mass was measured"),
        core("log_hi_fraction", u.dex, float, "HI mass fraction log10(M_HI/M*); a limit where log_mhi_limit"),
        core("catalog_flags", None, int, "what to know of the row, a bit mask: see CatalogFlag"),
        one("agc", None, int, "number in the Arecibo General Catalog"),
        one("objid", None, str, "SDSS photometric object, DR8 and later"),
        one("objid_dr7", None, str, "SDSS photometric object, DR7"),
        one("specobjid", None, str, "SDSS spectroscopic object, as numbered in the catalogue's own release"),
        one("plate", None, int, "SDSS spectroscopic plate"),
        one("mjd", None, int, "modified Julian day of the SDSS spectrum"),
        one("fiberid", None, int, "SDSS fibre"),
        one("gass", None, int, "number in the GASS catalogues"),
        one("nibles", None, int, "number in NIBLES"),
        one("nsaid", None, int, "number in the NASA-Sloan Atlas"),
        one("ra_hi", u.deg, float, "right ascension (J2000) of the centroid of the HI signal"),
        one("dec_hi", u.deg, float, "declination (J2000) of the centroid of the HI signal"),
        one("distance_err", u.Mpc, float, "error of the distance"),
        one("hi_flux", u.Jy * u.km / u.s, float, "integrated HI flux density"),
        one("hi_flux_err", u.Jy * u.km / u.s, float, "error of hi_flux"),
        one("w50", u.km / u.s, float, "HI line width at half of the peak"),
        one("w50_err", u.km / u.s, float, "error of w50"),
        one("w20", u.km / u.s, float, "HI line width at a fifth of the peak"),
        one("snr", None, float, "signal-to-noise ratio of the HI detection"),
        one("hi_rms", u.mJy, float, "noise of the HI spectrum"),
        one("hi_code", None, int, "the survey's code of the HI detection"),
        one("oc_code", None, str, "alpha.40: kind of the optical counterpart (I: identified in SDSS DR7)"),
        one("z_optical", None, float, "heliocentric redshift of the optical spectrum"),
        one("u_minus_r", u.mag, float, "colour u-r, as published (see the catalogue's notes)"),
        one("g_minus_r", u.mag, float, "colour g-r, as published"),
        one("g_minus_i", u.mag, float, "colour g-i, as published"),
        one("nuv_minus_r", u.mag, float, "colour NUV-r, as published"),
        one("r_mag", u.mag, float, "apparent magnitude in r, not corrected for extinction"),
        one("i_mag", u.mag, float, "apparent magnitude in i, not corrected for extinction"),
        one("i_mag_err", u.mag, float, "error of i_mag"),
        one("abs_i", u.mag, float, "absolute magnitude in i, corrected as published"),
        one("abs_r", u.mag, float, "absolute magnitude in r, h = 0.7"),
        one("extinction_r", u.mag, float, "Galactic extinction in r"),
        one("axial_ratio", None, float, "minor over major axis, in r"),
        one("r50", u.arcsec, float, "radius of half of the Petrosian light, in r"),
        one("r90", u.arcsec, float, "radius of nine tenths of the Petrosian light, in r"),
        one("log_mstar_taylor", _DEX_SOLAR, float, "stellar mass after g-i colour (Taylor+2011)"),
        one(
            "log_mstar_mcgaugh", _DEX_SOLAR, float, "stellar mass after 3.4 micron (McGaugh & Schombert 2015)"
        ),
        one("log_mstar_gswlc", _DEX_SOLAR, float, "stellar mass by SED fit (GSWLC-2, Salim+2018)"),
        one("log_sfr", _DEX_RATE, float, "total star formation rate"),
        one("log_oh", None, float, "gas-phase abundance 12 + log(O/H)"),
        one("log_hi_fraction_estimate", u.dex, float, "HI mass fraction estimated, not measured"),
        one("estimate_sigma", u.dex, float, "scatter of log_hi_fraction_estimate in the fits"),
        one("p_detect", None, float, "pattern recognition: resemblance of the galaxies that ALFALFA detects"),
    )
    return {entry.name: entry for entry in entries}


#: All columns by name, in the order in which they stand in a table.
CATALOG_COLUMNS = _columns()


def catalog_column(name: str, values: np.ndarray, mask: np.ndarray | None = None):
    """A column with the unit and description of the registry.

    Parameters
    ----------
    name : str
        A key of `CATALOG_COLUMNS`.
    values : `~numpy.ndarray`, shape (n,)
        Its values, in the unit of the registry.
    mask : `~numpy.ndarray` of bool, optional
        True where there is no value. What is not finite is masked as well.

    Returns
    -------
    column : masked quantity or `~astropy.table.MaskedColumn`
        Ready to stand in a `~astropy.table.QTable`.
    """
    entry = CATALOG_COLUMNS[name]
    hidden = np.zeros(len(values), bool) if mask is None else np.asarray(mask, bool)
    if entry.kind is float:
        values = np.asarray(values, float)
        hidden = hidden | ~np.isfinite(values)
        values = np.where(hidden, np.nan, values)
    else:
        empty = {int: 0, bool: False, str: ""}[entry.kind]
        plain = np.asarray(values, str if entry.kind is str else entry.kind)
        values = np.where(hidden, empty, plain).astype(plain.dtype)
    if entry.unit is None:
        column = MaskedColumn(values, mask=hidden)
    else:
        cls = getattr(entry.unit, "_quantity_class", u.Quantity)  # u.Dex for dex(solMass)
        column = Masked(cls(values, entry.unit), mask=hidden)
    column.info.description = entry.description
    return column


def plain_values(table: Table, name: str) -> np.ndarray:
    """The values of a column as plain floats in the registry's unit, NaN where masked.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A harmonised catalogue, or any table with a column of that name.
    name : str
        The column. Values without a unit are taken to be in that of the registry.

    Returns
    -------
    values : `~numpy.ndarray` of float, shape (n,)
        A new array.

    Raises
    ------
    KeyError
        If the table has no such column.
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If it does not hold numbers, a number a row, or is in a unit of another quantity.
    """
    if name not in table.colnames:
        raise KeyError(f"the table has no column {name}")
    unit = getattr(CATALOG_COLUMNS.get(name), "unit", None)
    return parse_numbers(table[name], name, *([] if unit is None else [unit]))
