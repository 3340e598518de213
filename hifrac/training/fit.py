"""Fitting the heads of the structure network, and cross-validating the fit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.special import log_ndtr
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from hifrac.models.structure import StructureNet
from hifrac.training.augmentations_ood import ALTERATIONS, as_read
from hifrac.training.data import DeepSample, TrainingSample, sky_groups

__all__ = [
    "Labels",
    "OutOfFold",
    "assign_folds",
    "censored_ridge",
    "combine",
    "cross_validate",
    "fit_distances",
    "fit_heads",
    "fit_spread",
    "measure",
    "require_labels",
    "set_edges",
    "set_head",
    "with_ebv",
    "without_texture",
]

# Penalties, chosen in repeated cross-validation on folds of other seeds. The error of the HI fraction
# is the same to 1% from 6 to 40, and to choose anew in each fold only adds noise.
RIDGE_PENALTY = 12.0
# Galaxies that ALFALFA missed tell the estimate how far down it may go. They scatter by about 0.45 dex
# where detections do by 0.18: (0.18 / 0.45)^2 is about their weight. More would serve them at the cost
# of the detections, less the other way round.
GAS_POOR_SCATTER = 0.45
GAS_POOR_WEIGHT = 0.15
_MOST_STEPS = 1000
# The area under the curve is the same to 0.002 from 0.01 to 0.3.
DETECTION_INVERSE_PENALTY = 0.1
GAS_POOR_INVERSE_PENALTY = 0.3
SPREAD_PENALTY = 30.0

# With 259 labels the HI fraction is read from these alone; the rest serve the
# other heads and the distance. Groups chosen by forward selection in repeated
# cross-validation on folds of other seeds.
FRACTION_GROUPS = ("circles", "growth", "segment_shape", "colour_quantiles", "reddening")
SPREAD_GROUPS = ("ellipse", "flux", "segment_shape")

#: Galaxies that ALFALFA missed: with fewer in training the network says nothing of them.
FEWEST_GAS_POOR = 10
#: With fewer masses of GSWLC-2 it says nothing of them.
FEWEST_GSWLC = 20

# Inverse penalties of what tells altered pictures: swapped bands, and other pixel scales. These and the edges
# were chosen on strange pictures of another fold than the one that the model's table reports.
BAND_INVERSE_PENALTY = 0.03
SCALE_INVERSE_PENALTY = 1.0

#: Held-out pictures within the edge of each distance, in percent: shape, texture, and each alteration.
EDGE_PERCENTILES = (98.0, 99.0, *(99.5 if "scale" in name else 99.8 for name in ALTERATIONS))


@dataclass(frozen=True)
class Labels:
    """What is known of galaxies; arrays of shape (n,).

    Attributes
    ----------
    detected, undetected : array of bool
        Whether ALFALFA detected the galaxy, or missed it although it is bright; for some neither holds.
    gas_poor : array of bool
        Whether a deeper survey measured what ALFALFA missed.
    log_hi_fraction : array of float
        log10(M_HI / M*) of ``detected`` and ``gas_poor`` galaxies, NaN elsewhere.
    is_limit : array of bool
        Where that is an upper limit.
    gswlc_offset : array of float
        As of `~hifrac.training.data.TrainingSample`.
    ebv : array of float
        Galactic reddening E(B-V) in mag, NaN where unknown.
    group : array of int
        Galaxies of one group are never on both sides of a split.
    """

    detected: np.ndarray
    undetected: np.ndarray
    gas_poor: np.ndarray
    log_hi_fraction: np.ndarray
    is_limit: np.ndarray
    gswlc_offset: np.ndarray
    ebv: np.ndarray
    group: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Labels:
        return Labels(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})

    def __len__(self) -> int:
        return len(self.group)


def combine(
    sample: TrainingSample, beyond: DeepSample | None, fold: np.ndarray
) -> tuple[np.ndarray, Labels, np.ndarray]:
    """One list of galaxies out of two that overlap: the sample's, then what is new.

    Parameters
    ----------
    sample : TrainingSample
        Detections and undetected galaxies.
    beyond : DeepSample or None
        Galaxies measured beyond ALFALFA, most of them undetected ones of the sample.
    fold : array of int, shape (n,)
        The fold of each galaxy of the sample.

    Returns
    -------
    pixels : array of uint8, shape (m, width, width, 3)
        The pictures.
    labels : Labels
        What is known of the m galaxies.
    fold : array of int, shape (m,)
        Their folds: those of the sample, and for new galaxies that of their
        group, or any one.
    """
    n = len(sample.objid)
    where = {name: row for row, name in enumerate(sample.objid)}
    new = np.array([] if beyond is None else [name not in where for name in beyond.objid], dtype=bool)
    extra = int(new.sum())
    bad = np.full(extra, np.nan)
    log_hi_fraction = np.concatenate([sample.log_hi_fraction, bad])
    gas_poor, is_limit = np.zeros(n + extra, dtype=bool), np.zeros(n + extra, dtype=bool)
    pixels, group, ebv = sample.pixels, sample.group, sample.ebv.copy()
    if beyond is not None:
        places = iter(range(n, n + extra))
        rows = np.array([where[name] if name in where else next(places) for name in beyond.objid])
        if np.any(sample.detected[rows[rows < n]]):
            raise ValueError("beyond holds galaxies that are detections of the sample")
        gas_poor[rows], is_limit[rows] = True, beyond.is_limit
        log_hi_fraction[rows] = beyond.log_hi_fraction
        pixels = np.concatenate([pixels, beyond.pixels[new]])
        ebv[rows[rows < n]] = beyond.ebv[rows < n]
        ebv = np.concatenate([ebv, beyond.ebv[new]])
        # Of the sample's undetected galaxies RESOLVE knows where they are.
        known = {axis: getattr(sample, axis).copy() for axis in ("ra", "dec")}
        for axis, values in known.items():
            values[rows[rows < n]] = getattr(beyond, axis)[rows < n]
        positions = [np.concatenate([known[axis], getattr(beyond, axis)[new]]) for axis in ("ra", "dec")]
        linked = sky_groups(np.concatenate([sample.objid, beyond.objid[new]]), *positions)
        # A group takes the fold of its first galaxy that has one; a wholly new one any.
        fold = np.concatenate([fold, np.full(extra, -1)])
        for number, label in enumerate(np.unique(linked[rows])):
            kin = np.flatnonzero(linked == label)
            placed = fold[kin][fold[kin] >= 0]
            fold[kin] = placed[0] if placed.size else number % (fold.max() + 1)
        group = linked
    detected = np.concatenate([sample.detected, np.zeros(extra, dtype=bool)])
    labels = Labels(
        detected=detected,
        undetected=~detected & (np.arange(n + extra) < n),
        gas_poor=gas_poor,
        log_hi_fraction=log_hi_fraction,
        is_limit=is_limit,
        gswlc_offset=np.concatenate([sample.gswlc_offset, bad]),
        ebv=ebv,
        group=group,
    )
    return pixels, labels, fold


@dataclass(frozen=True)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group.

    Attributes
    ----------
    outputs : dict of str to array of float, shape (n,)
        As `~hifrac.models.structure.NetworkOutput`, by name.
    distances : array of float, shape (n, 9)
        The distances, before they are divided by their edges.
    fold : array of int, shape (n,)
        The fold in which the row was held out.
    """

    outputs: dict[str, np.ndarray]
    distances: np.ndarray
    fold: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of some rows."""
        return {name: values[rows] for name, values in self.outputs.items()}


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


def assign_folds(detected: np.ndarray, group: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The fold, 0 to n_folds - 1, that holds each row out; groups are never split."""
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.empty(len(detected), dtype=int)
    for number, (_, held_out) in enumerate(splitter.split(detected, detected, group)):
        fold[held_out] = number
    return fold


