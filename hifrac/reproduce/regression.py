"""Held-out estimates against measured values: Figures 2 to 4 and Table 2 of Wu (2020), and both slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import constants, units
from astropy.table import Table, vstack

from hifrac.core.measurements import plain_floats
from hifrac.metrics import (
    metrics_table,
    published_metrics,
    regression_metrics,
    score_estimates,
    share_interval,
)
from hifrac.reproduce._experiment import ANSWERS, DEEP, LABELS, NO_A40, NO_OTHERS, Setting, experiment
from hifrac.reproduce._inputs import deep_sample, held_out, limits_of, model_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

#: Thresholds of ``p_detect`` in Table 2 of the paper.
CUTS = {"all": -np.inf, "p>0.5": 0.5, "p>0.8": 0.8, "p>0.9": 0.9}
#: The figures of merit that the paper prints.
FIGURES = ("n", "rmse", "slope", "sigma", "offset")

ALFALFA = "ALFALFA, held out"
RESOLVE = "RESOLVE beyond ALFALFA, held out"
_AS_VALUES = f"{RESOLVE}, limits as values"
_PROPERTIES = {
    "truth": "measured log M_HI/M* (dex)",
    "redshift": "redshift",
    "log_mstar": "log M* (dex)",
    "g_minus_i": "g - i (mag)",
    "axial_ratio": "axis ratio b/a",
}
_SLOPES = {
    "slope": "slope of estimate on measured value",
    "slope_inverse": "slope of measured value on estimate",
    "limits_violated": "share of upper limits below the estimate",
}


def cut_metrics(
    truth: Any, estimate: Any, p_detect: Any, *, is_limit: Any = None, draws: int = 1000, seed: int = 0
) -> Table:
    """Score the galaxies above each threshold of the pattern recognition.

    The arguments are those of `hifrac.metrics.score_estimates` and the probability of a detection. The
    table has a row for each of `CUTS`: ``cut`` and the figures, where ``slope`` and ``slope_inverse`` are
    the regressions both ways.
    """
    truth, estimate, p_detect = (np.asarray(values, dtype=float) for values in (truth, estimate, p_detect))
    limit = np.zeros(truth.shape, bool) if is_limit is None else np.asarray(is_limit, bool)
    scores = {}
    for cut, threshold in CUTS.items():
        above = p_detect > threshold
        scores[cut] = score_estimates(
            truth[above], estimate[above], is_limit=limit[above], draws=draws, seed=seed
        )
    table = metrics_table(scores)
    table.rename_column("estimator", "cut")
    table["cut"].info.description = "which galaxies"
    table.remove_column("left_out")
    return table


def residual_trends(
    truth: Any, estimate: Any, properties: Mapping[str, Any], *, draws: int = 1000, seed: int = 0
) -> Table:
    """Correlate residuals with properties of the galaxies, which are not finite where unknown.

    The table has a row for each property: ``n`` galaxies, Spearman's rank correlation ``rho`` of estimate
    minus truth with it, and ``p_value``, the share of random permutations with a correlation at least as
    strong; ``slope``, of the linear regression of the residual on it.
    """
    from scipy.stats import rankdata

    residual = np.asarray(estimate, dtype=float) - np.asarray(truth, dtype=float)
    rng = np.random.default_rng(seed)
    rows = []
    for name, values in properties.items():
        values = np.asarray(values, dtype=float)
        good = np.isfinite(values) & np.isfinite(residual)
        if good.sum() < 3 or np.ptp(values[good]) == 0:
            raise ValueError(f"properties: {name} must have three values, and not all the same")
        rank, residual_rank = rankdata(values[good]), rankdata(residual[good])
        rho = np.corrcoef(rank, residual_rank)[0, 1]
        chance = [np.corrcoef(rng.permutation(rank), residual_rank)[0, 1] for _ in range(draws)]
        p_value = (1 + np.sum(np.abs(chance) >= abs(rho))) / (draws + 1)
        slope = np.polyfit(values[good], residual[good], 1)[0]
        rows.append((name, int(good.sum()), rho, p_value, slope))
    return Table(rows=rows, names=("property", "n", "rho", "p_value", "slope"))


def published_row(sample: str | None, cut: str = "all", estimator: str = "CNN", number: int = 2) -> dict:
    """Return the figures of a row of Table 2 or 3 of the paper; none of no sample."""
    if sample is None:
        return {}
    rows = published_metrics()
    rows = rows[(rows["table"] == number) & (rows["sample"] == sample)]
    (row,) = rows[(rows["cut"] == cut) & (rows["estimator"] == estimator)]
    return {name: float(row[name]) for name in FIGURES}


def published_rows(number: int, *columns: str) -> Table:
    """Return Table 2 or 3 of the paper, to be put below our figures."""
    rows = published_metrics()
    rows = rows["sample", "cut", *columns, *FIGURES][rows["table"] == number]
    for column in rows.itercols():
        column.unit = None  # our figures carry their units in their descriptions
    return label(rows, origin="published")


def label(table: Table, **labels: str) -> Table:
    """Put columns of one value each before the others."""
    for name, text in reversed(labels.items()):
        table.add_column(np.full(len(table), text), 0, name)
    return table


def _notes(setting: Setting) -> list[str]:
    return [
        model_note(setting.model),
        "other galaxies than the paper's, stellar masses of Taylor+2011 (ALFALFA) and RESOLVE, not MPA-JHU; "
        "the paper's alpha.40A rows mix training galaxies in, ours are held out, every one",
    ]


def _scatter_result(table: Table, published: str, setting: Setting) -> Table:
    measured = ~limits_of(table)
    result = table[
        [name for name in ("objid", "truth", "estimate", "p_detect", "is_limit") if name in table.colnames]
    ]
    ours = regression_metrics(table["truth"][measured], table["estimate"][measured])
    paper = {"rmse": 0.235} if published == "validation" else published_row(published)
    result.meta = {
        "numbers": {
            name: (ours[name], paper.get(name)) for name in ("rmse", "slope", "slope_inverse", "offset")
        },
        "notes": [*_notes(setting), f"published: {published}"],
    }
    return result


def plot_scatter(table: Table) -> Figure:
    """Plot Figures 2 and 4: estimates against measured values, upper limits as arrows."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.4, 4.6), layout="constrained")
    points, ours = scatter_panel(axes, table, span_of(table), size=16)
    figure.colorbar(points, label="probability of detection")
    limit = limits_of(table)
    text = f"{np.sum(~limit)} measured: RMSE {ours['rmse']:.3f} dex, offset {ours['offset']:+.3f}\n"
    text += f"slope {ours['slope']:.2f}; of measured on estimate {ours['slope_inverse']:.2f}"
    axes.set_title(text, fontsize="medium")
    axes.set(xlabel=r"measured $\log_{10}(M_\mathrm{HI}/M_*)$", ylabel=r"held-out estimate")
    if limit.any():
        axes.legend(loc="upper left")
    return figure


