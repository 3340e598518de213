"""FITS pictures as the field writes them: stored integers, and headers of every convention."""

import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable
from pictures import encode, galaxy

from hifrac.attribution.results import upside_down
from hifrac.core.exceptions import BadImageError, OutOfFootprintError
from hifrac.images import compress, decode, flip_wcs, header_wcs, resampled_wcs

PIXELS = galaxy(1)
# As FITS stores it: colours first, the last row on top.
PLANES = np.moveaxis(PIXELS[::-1], -1, 0)
SCALE = 0.4 / 3600
TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
PLACE = {"CRVAL1": 150.0, "CRVAL2": 5.0, "CRPIX1": 60.0, "CRPIX2": 70.0}
CDELT = {"CDELT1": -SCALE, "CDELT2": SCALE}
CD = {
    "CD1_1": -SCALE * np.cos(0.5),
    "CD1_2": SCALE * np.sin(0.5),
    "CD2_1": SCALE * np.sin(0.5),
    "CD2_2": SCALE * np.cos(0.5),
}
SIP = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "A_ORDER": 3,
    "A_1_1": 3e-4,
    "A_0_2": 2e-4,
    "A_0_3": 1e-6,
    "B_ORDER": 2,
    "B_2_0": 3e-4,
    "B_1_1": 1e-4,
    "B_0_2": -2e-4,
    "AP_ORDER": 2,
    "AP_1_1": -3e-4,
    "AP_0_2": -2e-4,
    "BP_ORDER": 2,
    "BP_2_0": -3e-4,
    "BP_0_2": 2e-4,
}
TPV = {
    "CTYPE1": "RA---TPV",
    "CTYPE2": "DEC--TPV",
    "PV1_0": 1e-5,
    "PV1_1": 1.001,
    "PV1_5": 0.5,
    "PV2_1": 0.999,
    "PV2_4": 0.3,
}
HEADERS = {
    "plain": {**TAN, **PLACE, **CDELT},
    "CROTA2": {**TAN, **PLACE, **CDELT, "CROTA2": 30.0},
    "CROTA2 of rectangles": {**TAN, **PLACE, **CDELT, "CDELT2": 2 * SCALE, "CROTA2": -75.0},
    "PC": {**TAN, **PLACE, **CDELT, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
    "CD": {**TAN, **PLACE, **CD},
    "SIP": {**PLACE, **CD, **SIP},
    "TPV": {**PLACE, **CD, **TPV},
    "Galactic": {**PLACE, **CDELT, "CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CROTA2": 10.0},
}


def as_fits(array, **cards) -> bytes:
    hdu, file = fits.PrimaryHDU(array), io.BytesIO()
    hdu.header.update(cards)
    hdu.writeto(file)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, ">i2", ">i4"])
