"""Galaxies to learn from: a row a picture, with what the label files say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.table import Table, join

from hifrac.core.measurements import C_KM_S
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE
from hifrac.training.data import ARCHIVE, decode_all, numbers_of, read_data_table, read_index
from hifrac.training.splits import sky_groups

PHOTOMETRY = "photometry_labels.ecsv"
_PHOTOMETRY = (
    *("objid", "ra", "dec", "redshift", "log_mstar_taylor", "extinction_g", "extinction_i"),
    *(f"modelmag_{band}" for band in "ugriz"),
)


@dataclass(frozen=True, eq=False)
class Galaxies:
    """Pictures, uint8 (n, width, width, 3), and a table with a row for each, NaN where something is unknown.

    Whatever the model it has ``objid``, ``ra``, ``dec``, ``ebv`` and ``group``; those of one share a fold.
    """

    table: Table
    pixels: np.ndarray


def with_pictures(table: Table, cutouts: Path, width: int) -> Galaxies:
    """Add the pictures of galaxies, which places of the sky share a fold, and the reddening if not there."""
    table["group"] = sky_groups(table["objid"], table["ra"], table["dec"])
    if "ebv" not in table.colnames:
        table["ebv"] = galactic_ebv(*_places(cutouts, table))
    pixels = decode_all(table["objid"], cutouts / ARCHIVE, replace(SDSS_RECIPE, width=width))
    return Galaxies(table, pixels)


def read_photometry(cutouts: Path) -> dict[str, np.ndarray]:
    """Read positions, magnitudes, redshifts and stellar masses of SDSS: the columns of a table."""
    table = read_data_table(cutouts, PHOTOMETRY, _PHOTOMETRY)
    u, g, r, i, z = (numbers_of(table, f"modelmag_{band}") for band in "ugriz")
    log_cz = np.log10(C_KM_S * np.maximum(numbers_of(table, "redshift"), 1e-3))
    mass = numbers_of(table, "log_mstar_taylor")
    return {
        "objid": np.asarray(table["objid"], dtype=str),
        "ra": numbers_of(table, "ra"),
        "dec": numbers_of(table, "dec"),
        "log_cz": log_cz,
        "g_minus_i": g - i - numbers_of(table, "extinction_g") + numbers_of(table, "extinction_i"),
        "i": i - numbers_of(table, "extinction_i"),
        "photometry": np.stack([g - i, i, u - g, g - r, r - i, i - z, log_cz, mass], axis=1),
    }


def joined(tables: Iterable[Table], names: Iterable[str], vectors: Mapping[str, int]) -> Table:
    """Make a row of each galaxy, with columns of numbers, and of vectors of some length.

    Of tables, each with ``objid`` first, that say the same of a galaxy, the first counts.
    """
    tables = list(tables)
    objid = np.concatenate([np.asarray(part["objid"], dtype=str) for part in tables])
    table = Table({"objid": np.array(list(dict.fromkeys(objid.tolist())))})
    row_of = {name: row for row, name in enumerate(table["objid"])}
    for name in names:
        table[name] = np.full(len(table), np.nan)
    for name, size in vectors.items():
        table[name] = np.full((len(table), size), np.nan)
    for part in tables:
        rows = np.array([row_of[name] for name in part["objid"]], dtype=int)
        for name in part.colnames[1:]:
            own = np.asarray(table[name][rows])
            table[name][rows] = np.where(np.isfinite(own), own, part[name])
    return table


def _places(cutouts: Path, table: Table) -> list[np.ndarray]:
    """Return right ascension and declination, to a tenth of a degree where no better is known."""
    nearby = join(table["objid",], read_index(cutouts), keys="objid", join_type="left", keep_order=True)
    names = ("ra", "dec")
    return [np.where(np.isfinite(table[name]), table[name], numbers_of(nearby, name)) for name in names]