def span_of(table: Table) -> np.ndarray:
    """Return the limits of both axes of a plot of estimates against measured values."""
    values = [plain_floats(table[name]) for name in ("truth", "estimate")]
    return np.array([np.min(values) - 0.1, np.max(values) + 0.1])


def scatter_panel(
    axes: Axes, table: Table, span: np.ndarray, *, size: float
) -> tuple[PathCollection, dict[str, float]]:
    """Plot estimates against measured values, upper limits as arrows; return the points and their figures."""
    truth, estimate, p_detect = (plain_floats(table[name]) for name in ("truth", "estimate", "p_detect"))
    limit = limits_of(table)
    axes.plot(span, span, color="0.6", lw=1)
    points = axes.scatter(truth[~limit], estimate[~limit], c=p_detect[~limit], s=size, vmin=0, vmax=1)
    if limit.any():
        arrow: dict[str, Any] = {"marker": r"$\leftarrow$", "s": 3.75 * size, "color": "C3", "lw": 0.3}
        axes.scatter(truth[limit], estimate[limit], label="upper limits", **arrow)
    axes.set(xlim=span, ylim=span)
    return points, regression_metrics(truth[~limit], estimate[~limit])


@experiment(
    "Figure 2: estimates against measured values, ALFALFA", (LABELS, ANSWERS), plot_scatter, without=NO_A40
)
def fig2(setting: Setting) -> Table:
    """Make Figure 2 with held-out answers: a row a galaxy of ALFALFA."""
    return _scatter_result(held_out(setting), "validation", setting)


@experiment(
    "Figure 4: estimates against measured values beyond the training set (RESOLVE)",
    (DEEP, ANSWERS),
    plot_scatter,
    without=NO_OTHERS,
)
def fig4(setting: Setting) -> Table:
    """Make Figure 4 with held-out answers: a row a galaxy of RESOLVE that ALFALFA did not detect."""
    return _scatter_result(deep_sample(setting), "xGASS", setting)


def plot_residuals(table: Table) -> Figure:
    """Plot Figure 3: residuals against properties, with medians in bins of equal numbers."""
    import matplotlib.pyplot as plt

    names = [name for name in _PROPERTIES if name in table.colnames]
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.5 * len(names), 3), sharey=True, layout="constrained", squeeze=False
    )
    residual = plain_floats(table["residual"])
    for name, axis in zip(names, axes[0], strict=True):
        values = plain_floats(table[name])
        axis.scatter(values, residual, s=5, color="0.6")
        axis.axhline(0, color="k", lw=0.8)
        for part in np.array_split(np.argsort(values), 6):
            low, middle, high = np.percentile(residual[part], [16, 50, 84])
            error = [[middle - low], [high - middle]]
            axis.errorbar(np.median(values[part]), middle, error, fmt="o", color="C0", ms=4)
        axis.set_xlabel(_PROPERTIES[name])
    axes[0, 0].set_ylabel("estimate - measured (dex)")
    return figure


