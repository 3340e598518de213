"""Answers for galaxies by models, and distributions by calibrations, that did not see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import Ridge

from hifrac.core.evidence import Evidence
from hifrac.models.calibration import EVIDENCE_SETS, LEVELS, PosteriorTable
from hifrac.models.density import Density
from hifrac.models.detection import DetectionTable
from hifrac.models.posterior import Posterior, PosteriorModel
from hifrac.models.selection import relative_noise
from hifrac.models.structure import StructureNet
from hifrac.training.evaluation import fit_detection
from hifrac.training.measuring.distances import (
    EDGE_PERCENTILES,
    distances_of,
    fit_distances,
    percentiles_of,
    set_edge,
)
from hifrac.training.measuring.linear import fit_scale, outputs_of, standardised
from hifrac.training.measuring.measurements import Measurements, largest_reddening
from hifrac.training.measuring.ood import HARMLESS
from hifrac.training.structure.heads import (
    SHOWN,
    CrossReadings,
    cross_readings,
    fit_axis_ratio,
    fit_detection_head,
    fit_heads,
    fit_residuals,
)
from hifrac.training.structure.priors import Catalogs, fit_population, label_samples, noise_slope

#: What a table may say, by what it is called; the first four are what the calibration knows.
EVIDENCE = {
    "picture": (),
    "picture+z": ("log_cz",),
    "picture+photometry": ("g_minus_i", "i"),
    "picture+z+photometry": ("g_minus_i", "i", "log_cz", "axis_ratio"),
    "picture+z+photometry, axis ratio of the picture": ("g_minus_i", "i", "log_cz"),
}
_SPREAD_PENALTY = 30.0


def evidence_of(galaxies: Table, known: tuple[str, ...]) -> Evidence:
    """Return what a table would say of galaxies if it had some columns; where they are is always known."""
    columns = {name: np.asarray(galaxies[name], dtype=float) for name in known}
    return replace(Evidence.none(len(galaxies)), dec=np.asarray(galaxies["dec_nearby"]), **columns)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Answers for each galaxy by a network that did not see its group.

    ``outputs``, as ``NetworkOutput``, are by name; ``distances``, (n, 9), are not yet divided by their edges,
    and ``harmless``, (k, 9), are those of pictures that `HARMLESS` made;
    ``fold`` is that in which the row was held out, and ``models``, one a fold, are what was learned without;
    ``weights``, too, of the posterior's log odds of a detection beside the network's.
    """

    galaxies: Table
    outputs: dict[str, np.ndarray]
    distances: np.ndarray
    harmless: np.ndarray
    crossed: CrossReadings
    fold: np.ndarray
    models: list[PosteriorModel]
    weights: np.ndarray

    @property
    def read(self) -> np.ndarray:
        """What is read off the pictures, shape (n, 9)."""
        return self.crossed.values[-1]

    def by_fold(
        self,
        rows: np.ndarray,
        evidence: str,
        answer: Callable[[Posterior, np.ndarray], torch.Tensor],
        mass_scale: str = "taylor",
    ) -> np.ndarray:
        """Answer for some rows (numbers), each by the posterior of what was learned without its fold."""
        parts, answers = [], []
        for number, model in enumerate(self.models):
            part = np.flatnonzero(self.fold[rows] == number)
            if part.size:
                outputs = {name: values[rows[part]] for name, values in self.outputs.items()}
                galaxies = self.galaxies[rows[part]]
                known = evidence_of(galaxies, EVIDENCE[evidence])
                posterior = model.infer(outputs, np.asarray(galaxies["ebv"]), known, mass_scale)
                parts.append(part)
                answers.append(answer(posterior, rows[part]).numpy())
        return np.concatenate(answers)[np.argsort(np.concatenate(parts))]


def cross_validate(
    network: StructureNet, galaxies: Table, fold: np.ndarray, measured: Measurements, catalogs: Catalogs
) -> OutOfFold:
    """Answer for each row with everything learned without its fold; the network is overwritten.

    It must know what the catalogues teach, none of these galaxies among them: prior, line widths, population.
    """
    features, detected = measured.features, np.asarray(galaxies["detected"])
    noise = relative_noise(np.asarray(galaxies["dec_nearby"])[detected])
    table = replace(
        UNCALIBRATED,
        noise_slope=noise_slope(network.prior, catalogs.alfalfa),
        noise_center=float(noise.mean()),
    )
    start = {name: values.clone() for name, values in network.population.state_dict().items()}
    crossed = cross_readings(network, features, galaxies, fold)
    outputs: dict[str, np.ndarray] = {}
    distances, harmless = np.empty((len(fold), len(EDGE_PERCENTILES))), []
    models, weights = [], []
    for number, photometry in enumerate(crossed.heads):
        held_out, rest = fold == number, fold != number
        network.photometry.load_state_dict(photometry)
        network.population.load_state_dict(start)
        weights.append(fit_all(network, galaxies, rest, measured, crossed.values[number], catalogs))
        distances[held_out] = distances_of(network, features[held_out])
        altered = measured.augmented_of(held_out)
        harmless += [distances_of(network, altered[name]) for name in HARMLESS]
        for name, values in outputs_of(network, features[held_out]).items():
            outputs.setdefault(name, np.empty(len(fold)))[held_out] = values
        models.append(PosteriorModel.from_network(network, table))
    network.population.load_state_dict(start)
    return OutOfFold(
        galaxies, outputs, distances, np.concatenate(harmless), crossed, fold, models, np.array(weights)
    )


