"""The distances from the training set, and where they end."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from hifrac.models.structure import StructureNet
from hifrac.training.structure.linear import fit_logistic, set_state
from hifrac.training.structure.ood import AUGMENTATIONS_OOD, HARMLESS

# Inverse penalties of what tells augmented pictures: swapped bands, and other pixel scales. These and the
# edges were chosen on such pictures of another fold than the one that the model's table reports.
BAND_INVERSE_PENALTY = 0.03
SCALE_INVERSE_PENALTY = 1.0
#: Held-out pictures within the edge of each distance, in percent: shape, texture, and each augmentation.
EDGE_PERCENTILES = (98.0, 99.0, *(99.5 if "scale" in name else 99.8 for name in AUGMENTATIONS_OOD))
#: The same of harmless pictures: a blur is half the way to twice the size, where real ones are sharp.
HARMLESS_PERCENTILE = 99.0


def fit_distances(
    network: StructureNet, features: np.ndarray, detected: np.ndarray, augmented: dict[str, np.ndarray]
) -> None:
    """Fit the distances from the training set, in place; detections weigh as much as the rest.

    ``augmented``, by name (k, measurements), are as of `Measurements`: harmless ones belong to the rest.
    """
    harmless = np.concatenate([augmented[name] for name in HARMLESS])
    features = np.concatenate([features[:, : network.n_measured], harmless])
    detected = np.concatenate([detected, np.zeros(len(harmless), dtype=bool)])
    low, typical, high = np.quantile(features, [0.16, 0.5, 0.84], axis=0)
    spread = np.maximum(0.5 * (high - low), 1e-6)
    set_state(network, typical=typical, spread=spread, location=np.zeros(len(typical)))
    with torch.inference_mode():
        real = network.compress(torch.from_numpy(features)).numpy()
        false = {
            name: network.compress(torch.from_numpy(augmented[name])).numpy() for name in AUGMENTATIONS_OOD
        }
    location = real.mean(0)
    real = real - location
    n_shape = network.n_shape
    # Shrunk covariance (Ledoit & Wolf 2004): many of the measurements are nearly collinear.
    roots = [
        np.linalg.cholesky(LedoitWolf().fit(part).precision_)
        for part in (real[:, :n_shape], real[:, n_shape:])
    ]
    weights = np.where(detected, 0.5 / max(detected.sum(), 1), 0.5 / max((~detected).sum(), 1))
    offsets, directions = [], []
    for name, unreal in false.items():
        penalty = SCALE_INVERSE_PENALTY if "scale" in name else BAND_INVERSE_PENALTY
        inputs = np.concatenate([real, unreal - location])
        # The weights have a mean of one, for the penalty counts against their sum.
        balance = np.concatenate([weights, np.full(len(unreal), 1 / len(unreal))]) * len(inputs) / 2
        offset, direction = fit_logistic(inputs, np.arange(len(inputs)) >= len(real), penalty, balance)
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
