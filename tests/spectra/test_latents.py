"""Latent spaces of spectra: there and back, with gaps and errors, and in other coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import nnls

from hifrac.models.info_vae import InfoVAE
from hifrac.spectra import (
    LinearLatents,
    NetworkLatents,
    RotatedLatents,
    StandardisedLatents,
    rest_wavelength,
)

N_PIXELS = 60


def templates(n_latents=4, seed=0):
    """Smooth templates, not orthogonal, of scales that differ by far."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, N_PIXELS)
    basis = [np.cos(np.pi * k * x) + rng.uniform(0.5, 1.5) for k in range(1, n_latents + 1)]
    return np.array(basis) * np.geomspace(1e-3, 1, n_latents)[:, None]


def network(**options):
    torch.manual_seed(0)
    return NetworkLatents(InfoVAE(N_PIXELS, 3, (20, 10), **options).eval(), np.linspace(1, 2, N_PIXELS))


def spaces():
    linear = LinearLatents(templates(), np.linspace(1, 2, N_PIXELS))
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    return [
        linear,
        LinearLatents(templates(), nonnegative=True),
        RotatedLatents(linear, [1, 2, 3, 4], axes),
        RotatedLatents(linear, [1, 2, 3, 4], axes[:2]),
        StandardisedLatents(RotatedLatents(linear, [0, 0, 0, 1], axes[:3]), [1, 2, 3], [0.1, 10, 1]),
        network(),
        StandardisedLatents(network(), [1, 2, 3], [0.1, 10, 1]),
    ]


