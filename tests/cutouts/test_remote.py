"""What all services share: order, duplicates, offline, time limits, politeness, trouble with the store."""

import contextlib
import http.server
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from getjpeg_server import OUTSIDE, Reply, serve
from pictures import encode, galaxy
from stores import stored_pictures

from hifrac import conf
from hifrac.core.config import cache_dir
from hifrac.core.exceptions import BadImageError, FetchError, HifracWarning, OutOfFootprintError
from hifrac.cutouts import LocalCutouts, SkyServerCutouts, download
from hifrac.cutouts._http import CONNECTIONS
from hifrac.cutouts._turns import Turns

PICTURE = encode(galaxy())


def fetch(source, ra, dec=None):
    ra = np.asarray(ra, float)
    return list(source.fetch(ra, np.zeros(len(ra)) if dec is None else np.asarray(dec, float)))


def kinds(cutouts):
    return [None if cutout.error is None else type(cutout.error).__name__ for cutout in cutouts]


# Positions


def test_the_edges_of_the_sphere_are_served_and_what_lies_beyond_is_its_own_rows_error(quick_service):
    quick_service.pictures = lambda params: PICTURE
    ra = [359.9999, -0.0001, 0.0, 360.0, 10.0, 10.0, np.nan, 5.0]
    dec = [0.0, 0.0, 90.0, -90.0, 90.000001, -91.0, 0.0, np.inf]
    assert kinds(fetch(SkyServerCutouts(), ra, dec)) == [None] * 4 + ["BadCoordinateError"] * 4
    assert {(request.params["ra"], request.params["dec"]) for request in quick_service.requests} == {
        ("359.999900", "0.000000"),
        ("0.000000", "90.000000"),
        ("0.000000", "-90.000000"),
    }