def require_labels(labels: Labels) -> None:
    """Refuse what nothing can be learned from.

    Raises
    ------
    ValueError
        If there are fewer than 20 detections or non-detections, a target is
        not finite, or the targets are all the same.
    """
    target = labels.log_hi_fraction[labels.detected]
    if labels.detected.sum() < 20 or labels.undetected.sum() < 20:
        raise ValueError("detected must hold at least 20 detections and 20 non-detections")
    if not np.all(np.isfinite(target)) or np.ptp(target) == 0:
        raise ValueError("target must be finite and not constant")


def fit_heads(
    network: StructureNet, features: np.ndarray, labels: Labels, altered: np.ndarray
) -> StructureNet:
    """Fit the learned part of a structure network, in place.

    Parameters
    ----------
    network : StructureNet
        The network; returned.
    features : array of float, shape (n, features)
        Raw measurements of the training pictures, `with_ebv`.
    labels : Labels
        What is known of them. The inner cross-validation behind the spread does not split groups.
    altered : array of float, shape (7, k, measurements)
        Raw measurements of altered pictures, see `~hifrac.training.augmentations_ood.ALTERATIONS`.

    Returns
    -------
    network : StructureNet

    Raises
    ------
    ValueError
        If there are fewer than 20 detections or non-detections, a target is
        not finite, or the targets are all the same.
    """
    require_labels(labels)
    seen = labels.detected
    fit_distances(network, features, seen, altered)
    # The scale is that of the detections: the estimate is for galaxies like them.
    center = features[seen].mean(0)
    scale = features[seen].std(0)
    scale[scale < 1e-6] = 1.0
    _set(network, center=center, scale=scale)
    with torch.inference_mode():
        standard = network.standardise(torch.from_numpy(features)).numpy()
    # What too few galaxies tell of stays zero, whatever the network held before.
    for head in (network.gas_poor, network.gswlc_offset):
        set_head(head, [], 0.0, np.zeros(0))
    columns = StructureNet.columns(FRACTION_GROUPS)
    measured = seen | labels.gas_poor if labels.gas_poor.sum() >= FEWEST_GAS_POOR else seen
    inputs, known = standard[measured][:, columns], labels[measured]
    set_head(network.fraction, columns, *_fit_fraction(inputs, known))
    fit_spread(network, standard[seen], _held_out_residuals(inputs, known)[known.detected])
    massive = seen & np.isfinite(labels.gswlc_offset)
    if massive.sum() >= FEWEST_GSWLC:
        offset = _ridge(standard[massive][:, columns], labels.gswlc_offset[massive])
        set_head(network.gswlc_offset, columns, *offset)
    shape = without_texture(network)
    heads = [(network.detection, seen | labels.undetected, seen, DETECTION_INVERSE_PENALTY)]
    if labels.gas_poor.sum() >= FEWEST_GAS_POOR:
        heads.append((network.gas_poor, seen | labels.gas_poor, labels.gas_poor, GAS_POOR_INVERSE_PENALTY))
    for head, rows, kind, inverse_penalty in heads:
        set_head(head, shape, *_logistic(standard[rows][:, shape], kind[rows], inverse_penalty))
    return network.eval()