@experiment(
    "Figure 3: residuals against properties of the galaxies",
    (LABELS, ANSWERS),
    plot_residuals,
    without="the pictures, star formation rates and metallicities of alpha.40B",
)
def fig3(setting: Setting) -> Table:
    """Make Figure 3 with held-out answers: residuals against properties, a row a galaxy."""
    table = held_out(setting)
    velocity = units.Quantity(plain_floats(table["v_helio"]), "km/s")
    table["redshift"] = (velocity / constants.c).decompose().value
    table["log_mstar"] = plain_floats(table["log_mstar_taylor"])
    properties = {name: plain_floats(table[name]) for name in _PROPERTIES}
    trends = residual_trends(table["truth"], table["estimate"], properties, **setting.bootstrap)
    result = Table({"objid": table["objid"], **properties})
    result["residual"] = plain_floats(table["estimate"]) - plain_floats(table["truth"])
    missing = "star formation rate and metallicity need MPA-JHU: colour and shape instead"
    result.meta = {
        "numbers": {
            f"Spearman's rho of the residual with {_PROPERTIES[row['property']]}": (float(row["rho"]), None)
            for row in trends
        },
        "trends": {name: trends[name].tolist() for name in trends.colnames},
        "notes": [*_notes(setting), missing],
    }
    return result


def sample_cuts(table: Table, setting: Setting, *, limits: bool = True) -> Table:
    """Apply `cut_metrics` to ``truth``, ``estimate`` and ``p_detect``; limits may count as values."""
    columns = (table[name] for name in ("truth", "estimate", "p_detect"))
    return cut_metrics(*columns, is_limit=limits_of(table) if limits else None, **setting.bootstrap)


@experiment("Table 2: pattern recognition and estimates combined", (LABELS, DEEP, ANSWERS), without=NO_OTHERS)
def table2(setting: Setting) -> Table:
    """Make Table 2 with held-out answers: ALFALFA's galaxies, RESOLVE's that it missed, and as published."""
    deep = deep_sample(setting)
    parts = {
        ALFALFA: sample_cuts(held_out(setting), setting),
        RESOLVE: sample_cuts(deep, setting),
        _AS_VALUES: sample_cuts(deep, setting, limits=False),
    }
    numbers = {}
    for name, paper in ((ALFALFA, "alpha.40A"), (_AS_VALUES, "xGASS")):
        for row in parts[name]:
            published = published_row(paper, row["cut"])
            for figure in FIGURES:
                quantity = f"{name}, {row['cut']}, {figure} (published: {paper})"
                numbers[quantity] = (float(row[figure]), published[figure])
    labelled = [label(part, origin="ours", sample=name) for name, part in parts.items()]
    table = vstack([*labelled, published_rows(2)], metadata_conflicts="silent")
    table.meta = {"numbers": numbers, "notes": _notes(setting)}
    return table


def plot_slopes(table: Table) -> Figure:
    """Plot both slopes of each sample, and the share of upper limits violated, for each cut."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    cuts = list(dict.fromkeys(str(cut) for cut in table["cut"]))
    for axis, (name, text) in zip(axes, _SLOPES.items(), strict=True):
        for shift, colour, sample in ((-0.08, "C0", ALFALFA), (0.08, "C1", RESOLVE)):
            rows = table[(table["sample"] == sample) & np.isfinite(table[name])]
            if not len(rows):
                continue
            values = plain_floats(rows[name])
            if name == "limits_violated":
                error = np.abs(values - [rows["limits_violated_low"], rows["limits_violated_high"]])
            else:
                error = rows[f"{name}_error"]
            place = [cuts.index(cut) + shift for cut in rows["cut"]]
            axis.errorbar(place, values, error, fmt="o", ms=4, capsize=2, color=colour, label=sample)
        axis.set_xticks(range(len(cuts)), cuts)
        axis.set(ylabel=text, xlim=(-0.5, len(cuts) - 0.5), xlabel="threshold of p_detect")
    axes[0].axhline(1, color="0.6", lw=1)
    axes[1].axhline(1, color="0.6", lw=1)
    axes[2].set_ylim(-0.03, 1.03)
    axes[0].legend(fontsize="small", loc="lower left")
    return figure


@experiment("Both regression slopes, and upper limits violated", (LABELS, DEEP, ANSWERS), plot_slopes)
def slopes(setting: Setting) -> Table:
    """Make a table of both regression slopes and the upper limits violated, with errors, for each cut."""
    samples = {ALFALFA: held_out(setting), RESOLVE: deep_sample(setting)}
    parts = [label(sample_cuts(rows, setting), sample=name) for name, rows in samples.items()]
    table = vstack(parts)
    violated = np.round(np.nan_to_num(table["limits_violated"]) * table["n_limits"]).astype(int)
    table["limits_violated_low"], table["limits_violated_high"] = share_interval(violated, table["n_limits"])
    numbers = {
        f"{row['sample']}, {figure}{ending}": (float(row[figure + ending]), None)
        for row in table[table["cut"] == "all"]
        for figure in _SLOPES
        for ending in ("", "_error")
        if np.isfinite(row[figure + ending])
    }
    table.meta = {"numbers": numbers, "notes": [model_note(setting.model)]}
    return table
