"""Which rows of two catalogues are one galaxy; duplicates; and blends in a radio beam."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from hifrac.catalogs.columns import plain_values
from hifrac.core.text_tables import NULL_WORDS

# Separations that differ by less are equal: then the row that comes first wins.
_RESOLUTION_ARCSEC = 1e-6


def match_positions(
    left: Any,
    right: Any,
    radius: u.Quantity,
    *,
    max_velocity_difference: u.Quantity | None = None,
) -> QTable:
    """Match two catalogues by position, one to one.

    Of all pairs within the radius the closest is taken first, then the
    closest of those of which neither galaxy is taken, and so on: the result
    does not depend on the order of the rows, but for exact ties, and no
    galaxy is used twice.

    Parameters
    ----------
    left, right : `~astropy.coordinates.SkyCoord` or `~astropy.table.Table`
        Positions, or tables with ``ra`` and ``dec`` (degrees without a unit).
        A row with no valid position has no match.
    radius : angle
        Largest separation of a pair, itself included.
    max_velocity_difference : velocity, optional
        Pairs must agree in ``v``, too; then both must be tables with ``v``.
        A row without a velocity has no match.

    Returns
    -------
    match : `~astropy.table.QTable`
        One row for each of ``left``: ``row``, of ``right``, masked where
        there is none; ``separation`` in arcsec; ``n_candidates``, how many of
        ``right`` were within reach; ``ambiguous``, True where this galaxy or
        the one it got had another within reach.

    Raises
    ------
    TypeError
        If the positions are neither coordinates nor tables.
    ValueError
        If the radius is not positive, or is more than a degree.
    KeyError
        If a table lacks a column that is needed.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from hifrac import catalogs
    >>> hi = SkyCoord([150.0, 170.0] * u.deg, [2.0, 2.0] * u.deg)
    >>> optical = SkyCoord([120.0, 150.001] * u.deg, [2.0, 2.0] * u.deg)
    >>> match = catalogs.match_positions(hi, optical, 5 * u.arcsec)
    >>> match["row"].tolist(), match["separation"][0].round(1)
    ([1, None], <MaskedQuantity 3.6 arcsec>)
    """
    arcsec = _radius(radius)
    n_left, n_right = _length(left, "left"), _length(right, "right")
    i, j, separation = pairs_within(_position(left, "left"), _position(right, "right"), arcsec)
    if max_velocity_difference is not None:
        limit = u.Quantity(max_velocity_difference).to_value(u.km / u.s)
        close = np.abs(_velocity(left, "left")[i] - _velocity(right, "right")[j]) <= limit
        i, j, separation = i[close], j[close], separation[close]
    n_of_left = np.bincount(i, minlength=n_left)
    n_of_right = np.bincount(j, minlength=n_right)
    taken_i, taken_j, taken_separation = _one_to_one(i, j, separation, n_left, n_right)
    row = np.full(n_left, -1)
    distance = np.full(n_left, np.nan)
    row[taken_i], distance[taken_i] = taken_j, taken_separation
    matched = row >= 0
    ambiguous = n_of_left > 1
    ambiguous[taken_i] |= n_of_right[taken_j] > 1
    # Without a match, but within reach of one: another galaxy was closer.
    ambiguous |= ~matched & (n_of_left > 0)
    return _match_table(row, matched, ambiguous, n_of_left, distance)


def match_ids(left: Any, right: Any) -> QTable:
    """Match two catalogues by an identifier.

    Parameters
    ----------
    left, right : array-like or column, shape (n,) and (m,)
        The identifiers, integers of any kind or text; text and numbers are not the same. Masked ones,
        empty text and words for nothing, such as null, match nothing.

    Returns
    -------
    match : `~astropy.table.QTable`
        One row for each of ``left``: ``row``, the first of ``right`` with
        that identifier, masked where there is none; ``n_candidates``, how
        many of ``right`` have it; ``ambiguous``, True where it occurs more
        than once in either.

    Raises
    ------
    TypeError
        If one is text and the other numbers, or if they are floats: an SDSS
        identifier has more digits than a float.

    Examples
    --------
    >>> from hifrac import catalogs
    >>> objid = [1237648720693755918, 1237648720693755919]
    >>> catalogs.match_ids(objid, [1237648720693755919, 1237651273508978748])["row"].tolist()
    [None, 0]
    """
    left_ids, left_valid = _identifiers(left, "left")
    right_ids, right_valid = _identifiers(right, "right")
    kinds = {left_ids.dtype.kind, right_ids.dtype.kind}
    if left_valid.any() and right_valid.any() and "U" in kinds and len(kinds) > 1:
        raise TypeError(
            f"left holds {left_ids.dtype}, right holds {right_ids.dtype}: text and numbers differ"
        )
    if kinds == {"i", "u"}:
        # Numpy would compare them as floats. A negative number is none of the other's.
        left_valid, right_valid = left_valid & (left_ids >= 0), right_valid & (right_ids >= 0)
        left_ids, right_ids = left_ids.astype(np.uint64), right_ids.astype(np.uint64)
    where = np.flatnonzero(right_valid)
    row = np.full(len(left_ids), -1)
    n_candidates = np.zeros(len(left_ids), int)
    if where.size and left_valid.any():
        keys, first, counts = np.unique(right_ids[where], return_index=True, return_counts=True)
        place = np.searchsorted(keys, left_ids).clip(0, len(keys) - 1)
        there = (keys[place] == left_ids) & left_valid
        row[there] = where[first[place[there]]]
        n_candidates[there] = counts[place[there]]
    twice = np.zeros(len(left_ids), bool)
    if left_valid.any():
        _, inverse, own = np.unique(left_ids[left_valid], return_inverse=True, return_counts=True)
        twice[left_valid] = own[inverse] > 1
    matched = row >= 0
    return _match_table(row, matched, matched & ((n_candidates > 1) | twice), n_candidates)


def find_duplicates(positions: Any, radius: u.Quantity) -> np.ndarray:
    """Find groups of rows that are closer together than a radius.

    Parameters
    ----------
    positions : `~astropy.coordinates.SkyCoord` or `~astropy.table.Table`
        The catalogue.
    radius : angle
        Rows closer than that are of one group, and so are their neighbours.

    Returns
    -------
    group : `~numpy.ndarray` of int, shape (n,)
        Number of the group, counted from 0 by first appearance; -1 for a row that is alone.

    Raises
    ------
    TypeError, ValueError, KeyError
        As `match_positions`.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from hifrac import catalogs
    >>> positions = SkyCoord([150.0, 170.0, 150.0005] * u.deg, [2.0, 2.0, 2.0] * u.deg)
    >>> catalogs.find_duplicates(positions, 3 * u.arcsec)
    array([ 0, -1,  0])
    """
    arcsec, n = _radius(radius), _length(positions, "positions")
    position = _position(positions, "positions")
    i, j, _ = pairs_within(position, position, arcsec)
    links = sparse.coo_array((np.ones(len(i), bool), (i, j)), shape=(n, n))
    _, label = connected_components(links, directed=False) if n else (0, np.zeros(0, int))
    size = np.bincount(label, minlength=1)
    alone = size[label] == 1
    group = np.full(n, -1)
    grouped = label[~alone]
    _, first, inverse = np.unique(grouped, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    group[~alone] = order[inverse]
    return group


def count_neighbours(
    positions: Any,
    others: Any = None,
    *,
    radius: u.Quantity,
    max_velocity_difference: u.Quantity | None = None,
) -> np.ndarray:
    """Count the other sources within a radius of each: blends in a beam, collisions of fibres.

    Parameters
    ----------
    positions : `~astropy.coordinates.SkyCoord` or `~astropy.table.Table`
        Whose neighbours are counted.
    others : likewise, optional
        Among whom; by default among ``positions``, each without itself.
    radius : angle
        For Arecibo's beam of 3.8 arcmin full width at half maximum, half of it: 1.9 arcmin.
    max_velocity_difference : velocity, optional
        Count only sources whose ``v`` is as close; a source without one counts in any case.

    Returns
    -------
    count : `~numpy.ndarray` of int, shape (n,)
        Number of neighbours.

    Raises
    ------
    TypeError, ValueError, KeyError
        As `match_positions`.

    Examples
    --------
    Galaxies in one beam of Arecibo, at one velocity:

    >>> from astropy import units as u
    >>> from astropy.table import Table
    >>> from hifrac import catalogs
    >>> table = Table({"ra": [150.0, 150.02, 150.01], "dec": [2.0, 2.0, 2.0], "v": [5000.0, 5100.0, 9000.0]})
    >>> catalogs.count_neighbours(table, radius=1.9 * u.arcmin, max_velocity_difference=500 * u.km / u.s)
    array([1, 1, 0])
    """
    arcsec, n = _radius(radius), _length(positions, "positions")
    itself = others is None
    others = positions if itself else others
    i, j, _ = pairs_within(_position(positions, "positions"), _position(others, "others"), arcsec)
    keep = i != j if itself else np.ones(len(i), bool)
    if max_velocity_difference is not None:
        limit = u.Quantity(max_velocity_difference).to_value(u.km / u.s)
        difference = np.abs(_velocity(positions, "positions")[i] - _velocity(others, "others")[j])
        keep &= ~(difference > limit)
    return np.bincount(i[keep], minlength=n)


def pairs_within(left: tuple, right: tuple, arcsec: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of positions within a radius.

    Parameters
    ----------
    left, right : pair of arrays
        RA and Dec in degrees; what is not finite, or off the sphere, is in no pair.
    arcsec : float
        The radius.

    Returns
    -------
    i, j : arrays of int
        Rows of ``left`` and ``right``.
    separation : array of float
        In arcsec.
    """
    rows, trees = zip(*(_tree(*position) for position in (left, right)), strict=True)
    # A hair more than the radius: the trees work with chords, the rule with rounded angles.
    reach = 2 * np.sin(np.radians((arcsec + 10 * _RESOLUTION_ARCSEC) / 3600) / 2)
    near = trees[0].sparse_distance_matrix(trees[1], reach, output_type="coo_matrix")
    separation = np.degrees(2 * np.arcsin(near.data / 2)) * 3600
    separation = np.round(separation / _RESOLUTION_ARCSEC) * _RESOLUTION_ARCSEC
    inside = separation <= arcsec + 0.5 * _RESOLUTION_ARCSEC
    return rows[0][near.row[inside]], rows[1][near.col[inside]], separation[inside]


