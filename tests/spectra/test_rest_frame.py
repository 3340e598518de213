"""The rest-frame grid, and what is conserved on the way to it."""

import itertools

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from hifrac.spectra import normalise, rest_wavelength, to_rest_frame

#: Pixels as of the SDSS: 0.0001 in log10 of the wavelength.
OBSERVED = 10 ** np.arange(3.58, 3.965, 1e-4)
GRID = 10 ** (3.53 + 0.00039 * np.arange(1000))
EDGES = 10 ** (3.53 + 0.00039 * (np.arange(1001) - 0.5))


def edges_of(wavelength):
    between = (wavelength[1:] + wavelength[:-1]) / 2
    return np.array([2 * wavelength[0] - between[0], *between, 2 * wavelength[-1] - between[-1]])


def written_out(wavelength, flux, ivar, z):
    """Each pixel of the grid on its own: overlaps of pixels, one after the other."""
    edges = edges_of(wavelength) / (1 + z)
    mean, inverse = np.full(1000, np.nan), np.zeros(1000)
    for i, (low, high) in enumerate(itertools.pairwise(EDGES)):
        overlap = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None)
        overlap[ivar <= 0] = 0
        if overlap.sum() >= 0.5 * (high - low):
            here = overlap > 0
            mean[i] = (1 + z) * (overlap[here] * flux[here]).sum() / overlap.sum()
            variance = (overlap * np.diff(edges))[here] / ivar[here]
            inverse[i] = overlap.sum() ** 2 / variance.sum() / (1 + z) ** 2
    return mean, inverse


def test_the_grid_is_that_of_the_paper():
    wavelength = rest_wavelength()
    assert wavelength.unit == u.AA
    assert wavelength.shape == (1000,)
    np.testing.assert_allclose(wavelength.value, GRID, rtol=1e-12)
    np.testing.assert_allclose(wavelength[[0, -1]].value, [3388.44, 8310.17], atol=0.005)


@pytest.mark.parametrize("z", [0.0, 0.1, 0.6, -0.001])
def test_each_pixel_is_the_mean_of_what_it_covers(z):
    rng = np.random.default_rng(1)
    flux, ivar = rng.normal(10, 3, OBSERVED.size), rng.uniform(0.5, 2, OBSERVED.size)
    ivar[rng.random(OBSERVED.size) < 0.1] = 0
    ivar[1000:1050] = 0
    found = to_rest_frame(OBSERVED, flux, ivar, redshift=z)
    expected = written_out(OBSERVED, flux, ivar, z)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-8)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-8)
    assert np.isnan(found[0]).sum() > 10
    assert np.array_equal(np.isnan(found[0]), found[1] == 0)


@given(z=st.floats(0.05, 0.15), slope=st.floats(-3, 3))
def test_light_is_conserved(z, slope):
    flux = OBSERVED**slope / 5000**slope
    rest = to_rest_frame(OBSERVED, flux, redshift=z)[0]
    inside = np.flatnonzero(np.isfinite(rest))[1:-1]
    limits = EDGES[[inside[0], inside[-1] + 1]] * (1 + z)
    # The energy between two wavelengths that move along: (1 + z) flux over (1 + z) times less wavelength.
    energy = np.interp(
        limits, edges_of(OBSERVED), np.concatenate([[0], np.cumsum(flux * np.diff(edges_of(OBSERVED)))])
    )
    np.testing.assert_allclose((rest * np.diff(EDGES))[inside].sum(), np.diff(energy)[0], rtol=1e-10)
    np.testing.assert_allclose(rest[inside], (1 + z) * (GRID[inside] * (1 + z) / 5000) ** slope, rtol=1e-4)


def test_the_errors_are_those_of_many_draws():
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.5, 2, OBSERVED.size)
    draws, ivar = [], None
    for _ in range(200):
        rest, ivar = to_rest_frame(OBSERVED, rng.normal(0, sigma), sigma**-2, redshift=0.08)
        draws.append(rest)
    inside = np.flatnonzero(ivar > 0)[1:-1]
    draws = np.array(draws)[:, inside]
    # Of sums over 20 pixels: those of single ones differ by what neighbours share.
    n = inside.size // 20 * 20
    sums = draws[:, :n].reshape(len(draws), -1, 20).sum(-1)
    predicted = (1 / ivar[inside][:n]).reshape(-1, 20).sum(-1)
    np.testing.assert_allclose((sums.var(0) / predicted).mean(), 1, atol=0.05)


