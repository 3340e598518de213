import itertools
import time

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from getjpeg_server import OUTSIDE, Reply
from pictures import encode, galaxy, printed
from stores import change_picture, stored_pictures

import hifrac
from hifrac import conf
from hifrac.core.exceptions import (
    BadCoordinateError,
    BadImageError,
    FetchError,
    HifracWarning,
    OutOfFootprintError,
)
from hifrac.cutouts import CutoutRecipe, SkyServerCutouts

FACTS = {
    "survey": "sdss",
    "data_release": "DR16",
    "service": "getjpeg",
    "bands": ("i", "r", "g"),
    "pixel_scale": 0.4,
    "width": 128,
}


def fetch(source, ra, dec=None):
    ra = np.asarray(ra, float)
    return list(source.fetch(ra, np.zeros(len(ra)) if dec is None else np.asarray(dec, float)))


def stored_files():
    return list(stored_pictures())


# Requests


def test_payload_shows_the_requests_without_sending_them():
    (url, params), (_, second) = SkyServerCutouts().payload([184.957, 359.99999999], [5.1215, -1.0])
    assert url == "https://skyserver.sdss.org/dr16/SkyServerWS/ImgCutout/getjpeg"
    assert params == {"ra": "184.957000", "dec": "5.121500", "scale": "0.4", "width": "128", "height": "128"}
    assert (second["ra"], second["dec"]) == ("0.000000", "-1.000000")


def test_payload_of_coordinates_in_any_frame():
    coords = SkyCoord(184.957, 5.1215, unit="deg")
    assert SkyServerCutouts().payload(coords.galactic) == SkyServerCutouts().payload(184.957, 5.1215)


def test_payload_refuses_what_is_no_position():
    for ra, dec in [(np.nan, 0), (0, 91), (400, 0), (np.inf, 0)]:
        with pytest.raises(BadCoordinateError, match=r"^ra and dec must be finite and on the sphere"):
            SkyServerCutouts().payload(ra, dec)
    with pytest.raises(TypeError, match=r"^dec must be given"):
        SkyServerCutouts().payload(1.0)


def test_configuration_is_read_when_called_and_arguments_win():
    plain, fixed = (
        SkyServerCutouts(),
        SkyServerCutouts(data_release="dr12", base_url="http://mirror/{data_release}/x"),
    )
    with (
        conf.set_temp("skyserver_data_release", "DR17"),
        conf.set_temp("skyserver_url", "http://a/{data_release}"),
    ):
        assert plain.url == "http://a/dr17"
        assert plain.recipe.data_release == "DR17"
        assert fixed.url == "http://mirror/dr12/x"
        assert fixed.recipe.data_release == "DR12"
    assert plain.recipe == CutoutRecipe(**FACTS)


def test_nothing_secret_is_described():
    source = SkyServerCutouts(base_url="http://user:secret@mirror:8080/getjpeg?token=secret")
    assert source.describe() == "SDSS SkyServer getjpeg DR16 (http://mirror:8080/getjpeg)"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"recipe": "dr16"}, TypeError, "^recipe must be a CutoutRecipe"),
        (
            {"recipe": CutoutRecipe(**FACTS | {"survey": "legacy"})},
            ValueError,
            "^recipe must be of sdss getjpeg",
        ),
        (
            {"recipe": CutoutRecipe(**FACTS | {"width": 32})},
            ValueError,
            "^recipe must have a width of 64 to 2048",
        ),
        (
            {"recipe": CutoutRecipe(**FACTS | {"pixel_scale": 99})},
            ValueError,
            "^recipe must have a pixel_scale",
        ),
        ({"data_release": "16"}, ValueError, '^data_release must be like "DR16"'),
        ({"store": 1}, TypeError, "^store must be a bool"),
    ],
)
def test_impossible_sources_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        SkyServerCutouts(**options)


def test_an_impossible_setting_is_named():
    with (
        conf.set_temp("skyserver_data_release", "latest"),
        pytest.raises(ValueError, match=r"^conf\.skyserver_data_release must be like"),
    ):
        SkyServerCutouts().payload(1.0, 2.0)


# Answers


