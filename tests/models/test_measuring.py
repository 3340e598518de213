"""What is measured on pictures: against independent implementations, its symmetries, its limits."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import batch, galaxy, sky, spiral
from scipy import ndimage

from hifrac.models.measuring import (
    MeasuringNet,
    _ellipse,
    _linear,
    _masked_quantiles,
    _smooth,
    smoothing_matrix,
)
from hifrac.models.photometry import bound

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def network():
    return MeasuringNet(128).eval()


@pytest.fixture(scope="module")
def picture():
    return spiral()


def disguise(pictures, turns, mirrored):
    turned = torch.rot90(pictures, turns, (2, 3))
    return turned.flip(3) if mirrored else turned


DIHEDRAL = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


def gaussian(major, minor, angle, side=64, height=1.0):
    """An elliptical Gaussian in the middle of a square; the angle from the first axis, in degrees."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    return height * np.exp(-0.5 * ((along / major) ** 2 + (across / minor) ** 2))


def measured_ellipse(network, light):
    upper = light[: len(light) // 2]  # it is the same across the centre
    second = network._adaptive_moments(torch.from_numpy(upper).float().reshape(1, -1))
    ellipse = _ellipse(second, network.basis, torch.zeros(1, 2))
    return ellipse.major.item(), ellipse.minor.item(), second[0].numpy()


# Smoothing


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_smoothing_is_that_of_scipy(sigma, seed):
    image = np.random.default_rng(seed).normal(size=(2, 3, 40, 40)).astype(np.float32)
    ours = _smooth(torch.from_numpy(image), smoothing_matrix(sigma, 40)).numpy()
    expected = ndimage.gaussian_filter(image, sigma, axes=(2, 3), mode="mirror", truncate=3)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@given(sigma=st.floats(0.3, 4.0), width=st.integers(26, 70))
@settings(max_examples=30)
def test_the_smoothing_matrix_is_that_of_scipy_for_any_width(sigma, width):
    matrix = smoothing_matrix(sigma, width).numpy()
    expected = ndimage.gaussian_filter1d(
        np.eye(width), sigma, axis=0, mode="mirror", radius=max(1, math.ceil(3 * sigma))
    )
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


# The segment


def scipy_segment(network, counts):
    """What connects to the middle, by scipy, for a picture whose pixels connect over gaps of at most one."""
    summed = ndimage.convolve(counts, np.ones((3, 3)), mode="constant")
    middle = np.zeros(counts.shape, dtype=bool)
    half = counts.shape[0] // 2
    middle[half - 2 : half + 2, half - 2 : half + 2] = True
    above = (summed > network.isophote * 12 * 9) | middle
    return above, middle


def our_segment(network, counts):
    return network._segment(torch.from_numpy(counts).float()[None])[0].numpy() > 0.5


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1.0, 5.0), share=st.floats(0.2, 0.8))
@settings(max_examples=40)
def test_the_segment_is_the_constrained_dilation_of_scipy(network, seed, scale, share):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), scale)
    counts = np.round(
        network.isophote * 12 * (1 + (noise - np.quantile(noise, 1 - share)) / noise.std()).clip(0)
    )
    above, middle = scipy_segment(network, counts)
    expected = ndimage.binary_dilation(middle, np.ones((5, 5)), iterations=16, mask=above)
    np.testing.assert_array_equal(our_segment(network, counts), expected)


@given(
    blobs=st.lists(
        st.tuples(st.integers(4, 59), st.integers(4, 59), st.floats(1.5, 5.0), st.floats(1.5, 6.0)),
        max_size=6,
    ),
    size=st.floats(1.5, 8.0),
)
@settings(max_examples=40)
def test_the_segment_is_the_labelled_region_of_the_middle(network, blobs, size):
    y, x = np.mgrid[:64, :64]
    height = 3 * network.isophote * 12
    counts = gaussian(size, 0.6 * size, 30, height=height)
    for row, column, sigma, ratio in blobs:
        counts += height * ratio / 6 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / sigma**2)
    counts = np.round(counts)
    above, _ = scipy_segment(network, counts)
    labels, n_labels = ndimage.label(above, np.ones((3, 3)))
    own = labels == labels[32, 32]
    assume(n_labels > 1)
    # Regions two pixels apart are one to the network and two to scipy: look at the others only.
    assume(not np.any(ndimage.binary_dilation(own, np.ones((5, 5))) & above & ~own))
    np.testing.assert_array_equal(our_segment(network, counts), own)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 50])
