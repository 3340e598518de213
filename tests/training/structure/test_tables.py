"""Figures of held-out galaxies: by hand, and without what a fold must not know."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from hifrac.models.calibration import LEVELS, ConformalTable, PopulationTable
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import StructureNet
from hifrac.training.evaluation import coverage_across
from hifrac.training.structure import tables as evaluation
from hifrac.training.structure.cross_validation import Calibrated, OutOfFold, calibrate, calibrate_across
from hifrac.training.structure.sample import Labels
from hifrac.training.structure.tables import (
    deep_table,
    gswlc_table,
    ood_table,
    parents_table,
    radial_colours,
    tercile_table,
)

pytestmark = pytest.mark.numeric


def labels_of(truth, *, detected, gas_poor=None, is_limit=None):
    n = len(truth)
    nothing = np.zeros(n, bool)
    detected = np.asarray(detected, bool)
    return Labels(
        detected=detected,
        undetected=~detected,
        gas_poor=nothing if gas_poor is None else np.asarray(gas_poor, bool),
        log_hi_fraction=np.asarray(truth, float),
        is_limit=nothing if is_limit is None else np.asarray(is_limit, bool),
        gswlc_offset=np.full(n, np.nan),
        ebv=np.full(n, np.nan),
        group=np.arange(n),
    )


def calibrated(estimate, width=0.5):
    """Intervals of one shape about given estimates: 68% within ``width``, 90% within twice that."""
    estimate = np.asarray(estimate, float)
    away = dict(zip(LEVELS, (-2, -1, 0, 1, 2), strict=True))
    quantile = {level: estimate + width * step for level, step in away.items()}
    return Calibrated(estimate, quantile, np.full(len(estimate), np.nan))


def world(seed, n=150, n_poor=40, n_folds=5):
    """Held-out answers of detections, and of galaxies with 0.8 dex less gas than they look."""
    rng = np.random.default_rng(seed)
    detected = np.arange(n + n_poor) < n
    outputs = {
        "estimate": rng.normal(0, 0.5, n + n_poor),
        "log_spread": np.log(0.2) + rng.normal(0, 0.2, n + n_poor),
        "gas_poor_logit": rng.normal(np.where(detected, -1, 1), 1),
    }
    poor = -0.8 + rng.normal(0, 0.4, n + n_poor)
    truth = outputs["estimate"] + np.where(
        detected, np.exp(outputs["log_spread"]) * rng.normal(size=n + n_poor), poor
    )
    is_limit = ~detected & (np.arange(n + n_poor) % 3 == 0)
    truth[is_limit] += 0.2
    labels = labels_of(truth, detected=detected, gas_poor=~detected, is_limit=is_limit)
    fold = rng.permutation(np.arange(n + n_poor) % n_folds)
    return OutOfFold(outputs, np.zeros((n + n_poor, 3)), fold), labels


# Tables of numbers made by hand


def test_what_lies_beyond_the_survey_by_hand():
    # Four values, two limits, and a detection that does not count.
    labels = labels_of(
        [-1.0, -2.0, -1.0, 0.0, -1.5, -0.2, 9.0],
        detected=[False] * 6 + [True],
        gas_poor=[True] * 6 + [False],
        is_limit=[False] * 4 + [True] * 2 + [False],
    )
    estimates = calibrated([-0.6, -0.8, -0.3, 0.1, -0.4, -0.5, 0.0])
    flagged = np.array([False, True, False, False, True, False, False])
    table = deep_table(labels, estimates, flagged)
    assert list(table["sample"]) == ["all", "without a flag"]
    errors = np.array([0.4, 1.2, 0.7, 0.1])
    everything, clean = table
    assert (everything["n"], everything["n_limits"]) == (4, 2)
    assert everything["offset"] == pytest.approx(errors.mean())
    assert everything["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert (everything["coverage_68"], everything["coverage_90"]) == (0.5, 0.75)
    # The estimate -0.4 lies above the limit -1.5, and so does all of its interval; -0.5 is below -0.2.
    assert (everything["limits_violated"], everything["limits_below_p05"]) == (0.5, 0.5)
    assert (clean["n"], clean["n_limits"]) == (3, 1)
    assert clean["offset"] == pytest.approx(errors[[0, 2, 3]].mean())
    assert clean["coverage_68"] == pytest.approx(2 / 3)
    assert clean["limits_violated"] == 0


def test_an_interval_above_the_limit_is_counted():
    labels = labels_of([-2.0, -2.0], detected=[False] * 2, gas_poor=[True] * 2, is_limit=[True] * 2)
    table = deep_table(labels, calibrated([-0.9, -1.1]), np.zeros(2, bool))
    assert (table["limits_violated"][0], table["limits_below_p05"][0]) == (1.0, 0.5)


def test_figures_without_galaxies_are_missing():
    labels = labels_of([-1.0], detected=[False], gas_poor=[True], is_limit=[True])
    (everything, clean) = deep_table(labels, calibrated([0.0]), np.ones(1, bool))
    assert (everything["n"], everything["n_limits"], clean["n"], clean["n_limits"]) == (0, 1, 0, 0)
    assert math.isnan(everything["rmse"])
    assert everything["limits_violated"] == 1
    assert all(math.isnan(clean[name]) for name in ("offset", "rmse", "coverage_68", "limits_violated"))


def test_terciles_by_hand():
    estimate = np.array([0.2, -0.5, 1.0, 0.0, 0.5, -0.1, 7.0])
    truth = estimate - np.array([0.1, 0.3, 0.5, -0.1, 0.7, 0.2, 9.0])
    labels = labels_of(truth, detected=[True] * 6 + [False])
    table = tercile_table(labels, calibrated(estimate, width=0.25))
    assert list(table["tercile"]) == ["lowest", "middle", "highest"]
    assert list(table["n"]) == [2, 2, 2]
    # -0.5 and -0.1; 0.0 and 0.2; 0.5 and 1.0.
    np.testing.assert_allclose(table["offset"], [0.25, 0.0, 0.6])
    np.testing.assert_allclose(table["rmse"], np.sqrt([0.13 / 2, 0.02 / 2, 0.74 / 2]))
    np.testing.assert_allclose(table["coverage_68"], [0.5, 1.0, 0.0])
    np.testing.assert_allclose(table["coverage_90"], [1.0, 1.0, 0.5])
    np.testing.assert_allclose(table["width_68"], 0.5)


def test_figures_for_the_other_masses_by_hand():
    offset = np.array([0.1, 0.2, np.nan, 0.3, 0.4])
    truth = np.array([0.0, 0.5, 9.0, 1.0, 7.0])
    labels = dataclasses.replace(labels_of(truth, detected=[True] * 4 + [False]), gswlc_offset=offset)
    estimate = truth + np.array([0.1, -0.1, 5.0, 0.3, 5.0])
    said = np.array([0.1, 0.2, 0.0, 0.1, 0.0])  # of the offsets 0.1, 0.2 and 0.3
    answers = OutOfFold({"gswlc_offset": said}, np.zeros((5, 9)), np.arange(5))
    table = gswlc_table(labels, answers, calibrated(estimate))
    assert list(table["column"]) == ["log_hi_fraction_gswlc", "log_hi_fraction"]
    assert list(table["n"]) == [3, 3]
    np.testing.assert_allclose(table["offset"], [0.1 / 3, (0.1 - 0.1 + 0.3 - 0.6) / 3], atol=1e-12)
    np.testing.assert_allclose(table["rmse"], np.sqrt([(0.01 + 0.01 + 0.01) / 3, (0 + 0.09 + 0) / 3]))
    assert {f"{name}_error" for name in ("rmse", "slope", "sigma", "offset", "nmad")} <= set(table.colnames)


def test_flagged_shares_by_hand():
    detection = DetectionTable(
        slope=1.0, intercept=0.0, threshold=0.5, ood_threshold=90.0,
        percentiles=(0, 50, 100), distances=(0.0, 1.0, 2.0),
    )  # fmt: skip
    table = ood_table(
        {"noise": np.array([1.8, 5.0, np.nan, 0.5])}, {"real": np.array([0.1, 1.79])}, detection
    )
    assert list(table["pictures"]) == ["real", "noise"]
    assert list(table["real"]) == [True, False]
    assert list(table["n"]) == [2, 4]
    assert list(table["flagged"]) == [0.0, 0.75]


def test_the_radial_colours_are_the_circles():
    features = np.arange(2.0 * 60).reshape(2, 60)
    np.testing.assert_array_equal(radial_colours(features), features[:, :42])
    assert StructureNet.GROUPS[0] == ("circles", 42)


def test_coverage_counts_the_rows_it_is_asked_for():
    truth = np.array([0.0, 0.4, 0.6, -3.0])
    found = calibrated(np.zeros(4))
    assert found.coverage(truth, np.array([0, 1, 2]), 0.16, 0.84) == pytest.approx(2 / 3)
    assert found.coverage(truth, np.arange(4), 0.05, 0.95) == 0.75


# Calibration across folds


def test_a_table_needs_five_values_of_the_second_population():
    answers, labels = world(0)
    odds = (-8.0, -2.5)
    everything = np.ones(len(labels), bool)
    table = calibrate(answers, labels, everything, odds)
    assert isinstance(table, PopulationTable)
    assert (table.n, table.n_poor) == (150, 40)
    assert (table.log_odds_estimate, table.log_odds_interval) == odds
    values = np.flatnonzero(labels.gas_poor & ~labels.is_limit)
    assert isinstance(calibrate(answers, labels, ~np.isin(np.arange(190), values[5:]), odds), PopulationTable)
    few = calibrate(answers, labels, ~np.isin(np.arange(190), values[4:]), odds)
    seen = labels.detected
    expected = (labels.log_hi_fraction - answers.outputs["estimate"]) / np.exp(answers.outputs["log_spread"])
    assert few == ConformalTable.from_residuals(expected[seen])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=4)
def test_the_truth_of_a_fold_does_not_reach_its_own_intervals(seed):
    answers, labels = world(seed)
    inside = answers.fold == 2
    other = dataclasses.replace(
        labels,
        log_hi_fraction=np.where(inside, 3 - labels.log_hi_fraction, labels.log_hi_fraction),
        is_limit=np.where(inside, ~labels.is_limit, labels.is_limit),
    )
    before, after = (calibrate_across(answers, known, (-8.0, -2.5)) for known in (labels, other))
    np.testing.assert_array_equal(after.estimate[inside], before.estimate[inside])
    for level in LEVELS:
        np.testing.assert_array_equal(after.quantile[level][inside], before.quantile[level][inside])
        assert np.any(after.quantile[level][~inside] != before.quantile[level][~inside])


def test_every_fold_is_calibrated_by_the_table_of_the_others():
    answers, labels = world(1)
    found = calibrate_across(answers, labels, (-4.0, -2.0))
    for number in range(5):
        held_out = answers.fold == number
        table = calibrate(answers, labels, ~held_out, (-4.0, -2.0))
        np.testing.assert_array_equal(found.estimate[held_out], table.estimate(answers[held_out]))
        np.testing.assert_array_equal(found.quantile[0.05][held_out], table.quantile(answers[held_out], 0.05))


def test_the_intervals_of_held_out_detections_cover_what_they_say():
    shares, ranks = [], []
    for seed in range(6):
        answers, labels = world(seed, n=300)
        found = calibrate_across(answers, labels, (-8.0, -2.5))
        rows = np.flatnonzero(labels.detected)
        ranks.append(found.pit[rows])
        shares.append(
            [found.coverage(labels.log_hi_fraction, rows, *pair) for pair in ((0.16, 0.84), (0.05, 0.95))]
        )
    for share, nominal in zip(np.mean(shares, axis=0), (0.68, 0.90), strict=True):
        assert share == pytest.approx(nominal, abs=0.01 + 4 * math.sqrt(nominal * (1 - nominal) / 1800))
    assert kstest(np.concatenate(ranks), "uniform").pvalue > 0.01


def test_what_has_no_truth_has_no_rank():
    answers, labels = world(3)
    unknown = labels.gas_poor & (np.arange(len(labels)) % 7 == 0)
    truth = np.where(unknown, np.nan, labels.log_hi_fraction)
    some = dataclasses.replace(labels, log_hi_fraction=truth, gas_poor=labels.gas_poor & ~unknown)
    found = calibrate_across(answers, some, (-8.0, -8.0))
    assert unknown.any()
    np.testing.assert_array_equal(np.isnan(found.pit), np.isnan(truth))


def test_the_conformal_coverage_is_that_of_other_folds():
    rng = np.random.default_rng(0)
    truth, estimate = rng.normal(size=200), rng.normal(size=200)
    fold = np.arange(200) % 4
    shares = coverage_across(truth - estimate, fold)
    inside = []
    for row in range(200):
        residuals = (truth - estimate)[fold != fold[row]]
        table = ConformalTable.from_residuals(residuals)
        away = truth[row] - estimate[row]
        inside.append(
            [table.value(low) <= away <= table.value(high) for low, high in ((0.16, 0.84), (0.05, 0.95))]
        )
    np.testing.assert_allclose([shares["coverage_68"], shares["coverage_90"]], np.mean(inside, axis=0))


# Parent populations


def test_the_table_of_parents_row_by_row():
    answers, labels = world(2)
    table = parents_table(answers, labels, (-8.0, -2.5))
    odds = [(-8.0, -2.5), *((value, value) for value in evaluation.SHOWN_ODDS)]
    assert list(zip(table["log_odds_estimate"], table["log_odds_interval"], strict=True)) == odds
    rows, truth = labels.detected, labels.log_hi_fraction
    values, limits = labels.gas_poor & ~labels.is_limit, labels.is_limit
    for row, pair in zip(table, odds, strict=True):
        found = calibrate_across(answers, labels, pair)
        error = found.estimate - truth
        low, high = found.quantile[0.16], found.quantile[0.84]
        assert row["alfalfa_rmse"] == pytest.approx(np.sqrt(np.mean(error[rows] ** 2)))
        assert row["alfalfa_coverage_68"] == pytest.approx(
            np.mean((low <= truth)[rows] & (truth <= high)[rows])
        )
        assert (row["n"], row["n_limits"]) == (values.sum(), limits.sum())
        assert row["offset"] == pytest.approx(error[values].mean())
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean(error[values] ** 2)))
        assert row["limits_violated"] == pytest.approx(np.mean(error[limits] > 0))
        assert row["limits_below_p05"] == pytest.approx(np.mean((found.quantile[0.05] > truth)[limits]))


def test_what_serves_the_one_population_costs_the_other():
    answers, labels = world(3, n=300, n_poor=60)
    table = parents_table(answers, labels, (-8.0, -2.5))
    same = table[1:]
    assert same["offset"][0] > 0.6  # 0.8 dex less gas than it looks
    assert abs(same["offset"][-1]) < 0.5 * same["offset"][0]
    assert np.all(np.diff(same["alfalfa_rmse"]) > -0.005)
    assert same["alfalfa_rmse"][-1] > same["alfalfa_rmse"][0] * 1.1
    assert same["coverage_90"][0] < 0.4 < 0.7 < same["coverage_90"][-1]
    # Whatever the odds, detections have the intervals that they are promised.
    assert np.all(np.abs(table["alfalfa_coverage_68"] - 0.68) < 0.1)
    assert np.all(np.abs(table["alfalfa_coverage_90"] - 0.90) < 0.06)
    # The model of the first row has the estimate of the one and the interval of the other.
    assert table["alfalfa_rmse"][0] == same["alfalfa_rmse"][0]
    assert table["coverage_90"][0] > same["coverage_90"][0] + 0.2


# Errors of figures


def test_the_area_under_the_curve_is_that_of_two_normal_distributions():
    rng = np.random.default_rng(1)
    kind = np.arange(3000) < 1000
    area, error = evaluation._auc(kind, rng.normal(np.where(kind, 1.0, 0.0)))
    assert area == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=4 * error)
    assert 0.005 < error < 0.015
