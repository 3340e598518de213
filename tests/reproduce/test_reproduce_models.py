"""Simple models, point sources and another catalogue of estimates."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from contract import assert_same_estimates
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression

from hifrac import load_model
from hifrac.catalogs import teimoorinia2017
from hifrac.reproduce import networks, regression

pytestmark = pytest.mark.numeric


def test_block_means_are_means_of_blocks():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    means = networks.block_means(pixels).reshape(2, 2, 2, 3)
    np.testing.assert_allclose(means[1, 0, 1], pixels[1, :8, 8:].mean((0, 1)) / 255)
    with pytest.raises(ValueError, match="block must divide"):
        networks.block_means(pixels, 5)


def test_no_estimate_has_seen_its_own_fold():
    truth, fold = np.arange(10.0), np.arange(10) % 2
    found = networks.cross_predict(DummyRegressor(), np.zeros((10, 1)), truth, fold)
    np.testing.assert_allclose(found[fold == 0], truth[fold == 1].mean())
    np.testing.assert_allclose(found[fold == 1], truth[fold == 0].mean())
    with pytest.raises(ValueError, match="at least two"):
        networks.cross_predict(LinearRegression(), np.zeros((10, 1)), truth, np.zeros(10))


def test_fig12_has_held_out_estimates_of_every_model(made):
    table = networks.fig12(made[0])
    names = table.meta["figures"]["estimator"]
    assert len(names) == 5
    assert all(np.isfinite(table[name]).all() for name in names)
    held_out, as_coded = (
        table.meta["numbers"][f"PCA(16){how}, linear, RMSE (dex)"] for how in ("", " as coded")
    )
    assert as_coded[0] != held_out[0]
    assert as_coded[0] == pytest.approx(held_out[0], rel=0.5)
    drawn = networks.plot_simple(table)
    assert len(drawn.axes) == 5
    plt.close(drawn)


def test_no_sources_change_nothing_and_sources_change_little_seen_from_the_same_seed(demo_pixels):
    model = load_model()
    nothing = networks.injection_trials(model, demo_pixels[:1], n=0, trials=2)
    assert_same_estimates(nothing["change"], np.zeros(len(nothing)))
    table = networks.injection_trials(model, demo_pixels[:2], trials=3, seed=5)
    assert len(table) == 2 * 2 * 3 * 3
    again = networks.injection_trials(model, demo_pixels[:2], trials=3, seed=5)
    np.testing.assert_array_equal(table["change"], again["change"])
    assert np.abs(table["change"]).max() > 0


def test_red_and_blue_sources_are_drawn_in_their_colours(demo_pixels):
    table = networks.injection_trials(load_model(), demo_pixels[:1], trials=2)
    table.meta |= {"truth": [0.1], "seed": 3}
    drawn = networks.plot_injection(table, demo_pixels[:1])
    assert len(drawn.axes) == 5
    red = drawn.axes[0].images[0].get_array().astype(int) - demo_pixels[0]
    assert red[..., 0].sum() > 1.5 * red[..., 2].sum() > 0
    plt.close(drawn)


def write_estimates(folder, labels):
    """Teimoorinia's table for all but ten of the galaxies, half an arcsecond off."""
    rows = labels[10:]
    table = Table({"objID": np.arange(len(rows)) + 587722981736120347})
    table["ra"], table["dec"] = (
        np.asarray(rows["ra"]) * u.deg,
        np.asarray(rows["dec"]) * u.deg + 0.5 * u.arcsec,
    )
    table["fgas"] = np.asarray(rows["log_hi_fraction_true"]) - 0.2
    table.write(folder / "catalogs" / "teimoorinia2017.fits")


def test_the_other_catalogue_is_matched_by_position_and_judged_on_the_same_galaxies(made, monkeypatch):
    setting, labels, _, _ = made
    write_estimates(setting.folder, labels)
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    table = regression.table3(setting)
    ours = table[table["origin"] == "ours"]
    assert list(dict.fromkeys(ours["cut"])) == ["all", "p>0.5", "p>0.8", "p>0.9"]
    cnn, fcnn = ours[ours["cut"] == "all"]
    assert (cnn["estimator"], cnn["n"]) == ("CNN", len(labels) - 10)
    assert (fcnn["n"], fcnn["offset"]) == (len(labels) - 10, pytest.approx(-0.2))
    assert fcnn["rmse"] == pytest.approx(0.2)
    for draw, result in ((regression.plot_both, regression.fig6), (regression.plot_bars, regression.fig7)):
        drawn = draw(result(setting))
        plt.close(drawn)


def test_cuts_on_robustness_are_made_where_it_is_known():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    ours, theirs, c = truth + 0.1 * rng.normal(size=40), truth + 0.3, rng.uniform(size=40)
    table = regression.compare(truth, ours, theirs, np.ones(40), c, draws=0)
    (row,) = table[(table["cut"] == "Cfgas>0.7") & (table["estimator"] == "FCNN")]
    assert row["n"] == np.sum(c > 0.7)
    assert row["rmse"] == pytest.approx(0.3)


def test_a_catalogue_of_other_galaxies_is_refused(made, monkeypatch):
    setting, labels, _, _ = made
    moved = labels.copy()
    moved["dec"] = np.asarray(labels["dec"]) + 1
    write_estimates(setting.folder, moved)
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="none of the galaxies"):
        regression.match_catalogue(regression.held_out(setting), teimoorinia2017(setting.folder))
