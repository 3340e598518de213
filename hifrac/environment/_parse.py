"""What a user may hand in: galaxies, redshifts, a reference, a cosmology."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.cosmology import Cosmology, FlatLambdaCDM
from astropy.table import Table
from scipy.interpolate import CubicSpline

from hifrac.core.angles import unit_vectors
from hifrac.core.exceptions import warn_caller
from hifrac.core.input import sky_positions
from hifrac.core.measurements import find_measurement, parse_measurement

_MANY = 4096  # from here on distances are interpolated
_BLUE = -0.01  # cz = -3000 km/s: no galaxy is bluer, smaller numbers stand for "none"


@dataclass(frozen=True)
class Galaxies:
    """Positions (ICRS degrees) and redshifts, arrays of one length."""

    ra: np.ndarray
    dec: np.ndarray
    z: np.ndarray

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: np.ndarray) -> Galaxies:
        return Galaxies(self.ra[rows], self.dec[rows], self.z[rows])

    @property
    def vectors(self) -> np.ndarray:
        """Unit vectors of the positions."""
        return unit_vectors(self.ra, self.dec)


def parse_positions(data: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS degrees, NaN where invalid; the errors begin with the parameter's name."""
    try:
        return sky_positions(data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def parse_redshifts(values: Any, name: str, rows: int) -> np.ndarray:
    """Return redshifts, NaN where unknown; a ValueError if there are not as many as rows."""
    z = parse_measurement(values, "z", name)
    if len(z) != rows:
        raise ValueError(f"{name} must have one redshift for each of {rows} positions, got {len(z)}")
    return z


def parse_galaxies(coords: Any, z: Any) -> Galaxies:
    """Return the galaxies whose density is wanted, NaN where a position or redshift is unknown."""
    ra, dec = parse_positions(coords, "coords")
    return Galaxies(ra, dec, parse_redshifts(z, "z", len(ra)))


def parse_reference(reference: Any) -> tuple[Galaxies, int]:
    """Return the usable rows of a reference, and how many others there are.

    Raises
    ------
    TypeError
        If it is neither a table nor a pair of SkyCoord and redshifts.
    ValueError
        If it has no positions or no redshifts, or no usable row.
    """
    if isinstance(reference, Table):
        column = find_measurement(reference, "z", "reference")
        if column is None:
            raise ValueError(
                f"reference has no column z; its columns are {', '.join(reference.colnames) or '(none)'}"
            )
        coords, redshifts = reference, reference[column]
    elif isinstance(reference, tuple | list) and len(reference) == 2 and isinstance(reference[0], SkyCoord):
        coords, redshifts = reference
    else:
        raise TypeError(
            "reference must be a table with ra, dec and z, or a pair (SkyCoord, z), "
            f"got {type(reference).__name__}"
        )
    ra, dec = parse_positions(coords, "reference")
    galaxies = Galaxies(ra, dec, parse_redshifts(redshifts, "reference z", len(ra)))
    with np.errstate(invalid="ignore"):
        good = np.isfinite(ra) & (galaxies.z > _BLUE)
    if not np.any(good):
        raise ValueError(f"reference has no row with a position and a redshift among {len(ra)}")
    if np.all(good):
        return galaxies, 0
    left_out = int(np.count_nonzero(~good))
    warn_caller(
        f"reference: {left_out} of {len(ra)} rows left out: no position, or no redshift above {_BLUE}"
    )
    return galaxies[good], left_out


def parse_window(window: u.Quantity | None) -> float | None:
    """Return the velocity window in km/s; None for none, or for an infinite one."""
    if window is None:
        return None
    if not isinstance(window, u.Quantity):
        raise TypeError(f"velocity_window must be a velocity with its unit, or None, got {window!r}")
    try:
        value = window.to_value(u.km / u.s)
    except u.UnitConversionError:
        raise u.UnitConversionError(f"velocity_window must be a velocity, got {window}") from None
    if np.ndim(value) or not value > 0:
        raise ValueError(f"velocity_window must be one positive velocity, got {window}")
    return None if np.isinf(value) else float(value)


def parse_cosmology(cosmology: Cosmology | None) -> Cosmology:
    """Return the cosmology, by default that of Wu (2020): flat, H0 = 70 km/s/Mpc, Omega_m = 0.3."""
    if cosmology is None:
        return _default_cosmology()
    if not isinstance(cosmology, Cosmology) or not hasattr(cosmology, "comoving_transverse_distance"):
        raise TypeError(f"cosmology must be an Astropy cosmology, got {type(cosmology).__name__}")
    return cosmology


@functools.cache
def _default_cosmology() -> Cosmology:
    return FlatLambdaCDM(H0=70, Om0=0.3)  # once: Astropy computes much when one is first used


def transverse_distance(cosmology: Cosmology, z: np.ndarray) -> np.ndarray:
    """Return the comoving transverse distance in Mpc, NaN for redshifts that are not above zero.

    Over (1 + z) it is the physical distance per radian. More than 4096 are
    interpolated with a cubic spline, exact to some 1e-11 (a general cosmology
    integrates each redshift on its own).
    """
    result = np.full(len(z), np.nan)
    with np.errstate(invalid="ignore"):
        good = z > 0
    if np.count_nonzero(good) <= _MANY:
        if np.any(good):
            result[good] = cosmology.comoving_transverse_distance(z[good]).to_value(u.Mpc)
        return result
    grid = np.linspace(0, z[good].max(), _MANY + 1)
    spline = CubicSpline(grid, cosmology.comoving_transverse_distance(grid).to_value(u.Mpc))
    result[good] = spline(z[good])
    return result
