"""Figures of held-out galaxies: by hand, and without what a fold must not know."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from scipy.stats import kstest, norm

from hifrac.models.calibration import EVIDENCE_SETS, LEVELS, ConformalTable
from hifrac.training.evaluation import coverage_across
from hifrac.training.measuring.measurements import radial_colours
from hifrac.training.structure import tables
from hifrac.training.structure.cross_validation import (
    EVIDENCE,
    Distributions,
    calibrate,
    calibrate_across,
    distributions,
)
from hifrac.training.structure.tables import (
    detection_table,
    learning_curve_table,
    readings_table,
    thirds_table,
)

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def answers(trained):
    return trained.answers


@pytest.fixture(scope="module")
def detections(answers):
    return np.flatnonzero(answers.galaxies["detected"])


# Calibration


def test_every_fold_is_calibrated_by_the_table_of_the_others(answers, detections):
    for number, model in enumerate(answers.models):
        assert model.table == calibrate(answers, detections[answers.fold[detections] != number])
        assert model.table.n == np.sum(answers.fold[detections] != number)


def test_the_truth_of_a_fold_does_not_reach_its_own_intervals(answers, detections):
    galaxies = answers.galaxies.copy()
    inside = answers.fold == 2
    galaxies["log_hi_fraction"][inside] = 3 - galaxies["log_hi_fraction"][inside]
    galaxies["log_mstar_gswlc"][inside] += 0.5
    changed = calibrate_across(dataclasses.replace(answers, galaxies=galaxies))
    for evidence in EVIDENCE_SETS:
        before, after = (distributions(part, detections, evidence, "alfalfa") for part in (answers, changed))
        same = answers.fold[detections] == 2
        np.testing.assert_array_equal(after.quantiles[same], before.quantiles[same])
        assert np.any(after.quantiles[~same] != before.quantiles[~same])


def test_scores_are_residuals_in_their_units(answers, detections):
    table = calibrate(answers, detections)
    truth = np.asarray(answers.galaxies["log_hi_fraction"])[detections]
    for evidence in EVIDENCE_SETS:
        located = answers.by_fold(detections, evidence, lambda posterior, _: posterior.location)
        spread = answers.by_fold(detections, evidence, lambda posterior, _: posterior.log_spread)
        intercept, slope = table.widths[evidence]
        # The units add the error of the reddening, a few hundredths, in quadrature.
        scores = (truth - located) / np.exp(intercept + slope * spread)
        median = table.scores[evidence][table.levels.index(0.5)]
        assert median == pytest.approx(np.median(scores), abs=0.15)
        assert np.sign(table.scores[evidence][0]) == -1 == -np.sign(table.scores[evidence][-1])


def test_the_noise_of_the_survey_moves_what_it_detects(answers, detections):
    noisy = [replace(model, table=replace(model.table, noise_slope=1.0)) for model in answers.models]
    with_noise = replace(answers, models=noisy)
    there, elsewhere = answers.galaxies.copy(), answers.galaxies.copy()
    elsewhere["dec_nearby"] = 20.0
    moved = [
        distributions(replace(part, galaxies=galaxies), detections, "picture", "alfalfa").estimate
        for part, galaxies in ((with_noise, there), (with_noise, elsewhere))
    ]
    # All of them lie at a declination of 0.5 degrees, where the noise is 0.108 dex above the median.
    np.testing.assert_allclose(moved[0] - moved[1], 0.108, atol=0.03)


def test_quantiles_and_ranks_agree(answers, detections):
    truth = np.asarray(answers.galaxies["log_hi_fraction"])[detections]
    for selection in ("alfalfa", "intrinsic", "undetected"):
        held_out = distributions(answers, detections, "picture+z", selection)
        for level, values in zip(LEVELS, held_out.quantiles.T, strict=True):
            np.testing.assert_array_equal(held_out.below < level, truth < values)
        assert np.all(np.diff(held_out.quantiles, axis=1) > 0)
        np.testing.assert_array_equal(held_out.estimate, held_out.quantiles[:, 2])
        # The mean of a ratio lies above its median, by more the wider the distribution.
        assert np.all(held_out.log_mean > held_out.estimate - 0.2 * held_out.std)


def test_answers_of_some_rows_are_those_of_all(answers, detections):
    some = detections[[7, 3, 30, 3]]
    every = distributions(answers, detections, "picture", "alfalfa")
    place = np.searchsorted(detections, some)
    found = distributions(answers, some, "picture", "alfalfa")
    np.testing.assert_allclose(found.quantiles, every.quantiles[place], atol=1e-9)
    np.testing.assert_allclose(found.below, every.below[place], atol=1e-9)


def test_the_scale_of_the_masses_moves_value_and_estimate(answers, detections):
    offset = np.asarray(answers.galaxies["log_mstar"] - answers.galaxies["log_mstar_gswlc"])[detections]
    known = detections[np.isfinite(offset)]
    taylor, gswlc = (
        distributions(answers, known, "picture", "alfalfa", scale) for scale in ("taylor", "gswlc")
    )
    moved = gswlc.estimate - taylor.estimate
    assert np.median(np.abs(moved - offset[np.isfinite(offset)])) < 0.03
    assert kstest(gswlc.below, "uniform").pvalue > 0.001


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


# Tables of numbers made by hand


def held_out(estimate, below):
    estimate = np.asarray(estimate, float)
    quantiles = estimate[:, None] + np.array([-2, -1, 0, 1, 2])
    return Distributions(quantiles, np.asarray(below, float), estimate, np.ones(len(estimate)))


def test_figures_of_values_and_limits_by_hand():
    value = np.array([-1.0, -2.0, -1.0, 0.0, -1.5, -0.2])
    is_limit = np.array([False] * 4 + [True] * 2)
    estimates = held_out([-0.6, -0.8, -0.3, 0.1, -0.4, -0.5], [0.4, 0.01, 0.1, 0.9, 0.1, 0.8])
    row = tables._figures_with_limits(estimates, value, is_limit)
    errors = np.array([0.4, 1.2, 0.7, 0.1])
    assert (row["n"], row["n_limits"]) == (4, 2)
    assert row["offset"] == pytest.approx(errors.mean())
    assert row["offset_error"] == pytest.approx(errors.std(ddof=1) / 2)
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert row["limits_violated"] == 0.5
    assert row["p_below_limit"] == pytest.approx(0.45)
    # One value in the 68% interval, and three in that of 90%. What lies below a limit is spread evenly: of
    # the first nothing is above 0.16, of the second all but the lowest fifth.
    assert row["coverage_68"] == pytest.approx((1 + 0 + 0.64 / 0.8) / 6, abs=0.002)
    assert row["coverage_90"] == pytest.approx((3 + 0.5 + 0.75 / 0.8) / 6, abs=0.002)


def test_without_limits_nothing_is_said_of_them():
    row = tables._figures_with_limits(held_out([0.0, 1.0], [0.5, 0.5]), np.zeros(2), np.zeros(2, bool))
    assert row["n_limits"] == 0
    assert math.isnan(row["limits_violated"])
    assert math.isnan(row["p_below_limit"])


def test_the_learning_curve_by_hand():
    table = learning_curve_table({10: {"picture": np.array([3.0, -4.0])}, 20: {"picture": np.zeros(2)}})
    assert list(table["n_labels"]) == [10, 20]
    assert table["picture"][0] == pytest.approx(math.sqrt(12.5), abs=5.1e-5)
    assert (table["picture"][1], table["picture_error"][1]) == (0, 0)


def test_radial_colours_are_the_first_measurements():
    features = np.arange(200.0)[None]
    np.testing.assert_array_equal(radial_colours(features), features[:, :42])


def test_the_area_under_the_curve_is_that_of_two_normal_distributions():
    rng = np.random.default_rng(1)
    kind = np.arange(3000) < 1000
    area, error = tables.auc_with_error(kind, rng.normal(np.where(kind, 1.0, 0.0)))
    assert area == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=4 * error)
    assert 0.005 < error < 0.015


# Tables of the small world


def test_thirds_are_thirds(answers, measured, detections):
    table = thirds_table(answers, measured.features)
    assert len(table) == len(EVIDENCE_SETS) * 5 * 3
    for evidence in EVIDENCE_SETS:
        part = table[(table["evidence"] == evidence) & (table["thirds_of"] == "estimate")]
        assert part["n"].sum() == len(detections)
        overall = distributions(answers, detections, evidence, "alfalfa")
        inside = np.mean((overall.below >= 0.16) & (overall.below <= 0.84))
        assert np.average(part["coverage_68"], weights=part["n"]) == pytest.approx(inside, abs=5.1e-5)
    wide = table[(table["evidence"] == "picture") & (table["thirds_of"] == "width")]
    assert np.all(np.diff(wide["width_68"]) > 0)


def test_readings_are_judged_where_they_are_known(answers):
    table = readings_table(answers)
    known = np.isfinite(answers.galaxies["photometry"][:, 0])
    assert table["n"][0] == known.sum()
    residual = answers.read[known, 0] - answers.galaxies["photometry"][known, 0]
    assert table["sigma"][0] == pytest.approx(residual.std(), abs=5.1e-5)
    assert table["quantity"][-1] == "axis_ratio"
    assert table["n"][-1] == np.isfinite(answers.galaxies["axis_ratio"]).sum()


def test_scores_of_a_detection_are_compared_within_one_volume_too(answers):
    galaxies = answers.galaxies
    near = galaxies["undetected"] & (galaxies["log_cz"] < np.log10(0.06 * 299792.458))
    table = detection_table(
        answers, {"best": np.where(galaxies["detected"], 1.0, 0.0), "none": np.zeros(len(galaxies))}
    )
    assert list(table["auc"]) == list(table["auc_nearby"]) == [1.0, 0.5]
    assert table["n_undetected_nearby"][0] == near.sum() < table["n_undetected"][0]


def test_the_table_of_cross_validation_has_a_row_for_all_that_may_be_known(trained):
    table = trained.tables["cross_validation"]
    assert list(table["model"][: len(EVIDENCE)]) == list(EVIDENCE)
    assert len(table) == len(EVIDENCE) + 2


def test_galaxies_that_alfalfa_missed_have_less_gas_than_those_it_detects(trained):
    table = trained.tables["missed"]
    for evidence in EVIDENCE_SETS:
        rows = {row["selection"]: row for row in table if row["evidence"] == evidence}
        assert rows["alfalfa"]["offset"] > rows["intrinsic"]["offset"] > rows["undetected"]["offset"]
    assert isinstance(table, Table)


def test_xgass_is_judged_in_parts_that_were_left_out(trained, catalogs):
    table = trained.tables["xgass"]
    xgass = catalogs.xgass
    learned = ~xgass["held_out"] & ~xgass["confused"]
    assert list(table["n"] + table["n_limits"]) == [learned.sum(), len(xgass)]
