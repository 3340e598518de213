"""Pattern recognition: Figure 5 of Wu (2020), and what each threshold costs, with held-out answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hifrac.metrics import detection_auc
from hifrac.reproduce._experiment import ANSWERS, DEEP, LABELS, NO_OTHERS, Setting, experiment
from hifrac.reproduce._inputs import answers, deep_sample, held_out, limits_of, model_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAMPLES = {"detected": "detected", "undetected": "not detected", "gas_poor": "RESOLVE beyond ALFALFA"}


def threshold_table(detected: Any, p_detect: Any, residual: Any = None, *, step: float = 0.01) -> Table:
    """Measure what a threshold of the probability of detection gives and costs.

    ``residual`` is estimate minus measured value in dex, NaN where nothing is measured. The table has a
    row for each ``threshold`` from 0 to 1: ``completeness`` (share of the detected above it),
    ``contamination`` (share of the others above it), ``accuracy`` and ``purity`` where both classes are
    equally frequent, as the paper has them, and with residuals ``n`` and ``rmse`` of those above (NaN for
    fewer than 3). ``meta["auc"]``: area under the receiver operating characteristic.
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
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
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
    middle.set(
        xlabel="undetected above the threshold",
        ylabel="detected above the threshold",
        title=f"area under the curve {table.meta['auc']:.3f}",
    )
    right.plot(table["threshold"], table["completeness"], label="completeness")
    right.plot(table["threshold"], table["purity"], label="purity, both kinds as frequent")
    right.plot(table["threshold"], table["rmse"], color="C3", label="RMSE of those measured (dex)")
    right.set(xlabel="threshold of the probability", ylim=(0, 1.02))
    right.legend(fontsize="small", loc="center left")
    return figure


@experiment(
    "Figure 5: pattern recognition, and what its thresholds cost",
    (LABELS, DEEP, ANSWERS),
    plot_detection,
    without=NO_OTHERS,
)
def fig5(setting: Setting) -> Table:
    """Make Figure 5 with held-out answers: `threshold_table`, and the share of each sample above each."""
    answered = answers(setting.model)
    gas_poor = np.asarray(answered["gas_poor"], bool)
    detected = np.asarray(answered["detected"], bool)
    rows = detected | (np.asarray(answered["undetected"], bool) & ~gas_poor)
    p_detect = np.asarray(answered["p_detect"], float)
    residual = np.full(len(answered), np.nan)
    place = {objid: row for row, objid in enumerate(answered["objid"])}
    for sample in (held_out(setting), deep_sample(setting)):
        measured = sample[~limits_of(sample)]
        residual[[place[objid] for objid in measured["objid"]]] = measured["estimate"] - measured["truth"]
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
            "RESOLVE beyond ALFALFA above p > 0.9": (float(strict["above_gas_poor"]), None),
        },
        "notes": [
            model_note(setting.model),
            "the published area 0.93 is that of hard labels, not of probabilities; "
            "the published completeness is 5,319 of 7,128 (Table 2), training galaxies included",
        ],
    }
    return table