def _set(network: torch.nn.Module, **values: np.ndarray) -> None:
    state = network.state_dict()
    for name, value in values.items():
        state[name].copy_(torch.from_numpy(np.asarray(value)))


def without_texture(network: StructureNet) -> np.ndarray:
    """The columns that tell what galaxy a picture shows; its texture tells how the picture was made."""
    return np.append(np.arange(network.n_shape), network.n_measured)


def set_head(head: torch.nn.Linear, columns, intercept: float, coefficients: np.ndarray) -> None:
    """Give a linear head coefficients of some of its inputs, in place; zero for all others."""
    weights = np.zeros(head.in_features)
    weights[columns] = coefficients
    _set(head, weight=weights[None], bias=np.array([intercept]))


def _fit_fraction(inputs: np.ndarray, labels: Labels) -> tuple[float, np.ndarray]:
    """Intercept and coefficients of the HI fraction, of detections and galaxies that ALFALFA missed."""
    weights = np.where(labels.detected, 1.0, GAS_POOR_WEIGHT)
    return censored_ridge(
        inputs,
        labels.log_hi_fraction,
        labels.is_limit & ~labels.detected,
        weights,
        penalty=RIDGE_PENALTY,
        scatter=GAS_POOR_SCATTER,
    )


def censored_ridge(
    inputs: np.ndarray,
    target: np.ndarray,
    is_limit: np.ndarray,
    weights: np.ndarray,
    *,
    penalty: float,
    scatter: float,
) -> tuple[float, np.ndarray]:
    """Ridge regression that knows upper limits.

    The maximum of the penalised likelihood of Tobin (1958, Econometrica 26, 24) for a known scatter, by
    expectation and maximisation (Dempster, Laird & Rubin 1977): limits are replaced by the mean of what a
    normal distribution about the present fit has below them.

    Parameters
    ----------
    inputs : array of float, shape (n, columns)
        What the target is read from.
    target : array of float, shape (n,)
        Values, or upper limits.
    is_limit : array of bool, shape (n,)
        Where it is a limit.
    weights : array of float, shape (n,)
        How much each row counts.
    penalty : float
        Of the squares of the coefficients, in units of the squared residual of a row of weight 1.
    scatter : float
        Standard deviation about the fit of the rows with limits.

    Returns
    -------
    intercept : float
    coefficients : array of float, shape (columns,)
    """
    expected, before = target, np.inf
    for _ in range(_MOST_STEPS):
        fitted = Ridge(penalty).fit(inputs, expected, sample_weight=weights)
        values = fitted.predict(inputs)
        change = np.abs(values - before).max()
        if change < 1e-9 or not is_limit.any():
            break
        away = (target - values) / scatter
        # Density over distribution, by logarithms: both vanish where a limit lies far below the fit.
        hazard = np.exp(-0.5 * away**2 - log_ndtr(away)) / np.sqrt(2 * np.pi)
        expected, before = np.where(is_limit, values - scatter * hazard, target), values
    return float(fitted.intercept_), fitted.coef_


