"""The distributions of spectra: what evidence changes, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from astropy.table import Table

from hifrac.models.calibration import SCORE_LEVELS, conformal_quantiles
from hifrac.models.evidence_table import READINGS
from hifrac.models.spectrum_table import LATENTS, RATIOS, SpectrumTable
from hifrac.spectra import LinearLatents
from hifrac.training.spectra.sample import with_template
from hifrac.training.structure.evidence import EVIDENCE, evidence_of, fit_differences, limited

#: One pixel of so many is looked at: templates are smooth.
STEP = 20


def fit_table(
    outputs: dict[str, np.ndarray], galaxies: Table, residuals: Sequence[np.ndarray], space: LinearLatents
) -> SpectrumTable:
    """Fit the calibration to held-out outputs of the network, and residuals of the three `MEASURED`."""
    line, *ratios = (conformal_quantiles(values, SCORE_LEVELS) for values in residuals)
    table = replace(
        UNCALIBRATED,
        n_lines=len(residuals[0]),
        levels=SCORE_LEVELS,
        flux_quantiles=SCORE_LEVELS,
        line_quantiles=line,
        ratio_quantiles=tuple(ratios),
        typical_ebv=float(np.mean(galaxies["ebv"])),
    )
    rows = with_template(galaxies)
    galaxies, outputs = galaxies[rows], {name: values[rows] for name, values in outputs.items()}
    table = _with_covariances(table, outputs, galaxies)
    part = LinearLatents(space.basis[:, ::STEP], space.mean[::STEP])
    truth = part.decode(np.asarray(galaxies["latents"]))
    scores = []
    for names in EVIDENCE.values():
        known, ebv = evidence_of(galaxies, names), np.asarray(galaxies["ebv"])
        location, unit = table.flux_location_and_unit(part, outputs, ebv, known)
        scores.append(((truth - location) / unit).ravel())
    quantiles = conformal_quantiles(np.concatenate(scores), SCORE_LEVELS)
    return replace(table, n=len(galaxies), flux_quantiles=quantiles)


def _with_covariances(table: SpectrumTable, outputs: dict[str, np.ndarray], galaxies: Table) -> SpectrumTable:
    """Fit the covariances of what pictures miss in readings and in latents."""
    every = evidence_of(galaxies, ("log_cz", "magnitudes", "log_mstar"))
    differences = table.differences(outputs, np.asarray(galaxies["ebv"]), every)
    shown = np.stack([outputs[name] for name in LATENTS], axis=1)
    missed, mean, _ = limited(np.asarray(galaxies["latents"]) - shown)
    n = len(READINGS)
    covariance = np.cov(np.column_stack([limited(differences)[0], missed]), rowvar=False)
    return replace(
        table,
        latent_mean=tuple(mean),
        latent_covariance=tuple(map(tuple, covariance[n:, n:].tolist())),
        cross_covariance=tuple(map(tuple, covariance[:n, n:].tolist())),
        **fit_differences(differences),
    )


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
    evidence_covariance=tuple(map(tuple, np.eye(len(READINGS)).tolist())),
    evidence_mean=(0.0,) * len(READINGS),
    evidence_limits=(1e3,) * len(READINGS),
    typical_ebv=0.0,
)
