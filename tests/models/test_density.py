"""Distributions as histograms: against scipy, cut, weighted and shifted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hifrac.models.density import NORMAL_SCORES, Density
from hifrac.models.population import log_cdf

LEVELS = (0.01, 0.05, 0.16, 0.5, 0.84, 0.95, 0.99)
WIDTHS = st.floats(0.1, 1.5)


def doubles(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


@given(mode=st.floats(-3, 1), below=WIDTHS, above=WIDTHS)
def test_quantiles_and_probabilities_are_those_of_the_split_normal(mode, below, above):
    density = Density.split_normal(*doubles(mode, below, above))
    assert float(density.masses.sum()) == pytest.approx(1, abs=1e-12)
    for level, value in zip(LEVELS, density.quantile(LEVELS)[0], strict=True):
        exact = log_cdf(value, *doubles(mode, below, above)).exp()
        assert float(exact) == pytest.approx(level, abs=1e-4)
        assert float(density.cdf([value])) == pytest.approx(level, abs=1e-9)
    # Wallis (2014): mean and variance of two halves of normal distributions.
    shift = np.sqrt(2 / np.pi) * (above - below)
    variance = (1 - 2 / np.pi) * (above - below) ** 2 + above * below
    assert float(density.mean()) == pytest.approx(mode + shift, abs=1e-3)
    assert float(density.std()) == pytest.approx(np.sqrt(variance), rel=2e-3)


def test_scores_place_the_distribution():
    heavy = torch.from_numpy(stats.t(5).ppf(stats.norm.cdf(NORMAL_SCORES.numpy().clip(-6, 6))))
    density = Density.of_scores(*doubles(0.3, 0.2), heavy[None])
    np.testing.assert_allclose(density.quantile(LEVELS)[0], 0.3 + 0.2 * stats.t(5).ppf(LEVELS), atol=1e-3)


@given(limit=st.floats(-2.0, 2.0))
def test_a_limit_truncates(limit):
    density = Density.split_normal(*doubles(0.0, 0.5, 0.5)).below(torch.tensor([limit], dtype=torch.float64))
    expected = stats.truncnorm(-np.inf, limit / 0.5, 0, 0.5)
    np.testing.assert_allclose(density.quantile(LEVELS)[0], expected.ppf(LEVELS), atol=4e-3)
    assert float(density.quantile([1.0])) <= limit + 1e-12


def test_a_limit_below_everything_leaves_the_limit_and_none_changes_nothing():
    density = Density.split_normal(*(torch.tensor([value] * 3).double() for value in (0.0, 0.2, 0.3)))
    assert density.below(torch.full((3,), np.nan).double()) is density
    cut = density.below(torch.tensor([np.nan, -9.0, -np.inf]).double())
    np.testing.assert_array_equal(cut.quantile(LEVELS)[0], density.quantile(LEVELS)[0])
    np.testing.assert_allclose(cut.quantile(LEVELS)[1], -9.0)


def test_weights_are_those_of_bayes():
    # A normal prior times a normal likelihood is a normal posterior.
    density = Density.split_normal(*doubles(0.0, 0.5, 0.5))
    weighted = density.weighted(-0.5 * ((density.middles - 0.4) / 0.3) ** 2 - 2000)
    precision = 1 / 0.5**2 + 1 / 0.3**2
    expected = stats.norm(0.4 / 0.3**2 / precision, precision**-0.5)
    np.testing.assert_allclose(weighted.quantile(LEVELS)[0], expected.ppf(LEVELS), atol=1e-3)


def test_draws_are_distributed_as_the_density():
    density = Density.split_normal(*doubles(-0.4, 0.6, 0.2)).below(torch.tensor([-0.1]).double())
    shares = np.random.default_rng(1).random((1, 4000))
    draws = density.quantile(shares)[0].numpy()
    assert stats.kstest(draws, lambda x: np.array([float(density.cdf([v])) for v in x])).pvalue > 0.01
    assert draws.mean() == pytest.approx(float(density.mean()), abs=0.03)
    shifted = density.shifted(torch.tensor([0.5]).double()).quantile(shares)[0].numpy()
    np.testing.assert_allclose(shifted, draws + 0.5)


def test_what_is_not_known_stays_unknown():
    density = Density.split_normal(*(torch.tensor([value, np.nan]).double() for value in (0.0, 0.2, 0.3)))
    quantiles = density.quantile(LEVELS)
    assert torch.isfinite(quantiles[0]).all()
    assert torch.isnan(quantiles[1]).all()
