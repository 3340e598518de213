"""The texture of a picture: against numpy, its symmetries, and what moves it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import galaxy, sky

from hifrac.models.structure import StructureNet
from hifrac.models.texture import N_TEXTURE, texture
from hifrac.training.measuring.ood import AUGMENTATIONS_OOD

pytestmark = pytest.mark.numeric

#: The measurements in their order.
STEPS, GROWTH2, GROWTH4, GROWTH8 = (slice(start, start + 3) for start in (0, 3, 6, 9))
TURN, TOGETHER, LEVEL = (slice(start, start + 3) for start in (12, 15, 18))
BRIGHT = slice(23, 25)

#: Rows and columns are looked at in steps of this.
EVERY = 8


def measured(pictures):
    """Texture of pictures (n, width, width, 3) of values 0 to 255."""
    planes = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    return texture(planes, binned(planes)).double().numpy()


def binned(planes):
    """The mean over the channels, from 0 to 1, in bins of two by two."""
    return torch.nn.functional.avg_pool2d(planes, 2).mean(1) / 255


def noise(seed, width=64, level=10.0, spread=4.0, bands=True):
    """Sky with noise of neighbours that know nothing of each other."""
    values = np.random.default_rng(seed).normal(level, spread, (1, width, width, 3 if bands else 1))
    return np.broadcast_to(np.clip(values, 0, 255), (1, width, width, 3)).astype(np.float32)


SEEDS = st.integers(0, 2**32 - 1)


def expected_texture(picture):
    """The definition once more, in double precision and with loops."""
    pixels = picture.astype(float) / 255
    width = len(pixels)
    binned = pixels.reshape(width // 2, 2, width // 2, 2, 3).mean((1, 3, 4))
    faint = np.repeat(np.repeat(np.exp(-10 * binned), 2, 0), 2, 1)

    def steps(lines, weights, lag):
        total = count = 0.0
        for line, weight in zip(lines, weights, strict=True):
            total = total + np.sum(np.abs(line[lag:] - line[:-lag]) * weight[lag:, None], 0)
            count += weight[lag:].sum()
        return total / count

    def both(values, weights, lag):
        turned = values.transpose(1, 0, 2)[::EVERY], weights.T[::EVERY]
        return steps(values[::EVERY], weights[::EVERY], lag), steps(*turned, lag)

    sky_steps = {lag: both(pixels, faint, lag) for lag in (1, 2, 4, 8)}
    in_sky = {lag: np.log(sum(pair) + 2e-3) for lag, pair in sky_steps.items()}
    in_light = {lag: np.log(sum(both(pixels, 1 - faint, lag)) + 5e-3) for lag in (1, 2, 4)}
    grey = sum(both(pixels.mean(2, keepdims=True), faint, 1))
    level = np.sum(pixels[::EVERY] * faint[::EVERY, :, None], (0, 1)) / faint[::EVERY].sum()
    return np.concatenate(
        [
            in_sky[1],
            *(in_sky[2 * lag] - in_sky[lag] for lag in (1, 2, 4)),
            np.log(sky_steps[1][0] + 1e-3) - np.log(sky_steps[1][1] + 1e-3),
            np.log(grey + 2e-3) - in_sky[1],
            np.log(level + 0.01),
            in_sky[1][:2] - in_sky[1][1:],
            [np.mean(in_light[2] - in_light[1]), np.mean(in_light[4] - in_light[2])],
        ]
    )


@given(SEEDS, st.sampled_from([64, 96]), st.floats(5, 120), st.floats(1, 40))
@settings(max_examples=8)
def test_the_texture_is_that_of_its_definition(seed, width, level, spread):
    picture = noise(seed, width, level, spread)
    picture[:, 20:40, 24:44] += 90
    np.testing.assert_allclose(measured(picture)[0], expected_texture(picture[0]), rtol=1e-3, atol=2e-4)


def test_the_texture_of_a_galaxy_is_that_of_its_definition():
    picture = galaxy(3)
    np.testing.assert_allclose(measured(picture[None])[0], expected_texture(picture), rtol=1e-3, atol=2e-4)


def test_there_are_as_many_numbers_as_announced_and_the_network_lists_them_last():
    found = measured(np.stack([galaxy(1), sky(1), galaxy(2)]))
    assert found.shape == (3, N_TEXTURE)
    assert StructureNet.GROUPS[-2] == ("texture", N_TEXTURE)
    network = StructureNet(128)
    with torch.inference_mode():
        planes = torch.from_numpy(galaxy(1)[None]).permute(0, 3, 1, 2).float()
        last = network.measure(planes)[0, StructureNet.columns(("texture",))]
    np.testing.assert_allclose(last.numpy(), found[0], atol=1e-5)


# Symmetries that follow from the definition


@given(SEEDS)
@settings(max_examples=15)
def test_turning_the_picture_over_its_diagonal_changes_one_sign(seed):
    picture = noise(seed)
    found, turned = measured(picture)[0], measured(picture.transpose(0, 2, 1, 3))[0]
    np.testing.assert_allclose(turned[TURN], -found[TURN], atol=1e-4)
    others = np.r_[0:12, 15:18, 21:25]  # the sky's level is read along rows
    np.testing.assert_allclose(turned[others], found[others], atol=1e-4)


@given(SEEDS, st.permutations(range(3)))
@settings(max_examples=15)
def test_other_bands_are_other_columns(seed, order):
    picture = noise(seed) * np.array([1.0, 0.6, 0.3], np.float32)
    found, swapped = measured(picture)[0], measured(picture[..., list(order)])[0]
    for part in (STEPS, GROWTH2, GROWTH4, GROWTH8, TURN, TOGETHER, LEVEL):
        np.testing.assert_allclose(swapped[part], found[part][list(order)], atol=1e-4)
    np.testing.assert_allclose(swapped[BRIGHT], found[BRIGHT], atol=1e-4)
    if order != [0, 1, 2]:
        assert np.abs(swapped - found).max() > 0.1


@given(SEEDS, st.floats(0, 200))
@settings(max_examples=15)
def test_steps_do_not_know_of_a_pedestal(seed, pedestal):
    # Where all of the sky is equally bright, a constant changes neither steps nor their weights.
    pattern = np.random.default_rng(seed).choice([-3.0, 3.0], (1, 64, 64, 3)).astype(np.float32)
    pattern[:, 1::2] = -pattern[:, ::2]  # each binned pixel has the same mean
    dark, light = measured(10 + pattern)[0], measured(10 + np.float32(pedestal) + pattern)[0]
    steps = np.r_[0:18, 21:23]
    np.testing.assert_allclose(light[steps], dark[steps], atol=2e-3)
    assert np.all(light[LEVEL] >= dark[LEVEL] - 1e-4)


@given(st.integers(0, 255))
@settings(max_examples=20)
def test_a_uniform_picture_has_no_steps(level):
    found = measured(np.full((1, 64, 64, 3), level, np.uint8))[0]
    np.testing.assert_allclose(found[STEPS], np.log(2e-3), atol=1e-5)
    np.testing.assert_allclose(found[3:18], 0, atol=1e-5)
    np.testing.assert_allclose(found[LEVEL], np.log(level / 255 + 0.01), atol=1e-4)
    np.testing.assert_allclose(found[21:], 0, atol=1e-5)


# What moves it


@given(SEEDS)
@settings(max_examples=10)
def test_independent_noise_grows_no_further_and_smooth_noise_does(seed):
    independent = measured(noise(seed, 128))[0]
    for part in (GROWTH2, GROWTH4, GROWTH8):
        np.testing.assert_allclose(independent[part], 0, atol=0.1)
    smooth = np.stack([sky(seed % 1000, 128, 20.0)])  # means of two by two: neighbours share half
    expected = 0.5 * np.log(2)
    np.testing.assert_allclose(measured(smooth)[0][GROWTH2], expected, atol=0.15)
    np.testing.assert_allclose(measured(smooth)[0][GROWTH4], 0, atol=0.12)


@given(SEEDS)
@settings(max_examples=10)
def test_grey_noise_is_told_from_that_of_three_bands(seed):
    coloured, grey = measured(noise(seed, 128))[0], measured(noise(seed, 128, bands=False))[0]
    np.testing.assert_allclose(coloured[TOGETHER], -0.5 * np.log(3), atol=0.12)
    np.testing.assert_allclose(grey[TOGETHER], 0, atol=1e-4)


@given(SEEDS, st.floats(1.5, 4.0))
@settings(max_examples=10)
def test_stronger_noise_has_longer_steps(seed, factor):
    centred = noise(seed, 128, level=60.0, spread=4.0) - 60
    quiet, loud = (measured(60 + size * centred)[0][STEPS] for size in (np.float32(1), np.float32(factor)))
    np.testing.assert_allclose(np.exp(loud) - 2e-3, factor * (np.exp(quiet) - 2e-3), rtol=0.08)


@pytest.mark.parametrize("name", AUGMENTATIONS_OOD)
def test_every_alteration_moves_the_texture_far_beyond_its_scatter(name):
    real = np.stack([sky(seed, 128, 12.0) for seed in range(24)]) * np.array([1.0, 0.7, 0.45])
    real = real.astype(np.uint8)
    before, after = measured(real), measured(AUGMENTATIONS_OOD[name](real))
    moved = np.abs(after.mean(0) - before.mean(0)) / (before.std(0) + 1e-3)
    assert moved.max() > 8


def test_the_pixel_scale_moves_how_the_steps_grow():
    real = np.stack([sky(seed, 128, 12.0) for seed in range(8)])
    before = measured(real).mean(0)
    magnified = measured(AUGMENTATIONS_OOD["half the pixel scale"](real)).mean(0)
    # Larger pixels of the sky: steps over one pixel are shorter, so those over two exceed them more.
    assert np.all(magnified[STEPS] < before[STEPS])
    assert np.all(magnified[GROWTH2] > before[GROWTH2])
    assert np.all(magnified[GROWTH4] > before[GROWTH4])


# As a part of a network


def test_the_texture_does_not_depend_on_the_batch():
    pictures = np.stack([galaxy(seed) if seed % 2 else sky(seed) for seed in range(7)])
    together = measured(pictures)
    np.testing.assert_allclose(measured(pictures[::-1])[::-1], together, atol=1e-5)
    alone = np.concatenate([measured(one[None]) for one in pictures])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_array_equal(measured(pictures), together)


CHESSBOARD = np.indices((64, 64)).sum(0)[..., None] % 2 * np.full(3, 255.0)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((64, 64, 3)), np.full((64, 64, 3), 255.0), noise(0)[0], CHESSBOARD],
    ids=["black", "white", "noise", "chessboard"],
)
def test_every_picture_has_a_finite_texture_and_gradient(picture):
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].float().requires_grad_()
    found = texture(planes, binned(planes))
    assert torch.isfinite(found).all()
    found.sum().backward()
    assert torch.isfinite(planes.grad).all()


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    planes = torch.rand(1, 3, 32, 32, dtype=torch.double).mul(50).requires_grad_()
    found = texture(planes, binned(planes))[0]
    for _ in range(3):
        step = 2e-5 * torch.randn_like(planes)
        with torch.no_grad():
            plus, minus = (texture(at, binned(at))[0] for at in (planes + step, planes - step))
        for row, column in enumerate(found):
            (slope,) = torch.autograd.grad(column, planes, retain_graph=True)
            expected = (plus[row] - minus[row]).item()
            assert 2 * (slope * step).sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_texture_scripts():
    script = torch.jit.script(texture)
    planes = torch.from_numpy(galaxy(2)).permute(2, 0, 1)[None].float()
    brightness = binned(planes)
    torch.testing.assert_close(script(planes, brightness), texture(planes, brightness), rtol=0, atol=0)
