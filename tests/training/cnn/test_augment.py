"""Orientations of pictures: a group, drawn fairly, and averaged over."""

from itertools import product

import numpy as np
import pytest
import torch
from contract import DEX
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from hifrac.models.xresnet import XResNet
from hifrac.training.cnn.augment import Augmentation, DihedralMean, dihedral, light, rotate

ELEMENTS = range(8)
DTYPES = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])


def noise(n=3, c=2, h=6, w=6, *, seed=0):
    return torch.randint(0, 256, (n, c, h, w), generator=torch.Generator().manual_seed(seed)).byte()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# The group


def compose(first, second):
    """The element that does what the first and then the second do."""
    # What is mirrored afterwards turns the other way.
    turns = second + (first if second < 4 else -first)
    return turns % 4 + 4 * ((first >= 4) != (second >= 4))


def inverse(which):
    """The element that undoes another one."""
    return which if which >= 4 else -which % 4


@DTYPES
@pytest.mark.parametrize("which", ELEMENTS)
def test_each_element_is_that_of_numpy(which, dtype):
    pictures = noise().to(dtype)
    expected = pictures.numpy()
    if which >= 4:
        expected = np.flip(expected, 3)
    expected = np.rot90(expected, which % 4, (2, 3))
    found = dihedral(pictures, which)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), expected)


def test_the_eight_are_different():
    pictures = noise()
    results = {dihedral(pictures, which).numpy().tobytes() for which in ELEMENTS}
    assert len(results) == 8


@pytest.mark.parametrize(("first", "second"), list(product(ELEMENTS, ELEMENTS)))
def test_one_after_the_other_is_a_third(first, second):
    pictures = noise()
    twice = dihedral(dihedral(pictures, first), second)
    assert torch.equal(twice, dihedral(pictures, compose(first, second)))


@pytest.mark.parametrize("which", ELEMENTS)
def test_the_inverse_undoes(which):
    pictures = noise()
    assert torch.equal(dihedral(dihedral(pictures, which), inverse(which)), pictures)
    assert compose(which, inverse(which)) == compose(inverse(which), which) == 0


def test_pictures_that_are_not_square_keep_half_of_the_group():
    pictures = noise(h=4, w=6)
    for which in (0, 2, 4, 6):
        assert dihedral(pictures, which).shape == pictures.shape
    for which in (1, 3, 5, 7):
        with pytest.raises(ValueError, match=r"^pictures must be square to be turned, got \(3, 2, 4, 6\)"):
            dihedral(pictures, which)


@pytest.mark.parametrize("which", [-1, 8])
def test_there_is_no_ninth_element(which):
    with pytest.raises(ValueError, match=f"^which must be 0 to 7, got {which}"):
        dihedral(noise(), which)


def test_one_picture_without_its_batch():
    with pytest.raises(ValueError, match=r"^pictures must be \(n, c, h, w\), got"):
        dihedral(noise()[0], 0)


# Rotation


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
@given(degrees=st.floats(-180, 180), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_rotation_is_that_of_scipy(height, width, degrees, seed):
    pictures = torch.rand(1, 1, height, width, dtype=torch.float64, generator=generator(seed))
    found = rotate(pictures, torch.tensor([degrees], dtype=torch.float64))[0, 0].numpy()
    expected = ndimage.rotate(pictures[0, 0].numpy(), degrees, reshape=False, order=1, mode="reflect")
    # Between the outermost centre and the border the two interpolate differently.
    rows, columns = np.mgrid[:height, :width] - np.reshape([(height - 1) / 2, (width - 1) / 2], (2, 1, 1))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    inside = np.abs(s * columns + c * rows) < (height - 1) / 2 - 1e-6
    inside &= np.abs(c * columns - s * rows) < (width - 1) / 2 - 1e-6
    assert inside.sum() > 50
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-9)


