"""Lines and continua of spectra from pictures against measured ones, and what of a picture makes them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from matplotlib.figure import Figure

from hifrac.attribution import heat_maps
from hifrac.core.flags import Flag
from hifrac.core.measurements import plain_floats
from hifrac.cutouts import SDSS_RECIPE
from hifrac.metrics import bootstrap_errors, coverage
from hifrac.models import Model, load_model
from hifrac.models.spectrum_table import LINE_UNIT, RATIOS
from hifrac.models.structure import StructureNet
from hifrac.reproduce._experiment import Setting, experiment, panels
from hifrac.reproduce._inputs import (
    WIDTH,
    index,
    measurements,
    model_note,
    pictures,
    spectra,
    spectrum_model,
)
from hifrac.reproduce.spectra import WHAT_IT_IS, even_ranks, held_out_flux, spearman
from hifrac.spectra import rest_wavelength

#: What is compared: its title, and the name of its column.
QUANTITIES = {
    "h_alpha_ew": r"asinh(EW(H$\alpha$) / 3 $\mathrm{\AA}$)",
    RATIOS[0]: r"log$_{10}$ continuum 3900 / 6500 $\mathrm{\AA}$",
    RATIOS[1]: r"log$_{10}$ continuum 4340 / 5877 $\mathrm{\AA}$",
}
OURS = "heads of the model"
_MEDIAN = "median of the others"
#: Wavelengths in Angstrom beside which the continua of the ratios were measured.
_WAVELENGTHS = {RATIOS[0]: (3870.0, 6565.0), RATIOS[1]: (4342.0, 5877.0)}
_HALF_WINDOW = 20  # pixels: a median of 41 is clear of lines


def scaled(name: str, values: Any) -> np.ndarray:
    """Return values of a quantity as they are judged: of H-alpha asinh(EW / 3 Angstrom)."""
    values = plain_floats(values)
    return np.arcsinh(values / LINE_UNIT) if name == "h_alpha_ew" else values


def log_ratio(flux: np.ndarray, name: str) -> np.ndarray:
    """Return log10 of a ratio of continua, one of `RATIOS`, of spectra (n, 1000)."""
    wave = rest_wavelength().value
    blue, red = (
        np.median(flux[:, place - _HALF_WINDOW : place + _HALF_WINDOW + 1], axis=1)
        for place in np.searchsorted(wave, _WAVELENGTHS[name])
    )
    return np.log10(blue / red)


def line_galaxies(setting: Setting) -> Table:
    """Return a row for each galaxy and each of `QUANTITIES` that was measured on its real spectrum.

    ``truth``, ``estimate``, ``lower`` and ``upper`` are of held-out heads; ``predicted`` and ``fitted`` what
    the template spectra say that are predicted from the picture and fitted to magnitudes; NaN if nothing.
    """
    answers = spectra(setting)
    answers = answers[np.asarray(answers["has_lines"], bool)]
    flux, fitted = held_out_flux(answers, setting)
    parts = []
    for name in QUANTITIES:
        part = answers["objid", "fold"]
        part.add_column(name, 0, "quantity")
        part["truth"] = scaled(name, answers[f"measured_{name}"])
        part["estimate"] = scaled(name, answers[name])
        for column, ending in (("lower", "_p16"), ("upper", "_p84")):
            part[column] = scaled(name, answers[f"{name}{ending}"])
        is_ratio = name in RATIOS
        part["predicted"] = log_ratio(flux[1], name) if is_ratio else np.nan
        part["fitted"] = log_ratio(fitted, name) if is_ratio else np.nan
        parts.append(part[np.isfinite(part["truth"])])
    return vstack(parts, metadata_conflicts="silent")


def _figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    residual = estimate - truth
    return {
        "spearman": spearman(truth, estimate),
        "rms": float(np.sqrt(np.mean(residual**2))),
        "bias": float(np.mean(residual)),
    }


def line_scores(table: Table, *, draws: int = 1000, seed: int = 12345) -> Table:
    """Score `line_galaxies`, with bootstrap errors: a row for each quantity and estimator.

    "median of the others" is that of galaxies of other folds; ``coverage`` is of 68% intervals.
    """
    rows = []
    for name in dict.fromkeys(table["quantity"]):
        part = table[table["quantity"] == name]
        fold = np.asarray(part["fold"])
        medians = np.array([np.median(part["truth"][fold != number]) for number in fold])
        estimates = {OURS: part["estimate"], "predicted template spectrum": part["predicted"]}
        estimates |= {"template fit to magnitudes": part["fitted"], _MEDIAN: medians}
        for text, values in estimates.items():
            values, truth = plain_floats(values), plain_floats(part["truth"])
            has = np.isfinite(values)
            if has.sum() < 3:
                continue
            own = _figures(truth[has], values[has])
            if text == _MEDIAN:
                own["spearman"] = np.nan  # it is a number a fold, and tells no galaxy from another
            errors = bootstrap_errors(_figures, truth[has], values[has], draws=draws, seed=seed)
            row: dict[str, Any] = {"quantity": name, "estimator": text, "n": int(has.sum())}
            for figure, value in own.items():
                row |= {figure: value, f"{figure}_error": errors[figure] if np.isfinite(value) else np.nan}
            inside = coverage(truth, plain_floats(part["lower"]), plain_floats(part["upper"]))
            rows.append(row | {"coverage": inside if text == OURS else np.nan})
    return Table(rows=rows)


def plot_lines(table: Table) -> Figure:
    """Plot what pictures say against what real spectra do, quantity by quantity."""
    figure, (axes,) = panels(1, 3, 10, 3.9)
    for axis, (name, title) in zip(axes, QUANTITIES.items(), strict=True):
        part = table[table["quantity"] == name]
        truth, estimate = plain_floats(part["truth"]), plain_floats(part["estimate"])
        span = np.array([truth.min(), truth.max()])
        span += np.array([-0.05, 0.05]) * np.ptp(span)
        axis.plot(span, span, color="0.6", lw=1)
        error = np.abs([estimate - part["lower"], part["upper"] - estimate])
        style = {"fmt": "o", "ms": 3, "lw": 0.5, "color": "C0", "ecolor": "0.8", "zorder": 2}
        axis.errorbar(truth, estimate, error, label="held-out heads, 68%", **style)
        if np.isfinite(part["predicted"]).any():
            axis.plot(truth, part["predicted"], "^", color="C1", ms=3, label="predicted template spectrum")
        own = _figures(truth, estimate)
        text = f"Spearman {own['spearman']:.2f}, rms {own['rms']:.3f}\n{len(part)} galaxies"
        axis.text(0.97, 0.04, text, transform=axis.transAxes, ha="right", fontsize="small")
        axis.set(ylabel="from the picture", xlim=span)
        axis.set_xlabel(f"measured {title}", fontsize="small")
        axis.legend(fontsize="x-small", loc="upper left")
    return figure


@experiment(plot_lines, name="wupeek2020-lines")
def lines(setting: Setting) -> Table:
    """Compare H-alpha and two ratios of continua with measured ones: a row a galaxy and quantity."""
    table = line_galaxies(setting)
    numbers: dict[str, Any] = {}
    for row in line_scores(table, **setting.bootstrap):
        first = f"{row['quantity']}, {row['estimator']}"
        for figure in ("spearman", "rms", "bias"):
            if np.isfinite(row[figure]):
                numbers[f"{first}: {figure}"] = row[figure]
                numbers[f"{first}: {figure}, error"] = row[f"{figure}_error"]
        if np.isfinite(row["coverage"]):
            numbers[f"{first}: share within 68% intervals"] = row["coverage"]
    table.meta = {
        "numbers": numbers,
        "notes": [
            WHAT_IT_IS,
            model_note(spectrum_model(setting)),
            "of H-alpha asinh(EW / 3 Angstrom) is judged, of continua dex; those of Thomas et al. (2013) are "
            "on the scale of MPA-JHU",
            "template spectra are of the whole galaxy, measured ones of a fibre of 3 arcsec",
        ],
    }
    return table


#: Galaxies whose maps are drawn and summed, and those whose colours are put out.
_N_MAPS, _N_TRIED = 24, 120
_MIDDLE = 15.0  # pixels, 6 arcsec
_SIDE = 32  # pixels of a map that is kept


def unseen_galaxies(setting: Setting) -> Table:
    """Return ``objid`` of pictures that no head of the model learned from, in a random order."""
    names = index(setting)
    names = names[~np.isin(names, spectra(setting)["objid"])]
    if len(names) < _N_MAPS:
        raise ValueError(f"pictures: {_N_MAPS} that the model never saw are needed, there are {len(names)}")
    return Table({"objid": np.random.default_rng(setting.seed).permutation(names)[:_N_TRIED]})


def _radius() -> np.ndarray:
    axis = np.arange(WIDTH) - (WIDTH - 1) / 2
    return np.hypot(axis[None, :], axis[:, None])


def without_colour(pixels: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Return pictures (n, 128, 128, 3) that are grey in an annulus, as bright as before; radii in pixels."""
    radius = _radius()
    is_in = (radius >= inner) & (radius < outer)
    grey = pixels.mean(axis=-1, keepdims=True).round().astype(np.uint8)
    return np.where(is_in[..., None], grey, pixels)


