"""The samples: Table 1 and Figure 1 of Wu (2020), from the catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from hifrac.catalogs import plain_values
from hifrac.catalogs.samples import paper_samples, quantiles_table
from hifrac.catalogs.selection import Selection
from hifrac.reproduce._experiment import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_fractions", "fractions", "hi_fractions", "sample_quantiles", "table1"]

_NOTE = (
    "stellar masses of Durbala+2020 (Taylor+2011), not of MPA-JHU: other counts, and no alpha.40B, "
    "which needs the metallicities of MPA-JHU"
)
_COLOURS = {"alpha.40A": "C0", "alpha.100": "C1", "NIBLES": "C2", "xGASS": "C3"}


def sample_quantiles(samples: Mapping[str, Selection]) -> Table:
    """Table 1: numbers of galaxies and quantiles of masses and fractions, beside the published ones.

    Parameters
    ----------
    samples : mapping of str to `~hifrac.catalogs.selection.Selection`
        Such as `hifrac.catalogs.samples.paper_samples` gives.

    Returns
    -------
    table : `~astropy.table.Table`
        Of `hifrac.catalogs.samples.quantiles_table`, with ``meta["numbers"]``.
    """
    table = quantiles_table(samples.values())
    numbers = {}
    for row in table[table["quantity"] == "log_hi_fraction"]:
        if np.ma.is_masked(row["n_published"]):
            continue
        numbers[f"{row['sample']}, galaxies"] = (int(row["n"]), int(row["n_published"]))
        numbers[f"{row['sample']}, median M (dex)"] = (float(row["q50"]), float(row["q50_published"]))
    table.meta = {"numbers": numbers, "notes": [_NOTE]}
    return table


def hi_fractions(samples: Mapping[str, Selection]) -> Table:
    """The HI mass fractions of the samples, a row a galaxy: what Figure 1 shows.

    Parameters
    ----------
    samples : mapping of str to `~hifrac.catalogs.selection.Selection`
        Such as `hifrac.catalogs.samples.paper_samples` gives.

    Returns
    -------
    table : `~astropy.table.Table`
        ``sample``, ``log_hi_fraction`` (dex) and ``is_limit``, true where it is an upper limit.
    """
    names, values, limits = [], [], []
    for name in (one for one in _COLOURS if one in samples):
        fraction = plain_values(samples[name].table, "log_hi_fraction")
        there = np.isfinite(fraction)
        names.append(np.full(there.sum(), name))
        values.append(fraction[there])
        limits.append(np.asarray(samples[name].table["log_mhi_limit"].filled(False))[there])
    table = Table(
        {
            "sample": np.concatenate(names),
            "log_hi_fraction": np.concatenate(values),
            "is_limit": np.concatenate(limits),
        }
    )
    gas_poor = {
        f"{name}, share with M > 0": (float(np.mean(one > 0)), None)
        for name, one in zip(dict.fromkeys(table["sample"]), values, strict=True)
    }
    table.meta = {"numbers": gas_poor, "notes": [_NOTE]}
    return table


def table1(_setting: Setting) -> Table:
    """Table 1 from the catalogues of the data directory."""
    return sample_quantiles(paper_samples())


def fractions(_setting: Setting) -> Table:
    """Figure 1 from the catalogues of the data directory."""
    return hi_fractions(paper_samples())


def draw_fractions(table: Table) -> Figure:
    """Figure 1: cumulative distributions; the upper limits of xGASS also apart.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `hi_fractions`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
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
