"""Photometry of the samples of Wu (2020) for pictures to be rendered from, each from its catalogue."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from astropy import units as u
from astropy.table import Table

from hifrac.catalogs import CatalogFlag, match_positions, plain_values
from hifrac.core.input import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.simulate.photometry import observed_colour, split_colour, taylor2011_colour

__all__ = [
    "LABELLED_SAMPLE",
    "SAME_GALAXY",
    "alfalfa_photometry",
    "labelled_photometry",
    "nibles_photometry",
    "xgass_photometry",
]

#: What the sample of the labelled galaxies is called.
LABELLED_SAMPLE = "labelled, simulated pictures"
#: Within which two catalogues have the same galaxy; the counterparts of ALFALFA lie some arcsec off.
SAME_GALAXY = 5 * u.arcsec
_COLUMNS = ("i_mag", "g_minus_i", "axial_ratio", "r50", "abs_i", "distance", "ebv", "truth")


def _photometry(sample: str, name: Iterable, is_limit: np.ndarray | None = None, **values) -> Table:
    """The rows of one sample whose photometry is known, with what `render_table` asks for."""
    table = Table({"name": np.array([str(one) for one in name], dtype=str)})
    table.add_column(np.full(len(table), sample, dtype="U32"), 0, "sample")
    for column in _COLUMNS:
        table[column] = plain_floats(values.get(column, np.full(len(table), np.nan)))
    table["is_limit"] = np.zeros(len(table), bool) if is_limit is None else np.asarray(is_limit, bool)
    size = np.isfinite(table["r50"]) | (np.isfinite(table["abs_i"]) & np.isfinite(table["distance"]))
    good = size & (table["axial_ratio"] > 0) & (table["axial_ratio"] <= 1)
    for column in ("i_mag", "g_minus_i", "truth"):
        good &= np.isfinite(table[column])
    return table[good]


def alfalfa_photometry(table: Table, photometry: Table, row: np.ndarray, sample: str) -> Table:
    """Photometry of ALFALFA-SDSS (Durbala et al. 2020) for the galaxies of a sample.

    Colours are made again as they are seen, by `hifrac.simulate.observed_colour`.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The sample: ``log_hi_fraction``.
    photometry : `~astropy.table.Table`
        Of `hifrac.catalogs.durbala2020`.
    row : array of int, shape (n,)
        The row of ``photometry`` of each galaxy.
    sample : str
        What to call it.

    Returns
    -------
    table : `~astropy.table.Table`
        The galaxies of good photometry (errors below 0.05 mag): ``sample``, ``name`` (the objid),
        ``truth`` (dex), ``is_limit``, ``ebv`` (mag) and what `hifrac.simulate.render_table` asks for.
    """
    rows = photometry[row]
    known = {name: plain_values(rows, name) for name in ("ra", "dec", "i_mag", "abs_i", "axial_ratio")}
    ebv = galactic_ebv(known.pop("ra"), known.pop("dec"))
    shape = {name: known[name] for name in ("abs_i", "axial_ratio")}
    colour = observed_colour(plain_values(rows, "g_minus_i"), **shape, ebv=ebv)
    bad = (np.asarray(rows["catalog_flags"].filled(0)) & int(CatalogFlag.BAD_PHOTOMETRY)) > 0
    return _photometry(
        sample,
        np.char.strip(np.asarray(rows["objid"].filled("")).astype(str)),
        **known,
        g_minus_i=np.where(bad, np.nan, colour),
        distance=plain_values(rows, "distance"),
        ebv=ebv,
        truth=plain_values(table, "log_hi_fraction"),
    )


def nibles_photometry(table: Table, photometry: Table) -> Table:
    """The galaxies of NIBLES that ALFALFA-SDSS has photometry of: NIBLES at hand has none of its own.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `hifrac.catalogs.samples.nibles_clean`.
    photometry : `~astropy.table.Table`
        Of `hifrac.catalogs.durbala2020`.

    Returns
    -------
    table : `~astropy.table.Table`
        As of `alfalfa_photometry`. ALFALFA detected all of them, which chooses the gas-rich; and the
        catalogue does not say which of its values are limits.
    """
    row = match_positions(table, photometry, SAME_GALAXY)["row"]
    there = ~np.asarray(row.mask)
    return alfalfa_photometry(table[there], photometry, np.asarray(row[there]), "NIBLES")


def xgass_photometry(table: Table) -> Table:
    """Photometry of xGASS: r magnitude, radius and axial ratio, and the colour that its stellar mass tells.

    The colour is that of `hifrac.simulate.taylor2011_colour`: of the 454 galaxies that ALFALFA-SDSS has too
    it is 0.03 mag redder than the measured one, with a scatter of 0.11 mag.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `hifrac.catalogs.xgass`.

    Returns
    -------
    table : `~astropy.table.Table`
        As of `alfalfa_photometry`, with upper limits; ``name`` is the number in GASS.
    """
    names = ("ra", "dec", "r_mag", "extinction_r", "distance", "r50", "axial_ratio", "log_mstar")
    known = {name: plain_values(table, name) for name in names}
    ebv = galactic_ebv(known["ra"], known["dec"])
    abs_r = known["r_mag"] - known["extinction_r"] - 5.0 * np.log10(known["distance"] * 1e5)
    intrinsic = taylor2011_colour(known["log_mstar"], abs_r=abs_r)
    # No correction but that for our Galaxy is to be undone.
    colour = observed_colour(intrinsic, abs_i=np.zeros(len(table)), axial_ratio=np.ones(len(table)), ebv=ebv)
    ratio = known["axial_ratio"]
    with np.errstate(invalid="ignore", divide="ignore"):
        major = known["r50"] / np.sqrt(ratio)  # of circles, as Petrosian radii are
    return _photometry(
        "xGASS",
        [f"GASS {one}" for one in table["gass"]],
        np.asarray(table["log_mhi_limit"].filled(False)),
        i_mag=known["r_mag"] - split_colour(colour)[1],
        g_minus_i=colour,
        axial_ratio=ratio,
        r50=major,
        ebv=ebv,
        truth=plain_values(table, "log_hi_fraction"),
    )


def labelled_photometry(table: Table) -> Table:
    """Photometry of the labelled galaxies, whose real cutouts are at hand.

    Parameters
    ----------
    table : `~astropy.table.Table`
        ``hi_labels.ecsv`` of the data directory.

    Returns
    -------
    table : `~astropy.table.Table`
        As of `alfalfa_photometry`.
    """
    known = {name: plain_floats(table[name]) for name in ("abs_i", "axial_ratio")}
    ebv = galactic_ebv(plain_floats(table["ra"]), plain_floats(table["dec"]))
    return _photometry(
        LABELLED_SAMPLE,
        table["objid"],
        **known,
        i_mag=table["i_cmodel"],
        g_minus_i=observed_colour(table["g_minus_i"], **known, ebv=ebv),
        distance=table["distance"],
        ebv=ebv,
        truth=table["log_hi_fraction_true"],
    )
