import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import encode, fits_cube, galaxy, printed, sky
from PIL import Image, ImageFile
from simplejpeg import decode_jpeg_header

from hifrac.core.exceptions import BadImageError, OutOfFootprintError, RowError
from hifrac.images import (
    STRETCHES,
    Stretch,
    _compression_of,
    _quantisation,
    compress,
    decode,
    is_blank,
    lupton_rgb,
    to_jpeg,
)

PIXELS = galaxy(1)
JPEG = encode(PIXELS)
SMALL_JPEG = encode(galaxy(2, width=32), quality=60)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_jpeg_is_what_pillow_decodes(options):
    data = encode(PIXELS, **options)
    pixels = decode(data, width=128)
    np.testing.assert_array_equal(pixels, np.array(Image.open(io.BytesIO(data))))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


def test_png_is_exact():
    np.testing.assert_array_equal(decode(encode(PIXELS, "PNG"), width=128), PIXELS)


def test_rectangles_are_accepted_unless_a_width_is_asked():
    data = encode(PIXELS[:100], "PNG")
    assert decode(data).shape == (100, 128, 3)
    with pytest.raises(BadImageError, match="128 x 100 pixels instead of 128 x 128"):
        decode(data, width=128)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    "data",
    [SMALL_JPEG, encode(galaxy(2, width=32), progressive=True), encode(galaxy(3, width=24), "PNG")],
    ids=["jpeg", "progressive", "png"],
)
def test_every_truncation_is_refused(data, lenient, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    assert decode(data).shape[2] == 3
    for length in range(len(data)):
        with pytest.raises(BadImageError):
            decode(data[:length])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bytes_after_the_end_do_not_matter(kind):
    data = encode(PIXELS, kind)
    np.testing.assert_array_equal(decode(data + b"\r\n\0\0garbage"), decode(data))


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", JPEG[:20], b"\x89PNG\r\n\x1a\n", b"SIMPLE  =", b"\xff\xd8\xff"]),
)
@settings(max_examples=200)
def test_any_bytes_give_a_row_error(tail, head):
    with pytest.raises(RowError):
        decode(head + tail)


@given(st.lists(st.tuples(st.integers(0, len(SMALL_JPEG) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=200)
def test_damaged_bytes_give_pixels_or_a_row_error(changes):
    damaged = bytearray(SMALL_JPEG)
    for at, value in changes:
        damaged[at] = value
    try:
        pixels = decode(bytes(damaged), quality=75)
    except RowError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


@given(st.integers(8, 600), st.integers(1, 255))
@settings(max_examples=100)
def test_a_changed_byte_of_a_png_is_found(at, change):
    data = bytearray(encode(galaxy(3, width=24), "PNG"))
    data[at] ^= change
    with pytest.raises(BadImageError):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html><body>Service Unavailable", "HTML or XML, beginning '<!DOCTYPE html><html>"),
        (b"\xef\xbb\xbf  <?xml version='1.0'?><error/>", 'HTML or XML, beginning "<\\?xml'),
        (b"Error: the database is down", "text, beginning 'Error: the database is down'"),
        (b"GIF89a\x01\x00\x01\x00\x80\x00\x00", "not a JPEG, PNG or FITS picture"),
    ],
)
def test_what_came_instead_is_said(data, message):
    with pytest.raises(BadImageError, match=message):
        decode(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_greyscale_has_no_colour(kind):
    grey = PIXELS[..., 0]
    for data in (encode(grey, kind), encode(np.stack([grey] * 3, axis=-1), kind)):
        with pytest.raises(BadImageError, match="no colour"):
            decode(data)


def test_cmyk_is_refused():
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(file, "JPEG")
    with pytest.raises(BadImageError, match="mode CMYK: only RGB"):
        decode(file.getvalue())


def test_alpha():
    alpha = np.full((128, 128, 1), 255, np.uint8)
    np.testing.assert_array_equal(decode(encode(np.concatenate([PIXELS, alpha], 2), "PNG")), PIXELS)
    alpha[:32] = 0
    with pytest.raises(BadImageError, match=r"transparent in 25\.0% of its pixels"):
        decode(encode(np.concatenate([PIXELS, alpha], 2), "PNG"))
    alpha[:] = 0
    with pytest.raises(OutOfFootprintError, match="transparent everywhere"):
        decode(encode(np.concatenate([PIXELS, alpha], 2), "PNG"))


def test_palette_pictures_are_converted():
    picture = Image.fromarray(PIXELS).quantize(200)
    file = io.BytesIO()
    picture.save(file, "PNG")
    np.testing.assert_array_equal(decode(file.getvalue()), np.array(picture.convert("RGB")))


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_decompression_bombs_are_refused_before_decoding():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    with pytest.raises(BadImageError, match="60000 x 60000 pixels: refused"):
        decode(bomb)


def test_the_users_limit_of_pillow_is_respected(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImageError, match="128 x 128 pixels: refused"):
        decode(JPEG)


def test_odd_metadata_neither_warns_nor_harms():
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x9a\x82\x05\0\xff\xff\xff\x7f\xff\xff\xff\x7f" * 4
    multi = b"MPF\0II*\0\x08\0\0\0\x01\0"
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
        for marker, content in [(0xE1, exif), (0xE2, multi), (0xFE, b"comment \xff\xd9")]
    )
    data = JPEG[:2] + segments + JPEG[2:]
    np.testing.assert_array_equal(decode(data), decode(JPEG))


def test_only_bytes_are_data():
    with pytest.raises(TypeError, match=r"^data must be bytes, got str"):
        decode("picture.jpg")


# Blank pictures


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_uniform_pictures_are_blank(level, kind):
    with pytest.raises(OutOfFootprintError, match="blank"):
        decode(encode(np.full((128, 128, 3), level, np.uint8), kind))


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("text_at", [(4, 2), (-20, 24), (4, 60)])
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)])
def test_a_printed_message_is_blank(quality, text_at, colour):
    with pytest.raises(OutOfFootprintError):
        decode(encode(printed(text_at=text_at, colour=colour), quality=quality))


