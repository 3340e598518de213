"""Compare pictures of one pixel scale with pictures scaled to galaxies: figures of docs/metallicity.rst."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from astropy.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hifrac.cutouts import SDSS_RECIPE
from hifrac.models.measuring import MeasuringNet
from hifrac.training.data import decode_all
from hifrac.training.measuring.measurements import measure
from hifrac.training.splits import draw_folds, sky_groups

SEEDS = range(5)
#: The pictures, by their labels and archive.
PICTURES = {
    "0.4 arcsec a pixel": ("metallicity_labels.ecsv", "sdss_cutouts.zip"),
    "petroR90_r / 25.344 a pixel": ("metallicity_demo_labels.ecsv", "metallicity_demo.zip"),
}


def row_of(name: str, labels: Path, archive: Path) -> dict[str, str | int | float]:
    """Return the error of a ridge regression on measurements of shape and colour, 5-fold, by field."""
    table = Table.read(labels)
    objid, oh = np.char.strip(np.asarray(table["objid"], dtype=str)), np.asarray(table["oh_p50"], dtype=float)
    network, nowhere = MeasuringNet(SDSS_RECIPE.width), np.full(len(oh), np.nan)
    features = measure(network, decode_all(objid, archive, SDSS_RECIPE))[:, : network.n_shape]
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 17)))
    errors = []
    for seed in SEEDS:
        fold = draw_folds(objid, sky_groups(objid, nowhere, nowhere), seed=seed)["fold"]
        estimate = cross_val_predict(ridge, features, oh, cv=PredefinedSplit(np.asarray(fold)))
        errors.append(np.sqrt(np.mean((estimate - oh) ** 2)))
    figures = {"n": len(oh), "standard_deviation": oh.std(), "rmse": np.mean(errors)}
    return {"pictures": name, **figures, "ratio": np.mean(errors) / oh.std()}


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Data directory.")
def main(data: Path) -> None:
    """Print the errors on the two kinds of pictures, which are of different galaxies."""
    folder = data / "cutouts"
    rows = [row_of(name, folder / labels, folder / archive) for name, (labels, archive) in PICTURES.items()]
    table = Table(rows=rows)
    table.round(3)
    click.echo("\n".join(table.pformat(max_width=-1)))


if __name__ == "__main__":
    main()
