"""Spectra from pictures beside measured ones, and measured ones in few numbers: Wu & Peek (2020)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from hifrac._fits import open_fits
from hifrac.attribution.maps import sky_level
from hifrac.catalogs import match_ids
from hifrac.core.flags import Flag
from hifrac.images import decode
from hifrac.metrics import bootstrap_errors
from hifrac.models import Model, ModelCard, load_model
from hifrac.models.evidence_table import READINGS
from hifrac.models.spectrum_table import LATENTS, SpectrumTable
from hifrac.reproduce._experiment import BASES, PAIRS, SPECTRA, Setting, experiment, panels
from hifrac.reproduce._inputs import (
    CONTINUA,
    WIDTH,
    continua,
    model_note,
    pictures,
    spectra,
    spectrum_model,
)
from hifrac.spectra import (
    Latents,
    LinearLatents,
    normalise,
    read_sdss_spectrum,
    rest_wavelength,
    result_spectrum,
)
from hifrac.visualization.spectra import LINES, draw_spectrum

#: What a predicted spectrum is, and is not; every result says so.
WHAT_IT_IS = (
    "a predicted spectrum is a photometric template spectrum, the mixture of five smooth templates that "
    "colours tell of; it is no measured spectrum, and its lines are those of templates: H-alpha and the "
    "continua of a fibre are predicted by heads of their own"
)
_LEVELS = (0.16, 0.5, 0.84)
_SHOWN = 10
#: Of fluxes in tables, whose spectra have the norm 1.
_DECIMALS = 6
#: Columns of spectra that are drawn beside the predicted one.
_OTHERS = {"measured": "measured spectrum (SDSS)", "template": "template fit to magnitudes and redshift"}
_LEGACY_SCALE = 4  # pixels of 0.1 arcsec in one of SDSS pictures
_CLEAR_OF_LINES = 0.004  # of the wavelength: 1200 km/s


def relative_rms(flux: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return how far spectra, NaN in gaps, are from models on their best scales, in units of their norms."""
    is_good = np.isfinite(flux)
    flux, model = np.where(is_good, flux, 0.0), np.where(is_good, model, 0.0)
    scale = np.sum(flux * model, axis=-1) / np.sum(model**2, axis=-1)
    return np.linalg.norm(flux - scale[..., None] * model, axis=-1) / np.linalg.norm(flux, axis=-1)


