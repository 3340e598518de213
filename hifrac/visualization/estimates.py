"""One figure of the estimates of a result with their intervals, flagged rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from astropy.table import Table

from hifrac.visualization._rows import CLEAN, FLAGGED, Estimates, estimates_of, row_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# With more rows there is no room for names, and a figure does not grow any more.
_MOST_NAMES = 60
_ROW_HEIGHT = 0.2  # inches


def plot_result(
    result: Table, *, ax: Axes | None = None, names: Sequence[Any] | None = None, title: str | None = None
) -> Figure:
    """Draw the estimates of a result with their central 68% intervals, flagged rows apart.

    Parameters
    ----------
    result : `~astropy.table.QTable` or `~astropy.table.Table`
        What `~hifrac.HIFractionEstimator.predict` returned. Its rows are drawn from top to bottom: those
        without a flag as circles, those with one as open squares, and those without an estimate as crosses at
        the left edge.
    ax : `~matplotlib.axes.Axes`, optional
        Draw into these; a new figure by default.
    names : sequence, optional
        One per row; by default the column ``name`` or ``objid``, or else the row numbers. Of more than 60
        rows the numbers are shown.
    title : str, optional
        Above the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure of ``ax``, or a new one, independent of pyplot.

    Raises
    ------
    TypeError
        If ``result`` is no table.
    ValueError
        If ``result`` is empty or lacks a column, or ``names`` have not one entry per row.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts, plot_result
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> figure = plot_result(estimator.predict(sample_table()))
    >>> figure.savefig("estimates.png")  # doctest: +SKIP
    """
    estimates = estimates_of(result)
    n_rows = len(result)
    if n_rows == 0:
        raise ValueError("result has no rows")
    names = row_names(result, names)
    if ax is None:
        from hifrac.core.figures import NotebookFigure

        height = 1.2 + _ROW_HEIGHT * min(max(n_rows, 8), _MOST_NAMES)
        ax = NotebookFigure(figsize=(7.5, height), layout="constrained").add_subplot()
    _draw_intervals(ax, estimates)
    ax.set(xlabel=estimates.quantity.axis, ylim=(n_rows - 0.4, -0.6))
    if n_rows <= _MOST_NAMES:
        ax.set_yticks(np.arange(n_rows), names, fontsize=8)
    else:
        ax.set_ylabel("row")
    if title is not None:
        ax.set_title(title, pad=24)  # above the legend
    ax.grid(axis="x", color="0.9", zorder=0)
    # Beside the axes, for within them every place may be taken.
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=8, frameon=False)
    return cast("Figure", ax.get_figure())


def _draw_intervals(ax: Axes, estimates: Estimates) -> None:
    """Draw the rows of each sort with their own marker and colour."""
    rows = np.arange(len(estimates.flags))
    is_flagged = estimates.flags != 0
    many = len(rows) > _MOST_NAMES
    style: dict[str, Any] = {"markersize": 3 if many else 5, "elinewidth": 0.6 if many else 1.2}
    for chosen, color, marker, label in (
        (estimates.shown & ~is_flagged, CLEAN, "o", "no flag"),
        (estimates.shown & is_flagged, FLAGGED, "s", "flagged"),
    ):
        value = estimates.value[chosen]
        # A percentile may lie on the other side of the estimate, by rounding.
        lengths = np.maximum([value - estimates.low[chosen], estimates.high[chosen] - value], 0.0)
        face = color if marker == "o" else "white"
        label = f"{label} ({chosen.sum()})"
        ax.errorbar(
            value, rows[chosen], xerr=lengths, fmt=marker, color=color, mfc=face, label=label, **style
        )
    absent = rows[~estimates.shown]
    if absent.size:
        place: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "label": f"no estimate ({absent.size})",
        }
        ax.errorbar(np.full(absent.size, 0.01), absent, fmt="x", color="0.4", markersize=5, **place)
