"""From evidence to distributions: what is used of a row, and what follows of it."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtri

from hifrac.core.evidence import Evidence
from hifrac.models.calibration import EVIDENCE_SETS, SCORE_LEVELS, SELECTIONS, PosteriorTable
from hifrac.models.population import Population
from hifrac.models.posterior import EBV_ERROR, PosteriorModel
from hifrac.models.prior import Prior, Residual
from hifrac.models.selection import Selection, taylor_mass

N = 40
LEVELS = (0.05, 0.16, 0.5, 0.84, 0.95)
SCORES = 0.9 * ndtri(SCORE_LEVELS) + 0.05
TABLE = PosteriorTable(
    n=259,
    levels=SCORE_LEVELS,
    widths={name: (-1.6 + 0.01 * k, 0.2) for k, name in enumerate(EVIDENCE_SETS)},
    scores={name: tuple(SCORES + 0.1 * k) for k, name in enumerate(EVIDENCE_SETS)},
    scores_gswlc=dict.fromkeys(EVIDENCE_SETS, tuple(0.8 * SCORES)),
    scatter_gswlc=0.1,
)


@pytest.fixture(scope="module")
def model():
    """One like the trained: redder, more massive galaxies have less; simple enough to know the answer."""
    population = Population()
    population.mode[:4] = torch.tensor([-0.5, -0.35, -0.25, 0.05])
    population.below[:3], population.above[:3] = (
        torch.tensor([-0.9, 0.2, 0.1]),
        torch.tensor([-1.2, 0.0, 0.0]),
    )
    prior = Prior()
    prior.center[:], prior.scale[:] = torch.tensor([0.8, 15.0, 3.8, 0.6]), torch.tensor([0.3, 1.5, 0.2, 0.2])
    prior.coefficients[:4] = torch.tensor([-0.35, 0.1, -0.1, -0.02])
    prior.intercept.fill_(-0.1)
    redshift, photometry = Residual(3, 1).double(), Residual(3, 2).double()
    redshift.weight.data[0, -1] = 0.3
    photometry.weight.data[0, -2:] = torch.tensor([0.5, -0.2])
    for residual in (redshift, photometry):
        residual.requires_grad_(requires_grad=False)
    return PosteriorModel(population, Selection(), prior, redshift, photometry, TABLE, typical_ebv=0.05)


@pytest.fixture(scope="module")
def outputs():
    """What a network might say of galaxies."""
    rng = np.random.default_rng(3)
    return {
        "estimate": rng.normal(-0.2, 0.4, N),
        "residual_redshift": rng.normal(0, 0.1, N),
        "residual_photometry": rng.normal(0, 0.1, N),
        "g_minus_i": rng.uniform(0.4, 1.2, N),
        "i": rng.uniform(13.5, 17.5, N),
        "log_cz": rng.uniform(3.4, 4.1, N),
        "axis_ratio": rng.uniform(0.2, 1.0, N),
        "gswlc_offset": rng.normal(-0.15, 0.05, N),
    }


EBV = np.full(N, 0.04)


def evidence(**columns):
    """Evidence in every row: numbers, or one number for all."""
    values = {name: np.broadcast_to(np.asarray(column, float), N) for name, column in columns.items()}
    return dataclasses.replace(Evidence.none(N), **values)


def shown(outputs, ebv=0.04):
    """Colour and magnitude of the pictures, corrected for the Galaxy."""
    return outputs["g_minus_i"] - 1.605 * ebv, outputs["i"] - 1.698 * ebv


def medians(posterior, selection):
    return posterior.density(selection).quantile([0.5])[:, 0].numpy()


# What is used


def test_the_picture_stands_in_for_what_a_row_lacks(model, outputs):
    galaxies = model.infer(outputs, EBV).galaxies
    colour, magnitude = shown(outputs)
    np.testing.assert_allclose(galaxies.g_minus_i, colour)
    np.testing.assert_allclose(galaxies.i, magnitude)
    np.testing.assert_allclose(galaxies.log_cz, outputs["log_cz"])
    np.testing.assert_allclose(galaxies.axis_ratio, outputs["axis_ratio"])
    expected = taylor_mass(colour, magnitude, galaxies.modulus, galaxies.log_axes)
    np.testing.assert_allclose(galaxies.log_mstar, expected)
    assert not galaxies.evidence_set.any()


def test_evidence_counts_row_by_row(model, outputs):
    some = np.where(np.arange(N) % 4 == 0, np.nan, 1.0)
    table = evidence(
        g_minus_i=0.7 * some, i=15.0, log_cz=np.where(np.arange(N) < 20, 3.9, np.nan), axis_ratio=0.05 * some
    )
    galaxies = model.infer(outputs, EBV, table).galaxies
    colour, magnitude = shown(outputs)
    # A colour alone, or a magnitude alone, is no photometry.
    np.testing.assert_allclose(galaxies.g_minus_i, np.where(np.isnan(some), colour, 0.7))
    np.testing.assert_allclose(galaxies.i, np.where(np.isnan(some), magnitude, 15.0))
    np.testing.assert_allclose(galaxies.log_cz[:20], 3.9)
    np.testing.assert_allclose(galaxies.log_cz[20:], outputs["log_cz"][20:])
    np.testing.assert_allclose(galaxies.axis_ratio, np.where(np.isnan(some), outputs["axis_ratio"], 0.1))
    sets = (np.arange(N) < 20) + 2 * ~np.isnan(some)
    np.testing.assert_array_equal(galaxies.evidence_set, sets)
    alone = model.infer(outputs, EBV).density("alfalfa").quantile(LEVELS)[20::4]
    np.testing.assert_array_equal(
        model.infer(outputs, EBV, table).density("alfalfa").quantile(LEVELS)[20::4], alone
    )


def test_an_unknown_reddening_is_the_typical_one(model, outputs):
    ebv = np.where(np.arange(N) < 5, np.nan, 0.04)
    galaxies = model.infer(outputs, ebv).galaxies
    np.testing.assert_allclose(galaxies.i[:5], shown(outputs, model.typical_ebv)[1][:5])
    np.testing.assert_allclose(model.infer(outputs, None).galaxies.i, shown(outputs, model.typical_ebv)[1])


# Where ALFALFA detects galaxies


def test_the_picture_alone_is_at_the_estimate_of_the_network(model, outputs):
    posterior = model.infer(outputs, EBV)
    np.testing.assert_allclose(posterior.location, outputs["estimate"], atol=1e-12)
    quantiles = posterior.density("alfalfa").quantile(SCORE_LEVELS).numpy()
    expected = outputs["estimate"][:, None] + posterior.unit.numpy()[:, None] * SCORES
    np.testing.assert_allclose(quantiles, expected, atol=1e-4)


def test_known_redshifts_and_magnitudes_have_residuals_of_their_own(model, outputs):
    colour, magnitude = shown(outputs)
    ratio = outputs["axis_ratio"]
    prior = model.prior(*(torch.from_numpy(x) for x in (colour, magnitude, outputs["log_cz"] + 0.1, ratio)))
    location = model.infer(outputs, EBV, evidence(log_cz=outputs["log_cz"] + 0.1)).location
    np.testing.assert_allclose(location, prior + torch.from_numpy(outputs["residual_redshift"]) + 0.03)
    prior = model.prior(
        *(torch.from_numpy(x) for x in (colour + 0.9, magnitude - 0.1, outputs["log_cz"], ratio))
    )
    location = model.infer(outputs, EBV, evidence(g_minus_i=colour + 0.9, i=magnitude - 0.1)).location
    # A difference of 0.9 mag counts like one of 0.3.
    expected = prior + torch.from_numpy(outputs["residual_photometry"]) + 0.3 * 0.5 + 0.1 * 0.2
    np.testing.assert_allclose(location, expected)


def test_the_axis_ratio_of_a_table_changes_the_prior_alone(model, outputs):
    before, after = (
        model.infer(outputs, EBV, evidence(axis_ratio=ratio)).location.numpy() for ratio in (0.3, 0.7)
    )
    np.testing.assert_allclose(after - before, -0.02 * 0.4 / 0.2)


def test_the_error_of_the_reddening_widens_every_distribution(model, outputs):
    without = model.infer(outputs, np.zeros(N)).galaxies
    np.testing.assert_allclose(without.ebv_error, EBV_ERROR[1])
    colour, magnitude = shown(outputs, 0.0)
    table = evidence(g_minus_i=colour, i=magnitude, log_cz=outputs["log_cz"])
    narrow, wide = (model.infer(outputs, ebv, table) for ebv in (np.zeros(N), np.full(N, 1.0)))
    for selection in SELECTIONS:
        low, high = (posterior.density(selection).std() for posterior in (narrow, wide))
        assert (high > low).all(), selection
    # One standard error of E(B-V), 0.11 mag, is 0.18 mag of colour and 0.19 mag of light.
    shift = 0.35 / 0.3 * 1.605 * 0.11 - 0.1 / 1.5 * 1.698 * 0.11
    spread = np.exp(2 * (-1.57 + 0.2 * wide.log_spread.numpy()))
    np.testing.assert_allclose(wide.unit, np.sqrt(spread + shift**2), rtol=1e-6)


# How galaxies were selected


def test_detected_galaxies_have_more_and_undetected_ones_less(model, outputs):
    posterior = model.infer(outputs, EBV)
    assert (medians(posterior, "undetected") < medians(posterior, "intrinsic")).all()
    # The two are the parts of one whole, by the probability of a detection.
    density = posterior._intrinsic
    score = posterior._detection_score(density)
    share = (density.masses * torch.special.ndtr(score)).sum(1)
    mean = share * density.weighted(torch.special.log_ndtr(score)).mean()
    mean = mean + (1 - share) * posterior.density("undetected").mean()
    np.testing.assert_allclose(mean, posterior.density("intrinsic").mean(), atol=1e-9)


def test_galaxies_that_are_certain_to_be_detected_or_not_have_an_answer(model, outputs):
    masses = np.where(np.arange(N) < 20, 14.0, 3.0)
    posterior = model.infer(outputs, EBV, evidence(log_mstar=masses))
    for selection in SELECTIONS:
        assert torch.isfinite(posterior.density(selection).quantile(LEVELS)).all(), selection
    # A detection is certain at 14 and out of reach at 3, where a non-detection says nothing.
    before, after = (medians(posterior, selection) for selection in ("intrinsic", "undetected"))
    assert (after[:20] < before[:20]).all()
    np.testing.assert_allclose(after[20:], before[20:], atol=1e-6)


def test_the_odds_of_a_certain_detection_are_finite(model, outputs):
    near = {**outputs, "i": np.linspace(-13, 12, N), "log_cz": np.linspace(-1, 3, N)}
    log_odds = model.infer(near, EBV).detection_log_odds
    assert torch.isfinite(log_odds).all()
    assert log_odds.max() == 9


def test_the_log_odds_are_those_of_the_population_and_of_the_reach(model, outputs):
    posterior = model.infer(outputs, EBV, evidence(log_cz=3.8, log_mstar=9.5))
    rng = np.random.default_rng(0)
    draws = posterior.density("intrinsic").quantile(rng.random((N, 4000)))
    galaxies = posterior.galaxies
    limit = model.selection.mass_limit(
        galaxies.i, galaxies.modulus, galaxies.log_axes, galaxies.log_mstar, galaxies.dec
    )
    detected = draws + 0.22 * torch.from_numpy(rng.standard_normal(draws.shape)) > limit[:, None] - 0.17
    share = detected.double().mean(1)
    np.testing.assert_allclose(torch.sigmoid(posterior.detection_log_odds), share, atol=0.035)
    beyond = model.infer(outputs, EBV, evidence(log_cz=4.4)).detection_log_odds
    np.testing.assert_array_equal(beyond, -9)


def test_the_table_bounds_the_probability_of_a_detection(model, outputs):
    def bound(**columns):
        return model.infer(outputs, EBV, evidence(**columns)).detection_bound

    for columns in ({}, {"log_cz": 3.8}, {"log_mstar": 9.5, "log_mhi_limit": 11.9}):
        np.testing.assert_allclose(bound(**columns), 1.0, atol=1e-6)
    np.testing.assert_allclose(bound(log_cz=np.log10(18000.0)), 0.5)
    np.testing.assert_allclose(bound(log_cz=4.4), 0.0, atol=1e-12)
    np.testing.assert_allclose(bound(log_mstar=9.5, log_mhi_limit=5.0), 0.0, atol=1e-6)


def test_a_limit_of_the_table_truncates(model, outputs):
    free = model.infer(outputs, EBV, evidence(log_mstar=9.5))
    limits = {"log_mstar": 9.5, "log_mhi_limit": np.where(np.arange(N) < 20, 9.2, np.nan)}
    cut = model.infer(outputs, EBV, evidence(**limits))
    for selection in SELECTIONS:
        before, after = (posterior.density(selection) for posterior in (free, cut))
        assert (after.quantile([1.0])[:20] <= -0.3 + 1e-12).all()
        np.testing.assert_allclose(after.quantile(LEVELS)[20:], before.quantile(LEVELS)[20:], atol=1e-12)
        below = before.cdf(np.full(N, -0.3))
        value = after.quantile([0.5])[:, 0]
        np.testing.assert_allclose(before.cdf(value)[:20], 0.5 * below[:20], atol=2e-3)
    assert (cut.detection_log_odds[:20] <= free.detection_log_odds[:20]).all()


# Mass scales


def test_the_masses_of_the_other_scale_shift_everything_alike(model, outputs):
    offset = outputs["gswlc_offset"]
    taylor = model.infer(outputs, EBV, evidence(log_mstar=9.5, log_mhi_limit=9.0))
    # The same galaxies, their masses on the other scale: log M(GSWLC) = log M(Taylor) - offset.
    other = evidence(log_mstar=9.5 - offset, log_mhi_limit=9.0)
    gswlc = model.infer(outputs, EBV, other, mass_scale="gswlc")
    np.testing.assert_allclose(gswlc.galaxies.log_mstar, 9.5)
    np.testing.assert_allclose(gswlc.detection_log_odds, taylor.detection_log_odds)
    np.testing.assert_allclose(gswlc.density("intrinsic").quantile([1.0])[:, 0], -0.5 + offset)
    free = [model.infer(outputs, EBV, mass_scale=scale) for scale in ("taylor", "gswlc")]
    low, high = (posterior.density("intrinsic").std() for posterior in free)
    assert (high > low).all()
    expected = outputs["estimate"][:, None] + offset[:, None] + free[1].unit.numpy()[:, None] * 0.8 * SCORES
    np.testing.assert_allclose(free[1].density("alfalfa").quantile(SCORE_LEVELS), expected, atol=1e-4)


# Populations


def test_draws_are_those_of_the_distributions(model, outputs):
    posterior = model.infer(outputs, EBV, evidence(log_mstar=9.5, log_mhi_limit=9.6))
    rng = np.random.default_rng(5)
    for selection in SELECTIONS:
        density = posterior.density(selection)
        draws = density.quantile(rng.random((N, 500))).numpy()
        pit = np.stack([density.cdf(column) for column in draws.T])
        assert stats.kstest(pit.ravel(), "uniform").pvalue > 0.001, selection
        np.testing.assert_allclose(draws.mean(1), density.mean(), atol=0.15)
        assert draws.mean() == pytest.approx(float(density.mean().mean()), abs=0.01)
        np.testing.assert_allclose(
            np.quantile(draws, LEVELS, axis=1).mean(1), density.quantile(LEVELS).mean(0), atol=0.02
        )


def test_rows_do_not_depend_on_each_other(model, outputs):
    table = evidence(log_cz=np.where(np.arange(N) % 3, 3.8, np.nan), log_mhi_limit=9.3)
    whole = model.infer(outputs, EBV, table)
    for selection in SELECTIONS:
        quantiles = whole.density(selection).quantile(LEVELS)
        for rows in (slice(0, 1), slice(7, 19), [5, 3]):
            part = {name: values[rows] for name, values in outputs.items()}
            alone = model.infer(part, EBV[rows], table[rows]).density(selection).quantile(LEVELS)
            np.testing.assert_allclose(alone, quantiles[rows], atol=1e-9)


def test_a_picture_that_says_nothing_spoils_no_other(model, outputs):
    spoiled = {name: np.where(np.arange(N) == 3, np.nan, values) for name, values in outputs.items()}
    for selection in SELECTIONS:
        quantiles = model.infer(spoiled, EBV).density(selection).quantile(LEVELS).numpy()
        assert np.isnan(quantiles[3]).all()
        assert np.isfinite(np.delete(quantiles, 3, 0)).all()