def test_a_target_beyond_the_edge_of_the_frames_is_blank():
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[:, 100:] = sky()[:, 100:]
    assert is_blank(pixels)


@pytest.mark.parametrize("level", [0.0, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("quality", [75, 95])
def test_sky_noise_is_not_blank(level, quality):
    assert decode(encode(sky(level=level), quality=quality)).shape == (128, 128, 3)


def test_a_galaxy_near_the_edge_of_the_frames_is_not_blank():
    pixels = galaxy(4)
    pixels[:, :50] = 0
    assert not is_blank(pixels)


def test_a_noiseless_galaxy_is_not_blank():
    y, x = np.mgrid[:128, :128] - 63.5
    light = 250 * np.exp(-(x**2 + 2 * y**2) / 200)[..., None] * np.array([1, 0.8, 0.6])
    pixels = light.astype(np.uint8)
    assert np.mean((pixels == 0).all(axis=2)) > 0.8
    assert not is_blank(pixels)


@pytest.mark.parametrize("colours", [1, 3, 40])
def test_a_flat_green_channel_settles_nothing(colours):
    # All three channels must be looked at where one has a common level.
    pixels = np.full((128, 128, 3), 80, np.uint8)
    pixels[..., 0] = np.random.default_rng(0).integers(0, colours, (128, 128)) * 5
    assert is_blank(pixels) is (colours == 1)
    assert is_blank(np.roll(pixels, 1, axis=2)) is (colours == 1)


def test_a_saturated_star_is_not_blank():
    y, x = np.mgrid[:128, :128] - 63.5
    assert not is_blank(np.where(np.hypot(x, y)[..., None] < 35, np.uint8(255), sky(5)))


# FITS


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i4"])
def test_integer_fits_is_shown_as_it_is_with_the_last_row_on_top(dtype):
    planes = np.moveaxis(PIXELS, -1, 0).astype(dtype)
    np.testing.assert_array_equal(decode(fits_cube(planes), width=128), PIXELS[::-1])


def test_floating_fits_gets_the_asinh_stretch():
    planes = np.moveaxis(PIXELS, -1, 0) / 100.0
    expected = lupton_rgb(*planes)[::-1]
    np.testing.assert_array_equal(decode(fits_cube(planes)), expected)
    assert expected[64, 64, 0] > expected[5, 5, 0] + 100


def test_the_image_may_be_in_an_extension():
    from astropy.io import fits

    file = io.BytesIO()
    planes = np.moveaxis(PIXELS, -1, 0)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(planes)]).writeto(file)
    np.testing.assert_array_equal(decode(file.getvalue()), PIXELS[::-1])