@pytest.mark.parametrize("width", [64, 128, 200])
def test_each_of_many_pictures_has_its_own_segment(n, width):
    network, side = MeasuringNet(width), width // 2
    noise = ndimage.gaussian_filter(np.random.default_rng(n).normal(size=(n, side, side)), (0, 2, 2))
    counts = np.round(network.isophote * 12 * (1 + noise / noise.std()).clip(0))
    expected = []
    for picture in counts:
        above, middle = scipy_segment(network, picture)
        expected.append(ndimage.binary_dilation(middle, np.ones((5, 5)), iterations=16, mask=above))
    masks = network._segment(torch.from_numpy(counts).float()).numpy()
    np.testing.assert_array_equal(masks, np.array(expected, dtype=np.float32))


def test_a_dark_picture_has_the_middle_as_its_segment(network):
    mask = our_segment(network, np.zeros((64, 64)))
    assert mask.sum() == 16
    assert mask[30:34, 30:34].all()


def test_the_segment_reaches_the_corners_of_a_bright_picture(network):
    assert our_segment(network, np.full((64, 64), 12 * 200.0)).all()


def test_a_neighbour_that_does_not_touch_is_left_out(network):
    counts = np.zeros((64, 64))
    counts[28:36, 28:36] = 12 * 200
    alone = our_segment(network, counts)
    counts[50:58, 50:58] = 12 * 255
    np.testing.assert_array_equal(our_segment(network, counts), alone)


# Quantiles


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 300),
    center=st.floats(-0.9, 0.9),
    scale=st.floats(0.001, 0.5),
    quantiles=st.lists(st.floats(0.02, 0.98), min_size=1, max_size=6),
    shape=st.sampled_from([(1.0, 256), (3.0, 768)]),
)
@settings(max_examples=60)
def test_masked_quantiles_are_those_of_the_distribution_to_a_bin(seed, n, center, scale, quantiles, shape):
    reach, bins = shape
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(center, scale, (2, 20, 20)), -0.99, 0.99).astype(np.float32) * reach
    mask = np.stack([rng.permutation(np.arange(400) < n).reshape(20, 20) for _ in range(2)])
    found = _masked_quantiles(
        torch.from_numpy(values), torch.from_numpy(mask).float(), torch.tensor(quantiles).float(), reach, bins
    ).numpy()
    width = 2 * reach / bins
    for row, inside in zip(found, (v[m] for v, m in zip(values, mask, strict=True)), strict=True):
        for value, level in zip(row, quantiles, strict=True):
            # A value counts for its two nearest nodes, and a node for half a bin on either side.
            assert np.mean(inside <= value - 1.6 * width) <= level + 1e-5
            assert np.mean(inside <= value + 1.6 * width) >= level - 1e-5


def test_many_values_have_the_quantiles_of_numpy():
    values = np.random.default_rng(0).normal(0.1, 0.2, (1, 64, 64)).clip(-1, 1).astype(np.float32)
    levels = torch.tensor(MeasuringNet.QUANTILES)
    found = _masked_quantiles(torch.from_numpy(values), torch.ones(1, 64, 64), levels, 1.0, 256)
    np.testing.assert_allclose(found[0], np.quantile(values, MeasuringNet.QUANTILES), atol=0.005)


@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.floats(1e-6, 1e-3),
    value=st.floats(-0.95, 0.95),
    n=st.integers(16, 256),
)
@settings(max_examples=30)
def test_nothing_jumps_when_a_value_crosses_the_border_of_a_bin(seed, step, value, n):
    values = np.random.default_rng(seed).normal(0, 0.05, (1, 16, 16))
    values[0, 0, 0] = value
    mask = torch.from_numpy((np.arange(256) < n).reshape(1, 16, 16)).double()
    other = values.copy()
    other[0, 0, 0] += step
    levels = torch.tensor([0.5], dtype=torch.double)
    before, after = (
        _masked_quantiles(torch.from_numpy(at), mask, levels, 1.0, 256).item() for at in (values, other)
    )
    # A value that moves takes step / width of its weight to the next node, and the median follows by as much
    # as the nodes on its way hold less than one value: not by a bin, however small the step. Where a node
    # holds nothing, medians of few values do jump.
    place = (values[0].ravel()[:n].clip(-1, 1) + 1) * 128
    shares = np.concatenate([1 - place % 1, place % 1])
    held = np.bincount(np.concatenate([place, place + 1]).astype(int), shares, minlength=258)
    first, last = np.floor((np.sort([before, after]) + 1) * 128 + 0.5).astype(int)
    least = held[first : last + 1].min()
    assume(least > 0)
    assert abs(after - before) <= step / least + 1e-9


