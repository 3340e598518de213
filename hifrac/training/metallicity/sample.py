"""The galaxies of the metallicity model: a row a picture, with all that the label files say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.models.photometry import PHOTOMETRIC
from hifrac.training.data import (
    METALLICITY,
    data_folder,
    numbers_of,
    read_data_table,
)
from hifrac.training.measuring.galaxies import PHOTOMETRY, Galaxies, joined, read_photometry, with_pictures

# Files that tell by emission lines whether a galaxy forms stars, which a data directory may lack: the columns
# of that, and of the position.
_BY_LINES = {
    "line_labels.ecsv": ("is_sf",),  # MPA-JHU, S/N > 3
    "portsmouth_labels.ecsv": ("bpt", "ra", "dec"),  # Thomas et al. (2013)
    "resolve_eco_labels.ecsv": ("is_sf", "radeg", "dedeg"),
}
#: Sides of the pictures, in pixels, of the published network's predictions.
PUBLISHED = (128, 64, 32, 16)
_NAMES = ("wu_boada_2019_prediction", *(f"wu_boada_2019_prediction_{side}" for side in PUBLISHED[1:]))
#: What SDSS's pipeline calls a spectrum, and whether that is of star formation.
_SUBCLASSES = {"STARFORMING": 1.0, "STARBURST": 1.0, "AGN": 0.0, "BROADLINE": 0.0}


def read_sample(folder: str | Path | None = None, *, width: int = 128) -> Galaxies:
    """Read the pictures that the label files of a data directory tell of.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default.
    width : int, optional
        Side of the pictures in pixels.

    Returns
    -------
    galaxies : Galaxies
        ``table``, with a row for each galaxy: ``objid``; ``oh``, 12 + log(O/H) of MPA-JHU, and
        ``published``, (n, 4), the predictions of the network of Wu & Boada (2019) from pictures of
        `PUBLISHED` pixels; ``photometry``, (n, 8), `PHOTOMETRIC` as observed; ``star_forming``, 1 or 0 by
        emission lines; ``ra``, ``dec`` and ``ebv``; NaN where unknown. Those of one ``group`` share a fold.
        ``pixels``, (n, width, width, 3).

    Raises
    ------
    ValueError
        If no data directory is configured, or a table lacks a column.
    FileNotFoundError
        If ``metallicity_labels.ecsv``, ``photometry_labels.ecsv``, ``index.ecsv`` or pictures are missing.
    ~hifrac.core.RowError
        If a picture is missing or damaged: training takes all or nothing.
    """
    cutouts = data_folder(folder)
    tables = [_read_labels(cutouts), _read_photometry(cutouts)]
    tables += [_read_lines(cutouts, name) for name in _BY_LINES if (cutouts / name).is_file()]
    table = joined(
        tables,
        ("oh", "star_forming", "ra", "dec"),
        {"published": len(PUBLISHED), "photometry": len(PHOTOMETRIC)},
    )
    return with_pictures(table, cutouts, width)


def _read_labels(cutouts: Path) -> Table:
    """Read the metallicities; who has one forms stars."""
    table = read_data_table(cutouts, METALLICITY, ["objid", "oh_p50", *_NAMES])
    value = numbers_of(table, "oh_p50")
    return Table(
        {
            "objid": np.asarray(table["objid"], dtype=str),
            "oh": value,
            "published": np.stack([numbers_of(table, name) for name in _NAMES], axis=1),
            "star_forming": np.where(np.isfinite(value), 1.0, np.nan),
        }
    )


def _read_photometry(cutouts: Path) -> Table:
    """Read magnitudes, redshifts and stellar masses of SDSS, and what its pipeline calls the spectra."""
    table = Table(read_photometry(cutouts))["objid", "ra", "dec", "photometry"]
    spectra = read_data_table(cutouts, PHOTOMETRY, ["subclass", "broadline_agn"])
    names = np.ma.filled(np.ma.asarray(spectra["subclass"]).astype(str), "")
    is_sf = np.array([_SUBCLASSES.get(str(name), np.nan) for name in names])
    table["star_forming"] = np.where(np.asarray(spectra["broadline_agn"]), 0.0, is_sf)
    return table


def _read_lines(cutouts: Path, name: str) -> Table:
    """Read who forms stars by emission lines, and the positions that the file has."""
    label, *places = _BY_LINES[name]
    table = read_data_table(cutouts, name, ["objid", label, *places])
    is_text = table[label].dtype.kind in "UO"
    is_sf = np.asarray(table[label]) == "Star Forming" if is_text else numbers_of(table, label)
    columns = {"objid": np.asarray(table["objid"], dtype=str), "star_forming": is_sf.astype(float)}
    columns |= {own: numbers_of(table, place) for own, place in zip(("ra", "dec"), places, strict=False)}
    return Table(columns)