@pytest.mark.parametrize(
    ("factor", "shift", "cards"),
    [
        (1, 0, {"BLANK": 255}),
        (1, 0, {"BSCALE": 1.0, "BZERO": 0.0}),
        (0.5, 0, {"BSCALE": 2.0, "BLANK": 200}),
        (1, -40, {"BZERO": 40.0}),
    ],
)
def test_stored_integers_are_display_values_whatever_tells_their_scale(dtype, factor, shift, cards):
    shown = np.clip(PLANES.astype(int) // 4 * 2 + 40, 0, 254)  # even, and with neither of the blanks
    stored = (shown * factor + shift).astype(dtype)
    np.testing.assert_array_equal(decode(as_fits(stored, **cards)), decode(as_fits(shown.astype(dtype))))


def test_blank_pixels_are_black_and_a_picture_of_them_alone_is_no_picture():
    planes = PLANES.astype(">i2")
    planes[:, :9, :7] = -1
    pixels = decode(as_fits(planes, BLANK=-1))
    assert not pixels[-9:, :7].any()
    np.testing.assert_array_equal(pixels[:-9], PIXELS[:-9])
    with pytest.raises(OutOfFootprintError):
        decode(as_fits(np.full((3, 128, 128), -1, ">i2"), BLANK=-1))


def test_stored_integers_that_stand_for_fluxes_get_the_stretch():
    stored = PLANES.astype(">i4") * 7 + 3
    expected = decode(as_fits(np.float32(stored * 0.0013)))
    np.testing.assert_allclose(decode(as_fits(stored, BSCALE=0.0013)).astype(int), expected, atol=1)


def test_whole_numbers_that_no_display_has_are_refused():
    with pytest.raises(BadImageError, match="0 to 255, got 0 to"):
        decode(as_fits(PLANES.astype(">i4") * 3, BLANK=-1))


def test_one_empty_plane_is_a_bad_image():
    planes = PLANES.astype(np.float32)
    planes[1] = np.nan
    with pytest.raises(BadImageError, match="one of the three planes"):
        decode(as_fits(planes))


def test_axes_of_one_element_do_not_matter():
    np.testing.assert_array_equal(decode(as_fits(PLANES[None])), PIXELS)
    np.testing.assert_array_equal(decode(as_fits(PLANES[:, None])), PIXELS)


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("axes", [{}, {"CTYPE3": "", "CRPIX3": 1.0}])
def test_positions_are_those_of_the_header(name, axes):
    cards = {**HEADERS[name], **axes}
    data = as_fits(PLANES, **cards)
    expected, wcs = WCS(fits.getheader(io.BytesIO(data)), naxis=2), header_wcs(data)
    x, y = np.array([10.0, 100, 0, 63.2]), np.array([20.0, 90, 127, 3.1])
    sky = expected.pixel_to_world(x, y)
    assert wcs.pixel_to_world(x, 127 - y).separation(sky).max().arcsec < 1e-3
    assert wcs.array_shape == (128, 128)
    flipped = flip_wcs(wcs, 128)
    assert flipped.pixel_to_world(x, y).separation(sky).max().arcsec < 1e-3
    # And as a header, which is how a map is written.
    again = WCS(wcs.to_header(relax=True))
    assert again.pixel_to_world(x, 127 - y).separation(sky).max().arcsec < 1e-3


def test_the_inverse_of_a_distortion_is_turned_as_well():
    wcs = WCS(fits.Header({"NAXIS": 2, "NAXIS1": 128, "NAXIS2": 128, **HEADERS["SIP"]}))
    ((x, y),) = wcs.sip_foc2pix([[20.0, 30.0]], 1)
    turned = flip_wcs(wcs, 128).sip_foc2pix([[20.0, -30.0]], 1)
    np.testing.assert_allclose(turned, [[x, 129 - y]], atol=1e-9)


def test_tables_of_distortion_are_turned_as_well():
    wcs = WCS(fits.Header({"NAXIS": 2, "NAXIS1": 128, "NAXIS2": 128, **HEADERS["CD"]}))
    rng = np.random.default_rng(1)
    place = ((3.0, 2.0), (40.0, 50.0), (16.0, 20.0))
    for name in ("cpdis1", "cpdis2", "det2im1", "det2im2"):
        setattr(wcs, name, DistortionLookupTable(rng.normal(0, 2, (8, 9)).astype(np.float32), *place))
    x, y = np.array([10.0, 100, 0, 63.2]), np.array([20.0, 90, 127, 3.1])
    turned = flip_wcs(wcs, 128).pixel_to_world(x, 127 - y)
    assert turned.separation(wcs.pixel_to_world(x, y)).max().arcsec < 1e-3
    assert upside_down is flip_wcs


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("step", [0.5, 1.7])
def test_a_resampled_picture_has_its_own_coordinates(name, step):
    wcs = WCS(fits.Header({"NAXIS": 2, "NAXIS1": 200, "NAXIS2": 160, **HEADERS[name]}))
    resampled = resampled_wcs(wcs, 64, step)
    x, y = np.array([0.0, 63, 31.5]), np.array([63.0, 5, 31.5])
    # Both have one centre, between their middle pixels.
    sky = wcs.pixel_to_world(99.5 + step * (x - 31.5), 79.5 + step * (y - 31.5))
    assert resampled.pixel_to_world(x, y).separation(sky).max().arcsec < 1e-3
    assert resampled.array_shape == (64, 64)


@pytest.mark.parametrize("step", [0.5, 1.6])
def test_a_picture_of_another_scale_is_resampled(step):
    # One smooth galaxy, drawn at two scales.
    def drawn(width, scale):
        y, x = (np.mgrid[:width, :width] - (width - 1) / 2) * scale
        light = np.exp(-(np.hypot(x / 9, y / 6) ** 2) / 2)
        return light[..., None] * np.array([200.0, 160.0, 110.0]) + 5

    there, here = np.rint(drawn(300, 1 / step)).astype(np.uint8), np.rint(drawn(128, 1.0))
    pixels = decode(encode(there, "PNG"), width=128, step=step)
    assert pixels.shape == (128, 128, 3)
    assert np.abs(pixels - here).max() <= 3
    # Fluxes are per pixel, and a pixel of the result has the light of step x step.
    fluxes = np.moveaxis(drawn(300, 1 / step)[::-1] - 4, -1, 0) / step**2 / 100
    expected = decode(as_fits(np.moveaxis(drawn(128, 1.0)[::-1] - 4, -1, 0).astype(np.float32) / 100))
    resampled = decode(as_fits(fluxes.astype(np.float32)), width=128, step=step)
    assert np.abs(resampled.astype(int) - expected).max() <= 4


def test_a_resampled_picture_is_compressed_as_the_surveys_are():
    data = encode(galaxy(2, 256), "JPEG", quality=75, subsampling="4:2:0")
    expected = compress(decode(data, width=128, step=1.5))
    np.testing.assert_array_equal(decode(data, width=128, step=1.5, quality=75), expected)


def test_resampling_needs_a_width_and_enough_sky():
    with pytest.raises(ValueError, match="step needs width"):
        decode(encode(PIXELS), step=2.0)
    with pytest.raises(BadImageError, match="128 x 128 pixels of its scale, and 256 x 256 are needed"):
        decode(encode(PIXELS), width=128, step=2.0)


def test_coordinates_that_cannot_be_read_are_an_error_and_missing_ones_are_not():
    assert header_wcs(as_fits(PLANES)) is None
    assert header_wcs(as_fits(PLANES, CTYPE1="WAVE", CRVAL1=1.0)) is None
    assert header_wcs(encode(PIXELS)) is None
    with pytest.raises(BadImageError, match="world coordinates"):
        header_wcs(as_fits(PLANES, **{**HEADERS["plain"], "CTYPE2": "DEC--SIN"}))
