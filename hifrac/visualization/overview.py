"""One figure of a whole result: every picture with its estimate, interval and flags."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hifrac.core.counts import require_count
from hifrac.core.figures import NotebookFigure
from hifrac.core.flags import UNSERVED, decode_flags
from hifrac.core.measurements import plain_floats
from hifrac.cutouts import CutoutSource
from hifrac.visualization._rows import CLEAN, FLAGGED, Estimates, estimates_of, pictures_of, row_names

#: The most rows of a figure; with more it would be too large to be looked at.
MOST_ROWS = 500

_FAINT = "0.75"

_CELL_WIDTH = 1.75  # inches
_SIDE = 1.47  # of a picture
_NAME_HEIGHT = 0.27
_BAR_HEIGHT, _BAR_GAP = 0.26, 0.08
_WORDS_HEIGHT, _LINE_HEIGHT = 0.34, 0.125  # below a bar: ticks and estimate; every further line
_TOP_MARGIN, _SIDE_MARGIN = 0.45, 0.15

_CAPTION = (
    "Bars: central 68% interval of the estimate{}. "
    "Circles: no flag; squares: flagged; triangles: beyond the axis."
)


def plot_overview(
    result: Table,
    cutouts: CutoutSource | Sequence[np.ndarray | None],
    *,
    columns: int = 6,
    names: Sequence[Any] | None = None,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw every picture of a result with its estimate, interval, flags and probability.

    Parameters
    ----------
    result : `~astropy.table.QTable` or `~astropy.table.Table`
        What `~hifrac.HIFractionEstimator.predict` returned, or some of its rows: at most 500.
    cutouts : `~hifrac.cutouts.CutoutSource` or sequence of `~numpy.ndarray` or None
        Where the pictures come from, such as the ``cutouts`` of the estimator; rows that could not be served
        are not asked for again. Or one picture per row, (h, w, 3) uint8 or float in [0, 1], None where there
        is none.
    columns : int, optional
        Pictures side by side; positive.
    names : sequence, optional
        One per row; by default the column ``name`` or ``objid``, or else the row numbers.
    limits : tuple of float, optional
        Ends of the common axis of the intervals; increasing. What lies beyond is drawn at the end, as a
        triangle. By default -3 to 1.5 dex for HI mass fractions, 7.9 to 9.6 for metallicities, else all
        intervals.
    title : str, optional
        Title of the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Independent of pyplot; write it with its ``savefig``.

    Raises
    ------
    TypeError
        If ``result`` is no table, or ``columns`` no integer.
    ValueError
        If ``result`` is empty, too long or lacks a column, ``cutouts`` or ``names`` have not one entry per
        row, a picture is not (h, w, 3), ``columns`` is not positive, or ``limits`` do not increase.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts, plot_overview
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> result = estimator.predict(sample_table()[:4])
    >>> figure = plot_overview(result, estimator.cutouts, columns=4)
    >>> len(figure.axes)  # a picture and an interval each
    8
    """
    estimates = estimates_of(result)
    limits = _limits(estimates) if limits is None else limits
    _check(result, columns, limits)
    names = row_names(result, names)
    grid = _Grid(min(columns, len(result)), estimates)
    figure = NotebookFigure(figsize=(grid.width, grid.height), dpi=150, facecolor="white")
    quantity = estimates.quantity
    has_probability = quantity.probability in result.colnames
    unknown = np.full(len(result), np.nan)
    probability = plain_floats(result[quantity.probability]) if has_probability else unknown
    for row, picture in enumerate(pictures_of(result, cutouts)):
        picture_box, bar_box = grid.boxes(row)
        _draw_picture(figure.add_axes(picture_box), picture, names[row])
        _draw_estimate(figure.add_axes(bar_box), estimates, row, float(probability[row]), limits)

    title = quantity.title if title is None else title
    title_size = min(13.0, 72.0 * grid.width / (0.6 * max(len(title), 1)))
    figure.text(0.5, 1.0 - 0.15 / grid.height, title, ha="center", va="top", fontsize=title_size)
    figure.text(0.5, 0.08 / grid.height, grid.caption, ha="center", va="bottom", fontsize=7.5, color="0.25")
    return figure


_Box = tuple[float, float, float, float]  # left, bottom, width and height


class _Grid:
    """Where the pictures stand on a figure: its size in inches, and boxes as shares of it."""

    def __init__(self, columns: int, estimates: Estimates) -> None:
        n_rows = len(estimates.flags)
        self.columns = columns
        self.width = columns * _CELL_WIDTH + 2.0 * _SIDE_MARGIN
        n_lines = 1 + max(len(flags) for flags in decode_flags(estimates.flags))
        self.below = _WORDS_HEIGHT + _LINE_HEIGHT * n_lines
        self.cell = self.below + _BAR_HEIGHT + _BAR_GAP + _SIDE + _NAME_HEIGHT
        caption = _CAPTION.format(estimates.quantity.caption)
        self.caption = textwrap.fill(caption, width=int(72.0 * self.width / (0.6 * 7.5)))
        bottom_margin = 0.2 + 0.13 * (self.caption.count("\n") + 1)
        self.height = math.ceil(n_rows / columns) * self.cell + _TOP_MARGIN + bottom_margin

    def boxes(self, index: int) -> tuple[_Box, _Box]:
        """Return the boxes of a picture and of its interval."""
        row, column = divmod(index, self.columns)
        left = (_SIDE_MARGIN + column * _CELL_WIDTH + (_CELL_WIDTH - _SIDE) / 2.0) / self.width
        bottom = self.height - _TOP_MARGIN - (row + 1) * self.cell + self.below
        bar_box = (left, bottom / self.height, _SIDE / self.width, _BAR_HEIGHT / self.height)
        bottom += _BAR_HEIGHT + _BAR_GAP
        return (left, bottom / self.height, _SIDE / self.width, _SIDE / self.height), bar_box


