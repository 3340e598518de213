"""Legacy Surveys, Pan-STARRS and HiPS, each against a loopback server that speaks as they do."""

import hashlib
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from pictures import encode, galaxy, sky
from survey_services import answering, brightest, fits_file, sky_header, star_plane

from hifrac import conf, images
from hifrac.core.config import cache_dir
from hifrac.core.exceptions import BadImageError, FetchError, OutOfFootprintError
from hifrac.cutouts import (
    SDSS_RECIPE,
    SURVEYS,
    HiPSCutouts,
    LegacyCutouts,
    PanSTARRSCutouts,
    source_for,
)
from hifrac.cutouts.recipe import HIPS_RECIPE, LEGACY_RECIPE, PANSTARRS_RECIPE

RA, DEC = 184.957, 5.1215


@pytest.fixture(autouse=True)
def _quick():
    with (
        conf.set_temp("retry_backoff", 0.01),
        conf.set_temp("retries", 2),
        conf.set_temp("max_rate", 0),
        conf.set_temp("timeout", 5),
    ):
        yield


def one(source, ra=RA, dec=DEC):
    (cutout,) = source.fetch(np.array([ra]), np.array([dec]))
    return cutout


def star_position(east, north):
    """A position so many arcsec from the centre."""
    here = SkyCoord(RA, DEC, unit="deg").spherical_offsets_by(east / 3600 * u.deg, north / 3600 * u.deg)
    return here.ra.deg, here.dec.deg


# What all have in common


@pytest.mark.parametrize("kind", SURVEYS.values())
def test_each_service_has_a_recipe_that_finds_it(kind):
    assert type(source_for(kind.default_recipe)) is kind
    assert kind().recipe == kind.default_recipe


_NO_ADDRESSES = [
    ("ftp://foo", "'ftp://foo'"),
    ("mirror.org/getjpeg", "'mirror.org/getjpeg'"),
    ("localhost:8000/getjpeg", "'localhost:8000/getjpeg'"),
    ("https:///getjpeg", "'https:///getjpeg'"),
    ("http://:8000/getjpeg", "'http://:8000/getjpeg'"),
    ("http://host:port/getjpeg", "'http://host:port/getjpeg'"),
    ("http://[::1/getjpeg", "'http://[::1/getjpeg'"),
    ("http://two words/getjpeg", "'http://two words/getjpeg'"),
    ("", "''"),
    ("ftp://me:secret@foo/x?token=secret", "'ftp://foo/x'"),
    ("me:secret@foo/x", "'foo/x'"),
]


@pytest.mark.parametrize("kind", SURVEYS.values())
@pytest.mark.parametrize(("address", "shown"), _NO_ADDRESSES)
def test_an_address_that_cannot_be_asked_is_refused_when_a_source_is_made(kind, address, shown):
    said = f"base_url must be http:// or https:// and the name of a host, got {shown}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        kind(base_url=address)


@pytest.mark.parametrize("kind", SURVEYS.values())
def test_a_configured_address_that_cannot_be_asked_is_refused_by_its_name(kind):
    source = kind()
    with conf.set_temp(kind.url_item, "ftp://foo"):
        for ask in (source.describe, lambda: source.payload(RA, DEC), lambda: one(source)):
            with pytest.raises(ValueError, match=rf"^conf\.{kind.url_item} must be http:// .*'ftp://foo'$"):
                ask()
        with answering(lambda path, params: (200, b"")) as service:
            assert one(kind(base_url=service.url, offline=True)).error is not None
    assert source.describe()  # read each time


@pytest.mark.parametrize(
    "address", ["HTTPS://Mirror.org", "http://me:secret@127.0.0.1:8000/x?token=1", "http://[::1]:80/x"]
)
@pytest.mark.parametrize("kind", SURVEYS.values())
def test_an_address_that_can_be_asked_is_kept_as_it_is(kind, address):
    assert kind(base_url=address).url == address


@pytest.mark.parametrize("kind", SURVEYS.values())
def test_offline_nothing_is_asked(kind):
    with answering(lambda path, params: (200, b"")) as service:
        source = kind(base_url=service.url, offline=True)
        cutout = one(source)
        assert isinstance(cutout.error, FetchError)
        assert "offline" in str(cutout.error)
        assert not service.asked


@pytest.mark.parametrize("kind", SURVEYS.values())
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(500, b"", FetchError), (404, b"no", FetchError), (200, b"<html>sorry</html>", BadImageError)],
)
def test_what_is_no_picture_stops_its_row_only(kind, status, body, error):
    with answering(lambda path, params: (status, body)) as service:
        cutouts = list(kind(base_url=service.url).fetch(np.array([1.0, np.nan, 2.0]), np.zeros(3)))
    assert [type(cutout.error).__name__ for cutout in cutouts] == [
        error.__name__,
        "BadCoordinateError",
        error.__name__,
    ]


