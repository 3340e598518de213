"""Measures of faithfulness: right for maps whose truth is known, and true of the default model."""

import numpy as np
import pytest
from map_measures import (
    faithfulness_table,
    injection_scatter,
    perturbation_curves,
    randomisation_table,
    randomised,
)
from model_files import write

from hifrac import load_model
from hifrac.attribution import heat_maps
from hifrac.attribution.gradients import baseline_picture
from hifrac.demo import PICTURES
from hifrac.images import decode

pytestmark = [pytest.mark.numeric, pytest.mark.slow]


@pytest.fixture(scope="module")
def mean_pictures(default, demo_pixels):
    mean = np.rint(baseline_picture(default)).astype(np.uint8)
    return np.broadcast_to(mean, demo_pixels.shape).copy()


def test_curves_begin_and_end_where_they_must(pooled, blobs):
    model = load_model(pooled)
    dark = np.zeros_like(blobs)
    importance = np.random.default_rng(0).random(blobs.shape[:3])
    out = perturbation_curves(model, blobs, importance, dark, shares=(0, 0.3, 1))
    into = perturbation_curves(model, blobs, importance, dark, shares=(0, 0.7, 1), insertion=True)
    picture, nothing = model.run(blobs)["estimate"], model.run(dark)["estimate"]
    np.testing.assert_allclose(out[:, [0, 2]], np.stack([picture, nothing], 1), atol=1e-6)
    np.testing.assert_allclose(into[:, [0, 2]], np.stack([nothing, picture], 1), atol=1e-6)
    # What is left after 30% went out in an order is what comes in when the others go first.
    back = perturbation_curves(model, blobs, -importance, dark, shares=(0.7,), insertion=True)
    shares = 256 - round(0.3 * 256), round(0.7 * 256)
    assert shares[0] == shares[1]
    np.testing.assert_allclose(out[:, 1], back[:, 0], atol=1e-5)


def test_the_most_important_cells_go_first(pooled, blobs):
    model = load_model(pooled)
    importance = np.zeros(blobs.shape[:3])
    importance[:, 8:12, 20:24] = 1.0
    dark = np.zeros_like(blobs)
    found = perturbation_curves(model, blobs, importance, dark, shares=(1 / 256,))
    covered = blobs.copy()
    covered[:, 8:12, 20:24] = 0
    np.testing.assert_allclose(found[:, 0], model.run(covered)["estimate"], atol=1e-6)


def test_maps_of_the_default_model_beat_every_ranking_against_the_mean_galaxy(
    default, demo_pixels, mean_pictures
):
    table = faithfulness_table(default, demo_pixels, replacement=mean_pictures, n_bootstrap=50)
    table.add_index("ranking")
    cam = table.loc["cam"]
    assert cam["beats_random"] >= 0.8
    for name in ("random", "centre", "brightness", "difference"):
        assert cam["separation"] > table.loc[name]["separation"]
    assert table.loc["random"]["beats_random"] == 0


def test_the_table_is_the_same_each_time(pooled, blobs):
    model = load_model(pooled)
    tables = [faithfulness_table(model, blobs[:2], n_bootstrap=20) for _ in range(2)]
    assert list(tables[0]["ranking"]) == ["cam", "random", "centre", "brightness", "difference"]
    assert tables[0].values_equal(tables[1]).as_array().tolist() == [(True,) * 8] * 5


def test_weights_drawn_anew_are_the_same_numbers_elsewhere(tmp_path, pooled, blobs):
    model = load_model(pooled)
    before = heat_maps(model, blobs).values
    other = randomised(model, seed=1)
    a = model.network.state_dict()["backbone.head.weight"].detach().numpy()
    b = other.network.state_dict()["backbone.head.weight"].detach().numpy()
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(np.sort(a, None), np.sort(b, None))
    assert other.card.name == "mine (randomised)"
    again = randomised(model, seed=1).run(blobs)["estimate"]
    np.testing.assert_array_equal(other.run(blobs)["estimate"], again)
    np.testing.assert_array_equal(heat_maps(model, blobs).values, before)


def test_networks_with_attention_are_randomised_from_their_script_as_well(tmp_path, blobs):
    write(tmp_path / "m", "xresnet18")
    model = load_model(tmp_path / "m", runtime="torchscript")
    assert model.runtime == "torchscript"
    assert not np.allclose(randomised(model).run(blobs)["estimate"], model.run(blobs)["estimate"])


def test_maps_of_the_default_model_depend_on_what_was_learned(default, demo_pixels):
    table = randomisation_table(default, demo_pixels, seeds=(0,))
    assert np.all(np.abs(table["rank_correlation"]) < 0.5)


def test_point_sources_that_change_nothing_scatter_by_nothing(default, demo_pixels):
    table = injection_scatter(default, demo_pixels[:1], n=0, trials=2)
    assert list(table["color"]) == ["red", "green", "blue"]
    for name in ("median_shift", "scatter", "half_width", "largest"):
        # Rounding down may take one count from a pixel.
        np.testing.assert_allclose(table[name], 0, atol=0.02)


def test_wide_sources_disturb_more_than_narrow_ones(default):
    names = sorted(PICTURES.glob("sim-*.jpg"))
    pixels = np.stack([decode(names[i].read_bytes()) for i in (4, 12)])
    printed, coded = (
        injection_scatter(default, pixels, profile=profile, trials=12)
        for profile in ("as-printed", "as-coded")
    )
    assert np.all(printed["largest"] > coded["largest"])
    assert np.all(coded["half_width"] > 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": 7}, "cell must divide the sides"),
        ({"shares": (0, 2)}, "shares must lie between 0 and 1"),
        ({"importance": np.zeros((5, 3, 3))}, "importance and replacement must have the shapes"),
    ],
)
def test_what_is_wrong_is_named(pooled, blobs, changes, words):
    arguments = {"importance": blobs.mean(3), "replacement": np.zeros_like(blobs), **changes}
    with pytest.raises(ValueError, match=words):
        perturbation_curves(load_model(pooled), blobs, **arguments)
