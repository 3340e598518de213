"""What other regressions make of the default model's measurements.

Galaxies that ALFALFA detected are held out as in the model's own cross-validation, but in folds of several
seeds: the mean over them is given, and its standard error. All regressions are judged on the same folds. They
read the HI fraction off the picture alone, without the prior of the model; how many labels are needed with it
says the table ``learning_curve`` beside the model's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

N_FOLDS = 5


@click.command()
@click.option("--seeds", default=8, show_default=True, help="How many divisions into folds.")
@click.option("-o", "--output", default=Path("heads.ecsv"), type=click.Path(path_type=Path, dir_okay=False))
def main(seeds: int, output: Path) -> None:
    """Print and write the errors of the regressions."""
    import numpy as np
    from astropy.table import Table

    from hifrac.models.structure import StructureNet
    from hifrac.training.measuring.measurements import measure, with_ebv
    from hifrac.training.splits import draw_folds
    from hifrac.training.structure.heads import FRACTION_GROUPS
    from hifrac.training.structure.sample import read_sample

    sample = read_sample()
    seen = np.asarray(sample.table["detected"])
    galaxies = sample.table[seen]
    features = with_ebv(measure(StructureNet(), sample.pixels[seen]), np.asarray(galaxies["ebv"]))
    inputs, truth = (
        features[:, StructureNet.columns(FRACTION_GROUPS)],
        np.asarray(galaxies["log_hi_fraction"]),
    )
    folds = [
        np.asarray(draw_folds(galaxies["objid"], galaxies["group"], n_folds=N_FOLDS, seed=seed)["fold"])
        for seed in range(seeds)
    ]
    rows = []
    for name, learner in regressions(inputs.shape[1]).items():
        rmse = np.array([_rmse(learner, inputs, truth, fold) for fold in folds])
        rows.append({"regression": name, "rmse": rmse.mean(), "rmse_error": rmse.std(ddof=1) / seeds**0.5})
    table = Table(rows)
    for name in ("rmse", "rmse_error"):
        table[name].info.format = ".4f"
    table.pprint(max_lines=-1, max_width=-1)
    table.write(output, overwrite=True)


def regressions(n_inputs: int) -> dict[str, Callable[[], Any]]:
    """What makes each regression, by name; penalties and scales are the best of a few tried."""
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct
    from sklearn.linear_model import HuberRegressor, Ridge
    from sklearn.svm import SVR

    from hifrac.training.structure.heads import RIDGE_PENALTY

    def process() -> GaussianProcessRegressor:
        kernel = ConstantKernel(1 / n_inputs) * DotProduct(1e-3) + RBF((5 * n_inputs) ** 0.5)
        return GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None, normalize_y=True)

    return {
        "ridge": lambda: Ridge(RIDGE_PENALTY),
        "Huber": lambda: HuberRegressor(alpha=3.0, max_iter=5000),
        "support vectors": lambda: SVR(C=30.0, gamma=4e-4, epsilon=0.05),
        "Gaussian process": process,
        "partial least squares": lambda: PLSRegression(6),
        "extremely randomised trees": lambda: ExtraTreesRegressor(
            300, min_samples_leaf=2, max_features=0.3, random_state=0
        ),
    }


def _rmse(learner: Callable[[], Any], inputs, truth, fold) -> float:
    """The error of estimates by a regression that did not see the fold."""
    import numpy as np
    import torch

    from hifrac.models.photometry import bound

    estimate = np.empty(len(truth))
    for number in range(N_FOLDS):
        rest, out = fold != number, fold == number
        scale = np.maximum(inputs[rest].std(0), 1e-6)
        standard = bound(torch.from_numpy((inputs - inputs[rest].mean(0)) / scale)).numpy()
        estimate[out] = learner().fit(standard[rest], truth[rest]).predict(standard[out]).ravel()
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


if __name__ == "__main__":
    main()
