"""The n nearest in a velocity window: arrays in, arrays out.

A velocity window makes the plain search on the sky inexact: of the k nearest on
the sky some are outside the window of this galaxy. The reference is therefore
cut into overlapping slabs of redshift, a k-d tree for each. A slab holds every
window of its galaxies and little more, so that k only slightly above n mostly
suffices. Those that find fewer than n inside their window search on with a
larger k, until the n-th is certain.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

_PAIRS_AT_ONCE = 1 << 21  # k times rows of one search: 32 MiB of distances and indices
_ROWS_PER_SLAB = 32  # fewer on average, and the trees cost more than the search
_FINER = 16  # factor in the width of slabs for rows that do not come to an end
_MOST = 64  # such rows have searched this many times n neighbours
_FINEST = 1e-8  # slabs this thin hold nothing but the windows


def nearest_in_window(
    vectors: np.ndarray,
    z: np.ndarray,
    reference: np.ndarray,
    reference_z: np.ndarray,
    n: int,
    half_width: np.ndarray | None = None,
) -> np.ndarray:
    """Return the chords to the n nearest of a reference whose redshifts differ by no more than a half width.

    Parameters
    ----------
    vectors : array of float, shape (m, 3)
        Unit vectors of the galaxies.
    z : array of float, shape (m,)
        Their redshifts, finite.
    reference : array of float, shape (r, 3)
        Unit vectors of the reference.
    reference_z : array of float, shape (r,)
        Its redshifts, finite.
    n : int
        How many.
    half_width : array of float, shape (m,), optional
        Greatest difference of redshift, inclusive. Without it all of the
        reference counts.

    Returns
    -------
    chords : array of float, shape (m, n)
        Straight distances between unit vectors, increasing; infinite where the
        window holds fewer.
    """
    chords = np.full((len(z), n), np.inf)
    if half_width is None:
        # One slab, whatever the redshifts.
        flat = np.zeros(len(z)), np.zeros(len(reference_z))
        search = _Search(vectors, flat[0], reference, flat[1], n, np.ones(len(z)))
        search.slab(np.arange(len(z)), 0, len(reference_z), chords, patient=True)
        return chords
    # Everything in order of redshift: what belongs together is then found together in memory.
    order = np.argsort(reference_z, kind="stable")
    rows = np.argsort(z, kind="stable")
    z, half_width = z[rows], half_width[rows]
    search = _Search(vectors[rows], z, reference[order], reference_z[order], n, half_width)
    chords[rows] = _search_slabs(search, chords).copy()  # NumPy 1.26 mixed the rows of one array
    return chords


def _search_slabs(search: _Search, chords: np.ndarray) -> np.ndarray:
    z = search.z
    pending = np.flatnonzero(search.wanted)
    if pending.size == 0:
        return chords
    # Trees of many thin slabs pay only where there are many galaxies to search for.
    width = np.median(search.half_width) * (0.5 if 4 * len(z) > len(search.reference_z) else 1)
    width = max(width, np.ptp(z[pending]) * _ROWS_PER_SLAB / pending.size, _FINEST)
    while pending.size:
        pending = search.slabs(pending, width, chords)
        width = width / _FINER
    return chords


class _Search:
    """What the steps of a search share; the reference is in order of redshift."""

    def __init__(self, vectors, z, reference, reference_z, n, half_width) -> None:
        self.vectors, self.z, self.half_width = vectors, z, half_width
        self.reference, self.reference_z, self.n = reference, reference_z, n
        # Wider by rounding errors: the window itself is tested on differences.
        margin = 1e-12 * (1 + np.abs(z))
        self.low, self.high = z - half_width - margin, z + half_width + margin
        first, last = np.searchsorted(reference_z, [self.low, self.high])
        self.inside = last - first  # with the margin: rarely one too many
        self.wanted = np.minimum(self.inside, n)

    def slabs(self, rows: np.ndarray, width: float, chords: np.ndarray) -> np.ndarray:
        """Fill the chords of ``rows``; return those for which the slabs are too wide."""
        bins = np.floor(self.z[rows] / width)
        order = np.argsort(bins, kind="stable")
        starts = np.flatnonzero(np.diff(bins[order], prepend=-np.inf))
        patient = width <= _FINEST
        left = [np.empty(0, int)]
        for group in np.split(rows[order], starts[1:]):
            first = np.searchsorted(self.reference_z, self.low[group].min())
            last = np.searchsorted(self.reference_z, self.high[group].max())
            left.append(self.slab(group, first, last, chords, patient=patient))
        return np.concatenate(left)

    def slab(
        self, rows: np.ndarray, first: int, last: int, chords: np.ndarray, *, patient: bool
    ) -> np.ndarray:
        """Fill the chords of rows whose windows lie within one piece of the reference."""
        size = last - first
        if size == 0 or rows.size == 0:
            return np.empty(0, int)
        tree = cKDTree(self.reference[first:last], balanced_tree=False, compact_nodes=False)
        rows = rows[near_each_other(self.vectors[rows])]
        # The share of the slab in a typical window says how many to ask for.
        k = int(np.ceil(self.n * size / max(np.median(self.inside[rows]), 1)))
        k = min(size, k if k <= self.n else min(k + 3, _MOST * self.n))
        while True:
            rows = self._ask(tree, rows, first, k, chords)
            if rows.size == 0 or k == size:
                return np.empty(0, int)
            if k >= _MOST * self.n and not patient:
                return rows
            k = min(4 * k, size)

    def _ask(self, tree: cKDTree, rows: np.ndarray, first: int, k: int, chords: np.ndarray) -> np.ndarray:
        """Search once for k neighbours; return the rows that need more."""
        step = max(1, _PAIRS_AT_ONCE // k)
        return np.concatenate(
            [
                self._ask_some(tree, rows[start : start + step], first, k, chords)
                for start in range(0, rows.size, step)
            ]
        )

    def _ask_some(self, tree, rows, first, k, chords) -> np.ndarray:
        distance, index = tree.query(self.vectors[rows], k=np.arange(1, k + 1))
        inside = np.abs(self.reference_z[first + index] - self.z[rows, None])
        inside = inside <= self.half_width[rows, None]
        # The k nearest come in order, so that the first n inside are the n nearest inside.
        rank = np.cumsum(inside, axis=1)
        done = (rank[:, -1] >= self.wanted[rows]) | (k == tree.n)
        row, column = np.nonzero(inside & (rank <= self.n) & done[:, None])
        chords[rows[row], rank[row, column] - 1] = distance[row, column]
        return rows[~done]


def near_each_other(vectors: np.ndarray) -> np.ndarray:
    """Return an order in which neighbours follow each other: the searches then find the tree in the cache."""
    return cKDTree(vectors, balanced_tree=False, compact_nodes=False).indices
