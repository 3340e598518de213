"""What the priors learn from: ALFALFA-SDSS and xGASS on one scale, without the sky of the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.catalogs import CatalogFlag, alfalfa_a100, durbala2020, xgass
from hifrac.catalogs.columns import plain_values
from hifrac.catalogs.matching import match_ids
from hifrac.core.measurements import C_KM_S
from hifrac.models.selection import distance_modulus, taylor_mass
from hifrac.training.measuring.linear import fit_robust

#: SDSS runs, and parts of the sky (lowest and highest right ascension and declination, in degrees), from
#: which the pictures of the data directory are.
RUNS = (745, 752, 756, 1035)
STRIPS = ((119.0, 250.0, -1.3, 1.3), (5.0, 36.0, 12.0, 16.0))


def in_held_out_sky(ra: np.ndarray, dec: np.ndarray, objid: np.ndarray | None = None) -> np.ndarray:
    """Tell which galaxies lie in the sky of the pictures; positions are ICRS degrees, names SDSS objIDs.

    Some galaxies of that sky are kept for tests. So no catalogue may teach anything about it: what may be
    learned from there are the label files of the data directory alone.
    """
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    inside = np.zeros(ra.shape, dtype=bool)
    for west, east, south, north in STRIPS:
        inside |= (ra > west) & (ra < east) & (dec > south) & (dec < north)
    if objid is not None:
        # Bits 32 to 47 of an objID are the run; a name that is none, such as a gap, has no run.
        run = [int(name) >> 32 & 0xFFFF if str(name).isdigit() else 0 for name in objid]
        inside |= np.isin(run, RUNS)
    return inside


def read_alfalfa_sdss(folder: str | Path | None) -> Table:
    """Read Durbala et al. (2020) with the line width, noise and code of alpha.100, all that is sound.

    Magnitudes are corrected for the dust of the Milky Way alone. ``held_out`` is `in_held_out_sky`.
    """
    optical, survey = durbala2020(folder), alfalfa_a100(folder)
    row = match_ids(optical["agc"], survey["agc"])["row"]
    names = ("ra", "dec", "axial_ratio", "log_mstar", "log_hi_fraction", "distance")
    table = Table({name: plain_values(optical, name) for name in names})
    table.rename_column("axial_ratio", "axis_ratio")
    table["agc"] = np.asarray(optical["agc"])
    table["objid"] = np.ma.asarray(optical["objid"]).filled("").astype(str)
    table["g_minus_i"] = plain_values(optical, "g_minus_i_foreground")
    table["i"] = plain_values(optical, "i_mag") - plain_values(optical, "extinction_i")
    velocity = plain_values(optical, "v")
    table["log_cz"] = np.log10(np.maximum(velocity, 1.0))
    for name in ("w50", "hi_rms", "hi_code"):
        table[name] = np.where(np.ma.getmaskarray(row), np.nan, plain_values(survey, name)[row.filled(0)])
    table["held_out"] = in_held_out_sky(table["ra"], table["dec"], table["objid"])
    good = np.asarray(optical["catalog_flags"]) & CatalogFlag.BAD_PHOTOMETRY == 0
    good &= np.isfinite(table["g_minus_i"] + table["log_hi_fraction"])
    good &= (table["axis_ratio"] > 0.05) & (velocity > 500)
    good &= (np.abs(table["i"] - 14.25) < 6.25) & (np.abs(table["g_minus_i"] - 0.75) < 1.25)
    return table[good]


def read_xgass(folder: str | Path | None, alfalfa: Table) -> Table:
    """Read xGASS with g-i, i and stellar masses as ALFALFA-SDSS has them.

    g-i is not in the catalogue: it is that of ``alfalfa``, of `read_alfalfa_sdss`, for galaxies in both, and
    follows for the others from their stellar mass, r and NUV-r, to 0.04 mag.
    """
    catalog = xgass(folder)
    table = Table({name: plain_values(catalog, name) for name in ("ra", "dec")})
    table["log_cz"] = np.log10(plain_values(catalog, "z") * C_KM_S)
    table["axis_ratio"] = np.clip(plain_values(catalog, "axial_ratio"), 0.1, 1.0)
    table["is_limit"] = np.asarray(catalog["log_mhi_limit"], dtype=bool)
    table["confused"] = np.asarray(catalog["catalog_flags"]) & CatalogFlag.CONFUSED != 0
    table["held_out"] = in_held_out_sky(table["ra"], table["dec"])
    match = match_ids(catalog["agc"], alfalfa["agc"])["row"]
    modulus, log_axes = distance_modulus(table["log_cz"]).numpy(), -np.log10(table["axis_ratio"])
    both = ~np.ma.getmaskarray(match) & ~table["held_out"]
    g_minus_i, i = (np.where(both, alfalfa[name][match.filled(0)], np.nan) for name in ("g_minus_i", "i"))
    r = plain_values(catalog, "r_mag") - plain_values(catalog, "extinction_r")
    nuv = plain_values(catalog, "nuv_minus_r")
    nuv = np.where(nuv > 0, nuv, np.nanmedian(nuv[nuv > 0]))
    mass = plain_values(catalog, "log_mstar")
    light = mass + 0.4 * (r - modulus)
    redshift = 10 ** table["log_cz"] / C_KM_S
    inputs = np.column_stack([light, light**2, nuv, nuv**2, mass - 10, log_axes, 20 * redshift])
    both &= (g_minus_i > 0) & (g_minus_i < 1.6)
    intercept, slopes = fit_robust(inputs[both], g_minus_i[both], 0.06)
    table["g_minus_i"] = np.where(both, g_minus_i, intercept + inputs @ slopes)
    # Where the magnitudes of the two catalogues disagree, one of them is of a part of the galaxy.
    r_minus_i = np.polyfit(
        g_minus_i[both & (abs(r - i - 0.3) < 0.3)], (r - i)[both & (abs(r - i - 0.3) < 0.3)], 2
    )
    expected = r - np.polyval(r_minus_i, table["g_minus_i"])
    table["i"] = np.where(both & (np.abs(i - expected) < 0.3), i, expected)
    table["log_mstar"] = taylor_mass(table["g_minus_i"], table["i"], modulus, log_axes).numpy()
    table["log_hi_fraction"] = plain_values(catalog, "log_mhi") - table["log_mstar"]
    return table


def add_photometry(galaxies: Table, alfalfa: Table) -> None:
    """Give the detections among the galaxies their g-i and i of ALFALFA-SDSS, by objID, in place."""
    row = match_ids(galaxies["objid"], alfalfa["objid"])["row"]
    is_matched = ~np.ma.getmaskarray(row) & galaxies["detected"]
    for name in ("g_minus_i", "i"):
        galaxies[name] = np.where(is_matched, alfalfa[name][row.filled(0)], galaxies[name])
