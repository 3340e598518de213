"""Simulated galaxies: their light, their look, and bad input."""

import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hifrac.cutouts import SDSS_RECIPE
from hifrac.cutouts.recipe import CutoutRecipe
from hifrac.simulate import (
    SimulatedGalaxy,
    encode_jpeg,
    model_flux,
    render,
    render_sky,
    render_star,
)

DISK = {"i_mag": 15.5, "g_minus_r": 0.45, "r_minus_i": 0.2, "r50": 5.0}
SPIRAL = {
    **DISK,
    "axial_ratio": 0.6,
    "position_angle": 40.0,
    "bulge_fraction": 0.2,
    "n_arms": 2,
    "n_clumps": 20,
    "clump_fraction": 0.1,
}


def magnitudes(flux):
    return 22.5 - 2.5 * np.log10(flux.sum(axis=(0, 1)))


def shape_of(picture):
    """Axial ratio and position angle (north through east) by second moments."""
    n = picture.shape[0]
    offset = np.arange(n) - (n - 1) / 2.0
    north, east = -offset[:, np.newaxis], -offset[np.newaxis, :]
    nn, ee, ne = (np.sum(picture * w) / picture.sum() for w in (north**2, east**2, north * east))
    small, large = np.linalg.eigvalsh([[nn, ne], [ne, ee]])
    return np.sqrt(small / large), np.degrees(0.5 * np.arctan2(2.0 * ne, nn - ee)) % 180.0


@settings(max_examples=15, deadline=None)
@given(
    i_mag=st.floats(12.0, 18.0),
    g_minus_r=st.floats(-0.2, 1.0),
    r_minus_i=st.floats(-0.2, 0.6),
    r50=st.floats(1.5, 4.5),
    axial_ratio=st.floats(0.2, 1.0),
    position_angle=st.floats(-360.0, 360.0),
    bulge_fraction=st.floats(0.0, 0.6),
    n_arms=st.integers(0, 4),
    n_clumps=st.integers(0, 30),
    clump_fraction=st.floats(0.0, 0.4),
)
def test_the_flux_of_every_band_is_conserved(i_mag, g_minus_r, r_minus_i, **shape):
    galaxy = SimulatedGalaxy(i_mag=i_mag, g_minus_r=g_minus_r, r_minus_i=r_minus_i, **shape)
    i, r, g = magnitudes(model_flux(galaxy, rng=0))
    assert abs(i - i_mag) < 0.06
    assert abs((r - i) - r_minus_i) < 0.03
    assert abs((g - r) - g_minus_r) < 0.03


@pytest.mark.parametrize("bulge_fraction", [0.0, 1.0])
def test_half_the_light_lies_within_r50(bulge_fraction):
    galaxy = SimulatedGalaxy(**DISK, bulge_fraction=bulge_fraction, bulge_size=1.0)
    flux = model_flux(galaxy, rng=0)[..., 0]
    y, x = np.indices(flux.shape) - (flux.shape[0] - 1) / 2.0
    inside = np.hypot(y, x) * SDSS_RECIPE.pixel_scale < galaxy.r50
    total = 10.0 ** (0.4 * (22.5 - galaxy.i_mag))
    assert flux[inside].sum() / total == pytest.approx(0.5, abs=0.03)


@settings(max_examples=15, deadline=None)
@given(axial_ratio=st.floats(0.3, 0.8), position_angle=st.floats(0.0, 180.0))
def test_moments_give_back_the_orientation(axial_ratio, position_angle):
    galaxy = SimulatedGalaxy(**DISK, axial_ratio=axial_ratio, position_angle=position_angle)
    measured_ratio, measured_angle = shape_of(model_flux(galaxy, rng=0)[..., 1])
    difference = (measured_angle - position_angle + 90.0) % 180.0 - 90.0
    assert measured_ratio == pytest.approx(axial_ratio, abs=0.05)  # the seeing rounds it a little
    assert abs(difference) < 2.0


def test_north_is_up_and_east_is_left():
    galaxy = SimulatedGalaxy(**DISK, axial_ratio=0.2, position_angle=45.0)
    flux = model_flux(galaxy, rng=0)[..., 0]
    assert flux[49, 49] > 5.0 * flux[49, 78]


