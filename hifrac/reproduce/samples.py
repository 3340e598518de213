"""The samples: Table 1 and Figure 1 of Wu (2020), from the catalogues; and their photometry.

Photometry has the galaxies that pictures can be rendered of: ``sample``, ``name``, ``truth`` (dex),
``is_limit``, ``ebv`` (mag) and what `hifrac.simulate.render_table` asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from astropy import units as u
from astropy.table import Table, vstack
from matplotlib.figure import Figure

from hifrac.catalogs import CatalogFlag, match_positions, plain_values
from hifrac.catalogs.samples import paper_samples, quantiles_table
from hifrac.catalogs.selection import Selection
from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.reproduce._experiment import Setting, experiment, panels
from hifrac.simulate.photometry import observed_colour, split_colour, taylor2011_colour

_NOTE = (
    "stellar masses of Durbala+2020 (Taylor+2011), not of MPA-JHU: other counts, and no alpha.40B, "
    "which needs the metallicities of MPA-JHU"
)
_COLOURS = {"alpha.40A": "#0072B2", "alpha.100": "#E69F00", "NIBLES": "#009E73", "xGASS": "k"}


def sample_quantiles(samples: Mapping[str, Selection]) -> Table:
    """Return numbers of galaxies and quantiles of masses, beside the published ones: Table 1."""
    table = quantiles_table(samples.values())
    numbers: dict[str, tuple[float, float]] = {}
    for row in table[table["quantity"] == "log_hi_fraction"]:
        if np.ma.is_masked(row["n_published"]):
            continue
        numbers[f"{row['sample']}, galaxies"] = (int(row["n"]), int(row["n_published"]))
        numbers[f"{row['sample']}, median log M_HI/M* (dex)"] = (
            float(row["q50"]),
            float(row["q50_published"]),
        )
    table.meta = {"numbers": numbers, "notes": [_NOTE]}
    return table


def hi_fractions(samples: Mapping[str, Selection]) -> Table:
    """Return the HI mass fractions of the samples, a row a galaxy, and which are limits: Figure 1."""
    parts, numbers = [], {}
    for name in (name for name in _COLOURS if name in samples):
        fraction = plain_values(samples[name].table, "log_hi_fraction")
        finite = np.isfinite(fraction)
        limit = np.asarray(samples[name].table["log_mhi_limit"].filled(False))
        parts.append(Table({"log_hi_fraction": fraction[finite], "is_limit": limit[finite]}))
        parts[-1].add_column(name, 0, "sample")
        numbers[f"{name}, share with more HI than stars"] = (float(np.mean(fraction[finite] > 0)), None)
    table = vstack(parts)
    table.meta = {"numbers": numbers, "notes": [_NOTE]}
    return table


@experiment()
def table1(setting: Setting) -> Table:
    """Make Table 1 from the catalogues of the data directory."""
    return sample_quantiles(paper_samples(folder=setting.root))


def plot_fractions(table: Table) -> Figure:
    """Plot Figure 1: cumulative distributions; the upper limits of xGASS also apart."""
    figure, ((axes,),) = panels(1, 1, 6.5, 4.2)
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
    axes.set(xlabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$ (dex)", ylabel="cumulative fraction", xlim=(-2.6, 2.1))
    figure.legend(fontsize="small", loc="outside upper center", ncols=3)
    return figure


@experiment(plot_fractions)
def fig1(setting: Setting) -> Table:
    """Make Figure 1 from the catalogues of the data directory."""
    return hi_fractions(paper_samples(folder=setting.root))


LABELLED_SAMPLE = "labelled, simulated pictures"
#: Within which two catalogues have the same galaxy; the counterparts of ALFALFA lie some arcsec off.
SAME_GALAXY = 5 * u.arcsec
_COLUMNS = ("i_mag", "g_minus_i", "axial_ratio", "r50", "abs_i", "distance", "ebv", "truth")


def _photometry(sample: str, name: Iterable, is_limit: np.ndarray | None = None, **values) -> Table:
    table = Table({"name": np.array([str(text) for text in name], dtype=str)})
    table.add_column(np.full(len(table), sample, dtype="U32"), 0, "sample")
    for column in _COLUMNS:
        table[column] = plain_floats(values.get(column, np.full(len(table), np.nan)))
    table["is_limit"] = np.zeros(len(table), bool) if is_limit is None else np.asarray(is_limit, bool)
    has_size = np.isfinite(table["r50"]) | (np.isfinite(table["abs_i"]) & np.isfinite(table["distance"]))
    good = has_size & (table["axial_ratio"] > 0) & (table["axial_ratio"] <= 1)
    for column in ("i_mag", "g_minus_i", "truth"):
        good &= np.isfinite(table[column])
    return table[good]


def alfalfa_photometry(table: Table, photometry: Table, row: np.ndarray, sample: str) -> Table:
    """Return the photometry of ALFALFA-SDSS (Durbala et al. 2020), by its row for each galaxy of a sample.

    Colours are made again as they are seen; photometry with errors above 0.05 mag is left out.
    """
    rows = photometry[row]
    values = {name: plain_values(rows, name) for name in ("ra", "dec", "i_mag", "abs_i", "axial_ratio")}
    ebv = galactic_ebv(values.pop("ra"), values.pop("dec"))
    shape = {name: values[name] for name in ("abs_i", "axial_ratio")}
    colour = observed_colour(plain_values(rows, "g_minus_i"), **shape, ebv=ebv)
    bad = (np.asarray(rows["catalog_flags"].filled(0)) & int(CatalogFlag.BAD_PHOTOMETRY)) > 0
    return _photometry(
        sample,
        np.char.strip(np.asarray(rows["objid"].filled("")).astype(str)),
        **values,
        g_minus_i=np.where(bad, np.nan, colour),
        distance=plain_values(rows, "distance"),
        ebv=ebv,
        truth=plain_values(table, "log_hi_fraction"),
    )


def nibles_photometry(table: Table, photometry: Table) -> Table:
    """Return the galaxies of NIBLES that ALFALFA-SDSS has photometry of: the gas-rich, all detected."""
    row = match_positions(table, photometry, SAME_GALAXY)["row"]
    is_matched = ~np.asarray(row.mask)
    return alfalfa_photometry(table[is_matched], photometry, np.asarray(row[is_matched]), "NIBLES")


def xgass_photometry(table: Table) -> Table:
    """Return r magnitude, radius and axial ratio of xGASS, and the colour that its stellar mass tells.

    Of the 454 galaxies that ALFALFA-SDSS has too it is 0.03 mag redder than the measured colour, with a
    scatter of 0.11 mag.
    """
    names = ("ra", "dec", "r_mag", "extinction_r", "distance", "r50", "axial_ratio", "log_mstar")
    values = {name: plain_values(table, name) for name in names}
    ebv = galactic_ebv(values["ra"], values["dec"])
    abs_r = values["r_mag"] - values["extinction_r"] - 5.0 * np.log10(values["distance"] * 1e5)
    intrinsic = taylor2011_colour(values["log_mstar"], abs_r=abs_r)
    # No correction but that for our Galaxy is to be undone.
    colour = observed_colour(intrinsic, abs_i=np.zeros(len(table)), axial_ratio=np.ones(len(table)), ebv=ebv)
    with np.errstate(invalid="ignore", divide="ignore"):
        major = values["r50"] / np.sqrt(values["axial_ratio"])  # of circles, as Petrosian radii are
    return _photometry(
        "xGASS",
        [f"GASS {number}" for number in table["gass"]],
        np.asarray(table["log_mhi_limit"].filled(False)),
        i_mag=values["r_mag"] - split_colour(colour)[1],
        g_minus_i=colour,
        axial_ratio=values["axial_ratio"],
        r50=major,
        ebv=ebv,
        truth=plain_values(table, "log_hi_fraction"),
    )


def labelled_photometry(table: Table) -> Table:
    """Return the photometry of the galaxies of ``hi_labels.ecsv``, whose real cutouts are at hand."""
    shape = {name: plain_floats(table[name]) for name in ("abs_i", "axial_ratio")}
    ebv = galactic_ebv(plain_floats(table["ra"]), plain_floats(table["dec"]))
    return _photometry(
        LABELLED_SAMPLE,
        table["objid"],
        **shape,
        i_mag=table["i_cmodel"],
        g_minus_i=observed_colour(table["g_minus_i"], **shape, ebv=ebv),
        distance=table["distance"],
        ebv=ebv,
        truth=table["log_hi_fraction_true"],
    )
