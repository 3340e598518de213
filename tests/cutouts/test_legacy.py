"""The viewer of the Legacy Surveys: its layers, its answers where it has nothing, and its colours."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import assume, given
from hypothesis import strategies as st
from pictures import encode, galaxy
from survey_services import (
    answering,
    brightest,
    failing_first,
    fits_file,
    impatience,
    only_cutout,
    sky_header,
    star_plane,
)

from hifrac import images
from hifrac.core.exceptions import BadImageError, FetchError, OutOfFootprintError
from hifrac.cutouts import LegacyCutouts
from hifrac.cutouts.recipe import LEGACY_RECIPE

RA, DEC, WIDTH = 184.957, 5.1215, 224
STAR = 184.9605, 5.1190
FITS_RECIPE = replace(LEGACY_RECIPE, service="viewer-fits")
#: Nanomaggies of the planted star; bright, but not saturated in the picture.
FLUX = {"g": 2.0, "r": 3.0, "i": 3.5, "z": 4.0}


@pytest.fixture(autouse=True)
def _impatient():
    with impatience():
        yield


def planes(bands, star=STAR, noise=0.002):
    header = sky_header(RA, DEC, WIDTH, 0.262)
    rng = np.random.default_rng(3)
    stars = [star_plane(header, *star, WIDTH, FLUX[band], noise=0.0) for band in bands]
    return np.stack([plane + noise * rng.normal(size=plane.shape).astype("f4") for plane in stars]), header


def cube(bands="grz", changed=lambda planes: planes, **cards):
    data, header = planes(bands)
    return fits_file(changed(data), header, BANDS=bands, **cards)


def viewers_picture(grz):
    """The formula of sdss_rgb in the viewer's map/views.py, for g, r, z: 0 to 1, rows as FITS has them."""
    scaled = [scale * plane.astype(float) + 0.03 for scale, plane in zip((6.0, 3.4, 2.2), grz, strict=True)]
    intensity = sum(np.maximum(0, band) for band in scaled) / 3
    gain = np.arcsinh(20 * intensity) / np.sqrt(20) / np.where(intensity == 0, 1e-6, intensity)
    return np.clip(np.dstack([scaled[2] * gain, scaled[1] * gain, scaled[0] * gain]), 0, 1)


def answer_with(body):
    return lambda path, params: (200, body)


# Requests


@pytest.mark.parametrize(
    ("release", "service", "layer"),
    [
        ("DR8", "viewer-jpg", "ls-dr8"),
        ("dr9", "viewer-jpg", "ls-dr9"),
        ("DR10", "viewer-jpg", "ls-dr10-grz"),
        ("DR10", "viewer-fits", "ls-dr10"),
        ("DR11", "viewer-jpg", "ls-dr11"),
    ],
)
def test_the_layer_shows_the_bands_of_the_recipe(release, service, layer):
    recipe = replace(LEGACY_RECIPE, data_release=release, service=service)
    ((url, params),) = LegacyCutouts(recipe).payload(SkyCoord(RA, DEC, unit="deg").galactic)
    assert params["layer"] == layer
    assert url.endswith("/cutout.fits" if service == "viewer-fits" else "/cutout.jpg")
    assert (params["ra"], params["dec"]) == ("184.957000", "5.121500")


def test_a_band_that_a_release_lacks_is_refused():
    recipe = replace(FITS_RECIPE, bands=("i", "r", "g"))
    with pytest.raises(ValueError, match=r"^recipe must have three bands of g, r, z before DR10"):
        LegacyCutouts(recipe)
    ((_, params),) = LegacyCutouts(replace(recipe, data_release="DR10")).payload(RA, DEC)
    assert params["bands"] == "gri"


@pytest.mark.parametrize("layer", ["", "ls dr9", "a&b", 9])
def test_an_impossible_layer_is_refused(layer):
    with pytest.raises(ValueError, match=r"^layer must be like"):
        LegacyCutouts(layer=layer)


# Pictures


