"""What other regressions make of the default model's measurements, and what more galaxies would bring.

Galaxies are held out as in the model's own cross-validation, but in folds of several seeds: the mean over
them is given, and its standard error. All regressions are judged on the same folds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

N_FOLDS = 5
#: Shares of the other folds that learn: 1 is all of them.
SHARES = (0.5, 0.75, 1.0)
#: Weights of galaxies that ALFALFA missed, where a detection counts 1.
WEIGHTS = (0.0, 0.05, 0.15, 0.4, 1.0)


@click.command()
@click.option("--seeds", default=8, show_default=True, help="How many divisions into folds.")
@click.option("-o", "--output", default=Path("heads"), type=click.Path(path_type=Path, file_okay=False))
def main(seeds: int, output: Path) -> None:
    """Print and write three tables: regressions, numbers of galaxies, weights of gas-poor galaxies."""
    import numpy as np
    from astropy.table import Table

    from hifrac.models.structure import StructureNet
    from hifrac.training.splits import assign_folds
    from hifrac.training.structure.heads import FRACTION_GROUPS
    from hifrac.training.structure.measurements import measure, with_ebv
    from hifrac.training.structure.sample import combine, read_deep, read_sample

    sample, deep, network = read_sample(), read_deep(), StructureNet()
    folds = []
    for seed in range(seeds):
        fold = assign_folds(sample.detected, sample.group, N_FOLDS, seed)
        galaxies = combine(sample, deep, fold)
        pixels, labels, fold = galaxies.pixels, galaxies.labels, galaxies.fold
        folds.append(fold)
    measured = labels.detected | labels.gas_poor
    features = with_ebv(measure(network, pixels[measured]), labels.ebv[measured])
    labels, folds = labels[measured], [fold[measured] for fold in folds]

    inputs = features[:, StructureNet.columns(FRACTION_GROUPS)]
    rows = []
    for name, learner in regressions(inputs.shape[1]).items():
        figures = np.array([_rmse(_ordinary(learner), inputs, labels, fold) for fold in folds])
        rows.append({"regression": name, **_figures(figures)})
    tables = {"regressions": Table(rows)}
    ridge = _ordinary(regressions(inputs.shape[1])["ridge"])
    rows = []
    for share in SHARES:
        figures = np.array(
            [_rmse(ridge, inputs, labels, fold, share, seed) for seed, fold in enumerate(folds)]
        )
        learned = round(share * labels.detected.sum() * (1 - 1 / N_FOLDS))
        rows.append({"galaxies": learned, **_figures(figures)})
    tables["galaxies"] = Table(rows)
    rows = [{"weight": weight, **_with_gas_poor(inputs, labels, folds, weight)} for weight in WEIGHTS]
    tables["weights"] = Table(rows)
    output.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        for column in table.itercols():
            if column.dtype.kind == "f":
                column.info.format = ".4f"
        table.pprint(max_lines=-1, max_width=-1)
        table.write(output / f"{name}.ecsv", overwrite=True)


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


def _ordinary(learner: Callable[[], Any]) -> Callable:
    """A regression of detections alone, as a function of inputs, labels and what to answer."""

    def answer(inputs, labels, wanted):
        seen = labels.detected
        fitted = learner().fit(inputs[seen], labels.log_hi_fraction[seen])
        return fitted.predict(wanted).ravel()

    return answer


def _held_out(answer: Callable, inputs, labels, fold, share: float = 1.0, seed: int = 0):
    """The answer of each row by a regression that did not see its fold."""
    import numpy as np
    import torch

    from hifrac.models.photometry import bound

    rng = np.random.default_rng(seed)
    estimate = np.empty(len(labels))
    for number in range(N_FOLDS):
        rest, out = fold != number, fold == number
        rest &= rng.random(len(rest)) < share
        seen = rest & labels.detected
        scale = np.maximum(inputs[seen].std(0), 1e-6)
        standard = bound(torch.from_numpy((inputs - inputs[seen].mean(0)) / scale)).numpy()
        estimate[out] = answer(standard[rest], labels[rest], standard[out])
    return estimate


def _rmse(answer: Callable, inputs, labels, fold, share: float = 1.0, seed: int = 0) -> float:
    import numpy as np

    residual = _held_out(answer, inputs, labels, fold, share, seed) - labels.log_hi_fraction
    return float(np.sqrt(np.mean(residual[labels.detected] ** 2)))


def _figures(rmse) -> dict[str, float]:
    """Mean over the seeds, and its standard error."""
    return {"rmse": rmse.mean(), "rmse_error": rmse.std(ddof=1) / len(rmse) ** 0.5}


def _with_gas_poor(inputs, labels, folds, weight: float) -> dict[str, float]:
    """Figures of the censored ridge, of detections and of galaxies that ALFALFA missed."""
    import numpy as np

    from hifrac.training.structure.heads import GAS_POOR_SCATTER, RIDGE_PENALTY, censored_ridge

    def answer(inputs, labels, wanted):
        intercept, coefficients = censored_ridge(
            inputs,
            labels.log_hi_fraction,
            labels.is_limit & ~labels.detected,
            np.where(labels.detected, 1.0, weight),
            penalty=RIDGE_PENALTY,
            scatter=GAS_POOR_SCATTER,
        )
        return intercept + wanted @ coefficients

    seen, limit = labels.detected, labels.gas_poor & labels.is_limit
    value = labels.gas_poor & ~limit
    rows = []
    for fold in folds:
        residual = _held_out(answer, inputs, labels, fold) - labels.log_hi_fraction
        rows.append(
            {
                "rmse": np.sqrt(np.mean(residual[seen] ** 2)),
                "rmse_gas_poor": np.sqrt(np.mean(residual[value] ** 2)),
                "offset_gas_poor": residual[value].mean(),
                "limits_violated": np.mean(residual[limit] > 0),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


if __name__ == "__main__":
    main()
