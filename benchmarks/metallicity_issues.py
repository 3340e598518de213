"""Measure what the known issues of Wu & Boada (2019) change: figures of docs/known_issues.rst."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from astropy.table import Table, join
from scipy.stats import spearmanr

from hifrac import LocalCutouts, images
from hifrac.core.measurements import plain_floats
from hifrac.metrics import regression_metrics
from hifrac.relations import cross_validate_forest, kewley_ellison2008, tremonti2004
from hifrac.training.splits import draw_folds, galaxy_groups

PREDICTION = "wu_boada_2019_prediction"
SEEDS = range(10)
BINS = np.arange(8.2, 9.3, 0.1)  # twelve: 9.3 is there by rounding, as in the original


def _labels(folder: Path, *names: str) -> Table:
    tables = [Table.read(folder / f"{name}_labels.ecsv") for name in names]
    for table in tables:
        table["objid"] = table["objid"].astype(str)
    return tables[0] if len(tables) == 1 else join(*tables, keys="objid")


def _nmad(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def scatter_in_bins(galaxies: Table) -> Table:
    """Compare the NMAD of the residuals in each bin with sqrt(NMAD(residual^2)), as two notebooks have it."""
    truth = plain_floats(galaxies["oh_p50"])
    residual = plain_floats(galaxies[PREDICTION]) - truth
    rows = []
    for middle in BINS:
        inside = np.abs(truth - middle) < 0.05
        if inside.sum() >= 10:
            values = residual[inside]
            rows.append((middle, inside.sum(), _nmad(values), np.sqrt(_nmad(values**2))))
    table = Table(rows=rows, names=("oh_p50", "n", "NMAD", "sqrt(NMAD(r^2))"))
    table["ratio"] = table["sqrt(NMAD(r^2))"] / table["NMAD"]
    return table


def rows_in_another_order(galaxies: Table, photometry: Table) -> Table:
    """Compare rows joined by identifier with rows that another table has in another order."""
    rng = np.random.default_rng(0)
    truth, prediction = (plain_floats(galaxies[name]) for name in ("oh_p50", PREDICTION))
    with_mass = plain_floats(tremonti2004(photometry["log_mstar_taylor"])["oh"])
    in_range = np.isfinite(with_mass)
    pairs = {
        "published network": (truth, prediction),
        "Tremonti et al. (2004) of the mass": (
            plain_floats(photometry["oh_p50"])[in_range],
            with_mass[in_range],
        ),
    }
    rows = []
    for name, (left, right) in pairs.items():
        aligned = regression_metrics(left, right)["rmse"]
        shuffled = [regression_metrics(left, rng.permutation(right))["rmse"] for _ in range(200)]
        rows.append((name, len(left), aligned, np.mean(shuffled)))
    return Table(rows=rows, names=("estimate", "n", "RMSE by identifier", "RMSE by position"))


def forests(photometry: Table) -> Table:
    """Cross-validate the random forests on g, r, i: nine tenths to fit to, the mean of ten draws of folds."""
    truth = plain_floats(photometry["oh_p50"])
    group = galaxy_groups(photometry["objid"], photometry["ra"], photometry["dec"])
    folds = [draw_folds(photometry["objid"], group, n_folds=10, seed=seed)["fold"] for seed in SEEDS]
    observed = {band: plain_floats(photometry[f"modelmag_{band}"]) for band in "gri"}
    foreground = {band: plain_floats(photometry[f"extinction_{band}"]) for band in "gri"}
    inputs = {
        "as observed": observed,
        "corrected for the foreground": {band: observed[band] - foreground[band] for band in "gri"},
    }
    rows = []
    for settings in ("acquaviva2016", "default"):
        for what, magnitudes in inputs.items():
            residuals = [
                cross_validate_forest(truth, fold, settings=settings, **magnitudes) - truth for fold in folds
            ]
            rmse = [np.sqrt(np.mean(values**2)) for values in residuals]
            rows.append((settings, what, np.mean(rmse), np.std(rmse), np.mean([_nmad(r) for r in residuals])))
    rows.append(("(mean of the others)", "", np.std(truth), 0.0, _nmad(truth)))
    residual = plain_floats(photometry[PREDICTION]) - truth
    rows.append(("(published network)", "", np.sqrt(np.mean(residual**2)), 0.0, _nmad(residual)))
    return Table(rows=rows, names=("forest", "magnitudes", "RMSE", "spread of seeds", "NMAD"))


def colours(photometry: Table) -> Table:
    """Correlate the residuals of the published network with colours, not with errors of magnitudes."""
    residual = plain_floats(photometry[PREDICTION]) - plain_floats(photometry["oh_p50"])
    rows = []
    for blue, red in ("ug", "gr", "ri", "iz", "ur"):
        colour = plain_floats(photometry[f"modelmag_{blue}"]) - plain_floats(photometry[f"modelmag_{red}"])
        found = spearmanr(colour, residual)
        rows.append((f"{blue}-{red}", found.statistic, found.pvalue))
    return Table(rows=rows, names=("colour", "rho", "p_value"))


def scales(folder: Path) -> Table:
    """Compare the labels with abundances by emission lines, of the galaxies that have both."""
    rows = []
    for name in ("line", "portsmouth", "resolve_eco"):
        for galaxy in _labels(folder, "metallicity", name):
            if np.ma.is_masked(galaxy["oh_n2_pp04"]):
                continue
            truth, by_n2 = float(galaxy["oh_p50"]), float(galaxy["oh_n2_pp04"])
            converted = plain_floats(kewley_ellison2008(by_n2)["oh"])[0]
            rows.append(
                (
                    galaxy["objid"],
                    truth,
                    truth - float(galaxy["oh_o3n2_pp04"]),
                    truth - by_n2,
                    truth - converted,
                )
            )
    names = ("objid", "oh_p50", "less O3N2", "less N2", "less N2 by Kewley & Ellison (2008)")
    return Table(rows=rows, names=names)


def half_light_radius(pixels: np.ndarray) -> float:
    """Return the radius in pixels that holds half of the light within 60 pixels, above the sky beyond."""
    light = pixels.astype(float).mean(axis=2)
    height, width = light.shape
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    light -= np.median(light[distance > 60])
    order = np.argsort(distance, axis=None)
    order = order[distance.ravel()[order] < 60]
    growth = np.cumsum(light.ravel()[order])
    return float(distance.ravel()[order][np.searchsorted(growth, growth[-1] / 2)])


def sizes(folder: Path) -> Table:
    """Compare sizes in pixels of pictures that are scaled to the galaxy with those at one pixel scale."""
    demo = _labels(folder, "metallicity_demo")["objid"].tolist()
    with LocalCutouts(folder / "metallicity_demo.zip") as scaled:
        radii = _radii(scaled, demo)
    with LocalCutouts(folder / "sdss_cutouts.zip") as fixed:
        others = _radii(fixed, demo)
    both = [name for name in demo if np.isfinite(others[name])]
    scale = np.array([0.4 * others[name] / radii[name] for name in both])
    table = Table(
        {
            "what": [
                f"half-light radius of {len(demo)} demo pictures (px)",
                f"the same of {len(both)} of them at 0.4 arcsec/px (px)",
                "their pixel scale, by the ratio (arcsec/px)",
            ]
        }
    )
    values = [list(radii.values()), [others[name] for name in both], scale]
    for level in (0, 16, 50, 84, 100):
        table[f"p{level}"] = [np.percentile(column, level) for column in values]
    return table


def _radii(source: LocalCutouts, names: list[str]) -> dict[str, float]:
    nowhere = np.zeros(len(names))
    cutouts = source.fetch(nowhere, nowhere, names)
    return {
        name: np.nan if cutout.error is not None else half_light_radius(images.decode(cutout.data))
        for name, cutout in zip(names, cutouts, strict=True)
    }


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path), envvar="HIFRAC_DATA_DIR")
def main(data: Path) -> None:
    """Print a table for each issue that can be measured with the data directory DATA."""
    folder = data / "cutouts"
    galaxies, photometry = _labels(folder, "metallicity"), _labels(folder, "metallicity", "photometry")
    for title, table in (
        (f"Scatter in bins, {len(galaxies)} galaxies", scatter_in_bins(galaxies)),
        ("Rows in another order", rows_in_another_order(galaxies, photometry)),
        (f"Random forests, {len(photometry)} galaxies", forests(photometry)),
        ("Residuals of the published network and colours", colours(photometry)),
        ("Abundances by emission lines", scales(folder)),
        ("Pictures scaled to the galaxy", sizes(folder)),
    ):
        for name in table.colnames:
            if table[name].dtype.kind == "f":
                table[name].info.format = ".4f"
        click.echo("\n".join([f"\n{title}", *table.pformat(max_lines=-1, max_width=-1)]))


if __name__ == "__main__":
    main()