def test_nan_pixels_are_sky():
    planes = np.moveaxis(PIXELS, -1, 0) / 100.0
    planes[:, :10, :10] = np.nan
    planes[0, 20, 20] = np.inf
    pixels = decode(fits_cube(planes))[::-1]
    assert not pixels[:10, :10].any()
    assert pixels[20, 20, 0] == 0
    with pytest.raises(OutOfFootprintError, match="NaN"):
        decode(fits_cube(np.full((3, 16, 16), np.nan)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((64, 64)), r"three planes \(3, height, width\), got shape \(64, 64\)"),
        (np.ones((4, 8, 8)), r"got shape \(4, 8, 8\)"),
        (np.full((3, 8, 8), 300, np.int16), "display values of 0 to 255, got 300 to 300"),
        (np.full((3, 8, 8), -1, np.int16), "display values"),
        (None, r"got shape \(\)"),
    ],
)
def test_other_fits_files_are_refused(array, message):
    with pytest.raises(BadImageError, match=message):
        decode(fits_cube(array))


def test_fits_of_another_size_is_refused():
    with pytest.raises(BadImageError, match="64 x 64 pixels instead of 128 x 128"):
        decode(fits_cube(np.ones((3, 64, 64))), width=128)


def test_cut_off_fits_is_refused_without_a_warning():
    data = fits_cube(np.moveaxis(PIXELS, -1, 0) / 100.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for length in (9, 80, 2000, 2880, 3000, len(data) // 2):
            with pytest.raises(BadImageError):
                decode(data[:length])
        with pytest.raises(BadImageError):
            decode(b"SIMPLE  = " + os.urandom(3000))
    assert not caught


# Lupton's stretch


def test_lupton_keeps_ratios_and_order():
    flux = np.geomspace(0.01, 100, 60).reshape(6, 10)
    pixels = lupton_rgb(flux, 0.5 * flux, 0.25 * flux)
    assert pixels.dtype == np.uint8
    assert (np.diff(pixels[..., 1].ravel().astype(int)) >= 0).all()
    bright = pixels[pixels[..., 0] > 100].astype(float)
    np.testing.assert_allclose(bright[:, 1] / bright[:, 0], 0.5, atol=0.02)


def test_lupton_minimum_is_black_and_stretch_brightens():
    flux = np.full((4, 4), 0.3)
    assert not lupton_rgb(flux, flux, flux, minimum=0.3).any()
    assert lupton_rgb(flux, flux, flux, stretch=0.1).min() > lupton_rgb(flux, flux, flux, stretch=1.0).max()


@pytest.mark.parametrize(
    "options", [{"stretch": 0}, {"stretch": np.nan}, {"Q": -1}, {"Q": np.inf}, {"minimum": np.nan}]
)
def test_lupton_refuses_odd_options(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"^{name} must be"):
        lupton_rgb(*np.ones((3, 4, 4)), **options)


def test_lupton_refuses_odd_shapes():
    with pytest.raises(ValueError, match="red, green and blue must be two-dimensional and of one shape"):
        lupton_rgb(np.ones((4, 4)), np.ones((4, 4)), np.ones((4, 5)))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=12, max_size=12))
@settings(max_examples=50)
def test_lupton_never_warns(values):
    assert lupton_rgb(*np.array(values).reshape(3, 2, 2)).shape == (2, 2, 3)


def by_astropy(planes, stretch, q, minimum):
    """The same picture by astropy, which has its own way with pixels that are not finite."""
    from astropy.visualization import make_lupton_rgb

    planes = [np.where(np.isfinite(plane), plane, minimum).astype(float) for plane in planes]
    with np.errstate(all="ignore"):
        return make_lupton_rgb(*planes, minimum=minimum, stretch=stretch, Q=q)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.dtype(">f4")]),
        (3, 4, 4),
        elements=st.floats(-10, 1000, width=32)
        | st.floats(-0.25, 0.25, width=32)
        | st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e8, -1e8]),
        fill=st.nothing(),
    ),
    st.floats(1e-3, 1e3),
    st.floats(1e-8, 1e3) | st.just(1e11),
    st.floats(-1, 1, width=32),
)
@settings(max_examples=100)
def test_lupton_is_that_of_astropy_to_one_level(planes, stretch, q, minimum):
    found = lupton_rgb(*planes, stretch=stretch, Q=q, minimum=minimum)
    planes = [np.where(np.isfinite(plane), plane, minimum).astype(float) for plane in planes]
    # Where the bands cancel, black lies next to full colour, and the last digit decides.
    size = sum(np.abs(plane - minimum) for plane in planes)
    cancels = np.abs(sum(plane - minimum for plane in planes)) < 1e-5 * size
    expected = by_astropy(planes, stretch, q, minimum)
    assert np.abs(found.astype(int) - expected)[~cancels].max(initial=0) <= 1


