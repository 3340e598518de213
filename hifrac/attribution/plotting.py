"""Figures of explanations: the picture, and the evidence for a lower and for a higher estimate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from astropy import units as u

from hifrac.attribution.regions import SMOOTHING, smoothed
from hifrac.core.quantities import PROBABILITIES, quantity_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hifrac.attribution.results import Explanation

# Both vary in lightness from white on: they can be read without colour as well.
_COLOUR_MAPS = ("Oranges", "Blues")
_SIGNED = "PuOr"

# Levels of contours of the picture, mean of the channels.
_ISOPHOTES = (30, 80, 160)

# The colour scale is linear up to 1/20 of its end, and logarithmic beyond: maps peak in the middle.
_LINEAR = 20


def plot_explanation(
    explanation: Explanation,
    rich: Explanation | None = None,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    smoothing: float = SMOOTHING,
    limit: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw an explanation; parameters and errors as of `hifrac.attribution.Explanation.plot`."""
    _check(explanation)
    if rich is not None:
        if type(rich) is not type(explanation):
            raise TypeError(f"rich must be an Explanation, got {type(rich).__name__}")
        _check(rich, "rich: ")
        if rich.row != explanation.row or rich.values.shape != explanation.values.shape:
            rows = f"{rich.row} and {explanation.row}"
            raise ValueError(f"rich must be of the same row as explanation, got {rows}")
    if limit is not None and not limit > 0:
        raise ValueError(f"limit must be positive, got {limit}")
    if ax is None:
        return _three_panels(explanation, rich, None, smoothing, limit, title)
    if np.ndim(cast(Any, ax)):
        panels = cast("Sequence[Axes]", ax)
        if len(panels) != 3:
            raise ValueError(f"ax must be one Axes or three, got {len(panels)}")
        return _three_panels(explanation, rich, panels, smoothing, limit, title)
    if rich is not None:
        raise ValueError("ax takes one map: give explanation or rich, not both, or three Axes")
    return _one_panel(explanation, cast("Axes", ax), smoothing, limit, title)


def _check(explanation: Explanation, prefix: str = "") -> None:
    """Raise unless there is a map to draw."""
    if not explanation.served:
        raise ValueError(f"{prefix}row {explanation.row} has no map: {explanation.error}")


def _new_figure(explanation: Explanation) -> tuple[Figure, list[Axes]]:
    """Make three panels side by side, with coordinates if the picture has them."""
    from hifrac.core.figures import NotebookFigure

    figure = NotebookFigure(figsize=(10.5, 4.1), dpi=120, facecolor="white")
    on_sky = {} if explanation.wcs is None else {"projection": explanation.map.wcs}
    return figure, [
        figure.add_axes((0.065 + 0.30 * number, 0.12, 0.255, 0.70), **on_sky) for number in range(3)
    ]


def _three_panels(
    explanation: Explanation,
    rich: Explanation | None,
    axes: Sequence[Axes] | None,
    smoothing: float,
    limit: float | None,
    title: str | None,
) -> Figure:
    from matplotlib.colors import AsinhNorm

    figure, panels = _new_figure(explanation) if axes is None else (_figure_of(axes[0]), axes)
    parts = _parts(explanation, rich, smoothing)
    top = limit or max(part.max() for part in parts) or 1.0
    norm = AsinhNorm(top / _LINEAR, vmin=0.0, vmax=top)
    for number, (panel, name) in enumerate(zip(panels, _panel_titles(explanation, rich), strict=True)):
        panel.set_title(name, fontsize=9)
        if number == 0:
            panel.imshow(_picture(explanation)[::-1], origin="lower", interpolation="nearest")
            _scale_bar(panel, explanation)
        else:
            image = panel.imshow(
                parts[number - 1][::-1], origin="lower", cmap=_COLOUR_MAPS[number - 1], norm=norm
            )
            _isophotes(panel, explanation)
            place: dict[str, Any] = {"ax": panel, "shrink": 0.85}
            if axes is None:
                box = panel.get_position()
                scale_axes = figure.add_axes((box.x0, 0.075, box.width, 0.022))
                place = {"cax": scale_axes, "orientation": "horizontal"}
            _label_scale(figure.colorbar(image, **place), (0.0, top / 10, top), explanation)
        _label_coordinates(panel, first=number == 0)
    headline = _headline(explanation) if title is None else title
    if axes is None:
        figure.suptitle(headline, fontsize=10.5, y=0.985)
    else:
        panels[1].set_title(f"{headline}\n{panels[1].get_title()}", fontsize=9)
    return figure


def _one_panel(
    explanation: Explanation, ax: Axes, smoothing: float, limit: float | None, title: str | None
) -> Figure:
    from matplotlib.colors import AsinhNorm

    values = smoothed(explanation.values, smoothing)
    top = limit or np.abs(values).max() or 1.0
    norm = AsinhNorm(top / _LINEAR, vmin=-top, vmax=top)
    image = ax.imshow(values[::-1], origin="lower", cmap=_SIGNED, norm=norm)
    _isophotes(ax, explanation)
    ax.set_title(_headline(explanation) if title is None else title, fontsize=9)
    figure = _figure_of(ax)
    bar = figure.colorbar(image, ax=ax, shrink=0.85)
    _label_scale(bar, (-top, -top / 10, 0.0, top / 10, top), explanation)
    return figure