def test_many_coordinates_at_once_in_their_order(quick_service):
    looks = [encode(galaxy(seed)) for seed in range(7)]
    # The same bytes at more than twenty positions would be warned of.
    files = [looks[row % 7] + bytes([row % 256, row // 256]) for row in range(500)]
    quick_service.pictures = lambda params: files[round(float(params["ra"]) * 10)]
    rows = np.random.default_rng(0).permutation(3633) % 500
    source = SkyServerCutouts()
    assert len(source.payload(rows / 10, np.zeros(3633))) == 3633
    found = fetch(source, rows / 10)
    assert [cutout.data for cutout in found] == [files[row] for row in rows]
    # One position is asked for once, however many rows have it.
    assert len(quick_service.requests) == 500


def test_every_cutout_knows_the_sky(quick_service):
    (cutout,) = fetch(SkyServerCutouts(), [3.0])
    assert np.allclose(cutout.wcs.pixel_to_world_values(63.5, 63.5), (3.0, 0.0), atol=1e-9)
    east = cutout.wcs.pixel_to_world_values(0, 63.5)[0]
    north = cutout.wcs.pixel_to_world_values(63.5, 0)[1]
    assert np.allclose(((east - 3.0) * 3600, north * 3600), 63.5 * 0.4, atol=1e-5)


def test_local_pictures_know_the_sky_where_their_recipe_is_known(tmp_path):
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    recipe = SkyServerCutouts().recipe
    for given in (None, recipe):
        (cutout,) = LocalCutouts(tmp_path, recipe=given).fetch([3.0], [0.0], ["a"])
        assert (cutout.wcs is None) == (given is None)


# The store


def test_offline_gives_what_is_stored_and_asks_nothing(quick_service):
    quick_service.script[2] = OUTSIDE
    fetch(SkyServerCutouts(), [1, 2])
    fetch(SkyServerCutouts(), [5])
    del quick_service.requests[:]
    with conf.set_temp("offline", True):
        assert kinds(fetch(SkyServerCutouts(), [1, 5, 7])) == [None, "OutOfFootprintError", "FetchError"]
    assert list(SkyServerCutouts(offline=True).ensure(np.array([2.0]), np.zeros(1))) == [None]
    assert quick_service.requests == []


def test_only_permanent_outcomes_are_remembered_and_even_they_on_request(quick_service):
    quick_service.always = OUTSIDE
    assert kinds(fetch(SkyServerCutouts(), [1])) == ["OutOfFootprintError"]
    quick_service.always = Reply(404, b"")
    assert kinds(fetch(SkyServerCutouts(), [2])) == ["FetchError"]
    quick_service.always = None
    assert kinds(fetch(SkyServerCutouts(), [1, 2])) == ["OutOfFootprintError", None]
    assert kinds(fetch(SkyServerCutouts(retry_permanent=True), [1])) == [None]


def test_ensure_fills_the_store_without_giving_pictures(quick_service):
    outcomes = list(SkyServerCutouts().ensure(np.array([1.0, 200.0, 1.0]), np.zeros(3)))
    assert outcomes[0] is None
    assert isinstance(outcomes[1], OutOfFootprintError)
    assert len(stored_pictures()) == 1
    with pytest.raises(ValueError, match=r"^store must not be False"):
        SkyServerCutouts(store=False).ensure(np.zeros(1), np.zeros(1))


def test_a_store_that_cannot_be_written_stops_a_download_and_only_warns_a_reader(quick_service):
    cache_dir().write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"^pictures cannot be kept in"):
        list(SkyServerCutouts().ensure(np.array([1.0]), np.zeros(1)))
    with pytest.warns(HifracWarning, match=r"^pictures cannot be kept in"):
        assert kinds(fetch(SkyServerCutouts(), [1, 2])) == [None, None]


def test_a_full_disk_is_said_and_nothing_is_half_written(quick_service, tmp_path):
    # A limit of the size of a file is a full disk to the one who writes.
    pytest.importorskip("resource")
    script = """
        import resource, signal, sys
        import numpy as np
        from hifrac import SkyServerCutouts, conf
        conf.max_rate = 0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        source = SkyServerCutouts(base_url=sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            list(source.ensure(np.arange(3.0), np.zeros(3)))
        except OSError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), quick_service.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("pictures cannot be kept in")
    assert not stored_pictures()


def test_the_report_of_a_download_has_every_row(quick_service):
    from astropy.table import Table

    table = Table({"name": list("abc"), "ra": [1.0, np.nan, 200.0], "dec": [0.0, 0.0, 0.0]})
    table["ra"].unit = table["dec"].unit = "deg"
    seen = []
    report = download(table, SkyServerCutouts(), progress=seen.append)
    assert report["flags"].tolist() == [0, 1, 2]
    assert report["name"].tolist() == list("abc")
    assert len(seen) == 3
    with pytest.raises(TypeError, match=r"^source must be a survey service"):
        download(table, object())
    with pytest.raises(ValueError, match=r"^data has a column flags already"):
        download(report, SkyServerCutouts())


def test_an_answer_that_nobody_foresaw_stops_its_row_only(quick_service):
    class Odd(SkyServerCutouts):
        def _obtain(self, get, recipe, ra, dec):
            return {"1.000000": super()._obtain(get, recipe, ra, dec)}[ra]

    found = fetch(Odd(), [1, 2])
    assert kinds(found) == [None, "FetchError"]
    assert "KeyError" in str(found[1].error)


# Time


@contextlib.contextmanager
def dripping(start: bytes):
    """A server that sends a few bytes, and then one every twentieth of a second."""
    done = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(OSError):
                self.wfile.write(start)
                while not done.wait(0.05):
                    self.wfile.write(b"a")
                    self.wfile.flush()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/x"
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Header: "]
)
def test_an_answer_that_drips_ends_with_the_timeout(quick_service, start):
    with dripping(start) as url, conf.set_temp("timeout", 0.4), conf.set_temp("retries", 1):
        began = time.monotonic()
        (cutout,) = fetch(SkyServerCutouts(base_url=url), [1])
        assert time.monotonic() - began < 8
    assert isinstance(cutout.error, FetchError)
    assert "timed out" in str(cutout.error)


def test_one_cutout_takes_no_longer_than_its_limit_with_all_repeats(quick_service):
    quick_service.always = Reply(hang=True)
    with conf.set_temp("timeout", 0.3), conf.set_temp("cutout_timeout", 0.7), conf.set_temp("retries", 50):
        began = time.monotonic()
        (cutout,) = fetch(SkyServerCutouts(), [1])
        assert time.monotonic() - began < 8
    assert isinstance(cutout.error, FetchError)
    assert 2 <= len(quick_service.requests) <= 4


def test_contents_that_are_no_picture_are_asked_for_again(quick_service):
    quick_service.script = {0: Reply(200, b"<html>busy</html>"), 1: Reply(200, PICTURE[:900])}
    assert kinds(fetch(SkyServerCutouts(), [1])) == [None]
    quick_service.always = Reply(200, b"<html>busy</html>")
    quick_service.script = {}
    (cutout,) = fetch(SkyServerCutouts(), [2])
    assert isinstance(cutout.error, BadImageError)
    assert len(quick_service.requests) == 3 + 1 + conf.retries


def test_a_host_that_wants_to_be_left_alone_is_left_alone(quick_service):
    quick_service.always = Reply(429, b"", {"Retry-After": "3600"})
    found = fetch(SkyServerCutouts(), range(40))
    assert kinds(found) == ["FetchError"] * 40
    assert {cutout.error.retry_after for cutout in found} == {3600.0}
    assert len(quick_service.requests) <= 3 + CONNECTIONS


def test_redirects_are_followed_and_counted(quick_service):
    with serve({}) as other:
        other.always = Reply(
            302, b"", {"Location": quick_service.url.replace("{data_release}", "dr16") + "?ra=1&dec=0"}
        )
        assert kinds(fetch(SkyServerCutouts(base_url=other.url), [1])) == [None]
        other.always = Reply(302, b"", {"Location": other.url})
        (cutout,) = fetch(SkyServerCutouts(base_url=other.url), [2])
        assert "redirects without end" in str(cutout.error)


# Politeness


def wait_for_turn(turns, rate):
    time.sleep(turns.reserve(rate))


def test_turns_are_spaced_for_all_threads(tmp_path):
    turns, times, began = Turns("host", tmp_path / "turns.sqlite"), [], time.monotonic()

    def work():
        for _ in range(5):
            wait_for_turn(turns, 50)
            times.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 20
    assert max(times) - began >= 19 / 50


def test_two_processes_share_the_turns_and_pauses_of_a_host(tmp_path):
    # Each stands for a process: they have nothing in common but the file.
    one, two = (Turns("host", tmp_path / "turns.sqlite") for _ in range(2))
    began = time.monotonic()
    for _ in range(5):
        wait_for_turn(one, 25)
        wait_for_turn(two, 25)
    assert time.monotonic() - began >= 9 / 25
    one.pause(30)
    assert 29 < two.paused() <= 30
    assert two.reserve(25) > 29
    assert two.reserve(0) > 29
    assert Turns("other", tmp_path / "turns.sqlite").reserve(25) == 0


def test_all_that_begin_at_once_share_the_turns(tmp_path):
    def reserve(turns, start):
        start.wait()
        return turns.reserve(0.1)

    with ThreadPoolExecutor(4) as pool:
        for number in range(20):  # new files: what is made at once is what was refused
            start, path = threading.Barrier(4), tmp_path / f"{number}.sqlite"
            waits = list(pool.map(reserve, [Turns("host", path) for _ in range(4)], [start] * 4))
            assert np.diff(sorted(waits)).min() > 5, waits  # seconds


@pytest.mark.parametrize("ahead", [1e6, 100.0])
def test_a_turn_that_was_noted_by_another_clock_does_not_count(tmp_path, ahead):
    # As the clock stood before it was set back, or before the computer's last start.
    with closing(sqlite3.connect(tmp_path / "turns.sqlite")) as connection:
        connection.execute("CREATE TABLE hosts (host TEXT PRIMARY KEY, next REAL, paused REAL, noted REAL)")
        noted = time.time() + ahead
        connection.execute("INSERT INTO hosts VALUES (?, ?, ?, ?)", ("host", noted, noted, noted))
        connection.commit()
    turns = Turns("host", tmp_path / "turns.sqlite")
    assert turns.reserve(10) == 0
    assert 0 < turns.reserve(10) < 0.2


def test_a_stopped_process_that_holds_the_turns_stops_no_other(tmp_path, caplog):
    path = tmp_path / "turns.sqlite"
    Turns("host", path).reserve(10)
    with closing(sqlite3.connect(path, isolation_level=None)) as stopped:
        stopped.execute("BEGIN IMMEDIATE")
        turns, began = Turns("host", path), time.monotonic()
        for _ in range(6):
            wait_for_turn(turns, 10)
        assert 0.5 <= time.monotonic() - began < 8
    assert len(caplog.records) == 1
    assert "a stopped program may hold it" in caplog.text


@pytest.mark.parametrize("content", [b"", b"garbage" * 500])
def test_a_damaged_file_of_turns_is_begun_anew(tmp_path, content):
    path = tmp_path / "turns.sqlite"
    path.write_bytes(content)
    for turns in (Turns("host", path), Turns("host", path)):
        began = time.monotonic()
        for _ in range(6):
            wait_for_turn(turns, 50)
        assert time.monotonic() - began >= 0.1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM hosts").fetchall() == [(1,)]


def test_without_a_file_each_process_keeps_the_rate_alone():
    turns, began = Turns("host"), time.monotonic()
    for _ in range(6):
        wait_for_turn(turns, 50)
    assert time.monotonic() - began >= 0.1


def test_a_connection_that_is_given_back_is_closed():
    """The server sees it end when the round ends."""
    with serve(lambda params: PICTURE) as server, conf.set_temp("max_rate", 0):
        fetch(SkyServerCutouts(base_url=server.url, store=False), range(8))
        port = server.httpd.server_address[1]
        deadline = time.monotonic() + 5
        while _established(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _established(port) == 0


def _established(port: int) -> int:
    """Connections of this computer to a port, by /proc/net/tcp."""
    try:
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table][1:]
    except OSError:
        pytest.skip("no /proc/net/tcp")
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
