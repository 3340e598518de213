"""What tables would tell of galaxies beside their pictures, and how that differs from what these show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from astropy.table import Table

from hifrac.core.evidence import Evidence
from hifrac.core.reddening import EXTINCTION_PER_EBV

#: What a table may say, by what it is called.
EVIDENCE = {
    "picture": (),
    "picture+z": ("log_cz",),
    "picture+photometry": ("magnitudes",),
    "picture+z+photometry": ("log_cz", "magnitudes"),
    "picture+log_mstar": ("log_mstar",),
    "picture+z+photometry+log_mstar": ("log_cz", "magnitudes", "log_mstar"),
}
#: Differences farther from their mean, in standard deviations, are moved there.
LIMIT = 4.0


def evidence_of(galaxies: Table, names: tuple[str, ...]) -> Evidence:
    """Return what a table would say of galaxies if it had some columns."""
    g_minus_i, i, u_minus_g, g_minus_r, _, i_minus_z, log_cz, log_mstar = np.asarray(galaxies["photometry"]).T
    g = g_minus_i + i
    magnitudes = np.stack([u_minus_g + g, g, g - g_minus_r, i, i - i_minus_z], axis=1)
    dust = np.asarray(galaxies["ebv"])[:, None] * [EXTINCTION_PER_EBV[band] for band in "ugriz"]
    columns = {"magnitudes": magnitudes - dust, "log_cz": log_cz, "log_mstar": log_mstar}
    return replace(Evidence.none(len(galaxies)), **{name: columns[name] for name in names})


def limited(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return differences (n, k) less their mean and limited, the mean, and the limits, (k,) each."""
    middle = np.median(differences, axis=0)
    limits = LIMIT * 1.4826 * np.median(np.abs(differences - middle), axis=0)
    parts = np.clip(differences - middle, -limits, limits)
    mean = parts.mean(axis=0)
    return parts - mean, middle + mean, limits


def fit_differences(differences: np.ndarray) -> dict[str, Any]:
    """Fit mean, limits and covariance of the differences (n, 7) between catalogue and picture.

    Returns facts of an `~hifrac.models.evidence_table.EvidenceTable`.
    """
    parts, mean, limits = limited(differences)
    covariance = np.cov(parts, rowvar=False)
    return {
        "evidence_mean": tuple(mean),
        "evidence_limits": tuple(limits),
        "evidence_covariance": tuple(map(tuple, covariance.tolist())),
    }
