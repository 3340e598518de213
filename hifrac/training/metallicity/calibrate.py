"""The distributions of the metallicity: what evidence changes, and how wide they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.table import Table
from scipy.optimize import minimize
from sklearn.linear_model import RidgeCV

from hifrac.models.evidence_table import READINGS
from hifrac.models.metallicity_table import MetallicityTable
from hifrac.training.measuring.evidence import EVIDENCE, evidence_of, fit_differences
from hifrac.training.measuring.linear import PENALTIES
from hifrac.training.metallicity.heads import with_photometry, without_label

#: Standard deviations beyond which residuals do not widen the unit.
_CORNER = 3.0
_MASS = READINGS.index("log_mstar")


def rows_with(galaxies: Table, evidence: str) -> np.ndarray:
    """Return the numbers of the galaxies with a metallicity and all of some evidence."""
    rows = ~without_label(galaxies)
    return np.flatnonzero(rows & with_photometry(galaxies) if EVIDENCE[evidence] else rows)


def fit_table(outputs: dict[str, np.ndarray], galaxies: Table) -> MetallicityTable:
    """Fit the calibration to galaxies with metallicities, given held-out outputs of the network."""
    oh, ebv = np.asarray(galaxies["oh"]), np.asarray(galaxies["ebv"])
    mass = outputs["log_mstar"]
    table = replace(
        UNCALIBRATED,
        mass_center=float(mass.mean()),
        mass_scale=float(mass.std()),
        typical_ebv=float(ebv.mean()),
    )
    both = with_photometry(galaxies)
    part = {name: values[both] for name, values in outputs.items()}
    every = evidence_of(galaxies[both], ("log_cz", "magnitudes", "log_mstar"))
    table = replace(table, **fit_differences(table.differences(part, ebv[both], every)))
    table = _with_slopes(table, table.differences(part, ebv[both], every)[:, _MASS], part, oh[both])
    table = _with_unit(table, outputs, galaxies)
    scores = [
        (oh[rows] - location) / unit
        for rows, location, unit in (_answers(table, outputs, galaxies, name) for name in EVIDENCE)
    ]
    return replace(table.with_scores(np.concatenate(scores)), n=len(oh))


def _with_slopes(
    table: MetallicityTable, difference: np.ndarray, outputs: dict[str, np.ndarray], oh: np.ndarray
) -> MetallicityTable:
    """Fit how far the estimate moves with the mass beyond what the picture shows, (n,).

    Magnitudes and redshift, given beside the mass, make the error larger by 0.000 to 0.001 dex.
    """
    inputs = np.column_stack([difference, difference * table.standard_mass(outputs)]) / difference.std()
    fitted = RidgeCV(PENALTIES).fit(inputs, oh - outputs["estimate"])
    slope, change = fitted.coef_ / difference.std()
    return replace(table, slope=float(slope), slope_change=float(change))


def _answers(
    table: MetallicityTable, outputs: dict[str, np.ndarray], galaxies: Table, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of the rows that have all of some evidence, their locations and units."""
    rows = rows_with(galaxies, name)
    part = {key: values[rows] for key, values in outputs.items()}
    known = evidence_of(galaxies[rows], EVIDENCE[name])
    return rows, *table.location_and_unit(part, np.asarray(galaxies["ebv"])[rows], known)


def _with_unit(table: MetallicityTable, outputs: dict[str, np.ndarray], galaxies: Table) -> MetallicityTable:
    """Fit the error with all evidence, and its change with the mass, to all sets of evidence together."""
    oh = np.asarray(galaxies["oh"])

    def loss(log_unit: np.ndarray) -> float:
        tried = replace(table, log_unit=tuple(log_unit))
        total = 0.0
        for name in EVIDENCE:
            rows, location, unit = _answers(tried, outputs, galaxies, name)
            residual = oh[rows] - location
            most = _CORNER * 1.4826 * np.median(np.abs(residual))
            total += np.mean(np.log(unit) + 0.5 * (np.clip(residual, -most, most) / unit) ** 2)
        return total

    start = np.array([np.log(0.08), 0.0])
    fitted = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-5})
    return replace(table, log_unit=tuple(fitted.x))


#: Of a model that is not calibrated yet.
UNCALIBRATED = MetallicityTable(
    n=0,
    levels=(0.16, 0.84),
    score_quantiles=(-1.0, 1.0),
    evidence_covariance=tuple(map(tuple, np.eye(len(READINGS)).tolist())),
    evidence_mean=(0.0,) * len(READINGS),
    evidence_limits=(1e3,) * len(READINGS),
    slope=0.0,
    slope_change=0.0,
    mass_center=0.0,
    mass_scale=1.0,
    log_unit=(0.0, 0.0),
    typical_ebv=0.0,
)
