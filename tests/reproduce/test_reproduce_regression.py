"""Estimates against measured values: joined by identifier, judged as published."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from reproduce_data import BEYOND, LIMITS, UNDETECTED, N
from scipy.stats import linregress, spearmanr
from sklearn.metrics import roc_auc_score, roc_curve

from hifrac.metrics import published_metrics
from hifrac.reproduce import probabilities, regression


def by_name(answers, names):
    place = {name: row for row, name in enumerate(answers["objid"])}
    return answers[[place[name] for name in names]]


def test_cuts_agree_with_the_figures_computed_by_hand():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.5, 80)
    estimate, p = truth + rng.normal(0.1, 0.2, 80), rng.uniform(0, 1, 80)
    table = regression.cut_metrics(truth, estimate, p, draws=0)
    for row in table:
        kept = p > regression.CUTS[row["cut"]]
        difference = (estimate - truth)[kept]
        assert row["n"] == kept.sum()
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean(difference**2)))
        assert row["slope"] == pytest.approx(linregress(truth[kept], estimate[kept]).slope)
        assert row["slope_inverse"] == pytest.approx(linregress(estimate[kept], truth[kept]).slope)


def test_a_limit_does_not_enter_the_error():
    truth, estimate = np.array([0.0, 1.0, 2.0, -5.0]), np.array([0.1, 0.9, 2.1, 0.0])
    table = regression.cut_metrics(truth, estimate, np.ones(4), is_limit=[False, False, False, True], draws=0)
    assert table["rmse"][0] == pytest.approx(0.1)
    assert list(table["n_limits"]) == [1, 1, 1, 1]
    assert table["limits_violated"][0] == 1


def test_table2_joins_by_identifier_and_keeps_the_published_rows(made):
    setting, labels, _, answers = made
    table = regression.table2(setting)
    (row,) = table[(table["sample"] == regression.ALFALFA) & (table["cut"] == "p>0.8")]
    known = by_name(answers, labels["objid"])
    kept = np.asarray(known["p_detect"] > 0.8)
    residual = np.asarray(known["log_hi_fraction"] - np.asarray(labels["log_hi_fraction_true"]))[kept]
    assert row["n"] == kept.sum()
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)))
    (deeper,) = table[(table["sample"] == regression.RESOLVE) & (table["cut"] == "all")]
    assert (deeper["n"], deeper["n_limits"]) == (BEYOND - LIMITS, LIMITS)
    paper = table[table["origin"] == "published"]
    assert len(paper) == np.sum(published_metrics()["table"] == 2)
    assert paper["rmse"][0] == 0.2335


def test_trends_agree_with_scipy():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=50)
    estimate, colour = 0.5 * truth, rng.normal(size=50)
    table = regression.residual_trends(truth, estimate, {"truth": truth, "colour": colour}, draws=999)
    assert table["rho"][0] == pytest.approx(-1)
    assert table["slope"][0] == pytest.approx(-0.5)
    assert table["p_value"][0] == pytest.approx(0.001)
    assert table["rho"][1] == pytest.approx(spearmanr(colour, estimate - truth).statistic)


def test_a_constant_property_has_no_trend():
    with pytest.raises(ValueError, match="properties: same"):
        regression.residual_trends([0.0, 1, 2], [0.0, 1, 3], {"same": [1, 1, 1]})


@pytest.mark.parametrize("figure", ["fig2", "fig4"])
def test_scatter_figures_are_drawn_from_their_tables(made, figure):
    table = getattr(regression, figure)(made[0])
    assert len(table) == (N if figure == "fig2" else BEYOND)
    drawn = regression.plot_scatter(table)
    points = sum(len(one.get_offsets()) for one in drawn.axes[0].collections)
    assert points == len(table)
    plt.close(drawn)


def test_fig3_draws_a_panel_for_each_property(made):
    table = regression.fig3(made[0])
    drawn = regression.plot_residuals(table)
    assert len(drawn.axes) == 5
    plt.close(drawn)


def test_thresholds_agree_with_scikit_learn():
    rng = np.random.default_rng(4)
    detected = rng.random(300) < 0.4
    p = np.round(np.clip(rng.normal(np.where(detected, 0.7, 0.4), 0.2), 0, 1), 3)
    table = probabilities.threshold_table(detected, p)
    assert table.meta["auc"] == pytest.approx(roc_auc_score(detected, p))
    contamination, completeness, thresholds = roc_curve(detected, p, drop_intermediate=False)
    for row in table[::10]:
        # scikit-learn counts p >= threshold: the first of its thresholds above ours.
        after = np.flatnonzero(thresholds > row["threshold"])[-1]
        assert row["completeness"] == pytest.approx(completeness[after])
        assert row["contamination"] == pytest.approx(contamination[after])


def test_fig5_counts_each_galaxy_in_one_sample(made):
    table = probabilities.fig5(made[0])
    assert table.meta["counts"] == {"detected": N, "undetected": UNDETECTED, "gas_poor": BEYOND}
    at_zero = made[3]["p_detect"][np.isfinite(made[3]["log_hi_fraction"]) & ~made[3]["is_limit"]] == 0
    assert table["n_measured"][0] == N + BEYOND - LIMITS - at_zero.sum()
    drawn = probabilities.plot_detection(table)
    shares = [patch.get_data().values.sum() for patch in drawn.axes[0].patches]
    np.testing.assert_allclose(shares, 1)
    plt.close(drawn)


def test_labels_without_an_answer_are_told(made, tmp_path):
    setting = made[0]
    text = (setting.model / "out_of_fold.ecsv").read_text().splitlines()
    head = [line for line in text if line.startswith(("#", "objid"))]
    (setting.model / "out_of_fold.ecsv").write_text("\n".join([*head, "1 True False False False 0 0.1 0.5"]))
    with pytest.raises(ValueError, match="model: none of its held-out answers"):
        regression.fig2(setting)
