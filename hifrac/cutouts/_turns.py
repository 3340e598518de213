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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hifrac.core.forks import hold_at_fork, tell_of_forks

log = logging.getLogger(__name__)

# Intervals are stretched by this: a request that arrives some milliseconds late must
# not make the second that follows too full for the one who counts at the other end.
_SLACK = 1.03
# Seconds: how long another process may hold the file (each does for microseconds, unless it was stopped
# there), for how long it is left alone then, and how far ahead a turn can be.
_PATIENCE, _ALONE, _FARTHEST = 1.0, 30.0, 86400.0

_TABLE = "CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY, next REAL, paused REAL, noted REAL)"
# What was noted by a clock that has been set back since does not count.
_FORGET = f"DELETE FROM hosts WHERE host = :host AND (noted > :now + 1 OR next > :now + {_FARTHEST})"
_RESERVE = """INSERT INTO hosts VALUES (:host, :now + :seconds, :now, :now)
ON CONFLICT (host) DO UPDATE SET next = MAX(next, paused, :now) + :seconds, noted = :now"""
_RESERVED = "SELECT ROUND(MAX(0, next - :seconds - :now), 6) FROM hosts WHERE host = :host"
_PAUSE = """INSERT INTO hosts VALUES (:host, :now + :seconds, :now + :seconds, :now)
ON CONFLICT (host) DO UPDATE SET next = MAX(next, excluded.next), paused = MAX(paused, excluded.paused),
noted = :now"""
_PAUSED = f"""SELECT MAX(0, paused - :now) FROM hosts
WHERE host = :host AND noted <= :now + 1 AND next <= :now + {_FARTHEST}"""


class Turns:
    """The turns of one host, in a file that processes share, or in the memory of this one. Thread-safe."""

    def __init__(self, host: str, path: Path | None = None) -> None:
        self._host, self._path = host, path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._alone_until = 0.0
        tell_of_forks(self)

    def _before_fork(self) -> None:
        self._lock.acquire()
        if self._path is not None and not self._alone_until:
            self._close()  # SQLite's connections to files must not be carried across a fork

    def _after_fork(self, is_child: bool) -> None:  # noqa: ARG002
        self._lock.release()

    def reserve(self, rate: float) -> float:
        """Take the next turn, and return the seconds until then; ``rate`` is per second, 0 for no limit."""
        return (
            self._execute(_FORGET, _RESERVE, _RESERVED, seconds=_SLACK / rate) if rate > 0 else self.paused()
        )

    def pause(self, seconds: float) -> None:
        """Let nobody ask for some time: the host wants to be left alone."""
        self._execute(_FORGET, _PAUSE, seconds=min(seconds, _FARTHEST))

    def paused(self) -> float:
        """Return the seconds that remain of a pause."""
        return self._execute(_PAUSED)

    def _execute(self, *statements: str, **values: float) -> float:
        """Return the number that the last statement gives, or 0; all are one transaction."""
        now = time.time()
        parameters = {"host": self._host, "now": now, **values}
        with self._lock:
            if self._alone_until and now >= self._alone_until:
                self._close()
            try:
                return self._number(statements, parameters)
            except sqlite3.Error as error:
                self._go_alone(error)
            return self._number(statements, parameters)

    def _number(self, statements: Sequence[str], parameters: dict[str, Any]) -> float:
        if self._connection is None:
            place = ":memory:" if self._path is None or self._alone_until else self._path
            self._connection = sqlite3.connect(
                place, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            # No write-ahead log: of those that begin at once, SQLite refuses one the change without patience.
            self._connection.executescript(f"PRAGMA synchronous = OFF; BEGIN IMMEDIATE; {_TABLE}; COMMIT;")
        with self._connection:  # commits, or takes all back
            if len(statements) > 1:
                self._connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                row = self._connection.execute(statement, parameters).fetchone()
        return row[0] if row else 0.0

    def _go_alone(self, error: sqlite3.Error) -> None:
        """Do without the other processes for a while: the file cannot be had."""
        log.warning(
            "for %g s this program alone keeps the rate of requests to %s: %s: %s (a stopped program may "
            "hold it)",
            *(_ALONE, self._host, self._path, error),
        )
        self._close()
        self._alone_until = time.time() + _ALONE
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            with contextlib.suppress(OSError):
                os.unlink(str(self._path))

    def _close(self) -> None:
        self._alone_until = 0.0
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_TURNS: dict[str, Turns] = {}
_TURNS_LOCK = threading.Lock()
hold_at_fork(_TURNS_LOCK)


def turns_of(host: str) -> Turns:
    """Return the turns of a host: the same for all threads."""
    with _TURNS_LOCK:
        if host not in _TURNS:
            _TURNS[host] = Turns(host, _shared_path())
        return _TURNS[host]


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
