"""Intervals, probabilities, slopes and limits: judged as an independent computation judges them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from reproduce_data import BEYOND, LIMITS, UNDETECTED, N
from scipy.stats import binomtest, linregress, norm, spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from hifrac import metrics
from hifrac.metrics import share_interval
from hifrac.reproduce import numbers_table, probabilities, regression, reproduce, setting

ONE_SIGMA = norm.cdf(1) - norm.cdf(-1)


@given(st.integers(0, 60), st.integers(1, 60))
def test_the_interval_of_a_share_is_that_of_scipy(successes, n):
    successes = min(successes, n)
    low, high = share_interval(successes, n)
    theirs = binomtest(successes, n).proportion_ci(ONE_SIGMA, "wilson")
    assert (low, high) == (pytest.approx(theirs.low, abs=1e-5), pytest.approx(theirs.high, abs=1e-5))


def test_the_share_of_nothing_may_be_anything():
    np.testing.assert_array_equal(share_interval([0], [0]), [[0], [1]])
    np.testing.assert_array_equal(share_interval(0, 0), [0, 1])


def test_reliability_agrees_with_scikit_learn_where_both_kinds_are_as_many():
    rng = np.random.default_rng(0)
    detected = np.arange(400) < 200
    p = np.clip(np.where(detected, 0.65, 0.35) + rng.normal(0, 0.2, 400), 0, 1)
    table = probabilities.reliability_table(detected, p, n_bins=6)
    share, stated = calibration_curve(detected, p, n_bins=6)
    np.testing.assert_allclose(table["share"], share)
    np.testing.assert_allclose(table["stated"], stated)
    assert table.meta["brier"] == pytest.approx(brier_score_loss(detected, p))
    low, high = share_interval(table["n_detected"], table["n"])
    np.testing.assert_allclose(table["share_low"], low)
    np.testing.assert_allclose(table["share_high"], high)


def test_many_more_galaxies_of_one_kind_change_nothing_but_the_errors():
    rng = np.random.default_rng(1)
    detected = np.arange(300) < 150
    p = np.clip(np.where(detected, 0.6, 0.4) + rng.normal(0, 0.2, 300), 0, 1)
    once = probabilities.reliability_table(detected, p, n_bins=4)
    often = probabilities.reliability_table(
        np.concatenate([detected, np.zeros(150 * 20, bool)]),
        np.concatenate([p, np.tile(p[~detected], 20)]),
        n_bins=4,
    )
    for name in ("share", "stated"):
        np.testing.assert_allclose(often[name], once[name])
    assert often.meta["brier"] == pytest.approx(once.meta["brier"])
    assert np.all((often["share_low"] <= often["share"]) & (often["share"] <= often["share_high"]))
    assert np.all(often["share_high"] - often["share_low"] < once["share_high"] - once["share_low"])


def test_an_empty_bin_has_no_share_and_the_widest_interval():
    table = probabilities.reliability_table([True, False], [0.9, 0.1], n_bins=3)
    assert np.isnan(table["share"][1])
    assert (table["share_low"][1], table["share_high"][1]) == (0, 1)
    drawn = probabilities.plot_reliability(table)
    assert len(drawn.axes) == 2
    plt.close(drawn)


@pytest.mark.parametrize(
    ("detected", "p", "options", "message"),
    [
        ([True, True], [0.1, 0.2], {}, "detected must have both"),
        ([1, 0], [0.1, 0.2], {}, "detected must be boolean"),
        ([True, False], [0.1], {}, "detected must be boolean"),
        ([True, False], [0.1, 1.2], {}, "p_detect must be one-dimensional, and lie"),
        ([True, False], [0.1, np.nan], {}, "p_detect must be one-dimensional, and lie"),
        ([True, False], [0.1, 0.2], {"n_bins": 0}, "n_bins must be at least 1"),
    ],
)
def test_reliability_names_what_is_wrong(detected, p, options, message):
    with pytest.raises(ValueError, match=message):
        probabilities.reliability_table(detected, p, **options)


def test_coverage_is_that_of_the_intervals_themselves():
    rng = np.random.default_rng(2)
    estimate, spread, truth = rng.normal(0, 0.5, (3, 200))
    spread = 0.2 + np.abs(spread)
    quantiles = estimate[:, None] + spread[:, None] * norm.ppf([0.05, 0.16, 0.5, 0.84, 0.95])
    rank = metrics.pit(truth, quantiles, [0.05, 0.16, 0.5, 0.84, 0.95])
    table = probabilities.coverage_table(rank, {"estimate": estimate}, n_bins=4)
    assert list(table["n"]) == [50] * 4
    for row in table:
        inside = (estimate >= row["low"]) & (estimate <= row["high"])
        for key, first in (("68", 1), ("90", 0)):
            direct = metrics.coverage(truth[inside], quantiles[inside, first], quantiles[inside, -1 - first])
            assert row[f"coverage_{key}"] == pytest.approx(direct)
            assert row[f"coverage_{key}_low"] < direct < row[f"coverage_{key}_high"]


def test_unknown_properties_are_left_out():
    values = [np.nan, 3.0, 1.0, np.inf, 2.0, -np.inf, 4.0]
    table = probabilities.coverage_table([0.99, 0.5, 0.01, 0.99, 0.1, 0.99, 0.2], {"x": values}, n_bins=2)
    assert list(table["n"]) == [2, 2]
    assert list(table["low"]) == [1, 3]
    assert list(table["coverage_68"]) == [0, 1]
    assert list(table["coverage_90"]) == [0.5, 1]


@pytest.mark.parametrize(
    ("pit", "values", "message"),
    [
        ([0.1, 1.1], [1, 2], "pit must be one-dimensional"),
        ([0.1, 0.2], [1], "properties: x must have the shape"),
        ([0.1, 0.2], [1, np.nan], "properties: x is known of 1 galaxies"),
    ],
)
def test_coverage_names_what_is_wrong(pit, values, message):
    with pytest.raises(ValueError, match=message):
        probabilities.coverage_table(pit, {"x": values}, n_bins=2)


def test_reliability_of_a_model_counts_the_bright_undetected_and_no_others(made):
    where, _, _, answers = made
    table = probabilities.reliability(where)
    assert table["n"].sum() == N + UNDETECTED + BEYOND
    assert table["n_detected"].sum() == N
    numbers = numbers_table(table)
    weights = np.where(answers["detected"], 0.5 / N, 0.5 / (UNDETECTED + BEYOND))
    expected = np.sum(weights * (answers["p_detect"] - answers["detected"]) ** 2)
    assert numbers["ours"][0] == pytest.approx(expected)


@pytest.fixture
def ranked(made, monkeypatch):
    """The setting with ranks among its answers, and overdensities without a survey (tested elsewhere)."""
    where, labels, _, _ = made
    rows = np.where(np.arange(N) < 20, np.nan, np.linspace(-1, 1, N))
    monkeypatch.setattr(probabilities, "galaxy_densities", lambda table, where: rows)
    path = where.model / "out_of_fold.ecsv"
    table = Table.read(path)
    table["objid"] = table["objid"].astype(str)
    truth = {
        name: float(one) for name, one in zip(labels["objid"], labels["log_hi_fraction_true"], strict=True)
    }
    away = [truth.get(row["objid"], np.nan) - row["log_hi_fraction"] for row in table]
    table["pit"] = norm.cdf(np.array(away) / 0.18)
    table.write(path, overwrite=True)
    rank = {row["objid"]: row["pit"] for row in table}
    return where, labels, np.array([rank[name] for name in labels["objid"]])


def test_coverage_of_a_model_joins_ranks_by_identifier(ranked):
    where, labels, rank = ranked
    table = probabilities.coverage(where)
    assert {name: sum(table["n"][table["property"] == name]) for name in set(table["property"])} == {
        **dict.fromkeys(("log_mstar", "estimate", "ebv"), N),
        "log_overdensity": N - 20,
    }
    numbers = {row["quantity"]: row["ours"] for row in numbers_table(table)}
    assert numbers["share inside the 68% interval"] == pytest.approx(np.mean((rank >= 0.16) & (rank <= 0.84)))
    rho = spearmanr(labels["log_mstar_taylor"], np.abs(rank - 0.5)).statistic
    assert numbers["rank correlation of |PIT - 1/2| with log_mstar"] == pytest.approx(rho)
    drawn = probabilities.plot_coverage(table)
    assert len(drawn.axes) == 4
    plt.close(drawn)


def test_answers_without_ranks_are_told(made):
    with pytest.raises(ValueError, match="lacks the column pit"):
        probabilities.coverage(made[0])


def test_slopes_and_limits_agree_with_scipy(made):
    where, _, deeper, answers = made
    table = regression.slopes(where)
    (row,) = table[(table["sample"] == regression.RESOLVE) & (table["cut"] == "all")]
    place = {name: row for row, name in enumerate(answers["objid"])}
    deeper = deeper[:BEYOND]
    estimate = np.array([answers["log_hi_fraction"][place[name]] for name in deeper["objid"]])
    truth, limit = (np.asarray(deeper[name]) for name in ("log_hi_fraction_true", "is_limit"))
    assert row["slope"] == pytest.approx(linregress(truth[~limit], estimate[~limit]).slope)
    assert row["slope_inverse"] == pytest.approx(linregress(estimate[~limit], truth[~limit]).slope)
    assert row["n_limits"] == LIMITS
    violated = int(np.sum(estimate[limit] > truth[limit]))
    assert row["limits_violated"] == pytest.approx(violated / LIMITS)
    bounds = [row["limits_violated_low"], row["limits_violated_high"]]
    np.testing.assert_allclose(bounds, share_interval(violated, LIMITS))
    drawn = regression.plot_slopes(table)
    assert len(drawn.axes) == 3
    plt.close(drawn)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["coverage", "reliability", "slopes"])
def test_they_run_on_the_data_directory(name, tmp_path):
    assert reproduce(name, setting(draws=20), tmp_path)[name]["status"] == "done"
    table = Table.read(tmp_path / f"{name}.ecsv")
    assert np.all(np.isfinite(numbers_table(table)["ours"]))
    assert (tmp_path / f"{name}.png").is_file()
