"""Draw what the bundled models estimate against what was measured, of galaxies that were held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table, join
from matplotlib.axes import Axes
from scipy.stats import spearmanr

from hifrac.core.config import data_dir
from hifrac.models import ModelCard
from hifrac.models.registry import bundled_models

DOCS = Path(__file__).parents[1] / "docs"
HI_RANGE = (-2.9, 2.0)
DETECTED, MISSED, LIMIT = "#0b6e99", "#e07b39", "0.55"
#: Equivalent widths, of both signs and over three decades, are compared as asinh(EW / 3 Angstrom).
SOFTENING = 3.0


@dataclass(frozen=True)
class Points:
    """Galaxies of one sample: measured values, estimates and their intervals of 68%."""

    sample: str
    measured: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    is_limit: np.ndarray
    color: str = field(default=DETECTED)

    @classmethod
    def of(cls, sample: str, table: Table, measured: str, estimate: str, color: str = DETECTED) -> Points:
        """Take the columns of a table; a column ``is_limit`` tells upper limits."""
        values = (np.asarray(table[f"{estimate}{end}"], dtype=float) for end in ("_p16", "", "_p84"))
        is_limit = np.zeros(len(table), bool)
        if "is_limit" in table.colnames:
            is_limit = np.asarray(table["is_limit"], bool)
        return cls(sample, np.asarray(table[measured], dtype=float), *values, is_limit, color)

    def difference(self) -> np.ndarray:
        """Return estimate less measured value, of the detections."""
        return (self.median - self.measured)[~self.is_limit]

    def rmse(self) -> float:
        """Return the root mean square of the differences, of the detections."""
        # To four digits, as in the tables of the models: both say the same third.
        return round(float(np.sqrt(np.mean(self.difference() ** 2))), 4)


@click.command()
@click.option("-o", "--output", default=DOCS, type=click.Path(path_type=Path, file_okay=False))
def main(output: Path) -> None:
    """Draw the figures of the first page and of the default model's, and write their numbers."""
    alfalfa, missed = _hi_labels()
    hi = [
        Points.of(f"{sample}, {evidence}", labels, "log_hi_fraction_true", f"{column}{ending}", color)
        for sample, labels, column, color in (
            ("ALFALFA", alfalfa, "log_hi_fraction", DETECTED),
            ("missed by ALFALFA", missed, "intrinsic_log_hi_fraction", MISSED),
        )
        for evidence, ending in (("picture alone", ""), ("with z and photometry", "_z_photometry"))
    ]
    others = _metallicity(), _h_alpha()
    instruments = _draw_instruments((hi[0], hi[2]), *others)
    _save(instruments, output / "_static" / "evidence.png", dpi=120)
    for panel, name in zip(instruments.axes[1:], ("metallicity", "h_alpha"), strict=True):
        box = panel.get_tightbbox().transformed(instruments.dpi_scale_trans.inverted()).padded(0.05)
        instruments.savefig(output / "_static" / f"evidence_{name}.png", dpi=140, bbox_inches=box)
    _save(_draw_hi(hi), output / "_static" / "predicted_measured.png", dpi=100)
    _binned((*hi, *others)).write(output / "predicted_measured.ecsv", overwrite=True)


def _held_out(model: str) -> Table:
    """Read the estimates that a bundled model's cross-validation made."""
    answers = Table.read(bundled_models()[model] / "out_of_fold.ecsv")
    answers["objid"] = answers["objid"].astype(str)
    return answers


def _hi_labels() -> tuple[Table, Table]:
    """Join estimates to the measurements of ALFALFA, and to those of RESOLVE where ALFALFA saw nothing."""
    answers = _held_out("default")
    tables = []
    for name in ("hi_labels.ecsv", "resolve_labels.ecsv"):
        labels = Table.read(data_dir() / "cutouts" / name)
        labels["objid"] = labels["objid"].astype(str)
        wanted = [flag for flag in ("is_limit", "alfalfa_detected", "confused") if flag in labels.colnames]
        others = [column for column in answers.colnames if column not in ("is_limit", *wanted)]
        tables.append(join(labels["objid", "log_hi_fraction_true", *wanted], answers[others], keys="objid"))
    alfalfa, resolve = tables
    return alfalfa, resolve[~resolve["alfalfa_detected"] & ~resolve["confused"]]


def _metallicity() -> Points:
    answers = _held_out("metallicity")
    answers = answers[np.isfinite(answers["oh_p50"]) & np.isfinite(answers["oh"])]
    return Points.of("metallicity, picture alone", answers, "oh_p50", "oh")


def _h_alpha() -> Points:
    """Return equivalent widths of H-alpha as asinh(EW / 3 Angstrom)."""
    answers = _held_out("spectra")
    answers = answers[np.isfinite(answers["measured_h_alpha_ew"])]
    for name in ("measured_h_alpha_ew", "h_alpha_ew_p16", "h_alpha_ew", "h_alpha_ew_p84"):
        answers[name] = np.arcsinh(answers[name] / SOFTENING)
    return Points.of("EW of H-alpha, picture alone", answers, "measured_h_alpha_ew", "h_alpha_ew")


