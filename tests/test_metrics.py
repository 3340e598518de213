"""Figures of merit against independent implementations."""

import math

import numpy as np
import pytest
from astropy.utils.masked import Masked
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score, root_mean_squared_error

from hifrac.metrics import (
    bootstrap_errors,
    coverage,
    detection_auc,
    format_metrics,
    limits_violated,
    metrics_table,
    pit,
    published_metrics,
    regression_metrics,
    score_estimates,
    written_figures,
    written_value,
)

PAIRS = hnp.arrays(float, st.tuples(st.just(2), st.integers(3, 40)), elements=st.floats(-3, 3, width=32))


def spread(*columns):
    return all(np.ptp(column) > 1e-3 for column in columns)


@given(PAIRS)
def test_the_figures_agree_with_numpy_scipy_and_sklearn(pair):
    truth, estimate = pair
    assume(spread(truth, estimate))
    figures = regression_metrics(truth, estimate)
    assert figures["rmse"] == pytest.approx(root_mean_squared_error(truth, estimate))
    assert figures["slope"] == pytest.approx(np.polyfit(truth, estimate, 1)[0], rel=1e-6, abs=1e-9)
    assert figures["slope_inverse"] == pytest.approx(
        stats.linregress(estimate, truth).slope, rel=1e-6, abs=1e-9
    )
    assert figures["sigma"] == pytest.approx(np.std(estimate - truth, ddof=1))
    assert figures["offset"] == pytest.approx(np.mean(estimate) - np.mean(truth), abs=1e-12)
    robust = stats.median_abs_deviation(estimate - truth, scale="normal")
    assert figures["nmad"] == pytest.approx(robust, rel=1e-4, abs=1e-12)
    assert all(type(value) is float for value in figures.values())


@given(PAIRS)
def test_the_error_splits_into_scatter_and_offset(pair):
    truth, estimate = pair
    assume(spread(truth, estimate))
    figures = regression_metrics(truth, estimate)
    n = truth.size
    assert figures["rmse"] ** 2 == pytest.approx(
        figures["sigma"] ** 2 * (n - 1) / n + figures["offset"] ** 2, abs=1e-12
    )


@given(PAIRS.filter(lambda pair: spread(pair[0])), st.sampled_from([-0.5, 0.0, 2.0]))
def test_a_perfect_estimate_with_an_offset(pair, shift):
    figures = regression_metrics(pair[0], pair[0] + shift)
    assert figures["rmse"] == pytest.approx(abs(shift), abs=1e-9)
    assert (figures["slope"], figures["slope_inverse"]) == (pytest.approx(1), pytest.approx(1))
    assert (figures["sigma"], figures["nmad"]) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))


def test_an_unbiased_predictor_has_an_inverse_slope_of_one():
    # Truth scatters about the estimate: regression of the estimate on truth is then flatter than one.
    rng = np.random.default_rng(1)
    estimate = rng.normal(0, 0.5, 20_000)
    figures = regression_metrics(estimate + rng.normal(0, 0.3, estimate.size), estimate)
    assert figures["slope_inverse"] == pytest.approx(1, abs=0.02)
    assert figures["slope"] == pytest.approx(0.25 / 0.34, abs=0.02)


@pytest.mark.parametrize(
    ("truth", "estimate", "message"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], "equally long"),
        ([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], "one-dimensional"),
        ([1.0, 2.0], [1.0, 2.0], "at least 3 rows, got 2"),
        ([], [], "at least 3 rows, got 0"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], "finite"),
        ([1.0, 2.0, 3.0], [1.0, np.inf, 3.0], "finite"),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], "constant"),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "constant"),
    ],
)
def test_what_regression_metrics_refuses(truth, estimate, message):
    with pytest.raises(ValueError, match=rf"^truth .*{message}"):
        regression_metrics(truth, estimate)


