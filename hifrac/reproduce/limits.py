"""Beyond the paper: both regression slopes, and upper limits that estimates violate, with errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table, vstack

from hifrac.reproduce._experiment import Setting
from hifrac.reproduce._inputs import beyond, held_out, model_note
from hifrac.reproduce.regression import ALFALFA, BEYOND, cut_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_slopes", "share_interval", "slopes"]


def share_interval(successes: Any, n: Any) -> np.ndarray:
    """Intervals of 68.3% of shares, by Wilson (1927, J. Am. Stat. Assoc. 22, 209).

    Parameters
    ----------
    successes, n : int or array-like of int, shape (m,)
        How many of how many.

    Returns
    -------
    bounds : array of float, shape (2,) or (2, m)
        Lower and upper; 0 to 1 where ``n`` is 0.
    """
    from astropy.stats import binom_conf_interval

    successes, n = np.asarray(successes), np.asarray(n)
    bounds = binom_conf_interval(successes, np.maximum(n, 1), interval="wilson")
    return np.where(n > 0, bounds, np.reshape([0.0, 1.0], (2, *n.ndim * [1])))


def slopes(setting: Setting) -> Table:
    """Both regression slopes and the upper limits violated, with bootstrap errors, for each cut."""
    own, deeper = held_out(setting), beyond(setting)
    options = {"draws": setting.draws, "seed": setting.seed}
    parts = []
    for name, rows in ((ALFALFA, own), (BEYOND, deeper)):
        limit = rows["is_limit"] if "is_limit" in rows.colnames else None
        values = (rows[one] for one in ("truth", "estimate", "p_detect"))
        parts.append(cut_metrics(*values, is_limit=limit, **options))
        parts[-1].add_column(np.full(len(parts[-1]), name), 0, "sample")
    table = vstack(parts)
    violated = np.round(np.nan_to_num(table["limits_violated"]) * table["n_limits"]).astype(int)
    table["limits_violated_low"], table["limits_violated_high"] = share_interval(violated, table["n_limits"])
    numbers = {
        f"{row['sample']}, {figure}{ending}": (float(row[figure + ending]), None)
        for row in table[table["cut"] == "all"]
        for figure in ("slope", "slope_inverse", "limits_violated")
        for ending in ("", "_error")
        if np.isfinite(row[figure + ending])
    }
    table.meta = {"numbers": numbers, "notes": [model_note(setting.model)]}
    return table


def draw_slopes(table: Table) -> Figure:
    """Both slopes of each sample, and the share of upper limits violated, for each cut.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `slopes`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    panels = {
        "slope": "slope of estimate on measured value",
        "slope_inverse": "slope of measured value on estimate",
        "limits_violated": "share of upper limits below the estimate",
    }
    cuts = list(dict.fromkeys(str(one) for one in table["cut"]))
    for axis, (figure_name, text) in zip(axes, panels.items(), strict=True):
        for shift, colour, name in ((-0.08, "C0", ALFALFA), (0.08, "C1", BEYOND)):
            rows = table[(table["sample"] == name) & np.isfinite(table[figure_name])]
            if not len(rows):
                continue
            place = [cuts.index(one) + shift for one in rows["cut"]]
            value = np.asarray(rows[figure_name], float)
            if figure_name == "limits_violated":
                bounds = [rows["limits_violated_low"], rows["limits_violated_high"]]
                error = np.abs(value - bounds)
            else:
                error = rows[f"{figure_name}_error"]
            options = {"fmt": "o", "ms": 4, "capsize": 2, "color": colour, "label": name}
            axis.errorbar(place, value, error, **options)
        axis.set_xticks(range(len(cuts)), cuts)
        axis.set(ylabel=text, xlim=(-0.5, len(cuts) - 0.5), xlabel="threshold of p_detect")
    axes[0].axhline(1, color="0.6", lw=1)
    axes[1].axhline(1, color="0.6", lw=1)
    axes[2].set_ylim(-0.03, 1.03)
    axes[0].legend(fontsize="small", loc="lower left")
    return figure
