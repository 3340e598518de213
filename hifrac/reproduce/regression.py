"""Held-out estimates against measured values: Figures 2 to 4 and Table 2 of Wu (2020), and both slopes.

And the estimates of Teimoorinia et al. (2017) beside ours: Figures 6 and 7 and Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
from astropy import constants, units
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table, vstack
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from hifrac import catalogs
from hifrac.catalogs import match_positions, plain_values
from hifrac.core.measurements import plain_floats
from hifrac.metrics import (
    metrics_table,
    published_metrics,
    regression_metrics,
    score_estimates,
    share_interval,
)
from hifrac.reproduce._experiment import Setting, experiment, grid, panels
from hifrac.reproduce._inputs import deep_sample, held_out, limits_of, model_note

#: Thresholds of ``p_detect`` in Table 2 of the paper.
CUTS = {"all": -np.inf, "p>0.5": 0.5, "p>0.8": 0.8, "p>0.9": 0.9}
#: Thresholds of the robustness of Teimoorinia et al. (2017) in Table 3; the paper's names of its and ours.
_ROBUSTNESS = (0.5, 0.7, 0.9)
ESTIMATORS = ("CNN", "FCNN")
#: The figures of merit that the paper prints.
FIGURES = ("n", "rmse", "slope", "sigma", "offset")

MEASURED = r"measured $\log_{10}(M_\mathrm{HI}/M_*)$"
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
#: As an axis has them.
_LABELS = {"truth": f"{MEASURED} (dex)", "log_mstar": r"$\log_{10}(M_*/M_\odot)$"}
_SLOPES = {
    "slope": "slope of estimate on measured value",
    "slope_inverse": "slope of measured value on estimate",
    "limits_violated": "share of upper limits below the estimate",
}


def _scores_by_cut(
    truth: Any, estimates: dict[str, Any], p_detect: Any, is_limit: Any, c_fgas: Any, **bootstrap: int
) -> Table:
    """Score estimators on the galaxies of each cut: a row for each cut and estimator."""
    truth, p_detect = np.asarray(truth, float), np.asarray(p_detect, float)
    limit = np.zeros(truth.shape, bool) if is_limit is None else np.asarray(is_limit, bool)
    columns = {name: np.asarray(values, float) for name, values in estimates.items()}
    cuts = {cut: p_detect > threshold for cut, threshold in CUTS.items()}
    if c_fgas is not None:
        cuts |= {f"Cfgas>{threshold}": np.asarray(c_fgas) > threshold for threshold in _ROBUSTNESS}
    parts = []
    for cut, rows in cuts.items():
        scores = {
            name: score_estimates(truth[rows], values[rows], is_limit=limit[rows], **bootstrap)
            for name, values in columns.items()
        }
        parts.append(label(metrics_table(scores), cut=cut))
    table = vstack(parts)
    table["cut"].info.description = "which galaxies"
    table.remove_column("left_out")
    return table


def cut_metrics(
    truth: Any, estimate: Any, p_detect: Any, *, is_limit: Any = None, draws: int = 1000, seed: int = 0
) -> Table:
    """Apply `hifrac.metrics.score_estimates` to the galaxies above each threshold of `CUTS`."""
    table = _scores_by_cut(truth, {"": estimate}, p_detect, is_limit, None, draws=draws, seed=seed)
    table.remove_column("estimator")
    return table


def residual_trends(
    truth: Any, estimate: Any, properties: Mapping[str, Any], *, draws: int = 1000, seed: int = 0
) -> Table:
    """Correlate residuals with properties of the galaxies, which are not finite where unknown.

    ``rho`` is Spearman's, ``p_value`` the share of random permutations with a correlation at least as strong,
    ``slope`` that of the linear regression of the residual on the property.
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
    names = ("objid", "truth", "estimate", "p_detect", "is_limit")
    result = table[[name for name in names if name in table.colnames]]
    ours = regression_metrics(table["truth"][measured], table["estimate"][measured])
    paper = {"rmse": 0.235} if published == "validation" else published_row(published)
    numbers = {name: (ours[name], paper.get(name)) for name in ("rmse", "slope", "slope_inverse", "offset")}
    result.meta = {"numbers": numbers, "notes": [*_notes(setting), f"published: {published}"]}
    return result


def plot_scatter(table: Table) -> Figure:
    """Plot Figures 2 and 4: estimates against measured values, upper limits as arrows."""
    figure, ((axes,),) = panels(1, 1, 5.4, 4.6)
    points, ours = scatter_panel(axes, table, span_of(table), size=16)
    figure.colorbar(points, label="probability of detection")
    limit = limits_of(table)
    text = f"{np.sum(~limit)} measured: RMSE {ours['rmse']:.3f} dex, offset {ours['offset']:+.3f}\n"
    text += f"slope {ours['slope']:.2f}; of measured on estimate {ours['slope_inverse']:.2f}"
    axes.set_title(text, fontsize="medium")
    axes.set(xlabel=f"{MEASURED} (dex)", ylabel="held-out estimate (dex)")
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


