"""Metallicities from pictures: Figures 1 to 3 of Wu & Boada (2019), and models on the same galaxies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table, vstack
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hifrac.core.measurements import plain_floats
from hifrac.metrics import bootstrap_errors
from hifrac.relations import cross_validate_forest
from hifrac.reproduce._experiment import Setting, experiment, panels
from hifrac.reproduce._inputs import (
    EVIDENCE,
    PUBLISHED,
    measurements,
    metallicities,
    metallicity_note,
    pictures,
    ridge,
    with_photometry,
)
from hifrac.reproduce.networks import cross_predict

MEASURED = r"measured $12 + \log(\mathrm{O/H})$"
ESTIMATED = r"held-out $12 + \log(\mathrm{O/H})$"
#: Names of estimators in tables and figures.
OURS = "metallicity model"
THEIRS = "published network"
COLOURS = {OURS: "C0", THEIRS: "C3"}
#: Bins of the paper: middles, and whole width in dex; and how many galaxies ours must have.
BINS = np.round(np.arange(8.2, 9.35, 0.1), 1)
STEP = 0.1
_FEWEST = 5
_SAMPLE_NOTE = (
    "some hundreds of the galaxies of the paper, on pictures of a fixed scale, 0.4 arcsec per pixel; the "
    "paper's are scaled to the Petrosian radius, and its network learned from 76,772 galaxies"
)


@cache
def _published() -> Table:
    return Table.read(resources.files("hifrac") / "data" / "wu2019_figures.ecsv")


def published_series(figure: str, series: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x and value of a series of a published figure, of ``hifrac/data/wu2019_figures.ecsv``."""
    table = _published()
    rows = table[(table["figure"] == figure) & (table["series"] == series)]
    if not len(rows):
        raise ValueError(f"figure {figure} has no series {series!r}")
    return plain_floats(rows["x"]), plain_floats(rows["value"])


def published_value(figure: str, name: str) -> float:
    """Return a number that the paper has of all its test galaxies."""
    (value,) = published_series(figure, f"all: {name}")[1]
    return float(value)


def running(x: Any, value: Any, residual: Any, middles: np.ndarray = BINS, step: float = STEP) -> Table:
    """Return the median of values, and RMSE and NMAD of residuals, in bins along ``x``.

    Bins are open at both ends, as the original code has them; NaN where one has fewer than five galaxies.
    """
    x, value, residual = (plain_floats(values) for values in (x, value, residual))
    rows = []
    for middle in middles:
        own = np.abs(x - middle) < step / 2
        figures = (np.nan, np.nan, np.nan)
        if own.sum() >= _FEWEST:
            figures = (np.median(value[own]), np.sqrt(np.mean(residual[own] ** 2)), mad_std(residual[own]))
        rows.append((middle, int(own.sum()), *figures))
    return Table(rows=rows, names=("x", "n", "median", "rmse", "nmad"))


def residual_figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    """Return the figures of merit of the paper: ``rmse``, ``nmad``, ``sigma`` and ``median residual``."""
    residual = estimate - truth
    return {
        "rmse": float(np.sqrt(np.mean(residual**2))),
        "nmad": float(mad_std(residual)),
        "sigma": float(np.std(residual)),
        "median residual": float(np.median(residual)),
    }


def estimates_of(table: Table) -> dict[str, np.ndarray]:
    """Return by name the held-out estimates of our model, with whatever evidence, and the published ones."""
    names = {"estimate": OURS}
    names |= {name: f"{OURS}, {text}" for name, text in EVIDENCE.items() if name in table.colnames}
    names |= {column: f"{THEIRS}, {width} px" for width, column in PUBLISHED.items()}
    return {text: plain_floats(table[name]) for name, text in names.items()}


def paired_scores(
    truth: Any, estimates: Mapping[str, Any], reference: str, *, draws: int = 1000, seed: int = 0
) -> Table:
    """Score estimates of the same galaxies, with errors, and the RMSE less that of one of them.

    The same samples of the bootstrap serve for all, so that errors of differences are those of pairs.
    """
    truth = plain_floats(truth)
    if reference not in estimates:
        raise ValueError(f"reference must be one of {', '.join(estimates)}; got {reference!r}")

    def figures(true: np.ndarray, *columns: np.ndarray) -> dict[str, float]:
        result: dict[str, float] = {}
        best = np.sqrt(np.mean((columns[list(estimates).index(reference)] - true) ** 2))
        for name, column in zip(estimates, columns, strict=True):
            own = residual_figures(true, column)
            result |= {f"{name}:rmse": own["rmse"], f"{name}:nmad": own["nmad"]}
            result[f"{name}:difference"] = own["rmse"] - best
        return result

    columns = [truth, *(plain_floats(values) for values in estimates.values())]
    values, errors = figures(*columns), bootstrap_errors(figures, *columns, draws=draws, seed=seed)
    table = Table({"estimator": list(estimates), "n": np.full(len(estimates), len(truth))})
    for name in ("rmse", "nmad", "difference"):
        table[name] = [values[f"{estimator}:{name}"] for estimator in estimates]
        table[f"{name}_error"] = [errors[f"{estimator}:{name}"] for estimator in estimates]
    return table