def test_the_jpeg_and_the_fits_of_a_field_look_the_same():
    data, header = planes("grz")
    # The service's JPEGs have the north on top, as pictures are held.
    expected = 255 * viewers_picture(data)[::-1]
    picture = encode(expected.round().astype(np.uint8), quality=95, subsampling=0)
    bodies = {"/cutout.jpg": picture, "/cutout.fits": fits_file(data, header, BANDS="grz")}
    with answering(lambda path, params: (200, bodies[path])) as service:
        jpeg = only_cutout(LegacyCutouts(base_url=service.url), RA, DEC)
        cutout = only_cutout(LegacyCutouts(FITS_RECIPE, base_url=service.url), RA, DEC)
    below_black = (data * np.array([6.0, 3.4, 2.2])[:, None, None] + 0.03 < 0).any(axis=0)[::-1]
    difference = np.abs(cutout.pixels - expected)
    assert difference[~below_black].max() <= 0.51
    assert difference.max() <= 2
    for found in (jpeg, cutout):
        for channel in range(3):
            seen = brightest(found.pixels, channel)
            assert np.allclose(found.wcs.world_to_pixel_values(*STAR), seen, atol=0.1)


@given(st.lists(st.floats(-0.004, 0.25), min_size=3, max_size=3))
def test_the_stretch_is_the_viewers_where_nothing_is_saturated_or_below_black(fluxes):
    expected = 255 * viewers_picture([np.full((1, 1), flux) for flux in fluxes])[0, 0]
    assume(expected.max() < 255)
    levels = images.STRETCHES["legacy"].levels(*(np.full((1, 1), flux) for flux in fluxes[::-1]))[0, 0]
    assert np.allclose(levels, expected, atol=1e-6)


@pytest.mark.parametrize("order", ["grz", "zrg", "rgz", "griz"])
def test_planes_are_found_by_the_header_not_by_their_place(order):
    with answering(answer_with(cube(order))) as service:
        cutout = only_cutout(LegacyCutouts(FITS_RECIPE, base_url=service.url), RA, DEC)
    expected, _ = planes(order)
    assert np.array_equal(
        fits.getdata(io.BytesIO(cutout.data)), expected[[order.index(band) for band in "zrg"]]
    )


def test_passing_trouble_is_overcome():
    with answering(failing_first(answer_with(cube()))) as service:
        assert only_cutout(LegacyCutouts(FITS_RECIPE, base_url=service.url), RA, DEC).error is None
        assert len(service.asked) == 2


def test_a_size_that_the_service_clipped_is_no_picture():
    with answering(answer_with(encode(galaxy(1, 200)))) as service:
        error = only_cutout(LegacyCutouts(base_url=service.url), RA, DEC).error
    assert isinstance(error, BadImageError)
    assert "200 x 200 pixels instead of 224 x 224" in str(error)


@pytest.mark.parametrize("recipe", [LEGACY_RECIPE, FITS_RECIPE])
def test_an_unknown_layer_is_told_at_once(recipe):
    with answering(answer_with(b"no such layer")) as service:
        source = LegacyCutouts(recipe, layer="ls-dr99", base_url=service.url)
        error = only_cutout(source, RA, DEC).error
        assert isinstance(error, FetchError)
        assert "no layer 'ls-dr99'" in str(error)
        assert len(service.asked) == 1


# Outside the footprint


def no_image():
    hdu = fits.PrimaryHDU()
    hdu.header["OVERLAP"] = False
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def without(index, value=0.0):
    def changed(data):
        data = data.copy()
        data[index] = value
        return data

    return changed


@pytest.mark.parametrize(
    ("recipe", "body"),
    [
        # What the viewer draws of planes of zeros.
        (
            LEGACY_RECIPE,
            encode((255 * viewers_picture(np.zeros((3, WIDTH, WIDTH)))).astype(np.uint8)),
        ),
        (FITS_RECIPE, no_image()),
        (FITS_RECIPE, cube(changed=without(0))),
        (FITS_RECIPE, cube(changed=without(2))),
        (FITS_RECIPE, cube(changed=without(1, np.nan))),
    ],
    ids=["grey", "no image", "no g", "no z", "r is nan"],
)
def test_outside_is_outside_and_not_asked_again(request, recipe, body):
    with answering(answer_with(body)) as service:
        for _ in range(2):
            error = only_cutout(LegacyCutouts(recipe, base_url=service.url), RA, DEC).error
            assert isinstance(error, OutOfFootprintError)
        # What the service says it says once; a blank picture must come twice.
        assert len(service.asked) == (1 if "no image" in request.node.name else 2)