@experiment(plot_scatter)
def fig2(setting: Setting) -> Table:
    """Make Figure 2 with held-out answers: a row a galaxy of ALFALFA."""
    return _scatter_result(held_out(setting), "validation", setting)


@experiment(plot_scatter)
def fig4(setting: Setting) -> Table:
    """Make Figure 4 with held-out answers: a row a galaxy of RESOLVE that ALFALFA did not detect."""
    return _scatter_result(deep_sample(setting), "xGASS", setting)


def plot_residuals(table: Table) -> Figure:
    """Plot Figure 3: residuals against properties, with medians in bins of equal numbers."""
    names = [name for name in _PROPERTIES if name in table.colnames]
    figure, axes = grid(len(names), 3, 8, 2.6, sharey=True)
    residual = plain_floats(table["residual"])
    for name, axis in zip(names, axes.flat, strict=False):
        values = plain_floats(table[name])
        axis.scatter(values, residual, s=5, color="0.6")
        axis.axhline(0, color="k", lw=0.8)
        for part in np.array_split(np.argsort(values), 6):
            low, middle, high = np.percentile(residual[part], [16, 50, 84])
            error = [[middle - low], [high - middle]]
            bars = axis.errorbar(np.median(values[part]), middle, error, fmt="o", color="C0", ms=4)
        axis.set_xlabel(_LABELS.get(name, _PROPERTIES[name]))
    bars.set_label("median and central 68%\nof a sixth of the galaxies")
    figure.legend(handles=[bars], loc="lower right", fontsize="small")
    for axis in axes[:, 0]:
        axis.set_ylabel("estimate - measured (dex)")
    return figure


@experiment(plot_residuals)
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
    correlation = "Spearman's rho of the residual with"
    result.meta = {
        "numbers": {f"{correlation} {_PROPERTIES[row['property']]}": row["rho"] for row in trends},
        "trends": {name: trends[name].tolist() for name in trends.colnames},
        "notes": [*_notes(setting), missing],
    }
    return result


def sample_cuts(table: Table, setting: Setting) -> Table:
    """Apply `cut_metrics` to ``truth``, ``estimate``, ``p_detect`` and ``is_limit``."""
    columns = (table[name] for name in ("truth", "estimate", "p_detect"))
    return cut_metrics(*columns, is_limit=limits_of(table), **setting.bootstrap)


@experiment()
def table2(setting: Setting) -> Table:
    """Make Table 2 with held-out answers: ALFALFA's galaxies, RESOLVE's that it missed, and as published."""
    deep = deep_sample(setting)
    parts = {
        ALFALFA: sample_cuts(held_out(setting), setting),
        RESOLVE: sample_cuts(deep, setting),
        _AS_VALUES: sample_cuts(deep["truth", "estimate", "p_detect"], setting),
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
    figure, (axes,) = panels(1, 3, 9, 3.6)
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
        axis.set(xlim=(-0.5, len(cuts) - 0.5), xlabel="probability of detection")
        axis.set_title(fill(text, 24), fontsize="medium")
    axes[0].axhline(1, color="0.6", lw=1)
    axes[1].axhline(1, color="0.6", lw=1)
    axes[2].set_ylim(-0.03, 1.03)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize="small")
    return figure


@experiment(plot_slopes)
def slopes(setting: Setting) -> Table:
    """Make a table of both regression slopes and the upper limits violated, with errors, for each cut."""
    samples = {ALFALFA: held_out(setting), RESOLVE: deep_sample(setting)}
    parts = [label(sample_cuts(rows, setting), sample=name) for name, rows in samples.items()]
    table = vstack(parts)
    violated = np.round(np.nan_to_num(table["limits_violated"]) * table["n_limits"]).astype(int)
    table["limits_violated_low"], table["limits_violated_high"] = share_interval(violated, table["n_limits"])
    numbers = {
        f"{row['sample']}, {figure}{ending}": row[figure + ending]
        for row in table[table["cut"] == "all"]
        for figure in _SLOPES
        for ending in ("", "_error")
        if np.isfinite(row[figure + ending])
    }
    table.meta = {"numbers": numbers, "notes": [model_note(setting.model)]}
    return table


_MATCHED = (
    "galaxies of ALFALFA with pictures in the data directory that the catalogue has within 1 arcsec; CNN "
    "stands for the default model, held out"
)


def compare(
    truth: Any, ours: Any, theirs: Any, p_detect: Any, c_fgas: Any = None, *, draws: int = 1000, seed: int = 0
) -> Table:
    """Score two estimators on the same galaxies, for each cut of Table 3 that can be made.

    ``c_fgas`` is the robustness that Teimoorinia et al. (2017) give; "CNN" is ours, as in the paper.
    """
    estimates = dict(zip(ESTIMATORS, (ours, theirs), strict=True))
    table = _scores_by_cut(truth, estimates, p_detect, None, c_fgas, draws=draws, seed=seed)
    table.remove_columns(["n_limits", "limits_violated", "limits_violated_error"])
    return table