def test_a_line_stays_where_it_is():
    line = 6564.61 * 1.123
    flux = np.exp(-0.5 * ((OBSERVED - line) / 4) ** 2)
    rest = to_rest_frame(OBSERVED, flux, redshift=0.123)[0]
    assert abs(np.nansum(rest * GRID) / np.nansum(rest) - 6564.61) < 0.1


def test_masked_pixels_are_gaps_whatever_they_hold():
    flux = np.ones(OBSERVED.size)
    mask = np.zeros(OBSERVED.size, dtype=bool)
    mask[500:700] = True
    spoilt = np.where(mask, 1e30, flux)
    clean, ivar = to_rest_frame(OBSERVED, flux, redshift=0.1, mask=mask)
    for arguments in (
        {"flux": spoilt, "mask": mask},
        {"flux": np.where(mask, np.nan, flux)},
        {"flux": np.where(mask, np.inf, flux)},
        {"flux": spoilt, "ivar": np.where(mask, 0, 1)},
        {"flux": spoilt, "ivar": np.where(mask, np.nan, 1)},
        {"flux": spoilt, "ivar": np.where(mask, -1, 1)},
    ):
        again = to_rest_frame(OBSERVED, redshift=0.1, **arguments)
        np.testing.assert_allclose(again[0], clean)
        np.testing.assert_allclose(again[1], ivar)
    gap = (OBSERVED[501] < GRID * 1.1) & (OBSERVED[698] > GRID * 1.1)
    assert np.isnan(clean[gap]).all()
    np.testing.assert_allclose(clean[np.isfinite(clean)], 1.1)


def test_the_coverage_that_is_asked_for():
    flux = np.ones(OBSERVED.size)
    flux[::2] = np.nan
    assert np.isfinite(to_rest_frame(OBSERVED, flux, redshift=0, coverage=0.2)[0]).sum() > 860
    assert not np.isfinite(to_rest_frame(OBSERVED, flux, redshift=0, coverage=0.2)[0]).all()
    with pytest.raises(ValueError, match=r"^redshift: at z = 0 the spectrum's good pixels"):
        to_rest_frame(OBSERVED, flux, redshift=0, coverage=0.9)


def test_units():
    flux = np.linspace(1, 2, OBSERVED.size)
    expected = to_rest_frame(OBSERVED, flux, redshift=0.1)
    found = to_rest_frame((OBSERVED / 1e4) * u.um, flux, redshift=0.1)
    np.testing.assert_allclose(found, expected)
    with pytest.raises(u.UnitConversionError):
        to_rest_frame(OBSERVED * u.s, flux, redshift=0.1)


