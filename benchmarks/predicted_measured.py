"""Draw what the default model estimates against what was measured, of galaxies that it was fitted without."""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table, join
from matplotlib.axes import Axes

from hifrac.core.config import data_dir
from hifrac.models.registry import bundled_models

OUTPUT = Path(__file__).parents[1] / "docs" / "_static" / "predicted_measured.png"
RANGE = (-2.9, 1.6)


@click.command()
@click.option("-o", "--output", default=OUTPUT, type=click.Path(path_type=Path, dir_okay=False))
def main(output: Path) -> None:
    """Draw the figure of the model's page."""
    folder = data_dir() / "cutouts"
    answers = Table.read(bundled_models()["default"] / "out_of_fold.ecsv")
    answers["objid"] = answers["objid"].astype(str)
    alfalfa = _labelled(answers, folder / "hi_labels.ecsv")
    resolve = _labelled(answers, folder / "resolve_labels.ecsv")
    resolve = resolve[~resolve["alfalfa_detected"] & ~resolve["confused"]]
    figure, panels = plt.subplots(2, 2, figsize=(8, 8.3), layout="constrained", sharex=True, sharey=True)
    for axes, labels, column, title in (
        (panels[0, 0], alfalfa, "log_hi_fraction", "ALFALFA, picture alone"),
        (panels[0, 1], alfalfa, "log_hi_fraction_z_photometry", "ALFALFA, with z and photometry"),
        (panels[1, 0], resolve, "intrinsic_log_hi_fraction", "missed by it, picture alone"),
        (panels[1, 1], resolve, "intrinsic_log_hi_fraction_z_photometry", "missed, with z and photometry"),
    ):
        _draw(axes, labels, column, title)
    figure.supylabel(r"estimated $\log_{10}(M_\mathrm{HI}/M_*)$", fontsize="medium")
    figure.supxlabel(r"measured $\log_{10}(M_\mathrm{HI}/M_*)$", fontsize="medium")
    figure.savefig(output, dpi=120)


def _labelled(answers: Table, path: Path) -> Table:
    """Join the answers to the measurements of a table of labels."""
    labels = Table.read(path)
    labels["objid"] = labels["objid"].astype(str)
    wanted = [name for name in ("is_limit", "alfalfa_detected", "confused") if name in labels.colnames]
    answers = answers[[name for name in answers.colnames if name not in wanted]]
    return join(labels["objid", "log_hi_fraction_true", *wanted], answers, keys="objid")


def _draw(axes: Axes, labels: Table, column: str, title: str) -> None:
    """Draw medians with intervals of 68%, and limits as arrows to the left."""
    measured = np.asarray(labels["log_hi_fraction_true"], dtype=float)
    low, median, high = (np.asarray(labels[f"{column}{end}"], dtype=float) for end in ("_p16", "", "_p84"))
    is_limit = np.zeros(len(labels), bool)
    if "is_limit" in labels.colnames:
        is_limit = np.asarray(labels["is_limit"], bool)
    for rows, color in ((~is_limit, "C0"), (is_limit, "C1")):
        error = [(median - low)[rows], (high - median)[rows]]
        axes.errorbar(
            measured[rows], median[rows], error, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.35
        )
    axes.plot(measured[~is_limit], median[~is_limit], "o", ms=3.5, color="C0")
    axes.plot(measured[is_limit], median[is_limit], marker=r"$\leftarrow$", ls="", ms=8, color="C1")
    axes.axline((0, 0), slope=1, color="0.4", lw=1)
    difference = (median - measured)[~is_limit]
    words = f"{len(difference)} galaxies\nRMSE {np.sqrt(np.mean(difference**2)):.3f} dex"
    if is_limit.any():
        words += f"\n{is_limit.sum()} upper limits"
    axes.text(0.04, 0.96, words, transform=axes.transAxes, va="top", fontsize="small")
    axes.set(xlim=RANGE, ylim=RANGE, aspect="equal")
    axes.set_title(title, fontsize="medium")


if __name__ == "__main__":
    main()
