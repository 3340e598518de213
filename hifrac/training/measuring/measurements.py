"""What is measured on pictures, as they are and augmented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hifrac.models.measuring import MeasuringNet
from hifrac.training.measuring.galaxies import Galaxies
from hifrac.training.measuring.ood import AUGMENTATIONS_OOD, HARMLESS, as_read

#: Unlabelled galaxies whose augmented pictures the distance learns from, beside all labelled ones.
N_AUGMENTED = 700


@dataclass(frozen=True)
class Measurements:
    """Raw measurements (n, features) of all pictures and their reddening.

    ``augmented``, by name (k, measurements), are of pictures that `AUGMENTATIONS_OOD` and `HARMLESS` made of
    ``augmented_rows``.
    """

    features: np.ndarray
    augmented: dict[str, np.ndarray]
    augmented_rows: np.ndarray

    def augmented_of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the measurements of augmented pictures of some rows, a mask of shape (n,)."""
        return {name: values[rows[self.augmented_rows]] for name, values in self.augmented.items()}


def measure_all(
    network: MeasuringNet,
    galaxies: Galaxies,
    labelled: np.ndarray,
    others: np.ndarray,
    fold: np.ndarray,
    seed: int,
) -> Measurements:
    """Measure the pictures, and augmented ones of labelled galaxies and of enough others, two masks."""
    pixels = galaxies.pixels
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(others))[:N_AUGMENTED]
    rows = np.sort(np.concatenate([np.flatnonzero(labelled), chosen]))
    features = with_ebv(measure(network, pixels), np.asarray(galaxies.table["ebv"]))
    return Measurements(features, augmented_features(network, pixels, rows, fold), rows)


def measure(network: MeasuringNet, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Measure pictures (n, width, width, 3): raw float64 (n, measurements)."""
    batches = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            part = np.require(pixels[start : start + batch_size], requirements=["C", "W"])
            batch = torch.from_numpy(part).permute(0, 3, 1, 2)
            batches.append(network.measure(batch.float()).double().numpy())
    return np.concatenate(batches)


def with_ebv(measured: np.ndarray, ebv: np.ndarray) -> np.ndarray:
    """Append the Galactic reddening E(B-V), shape (n,), to raw measurements; its mean where it is NaN."""
    is_finite = np.isfinite(ebv)
    mean = ebv[is_finite].mean() if is_finite.any() else 0.0
    return np.column_stack([measured, np.where(is_finite, ebv, mean)])


def largest_reddening(ebv: np.ndarray) -> float | None:
    """Return the largest E(B-V) that is known, rounded up to 0.001 mag: beyond it nothing was learned."""
    known = ebv[np.isfinite(ebv)]
    return float(np.ceil(known.max() * 1000) / 1000) if known.size else None


def augmented_features(
    network: MeasuringNet, pixels: np.ndarray, rows: np.ndarray, fold: np.ndarray
) -> dict[str, np.ndarray]:
    """Measure the augmented pictures of some rows: by the name of the augmentation, raw (k, measurements).

    Each fold, shape (n,), by itself: no galaxy stands in the surroundings of one of another fold.
    """
    augmentations = AUGMENTATIONS_OOD | HARMLESS
    augmented = {name: np.empty((len(rows), network.n_measured)) for name in augmentations}
    for number in np.unique(fold[rows]):
        part = np.flatnonzero(fold[rows] == number)
        for name, augment in augmentations.items():
            augmented[name][part] = measure(network, as_read(augment(pixels[rows[part]])))
    return augmented


def radial_colours(features: np.ndarray) -> np.ndarray:
    """Return the mean red, green and blue in 14 circular annuli: the first 42 measurements."""
    return features[:, MeasuringNet.columns(("circles",))]