def test_pictures_come_in_row_order(quick_service):
    for number in range(3):
        quick_service.script[number] = Reply(delay=0.1)
    rows = [5, 1, 7, 1, 0, 3, 2, 6, 4]
    found = fetch(SkyServerCutouts(store=False), rows)
    assert [cutout.data for cutout in found] == [quick_service.pictures[float(ra), 0.0] for ra in rows]


def test_requests_say_who_asks(quick_service):
    fetch(SkyServerCutouts(), [3])
    (request,) = quick_service.requests
    assert request.headers["User-Agent"] == f"hifrac/{hifrac.__version__}"
    assert request.path == "/dr16/SkyServerWS/ImgCutout/getjpeg"
    assert request.params == SkyServerCutouts().payload(3, 0)[0][1]


def test_one_bad_row_does_not_stop_the_others(quick_service):
    found = fetch(SkyServerCutouts(), [1, np.nan, 2, 100, 3], [0, 0, 0, 0, 0])
    assert [cutout.data is not None for cutout in found] == [True, False, True, False, True]
    assert isinstance(found[1].error, BadCoordinateError)
    assert isinstance(found[3].error, OutOfFootprintError)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_passing_trouble_is_overcome(quick_service, status):
    quick_service.script[0] = quick_service.script[1] = Reply(status, b"busy")
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert cutout.data == quick_service.pictures[1.0, 0.0]
    assert len(quick_service.requests) == 3


def test_lasting_trouble_is_told(quick_service):
    quick_service.always = Reply(503, b"down", headers={"Retry-After": "0"})
    (cutout,) = fetch(SkyServerCutouts(), [1])
    error = cutout.error
    assert isinstance(error, FetchError)
    assert (error.status, error.retry_after) == (503, 0.0)
    assert error.url.startswith(quick_service.address)
    assert "ra=1.000000" in error.url
    assert len(quick_service.requests) == 1 + conf.retries


def test_retry_after_is_honoured(quick_service):
    quick_service.script[0] = Reply(429, b"", headers={"Retry-After": "1"})
    (cutout,) = fetch(SkyServerCutouts(), [1])
    first, second = quick_service.requests
    assert cutout.data
    assert second.time - first.time > 0.95


def test_a_service_that_asks_for_an_hour_is_left_alone(quick_service):
    quick_service.always = Reply(503, b"", headers={"Retry-After": "3600"})
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert (cutout.error.status, cutout.error.retry_after) == (503, 3600.0)
    assert len(quick_service.requests) == 1


@pytest.mark.parametrize("header", ["soon", "", "-1"])
def test_an_odd_retry_after_does_no_harm(quick_service, header):
    quick_service.script[0] = Reply(503, b"", headers={"Retry-After": header})
    assert fetch(SkyServerCutouts(), [1])[0].data


def test_repeats_wait_longer_and_longer(quick_service):
    quick_service.always = Reply(500, b"")
    with conf.set_temp("retry_backoff", 0.1):
        fetch(SkyServerCutouts(), [1])
    times = [request.time for request in quick_service.requests]
    waits = np.diff(times)
    assert waits[0] >= 0.1
    assert waits[1] >= 0.2


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_refusals_are_not_repeated(quick_service, status):
    quick_service.always = Reply(status, b"no")
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert isinstance(cutout.error, FetchError)
    assert cutout.error.status == status
    assert len(quick_service.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        OUTSIDE,
        Reply(404, b"Requested (ra, dec) is outside the SDSS footprint. "),
        Reply(200, encode(np.zeros((128, 128, 3), np.uint8))),
        Reply(200, encode(printed(text_at=(-20, 24)))),
    ],
    ids=["reason", "body", "black", "printed"],
)
def test_outside_the_footprint(quick_service, reply):
    quick_service.always = reply
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert isinstance(cutout.error, OutOfFootprintError)
    assert not stored_files()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(200, b"<html><body>Down for maintenance"), "HTML or XML, beginning '<html><body>Down"),
        (Reply(200, b""), "the file is empty"),
        (Reply(200, encode(galaxy())[:900]), "cut-off JPEG"),
        (Reply(200, encode(galaxy(width=64))), "64 x 64 pixels instead of 128 x 128"),
        (Reply(200, encode(galaxy()), announced=10**6), "the service's answer was cut off"),
    ],
    ids=["html", "empty", "cut", "size", "length"],
)
def test_wrong_contents_are_bad_images_and_never_stored(quick_service, reply, message):
    quick_service.always = reply
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert isinstance(cutout.error, BadImageError)
    assert message in str(cutout.error)
    assert quick_service.address in str(cutout.error)
    assert not stored_files()


