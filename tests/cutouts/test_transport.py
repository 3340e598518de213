"""What the way to a service bears: long leaves, outages, redirects, secrets, floods, and terminals."""

import contextlib
import gc
import gzip
import logging
import socket
import ssl
import threading
import time
import warnings

import numpy as np
import pytest
from getjpeg_server import OUTSIDE, Reply, serve
from pictures import encode, galaxy
from survey_services import answering

from hifrac import conf
from hifrac.core.config import cache_dir
from hifrac.core.exceptions import BadImageError, FetchError, HifracWarning, OutOfFootprintError
from hifrac.cutouts import SURVEYS, SkyServerCutouts
from hifrac.cutouts._http import CONNECTIONS
from hifrac.cutouts._positions import position_keys
from hifrac.cutouts._store import BlankError

# The servers here, and Python's own reader of a tunnel's answer, leave sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PICTURE = encode(galaxy())
BLANK = encode(np.full((128, 128, 3), 7, np.uint8))


@pytest.fixture
def own_pictures(quick_service):
    """The configured service, with another picture at each position."""
    looks = [encode(galaxy(seed)) for seed in range(4)]

    def picture(params):
        look = looks[int(float(params["ra"])) % 4]
        comment = f"{params['ra']} {params['dec']}".encode()
        return look[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + look[2:]

    quick_service.pictures = picture
    return quick_service


def fetch(source, ra):
    ra = np.asarray(ra, float)
    return list(source.fetch(ra, np.zeros(len(ra))))


def kinds(cutouts):
    return [None if cutout.error is None else type(cutout.error).__name__ for cutout in cutouts]


# Leaves and outages


def test_long_leaves_among_many_requests_are_pauses_and_no_end(own_pictures, monkeypatch):
    monkeypatch.setattr("hifrac.cutouts._http.LONGEST_PAUSE", 0.05)  # what counts as long
    leave = Reply(503, b"", {"Retry-After": "1"})
    own_pictures.script = {20: leave, 60: leave, 100: leave, 130: leave}
    with conf.set_temp("patience", 5.0):
        assert kinds(fetch(SkyServerCutouts(), np.arange(160) / 10)) == [None] * 160
    times = [request.time for request in own_pictures.requests]
    assert 3 <= sum(np.diff(times) > 0.9) <= 4  # two may come at once


def test_after_a_pause_no_more_requests_come_at_once_than_the_rate_allows(own_pictures):
    own_pictures.script = {8: Reply(429, b"", {"Retry-After": "1"})}
    with conf.set_temp("max_rate", 10.0):
        assert kinds(fetch(SkyServerCutouts(), np.arange(16) / 10)) == [None] * 16
    times = np.array([request.time for request in own_pictures.requests])
    (first,) = np.flatnonzero(np.diff(times) > 0.9) + 1
    assert np.sum(times[first:] < times[first] + 0.25) <= 3


def test_leaves_longer_than_the_patience_end_the_run_only_if_nothing_succeeds_in_between(own_pictures):
    leave = Reply(429, b"", {"Retry-After": "3600"})
    own_pictures.script = dict.fromkeys((10, 50, 90, 130, 170), leave)
    assert kinds(fetch(SkyServerCutouts(), np.arange(200) / 10)) == [None] * 200


def test_a_silent_service_is_waited_for_and_costs_no_row(own_pictures):
    rows = np.arange(120) / 10
    recovery = threading.Timer(1.0, lambda: setattr(own_pictures, "down", False))
    with (
        conf.set_temp("patience", 60.0),
        contextlib.closing(SkyServerCutouts().fetch(rows, np.zeros(120))) as cutouts,
    ):
        found = [next(cutouts) for _ in range(30)]
        own_pictures.down = True
        recovery.start()
        found += list(cutouts)
    assert kinds(found) == [None] * 120


def test_a_service_that_stays_silent_ends_the_run_within_the_patience(own_pictures, monkeypatch):
    monkeypatch.setattr("hifrac.cutouts._http.LONGEST_PAUSE", 0.0)
    own_pictures.down = True
    with conf.set_temp("patience", 0.5):
        began = time.monotonic()
        found = fetch(SkyServerCutouts(), np.arange(400) / 10)
        assert 0.5 <= time.monotonic() - began < 8
    assert kinds(found) == ["FetchError"] * 400
    assert "not asked: the service gave no answer for" in str(found[-1].error)


def fail_names(monkeypatch):
    """Have no network: no name has an address. The list has what was looked up."""
    looked_up = []

    def getaddrinfo(host, *_, **__):
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return looked_up


def test_without_a_network_a_run_ends_after_a_few_failures_of_the_name_service(monkeypatch):
    looked_up = fail_names(monkeypatch)
    with conf.set_temp("retry_backoff", 0.01), conf.set_temp("max_rate", 0):
        found = fetch(SkyServerCutouts(base_url="http://survey.invalid/cutout", store=False), np.arange(300))
    assert kinds(found) == ["FetchError"] * 300
    assert 3 <= len(looked_up) <= 3 * CONNECTIONS
    first = [str(cutout.error) for cutout in found[:CONNECTIONS]]
    assert any("Temporary failure in name resolution" in error for error in first)
    assert str(found[-1].error) == (
        "not asked: the name survey.invalid is not known: is there a network? (http://survey.invalid/cutout)"
    )


def test_names_that_are_lost_during_a_run_are_waited_for(own_pictures, monkeypatch):
    with (
        conf.set_temp("retry_backoff", 0.05),
        contextlib.closing(SkyServerCutouts().fetch(np.arange(30) / 10, np.zeros(30))) as cutouts,
    ):
        found = [next(cutouts) for _ in range(5)]
        with monkeypatch.context() as patch:
            fail_names(patch)
            time.sleep(0.5)
        found += list(cutouts)
    assert kinds(found) == [None] * 30


def test_no_pause_asked_for_is_no_leave_to_ask_without_pauses(own_pictures):
    own_pictures.always = Reply(503, b"", {"Retry-After": "0"})
    with conf.set_temp("retries", 3), conf.set_temp("retry_backoff", 0.1):
        assert kinds(fetch(SkyServerCutouts(), [1])) == ["FetchError"]
    times = [request.time for request in own_pictures.requests]
    assert len(times) == 4
    assert np.all(np.diff(times) >= [0.1, 0.2, 0.4])


@pytest.mark.parametrize("reply", [Reply(reset=True), Reply(503, b"", {"Retry-After": "0"})])
def test_a_service_that_serves_nobody_is_not_asked_without_pauses_whatever_the_settings(own_pictures, reply):
    own_pictures.always = reply
    with conf.set_temp("patience", 1.0), conf.set_temp("retry_backoff", 0.0):
        assert kinds(fetch(SkyServerCutouts(), np.arange(4))) == ["FetchError"] * 4
    assert len(own_pictures.requests) <= CONNECTIONS * (1 + conf.retries + 4)


def test_what_failed_while_others_were_served_is_asked_for_once_more_at_the_end(own_pictures):
    busy = Reply(500, b"busy")
    picture = own_pictures.pictures
    troubled = {"3.000000": 4, "7.000000": 4}  # one more than repeats

    def answers(params):
        if troubled.get(params["ra"], 0):
            troubled[params["ra"]] -= 1
            return b"<html>busy</html>"
        return picture(params)

    own_pictures.pictures = answers
    own_pictures.script = {0: busy, 1: busy}
    assert kinds(fetch(SkyServerCutouts(), np.arange(40))) == [None] * 40
    troubled = {"50.000000": 100}
    assert kinds(fetch(SkyServerCutouts(), [50, 51, 52])) == ["BadImageError", None, None]
    assert troubled["50.000000"] == 100 - 2 * (1 + conf.retries)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_without_a_reason_is_not_believed_at_once_where_others_are_served(own_pictures, status):
    picture, refusals = own_pictures.pictures, [Reply(status, b"no")]
    own_pictures.pictures = lambda params: (
        refusals.pop() if params["ra"] == "3.000000" and refusals else picture(params)
    )
    assert kinds(fetch(SkyServerCutouts(), range(10))) == [None] * 10
    assert len(own_pictures.requests) == 11


def test_a_service_that_serves_nobody_is_probed_with_growing_pauses(own_pictures):
    own_pictures.always = Reply(503, b"down")
    with conf.set_temp("patience", 1.1):
        assert kinds(fetch(SkyServerCutouts(), [1])) == ["FetchError"]
    times = [request.time for request in own_pictures.requests]
    pauses = np.diff(times)[conf.retries :]
    assert len(pauses) >= 2
    assert np.all(pauses[1:] > 1.5 * pauses[:-1])


def test_a_single_blank_picture_is_not_permanent(own_pictures):
    picture, blanks = own_pictures.pictures, [True]
    own_pictures.pictures = lambda params: (
        BLANK if params["ra"] == "5.000000" and blanks and blanks.pop() else picture(params)
    )
    assert kinds(fetch(SkyServerCutouts(), range(10))) == [None] * 10
    own_pictures.pictures = lambda params: BLANK
    with conf.set_temp("offline", False):
        assert kinds(fetch(SkyServerCutouts(), [20])) == ["OutOfFootprintError"]
    before = len(own_pictures.requests)
    own_pictures.pictures = picture
    assert kinds(fetch(SkyServerCutouts(), [20])) == ["OutOfFootprintError"]
    assert len(own_pictures.requests) == before
    assert kinds(fetch(SkyServerCutouts(retry_permanent=True), [20])) == [None]


def test_a_blank_picture_before_an_interruption_is_asked_for_again(own_pictures):
    with SkyServerCutouts()._store() as store:
        store.record(int(position_keys(np.zeros(1), np.zeros(1))[0]), BlankError("once"), [])
    assert kinds(fetch(SkyServerCutouts(), [0.0])) == [None]


def test_what_the_service_says_is_permanent_at_once(own_pictures):
    own_pictures.always = OUTSIDE
    assert kinds(fetch(SkyServerCutouts(), [1])) == ["OutOfFootprintError"]
    assert len(own_pictures.requests) == 1


# Redirects


@contextlib.contextmanager
def tls_service(tmp_path, monkeypatch):
    """The same service on the same port by http, which redirects, and by https."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the server leaves sockets to the collector
        with serve(lambda params: PICTURE) as server:
            server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
            yield server
        gc.collect()


def test_from_http_to_https_on_one_host_is_no_endless_redirect(quick_service, tmp_path, monkeypatch):
    # One host and port: a proxy in front tells http from https by the first byte.
    with (
        tls_service(tmp_path, monkeypatch) as secure,
        _first_byte(quick_service.httpd.server_address, secure.httpd.server_address) as port,
    ):
        quick_service.always = Reply(302, b"", {"Location": f"https://127.0.0.1:{port}/x?ra=1&dec=0"})
        (cutout,) = fetch(SkyServerCutouts(base_url=f"http://127.0.0.1:{port}/x"), [1])
        assert cutout.error is None


@contextlib.contextmanager
def _first_byte(plain, secure):
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        source.close()
        sink.close()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                first = client.recv(1, socket.MSG_PEEK)
                server = socket.create_connection(secure if first == b"\x16" else plain)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()


def test_after_a_redirect_repeats_go_to_the_original_address(quick_service):
    with serve({}) as mirror, serve(lambda params: PICTURE) as good:
        mirror.always = Reply(503, b"gone")
        quick_service.script = {0: Reply(302, b"", {"Location": mirror.url})}
        quick_service.always = Reply(302, b"", {"Location": good.url + "?ra=1&dec=0"})
        assert kinds(fetch(SkyServerCutouts(), [1])) == [None]
        assert len(mirror.requests) == 1


def test_from_https_to_http_on_another_host_is_refused(quick_service, tmp_path, monkeypatch):
    with tls_service(tmp_path, monkeypatch) as secure:
        port = secure.httpd.server_address[1]
        secure.always = Reply(302, b"", {"Location": quick_service.url})
        (cutout,) = fetch(SkyServerCutouts(base_url=f"https://localhost:{port}/x"), [1])
    assert isinstance(cutout.error, FetchError)
    assert "less safe" in str(cutout.error)
    assert quick_service.requests == []


# Secrets


@pytest.mark.parametrize(
    "reply",
    [
        Reply(),
        Reply(500, b"no"),
        Reply(404, b"no"),
        Reply(200, b"<html>no</html>"),
        Reply(reset=True),
        Reply(200, b"half", announced=400),
        Reply(302, b"", {"Location": "/again?token=letmein"}),
        Reply(429, b"", {"Retry-After": "3600"}),
    ],
    ids=["picture", "500", "404", "html", "reset", "cut", "redirect", "leave"],
)
def test_secrets_of_an_address_are_sent_and_nowhere_shown(quick_service, caplog, capsys, reply):
    quick_service.always = reply
    caplog.set_level(logging.DEBUG, "hifrac")
    address = quick_service.address.replace("//", "//someone:hunter2@") + "/x?token=letmein"
    source = SkyServerCutouts(base_url=address)
    found = fetch(source, [1, 2])
    sent = quick_service.requests[0]
    assert sent.params["token"] == "letmein"
    assert sent.headers["Authorization"].startswith("Basic ")
    said = [source.describe(), repr(source), caplog.text, *capsys.readouterr()]
    said += [f"{cutout.error} {getattr(cutout.error, 'url', '')}" for cutout in found if cutout.error]
    said += [
        str(path) + path.read_bytes().decode("latin-1") for path in cache_dir().rglob("*") if path.is_file()
    ]
    for secret in ("someone", "hunter2", "letmein"):
        assert not [text for text in said if secret in text]


def test_an_address_that_nobody_answers_keeps_its_secrets(quick_service):
    source = SkyServerCutouts(base_url="http://someone:hunter2@127.0.0.1:9/x?token=letmein")
    (cutout,) = fetch(source, [1])
    assert "Connection refused" in str(cutout.error)
    assert not [secret for secret in ("someone", "hunter2", "letmein") if secret in str(cutout.error)]


@pytest.mark.parametrize("kind", SURVEYS.values())
def test_a_fragment_would_drop_the_position_and_is_refused(kind):
    with pytest.raises(ValueError, match=r"^base_url must not have a fragment"):
        kind(base_url="http://host/getjpeg?x=1#top")
    with conf.set_temp(kind.url_item, "http://host/getjpeg#"), pytest.raises(ValueError, match="fragment"):
        kind().describe()


def test_one_picture_for_many_positions_is_warned_of_once(quick_service):
    quick_service.pictures = lambda params: PICTURE
    with pytest.warns(HifracWarning, match=r"^20 positions got one and the same picture") as caught:
        assert kinds(fetch(SkyServerCutouts(), np.arange(60) / 10)) == [None] * 60
    assert len(caught) == 1
    with pytest.warns(HifracWarning, match=r"^20 positions got one and the same picture"):
        list(SkyServerCutouts().ensure(np.arange(100, 130.0), np.zeros(30)))


def test_different_pictures_are_not_warned_of(own_pictures):
    fetch(SkyServerCutouts(), np.arange(60) / 10)


# Floods


def test_an_answer_longer_than_any_picture_is_broken_off(quick_service):
    quick_service.always = Reply(200, PICTURE + bytes(2**24))
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert isinstance(cutout.error, BadImageError)
    assert "longer than" in str(cutout.error)


def test_a_packed_picture_is_unpacked_and_a_bomb_is_not(quick_service):
    quick_service.always = Reply(200, gzip.compress(PICTURE), {"Content-Encoding": "gzip"})
    assert fetch(SkyServerCutouts(), [1])[0].data == PICTURE
    bomb = gzip.compress(bytes(2**26))
    quick_service.always = Reply(200, bomb, {"Content-Encoding": "gzip"})
    (cutout,) = fetch(SkyServerCutouts(), [2])
    assert isinstance(cutout.error, BadImageError)
    assert "longer than" in str(cutout.error)
    quick_service.always = Reply(200, gzip.compress(PICTURE)[:500], {"Content-Encoding": "gzip"})
    assert isinstance(fetch(SkyServerCutouts(), [3])[0].error, BadImageError)


def test_failed_answers_are_not_kept_in_memory(quick_service):
    import tracemalloc

    quick_service.always = Reply(200, b"<html>" + bytes(2**20))
    with conf.set_temp("retries", 4):
        fetch(SkyServerCutouts(), [100])
        tracemalloc.start()
        found = fetch(SkyServerCutouts(), range(12))
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert kinds(found) == ["BadImageError"] * 12
    assert kept < 2**21


# Proxies and terminals


def test_a_proxy_that_drips_is_broken_off(quick_service, monkeypatch):
    listening, done = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client, contextlib.suppress(OSError):
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 200 Connection established\r\nX-Slow: ")
                    while not done.wait(0.05):
                        client.sendall(b"a")

    threading.Thread(target=drip, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listening.getsockname()[1]}")
    monkeypatch.setenv("NO_PROXY", "")
    try:
        with conf.set_temp("timeout", 0.5), conf.set_temp("retries", 0):
            began = time.monotonic()
            (cutout,) = fetch(SkyServerCutouts(base_url="https://example.invalid/x"), [1])
            assert time.monotonic() - began < 5
    finally:
        done.set()
        listening.close()
    assert isinstance(cutout.error, FetchError)
    assert "timed out" in str(cutout.error)


@pytest.mark.parametrize("kind", SURVEYS.values())
@pytest.mark.parametrize(
    "body",
    [b"<html>\x1b[2J\x07boo</html>", b"\x1b]0;title\x07", b'{"title": "\\u001b[2J", "description": "x"}'],
)
@pytest.mark.parametrize("status", [200, 404])
def test_control_characters_of_a_service_reach_no_terminal(kind, body, status):
    with (
        answering(lambda path, params: (status, body)) as service,
        conf.set_temp("retries", 0),
        conf.set_temp("patience", 0),
    ):
        (cutout,) = kind(base_url=service.url).fetch(np.zeros(1), np.zeros(1))
    assert str(cutout.error).isprintable()


def test_a_process_has_few_connections_open(own_pictures):
    assert len({request.headers["User-Agent"] for request in own_pictures.requests}) <= 1
    fetch(SkyServerCutouts(), np.arange(80) / 10)
    assert CONNECTIONS == 4
    assert own_pictures.most_connections <= CONNECTIONS


def test_errors_of_rows_have_no_traceback(quick_service):
    quick_service.always = Reply(404, b"")
    (cutout,) = fetch(SkyServerCutouts(), [1])
    assert isinstance(cutout.error, FetchError)
    assert not isinstance(cutout.error, OutOfFootprintError)
    assert cutout.error.__traceback__ is None
