"""The distributions of spectra: what evidence changes, and how wide they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.table import Table

from hifrac.models.calibration import SCORE_LEVELS, conformal_quantiles
from hifrac.models.evidence_table import READINGS
from hifrac.models.spectrum_table import LATENTS, RATIOS, SpectrumTable
from hifrac.spectra import LinearLatents
from hifrac.training.measuring.evidence import EVIDENCE, evidence_of, fit_differences, limited
from hifrac.training.spectra.sample import FEWEST, with_template

#: One pixel of so many is looked at: templates are smooth.
STEP = 20
#: The covariances of lines are of a hundred galaxies, and noisy: this share of them counts.
LINE_SHARE = 0.5


def fit_table(
    outputs: dict[str, np.ndarray], galaxies: Table, residuals: np.ndarray, space: LinearLatents
) -> SpectrumTable:
    """Fit the calibration to held-out outputs of the network, and residuals (n, 3) of `MEASURED`."""
    line, *ratios = (conformal_quantiles(values[np.isfinite(values)], SCORE_LEVELS) for values in residuals.T)
    table = replace(
        UNCALIBRATED,
        n_lines=int(np.isfinite(residuals[:, 0]).sum()),
        levels=SCORE_LEVELS,
        flux_quantiles=SCORE_LEVELS,
        line_quantiles=line,
        ratio_quantiles=tuple(ratios),
        typical_ebv=float(np.mean(galaxies["ebv"])),
    )
    rows = with_template(galaxies)
    galaxies, outputs = galaxies[rows], {name: values[rows] for name, values in outputs.items()}
    table = _with_covariances(table, outputs, galaxies, residuals[rows])
    part = LinearLatents(space.basis[:, ::STEP], space.mean[::STEP])
    truth = part.decode(np.asarray(galaxies["latents"]))
    scores = []
    for names in EVIDENCE.values():
        known, ebv = evidence_of(galaxies, names), np.asarray(galaxies["ebv"])
        location, unit = table.flux_location_and_unit(part, outputs, ebv, known)
        scores.append(((truth - location) / unit).ravel())
    quantiles = conformal_quantiles(np.concatenate(scores), SCORE_LEVELS)
    return replace(table, n=len(galaxies), flux_quantiles=quantiles)


def _with_covariances(
    table: SpectrumTable, outputs: dict[str, np.ndarray], galaxies: Table, residuals: np.ndarray
) -> SpectrumTable:
    """Fit the covariances of what pictures miss in readings, in latents and in lines."""
    every = evidence_of(galaxies, ("log_cz", "magnitudes", "log_mstar"))
    differences = table.differences(outputs, np.asarray(galaxies["ebv"]), every)
    shown = np.stack([outputs[name] for name in LATENTS], axis=1)
    missed, mean, _ = limited(np.asarray(galaxies["latents"]) - shown)
    n = len(READINGS)
    parts = limited(differences)[0]
    covariance = np.cov(np.column_stack([parts, missed]), rowvar=False)
    of_lines = np.stack([_covariance_with(parts, values) for values in residuals.T], axis=1)
    return replace(
        table,
        latent_mean=tuple(mean),
        latent_covariance=tuple(map(tuple, covariance[n:, n:].tolist())),
        cross_covariance=tuple(map(tuple, covariance[:n, n:].tolist())),
        line_covariance=tuple(map(tuple, (LINE_SHARE * of_lines).tolist())),
        **fit_differences(differences),
    )


def _covariance_with(parts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the covariances (k,) of differences (n, k) with values that only some rows have; 0 with few."""
    rows = np.isfinite(values)
    if rows.sum() < FEWEST:
        return np.zeros(parts.shape[1])
    both = np.column_stack([parts[rows], limited(values[rows, None])[0]])
    return np.cov(both, rowvar=False)[:-1, -1]


#: Of a model that is not calibrated yet.
UNCALIBRATED = SpectrumTable(
    n=0,
    n_lines=0,
    levels=(0.16, 0.84),
    flux_quantiles=(-1.0, 1.0),
    line_quantiles=(-1.0, 1.0),
    ratio_quantiles=((-1.0, 1.0),) * len(RATIOS),
    latent_mean=(0.0,) * len(LATENTS),
    latent_covariance=tuple(map(tuple, np.eye(len(LATENTS)).tolist())),
    cross_covariance=((0.0,) * len(LATENTS),) * len(READINGS),
    line_covariance=((0.0,) * (1 + len(RATIOS)),) * len(READINGS),
    evidence_covariance=tuple(map(tuple, np.eye(len(READINGS)).tolist())),
    evidence_mean=(0.0,) * len(READINGS),
    evidence_limits=(1e3,) * len(READINGS),
    typical_ebv=0.0,
)