def _limits(estimates: Estimates) -> tuple[float, float]:
    """Return the ends of an axis for all intervals; those of the quantity if it has some."""
    if estimates.quantity.limits is not None:
        return estimates.quantity.limits
    ends = np.concatenate([estimates.low[estimates.shown], estimates.high[estimates.shown]])
    if not ends.size:
        return (0.0, 1.0)
    margin = 0.05 * np.ptp(ends) or 0.5
    return (float(ends.min() - margin), float(ends.max() + margin))


def _check(result: Table, columns: int, limits: tuple[float, float]) -> None:
    if len(result) == 0:
        raise ValueError("result has no rows")
    if len(result) > MOST_ROWS:
        raise ValueError(f"result must have at most {MOST_ROWS} rows to be drawn, got {len(result)}")
    require_count("columns", columns)
    if not limits[0] < limits[1]:
        raise ValueError(f"limits must increase, got {limits}")


def _draw_picture(axes: Axes, picture: np.ndarray | None, name: str) -> None:
    if picture is None:
        axes.set_facecolor("0.9")
    elif np.ndim(picture) != 3 or np.shape(picture)[2] != 3:
        raise ValueError(f"cutouts must be pictures of the shape (h, w, 3), got {np.shape(picture)}")
    else:
        axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="0.5", linewidth=0.5)
    axes.set_title(name, fontsize=7.0, pad=3.0)


def _draw_estimate(
    axes: Axes, estimates: Estimates, row: int, probability: float, limits: tuple[float, float]
) -> None:
    """Draw the interval on the common axis, and the words below it."""
    axes.set(xlim=limits, ylim=(-1.0, 1.0), yticks=[])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color="0.5", linewidth=0.5)
    axes.tick_params(axis="x", labelsize=6.0, length=2.0, pad=1.5, width=0.5, color="0.5", labelcolor="0.35")
    quantity = estimates.quantity
    if quantity.marked is not None:
        axes.set_xticks(np.arange(math.ceil(limits[0]), math.floor(limits[1]) + 1))
        axes.axvline(quantity.marked, color=_FAINT, linewidth=0.8, linestyle=":", zorder=0)
    else:
        axes.locator_params(axis="x", nbins=3)

    flags = int(estimates.flags[row])
    names = decode_flags(flags)
    if estimates.shown[row]:
        interval = (float(estimates.value[row]), float(estimates.low[row]), float(estimates.high[row]))
        color, marker = (FLAGGED, "s") if names else (CLEAN, "o")
        _draw_interval(axes, *interval, limits, color, marker)
        _write(axes, 18.0, _formula(*interval, quantity.symbol))
    else:
        reasons = decode_flags(flags & int(UNSERVED)) or ["masked"]
        _write(axes, 18.0, f"no estimate: {', '.join(reasons)}", color=FLAGGED)
        names = [name for name in names if name not in reasons]
    lines = [(name, FLAGGED) for name in names]
    if np.isfinite(probability):
        lines.insert(0, (f"{quantity.probability} = {probability:.2f}", "0.25"))
    for number, (line, color) in enumerate(lines):
        _write(axes, 27.5 + 8.0 * number, line, color=color)


def _draw_interval(
    axes: Axes,
    value: float,
    low: float,
    high: float,
    limits: tuple[float, float],
    color: str,
    marker: str,
) -> None:
    first, last = np.clip([low, high], *limits)
    axes.plot([first, last], [0.0, 0.0], color=color, linewidth=3.5, alpha=0.4, solid_capstyle="butt")
    if value < limits[0]:
        marker, value = "<", limits[0]
    elif value > limits[1]:
        marker, value = ">", limits[1]
    axes.plot([value], [0.0], color=color, marker=marker, markersize=4.0, linestyle="none", clip_on=False)


def _formula(value: float, low: float, high: float, symbol: str) -> str:
    up, down = max(high - value, 0.0), max(value - low, 0.0)
    shown = round(value, 2) + 0.0  # no negative zero
    left = f"{symbol} = " if symbol else ""
    return rf"${left}{shown:.2f}^{{+{up:.2f}}}_{{-{down:.2f}}}$"


def _write(axes: Axes, points: float, text: str, *, color: str = "black") -> None:
    """Write one centred line, so many points below the axis."""
    axes.annotate(
        text,
        xy=(0.5, 0.0),
        xycoords="axes fraction",
        xytext=(0.0, -points),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=7.0,
        color=color,
        annotation_clip=False,
    )
