"""Spectra of tables as those of specutils."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty
from astropy.table import Table

from hifrac.spectra.rest_frame import N_PIXELS, numbers_of, rest_wavelength

if TYPE_CHECKING:
    from specutils import Spectrum

__doctest_requires__ = {"result_spectrum": ["specutils"]}


def result_spectrum(result: Table, row: int = 0) -> Spectrum:
    """Return the rest-frame spectrum of one row of a table, measured or predicted.

    What `~hifrac.SpectrumEstimator` predicts is a photometric template spectrum, no measured one: what
    magnitudes and a redshift do not tell is not in it.

    Parameters
    ----------
    result : `~astropy.table.Table`
        With a column ``flux`` (n, 1000) on the grid of `rest_wavelength`, such as `fetch_spectra` returns.
    row : int, optional
        Its number, from 0; negative from the end.

    Returns
    -------
    spectrum : specutils.Spectrum
        In the unit of the column, which has none where the norm is 1. Gaps, and rows without a spectrum,
        are masked. The uncertainty follows from ``flux_p16`` and ``flux_p84``, as half their distance, or
        else from ``ivar``. The rest of the row is its ``meta``, and so is what made it.

    Raises
    ------
    ImportError
        If specutils is not installed.
    TypeError
        If ``result`` is no table, ``row`` no integer, or a column does not hold numbers.
    ValueError
        If it has no such column, or no such row, or another number of pixels in one of the others.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from hifrac.spectra import result_spectrum
    >>> spectra = Table({"name": ["a"], "flux": np.full((1, 1000), 0.03)})
    >>> result_spectrum(spectra, 0).shape
    (1000,)
    """
    if not isinstance(result, Table):
        raise TypeError(f"result must be a table with a column flux, got {type(result).__name__}")
    if "flux" not in result.colnames or result["flux"].shape[1:] != (N_PIXELS,):
        raise ValueError(f"result has no column flux of {N_PIXELS} pixels in the rest frame")
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        raise TypeError(f"row must be an integer, got {row!r}")
    if not -len(result) <= row < len(result):
        raise ValueError(f"row must be one of the {len(result)} rows, got {row}")
    try:
        from specutils import Spectrum
    except ImportError as error:
        raise ImportError(
            'result_spectrum needs specutils: pip install "hifrac[spectra]" (or read the column flux, whose '
            "wavelengths are hifrac.spectra.rest_wavelength())"
        ) from error
    flux = _pixels(result, "flux", row)
    meta = {
        name: result[name][row]
        for name in result.colnames
        if result[name].ndim == 1 or result[name].shape[1:] != (N_PIXELS,)
    }
    return Spectrum(
        flux=flux * (result["flux"].unit or u.dimensionless_unscaled),
        spectral_axis=rest_wavelength(),
        uncertainty=_uncertainty(result, row),
        mask=~np.isfinite(flux),
        meta={**result.meta, **meta},
    )


def _uncertainty(result: Table, row: int) -> Any:
    if {"flux_p16", "flux_p84"} <= set(result.colnames):
        low, high = (_pixels(result, name, row) for name in ("flux_p16", "flux_p84"))
        return StdDevUncertainty((high - low) / 2)
    if "ivar" in result.colnames:
        return InverseVariance(np.maximum(np.nan_to_num(_pixels(result, "ivar", row)), 0.0))
    return None


def _pixels(result: Table, name: str, row: int) -> np.ndarray:
    """Return the pixels of one cell, NaN where masked."""
    if result[name].shape[1:] != (N_PIXELS,):
        raise ValueError(f"result: {name} must have {N_PIXELS} pixels a row, got {result[name].shape[1:]}")
    return numbers_of(f"result: {name}", result[name][row])
