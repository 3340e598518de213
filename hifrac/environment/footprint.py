"""Where a reference survey has looked: what share of a circle it covers.

Near the edge of a survey the n-th neighbour is found too far away, because
those beyond the edge were not observed.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.spatial import cKDTree

from hifrac.core.angles import unit_vectors
from hifrac.environment._neighbours import near_each_other
from hifrac.environment._parse import parse_positions

_POINTS = 200  # in the smallest circle judged: 7% noise
_PROBES = 128  # points that a circle is probed with
_AT_ONCE = 1 << 20


class Footprint(Protocol):
    """What tells the covered share of a circle."""

    def coverage(self, ra: np.ndarray, dec: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return the covered share, 0 to 1, of circles; positions in degrees, radii in radians."""


class RandomPoints:
    """A footprint given by random points spread evenly over the survey.

    Parameters
    ----------
    points : `~astropy.coordinates.SkyCoord` or `~astropy.table.Table`
        The points, as surveys publish them for measurements of clustering. At least
        2000; the more, the smaller the circles that can be judged.
    density : `~astropy.units.Quantity`, optional
        Points per solid angle inside the survey. By default the median around the
        points themselves, which is too low in a survey that is all edge.

    Raises
    ------
    ValueError
        If there are too few points, or the density is not positive.

    Notes
    -----
    Circles that would hold fewer than 200 points are judged by the circle that
    does: the share is uncertain by 7% there, and less in larger ones.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from hifrac.environment import RandomPoints
    >>> rng = np.random.default_rng(0)
    >>> ra, dec = rng.uniform(140, 160, 5000), rng.uniform(-5, 5, 5000)
    >>> footprint = RandomPoints(SkyCoord(ra, dec, unit="deg"))
    >>> footprint.coverage(np.array([150.0, 120.0]), np.zeros(2), np.radians([2.0, 2.0])).round(1)
    array([0.9, 0. ])
    """

    def __init__(self, points: SkyCoord | Table, *, density: u.Quantity | None = None) -> None:
        ra, dec = parse_positions(points, "points")
        is_valid = np.isfinite(ra)
        if np.count_nonzero(is_valid) < 10 * _POINTS:
            raise ValueError(f"points must be at least {10 * _POINTS}, got {np.count_nonzero(is_valid)}")
        self._tree = cKDTree(unit_vectors(ra[is_valid], dec[is_valid]))
        if density is None:
            self._density = self._own_density()
        else:
            self._density = u.Quantity(density).to_value(u.sr**-1)
            if not self._density > 0:
                raise ValueError(f"density must be positive, got {density}")

    def __repr__(self) -> str:
        return f"<RandomPoints: {self._tree.n} points, {self.density:.4g}>"

    @property
    def density(self) -> u.Quantity:
        """Points per square degree inside the survey."""
        return (self._density / u.sr).to(u.deg**-2)

    def _own_density(self) -> float:
        some = self._tree.data[:: max(1, self._tree.n // 4000)]
        chord = self._tree.query(some, k=[_POINTS + 1])[0][:, 0]
        return float(np.median(_POINTS / (np.pi * chord**2)))  # a cap of this chord has this very area

    def coverage(self, ra: np.ndarray, dec: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return the covered share of circles.

        Parameters
        ----------
        ra, dec : array of float, shape (m,)
            Centres, degrees.
        radius : array of float, shape (m,)
            Radii, radians.

        Returns
        -------
        share : array of float, shape (m,)
            From 0 to 1.
        """
        chord = 2 * np.sin(np.minimum(radius, np.pi) / 2)
        chord = np.maximum(chord, np.sqrt(_POINTS / (np.pi * self._density)))
        chord = np.minimum(chord, 2)
        count = np.empty(len(ra))
        if len(ra):
            vectors = unit_vectors(ra, dec)
            order = near_each_other(vectors)
            count[order] = self._tree.query_ball_point(vectors[order], chord[order], return_length=True)
        return np.minimum(count / (self._density * np.pi * chord**2), 1.0)


class Region:
    """A footprint given by a test whether positions are inside.

    Parameters
    ----------
    region : callable or object with ``contains_lonlat``
        A function of RA and Dec (arrays, degrees) that returns booleans, or a
        coverage map such as `mocpy.MOC <https://cds-astro.github.io/mocpy/>`_. mocpy is not needed for
        anything else.

    Raises
    ------
    TypeError
        If it is neither.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.environment import Region
    >>> footprint = Region(lambda ra, dec: dec > 0)
    >>> footprint.coverage(np.array([150.0, 150.0]), np.array([0.0, 5.0]), np.radians([2.0, 2.0])).round(1)
    array([0.5, 1. ])
    """

    def __init__(self, region: Any) -> None:
        if hasattr(region, "contains_lonlat"):
            self._contains = lambda ra, dec: region.contains_lonlat(ra * u.deg, dec * u.deg)
        elif callable(region):
            self._contains = region
        else:
            raise TypeError(f"region must be a MOC or a function of RA and Dec, got {type(region).__name__}")

    def coverage(self, ra: np.ndarray, dec: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Return the covered share of circles, probed at 128 points in each; see `RandomPoints.coverage`."""
        share = np.empty(len(ra))
        step = _AT_ONCE // _PROBES
        for start in range(0, len(ra), step):
            part = slice(start, start + step)
            inside = self._contains(*_sunflower(ra[part], dec[part], radius[part]))
            inside = np.asarray(inside, bool).reshape(-1, _PROBES)
            share[part] = inside.mean(axis=1)
        return share


def _sunflower(ra: np.ndarray, dec: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread points evenly over circles (Vogel 1979, Math. Biosci. 44, 179), one circle after the other."""
    number = np.arange(_PROBES)
    turn = number * np.pi * (3 - np.sqrt(5))
    # Equal areas of a cap: 1 - cos is uniform.
    height = (1 - np.cos(np.minimum(radius, np.pi)))[:, None] * (number + 0.5) / _PROBES
    along, across = 1 - height, np.sqrt(np.maximum(height * (2 - height), 0))
    centre = unit_vectors(ra, dec)
    east = np.stack([-np.sin(np.radians(ra)), np.cos(np.radians(ra)), np.zeros(len(ra))], axis=-1)
    north = np.cross(centre, east)
    sideways = np.cos(turn)[:, None] * east[:, None] + np.sin(turn)[:, None] * north[:, None]
    points = (along[..., None] * centre[:, None] + across[..., None] * sideways).reshape(-1, 3)
    return (
        np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360,
        np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1))),
    )


def as_footprint(footprint: Any) -> Footprint:
    """Return what the user gave as a footprint.

    Raises
    ------
    TypeError
        If it is nothing of that kind.
    """
    if hasattr(footprint, "coverage"):
        return footprint
    if isinstance(footprint, SkyCoord | Table):
        return RandomPoints(footprint)
    if callable(footprint) or hasattr(footprint, "contains_lonlat"):
        return Region(footprint)
    raise TypeError(
        "footprint must be 'reference', None, random points (SkyCoord or table), a MOC, "
        f"or a function of RA and Dec, got {type(footprint).__name__}"
    )


def outside(
    ra: np.ndarray, dec: np.ndarray, reference_ra: np.ndarray, reference_dec: np.ndarray
) -> np.ndarray:
    """Return True where the sky around a position is clearly without reference galaxies of any redshift.

    The sky is cut into cells of equal area, as small as leaves 20 galaxies on
    average in those that have any. A position in a cell without any is
    outside. A sparse reference does not tell, and nothing is outside.
    """
    rows = 128
    while rows >= 8:
        cells = _cells(reference_ra, reference_dec, rows)
        count = np.bincount(cells, minlength=2 * rows * rows)
        if len(cells) >= 20 * np.count_nonzero(count):
            return count[_cells(ra, dec, rows)] == 0
        rows //= 2
    return np.zeros(len(ra), bool)


def _cells(ra: np.ndarray, dec: np.ndarray, rows: int) -> np.ndarray:
    row = np.minimum(((np.sin(np.radians(dec)) + 1) / 2 * rows).astype(int), rows - 1)
    column = np.minimum((ra / 360 * 2 * rows).astype(int), 2 * rows - 1)
    return row * 2 * rows + column
