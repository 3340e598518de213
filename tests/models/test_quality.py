"""Pictures whose galaxy is off the centre, has a neighbour, or is too large."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import encode

from hifrac import Flag, HIFractionEstimator, LocalCutouts, load_model
from hifrac.models.quality import inspect_pictures, measure_quality

# A galaxy of SkyServer stands so far from the middle of its picture, to the right and down.
PLACE = np.array([0.0, 1.0])


def source(right=0.0, down=0.0, *, peak=150.0, size=5.0, seed=0):
    """Return a picture of noise with a round source at a distance from where galaxies stand."""
    y, x = np.mgrid[:128, :128] - 63.5
    radius = np.hypot(x - PLACE[0] - right, y - PLACE[1] - down)
    sky = np.random.default_rng(seed).normal(6, 2, (128, 128, 3))
    return sky + (peak * np.exp(-radius / size))[..., None] * np.array([1.0, 0.8, 0.6])


def picture(*sources):
    """Return uint8 pixels, the sky of the first source alone."""
    light = sources[0] + sum((other - 6).clip(min=0) for other in sources[1:])
    return np.clip(light, 0, 255).astype(np.uint8)


def flags_of(*pictures):
    return inspect_pictures(np.stack(pictures))[1]


def test_a_galaxy_alone_in_the_middle_is_left_as_it_is_and_unflagged():
    pixels = np.stack([picture(source(seed=seed)) for seed in range(5)])
    returned, flags, _ = inspect_pictures(pixels)
    assert returned is pixels
    assert flags.tolist() == [0] * 5
    assert flags.dtype == np.int32


@pytest.mark.parametrize(("right", "down"), [(5, 0), (-5, 0), (0, 7), (0, -7), (4, -4), (-6, 5)])
def test_the_place_of_the_galaxy_is_measured_and_the_picture_centred(right, down):
    pixels = np.stack([picture(source(right, down)), picture(source())])
    before = pixels.copy()
    quality = measure_quality(torch.from_numpy(pixels))
    np.testing.assert_allclose(quality.offset[0], [right, down], atol=0.6)
    assert quality.is_certain.tolist()[0]
    centered, flags, moves = inspect_pictures(pixels)
    assert flags.tolist() == [Flag.OFF_CENTRE, 0]
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(centered[1], pixels[1])
    np.testing.assert_allclose(measure_quality(torch.from_numpy(centered)).offset[0], [0, 0], atol=1.1)
    np.testing.assert_allclose(moves, [[down, right], [0, 0]], atol=1)
    np.testing.assert_array_equal(np.roll(centered[0], moves[0], (0, 1)), pixels[0])


def test_a_galaxy_too_far_out_is_flagged_and_not_chosen():
    pixels = np.stack([picture(source(11, 0))])
    returned, flags, _ = inspect_pictures(pixels)
    assert flags[0] & Flag.OFF_CENTRE
    np.testing.assert_array_equal(returned, pixels)


def test_a_brighter_neighbour_does_not_take_the_place_of_a_galaxy_in_the_middle():
    pixels = np.stack([picture(source(peak=90, size=1.5), source(8.4, 0, peak=180, size=1.5))])
    assert not measure_quality(torch.from_numpy(pixels)).is_certain[0]
    returned, flags, _ = inspect_pictures(pixels)
    np.testing.assert_array_equal(returned, pixels)
    assert flags[0] & Flag.OFF_CENTRE


@pytest.mark.parametrize(("right", "down"), [(15, 0), (0, -20), (-20, 20), (-12, -12)])
def test_a_neighbour_is_flagged_the_more_the_brighter(right, down):
    pixels = np.stack(
        [picture(source(), source(right, down, peak=peak, size=9)) for peak in (6.1, 20, 40, 80, 160)]
    )
    crowding = measure_quality(torch.from_numpy(pixels)).crowding
    assert torch.all(crowding[1:] > crowding[:-1])
    assert ((flags_of(*pixels) & Flag.CROWDED) != 0).tolist() == [False, False, False, False, True]


def test_a_galaxy_that_is_larger_than_the_picture_is_flagged():
    pixels = np.stack([picture(source(size=size)) for size in (6, 12, 25, 40)])
    share = measure_quality(torch.from_numpy(pixels)).edge_share
    assert torch.all(share[1:] >= share[:-1])
    assert ((flags_of(*pixels) & Flag.FILLS_FRAME) != 0).tolist() == [False, False, False, True]


@settings(max_examples=25)
@given(arrays(np.uint8, (3, 128, 128, 3), elements=st.integers(0, 255), fill=st.integers(0, 255)))
def test_any_picture_has_a_quality_of_its_own(pixels):
    quality = measure_quality(torch.from_numpy(pixels))
    assert all(torch.isfinite(values.float()).all() for values in quality)
    assert torch.all((quality.edge_share >= 0) & (quality.edge_share <= 1))
    whole = inspect_pictures(pixels)
    for row in range(3):
        single = inspect_pictures(pixels[row : row + 1])
        np.testing.assert_array_equal(whole[0][row], single[0][0])
        assert whole[1][row] == single[1][0]


def test_an_answer_is_that_of_the_centred_picture_with_the_flags_of_the_picture():
    model = load_model("default", device="cpu")
    pixels = np.stack([picture(source(6, 3)), picture(source(25, 0, size=9), source(peak=120))])
    centered, flags, _ = inspect_pictures(pixels)
    answer = model.answer(pixels)
    bare = model.interpret(model.run(centered))
    np.testing.assert_array_equal(answer.estimate, bare.estimate)
    np.testing.assert_array_equal(answer.flags, bare.flags | flags)
    assert flags.tolist() == [Flag.OFF_CENTRE, Flag.CROWDED]


def test_an_estimator_says_what_spoils_a_picture(tmp_path):
    names = ["off", "good"]
    for name, pixels in zip(names, (picture(source(6, 3)), picture(source())), strict=True):
        (tmp_path / f"{name}.png").write_bytes(encode(pixels, "PNG"))
    with LocalCutouts(tmp_path, name="name") as cutouts:
        estimator = HIFractionEstimator(cutouts=cutouts)
        result = estimator.predict(
            Table({"name": names, "ra": [1.0, 2.0], "dec": [1.0, 2.0]}, units=["", "deg", "deg"])
        )
    assert [bool(flags & Flag.OFF_CENTRE) for flags in result["flags"]] == [True, False]


def test_models_of_another_kind_take_pictures_as_they_are():
    model = load_model("gas-classes", device="cpu")
    width = model.card.recipe.width
    pixels = np.random.default_rng(0).integers(0, 255, (2, width, width, 3), dtype=np.uint8)
    returned, flags, moves = model.inspect(pixels)
    assert returned is pixels
    assert flags.tolist() == [0, 0]
    assert moves.tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"^pixels must be uint8"):
        model.inspect(pixels[0])


def test_no_pictures_have_no_flags():
    pixels, flags, moves = inspect_pictures(np.zeros((0, 128, 128, 3), np.uint8))
    assert pixels.shape == (0, 128, 128, 3)
    assert (flags.shape, moves.shape) == ((0,), (0, 2))


def test_what_cannot_be_written_to_is_not_written_to():
    pixels = np.stack([picture(source(5, 0))])
    pixels.setflags(write=False)
    centered, *_ = inspect_pictures(pixels)
    assert centered.flags.writeable


def test_pictures_are_changed_in_place_if_that_is_allowed():
    pixels = np.stack([picture(source(5, 0))])
    expected, *_ = inspect_pictures(pixels)
    assert not np.array_equal(expected, pixels)
    returned, *_ = inspect_pictures(pixels, in_place=True)
    assert returned is pixels
    np.testing.assert_array_equal(pixels, expected)


def test_empty_sky_has_no_place_and_fills_nothing():
    assert flags_of(*(picture(source(peak=0, seed=seed)) for seed in range(8))).tolist() == [0] * 8
