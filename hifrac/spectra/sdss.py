"""Spectra of the SDSS as its files have them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u

from hifrac.core.exceptions import HifracError
from hifrac.spectra.rest_frame import to_rest_frame

_FLUX_UNIT = u.Unit("1e-17 erg / (s cm2 Angstrom)")


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
    redshift: float
    redshift_warning: int
    spectral_class: str
    plate: int
    mjd: int
    fiber: int
    ra: float
    dec: float

    def to_rest_frame(self) -> tuple[np.ndarray, np.ndarray]:
        """Put it on the rest-frame grid; see `hifrac.spectra.to_rest_frame`."""
        return to_rest_frame(self.wavelength, self.flux.value, self.ivar, redshift=self.redshift)


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
    """
    from astropy.io import fits

    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    name = "the file" if isinstance(file, bytes) else str(file)
    try:
        with fits.open(io.BytesIO(data), memmap=False) as hdus:
            pixels, facts = hdus[1].data, hdus[2].data[0]
            values = {column: np.array(pixels[column], dtype=float) for column in ("loglam", "flux", "ivar")}
            return ObservedSpectrum(
                wavelength=10 ** values["loglam"] * u.AA,
                flux=values["flux"] * _FLUX_UNIT,
                ivar=np.where(np.isfinite(values["ivar"]), np.maximum(values["ivar"], 0), 0),
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
