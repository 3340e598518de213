"""Latent spaces learned from spectra that are known to lie in one, with noise and gaps."""

import numpy as np
import pytest
import torch

from hifrac.models.info_vae import mean_discrepancy
from hifrac.spectra import LinearLatents
from hifrac.training.latents import fill_gaps, fit_info_vae, fit_nmf, fit_pca, rotate, standardise

N_PIXELS = 80
X = np.linspace(0, 1, N_PIXELS)


def sample(n=120, noise=0.0, seed=0):
    """Spectra of three positive templates: a blue and a red continuum, and lines."""
    rng = np.random.default_rng(seed)
    templates = np.array(
        [1.5 - X, 0.3 + X**2, sum(np.exp(-0.5 * ((X - at) / 0.02) ** 2) for at in (0.3, 0.7))]
    )
    latents = rng.gamma(2, 0.5, (n, 3)) + 0.05
    return latents @ templates + rng.normal(0, noise, (n, N_PIXELS)), templates


def with_gaps(flux, seed=1):
    """Each spectrum lacks a fifth of its pixels at one end, as redshifts make it, and some elsewhere."""
    rng = np.random.default_rng(seed)
    gaps = rng.random(flux.shape) < 0.05
    for row in range(len(flux)):
        gaps[row, : rng.integers(0, N_PIXELS // 5)] = True
    return np.where(gaps, np.nan, flux), gaps


def relative_rms(found, expected):
    return np.sqrt(((found - expected) ** 2).mean(1)) / expected.mean(1)


def test_principal_components_span_what_spectra_are_made_of():
    flux, templates = sample()
    space = fit_pca(flux, n_latents=3)
    assert relative_rms(space.decode(space.encode(flux)), flux).max() < 1e-10
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(3), atol=1e-10)
    scatter = space.encode(flux).std(0)
    assert scatter[0] > scatter[1] > scatter[2]
    # New spectra of the same templates too.
    other = LinearLatents(templates).decode([[1, 2, 3], [3, 0, 0]])
    np.testing.assert_allclose(space.decode(space.encode(other)), other, atol=1e-9)


def test_gaps_are_filled_by_what_the_other_spectra_say():
    flux, _ = sample()
    gappy, gaps = with_gaps(flux)
    filled = fill_gaps(gappy, n_components=3)
    assert np.array_equal(filled[~gaps], flux[~gaps])
    error = np.abs(filled - flux)[gaps]
    by_mean = np.abs(np.nanmean(gappy, 0) - flux)[gaps]
    assert np.median(error) < 0.01 * np.median(by_mean)
    # By inverse variances of 0 as by NaN.
    np.testing.assert_allclose(fill_gaps(np.where(gaps, 1e9, flux), ~gaps, n_components=3), filled)


def test_principal_components_of_spectra_with_gaps():
    flux, _ = sample(noise=0.01)
    gappy, _ = with_gaps(flux)
    space = fit_pca(gappy, n_latents=3)
    assert np.median(relative_rms(space.decode(space.encode(gappy)), flux)) < 0.02


def test_non_negative_factors():
    flux, _ = sample(noise=0.005)
    space = fit_nmf(flux, n_latents=3)
    assert space.nonnegative
    assert (space.basis >= 0).all()
    latents = space.encode(flux)
    assert (latents >= 0).all()
    assert np.median(relative_rms(space.decode(latents), flux)) < 0.01
    # In any unit of the flux.
    tiny = fit_nmf(flux * 1e-17, n_latents=3)
    np.testing.assert_allclose(
        tiny.decode(tiny.encode(flux * 1e-17)) * 1e17, space.decode(latents), rtol=1e-6
    )


def shapes(n, noise=0.002):
    """Spectra without their brightness, which leaves two dimensions; the mean of their squares is 1."""
    flux, _ = sample(n, noise=noise)
    return flux / np.sqrt((flux**2).mean(1, keepdims=True))


QUICK = {"n_latents": 2, "hidden": (40, 20), "epochs": 40, "batch_size": 8}


@pytest.fixture(scope="module")
def autoencoder():
    flux = shapes(300)
    return fit_info_vae(flux, np.full(flux.shape, 1e3), lambd=1000, **QUICK), flux


def test_an_autoencoder_learns_spectra_and_the_scale_of_their_latents(autoencoder):
    space, flux = autoencoder
    assert space.n_latents == 2
    latents = space.encode(flux)
    error = np.median(relative_rms(space.decode(latents), flux))
    by_mean = np.median(relative_rms(np.broadcast_to(flux.mean(0), flux.shape), flux))
    assert error < 0.2 * by_mean
    assert np.abs(latents.mean(0)).max() < 0.4
    assert np.all((latents.std(0) > 0.7) & (latents.std(0) < 1.3))


@pytest.mark.slow
def test_lambda_holds_latents_to_the_prior(autoencoder):
    space, flux = autoencoder
    free = fit_info_vae(flux, np.full(flux.shape, 1e3), lambd=1, **QUICK)
    prior = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    held, loose = (
        mean_discrepancy(torch.from_numpy(one.encode(flux)).float(), prior).item() for one in (space, free)
    )
    assert held < 0.3 * loose


def test_its_latents_survive_gaps(autoencoder):
    space, flux = autoencoder
    gappy, _ = with_gaps(flux)
    whole, found = space.encode(flux), space.encode(gappy)
    assert np.median(np.abs(found - whole)) < 0.1


def test_the_rotation_and_the_units_of_a_sample(autoencoder):
    space, flux = autoencoder
    rotated = rotate(space, space.encode(flux))
    latents = rotated.encode(flux)
    covariance = np.cov(latents, rowvar=False)
    assert abs(covariance[0, 1]) < 1e-8
    assert covariance[0, 0] > covariance[1, 1]
    np.testing.assert_allclose(rotated.decode(latents), space.decode(space.encode(flux)), atol=1e-6)
    standardised = standardise(rotate(space, space.encode(flux), 1), latents[:, :1])
    found = standardised.encode(flux)
    np.testing.assert_allclose([found.mean(), found.std()], [0, 1], atol=1e-6)
    again = standardised.encode(standardised.decode(found))
    assert np.median(np.abs(again - found)) < 0.2


def test_an_autoencoder_is_the_same_each_time_and_leaves_chance_as_it_was():
    flux, _ = sample(20)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    spaces = [fit_info_vae(flux, n_latents=2, hidden=(8, 5), epochs=2, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(1), expected)
    latents = [space.encode(flux) for space in spaces]
    assert np.array_equal(latents[0], latents[1])
    assert not np.allclose(latents[0], latents[2])


@pytest.mark.slow
def test_errors_tell_an_autoencoder_what_to_learn():
    """Half of the pixels are noise: with errors that say so, they cost nothing."""
    flux, is_noise = shapes(300, noise=0), X > 0.5
    noisy = flux + np.random.default_rng(4).normal(0, 3, flux.shape) * is_noise
    errors = []
    for sigma in (3, 0.03):
        ivar = np.full(flux.shape, 1e3)
        ivar[:, is_noise] = sigma**-2
        space = fit_info_vae(noisy, ivar, lambd=10, **QUICK)
        made = space.decode(space.encode(noisy))[:, ~is_noise]
        errors.append(np.median(relative_rms(made, flux[:, ~is_noise])))
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("fit", [fit_pca, fit_nmf])
def test_too_few_spectra(fit):
    with pytest.raises(ValueError, match=r"^n_latents must be from 1 to .*\(3, 80\), got 4"):
        fit(sample(3)[0], n_latents=4)


def test_what_is_refused():
    flux = sample(4)[0]
    with pytest.raises(ValueError, match=r"^flux must be \(n, n_pixels\)"):
        fill_gaps(flux[0])
    with pytest.raises(ValueError, match=r"^flux must be \(n, n_pixels\)"):
        fill_gaps(flux[:0])
    with pytest.raises(ValueError, match=r"^flux: 3 spectra that are all the same have no"):
        fit_pca(np.ones((3, 9)), n_latents=2)
    with pytest.raises(ValueError, match=r"^flux must be above 0 in some pixel"):
        fit_nmf(-flux, n_latents=2)
    flux[:, 7] = np.nan
    with pytest.raises(
        ValueError, match=r"^flux: a pixel must be good in one spectrum at least, but 7 never"
    ):
        fit_pca(flux, n_latents=2)
    with pytest.raises(ValueError, match=r"^held_out: 0\.1 of 4 spectra leaves too few"):
        fit_info_vae(sample(4)[0], held_out=0.1)
    with pytest.raises(ValueError, match=r"^scale must be positive"):
        standardise(LinearLatents(np.eye(2)), np.ones((5, 2)))
