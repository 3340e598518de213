"""Probabilities and intervals, with held-out answers: Figure 5 of Wu (2020), reliability and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from hifrac.catalogs import match_ids
from hifrac.core.measurements import plain_floats
from hifrac.metrics import detection_auc, share_interval
from hifrac.reproduce._experiment import Setting, experiment, grid, panels
from hifrac.reproduce._inputs import answers, deep_sample, held_out, limits_of, model_note, reddening
from hifrac.reproduce.environment import DENSITY_NOTE, galaxy_densities
from hifrac.reproduce.regression import residual_trends

_SAMPLES = {"detected": "detected", "undetected": "not detected", "gas_poor": "RESOLVE beyond ALFALFA"}


def threshold_table(detected: Any, p_detect: Any, residual: Any = None, *, step: float = 0.01) -> Table:
    """Measure what a threshold of the probability of detection gives and costs.

    ``residual`` is estimate minus measured value in dex, NaN where nothing is measured. The table has for
    each ``threshold`` the shares of detected and of others above it, ``completeness`` and ``contamination``;
    ``accuracy`` and ``purity`` where both are equally frequent, as the paper has them; and with residuals
    ``n`` and ``rmse`` of those above. ``meta["auc"]``: area under the receiver operating characteristic.
    """
    detected, p_detect = np.asarray(detected), np.asarray(p_detect, dtype=float)
    area = detection_auc(detected, p_detect)
    thresholds = np.round(np.arange(0, 1 + step / 2, step), 10)
    above = p_detect[None, :] > thresholds[:, None]
    table = Table({"threshold": thresholds})
    true, false = above[:, detected].mean(axis=1), above[:, ~detected].mean(axis=1)
    table["completeness"], table["contamination"] = true, false
    table["accuracy"] = (true + 1 - false) / 2
    with np.errstate(invalid="ignore"):
        table["purity"] = true / (true + false)
    if residual is not None:
        residual = np.asarray(residual, dtype=float)
        if residual.shape != p_detect.shape:
            raise ValueError(f"residual must have the shape {p_detect.shape}, got {residual.shape}")
        above &= np.isfinite(residual)
        table["n"] = above.sum(axis=1)
        table["rmse"] = [np.sqrt(np.mean(residual[row] ** 2)) if row.sum() >= 3 else np.nan for row in above]
    table.meta["auc"] = area
    return table


def _row_at(table: Table, threshold: float):
    return table[int(np.argmin(np.abs(table["threshold"] - threshold)))]


def plot_detection(table: Table) -> Figure:
    """Plot Figure 5: the probabilities of each sample; beside it the ROC and what thresholds cost."""
    figure, ((left, middle), (right, errors)) = panels(2, 2, 8, 6.2)
    edges = np.linspace(0, 1, 21)
    for name, text in _SAMPLES.items():
        # p = 0 counts as above nothing: the share below the first edge joins the first bin.
        above = np.interp(edges, table["threshold"], table[f"above_{name}"])
        above[0] = 1.0
        left.stairs(-np.diff(above), edges, lw=1.6, label=f"{text} ({table.meta['counts'][name]:,})")
    left.set(xlabel="probability of detection", ylabel="share of the sample")
    left.legend(fontsize="small")
    middle.plot(table["contamination"], table["completeness"], color="C0")
    for threshold in (0.5, 0.8, 0.9):
        row = _row_at(table, threshold)
        point = (row["contamination"], row["completeness"])
        middle.plot(*point, "o", color="C0", ms=4)
        middle.annotate(f"p > {threshold}", point, (6, -8), textcoords="offset points", fontsize="small")
    middle.plot([0, 1], [0, 1], color="0.7", lw=1)
    middle.set(xlabel="undetected above the threshold", ylabel="detected above the threshold")
    middle.set_title(f"area under the curve {table.meta['auc']:.3f}")
    right.plot(table["threshold"], table["completeness"], label="completeness")
    right.plot(table["threshold"], table["purity"], label="purity, both kinds as frequent")
    right.set(xlabel="threshold of the probability", ylabel="share", ylim=(0, 1.02))
    right.legend(fontsize="small", loc="lower center")
    errors.plot(table["threshold"], table["rmse"], color="C3")
    errors.set(xlabel="threshold of the probability", ylabel="RMSE of those measured (dex)", ylim=(0, None))
    return figure


@experiment(plot_detection)
def fig5(setting: Setting) -> Table:
    """Make Figure 5 with held-out answers: `threshold_table`, and the share of each sample above each."""
    answered = answers(setting.model)
    gas_poor = np.asarray(answered["gas_poor"], bool)
    detected = np.asarray(answered["detected"], bool)
    rows = detected | (np.asarray(answered["undetected"], bool) & ~gas_poor)
    p_detect = np.asarray(answered["p_detect"], float)
    residuals: dict[str, float] = {}
    for sample in (held_out(setting), deep_sample(setting)):
        measured = sample[~limits_of(sample)]
        residuals |= zip(measured["objid"], measured["estimate"] - measured["truth"], strict=True)
    residual = np.array([residuals.get(objid, np.nan) for objid in answered["objid"]])
    table = threshold_table(detected[rows], p_detect[rows])
    both = threshold_table(detected[rows | gas_poor], p_detect[rows | gas_poor], residual[rows | gas_poor])
    table["n_measured"], table["rmse"] = both["n"], both["rmse"]
    samples = {"detected": detected, "undetected": rows & ~detected, "gas_poor": gas_poor}
    for name, chosen in samples.items():
        table[f"above_{name}"] = (p_detect[chosen][None, :] > table["threshold"][:, None]).mean(axis=1)
    half, strict = _row_at(table, 0.5), _row_at(table, 0.9)
    table.meta |= {
        "counts": {name: int(chosen.sum()) for name, chosen in samples.items()},
        "numbers": {
            "area under the ROC": (table.meta["auc"], 0.93),
            "balanced accuracy at p > 0.5": (float(half["accuracy"]), 0.935),
            "completeness at p > 0.9": (float(strict["completeness"]), 5319 / 7128),
            "RESOLVE beyond ALFALFA above p > 0.9": strict["above_gas_poor"],
        },
        "notes": [
            model_note(setting.model),
            "the published area 0.93 is that of hard labels, not of probabilities; "
            "the published completeness is 5,319 of 7,128 (Table 2), training galaxies included",
        ],
    }
    return table


_INTERVALS = {68: 0.16, 90: 0.05}  # percent inside, and share outside on each side
_PROPERTIES = {
    "log_mstar": r"$\log_{10}(M_*/M_\odot)$",
    "log_overdensity": r"$\log_{10}(1+\delta_5)$",
    "estimate": "held-out estimate (dex)",
    "ebv": "E(B-V) (mag)",
}


def _check_shares(values: Any, name: str, n_bins: int) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"{name} must be one-dimensional, and lie between 0 and 1")
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    return values


def reliability_table(detected: Any, p_detect: Any, *, n_bins: int = 8) -> Table:
    """Count how many galaxies of a given probability of detection are detections.

    All is at equal odds of both classes, as p_detect is: in each bin the mean probability ``stated``, and the
    ``share`` of detections with its interval of 68.3% (Wilson 1927); and ``meta["brier"]`` (Brier 1950).
    """
    detected, p_detect = np.asarray(detected), _check_shares(p_detect, "p_detect", n_bins)
    if detected.dtype != bool or detected.shape != p_detect.shape:
        raise ValueError("detected must be boolean, and as long as p_detect")
    if detected.all() or not detected.any():
        raise ValueError("detected must have both detections and non-detections")
    place = np.clip((p_detect * n_bins).astype(int), 0, n_bins - 1)
    weight = np.where(detected, 0.5 / detected.sum(), 0.5 / (~detected).sum())
    n, n_detected = np.bincount(place, minlength=n_bins), np.bincount(place[detected], minlength=n_bins)
    with np.errstate(invalid="ignore"):
        stated, share = (
            np.bincount(place, weight * values, n_bins) / np.bincount(place, weight, n_bins)
            for values in (p_detect, detected)
        )
    # A share s counted among unlike numbers has the odds s/(1 - s) times this at equal ones.
    odds = (~detected).sum() / detected.sum()
    bounds = share_interval(n_detected, n)
    low, high = bounds * odds / (bounds * odds + 1 - bounds)
    edges = np.linspace(0, 1, n_bins + 1)
    table = Table({"low": edges[:-1], "high": edges[1:], "n": n, "n_detected": n_detected})
    table["stated"], table["share"], table["share_low"], table["share_high"] = stated, share, low, high
    table.meta["brier"] = float(np.sum(weight * (p_detect - detected) ** 2))
    return table


def coverage_table(pit: Any, properties: Mapping[str, Any], *, n_bins: int = 5) -> Table:
    """Count the measured values inside their intervals, along properties of the galaxies.

    ``pit`` are the ranks of `hifrac.metrics.pit`; properties are not finite where unknown. The table has
    bins of as equal numbers as can be, and for the central intervals of 68% and 90% the coverage with its
    interval of 68.3% (Wilson 1927).
    """
    pit = _check_shares(pit, "pit", n_bins)
    rows = []
    for name, values in properties.items():
        values = np.asarray(values, dtype=float)
        if values.shape != pit.shape:
            raise ValueError(f"properties: {name} must have the shape {pit.shape}, got {values.shape}")
        finite = np.flatnonzero(np.isfinite(values))
        order = finite[np.argsort(values[finite], kind="stable")]
        if len(order) < n_bins:
            raise ValueError(f"properties: {name} is known of {len(order)} galaxies, for {n_bins} bins")
        for part in np.array_split(order, n_bins):
            low, middle, high = np.percentile(values[part], [0, 50, 100])
            row = {"property": name, "n": len(part), "low": low, "median": middle, "high": high}
            for nominal, outside in _INTERVALS.items():
                inside = int(np.sum((pit[part] >= outside) & (pit[part] <= 1 - outside)))
                low, high = share_interval(inside, len(part))
                key = f"coverage_{nominal}"
                row |= {key: inside / len(part), f"{key}_low": low, f"{key}_high": high}
            rows.append(row)
    return Table(rows)


def plot_reliability(table: Table) -> Figure:
    """Plot the reliability diagram, and the number of galaxies in each bin."""
    figure, ((upper,), (lower,)) = panels(2, 1, 4.8, 5.6, sharex=True, height_ratios=(3, 1))
    rows = table[table["n"] > 0]
    error = np.abs(rows["share"] - [rows["share_low"], rows["share_high"]])
    upper.plot([0, 1], [0, 1], color="0.6", lw=1)
    upper.errorbar(rows["stated"], rows["share"], error, fmt="o", color="k", capsize=2)
    upper.set(ylabel="share of detections, at equal odds", xlim=(0, 1), ylim=(-0.02, 1.02))
    edges = [*table["low"], table["high"][-1]]
    for counts, text in ((table["n_detected"], "detected"), (table["n"] - table["n_detected"], "others")):
        lower.stairs(counts, edges, lw=1.6, label=text)
    lower.set(xlabel="probability of detection", ylabel="galaxies", yscale="log", ylim=(0.7, None))
    lower.legend(fontsize="small", loc="upper center", ncols=2)
    return figure


@experiment(plot_reliability)
def reliability(setting: Setting) -> Table:
    """Make the reliability of ``p_detect``: detections, and bright galaxies that ALFALFA did not detect."""
    answered = answers(setting.model)
    detected = np.asarray(answered["detected"], bool)
    rows = detected | answered["undetected"]
    table = reliability_table(detected[rows], answered["p_detect"][rows])
    agree = (table["share_low"] <= table["stated"]) & (table["stated"] <= table["share_high"])
    table.meta["notes"] = [model_note(setting.model), "detections and bright undetected galaxies count alike"]
    table.meta["numbers"] = {
        "Brier score, both kinds alike": table.meta["brier"],
        "share of the bins whose interval has the stated probability": np.mean(agree),
    }
    return table


def plot_coverage(table: Table) -> Figure:
    """Plot shares inside the intervals, with Wilson errors, in a panel for each property."""
    names = list(dict.fromkeys(str(name) for name in table["property"]))
    figure, axes = grid(len(names), 2, 7.5, 2.9, sharey=True)
    for name, axis in zip(names, axes.flat, strict=False):
        rows = table[table["property"] == name]
        across = np.abs(rows["median"] - [rows["low"], rows["high"]])
        for nominal, colour in zip(_INTERVALS, ("C0", "C1"), strict=True):
            share = rows[f"coverage_{nominal}"]
            error = np.abs(share - [rows[f"coverage_{nominal}_low"], rows[f"coverage_{nominal}_high"]])
            axis.axhline(nominal / 100, color=colour, lw=1)
            style = {"fmt": "o", "color": colour, "ms": 4, "elinewidth": 1}
            axis.errorbar(rows["median"], share, error, across, label=f"{nominal}% interval", **style)
        axis.set(xlabel=_PROPERTIES.get(name, name), ylim=(0.4, 1.02))
        axis.locator_params(axis="x", nbins=6)
    for axis in axes[:, 0]:
        axis.set_ylabel("measured values inside")
    axes[0, 0].legend(fontsize="small", loc="lower left")
    return figure


@experiment(plot_coverage)
def coverage(setting: Setting) -> Table:
    """Make the coverage of ALFALFA's labelled galaxies against mass, density, estimate, reddening."""
    rows = held_out(setting)
    answered = answers(setting.model)
    if "pit" not in answered.colnames:
        raise ValueError(f"model: {setting.model / 'out_of_fold.ecsv'} lacks the column pit")
    pit = plain_floats(answered["pit"])[np.asarray(match_ids(rows["objid"], answered["objid"])["row"])]
    properties = {
        "log_mstar": plain_floats(rows["log_mstar_taylor"]),
        "log_overdensity": galaxy_densities(rows, setting),
        "estimate": plain_floats(rows["estimate"]),
        "ebv": reddening(rows),
    }
    table = coverage_table(pit, properties)
    distance = np.abs(pit - 0.5)  # goes with nothing, if the intervals hold everywhere
    numbers = {
        f"share inside the {nominal}% interval": np.mean(distance <= 0.5 - outside)
        for nominal, outside in _INTERVALS.items()
    }
    for row in residual_trends(0 * distance, distance, properties, **setting.bootstrap):
        numbers[f"rank correlation of |PIT - 1/2| with {row['property']}"] = row["rho"]
        numbers[f"permutation probability of that, {row['property']}"] = row["p_value"]
    table.meta = {"numbers": numbers, "notes": [model_note(setting.model), DENSITY_NOTE]}
    return table
