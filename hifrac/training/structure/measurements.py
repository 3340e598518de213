"""What is measured on pictures, as they are and augmented."""

from __future__ import annotations

import numpy as np
import torch

from hifrac.models.structure import StructureNet
from hifrac.training.structure.ood import ALTERATIONS, as_read


def measure(network: StructureNet, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Raw measurements of pictures (n, width, width, 3), as float64 (n, measurements)."""
    batches = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            part = np.require(pixels[start : start + batch_size], requirements=["C", "W"])
            batch = torch.from_numpy(part).permute(0, 3, 1, 2)
            batches.append(network.measure(batch.float()).double().numpy())
    return np.concatenate(batches)


def with_ebv(measured: np.ndarray, ebv: np.ndarray) -> np.ndarray:
    """Features: the measurements of pictures, and their Galactic reddening; the mean where it is NaN.

    Parameters
    ----------
    measured : array of float, shape (n, measurements)
        From `measure`.
    ebv : array of float, shape (n,)
        E(B-V) in mag.
    """
    known = np.isfinite(ebv)
    return np.column_stack([measured, np.where(known, ebv, ebv[known].mean() if known.any() else 0.0)])


def altered_features(
    network: StructureNet, pixels: np.ndarray, rows: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Raw measurements (7, k, measurements) of the altered pictures of some rows.

    Each fold, shape (n,), by itself: no galaxy stands in the surroundings of one of another fold.
    """
    kinds = [*ALTERATIONS.values()]
    altered = np.empty((len(kinds), len(rows), network.n_measured))
    for number in np.unique(fold[rows]):
        part = np.flatnonzero(fold[rows] == number)
        for kind, alter in enumerate(kinds):
            altered[kind, part] = measure(network, as_read(alter(pixels[rows[part]])))
    return altered