def test_an_answer_cut_off_once_is_asked_for_again(quick_service):
    quick_service.script[0] = Reply(200, encode(galaxy(1))[:900], announced=2000)
    assert fetch(SkyServerCutouts(), [1])[0].data == quick_service.pictures[1.0, 0.0]


def test_a_broken_connection_is_tried_again(quick_service):
    quick_service.script[0] = Reply(reset=True)
    assert fetch(SkyServerCutouts(), [1])[0].data
    quick_service.script.clear()
    quick_service.always = Reply(reset=True)
    (cutout,) = fetch(SkyServerCutouts(), [2])
    assert isinstance(cutout.error, FetchError)
    assert cutout.error.status is None
    assert "ra=2.000000" in cutout.error.url


def test_silence_ends_with_the_timeout(quick_service):
    quick_service.always = Reply(hang=True)
    source = SkyServerCutouts()
    with conf.set_temp("timeout", 0.2), conf.set_temp("retries", 0):
        start = time.monotonic()
        (cutout,) = fetch(source, [1])
    assert 0.15 < time.monotonic() - start < 10
    assert isinstance(cutout.error, FetchError)
    assert "timed out" in str(cutout.error)


# The latter is an address by its form alone.
@pytest.mark.parametrize("url", ["http://127.0.0.1:9/getjpeg", "http://.a/getjpeg"])
def test_no_service_there(quick_service, url):
    (cutout,) = fetch(SkyServerCutouts(base_url=url), [1])
    assert isinstance(cutout.error, FetchError)
    assert cutout.error.url.startswith(url)
    assert cutout.error.status is None


@pytest.mark.parametrize("url", ["http://[::bad/", "ftp://a/b"])
def test_a_redirect_to_where_nothing_can_be_asked_is_an_error_of_its_row(quick_service, url):
    quick_service.always = Reply(302, b"", headers={"Location": url})
    first, second = fetch(SkyServerCutouts(), [1, 2])
    assert isinstance(first.error, FetchError)
    assert isinstance(second.error, FetchError)
    assert "redirects without end" not in str(first.error)


def test_endless_redirects(quick_service):
    quick_service.always = Reply(302, b"", headers={"Location": "/again"})
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert isinstance(cutout.error, FetchError)
    assert cutout.error.status == 302
    assert "redirects without end" in str(cutout.error)
    assert len(quick_service.requests) < 10


def test_the_rate_is_limited_over_all_threads_and_calls(quick_service):
    source = SkyServerCutouts(store=False)
    start = time.monotonic()
    with conf.set_temp("max_rate", 40.0):
        fetch(source, [1, 2, 3])
        fetch(source, [4, 5])
    # The fifth may go out four intervals after the first.
    assert max(request.time for request in quick_service.requests) - start >= 4 / 40


# The generator


def test_memory_does_not_grow_with_the_rows(quick_service):
    rows = 2000
    source = SkyServerCutouts(store=False)
    cutouts = source.fetch(np.ones(rows), np.zeros(rows))
    assert all(cutout.data for cutout in itertools.islice(cutouts, 10))
    time.sleep(0.1)
    assert len(quick_service.requests) <= 10 + 16
    cutouts.close()


def test_nothing_is_sent_before_the_first_picture_is_asked_for(quick_service):
    SkyServerCutouts().fetch(np.ones(3), np.zeros(3))
    time.sleep(0.05)
    assert not quick_service.requests


