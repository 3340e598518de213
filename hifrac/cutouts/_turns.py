"""The turns of a host: when it may be asked next, by any thread and any process of this user.

They stand in a small SQLite file in the folder for temporary files: a job array must not be what gets
its owner banned. Times are those of the wall clock, so that what was noted before the computer's last
start lies in the past. Where the file cannot be had, or another process holds it, each process keeps the
rate by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# Intervals are stretched by this: a request that arrives some milliseconds late must
# not make the second that follows too full for the one who counts at the other end.
_SLACK = 1.03
# Seconds: how long another process may hold the file (each does for microseconds, unless it was stopped
# there), for how long it is left alone then, and how far ahead a turn can be.
_PATIENCE, _ALONE, _FARTHEST = 1.0, 30.0, 86400.0

_TABLE = "CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY, next REAL, paused REAL, noted REAL)"


class Turns:
    """The turns of one host, in a file that processes share, or in none. Thread-safe."""

    def __init__(self, host: str, path: Path | None = None) -> None:
        self._host, self._path = host, path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._alone_until = 0.0
        self._state = 0.0, 0.0, 0.0  # the next turn, the end of the pause, and when that was noted

    def reserve(self, rate: float) -> float:
        """Take the next turn, and return the seconds until then; ``rate`` is per second, 0 for no limit."""
        with self._shared(write=rate > 0) as (now, following, paused):
            turn = max(now, following, paused)
            if rate > 0:
                self._state = turn + _SLACK / rate, paused, now
        return turn - now

    def pause(self, seconds: float) -> None:
        """Let nobody ask for some time: the host wants to be left alone."""
        with self._shared(write=True) as (now, following, paused):
            end = max(paused, now + min(seconds, _FARTHEST))
            self._state = max(following, end), end, now

    def paused(self) -> float:
        """Return the seconds that remain of a pause."""
        with self._shared(write=False) as (now, _, paused):
            return max(0.0, paused - now)

    @contextlib.contextmanager
    def _shared(self, *, write: bool) -> Iterator[tuple[float, float, float]]:
        """Give the time, the next turn and the end of the pause that all processes know; share them after."""
        with self._lock:
            now = time.time()
            connection = self._open() if now >= self._alone_until else None
            with self._alone_on_error():
                if connection is not None:
                    if write:
                        connection.execute("BEGIN IMMEDIATE")
                    query = "SELECT next, paused, noted FROM hosts WHERE host = ?"
                    self._state = connection.execute(query, (self._host,)).fetchone() or self._state
            following, paused, noted = self._state
            if noted > now + 1 or following > now + _FARTHEST:  # by a clock that has been set back since
                following = paused = 0.0
            yield now, following, paused
            with self._alone_on_error():
                if write and self._connection is not None and self._connection.in_transaction:
                    values = self._host, *self._state
                    self._connection.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?, ?, ?)", values)
                    self._connection.execute("COMMIT")

    def _open(self) -> sqlite3.Connection | None:
        with self._alone_on_error():
            if self._connection is None and self._path is not None:
                self._connection = sqlite3.connect(
                    self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
                )
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = OFF")
                self._connection.execute(_TABLE)
        return self._connection

    @contextlib.contextmanager
    def _alone_on_error(self) -> Iterator[None]:
        """Do without the other processes for a while where the file cannot be had."""
        try:
            yield
        except sqlite3.Error as error:
            self._alone_until = time.time() + _ALONE
            log.warning(
                "for %g s this program alone keeps the rate of requests to %s: %s: %s (a stopped program may "
                "hold it)",
                *(_ALONE, self._host, self._path, error),
            )
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
                sqlite3.SQLITE_CORRUPT,
                sqlite3.SQLITE_NOTADB,
            ):
                with contextlib.suppress(OSError):
                    os.unlink(str(self._path))


_TURNS: dict[tuple[int, str], Turns] = {}
_TURNS_LOCK = threading.Lock()


def turns_of(host: str) -> Turns:
    """Return the turns of a host: the same for all threads."""
    with _TURNS_LOCK:
        key = os.getpid(), host  # by process: a connection must not be used on both sides of a fork
        if key not in _TURNS:
            _TURNS[key] = Turns(host, _shared_path())
        return _TURNS[key]


def _shared_path() -> Path | None:
    """Return the file that the processes of this user share; None if there is no folder to be trusted."""
    user = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir(), f"hifrac-{user}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
            return None  # someone else's
    except OSError:
        return None
    return folder / "turns.sqlite"
