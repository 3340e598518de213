"""Files of SDSS spectra, with the tables and columns that those of the archive have."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits

LOGLAM = np.arange(3.58, 3.965, 1e-4)
H_ALPHA = 12.0  # the equivalent width that the pipeline has
FACTS = {"Z": 0.1, "ZWARNING": 0, "CLASS": "GALAXY ", "PLATE": 266, "MJD": 51630, "FIBERID": 7}


def spec_file(flux=None, ivar=None, mask=None, loglam=LOGLAM, n_exposures=0, **facts) -> bytes:
    """A ``spec`` file: by default of a flat galaxy at z = 0.1, with some noise that its name fixes."""
    facts = {**FACTS, "PLUG_RA": 150.5, "PLUG_DEC": -0.25, **facts}
    if flux is None:
        flux = 5 + np.random.default_rng(facts["FIBERID"]).normal(size=LOGLAM.size)
    ivar = np.ones(LOGLAM.size) if ivar is None else ivar
    mask = np.zeros(LOGLAM.size, int) if mask is None else mask
    pixels = [
        fits.Column(name, "J" if name == "and_mask" else "E", array=values)
        for name, values in (("flux", flux), ("loglam", loglam), ("ivar", ivar), ("and_mask", mask))
    ]
    row = [
        fits.Column(name, {str: "6A", int: "J", float: "D"}[type(value)], array=[value])
        for name, value in facts.items()
    ]
    lines = [
        fits.Column("LINENAME", "13A", array=["H_beta", "H_alpha"]),
        fits.Column("LINEEW", "E", array=[1.0, H_ALPHA]),
    ]
    tables = [pixels, row, lines, *[pixels] * n_exposures]
    hdus = [fits.PrimaryHDU(), *map(fits.BinTableHDU.from_columns, tables)]
    hdus[3].name = "SPZLINE"
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file)
    return file.getvalue()
