"""The distribution of a metallicity: evidence in any subset, against the formulas of normal distributions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from hifrac.core.evidence import Evidence
from hifrac.core.reddening import EXTINCTION_PER_EBV
from hifrac.models.evidence_table import READINGS
from hifrac.models.metallicity_table import MetallicityTable

pytestmark = pytest.mark.numeric
LEVELS = (0.05, 0.16, 0.5, 0.84, 0.95)
FACTOR = np.random.default_rng(1).normal(0, 0.1, (7, 9))
COVARIANCE = FACTOR @ FACTOR.T
ERRORS = np.array([0.02] * 5 + [0.01, 0.10])
MASS = READINGS.index("log_mstar")


def make(**facts):
    given = {
        "n": 100,
        "levels": LEVELS,
        "score_quantiles": tuple(norm.ppf(LEVELS)),
        "evidence_covariance": tuple(map(tuple, COVARIANCE)),
        "evidence_mean": tuple(0.01 * np.arange(7)),
        "evidence_limits": (1e3,) * 7,
        "slope": 0.3,
        "slope_change": -0.1,
        "mass_center": 10.0,
        "mass_scale": 0.5,
        "log_unit": (np.log(0.08), -0.2),
        "typical_ebv": 0.04,
    }
    return MetallicityTable(**{**given, **facts})


def outputs(n, seed=0):
    rng = np.random.default_rng(seed)
    shown = {f"mag_{band}": rng.uniform(14, 18, n) for band in "ugriz"}
    return shown | {
        "estimate": rng.uniform(8.5, 9.1, n),
        "log_cz": rng.uniform(3.5, 4.7, n),
        "log_mstar": rng.uniform(9, 11, n),
    }


def evidence(table, shown, differences, ebv):
    """What a table says of galaxies whose pictures miss the truth by so much, NaN where it says nothing."""
    dust = np.array([*(EXTINCTION_PER_EBV[band] for band in "ugriz"), 0.0, 0.0])
    truth = np.stack([shown[name] for name in READINGS], axis=1) + differences + table.evidence_mean
    truth = truth - ebv[:, None] * dust
    return replace(
        Evidence.none(len(truth)), magnitudes=truth[:, :5], log_cz=truth[:, 5], log_mstar=truth[:, 6]
    )


def test_without_evidence_the_picture_says_it_all():
    table, shown = make(), outputs(20)
    for known in (None, Evidence.none(20)):
        location, unit = table.location_and_unit(shown, None, known)
        np.testing.assert_allclose(location, shown["estimate"])
        mass = (shown["log_mstar"] - 10) / 0.5
        slope = 0.3 - 0.1 * mass
        expected = (0.08 * np.exp(-0.2 * mass)) ** 2 + slope**2 * COVARIANCE[MASS, MASS]
        np.testing.assert_allclose(unit**2, expected)


@given(known=st.sets(st.integers(0, 6), min_size=1), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_any_subset_of_evidence_moves_the_mass_as_normal_distributions_do(known, seed):
    table, shown, rng = make(), outputs(6, seed), np.random.default_rng(seed)
    ebv = rng.uniform(0, 0.2, 6)
    differences = np.full((6, 7), np.nan)
    part = sorted(known)
    differences[:, part] = rng.normal(0, 0.2, (6, len(part)))
    location, unit = table.location_and_unit(shown, ebv, evidence(table, shown, differences, ebv))
    noisy = COVARIANCE[np.ix_(part, part)] + np.diag(ERRORS[part] ** 2)
    gain = np.linalg.solve(noisy, COVARIANCE[part, MASS])
    mass = (shown["log_mstar"] - 10) / 0.5
    slope = 0.3 - 0.1 * mass
    np.testing.assert_allclose(location, shown["estimate"] + slope * (differences[:, part] @ gain), atol=1e-6)
    left = COVARIANCE[MASS, MASS] - gain @ COVARIANCE[part, MASS]
    np.testing.assert_allclose(unit**2, (0.08 * np.exp(-0.2 * mass)) ** 2 + slope**2 * left, rtol=1e-5)


def test_rows_may_know_different_things():
    table, shown, ebv = make(), outputs(3), np.array([0.1, np.nan, 0.02])
    differences = np.full((3, 7), np.nan)
    differences[0, 5], differences[1, [0, 6]] = 0.2, 0.1
    known = evidence(table, shown, differences, np.where(np.isfinite(ebv), ebv, 0.04))
    together = table.location_and_unit(shown, ebv, known)
    for row in range(3):
        alone = {name: values[row : row + 1] for name, values in shown.items()}
        one = table.location_and_unit(alone, ebv[row : row + 1], known[row : row + 1])
        np.testing.assert_allclose([values[row] for values in together], np.ravel(one), rtol=1e-8)
    assert together[0][2] == shown["estimate"][2]


def test_a_stated_error_of_the_mass_makes_it_count_less():
    table, shown, ebv = make(), outputs(2), np.zeros(2)
    differences = np.full((2, 7), np.nan)
    differences[:, MASS] = 0.3
    known = replace(evidence(table, shown, differences, ebv), log_mstar_err=np.array([np.nan, 0.5]))
    location, unit = table.location_and_unit(shown, ebv, known)
    moved = np.abs(location - shown["estimate"]) / np.abs(0.3 - 0.2 * (shown["log_mstar"] - 10))
    variance = COVARIANCE[MASS, MASS]
    noise = np.array([0.1**2, 0.1**2 + 0.5**2])
    np.testing.assert_allclose(moved, 0.3 * variance / (variance + noise), rtol=1e-6)
    assert np.all(unit > 0)


def test_what_is_too_far_is_moved_to_the_limit():
    table, shown, ebv = make(evidence_limits=(0.2,) * 7), outputs(2), np.zeros(2)
    near, far = (np.full((2, 7), np.nan) for _ in range(2))
    near[:, 5], far[:, 5] = 0.2, 5.0
    results = [
        table.location_and_unit(shown, ebv, evidence(table, shown, part, ebv))[0] for part in (near, far)
    ]
    np.testing.assert_allclose(*results)


def test_quantiles_are_those_of_the_scores():
    table, shown = make(), outputs(5)
    location, unit = table.location_and_unit(shown, None, None)
    levels = np.array([0.01, 0.16, 0.5, 0.84, 0.999])
    quantiles = table.quantiles(shown, None, None, levels)
    np.testing.assert_allclose(quantiles, location[:, None] + unit[:, None] * norm.ppf(levels))
    each = table.quantiles(shown, None, None, np.tile(levels, (5, 1)))
    np.testing.assert_allclose(each, quantiles)


def test_an_output_that_is_unknown_gives_no_quantiles():
    table, shown = make(), outputs(3)
    shown["estimate"][1] = np.nan
    quantiles = table.quantiles(shown, None, None, [0.16, 0.84])
    assert np.isnan(quantiles[1]).all()
    assert np.isfinite(quantiles[[0, 2]]).all()


def test_scores_become_quantiles():
    scores = np.random.default_rng(0).normal(0, 1, 4000)
    table = make().with_scores(scores)
    assert table.n == 4000
    np.testing.assert_allclose(table.score_quantiles, norm.ppf(table.levels), atol=0.1)
    with pytest.raises(ValueError, match="too few"):
        make().with_scores(scores[:3])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"levels": (0.5, 0.1), "score_quantiles": (0.0, 1.0)}, "levels must be increasing"),
        ({"levels": (0.5,), "score_quantiles": (0.0,)}, "levels must be two or more"),
        ({"levels": (0.5, 1.0), "score_quantiles": (0.0, 1.0)}, "levels must be increasing, between 0 and 1"),
        ({"score_quantiles": (1.0,)}, "score_quantiles must be 5 finite numbers"),
        ({"score_quantiles": (1.0, 0.0, 1.0, 2.0, 3.0)}, "score_quantiles must not decrease"),
        ({"evidence_mean": (0.0,)}, "evidence_mean must be 7 finite numbers"),
        ({"evidence_limits": (0.0,) * 7}, "evidence_limits must be positive"),
        ({"log_unit": (0.0, np.nan)}, "log_unit must be 2 finite numbers"),
        ({"evidence_covariance": ((1.0,),)}, "evidence_covariance must be 7 by 7 finite numbers"),
        ({"evidence_covariance": tuple(map(tuple, -np.eye(7)))}, "no negative eigenvalue"),
        ({"slope": np.nan}, "slope must be finite"),
        ({"mass_scale": 0.0}, "mass_scale must be positive"),
    ],
)
def test_facts_that_are_no_calibration(facts, message):
    with pytest.raises(ValueError, match=message):
        make(**facts)
