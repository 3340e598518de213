"""Figures of explanations: panels, coordinates, one axes, and colours that everybody can tell apart."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib.figure import Figure
from model_files import random_explanation

from hifrac.attribution import Target
from hifrac.core.exceptions import BadImageError


@pytest.fixture
def explanation():
    return random_explanation()


def images_of(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def test_there_are_three_panels_with_coordinates_and_what_was_estimated(explanation, tmp_path):
    figure = explanation.plot()
    panels = [axes for axes in figure.axes if isinstance(axes, WCSAxes)]
    assert [panel.get_title() for panel in panels] == [
        "picture",
        "evidence for less gas",
        "evidence for more gas",
    ]
    text = figure.get_suptitle()
    assert "0.25" in text
    assert "p(detection) = 0.93" in text
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_north_is_up_in_every_panel(explanation):
    panels = [axes for axes in explanation.plot().axes if isinstance(axes, WCSAxes)]
    for panel in panels:
        assert panel.images[0].origin == "lower"
        low, high = panel.wcs.pixel_to_world([64, 64], [0, 127])
        assert high.dec > low.dec
    np.testing.assert_array_equal(panels[0].images[0].get_array(), explanation.pixels[::-1])


def test_the_two_maps_share_a_scale_and_are_the_parts_of_the_signed_one(explanation):
    _, less, more = images_of(explanation.plot(smoothing=0))
    assert less.get_clim() == more.get_clim()
    signed = more.get_array() - less.get_array()
    np.testing.assert_allclose(signed, explanation.values[::-1], atol=1e-9)
    assert images_of(explanation.plot(limit=0.5))[1].get_clim() == (0.0, 0.5)


def test_colours_differ_in_lightness_as_well(explanation):
    _, less, more = images_of(explanation.plot())
    for image in (less, more):
        shades = image.cmap(np.linspace(0, 1, 20))[:, :3] @ [0.299, 0.587, 0.114]
        assert np.all(np.diff(shades) < 0)
    assert less.cmap.name != more.cmap.name


def test_two_classes_are_shown_with_their_probabilities(explanation):
    rich_target = Target("gas-rich", "estimate", 1, u.dimensionless_unscaled, "")
    rich = dataclasses.replace(explanation, target=rich_target, prediction=np.log(3))
    poor = dataclasses.replace(
        rich, target=dataclasses.replace(rich_target, name="gas-poor", sign=-1), values=-rich.values,
        prediction=-np.log(3),
    )  # fmt: skip
    figure = poor.plot(rich)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["picture", "gas-poor (25%)", "gas-rich (75%)"]


def test_it_draws_into_an_axes_that_is_given(explanation):
    figure = Figure()
    ax = figure.add_subplot(projection=explanation.map.wcs)
    assert explanation.plot(ax=ax, title="mine") is figure
    assert ax.get_title() == "mine"
    low, high = ax.images[0].get_clim()
    assert low == -high
    plain = Figure()
    explanation.plot(ax=plain.add_subplot())
    plain.canvas.draw()


def test_it_draws_into_three_axes_that_are_given(explanation):
    figure = Figure()
    axes = [figure.add_subplot(1, 3, number, projection=explanation.map.wcs) for number in (1, 2, 3)]
    assert explanation.plot(ax=axes, title="mine") is figure
    assert axes[1].get_title() == "mine\nevidence for less gas"
    assert all(panel.images for panel in axes)
    figure.canvas.draw()
    with pytest.raises(ValueError, match="ax must be one Axes or three, got 2"):
        explanation.plot(ax=axes[:2])


def test_a_flat_map_and_a_picture_without_place_are_drawn(explanation):
    flat = dataclasses.replace(explanation, values=np.zeros((128, 128), np.float32), wcs=None, answers={})
    figure = flat.plot()
    assert not any(isinstance(axes, WCSAxes) for axes in figure.axes)
    figure.canvas.draw()


def test_pictures_need_not_be_square(explanation):
    wide = dataclasses.replace(explanation, values=explanation.values[:60], pixels=explanation.pixels[:60])
    wide.plot().canvas.draw()


def test_what_is_wrong_is_named(explanation):
    failed = dataclasses.replace(explanation, error=BadImageError("no picture"))
    with pytest.raises(ValueError, match=r"^row 4 has no map: no picture"):
        failed.plot()
    with pytest.raises(ValueError, match=r"^rich: row 4 has no map: no picture"):
        explanation.plot(failed)
    with pytest.raises(TypeError, match="rich must be an Explanation"):
        explanation.plot("rich")
    with pytest.raises(ValueError, match="rich must be of the same row"):
        explanation.plot(dataclasses.replace(explanation, row=5))
    with pytest.raises(ValueError, match="limit must be positive"):
        explanation.plot(limit=0)
    with pytest.raises(ValueError, match="ax takes one map"):
        explanation.plot(explanation, ax=Figure().add_subplot())