def _tree(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, cKDTree]:
    """Return the rows with a position, and a tree of their unit vectors."""
    with np.errstate(invalid="ignore"):
        good = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90))
    longitude, latitude = np.radians(ra[good]), np.radians(dec[good])
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    return good, cKDTree(np.stack([x, y, np.sin(latitude)], axis=1))


def _one_to_one(i, j, separation, n_left, n_right):
    """Return the pairs that are taken when the closest is taken first; without a loop over galaxies."""
    order = np.lexsort((j, i, separation))
    i, j, separation = i[order], j[order], separation[order]
    taken = []
    left = np.arange(len(i))
    while left.size:
        # A pair that comes first for both of its galaxies is taken in any order of the others.
        first_i, first_j = np.full(n_left, len(i)), np.full(n_right, len(i))
        np.minimum.at(first_i, i[left], left)
        np.minimum.at(first_j, j[left], left)
        now = left[(first_i[i[left]] == left) & (first_j[j[left]] == left)]
        taken.append(now)
        gone_i, gone_j = np.zeros(n_left, bool), np.zeros(n_right, bool)
        gone_i[i[now]], gone_j[j[now]] = True, True
        left = left[~gone_i[i[left]] & ~gone_j[j[left]]]
    chosen = np.concatenate(taken) if taken else np.zeros(0, int)
    return i[chosen], j[chosen], separation[chosen]


