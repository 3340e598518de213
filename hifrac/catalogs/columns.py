"""The columns of the harmonised catalogues, and the bits of ``catalog_flags``: the registry.

Names, units and meanings are public interface; the documentation page of the
catalogues is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from hifrac.core.columns import ResultColumn, make_column
from hifrac.core.flags import BitFlag
from hifrac.core.measurements import parse_numbers

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
class CatalogColumn(ResultColumn):
    """One column of a harmonised catalogue; ``when`` says which catalogues have it.

    Attributes
    ----------
    dtype : type
        float, int, bool or str.
    """

    dtype: type = float


# Name, unit, type, meaning. Every catalogue has these, masked if need be.
_ALWAYS = (
    ("name", None, str, "the catalogue's name of the galaxy"),
    ("ra", u.deg, float, "right ascension (J2000) of the optical counterpart, else of the HI signal"),
    ("dec", u.deg, float, "declination (J2000), likewise"),
    ("z", None, float, "heliocentric redshift; v/c where the catalogue gives a velocity"),
    ("v", u.km / u.s, float, "heliocentric velocity cz (optical convention)"),
    ("distance", u.Mpc, float, "distance, of the catalogue itself"),
    ("log_mhi", _DEX_SOLAR, float, "HI mass, or its upper limit where log_mhi_limit"),
    ("log_mhi_err", u.dex, float, "error of log_mhi; masked for limits and where none is published"),
    ("log_mhi_limit", None, bool, "True: not detected, log_mhi and log_hi_fraction are upper limits"),
    ("log_mstar", _DEX_SOLAR, float, "stellar mass, of the method that log_mstar_method names"),
    ("log_mstar_err", u.dex, float, "error of log_mstar"),
    ("log_mstar_method", None, str, "how the stellar mass was measured"),
    ("log_hi_fraction", u.dex, float, "HI mass fraction log10(M_HI/M*); a limit where log_mhi_limit"),
    ("catalog_flags", None, int, "what to know of the row, a bit mask: see CatalogFlag"),
)
# Those catalogues have these that measured them.
_MEASURED = (
    ("agc", None, int, "number in the Arecibo General Catalog"),
    ("objid", None, str, "SDSS photometric object, DR8 and later"),
    ("objid_dr7", None, str, "SDSS photometric object, DR7"),
    ("specobjid", None, str, "SDSS spectroscopic object, as numbered in the catalogue's own release"),
    ("plate", None, int, "SDSS spectroscopic plate"),
    ("mjd", None, int, "modified Julian day of the SDSS spectrum"),
    ("fiberid", None, int, "SDSS fibre"),
    ("gass", None, int, "number in the GASS catalogues"),
    ("nibles", None, int, "number in NIBLES"),
    ("nsaid", None, int, "number in the NASA-Sloan Atlas"),
    ("ra_hi", u.deg, float, "right ascension (J2000) of the centroid of the HI signal"),
    ("dec_hi", u.deg, float, "declination (J2000) of the centroid of the HI signal"),
    ("distance_err", u.Mpc, float, "error of the distance"),
    ("hi_flux", u.Jy * u.km / u.s, float, "integrated HI flux density"),
    ("hi_flux_err", u.Jy * u.km / u.s, float, "error of hi_flux"),
    ("w50", u.km / u.s, float, "HI line width at half of the peak"),
    ("w50_err", u.km / u.s, float, "error of w50"),
    ("w20", u.km / u.s, float, "HI line width at a fifth of the peak"),
    ("snr", None, float, "signal-to-noise ratio of the HI detection"),
    ("hi_rms", u.mJy, float, "noise of the HI spectrum"),
    ("hi_code", None, int, "the survey's code of the HI detection"),
    ("oc_code", None, str, "alpha.40: kind of the optical counterpart (I: identified in SDSS DR7)"),
    ("z_optical", None, float, "heliocentric redshift of the optical spectrum"),
    ("u_minus_r", u.mag, float, "colour u-r, as published (see the catalogue's notes)"),
    ("g_minus_r", u.mag, float, "colour g-r, as published"),
    ("g_minus_i", u.mag, float, "colour g-i, as published"),
    ("g_minus_i_foreground", u.mag, float, "colour g-i, corrected for the dust of the Milky Way alone"),
    ("nuv_minus_r", u.mag, float, "colour NUV-r, as published"),
    ("r_mag", u.mag, float, "apparent magnitude in r, not corrected for extinction"),
    ("i_mag", u.mag, float, "apparent magnitude in i, not corrected for extinction"),
    ("i_mag_err", u.mag, float, "error of i_mag"),
    ("abs_i", u.mag, float, "absolute magnitude in i, corrected as published"),
    ("abs_r", u.mag, float, "absolute magnitude in r, h = 0.7"),
    ("extinction_g", u.mag, float, "Galactic extinction in g"),
    ("extinction_r", u.mag, float, "Galactic extinction in r"),
    ("extinction_i", u.mag, float, "Galactic extinction in i"),
    ("gamma_g", u.mag, float, "extinction inside the galaxy in g, over log10(a/b)"),
    ("gamma_i", u.mag, float, "extinction inside the galaxy in i, over log10(a/b)"),
    ("axial_ratio", None, float, "minor over major axis, in r"),
    ("r50", u.arcsec, float, "radius of half of the Petrosian light, in r"),
    ("r90", u.arcsec, float, "radius of nine tenths of the Petrosian light, in r"),
    ("log_mstar_taylor", _DEX_SOLAR, float, "stellar mass after g-i colour (Taylor+2011)"),
    ("log_mstar_mcgaugh", _DEX_SOLAR, float, "stellar mass after 3.4 micron (McGaugh & Schombert 2015)"),
    ("log_mstar_gswlc", _DEX_SOLAR, float, "stellar mass by SED fit (GSWLC-2, Salim+2018)"),
    ("log_sfr", _DEX_RATE, float, "total star formation rate"),
    ("log_oh", None, float, "gas-phase abundance 12 + log(O/H)"),
    ("log_hi_fraction_estimate", u.dex, float, "HI mass fraction estimated, not measured"),
    ("estimate_sigma", u.dex, float, "scatter of log_hi_fraction_estimate in the fits"),
    ("p_detect", None, float, "pattern recognition: resemblance of the galaxies that ALFALFA detects"),
)

#: All columns by name, in the order in which they stand in a table.
CATALOG_COLUMNS = {
    name: CatalogColumn(name, unit, description, when, dtype=dtype)
    for entries, when in ((_ALWAYS, "always"), (_MEASURED, "where measured"))
    for name, unit, dtype, description in entries
}


def catalog_column(name: str, values: np.ndarray, mask: np.ndarray | None = None) -> Any:
    """Return a column with the unit and description of the registry.

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
    values = np.asarray(values, entry.dtype)
    mask = np.zeros(len(values), bool) if mask is None else np.asarray(mask, bool)
    if entry.dtype is float:
        mask = mask | ~np.isfinite(values)
    return make_column(entry, values, mask)


def plain_values(table: Table, name: str) -> np.ndarray:
    """Return the values of a column as plain floats in the registry's unit, NaN where masked.

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

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.table import QTable
    >>> from hifrac import catalogs
    >>> catalogs.plain_values(QTable({"distance": [16500.0, 70000.0] * u.kpc}), "distance")  # Mpc
    array([16.5, 70. ])
    """
    if name not in table.colnames:
        raise KeyError(f"the table has no column {name}")
    unit = getattr(CATALOG_COLUMNS.get(name), "unit", None)
    return parse_numbers(table[name], name, *([] if unit is None else [unit]))
