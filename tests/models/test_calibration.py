"""Conformal quantiles, of residuals and of scores: their guarantee, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from hifrac.models.calibration import EVIDENCE_SETS, LEVELS, SCORE_LEVELS, ConformalTable, PosteriorTable


def residuals(seed, n, decimals):
    """Values with many ties, few, or none."""
    return np.round(np.random.default_rng(seed).normal(0.1, 1, n), decimals)


RESIDUALS = st.builds(residuals, st.integers(0, 2**32 - 1), st.integers(20, 120), st.sampled_from([0, 1, 12]))


@given(RESIDUALS)
@settings(max_examples=40)
def test_the_guarantee_holds_for_every_set_of_exchangeable_values(values):
    # Each of n + 1 values is equally likely to be the new one. So the shares over all choices of the
    # new one are probabilities, and the guarantee is an inequality without any sampling error.
    tables = [ConformalTable.from_residuals(np.delete(values, k)) for k in range(values.size)]
    for level in LEVELS:
        limits = np.array([table.value(level) for table in tables])
        if level > 0.5:
            assert np.mean(values <= limits) >= level - 1e-12
        elif level < 0.5:
            assert np.mean(values < limits) <= level + 1e-12


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, shape: rng.normal(0.1, 0.2, shape),
        lambda rng, shape: rng.standard_t(2, shape),
        lambda rng, shape: rng.exponential(1.0, shape) - 0.5,
        lambda rng, shape: rng.integers(0, 4, shape) / 4,
    ],
    ids=["normal", "heavy-tailed", "skewed", "discrete"],
)
@pytest.mark.parametrize("n", [19, 60, 259])
def test_the_coverage_is_at_least_nominal_in_simulations(draw, n):
    trials = 1500
    draws = draw(np.random.default_rng(n), (trials, n + 1))
    tables = [ConformalTable.from_residuals(row[:-1]) for row in draws]
    new = draws[:, -1]
    for low, high in ((0.16, 0.84), (0.05, 0.95)):
        lower, upper = (np.array([table.value(level) for table in tables]) for level in (low, high))
        nominal = high - low
        sampling = math.sqrt(nominal * (1 - nominal) / trials)
        share = np.mean((lower <= new) & (new <= upper))
        assert share >= nominal - 3 * sampling


def test_the_coverage_is_not_much_more_than_nominal():
    # The width of an honest interval is not a free lunch: at most 2/(n+1) too wide.
    trials, n = 3000, 99
    draws = np.random.default_rng(5).normal(size=(trials, n + 1))
    tables = [ConformalTable.from_residuals(row[:-1]) for row in draws]
    lower, upper = (np.array([table.value(level) for table in tables]) for level in (0.16, 0.84))
    share = np.mean((lower <= draws[:, -1]) & (draws[:, -1] <= upper))
    assert share == pytest.approx(0.68, abs=2 / (n + 1) + 3 * math.sqrt(0.68 * 0.32 / trials))


@given(RESIDUALS)
def test_values_increase_with_the_level_and_come_from_the_residuals(values):
    table = ConformalTable.from_residuals(values)
    assert table.n == len(values)
    assert table.levels == LEVELS
    assert list(table.values) == sorted(table.values)
    assert table.value(0.5) == np.median(values)
    assert {table.value(level) for level in (0.05, 0.16, 0.84, 0.95)} <= set(values)


@given(RESIDUALS, st.integers(0, 2**32 - 1))
def test_the_order_of_the_residuals_does_not_matter(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    assert ConformalTable.from_residuals(shuffled) == ConformalTable.from_residuals(values)


@given(RESIDUALS, st.sampled_from([-1.0, 0.25, 2.0]))
def test_a_shift_of_the_residuals_shifts_the_table(values, shift):
    moved = ConformalTable.from_residuals(values + shift)
    np.testing.assert_allclose(
        moved.values, np.array(ConformalTable.from_residuals(values).values) + shift, atol=1e-12
    )


@given(RESIDUALS)
def test_the_mirrored_residuals_give_the_mirrored_table(values):
    table = ConformalTable.from_residuals(values)
    mirrored = ConformalTable.from_residuals(-values)
    np.testing.assert_array_equal(mirrored.values, -np.array(table.values)[::-1])


@pytest.mark.parametrize("n", [0, 1, 5, 18])
def test_too_few_residuals_for_the_outermost_level(n):
    with pytest.raises(ValueError, match=rf"^residuals: {n} are too few for the level 0.05"):
        ConformalTable.from_residuals(np.linspace(0, 1, n))
    assert ConformalTable.from_residuals(np.linspace(0, 1, 19)).value(0.05) == 0


def test_too_few_residuals_for_an_upper_level_only():
    with pytest.raises(ValueError, match=r"^residuals: 50 are too few for the level 0.99"):
        ConformalTable.from_residuals(np.arange(50.0), levels=(0.5, 0.99))
    table = ConformalTable.from_residuals(np.arange(99.0), levels=(0.5, 0.99))
    assert table.value(0.99) == 98


def test_no_residuals_have_no_median():
    with pytest.raises(ValueError, match=r"^residuals: 0 are too few for the level 0.5"):
        ConformalTable.from_residuals([], levels=(0.5,))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_residuals_must_be_finite(bad):
    with pytest.raises(ValueError, match=r"^residuals must be one-dimensional and finite"):
        ConformalTable.from_residuals([*np.arange(30.0), bad])


@pytest.mark.parametrize("shape", [(), (5, 6)])
def test_residuals_must_be_one_dimensional(shape):
    with pytest.raises(ValueError, match=r"^residuals must be one-dimensional"):
        ConformalTable.from_residuals(np.zeros(shape))


@pytest.mark.parametrize("level", [0.25, 0.8400001, 0, 1, math.nan])
def test_a_level_that_is_not_tabulated(level):
    table = ConformalTable.from_residuals(np.arange(30.0))
    with pytest.raises(ValueError, match=r"^level must be one of \(0.05, 0.16, 0.5, 0.84, 0.95\), got"):
        table.value(level)


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        ((0.1, 0.9), (0.0,), "differ in length"),
        ((0.9, 0.1), (0.0, 1.0), "must be increasing"),
        ((0.1, 0.1), (0.0, 1.0), "must be increasing"),
        ((0.1, 0.9), (1.0, 0.0), "must be increasing"),
        ((0.0, 0.9), (0.0, 1.0), "between 0 and 1"),
        ((0.1, 1.0), (0.0, 1.0), "between 0 and 1"),
        ((0.1, math.nan), (0.0, 1.0), "between 0 and 1"),
        ((0.1, 0.9), (0.0, math.nan), "finite"),
        ((0.1, 0.9), (-math.inf, 0.0), "finite"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(levels, values, message):
    with pytest.raises(ValueError, match=message):
        ConformalTable(n=30, levels=levels, values=values)


def test_a_table_cannot_be_changed():
    table = ConformalTable(n=30, levels=[0.1, 0.9], values=[0, 1])
    assert table.levels == (0.1, 0.9)
    assert hash(table) == hash(ConformalTable(n=30, levels=(0.1, 0.9), values=(0.0, 1.0)))
    with pytest.raises(AttributeError):
        table.n = 31


# What a table makes of the outputs of a network


def test_without_a_spread_the_interval_has_one_width():
    table = ConformalTable.from_residuals(np.linspace(-1, 1, 99))
    outputs = {"estimate": np.array([0.0, 2.0, -3.0])}
    np.testing.assert_array_equal(table.estimate(outputs), outputs["estimate"])
    for level in LEVELS:
        np.testing.assert_array_equal(
            table.quantile(outputs, level), outputs["estimate"] + table.value(level)
        )


def test_with_a_spread_residuals_are_in_its_units():
    table = ConformalTable.from_residuals(np.linspace(-1, 1, 99))
    outputs = {"estimate": np.array([0.0, 2.0]), "log_spread": np.log([0.1, 3.0])}
    np.testing.assert_array_equal(table.estimate(outputs), outputs["estimate"])
    np.testing.assert_allclose(
        table.quantile(outputs, 0.84), [0.1 * table.value(0.84), 2 + 3 * table.value(0.84)]
    )
    with pytest.raises(ValueError, match=r"^level must be one of"):
        table.quantile(outputs, 0.8)


# The scores of a posterior

POSTERIOR = {
    "n": 259,
    "levels": (0.16, 0.5, 0.84),
    "widths": dict.fromkeys(EVIDENCE_SETS, (-1.5, 0.4)),
    "scores": dict.fromkeys(EVIDENCE_SETS, (-1.0, 0.1, 1.0)),
    "scores_gswlc": dict.fromkeys(EVIDENCE_SETS, (-0.9, 0.0, 0.8)),
    "scatter_gswlc": 0.1,
}


@given(st.integers(0, 2**32 - 1), st.integers(19, 300), st.integers(19, 300))
@settings(max_examples=20)
def test_the_scores_are_conformal_quantiles_of_each_set(seed, n, n_gswlc):
    rng = np.random.default_rng(seed)
    scores, gswlc = ({name: rng.standard_t(4, size) for name in EVIDENCE_SETS} for size in (n, n_gswlc))
    table = PosteriorTable.from_scores(scores, gswlc, POSTERIOR["widths"], 0.1)
    assert (table.n, table.levels) == (n, SCORE_LEVELS)
    for name in EVIDENCE_SETS:
        for rows, tabulated in ((scores, table.scores), (gswlc, table.scores_gswlc)):
            expected = ConformalTable.from_residuals(rows[name], SCORE_LEVELS).values
            assert tabulated[name] == expected


def test_too_few_scores_are_refused():
    few = {name: np.arange(18.0) for name in EVIDENCE_SETS}
    with pytest.raises(ValueError, match=r"^residuals: 18 are too few for the level 0.05"):
        PosteriorTable.from_scores(few, few, POSTERIOR["widths"], 0.1)


def test_between_its_levels_and_beyond_it_is_a_straight_line_on_probability_paper():
    table = PosteriorTable(**POSTERIOR)
    levels = np.array([0.001, 0.16, 0.3, 0.5, 0.84, 0.99])
    for mass_scale, (low, middle, high) in (("taylor", (-1.0, 0.1, 1.0)), ("gswlc", (-0.9, 0.0, 0.8))):
        scores = table.scores_at(ndtri(levels), mass_scale)
        assert scores.shape == (len(EVIDENCE_SETS), len(levels))
        unit = -ndtri(0.16)
        slopes = np.where(levels < 0.5, (middle - low) / unit, (high - middle) / unit)
        np.testing.assert_allclose(scores[0], middle + slopes * ndtri(levels), atol=1e-12)


def test_normal_scores_are_normal_again():
    scores = dict.fromkeys(EVIDENCE_SETS, tuple(0.3 + 0.8 * ndtri(SCORE_LEVELS)))
    table = PosteriorTable(**{**POSTERIOR, "levels": SCORE_LEVELS, "scores": scores, "scores_gswlc": scores})
    levels = np.linspace(0.001, 0.999, 99)
    expected = stats.norm(0.3, 0.8).ppf(levels)
    np.testing.assert_allclose(table.scores_at(ndtri(levels), "taylor"), np.tile(expected, (4, 1)), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": (0.16, 0.16, 0.84)}, "^levels must be increasing"),
        ({"levels": (0.0, 0.5, 0.84)}, "^levels must be increasing, between 0 and 1"),
        ({"levels": (0.5,)}, "^levels must be two or more"),
        ({"levels": (0.16, 0.84)}, "^scores must have 2 finite numbers"),
        ({"widths": {"picture": (-1.5, 0.4)}}, "^widths must have picture, picture.z, .* got picture$"),
        ({"widths": dict.fromkeys(EVIDENCE_SETS, (-1.5,))}, "^widths must have 2 finite numbers"),
        ({"scores": {}}, "^scores must have .* got none"),
        ({"scores": dict.fromkeys(EVIDENCE_SETS, (-1.0, 1.0, 0.5))}, "^scores must not decrease"),
        ({"scores_gswlc": dict.fromkeys(EVIDENCE_SETS, (-1.0, np.nan, 0.5))}, "^scores_gswlc must have 3"),
        ({"scatter_gswlc": -0.1}, "^scatter_gswlc must be finite and not negative"),
        ({"scatter_gswlc": np.inf}, "^scatter_gswlc must be finite and not negative"),
    ],
)  # fmt: skip
def test_a_posterior_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PosteriorTable(**{**POSTERIOR, **changes})