def fit_all(
    network: StructureNet,
    galaxies: Table,
    rows: np.ndarray,
    measured: Measurements,
    read: np.ndarray,
    catalogs: Catalogs,
) -> float:
    """Fit what is learned of some rows, a mask, in place, but for the photometry, which is fitted already.

    ``read`` are readings of all pictures, of these rows by heads that did not see them. Returns the weight
    of the posterior's log odds beside the network's.
    """
    detected = np.asarray(galaxies["detected"])
    features, galaxies, read = measured.features[rows], galaxies[rows], read[rows]
    fit_heads(network, features, galaxies, read)
    fit_population(network.population, [*catalogs.samples, *label_samples(galaxies, read)])
    fit_distances(network, measured, detected, rows)
    shown = dict(zip(("g_minus_i", "i", "log_cz", "axis_ratio"), read[:, SHOWN].T, strict=True))
    posterior = PosteriorModel.from_network(network, UNCALIBRATED).infer(
        {**shown, "estimate": np.zeros(len(read))}, np.asarray(galaxies["ebv"]), evidence_of(galaxies, ())
    )
    return fit_detection_head(network, features, galaxies, posterior.detection_log_odds.numpy())


def set_edges(network: StructureNet, answers: OutOfFold) -> OutOfFold:
    """Put the edge of each distance where few held-out pictures lie beyond, in network and answers."""
    detected, undetected = (np.asarray(answers.galaxies[name]) for name in ("detected", "undetected"))
    distance = set_edge(network, answers.distances, detected, undetected, answers.harmless)
    return replace(answers, outputs={**answers.outputs, "distance": distance})


#: Of posteriors that are not calibrated yet.
UNCALIBRATED = PosteriorTable(
    n=0,
    levels=(0.16, 0.84),
    widths=dict.fromkeys(EVIDENCE_SETS, (0.0, 0.0)),
    scores=dict.fromkeys(EVIDENCE_SETS, (-1.0, 1.0)),
    scores_gswlc=dict.fromkeys(EVIDENCE_SETS, (-1.0, 1.0)),
    scatter_gswlc=0.0,
)


def calibrate(answers: OutOfFold, rows: np.ndarray) -> PosteriorTable:
    """Make the table of widths and scores that rests on some held-out detections, given by number."""
    galaxies = answers.galaxies[rows]
    truth = np.asarray(galaxies["log_hi_fraction"])
    offset = (
        np.asarray(galaxies["log_mstar"] - galaxies["log_mstar_gswlc"])
        - answers.outputs["gswlc_offset"][rows]
    )
    with_mass = np.isfinite(offset)
    widths, residuals, units = {}, {}, {}
    for name in EVIDENCE_SETS:
        location, log_spread = answers.by_fold(
            rows, name, lambda posterior, _: torch.column_stack([posterior.location, posterior.log_spread])
        ).T
        residuals[name] = truth - location
        widths[name] = _fit_width(residuals[name], log_spread)
    noise = answers.models[0].table
    table = replace(
        UNCALIBRATED, widths=widths, noise_slope=noise.noise_slope, noise_center=noise.noise_center
    )
    scaled = with_table(answers, [table] * len(answers.models))
    for name in EVIDENCE_SETS:
        units[name] = scaled.by_fold(rows, name, lambda posterior, _: posterior.unit)
    table = PosteriorTable.from_scores(
        {name: residuals[name] / units[name] for name in EVIDENCE_SETS},
        {name: ((residuals[name] + offset) / units[name])[with_mass] for name in EVIDENCE_SETS},
        widths,
        float(np.sqrt(np.mean(offset[with_mass] ** 2))),
    )
    return replace(table, noise_slope=noise.noise_slope, noise_center=noise.noise_center)


def _fit_width(residual: np.ndarray, log_spread: np.ndarray) -> tuple[float, float]:
    """Fit intercept and slope of the logarithm of a residual's size against that of the spread."""
    # The logarithm of a residual near zero would rule the fit.
    floor = 0.1 * np.sqrt(np.mean(residual**2))
    middle, scale = log_spread.mean(), max(log_spread.std(), 1e-6)
    inputs = ((log_spread - middle) / scale)[:, None]
    fitted = Ridge(_SPREAD_PENALTY).fit(inputs, np.log(np.abs(residual) + floor))
    slope = float(fitted.coef_[0]) / scale
    return float(fitted.intercept_) - slope * middle, slope


def with_table(answers: OutOfFold, tables: list[PosteriorTable]) -> OutOfFold:
    """Give the models of the folds their tables."""
    models = [replace(model, table=table) for model, table in zip(answers.models, tables, strict=True)]
    return replace(answers, models=models)


