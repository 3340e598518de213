"""Galaxies of ALFALFA with what a network can learn from: the labels of a sample, with SDSS photometry."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table

from hifrac.catalogs.columns import plain_values
from hifrac.catalogs.matching import match_ids
from hifrac.catalogs.samples import a40a, a100_clean, without_xgass

#: The samples of the paper that can be had with labels, by the names that the command line has for them.
SAMPLES = {"a40": "alpha.40A", "a100": "alpha.100"}

_DEX_SOLAR = u.dex(u.solMass)

# Name in the table of labels, that of the harmonised catalogue, unit, what it is.
_VALUES = (
    ("ra", "ra", u.deg, "J2000, optical counterpart"),
    ("dec", "dec", u.deg, "J2000, optical counterpart"),
    ("v_helio", "v", u.km / u.s, "HI heliocentric velocity"),
    ("distance", "distance", u.Mpc, "Haynes+2018"),
    ("axial_ratio", "axial_ratio", None, "SDSS r band b/a"),
    ("i_cmodel", "i_mag", u.mag, "SDSS i cmodel"),
    ("abs_i", "abs_i", u.mag, "corrected"),
    ("g_minus_i", "g_minus_i", u.mag, "corrected"),
    ("log_mhi", "log_mhi", _DEX_SOLAR, "HI mass"),
    ("log_mstar_taylor", "log_mstar_taylor", _DEX_SOLAR, "g-i colour method, Taylor+2011"),
    ("log_mstar_gswlc", "log_mstar_gswlc", _DEX_SOLAR, "GSWLC-2 SED fit; masked where absent"),
)
#: The column of the target.
FRACTION = "log_hi_fraction_true"
#: The columns of `label_table`, in order.
LABEL_COLUMNS = ("objid", "agc", *(name for name, *_ in _VALUES), FRACTION)


def label_table(galaxies: Table, masses: QTable | None = None) -> Table:
    """Return the columns of ``hi_labels.ecsv`` for galaxies of ALFALFA, joined by AGC number.

    Parameters
    ----------
    galaxies : `~astropy.table.Table`
        With the column ``agc``.
    masses : `~astropy.table.QTable`, optional
        Of `~hifrac.catalogs.durbala2020`, which is read by default.

    Returns
    -------
    labels : `~astropy.table.Table`
        One row per galaxy, in order: ``objid`` (SDSS DR8 and later; masked where there is none),
        ``agc``, positions, velocity, distance, photometry, masses, and ``log_hi_fraction_true`` with
        the stellar mass of Taylor et al. (2011). Masked throughout for a galaxy that is not in
        ``masses``.

    Raises
    ------
    KeyError
        If a table has no AGC numbers.
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.
    """
    from hifrac.catalogs import durbala2020

    masses = durbala2020() if masses is None else masses
    for table, what in ((galaxies, "galaxies"), (masses, "masses")):
        if "agc" not in table.colnames:
            raise KeyError(f"{what} has no column agc")
    match = match_ids(galaxies["agc"], masses["agc"])["row"]
    is_matched = ~np.asarray(match.mask)
    row = np.asarray(match.filled(0))
    nameless = np.ma.getmaskarray(np.ma.asarray(masses["objid"]))[row] | ~is_matched
    agc = np.ma.asarray(galaxies["agc"])
    labels = Table()
    labels["objid"] = MaskedColumn(np.ma.getdata(np.ma.asarray(masses["objid"]))[row], mask=nameless)
    labels["agc"] = MaskedColumn(agc) if np.ma.getmaskarray(agc).any() else Column(np.ma.getdata(agc))
    values = {}
    for name, column, unit, description in _VALUES:
        values[name] = np.where(is_matched, plain_values(masses, column)[row], np.nan)
        labels[name] = _column(values[name], unit, description)
    fraction = values["log_mhi"] - values["log_mstar_taylor"]
    labels[FRACTION] = _column(fraction, u.dex, "log_mhi - log_mstar_taylor")
    return labels


def sample_labels(name: str) -> Table:
    """Return the labels of a sample of the paper, cut with the masses of Durbala et al. (2020).

    Parameters
    ----------
    name : {"a40", "a100"}
        alpha.40A or alpha.100, as ``hifrac.catalogs.samples.paper_samples`` has them.

    Returns
    -------
    labels : `~astropy.table.Table`
        As of `label_table`; ``meta["sample"]`` is the paper's name of the sample.

    Raises
    ------
    ValueError
        If there is no such sample.
    ~hifrac.catalogs.CatalogError
        If a catalogue is not there, cannot be fetched, or is not what it should be.
    """
    from hifrac.catalogs import alfalfa_a40, alfalfa_a100, durbala2020, xgass

    if name not in SAMPLES:
        raise ValueError(f"name must be one of {', '.join(SAMPLES)}, got {name!r}")
    masses, others = durbala2020(), xgass()
    first = a40a(alfalfa_a40(), masses)
    if name == "a40":
        selection = without_xgass(first, others)
    else:
        selection = a100_clean(alfalfa_a100(), masses, first.table, others)
    labels = label_table(selection.table, masses)
    labels.meta["sample"] = selection.name
    return labels


def _column(values: np.ndarray, unit: Any, description: str) -> Column:
    bad = ~np.isfinite(values)
    if bad.any():
        return MaskedColumn(values, mask=bad, unit=unit, description=description)
    return Column(values, unit=unit, description=description)
