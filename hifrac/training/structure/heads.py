"""The learned part of the structure network, fitted to measurements."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import log_ndtr
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold

from hifrac.models.structure import StructureNet
from hifrac.training.structure.ood import AUGMENTATIONS_OOD
from hifrac.training.structure.sample import Labels

# Penalties, chosen in repeated cross-validation on folds of other seeds. The error of the HI fraction
# is the same to 1% from 6 to 40, and to choose anew in each fold only adds noise.
RIDGE_PENALTY = 12.0
# Galaxies that ALFALFA missed tell the estimate how far down it may go. They scatter by about 0.45 dex
# where detections do by 0.18: (0.18 / 0.45)^2 is about their weight. More would serve them at the cost
# of the detections, less the other way round.
GAS_POOR_SCATTER = 0.45
GAS_POOR_WEIGHT = 0.15
_MOST_STEPS = 1000
# The area under the curve is the same to 0.002 from 0.01 to 0.3.
DETECTION_INVERSE_PENALTY = 0.1
GAS_POOR_INVERSE_PENALTY = 0.3
SPREAD_PENALTY = 30.0
# With 259 labels the HI fraction is read from these alone; the rest serve the
# other heads and the distance. Groups chosen by forward selection in repeated
# cross-validation on folds of other seeds.
FRACTION_GROUPS = ("circles", "growth", "segment_shape", "colour_quantiles", "reddening")
SPREAD_GROUPS = ("ellipse", "flux", "segment_shape")
#: Galaxies that ALFALFA missed: with fewer in training the network says nothing of them.
FEWEST_GAS_POOR = 10
#: With fewer masses of GSWLC-2 it says nothing of them.
FEWEST_GSWLC = 20
# Inverse penalties of what tells augmented pictures: swapped bands, and other pixel scales. These and the
# edges were chosen on such pictures of another fold than the one that the model's table reports.
BAND_INVERSE_PENALTY = 0.03
SCALE_INVERSE_PENALTY = 1.0
#: Held-out pictures within the edge of each distance, in percent: shape, texture, and each augmentation.
EDGE_PERCENTILES = (98.0, 99.0, *(99.5 if "scale" in name else 99.8 for name in AUGMENTATIONS_OOD))


def fit_heads(
    network: StructureNet, features: np.ndarray, labels: Labels, augmented: np.ndarray
) -> StructureNet:
    """Fit the learned part of a structure network in place, and return it in evaluation mode.

    Whatever it held before is overwritten. ``features`` are raw measurements `with_ebv` of the training
    pictures; ``augmented``, (7, k, measurements), are those of `AUGMENTATIONS_OOD`. The inner cross-
    validation behind the spread does not split the groups of the labels.
    """
    require_labels(labels)
    detected, gas_poor = labels.detected, labels.gas_poor
    fit_distances(network, features, detected, augmented)
    # The scale is that of the detections: the estimate is for galaxies like them.
    scale = features[detected].std(0)
    scale[scale < 1e-6] = 1.0
    set_state(network, center=features[detected].mean(0), scale=scale)
    with torch.inference_mode():
        standard = network.standardise(torch.from_numpy(features)).numpy()
    # What too few galaxies tell of stays zero, whatever the network held before.
    for head in (network.gas_poor, network.gswlc_offset):
        set_head(head, [], 0.0, np.zeros(0))
    columns = StructureNet.columns(FRACTION_GROUPS)
    enough = gas_poor.sum() >= FEWEST_GAS_POOR
    measured = detected | gas_poor if enough else detected
    inputs, of_measured = standard[measured][:, columns], labels[measured]
    set_head(network.fraction, columns, *_fit_fraction(inputs, of_measured))
    fit_spread(network, standard[detected], _held_out_residuals(inputs, of_measured)[of_measured.detected])
    with_mass = detected & np.isfinite(labels.gswlc_offset)
    if with_mass.sum() >= FEWEST_GSWLC:
        offset = Ridge(RIDGE_PENALTY).fit(standard[with_mass][:, columns], labels.gswlc_offset[with_mass])
        set_head(network.gswlc_offset, columns, float(offset.intercept_), offset.coef_)
    shape = without_texture(network)
    heads = [(network.detection, detected | labels.undetected, detected, DETECTION_INVERSE_PENALTY)]
    if enough:
        heads.append((network.gas_poor, detected | gas_poor, gas_poor, GAS_POOR_INVERSE_PENALTY))
    for head, rows, is_class, inverse_penalty in heads:
        set_head(head, shape, *_logistic(standard[rows][:, shape], is_class[rows], inverse_penalty))
    return network.eval()


def require_labels(labels: Labels) -> None:
    """Refuse what nothing can be learned from: too few galaxies, or targets not finite or all the same."""
    target = labels.log_hi_fraction[labels.detected]
    if labels.detected.sum() < 20 or labels.undetected.sum() < 20:
        raise ValueError("detected must hold at least 20 detections and 20 non-detections")
    if not np.all(np.isfinite(target)) or np.ptp(target) == 0:
        raise ValueError("target must be finite and not constant")


def set_state(network: torch.nn.Module, **values: np.ndarray) -> None:
    """Put values into parameters and buffers, in place."""
    state = network.state_dict()
    for name, value in values.items():
        state[name].copy_(torch.from_numpy(np.asarray(value)))


def without_texture(network: StructureNet) -> np.ndarray:
    """Return the columns that tell what galaxy a picture shows; texture tells how the picture was made."""
    return np.append(np.arange(network.n_shape), network.n_measured)


def set_head(
    head: torch.nn.Linear, columns: Sequence[int] | np.ndarray, intercept: float, coefficients: np.ndarray
) -> None:
    """Give a linear head coefficients of some of its inputs, in place; zero for all others."""
    weights = np.zeros(head.in_features)
    weights[np.asarray(columns, dtype=int)] = coefficients
    set_state(head, weight=weights[None], bias=np.array([intercept]))


def _fit_fraction(inputs: np.ndarray, labels: Labels) -> tuple[float, np.ndarray]:
    """Fit intercept and coefficients of the HI fraction, to detections and galaxies that ALFALFA missed."""
    weights = np.where(labels.detected, 1.0, GAS_POOR_WEIGHT)
    return censored_ridge(
        inputs,
        labels.log_hi_fraction,
        labels.is_limit & ~labels.detected,
        weights,
        penalty=RIDGE_PENALTY,
        scatter=GAS_POOR_SCATTER,
    )


def censored_ridge(
    inputs: np.ndarray,
    target: np.ndarray,
    is_limit: np.ndarray,
    weights: np.ndarray,
    *,
    penalty: float,
    scatter: float,
) -> tuple[float, np.ndarray]:
    """Fit intercept and coefficients of a ridge regression that knows upper limits.

    The maximum of the penalised likelihood of Tobin (1958, Econometrica 26, 24) for a known scatter of the
    rows with limits, by expectation and maximisation (Dempster, Laird & Rubin 1977): limits are replaced by
    the mean of what a normal distribution about the present fit has below them. The penalty is in units of
    the squared residual of a row of weight 1.
    """
    expected, before = target, np.inf
    for _ in range(_MOST_STEPS):
        fitted = Ridge(penalty).fit(inputs, expected, sample_weight=weights)
        values = fitted.predict(inputs)
        change = np.abs(values - before).max()
        if change < 1e-9 or not is_limit.any():
            break
        z = (target - values) / scatter
        # Density over distribution, by logarithms: both vanish where a limit lies far below the fit.
        hazard = np.exp(-0.5 * z**2 - log_ndtr(z)) / np.sqrt(2 * np.pi)
        expected, before = np.where(is_limit, values - scatter * hazard, target), values
    return float(fitted.intercept_), fitted.coef_


def _logistic(
    inputs: np.ndarray, is_class: np.ndarray, inverse_penalty: float, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Fit intercept and coefficients; both classes count alike unless there are weights."""
    balance = "balanced" if weights is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(class_weight=balance, C=inverse_penalty, max_iter=3000).fit(
            inputs, is_class, sample_weight=weights
        )
    return float(fitted.intercept_[0]), fitted.coef_[0]