def notes(setting: Setting) -> list[str]:
    """Return what is to be said of every result: the model, and the sample."""
    return [metallicity_note(setting), _SAMPLE_NOTE]


def galaxies(setting: Setting) -> Table:
    """Return a row a galaxy: ``objid``, ``truth``, ``estimate`` and ``published``."""
    rows = metallicities(setting)
    table = rows["objid", "truth", "estimate"]
    table["published"] = plain_floats(rows[PUBLISHED[128]])
    table.meta = {"notes": notes(setting)}
    return table


_SHOWN = 5  # galaxies a row of Figure 1
_CROP = slice(24, 104)  # pixels: 32 arcsec, about what the paper's pictures show


def examples(truth: Any, estimate: Any, n: int = _SHOWN, seed: int = 1234) -> dict[str, np.ndarray]:
    """Return rows to show, as the paper chose them: the extremes, the most wrong, and random ones."""
    truth, estimate = plain_floats(truth), plain_floats(estimate)
    orders = {
        "lowest estimates": estimate,
        "lowest measured": truth,
        "highest estimates": -estimate,
        "highest measured": -truth,
        "most underestimated": estimate - truth,
        "most overestimated": truth - estimate,
    }
    rows = {name: np.argsort(values, kind="stable")[:n] for name, values in orders.items()}
    return rows | {"random": np.random.default_rng(seed).permutation(len(truth))[:n]}


def plot_examples(table: Table, pixels: np.ndarray) -> Figure:
    """Plot Figure 1: a row of pictures for each value of ``shown``, with estimate and measured value."""
    names = list(dict.fromkeys(table["shown"]))
    columns = max(np.sum(table["shown"] == name) for name in names)
    figure, axes = panels(len(names), columns, 1.5 * columns + 0.4, 1.5 * len(names) + 0.6)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, name in zip(axes, names, strict=True):
        rows = np.flatnonzero(table["shown"] == name)
        for axis, row in zip(line, rows, strict=False):
            axis.imshow(pixels[row][_CROP, _CROP])
            text = f"{table['estimate'][row]:.2f}\n{table['truth'][row]:.2f}"
            axis.text(0.05, 0.94, text, color="w", va="top", fontsize="x-small", transform=axis.transAxes)
        line[0].set_title(name, loc="left", fontsize="small")
    figure.suptitle("upper number: estimate, lower: measured", fontsize="small")
    return figure


@experiment(
    lambda table, setting: plot_examples(table, pictures(table["objid"], setting)),
    name="wu2019-fig1",
    shows_pictures=True,
)
def fig1(setting: Setting) -> Table:
    """Make Figure 1: rows of galaxies with the lowest and the highest metallicities, and so on."""
    table = galaxies(setting)
    parts = []
    for name, rows in examples(table["truth"], table["estimate"]).items():
        parts.append(table[rows])
        parts[-1].add_column(name, 0, "shown")
    result = vstack(parts, metadata_conflicts="silent")
    numbers = {}
    for name in ("most underestimated", "most overestimated"):
        rows = result[result["shown"] == name]
        numbers[f"{name}: mean residual (dex)"] = np.mean(rows["estimate"] - rows["truth"])
        numbers[f"{name}: that of the published network"] = np.mean(rows["published"] - rows["truth"])
    result.meta = {"numbers": numbers, "notes": notes(setting)}
    return result


def plot_running(
    axes: Axes, bins: Table, published: tuple[np.ndarray, np.ndarray], name: str, label: str = ""
) -> None:
    """Plot a running figure of ours and the published one."""
    axes.plot(bins["x"], bins[name], "o-", color=COLOURS[OURS], ms=4, label=label or OURS)
    axes.plot(*published, "s--", color=COLOURS[THEIRS], ms=3, lw=1, label=f"{THEIRS}, 20,466 galaxies")


