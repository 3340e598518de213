"""Medians in a sliding window of places."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.indexers import BaseIndexer


class _Windows(BaseIndexer):
    """The windows of pandas' rolling, one for each value, as ``low`` and ``high`` give them."""

    low: np.ndarray
    high: np.ndarray

    # pandas checks these names.
    def get_window_bounds(self, num_values=0, min_periods=None, center=None, closed=None, step=None):  # noqa: ARG002
        return self.low, self.high


def sliding_median(
    x: np.ndarray, values: np.ndarray, at: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact medians of the values within half a width of each place, and their numbers.

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
    x = x[order]
    # In order of place a window differs from the one before by a few values, which alone are sorted.
    rows = np.argsort(at, kind="stable")
    low = np.searchsorted(x, at[rows] - width / 2, side="right")
    high = np.maximum(np.searchsorted(x, at[rows] + width / 2, side="left"), low)
    # pandas wants as many windows as values: what is lacking of either is filled up, and not looked at.
    size = max(len(x), len(at))
    filler = np.full(size - len(at), len(x))
    windows = _Windows(low=np.concatenate([low, filler]), high=np.concatenate([high, filler]))
    padded = pd.Series(np.pad(values[order], (0, size - len(x)), constant_values=np.nan))
    median, count = np.empty(len(at)), np.empty(len(at), int)
    median[rows] = padded.rolling(windows, min_periods=1).median().to_numpy()[: len(at)]
    count[rows] = high - low
    return median, count