def test_lupton_of_a_picture_is_that_of_astropy_to_one_level():
    y, x = np.mgrid[:128, :128] - 63.5
    light = 30 * np.exp(-np.hypot(x, y) / 6)
    noise = np.random.default_rng(2).normal(0, 0.03, (3, 128, 128))
    planes = noise + light * np.array([1.0, 0.7, 0.4])[:, None, None]
    expected = by_astropy(planes, 0.5, 10.0, 0.0).astype(int)
    assert (expected == 255).any()
    for dtype in (np.float32, np.float64):
        found = lupton_rgb(*planes.astype(dtype)).astype(int)
        assert np.abs(found - expected).max() <= 1
        assert np.mean(found != expected) < 0.01


def formula(planes, stretch):
    """The stretch in the words of its documentation, pixel by pixel."""
    picture = np.zeros((*planes[0].shape, 3))
    for at in np.ndindex(planes[0].shape):
        bands = [w * plane[at] - stretch.minimum for w, plane in zip(stretch.weights, planes, strict=True)]
        mean = sum(bands) / 3
        value = stretch.amplitude * np.arcsinh(stretch.softening * mean)
        shares = [max(0.0, band / mean * value) for band in bands]
        picture[at] = np.array(shares) * min(1, 255 / max(255, *shares))
    return picture


@pytest.mark.parametrize("survey", STRETCHES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stretches_are_what_they_say(survey, dtype):
    stretch = STRETCHES[survey]
    rng = np.random.default_rng(1)
    planes = (rng.normal(0, 0.05, (3, 12, 12)) + rng.choice([0, 0.3, 30], (12, 12))).astype(dtype)
    expected = formula(planes.astype(float), stretch)
    levels = stretch.levels(*planes)
    assert levels.dtype == dtype
    np.testing.assert_allclose(levels, expected, atol=0.02 if dtype == np.float32 else 1e-9)
    assert np.abs(stretch.rgb(*planes) - expected).max() <= 0.52
    assert (expected.max(axis=2) == 255).any()
    assert (expected == 0).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_black_in_its_own_band_only(bad):
    planes = np.full((3, 2, 2), 0.5, np.float32)
    whole = STRETCHES["sdss"].rgb(*planes)
    planes[1, 0, 0] = bad
    pixels = STRETCHES["sdss"].rgb(*planes)
    assert pixels[0, 0, 1] == 0
    assert (pixels[0, 0, [0, 2]] > 0).all()
    np.testing.assert_array_equal(pixels[1], whole[1])


def test_a_black_pixel_is_black_and_blackness_is_no_warning():
    assert not STRETCHES["sdss"].rgb(*np.zeros((3, 4, 4))).any()
    assert Stretch((1, 1, 1), 30.0, 5.0, 0.5, "").rgb(*np.full((3, 4, 4), 0.5)).max() == 0


@pytest.mark.parametrize("survey", STRETCHES)
def test_floating_fits_is_shown_by_the_stretch_that_is_asked_for(survey):
    planes = (np.moveaxis(PIXELS, -1, 0) / 100.0).astype(np.float32)
    data = fits_cube(planes)
    expected = STRETCHES[survey].rgb(*planes)[::-1]
    np.testing.assert_array_equal(decode(data, stretch=survey), expected)
    np.testing.assert_array_equal(decode(data, stretch=STRETCHES[survey]), expected)
    np.testing.assert_array_equal(decode(JPEG, stretch=survey), decode(JPEG))
    assert (decode(data) != expected).any()


def test_a_stretch_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match=r"^stretch must be one of sdss, .*legacy.*, got 'des'"):
        decode(JPEG, stretch="des")


# JPEG


def test_a_jpeg_has_the_quantisation_and_colour_resolution_of_the_service():
    data = to_jpeg(PIXELS)
    assert data == to_jpeg(PIXELS.copy()) == encode(PIXELS, quality=75, subsampling=2)
    # The sizes of the first component's blocks: two by two of the others'.
    with Image.open(io.BytesIO(data)) as picture:
        assert [layer[1:3] for layer in picture.layer] == [(2, 2), (1, 1), (1, 1)]
        assert picture.quantization[0][0] == 8
    assert len(to_jpeg(PIXELS, quality=50)) < len(data)
    for quality in (1, 50, 75, 95):
        data = to_jpeg(PIXELS, quality=quality)
        assert _compression_of(quality) == (decode_jpeg_header(data)[3], _quantisation(data))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"quality": 92, "subsampling": 2}), ("JPEG", {"quality": 75, "subsampling": 0})],
    ids=["PNG", "better JPEG", "JPEG with all colours"],
)
def test_a_picture_of_another_compression_is_compressed_again(kind, options):
    data = encode(PIXELS, kind, **options)
    expected = decode(to_jpeg(decode(data), quality=75))
    found = decode(data, quality=75)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, compress(decode(data)))
    assert np.any(found != decode(data))
    found[:] = 0  # writable


