"""Figures look as they did: their hashes are in ``hashes.json``, for the versions that tox.ini pins.

What they show is made of random numbers, the same at each run; the numbers behind the real ones are tested
where they are computed.
"""

import dataclasses

import numpy as np
import pytest
from astropy.table import Table
from model_files import random_explanation
from pictures import galaxy
from reproduce_data import write_data

from hifrac import plot_overview, plot_result
from hifrac.reproduce import environment, networks, probabilities, regression
from hifrac.reproduce._experiment import Setting

compared = pytest.mark.mpl_image_compare(
    hash_library="hashes.json", deterministic=True, style="default", savefig_kwargs={"dpi": 60}
)


@pytest.fixture
def setting(tmp_path):
    write_data(tmp_path / "data", tmp_path / "model", pictures=True)
    return Setting(tmp_path / "data", tmp_path / "model", seed=1, draws=20)


@compared
def test_estimates_against_measured_values(setting):
    return regression.plot_scatter(regression.fig2(setting))


@compared
def test_upper_limits_are_arrows(setting):
    return regression.plot_scatter(regression.fig4(setting))


@compared
def test_residuals_against_properties(setting):
    return regression.plot_residuals(regression.fig3(setting))


@compared
def test_pattern_recognition(setting):
    return probabilities.plot_detection(probabilities.fig5(setting))


@compared
def test_errors_along_the_density():
    rng = np.random.default_rng(0)
    density, truth = rng.normal(0, 0.6, 500), rng.normal(0, 0.5, 500)
    estimate = truth + rng.normal(0, 0.2, 500)
    return environment.plot_windows(environment.window_residuals(truth, estimate, density))


@compared
def test_galaxies_in_different_environments():
    rows = Table({"aim": np.repeat([-1.0, 0.0, 1.0, 2.0, 2.5], 5)})
    rows["log_overdensity"] = rows["aim"] + 0.01
    rows["log_hi_fraction_true"] = -rows["aim"] / 2
    return environment.plot_examples(rows, np.stack([galaxy(number) for number in range(len(rows))]))


@compared
def test_point_sources_in_pictures():
    rng = np.random.default_rng(1)
    rows = [
        (number, profile, color, rng.normal(0, 0.03))
        for number in range(2)
        for profile in networks.PROFILES
        for color in networks.COLOURS
        for _ in range(50)
    ]
    table = Table(rows=rows, names=("picture", "profile", "color", "change"))
    table.meta = {"seed": 1, "truth": [-0.5, 0.5]}
    return networks.plot_injection(table, np.stack([galaxy(1), galaxy(2)]))


@compared
def test_an_explanation():
    return random_explanation().plot()


@compared
def test_evidence_for_two_classes_with_colour_and_without():
    poor = random_explanation()
    rich = dataclasses.replace(poor, values=-poor.values, prediction=-poor.prediction)
    return networks.plot_maps(
        {"colour": [(poor, rich)], "monochrome": [(poor, rich)]}, ["gas-poor, -0.60 dex"]
    )


def result_of_three():
    """Rows without a flag, with one, and without an estimate."""
    result = Table({"name": ["clean", "flagged", "absent"], "flags": [0, 16, 2]})
    for end, shift in (("", 0.0), ("_p16", -0.2), ("_p84", 0.3)):
        result[f"log_hi_fraction{end}"] = np.array([-0.4, 0.6, np.nan]) + shift
    result["p_detect"] = [0.9, 0.3, np.nan]
    return result


@compared
def test_estimates_with_intervals():
    return plot_result(result_of_three())


@compared
def test_pictures_with_estimates():
    return plot_overview(result_of_three(), [galaxy(1), galaxy(2), None], columns=3)
