"""Beyond the paper: whether intervals and probabilities are what they say, with held-out answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hifrac.catalogs import match_ids
from hifrac.core.measurements import plain_floats
from hifrac.metrics import share_interval
from hifrac.reproduce._experiment import ANSWERS, LABELS, NO_ATLAS, Setting, experiment
from hifrac.reproduce._inputs import answers, held_out, model_note, reddening
from hifrac.reproduce.environment import DENSITY_INPUTS, DENSITY_NOTE, galaxy_densities
from hifrac.reproduce.regression import residual_trends

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    Both classes count alike, however many galaxies each has: p_detect is calibrated at equal odds. The
    table has a row for each bin from ``low`` to ``high``: ``n`` galaxies, ``n_detected`` of them;
    ``stated``, their mean probability, and ``share``, the share of detections, at equal odds (NaN in an
    empty bin); ``share_low`` and ``share_high``, the interval of 68.3% of Wilson (1927) for the share that
    was counted, its bounds carried to equal odds. ``meta["brier"]``: mean square of p_detect minus outcome
    at equal odds (Brier 1950).
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
    names = ("low", "high", "n", "n_detected", "stated", "share", "share_low", "share_high")
    table = Table([edges[:-1], edges[1:], n, n_detected, stated, share, low, high], names=names)
    table.meta["brier"] = float(np.sum(weight * (p_detect - detected) ** 2))
    return table


def coverage_table(pit: Any, properties: Mapping[str, Any], *, n_bins: int = 5) -> Table:
    """Count the measured values inside their intervals, along properties of the galaxies.

    ``pit`` are the ranks of `hifrac.metrics.pit`; properties are not finite where unknown. The table has a
    row for each ``property`` and bin of as equal numbers as can be: ``n``, ``low``, ``median`` and
    ``high`` of the property in it, and for the central intervals of 68% and 90% ``coverage_68`` with the
    Wilson (1927) interval of 68.3%, ``coverage_68_low`` to ``coverage_68_high``, and the same for 90.
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
    import matplotlib.pyplot as plt

    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(4.8, 5.6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    rows = table[table["n"] > 0]
    error = [rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]]
    upper.plot([0, 1], [0, 1], color="0.6", lw=1)
    upper.errorbar(rows["stated"], rows["share"], error, fmt="o", color="k", capsize=2)
    upper.set(ylabel="share of detections, at equal odds", xlim=(0, 1), ylim=(-0.02, 1.02))
    edges = [*table["low"], table["high"][-1]]
    for counts, text in ((table["n_detected"], "detected"), (table["n"] - table["n_detected"], "others")):
        lower.stairs(counts, edges, lw=1.6, label=text)
    lower.set(xlabel="p_detect", ylabel="galaxies", yscale="log", ylim=(0.7, None))
    lower.legend(fontsize="small")
    return figure


@experiment("Reliability of the probability of detection", (ANSWERS,), plot_reliability)
def reliability(setting: Setting) -> Table:
    """Make the reliability of ``p_detect``: detections, and bright galaxies that ALFALFA did not detect."""
    answered = answers(setting.model)
    detected = np.asarray(answered["detected"], bool)
    rows = detected | answered["undetected"]
    table = reliability_table(detected[rows], answered["p_detect"][rows])
    agree = (table["share_low"] <= table["stated"]) & (table["stated"] <= table["share_high"])
    table.meta["notes"] = [model_note(setting.model), "detections and bright undetected galaxies count alike"]
    table.meta["numbers"] = {
        "Brier score, both kinds alike": (table.meta["brier"], None),
        "share of the bins whose interval has the stated probability": (float(np.mean(agree)), None),
    }
    return table


def plot_coverage(table: Table) -> Figure:
    """Plot shares inside the intervals, with Wilson errors, in a panel for each property."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(str(name) for name in table["property"]))
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.9 * len(names), 3.2), sharey=True, layout="constrained", squeeze=False
    )
    for name, axis in zip(names, axes[0], strict=True):
        rows = table[table["property"] == name]
        across = [rows["median"] - rows["low"], rows["high"] - rows["median"]]
        for nominal, colour in zip(_INTERVALS, ("C0", "C1"), strict=True):
            share = rows[f"coverage_{nominal}"]
            error = [share - rows[f"coverage_{nominal}_low"], rows[f"coverage_{nominal}_high"] - share]
            axis.axhline(nominal / 100, color=colour, lw=1)
            style = {"fmt": "o", "color": colour, "ms": 4, "elinewidth": 1}
            axis.errorbar(rows["median"], share, error, across, label=f"{nominal}% interval", **style)
        axis.set(xlabel=_PROPERTIES.get(name, name), ylim=(0.4, 1.02))
    axes[0, 0].set_ylabel("share of measured values inside")
    axes[0, 0].legend(fontsize="small", loc="lower left")
    return figure


@experiment(
    "Coverage of the intervals along mass, density, estimate and reddening",
    (LABELS, ANSWERS, *DENSITY_INPUTS),
    plot_coverage,
    without=NO_ATLAS,
)
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
        f"share inside the {nominal}% interval": (float(np.mean(distance <= 0.5 - outside)), None)
        for nominal, outside in _INTERVALS.items()
    }
    for row in residual_trends(0 * distance, distance, properties, **setting.bootstrap):
        numbers[f"rank correlation of |PIT - 1/2| with {row['property']}"] = (float(row["rho"]), None)
        numbers[f"permutation probability of that, {row['property']}"] = (float(row["p_value"]), None)
    table.meta = {"numbers": numbers, "notes": [model_note(setting.model), DENSITY_NOTE]}
    return table
