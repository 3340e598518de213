"""The samples: Table 1 and Figure 1 of Wu (2020), from the catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from hifrac.catalogs import plain_values
from hifrac.catalogs.samples import paper_samples, quantiles_table
from hifrac.catalogs.selection import Selection
from hifrac.reproduce._experiment import NO_MASSES, SURVEYS, Setting, experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOTE = (
    "stellar masses of Durbala+2020 (Taylor+2011), not of MPA-JHU: other counts, and no alpha.40B, "
    "which needs the metallicities of MPA-JHU"
)
_COLOURS = {"alpha.40A": "C0", "alpha.100": "C1", "NIBLES": "C2", "xGASS": "C3"}


def sample_quantiles(samples: Mapping[str, Selection]) -> Table:
    """Return numbers of galaxies and quantiles of masses and fractions, beside the published ones: Table 1.

    Samples are such as ``hifrac.catalogs.samples.paper_samples`` gives.
    """
    table = quantiles_table(samples.values())
    numbers: dict[str, tuple[float, float]] = {}
    for row in table[table["quantity"] == "log_hi_fraction"]:
        if np.ma.is_masked(row["n_published"]):
            continue
        numbers[f"{row['sample']}, galaxies"] = (int(row["n"]), int(row["n_published"]))
        numbers[f"{row['sample']}, median M (dex)"] = (float(row["q50"]), float(row["q50_published"]))
    table.meta = {"numbers": numbers, "notes": [_NOTE]}
    return table


def hi_fractions(samples: Mapping[str, Selection]) -> Table:
    """Return the HI mass fractions of the samples, a row a galaxy: what Figure 1 shows.

    Samples are such as ``hifrac.catalogs.samples.paper_samples`` gives; the table has ``sample``,
    ``log_hi_fraction`` (dex) and ``is_limit``, true where it is an upper limit.
    """
    columns: dict[str, list] = {"sample": [], "log_hi_fraction": [], "is_limit": []}
    numbers = {}
    for name in (name for name in _COLOURS if name in samples):
        fraction = plain_values(samples[name].table, "log_hi_fraction")
        finite = np.isfinite(fraction)
        columns["sample"].append(np.full(finite.sum(), name))
        columns["log_hi_fraction"].append(fraction[finite])
        columns["is_limit"].append(np.asarray(samples[name].table["log_mhi_limit"].filled(False))[finite])
        numbers[f"{name}, share with M > 0"] = (float(np.mean(fraction[finite] > 0)), None)
    table = Table({name: np.concatenate(parts) for name, parts in columns.items()})
    table.meta = {"numbers": numbers, "notes": [_NOTE]}
    return table


@experiment("Table 1: the samples", SURVEYS, tier="full", without=NO_MASSES)
def table1(setting: Setting) -> Table:
    """Make Table 1 from the catalogues of the data directory."""
    return sample_quantiles(paper_samples(folder=setting.root))


def plot_fractions(table: Table) -> Figure:
    """Plot Figure 1: cumulative distributions; the upper limits of xGASS also apart."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for name, colour in _COLOURS.items():
        rows = table[table["sample"] == name]
        if not len(rows):
            continue
        axes.ecdf(rows["log_hi_fraction"], color=colour, lw=1.6, label=f"{name} ({len(rows):,})")
        limit = np.asarray(rows["is_limit"], bool)
        if limit.any():
            text = f"{name}, limits at the lowest value ({limit.sum():,} limits)"
            lowest = np.where(limit, -9, rows["log_hi_fraction"])
            axes.ecdf(lowest, color=colour, lw=1, ls="--", label=text)
    axes.set(xlabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$", ylabel="cumulative fraction", xlim=(-2.6, 2.1))
    figure.legend(fontsize="small", loc="outside upper center", ncols=3)
    return figure


@experiment(
    "Figure 1: HI mass fractions of the samples", SURVEYS, plot_fractions, tier="full", without=NO_MASSES
)
def fig1(setting: Setting) -> Table:
    """Make Figure 1 from the catalogues of the data directory."""
    return hi_fractions(paper_samples(folder=setting.root))