def test_beyond_its_border_a_picture_is_reflected():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    found = rotate(ramp, torch.tensor([45.0]))
    assert found.min() >= 0
    assert found.max() <= 7
    # The corner lies 3.5 (sqrt 2) from the centre: 0.95 beyond the border 4, as far as 3.05 before it.
    corners = found[0, 0][[0, 0, -1, -1], [0, -1, 0, -1]]
    expected = [3.5 - (8 - 3.5 * 2**0.5), 3.5, 3.5, 3.5 + (8 - 3.5 * 2**0.5)]
    assert sorted(corners.tolist()) == pytest.approx(sorted(expected), abs=1e-5)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_right_angles_are_exact(turns):
    pictures = noise()
    found = rotate(pictures, torch.full((3,), 90.0 * turns))
    assert found.dtype == torch.uint8
    assert torch.equal(found, dihedral(pictures, turns))


def test_each_picture_has_its_own_angle():
    pictures = noise()
    found = rotate(pictures, torch.tensor([0.0, 90.0, 180.0]))
    for row in range(3):
        assert torch.equal(found[row], dihedral(pictures, row)[row])
    with pytest.raises(ValueError, match=r"^degrees must be \(3,\), got \(2,\)"):
        rotate(pictures, torch.zeros(2))


@given(degrees=st.floats(-30, 30), zoom=st.floats(1, 2), x=st.floats(-0.3, 0.3), y=st.floats(-0.3, 0.3))
@settings(max_examples=25)
def test_zoom_and_offset_are_those_of_scipy(degrees, zoom, x, y):
    picture = torch.rand(1, 1, 20, 20, dtype=torch.float64, generator=generator(3))
    options = {"zoom": torch.tensor([zoom]), "offset": torch.tensor([[x, y]])}
    found = rotate(picture, torch.tensor([degrees]), **options)[0, 0].numpy()
    # Where a pixel (row, column) comes from, about the middle; an angle is counterclockwise on the screen.
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[c, s], [-s, c]]) / zoom
    middle = np.array([9.5, 9.5])
    shift = middle - matrix @ (middle - 10 * np.array([y, x]))
    expected = ndimage.affine_transform(picture[0, 0].numpy(), matrix, shift, order=1, mode="reflect")
    source = np.einsum("ij,jkl->ikl", matrix, np.mgrid[:20, :20]) + shift[:, None, None]
    inside = ((source > 0) & (source < 19)).all(0)
    assert inside.sum() > 50
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("name", ["zoom", "offset"])
def test_a_zoom_or_offset_of_another_shape(name):
    with pytest.raises(ValueError, match=rf"^{name} must be \(3,"):
        rotate(noise(), torch.zeros(3), **{name: torch.ones(2)})


# Brightness


@pytest.mark.parametrize(
    ("contrast", "factor"), [(0.05, 1.05), (0.0, 1.0), (-0.05, 1 / 1.05), (-0.5, 1 / 1.5)]
)
def test_balance_and_contrast(contrast, factor):
    # As fastai 0.7 does with values / 255.
    pictures = noise(2, h=8, w=8)
    found = light(pictures, torch.full((2,), 0.04), torch.full((2,), contrast))
    values = pictures.double() / 255
    mean = values.mean((1, 2, 3), keepdim=True)
    expected = ((values - mean) * factor + mean + 0.04).clamp(0, 1) * 255
    assert found.dtype == torch.uint8
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.5001)


def test_each_picture_has_its_own_balance():
    pictures = torch.full((2, 3, 4, 4), 100.0)
    found = light(pictures, torch.tensor([0.1, -0.1]), torch.zeros(2))
    np.testing.assert_allclose(found.mean((1, 2, 3)), [125.5, 74.5], rtol=1e-6)


# At random


def orientations(pictures, results):
    """For each picture, which element was applied to it."""
    found = []
    for row, result in enumerate(results):
        which = [one for one in ELEMENTS if torch.equal(dihedral(pictures[row : row + 1], one)[0], result)]
        assert len(which) == 1
        found.append(which[0])
    return np.array(found)