@pytest.mark.parametrize("masked", [np.ma.MaskedArray, Masked])
def test_masked_rows_are_refused_and_never_silently_counted(masked):
    values = masked(np.array([1.0, 2.0, 3.0, 4.0]), mask=[False, True, False, False])
    with pytest.raises(ValueError, match=r"^truth and estimate must not be masked"):
        regression_metrics([1.0, 2.0, 3.0, 4.0], values)
    with pytest.raises(ValueError, match=r"must not be masked"):
        coverage(values, [0.0] * 4, [5.0] * 4)
    with pytest.raises(ValueError, match=r"must not be masked"):
        detection_auc(masked([True, False, True], mask=[True, False, False]), [0.1, 0.2, 0.3])
    unmasked = masked(np.array([1.0, 2.0, 3.0, 4.5]), mask=[False] * 4)
    assert regression_metrics([1.0, 2.0, 3.0, 4.0], unmasked)["offset"] == pytest.approx(0.125)


@given(
    hnp.arrays(float, st.tuples(st.just(3), st.integers(1, 30)), elements=st.floats(-2, 2)),
)
def test_coverage_counts_closed_intervals(columns):
    truth, lower, upper = columns
    expected = (
        sum(low <= value <= high for value, low, high in zip(truth, lower, upper, strict=True)) / truth.size
    )
    assert coverage(truth, lower, upper) == pytest.approx(expected)
    assert coverage(truth, truth, truth) == 1


def test_coverage_of_normal_intervals():
    truth = np.random.default_rng(0).normal(size=50_000)
    limit = np.full(truth.size, stats.norm.ppf(0.84))
    assert coverage(truth, -limit, limit) == pytest.approx(0.68, abs=0.01)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], []), "at least one row"),
        (([1.0], [0.0], [1.0, 2.0]), "equally long"),
        (([1.0], [0.0, 1.0], [2.0]), "equally long"),
        (([1.0], [-np.inf], [2.0]), "finite"),
        (([np.nan], [0.0], [2.0]), "finite"),
    ],
)
def test_what_coverage_refuses(columns, message):
    with pytest.raises(ValueError, match=message):
        coverage(*columns)


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=60))
def test_the_area_is_that_of_sklearn_ties_included(rows):
    detected, score = (np.array(column) for column in zip(*rows, strict=True))
    assume(0 < detected.sum() < detected.size)
    assert detection_auc(detected, score) == pytest.approx(roc_auc_score(detected, score))


@given(hnp.arrays(float, 30, elements=st.floats(-1e6, 1e6), unique=True), st.integers(1, 29))
def test_the_area_depends_on_the_order_only(score, n_detected):
    detected = np.arange(30) < n_detected
    area = detection_auc(detected, score)
    assert detection_auc(detected, stats.rankdata(score)) == area
    assert detection_auc(detected, -score) == pytest.approx(1 - area)


def test_perfect_and_useless_scores():
    detected = np.array([False, False, True, True])
    assert detection_auc(detected, [0, 1, 2, 3]) == 1
    assert detection_auc(detected, [3, 2, 1, 0]) == 0
    assert detection_auc(detected, [7, 7, 7, 7]) == 0.5


@pytest.mark.parametrize(
    ("detected", "score", "message"),
    [
        ([0, 1], [0.1, 0.2], "detected must be boolean"),
        ([True, True], [0.1, 0.2], "both detections and non-detections"),
        ([False, False], [0.1, 0.2], "both detections and non-detections"),
        ([True, False], [0.1], "equally long"),
        ([True, False], [0.1, math.nan], "finite"),
        ([[True, False]], [[0.1, 0.2]], "one-dimensional"),
    ],
)
def test_what_detection_auc_refuses(detected, score, message):
    with pytest.raises(ValueError, match=message):
        detection_auc(detected, score)


# Upper limits, ranks, errors and tables


