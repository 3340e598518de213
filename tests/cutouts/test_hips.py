"""HiPS: requests worked out by astroquery, sent by us; where the sky is in its pictures."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from pictures import encode, galaxy
from survey_services import answering, brightest, failing_first, impatience, only_cutout

from hifrac.core.exceptions import BadImageError, FetchError, OutOfFootprintError
from hifrac.cutouts import HiPSCutouts
from hifrac.cutouts.recipe import HIPS_RECIPE

RA, DEC = 184.957, 5.1215


@pytest.fixture(autouse=True)
def _impatient():
    with impatience():
        yield


def test_astroquery_comes_late_and_quietly_and_asks_nobody():
    program = """
        import socket, sys

        def refuse(*args, **kwargs):
            raise AssertionError("the network was touched")

        socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
        import hifrac
        from hifrac.cutouts import HiPSCutouts
        source = HiPSCutouts()
        assert "astroquery" not in sys.modules
        ((url, params),) = source.payload(184.957, 5.1215)
        assert "astroquery" in sys.modules
        print(url, params["hips"])
    """
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == "https://alasky.cds.unistra.fr/hips-image-services/hips2fits CDS/P/SDSS9/color\n"


def test_the_frame_of_the_request_is_that_of_the_recipe():
    recipe = replace(HIPS_RECIPE, width=300, pixel_scale=0.25)
    ((_, params),) = HiPSCutouts(recipe).payload(SkyCoord(RA, DEC, unit="deg").galactic)
    assert (params["ra"], params["dec"]) == ("184.957000", "5.121500")
    assert (params["width"], params["height"]) == ("300", "300")
    assert float(params["fov"]) * 3600 == pytest.approx(75.0)
    assert (params["projection"], params["coordsys"], params["format"]) == ("TAN", "icrs", "jpg")
    assert float(params["rotation_angle"]) == 0


def test_a_star_is_where_the_coordinates_say():
    star = RA + 0.004, DEC - 0.003
    # The gnomonic projection, by its formula.
    ra, dec, ra0, dec0 = np.radians([*star, RA, DEC])
    distance = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    east = np.degrees(np.cos(dec) * np.sin(ra - ra0) / distance) * 3600
    north = np.degrees(
        (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / distance
    )
    x, y = 63.5 - east / 0.4, 63.5 - north * 3600 / 0.4
    rows, columns = np.mgrid[:128, :128]
    light = 220 * np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / 4)[..., None]
    noise = np.random.default_rng(0).normal(8, 3, (128, 128, 3))
    picture = np.clip(light * np.array([1.0, 0.9, 0.8]) + noise, 0, 255).astype(np.uint8)
    with answering(lambda path, params: (200, encode(picture, subsampling=0))) as service:
        cutout = only_cutout(HiPSCutouts(base_url=service.url), RA, DEC)
    for channel in range(3):
        assert np.allclose(
            cutout.wcs.world_to_pixel_values(*star), brightest(cutout.pixels, channel), atol=0.1
        )


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (13, 13, 40)])
def test_outside_the_coverage_the_picture_is_uniform(colour):
    picture = encode(np.full((128, 128, 3), colour, np.uint8))
    with answering(lambda path, params: (200, picture)) as service:
        for _ in range(2):
            error = only_cutout(HiPSCutouts(base_url=service.url), RA, DEC).error
            assert isinstance(error, OutOfFootprintError)
        assert len(service.asked) == 2  # a blank picture must come twice


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (encode(galaxy(1, 100)), "100 x 100 pixels instead of 128 x 128"),
        (encode(galaxy(1)[..., 1]), "no colour"),
        (b"<!DOCTYPE html><html>hips2fits</html>", "HTML"),
    ],
    ids=["size", "one band", "html"],
)
def test_what_is_no_colour_picture_is_told(body, message):
    with answering(lambda path, params: (200, body)) as service:
        error = only_cutout(HiPSCutouts(base_url=service.url), RA, DEC).error
    assert isinstance(error, BadImageError)
    assert message in str(error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            json.dumps({"title": "Bad HiPS", "description": "unknown id"}).encode(),
            "400: Bad HiPS: unknown id",
        ),
        (json.dumps({"title": "Bad HiPS"}).encode(), "400: Bad HiPS ("),
        (b'["a list"]', "400 Bad Request"),
        (b"{}", "400 Bad Request"),
        (b"\xff not json", "400 Bad Request"),
    ],
)
def test_the_services_own_words_are_told(body, said):
    with answering(lambda path, params: (400, body)) as service:
        error = only_cutout(HiPSCutouts(base_url=service.url), RA, DEC).error
        assert isinstance(error, FetchError)
        assert error.status == 400
        assert said in str(error)
        assert len(service.asked) == 1


def test_passing_trouble_is_overcome():
    picture = encode(galaxy(1))
    with answering(failing_first(lambda path, params: (200, picture))) as service:
        assert only_cutout(HiPSCutouts(base_url=service.url), RA, DEC).data == picture
        assert len(service.asked) == 2


def test_each_hips_has_a_store_of_its_own():
    with answering(lambda path, params: (200, encode(galaxy(len(params["hips"]))))) as service:
        for survey in ("CDS/P/SDSS9/color", "CDS/P/DSS2/color"):
            source = HiPSCutouts(replace(HIPS_RECIPE, survey=survey), base_url=service.url)
            assert only_cutout(source, RA, DEC).error is None
        assert [params["hips"] for _, params in service.asked] == ["CDS/P/SDSS9/color", "CDS/P/DSS2/color"]