def match_catalogue(table: Table, catalogue: QTable) -> Table:
    """Return the galaxies that a catalogue has within 1 arcsec, with ``theirs`` and maybe ``c_fgas``."""
    coords = SkyCoord(plain_floats(table["ra"]), plain_floats(table["dec"]), unit="deg")
    row = match_positions(coords, catalogue, 1 * units.arcsec)["row"]
    is_matched = ~np.asarray(row.mask)
    result = Table({name: table[name][is_matched] for name in ("objid", "truth", "estimate", "p_detect")})
    row = np.asarray(row[is_matched])
    for name, column in (("theirs", "log_hi_fraction_estimate"), ("c_fgas", "c_fgas")):
        if column in catalogue.colnames:
            result[name] = plain_values(catalogue, column)[row]
    result = result[np.isfinite(result["theirs"])]
    if not len(result):
        raise ValueError("catalogue: it has none of the galaxies within 1 arcsec")
    return result


def _matched(setting: Setting) -> Table:
    table = match_catalogue(held_out(setting), catalogs.teimoorinia2017(setting.root))
    table.meta = {"notes": [_MATCHED, model_note(setting.model)]}
    return table


def _compared(table: Table, setting: Setting) -> Table:
    names = ("truth", "estimate", "theirs", "p_detect", "c_fgas")
    return compare(*(table[name] for name in names if name in table.colnames), **setting.bootstrap)


@experiment()
def table3(setting: Setting) -> Table:
    """Make Table 3 with held-out answers, beside the published rows."""
    matched = _matched(setting)
    ours = label(_compared(matched, setting), origin="ours", sample="ALFALFA, held out")
    numbers = {}
    for row in ours[ours["cut"] == "all"]:
        name = str(row["estimator"])
        paper = published_row("alpha.100", estimator=name, number=3)
        numbers[f"{name}, all, RMSE (dex; published: alpha.100)"] = (float(row["rmse"]), paper["rmse"])
    table = vstack([ours, published_rows(3, "estimator")], metadata_conflicts="silent")
    table.meta = {"numbers": numbers, **matched.meta}
    return table


def plot_both(table: Table) -> Figure:
    """Plot Figure 6: both estimates against measured values."""
    figure, (axes,) = panels(1, 2, 8, 4, sharex=True, sharey=True)
    cuts = {"p > 0.9": table[table["p_detect"] > 0.9], "all": table}
    if "c_fgas" in table.colnames:
        cuts = {"p > 0.9": cuts["p > 0.9"], "Cfgas > 0.5": table[table["c_fgas"] > 0.5]}
    for axis, (text, rows) in zip(axes, cuts.items(), strict=True):
        axis.scatter(rows["truth"], rows["theirs"], marker="x", s=14, color="C3", label="Teimoorinia+2017")
        axis.scatter(rows["truth"], rows["estimate"], s=10, color="C0", label="default model, held out")
        axis.axline((0, 0), slope=1, color="0.6", lw=1)
        axis.set(xlabel=f"{MEASURED} (dex)", title=f"{text} ({len(rows)})")
    axes[0].set_ylabel("estimate (dex)")
    axes[0].legend(fontsize="small")
    return figure


@experiment(plot_both)
def fig6(setting: Setting) -> Table:
    """Make Figure 6: both estimates, a row a galaxy."""
    table = _matched(setting)
    table.meta["numbers"] = {
        f"{name}, RMSE (dex)": np.sqrt(np.mean((table[column] - table["truth"]) ** 2))
        for name, column in zip(ESTIMATORS, ("estimate", "theirs"), strict=True)
    }
    return table


def plot_bars(table: Table) -> Figure:
    """Plot Figure 7: bars of the errors of both."""
    figure, ((axes,),) = panels(1, 1, 6.5, 3.8)
    cuts = list(dict.fromkeys(table["cut"]))
    for shift, name, colour in zip((-0.2, 0.2), ESTIMATORS, ("C0", "C3"), strict=True):
        rows = table[table["estimator"] == name]
        place = np.arange(len(rows)) + shift
        axes.bar(place, rows["rmse"], 0.4, yerr=rows["rmse_error"], color=colour, label=name)
    counts = table["n"][table["estimator"] == ESTIMATORS[0]]
    labels = [f"{cut}\n{n}" for cut, n in zip(cuts, counts, strict=True)]
    axes.set_xticks(np.arange(len(cuts)), labels)
    axes.set(ylabel="RMSE (dex)", ylim=(0, 1.2 * axes.get_ylim()[1]))
    axes.legend(loc="upper center", ncols=2)
    return figure


@experiment(plot_bars)
def fig7(setting: Setting) -> Table:
    """Make Figure 7: the errors of both for each cut, and how many galaxies it leaves."""
    matched = _matched(setting)
    table = _compared(matched, setting)
    numbers = {f"{row['estimator']}, {row['cut']}, RMSE (dex)": row["rmse"] for row in table}
    table.meta = {"numbers": numbers, **matched.meta}
    return table
