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

from hifrac.metrics import coverage, detection_auc, regression_metrics

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