def calibrate_across(answers: OutOfFold) -> OutOfFold:
    """Calibrate the model of each fold by the detections of the others."""
    detected, folds = np.asarray(answers.galaxies["detected"]), range(len(answers.models))
    return with_table(
        answers, [calibrate(answers, np.flatnonzero(detected & (answers.fold != number))) for number in folds]
    )


def detection_log_odds(answers: OutOfFold) -> np.ndarray:
    """Return the log odds of a detection that the posterior of the picture alone gives, each held out."""
    every = np.arange(len(answers.galaxies))
    return answers.by_fold(every, "picture", lambda posterior, _: posterior.detection_log_odds)


def fit_detection_and_ood(answers: OutOfFold, log_odds: np.ndarray) -> DetectionTable:
    """Calibrate p_detect, given its held-out log odds, and the score of the distance."""
    galaxies = answers.galaxies
    rows = np.asarray(galaxies["detected"] | galaxies["undetected"])
    classes = [np.asarray(galaxies[name]) for name in ("detected", "undetected")]
    ebv = np.asarray(galaxies["ebv"])[np.isfinite(galaxies["log_hi_fraction"])]
    return fit_detection(
        np.asarray(galaxies["detected"])[rows],
        log_odds[rows],
        **percentiles_of(answers.outputs["distance"], *classes),
        # The largest reddening, in mag, of the galaxies that the estimate learned from.
        largest_ebv=largest_reddening(ebv),
    )


@dataclass(frozen=True, eq=False)
class Distributions:
    """Distributions of log10(M_HI/M*) of n galaxies that were held out.

    ``quantiles``, (n, 5), are at `LEVELS`; ``below`` is the probability below the measured value, or upper
    limit; ``log_mean`` is log10 of the mean of M_HI/M*, ``std`` the standard deviation in dex.
    """

    quantiles: np.ndarray
    below: np.ndarray
    log_mean: np.ndarray
    std: np.ndarray

    @property
    def estimate(self) -> np.ndarray:
        """The medians."""
        return self.quantiles[:, LEVELS.index(0.5)]


def distributions(
    answers: OutOfFold, rows: np.ndarray, evidence: str, selection: str, mass_scale: str = "taylor"
) -> Distributions:
    """Return the distributions of some rows (numbers), each by the calibrated posterior of its fold."""
    value = np.asarray(answers.galaxies["log_hi_fraction"])
    if mass_scale == "gswlc":
        value = value + np.asarray(answers.galaxies["log_mstar"] - answers.galaxies["log_mstar_gswlc"])

    columns = answers.by_fold(
        rows, evidence, lambda posterior, part: summary(posterior.density(selection), value[part]), mass_scale
    )
    return Distributions(columns[:, :-3], *columns[:, -3:].T)


def summary(density: Density, value: np.ndarray) -> torch.Tensor:
    """Return quantiles at `LEVELS`, probability below a value, log10 of the mean M_HI/M*, spread: (n, 8)."""
    mean = (density.masses * 10**density.middles).sum(1)
    return torch.column_stack(
        [density.quantile(LEVELS), density.cdf(value), torch.log10(mean), density.std()]
    )


def learning_curve(
    network: StructureNet, answers: OutOfFold, features: np.ndarray, seed: int, sizes: tuple[int, ...]
) -> dict[int, dict[str, np.ndarray]]:
    """Estimate the HI of detections by residuals fitted to so many others; the network is overwritten.

    Returns residuals, estimate minus truth, by number of labels and evidence.
    """
    galaxies, rng = answers.galaxies, np.random.default_rng(seed)
    detected, axis_ratio = np.asarray(galaxies["detected"]), np.asarray(galaxies["axis_ratio"])
    truth = np.asarray(galaxies["log_hi_fraction"])
    network.eval()
    residuals: dict[int, dict[str, list]] = {size: {name: [] for name in EVIDENCE_SETS} for size in sizes}
    for number, photometry in enumerate(answers.crossed.heads):
        others = answers.fold != number
        rest = detected & others
        network.photometry.load_state_dict(photometry)
        fit_scale(network, features[rest])
        fit_axis_ratio(network, features[others], axis_ratio[others])
        order = rng.permutation(np.flatnonzero(rest))
        held_out = np.flatnonzero(detected & (answers.fold == number))
        for size in sizes:
            part = order[:size]
            read = answers.crossed.values[number, part]
            fit_residuals(network, standardised(network, features[part]), galaxies[part], read)
            outputs = outputs_of(network, features[held_out])
            model = PosteriorModel.from_network(network, answers.models[number].table)
            for name in EVIDENCE_SETS:
                known = evidence_of(galaxies[held_out], EVIDENCE[name])
                location = model.infer(outputs, np.asarray(galaxies["ebv"])[held_out], known).location
                residuals[size][name].append(location.numpy() - truth[held_out])
    return {
        size: {name: np.concatenate(parts) for name, parts in row.items()} for size, row in residuals.items()
    }
