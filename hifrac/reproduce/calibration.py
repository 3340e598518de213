"""Beyond the paper: whether intervals and probabilities are what they say, with held-out answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hifrac.catalogs import match_ids
from hifrac.core.input import plain_floats
from hifrac.reproduce._experiment import Setting
from hifrac.reproduce._inputs import answers, held_out, model_note
from hifrac.reproduce.environment import _NOTE, galaxy_densities
from hifrac.reproduce.limits import share_interval
from hifrac.reproduce.regression import residual_trends

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "coverage",
    "coverage_table",
    "draw_coverage",
    "draw_reliability",
    "reliability",
    "reliability_table",
]

_INTERVALS = {68: 0.16, 90: 0.05}  # percent inside, and share outside on each side
_PROPERTIES = {
    "log_mstar": r"$\log_{10}(M_*/M_\odot)$",
    "log_overdensity": r"$\log_{10}(1+\delta_5)$",
    "estimate": "held-out estimate (dex)",
    "ebv": "E(B-V) (mag)",
}


def _shares(values: Any, name: str, n_bins: int) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"{name} must be one-dimensional, and lie between 0 and 1")
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    return values


def reliability_table(detected: Any, p_detect: Any, *, n_bins: int = 8) -> Table:
    """How many galaxies of a given probability of detection are detections.

    Both kinds count alike, however many there are of each: p_detect is calibrated at equal odds.

    Parameters
    ----------
    detected : array-like of bool, shape (n,)
        Which galaxies were detected; both kinds must occur.
    p_detect : array-like of float, shape (n,)
        Their probabilities, 0 to 1.
    n_bins : int, optional
        Bins of equal width.

    Returns
    -------
    table : `~astropy.table.Table`
        A row for each bin from ``low`` to ``high``: ``n`` galaxies, ``n_detected`` of them;
        ``stated``, their mean probability, and ``share``, the share of detections, at equal odds (NaN in
        an empty bin); ``share_low`` and ``share_high``, the interval of 68.3% of Wilson (1927, J. Am.
        Stat. Assoc. 22, 209) for the share that was counted, its bounds carried to equal odds.
        ``meta["brier"]``: mean square of p_detect minus outcome at equal odds (Brier 1950).

    Raises
    ------
    ValueError
        If one kind is missing, lengths differ, a probability lies outside 0 to 1, or ``n_bins`` is below 1.
    """
    detected, p_detect = np.asarray(detected), _shares(p_detect, "p_detect", n_bins)
    if detected.dtype != bool or detected.shape != p_detect.shape:
        raise ValueError("detected must be boolean, and as long as p_detect")
    if detected.all() or not detected.any():
        raise ValueError("detected must have both detections and non-detections")
    place = np.clip((p_detect * n_bins).astype(int), 0, n_bins - 1)
    weight = np.where(detected, 0.5 / detected.sum(), 0.5 / (~detected).sum())
    n, hits = np.bincount(place, minlength=n_bins), np.bincount(place[detected], minlength=n_bins)
    total, stated, seen = (
        np.bincount(place, weight * one, n_bins) for one in (1.0, p_detect, detected.astype(float))
    )
    with np.errstate(invalid="ignore"):
        stated, share = stated / total, seen / total
    # A share s counted among unlike numbers has the odds s/(1 - s) times this at equal ones.
    odds = (~detected).sum() / detected.sum()
    low, high = (one * odds / (one * odds + 1 - one) for one in share_interval(hits, n))
    edges = np.linspace(0, 1, n_bins + 1)
    names = ("low", "high", "n", "n_detected", "stated", "share", "share_low", "share_high")
    table = Table([edges[:-1], edges[1:], n, hits, stated, share, low, high], names=names)
    table.meta["brier"] = float(np.sum(weight * (p_detect - detected) ** 2))
    return table


def coverage_table(pit: Any, properties: Mapping[str, Any], *, n_bins: int = 5) -> Table:
    """The share of measured values inside their intervals, along properties of the galaxies.

    Parameters
    ----------
    pit : array-like of float, shape (n,)
        Rank of each measured value in its predicted distribution, 0 to 1: see `hifrac.metrics.pit`.
    properties : mapping of str to array-like of float, shape (n,)
        What to bin by; not finite where unknown.
    n_bins : int, optional
        Bins of as equal numbers as can be.

    Returns
    -------
    table : `~astropy.table.Table`
        A row for each ``property`` and bin: ``n``, ``low``, ``median`` and ``high`` of the property in
        it, and for the central intervals of 68% and 90% ``coverage_68`` with the Wilson (1927) interval of
        68.3%, ``coverage_68_low`` to ``coverage_68_high``, and the same for 90.

    Raises
    ------
    ValueError
        If a rank lies outside 0 to 1, lengths differ, ``n_bins`` is below 1, or a property is known of
        fewer galaxies than there are bins.
    """
    pit = _shares(pit, "pit", n_bins)
    rows = []
    for name, values in properties.items():
        values = np.asarray(values, dtype=float)
        if values.shape != pit.shape:
            raise ValueError(f"properties: {name} must have the shape {pit.shape}, got {values.shape}")
        known = np.flatnonzero(np.isfinite(values))
        order = known[np.argsort(values[known], kind="stable")]
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


def reliability(setting: Setting) -> Table:
    """Reliability of ``p_detect``: detections, and bright galaxies that ALFALFA did not detect."""
    known = answers(setting.model)
    detected = np.asarray(known["detected"], bool)
    kinds = detected | known["undetected"]
    table = reliability_table(detected[kinds], known["p_detect"][kinds])
    agree = (table["share_low"] <= table["stated"]) & (table["stated"] <= table["share_high"])
    table.meta["notes"] = [model_note(setting.model), "detections and bright undetected galaxies count alike"]
    table.meta["numbers"] = {
        "Brier score, both kinds alike": (table.meta["brier"], None),
        "share of the bins whose interval has the stated probability": (float(np.mean(agree)), None),
    }
    return table


def coverage(setting: Setting) -> Table:
    """Coverage of the intervals of ALFALFA's labelled galaxies against mass, density, estimate, reddening."""
    from hifrac.core.reddening import galactic_ebv

    rows = held_out(setting)
    known = answers(setting.model)
    if "pit" not in known.colnames:
        raise ValueError(f"model: {setting.model / 'out_of_fold.ecsv'} lacks the column pit")
    pit = plain_floats(known["pit"])[np.asarray(match_ids(rows["objid"], known["objid"])["row"])]
    properties = {
        "log_mstar": plain_floats(rows["log_mstar_taylor"]),
        "log_overdensity": galaxy_densities(rows, setting),
        "estimate": plain_floats(rows["estimate"]),
        "ebv": galactic_ebv(plain_floats(rows["ra"]), plain_floats(rows["dec"])),
    }
    table = coverage_table(pit, properties)
    away = np.abs(pit - 0.5)  # goes with nothing, if the intervals hold everywhere
    numbers = {
        f"share inside the {nominal}% interval": (float(np.mean(away <= 0.5 - outside)), None)
        for nominal, outside in _INTERVALS.items()
    }
    for row in residual_trends(0 * away, away, properties, draws=setting.draws, seed=setting.seed):
        numbers[f"rank correlation of |PIT - 1/2| with {row['property']}"] = (float(row["rho"]), None)
        numbers[f"permutation probability of that, {row['property']}"] = (float(row["p_value"]), None)
    table.meta = {"numbers": numbers, "notes": [model_note(setting.model), _NOTE]}
    return table