@pytest.mark.parametrize("value", [-1.0, -0.999, 0.0, 0.999, 1.0])
def test_one_value_is_each_of_its_own_quantiles(value):
    found = _masked_quantiles(
        torch.full((1, 8, 8), value), torch.ones(1, 8, 8), torch.tensor(MeasuringNet.QUANTILES), 1.0, 256
    )
    np.testing.assert_allclose(found[0].numpy(), value, atol=0.02)


# The adaptive ellipse


@given(
    major=st.floats(2.0, 5.0),
    ratio=st.floats(0.5, 1.0),
    angle=st.floats(0, 180),
    height=st.floats(0.05, 50.0),
)
@settings(max_examples=40)
def test_the_ellipse_of_a_gaussian_is_recovered(network, major, ratio, angle, height):
    found_major, found_minor, second = measured_ellipse(
        network, gaussian(major, ratio * major, angle, height=height)
    )
    assert found_major == pytest.approx(major, rel=0.04)
    assert found_minor == pytest.approx(ratio * major, rel=0.04)
    assert found_minor / found_major == pytest.approx(ratio, abs=0.04)
    if ratio < 0.9:
        xx, yy, xy = second
        found = math.degrees(0.5 * math.atan2(2 * xy, xx - yy))
        assert abs((found - angle + 90) % 180 - 90) < 1


@given(major=st.floats(2.0, 5.0), ratio=st.floats(0.4, 1.0), angle=st.floats(0, 180))
@settings(max_examples=20)
def test_the_ellipse_is_a_fixed_point_of_the_weighted_moments(network, major, ratio, angle):
    # Independently, in double precision: under its own Gaussian weight a Gaussian has half its moments.
    light = gaussian(major, ratio * major, angle)
    _, _, (xx, yy, xy) = measured_ellipse(network, light)
    y, x = np.mgrid[:64, :64] - 31.5
    inverse = np.linalg.inv([[xx, xy], [xy, yy]])
    weight = light * np.exp(
        -0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y)
    )
    moments = [2 * np.sum(weight * product) / np.sum(weight) for product in (x * x, y * y, x * y)]
    np.testing.assert_allclose([xx, yy, xy], moments, atol=0.06 * major**2)


@given(ratio=st.floats(0.3, 1.0), angle=st.floats(0, 180), factor=st.floats(0.01, 100.0))
@settings(max_examples=20)
def test_the_ellipse_does_not_depend_on_the_brightness(network, ratio, angle, factor):
    light = gaussian(4.0, 4.0 * ratio, angle)
    np.testing.assert_allclose(
        measured_ellipse(network, factor * light)[2],
        measured_ellipse(network, light)[2],
        rtol=1e-3,
        atol=1e-3,
    )