def _held_out_residuals(inputs: np.ndarray, labels: Labels) -> np.ndarray:
    """Return the residuals of the HI fraction, each of a fit that did not see the galaxy's group."""
    residual = np.empty(len(labels))
    for rest, held_out in GroupKFold(10).split(inputs, groups=labels.group):
        intercept, coefficients = _fit_fraction(inputs[rest], labels[rest])
        residual[held_out] = labels.log_hi_fraction[held_out] - (intercept + inputs[held_out] @ coefficients)
    return residual


def fit_spread(network: StructureNet, standard: np.ndarray, residual: np.ndarray) -> None:
    """Fit how well a target is known, in place: a log-linear function of size, axis ratio and flux.

    ``standard``, shape (n, features), is what the heads read; ``residual`` is of galaxies that were held out.
    """
    residual = np.abs(residual)
    columns = StructureNet.columns(SPREAD_GROUPS)
    # The logarithm of a residual near zero would rule the fit.
    floor = 0.1 * np.sqrt(np.mean(residual**2))
    fitted = Ridge(SPREAD_PENALTY).fit(standard[:, columns], np.log(residual + floor))
    spread = np.exp(fitted.predict(standard[:, columns]))
    unit = 0.5 * np.log(np.mean((residual / spread) ** 2))
    set_head(network.log_spread, columns, fitted.intercept_ + unit, fitted.coef_)


def fit_distances(
    network: StructureNet, features: np.ndarray, detected: np.ndarray, augmented: np.ndarray
) -> None:
    """Fit the distances from the training set, in place; detections weigh as much as the rest."""
    features = features[:, : network.n_measured]
    low, typical, high = np.quantile(features, [0.16, 0.5, 0.84], axis=0)
    spread = np.maximum(0.5 * (high - low), 1e-6)
    set_state(network, typical=typical, spread=spread, location=np.zeros(len(typical)))
    with torch.inference_mode():
        real = network.compress(torch.from_numpy(features)).numpy()
        false = network.compress(torch.from_numpy(augmented)).numpy()
    location = real.mean(0)
    real, false = real - location, false - location
    n_shape = network.n_shape
    # Shrunk covariance (Ledoit & Wolf 2004): many of the measurements are nearly collinear.
    roots = [
        np.linalg.cholesky(LedoitWolf().fit(part).precision_)
        for part in (real[:, :n_shape], real[:, n_shape:])
    ]
    weights = np.where(detected, 0.5 / max(detected.sum(), 1), 0.5 / max((~detected).sum(), 1))
    offsets, directions = [], []
    for name, unreal in zip(AUGMENTATIONS_OOD, false, strict=True):
        penalty = SCALE_INVERSE_PENALTY if "scale" in name else BAND_INVERSE_PENALTY
        inputs = np.concatenate([real, unreal])
        # The weights have a mean of one, for the penalty counts against their sum.
        balance = np.concatenate([weights, np.full(len(unreal), 1 / len(unreal))]) * len(inputs) / 2
        offset, direction = _logistic(inputs, np.arange(len(inputs)) >= len(real), penalty, balance)
        offsets.append(offset)
        directions.append(direction)
    set_state(
        network,
        location=location,
        whitening_shape=roots[0],
        whitening_texture=roots[1],
        alterations=np.stack(directions, axis=1),
        alterations_offset=np.array(offsets),
    )
