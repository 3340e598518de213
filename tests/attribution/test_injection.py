"""Point sources in pictures: the published picture to the letter, and the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hifrac.attribution import inject_point_sources
from hifrac.attribution.injection import COLOURS

GREY = np.full((40, 50, 3), 60, dtype=np.uint8)


def slowly(image, positions, color, exponent):
    """The definition, source by source over the whole picture."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    light = image / 255.0
    for x0, y0 in positions:
        light = light + np.exp(-exponent(np.hypot(x - x0, y - y0)))[..., None] * np.array(COLOURS[color])
    return np.floor(255 * np.clip(light, 0, 1)).astype(np.uint8)


@pytest.mark.real_data
def test_the_published_picture_follows_with_no_differing_pixel(real_data):
    golden = real_data.parent / "golden"
    if not golden.is_dir():
        pytest.skip("the published pictures are not beside the data")
    with Image.open(golden / "AGC226075_native224.png") as picture:
        native = np.array(picture.convert("RGB"))
    with Image.open(golden / "AGC226075_6red_seed42.png") as picture:
        published = np.array(picture.convert("RGB"))
    found = inject_point_sources(native, profile="as-coded", rng=np.random.RandomState(42))
    np.testing.assert_array_equal(found, published)
    printed = inject_point_sources(native, profile="as-printed", rng=np.random.RandomState(42))
    assert np.mean(printed != published) > 0.05


@pytest.mark.parametrize(
    ("profile", "exponent"),
    [("as-printed", lambda rho: rho**2 / 50), ("as-coded", lambda rho: rho**4 / 50)],
)
@pytest.mark.parametrize("color", COLOURS)
def test_sources_are_those_of_the_formula(profile, exponent, color):
    positions = [(3, 5), (49, 39), (20.5, 18.25), (-4, 10), (70, 60)]
    found = inject_point_sources(GREY, color=color, profile=profile, positions=positions)
    expected = slowly(GREY, positions, color, exponent)
    # Two orders of summation may round to either side of an integer.
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.mean(found != expected) < 1e-3


@pytest.mark.parametrize("profile", ["as-printed", "as-coded"])
@pytest.mark.parametrize(("color", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_source_brightens_its_own_channel_most_and_the_picture_given_is_left_alone(profile, color, channel):
    before = GREY.copy()
    found = inject_point_sources(GREY, color=color, profile=profile, positions=[(25, 20)])
    np.testing.assert_array_equal(GREY, before)
    assert found.dtype == np.uint8
    assert found[20, 25].argmax() == channel


@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(0, 9), width=st.integers(3, 40), height=st.integers(3, 40)
)
def test_nothing_gets_darker_and_the_draw_is_repeatable(seed, n, width, height):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = inject_point_sources(image, n=n, profile="as-coded", rng=seed)
    again = inject_point_sources(image, n=n, profile="as-coded", rng=np.random.RandomState(seed))
    np.testing.assert_array_equal(found, again)
    # floor(255 (v / 255)) is v or v - 1: division and product round.
    assert np.all(found.astype(int) >= image.astype(int) - 1)
    assert found.shape == image.shape


def test_no_sources_leave_the_picture_as_it_is():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(inject_point_sources(image, n=0), image)
    np.testing.assert_array_equal(inject_point_sources(image, positions=[]), image)


def test_sources_are_nowhere_on_the_outermost_pixels():
    dark = np.zeros((5, 9, 3), dtype=np.uint8)
    for seed in range(50):
        found = inject_point_sources(dark, n=1, profile="as-coded", rng=seed)[..., 0]
        y, x = np.unravel_index(found.argmax(), found.shape)
        assert 1 <= y <= 3
        assert 1 <= x <= 7


def test_a_new_generator_draws_and_white_stays_white():
    white = np.full((30, 30, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(inject_point_sources(white, rng=np.random.default_rng(1)), white)
    np.testing.assert_array_equal(inject_point_sources(white), white)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"image": GREY / 255.0}, TypeError, "image must be an array of uint8"),
        ({"image": [[1, 2, 3]]}, TypeError, "image must be an array of uint8"),
        ({"image": GREY[..., 0]}, ValueError, "image must have the shape"),
        ({"image": GREY[:2]}, ValueError, "image must have at least 3 pixels"),
        ({"n": 2.0}, TypeError, "n must be an integer"),
        ({"n": True}, TypeError, "n must be an integer"),
        ({"n": -1}, ValueError, "n must not be negative"),
        ({"color": "purple"}, ValueError, "color must be one of red, green, blue"),
        ({"profile": "moffat"}, ValueError, "profile must be one of as-printed, as-coded"),
        ({"positions": [1, 2, 3]}, ValueError, "positions must be pairs"),
        ({"positions": [(1, np.nan)]}, ValueError, "positions must be finite"),
        ({"rng": "seed"}, TypeError, "rng must be a RandomState"),
    ],
)
def test_what_is_wrong_is_named(changes, error, words):
    arguments = {"image": GREY, **changes}
    with pytest.raises(error, match=words):
        inject_point_sources(arguments.pop("image"), **arguments)
