"""Figures of the real catalogues: Figures 1 and 8 of Wu (2020) made again.

``python docs/plots/catalogues.py docs/_static`` with HIFRAC_DATA_DIR set writes them, and prints the numbers
of the page. The catalogues are not part of the package, so that the pages show files made once.
"""

import sys
from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np

from hifrac.catalogs import samples
from hifrac.environment import HIGH_DENSITY
from hifrac.reproduce import setting
from hifrac.reproduce.environment import fig8
from hifrac.reproduce.samples import hi_fractions

plt.rcParams["svg.hashsalt"] = "hifrac"  # the same file at each run


def fractions():
    """Figure 1: the HI mass fractions of the four samples, with the masses of Durbala+2020."""
    found = samples.paper_samples()
    table = hi_fractions(found)
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    bins = np.arange(-2.6, 2.61, 0.1)
    # The paper joins upper limits of xGASS to its detections; here they are told apart.
    for name, colour in (("alpha.40A", "C0"), ("alpha.100", "C1"), ("NIBLES", "C2"), ("xGASS", "C3")):
        rows = table[table["sample"] == name]
        values, limit = np.asarray(rows["log_hi_fraction"]), np.asarray(rows["is_limit"])
        density = {"weights": np.full(len(values), 1 / (len(values) * 0.1))}
        axes.hist(
            values, bins, histtype="step", color=colour, lw=1.6, label=f"{name} ({len(values):,})", **density
        )
        if limit.any():
            density = {"weights": np.full(limit.sum(), 1 / (len(values) * 0.1))}
            label = f"of these upper limits ({limit.sum():,})"
            axes.hist(values[limit], bins, color=colour, alpha=0.3, label=label, **density)
    axes.set(
        xlabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$", ylabel="galaxies per dex, of each sample", xlim=(-2.6, 2.1)
    )
    axes.legend(fontsize="small", loc="upper right")
    click.echo("\n".join(samples.quantiles_table(found.values()).pformat(max_width=-1)))
    return figure


def densities():
    """Figure 8: the overdensities of alpha.40 against SDSS DR7, as coded and as printed, with percentiles."""
    table = fig8(setting())
    covered = np.asarray(table["covered"])
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for label, name, colour in (
        ("as coded (no velocity window)", "as_coded", "C0"),
        ("as printed (±1000 km/s)", "as_printed", "C3"),
    ):
        values = np.asarray(table[name])
        for what, chosen in (("all", np.isfinite(values)), ("covered", np.isfinite(values) & covered)):
            low, high = np.percentile(values[chosen], [20, 80])
            quantiles = " ".join(
                f"{one:.4g}" for one in np.quantile(10 ** values[chosen], [0.5, 0.84, 0.95, 0.99])
            )
            click.echo(
                f"{label}, {what}: {chosen.sum()} galaxies, 20% below {low:.2f}, 80% below {high:.2f}; "
                f"1 + delta5 at 0.5, 0.84, 0.95, 0.99: {quantiles}"
            )
        bins = np.arange(-2, 3.01, 0.1)
        text = f"{label}: {chosen.sum():,} galaxies,\n20th and 80th percentile {low:.2f} and {high:.2f}"
        axes.hist(values[chosen], bins, density=True, histtype="step", color=colour, lw=1.6, label=text)
        for place in (low, high):
            axes.axvline(place, color=colour, ls="--", lw=1)
    axes.axvline(HIGH_DENSITY, color="0.4", lw=3, alpha=0.4, label=f"threshold of the paper, {HIGH_DENSITY}")
    axes.set(
        xlabel=r"$\log_{10}(1+\delta_5)$",
        ylabel="galaxies per dex, normalised",
        xlim=(-1.7, 2.9),
        ylim=(0, 1.35),
    )
    axes.legend(fontsize="small", loc="upper right")
    return figure


def main(folder):
    """Write both figures into a folder."""
    for name, make in (("hi_fractions", fractions), ("overdensities", densities)):
        make().savefig(Path(folder) / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
