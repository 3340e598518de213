"""Medians in a sliding window, exact and without a loop over the windows."""

from __future__ import annotations

import numpy as np

__all__ = ["sliding_median"]


def sliding_median(
    x: np.ndarray, values: np.ndarray, at: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Medians of the values within half a width of each place.

    Parameters
    ----------
    x, values : array of float, shape (n,)
        Places and values, all finite.
    at : array of float, shape (m,)
        The middles of the windows.
    width : float
        The full width; the ends are not inside.

    Returns
    -------
    median : array of float, shape (m,)
        NaN for empty windows.
    count : array of int, shape (m,)
        How many values each window holds.
    """
    order = np.argsort(x, kind="stable")
    x, values = x[order], values[order]
    # In order of place, neighbouring windows look at neighbouring memory: several times faster.
    by_place = np.argsort(at, kind="stable")
    low = np.searchsorted(x, at[by_place] - width / 2, side="right")
    high = np.maximum(np.searchsorted(x, at[by_place] + width / 2, side="left"), low)
    count = np.empty(len(at), int)
    count[by_place] = high - low
    median = np.full(len(at), np.nan)
    there = high > low
    if np.any(there):
        low, high = low[there], high[there]
        middle = np.stack([(high - low - 1) // 2, (high - low) // 2])
        median[by_place[there]] = np.mean(_kth_of_ranges(values, low, high, middle), axis=0)
    return median, count


def _kth_of_ranges(values: np.ndarray, low: np.ndarray, high: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The k-th smallest (from 0) of ``values[low:high]``, for many ranges at once.

    A wavelet matrix (Claude, Navarro & Ordonez 2015, Inf. Syst. 47, 15): the
    ranks of the values are sorted by one bit at a time, from the highest; how
    many zeros a range holds tells whether the wanted rank has the bit.
    """
    by_value = np.argsort(values, kind="stable")
    kind = np.int32 if len(values) < 1 << 30 else np.int64
    level = np.empty(len(values), kind)
    level[by_value] = np.arange(len(values))
    k, low, high = (np.array(np.broadcast_to(one, k.shape), kind) for one in (k, low, high))
    rank = np.zeros(k.shape, kind)
    for bit in reversed(range(int(len(values) - 1).bit_length())):
        one = (level >> bit & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~one, dtype=kind)]).astype(kind)
        zeros_low, zeros_high = zeros[low], zeros[high]
        right = k >= zeros_high - zeros_low
        k = np.where(right, k - (zeros_high - zeros_low), k)
        low = np.where(right, zeros[-1] + low - zeros_low, zeros_low)
        high = np.where(right, zeros[-1] + high - zeros_high, zeros_high)
        rank |= right.astype(kind) << bit
        level = np.concatenate([level[~one], level[one]])
    return values[by_value[rank]]
