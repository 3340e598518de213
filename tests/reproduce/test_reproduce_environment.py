"""Environment: windows and splits whose answers are known, densities on real catalogues."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table

from hifrac.reproduce import environment
from hifrac.reproduce._experiment import Setting
from hifrac.reproduce.environment import split_errors, window_residuals


def test_windows_hold_a_fifth_each_and_find_where_the_relation_breaks():
    rng = np.random.default_rng(0)
    density = rng.normal(0, 0.6, 500)
    truth = rng.normal(0, 0.5, 500)
    dense = density > np.quantile(density, 0.8)
    estimate = truth + np.where(dense, 0.4, 0.1) * rng.normal(size=500)
    table = window_residuals(truth, estimate, density)
    assert list(table["n"]) == 9 * [100]
    np.testing.assert_allclose(table["quantile"], np.arange(0.1, 0.91, 0.1))
    first = np.argsort(density)[:100]
    assert table["rmse"][0] == pytest.approx(np.sqrt(np.mean((estimate - truth)[first] ** 2)))
    assert table["normalised"][-1] > 2.5 * table["normalised"][0]
    drawn = environment.plot_windows(table)
    assert len(drawn.axes[0].texts) == 9
    plt.close(drawn)


def test_a_split_by_density_fails_where_the_relation_changes_and_the_random_one_does_not():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 3))
    density = rng.normal(size=400)
    truth = features[:, 0] + rng.normal(0, 0.1, 400)
    truth[density > np.quantile(density, 0.8)] -= 2
    table = split_errors(features, truth, density, seed=0)
    assert list(table["validation"]) == ["lower", "higher", "random"]
    assert list(table["n_valid"]) == 3 * [80]
    error = dict(zip(table["validation"], table["rmse"], strict=True))
    assert error["higher"] > 1.9
    assert error["lower"] < error["random"] < error["higher"]
    again = split_errors(features, truth, density, seed=0)
    np.testing.assert_array_equal(table["rmse"], again["rmse"])


def test_pictures_stand_in_rows_of_five():
    table = Table({"aim": np.repeat([-0.5, 0, 0.2, 0.5, 1.0], 5), "log_hi_fraction_true": np.zeros(25)})
    drawn = environment.plot_examples(table, np.zeros((25, 8, 8, 3), np.uint8))
    assert len(drawn.axes) == 25
    plt.close(drawn)


@pytest.mark.real_data
def test_the_densities_of_the_real_survey_are_near_the_published_ones(real_data, monkeypatch):
    table = environment.fig8(Setting(real_data, real_data))
    numbers = table.meta["numbers"]
    for level in (0.5, 0.84, 0.95, 0.99):  # published with the NASA-Sloan Atlas
        ours, published = numbers[f"1 + delta5 as coded, quantile {level}"]
        assert ours == pytest.approx(published, rel=0.03)
    ours, published = numbers["log(1 + delta5) as printed, 80th percentile"]
    assert ours == pytest.approx(published, abs=0.02)
    drawn = environment.plot_densities(table)
    plt.close(drawn)


@pytest.mark.real_data
def test_labelled_galaxies_have_the_densities_of_the_survey_around_them(real_data):
    rows = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    density = environment.galaxy_densities(rows, Setting(real_data, real_data))
    covered = (rows["ra"].value > 140) & (rows["ra"].value < 230)
    assert np.isnan(density[~covered]).all()
    assert np.isfinite(density[covered]).mean() > 0.9
    assert abs(np.nanmedian(density)) < 0.5
