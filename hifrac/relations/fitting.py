"""Relations fitted to your own galaxies: a line, and a random forest as a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from hifrac.core.measurements import parse_numbers
from hifrac.metrics import written_value
from hifrac.relations._common import (
    Relation,
    check,
    normal_percentiles,
    relation_result,
    same_length,
)

#: The random forests of Wu & Boada (2019, MNRAS 484, 4683) on the magnitudes g, r and i: that of Acquaviva
#: (2016), which their abstract quotes, and scikit-learn's default of that time, which their Figure 4 shows.
FORESTS = {
    "acquaviva2016": {"n_estimators": 40, "min_samples_leaf": 8, "random_state": 256},
    "default": {"n_estimators": 10, "random_state": 256},
}


@dataclass(frozen=True)
class LinearRelation:
    """A linear relation fitted to your own galaxies.

    Attributes
    ----------
    names : tuple of str
        The measurements.
    coefficients, errors : array of float, shape (k + 1,)
        One for each measurement, then the constant; with their standard errors.
    covariance : array of float, shape (k + 1, k + 1)
        Of the coefficients.
    scatter : float
        Standard deviation of the residuals (dex), k + 1 degrees of freedom taken off.
    ranges : dict of str to tuple of float
        The least and the greatest value of each measurement in the fit.
    rows, left_out : int
        How many galaxies the fit used, and how many it could not.

    Examples
    --------
    >>> from hifrac.relations import fit_linear_relation
    >>> fit = fit_linear_relation([0.9, 0.52, 0.08, -0.3], g_minus_r=[0.1, 0.3, 0.5, 0.7])
    >>> fit.predict(g_minus_r=[0.4, 1.2])["log_hi_fraction"].round(2).tolist()
    [0.3, None]
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    errors: np.ndarray
    covariance: np.ndarray
    scatter: float
    ranges: dict[str, tuple[float, float]]
    rows: int
    left_out: int

    def __str__(self) -> str:
        terms = [
            f"({written_value(value, error)}) {name}".rstrip()
            for value, error, name in zip(self.coefficients, self.errors, (*self.names, ""), strict=True)
        ]
        return f"log10(M_HI/M*) = {' + '.join(terms)}, scatter {self.scatter:.3g} dex, {self.rows} galaxies"

    def predict(self, **measurements: Any) -> QTable:
        """Estimate the HI mass fractions of other galaxies, as the published relations give them.

        Parameters
        ----------
        **measurements
            One array, column or quantity for each of ``names``.

        Returns
        -------
        table : `~astropy.table.QTable`
            As `zhang2009`. The percentiles hold the scatter and the error of the fit.

        Raises
        ------
        TypeError
            If measurements are missing or unknown, or not numbers.
        ValueError
            If their lengths differ.
        """
        if set(measurements) != set(self.names):
            raise TypeError(f"predict takes {', '.join(self.names)}, got {', '.join(measurements)}")
        inputs = {name: parse_numbers(measurements[name], name) for name in self.names}
        relation = Relation(
            "fit",
            "",
            str(self),
            self.ranges,
            "of the fit",
            self.scatter,
            "as fitted",
            "",
            "fit_linear_relation",
        )
        flags = check(inputs, relation)
        design = np.stack([*inputs.values(), np.ones(len(flags))], axis=1)
        estimate = design @ self.coefficients
        spread = np.sqrt(self.scatter**2 + np.einsum("ij,jk,ik->i", design, self.covariance, design))
        return relation_result(estimate, *normal_percentiles(estimate, spread), flags, relation)


