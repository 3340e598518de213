"""The flags of spectra: why a row has none, or is not to be learned from."""

from __future__ import annotations

from hifrac.core.flags import BitFlag


class SpectrumFlag(BitFlag):
    """One bit of the ``spectrum_flags`` column; ``summary`` says what it means."""

    BAD_NAME = 1, "plate, mjd and fiber are masked, or no numbers that a spectrum can have"
    FETCH_FAILED = 2, "the service failed or refused, or the spectrum is not here and offline mode is on"
    NOT_FOUND = 4, "the archive has no such spectrum"
    BAD_FILE = 8, "a file came, but it is damaged, no spectrum, or that of another object"
    NO_PIXELS = 16, "no pixel is usable: all are masked, NaN, or of no inverse variance"
    OFF_GRID = 32, "at its redshift the spectrum has no usable pixel on the rest-frame grid"
    GAPS = 64, "less than half of the rest-frame grid has a usable pixel"
    BAD_REDSHIFT = 128, "the survey warns of the redshift (ZWARNING is not 0), or there is none"
    NOT_GALAXY = 256, "the survey takes the object for a star or a quasar"


#: The flags of rows without a spectrum.
WITHOUT_SPECTRUM = (
    SpectrumFlag.BAD_NAME
    | SpectrumFlag.FETCH_FAILED
    | SpectrumFlag.NOT_FOUND
    | SpectrumFlag.BAD_FILE
    | SpectrumFlag.NO_PIXELS
    | SpectrumFlag.OFF_GRID
)