def plot_summary(table: Table) -> Figure:
    """Plot Figure 2: estimates against measured values, residuals, RMSE and NMAD along the metallicity."""
    figure, axes = panels(2, 2, 9, 7.4, width_ratios=(1.35, 1))
    (scatter, histogram), (rmse, nmad) = axes
    truth, estimate = plain_floats(table["truth"]), plain_floats(table["estimate"])
    bins = running(truth, estimate, estimate - truth)
    span = np.array([8.0, 9.4])
    scatter.plot(span, span, color="0.6", lw=1)
    scatter.scatter(truth, estimate, s=8, color="0.55")
    for name, alpha in (("rmse", 0.12), ("nmad", 0.25)):
        low, high = (bins["median"] + sign * bins[name] for sign in (-1, 1))
        text = f"median ± {name.upper()} of the bin"
        scatter.fill_between(bins["x"], low, high, color=COLOURS[OURS], alpha=alpha, lw=0, label=text)
    plot_running(scatter, bins, published_series("2", "median"), "median", "running median")
    scatter.set(xlim=span, ylim=span, xlabel=MEASURED, ylabel=ESTIMATED)
    scatter.legend(fontsize="x-small", loc="upper left")
    edges = np.linspace(-0.4, 0.4, 41)
    for column, name in (("estimate", OURS), ("published", f"{THEIRS}, same galaxies")):
        colour = COLOURS[OURS if column == "estimate" else THEIRS]
        figures = residual_figures(truth, plain_floats(table[column]))
        text = f"{name}\nRMSE {figures['rmse']:.3f}, NMAD {figures['nmad']:.3f} dex"
        residual = np.clip(plain_floats(table[column]) - truth, *edges[[0, -1]])
        histogram.hist(residual, edges, histtype="step", color=colour, lw=1.5, label=text)
    histogram.set(xlabel="estimate - measured (dex)", ylabel="galaxies")
    histogram.set_ylim(top=1.35 * histogram.get_ylim()[1])
    histogram.legend(fontsize="x-small", loc="upper left")
    theirs = running(truth, table["published"], table["published"] - table["truth"])
    style = {"color": COLOURS[THEIRS], "ms": 5, "label": f"{THEIRS}, same galaxies"}
    for axis, name in ((rmse, "rmse"), (nmad, "nmad")):
        plot_running(axis, bins, published_series("2", name), name)
        axis.plot(theirs["x"], theirs[name], "x:", **style)
        axis.set(xlabel=MEASURED, ylabel=f"{name.upper()} in bins (dex)", xlim=(8.15, 9.35), ylim=(0, None))
    rmse.legend(fontsize="x-small")
    return figure


@experiment(plot_summary, name="wu2019-fig2")
def fig2(setting: Setting) -> Table:
    """Make Figure 2 with held-out estimates: a row a galaxy."""
    table = galaxies(setting)
    truth = plain_floats(table["truth"])
    ours, theirs = (residual_figures(truth, plain_floats(table[name])) for name in ("estimate", "published"))
    numbers: dict[str, Any] = {"galaxies": (len(table), 20466)}
    for name in ours:
        numbers[f"{name} (dex)"] = (ours[name], published_value("2", name))
        numbers[f"{name} of the published network, same galaxies (dex)"] = theirs[name]
    table.meta["numbers"] = numbers
    return table


def plot_distributions(table: Table) -> Figure:
    """Plot Figure 3: distributions of measured and estimated metallicities, ours and published."""
    figure, (axes,) = panels(1, 2, 9, 3.8, sharey=True)
    ours = {"true": ("truth", "measured"), "estimate": ("estimate", "estimated")}
    for axis, (series, (column, text)) in zip(axes, ours.items(), strict=True):
        middles, counts = published_series("3", series)
        width = middles[1] - middles[0]
        edges = np.append(middles - width / 2, middles[-1] + width / 2)
        coarse = edges[::2]
        axis.stairs(counts / counts.sum() / width, edges, color="0.5", label="published, 20,466 galaxies")
        values = plain_floats(table[column])
        density, colour = {"density": True, "histtype": "step", "lw": 1.5}, COLOURS[OURS]
        axis.hist(values, coarse, color=colour, label=f"{text}, {len(values)} galaxies", **density)
        if series == "estimate":
            label = f"{THEIRS}, same galaxies"
            axis.hist(table["published"], coarse, color=COLOURS[THEIRS], label=label, ls=":", **density)
        axis.set(xlabel=rf"{text} $12 + \log(\mathrm{{O/H}})$", xlim=(7.95, 9.45))
        axis.legend(fontsize="x-small", loc="upper left")
    axes[0].set_ylabel("share per dex")
    return figure