def _parts(
    explanation: Explanation, rich: Explanation | None, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the evidence for less and for more gas, neither negative."""
    values = smoothed(explanation.values, smoothing)
    if rich is None:
        return np.maximum(-values, 0.0), np.maximum(values, 0.0)
    return np.maximum(values, 0.0), np.maximum(smoothed(rich.values, smoothing), 0.0)


def _panel_titles(explanation: Explanation, rich: Explanation | None) -> tuple[str, str, str]:
    """Return the titles of the panels; with class probabilities where there are classes."""
    if rich is not None:
        scores = (explanation.prediction, rich.prediction)
        # Classes that are each other's negative are one log odds; else the scores of a softmax.
        gap = scores[1] if np.isclose(scores[0], -scores[1]) else scores[1] - scores[0]
        share = 0.5 * (1 + np.tanh(0.5 * gap))
        return "picture", f"gas-poor ({1 - share:.0%})", f"gas-rich ({share:.0%})"
    target = explanation.target.name
    if more := "gas" if target == "gas-rich" else quantity_of(target).subject:
        return "picture", f"evidence for less {more}", f"evidence for more {more}"
    if ratio := _continua(target):
        return "picture", f"evidence for less {ratio}", f"evidence for more {ratio}"
    subject = PROBABILITIES[target].event if target in PROBABILITIES else target
    return "picture", f"evidence against {subject}", f"evidence for {subject}"


def _continua(target: str) -> str:
    """Return in words a ratio of continua, by the name of its column; nothing of another target."""
    match = re.fullmatch(r"log_continuum_(\d+)_(\d+)", target)
    return rf"continuum {match[1]} / {match[2]} $\mathrm{{\AA}}$" if match else ""


def _headline(explanation: Explanation) -> str:
    """Return estimate and probability in a line."""
    answers = explanation.answers
    parts = []
    if "estimate" in answers and (symbol := quantity_of(explanation.target.name).symbol):
        symbol, interval = f"${symbol}$", ""
        if "p16" in answers:
            up, down = answers["p84"] - answers["estimate"], answers["estimate"] - answers["p16"]
            interval = f"$^{{+{up:.2f}}}_{{-{down:.2f}}}$"
        parts.append(f"{symbol} = {answers['estimate']:.2f}{interval}")
    else:
        name = explanation.target.name
        ratio = _continua(name)
        parts.append(f"{f'log {ratio}' if ratio else name}: {explanation.prediction:+.2f}")
    for name, probability in PROBABILITIES.items():
        if name in answers:
            parts.append(f"p({probability.event}) = {answers[name]:.2f}")
    if np.isfinite(explanation.offset):
        parts.append(f"offset {explanation.offset:+.2f}, map {explanation.values.sum():+.2f}")
    return ",  ".join(parts)


def _label_scale(bar: Any, ticks: tuple[float, ...], explanation: Explanation) -> None:
    """Give a colour scale a few ticks, in thousandths."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis = bar.ax.xaxis if bar.orientation == "horizontal" else bar.ax.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{float(f'{1000 * tick:.2g}'):g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=6.5)
    unit = {u.dex: "dex/pixel", u.AA: r"$\mathrm{\AA}$/pixel"}.get(explanation.target.unit, "per pixel")
    bar.set_label(f"10$^{{-3}}$ {unit}, asinh scale", fontsize=6.5, labelpad=1)


def _picture(explanation: Explanation) -> np.ndarray:
    return cast(np.ndarray, explanation.pixels)  # every row with a map has a picture


def _figure_of(axes: Axes) -> Figure:
    return cast("Figure", axes.get_figure())


def _isophotes(axes: Axes, explanation: Explanation) -> None:
    """Draw contours of the picture."""
    grey = smoothed(_picture(explanation).mean(2), 1.0)
    axes.contour(grey[::-1], levels=_ISOPHOTES, colors="0.35", linewidths=0.5)


def _label_coordinates(axes: Any, *, first: bool) -> None:
    """Set ticks in right ascension and declination, sparse enough to be read."""
    if not hasattr(axes, "coords"):
        axes.set_axis_off()
        return
    ra, dec = axes.coords
    for coordinate, name in ((ra, "RA"), (dec, "Dec")):
        coordinate.set_ticks(number=3)
        coordinate.set_ticklabel(size=6, exclude_overlapping=True)
        coordinate.set_axislabel(name if first else " ", fontsize=7, minpad=0.5)
        coordinate.display_minor_ticks(False)
    if not first:
        dec.set_ticklabel_visible(False)
        ra.set_ticklabel_visible(False)


def _scale_bar(axes: Any, explanation: Explanation, length: u.Quantity = 10 * u.arcsec) -> None:
    """Draw a bar of some arcseconds, if the scale is known."""
    if explanation.wcs is None:
        return
    from astropy.wcs.utils import proj_plane_pixel_scales

    scale = proj_plane_pixel_scales(explanation.wcs)[0] * 3600
    height, width = explanation.values.shape
    n_pixels = length.to_value(u.arcsec) / scale
    x, y = 0.06 * width, 0.07 * height
    axes.plot([x, x + n_pixels], [y, y], color="white", lw=2)
    axes.text(x, y + 0.03 * height, f"{length.value:g}″", color="white", fontsize=8, va="bottom")
