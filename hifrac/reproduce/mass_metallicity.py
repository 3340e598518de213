"""Masses and the mass-metallicity relation: Figures 5 and 6 of Wu & Boada (2019), and what tightens it."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from hifrac.catalogs import match_ids
from hifrac.core.measurements import plain_floats
from hifrac.metrics import bootstrap_errors, metrics_table
from hifrac.relations.metallicity import METALLICITY_RELATIONS, tremonti2004, tremonti2004_table
from hifrac.reproduce._experiment import Setting, experiment, panels
from hifrac.reproduce._inputs import (
    PUBLISHED,
    measurements,
    metallicities,
    photometry_of,
    pictures,
    ridge,
    with_photometry,
)
from hifrac.reproduce.metallicity import (
    COLOURS,
    ESTIMATED,
    MEASURED,
    OURS,
    THEIRS,
    estimates_of,
    notes,
    plot_running,
    published_series,
    published_value,
    residual_figures,
    running,
)
from hifrac.reproduce.networks import cross_predict

MASS = r"$\log_{10}(M_*/M_\odot)$"
_MASS_BINS = np.round(np.arange(8.4, 11.3, 0.2), 1)
_MASS_STEP = 0.2
_FOLDS = 5
_ROUNDING = 1e-12  # dex squared
_MAGNITUDES = tuple(f"M_{band}" for band in "ugriz")
_VALID = METALLICITY_RELATIONS["tremonti2004"].ranges["log_mstar"]
#: The relation applied to the mass that a picture shows.
BY_MASS = "relation at the picture's mass"
#: Scatters of regressions as good as an estimate: marker and legend.
_MATCHED = {
    "scatter_random": ("x", "as good, errors that know no mass"),
    "scatter_mass_known": ("s", "as good, mass known"),
    "scatter_shrunk": ("<", "measured values, shrunk to the mean"),
}
_MASS_NOTE = (
    "stellar masses of Taylor et al. (2011) from SDSS magnitudes and redshifts, not those of MPA-JHU; of the "
    "galaxies with a metallicity only those that have these"
)


def relation(log_mstar: Any) -> np.ndarray:
    """Return the metallicity of Tremonti et al. (2004, eq. 3); beyond its masses that of its ends."""
    return plain_floats(tremonti2004(np.clip(plain_floats(log_mstar), *_VALID))["oh"])


def picture_masses(setting: Setting) -> Table:
    """Return ``objid``, ``log_mstar`` and the ``estimate`` of pictures, all with SDSS photometry, held out.

    By ridge regression on the measurements of the structure network, in five folds.
    """
    table = photometry_of(setting)["objid", "log_mstar"]
    features = measurements(pictures(table["objid"], setting))
    fold = np.random.default_rng(setting.seed).permutation(len(table)) % _FOLDS
    table["estimate"] = cross_predict(ridge(), features, plain_floats(table["log_mstar"]), fold)
    return table


def plot_masses(table: Table) -> Figure:
    """Plot Figure 5: masses of pictures, and metallicities of the relation at these."""
    figure, ((left, right),) = panels(1, 2, 10, 4.8)
    mass, estimate = plain_floats(table["log_mstar"]), plain_floats(table["estimate"])
    span = np.array([min(np.min(mass), np.min(estimate)) - 0.1, max(np.max(mass), np.max(estimate)) + 0.1])
    left.plot(span, span, color="0.6", lw=1)
    left.scatter(mass, estimate, s=2, color="0.75")
    bins = running(mass, estimate, estimate - mass, _MASS_BINS, _MASS_STEP)
    low, high = (bins["median"] + sign * bins["rmse"] for sign in (-1, 1))
    left.fill_between(bins["x"], low, high, color=COLOURS[OURS], alpha=0.15, lw=0, label="± RMSE of the bin")
    plot_running(left, bins, published_series("5a", "median"), "median", "running median, ridge")
    left.set(xlim=span, ylim=span, xlabel=f"{MASS} of the photometry", ylabel=f"{MASS} of the picture")
    has_metallicity = np.isfinite(table["truth"])
    truth, by_mass = plain_floats(table["truth"])[has_metallicity], relation(estimate[has_metallicity])
    span = np.array([8.0, 9.4])
    right.plot(span, span, color="0.6", lw=1)
    right.scatter(truth, by_mass, s=8, color="0.6")
    bins = running(truth, by_mass, by_mass - truth)
    low, high = (bins["median"] + sign * bins["rmse"] for sign in (-1, 1))
    right.fill_between(bins["x"], low, high, color=COLOURS[OURS], alpha=0.15, lw=0)
    plot_running(right, bins, published_series("5b", "median"), "median", "running median, ridge")
    right.set(xlim=span, ylim=span, xlabel=MEASURED, ylabel="of the relation at the mass of the picture")
    left.legend(fontsize="x-small", loc="upper left")
    return figure


@experiment(plot_masses, name="wu2019-fig5")
def fig5(setting: Setting) -> Table:
    """Make Figure 5: masses of pictures, a row a galaxy with photometry; ``truth`` is the metallicity."""
    table = picture_masses(setting)
    answered = metallicities(setting)
    row = match_ids(table["objid"], answered["objid"])["row"]
    is_matched = ~np.asarray(row.mask)
    table["truth"] = np.nan
    table["truth"][is_matched] = plain_floats(answered["truth"])[np.asarray(row[is_matched])]
    own = table[is_matched]
    mass, estimate, truth = (plain_floats(own[name]) for name in ("log_mstar", "estimate", "truth"))
    masses = {
        "all": residual_figures(plain_floats(table["log_mstar"]), plain_floats(table["estimate"])),
        "with a metallicity": residual_figures(mass, estimate),
    }
    by_picture, by_photometry = (residual_figures(truth, relation(values)) for values in (estimate, mass))
    numbers: dict[str, Any] = {"galaxies with a mass": len(table), "with a metallicity": len(truth)}
    for name in ("rmse", "nmad"):
        for sample, figures in masses.items():
            published = published_value("5a", name)
            numbers[f"mass of the picture, {sample}: {name} (dex)"] = (figures[name], published)
        numbers[f"{BY_MASS}: {name} (dex)"] = (by_picture[name], published_value("5b", name))
        published = published_value("5b", f"measured mass {name}")
        numbers[f"relation at the mass of the photometry: {name} (dex)"] = (by_photometry[name], published)
    table.meta = {"numbers": numbers, "notes": [*notes(setting), _MASS_NOTE]}
    return table


def plot_relation(table: Table) -> Figure:
    """Plot Figure 6: measured and estimated metallicities along the mass, and the published relation."""
    figure, (axes,) = panels(1, 2, 10.5, 4.8, sharey=True)
    mass = plain_floats(table["log_mstar"])
    quantiles = tremonti2004_table()
    line = np.linspace(8.5, 11.5, 100)
    for axis, column, text in zip(axes, ("truth", "estimate"), (MEASURED, ESTIMATED), strict=True):
        values = plain_floats(table[column])
        band = (quantiles[name] for name in ("log_mstar", "oh_p16", "oh_p84"))
        axis.fill_between(*band, color="0.85", lw=0, label="Tremonti et al. (2004), 16% to 84%")
        axis.plot(line, relation(line), color="k", lw=1, label="their equation 3")
        axis.scatter(mass, values, s=9, color="0.5")
        bins = running(mass, values, values - relation(mass), _MASS_BINS, _MASS_STEP)
        points = (bins[name] for name in ("x", "median", "nmad"))
        style = {"fmt": "o", "ms": 5, "capsize": 2, "color": COLOURS[OURS], "label": "running median ± NMAD"}
        axis.errorbar(*points, **style)
        axis.set(xlim=(8.3, 11.4), ylim=(8.0, 9.4), xlabel=MASS, ylabel=text)
        rms = np.sqrt(np.mean((values - relation(mass)) ** 2))
        axis.set_title(f"{len(mass)} galaxies, rms about equation 3: {rms:.3f} dex", fontsize="medium")
    x, y = published_series("6", "median")
    error = published_series("6", "nmad")[1]
    label = f"{THEIRS}, 20,466 galaxies"
    axes[1].errorbar(x + 0.03, y, error, fmt="s", ms=4, capsize=2, color=COLOURS[THEIRS], label=label)
    for axis in axes:
        axis.legend(fontsize="x-small", loc="lower right")
    return figure


@experiment(plot_relation, name="wu2019-fig6")
def fig6(setting: Setting) -> Table:
    """Make Figure 6: a row a galaxy with a mass."""
    rows = with_photometry(metallicities(setting), setting)
    table = rows["objid", "log_mstar", "truth", "estimate"]
    table["published"] = plain_floats(rows[PUBLISHED[128]])
    expected = relation(table["log_mstar"])
    figures = {
        name: residual_figures(expected, plain_floats(table[name]))
        for name in ("truth", "estimate", "published")
    }
    numbers: dict[str, Any] = {"galaxies": (len(table), 20409)}
    for name in ("rmse", "nmad"):
        theirs = {
            "truth": published_value("5b", f"measured mass {name}"),
            "estimate": published_value("6", name),
        }
        texts = {
            "truth": "measured",
            "estimate": "estimates",
            "published": f"{THEIRS}, same galaxies",
        }
        for column, text in texts.items():
            numbers[f"{text}, about equation 3: {name} (dex)"] = (figures[column][name], theirs.get(column))
    table.meta = {"numbers": numbers, "notes": [*notes(setting), _MASS_NOTE]}
    return table


def residual_at(controls: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values less their linear regression on controls, of shape (n, k)."""
    design = np.column_stack([np.ones(len(values)), controls - controls.mean(axis=0)])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def at_fixed_mass(
    log_mstar: np.ndarray, truth: np.ndarray, estimate: np.ndarray, photometry: np.ndarray
) -> dict[str, float]:
    """Return what an estimate knows of the metallicity beyond the mass, and how tight its relation is.

    Residuals are those about a parabola of the mass, as Tremonti et al. (2004) have it, of truth and
    estimate each. ``photometry`` (n, k) is what else a galaxy may be compared at.

    Returns
    -------
    figures : dict of str to float
        ``rmse``. ``scatter`` and ``tightening``: standard deviation of the residuals of the estimate, and
        that by the one of the truth. ``partial``: correlation of the two, and ``partial_photometry`` with
        photometry fixed too. ``retained`` and ``added``: the share of a galaxy's deviation from the relation
        that its estimate has, and the scatter beside that. ``rmse_with_mass``: what is left of the scatter
        of the truth if the estimate is known as well. Then the tightness of regressions as good as this one
        (see `matched_scatter`): ``scatter_random``, ``scatter_mass_known``, ``scatter_shrunk``,
        ``scatter_shrunk_to_relation``, and ``excess``, the scatter less ``scatter_random``.
    """
    curve = np.column_stack([log_mstar, log_mstar**2])
    about, about_estimate = residual_at(curve, truth), residual_at(curve, estimate)
    everything = np.column_stack([curve, photometry])
    beyond, beyond_estimate = residual_at(everything, truth), residual_at(everything, estimate)
    scatter, own = np.std(about), np.std(about_estimate)
    partial = _correlation(about, about_estimate)
    rmse = float(np.sqrt(np.mean((estimate - truth) ** 2)))
    matched = matched_scatter(truth, estimate, float(scatter))
    return {
        "rmse": rmse,
        "scatter": own,
        "tightening": own / scatter,
        "partial": partial,
        "partial_photometry": _correlation(beyond, beyond_estimate),
        "retained": partial * own / scatter,
        "added": own * np.sqrt(1 - partial**2),
        "rmse_with_mass": scatter * np.sqrt(1 - partial**2),
        **matched,
        "excess": own - matched["scatter_random"],
    }


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Return the correlation of residuals; 0 where one has none but of rounding."""
    spread = float(np.std(left) * np.std(right))
    return float(np.clip(np.mean(left * right) / spread, -1, 1)) if spread > _ROUNDING else 0.0


def matched_scatter(truth: np.ndarray, estimate: np.ndarray, scatter: float) -> dict[str, float]:
    """Return how tight the relation of a regression as good as an estimate would be by its errors alone.

    ``scatter_random``
        The same slope on the truth and the same scatter about that line, of errors that know no mass.
    ``scatter_mass_known``
        A regression that knows the mass, of the same RMSE: what it does not know lies on the relation, by
        the law of total variance; 0 if that RMSE is not below the scatter of the truth about the relation.
    ``scatter_shrunk``
        The truth drawn to its mean until the RMSE is the same; no new error.
    ``scatter_shrunk_to_relation``
        The truth drawn to the relation until the RMSE is the same.
    """
    rmse = np.sqrt(np.mean((estimate - truth) ** 2))
    covariance = np.cov(truth, estimate, ddof=0)
    slope = covariance[0, 1] / covariance[0, 0]
    error = covariance[1, 1] - slope * covariance[0, 1]
    return {
        "scatter_random": float(np.hypot(slope * scatter, np.sqrt(max(error, 0)))),
        "scatter_mass_known": float(np.sqrt(max(scatter**2 - rmse**2, 0))),
        "scatter_shrunk": float(abs(1 - rmse / np.std(truth)) * scatter),
        "scatter_shrunk_to_relation": float(max(scatter - rmse, 0)),
    }


def published_at_fixed_mass() -> dict[str, float]:
    """Return ``partial`` and ``tightening`` of the published network, from numbers of the whole sample.

    Three correlations make the first, linear in the mass; the scatters about equation 3 the second.
    """
    pairs = ("true estimate", "true mass", "estimate mass")
    both, true, estimate = (published_value("6", f"correlation {pair}") for pair in pairs)
    return {
        "partial": (both - true * estimate) / float(np.sqrt((1 - true**2) * (1 - estimate**2))),
        "tightening": published_value("6", "rmse") / published_value("5b", "measured mass rmse"),
    }


def plot_shrinkage(table: Table) -> Figure:
    """Plot scatter about the mass-metallicity relation, and correlations at fixed mass."""
    names = table["estimator"].tolist()
    figure, (axes,) = panels(1, 3, 10, 0.42 * len(names) + 2.5, sharey=True, width_ratios=(1.4, 1, 1))
    place = np.arange(len(names))
    scatter, partial, retained = axes
    bars = {"fmt": "o", "ms": 5, "capsize": 2}
    scatter.errorbar(
        table["scatter"], place, xerr=table["scatter_error"], color="C0", label="as it is", **bars
    )
    for name, (marker, text) in _MATCHED.items():
        shown = np.where(table[name] > 0, table[name], np.nan)
        scatter.plot(shown, place, marker, color="0.35", ms=6, mfc="none", mew=1.3, label=text)
    measured = table["scatter"][0] / table["tightening"][0]
    scatter.axvline(measured, color="k", lw=1, ls="--", label="measured metallicities")
    scatter.set(xlabel="scatter about the relation (dex)", xlim=(0, None))
    scatter.set_yticks(place, names, fontsize="small")
    scatter.invert_yaxis()
    for name, shift, colour, text in (
        ("partial", -0.1, "C0", "mass"),
        ("partial_photometry", 0.1, "C1", "mass,\nmagnitudes and redshift"),
    ):
        style = {**bars, "color": colour, "label": f"at fixed {text}"}
        partial.errorbar(table[name], place + shift, xerr=table[f"{name}_error"], **style)
    partial.axvline(0, color="0.6", lw=1)
    partial.set(xlabel="correlation with\nthe measured value", xlim=(-0.25, 1))
    retained.errorbar(table["retained"], place, xerr=table["retained_error"], color="C0", **bars)
    retained.axvline(1, color="0.6", lw=1)
    retained.set(xlabel="share of the deviation\nthat the estimate has", xlim=(-0.1, 1.1))
    for axis in (scatter, partial):
        axis.legend(fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


@experiment(plot_shrinkage, name="wu2019-shrinkage")
def shrinkage(setting: Setting) -> Table:
    """Make a table of how tight relations are, and what estimates know at fixed mass: a row an estimator."""
    rows = with_photometry(metallicities(setting), setting)
    masses = picture_masses(setting)
    row = match_ids(rows["objid"], masses["objid"])["row"]
    by_mass = relation(plain_floats(masses["estimate"])[np.asarray(row)])
    estimates = {**estimates_of(rows), BY_MASS: by_mass}
    truth, mass = plain_floats(rows["truth"]), plain_floats(rows["log_mstar"])
    photometry = np.column_stack([plain_floats(rows[name]) for name in (*_MAGNITUDES, "redshift")])
    results = {}
    for name, estimate in estimates.items():
        if not np.isfinite(estimate).all():
            continue
        columns = mass, truth, estimate, photometry
        errors = bootstrap_errors(at_fixed_mass, *columns, **setting.bootstrap)
        own = at_fixed_mass(*columns)
        results[name] = {key: value for figure in own for key, value in _pair(figure, own, errors)}
    table = metrics_table(results)
    figures = ("scatter", "tightening", "partial", "partial_photometry", "retained", "added", "excess")
    theirs = f"{THEIRS}, 128 px"
    numbers: dict[str, Any] = {
        f"{name}: {figure}": own[figure]
        for name, own in results.items()
        if name in (OURS, theirs, BY_MASS)
        for figure in figures
    }
    for figure, published in published_at_fixed_mass().items():
        numbers[f"{theirs}: {figure}"] = (numbers[f"{theirs}: {figure}"], published)
    first = next(iter(results.values()))
    numbers["measured: scatter about their own relation (dex)"] = first["scatter"] / first["tightening"]
    linear = (
        "published at fixed mass: from its printed correlations, linear in the mass; and about equation 3"
    )
    table.meta = {"numbers": numbers, "notes": [*notes(setting), _MASS_NOTE, linear]}
    return table


def _pair(figure: str, values: dict[str, float], errors: dict[str, float]) -> list[tuple[str, float]]:
    return [(figure, values[figure]), (f"{figure}_error", errors[figure])]
