"""Pictures that are not what they claim to be: of the right shape, each as wrong as it says."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import galaxy
from PIL import Image
from scipy import ndimage

from hifrac.cutouts import SDSS_RECIPE
from hifrac.simulate import SimulatedGalaxy, render
from hifrac.training.measuring.ood import AUGMENTATIONS_OOD, HARMLESS, SURROUNDINGS, as_read, ood_pictures

KINDS = (
    "white noise, colour", "white noise, grey", "uniform picture", "sky without an object", "smooth noise",
    "single star", "half the pixel scale", "twice the pixel scale, on sky", "twice the pixel scale, mirrored",
    "twice the pixel scale, among others", "red and blue swapped", "red and green swapped",
    "green and blue swapped", "bands rotated", "bands rotated back", "inverted", "photograph",
    "20 pixels off centre",
)  # fmt: skip


@pytest.fixture(scope="module")
def real():
    spiral = SimulatedGalaxy(
        i_mag=14.5, g_minus_r=0.45, r_minus_i=0.2, r50=8.0, axial_ratio=0.55, position_angle=25.0, n_arms=2
    )  # fmt: skip
    return np.stack([render(spiral, rng=4), galaxy(1), galaxy(2)])


@pytest.fixture(scope="module")
def ood(real):
    return ood_pictures(real, np.random.default_rng(0))


def test_every_kind_has_a_picture_for_each_real_one(real, ood):
    assert tuple(ood) == KINDS
    for pictures in ood.values():
        assert pictures.shape == real.shape
        assert pictures.dtype == np.uint8


@pytest.mark.parametrize("width", [64, 96])
def test_other_widths_work(width):
    for pictures in ood_pictures(galaxy(0, width=width)[None], np.random.default_rng(0)).values():
        assert pictures.shape == (1, width, width, 3)


def test_the_same_numbers_are_drawn_for_the_same_seed(real, ood):
    again, other = (ood_pictures(real, np.random.default_rng(seed)) for seed in (0, 1))
    drawn = {
        "white noise, colour",
        "white noise, grey",
        "uniform picture",
        "smooth noise",
        "single star",
        "photograph",
    }
    for kind, pictures in ood.items():
        np.testing.assert_array_equal(again[kind], pictures)
        assert np.array_equal(other[kind], pictures) == (kind not in drawn)


def test_the_real_pictures_are_left_alone(real):
    before = real.copy()
    ood_pictures(real, np.random.default_rng(0))
    np.testing.assert_array_equal(real, before)


def test_none_of_them_is_a_real_one(real, ood):
    for kind, pictures in ood.items():
        difference = np.abs(pictures.astype(int) - real).max((1, 2, 3))
        assert np.all(difference > 10), kind


def test_no_pictures_give_none_of_most_kinds_or_an_error():
    with pytest.raises(ValueError, match="array"):
        ood_pictures(np.empty((0, 64, 64, 3), np.uint8), np.random.default_rng(0))


# Each as wrong as it says


def test_noise_has_no_neighbours(ood):
    for kind in ("white noise, colour", "white noise, grey"):
        for picture in ood[kind].astype(float):
            inner = picture[..., 0] - picture[..., 0].mean()
            assert abs(np.mean(inner[1:] * inner[:-1]) / np.mean(inner**2)) < 0.05
    assert np.all(ood["white noise, grey"] == ood["white noise, grey"][..., :1])
    assert np.any(ood["white noise, colour"] != ood["white noise, colour"][..., :1])
    smooth = ood["smooth noise"].astype(float)[0, ..., 0]
    smooth -= smooth.mean()
    assert np.mean(smooth[1:] * smooth[:-1]) / np.mean(smooth**2) > 0.5


def test_a_uniform_picture_has_one_colour(ood):
    for picture in ood["uniform picture"]:
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_the_sky_is_the_darkest_corner_of_the_picture_itself(real, ood):
    for picture, empty in zip(real, ood["sky without an object"], strict=True):
        ends = (slice(32), slice(-32, None))
        corners = [picture[rows, columns] for rows in ends for columns in ends]
        darkest = min(corners, key=lambda corner: corner.mean())
        np.testing.assert_array_equal(empty[:32, :32], darkest)
        # Mirrored at each border, so that there is no seam.
        np.testing.assert_array_equal(empty[32:64, :32], darkest[::-1])
        assert empty.max() <= darkest.max()


def test_bands_are_swapped(real, ood):
    for kind, order in (
        ("red and blue swapped", [2, 1, 0]), ("red and green swapped", [1, 0, 2]),
        ("green and blue swapped", [0, 2, 1]), ("bands rotated", [1, 2, 0]),
        ("bands rotated back", [2, 0, 1]),
    ):  # fmt: skip
        np.testing.assert_array_equal(ood[kind], real[..., order])
    np.testing.assert_array_equal(ood["inverted"], ~real)


def test_off_centre_is_rolled(real, ood):
    np.testing.assert_array_equal(ood["20 pixels off centre"][:, 40:, 40:], real[:, 20:-20, 20:-20])


def width_of(picture):
    """Root mean square radius of what is bright."""
    light = np.clip(ndimage.gaussian_filter(picture.mean(2), 1) - 30, 0, None)
    y, x = np.indices(light.shape) - (light.shape[0] - 1) / 2
    return np.sqrt(np.sum(light * (x**2 + y**2)) / light.sum())


def test_the_pixel_scale_is_half_or_twice_that_of_the_real_one(real, ood):
    size = width_of(real[1])
    assert width_of(ood["half the pixel scale"][1]) == pytest.approx(2 * size, rel=0.15)
    for name in SURROUNDINGS:
        reduced = ood[f"twice the pixel scale, {name}"][1, 40:88, 40:88]
        assert width_of(reduced) == pytest.approx(size / 2, rel=0.3)


@pytest.mark.parametrize("name", ["half the pixel scale", "twice the pixel scale"])
def test_the_distance_is_tried_on_another_interpolation_than_it_learned(real, ood, name):
    learned = AUGMENTATIONS_OOD[name](real).astype(int)
    (tried, *_) = (pictures for kind, pictures in ood.items() if kind.startswith(name))
    difference = np.abs(tried - learned)[:, 40:88, 40:88]
    # The same picture in essence, but not pixel by pixel.
    assert 0 < difference.mean() < 12
    assert difference.max() > 1


def test_a_star_is_round_and_in_the_middle(ood, real):
    stars = ood_pictures(np.repeat(real[1:2], 12, axis=0), np.random.default_rng(3))["single star"]
    brightest = stars[np.argmax(stars[:, 60:68, 60:68].mean((1, 2, 3)))].astype(float).mean(2)
    center = ndimage.center_of_mass(np.clip(brightest - 60, 0, None))
    np.testing.assert_allclose(center, 63.5, atol=0.5)
    middle = brightest[48:80, 48:80]
    for turned in (middle.T, middle[::-1], middle[:, ::-1]):
        assert np.abs(middle - turned).mean() < 6


def test_a_photograph_is_part_of_one(ood):
    assert ood["photograph"].std((1, 2, 3)).min() > 10


# What the distance learns from


@pytest.mark.parametrize("name", AUGMENTATIONS_OOD)
def test_an_alteration_keeps_the_shape_and_the_input(real, name):
    before = real.copy()
    augmented = AUGMENTATIONS_OOD[name](real)
    assert augmented.shape == real.shape
    assert augmented.dtype == np.uint8
    assert augmented.flags.c_contiguous
    np.testing.assert_array_equal(real, before)
    np.testing.assert_array_equal(AUGMENTATIONS_OOD[name](real), augmented)
    if name != "twice the pixel scale":  # whose surroundings are other pictures
        alone = np.concatenate([AUGMENTATIONS_OOD[name](one[None]) for one in real])
        np.testing.assert_array_equal(alone, augmented)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_moves_little_light(real, name):
    before = real.copy()
    altered = HARMLESS[name](real)
    assert altered.shape == real.shape
    assert altered.dtype == np.uint8
    np.testing.assert_array_equal(real, before)
    np.testing.assert_allclose(altered.mean((1, 2, 3)), real.mean((1, 2, 3)), atol=0.6)
    assert (
        np.abs(np.diff(altered.astype(int), axis=1)).mean() < np.abs(np.diff(real.astype(int), axis=1)).mean()
    )


def test_a_blur_is_a_gaussian():
    star = np.zeros((1, 65, 65, 3), np.uint8)
    star[:, 32, 32] = 250
    light = HARMLESS["blurred"](star)[0, ..., 0].astype(float)
    x = np.arange(65) - 32
    assert np.sqrt(np.sum(light * x**2) / light.sum()) == pytest.approx(0.8, abs=0.05)
    np.testing.assert_array_equal(light, light.T)


def test_bands_swapped_twice_are_as_before(real):
    for name in ("red and blue swapped", "red and green swapped", "green and blue swapped"):
        np.testing.assert_array_equal(AUGMENTATIONS_OOD[name](AUGMENTATIONS_OOD[name](real)), real)
    back = AUGMENTATIONS_OOD["bands rotated back"](AUGMENTATIONS_OOD["bands rotated"](real))
    np.testing.assert_array_equal(back, real)


def test_the_inner_half_is_that_of_pillow(real):
    found = AUGMENTATIONS_OOD["half the pixel scale"](real)
    for picture, large in zip(real, found, strict=True):
        inner = Image.fromarray(picture[32:96, 32:96])
        expected = np.asarray(inner.resize((128, 128), Image.BILINEAR)).astype(int)
        assert np.abs(large - expected).max() <= 1


@pytest.fixture(scope="module")
def halved(real):
    return real.reshape(3, 64, 2, 64, 2, 3).mean((2, 4)).round().astype(np.uint8)


def test_pictures_at_twice_the_scale_come_by_two_interpolations_in_all_surroundings(real, halved):
    found = AUGMENTATIONS_OOD["twice the pixel scale"](np.concatenate([real, real]))
    small = found[:, 32:96, 32:96]
    np.testing.assert_allclose(small[:3].astype(float), halved, atol=1)  # halves are rounded either way
    for picture, one in zip(real, small[3:], strict=True):
        expected = np.asarray(Image.fromarray(picture).resize((64, 64), Image.BILINEAR)).astype(int)
        assert np.abs(one - expected).max() <= 1
    for number, around in enumerate(SURROUNDINGS.values()):
        np.testing.assert_array_equal(around(small[:3], number)[32:96, 32:96], small[number])
    np.testing.assert_array_equal(found[1], SURROUNDINGS["mirrored"](small[:3], 1))


def test_around_a_picture_on_sky_is_its_own_darkest_corner(halved):
    wide = SURROUNDINGS["on sky"](halved, 1)
    corners = [
        part[:, columns]
        for part in (halved[1][:16], halved[1][-16:])
        for columns in (slice(16), slice(-16, None))
    ]
    darkest = min(corners, key=lambda corner: corner.mean())
    assert {tuple(pixel) for pixel in wide[:32].reshape(-1, 3)} == {
        tuple(pixel) for pixel in darkest.reshape(-1, 3)
    }


def test_a_mirrored_picture_has_itself_around_it(halved):
    wide = SURROUNDINGS["mirrored"](halved, 2)
    np.testing.assert_array_equal(wide[31, 32:96], halved[2][1])
    np.testing.assert_array_equal(wide[32:96, 96], halved[2][:, -2])


def test_a_picture_among_others_has_all_of_some_of_them_around_it(halved):
    wide = SURROUNDINGS["among others"](halved, 0)
    # Tiles of 64 pixels, the field of 128 from the middle of the first to that of the last. The whole ones
    # are those of the first column, turned by a quarter more from one to the next.
    np.testing.assert_array_equal(wide[:32, :32], halved[1][32:, 32:])
    np.testing.assert_array_equal(wide[32:96, :32], np.rot90(halved[1], 3)[:, 32:])
    np.testing.assert_array_equal(wide[96:, :32], np.rot90(halved[1], 2)[:32, 32:])
    assert wide[:32, 96:].mean() <= halved.mean((1, 2, 3)).max()
    np.testing.assert_array_equal(SURROUNDINGS["among others"](halved[:1], 0)[32:96, 32:96], halved[0])


def test_read_pictures_are_compressed_as_those_of_the_recipe(real):
    for picture, read in zip(real, as_read(real), strict=True):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        np.testing.assert_array_equal(read, SDSS_RECIPE.decode(file.getvalue()))
        assert 0 < np.abs(read.astype(int) - picture).mean() < 5


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=10)
def test_the_scale_does_not_change_a_colour(red, green, blue):
    pixels = np.full((1, 64, 64, 3), (red, green, blue), np.uint8)
    for name in ("half the pixel scale", "twice the pixel scale"):
        np.testing.assert_array_equal(AUGMENTATIONS_OOD[name](pixels), pixels)
