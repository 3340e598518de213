"""Stacks of maps, and evidence by radius: right for maps that are known."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from map_stacks import elliptical_radius, radial_evidence, stack_by_class

from hifrac.attribution import Explanation, Target
from hifrac.core.exceptions import BadImageError
from hifrac.cutouts import SDSS_RECIPE

TARGET = Target("log_hi_fraction", "estimate", 1, u.dex, "")


def explained(values, row=0, **facts):
    return Explanation(
        row, np.asarray(values, np.float32), None, SDSS_RECIPE.wcs(150, 2), TARGET, "test", **facts
    )


def test_stacks_are_means_by_class_without_rows_that_failed():
    maps = [explained(np.full((4, 4), value), row) for row, value in enumerate([1.0, 3.0, 10.0, 99.0, 5.0])]
    maps[3] = dataclasses.replace(maps[3], error=BadImageError("x"))
    stacks = stack_by_class(maps, np.array(["rich", "rich", "poor", "rich", "poor"]))
    assert {label: number for label, (_, number) in stacks.items()} == {"rich": 2, "poor": 2}
    np.testing.assert_array_equal(stacks["rich"][0], 2.0)
    np.testing.assert_array_equal(stacks["poor"][0], 7.5)
    assert stack_by_class(maps[:2], [None, np.ma.masked]) == {}
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        stack_by_class(maps, ["rich"])
    with pytest.raises(ValueError, match="explanations must be of one size"):
        stack_by_class([maps[0], explained(np.zeros((3, 3)))], [1, 1])


@given(ratio=st.floats(0.1, 1), angle=st.floats(-360, 360))
def test_the_radius_is_one_on_the_ellipse(ratio, angle):
    radius = elliptical_radius((201, 201), axis_ratio=ratio, position_angle=angle)
    theta = np.radians(angle)
    # 80 pixels from the middle along the major axis: north is up, east to the left.
    row, column = 100 - 80 * np.cos(theta), 100 - 80 * np.sin(theta)
    assert radius[round(row), round(column)] == pytest.approx(80, abs=1.5 / ratio)
    row, column = 100 + 80 * ratio * np.sin(theta), 100 - 80 * ratio * np.cos(theta)
    assert radius[round(row), round(column)] == pytest.approx(80, abs=1.5 / ratio)
    assert radius[100, 100] == 0


def test_evidence_is_found_at_the_radius_where_it_was_put():
    pixel = SDSS_RECIPE.pixel_scale
    found = []
    for row, (ratio, angle) in enumerate([(1.0, 0.0), (0.5, 30.0), (0.6, 120.0)]):
        radius = elliptical_radius((128, 128), axis_ratio=ratio, position_angle=angle)
        values = np.where((radius >= 22) & (radius < 28), 1.0, 0.0)
        values += np.where((radius >= 2) & (radius < 8), -1.0, 0.0)
        values[values > 0] = 0.3 / np.sum(values > 0)
        values[values < 0] = -0.1 / np.sum(values < 0)
        found.append(explained(values, row))
    table = radial_evidence(
        found, [10 * pixel] * 3 * u.arcsec, axis_ratio=[1.0, 0.5, 0.6], position_angle=[0, 30, 120] * u.deg,
        edges=(0, 1, 2, 3),
    )  # fmt: skip
    np.testing.assert_allclose(table["total"].to_value(u.dex), [-0.1, 0, 0.3], atol=1e-4)
    np.testing.assert_allclose(table["for"].to_value(u.dex), [0, 0, 0.3], atol=1e-4)
    assert table["n_galaxies"].tolist() == [3, 3, 3]
    assert table["error"].unit == u.dex


def test_rings_beyond_the_picture_and_rows_without_a_radius_are_left_out():
    ones = np.full((128, 128), 1e-4)
    rows = [
        explained(ones, 0),
        explained(ones, 1),
        dataclasses.replace(explained(ones, 2), error=BadImageError("x")),
    ]
    table = radial_evidence(rows, [4.0, np.nan, 4.0], edges=(0, 1, 6, 8))
    assert table["n_galaxies"].tolist() == [1, 1, 0]
    assert np.isnan(table["total"][2])
    inside = np.sum(elliptical_radius((128, 128)) < 10)
    assert table["total"][0].value == pytest.approx(inside * 1e-4, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edges": (1, 0)}, "edges must increase"),
        ({"edges": (-1, 1)}, "edges must increase from 0"),
        ({"axis_ratio": [1.0]}, "position_angle is needed"),
        ({"r50": [1.0, 2.0]}, "argument 2 is longer"),
    ],
)
def test_what_is_wrong_is_named(changes, words):
    with pytest.raises(ValueError, match=words):
        radial_evidence([explained(np.zeros((128, 128)))], **{"r50": [4.0], **changes})


def test_a_picture_of_unknown_scale_is_refused():
    lost = dataclasses.replace(explained(np.zeros((128, 128)), 7), wcs=None)
    with pytest.raises(ValueError, match="picture of row 7 has no WCS"):
        radial_evidence([lost], [4.0])
    with pytest.raises(ValueError, match="axis_ratio must be above 0"):
        elliptical_radius((3, 3), axis_ratio=0)
