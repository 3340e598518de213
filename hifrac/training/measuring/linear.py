"""Linear fits, and how networks that measure take and apply their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from hifrac.core.exceptions import silenced
from hifrac.models.measuring import MeasuringNet

#: The penalties of ridge regressions, of which the best is taken.
PENALTIES = np.logspace(0, 4, 17)


def fit_robust(
    inputs: np.ndarray, target: np.ndarray, corner: float, *, penalty: float = 1e-6, steps: int = 10
) -> tuple[float, np.ndarray]:
    """Fit a ridge regression in which residuals count linearly beyond a corner (Huber 1964).

    Returns intercept and coefficients, by ``steps`` reweighted fits.
    """
    weights = np.ones(len(target))
    for _ in range(steps):
        fitted = Ridge(penalty).fit(inputs, target, sample_weight=weights)
        residual = np.abs(target - fitted.predict(inputs))
        weights = np.minimum(1.0, corner / np.maximum(residual, 1e-9))
    return float(fitted.intercept_), fitted.coef_


def fit_logistic(
    inputs: np.ndarray, is_class: np.ndarray, inverse_penalty: float, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Fit intercept and coefficients; both classes count alike unless there are weights."""
    balance = "balanced" if weights is None else None
    with silenced("lbfgs failed to converge"):
        fitted = LogisticRegression(class_weight=balance, C=inverse_penalty, max_iter=3000).fit(
            inputs, is_class, sample_weight=weights
        )
    return float(fitted.intercept_[0]), fitted.coef_[0]


def set_state(module: torch.nn.Module, **values: np.ndarray) -> None:
    """Put values into parameters and buffers, in place."""
    state = module.state_dict()
    for name, value in values.items():
        state[name].copy_(torch.from_numpy(np.asarray(value)))


def set_head(
    head: torch.nn.Linear, columns: Sequence[int] | np.ndarray, intercept: float, coefficients: np.ndarray
) -> None:
    """Give a linear head coefficients of some of its inputs, in place; zero for all others."""
    weights = np.zeros(head.in_features)
    weights[np.asarray(columns, dtype=int)] = coefficients
    set_state(head, weight=weights[None], bias=np.array([intercept]))


def fit_scale(network: MeasuringNet, features: np.ndarray) -> None:
    """Put the heads' units: the spread over some galaxies."""
    scale = features.std(0)
    scale[scale < 1e-6] = 1.0
    set_state(network, center=features.mean(0), scale=scale)


def standardised(network: MeasuringNet, features: np.ndarray) -> np.ndarray:
    """Return what the heads read of raw measurements."""
    with torch.inference_mode():
        return network.standardise(torch.from_numpy(features).double()).numpy()


def without_texture(network: MeasuringNet) -> np.ndarray:
    """Return the columns that tell what galaxy a picture shows; texture tells how the picture was made."""
    return np.append(np.arange(network.n_shape), np.arange(network.n_measured, network.n_features))


def outputs_of(network: MeasuringNet, features: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of the network by name, from raw measurements."""
    with torch.inference_mode():
        answers = cast(Any, network).forward_head(torch.from_numpy(features).float())
    return {name: values.double().numpy() for name, values in answers._asdict().items()}