@pytest.mark.parametrize("kind", SURVEYS.values())
def test_payload_takes_coordinates_and_sends_nothing(kind):
    coords = SkyCoord([RA, 359.99999999], [DEC, -90], unit="deg")
    requests = kind().payload(coords)
    assert len(requests) == 2 * len(kind().payload(RA, DEC))
    assert {params["ra"] for _, params in requests} == {"184.957000", "0.000000"}
    assert {params["dec"] for _, params in requests} == {"5.121500", "-90.000000"}


@pytest.mark.parametrize(
    ("kind", "recipe", "message"),
    [
        (LegacyCutouts, SDSS_RECIPE, "of legacy viewer-jpg"),
        (LegacyCutouts, replace(LEGACY_RECIPE, width=3001), "a width of at most 3000"),
        (LegacyCutouts, replace(LEGACY_RECIPE, bands=("i", "r", "g")), "bands z, r, g for JPEGs"),
        (LegacyCutouts, replace(LEGACY_RECIPE, service="viewer-fits", bands=("y", "r", "g")), "three bands"),
        (LegacyCutouts, replace(LEGACY_RECIPE, data_release="latest"), "a data_release like"),
        (PanSTARRSCutouts, SDSS_RECIPE, "of panstarrs fitscut"),
        (PanSTARRSCutouts, replace(PANSTARRS_RECIPE, pixel_scale=0.4), "a pixel_scale of 0.25"),
        (PanSTARRSCutouts, replace(PANSTARRS_RECIPE, width=6001), "a width of at most 6000"),
        (PanSTARRSCutouts, replace(PANSTARRS_RECIPE, bands=("g", "g", "r")), "three bands"),
        (HiPSCutouts, SDSS_RECIPE, "of the service hips2fits"),
        (HiPSCutouts, replace(HIPS_RECIPE, survey="sdss"), "the identifier of a HiPS"),
        (HiPSCutouts, replace(HIPS_RECIPE, width=7001), "a width of at most 7000"),
    ],
)
def test_impossible_recipes_are_refused(kind, recipe, message):
    with pytest.raises(ValueError, match=f"^recipe must (be|have) .*{message.split(' ', 1)[1]}"):
        kind(recipe)


# Legacy Surveys


def test_legacy_jpegs_are_kept_as_they_come():
    picture = encode(galaxy(3, 224))
    with answering(lambda path, params: (200, picture)) as service:
        source = LegacyCutouts(base_url=service.url)
        cutout = one(source)
        assert cutout.data == picture
        assert np.array_equal(cutout.pixels, images.decode(picture))
        ((path, params),) = service.asked
        assert path == "/cutout.jpg"
        assert params == {
            "ra": "184.957000",
            "dec": "5.121500",
            "layer": "ls-dr9",
            "pixscale": "0.262",
            "size": "224",
        }
        assert one(LegacyCutouts(base_url=service.url)).data == picture
        assert len(service.asked) == 1


def test_layers_do_not_share_a_store():
    with answering(lambda path, params: (200, encode(galaxy(len(params["layer"]), 224)))) as service:
        for layer in ("ls-dr9", "ls-dr10"):
            assert one(LegacyCutouts(base_url=service.url, layer=layer)).error is None
        assert [params["layer"] for _, params in service.asked] == ["ls-dr9", "ls-dr10"]


def legacy_cube(ra, dec, bands="grz", width=224, **cards):
    header = sky_header(RA, DEC, width, 0.262)
    fluxes = (10.0, 20.0, 40.0)[: len(bands)]
    planes = [star_plane(header, ra, dec, width, flux, noise=0.002) for flux in fluxes]
    return fits_file(np.stack(planes), header, BANDS=bands, **cards)


