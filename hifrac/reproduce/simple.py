"""Simple models against the network: Figure 12 and Appendix A of Wu (2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hifrac.core.measurements import plain_floats
from hifrac.metrics import metrics_table, score_estimates
from hifrac.reproduce._experiment import ANSWERS, ARCHIVE, LABELS, Setting, experiment
from hifrac.reproduce._inputs import held_out, measurements, model_note, pictures, ridge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLOCK = 8  # pixels; the paper's 7 do not divide 128
#: Names of the estimators, with the published RMSE of Figure 12 for the held-out fifth of alpha.40A.
_PUBLISHED = {
    "block means, linear": 0.44,
    "PCA(16), linear": 0.31,
    "PCA(16), random forest": 0.31,
    "circular colours, ridge": None,
    "default model": 0.23,
}


def block_means(pixels: np.ndarray, block: int = _BLOCK) -> np.ndarray:
    """Return means of square blocks of pictures as vectors, 0 to 1, of shape (n, 3 (width / block)**2)."""
    from skimage.measure import block_reduce

    if block < 1 or pixels.shape[1] % block or pixels.shape[2] % block:
        raise ValueError(f"block must divide the width {pixels.shape[1]}, got {block}")
    return block_reduce(pixels, (1, block, block, 1), np.mean).reshape(len(pixels), -1) / 255.0


def cross_predict(
    make: Callable[[], Any], features: np.ndarray, truth: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Estimate galaxies by a regression that was not fitted to them.

    ``make`` makes a regression of scikit-learn; all it learns, a principal component analysis included, it
    learns without the fold. (The original code fitted that on test galaxies as well.) Galaxies of one
    ``fold``, of which there are at least two, are held out together.
    """
    if len(np.unique(fold)) < 2:
        raise ValueError("fold must have at least two values")
    estimate = np.full(len(truth), np.nan)
    for number in np.unique(fold):
        held = fold == number
        estimate[held] = make().fit(features[~held], truth[~held]).predict(features[held])
    return estimate


def _components(seed: int) -> Any:
    from sklearn.decomposition import PCA

    return PCA(16, svd_solver="randomized", random_state=seed)


def simple_models(seed: int) -> Mapping[str, Callable[[], Any]]:
    """Return the regressions of Appendix A by name, and ridge regression for circular colours."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    return {
        "block means, linear": LinearRegression,
        "PCA(16), linear": lambda: make_pipeline(_components(seed), LinearRegression()),
        "PCA(16), random forest": lambda: make_pipeline(
            _components(seed), RandomForestRegressor(100, random_state=seed)
        ),
        "circular colours, ridge": ridge,
    }


def _as_coded(whole: np.ndarray, truth: np.ndarray, fold: np.ndarray, seed: int) -> float:
    """RMSE of the linear regression on components that were fitted to the galaxies held out as well."""
    from sklearn.linear_model import LinearRegression

    seen = _components(seed).fit_transform(whole)
    return float(np.sqrt(np.mean((cross_predict(LinearRegression, seen, truth, fold) - truth) ** 2)))


def plot_simple(table: Table) -> Figure:
    """Plot Figure 12: a panel for each model."""
    import matplotlib.pyplot as plt

    names = [name for name in _PUBLISHED if name in table.colnames]
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.7 * len(names), 3.2), sharey=True, layout="constrained"
    )
    truth = np.asarray(table["truth"], float)
    span = np.array([truth.min() - 0.3, truth.max() + 0.3])
    for name, axis in zip(names, axes, strict=True):
        estimate = np.asarray(table[name], float)
        axis.plot(span, span, color="0.6", lw=1)
        axis.scatter(truth, np.clip(estimate, *span), s=6)
        rmse = np.sqrt(np.mean((estimate - truth) ** 2))
        axis.set(xlim=span, ylim=span, xlabel=r"measured $M$ (dex)", aspect="equal")
        axis.set_title(f"{name}\nRMSE {rmse:.3f} dex", fontsize="small")
    axes[0].set_ylabel("held-out estimate (dex)")
    return figure


@experiment(
    "Figure 12: simple models",
    (LABELS, ANSWERS, ARCHIVE, "extra:train"),
    plot_simple,
    without="the pictures of alpha.40 and NIBLES galaxies",
)
def fig12(setting: Setting) -> Table:
    """Make Figure 12: held-out estimates of the labelled galaxies, in the folds of the default model."""
    from hifrac.training.structure.tables import radial_colours

    rows = held_out(setting)
    truth, fold = plain_floats(rows["truth"]), np.asarray(rows["fold"], int)
    pixels = pictures(rows["objid"], setting)
    whole = pixels.reshape(len(pixels), -1) / np.float32(255)
    features = {
        "block means, linear": block_means(pixels),
        "PCA(16), linear": whole,
        "PCA(16), random forest": whole,
        "circular colours, ridge": radial_colours(measurements(pixels)),
    }
    table = Table({"objid": rows["objid"], "truth": truth})
    for name, make in simple_models(setting.seed).items():
        table[name] = cross_predict(make, features[name], truth, fold)
    table["default model"] = plain_floats(rows["estimate"])
    scores = {name: score_estimates(truth, table[name], **setting.bootstrap) for name in _PUBLISHED}
    columns = metrics_table(scores)["estimator", "n", "rmse", "rmse_error", "slope", "slope_inverse"]
    numbers = {f"{name}, RMSE (dex)": (scores[name]["rmse"], paper) for name, paper in _PUBLISHED.items()}
    as_coded = _as_coded(whole, truth, fold, setting.seed)
    table.meta = {
        "numbers": {**numbers, "PCA(16) as coded, linear, RMSE (dex)": (as_coded, None)},
        "figures": {name: columns[name].tolist() for name in columns.colnames},
        "notes": [
            model_note(setting.model),
            f"fivefold cross-validation on {len(table)} galaxies instead of 5,919 trained on; blocks of "
            f"{_BLOCK} pixels of 128, more numbers than galaxies: the least-squares solution of least norm",
        ],
    }
    return table
