"""Spectra of the SDSS as its files have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u

from hifrac._fits import open_fits
from hifrac.core.exceptions import HifracError
from hifrac.spectra.rest_frame import to_rest_frame

#: Unit of the fluxes in files of the SDSS.
FLUX_UNIT = u.Unit("1e-17 erg / (s cm2 Angstrom)")

# Bits of SPPIXMASK (sdssMaskbits.par) that no exposure of the pixel is without: FULLREJECT, NOSKY, NODATA,
# COMBINEREJ, in which there is nothing, and BRIGHTSKY, which is little but a line of the night sky.
_UNUSABLE = 1 << 18 | 1 << 22 | 1 << 24 | 1 << 25 | 1 << 23


class BadSpectrumError(HifracError, ValueError):
    """A file that is no usable spectrum: damaged, cut off, or of another format."""


@dataclass(frozen=True)
class ObservedSpectrum:
    """A spectrum as it was observed, and what its survey says of it.

    Attributes
    ----------
    wavelength : `~astropy.units.Quantity`, shape (n,)
        In vacuum, heliocentric.
    flux : `~astropy.units.Quantity`, shape (n,)
        Flux density.
    ivar : `~numpy.ndarray`, shape (n,)
        Inverse variance of the flux in its unit; 0 where there is none.
    mask : `~numpy.ndarray` of bool, shape (n,)
        True where ``and_mask`` has a bit that makes a pixel unusable: FULLREJECT, NOSKY, NODATA, COMBINEREJ,
        or BRIGHTSKY, which lines of the night sky leave (a few per cent of the pixels).
    redshift : float
        By the survey's fit.
    redshift_warning : int
        Its ``ZWARNING``: 0 if the redshift can be relied on.
    spectral_class : str
        ``"GALAXY"``, ``"QSO"`` or ``"STAR"``.
    plate, mjd, fiber : int
        The spectrum's name.
    ra, dec : float
        Where it was taken, in degrees.
    """

    wavelength: u.Quantity
    flux: u.Quantity
    ivar: np.ndarray
    mask: np.ndarray
    redshift: float
    redshift_warning: int
    spectral_class: str
    plate: int
    mjd: int
    fiber: int
    ra: float
    dec: float

    def to_rest_frame(self, *, masked: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Put it on the rest-frame grid, with or without ``mask``; see `hifrac.spectra.to_rest_frame`."""
        mask = self.mask if masked else None
        return to_rest_frame(self.wavelength, self.flux.value, self.ivar, redshift=self.redshift, mask=mask)


def read_sdss_spectrum(file: str | Path | bytes) -> ObservedSpectrum:
    """Read a ``spec-PLATE-MJD-FIBER.fits`` file of the SDSS (data release 8 and later).

    Parameters
    ----------
    file : path or bytes
        The file, or what is in it.

    Returns
    -------
    spectrum : ObservedSpectrum

    Raises
    ------
    OSError
        If the file cannot be opened.
    BadSpectrumError
        If it is damaged or no such file.

    Examples
    --------
    With a file of the survey at hand:

    >>> from hifrac.spectra import read_sdss_spectrum
    >>> spectrum = read_sdss_spectrum("spec-0266-51630-0215.fits")  # doctest: +SKIP
    >>> flux, ivar = spectrum.to_rest_frame()  # doctest: +SKIP
    """
    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    name = "the file" if isinstance(file, bytes) else str(file)
    try:
        with open_fits(data) as hdus:
            pixels, facts = hdus[1].data, hdus[2].data[0]
            values = {column: np.array(pixels[column], dtype=float) for column in ("loglam", "flux", "ivar")}
            return ObservedSpectrum(
                wavelength=10 ** values["loglam"] * u.AA,
                flux=values["flux"] * FLUX_UNIT,
                ivar=np.where(np.isfinite(values["ivar"]), np.maximum(values["ivar"], 0), 0),
                mask=(np.array(pixels["and_mask"], dtype=np.int64) & _UNUSABLE) != 0,
                redshift=float(facts["Z"]),
                redshift_warning=int(facts["ZWARNING"]),
                spectral_class=str(facts["CLASS"]).strip(),
                plate=int(facts["PLATE"]),
                mjd=int(facts["MJD"]),
                fiber=int(facts["FIBERID"]),
                ra=float(facts["PLUG_RA"]),
                dec=float(facts["PLUG_DEC"]),
            )
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        raise BadSpectrumError(f"file: {name} is no SDSS spectrum that can be read: {error}") from error
