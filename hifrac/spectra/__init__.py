"""Spectra of galaxies: read, brought to the rest frame, and said in few numbers."""

from __future__ import annotations

from hifrac.spectra.fetch import fetch_spectra
from hifrac.spectra.flags import SpectrumFlag
from hifrac.spectra.latents import (
    Latents,
    LinearLatents,
    NetworkLatents,
    RotatedLatents,
    StandardisedLatents,
)
from hifrac.spectra.rest_frame import normalise, rest_wavelength, to_rest_frame
from hifrac.spectra.result import result_spectrum
from hifrac.spectra.sdss import BadSpectrumError, ObservedSpectrum, read_sdss_spectrum

__all__ = [
    "BadSpectrumError",
    "Latents",
    "LinearLatents",
    "NetworkLatents",
    "ObservedSpectrum",
    "RotatedLatents",
    "SpectrumFlag",
    "StandardisedLatents",
    "fetch_spectra",
    "normalise",
    "read_sdss_spectrum",
    "rest_wavelength",
    "result_spectrum",
    "to_rest_frame",
]