def test_closing_early_does_not_wait(quick_service):
    quick_service.always = Reply(503, b"", headers={"Retry-After": "30"})
    quick_service.script.update({number: Reply() for number in range(4)})
    cutouts = SkyServerCutouts().fetch(np.arange(8.0), np.zeros(8))
    next(cutouts)
    time.sleep(0.1)
    start = time.monotonic()
    cutouts.close()
    assert time.monotonic() - start < 5


def test_closing_early_does_not_wait_for_an_answer(quick_service):
    picture = encode(galaxy())
    quick_service.pictures = lambda params: picture if params["ra"] == "0.000000" else Reply(hang=True)
    with conf.set_temp("timeout", 30.0):
        cutouts = SkyServerCutouts().fetch(np.arange(8.0), np.zeros(8))
        next(cutouts)
        time.sleep(0.2)
        start = time.monotonic()
        cutouts.close()
    assert time.monotonic() - start < 5


def test_rows_must_agree():
    with pytest.raises(ValueError, match=r"^ra and dec must have the same length"):
        SkyServerCutouts().fetch(np.ones(2), np.ones(3))
    assert fetch(SkyServerCutouts(), []) == []


# The store


def test_a_stored_picture_is_not_asked_for_again(quick_service):
    first = fetch(SkyServerCutouts(), [1, 2, 1.0000001])
    assert len(quick_service.requests) >= 2
    seen = len(quick_service.requests)
    again = fetch(SkyServerCutouts(), [1, 2, 361 - 360])
    assert [cutout.data for cutout in again] == [cutout.data for cutout in first]
    assert len(quick_service.requests) == seen
    assert len(stored_files()) == 2


def test_without_store_nothing_is_kept(quick_service):
    fetch(SkyServerCutouts(store=False), [1])
    assert not stored_files()


def test_releases_have_stores_of_their_own_and_mirrors_have_not(quick_service):
    fetch(SkyServerCutouts(base_url=quick_service.address + "/mirror"), [1])
    assert fetch(SkyServerCutouts(offline=True), [1])[0].data == quick_service.pictures[1.0, 0.0]
    fetch(SkyServerCutouts(), [1])
    fetch(SkyServerCutouts(data_release="DR17"), [1])
    assert [request.path.split("/")[1] for request in quick_service.requests] == ["mirror", "dr17"]


def test_a_damaged_stored_picture_is_fetched_again(quick_service):
    fetch(SkyServerCutouts(), [1])
    ((key, data),) = stored_pictures().items()
    change_picture(key, data[:100])
    assert fetch(SkyServerCutouts(), [1])[0].data == quick_service.pictures[1.0, 0.0]
    assert stored_pictures() == {key: quick_service.pictures[1.0, 0.0]}


def test_a_store_that_cannot_be_written_loses_no_picture_and_warns_once(quick_service, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HIFRAC_CACHE_DIR", str(tmp_path / "file" / "cache"))
    source = SkyServerCutouts()
    with pytest.warns(HifracWarning, match="pictures cannot be kept in") as caught:
        found = fetch(source, range(8))
    assert len(caught) == 1
    fetch(source, range(8))  # a second warning would be an error
    assert all(cutout.data for cutout in found)


def test_repeats_obey_the_rate_limit_too_and_sources_share_it(quick_service):
    quick_service.always = Reply(503, b"down")
    with conf.set_temp("max_rate", 25.0), conf.set_temp("retries", 3), conf.set_temp("retry_backoff", 0.0):
        for ra in (0.0, 1.0):
            list(SkyServerCutouts(store=False).fetch([ra], [0.0]))
    times = [request.time for request in quick_service.requests]
    assert len(times) == 2 * 4
    assert np.diff(times).sum() >= (len(times) - 1) / 25.0 - 0.04


def test_cut_off_answers_and_refusals_share_one_number_of_repeats(quick_service):
    cut_off = Reply(200, b"half", announced=400)
    quick_service.script = {k: cut_off if k % 3 == 2 else Reply(503, b"down") for k in range(60)}
    with conf.set_temp("retries", 4), conf.set_temp("retry_backoff", 0.0):
        (cutout,) = SkyServerCutouts(store=False).fetch([0.0], [0.0])
    assert cutout.error is not None
    assert len(quick_service.requests) <= 2 * 4 + 1
