"""What a download must survive: a bad service, its restart, and the sudden death of the client.

The service is `survey_server` and the client the command ``hifrac fetch``, each a process of its
own. What is true of the outcome is worked out here without the package: from the log of the
server, and from the files in the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from stores import stored_pictures
from survey_server import Position, ServerLog, canonical, is_outside, picture_at

from hifrac.core.flags import Flag

CONNECTIONS = 4
#: Patience of the client: a service that does not answer must not make a trial long.
QUICK = {"timeout": 0.7, "cutout_timeout": 30.0, "retries": 6, "retry_backoff": 0.1}

_TEMPORARY = int(Flag.FETCH_FAILED | Flag.BAD_IMAGE)
# A script started in the background may ignore SIGINT, and then so do its children.
_CLIENT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from hifrac import conf
from hifrac.cli import main
for name, value in json.loads(sys.argv[1]).items():
    setattr(conf, name, value)
main(sys.argv[2:], prog_name="hifrac")
"""


class SurveyProcess:
    """A `survey_server` that can be killed and started again; a context manager."""

    def __init__(self, log: Path, **options: float) -> None:
        self.log = log
        self._options = [f"--{name}={value}" for name, value in options.items()]
        self._process: subprocess.Popen | None = None
        self._port = 0

    def __enter__(self) -> SurveyProcess:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/{{data_release}}/getjpeg"

    def start(self) -> None:
        script = Path(__file__).with_name("survey_server.py")
        command = [sys.executable, script, f"--port={self._port}", f"--log={self.log}", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def restart(self, seconds: float = 1.0) -> None:
        """Be gone for some time."""
        self.kill()
        time.sleep(seconds)
        self.start()


class Client:
    """A running ``hifrac`` with settings of its own, its output in files."""

    def __init__(self, folder: Path, *arguments: object, settings: dict[str, Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Trials that use the same port in turn must not find each other's limits.
        shared = folder.parent / "tmp"
        shared.mkdir(exist_ok=True)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and name != "HIFRAC_CACHE_DIR"
        }
        self._output = [folder / "stdout", folder / "stderr"]
        command = [sys.executable, "-c", _CLIENT, json.dumps(settings or {}), *map(str, arguments)]
        with self._output[0].open("wb") as stdout, self._output[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, env=environment | {"TMPDIR": str(shared)}
            )

    @property
    def stdout(self) -> str:
        return self._output[0].read_text()

    @property
    def stderr(self) -> str:
        return self._output[1].read_text()

    def wait(self, seconds: float | None = None) -> int:
        """The status at its end; whoever takes too long is killed."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)


@dataclass(frozen=True)
class Check:
    """Something that must be true of a trial, and the number that says whether it is."""

    name: str
    found: float
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.found <= self.limit

    def __str__(self) -> str:
        words = (
            f"{'PASS' if self.passed else 'FAIL'}  {self.name:<52} {self.found:>9.6g}  <= {self.limit:<7g}"
        )
        return f"{words} {self.note}".rstrip()


@dataclass
class Trial:
    """One table, one store and one service, in a folder.

    ``killed`` has the time of each SIGKILL and what the store held then.
    """

    folder: Path
    ra: np.ndarray
    dec: np.ndarray
    rate: float
    settings: dict[str, Any] = field(default_factory=lambda: dict(QUICK))
    killed: list[tuple[float, set[Position]]] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    server: SurveyProcess | None = None
    leave: float = 61.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        Table({"ra": self.ra, "dec": self.dec}, units={"ra": "deg", "dec": "deg"}).write(
            self.table, overwrite=True
        )
        good = np.isfinite(self.ra) & np.isfinite(self.dec)
        self.rows: list[Position | None] = [
            canonical(ra, dec) if fine else None
            for ra, dec, fine in zip(self.ra.tolist(), self.dec.tolist(), good, strict=True)
        ]
        self.pictures = {row for row in self.rows if row is not None and not is_outside(row)}

    @property
    def table(self) -> Path:
        return self.folder / "positions.ecsv"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def fetch(self) -> Client:
        """Start ``hifrac fetch``."""
        number = len(self.clients)
        client = Client(
            self.folder / f"client-{number}",
            *("fetch", self.table, "--survey", "sdss", "--base-url", self.server.url),
            *("--cache-dir", self.cache, "--max-rate", self.rate),
            *("-o", self.folder / f"report-{number}.ecsv"),
            settings=self.settings,
        )
        self.clients.append(client)
        return client

    def verify(self) -> Client:
        """Run ``hifrac cache verify``."""
        client = Client(self.folder / "verify", "cache", "verify", "--cache-dir", self.cache)
        client.wait()
        return client

    def stop(self, client: Client) -> None:
        """Stop a client for a while, but not where it writes to the store.

        Whoever is stopped in the midst of a transaction holds that file of the store, and others wait for it.
        """
        client.process.send_signal(signal.SIGSTOP)
        while self._is_locked():
            client.process.send_signal(signal.SIGCONT)
            time.sleep(0.01)
            client.process.send_signal(signal.SIGSTOP)

    def _is_locked(self) -> bool:
        """Tell whether some process opens or writes a file of the store."""
        import fcntl  # not on Windows

        time.sleep(0.05)  # a signal takes its time
        files = list(self.cache.rglob("*.sqlite"))
        try:
            for folder in {path.parent for path in files}:
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                finally:
                    os.close(descriptor)
            for path in files:
                with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("ROLLBACK")
        except (BlockingIOError, sqlite3.OperationalError):
            return True
        return False

    def wait_for_pictures(self, number: float, client: Client, log: ServerLog | None = None) -> None:
        """Until the server has sent so many different pictures."""
        log = ServerLog() if log is None else log
        while True:
            log.update(self.log)
            if len(log.sent) >= number:
                return
            if client.process.poll() is not None:
                raise RuntimeError(
                    f"the client ended with status {client.process.returncode} after {len(log.sent)} "
                    f"pictures, before anybody ended it:\n{client.stdout}{client.stderr}"
                )
            time.sleep(0.02)

    def live(
        self, kills: Sequence[float], restarts: Sequence[float], say: Callable = str, outage: float = 1.0
    ) -> None:
        """Fetch all, with a SIGKILL of the client and restarts of the server at shares of the pictures.

        The server is gone for ``outage`` seconds each time.
        """
        client, log = self.fetch(), ServerLog()
        try:
            for share, event in sorted([(at, "kill") for at in kills] + [(at, "restart") for at in restarts]):
                self.wait_for_pictures(share * len(self.pictures), client, log)
                say(f"{event} after {len(log.sent)} pictures")
                if event == "kill":
                    client.kill()
                    self.killed.append((time.monotonic(), set(self.stored())))
                    client = self.fetch()
                else:
                    self.server.restart(outage)
            client.wait()
        finally:
            client.kill()

    def stored(self) -> dict[Position, bytes]:
        """The pictures of the store, by position."""
        found = {}
        for key, data in stored_pictures(self.cache / "cutouts").items():
            ra, dec = divmod(key, 180_000_001)
            found[canonical(ra / 1e6, (dec - 90_000_000) / 1e6)] = data
        return found

    def flags(self, client: Client) -> np.ndarray:
        """The flags that a client has reported."""
        report = Table.read(self.folder / f"report-{self.clients.index(client)}.ecsv")
        np.testing.assert_array_equal(np.asarray(report["ra"]), self.ra)
        np.testing.assert_array_equal(np.asarray(report["dec"]), self.dec)
        return np.asarray(report["flags"])

    # What must be true.

    def temporary_failures(self, client: Client) -> int:
        """Rows that another run is expected to complete."""
        return int(np.sum((self.flags(client) & _TEMPORARY) != 0))

    def wrong_rows(self, client: Client) -> int:
        """Rows that have neither their picture in the store nor the flag that is due to them."""
        stored = self.stored()
        wrong = 0
        for row, flags in zip(self.rows, self.flags(client).tolist(), strict=True):
            if row is None:
                right = flags == Flag.BAD_COORDINATE
            elif is_outside(row):
                right = flags == Flag.OUT_OF_FOOTPRINT and row not in stored
            else:
                right = flags == 0 and row in stored
            wrong += not right
        return wrong

    def wrong_files(self) -> int:
        """Files of the store that are not, byte for byte, the picture of their position."""
        stored = self.stored()
        wrong = sum(data != picture_at(position) for position, data in stored.items())
        return wrong + len(stored.keys() - self.pictures)

    def asked_again(self, log: ServerLog) -> tuple[int, int]:
        """Requests for pictures sent before, and how many of these were under way at a SIGKILL."""
        again = log.asked_again()
        in_flight = sum(
            any(0 <= at - sent < 1.0 and request.position not in held for at, held in self.killed)
            for request, sent in again
        )
        return len(again), in_flight

    def during_leave(self, log: ServerLog, after: float = 0.25) -> int:
        """Requests in the time for which an answer has asked to be left alone, but for those under way."""
        times = np.sort([request.time for request in log.requests])
        leaves = {"429": 1.0, "leave": self.leave}
        starts, seconds = (
            np.array([(r.time, leaves[r.answer]) for r in log.requests if r.answer in leaves])
            .reshape(-1, 2)
            .T
        )
        ends = np.searchsorted(times, starts + seconds)
        return int(np.sum(ends - np.searchsorted(times, starts + after)))

    def checks(
        self,
        asked_again: float = 0.01,
        late: int = 0,
        connections: int = CONNECTIONS,
        given_up: float = 0,
    ) -> list[Check]:
        """All that must be true in the end; what has failed for the moment is fetched by one more run first.

        ``asked_again`` is the share of pictures that may be asked for although they were sent before;
        ``late`` the number of requests, and of ends of connections, that a busy computer may deliver late;
        ``connections`` how many all clients may have open at a time; ``given_up`` how many rows may fail.
        """
        last = self.clients[-1]
        temporary = self.temporary_failures(last)
        statuses = [last.process.returncode - bool(temporary)]  # which is said by the status 1
        if temporary:
            last = self.fetch()
            statuses.append(last.wait())
        log = ServerLog.read(self.log)
        again, in_flight = self.asked_again(log)
        verified = self.verify()
        damaged = sum(map(int, re.findall(r"(\d+) damaged", verified.stdout)))
        traces = sum("Traceback" in client.stderr for client in self.clients)
        share = (again - in_flight) / len(self.pictures)
        return [
            Check("rows without their picture or the right flag", self.wrong_rows(last), 0),
            Check("rows left to one more run", temporary, 0.001 * len(self.rows), "(temporary failures)"),
            Check("rows given up while the service would have answered", temporary, given_up),
            Check("pictures damaged by `cache verify`", damaged, 0, verified.stdout.strip()),
            Check("exit status of `cache verify`", verified.process.returncode, 0),
            Check("pictures that `cache verify` did not see", self._unseen(verified), 0),
            Check("files that differ from the service's picture", self.wrong_files(), 0),
            Check("pictures asked again, share", share, asked_again, f"({again}, {in_flight} in flight)"),
            Check("requests in any second", log.most_in_a_second(), self.rate + late),
            Check("requests while asked to stay away", self.during_leave(log), 0),
            Check("connections at a time", log.most_connections, connections + late),
            Check("runs that ended badly", traces + sum(status != 0 for status in statuses), 0),
        ]

    def _unseen(self, verified: Client) -> int:
        intact = sum(map(int, re.findall(r"(\d+) intact", verified.stdout)))
        return abs(intact - len(self.stored()))


def positions(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions all over the sky: the seam of right ascension, the poles, repeated rows, one that is none."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    special = [(359.9999, 0.0), (-0.0001, 1.0), (0.0, -0.0), (359.99999999, 5.0), (360.0, 5.0), (-180.0, 2.0)]
    special += [(0.0, 90.0), (123.4, 90.0), (0.0, -90.0), (321.0, -90.0), (np.nan, 10.0)]
    ra[: len(special)], dec[: len(special)] = np.transpose(special)
    again = rows // 50
    source = rng.integers(len(special), rows - again, again)
    ra[rows - again :], dec[rows - again :] = ra[source] + 1e-9, dec[source]
    order = rng.permutation(rows)
    return ra[order], dec[order]


def answers(log: ServerLog) -> str:
    """A table of what the server has answered."""
    counts: Counter[str] = log.answers
    lines = [f"{name:<16} {count:>8} {count / counts.total():>7.2%}" for name, count in counts.most_common()]
    return "\n".join([*lines, f"{'requests':<16} {counts.total():>8}"])
