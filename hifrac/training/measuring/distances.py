"""The distances from the training set, where they end, and what they tell of pictures beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from astropy.table import Table
from sklearn.covariance import LedoitWolf

from hifrac.models.detection import DetectionTable
from hifrac.models.measuring import MeasuringNet
from hifrac.training.measuring.galaxies import Galaxies
from hifrac.training.measuring.linear import fit_logistic, set_state
from hifrac.training.measuring.measurements import Measurements, measure
from hifrac.training.measuring.ood import AUGMENTATIONS_OOD, HARMLESS, as_read, ood_pictures
from hifrac.training.tables import formatted

# Inverse penalties of what tells augmented pictures: swapped bands, and other pixel scales. These and the
# edges were chosen on such pictures of another fold than the one that the model's table reports.
BAND_INVERSE_PENALTY = 0.03
SCALE_INVERSE_PENALTY = 1.0
#: Held-out pictures within the edge of each distance, in percent: shape, texture, and each augmentation.
EDGE_PERCENTILES = (98.0, 99.0, *(99.5 if "scale" in name else 99.8 for name in AUGMENTATIONS_OOD))
#: The same of harmless pictures: a blur is half the way to twice the size, where real ones are sharp.
HARMLESS_PERCENTILE = 99.0
#: Pictures farther out than 97% of held-out training pictures are flagged.
OOD_PERCENTILE = 97.0
#: Of whose galaxies the out-of-distribution tests are made: not those on which the distances were designed.
OOD_FOLD = 1
PERCENTILES = (*range(100), 99.5, 99.9, 100)


def fit_distances(
    network: MeasuringNet, measured: Measurements, labelled: np.ndarray, rows: np.ndarray | None = None
) -> None:
    """Fit the distances from the training set, in place; labelled galaxies weigh as much as the rest.

    Of some rows, a mask, or of all. Harmless augmented pictures belong to the rest.
    """
    rows = np.ones(len(labelled), dtype=bool) if rows is None else rows
    features, labelled, augmented = measured.features[rows], labelled[rows], measured.augmented_of(rows)
    harmless = np.concatenate([augmented[name] for name in HARMLESS])
    features = np.concatenate([features[:, : network.n_measured], harmless])
    labelled = np.concatenate([labelled, np.zeros(len(harmless), dtype=bool)])
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
    weights = np.where(labelled, 0.5 / max(labelled.sum(), 1), 0.5 / max((~labelled).sum(), 1))
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


def distances_of(network: MeasuringNet, features: np.ndarray) -> np.ndarray:
    """Return the distances, (n, 9), not yet divided by their edges, of raw measurements."""
    with torch.inference_mode():
        return network.distances(torch.from_numpy(features).float()).numpy()


def set_edge(
    network: MeasuringNet,
    distances: np.ndarray,
    labelled: np.ndarray,
    others: np.ndarray,
    harmless: np.ndarray,
) -> np.ndarray:
    """Put the edge of each distance, in place, and return what the network then calls ``distance``, (n,).

    Few held-out pictures lie beyond: few of the real ones, (n, 9), of which two masks count alike, and few
    of those that are altered and harmless, (k, 9).
    """
    edge = [
        np.percentile(balanced(column, labelled, others), percent)
        for column, percent in zip(distances.T, EDGE_PERCENTILES, strict=True)
    ]
    edges = np.maximum(edge, np.percentile(harmless, HARMLESS_PERCENTILE, axis=0))
    set_state(network, edge=edges)
    return (distances / edges).max(1)


def balanced(values: np.ndarray, labelled: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Draw values of labelled and of other galaxies, given as masks, such that both count alike."""
    levels = np.linspace(0, 1, 2001)
    return np.concatenate([np.quantile(values[mask], levels) for mask in (labelled, others)])


def percentiles_of(distance: np.ndarray, labelled: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Return the facts of a `DetectionTable` that make ``ood_score`` of a distance; two masks count alike."""
    distances = tuple(np.percentile(balanced(distance, labelled, others), PERCENTILES))
    return {"percentiles": PERCENTILES, "distances": distances, "ood_threshold": OOD_PERCENTILE}


def ood_tests_table(
    network: MeasuringNet,
    galaxies: Galaxies,
    labelled: np.ndarray,
    fold: np.ndarray,
    measured: Measurements,
    detection: DetectionTable,
    held_out: dict[str, np.ndarray],
) -> Table:
    """Count what is flagged of pictures made of the galaxies of a fold that the distances do not know.

    ``labelled`` is a mask; ``held_out`` are distances of real galaxies, by what they are.
    """
    rest = fold != OOD_FOLD
    fit_distances(network, measured, labelled, rest)
    pixels = galaxies.pixels[measured.augmented_rows[~rest[measured.augmented_rows]]]
    rng = np.random.default_rng(0)
    made = {name: make(pixels) for name, make in HARMLESS.items()} | ood_pictures(pixels, rng)
    rows = [(f"{name}, held out", True, values) for name, values in held_out.items()]
    for name, pictures in made.items():
        values = (distances_of(network, measure(network, as_read(pictures))) / network.edge.numpy()).max(1)
        rows.append((name, name in HARMLESS, values))
    flagged = [
        {
            "pictures": name,
            "real": real,
            "n": len(values),
            "flagged": np.mean(detection.ood_score(values) >= detection.ood_threshold),
        }
        for name, real, values in rows
        if len(values)
    ]
    return formatted(Table(rows=flagged), first=3)