@given(
    hnp.arrays(float, st.tuples(st.just(2), st.integers(1, 30)), elements=st.sampled_from([-1.0, 0.0, 1.0]))
)
def test_a_limit_is_violated_by_an_estimate_above_it(pair):
    limit, estimate = pair
    assert limits_violated(limit, estimate) == pytest.approx(
        sum(one > most for most, one in zip(limit, estimate, strict=True)) / limit.size
    )
    assert limits_violated(limit, limit) == 0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (([], []), "limit must have at least one row"),
        (([1.0], [np.nan]), "limit and estimate must be finite"),
        (([1.0, 2.0], [1.0]), "limit and estimate must be one-dimensional and equally long"),
    ],
)
def test_what_limits_violated_refuses(pair, message):
    with pytest.raises(ValueError, match=message):
        limits_violated(*pair)


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6, unique=True))
def test_the_rank_in_a_normal_distribution_is_its_cumulative_probability(seed, levels):
    levels = np.sort(levels)
    assume(np.all(np.diff(levels) > 1e-3))
    rng = np.random.default_rng(seed)
    middle, width = rng.normal(size=20), rng.uniform(0.1, 2, 20)
    truth = middle + 2 * width * rng.normal(size=20)  # some far beyond the outermost quantiles
    quantiles = middle[:, None] + width[:, None] * stats.norm.ppf(levels)
    np.testing.assert_allclose(pit(truth, quantiles, levels), stats.norm.cdf(truth, middle, width), atol=1e-6)


def test_the_rank_of_a_quantile_is_its_level_and_ranks_do_not_decrease():
    levels, quantiles = [0.05, 0.16, 0.5, 0.84, 0.95], [-2.0, -0.3, -0.3, 0.1, 3.0]
    truth = np.array([-2.0, 0.1, 3.0])
    np.testing.assert_allclose(pit(truth, np.tile(quantiles, (3, 1)), levels), [0.05, 0.84, 0.95])
    truth = np.linspace(-9, 9, 400)
    ranks = pit(truth, np.tile(quantiles, (400, 1)), levels)
    assert np.all(np.diff(ranks) >= 0)
    assert np.all((ranks >= 0) & (ranks <= 1))


def test_ranks_of_truths_from_their_own_distributions_are_flat():
    rng = np.random.default_rng(0)
    middle, levels = rng.normal(size=4000), np.array([0.05, 0.5, 0.95])
    ranks = pit(rng.normal(middle, 0.4), middle[:, None] + 0.4 * stats.norm.ppf(levels), levels)
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    narrow = pit(rng.normal(middle, 0.4), middle[:, None] + 0.2 * stats.norm.ppf(levels), levels)
    assert stats.kstest(narrow, "uniform").pvalue < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [[0.0, 1.0]], [0.5, 0.2]), "levels must be two or more, increasing between 0 and 1"),
        (([1.0], [[0.0, 1.0]], [0.0, 0.5]), "levels must be two or more"),
        (([1.0], [[0.0]], [0.5]), "levels must be two or more"),
        (([1.0], [[0.0, 1.0, 2.0]], [0.2, 0.5]), r"quantiles must have shape \(1, 2\), got \(1, 3\)"),
        (([1.0], [[1.0, 0.0]], [0.2, 0.5]), "quantiles must not decrease"),
        (([1.0], [[1.0, 1.0]], [0.2, 0.5]), "quantiles: the outermost two of a side coincide"),
        (([1.0], [[1.0, np.nan]], [0.2, 0.5]), "quantiles must be finite"),
        (([np.nan], [[0.0, 1.0]], [0.2, 0.5]), "truth must be finite"),
        (([1.0], np.ma.masked_array([[0.0, 1.0]], mask=[[True, False]]), [0.2, 0.5]), "must not be masked"),
    ],
)
def test_what_pit_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pit(*arguments)


def test_bootstrap_errors_are_those_of_theory_and_of_scipy():
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 0.5, 400)
    estimate = truth + rng.normal(0.1, 0.3, 400)
    errors = bootstrap_errors(regression_metrics, truth, estimate)
    assert set(errors) == set(regression_metrics(truth, estimate))
    # The errors of a mean, of a standard deviation, and of a slope, of normal residuals.
    assert errors["offset"] == pytest.approx(0.3 / np.sqrt(400), rel=0.1)
    assert errors["sigma"] == pytest.approx(0.3 / np.sqrt(2 * 400), rel=0.15)
    assert errors["slope"] == pytest.approx(stats.linregress(truth, estimate).stderr, rel=0.15)
    other = stats.bootstrap(
        (truth, estimate), lambda a, b: np.sqrt(np.mean((b - a) ** 2)), paired=True, vectorized=False,
        n_resamples=1000, method="percentile", rng=1,
    )  # fmt: skip
    assert errors["rmse"] == pytest.approx(other.standard_error, rel=0.15)


