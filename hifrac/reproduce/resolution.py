"""How much of the metallicity is left at lower resolution: Figure 4 of Wu & Boada (2019)."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table, vstack
from matplotlib.figure import Figure

from hifrac.core.measurements import plain_floats
from hifrac.models import load_model
from hifrac.reproduce._experiment import Setting, experiment, panels
from hifrac.reproduce._inputs import PUBLISHED, measurements, metallicities, pictures, ridge
from hifrac.reproduce.metallicity import (
    COLOURS,
    OURS,
    THEIRS,
    notes,
    paired_scores,
    published_series,
    published_value,
)
from hifrac.reproduce.networks import cross_predict

#: Widths of pictures in pixels, of the same field of sky.
WIDTHS = (128, 64, 32, 16, 8, 4, 2, 1)
RIDGES = ("ridge, fitted anew to each width", "ridge, fitted to 128 px")
_MODEL_AS_IS = f"{OURS}, as it is"
_STYLES = {
    THEIRS: {"color": COLOURS[THEIRS], "marker": "s"},
    _MODEL_AS_IS: {"color": COLOURS[OURS], "marker": "o"},
    RIDGES[0]: {"color": "C2", "marker": "^"},
    RIDGES[1]: {"color": "C2", "marker": "v", "ls": ":"},
}


def degrade(pixels: np.ndarray, width: int) -> np.ndarray:
    """Return pictures of ``width`` pixels, means of squares, enlarged again without structure of their own.

    Interpolation is linear, so that the edges of the squares are not read as structure of the galaxy.
    """
    import torch

    if width < 1 or pixels.shape[1] % width:
        raise ValueError(f"width must divide that of the pictures, {pixels.shape[1]}, got {width}")
    if width == pixels.shape[1]:
        return pixels
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.avg_pool2d(values, pixels.shape[1] // width)
    large = torch.nn.functional.interpolate(small, size=pixels.shape[1], mode="bilinear")
    return large.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def as_fitted(features: np.ndarray, degraded: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Estimate from features of degraded pictures by a ridge that learned from whole ones of other folds."""
    estimate = np.full(len(truth), np.nan)
    for number in np.unique(fold):
        rows = fold == number
        estimate[rows] = ridge().fit(features[~rows], truth[~rows]).predict(degraded[rows])
    return estimate


def plot_resolution(table: Table) -> Figure:
    """Plot Figure 4: RMSE and NMAD along the width in pixels, ours and published."""
    figure, (axes,) = panels(1, 2, 10.5, 4.4)
    place = np.arange(len(WIDTHS))
    for axis, name in zip(axes, ("rmse", "nmad"), strict=True):
        published = dict(zip(*published_series("4", name), strict=True))
        line = {"ls": "--", "lw": 1, "color": COLOURS[THEIRS], "label": f"{THEIRS}, 20,466 galaxies"}
        axis.plot(place, [published[width] for width in WIDTHS], **line)
        for estimator, style in _STYLES.items():
            rows = table[table["estimator"] == estimator]
            x = [WIDTHS.index(width) for width in rows["width"]]
            options = {"ls": "-", "lw": 1, "ms": 5, "capsize": 2, "label": estimator, **style}
            axis.errorbar(x, rows[name], rows[f"{name}_error"], **options)
        for series, grey in (("forest", "0.35"), ("mean", "0.65")):
            text = "random forest on g, r, i" if series == "forest" else "mean of all"
            level = published_value("4", f"{series} {name}")
            axis.axhline(level, color=grey, ls="-.", lw=1, label=f"{text}, published")
        axis.set_xticks(place, WIDTHS)
        axis.set(xlabel="width of the picture (pixels)", ylabel=f"{name.upper()} (dex)", ylim=(0.04, 0.3))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize="small")
    return figure


@experiment(plot_resolution, name="wu2019-fig4")
def fig4(setting: Setting) -> Table:
    """Make Figure 4: errors of all estimators at each width, on the same galaxies."""
    rows = metallicities(setting)
    truth, fold = plain_floats(rows["truth"]), np.asarray(rows["fold"], int)
    pixels = pictures(rows["objid"], setting)
    model = load_model(setting.metallicity)

    features, whole = measurements(pixels), model.answer(pixels).estimate
    parts = []
    for width in WIDTHS:
        degraded = degrade(pixels, width)
        own = measurements(degraded)
        estimates: dict[str, Any] = {
            # It has learned from these galaxies: only the change is taken from its answers.
            _MODEL_AS_IS: plain_floats(rows["estimate"]) + model.answer(degraded).estimate - whole,
            RIDGES[0]: cross_predict(ridge(), own, truth, fold),
            RIDGES[1]: as_fitted(features, own, truth, fold),
        }
        if width in PUBLISHED:
            estimates[THEIRS] = plain_floats(rows[PUBLISHED[width]])
        scores = paired_scores(truth, estimates, next(reversed(estimates)), **setting.bootstrap)
        if width not in PUBLISHED:
            scores["difference"] = scores["difference_error"] = np.nan
        scores.add_column(width, 0, "width")
        parts.append(scores)
    table = vstack(parts)
    published = dict(zip(*published_series("4", "rmse"), strict=True))
    numbers = {
        f"{row['estimator']}, {row['width']} px: RMSE (dex)": (float(row["rmse"]), published[row["width"]])
        for row in table
    }
    table.meta = {
        "numbers": numbers,
        "notes": [
            *notes(setting),
            "lower resolution: means of squares of the same field, enlarged again; the paper's network was "
            "trained anew for each width, of ours the ridge was, in the folds of the model",
            f"{_MODEL_AS_IS}: its held-out answer for the whole picture, and how its answer changes",
        ],
    }
    return table
