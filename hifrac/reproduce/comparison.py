"""The estimates of Teimoorinia et al. (2017) beside ours: Figures 6 and 7 and Table 3 of Wu (2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table, vstack

from hifrac import catalogs
from hifrac.catalogs import match_positions, plain_values
from hifrac.core.measurements import plain_floats
from hifrac.metrics import metrics_table, score_estimates
from hifrac.reproduce._experiment import ANSWERS, LABELS, NO_OTHERS, Setting, experiment
from hifrac.reproduce._inputs import held_out, model_note
from hifrac.reproduce.regression import label, published_row, published_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ESTIMATORS = ("CNN", "FCNN")
#: Thresholds of Table 3, of our probability or of the FCNN's.
CUTS = {
    "all": ("", 0.0),
    **{f"p>{threshold}": ("p_detect", threshold) for threshold in (0.5, 0.8, 0.9)},
    **{f"Cfgas>{threshold}": ("c_fgas", threshold) for threshold in (0.5, 0.7, 0.9)},
}
_INPUTS = (LABELS, ANSWERS, "teimoorinia2017")
_NOTE = (
    "galaxies of ALFALFA with pictures in the data directory that the catalogue has within 1 arcsec; CNN "
    "stands for the default model, held out"
)


def compare(
    truth: Any, ours: Any, theirs: Any, p_detect: Any, c_fgas: Any = None, *, draws: int = 1000, seed: int = 0
) -> Table:
    """Score two estimators on the same galaxies, for each cut of Table 3 that can be made.

    Measured values and both estimates are in dex; ``c_fgas`` is the robustness that Teimoorinia et al.
    (2017) give. The table has ``cut``, ``estimator`` ("CNN" for ours, as in the paper, or "FCNN") and the
    figures of `hifrac.metrics.score_estimates`.
    """
    truth = np.asarray(truth, float)
    estimates = dict(zip(ESTIMATORS, (np.asarray(ours, float), np.asarray(theirs, float)), strict=True))
    columns = {"": np.ones(truth.shape), "p_detect": np.asarray(p_detect, float)}
    if c_fgas is not None:
        columns["c_fgas"] = np.asarray(c_fgas, float)
    parts = []
    for cut, (column, threshold) in CUTS.items():
        if column in columns:
            rows = columns[column] > threshold
            scores = {
                name: score_estimates(truth[rows], estimate[rows], draws=draws, seed=seed)
                for name, estimate in estimates.items()
            }
            parts.append(label(metrics_table(scores), cut=cut))
    table = vstack(parts)
    table.remove_columns(["left_out", "n_limits", "limits_violated", "limits_violated_error"])
    return table


def match_catalogue(table: Table, catalogue: QTable) -> Table:
    """Return the galaxies that a catalogue of estimates has within 1 arcsec; it is an error if it has none.

    The columns are ``objid``, ``truth``, ``estimate`` and ``p_detect`` of the table, and of the catalogue
    ``theirs``, and ``c_fgas`` where it has that.
    """
    place = SkyCoord(plain_floats(table["ra"]), plain_floats(table["dec"]), unit=units.deg)
    row = match_positions(place, catalogue, 1 * units.arcsec)["row"]
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
    table.meta = {"notes": [_NOTE, model_note(setting.model)]}
    return table


def _compared(table: Table, setting: Setting) -> Table:
    c_fgas = table["c_fgas"] if "c_fgas" in table.colnames else None
    truth, ours, theirs, p_detect = (table[name] for name in ("truth", "estimate", "theirs", "p_detect"))
    return compare(truth, ours, theirs, p_detect, c_fgas, **setting.bootstrap)


@experiment("Table 3: estimates beside those of Teimoorinia et al. (2017)", _INPUTS, without=NO_OTHERS)
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
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True, layout="constrained")
    right = (np.ones(len(table), bool), "all")
    if "c_fgas" in table.colnames:
        right = (table["c_fgas"] > 0.5, "Cfgas > 0.5")
    for axis, rows, text in ((axes[0], table["p_detect"] > 0.9, "p > 0.9"), (axes[1], *right)):
        rows = table[np.asarray(rows, bool)]
        axis.scatter(rows["truth"], rows["theirs"], marker="x", s=14, color="C3", label="Teimoorinia+2017")
        axis.scatter(rows["truth"], rows["estimate"], s=10, color="C0", label="default model, held out")
        axis.axline((0, 0), slope=1, color="0.6", lw=1)
        axis.set(xlabel=r"measured $M$ (dex)", title=f"{text} ({len(rows)})")
    axes[0].set_ylabel("estimate (dex)")
    axes[0].legend(fontsize="small")
    return figure


@experiment(
    "Figure 6: estimates beside those of Teimoorinia et al. (2017)", _INPUTS, plot_both, without=NO_OTHERS
)
def fig6(setting: Setting) -> Table:
    """Make Figure 6: both estimates, a row a galaxy."""
    table = _matched(setting)
    table.meta["numbers"] = {
        f"{name}, RMSE (dex)": (float(np.sqrt(np.mean((table[column] - table["truth"]) ** 2))), None)
        for name, column in zip(ESTIMATORS, ("estimate", "theirs"), strict=True)
    }
    return table


def plot_bars(table: Table) -> Figure:
    """Plot Figure 7: bars of the errors of both."""
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


@experiment(
    "Figure 7: errors beside those of Teimoorinia et al. (2017), for each cut",
    _INPUTS,
    plot_bars,
    without=NO_OTHERS,
)
def fig7(setting: Setting) -> Table:
    """Make Figure 7: the errors of both for each cut, and how many galaxies it leaves."""
    matched = _matched(setting)
    table = _compared(matched, setting)
    numbers = {f"{row['estimator']}, {row['cut']}, RMSE (dex)": (float(row["rmse"]), None) for row in table}
    table.meta = {"numbers": numbers, **matched.meta}
    return table