def test_a_picture_of_the_same_compression_stays_as_it_is():
    for quality in (50, 75):
        data = to_jpeg(PIXELS, quality=quality)
        np.testing.assert_array_equal(decode(data, quality=quality), decode(data))


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 75},
        {"quality": 20, "progressive": True},
        {"quality": 92, "optimize": True},
        {"subsampling": 0},
    ],
    ids=["plain", "progressive", "optimised", "all colours"],
)
def test_the_quantisation_tables_are_those_that_pillow_reads(options):
    data = encode(PIXELS, **options)
    expected = Image.open(io.BytesIO(data)).quantization
    padded = data[:2] + b"\xff\xff\xff" + data[2:]  # more than one 255 before a marker means nothing
    for tables in (_quantisation(data), _quantisation(padded)):
        assert {number: sorted(table) for number, table in tables.items()} == {
            number: sorted(table) for number, table in expected.items()
        }
    assert _quantisation(JPEG[:2]) == _quantisation(b"") == {}


def test_a_thumbnail_does_not_tell_how_its_picture_is_compressed():
    file = io.BytesIO()
    exif = b"Exif\0\0" + to_jpeg(PIXELS[:32, :32], quality=75)
    Image.fromarray(PIXELS).save(file, "JPEG", quality=92, exif=exif)
    data = file.getvalue()
    np.testing.assert_array_equal(decode(data, quality=75), compress(decode(data)))


def test_damage_that_pillow_forgives_is_refused():
    # A stray byte of the entropy-coded data: the picture would be grey from there on.
    at = JPEG.index(b"\xff\xda") + 400
    damaged = JPEG[:at] + b"\xff\xd5" + JPEG[at:]
    with pytest.raises(BadImageError, match="damaged or cut-off JPEG"):
        decode(damaged)


def test_fluxes_are_compressed_too():
    planes = np.moveaxis(PIXELS[::-1], 2, 0).astype(np.float32) / 255
    expected = compress(decode(fits_cube(planes), stretch="sdss"))
    np.testing.assert_array_equal(decode(fits_cube(planes), stretch="sdss", quality=75), expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from([50, 75, 92]))
@settings(max_examples=20)
def test_to_compress_once_more_changes_little(seed, quality):
    once = compress(galaxy(seed % 20), quality=quality)
    assert once.dtype == np.uint8
    again = compress(once, quality=quality)
    assert np.abs(again.astype(int) - once).mean() < 0.3


# The whole


def test_threads_agree():
    files = [encode(galaxy(seed)) for seed in range(4)] + [
        fits_cube(np.moveaxis(PIXELS, -1, 0) / 100.0),
        JPEG[:900],
    ]

    def outcome(data):
        try:
            return decode(data).tobytes()
        except RowError as error:
            return str(error)

    expected = [outcome(data) for data in files]
    found = [None] * 4

    def work(which):
        found[which] = [[outcome(data) for data in files] for _ in range(10)]

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[expected] * 10] * 4


def test_importing_loads_neither_torch_nor_matplotlib():
    code = "import sys, hifrac.images; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.real_data
def test_genuine_sky_is_not_blank(real_data):
    """Fields without any galaxy, put together of the corners of cutouts."""
    with zipfile.ZipFile(real_data / "cutouts" / "sdss_cutouts.zip") as archive:
        for name in archive.namelist()[::50]:
            if name.endswith(".jpg"):
                pixels = decode(archive.read(name))
                edges = np.r_[:40, 88:128]
                assert not is_blank(pixels[np.ix_(edges, edges)]), name


@pytest.mark.real_data
def test_no_genuine_cutout_is_refused(real_data):
    with zipfile.ZipFile(real_data / "cutouts" / "sdss_cutouts.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        assert len(names) == 21181
        for name in names:
            assert decode(archive.read(name), width=128).shape == (128, 128, 3), name


@pytest.mark.parametrize("plane", range(3))
def test_a_fits_file_with_a_plane_of_no_numbers_is_no_picture(plane):
    planes = np.random.default_rng(0).normal(0, 0.02, (3, 32, 32)).astype("f4")
    planes[plane] = np.nan
    with pytest.raises(BadImageError, match="no pixel that is a number"):
        decode(fits_cube(planes), width=32, stretch=STRETCHES["sdss"])