def _ridge(inputs: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept and coefficients."""
    fitted = Ridge(RIDGE_PENALTY).fit(inputs, target)
    return float(fitted.intercept_), fitted.coef_


def _logistic(
    inputs: np.ndarray, kind: np.ndarray, inverse_penalty: float, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Intercept and coefficients; both kinds count alike unless there are weights."""
    balance = "balanced" if weights is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(class_weight=balance, C=inverse_penalty, max_iter=3000).fit(
            inputs, kind, sample_weight=weights
        )
    return float(fitted.intercept_[0]), fitted.coef_[0]


def _held_out_residuals(inputs: np.ndarray, labels: Labels) -> np.ndarray:
    """Residuals of the HI fraction, each of a fit that did not see the galaxy's group."""
    residual = np.empty(len(labels))
    for rest, held_out in GroupKFold(10).split(inputs, groups=labels.group):
        intercept, coefficients = _fit_fraction(inputs[rest], labels[rest])
        residual[held_out] = labels.log_hi_fraction[held_out] - (intercept + inputs[held_out] @ coefficients)
    return residual


def fit_spread(network: StructureNet, standard: np.ndarray, residual: np.ndarray) -> None:
    """Fit how well a target is known, in place: a log-linear function of size, axis ratio and flux.

    Parameters
    ----------
    network : StructureNet
        The network.
    standard : array of float, shape (n, features)
        What its heads read.
    residual : array of float, shape (n,)
        Residuals of galaxies that were held out.
    """
    residual = np.abs(residual)
    columns = StructureNet.columns(SPREAD_GROUPS)
    # The logarithm of a residual near zero would rule the fit.
    floor = 0.1 * np.sqrt(np.mean(residual**2))
    fitted = Ridge(SPREAD_PENALTY).fit(standard[:, columns], np.log(residual + floor))
    spread = np.exp(fitted.predict(standard[:, columns]))
    unit = 0.5 * np.log(np.mean((residual / spread) ** 2))
    set_head(network.log_spread, columns, fitted.intercept_ + unit, fitted.coef_)


def fit_distances(
    network: StructureNet, features: np.ndarray, detected: np.ndarray, altered: np.ndarray
) -> None:
    """Fit what measures the distances from the training set, in place.

    Parameters
    ----------
    network, features, altered
        As of `fit_heads`.
    detected : array of bool, shape (n,)
        The detections, which count as much as all other pictures.
    """
    features = features[:, : network.n_measured]
    low, typical, high = np.quantile(features, [0.16, 0.5, 0.84], axis=0)
    spread = np.maximum(0.5 * (high - low), 1e-6)
    _set(network, typical=typical, spread=spread, location=np.zeros(len(typical)))
    with torch.inference_mode():
        real = network.compress(torch.from_numpy(features)).numpy()
        false = network.compress(torch.from_numpy(altered)).numpy()
    location = real.mean(0)
    real, false = real - location, false - location
    n_shape = network.n_shape
    # Shrunk covariance (Ledoit & Wolf 2004): many of the measurements are nearly collinear.
    roots = [
        np.linalg.cholesky(LedoitWolf().fit(part).precision_)
        for part in (real[:, :n_shape], real[:, n_shape:])
    ]
    weights = np.where(detected, 0.5 / max(detected.sum(), 1), 0.5 / max((~detected).sum(), 1))
    offsets, directions = [], []
    for name, kind in zip(ALTERATIONS, false, strict=True):
        penalty = SCALE_INVERSE_PENALTY if "scale" in name else BAND_INVERSE_PENALTY
        inputs = np.concatenate([real, kind])
        # The weights have a mean of one, for the penalty counts against their sum.
        balance = np.concatenate([weights, np.full(len(kind), 1 / len(kind))]) * len(inputs) / 2
        offset, direction = _logistic(inputs, np.arange(len(inputs)) >= len(real), penalty, balance)
        offsets.append(offset)
        directions.append(direction)
    _set(
        network,
        location=location,
        whitening_shape=roots[0],
        whitening_texture=roots[1],
        alterations=np.stack(directions, axis=1),
        alterations_offset=np.array(offsets),
    )


def cross_validate(
    network: StructureNet,
    features: np.ndarray,
    labels: Labels,
    fold: np.ndarray,
    altered: np.ndarray,
    altered_rows: np.ndarray,
) -> OutOfFold:
    """Out-of-fold answers; everything learned is learned without the fold.

    Parameters
    ----------
    network : StructureNet
        One whose learned part is overwritten.
    features, labels, altered
        As of `fit_heads`.
    altered_rows : array of int, shape (k,)
        Of which of the rows the altered pictures are.
    fold : array of int, shape (n,)
        The fold of each row.

    Returns
    -------
    answers : OutOfFold
    """
    outputs: dict[str, np.ndarray] = {}
    distances = np.empty((len(fold), len(EDGE_PERCENTILES)))
    for number in np.unique(fold):
        held_out, rest = fold == number, fold != number
        fit_heads(network, features[rest], labels[rest], altered[:, rest[altered_rows]])
        with torch.inference_mode():
            raw = torch.from_numpy(features[held_out]).float()
            answers = network.forward_head(raw)
            distances[held_out] = network.distances(raw).numpy()
        for name, values in answers._asdict().items():
            outputs.setdefault(name, np.empty(len(fold)))[held_out] = values.numpy()
    return OutOfFold(outputs, distances, fold)


def set_edges(network: StructureNet, answers: OutOfFold, labels: Labels) -> OutOfFold:
    """Put the edge of each distance where few held-out pictures lie beyond, in network and answers."""
    edge = np.array(
        [
            np.percentile(balanced(column, labels), percent)
            for column, percent in zip(answers.distances.T, EDGE_PERCENTILES, strict=True)
        ]
    )
    _set(network, edge=edge)
    distance = (answers.distances / edge).max(1)
    return OutOfFold({**answers.outputs, "distance": distance}, answers.distances, answers.fold)


def balanced(values: np.ndarray, labels: Labels) -> np.ndarray:
    """Values of detections and undetected galaxies such that both kinds count alike."""
    levels = np.linspace(0, 1, 2001)
    return np.concatenate(
        [np.quantile(values[kind], levels) for kind in (labels.detected, labels.undetected)]
    )


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