def draw_reliability(table: Table) -> Figure:
    """The reliability diagram, and the number of galaxies in each bin.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `reliability_table`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    options = {"sharex": True, "height_ratios": (3, 1), "layout": "constrained"}
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(4.8, 5.6), **options)
    rows = table[table["n"] > 0]
    error = [rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]]
    upper.plot([0, 1], [0, 1], color="0.6", lw=1)
    upper.errorbar(rows["stated"], rows["share"], error, fmt="o", color="k", capsize=2)
    upper.set(ylabel="share of detections, at equal odds", xlim=(0, 1), ylim=(-0.02, 1.02))
    edges = [*table["low"], table["high"][-1]]
    for counts, kind in ((table["n_detected"], "detected"), (table["n"] - table["n_detected"], "others")):
        lower.stairs(counts, edges, lw=1.6, label=kind)
    lower.set(xlabel="p_detect", ylabel="galaxies", yscale="log", ylim=(0.7, None))
    lower.legend(fontsize="small")
    return figure


def draw_coverage(table: Table) -> Figure:
    """A panel for each property: shares inside the intervals, with Wilson errors.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `coverage_table`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(str(one) for one in table["property"]))
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
            options = {"fmt": "o", "color": colour, "ms": 4, "label": f"{nominal}% interval"}
            axis.errorbar(rows["median"], share, error, across, elinewidth=1, **options)
        axis.set(xlabel=_PROPERTIES.get(name, name), ylim=(0.4, 1.02))
    axes[0, 0].set_ylabel("share of measured values inside")
    axes[0, 0].legend(fontsize="small", loc="lower left")
    return figure
