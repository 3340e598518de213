"""The impact of environment: Figures 8, 9 and 10 and Table 4 of Wu (2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import constants, units
from astropy.coordinates import SkyCoord
from astropy.table import Table
from matplotlib.figure import Figure

from hifrac import catalogs
from hifrac.catalogs import plain_values
from hifrac.core.measurements import plain_floats
from hifrac.environment import AS_CODED, AS_PRINTED, HIGH_DENSITY, overdensity, surface_density
from hifrac.metrics import bootstrap_errors
from hifrac.reproduce._experiment import DENSITY_FILE, Setting, experiment, panels
from hifrac.reproduce._inputs import fraction_features, held_out, labels, model_note, pictures, ridge

H0, C = 70, 300_000  # km/s/Mpc and km/s, as in the original code
_COVERED = (140.0, 230.0)  # RA in degrees that the sample of SDSS DR7 covers
#: Of 1 + delta5, in the table of the original code.
_PUBLISHED_QUANTILES = {0.5: 1.069, 0.84: 3.306, 0.95: 7.399, 0.99: 17.94}
DENSITY_NOTE = (
    "densities from a volume-limited sample of SDSS DR7 (z < 0.07) instead of the NASA-Sloan Atlas, "
    f"for galaxies at RA {_COVERED[0]:.0f} to {_COVERED[1]:.0f} degrees, which it covers"
)
_HEAD_NOTE = (
    "the ridge regression behind the default model's HI fraction, learned anew for each split; the paper "
    "trained its network"
)
_WINDOW_NOTE = (
    "the paper held each window out of training; here the folds are random, and every answer is held out"
)
#: Table 4 of the paper: standard deviation of the measured values, RMSE and its scatter.
PUBLISHED_SPLITS = {
    "lower": (0.5241, 0.2184, 0.0022),
    "higher": (0.6706, 0.3269, 0.0066),
    "random": (0.6036, 0.2557, 0.0094),
}


def reference_galaxies(setting: Setting) -> tuple[SkyCoord, np.ndarray]:
    """Return positions and redshifts of the galaxies that define the density."""
    table = Table.read(setting.root / DENSITY_FILE)
    table = table[np.asarray(table["z"]) < 0.07]
    return SkyCoord(table["ra"], table["dec"], unit=units.deg), np.asarray(table["z"])


def _is_covered(ra: np.ndarray) -> np.ndarray:
    return (ra > _COVERED[0]) & (ra < _COVERED[1])


def _log_overdensity(coords: SkyCoord, z: Any, reference: tuple, **options: Any) -> np.ndarray:
    """Return log10(1 + delta5), NaN where there is none."""
    return overdensity(coords, z, reference, **options)["log_overdensity"].filled(np.nan).value


def survey_densities(a40: Table, reference: tuple[SkyCoord, Any]) -> Table:
    """Compute log10(1 + delta5) of alpha.40 as the paper prints it and as its code computed it: Figure 8.

    The table has a row for each galaxy beyond 10 Mpc: ``covered``, ``in_sdss``, ``as_coded`` and
    ``as_printed``: of covered galaxies alone, whose median is that of the survey there.
    """
    a40 = a40[plain_values(a40, "distance") > 10]
    coords = SkyCoord(a40["ra"].unmasked, a40["dec"].unmasked)
    covered = _is_covered(coords.ra.deg)
    coded = _log_overdensity(coords, H0 * plain_values(a40, "distance") / C, reference, **AS_CODED)
    printed = np.full(len(a40), np.nan)
    z = plain_values(a40, "z")[covered]
    printed[covered] = _log_overdensity(coords[covered], z, reference, **AS_PRINTED)
    in_sdss = ~np.asarray(a40["objid_dr7"].mask)
    return Table({"covered": covered, "in_sdss": in_sdss, "as_coded": coded, "as_printed": printed})


def plot_densities(table: Table) -> Figure:
    """Plot Figure 8: histograms of the overdensity, of the galaxies in SDSS and of all (grey)."""
    figure, (axes,) = panels(1, 2, 9, 3.8, sharey=True)
    bins = np.arange(-2, 3.01, 0.1)
    covered = np.asarray(table["covered"], bool)
    titles = {"as_coded": "as coded: no velocity window", "as_printed": "as printed: ±1000 km/s"}
    for axis, (name, text) in zip(axes, titles.items(), strict=True):
        chosen = covered & np.isfinite(table[name])
        matched = chosen & np.asarray(table["in_sdss"], bool)
        axis.hist(table[name][chosen], bins, density=True, color="0.8", label=f"alpha.40 ({chosen.sum():,})")
        step = {"histtype": "step", "color": "k", "lw": 2, "label": f"in SDSS ({matched.sum():,})"}
        axis.hist(table[name][matched], bins, density=True, **step)
        for percent, style in ((20, ":"), (80, "--")):
            place = np.percentile(table[name][matched], percent)
            axis.axvline(place, color="k", ls=style, lw=1, label=f"{percent}th percentile")
        threshold = {"color": "C3", "lw": 3, "alpha": 0.4, "label": f"the paper's threshold, {HIGH_DENSITY}"}
        axis.axvline(HIGH_DENSITY, **threshold)
        axis.set(xlabel=r"$\log_{10}(1+\delta_5)$", xlim=(-1.7, 2.9), title=text)
        axis.legend(fontsize="small", loc="upper right")
    axes[0].set_ylabel("galaxies per dex, normalised")
    return figure


@experiment(plot_densities)
def fig8(setting: Setting) -> Table:
    """Make Figure 8 from the catalogues of the data directory."""
    table = survey_densities(catalogs.alfalfa_a40(setting.root), reference_galaxies(setting))
    coded, printed = np.asarray(table["as_coded"]), np.asarray(table["as_printed"])
    quantiles = np.quantile(10 ** coded[np.isfinite(coded)], list(_PUBLISHED_QUANTILES))
    numbers = {
        f"1 + delta5 as coded, quantile {level}": (float(ours), published)
        for (level, published), ours in zip(_PUBLISHED_QUANTILES.items(), quantiles, strict=True)
    }
    where = {"as coded, 80th percentile where SDSS covers": coded[table["covered"]]}
    for name, values in (where | {"as printed, 80th percentile": printed}).items():
        numbers[f"log(1 + delta5) {name}"] = (float(np.nanpercentile(values, 80)), HIGH_DENSITY)
    table.meta = {"numbers": numbers, "notes": [DENSITY_NOTE + " (as printed); as coded, all of alpha.40"]}
    return table


def galaxy_densities(table: Table, setting: Setting) -> np.ndarray:
    """Compute log10(1 + delta5) at ``ra``, ``dec`` (degrees) and ``v_helio`` (km/s), as printed.

    The median is that of all of ALFALFA's covered galaxies. NaN where there is none.
    """
    reference = reference_galaxies(setting)
    survey = catalogs.alfalfa_a100(setting.root)
    ra, dec, z = (plain_values(survey, name) for name in ("ra", "dec", "z"))
    rows = _is_covered(ra) & np.isfinite(dec) & (z > 0) & (plain_values(survey, "distance") > 10)
    coords = SkyCoord(ra[rows], dec[rows], unit=units.deg)
    options = {name: value for name, value in AS_PRINTED.items() if name != "median"}
    population = surface_density(coords, z[rows], reference, **options)["surface_density"].filled(np.nan)
    finite = np.isfinite(population)
    own_ra = plain_floats(table["ra"])
    own_z = (units.Quantity(plain_floats(table["v_helio"]), "km/s") / constants.c).decompose().value
    result = np.full(len(table), np.nan)
    chosen = _is_covered(own_ra) & (own_z > 0)
    coords = SkyCoord(own_ra[chosen], plain_floats(table["dec"])[chosen], unit=units.deg)
    result[chosen] = _log_overdensity(
        coords, own_z[chosen], reference, population=(z[rows][finite], population[finite]), **AS_PRINTED
    )
    return result


def split_errors(
    features: np.ndarray, truth: np.ndarray, density: np.ndarray, *, repeats: int = 5, seed: int = 0
) -> Table:
    """Measure how well one environment is predicted from the others, by ``features`` (n, m): Table 4.

    ``repeats`` are random splits, and bootstrap samples of the training galaxies of the other two. The
    table has a row for each validation set, the fifth of lowest and of highest density, and a random
    fifth: ``sigma`` (standard deviation of the measured values, dex), ``rmse`` and ``normalised`` (their
    quotient), means over repeats, with standard deviations ``_error``.
    """
    order = np.argsort(density, kind="stable")
    fifth = len(order) // 5
    rng = np.random.default_rng(seed)
    rows = []
    for name, valid in (("lower", order[:fifth]), ("higher", order[-fifth:]), ("random", None)):
        scores = []
        for _ in range(repeats):
            chosen = rng.permutation(len(order))[:fifth] if valid is None else valid
            rest = np.setdiff1d(order, chosen)
            train = rest if valid is None else rng.choice(rest, rest.size)
            residual = ridge().fit(features[train], truth[train]).predict(features[chosen]) - truth[chosen]
            sigma = np.std(truth[chosen], ddof=1)
            rmse = np.sqrt(np.mean(residual**2))
            scores.append((sigma, rmse, rmse / sigma))
        mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=1)
        rows.append((name, len(order) - fifth, fifth, mean[0], mean[1], spread[1], mean[2], spread[2]))
    names = ("validation", "n_train", "n_valid", "sigma", "rmse", "rmse_error")
    return Table(rows=rows, names=(*names, "normalised", "normalised_error"))


def _with_density(table: Table, setting: Setting) -> Table:
    """Return the galaxies that have an overdensity, and that."""
    table["log_overdensity"] = galaxy_densities(table, setting)
    return table[np.isfinite(table["log_overdensity"])]


@experiment()
def table4(setting: Setting) -> Table:
    """Make Table 4 with the labelled galaxies."""
    rows = _with_density(held_out(setting), setting)
    features = fraction_features(rows, setting)
    truth, density = plain_floats(rows["truth"]), plain_floats(rows["log_overdensity"])
    table = split_errors(features, truth, density, seed=setting.seed)
    numbers = {}
    for row in table:
        name = row["validation"]
        sigma, rmse, _ = PUBLISHED_SPLITS[name]
        numbers[f"RMSE, {name} density held out (dex)"] = (float(row["rmse"]), rmse)
        if name != "random":  # the published one is a mistake: see the page
            numbers[f"RMSE / sigma, {name} density held out"] = (float(row["normalised"]), rmse / sigma)
    table["sigma_published"], table["rmse_published"], table["rmse_error_published"] = np.transpose(
        [PUBLISHED_SPLITS[name] for name in table["validation"]]
    )
    table.meta = {"numbers": numbers, "notes": [DENSITY_NOTE, _HEAD_NOTE]}
    return table


def window_residuals(
    truth: Any, estimate: Any, density: Any, *, width: float = 0.2, step: float = 0.1, **bootstrap: int
) -> Table:
    """Measure residuals in a window that slides over quantiles of log10(1 + delta5): Figure 10.

    All are finite. The table has a row for each window: ``quantile`` (its centre), ``log_overdensity``
    there, and ``normalised``, the ``rmse`` over the standard deviation of the measured values.
    """
    truth, estimate, density = (np.asarray(values, dtype=float) for values in (truth, estimate, density))
    order = np.argsort(density, kind="stable")

    def normalised(true: np.ndarray, estimated: np.ndarray) -> float:
        return float(np.sqrt(np.mean((estimated - true) ** 2)) / np.std(true, ddof=1))

    rows = []
    for start in np.round(np.arange(0, 1 - width + step / 2, step), 10):
        chosen = order[round(start * len(order)) : round((start + width) * len(order))]
        pair = truth[chosen], estimate[chosen]
        residual = pair[1] - pair[0]
        error = bootstrap_errors(normalised, *pair, **{"draws": 200, **bootstrap})
        middle = np.quantile(density, start + width / 2)
        rmse = np.sqrt(np.mean(residual**2))
        rows.append((start + width / 2, middle, len(chosen), rmse, normalised(*pair), error, residual.mean()))
    names = ("quantile", "log_overdensity", "n", "rmse", "normalised", "normalised_error", "offset")
    return Table(rows=rows, names=names)


def plot_windows(table: Table) -> Figure:
    """Plot Figure 10: the normalised error along the density."""
    figure, ((axes,),) = panels(1, 1, 6, 4)
    error = table["normalised_error"]
    axes.errorbar(table["quantile"], table["normalised"], error, xerr=0.1, fmt="ko", ms=5, elinewidth=0.8)
    for row in table:
        style = {"ha": "center", "va": "top", "transform": axes.get_xaxis_transform()}
        axes.text(row["quantile"], 0.97, f"{row['log_overdensity']:.2f}", **style)
    axes.set_xlabel(r"quantile of $\delta_5$ at the centre of the window (above: $\log_{10}(1+\delta_5)$)")
    axes.set(ylabel="RMSE / scatter of measured values", xlim=(0, 1))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    return figure


@experiment(plot_windows)
def fig10(setting: Setting) -> Table:
    """Make Figure 10 with held-out answers of the labelled galaxies."""
    rows = _with_density(held_out(setting), setting)
    truth, estimate, density = (plain_floats(rows[name]) for name in ("truth", "estimate", "log_overdensity"))
    table = window_residuals(truth, estimate, density, **setting.bootstrap)
    dense = density >= HIGH_DENSITY
    residual = estimate - truth
    numbers = {
        "normalised RMSE, window at quantile 0.2": (float(table["normalised"][1]), 0.40),
        "log(1 + delta5) of that window": (float(table["log_overdensity"][1]), -0.20),
        "normalised RMSE, densest window": table["normalised"][-1],
        f"mean residual at log(1 + delta5) >= {HIGH_DENSITY} (dex)": residual[dense].mean(),
        "mean residual below (dex)": residual[~dense].mean(),
    }
    notes = [DENSITY_NOTE, model_note(setting.model), _WINDOW_NOTE]
    table.meta = {"numbers": numbers, "galaxies": len(rows), "dense": int(dense.sum()), "notes": notes}
    return table


def plot_examples(table: Table, pixels: np.ndarray) -> Figure:
    """Plot Figure 9: the pictures of the galaxies."""
    figure, axes = panels(5, len(table) // 5, 7, 7.4)
    for axis, picture, row in zip(axes.ravel(), pixels, table, strict=True):
        axis.imshow(picture)
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{row['log_hi_fraction_true']:.2f} dex", fontsize="small")
    for line, aim in zip(axes, table["aim"][::5], strict=True):
        line[0].set_ylabel(rf"$\log_{{10}}(1+\delta_5)$ = {aim:.2f}", fontsize="small")
    figure.suptitle(r"above each: measured $\log_{10}(M_\mathrm{HI}/M_*)$", fontsize="small")
    return figure


@experiment(
    lambda table, setting: plot_examples(table, pictures(table["objid"], setting)), shows_pictures=True
)
def fig9(setting: Setting) -> Table:
    """Make Figure 9: five labelled galaxies near each of five densities."""
    rows = _with_density(labels(setting), setting)
    density = np.asarray(rows["log_overdensity"])
    aims = np.quantile(density, (0.1, 0.3, 0.5, 0.7, 0.9))
    chosen: list[int] = []
    for aim in aims:
        order = np.argsort(np.abs(density - aim), kind="stable")
        chosen += order[~np.isin(order, chosen)][:5].tolist()
    table = Table({"objid": rows["objid"][chosen], "log_overdensity": density[chosen]})
    table["aim"] = np.repeat(aims, 5)
    table["log_hi_fraction_true"] = plain_floats(rows["log_hi_fraction_true"])[chosen]
    table.meta = {"numbers": {}, "notes": [DENSITY_NOTE]}
    return table