@pytest.mark.parametrize("space", spaces(), ids=lambda space: type(space).__name__)
def test_what_all_spaces_share(space):
    rng = np.random.default_rng(2)
    latents = rng.uniform(0.5, 2, (3, space.n_latents))
    flux = space.decode(latents)
    assert flux.shape == (3, N_PIXELS)
    assert flux.dtype == float
    found = space.encode(flux)
    assert found.shape == latents.shape
    if not isinstance(space, NetworkLatents) and not isinstance(
        getattr(space, "space", None), NetworkLatents
    ):
        # There and back, as far as the space goes.
        np.testing.assert_allclose(found, latents, rtol=1e-6, atol=1e-6)
    # Each spectrum for itself.
    np.testing.assert_allclose(space.encode(flux[1:2]), found[1:2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(space.decode(latents[1:2]), flux[1:2], rtol=1e-5, atol=1e-5)
    assert space.encode(flux[:0]).shape == (0, space.n_latents)
    # A spectrum of which nothing is known stops no other.
    flux[1] = np.nan
    again = space.encode(flux)
    assert np.isnan(again[1]).all()
    np.testing.assert_allclose(again[[0, 2]], found[[0, 2]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", spaces(), ids=lambda space: type(space).__name__)
def test_what_all_spaces_refuse(space):
    with pytest.raises(ValueError, match=rf"^flux must be \(n, {N_PIXELS}\), got shape \(2, 7\)"):
        space.encode(np.ones((2, 7)))
    with pytest.raises(ValueError, match=rf"^flux must be \(n, {N_PIXELS}\), got shape \({N_PIXELS},\)"):
        space.encode(np.ones(N_PIXELS))
    with pytest.raises(ValueError, match=r"^ivar must have the shape of flux"):
        space.encode(np.ones((2, N_PIXELS)), np.ones(N_PIXELS))
    with pytest.raises(ValueError, match=rf"^latents must be \(n, {space.n_latents}\), got shape \(2, 99\)"):
        space.decode(np.ones((2, 99)))


# Templates


def test_errors_weigh_pixels_as_in_a_direct_fit():
    rng = np.random.default_rng(3)
    basis, mean = templates(), np.linspace(1, 2, N_PIXELS)
    flux, ivar = rng.normal(2, 1, (5, N_PIXELS)), rng.uniform(0.01, 10, (5, N_PIXELS))
    found = LinearLatents(basis, mean).encode(flux, ivar)
    for row in range(5):
        weights = np.diag(ivar[row])
        expected = np.linalg.solve(basis @ weights @ basis.T, basis @ weights @ (flux[row] - mean))
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)
    # The unit of the errors does not matter.
    np.testing.assert_allclose(LinearLatents(basis, mean).encode(flux, ivar * 1e8), found)


@given(gaps=npst.arrays(bool, N_PIXELS, elements=st.booleans()), as_nan=st.booleans())
def test_gaps_say_nothing(gaps, as_nan):
    space = LinearLatents(templates())
    latents = np.array([[300.0, 20.0, 1.0, -2.0]])
    flux = space.decode(latents)
    ivar = np.ones_like(flux)
    if as_nan:
        flux[0, gaps] = np.nan
    else:
        flux[0, gaps], ivar[0, gaps] = 1e20, 0
    found = space.encode(flux, ivar)
    if (~gaps).sum() < 4:
        assert np.isnan(found).all()
    elif (~gaps).sum() > 10:
        np.testing.assert_allclose(found, latents, rtol=1e-5)


def test_latents_that_may_not_be_negative():
    rng = np.random.default_rng(4)
    basis = np.abs(templates())
    flux = rng.normal(0, 1, (6, N_PIXELS))
    found = LinearLatents(basis, nonnegative=True).encode(flux)
    assert (found >= 0).all()
    assert (found == 0).any()
    for row in range(6):
        scale = np.linalg.norm(basis, axis=1)
        expected = nnls((basis / scale[:, None]).T, flux[row])[0] / scale
        np.testing.assert_allclose(found[row], expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2, 3],), r"basis must be \(n_latents, n_pixels\), got shape \(3,\)"),
        ((np.ones((3, 2)),), r"basis must be \(n_latents, n_pixels\), got shape \(3, 2\)"),
        ((np.ones((0, 2)),), r"basis must be \(n_latents, n_pixels\), got shape \(0, 2\)"),
        ((np.ones((1, 2)), np.ones(3)), r"mean must have 2 numbers, got shape \(3,\)"),
        (([[1, np.nan]],), "basis and mean must be finite"),
        (([[1, 2]], [np.inf, 1]), "basis and mean must be finite"),
        (([[1, 2], [0, 0]],), "basis must have no template that is 0 everywhere"),
    ],
)
def test_templates_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        LinearLatents(*arguments)


def test_latents_and_spectra_that_hold_no_numbers():
    space = LinearLatents([[1.0, 2.0]])
    with pytest.raises(TypeError, match=r"^latents must hold numbers"):
        space.decode([["a"]])
    with pytest.raises(TypeError, match=r"^flux must hold numbers"):
        space.encode([["a", "b"]])


def test_masked_pixels_and_latents_are_gaps():
    space = LinearLatents([[1.0, 1.0, 1.0]])
    flux = np.ma.array([[2.0, 1e9, 2.0]], mask=[[False, True, False]])
    np.testing.assert_allclose(space.encode(flux), [[2.0]])
    assert np.isnan(space.decode(np.ma.array([[2.0]], mask=True))).all()


# Networks


def test_gaps_of_a_network_are_filled_by_itself():
    space = network()
    with torch.no_grad():  # a decoder that undoes the encoder: on its spectra the filling has an end
        for parameter in space.network.parameters():
            parameter.mul_(0.5)
    flux = space.decode(np.random.default_rng(5).normal(size=(2, 3)))
    whole = space.encode(flux)
    flux[0, 20:30] = np.nan
    ivar = np.ones_like(flux)
    ivar[1, 20:30] = 0
    flux[1, 20:30] = 1e9
    found = space.encode(flux, ivar)
    filled = flux.copy()
    filled[:, 20:30] = space.decode(found)[:, 20:30]
    # What it says of the filled spectrum is what it said, and the gap's own content is not used.
    np.testing.assert_allclose(space.encode(filled), found, atol=1e-5)
    assert np.abs(found - whole).max() < 1
    np.testing.assert_allclose(space.encode(flux, None)[0], found[0], atol=1e-6)