def fit_linear_relation(log_hi_fraction: Any, *, weights: Any = None, **measurements: Any) -> LinearRelation:
    """Fit a linear relation: the coefficients of a published one for your own sample.

    Parameters
    ----------
    log_hi_fraction : array-like, column or `~astropy.units.Quantity`, shape (n,)
        Measured HI mass fractions (dex). Upper limits must be left out; the relation is then one of
        detections.
    weights : array-like, shape (n,), optional
        Weight of each galaxy, not negative, for instance one over its variance. Their scale does not matter.
    **measurements
        What the relation is linear in, by name: one array, column or quantity each.

    Returns
    -------
    relation : LinearRelation
        Coefficients by least squares, with errors from the scatter around them.

    Raises
    ------
    TypeError
        If there is no measurement, or one is not numbers.
    ValueError
        If the lengths differ, weights are negative, there are too few galaxies, or measurements do not vary
        on their own.

    Examples
    --------
    >>> from hifrac.relations import fit_linear_relation
    >>> fit = fit_linear_relation([0.9, 0.52, 0.08, -0.3], g_minus_r=[0.1, 0.3, 0.5, 0.7])
    >>> print(fit)
    log10(M_HI/M*) = (-2.020 ± 0.042) g_minus_r + (1.108 ± 0.019), scatter 0.019 dex, 4 galaxies
    """
    if not measurements:
        raise TypeError("fit_linear_relation needs at least one measurement, for instance g_minus_r=...")
    target = parse_numbers(log_hi_fraction, "log_hi_fraction", u.dex)
    inputs = {name: parse_numbers(values, name) for name, values in measurements.items()}
    weight = np.ones(len(target)) if weights is None else parse_numbers(weights, "weights")
    same_length({"log_hi_fraction": target, **inputs, "weights": weight})
    if np.any(weight < 0):
        raise ValueError(f"weights must not be negative, got {np.nanmin(weight):g}")
    good = np.all(np.isfinite([target, weight, *inputs.values()]), axis=0) & (weight > 0)
    design = np.stack([*inputs.values(), np.ones(len(target))], axis=1)[good]
    freedom = len(design) - design.shape[1]
    if freedom < 1:
        raise ValueError(
            f"log_hi_fraction: {len(design)} usable galaxies are too few for {design.shape[1]} coefficients"
        )
    root = np.sqrt(weight[good] / weight[good].mean())[:, None]
    coefficients, _, rank, _ = np.linalg.lstsq(design * root, target[good] * root[:, 0], rcond=None)
    if rank < design.shape[1]:
        raise ValueError(f"the measurements {', '.join(inputs)} do not vary independently of each other")
    residuals = target[good] - design @ coefficients
    variance = np.sum((residuals * root[:, 0]) ** 2) / freedom
    covariance = variance * np.linalg.inv((design * root).T @ (design * root))
    return LinearRelation(
        tuple(inputs),
        coefficients,
        np.sqrt(np.diag(covariance)),
        covariance,
        float(np.sqrt(np.sum(residuals**2) / freedom)),
        {name: (float(values[good].min()), float(values[good].max())) for name, values in inputs.items()},
        int(good.sum()),
        int((~good).sum()),
    )


def cross_validate_forest(
    target: Any, fold: Any, *, settings: str = "acquaviva2016", **measurements: Any
) -> np.ndarray:
    """Estimate each galaxy by a random forest that was fitted to the galaxies of the other folds.

    Parameters
    ----------
    target : array-like or column, shape (n,)
        What is estimated, for instance 12 + log10(O/H).
    fold : array-like of int, shape (n,)
        The fold that holds each galaxy out; at least two.
    settings : {"acquaviva2016", "default"}, optional
        The forest of Acquaviva (2016), 40 trees of at least 8 galaxies a leaf, or scikit-learn's of 2018, 10
        trees of single galaxies. Of Wu & Boada (2019): RMSE 0.130 and 0.138 dex by the magnitudes g, r and i.
    **measurements
        What the forest sees, by name: one array, column or quantity each.

    Returns
    -------
    estimate : array of float, shape (n,)
        NaN where the target or a measurement is missing: such galaxies are not fitted to, either.

    Raises
    ------
    TypeError
        If there is no measurement, or one is not numbers.
    ValueError
        If the lengths differ, the settings are unknown, or a fold leaves no galaxy to fit to.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.relations import cross_validate_forest
    >>> magnitude = np.linspace(14, 18, 200)
    >>> estimate = cross_validate_forest(9.5 - 0.04 * magnitude, np.arange(200) % 5, r=magnitude)
    >>> float(np.abs(estimate - (9.5 - 0.04 * magnitude)).max().round(2))
    0.01
    """
    from sklearn.ensemble import RandomForestRegressor

    if settings not in FORESTS:
        raise ValueError(f"settings must be one of {', '.join(FORESTS)}, got {settings!r}")
    if not measurements:
        raise TypeError("cross_validate_forest needs at least one measurement, for instance r=...")
    values = parse_numbers(target, "target")
    inputs = {name: parse_numbers(column, name) for name, column in measurements.items()}
    folds = np.atleast_1d(np.asarray(fold))
    same_length({"target": values, "fold": folds, **inputs})
    design = np.stack(list(inputs.values()), axis=1)
    usable = np.isfinite(values) & np.isfinite(design).all(axis=1)
    estimate = np.full(len(values), np.nan)
    for number in np.unique(folds[usable]):
        fitted, held_out = usable & (folds != number), usable & (folds == number)
        if not fitted.any():
            raise ValueError(f"fold: all usable galaxies are in the fold {number}")
        forest = RandomForestRegressor(**FORESTS[settings]).fit(design[fitted], values[fitted])
        estimate[held_out] = forest.predict(design[held_out])
    return estimate