def test_each_picture_is_oriented_at_random_and_all_ways_alike():
    pictures = noise(800)
    found = orientations(pictures, Augmentation(generator())(pictures))
    counts = np.bincount(found, minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.12


@DTYPES
def test_the_seed_fixes_everything_and_the_pictures_stay(dtype):
    pictures = noise(20).to(dtype)
    before = pictures.clone()
    one, other, third = (Augmentation(generator(seed), max_degrees=10.0)(pictures) for seed in (5, 5, 6))
    assert one.dtype == dtype
    assert one.shape == pictures.shape
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert torch.equal(pictures, before)


def test_two_batches_are_oriented_differently():
    pictures = noise(20)
    augmentation = Augmentation(generator())
    first, second = augmentation(pictures), augmentation(pictures)
    assert not torch.equal(first, second)
    assert (orientations(pictures, first) != orientations(pictures, second)).any()


@DTYPES
def test_a_generator_that_gives_each_element_gives_each_orientation(dtype, monkeypatch):
    pictures = noise(8, h=5, w=5).to(dtype)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.arange(8))
    turned = Augmentation(generator())(pictures)
    for which in ELEMENTS:
        assert torch.equal(turned[which], dihedral(pictures, which)[which])


def test_nothing_depends_on_what_a_gpu_would_be_waited_for():
    pictures = torch.empty(8, 3, 16, 16, dtype=torch.uint8, device="meta")  # which has no values to ask for
    turned = Augmentation(generator(), max_degrees=10)(pictures)
    assert (turned.shape, turned.dtype) == (pictures.shape, pictures.dtype)


def test_three_quarters_are_rotated_and_not_too_far():
    # A bright point at the end of an arm of 40 pixels shows the angle.
    pictures = torch.zeros(600, 1, 101, 101)
    pictures[:, :, 49:52, 89:92] = 1
    turned = Augmentation(generator(3), max_degrees=10)(pictures)
    axis = torch.arange(101.0) - 50
    weight = turned.sum((1, 2, 3))
    x = (turned.sum((1, 2)) * axis).sum(1) / weight
    y = (turned.sum((1, 3)) * axis).sum(1) / weight
    degrees = torch.rad2deg(torch.atan2(y, x)).numpy()
    aside = (degrees + 45) % 90 - 45
    assert np.abs(aside).max() < 10.05
    rotated = np.abs(aside) > 0.01
    assert stats.binomtest(int(rotated.sum()), 600, 0.75).pvalue > 1e-3
    assert stats.kstest(aside[rotated], stats.uniform(-10, 20).cdf).pvalue > 1e-3