def test_legacy_fits_become_colours_by_the_viewers_own_stretch_and_know_the_sky():
    east, north = star_position(12.0, -7.0)
    body = legacy_cube(east, north)
    recipe = replace(LEGACY_RECIPE, service="viewer-fits")
    with answering(lambda path, params: (200, body)) as service:
        cutout = one(LegacyCutouts(recipe, base_url=service.url))
        assert service.asked[0][0] == "/cutout.fits"
        assert service.asked[0][1]["bands"] == "grz"
    # Red is z, the viewer's third plane.
    stored = fits.getdata(io.BytesIO(cutout.data))
    original = fits.getdata(io.BytesIO(body))
    assert np.array_equal(stored, original[::-1])
    assert hashlib.sha256(body).hexdigest() in str(fits.getheader(io.BytesIO(cutout.data)))
    # An evaluation of the viewer's formula of our own: asinh(20 I) / sqrt(20) of scaled planes.
    scaled = np.maximum(0, stored * np.array([2.2, 3.4, 6.0])[:, None, None] + 0.03)
    intensity = scaled.mean(axis=0)
    expected = 255 * scaled * np.arcsinh(20 * intensity) / np.sqrt(20) / np.maximum(intensity, 1e-6)
    expected = np.clip(np.moveaxis(expected, 0, -1)[::-1], 0, 255)
    unsaturated = (expected < 250).all(axis=-1) & (scaled > 0).all(axis=0)[::-1]
    assert np.abs(cutout.pixels[unsaturated] - expected[unsaturated]).max() <= 1.5
    for channel in range(3):
        column, row = brightest(cutout.pixels, channel)
        assert np.allclose(cutout.wcs.world_to_pixel_values(east, north), (column, row), atol=0.1)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (legacy_cube(RA, DEC, bands="grz")[:5000], BadImageError),
        (legacy_cube(RA, DEC, bands="gr"), BadImageError),
        (legacy_cube(RA, DEC, width=200), BadImageError),
        (fits_file(np.zeros((3, 224, 224), "f4"), sky_header(RA, DEC, 224, 0.262)), OutOfFootprintError),
        (
            fits_file(np.full((3, 224, 224), np.nan, "f4"), sky_header(RA, DEC, 224, 0.262)),
            OutOfFootprintError,
        ),
    ],
    ids=["cut", "planes", "size", "zero", "nan"],
)
def test_legacy_fits_that_are_no_picture(body, error):
    recipe = replace(LEGACY_RECIPE, service="viewer-fits")
    with answering(lambda path, params: (200, body)) as service:
        assert isinstance(one(LegacyCutouts(recipe, base_url=service.url)).error, error)


# Pan-STARRS

LIST = """projcell subcell ra dec filter mjd type filename shortname badflag
1234 056 184.9 5.1 g 0 stack /rings.v3/skycell.1234.056/stk.g.fits stk.g.fits 0
1234 056 184.9 5.1 i 0 stack /rings.v3/skycell.1234.056/stk.i.fits stk.i.fits 0
1234 056 184.9 5.1 r 0 stack /rings.v3/skycell.1234.056/stk.r.fits stk.r.fits 0
1235 001 184.9 5.1 r 0 stack /rings.v3/skycell.1235.001/stk.r.fits stk.r.fits 0
"""
#: Nanomaggies of the star in each band, and the seconds of each stack.
FLUX, SECONDS = {"i": 40.0, "r": 20.0, "g": 10.0}, {"i": 900.0, "r": 720.0, "g": 500.0}


def panstarrs(path, params, star=(RA, DEC), listing=LIST, asinh=False, **cards):
    if path.endswith("ps1filenames.py"):
        return 200, listing.encode()
    band = params["red"].split(".")[-2]
    header = sky_header(RA, DEC, int(params["size"]), 0.25, offset=(0.3, -0.2))
    # Zero point 25 + 2.5 log10(EXPTIME): a nanomaggy is 10 counts per second.
    counts = star_plane(header, *star, int(params["size"]), FLUX[band], noise=0.001) * 10 * SECONDS[band]
    extra = {"EXPTIME": SECONDS[band]} | cards
    if asinh:
        extra |= {"BOFFSET": 3.0, "BSOFTEN": 40.0}
        counts = (2.5 * np.log10(np.e) * np.arcsinh((counts - 3.0) / 80.0)).astype("f4")
    return 200, fits_file(counts, header, **{key: value for key, value in extra.items() if value is not None})


@pytest.mark.parametrize("asinh", [False, True])
def test_panstarrs_bands_become_one_calibrated_picture(asinh):
    star = star_position(-9.0, 11.0)
    with answering(lambda path, params: panstarrs(path, params, star, asinh=asinh)) as service:
        cutout = one(PanSTARRSCutouts(base_url=service.url))
        assert [path for path, _ in service.asked] == ["/ps1filenames.py"] + 3 * ["/fitscut.cgi"]
        assert service.asked[0][1] == {
            "ra": "184.957000",
            "dec": "5.121500",
            "filters": "gri",
            "type": "stack",
        }
        assert [params["red"][-6:] for _, params in service.asked[1:]] == ["i.fits", "r.fits", "g.fits"]
        assert one(PanSTARRSCutouts(base_url=service.url)).data == cutout.data
        assert len(service.asked) == 4
    assert cutout.error is None
    planes = fits.getdata(io.BytesIO(cutout.data))
    for plane, band in zip(planes, "irg", strict=True):
        x, y = 120 + round(9.0 / 0.25), 120 + round(11.0 / 0.25)
        near = plane[y - 12 : y + 12, x - 12 : x + 12]
        assert near.sum() == pytest.approx(FLUX[band], rel=0.05)
    for channel in range(3):
        assert np.allclose(
            cutout.wcs.world_to_pixel_values(*star), brightest(cutout.pixels, channel), atol=0.1
        )