def test_bootstrap_errors_repeat_and_take_a_figure_that_is_one_number():
    values = np.arange(50.0)
    assert bootstrap_errors(np.mean, values, seed=3) == bootstrap_errors(np.mean, values, seed=3)
    assert bootstrap_errors(np.mean, values, seed=3) != bootstrap_errors(np.mean, values, seed=4)
    assert bootstrap_errors(np.mean, values) == pytest.approx(np.std(values) / np.sqrt(50), rel=0.1)


def test_strata_keep_their_numbers():
    detected = np.arange(40) < 3
    seen = []
    bootstrap_errors(lambda column: seen.append(column.sum()) or 0.0, detected, strata=detected, draws=50)
    assert set(seen) == {3}
    score = np.random.default_rng(0).normal(size=40)
    assert bootstrap_errors(detection_auc, detected, score, strata=detected) > 0


def test_samples_without_a_figure_do_not_count_and_a_sample_without_any_says_why():
    # Of three rows some draws are three times the same, and have no slope.
    errors = bootstrap_errors(regression_metrics, [0.0, 1.0, 2.0], [0.0, 1.0, 3.0])
    assert np.isfinite(list(errors.values())).all()
    with pytest.raises(ValueError, match="constant"):
        bootstrap_errors(regression_metrics, [1.0, 1.0, 1.0], [0.0, 1.0, 3.0])


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ((), {}, "columns must be equally long, and not empty"),
        (([1.0], [1.0, 2.0]), {}, "columns must be equally long"),
        (([],), {}, "not empty"),
        ((np.ma.masked_array([1.0, 2.0], mask=[True, False]),), {}, "columns must not be masked"),
        (([1.0],), {"draws": 1}, "draws must be at least 2"),
        (([1.0],), {"strata": [True, False]}, "strata must have 1 values"),
    ],
)
def test_what_bootstrap_errors_refuses(columns, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_errors(np.mean, *columns, **options)


def judged(**changes):
    rng = np.random.default_rng(6)
    truth = rng.normal(0, 0.5, 60)
    estimate = truth + rng.normal(0, 0.2, 60)
    columns = {"truth": truth, "estimate": estimate, "lower": estimate - 0.2, "upper": estimate + 0.2}
    columns["is_limit"] = np.arange(60) >= 50
    columns |= changes
    return columns, score_estimates(columns["truth"], columns["estimate"], **{
        name: value for name, value in columns.items() if name not in ("truth", "estimate")
    }, draws=100)  # fmt: skip


def test_detections_and_limits_are_judged_apart():
    columns, figures = judged()
    measured = slice(0, 50)
    for name, value in regression_metrics(columns["truth"][measured], columns["estimate"][measured]).items():
        assert figures[name] == value
        assert figures[f"{name}_error"] > 0
    assert figures["coverage"] == coverage(*(columns[name][measured] for name in ("truth", "lower", "upper")))
    assert figures["limits_violated"] == np.mean(columns["estimate"][50:] > columns["truth"][50:])
    assert (figures["n"], figures["n_limits"], figures["left_out"]) == (50, 10, 0)


@pytest.mark.parametrize("masked", [np.ma.MaskedArray, Masked])
def test_masked_rows_are_left_out_and_counted(masked):
    columns, _ = judged()
    hidden = np.arange(60) < 5
    _, figures = judged(estimate=masked(np.where(hidden, 99.0, columns["estimate"]), mask=hidden))
    assert (figures["n"], figures["left_out"]) == (45, 5)
    assert figures["rmse"] < 1
    _, other = judged(is_limit=masked(columns["is_limit"], mask=np.arange(60) == 59))
    assert (other["n"], other["n_limits"]) == (51, 9)


def test_too_few_rows_have_no_figures_and_no_error():
    figures = score_estimates([0.0, 1.0], [0.1, 1.1], is_limit=[False, False])
    assert figures["n"] == 2
    assert all(np.isnan(figures[name]) for name in ("rmse", "rmse_error", "slope", "limits_violated"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upper": None}, "lower and upper must be given together"),
        ({"truth": np.zeros(3)}, "lengths differ"),
        ({"is_limit": np.zeros(60)}, "is_limit must be boolean, got float64"),
        ({"estimate": np.array(["a"] * 60)}, "estimate must hold numbers"),
    ],
)
def test_what_judge_refuses(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        judged(**changes)


def test_a_table_of_figures_prints_values_with_their_errors():
    _, figures = judged()
    table = metrics_table({"one": figures, "two": {"n": 3, "rmse": 0.25, "rmse_error": np.nan}})
    assert table["sigma"].description.startswith(
        "standard deviation of estimate minus measured value, ddof=1"
    )
    assert table["rmse_error"].description.startswith("bootstrap error of root mean square")
    first, _, one, two = format_metrics(table).splitlines()
    assert first.split()[:3] == ["estimator", "n", "rmse"]
    assert f"{figures['rmse']:.3f} ± {figures['rmse_error']:.3f}" in one
    assert two.split()[:4] == ["two", "3", "0.250", "--"]
    assert "rmse_error" not in first
    assert written_value(figures["rmse"], figures["rmse_error"], decimals=1) in format_metrics(
        table, decimals=1
    )
    with pytest.raises(ValueError, match="rows must have the figures of at least one"):
        metrics_table({})


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.1993, 0.0152, "0.199 ± 0.015"),
        (0.1687, 0.008, "0.169 ± 0.008"),
        (0.0333, 0.0004, "0.0333 ± 0.0004"),  # no error of 0.000
        (-0.00002, 0.00096, "0.0000 ± 0.0010"),
        (0.5338, 0.1234, "0.53 ± 0.12"),
        (0.5, 0.0996, "0.50 ± 0.10"),
        (121.3, 12.3, "121 ± 12"),
        (1.0, 0.0, "1.000"),  # all draws alike: that is no error
        (-0.00002, np.nan, "0.000"),
        (np.nan, 0.1, "--"),
    ],
)
def test_a_value_has_as_many_decimals_as_its_error(value, error, text):
    assert written_value(value, error) == text


