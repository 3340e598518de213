"""What a row of a table says of its galaxy beside the picture."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of n galaxies, NaN where it is not.

    Attributes
    ----------
    g_minus_i, i : `~numpy.ndarray` of float, shape (n,)
        Colour and magnitude of SDSS, corrected for the dust of the Milky Way (mag, AB).
    log_cz : `~numpy.ndarray` of float, shape (n,)
        log10 of the redshift times the speed of light in km/s.
    axis_ratio : `~numpy.ndarray` of float, shape (n,)
        Apparent, minor by major axis: 0 to 1.
    log_mstar, log_mstar_err : `~numpy.ndarray` of float, shape (n,)
        log10(M*/Msun) and its standard error, in dex.
    log_mhi_limit : `~numpy.ndarray` of float, shape (n,)
        Upper limit of log10(M_HI/Msun).
    dec : `~numpy.ndarray` of float, shape (n,)
        Declination in degrees.
    """

    g_minus_i: np.ndarray
    i: np.ndarray
    log_cz: np.ndarray
    axis_ratio: np.ndarray
    log_mstar: np.ndarray
    log_mstar_err: np.ndarray
    log_mhi_limit: np.ndarray
    dec: np.ndarray

    @classmethod
    def none(cls, n: int) -> Evidence:
        """Return the evidence of n galaxies of which nothing is known."""
        return cls(*(np.full(n, np.nan) for _ in fields(cls)))

    def __len__(self) -> int:
        return len(self.dec)

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> Evidence:
        """Return some of the rows."""
        return Evidence(*(getattr(self, field.name)[rows] for field in fields(self)))
