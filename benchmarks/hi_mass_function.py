"""The HI mass function of an optically selected sample, from pictures, photometry and redshifts.

The galaxies are those of ``photometry_labels.ecsv`` that are near and bright enough for a sample limited by
flux. Each counts with the inverse of the volume in which it would be there (Schmidt 1968, ApJ 151, 393). The
sample is a part of a survey, of unknown area: its density is that of the stellar mass function of Baldry et
al. (2012, MNRAS 421, 621) above 10^9.5 solar masses. Nothing of the HI is adjusted.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import click
import numpy as np
from astropy import constants
from astropy import units as u
from astropy.table import Table

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.core.config import data_dir
from hifrac.core.exceptions import HifracWarning

OUTPUT = Path(__file__).parents[1] / "docs" / "plots" / "hi_mass_function.ecsv"

HUBBLE = 70.0
R_LIMIT = 17.77  # of the main galaxy sample of SDSS
NEAREST, FARTHEST = 0.01, 0.05
EDGES = np.arange(8.0, 10.81, 0.2)
SAMPLES = 32
N_BOOTSTRAP = 200
CRITICAL_DENSITY = 1.36e11  # solar masses per cubic megaparsec


@click.command()
@click.option("--model", default="default", show_default=True)
@click.option("-o", "--output", default=OUTPUT, type=click.Path(path_type=Path, dir_okay=False))
def main(model: str, output: Path) -> None:
    """Estimate, count, and write the table that the documentation draws."""
    warnings.simplefilter("ignore", HifracWarning)  # a few pictures are flagged
    folder = data_dir() / "cutouts"
    galaxies, weights = read_sample(folder / "photometry_labels.ecsv")
    masses = {}
    for selection in ("intrinsic", "alfalfa"):
        with LocalCutouts(folder / "sdss_cutouts.zip", name="objid") as cutouts:
            estimator = HIFractionEstimator(model, cutouts=cutouts, selection=selection)
            result = estimator.predict(galaxies, samples=SAMPLES)
        masses[selection] = np.asarray(result["log_hi_fraction_samples"]) + galaxies["log_mstar"][:, None]
        masses[f"{selection}, medians"] = np.asarray(result["log_mhi"])[:, None]

    table = Table({"log_mhi": 0.5 * (EDGES[1:] + EDGES[:-1])}, meta={"galaxies": len(galaxies)})
    table["alfalfa_survey"] = schechter(table["log_mhi"], 9.94, (4.5e-3, -1.25))  # Jones et al. (2018)
    density = {}
    for name, values in masses.items():
        table[name] = mass_function(values, weights)
        density[name] = float(np.sum(10**values * weights[:, None]) / values.shape[1] / CRITICAL_DENSITY)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(weights), len(weights)) for _ in range(N_BOOTSTRAP)]
    curves = [mass_function(masses["intrinsic"][rows], weights[rows]) for rows in drawn]
    table["intrinsic_error"] = np.std(curves, axis=0)
    for name in table.colnames[1:]:
        table[name].info.format = ".3g"
        table[name] = [float(f"{value:.4g}") for value in table[name]]
    table.meta["omega_hi"] = {name: float(f"{value:.3g}") for name, value in density.items()}
    table.write(output, overwrite=True)
    table.pprint(max_width=-1)
    measured = {
        str(objid)
        for name in ("hi_labels", "resolve_labels", "himanga_labels")
        for objid in Table.read(folder / f"{name}.ecsv")["objid"]
    }
    click.echo(f"{np.isin(galaxies['objid'], list(measured)).sum()} galaxies have HI that the model knows")
    click.echo(f"{len(galaxies)} galaxies; Omega_HI {table.meta['omega_hi']}, of ALFALFA 3.9e-4")


def read_sample(path: Path) -> tuple[Table, np.ndarray]:
    """Return the galaxies with their evidence, and their weights in galaxies per cubic megaparsec."""
    labels = Table.read(path)
    labels = labels[(labels["redshift"] > NEAREST) & (labels["redshift"] < FARTHEST)]
    labels = labels[labels["modelmag_r"] - labels["extinction_r"] < R_LIMIT]
    distance = constants.c.to_value(u.km / u.s) * labels["redshift"] / HUBBLE
    margin = 10 ** (0.2 * (R_LIMIT - (labels["modelmag_r"] - labels["extinction_r"])))
    farthest = np.minimum(distance * margin, constants.c.to_value(u.km / u.s) * FARTHEST / HUBBLE)
    weights = 1 / (farthest**3 - (constants.c.to_value(u.km / u.s) * NEAREST / HUBBLE) ** 3)
    galaxies = Table(
        {
            "objid": labels["objid"].astype(str),
            "ra": labels["ra"],
            "dec": labels["dec"],
            "redshift": labels["redshift"],
            **{name: labels[name] for name in ("modelmag_g", "modelmag_i", "extinction_g", "extinction_i")},
            "log_mstar": labels["log_mstar_taylor"],
        }
    )
    galaxies["ra"].unit = galaxies["dec"].unit = u.deg
    log_mass = np.linspace(9.5, 12.0, 1000)
    expected = schechter(log_mass, 10.66, (3.96e-3, -0.35), (0.79e-3, -1.47))
    is_massive = np.asarray(galaxies["log_mstar"]) > log_mass[0]
    weights = np.asarray(weights) * np.trapezoid(expected, log_mass) / np.sum(weights[is_massive])
    return galaxies, weights


def schechter(log_mass: np.ndarray, log_knee: float, *parts: tuple[float, float]) -> np.ndarray:
    """Return galaxies per cubic megaparsec and dex: the sum of Schechter functions of one knee."""
    ratio = 10 ** (np.asarray(log_mass) - log_knee)
    return sum(np.log(10) * phi * ratio ** (slope + 1) * np.exp(-ratio) for phi, slope in parts)


def mass_function(log_mass: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the density of galaxies, of each one several masses (n, k), in the bins of ``EDGES``."""
    shares = np.broadcast_to(weights[:, None] / log_mass.shape[1], log_mass.shape)
    return np.histogram(log_mass, EDGES, weights=shares)[0] / np.diff(EDGES)


if __name__ == "__main__":
    main()