def test_a_mean_of_other_pixels():
    with pytest.raises(ValueError, match=rf"^mean must have {N_PIXELS} numbers, got shape \(7,\)"):
        NetworkLatents(InfoVAE(N_PIXELS, 3, (20, 10)), np.ones(7))


# Other coordinates


def test_standardised_latents_are_undone_before_they_are_decoded():
    linear = LinearLatents(templates())
    latents = np.random.default_rng(6).normal(3, [1, 2, 3, 4], (200, 4))
    space = StandardisedLatents(linear, latents.mean(0), latents.std(0))
    flux = linear.decode(latents)
    standardised = space.encode(flux)
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standardised.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(space.decode(standardised), flux, rtol=1e-6)
    # What the original draws: standardised latents decoded as if they were latents.
    assert np.abs(linear.decode(standardised) / flux - 1).mean() > 0.5


def test_fewer_axes_keep_what_lies_along_them():
    linear = LinearLatents(np.eye(4, N_PIXELS))
    axes = np.linalg.qr(np.random.default_rng(7).normal(size=(4, 4)))[0][:2]
    space = RotatedLatents(linear, [1, 1, 1, 1], axes)
    flux = np.random.default_rng(8).normal(size=(3, N_PIXELS))
    kept = space.decode(space.encode(flux))
    np.testing.assert_allclose(kept[:, :4], 1 + (flux[:, :4] - 1) @ axes.T @ axes, atol=1e-10)
    np.testing.assert_allclose(space.encode(kept), space.encode(flux), atol=1e-10)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (RotatedLatents, ([1, 2], np.eye(4)), r"center must have 4 numbers, got shape \(2,\)"),
        (RotatedLatents, (np.ones(4), np.eye(3)), r"axes must be \(n_latents, 4\), got shape \(3, 3\)"),
        (RotatedLatents, (np.ones(4), 2 * np.eye(4)), "axes must be orthonormal"),
        (StandardisedLatents, (np.ones(4), np.ones(3)), r"scale must have 4 numbers, got shape \(3,\)"),
        (StandardisedLatents, (np.ones(4), [1, 1, 0, 1]), r"scale must be positive, got \[1\.0, 1\.0, 0\.0"),
        (StandardisedLatents, (np.ones(4), [1, 1, np.nan, 1]), "scale must be positive"),
    ],
)
def test_coordinates_that_are_none(make, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make(LinearLatents(templates()), *arguments)


# Real spectra


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "nonnegative", "expected"),
    [
        ("kcorrect5", False, 0.056),  # 0.058 in the description of the data
        ("kcorrect5", True, 0.060),
        ("spEigenGal_53724", False, 0.059),
        ("spEigenGal_55740", False, 0.063),
        ("spEigenGal_56436", False, 0.063),
        ("spEigenGal_55686", False, 0.067),
        ("redrock5", False, 0.089),
    ],
)
def test_how_well_real_spectra_are_reconstructed(real_data, name, nonnegative, expected):
    spectra = np.load(real_data / "spectra" / "real_sdss_galaxy_spectra.npz")
    bases = np.load(real_data / "spectra" / "galaxy_spectral_bases.npz")
    np.testing.assert_allclose(rest_wavelength().value, bases["wave"], rtol=1e-9)
    space = LinearLatents(bases[name], nonnegative=nonnegative)
    flux = spectra["flux"].astype(float)
    flux[spectra["ivar"] <= 0] = np.nan
    residuals = flux - space.decode(space.encode(flux))
    relative = np.sqrt(np.nanmean(residuals**2, 1)) / np.nanmean(flux, 1)
    assert len(relative) == 21
    assert np.median(relative) == pytest.approx(expected, abs=0.0006)
