"""Spectra of tables as those of specutils."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty
from astropy.table import Table

from hifrac.core.measurements import plain_floats
from hifrac.spectra.rest_frame import N_PIXELS, rest_wavelength

if TYPE_CHECKING:
    from specutils import Spectrum

__doctest_requires__ = {"result_spectrum": ["specutils"]}


def result_spectrum(result: Table, row: int = 0) -> Spectrum:
    """Return the rest-frame spectrum of one row of a table.

    Parameters
    ----------
    result : `~astropy.table.Table`
        With a column ``flux`` (n, 1000) on the grid of `rest_wavelength`, such as `fetch_spectra` returns.
    row : int, optional
        Its number, from 0; negative from the end.

    Returns
    -------
    spectrum : specutils.Spectrum
        Without unit: its norm is 1. Gaps, and rows without a spectrum, are masked. The uncertainty follows
        from ``flux_p16`` and ``flux_p84``, as half their distance, or else from ``ivar``. The rest of the
        row is its ``meta``, and so is what made it.

    Raises
    ------
    ImportError
        If specutils is not installed.
    TypeError
        If ``result`` is no table, or ``row`` no integer.
    ValueError
        If it has no such column, or no such row.

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
    row = operator.index(row)
    if not -len(result) <= row < len(result):
        raise ValueError(f"row must be one of the {len(result)} rows, got {row}")
    try:
        from specutils import Spectrum
    except ImportError as error:
        raise ImportError(
            'result_spectrum needs specutils: pip install "hifrac[spectra]" (or read the column flux, whose '
            "wavelengths are hifrac.spectra.rest_wavelength())"
        ) from error
    flux = plain_floats(result["flux"][row])
    meta = {
        name: result[name][row]
        for name in result.colnames
        if result[name].ndim == 1 or result[name].shape[1:] != (N_PIXELS,)
    }
    return Spectrum(
        flux=flux * u.dimensionless_unscaled,
        spectral_axis=rest_wavelength(),
        uncertainty=_uncertainty(result, row),
        mask=~np.isfinite(flux),
        meta={**result.meta, **meta},
    )


def _uncertainty(result: Table, row: int) -> Any:
    if {"flux_p16", "flux_p84"} <= set(result.colnames):
        low, high = (plain_floats(result[name][row]) for name in ("flux_p16", "flux_p84"))
        return StdDevUncertainty((high - low) / 2)
    if "ivar" in result.colnames:
        return InverseVariance(np.nan_to_num(plain_floats(result["ivar"][row])))
    return None
