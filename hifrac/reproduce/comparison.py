"""The estimates of Teimoorinia et al. (2017) beside ours: Figures 6 and 7 and Table 3 of Wu (2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table, vstack

from hifrac import catalogs
from hifrac.catalogs import match_positions, plain_values
from hifrac.core.input import plain_floats
from hifrac.metrics import metrics_table, published_metrics, score_estimates
from hifrac.reproduce._experiment import Setting
from hifrac.reproduce._inputs import held_out, model_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["compare", "draw_bars", "draw_both", "fig6", "fig7", "matched", "table3"]

ESTIMATORS = ("CNN", "FCNN")
#: Thresholds of Table 3, of our probability or of the FCNN's.
CUTS = {
    "all": (None, 0.0),
    **{f"p>{one}": ("p_detect", one) for one in (0.5, 0.8, 0.9)},
    **{f"Cfgas>{one}": ("c_fgas", one) for one in (0.5, 0.7, 0.9)},
}
_NOTE = (
    "galaxies of ALFALFA with pictures in the data directory that the catalogue has within 1 arcsec; CNN "
    "stands for the default model, held out"
)


def compare(
    truth: Any, ours: Any, theirs: Any, p_detect: Any, c_fgas: Any = None, *, draws: int = 1000, seed=0
):
    """Two estimators on the same galaxies, for each cut of Table 3 that can be made.

    Parameters
    ----------
    truth, ours, theirs : array-like of float, shape (n,)
        Measured values and estimates of both, in dex.
    p_detect : array-like of float, shape (n,)
        Our probability of a detection.
    c_fgas : array-like of float, shape (n,), optional
        The robustness that Teimoorinia et al. (2017) give; without it its cuts are left out.
    draws, seed : int, optional
        Of the bootstrap.

    Returns
    -------
    table : `~astropy.table.Table`
        ``cut``, ``estimator`` ("CNN" for ours, as in the paper, or "FCNN") and the figures of
        `hifrac.metrics.score_estimates`.
    """
    values = {"p_detect": np.asarray(p_detect, float)}
    if c_fgas is not None:
        values["c_fgas"] = np.asarray(c_fgas, float)
    truth = np.asarray(truth, float)
    parts = []
    for cut, (column, threshold) in CUTS.items():
        if column is not None and column not in values:
            continue
        kept = np.ones(truth.shape, bool) if column is None else values[column] > threshold
        rows = {
            name: score_estimates(truth[kept], np.asarray(one, float)[kept], draws=draws, seed=seed)
            for name, one in zip(ESTIMATORS, (ours, theirs), strict=True)
        }
        part = metrics_table(rows)
        part.add_column(np.full(len(part), cut), 0, "cut")
        parts.append(part)
    table = vstack(parts)
    table.remove_columns(["left_out", "n_limits", "limits_violated", "limits_violated_error"])
    return table


def matched(table: Table, catalogue: QTable) -> Table:
    """The galaxies that a catalogue of estimates has within 1 arcsec.

    Parameters
    ----------
    table : `~astropy.table.Table`
        ``objid``, ``ra``, ``dec`` (degrees), ``truth``, ``estimate``, ``p_detect``.
    catalogue : `~astropy.table.QTable`
        Of `hifrac.catalogs.teimoorinia2017`.

    Returns
    -------
    result : `~astropy.table.Table`
        Those columns and ``theirs``; ``c_fgas`` where the catalogue has it.

    Raises
    ------
    ValueError
        If there is none.
    """
    place = SkyCoord(plain_floats(table["ra"]), plain_floats(table["dec"]), unit=units.deg)
    row = match_positions(place, catalogue, 1 * units.arcsec)["row"]
    there = ~np.asarray(row.mask)
    result = Table({name: table[name][there] for name in ("objid", "truth", "estimate", "p_detect")})
    row = np.asarray(row[there])
    for name, column in (("theirs", "log_hi_fraction_estimate"), ("c_fgas", "c_fgas")):
        if column in catalogue.colnames:
            result[name] = plain_values(catalogue, column)[row]
    result = result[np.isfinite(result["theirs"])]
    if not len(result):
        raise ValueError("catalogue: it has none of the galaxies within 1 arcsec")
    return result


def _both(setting: Setting) -> Table:
    table = matched(held_out(setting), catalogs.teimoorinia2017())
    table.meta = {"notes": [_NOTE, model_note(setting.model)]}
    return table


def _judged(both: Table, setting: Setting) -> Table:
    c_fgas = both["c_fgas"] if "c_fgas" in both.colnames else None
    values = (both[name] for name in ("truth", "estimate", "theirs", "p_detect"))
    return compare(*values, c_fgas, draws=setting.draws, seed=setting.seed)


def table3(setting: Setting) -> Table:
    """Table 3 with held-out answers, beside the published rows."""
    both = _both(setting)
    ours = _judged(both, setting)
    published = published_metrics()
    published = published[published["table"] == 3]
    ours.add_column(np.full(len(ours), "ALFALFA, held out"), 0, "sample")
    ours.add_column(np.full(len(ours), "ours"), 0, "origin")
    numbers = {}
    for name in ESTIMATORS:
        row = ours[(ours["cut"] == "all") & (ours["estimator"] == name)][0]
        paper = published[
            (published["cut"] == "all")
            & (published["estimator"] == name)
            & (published["sample"] == "alpha.100")
        ][0]
        numbers[f"{name}, all, RMSE (dex; published: alpha.100)"] = (float(row["rmse"]), float(paper["rmse"]))
    published = published["sample", "cut", "estimator", "n", "rmse", "slope", "sigma", "offset"]
    published.add_column(np.full(len(published), "published"), 0, "origin")
    for column in published.itercols():
        column.unit = None
    table = vstack([ours, published], metadata_conflicts="silent")
    table.meta = {"numbers": numbers, **both.meta}
    return table


def fig6(setting: Setting) -> Table:
    """Figure 6: both estimates, a row a galaxy."""
    table = _both(setting)
    numbers = {
        f"{name}, RMSE (dex)": (float(np.sqrt(np.mean((table[column] - table["truth"]) ** 2))), None)
        for name, column in zip(ESTIMATORS, ("estimate", "theirs"), strict=True)
    }
    table.meta["numbers"] = numbers
    return table


def draw_both(table: Table) -> Figure:
    """Figure 6: both estimates against measured values.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `fig6`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True, layout="constrained")
    right = (np.ones(len(table), bool), "all")
    if "c_fgas" in table.colnames:
        right = (table["c_fgas"] > 0.5, "Cfgas > 0.5")
    for axis, kept, text in ((axes[0], table["p_detect"] > 0.9, "p > 0.9"), (axes[1], *right)):
        rows = table[np.asarray(kept, bool)]
        axis.scatter(rows["truth"], rows["theirs"], marker="x", s=14, color="C3", label="Teimoorinia+2017")
        axis.scatter(rows["truth"], rows["estimate"], s=10, color="C0", label="default model, held out")
        axis.axline((0, 0), slope=1, color="0.6", lw=1)
        axis.set(xlabel=r"measured $M$ (dex)", title=f"{text} ({len(rows)})")
    axes[0].set_ylabel("estimate (dex)")
    axes[0].legend(fontsize="small")
    return figure


def fig7(setting: Setting) -> Table:
    """Figure 7: the errors of both for each cut, and how many galaxies it leaves."""
    both = _both(setting)
    table = _judged(both, setting)
    table.meta = {
        "numbers": {
            f"{row['estimator']}, {row['cut']}, RMSE (dex)": (float(row["rmse"]), None) for row in table
        },
        **both.meta,
    }
    return table


def draw_bars(table: Table) -> Figure:
    """Figure 7: bars of the errors.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `fig7` or `compare`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    cuts = list(dict.fromkeys(table["cut"]))
    for shift, name, colour in zip((-0.2, 0.2), ESTIMATORS, ("C0", "C3"), strict=True):
        rows = table[table["estimator"] == name]
        axes.bar(
            np.arange(len(rows)) + shift, rows["rmse"], 0.4, yerr=rows["rmse_error"], color=colour, label=name
        )
    counts = table["n"][table["estimator"] == ESTIMATORS[0]]
    labels = [f"{cut}\n{n}" for cut, n in zip(cuts, counts, strict=True)]
    axes.set_xticks(np.arange(len(cuts)), labels)
    axes.set_ylabel("RMSE (dex)")
    axes.legend()
    return figure