def test_clumps_and_arms_follow_the_orientation_of_the_disk():
    galaxy = SimulatedGalaxy(
        **DISK, axial_ratio=0.3, position_angle=30.0, n_arms=3, n_clumps=400, clump_fraction=1.0
    )
    # Three arms: two would be an elongation of their own.
    ratio, angle = shape_of(model_flux(galaxy, rng=3)[..., 0])
    assert ratio == pytest.approx(0.3, abs=0.1)
    assert angle == pytest.approx(30.0, abs=6.0)


def test_bulges_are_redder_and_clumps_bluer_than_the_whole():
    with_bulge = model_flux(SimulatedGalaxy(**DISK, bulge_fraction=0.3), rng=0)
    centre, edge = with_bulge[64, 64], with_bulge[64, 90]
    assert centre[0] / centre[2] > 1.2 * edge[0] / edge[2]
    disk = model_flux(SimulatedGalaxy(**DISK, n_clumps=5, clump_fraction=0.3), rng=0)
    brightest = disk.reshape(-1, 3)[np.argmax(disk[..., 2])]
    assert brightest[2] / brightest[0] > disk[..., 2].sum() / disk[..., 0].sum()


@settings(max_examples=10, deadline=None)
@given(colour=st.floats(0.1, 0.6), step=st.floats(0.15, 0.4), seed=st.integers(0, 10**6))
def test_redder_galaxies_have_redder_pixels(colour, step, seed):
    blue, red = (
        render(SimulatedGalaxy(**{**DISK, "g_minus_r": c, "r_minus_i": c / 2}), rng=seed, field=False)
        for c in (colour, colour + step)
    )
    core = slice(54, 74)
    ratio = [p[core, core, 0].mean() / p[core, core, 2].mean() for p in (blue, red)]
    assert ratio[1] > ratio[0]


@settings(max_examples=10, deadline=None)
@given(i_mag=st.floats(12.0, 18.0), step=st.floats(0.2, 2.0), seed=st.integers(0, 10**6))
def test_brighter_galaxies_have_brighter_pixels(i_mag, step, seed):
    faint, bright = (
        render(SimulatedGalaxy(**{**DISK, "i_mag": m}), rng=seed, field=False) for m in (i_mag, i_mag - step)
    )
    assert bright.mean() > faint.mean()


def test_a_seed_and_its_generator_give_the_same_picture():
    galaxy = SimulatedGalaxy(**SPIRAL)
    first = render(galaxy, rng=5)
    np.testing.assert_array_equal(first, render(galaxy, rng=np.random.default_rng(5)))
    assert np.any(first != render(galaxy, rng=6))
    assert first.dtype == np.uint8
    assert first.shape == (128, 128, 3)


def test_the_global_random_state_is_neither_read_nor_changed():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    render(SimulatedGalaxy(**SPIRAL), rng=5)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_the_sky_looks_like_that_of_real_cutouts():
    sky = np.stack([render_sky(rng=seed, field=False) for seed in range(5)]).astype(float)
    # Median of 800 blank corners of real cutouts: mean 4.6, 2.9, 3.0 and scatter 3.1, 2.6, 2.6.
    np.testing.assert_allclose(sky.mean(axis=(0, 1, 2)), [4.6, 2.9, 3.0], atol=1.8)
    np.testing.assert_allclose(sky.std(axis=(0, 1, 2)), [3.1, 2.6, 2.6], atol=1.2)


def test_a_star_is_round_compact_and_brighter_than_the_sky():
    star = render_star(i_mag=15.0, g_minus_r=0.5, r_minus_i=0.2, rng=0, field=False)
    assert star[63:65, 63:65].min() > 150
    assert star[40:50, 40:50].mean() < 10
    ratio, _ = shape_of(star[..., 1].astype(float)[48:80, 48:80])
    assert ratio > 0.9