def _draw_instruments(hi: Iterable[Points], metallicity: Points, h_alpha: Points) -> plt.Figure:
    """Draw a panel for each of the three instruments."""
    figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.5), layout="constrained")
    for points in hi:
        _draw(panels[0], points)
    panels[0].set_title(r"HI: $\log_{10}(M_\mathrm{HI}/M_*)$")
    panels[0].set(xlim=HI_RANGE, ylim=HI_RANGE)
    panels[0].legend(loc="lower right", fontsize="small", frameon=False, handletextpad=0.1)
    _draw(panels[1], metallicity)
    panels[1].set_title(r"metallicity: $12 + \log_{10}(\mathrm{O/H})$")
    ticks = np.arange(8.0, 9.5, 0.4)
    panels[1].set(xlim=(8.0, 9.4), ylim=(8.0, 9.4), xticks=ticks, yticks=ticks)
    _draw(panels[2], h_alpha)
    panels[2].set_title("spectrum: EW of H\N{GREEK SMALL LETTER ALPHA}, \N{ANGSTROM SIGN}")
    ticks = [0, 3, 10, 30, 100]
    for axis in (panels[2].xaxis, panels[2].yaxis):
        axis.set_ticks(np.arcsinh(np.divide(ticks, SOFTENING)), ticks)
    edges = np.arcsinh(np.array([-4, 250]) / SOFTENING)
    panels[2].set(xlim=edges, ylim=edges)
    ranks = spearmanr(h_alpha.measured, h_alpha.median).statistic
    notes = (
        "\n".join(f"{np.sum(~points.is_limit)} galaxies: RMSE {points.rmse():.2f} dex" for points in hi),
        f"{len(metallicity.measured)} galaxies: RMSE {metallicity.rmse():.3f} dex",
        f"{len(h_alpha.measured)} galaxies: Spearman {ranks:.2f}",
    )
    for axes, note in zip(panels, notes, strict=True):
        axes.set(aspect="equal", xlabel="measured")
        axes.text(0.04, 0.96, note, transform=axes.transAxes, va="top", fontsize="small")
    panels[0].set_ylabel("estimated from the picture alone")
    return figure


def _draw_hi(samples: list[Points]) -> plt.Figure:
    """Draw both samples with HI, by the evidence that was used."""
    figure, panels = plt.subplots(2, 2, figsize=(8, 8.3), layout="constrained", sharex=True, sharey=True)
    for axes, points in zip(panels.flat, samples, strict=True):
        _draw(axes, points)
        note = f"{np.sum(~points.is_limit)} galaxies\nRMSE {points.rmse():.3f} dex"
        if points.is_limit.any():
            note += f"\n{points.is_limit.sum()} upper limits"
        axes.text(0.04, 0.96, note, transform=axes.transAxes, va="top")
        axes.set(xlim=HI_RANGE, ylim=HI_RANGE, aspect="equal")
        axes.set_title(points.sample, fontsize="medium")
    figure.supylabel(r"estimated $\log_{10}(M_\mathrm{HI}/M_*)$", fontsize="medium")
    figure.supxlabel(r"measured $\log_{10}(M_\mathrm{HI}/M_*)$", fontsize="medium")
    return figure


def _draw(axes: Axes, points: Points) -> None:
    """Draw medians with intervals of 68%, and limits as arrows to the left."""
    for rows, color in ((~points.is_limit, points.color), (points.is_limit, LIMIT)):
        error = [(points.median - points.low)[rows], (points.high - points.median)[rows]]
        place = points.measured[rows], points.median[rows]
        axes.errorbar(*place, error, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.3)
    sample = points.sample.partition(",")[0]
    detected, limits = ~points.is_limit, points.is_limit
    axes.plot(
        points.measured[detected],
        points.median[detected],
        "o",
        ms=3.5,
        mew=0.4,
        mec="white",
        color=points.color,
        label=sample,
    )
    if limits.any():
        arrow = {"marker": r"$\leftarrow$", "ls": "", "ms": 8, "color": LIMIT}
        axes.plot(points.measured[limits], points.median[limits], **arrow, label="upper limits")
    axes.axline((0, 0), slope=1, color="0.3", lw=1)


def _save(figure: plt.Figure, path: Path, dpi: int) -> None:
    """Save a figure, unless it leaves a galaxy out of its frames."""
    for axes in figure.axes:
        for line in axes.lines:
            places = line.get_xydata()
            if line.get_marker() != "None" and axes.viewLim.count_contains(places) < len(places):
                raise ValueError(f"{path.name}: galaxies of {line.get_label()!r} are outside of the frame")
    figure.savefig(path, dpi=dpi)


def _binned(samples: Iterable[Points]) -> Table:
    """Return measured values and estimates by quarters of each sample, and of upper limits how many."""
    rows = []
    for points in samples:
        measured, median = points.measured[~points.is_limit], points.median[~points.is_limit]
        for quarter, members in enumerate(np.array_split(np.argsort(measured), 4), start=1):
            difference = (median - measured)[members]
            rows.append(
                (
                    points.sample,
                    quarter,
                    len(members),
                    np.mean(measured[members]),
                    np.mean(median[members]),
                    np.std(difference),
                )
            )
        limits, above = points.is_limit, (points.median > points.measured)[points.is_limit]
        rows.append((points.sample, 0, len(measured), np.mean(measured), np.mean(median), points.rmse()))
        if limits.any():
            place = np.mean(points.measured[limits]), np.mean(points.median[limits])
            rows.append((f"{points.sample}: limits", 0, limits.sum(), *place, np.mean(above)))
    names = ("sample", "quarter", "n", "measured", "estimated", "scatter")
    table = Table(rows=rows, names=names)
    table["quarter"].description = "Of the measured values, from low to high; 0 for all"
    table[
        "scatter"
    ].description = (
        "Standard deviation of the differences; of all their root mean square; of limits the share violated"
    )
    for name in names[3:]:
        table[name].format = ".3f"
        table[name] = np.round(table[name], 4)
    table.meta["command"] = "python benchmarks/predicted_measured.py"
    table.meta["date"] = datetime.now(UTC).strftime("%Y-%m-%d")
    folders = bundled_models()
    table.meta["models"] = {
        name: ModelCard.read(folders[name]).sha256 for name in ("default", "metallicity", "spectra")
    }
    return table


if __name__ == "__main__":
    main()
