"""Contours and blobs of maps: where they are, what they hold, and files that other programs read."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, NDData
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import PolygonPixelRegion, PolygonSkyRegion, Regions

from hifrac.attribution import contours, evidence_blobs, write_regions
from hifrac.attribution.regions import smoothed
from hifrac.cutouts import SDSS_RECIPE
from hifrac.images import flip_wcs

Y, X = np.mgrid[:128, :128]
WCS = flip_wcs(SDSS_RECIPE.wcs(150.0, 2.0), 128)


def gaussian(x, y, sigma, total, stretch=1.0):
    light = np.exp(-0.5 * (((X - x) / (sigma * stretch)) ** 2 + ((Y - y) / sigma) ** 2))
    return total * light / light.sum()


@pytest.fixture
def image():
    """A blob for, +0.5 dex at (40, 80), elongated along x; one against, -0.25 dex at (90, 30)."""
    return CCDData(
        gaussian(40, 80, 5, 0.5, stretch=2.0) + gaussian(90, 30, 5, -0.25), unit=u.dex / u.pix, wcs=WCS
    )


def test_contours_are_polygons_on_the_sky_around_their_peaks(image):
    found = contours(image, smoothing=0)
    assert all(isinstance(region, PolygonSkyRegion) for region in found)
    peak, trough = WCS.pixel_to_world([40, 90], [80, 30])
    inside = [bool(region.contains(peak, WCS)) for region in found]
    below = [bool(region.contains(trough, WCS)) for region in found]
    signs = [float(region.meta["text"]) > 0 for region in found]
    assert inside == signs
    assert below == [not sign for sign in signs]
    assert {region.visual["color"] for region in found} == {"blue", "red"}


def test_a_contour_of_a_gaussian_is_a_circle_of_the_right_radius():
    plain = NDData(gaussian(60, 50, 8, 1.0))
    level = float(plain.data.max()) * np.exp(-0.5)
    (region,) = contours(plain, [level], smoothing=0)
    assert isinstance(region, PolygonPixelRegion)
    radius = np.hypot(region.vertices.x - 60, region.vertices.y - 50)
    np.testing.assert_allclose(radius, 8, atol=0.05)


def test_contours_close_at_the_border():
    edge = NDData(np.where(X > 100, 1.0, 0.0))
    (region,) = contours(edge, [0.5], smoothing=0)
    assert region.area == pytest.approx(27 * 128, rel=0.03)


@pytest.mark.parametrize("values", [np.zeros((20, 30)), np.full((20, 30), np.nan)])
def test_a_flat_or_masked_map_has_neither_contours_nor_blobs(values):
    image = NDData(values, unit=u.dex / u.pix, mask=~np.isfinite(values))
    assert len(contours(image)) == 0
    table, regions = evidence_blobs(image)
    assert len(table) == len(regions) == 0


def test_evidence_that_is_all_negative_has_contours():
    found = contours(NDData(gaussian(60, 60, 5, -1.0)))
    assert len(found) == 3
    assert {region.visual["color"] for region in found} == {"red"}


def test_blobs_have_the_place_shape_and_share_of_what_was_put_in(image):
    table, regions = evidence_blobs(image, threshold=0.05, smoothing=0)
    np.testing.assert_allclose(table["x"], [40, 90], atol=0.1)
    np.testing.assert_allclose(table["y"], [80, 30], atol=0.1)
    np.testing.assert_allclose(table["contribution"].to_value(u.dex), [0.5, -0.25], rtol=0.15)
    assert table["share"][0] == pytest.approx(2 / 3, rel=0.1)
    assert table["coord"][0].separation(WCS.pixel_to_world(40, 80)) < 0.05 * u.arcsec
    first = regions[0].to_pixel(WCS)
    assert float(first.width / first.height) == pytest.approx(2.0, rel=0.05)
    assert np.cos(2 * first.angle.to_value(u.rad)) == pytest.approx(1.0, abs=0.01)  # along x
    assert [region.meta["text"][0] for region in regions] == ["+", "-"]


def test_a_tilted_blob_has_a_tilted_ellipse():
    angle = np.radians(30)
    along = (X - 64) * np.cos(angle) + (Y - 64) * np.sin(angle)
    across = -(X - 64) * np.sin(angle) + (Y - 64) * np.cos(angle)
    _, (region,) = evidence_blobs(NDData(np.exp(-0.5 * ((along / 12) ** 2 + (across / 4) ** 2))), smoothing=0)
    major = region.angle if region.width > region.height else region.angle + 90 * u.deg
    assert np.cos(2 * (major.to_value(u.rad) - angle)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("ending", ["reg", "crtf"])
def test_region_files_are_read_again_at_the_same_place(image, tmp_path, ending):
    regions = contours(image, [0.5 * image.data.max(), 0.5 * image.data.min()])
    regions.extend(evidence_blobs(image)[1])
    path = tmp_path / f"map.{ending}"
    write_regions(regions, path)
    again = Regions.read(path)
    assert len(again) == len(regions)
    for one, other in zip(regions, again, strict=True):
        if isinstance(one, PolygonSkyRegion):
            assert one.vertices.separation(other.vertices).max() < 0.01 * u.arcsec
        else:
            assert one.center.separation(other.center) < 0.01 * u.arcsec
    with pytest.raises(OSError, match="map"):
        write_regions(regions, path)
    write_regions(regions, path, overwrite=True)


def test_a_region_file_of_another_kind_is_refused(image, tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.reg or \.crtf, got map\.txt"):
        write_regions(contours(image), tmp_path / "map.txt")


@given(sigma=st.floats(0, 6), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_smoothing_keeps_the_sum(sigma, seed):
    values = np.random.default_rng(seed).normal(size=(33, 20))
    assert smoothed(values, sigma).sum() == pytest.approx(values.sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda image: contours(image.data), TypeError, "image must be NDData"),
        (lambda image: contours(NDData(np.zeros(5))), ValueError, "image must be two-dimensional"),
        (lambda image: contours(image, [0.0]), ValueError, "levels must be finite and not zero"),
        (lambda image: contours(image, smoothing=-1), ValueError, "sigma must be a number of pixels"),
        (
            lambda image: evidence_blobs(image, threshold=1.0),
            ValueError,
            "threshold must lie between 0 and 1",
        ),
        (lambda image: evidence_blobs(image, min_pixels=0), ValueError, "min_pixels must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(image, call, error, words):
    with pytest.raises(error, match=words):
        call(image)
