"""The prior: a polynomial like that of scikit-learn, which scripts, and ends where its data did."""

import numpy as np
import torch
from sklearn.preprocessing import PolynomialFeatures

from hifrac.models.prior import RANGES, Prior


def stirred_prior():
    prior, rng = Prior(), np.random.default_rng(2)
    for name, value in prior.named_buffers():
        if name not in ("low", "high", "exponents"):
            value.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, value.shape)))
    return prior


def galaxies(n=50, beyond=0.0):
    rng = np.random.default_rng(4)
    return [torch.from_numpy(rng.uniform(low - beyond, high + beyond, n)) for low, high in RANGES]


def test_the_terms_are_those_of_scikit_learn():
    prior, variables = stirred_prior(), galaxies()
    standard = (torch.stack(variables, 1) - prior.center) / prior.scale
    expected = PolynomialFeatures(4, include_bias=False).fit_transform(standard.numpy())
    np.testing.assert_allclose(prior.terms(prior.clipped(*variables)), expected, rtol=1e-12)
    scaled = (expected - prior.term_center.numpy()) / prior.term_scale.numpy()
    expected = prior.intercept.numpy() + scaled @ prior.coefficients.numpy()
    np.testing.assert_allclose(prior(*variables), expected, rtol=1e-9)


def test_beyond_the_ranges_it_stays_as_at_their_ends():
    prior, variables = stirred_prior(), galaxies(beyond=1.0)
    clipped = [value.clamp(*ends) for value, ends in zip(variables, RANGES, strict=True)]
    assert not torch.equal(clipped[0], variables[0])
    assert torch.equal(prior(*variables), prior(*clipped))


def test_single_precision_inputs_are_answered_in_double_precision():
    prior, variables = stirred_prior(), galaxies()
    answer = prior(*(value.float() for value in variables))
    assert answer.dtype == torch.float64
    np.testing.assert_allclose(answer, prior(*variables), rtol=1e-4)
