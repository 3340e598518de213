"""The distribution of a spectrum: evidence in any subset, against the formulas of normal distributions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from hifrac.core.evidence import Evidence
from hifrac.models.evidence_table import READINGS
from hifrac.models.spectrum_table import LATENTS, LINE_UNIT, RATIOS, SpectrumTable
from hifrac.spectra import LinearLatents

pytestmark = pytest.mark.numeric
LEVELS = (0.05, 0.16, 0.5, 0.84, 0.95)
FACTOR = np.random.default_rng(1).normal(0, 0.1, (15, 17))
JOINT = FACTOR @ FACTOR.T
ERRORS = np.array([0.02] * 5 + [0.01, 0.10])
SPACE = LinearLatents(np.random.default_rng(2).normal(0, 1, (5, 30)), np.full(30, 3.0))


def rows(matrix):
    return tuple(map(tuple, matrix.tolist()))


def make(**facts):
    given = {
        "n": 100,
        "n_lines": 50,
        "levels": LEVELS,
        "flux_quantiles": tuple(norm.ppf(LEVELS)),
        "line_quantiles": tuple(0.3 * norm.ppf(LEVELS)),
        "ratio_quantiles": (tuple(0.1 * norm.ppf(LEVELS)), tuple(0.05 * norm.ppf(LEVELS))),
        "latent_mean": tuple(0.01 * np.arange(5)),
        "latent_covariance": rows(JOINT[7:12, 7:12]),
        "cross_covariance": rows(JOINT[:7, 7:12]),
        "line_covariance": rows(JOINT[:7, 12:]),
        "evidence_covariance": rows(JOINT[:7, :7]),
        "evidence_mean": (0.0,) * 7,
        "evidence_limits": (1e3,) * 7,
        "typical_ebv": 0.0,
    }
    return SpectrumTable(**{**given, **facts})


def outputs(n, seed=0):
    rng = np.random.default_rng(seed)
    shown = {f"mag_{band}": rng.uniform(14, 18, n) for band in "ugriz"}
    shown |= {name: rng.normal(0, 0.1, n) for name in (*LATENTS, *RATIOS)}
    return shown | {
        "estimate": rng.uniform(-2, 60, n),
        "log_cz": rng.uniform(3.5, 4.7, n),
        "log_mstar": rng.uniform(9, 11, n),
    }


def test_quantiles_of_lines_and_continua():
    table, shown = make(), outputs(9)
    low, middle, high = table.quantiles(shown, None, None, [0.16, 0.5, 0.84]).T
    np.testing.assert_allclose(middle, shown["estimate"])
    width = np.arcsinh(high / LINE_UNIT) - np.arcsinh(low / LINE_UNIT)
    np.testing.assert_allclose(width, 0.6 * norm.ppf(0.84))
    for name, error in zip(RATIOS, (0.1, 0.05), strict=True):
        quantiles = table.ratio(shown, None, None, name, np.full((9, 2), [0.5, 0.84]))
        np.testing.assert_allclose(quantiles[:, 0], shown[name])
        np.testing.assert_allclose(quantiles[:, 1] - quantiles[:, 0], error * norm.ppf(0.84))


@given(known=st.sets(st.integers(0, 6)), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_any_subset_of_evidence_moves_latents_and_lines_as_normal_distributions_do(known, seed):
    table, shown, rng = make(), outputs(4, seed), np.random.default_rng(seed)
    part = sorted(known)
    differences = np.full((4, 7), np.nan)
    differences[:, part] = rng.normal(0, 0.2, (4, len(part)))
    truth = np.stack([shown[name] for name in READINGS], axis=1) + differences
    evidence = replace(Evidence.none(4), magnitudes=truth[:, :5], log_cz=truth[:, 5], log_mstar=truth[:, 6])
    mean, covariance = table.latents(shown, np.zeros(4), evidence)
    noisy = JOINT[np.ix_(part, part)] + np.diag(ERRORS[part] ** 2)
    gain = np.linalg.solve(noisy, JOINT[part, 7:])
    moved = differences[:, part] @ gain
    expected = np.stack([shown[name] for name in LATENTS], axis=1) + table.latent_mean
    np.testing.assert_allclose(mean, expected + moved[:, :5], atol=1e-6)
    left = JOINT[7:12, 7:12] - gain[:, :5].T @ JOINT[part, 7:12]
    np.testing.assert_allclose(covariance[0], left, atol=1e-6)
    (line,) = table.quantiles(shown, np.zeros(4), evidence, [0.5]).T
    location = np.arcsinh(shown["estimate"] / LINE_UNIT) + moved[:, 5]
    np.testing.assert_allclose(np.arcsinh(line / LINE_UNIT), location, atol=1e-6)
    for column, name in enumerate(RATIOS, start=6):
        (ratio,) = table.ratio(shown, np.zeros(4), evidence, name, [0.5]).T
        np.testing.assert_allclose(ratio, shown[name] + moved[:, column], atol=1e-6)


def test_bands_are_of_the_covariance_of_latents():
    table, shown = make(), outputs(6)
    low, middle, high = table.flux(SPACE, shown, None, None, (0.16, 0.5, 0.84))
    latents = np.stack([shown[name] for name in LATENTS], axis=1) + table.latent_mean
    np.testing.assert_allclose(middle, SPACE.decode(latents))
    sigma = np.sqrt(np.diag(SPACE.basis.T @ JOINT[7:12, 7:12] @ SPACE.basis))
    np.testing.assert_allclose(high - middle, np.tile(norm.ppf(0.84) * sigma, (6, 1)))
    np.testing.assert_allclose(middle - low, high - middle)


def test_rows_without_a_picture_have_nothing():
    shown = outputs(3)
    for values in shown.values():
        values[1] = np.nan
    flux = make().flux(SPACE, shown, None, None, (0.16, 0.5))
    assert np.isnan(flux[:, 1]).all()
    assert np.isfinite(flux[:, [0, 2]]).all()


def test_columns_of_a_result():
    table, shown = make(), outputs(3)
    for values in shown.values():
        values[1] = np.nan
    columns = table.columns(shown, None, None, SPACE)
    low, flux, high = table.flux(SPACE, shown, None, None, (0.16, 0.5, 0.84))
    for name, expected in {"flux": flux, "flux_p16": low, "flux_p84": high}.items():
        np.testing.assert_array_equal(columns.pop(name), expected)
    np.testing.assert_array_equal(columns.pop("latents"), table.latents(shown, None, None)[0])
    assert set(columns) == {name + end for name in RATIOS for end in ("", "_p16", "_p84")}
    for values in columns.values():
        assert np.isnan(values).tolist() == [False, True, False]
    for name in RATIOS:
        assert np.all(columns[f"{name}_p16"][::2] < columns[f"{name}_p84"][::2])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"levels": (0.5, 0.1, 0.2, 0.3, 0.4)}, "levels must be increasing"),
        ({"flux_quantiles": (1.0,)}, "flux_quantiles must be 5 finite numbers"),
        ({"line_quantiles": (1.0, 0.0, 1.0, 2.0, 3.0)}, "line_quantiles must not decrease"),
        ({"ratio_quantiles": ((1.0,) * 5,)}, "ratio_quantiles must be 2 by 5 finite numbers"),
        ({"ratio_quantiles": ((1.0, 0.0, 1.0, 2.0, 3.0),) * 2}, "ratio_quantiles must not decrease"),
        ({"latent_mean": (0.0,)}, "latent_mean must be 5 finite numbers"),
        ({"latent_covariance": rows(-np.eye(5))}, "latent_covariance must have no negative eigenvalue"),
        ({"cross_covariance": rows(np.eye(5))}, "cross_covariance must be 7 by 5 finite numbers"),
        ({"line_covariance": rows(np.eye(3))}, "line_covariance must be 7 by 3 finite numbers"),
        ({"evidence_limits": (0.0,) * 7}, "evidence_limits must be positive"),
        ({"typical_ebv": np.nan}, "typical_ebv must be finite"),
    ],
)
def test_facts_that_are_no_calibration(facts, message):
    with pytest.raises(ValueError, match=message):
        make(**facts)
