"""Pan-STARRS: lists of files, the survey's own headers, and what its stacks lack."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from survey_services import answering, brightest, failing_first, fits_file, impatience, only_cutout

from hifrac import images
from hifrac.core.exceptions import BadImageError, OutOfFootprintError
from hifrac.cutouts import PanSTARRSCutouts
from hifrac.cutouts.recipe import PANSTARRS_RECIPE

RA, DEC, WIDTH = 184.957, 5.1215, 240
# Of the projection cell, far from the cutout.
CELL = 184.0, 4.0
SECONDS = {"g": 500.0, "r": 720.0, "i": 900.0, "z": 600.0, "y": 400.0}
NANOMAGGIES = {"g": 10.0, "r": 20.0, "i": 30.0, "z": 40.0, "y": 50.0}
STAR = SkyCoord(184.9535, 5.1240, unit="deg")
COLUMNS = "projcell subcell ra dec filter mjd type filename shortname badflag"


@pytest.fixture(autouse=True)
def _impatient():
    with impatience():
        yield


def row(band, cell="1400.056"):
    projection, sub = cell.split(".")
    name = f"rings.v3.skycell.{cell}.stk.{band}.unconv.fits"
    folder = f"/rings.v3.skycell/{projection}/{sub}/"
    return f"{projection} {int(sub)} {RA} {DEC} {band} 0.0 stack {folder}{name} {name} 0"


def listing(*rows):
    return "\n".join([COLUMNS, *rows, ""]).encode()


def to_plane(ra, dec):
    """Gnomonic projection about the cell's centre, in 0.25 arcsec pixels: to the west and to the north."""
    ra, dec, ra0, dec0 = np.radians([ra, dec, *CELL])
    cos_distance = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    east = np.cos(dec) * np.sin(ra - ra0) / cos_distance
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / cos_distance
    return -np.degrees(east) * 3600 / 0.25, np.degrees(north) * 3600 / 0.25


def cutout_file(band, width=WIDTH, shift=0, changed=lambda counts: counts, **cards):
    """A band as fitscut gives it: whole pixels of the skycell, obsolete PC keywords, FK5."""
    here, star = (
        to_plane(position.ra.deg, position.dec.deg)
        for position in (coords.transform_to(FK5()) for coords in (SkyCoord(RA, DEC, unit="deg"), STAR))
    )
    corner = np.round(here) - width // 2 + shift
    x, y = star - corner
    rows, columns = np.mgrid[:width, :width]
    light = np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / 4) / (8 * np.pi)
    noise = np.random.default_rng(ord(band)).normal(0, 0.001, light.shape)
    counts = (NANOMAGGIES[band] * light + noise) * 10 * SECONDS[band]
    header = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": CELL[0],
        "CRVAL2": CELL[1],
        "CRPIX1": 1 - corner[0],
        "CRPIX2": 1 - corner[1],
        "CDELT1": 0.25 / 3600,
        "CDELT2": 0.25 / 3600,
        "PC001001": -1.0,
        "PC001002": 0.0,
        "PC002001": 0.0,
        "PC002002": 1.0,
        "RADESYS": "FK5",
        "EXPTIME": SECONDS[band],
    }
    return fits_file(changed(counts).astype("f4"), None, **header | cards)


def panstarrs(files=None, rows=None, width=WIDTH):
    """Answers of the two services; ``files`` has what is not as usual, by band."""

    def answers(path, params):
        if path.endswith("ps1filenames.py"):
            return 200, listing(*(map(row, params["filters"]) if rows is None else rows))
        band = params["red"].split(".")[-3]
        return 200, (files or {}).get(band) or cutout_file(band, width)

    return answers


def test_the_surveys_obsolete_keywords_are_understood():
    with answering(panstarrs()) as service:
        cutout = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC)
    x, y = map(float, cutout.wcs.world_to_pixel(STAR))
    for channel in range(3):
        assert np.allclose((x, y), brightest(cutout.pixels, channel), atol=0.1)
    # North is up, and east to the left.
    assert x > WIDTH / 2
    assert y < WIDTH / 2


def test_the_file_says_what_it_was_made_of():
    with answering(panstarrs()) as service:
        cutout = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC)
    header = fits.getheader(io.BytesIO(cutout.data))
    history = "".join(str(line) for line in header["HISTORY"])
    for index, band in enumerate("irg"):
        assert header[f"BAND{index}"] == band
        assert hashlib.sha256(cutout_file(band)).hexdigest() in history
        assert f"skycell.1400.056.stk.{band}.unconv.fits" in history