@pytest.mark.parametrize(("width", "pixel_scale"), [(64, 0.8), (95, 0.396), (224, 0.262)])
def test_other_recipes_are_obeyed(width, pixel_scale):
    recipe = CutoutRecipe(
        survey="sdss",
        data_release="DR16",
        service="getjpeg",
        bands=("i", "r", "g"),
        pixel_scale=pixel_scale,
        width=width,
    )
    galaxy = SimulatedGalaxy(**{**DISK, "r50": 2.5})
    assert magnitudes(model_flux(galaxy, rng=0, recipe=recipe))[0] == pytest.approx(15.5, abs=0.03)
    assert render_sky(rng=0, recipe=recipe).shape == (width, width, 3)
    star = render_star(i_mag=18, g_minus_r=0, r_minus_i=0, rng=0, recipe=recipe, field=False)
    row, column = np.unravel_index(np.argmax(star.sum(axis=2, dtype=int)), star.shape[:2])
    assert abs(row - (width - 1) / 2) <= 1.5
    assert abs(column - (width - 1) / 2) <= 1.5


def test_jpeg_bytes_are_reproducible_small_and_faithful():
    picture = render(SimulatedGalaxy(**SPIRAL), rng=5)
    data = encode_jpeg(picture)
    assert data == encode_jpeg(picture.copy())
    assert 1000 < len(data) < 4000
    decoded = np.asarray(Image.open(io.BytesIO(data)), dtype=float)
    assert np.abs(decoded - picture).mean() < 6.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i_mag", np.nan),
        ("i_mag", np.inf),
        ("g_minus_r", -np.inf),
        ("r50", 0.0),
        ("r50", -1.0),
        ("axial_ratio", 0.0),
        ("axial_ratio", 1.01),
        ("position_angle", np.nan),
        ("bulge_fraction", -0.1),
        ("bulge_fraction", 1.1),
        ("bulge_size", 0.0),
        ("bulge_index", 0.4),
        ("bulge_index", 8.1),
        ("n_arms", -1),
        ("arm_contrast", 1.5),
        ("pitch_angle", 0.0),
        ("pitch_angle", 90.0),
        ("n_clumps", -1),
        ("clump_fraction", 0.85),
        ("clump_fraction", 2.0),
    ],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=rf"^{name} "):
        SimulatedGalaxy(**{**SPIRAL, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("i_mag", "15"), ("r50", None), ("axial_ratio", True), ("n_arms", 2.0), ("n_clumps", True)],
)
def test_values_of_the_wrong_type_are_named(name, value):
    with pytest.raises(TypeError, match=rf"^{name} "):
        SimulatedGalaxy(**{**SPIRAL, name: value})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_star_needs_a_finite_magnitude(value):
    with pytest.raises(ValueError, match=r"^i_mag "):
        render_star(i_mag=value, g_minus_r=0.5, r_minus_i=0.2, rng=0)


def test_other_bands_are_refused():
    recipe = CutoutRecipe(
        survey="legacy",
        data_release="DR8",
        service="cutout",
        bands=("z", "r", "g"),
        pixel_scale=0.4,
        width=32,
    )
    with pytest.raises(ValueError, match=r"^recipe "):
        render(SimulatedGalaxy(**DISK), rng=0, recipe=recipe)
    with pytest.raises(ValueError, match=r"^recipe "):
        render_sky(rng=0, recipe=recipe)
    with pytest.raises(ValueError, match=r"^recipe "):
        render_star(i_mag=15.0, g_minus_r=0.5, r_minus_i=0.2, rng=0, recipe=recipe)


@pytest.mark.parametrize(
    ("picture", "error"),
    [
        (np.zeros((4, 4, 3)), TypeError),
        ([[[0, 0, 0]]], TypeError),
        (np.zeros((4, 4), np.uint8), ValueError),
        (np.zeros((4, 4, 4), np.uint8), ValueError),
        (np.zeros((0, 4, 3), np.uint8), ValueError),
    ],
)
def test_only_pictures_are_encoded(picture, error):
    with pytest.raises(error, match=r"^picture "):
        encode_jpeg(picture)


def test_the_import_is_light():
    code = "import sys, hifrac.simulate; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