def test_figures_are_written_with_the_errors_of_their_names():
    figures = {
        "auc": 0.926,
        "auc_error": 0.0188,
        "auc_measured": 0.9415,
        "auc_error_measured": 0.0258,
        "n": 7,
    }
    texts = {"auc": "0.926 ± 0.019", "auc_measured": "0.942 ± 0.026", "n": "7"}
    assert written_figures(figures) == texts


# The published figures


def identity_gap(table):
    """By how much the published RMSE misses what its sigma and offset say."""
    n = np.asarray(table["n"], float)
    sigma, offset = np.asarray(table["sigma"]), np.asarray(table["offset"])
    return np.asarray(table["rmse"]) - np.sqrt(sigma**2 * (n - 1) / n + offset**2)


def test_the_published_figures_obey_the_identity_but_for_one_misprint():
    table = published_metrics()
    assert len(table) == 68
    consistent = np.asarray(table["consistent"])
    # Three numbers are rounded to four digits.
    gap = np.abs(identity_gap(table))
    assert gap[consistent].max() < 1.5e-4
    (misprint,) = table[~consistent]
    assert (misprint["table"], misprint["cut"], misprint["sample"], misprint["estimator"]) == (
        3, "Cfgas>0.7", "xGASS", "CNN",
    )  # fmt: skip
    assert gap[~consistent][0] > 0.01


def test_a_sigma_with_another_ddof_would_not_obey_it():
    table = published_metrics()
    table = table[np.asarray(table["consistent"]) & (table["n"] < 60)]
    assert len(table) >= 5
    with_n = np.sqrt(np.asarray(table["sigma"]) ** 2 + np.asarray(table["offset"]) ** 2)
    assert np.abs(np.asarray(table["rmse"]) - with_n).max() > 5 * np.abs(identity_gap(table)).max()


def test_the_samples_have_the_published_sizes():
    table = published_metrics()
    whole = table[(table["table"] == 2) & (table["cut"] == "all")]
    assert dict(zip(whole["sample"], whole["n"], strict=True)) == {
        "alpha.40A": 7128, "alpha.100": 6087, "NIBLES": 899, "xGASS": 1179,
    }  # fmt: skip