ONES = np.ones(OBSERVED.size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"redshift": 3.0}, "redshift: at z = 3 the spectrum's good pixels are at 950 to 2306 Angstrom"),
        ({"redshift": np.nan}, "redshift must be a number above -1, got nan"),
        ({"redshift": -1.0}, "redshift must be a number above -1, got -1.0"),
        ({"flux": np.full(OBSERVED.size, np.nan)}, "flux must have a usable pixel"),
        ({"ivar": 0 * ONES}, "flux must have a usable pixel"),
        ({"mask": ONES > 0}, "flux must have a usable pixel"),
        ({"flux": ONES[1:]}, r"flux must have the shape \(3850,\) of wavelength, got \(3849,\)"),
        ({"ivar": ONES[1:]}, r"ivar must have the shape \(3850,\) of wavelength"),
        ({"mask": ONES[1:] > 0}, r"mask must have the shape \(3850,\) of wavelength"),
        ({"wavelength": OBSERVED[::-1]}, "wavelength must be positive and increase"),
        ({"wavelength": OBSERVED - 4000}, "wavelength must be positive and increase"),
        ({"wavelength": OBSERVED[None]}, "wavelength must have one axis"),
        ({"coverage": 0}, "coverage must be above 0 and at most 1, got 0"),
        ({"coverage": 1.1}, "coverage must be above 0 and at most 1, got 1.1"),
        ({"coverage": np.nan}, "coverage must be above 0 and at most 1, got nan"),
        ({"redshift": [0.1, 0.2]}, r"redshift must be a number above -1, got \[0.1, 0.2\]"),
        ({"redshift": np.ma.masked}, "redshift must be a number above -1, got --"),
        ({"flux": np.ma.array(ONES, mask=True)}, "flux must have a usable pixel"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        to_rest_frame(**{"wavelength": OBSERVED, "flux": ONES, "redshift": 0.1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"redshift": "a"}, TypeError, "redshift must hold numbers, got <U1"),
        ({"redshift": None}, TypeError, "redshift must hold numbers, got object"),
        ({"redshift": 3000 * u.km / u.s}, u.UnitConversionError, "redshift must be in , got the unit km / s"),
        ({"flux": ["a"] * OBSERVED.size}, TypeError, "flux must hold numbers"),
        ({"ivar": ["a"] * OBSERVED.size}, TypeError, "ivar must hold numbers"),
    ],
)
def test_what_holds_no_numbers(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        to_rest_frame(**{"wavelength": OBSERVED, "flux": ONES, "redshift": 0.1, **arguments})


@pytest.mark.parametrize("kind", [np.ma.array, MaskedColumn, lambda data, mask: Masked(data * u.Jy, mask)])
def test_gaps_of_masked_arrays_are_gaps(kind):
    mask = np.zeros(OBSERVED.size, dtype=bool)
    mask[1000:1200] = True
    flux = np.where(mask, 1e9, 2.0)
    expected = to_rest_frame(OBSERVED, flux, redshift=0.1, mask=mask)
    np.testing.assert_array_equal(to_rest_frame(OBSERVED, kind(flux, mask=mask), redshift=0.1), expected)
    ivar = kind(ONES, mask=mask)
    np.testing.assert_array_equal(to_rest_frame(OBSERVED, flux, ivar, redshift=0.1), expected)
    gappy, inverse, norm = normalise(kind(flux, mask=mask))
    assert np.isnan(gappy).tolist() == mask.tolist()
    assert (inverse == 0).tolist() == mask.tolist()
    assert norm == pytest.approx(2 * np.sqrt(OBSERVED.size))


def test_a_redshift_may_be_a_quantity():
    expected = to_rest_frame(OBSERVED, ONES, redshift=0.1)
    flux, ivar = to_rest_frame(OBSERVED, ONES, redshift=0.1 * u.one)
    assert type(flux) is type(ivar) is np.ndarray
    np.testing.assert_array_equal((flux, ivar), expected)


# The norm


def test_the_norm_of_a_spectrum_with_gaps_is_that_of_the_whole():
    rng = np.random.default_rng(3)
    flux = 5 + rng.normal(0, 0.1, (4, 1000))
    whole, _, norm = normalise(flux)
    np.testing.assert_allclose((whole**2).sum(1), 1)
    np.testing.assert_allclose(whole * norm[:, None], flux)
    ivar = rng.uniform(1, 2, flux.shape)
    ivar[:, 100:400] = 0
    flux[:, 600:650] = np.nan
    gappy, inverse, with_gaps = normalise(flux, ivar)
    np.testing.assert_allclose(with_gaps, norm, rtol=1e-3)
    assert np.isnan(gappy[:, 100:400]).all()
    assert np.isnan(gappy[:, 600:650]).all()
    assert not inverse[:, 600:650].any()
    good = np.isfinite(gappy)
    np.testing.assert_allclose((gappy**2 * inverse)[good], (flux**2 * ivar)[good])


def test_spectra_without_light_have_no_norm_and_stop_no_other():
    flux = np.ones((3, 10))
    flux[0] = 0
    flux[1] = np.nan
    normalised, ivar, norm = normalise(flux)
    assert np.isnan(norm).tolist() == [True, True, False]
    assert np.isnan(normalised[:2]).all()
    assert not ivar[:2].any()
    np.testing.assert_allclose(normalised[2], 10**-0.5)


def test_one_number_is_no_spectrum():
    with pytest.raises(ValueError, match=r"^flux must have an axis of pixels"):
        normalise(3.0)


def test_the_inverse_variances_of_other_spectra_are_refused():
    with pytest.raises(ValueError, match=r"^ivar must have the shape of flux, \(10,\), got \(9,\)"):
        normalise(np.ones(10), np.ones(9))
