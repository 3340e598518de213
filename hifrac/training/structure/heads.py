"""The learned part of the structure network, fitted to measurements."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import Ridge

from hifrac.core.reddening import EXTINCTION_PER_EBV
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.posterior import PHOTOMETRY_LIMITS
from hifrac.models.structure import StructureNet
from hifrac.training.measuring.linear import (
    fit_logistic,
    fit_scale,
    set_head,
    set_state,
    standardised,
    without_texture,
)
from hifrac.training.measuring.photometry import fit_photometry

# Penalties, chosen in repeated cross-validation on folds of other seeds: the error of the HI fraction is the
# same to 1% from 12 to 80, and to choose anew in each fold costs 0.002 dex.
RIDGE_PENALTY = 40.0
AXIS_PENALTY = 30.0
GSWLC_PENALTY = 12.0
# The area under the curve is the same to 0.002 from 0.01 to 0.3.
DETECTION_INVERSE_PENALTY = 0.1
#: Unit of the log odds of the posterior, among the measurements.
LOG_ODDS = 3.0
# With 259 labels the HI fraction is read from these alone; the rest serve the other heads and the distance.
# Groups chosen by forward selection in repeated cross-validation on folds of other seeds; with all of them
# the error is larger by 0.0005 to 0.003 dex.
FRACTION_GROUPS = ("circles", "growth", "segment_shape", "colour_quantiles", "reddening")
#: With fewer masses of GSWLC-2 nothing is learned of them.
FEWEST_GSWLC = 20
#: What the prior reads, as `dereddened` gives it.
EVIDENCE_NAMES = ("g_minus_i", "i", "log_cz", "axis_ratio")
AXIS_RATIO = len(PHOTOMETRIC)  # its column, after the quantities of the photometry
G_MINUS_I, MAGNITUDE, LOG_CZ = 0, 1, 6
SHOWN = [G_MINUS_I, MAGNITUDE, LOG_CZ, AXIS_RATIO]  # of which `EVIDENCE_NAMES` are made


def fit_readings(network: StructureNet, features: np.ndarray, galaxies: Table) -> None:
    """Fit what is read off a picture beside the HI, in place: photometry, redshift, axis ratio."""
    fit_scale(network, features[galaxies["detected"]])
    quantities, axis_ratio = np.asarray(galaxies["photometry"]), np.asarray(galaxies["axis_ratio"])
    known = np.isfinite(quantities).any(1)
    fit_photometry(network.photometry, features[known], quantities[known])
    fit_axis_ratio(network, features, axis_ratio)


def fit_axis_ratio(network: StructureNet, features: np.ndarray, axis_ratio: np.ndarray) -> None:
    """Fit the axis ratio that a picture shows, in place, where it is known."""
    known = np.isfinite(axis_ratio)
    inputs = standardised(network, features[known])
    fitted = Ridge(AXIS_PENALTY).fit(inputs, axis_ratio[known])
    set_head(network.axis_ratio, np.arange(inputs.shape[1]), fitted.intercept_, fitted.coef_)


def readings(network: StructureNet, features: np.ndarray) -> np.ndarray:
    """Return `PHOTOMETRIC`, as observed, and the axis ratio, shape (n, 9), of pictures."""
    raw = torch.from_numpy(features).float()
    with torch.inference_mode():
        output = network.forward_head(raw)
        return torch.column_stack([network.photometry(raw), output.axis_ratio]).double().numpy()


@dataclass(frozen=True, eq=False)
class CrossReadings:
    """What is read off each picture by heads that did not see its fold.

    ``values``, (n_folds + 1, n, 9), are `readings`: in the first entries by heads that did not see the fold
    of that number either, so that what learns from them knows nothing of it. ``heads`` are the states of the
    photometry without one fold.
    """

    values: np.ndarray
    heads: list[dict[str, torch.Tensor]]


def cross_readings(
    network: StructureNet, features: np.ndarray, galaxies: Table, fold: np.ndarray
) -> CrossReadings:
    """Read the pictures across the folds; the heads of the network are overwritten."""
    n_folds = fold.max() + 1
    values = np.empty((n_folds + 1, len(fold), AXIS_RATIO + 1))
    heads = []
    for first, second in combinations_with_replacement(range(n_folds), 2):
        rest = (fold != first) & (fold != second)
        fit_readings(network, features[rest], galaxies[rest])
        for held_out, without in {(first, second), (second, first)}:
            rows = fold == held_out
            values[without, rows] = readings(network, features[rows])
        if first == second:
            values[n_folds, fold == first] = values[first, fold == first]
            heads.append({name: part.clone() for name, part in network.photometry.state_dict().items()})
    return CrossReadings(values, heads)


def fit_heads(network: StructureNet, features: np.ndarray, galaxies: Table, read: np.ndarray) -> StructureNet:
    """Fit what pictures tell of the HI fraction and of GSWLC-2, in place; return it in evaluation mode.

    Its prior and its photometry are fitted already. ``features``, (n, features), are raw measurements
    `with_ebv`; ``read``, (n, 9), are `readings` of the same pictures by heads that did not see them.
    """
    require_labels(galaxies)
    detected = np.asarray(galaxies["detected"])
    fit_scale(network, features[detected])
    fit_axis_ratio(network, features, np.asarray(galaxies["axis_ratio"]))
    standard = standardised(network, features)
    columns = StructureNet.columns(FRACTION_GROUPS)
    fit_residuals(network, standard[detected], galaxies[detected], read[detected])
    offset = np.asarray(galaxies["log_mstar"] - galaxies["log_mstar_gswlc"])
    with_mass = detected & np.isfinite(offset)
    set_head(network.gswlc_offset, [], 0.0, np.zeros(0))
    if with_mass.sum() >= FEWEST_GSWLC:
        fitted = Ridge(GSWLC_PENALTY).fit(standard[with_mass][:, columns], offset[with_mass])
        set_head(network.gswlc_offset, columns, float(fitted.intercept_), fitted.coef_)
    return network.eval()


def fit_detection_head(
    network: StructureNet, features: np.ndarray, galaxies: Table, log_odds: np.ndarray
) -> float:
    """Fit what tells detections from undetected galaxies, in place, beside the ``log_odds`` of the posterior.

    Returns the weight of these in the sum.
    """
    detected, shape = np.asarray(galaxies["detected"]), without_texture(network)
    rows = detected | np.asarray(galaxies["undetected"])
    inputs = np.column_stack([standardised(network, features[rows])[:, shape], log_odds[rows] / LOG_ODDS])
    intercept, coefficients = fit_logistic(inputs, detected[rows], DETECTION_INVERSE_PENALTY)
    set_head(network.detection, shape, intercept, coefficients[:-1])
    return float(coefficients[-1]) / LOG_ODDS


def require_labels(galaxies: Table) -> None:
    """Refuse what nothing can be learned from: too few galaxies, or targets not finite or all the same."""
    target = np.asarray(galaxies["log_hi_fraction"][galaxies["detected"]])
    if len(target) < 20 or galaxies["undetected"].sum() < 20:
        raise ValueError("detected must hold at least 20 detections and 20 non-detections")
    if not np.all(np.isfinite(target)) or np.ptp(target) == 0:
        raise ValueError("target must be finite and not constant")
    if np.isfinite(galaxies["photometry"]).any(1).sum() < 20:
        raise ValueError("photometry must be known of 20 pictures or more: is photometry_labels.ecsv there?")


def fit_residuals(network: StructureNet, standard: np.ndarray, galaxies: Table, read: np.ndarray) -> None:
    """Fit what the picture adds to the prior, for each set of evidence, in place.

    ``standard`` are measurements of detections, `standardised`; ``read`` as of `fit_heads`.
    """
    picture = dereddened(read, np.asarray(galaxies["ebv"]))
    table = {name: np.asarray(galaxies[name]) for name in EVIDENCE_NAMES}
    g_minus_i, i, log_cz, axis_ratio = picture
    with_redshift = (g_minus_i, i, table["log_cz"], axis_ratio)
    # What a catalogue lacks is the picture's, as when the model answers.
    with_photometry = tuple(
        np.where(np.isfinite(values), values, own)
        for values, own in zip(table.values(), picture, strict=True)
    )
    differences = [
        np.clip(values - own, -most, most)
        for values, own, most in zip(with_photometry, picture, PHOTOMETRY_LIMITS, strict=False)
    ]
    columns = StructureNet.columns(FRACTION_GROUPS)
    for name, evidence, extra in (
        ("picture", picture, read[:, :AXIS_RATIO]),
        ("redshift", with_redshift, (table["log_cz"] - log_cz)[:, None]),
        ("photometry", with_photometry, np.stack(differences, axis=1)),
    ):
        with torch.inference_mode():
            prior = network.prior(*map(torch.from_numpy, evidence)).numpy()
        center, scale = extra.mean(0), np.maximum(extra.std(0), 1e-6)
        both = np.column_stack([standard[:, columns], (extra - center) / scale])
        fitted = Ridge(RIDGE_PENALTY).fit(both, np.asarray(galaxies["log_hi_fraction"]) - prior)
        head = getattr(network.residual, name)
        last = np.arange(head.in_features - extra.shape[1], head.in_features)
        set_head(head, [*columns, *last], float(fitted.intercept_), fitted.coef_)
        set_state(head, extra_center=center, extra_scale=scale)


def dereddened(read: np.ndarray, ebv: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return g-i and i without the Galaxy's reddening, log10(cz) and b/a of `readings`."""
    in_g, in_i = (EXTINCTION_PER_EBV[band] * ebv for band in "gi")
    return read[:, G_MINUS_I] - in_g + in_i, read[:, MAGNITUDE] - in_i, read[:, LOG_CZ], read[:, AXIS_RATIO]