@pytest.mark.parametrize(
    "listing", [LIST.splitlines()[0], "\n".join(LIST.splitlines()[:3])], ids=["nothing", "two bands"]
)
def test_where_panstarrs_has_no_stacks_it_is_outside_and_stays_so(listing):
    with answering(lambda path, params: panstarrs(path, params, listing=listing)) as service:
        assert isinstance(one(PanSTARRSCutouts(base_url=service.url), dec=-40).error, OutOfFootprintError)
        assert isinstance(one(PanSTARRSCutouts(base_url=service.url), dec=-40).error, OutOfFootprintError)
        assert len(service.asked) == 1
        one(PanSTARRSCutouts(base_url=service.url, retry_permanent=True), dec=-40)
        assert len(service.asked) == 2


def test_a_plane_without_exposure_time_or_of_another_size_is_no_picture():
    with answering(lambda path, params: panstarrs(path, params, EXPTIME=None)) as service:
        assert "EXPTIME" in str(one(PanSTARRSCutouts(base_url=service.url)).error)

    def small(path, params):
        return panstarrs(path, params | {"size": "100"} if "size" in params else params)

    with answering(small) as service:
        error = one(PanSTARRSCutouts(base_url=service.url)).error
        assert isinstance(error, BadImageError)
        assert "(100, 100) instead of 240 x 240" in str(error)


def test_one_failing_band_is_asked_again_and_the_others_are_not():
    failures = iter([True, False])

    def answers(path, params):
        if params.get("red", "").endswith("r.fits") and next(failures):
            return 503, b""
        return panstarrs(path, params)

    with answering(answers) as service:
        assert one(PanSTARRSCutouts(base_url=service.url)).error is None
        bands = [params["red"][-6] for path, params in service.asked if "red" in params]
        assert bands == ["i", "r", "r", "g"]


# HiPS


def test_hips_requests_are_astroquerys():
    from astropy.coordinates import Angle, Latitude, Longitude
    from astroquery.hips2fits import hips2fits

    expected = hips2fits.query(
        hips="CDS/P/SDSS9/color",
        width=128,
        height=128,
        projection="TAN",
        ra=Longitude(RA * u.deg),
        dec=Latitude(DEC * u.deg),
        fov=Angle(51.2 / 3600 * u.deg),
        format="jpg",
        get_query_payload=True,
    )
    ((url, params),) = HiPSCutouts().payload(RA, DEC)
    assert params.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float):
            assert float(params[key]) == pytest.approx(value)
        else:
            assert params[key] == str(value)
    assert url.startswith("https://alasky.cds.unistra.fr/")


def test_a_hips_of_any_survey():
    recipe = replace(HIPS_RECIPE, survey="CDS/P/PanSTARRS/DR1/color-i-r-g", width=200, data_release="DR1")
    picture = encode(galaxy(2, 200))
    with answering(lambda path, params: (200, picture)) as service:
        source = HiPSCutouts(recipe, base_url=service.url)
        cutout = one(source)
        assert cutout.data == picture
        assert service.asked[0][1]["hips"] == "CDS/P/PanSTARRS/DR1/color-i-r-g"
        assert "PanSTARRS" in source.describe()
    assert np.allclose(cutout.wcs.world_to_pixel_values(RA, DEC), (99.5, 99.5), atol=1e-6)


def test_a_black_hips_picture_is_outside():
    with answering(lambda path, params: (200, encode(np.zeros((128, 128, 3), np.uint8)))) as service:
        assert isinstance(one(HiPSCutouts(base_url=service.url)).error, OutOfFootprintError)


def test_empty_sky_is_a_picture():
    with answering(lambda path, params: (200, encode(sky(1)))) as service:
        assert one(HiPSCutouts(base_url=service.url)).error is None


def test_a_password_of_the_address_is_neither_stored_nor_noted():
    with answering(panstarrs) as service:
        address = service.url.replace("http://", "http://someone:secret@")
        cutout = one(PanSTARRSCutouts(base_url=address))
        assert cutout.error is None
        assert b"secret" not in cutout.data
    kept = [path for path in cache_dir().rglob("*") if path.is_file()]
    assert kept
    assert not any(b"secret" in path.read_bytes() for path in kept)
