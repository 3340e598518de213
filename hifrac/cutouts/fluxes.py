"""Fluxes of many bands, as a network of spectra reads them: decoded, gathered, and their order doubted.

Pictures of three bands are made for display. A recipe of more bands has none: its pixels are the calibrated
fluxes themselves, and which plane is which band is said by its ``bands``, never by position alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from hifrac.core.exceptions import RowError, warn_caller
from hifrac.core.flags import UNSERVED, Flag
from hifrac.cutouts._cubes import REDDEST_FIRST
from hifrac.cutouts.base import CutoutSource

log = logging.getLogger(__name__)

#: The order of the planes in the ``.npy`` files of Wu & Peek (2020). The comments of their code say grizy.
WU_PEEK_FILES = ("y", "z", "i", "r", "g")

# A band says something of the order if its light in the middle is so many times the noise.
_LEAST_SIGNAL = 5.0


def read_fluxes(
    source: CutoutSource,
    ra: Sequence[float] | np.ndarray,
    dec: Sequence[float] | np.ndarray,
    names: Sequence[Any] | None = None,
    *,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Gather the fluxes of many bands for the rows of a table.

    Parameters
    ----------
    source : `~hifrac.cutouts.CutoutSource`
        Of a recipe with more than three bands, such as ``PanSTARRSCutouts(WU_PEEK_RECIPE)``, or
        ``LocalCutouts(folder, bands="yzirg", recipe=WU_PEEK_RECIPE)`` for the files of the paper.
    ra, dec, names
        As of its ``fetch``.
    out : `~numpy.ndarray` of float32, shape (n, n_bands, width, width), optional
        Where they go, for instance a file (`numpy.lib.format.open_memmap`): 60,000 cutouts of the paper take
        60 GB.

    Returns
    -------
    fluxes : `~numpy.ndarray` of float32, shape (n, n_bands, width, width)
        In the order of the recipe's bands; the last row is the top, as in FITS files. Pixels without a value
        are 0, rows without fluxes NaN.
    flags : `~numpy.ndarray` of int32, shape (n,)
        Of `~hifrac.Flag`: what stopped a row, or SUSPECT_BANDS where `suspect_order` says so; else 0.

    Raises
    ------
    ValueError
        If the source has no recipe of more than three bands, or ``out`` is of another shape or type.

    Warns
    -----
    ~hifrac.core.HifracWarning
        Once each, if rows have no fluxes, and if the order of the bands is doubtful (`suspect_order`).
    """
    recipe = source.recipe
    if recipe is None or recipe.is_picture:
        raise ValueError(f"source must have a recipe of more than three bands, got {recipe}")
    shape = len(ra), len(recipe.bands), recipe.width, recipe.width
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif out.shape != shape or out.dtype != np.float32:
        raise ValueError(f"out must be float32 of shape {shape}, got {out.dtype} of shape {out.shape}")
    flags = np.zeros(len(ra), dtype=np.int32)
    first = ""
    for row, cutout in enumerate(source.fetch(np.asarray(ra), np.asarray(dec), names)):
        try:
            if cutout.error is not None:
                raise cutout.error
            pixels = cutout.pixels
            if pixels is None:
                pixels = recipe.decode(cast(bytes, cutout.data))  # what has no error has data
        except RowError as error:
            out[row], flags[row] = np.nan, int(error.flag)
            first = first or f"row {row}: {error}"
            log.info("row %d: %s", row, error, extra={"flag": error.flag})
            continue
        out[row] = np.moveaxis(pixels[::-1], -1, 0)
        if suspect_order(out[row : row + 1], recipe.bands)[0]:
            flags[row] = int(Flag.SUSPECT_BANDS)
    n_served, n_suspect = np.sum(flags & int(UNSERVED) == 0), np.sum(flags == int(Flag.SUSPECT_BANDS))
    if first:
        warn_caller(f"{len(flags) - n_served} of {len(flags)} rows have no fluxes, the first is {first}")
    if 2 * n_suspect > n_served:
        warn_caller(
            f"{n_suspect} of {n_served} galaxies are brighter in bluer bands: are the "
            f"planes really {', '.join(recipe.bands)}? The order of files is given by their bands"
        )
    return out, flags


def suspect_order(fluxes: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """Tell whose bands seem to be in another order: galaxies are brighter in redder bands.

    The flux in the middle of each band, in nanomaggies or another unit of flux per frequency, is ranked
    against wavelength; a negative correlation is suspicious. Of 5,731 real galaxies (model magnitudes in
    g, r, i, z) 4 are, and of the same galaxies with their bands reversed all but 4. Two neighbours that were
    exchanged cannot be told.

    Parameters
    ----------
    fluxes : `~numpy.ndarray`, shape (n, n_bands, height, width)
        Centred on galaxies; pixels that are NaN do not count.
    bands : sequence of str
        What each plane is said to be: at least three filters of known wavelength.

    Returns
    -------
    suspect : `~numpy.ndarray` of bool, shape (n,)
        False also where fewer than three bands show a source in the middle.

    Raises
    ------
    ValueError
        If the bands are too few, or not those of the planes, or one is unknown.
    """
    if unknown := [band for band in bands if band not in REDDEST_FIRST]:
        raise ValueError(f"bands: nothing is known of the filter {unknown[0]!r}")
    if fluxes.ndim != 4 or fluxes.shape[1] != len(bands) or len(set(bands)) < 3:
        raise ValueError(
            f"bands must be three or more, one a plane of fluxes, got {', '.join(bands)} for the shape "
            f"{fluxes.shape}"
        )
    order = np.argsort([-REDDEST_FIRST.index(band) for band in bands])
    light, noise = _light(np.asarray(fluxes)[:, order])
    is_seen = light > _LEAST_SIGNAL * noise
    redder, bluer = np.triu_indices(len(bands), 1)[::-1]
    both = is_seen[:, redder] & is_seen[:, bluer]
    # Kendall's tau, but for a factor: pairs in the one order less those in the other.
    concordance = np.sum(np.sign(light[:, redder] - light[:, bluer]) * both, axis=1)
    return (is_seen.sum(axis=1) >= 3) & (concordance < 0)


def _light(fluxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flux in the middle eighth of each plane (along an axis) above the sky, and its noise."""
    height, width = fluxes.shape[-2:]
    half_height, half_width = max(1, height // 16), max(1, width // 16)
    middle = fluxes[
        ...,
        height // 2 - half_height : height // 2 + half_height,
        width // 2 - half_width : width // 2 + half_width,
    ]
    flat = np.where(np.isfinite(fluxes), fluxes, np.nan).reshape(*fluxes.shape[:2], -1)
    is_empty = np.isnan(flat).all(axis=-1)
    flat[is_empty] = 0
    sky = np.nanmedian(flat, axis=-1)
    deviation = 1.4826 * np.nanmedian(np.abs(flat - sky[..., None]), axis=-1)
    is_good = np.isfinite(middle)
    light = np.sum(np.where(is_good, middle, 0) - np.where(is_good, sky[..., None, None], 0), axis=(-2, -1))
    noise = deviation * np.sqrt(is_good.sum(axis=(-2, -1)))
    return np.where(is_empty, 0, light), noise