def annuli() -> np.ndarray:
    """Return the edges, in pixels, of the circles in which the network measures colours."""
    return np.asarray(StructureNet.CIRCLES, float)


def colour_correlations(setting: Setting) -> dict[str, list[float]]:
    """Return rank correlations of the colour in each annulus with H-alpha, measured and held out."""
    from hifrac.training.measuring.measurements import radial_colours

    table = spectra(setting)
    table = table[np.isfinite(table["measured_h_alpha_ew"])]
    colours = radial_colours(measurements(pictures(table["objid"], setting))).reshape(len(table), 3, -1)
    red, blue = colours[:, 0], colours[:, 2]
    colour = np.log10(np.maximum(blue, 1e-3) / np.maximum(red, 1e-3))
    return {
        name: [spearman(np.asarray(table[column], float), values) for values in colour.T]
        for name, column in (("measured", "measured_h_alpha_ew"), ("held-out estimate", "h_alpha_ew"))
    }


def mean_maps(model: Model, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return maps of H-alpha in Angstrom, (n, 32, 32), their sums in annuli, (n, k), and the largest gap."""
    maps = heat_maps(model, pixels)
    values = maps.values.astype(float)
    step = WIDTH // _SIDE
    blocks = values.reshape(len(values), _SIDE, step, _SIDE, step).sum(axis=(2, 4))
    edges = annuli()
    ring = np.digitize(_radius(), edges) - 1
    sums = np.stack([values[:, ring == number].sum(axis=1) for number in range(len(edges) - 1)], axis=1)
    return blocks, sums, float(np.abs(maps.gap).max())


def plot_explanation(table: Table, setting: Setting) -> Figure:
    """Plot pictures and maps of galaxies from weak to strong H-alpha, and what annuli do."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10.5, 7.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    top, bottom = parts
    shown = np.linspace(0, len(table) - 1, 6).round().astype(int)
    pixels = pictures(table["objid"][shown], setting)
    limit = float(np.percentile(np.abs(table["map"][shown]), 99.5))
    middle = slice(WIDTH // 4, -WIDTH // 4)
    lines = top.subplots(2, len(shown))
    for column, row in enumerate(shown):
        above, below = lines[:, column]
        above.imshow(pixels[column][middle, middle])
        text = f"estimate {table['h_alpha_ew'][row]:.0f} $\\mathrm{{\\AA}}$"
        above.set_title(text, fontsize="small")
        own = table["map"][row][_SIDE // 4 : -_SIDE // 4, _SIDE // 4 : -_SIDE // 4]
        image = below.imshow(own, cmap="RdBu", vmin=-limit, vmax=limit)
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
    bar = top.colorbar(image, ax=lines, shrink=0.8)
    bar.set_label("contribution ($\\mathrm{\\AA}$ per 4 x 4 pixels)", fontsize="small")
    _plot_annuli(bottom.subplots(1, 3), table)
    return figure


def _plot_annuli(axes: Any, table: Table) -> None:
    of = {name: np.asarray(values, float) for name, values in table.meta["annuli"].items()}
    middle = (of["inner"] + of["outer"]) / 2 * SDSS_RECIPE.fixed_scale
    half = len(table) // 2
    for rows, colour, text in (
        (slice(half, None), "C0", "stronger half"),
        (slice(half), "C3", "weaker half"),
    ):
        axes[0].plot(middle, table["sums"][rows].mean(axis=0), "o-", ms=4, color=colour, label=text)
    axes[0].axhline(0, color="0.6", lw=1)
    axes[0].set_ylabel("mean sum of the map ($\\mathrm{\\AA}$)")
    for name, style in (("measured", "ks-"), ("held-out estimate", "C0o-")):
        axes[1].plot(middle, of[name], style, ms=4, label=f"with the {name}")
    axes[1].set_ylabel("Spearman, colour and EW(H$\\alpha$)")
    axes[1].set_ylim(0, 1)
    axes[2].plot(middle, of["change"], "o-", ms=4, label="grey in the annulus")
    axes[2].axhline(table.meta["change_everywhere"], color="0.4", ls="--", label="grey everywhere")
    axes[2].set(ylabel="rms change of asinh(EW / 3 $\\mathrm{\\AA}$)", ylim=(0, None))
    for axis in axes:
        axis.set(xlabel="radius (arcsec)", xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.legend(fontsize="x-small")
    axes[2].legend(fontsize="x-small", loc="center right")


@experiment(plot_explanation, name="wupeek2020-explain", shows_pictures=True)
def explain(setting: Setting) -> Table:
    """Map what makes H-alpha in pictures the model never saw: a row a galaxy, from weak to strong."""
    model = load_model(spectrum_model(setting), device="cpu")
    table = unseen_galaxies(setting)
    pixels = pictures(table["objid"], setting)
    answer = model.answer(pixels)
    usual = (answer.flags & int(Flag.OUT_OF_DISTRIBUTION)) == 0
    table, pixels, estimate = table[usual], pixels[usual], answer.estimate[usual]
    chosen = even_ranks(estimate, _N_MAPS)
    result = table[chosen]
    result["h_alpha_ew"] = estimate[chosen]
    maps, sums, gap = mean_maps(model, pixels[chosen])
    result["map"], result["sums"] = maps.round(3), sums.round(3)
    edges = annuli()
    before = np.arcsinh(estimate / LINE_UNIT)

    def change(inner: float, outer: float) -> float:
        after = np.arcsinh(model.answer(without_colour(pixels, inner, outer)).estimate / LINE_UNIT)
        return float(np.sqrt(np.mean((after - before) ** 2)))

    everywhere = change(0.0, np.inf)
    rings = {"inner": edges[:-1].tolist(), "outer": edges[1:].tolist(), **colour_correlations(setting)}
    rings["change"] = [change(*pair) for pair in pairwise(edges)]
    is_middle = edges[1:] <= _MIDDLE
    share = np.abs(sums[:, is_middle]).sum(axis=1) / np.abs(sums).sum(axis=1)
    best = int(np.nanargmax(rings["measured"]))
    result.meta = {
        "annuli": rings,
        "change_everywhere": everywhere,
        "numbers": {
            "pictures tried": len(table),
            "share of contributions of annuli within 6 arcsec": np.mean(share),
            "largest error of a map's sum (Angstrom)": gap,
            "rms change of asinh(EW / 3 Angstrom) without colour": everywhere,
            "standard deviation of asinh(EW / 3 Angstrom), the same pictures": np.std(before),
            "largest change by one annulus": max(rings["change"]),
            "Spearman of colour and measured H-alpha, best annulus": rings["measured"][best],
            "middle of that annulus (arcsec)": (edges[best] + edges[best + 1]) / 2 * SDSS_RECIPE.fixed_scale,
        },
        "notes": [
            WHAT_IT_IS,
            "integrated gradients from the mean galaxy; pictures of the archive in no file of labels that "
            "the model learned from, and not flagged; correlations are of galaxies with measured lines",
            "a picture without colour is like none that the model learned from: how much its answer changes "
            "tells what it reads, not what galaxies are",
        ],
    }
    return result
