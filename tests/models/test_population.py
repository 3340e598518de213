"""The population: a split normal distribution against scipy and against numerical integrals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from hifrac.models.population import N_MODE, N_WIDTH, Population, log_cdf, log_pdf, log_sf

WIDTHS = st.floats(0.1, 1.5)


def doubles(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


@given(value=st.floats(-4, 2), mode=st.floats(-2, 1), width=WIDTHS)
def test_equal_widths_make_a_normal_distribution(value, mode, width):
    arguments = doubles(value, mode, width, width)
    np.testing.assert_allclose(log_pdf(*arguments), norm.logpdf(value, mode, width), atol=1e-9)
    np.testing.assert_allclose(log_cdf(*arguments), norm.logcdf(value, mode, width), atol=1e-9, rtol=1e-9)
    np.testing.assert_allclose(log_sf(*arguments), norm.logsf(value, mode, width), atol=1e-9, rtol=1e-9)


@given(value=st.floats(-3, 2), below=WIDTHS, above=WIDTHS)
def test_the_distribution_is_the_integral_of_the_density(value, below, above):
    def density(x):
        return float(log_pdf(*doubles(x, -0.4, below, above)).exp())

    integral = sum(quad(density, *ends)[0] for ends in ((-20, min(value, -0.4)), (min(value, -0.4), value)))
    assert float(log_cdf(*doubles(value, -0.4, below, above)).exp()) == pytest.approx(integral, abs=1e-6)
    both = (
        log_cdf(*doubles(value, -0.4, below, above)).exp() + log_sf(*doubles(value, -0.4, below, above)).exp()
    )
    assert float(both) == pytest.approx(1, abs=1e-12)


def test_the_tails_have_logarithms_and_gradients():
    value = torch.tensor([-30.0, -0.4, 30.0], dtype=torch.float64, requires_grad=True)
    for function in (log_pdf, log_cdf, log_sf):
        (gradient,) = torch.autograd.grad(function(value, *doubles(-0.4, 0.2, 0.3)).sum(), value)
        assert torch.isfinite(gradient).all()
        assert torch.isfinite(function(value, *doubles(-0.4, 0.2, 0.3))).all()


def test_coefficients_are_of_the_terms():
    population = Population()
    assert population.design([0.7], [9.5], [0.2])[0].shape == (1, N_MODE)
    assert population.design([0.7], [9.5], [0.2])[1].shape == (1, N_WIDTH)
    population.mode[0], population.below[0], population.above[0] = -0.3, np.log(0.5), np.log(0.25)
    for value, expected in zip(population.at([0.2, 1.4], [8, 11], [0, 0.5]), (-0.3, 0.5, 0.25), strict=True):
        np.testing.assert_allclose(value, expected)
    population.mode[10] = -0.2  # of red galaxies alone
    mode, _, _ = population.at([0.85, 1.1, 1.25, 1.6], [10] * 4, [0.1] * 4)
    np.testing.assert_allclose(mode, [-0.3, -0.5, -0.65, -0.65])
