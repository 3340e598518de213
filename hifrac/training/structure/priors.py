"""What catalogues teach: the prior of detected galaxies, the widths of lines, the whole population."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table

from hifrac.models.population import Population, log_cdf, log_pdf, log_sf
from hifrac.models.prior import Prior
from hifrac.models.selection import (
    COMPLETENESS_WIDTH,
    FLUX_TO_MASS,
    RMS_TYPICAL,
    Selection,
    distance_modulus,
    log_flux_limit,
    relative_noise,
    taylor_mass,
    width_inputs,
)
from hifrac.models.structure import StructureNet
from hifrac.training.measuring.linear import fit_robust, set_state
from hifrac.training.structure.catalogs import read_alfalfa_sdss, read_xgass
from hifrac.training.structure.heads import EVIDENCE_NAMES, dereddened

#: Residuals, in dex, beyond which a galaxy counts less: of the prior, and of the width.
PRIOR_CORNER, WIDTH_CORNER = 0.45, 0.2
PRIOR_PENALTY = 1.0
# Of the population. Near 0.05 the score of xGASS galaxies is the best: with full weight the truncated tail of
# the many galaxies of ALFALFA rules all others.
ALFALFA_WEIGHT, N_ALFALFA = 0.05, 6000
#: Of galaxies of ALFALFA that RESOLVE sees too: the share of its detections that ALFALFA has.
BOTH_WEIGHT = 0.72
POPULATION_PENALTY = 0.05
STEPS = 200  # at most; the fits are converged before


def fit_prior(prior: Prior, alfalfa: Table) -> None:
    """Fit the prior to galaxies of ALFALFA-SDSS, in place."""
    variables = [torch.from_numpy(np.asarray(alfalfa[name])) for name in EVIDENCE_NAMES]
    clipped = prior.clipped(*variables)
    set_state(prior, center=clipped.mean(0).numpy(), scale=clipped.std(0, correction=0).numpy())
    terms = prior.terms(clipped).numpy()
    center, scale = terms.mean(0), terms.std(0)
    intercept, coefficients = fit_robust(
        (terms - center) / scale,
        np.asarray(alfalfa["log_hi_fraction"]),
        PRIOR_CORNER,
        penalty=PRIOR_PENALTY,
        steps=6,
    )
    set_state(
        prior, term_center=center, term_scale=scale, coefficients=coefficients, intercept=np.array(intercept)
    )


def noise_slope(prior: Prior, alfalfa: Table) -> float:
    """Return by how much galaxies are richer than the prior where ALFALFA is noisier, dex per dex."""
    alfalfa = alfalfa[~alfalfa["held_out"]]
    inputs = [torch.from_numpy(np.asarray(alfalfa[name])) for name in EVIDENCE_NAMES]
    residual = np.asarray(alfalfa["log_hi_fraction"]) - prior(*inputs).numpy()
    noise = relative_noise(np.asarray(alfalfa["dec"])).numpy()
    return float(fit_robust(noise[:, None], residual, PRIOR_CORNER)[1][0])


def reliable(alfalfa: Table) -> Table:
    """Return the galaxies of ALFALFA-SDSS with a reliable signal (code 1), for which its limit is known."""
    good = (alfalfa["hi_code"] == 1) & (alfalfa["w50"] > 15) & (np.abs(alfalfa["log_hi_fraction"]) < 3)
    return alfalfa[good]


def fit_width(selection: Selection, alfalfa: Table) -> None:
    """Fit the widths of the lines of reliable galaxies, in place."""
    modulus = 5 * np.log10(np.asarray(alfalfa["distance"])) + 25
    log_axes = np.clip(-np.log10(np.asarray(alfalfa["axis_ratio"])), 0, 1)
    inputs = width_inputs(np.asarray(alfalfa["i"]), modulus, log_axes).numpy()
    target = np.log10(np.asarray(alfalfa["w50"]))
    intercept, slopes = fit_robust(inputs[:, 1:], target, WIDTH_CORNER, steps=8)
    set_state(selection, width=np.append(intercept, slopes))


@dataclass(frozen=True, eq=False)
class Sample:
    """Galaxies of known HI fraction, or upper limit where ``is_limit``, to fit the population to.

    ``inputs`` are g-i, log10 M* and log10(a/b), (n, 3). With ``threshold`` there are only galaxies above it:
    the sample is truncated. Each galaxy counts ``weight`` times.
    """

    inputs: np.ndarray
    value: np.ndarray
    is_limit: np.ndarray
    weight: float = 1.0
    threshold: np.ndarray | None = None

    @classmethod
    def of(cls, table: Table, *, weight: float = 1.0, threshold: np.ndarray | None = None) -> Sample:
        """Take what is needed of a catalogue."""
        log_axes = -np.log10(np.asarray(table["axis_ratio"]))
        inputs = np.column_stack([table["g_minus_i"], table["log_mstar"], log_axes])
        is_limit = table["is_limit"] if "is_limit" in table.colnames else np.zeros(len(table), dtype=bool)
        value = np.asarray(table["log_hi_fraction"])
        return cls(inputs, value, np.asarray(is_limit), weight, threshold)


def detected_sample(alfalfa: Table, seed: int) -> Sample:
    """Draw some of the reliable galaxies; each counts for those that are not drawn, and has its own limit."""
    rows = reliable(alfalfa)
    if not len(rows):
        raise ValueError("data_dir: ALFALFA-SDSS has no galaxy outside the sky of the pictures")
    n = min(N_ALFALFA, len(rows))
    drawn = rows[np.sort(np.random.default_rng(seed).choice(len(rows), n, replace=False))]
    limit = FLUX_TO_MASS + 2 * np.log10(drawn["distance"]) + log_flux_limit(np.log10(drawn["w50"])).numpy()
    threshold = limit + np.log10(drawn["hi_rms"] / RMS_TYPICAL) - drawn["log_mstar"]
    return Sample.of(drawn, weight=ALFALFA_WEIGHT * len(rows) / n, threshold=np.asarray(threshold))


def fit_population(population: Population, samples: Sequence[Sample]) -> None:
    """Fit the population to several samples at once, in place, from where it is: the maximum likelihood.

    A truncated sample is divided by the probability that its galaxies are detected, an upper limit counts
    with the probability that the value is below it.
    """
    names = ("mode", "below", "above")
    mode, below, above = (getattr(population, name).clone().requires_grad_() for name in names)
    terms = [population.design(*sample.inputs.T) for sample in samples]
    optimizer = torch.optim.LBFGS(
        (mode, below, above),
        max_iter=STEPS,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-6,
        history_size=20,
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = POPULATION_PENALTY * ((mode**2).sum() + (below**2).sum() + (above**2).sum())
        for sample, of_sample in zip(samples, terms, strict=True):
            shape = population.shape((mode, below, above), *of_sample)
            total = total - sample.weight * _log_likelihood(sample, *shape)
        total.backward()
        return total

    optimizer.step(loss)
    fitted = zip(names, (mode, below, above), strict=True)
    set_state(population, **{name: part.detach().numpy() for name, part in fitted})


def _log_likelihood(
    sample: Sample, mode: torch.Tensor, below: torch.Tensor, above: torch.Tensor
) -> torch.Tensor:
    value, is_limit = torch.from_numpy(sample.value), torch.from_numpy(sample.is_limit)
    shape = (mode, below, above)
    likelihood = torch.where(is_limit, log_cdf(value, *shape), log_pdf(value, *shape))
    if sample.threshold is not None:
        # The limit is not sharp: whoever is detected is above it by the galaxy's and the survey's scatter.
        wide = [torch.sqrt(width**2 + COMPLETENESS_WIDTH**2) for width in (below, above)]
        likelihood = likelihood - log_sf(torch.from_numpy(sample.threshold), mode, *wide)
    return likelihood.sum()


def label_samples(galaxies: Table, read: np.ndarray) -> list[Sample]:
    """Take the galaxies with pictures that ALFALFA missed, and those that it and RESOLVE have.

    What is not known of them is read off their pictures: ``read`` are `readings`. Confused ones are left out.
    """
    table = galaxies["log_hi_fraction", "is_limit", "log_mstar"].copy()
    for name, values in zip(EVIDENCE_NAMES, dereddened(read, np.asarray(galaxies["ebv"])), strict=True):
        table[name] = np.where(np.isfinite(galaxies[name]), galaxies[name], values)
    log_axes = -np.log10(np.asarray(table["axis_ratio"]))
    modulus = distance_modulus(table["log_cz"])
    mass = taylor_mass(table["g_minus_i"], table["i"], modulus, log_axes).numpy()
    table["log_mstar"] = np.where(np.isfinite(table["log_mstar"]), table["log_mstar"], mass)
    alone = (galaxies["missed"] | galaxies["manga"]) & ~galaxies["confused"]
    both = galaxies["detected"] & np.isfinite(galaxies["resolve"])
    return [
        Sample.of(table[rows], weight=weight)
        for rows, weight in ((alone, 1.0), (both, BOTH_WEIGHT))
        if rows.any()
    ]


@dataclass(frozen=True, eq=False)
class Catalogs:
    """ALFALFA-SDSS and xGASS, and the samples of them that tell of the population."""

    alfalfa: Table
    xgass: Table
    samples: list[Sample]


def read_catalogs(folder: str | Path | None, seed: int) -> Catalogs:
    """Read the catalogues, and take what may be learned from: nothing of the sky of the pictures."""
    alfalfa = read_alfalfa_sdss(folder)
    xgass = read_xgass(folder, alfalfa)
    free = alfalfa[~alfalfa["held_out"]]
    unconfused = xgass[~xgass["held_out"] & ~xgass["confused"]]
    return Catalogs(alfalfa, xgass, [detected_sample(free, seed), Sample.of(unconfused)])


def fit_catalogs(network: StructureNet, catalogs: Catalogs) -> None:
    """Fit what catalogues alone teach, in place: prior, line widths, and the population to begin with."""
    free = catalogs.alfalfa[~catalogs.alfalfa["held_out"]]
    fit_prior(network.prior, free)
    fit_width(network.selection, reliable(free))
    start_population(network.population)
    fit_population(network.population, catalogs.samples)


def start_population(population: Population) -> None:
    """Put the population where a fit may begin."""
    for name, first in (("mode", (-0.2, -0.4)), ("below", (-1.0,)), ("above", (-1.3,))):
        values = np.zeros(len(getattr(population, name)))
        values[: len(first)] = first
        set_state(population, **{name: values})