@experiment(plot_distributions, name="wu2019-fig3")
def fig3(setting: Setting) -> Table:
    """Make Figure 3: what is measured and what is estimated, a row a galaxy."""
    table = galaxies(setting)
    columns = {"true": table["truth"], "estimate": table["estimate"]}
    numbers: dict[str, Any] = {}
    for figure, compute in (("std", np.std), ("median", np.median)):
        for name, values in columns.items():
            own = float(compute(plain_floats(values)))
            numbers[f"{figure} of the {name} (dex)"] = (own, published_value("3", f"{figure} {name}"))
        own = float(compute(plain_floats(table["published"])))
        numbers[f"{figure} of the published network, same galaxies (dex)"] = own
    share = {name: float(np.mean(plain_floats(values) > 9.1)) for name, values in columns.items()}
    numbers["share above 9.1, true"] = (share["true"], 2573 / 20466)
    numbers["share above 9.1, estimate"] = (share["estimate"], 1176 / 20466)
    table.meta["numbers"] = numbers
    return table


def simple_estimates(table: Table, setting: Setting) -> dict[str, np.ndarray]:
    """Return held-out estimates of simple models by name, in the folds of the model."""
    from sklearn.dummy import DummyRegressor

    truth, fold = plain_floats(table["truth"]), np.asarray(table["fold"], int)
    nothing = np.zeros((len(table), 1))
    features = measurements(pictures(table["objid"], setting))
    return {
        "mean of the others": cross_predict(DummyRegressor(), nothing, truth, fold),
        "ridge on measurements": cross_predict(ridge(), features, truth, fold),
    }


def plot_models(table: Table) -> Figure:
    """Plot the errors of all models, and how they differ from that of the published network."""
    samples = list(dict.fromkeys(table["sample"]))
    names = list(dict.fromkeys(table["estimator"][::-1]))[::-1]  # those of the smaller sample have all
    figure, (axes,) = panels(1, 2, 10, 0.32 * len(names) + 1.6, sharey=True)
    for sample, colour, shift in zip(samples, ("C0", "C1"), (0.12, -0.12), strict=True):
        rows = table[table["sample"] == sample]
        place = np.array([names.index(name) for name in rows["estimator"]]) + shift
        style = {"fmt": "o", "ms": 4, "capsize": 2, "color": colour, "label": f"{sample} ({rows['n'][0]})"}
        for axis, name in zip(axes, ("rmse", "difference"), strict=True):
            axis.errorbar(rows[name], place, xerr=rows[f"{name}_error"], **style)
    axes[0].set_yticks(range(len(names)), names, fontsize="small")
    axes[0].invert_yaxis()
    axes[0].set_xlabel("RMSE (dex)")
    axes[1].axvline(0, color="0.6", lw=1)
    axes[1].set_xlabel(f"RMSE less that of the\n{THEIRS}, 128 px (dex)")
    axes[0].legend(fontsize="small")
    return figure


@experiment(plot_models, name="wu2019-models")
def models(setting: Setting) -> Table:
    """Make a table of models on the same galaxies: all, and those with magnitudes and redshifts."""
    everything = metallicities(setting)
    simple = simple_estimates(everything, setting)
    for name, values in simple.items():
        everything[name] = values
    bright = with_photometry(everything, setting)
    magnitudes = {band: bright[f"modelmag_{band}"] for band in "gri"}
    trees = cross_validate_forest(bright["truth"], bright["fold"], **magnitudes)
    reference = f"{THEIRS}, 128 px"
    parts = []
    for sample, rows in (("all", everything), ("with photometry", bright)):
        estimates = {name: plain_floats(rows[name]) for name in simple}
        if sample != "all":
            estimates["random forest on g, r, i"] = trees
        # Evidence that some rows lack makes no estimate of all.
        estimates |= {name: own for name, own in estimates_of(rows).items() if np.isfinite(own).all()}
        parts.append(paired_scores(rows["truth"], estimates, reference, **setting.bootstrap))
        parts[-1].add_column(sample, 0, "sample")
    table = vstack(parts)
    published = {
        reference: published_value("2", "rmse"),
        **{f"{THEIRS}, {int(x)} px": y for x, y in zip(*published_series("4", "rmse"), strict=True)},
        "random forest on g, r, i": published_value("4", "abstract forest rmse"),
        "mean of the others": published_value("4", "mean rmse"),
        OURS: published_value("2", "rmse"),
    }
    table.meta = {
        "numbers": {
            f"{row['estimator']}, {row['sample']}: RMSE (dex)": (
                float(row["rmse"]),
                published.get(row["estimator"]),
            )
            for row in table
        },
        "notes": [
            *notes(setting),
            f"the published forest learned from 121,719 galaxies, ours from four fifths of {len(bright)}",
        ],
    }
    return table