def test_larger_galaxies_measure_larger_and_needles_stay_finite(network):
    sizes = [measured_ellipse(network, gaussian(sigma, 0.6 * sigma, 20))[0] for sigma in (1.5, 2.5, 4.0, 6.0)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4
    major, minor, _ = measured_ellipse(network, gaussian(6.0, 0.3, 0))
    assert 0 < minor < 0.5 * major < math.inf


@given(
    second=st.tuples(st.floats(0.5, 40), st.floats(0.05, 1.0), st.floats(0, 180)),
    center=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
@settings(max_examples=30)
def test_elliptical_coordinates_are_those_of_the_eigenvectors(network, second, center):
    variance, ratio, angle = second
    assume(variance * ratio**2 > 0.1)  # thinner than that is below the floor of the minor axis
    turn = np.array([[math.cos(math.radians(angle)), -math.sin(math.radians(angle))],
                     [math.sin(math.radians(angle)), math.cos(math.radians(angle))]])  # fmt: skip
    matrix = turn @ np.diag([variance, variance * ratio**2]) @ turn.T
    assume(np.linalg.det(matrix) > 0.01)
    ellipse = _ellipse(
        torch.tensor([[matrix[0, 0], matrix[1, 1], matrix[0, 1]]]).float(),
        network.basis,
        torch.tensor([center]).float(),
    )
    assert ellipse.major.item() == pytest.approx(math.sqrt(variance), rel=1e-3)
    assert ellipse.minor.item() == pytest.approx(math.sqrt(variance) * ratio, rel=1e-2)
    y, x = np.mgrid[:64, :64] - 31.5
    offset = np.stack([x - center[0], y - center[1]])
    expected = np.sqrt(np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(matrix), offset))
    far = expected > 0.3
    np.testing.assert_allclose(ellipse.radius.numpy().reshape(64, 64)[far], expected[far], rtol=1e-2)


# The stretch


@given(hnp.arrays(np.float32, (1, 3, 4, 4), elements=st.floats(0, 1, width=32)))
def test_undoing_the_stretch_keeps_colours_and_order(image):
    image = torch.from_numpy(image)
    flux = _linear(image)
    assert torch.isfinite(flux).all()
    assert (flux >= 0).all()
    assert torch.all(_linear((image + 0.05).clamp(max=1.05)) >= flux)
    light = (image - 0.02).clamp(min=0)
    # The same factor in the three channels of a pixel: cross products vanish.
    for one, other in ((0, 1), (1, 2), (0, 2)):
        np.testing.assert_allclose(flux[:, one] * light[:, other], flux[:, other] * light[:, one], atol=1e-5)


def test_the_bound_is_the_identity_near_zero_and_limited_far_out():
    x = torch.linspace(-200, 200, 4001, dtype=torch.float64)
    y = bound(x)
    assert torch.all(torch.diff(y) >= 0)
    torch.testing.assert_close(y, -bound(-x))
    assert torch.all(y.abs() <= x.abs())
    near = x.abs() < 0.5
    torch.testing.assert_close(y[near], x[near], rtol=0.01, atol=0)
    assert y.max() < 10


# The network as a whole


@pytest.mark.parametrize(("turns", "mirrored"), DIHEDRAL[1:])
def test_measurements_do_not_depend_on_the_orientation(network, picture, turns, mirrored):
    pictures = batch(picture, galaxy(3), sky(1)).float()
    with torch.inference_mode():
        expected = network.measure(pictures)
        found = network.measure(disguise(pictures, turns, mirrored))
    # All but the texture, which looks at every eighth row and column.
    shape = network.n_shape
    torch.testing.assert_close(found[:, :shape], expected[:, :shape], rtol=1e-4, atol=1e-4)


@given(
    major=st.floats(3.0, 12.0),
    ratio=st.floats(0.2, 1.0),
    angle=st.floats(0, 180),
    which=st.sampled_from(DIHEDRAL[1:]),
)
@settings(max_examples=15)
def test_no_ellipse_depends_on_the_orientation_of_the_axes(network, major, ratio, angle, which):
    shape = gaussian(major, ratio * major, angle, side=128, height=220)
    pixels = np.round(shape[..., None] * [1.0, 0.8, 0.6] + 5).astype(np.uint8)
    pictures = batch(pixels).float()
    with torch.inference_mode():
        found, expected = network.measure(disguise(pictures, *which)), network.measure(pictures)
    shape = network.n_shape
    torch.testing.assert_close(found[:, :shape], expected[:, :shape], rtol=1e-4, atol=1e-4)


def test_the_measurements_tell_galaxies_apart(network, picture):
    with torch.inference_mode():
        one, other, swapped = network.measure(batch(picture, galaxy(3), picture[..., ::-1]).float())
    assert (one - other).abs().max() > 0.1
    assert (one - swapped).abs().max() > 0.1


# The groups


def test_the_groups_of_measurements_are_a_partition(network, picture):
    names = [name for name, _ in MeasuringNet.GROUPS]
    assert len(set(names)) == len(names)
    assert [column for name in names for column in MeasuringNet.columns((name,))] == list(
        range(len(network.center))
    )
    assert MeasuringNet.columns(tuple(names[:2])) == MeasuringNet.columns(tuple(names[1::-1]))
    with pytest.raises(ValueError, match=r"^names: no measurements are called surprise"):
        MeasuringNet.columns((names[0], "surprise"))


def test_the_circles_are_mean_colours_in_annuli(network, picture):
    y, x = np.mgrid[:128, :128] - 63.5
    radius = np.hypot(x, y)
    edges = MeasuringNet.CIRCLES
    expected = [
        [picture[(radius >= low) & (radius < high), band].mean() / 255 for low, high in pairwise(edges)]
        for band in range(3)
    ]
    with torch.inference_mode():
        found = network.measure(batch(picture).float())[0, MeasuringNet.columns(("circles",))]
    np.testing.assert_allclose(found.numpy(), np.ravel(expected), atol=1e-5)


def numpy_flux(image):
    """The stretch undone, of an image (3, h, w) in double precision."""
    light = (image - 0.02).clip(0)
    mean = light.mean(0)
    return light * np.sinh(3 * mean) / 3 / mean.clip(1e-3)


def numpy_profiles(picture):
    """What the own ellipse tells, once more: in double precision, over the whole picture."""
    image = picture.reshape(64, 2, 64, 2, 3).mean((1, 3)).transpose(2, 0, 1) / 255
    turned = image[:, ::-1, ::-1]
    facing = np.minimum(image, turned)
    flux = numpy_flux(facing)
    y, x = np.mgrid[:64, :64] - 31.5
    second = np.diag([9.0, 9.0])  # of x and y
    for _ in range(12):
        inverse = np.linalg.inv(second)
        squared = inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
        weight = flux.mean(0) * np.exp(-0.5 * squared)
        xx, xy, yy = (2 * np.sum(weight * product) / np.sum(weight) for product in (x * x, x * y, y * y))
        size = 0.5 * (xx + yy)
        seen = np.array([[xx, xy], [xy, yy]]) * np.clip(size, 0.75**2, 7.0**2) / size
        second = 0.5 * (second + seen)
    inverse = np.linalg.inv(second)
    radius = np.sqrt(inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y)
    minor, major = np.sqrt(np.linalg.eigvalsh(second))
    geometric = math.sqrt(major * minor)
    edges = np.array(MeasuringNet.ELLIPSES)[:, None, None]
    inside = (0.5 + 0.75 * geometric * (edges - radius)).clip(0, 1)
    rings = np.diff(inside, axis=0, prepend=0)
    profile = np.einsum("kyx,cyx->kc", rings, facing) / rings.sum((1, 2))[:, None]
    growth = np.einsum("kyx,cyx->kc", inside, flux)
    total, tints = growth.mean(1), np.log10(growth[3::4])
    aperture, disc = inside[9], inside[9] - inside[0]
    light = np.sum(image * aperture, (1, 2)) + 1e-3
    parts = [
        profile.mean(1),
        profile[:, 0] - profile[:, 2],
        profile[:, 0] - profile[:, 1],
        [math.log10(major), math.log10(geometric), minor / major, (minor / major) ** 2],
        np.log10(total[:-1] / total[-1]),
        np.log10(growth[-1]),
        tints[:, 2] - tints[:, 0],
        tints[:, 1] - tints[:, 0],
        np.sum(np.abs(image - turned) * aperture, (1, 2)) / light,
    ]
    for sigma in (1.0, 2.0):
        residual = image - ndimage.gaussian_filter(image, sigma, axes=(1, 2), mode="mirror", truncate=3)
        bright = np.sum(residual.clip(0) * disc, (1, 2)) / light
        parts += [np.sum(np.abs(residual) * disc, (1, 2)) / light, [bright[0] - bright[2]]]
    return np.concatenate(parts)


PROFILES = ("profile", "ellipse", "growth", "flux", "aperture_colours", "asymmetry", "clumpiness")


@pytest.mark.parametrize("picture", [spiral(), galaxy(3), galaxy(5)], ids=["spiral", "galaxy", "other"])
def test_the_profiles_are_those_of_plain_sums_over_the_whole_picture(network, picture):
    with torch.inference_mode():
        measured = network.measure(batch(picture).float())[0, MeasuringNet.columns(PROFILES)]
    np.testing.assert_allclose(measured.numpy(), numpy_profiles(picture), atol=2e-5)
