"""Where gas-rich and gas-poor are seen, and how many are told right."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table

from hifrac import load_model
from hifrac.reproduce import EXPERIMENTS, networks
from hifrac.reproduce._inputs import pictures

pytestmark = pytest.mark.numeric


@pytest.fixture
def found(made):
    setting, labels, *_ = made
    return setting, labels, networks.fig11(setting)


def test_only_measured_galaxies_of_the_two_classes_are_judged(found):
    _, labels, table = found
    truth = np.asarray(labels["log_hi_fraction_true"])
    assert list(table["objid"]) == list(labels["objid"][(truth < -0.5) | (truth > 0.5)])
    np.testing.assert_array_equal(table["gas_rich"], table["truth"] > 0.5)


def test_accuracies_are_those_of_the_bundled_networks(found):
    setting, _, table = found
    numbers = table.meta["numbers"]
    pixels = pictures(table["objid"], setting)
    for kind, (name, published) in networks.MODELS.items():
        odds = load_model(name, device="cpu").run(pixels)["estimate"]
        np.testing.assert_allclose(table[kind], odds, atol=1e-5)
        right = np.mean((odds > 0) == table["gas_rich"])
        assert numbers[f"{kind}: accuracy, measured galaxies"] == (pytest.approx(right), published)


def test_the_surest_and_the_worst_of_each_class_are_shown():
    table = Table({"gas_rich": [False, False, False, True, True, True], "colour": [2.0, -3, 0, -1, 5, 1]})
    assert networks.examples(table) == [1, 0, 4, 3]


def test_without_colour_a_recoloured_galaxy_is_the_same(found):
    setting, _, table = found
    pixels = pictures(table["objid"][:4], setting)
    turned = pixels[..., [1, 2, 0]]
    for kind, (name, _) in networks.MODELS.items():
        model = load_model(name, device="cpu")
        change = np.abs(model.run(turned)["estimate"] - model.run(pixels)["estimate"])
        assert (change.max() < 1e-4) == (kind == "monochrome")


def test_the_figure_has_two_maps_for_each_network_and_galaxy(found):
    setting, _, table = found
    figure = networks.plot_fig11(table, setting)
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    titles = [axis.get_title() for axis in panels]
    n = int(np.sum(table["shown"]))
    assert len(panels) == 6 * n
    assert sum("gas-rich (" in one for one in titles) == sum("gas-poor (" in one for one in titles) == 2 * n
    plt.close(figure)


def test_the_experiment_names_the_networks_that_it_needs(made):
    setting, *_ = made
    paths, missing = EXPERIMENTS["fig11"].files(setting)
    assert [path.parent.name for path in paths[-2:]] == ["gas-classes", "gas-classes-monochrome"]
    assert missing == []
