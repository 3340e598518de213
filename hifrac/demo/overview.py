"""One figure of a whole result: every picture with its estimate, interval and flags."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hifrac.core.flags import UNSERVED, decode_flags

_NEEDED = (
    "log_hi_fraction",
    "log_hi_fraction_p16",
    "log_hi_fraction_p84",
    "p_detect",
    "flags",
)

# Two hues that colour-blind readers tell apart (Okabe & Ito 2008); the marker differs as well.
_CLEAN = "#0072B2"
_FLAGGED = "#D55E00"
_FAINT = "0.75"

_CELL_WIDTH = 1.75  # inches
_SIDE = 1.47  # of a picture
_NAME_HEIGHT = 0.27
_BAR_HEIGHT, _BAR_GAP = 0.26, 0.08
_WORDS_HEIGHT, _LINE_HEIGHT = 0.34, 0.125  # below a bar: ticks and estimate; every further line
_TOP_MARGIN, _SIDE_MARGIN = 0.45, 0.15

_CAPTION = (
    "Bars: central 68% interval of the estimate, in dex; dotted: equal masses of HI and stars. "
    "Circles: no flag; squares: flagged; triangles: beyond the axis."
)


def plot_overview(
    result: Table,
    pictures: Sequence[np.ndarray | None],
    *,
    columns: int = 6,
    names: Sequence[str] | None = None,
    limits: tuple[float, float] = (-2.0, 1.5),
    title: str = "HI mass fractions of simulated galaxies",
) -> Figure:
    """Draw every picture of a result with its estimate.

    Parameters
    ----------
    result : `~astropy.table.QTable` or `~astropy.table.Table`
        Result of the estimator: its columns ``log_hi_fraction``, ``log_hi_fraction_p16``,
        ``log_hi_fraction_p84``, ``p_detect`` and ``flags`` are shown, in the order of its rows.
    pictures : sequence of `~numpy.ndarray` or None
        One picture per row, (h, w, 3) uint8 or float in [0, 1]; None where there is none.
    columns : int, optional
        Pictures side by side; positive.
    names : sequence of str, optional
        One per row; by default the column ``name``, or else the row numbers.
    limits : tuple of float, optional
        Ends of the common axis of the intervals, in dex; increasing. What
        lies beyond is drawn at the end, as a triangle.
    title : str, optional
        Title of the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Independent of pyplot; write it with its ``savefig``.

    Raises
    ------
    TypeError
        If ``columns`` is no integer.
    ValueError
        If ``result`` is empty or lacks a column, ``pictures`` or ``names``
        have not one entry per row, a picture is not (h, w, 3), ``columns`` is
        not positive, or ``limits`` do not increase.
    """
    _check(result, pictures, columns, limits)
    if names is None:
        names = [str(name) for name in _row_names(result)]
    if len(names) != len(result):
        raise ValueError(f"names must have one entry per row, got {len(names)} for {len(result)} rows")
    columns = min(columns, len(result))
    n_rows = math.ceil(len(result) / columns)
    width = columns * _CELL_WIDTH + 2.0 * _SIDE_MARGIN
    values = {name: _plain(result[name]) for name in _NEEDED}
    n_lines = 1 + max(len(flags) for flags in decode_flags(values["flags"].filled(0)))
    below = _WORDS_HEIGHT + _LINE_HEIGHT * n_lines
    cell = below + _BAR_HEIGHT + _BAR_GAP + _SIDE + _NAME_HEIGHT
    caption = textwrap.fill(_CAPTION, width=int(72.0 * width / (0.6 * 7.5)))
    bottom_margin = 0.2 + 0.13 * (caption.count("\n") + 1)
    height = n_rows * cell + _TOP_MARGIN + bottom_margin
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")

    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        left = (_SIDE_MARGIN + column * _CELL_WIDTH + (_CELL_WIDTH - _SIDE) / 2.0) / width
        bottom = height - _TOP_MARGIN - (row + 1) * cell + below
        bar_box = (left, bottom / height, _SIDE / width, _BAR_HEIGHT / height)
        bottom += _BAR_HEIGHT + _BAR_GAP
        picture_box = (left, bottom / height, _SIDE / width, _SIDE / height)
        _draw_picture(figure.add_axes(picture_box), pictures[index], str(name))
        _draw_estimate(figure.add_axes(bar_box), {key: values[key][index] for key in _NEEDED}, limits)

    title_size = min(13.0, 72.0 * width / (0.6 * max(len(title), 1)))
    figure.text(0.5, 1.0 - 0.15 / height, title, ha="center", va="top", fontsize=title_size)
    figure.text(0.5, 0.08 / height, caption, ha="center", va="bottom", fontsize=7.5, color="0.25")
    return figure


def _row_names(result: Table) -> Iterable[object]:
    return result["name"] if "name" in result.colnames else range(len(result))


def _check(
    result: Table, pictures: Sequence[np.ndarray | None], columns: int, limits: tuple[float, float]
) -> None:
    missing = [name for name in _NEEDED if name not in result.colnames]
    if missing:
        raise ValueError(f"result lacks the columns {', '.join(missing)}")
    if len(result) == 0:
        raise ValueError("result has no rows")
    if len(pictures) != len(result):
        raise ValueError(f"pictures must have one entry per row, got {len(pictures)} for {len(result)} rows")
    for picture in pictures:
        if picture is not None and (np.ndim(picture) != 3 or np.shape(picture)[2] != 3):
            raise ValueError(f"pictures must have the shape (h, w, 3), got {np.shape(picture)}")
    if isinstance(columns, bool) or not isinstance(columns, int | np.integer):
        raise TypeError(f"columns must be an integer, got {columns!r}")
    if columns < 1:
        raise ValueError(f"columns must be positive, got {columns}")
    if not limits[0] < limits[1]:
        raise ValueError(f"limits must increase, got {limits}")


def _plain(column: object) -> np.ma.MaskedArray:
    """Return a column as a masked array without unit; NaN counts as masked."""
    mask = np.array(getattr(column, "mask", False))
    bare = getattr(column, "unmasked", column)
    data = np.array(getattr(bare, "value", bare))
    if data.dtype.kind == "f":
        mask = mask | ~np.isfinite(data)
    return np.ma.MaskedArray(data, mask=np.broadcast_to(mask, data.shape))


def _draw_picture(axes: Axes, picture: np.ndarray | None, name: str) -> None:
    if picture is None:
        axes.set_facecolor("0.9")
    else:
        axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="0.5", linewidth=0.5)
    axes.set_title(name, fontsize=7.0, pad=3.0)


def _draw_estimate(axes: Axes, row: dict[str, Any], limits: tuple[float, float]) -> None:
    """Draw the interval on the common axis, and the words below it."""
    axes.set(xlim=limits, ylim=(-1.0, 1.0), yticks=[])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color="0.5", linewidth=0.5)
    ticks = np.arange(math.ceil(limits[0]), math.floor(limits[1]) + 1)
    axes.set_xticks(ticks)
    axes.tick_params(axis="x", labelsize=6.0, length=2.0, pad=1.5, width=0.5, color="0.5", labelcolor="0.35")
    axes.axvline(0.0, color=_FAINT, linewidth=0.8, linestyle=":", zorder=0)

    value, low, high = (
        row[name] for name in ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84")
    )
    flags = 0 if row["flags"] is np.ma.masked else int(row["flags"])
    names = decode_flags(flags)
    if np.ma.masked in (value, low, high):
        reasons = decode_flags(flags & int(UNSERVED)) or ["masked"]
        _write(axes, 18.0, f"no estimate: {', '.join(reasons)}", color=_FLAGGED)
        names = [name for name in names if name not in reasons]
    else:
        color, marker = (_FLAGGED, "s") if names else (_CLEAN, "o")
        _draw_interval(axes, float(value), float(low), float(high), limits, color, marker)
        _write(axes, 18.0, _formula(float(value), float(low), float(high)))
    lines = list(names)
    if row["p_detect"] is not np.ma.masked:
        lines.insert(0, f"p_detect = {float(row['p_detect']):.2f}")
    for number, line in enumerate(lines):
        color = "0.25" if line.startswith("p_detect") else _FLAGGED
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


def _formula(value: float, low: float, high: float) -> str:
    up, down = max(high - value, 0.0), max(value - low, 0.0)
    shown = round(value, 2) + 0.0  # no negative zero
    return rf"$\log M_\mathrm{{HI}}/M_\star = {shown:.2f}^{{+{up:.2f}}}_{{-{down:.2f}}}$"


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