def _match_table(row, matched, ambiguous, n_candidates, separation=None) -> QTable:
    table = QTable()
    table["row"] = MaskedColumn(np.where(matched, row, 0), mask=~matched)
    if separation is not None:
        table["separation"] = Masked(separation * u.arcsec, mask=~matched)
    table["n_candidates"] = n_candidates
    table["ambiguous"] = ambiguous
    return table


def _radius(radius: u.Quantity) -> float:
    try:
        arcsec = u.Quantity(radius).to_value(u.arcsec)
    except u.UnitConversionError:
        raise ValueError(f"radius must be an angle with a unit, got {radius!r}") from None
    if not 0 < arcsec <= 3600:
        raise ValueError(f"radius must be positive and at most a degree, got {radius}")
    return float(arcsec)


def _length(positions: Any, name: str) -> int:
    if not isinstance(positions, (SkyCoord, Table)):
        raise TypeError(f"{name} must be a SkyCoord or a Table, got {type(positions).__name__}")
    return len(positions)


def _position(positions: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(positions, SkyCoord):
        return np.atleast_1d(positions.icrs.ra.deg), np.atleast_1d(positions.icrs.dec.deg)
    _length(positions, name)
    return plain_values(positions, "ra"), plain_values(positions, "dec")


def _velocity(table: Any, name: str) -> np.ndarray:
    if not isinstance(table, Table):
        raise TypeError(f"{name} must be a Table with a column v when velocities are compared")
    return plain_values(table, "v")


def _identifiers(values: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    mask = getattr(values, "mask", None)
    data = np.asarray(np.ma.getdata(np.asarray(values) if mask is None else values))
    is_valid = np.ones(len(data), bool) if mask is None else ~np.asarray(mask, bool)
    if data.dtype.kind == "O":
        is_valid &= np.array([value is not None for value in data], dtype=bool)
        is_integer = all(isinstance(value, int | np.integer) for value in data[is_valid])
        data = np.where(is_valid, data, 0).astype(np.int64) if is_integer and len(data) else data
    if data.dtype.kind in "SO":
        data = np.array([text.decode() if isinstance(text, bytes) else str(text) for text in data], dtype=str)
    if is_valid.any() and data.dtype.kind not in "iuU":
        raise TypeError(
            f"{name} must hold text or integers, got {data.dtype}: a float cannot hold SDSS's digits"
        )
    if data.dtype.kind == "U":
        data = np.char.strip(data)
        is_valid &= ~np.isin(data, NULL_WORDS)
    return data, is_valid