def shape_error(points: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return the rms of log10(points / model) about its mean, dex, of each row; points are NaN if unknown."""
    return np.nanstd(np.log10(points / model), axis=-1)


def with_error(
    name: str, figure: Callable[..., Any], setting: Setting, *columns: np.ndarray
) -> dict[str, float]:
    """Return a figure of columns by its name, and its bootstrap error."""
    error = bootstrap_errors(figure, *columns, **setting.bootstrap)
    return {name: float(figure(*columns)), f"{name}, error": float(error)}


def held_out_flux(table: Table, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted spectra of `spectra`, at three levels, (3, n, 1000), and the fitted ones, (n, 1000).

    The pictures' latents are held out. How wide bands are is told by all held-out galaxies.
    """
    calibration = ModelCard.read(spectrum_model(setting)).calibration
    if not isinstance(calibration, SpectrumTable):
        raise ValueError("setting: its model of the spectrum has none")
    space = _space(load_model(spectrum_model(setting), device="cpu"))
    outputs = {name: np.asarray(table[name], float) for name in LATENTS}
    unknown = dict.fromkeys(READINGS, np.full(len(table), np.nan))
    flux = calibration.flux(space, outputs | unknown, None, None, _LEVELS)
    fitted = np.stack([np.asarray(table[f"template_{name}"], float) for name in LATENTS], axis=1)
    return flux, space.decode(fitted)


def with_continua(setting: Setting) -> Table:
    """Return the galaxies of `spectra` with a template fit and a ``continuum`` of MPA-JHU, (n, 16)."""
    table, measured = spectra(setting), continua(setting)
    row = match_ids(table["objid"], measured["objid"])["row"]
    has_both = ~np.asarray(row.mask) & np.isfinite(table[f"template_{LATENTS[0]}"])
    has_both &= np.isfinite(table["measured_h_alpha_ew"])
    table, row = table[has_both], np.asarray(row[has_both])
    table["continuum"] = measured["continuum"][row]
    if len(table) < _SHOWN:
        raise ValueError(f"spectra: {_SHOWN} galaxies with continua are needed, there are {len(table)}")
    return table


def even_ranks(values: Any, n: int) -> np.ndarray:
    """Return n rows, from the lowest value to the highest, at even steps of rank."""
    order = np.argsort(np.asarray(values, float), kind="stable")
    return order[np.linspace(0, len(order) - 1, n).round().astype(int)]


def _at_continua(flux: np.ndarray) -> np.ndarray:
    """Return spectra at the wavelengths of `CONTINUA`, (n, 16): medians of 41 pixels, clear of lines."""
    wave = rest_wavelength().value
    middle = np.searchsorted(wave, list(CONTINUA.values()))
    return np.stack([np.median(flux[:, place - 20 : place + 21], axis=1) for place in middle], axis=1)


def plot_galaxies(table: Table, pixels: np.ndarray, titles: list[str]) -> Figure:
    """Plot a row a galaxy: its picture, and ``flux`` with its band beside the spectra of `_OTHERS`."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(8, 2.1 * len(table) + 0.8), layout="constrained")
    parts = figure.subfigures(len(table), 1, squeeze=False).flat
    for row, (part, title) in enumerate(zip(parts, titles, strict=True)):
        others = {
            label: result_spectrum(Table({"flux": table[name][[row]]}))
            for name, label in _OTHERS.items()
            if name in table.colnames
        }
        spectrum = result_spectrum(table, row)
        axes = draw_spectrum(part, pixels[row], spectrum, others=others, label="from the picture")
        if "continuum" in table.colnames:
            scale = np.nanmedian(table["flux"][row])
            points: dict[str, Any] = {"color": "#0072B2", "ms": 4, "label": "measured continuum (MPA-JHU)"}
            axes.plot(list(CONTINUA.values()), table["continuum"][row] / scale, "o", **points)
        handles, labels = axes.get_legend_handles_labels()
        if (legend := axes.get_legend()) is not None:
            legend.remove()  # there is one for all
        if row < len(table) - 1:
            axes.set_xlabel("")
        axes.set_ylabel("")
        part.suptitle(title, fontsize="small")
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize="small")
    figure.supylabel("flux density / median", fontsize="small")
    return figure


def _width_text(row: Any) -> str:
    """Return what is predicted and measured of H-alpha."""
    low, middle, high = (row[f"h_alpha_ew{end}"] for end in ("_p16", "", "_p84"))
    low, middle, high, measured = (round(float(x)) for x in (low, middle, high, row["measured_h_alpha_ew"]))
    text = f"EW(H$\\alpha$) from the picture {middle} ({low} to {high})"
    return f"{text}, measured {measured} $\\mathrm{{\\AA}}$"


def plot_examples(table: Table, setting: Setting) -> Figure:
    """Plot the figure of the README of the paper's code: pictures, and spectra predicted from them."""
    pixels = pictures(table["objid"], setting)
    middle = slice(WIDTH // 4, -WIDTH // 4)
    return plot_galaxies(table, pixels[:, middle, middle], [_width_text(row) for row in table])


@experiment(plot_examples, name="wupeek2020-examples", shows_pictures=True)
def examples(setting: Setting) -> Table:
    """Make the figure with ten held-out galaxies, from the weakest H-alpha to the strongest."""
    table = with_continua(setting)
    flux, template = held_out_flux(table, setting)
    points = np.asarray(table["continuum"], float)
    mean = np.tile(_space(load_model(spectrum_model(setting), device="cpu")).mean, (len(table), 1))
    missed = np.linalg.norm(flux[1] - template, axis=1)
    inside = np.mean((template >= flux[0]) & (template <= flux[2]), axis=1)
    numbers: dict[str, Any] = {
        "galaxies with measured continua": len(table),
        "pixels of template fits within the 68% band": np.mean(inside),
        **with_error("predicted less template fit: median relative rms", np.median, setting, missed),
        "mean spectrum less template fit: median relative rms": np.median(
            np.linalg.norm(mean - template, axis=1)
        ),
    }
    for name, spectrum in (("predicted", flux[1]), ("template fit", template), ("mean spectrum", mean)):
        error = shape_error(points, _at_continua(spectrum))
        text = f"measured continua about the {name}: median rms (dex)"
        numbers |= with_error(text, np.median, setting, error)
    rows = even_ranks(table["measured_h_alpha_ew"], _SHOWN)
    result = table["objid", "measured_h_alpha_ew", "h_alpha_ew_p16", "h_alpha_ew", "h_alpha_ew_p84"][rows]
    for name, values in zip(("flux_p16", "flux", "flux_p84"), flux[:, rows], strict=True):
        result[name] = values.round(_DECIMALS)
    result["template"] = template[rows].round(_DECIMALS)
    scale = np.nanmedian(_at_continua(flux[1, rows]) / points[rows], axis=1, keepdims=True)
    result["continuum"] = (points[rows] * scale).round(_DECIMALS)
    result.meta = {
        "numbers": numbers,
        "notes": [
            WHAT_IT_IS,
            model_note(spectrum_model(setting)),
            "the paper draws galaxies that its network learned from, and an autoencoder's reconstruction as "
            "the truth; here galaxies are held out, and the truth is a template fit to magnitudes and a "
            "redshift, and the continuum beside sixteen lines of the real spectrum, on one scale each",
        ],
    }
    return result


def legacy_pixels(folder: Path) -> tuple[list[str], np.ndarray]:
    """Return names and pictures of the Legacy Surveys at the scale of those of SDSS, uint8 (n, 128, 128, 3).

    They show half of the field that the model reads; around them is the sky of their border, flat.
    """
    paths = sorted(folder.glob("*.jpeg"))
    if not paths:
        raise ValueError(f"{folder} has no pictures")
    pixels = np.empty((len(paths), WIDTH, WIDTH, 3), np.uint8)
    for row, path in enumerate(paths):
        fine = decode(path.read_bytes(), width=WIDTH // 2 * _LEGACY_SCALE).astype(float)
        blocks = fine.reshape(WIDTH // 2, _LEGACY_SCALE, WIDTH // 2, _LEGACY_SCALE, 3)
        picture = blocks.mean((1, 3)).round().astype(np.uint8)
        pixels[row] = sky_level(picture, border=2)
        pixels[row, WIDTH // 4 : -WIDTH // 4, WIDTH // 4 : -WIDTH // 4] = picture
    return [path.stem for path in paths], pixels


def pipeline_h_alpha(path: Path) -> float:
    """Return the equivalent width of H-alpha, Angstrom, that the SDSS pipeline has in a ``spec`` file."""
    with open_fits(path.read_bytes()) as hdus:
        lines = hdus["SPZLINE"].data
        names = np.char.strip(lines["LINENAME"].astype(str))
        return float(lines["LINEEW"][names == "H_alpha"][0])


def plot_legacy(table: Table, setting: Setting) -> Figure:
    """Plot pictures of the Legacy Surveys, and predicted spectra beside measured ones: of six galaxies."""
    rows = even_ranks(table["measured_h_alpha_ew"], min(6, len(table)))
    pixels, table = legacy_pixels(setting.root / PAIRS)[1][rows], table[rows]
    middle = slice(WIDTH // 4, -WIDTH // 4)
    flags = ["OUT_OF_DISTRIBUTION" if row["out_of_distribution"] else "not flagged" for row in table]
    titles = [f"{_width_text(row)}; {flag}" for row, flag in zip(table, flags, strict=True)]
    return plot_galaxies(table, pixels[:, middle, middle], titles)


@experiment(plot_legacy, name="wupeek2020-legacy", shows_pictures=True)
def legacy(setting: Setting) -> Table:
    """Predict spectra from pictures of another survey, a row a galaxy, and compare with measured ones."""
    folder = setting.root / PAIRS
    names, pixels = legacy_pixels(folder)
    model = load_model(spectrum_model(setting), device="cpu")
    answer = model.answer(pixels)
    paths = [folder / f"{name}.fits" for name in names]
    measured = np.stack([read_sdss_spectrum(path).to_rest_frame()[0] for path in paths])
    measured = normalise(measured)[0]
    table = Table({"objid": names, "measured_h_alpha_ew": [pipeline_h_alpha(path) for path in paths]})
    table["h_alpha_ew"] = answer.estimate
    for level, ending in ((0.16, "_p16"), (0.84, "_p84")):
        table[f"h_alpha_ew{ending}"] = answer.quantiles[level]
    table["out_of_distribution"] = (answer.flags & int(Flag.OUT_OF_DISTRIBUTION)) != 0
    for name in ("flux", "flux_p16", "flux_p84"):
        table[name] = answer.more[name].round(_DECIMALS)
    table["measured"] = measured.round(_DECIMALS)
    mean = np.tile(_space(model).mean, (len(table), 1))
    errors = {"predicted": answer.more["flux"], "mean spectrum": mean}
    missed = {name: relative_rms(measured, flux) for name, flux in errors.items()}
    table["relative_rms"] = missed["predicted"]
    own, true = np.asarray(table["h_alpha_ew"]), np.asarray(table["measured_h_alpha_ew"])
    numbers: dict[str, Any] = {
        "galaxies": len(table),
        "flagged OUT_OF_DISTRIBUTION": int(np.sum(table["out_of_distribution"])),
        **with_error("H-alpha: Spearman", spearman, setting, true, own),
        "H-alpha: median of predicted less measured (Angstrom)": np.median(own - true),
    }
    for name, values in missed.items():
        numbers |= with_error(f"measured less {name}: median relative rms", np.median, setting, values)
    table.meta = {
        "numbers": numbers,
        "notes": [
            WHAT_IT_IS,
            "pictures of the Legacy Surveys, g, r, z in another stretch, sharper, of half the field: brought "
            "to 0.4 arcsec per pixel, and sky put around them; the model knows SDSS pictures alone",
            "a real spectrum has noise, which is in its distance from any prediction, and is of a fibre",
        ],
    }
    return table


def spearman(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Return the rank correlation; NaN if one of the two is constant."""
    if np.ptp(truth) == 0 or np.ptp(estimate) == 0:
        return float("nan")
    return float(spearmanr(truth, estimate).statistic)


def _space(model: Model) -> LinearLatents:
    space = model.latent_space
    if space is None:
        raise ValueError(f"setting: the model {model.card.name!r} makes no spectra")
    return space


#: Bases of the file of bases, as they are shown.
_BASES = {
    "kcorrect5": "kcorrect",
    "spEigenGal_53724": "SDSS eigenspectra, 53724",
    "spEigenGal_55686": "SDSS eigenspectra, 55686",
    "spEigenGal_55740": "SDSS eigenspectra, 55740",
    "redrock5": "redrock",
}
_N_LEARNED = 5
#: The row that has what no fit can tell.
NOISE = "noise of the spectra"


def spaces(folder: Path, model: Model) -> dict[str, Latents]:
    """Return latent spaces by name: templates and eigenspectra as published, and components of the model."""
    with np.load(folder / BASES) as bases:
        published = {text: np.asarray(bases[name], float) for name, text in _BASES.items()}
    result: dict[str, Latents] = {text: LinearLatents(basis) for text, basis in published.items()}
    result["kcorrect, none negative"] = LinearLatents(published["kcorrect"], nonnegative=True)
    space = _space(model)
    for n in range(1, space.n_latents):
        result[f"components of template spectra, {n} of 5"] = LinearLatents(space.basis[:n], space.mean)
    return result


def learned_from_others(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Return spectra, (n, pixels), as principal components of the others say them."""
    from hifrac.training.latents import fit_pca

    result = np.empty_like(flux)
    for row in range(len(flux)):
        rest = np.arange(len(flux)) != row
        space = fit_pca(flux[rest], ivar[rest], n_latents=_N_LEARNED)
        own = slice(row, row + 1)
        result[own] = space.decode(space.encode(flux[own], (ivar[own] > 0).astype(float)))
    return result


def plot_bases(table: Table) -> Figure:
    """Plot the error of each basis, of each spectrum, and what of it noise and lines make."""
    figure, (axes,) = panels(1, 2, 11, 0.32 * len(table) + 1.4, width_ratios=(1.7, 1))
    left, right = axes
    place = np.arange(len(table))
    for row, values in zip(place, table["each"], strict=True):
        left.plot(values, np.full(len(values), row), ".", color="0.75", ms=4)
    error = table["relative_rms_error"]
    left.errorbar(table["relative_rms"], place, xerr=error, fmt="o", color="C0", capsize=2, label="median")
    left.plot(table["continuum"], place, "D", color="C1", ms=4, label="median, clear of lines")
    left.set_yticks(place, table["basis"], fontsize="small")
    left.invert_yaxis()
    left.set(xscale="log", xlabel="relative rms of the fit", xticks=[0.02, 0.05, 0.1, 0.2, 0.4])
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_formatter("")
    left.legend(fontsize="small", loc="lower right")
    by_name = {row["basis"]: np.asarray(row["each"]) for row in table}
    noise = by_name[NOISE]
    for number, name in enumerate((_BASES["kcorrect5"], _BASES["spEigenGal_53724"], _BASES["redrock5"])):
        right.plot(noise, by_name[name], "os^"[number], color=f"C{number}", ms=5, mfc="none", label=name)
    span = np.array([0.01, 0.2])
    right.plot(span, span, color="0.6", lw=1, label="noise alone")
    right.set(xscale="log", yscale="log", xlabel="noise of the spectrum", ylabel="relative rms of the fit")
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    right.legend(fontsize="x-small")
    return figure


@experiment(plot_bases, name="wupeek2020-bases")
def bases(setting: Setting) -> Table:
    """Fit each basis to the real spectra, pixels alike: a row a basis."""
    with np.load(setting.root / SPECTRA) as file:
        flux, ivar, _ = normalise(file["flux"], file["ivar"])
    is_good = (ivar > 0).astype(float)
    model = load_model(spectrum_model(setting), device="cpu")
    fits = {
        name: space.decode(space.encode(flux, is_good)) for name, space in spaces(setting.root, model).items()
    }
    fits[f"components of the other spectra, {_N_LEARNED}"] = learned_from_others(flux, ivar)
    fits["mean of template spectra"] = np.tile(_space(model).mean, (len(flux), 1))
    clear = np.where(_clear_of_lines(), flux, np.nan)
    variance = np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)
    noise = np.sqrt(variance.sum(axis=1)) / np.linalg.norm(np.nan_to_num(flux), axis=1)
    rows = [
        (name, relative_rms(flux, fit), float(np.median(relative_rms(clear, fit))))
        for name, fit in fits.items()
    ]
    rows.append((NOISE, noise, np.nan))
    table = Table({"basis": [name for name, _, _ in rows], "n": [len(flux)] * len(rows)})
    table["relative_rms"] = [np.median(each) for _, each, _ in rows]
    table["relative_rms_error"] = [
        bootstrap_errors(np.median, each, **setting.bootstrap) for _, each, _ in rows
    ]
    table["continuum"] = [continuum for _, _, continuum in rows]
    table["each"] = np.stack([each for _, each, _ in rows])
    table.meta = {
        "numbers": {f"{row['basis']}: median relative rms": row["relative_rms"] for row in table},
        "notes": [
            "fits by least squares in which all pixels count alike, to spectra with their noise; those by "
            "components of the other spectra did not see the spectrum",
            "principal components of kcorrect's template spectra are as many as its templates: all five fit "
            "as kcorrect does",
        ],
    }
    return table


def _clear_of_lines() -> np.ndarray:
    """Tell which pixels of the grid are further than 1200 km/s from every line that figures name."""
    wave = rest_wavelength().value
    distance = np.abs(np.log(wave[:, None] / np.array(list(LINES.values()))))
    return distance.min(axis=1) > _CLEAR_OF_LINES