def test_any_three_bands_in_the_order_of_the_recipe():
    recipe = replace(PANSTARRS_RECIPE, bands=("y", "i", "g"), width=160)
    with answering(panstarrs(width=160)) as service:
        cutout = only_cutout(PanSTARRSCutouts(recipe, base_url=service.url), RA, DEC)
        assert service.asked[0][1]["filters"] == "giy"
    fluxes = fits.getdata(io.BytesIO(cutout.data)).max(axis=(1, 2))
    # The peak of a star of two pixels' width is one part in 8 pi of its flux.
    assert fluxes * 8 * np.pi == pytest.approx([NANOMAGGIES[band] for band in "yig"], rel=0.1)


@given(st.lists(st.floats(-0.05, 500), min_size=3, max_size=3))
def test_the_look_is_that_of_sdss_for_the_same_surface_brightness(fluxes):
    native = [np.full((1, 1), flux) for flux in fluxes]
    sdss = [plane * (0.396 / 0.25) ** 2 for plane in native]
    found = images.STRETCHES["panstarrs"].levels(*native)
    assert np.allclose(found, images.STRETCHES["sdss"].levels(*sdss), atol=1e-6)


def test_the_pixels_are_the_published_formula_of_the_stored_planes():
    with answering(panstarrs()) as service:
        cutout = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC)
    stored = fits.getdata(io.BytesIO(cutout.data)).astype(float)
    # Lupton et al. (2004) with the numbers of SDSS, on nanomaggies per pixel of 0.396 arcsec.
    bands = stored * (0.396 / 0.25) ** 2 * np.array([1.0, 1.14, 1.48])[:, None, None]
    intensity = bands.mean(axis=0)
    levels = bands * 37.5 * np.arcsinh(12.9 * intensity) / np.where(intensity == 0, 1, intensity)
    levels = np.maximum(levels, 0) / np.maximum(levels.max(axis=0) / 255, 1)
    assert np.abs(np.moveaxis(levels, 0, -1)[::-1] - cutout.pixels).max() <= 0.51


def test_all_bands_are_of_one_skycell():
    rows = [row("g"), row("r"), *(row(band, "1401.002") for band in "gri")]
    with answering(panstarrs(rows=rows)) as service:
        assert only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC).error is None
        assert all("1401.002" in params["red"] for path, params in service.asked if "red" in params)


def test_bands_on_different_grids_are_no_picture():
    with answering(panstarrs({"r": cutout_file("r", shift=1)})) as service:
        error = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC).error
    assert isinstance(error, BadImageError)
    assert "not on one grid" in str(error)


def test_single_missing_pixels_are_dark_in_their_band_only():
    def hole(counts):
        counts[100:110, 100:110] = np.nan
        return counts

    with answering(panstarrs({"r": cutout_file("r", changed=hole)})) as service:
        cutout = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC)
    assert np.isnan(fits.getdata(io.BytesIO(cutout.data))[1, 100:110, 100:110]).all()
    there = cutout.pixels[::-1][100:110, 100:110]
    assert there[..., 1].max() == 0
    assert there[..., 0].max() > 0


@pytest.mark.parametrize("band", "gri")
def test_a_band_without_a_pixel_is_outside_and_not_asked_again(band):
    files = {band: cutout_file(band, changed=lambda counts: np.full_like(counts, np.nan))}
    with answering(panstarrs(files)) as service:
        for _ in range(2):
            error = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC).error
            assert isinstance(error, OutOfFootprintError)
        assert len(service.asked) == 2 * (2 + "irg".index(band))  # a blank picture must come twice


@pytest.mark.parametrize(
    "body", [b"", b"Error: no service\n", b"<html>busy</html>", b"a b c\n1 2 3\n", b"\xff\xfe\x00"]
)
def test_what_is_no_list_of_files_is_not_taken_for_the_edge_of_the_survey(body):
    with answering(lambda path, params: (200, body)) as service:
        assert isinstance(only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC).error, BadImageError)
        assert len(service.asked) == 3


def test_a_failing_list_is_asked_for_again():
    with answering(failing_first(panstarrs())) as service:
        assert only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC).error is None
        assert [path for path, _ in service.asked] == 2 * ["/ps1filenames.py"] + 3 * ["/fitscut.cgi"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, "long"])
def test_an_impossible_exposure_time_is_no_picture(seconds):
    with answering(panstarrs({"i": cutout_file("i", EXPTIME=seconds)})) as service:
        error = only_cutout(PanSTARRSCutouts(base_url=service.url), RA, DEC).error
    assert isinstance(error, BadImageError)
    assert "EXPTIME" in str(error)