def test_three_quarters_are_enlarged_and_shown_in_part():
    # Four points around the middle show how far they are apart, and where the middle is.
    pictures = torch.zeros(600, 1, 101, 101)
    for row, column in ((30, 30), (30, 70), (70, 30), (70, 70)):
        pictures[:, :, row - 1 : row + 2, column - 1 : column + 2] = 1
    shown = Augmentation(generator(4), max_zoom=1.2)(pictures)
    axis = torch.arange(101.0) - 50
    weight = shown.sum((1, 2, 3))
    x = (shown.sum((1, 2)) * axis).sum(1) / weight
    spread = ((shown.sum((1, 2)) * (axis - x[:, None]) ** 2).sum(1) / weight).sqrt()
    zoom = (spread / spread.min()).numpy()
    enlarged = zoom > 1.001
    assert zoom.max() < 1.21
    assert stats.binomtest(int(enlarged.sum()), 600, 0.75).pvalue > 1e-3
    assert stats.kstest(zoom[enlarged], stats.uniform(1, 0.2).cdf).pvalue > 1e-3
    # The part is anywhere within the enlarged picture.
    share = x.numpy()[enlarged] / (50.5 * (zoom[enlarged] - 1))
    assert np.abs(share[zoom[enlarged] > 1.05]).max() < 1.1
    assert stats.kstest(share[zoom[enlarged] > 1.05], stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_the_brightness_changes_within_its_limits():
    pictures = torch.full((400, 3, 8, 8), 120, dtype=torch.uint8)
    shift = (
        Augmentation(generator(5), lighting=0.05)(pictures).float().mean((1, 2, 3)).numpy() / 255 - 120 / 255
    )
    assert np.abs(shift).max() < 0.0525
    assert stats.kstest(shift, stats.uniform(-0.05, 0.1).cdf).pvalue > 1e-3


def test_a_random_part_of_a_frame():
    pictures = (torch.arange(36).reshape(1, 1, 6, 6) + 1).byte().expand(500, 1, 6, 6)
    shown = Augmentation(generator(6), frame=8, crop=5)(pictures)
    assert shown.shape == (500, 1, 5, 5)
    padded = np.pad(pictures[0, 0].numpy(), 1)
    parts = [padded[row : row + 5, column : column + 5] for row in range(4) for column in range(4)]
    ways = {np.rot90(np.fliplr(part) if flip else part, turn).tobytes(): number
            for number, part in enumerate(parts) for turn in range(4) for flip in (0, 1)}  # fmt: skip
    seen = {part.numpy().tobytes() for part in shown[:, 0]}
    assert seen <= ways.keys()
    assert len(seen) > 100, "of 128 there are"


def test_a_frame_may_be_smaller_than_the_pictures():
    pictures = noise(40, h=10, w=10)
    shown = Augmentation(generator(), frame=6)(pictures)
    assert set(orientations(pictures[:, :, 2:8, 2:8], shown)) == set(ELEMENTS)


def test_more_than_a_picture_is_no_part_of_it():
    with pytest.raises(ValueError, match=r"^crop must be at most the side of the pictures, 6, got 7"):
        Augmentation(generator(), crop=7)(noise())


@pytest.mark.parametrize(("probability", "rotated"), [(0.0, False), (1.0, True)])
def test_the_probability_of_rotation(probability, rotated):
    pictures = noise(30, h=20, w=20).float()
    results = Augmentation(generator(), max_degrees=10, probability=probability)(pictures)
    exact = [
        any(torch.equal(dihedral(pictures[row : row + 1], one)[0], result) for one in ELEMENTS)
        for row, result in enumerate(results)
    ]
    assert exact == [not rotated] * 30


def test_no_pictures():
    assert Augmentation(generator(), max_degrees=10)(noise(0)).shape == (0, 2, 6, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_degrees": -1}, "max_degrees must be from 0 to 180, got -1"),
        ({"max_degrees": 181}, "max_degrees must be from 0 to 180, got 181"),
        ({"max_zoom": 0.9}, "max_zoom must be at least 1, got 0.9"),
        ({"lighting": 1.0}, "lighting must be from 0 to 1, got 1.0"),
        ({"probability": 1.1}, "probability must be from 0 to 1, got 1.1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Augmentation(generator(), **options)


def test_only_squares_are_augmented():
    with pytest.raises(ValueError, match=r"^pictures must be square to be turned"):
        Augmentation(generator())(noise(h=4))


# The mean over all


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return XResNet((1, 1), 2).eval()


def test_the_mean_is_that_of_eight_answers(network):
    pictures = torch.rand(2, 3, 40, 40, generator=generator())
    with torch.inference_mode():
        answers = [network(dihedral(pictures, which)) for which in ELEMENTS]
        found = DihedralMean(network)(pictures)
        torch.testing.assert_close(found, torch.stack(answers).mean(0), rtol=0, atol=DEX)
        assert torch.stack(answers).std(0).min() > 1e-4  # or the mean would show nothing


@pytest.mark.parametrize("which", ELEMENTS)
def test_the_mean_does_not_depend_on_the_orientation(network, which):
    pictures = torch.rand(2, 3, 40, 40, generator=generator())
    mean = DihedralMean(network).eval()
    with torch.inference_mode():
        torch.testing.assert_close(mean(dihedral(pictures, which)), mean(pictures), rtol=0, atol=DEX)


def test_a_network_in_training_gives_no_test_answers(network):
    mean = DihedralMean(network)
    mean.train()
    try:
        with pytest.raises(RuntimeError, match=r"^network must be in evaluation mode"):
            mean(torch.zeros(1, 3, 40, 40))
    finally:
        mean.eval()
