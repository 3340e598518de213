"""What a host may be asked to bear: so many requests a second, so many connections.

The limits hold for all threads, and for all processes of one user on one
computer: a job array must not be what gets its owner banned. Processes
agree through small locked files in the folder for temporary files. Where
these cannot be had, each process keeps the limits by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

__all__ = ["CONNECTIONS", "LONGEST_WAIT", "HostLimit", "host_limit"]

#: Open connections to one host.
CONNECTIONS = 4
#: Seconds; what a service wants to be waited for beyond them is reported instead.
LONGEST_WAIT = 60.0

# Intervals are stretched by this: a request that arrives some milliseconds late must
# not make the second that follows too full for the one who counts at the other end.
_SLACK = 1.03
_POLL = 0.02
_LEAST_HOLD = 1.0


class HostLimit:
    """Rate and connections of one host. Thread-safe."""

    def __init__(self, host: str) -> None:
        self._lock = threading.Lock()
        self._next = self._paused_until = 0.0
        self._free = list(range(CONNECTIONS))
        # When whoever holds a connection may next ask whether it is wanted.
        self._asked_again: dict[int, float] = {}
        self._waiters = 0
        self._not_before = 0.0
        self._turn, self._waiting, self._probe, *self._slots = _shared_files(
            host, ["turn", "waiting", "waiting", *(f"connection-{number}" for number in range(CONNECTIONS))]
        )

    def wait(self, rate: float, stop: threading.Event, until: float) -> bool:
        """Wait for the turn of one request.

        Parameters
        ----------
        rate : float
            Requests per second, at most; 0 for no limit.
        stop : `threading.Event`
            Ends the waiting.
        until : float
            Of `time.monotonic`; a turn that would come later is not taken.

        Returns
        -------
        granted : bool
            False if stopped, or if it would be too late.
        """
        while True:
            # Without a rate nothing is written, and one read of eight bytes needs no lock.
            with self._lock, _locked(self._turn if rate > 0 else None):
                now = time.monotonic()
                turn = max(now, self._next_turn(now))
                if turn > until:
                    return False
                if rate > 0:
                    self._set_next_turn(turn + _SLACK / rate)
            if stop.wait(turn - now) if turn > now else stop.is_set():
                return False
            # The host may have asked for a pause after the turn was given.
            if time.monotonic() >= self._paused_until:
                return True

    def pause(self, seconds: float) -> None:
        """Send nothing to the host for some time: it asked for that."""
        with self._lock, _locked(self._turn):
            now = time.monotonic()
            self._paused_until = max(self._paused_until, now + min(seconds, LONGEST_WAIT))
            self._set_next_turn(max(self._next_turn(now), self._paused_until))

    def _next_turn(self, now: float) -> float:
        shared = 0.0
        if self._turn is not None:
            shared = struct.unpack("d", os.pread(self._turn, 8, 0).ljust(8, b"\0"))[0]
            # A time far ahead was written before the computer's last start, when its clock stood higher.
            if not shared <= now + 10 * LONGEST_WAIT:
                shared = 0.0
        return max(self._next, shared)

    def _set_next_turn(self, turn: float) -> None:
        self._next = turn
        if self._turn is not None:
            with contextlib.suppress(OSError):  # a full disk
                os.pwrite(self._turn, struct.pack("d", turn), 0)

    def take_connection(self, stop: threading.Event, until: float) -> int | None:
        """The number of a connection that the caller may open; None if stopped, or too late."""
        number = self._try_connection()
        if number is not None:
            return number
        with self._announced():
            while not stop.wait(_POLL) and time.monotonic() <= until:
                number = self._try_connection()
                if number is not None:
                    return number
        return None

    def _try_connection(self) -> int | None:
        with self._lock:
            if time.monotonic() >= self._not_before:
                for number in self._free:
                    if _try_lock(self._slots[number]):
                        self._free.remove(number)
                        self._asked_again[number] = time.monotonic() + _LEAST_HOLD
                        return number
        return None

    def give_connection(self, number: int) -> None:
        """Give back a connection that is closed."""
        with self._lock:
            del self._asked_again[number]
            self._free.append(number)
            _unlock(self._slots[number])

    def is_wanted(self, number: int) -> bool:
        """Whether others wait for a connection, and this one was held long enough.

        Asked more often than every 20 ms it says no. The caller is expected to give it;
        for a moment this process will then not take it again.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._asked_again[number]:
                return False
            self._asked_again[number] = now + _POLL
            if self._probe is None:
                wanted = self._waiters > 0
            elif wanted := not _try_lock(self._probe):
                self._not_before = time.monotonic() + 3 * _POLL
            else:
                _unlock(self._probe)
            return wanted

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        """Let those who hold connections know that one is waited for."""
        with self._lock:
            self._waiters += 1
            if self._waiters == 1 and self._waiting is not None:
                fcntl.flock(self._waiting, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with self._lock:
                self._waiters -= 1
                if self._waiters == 0:
                    _unlock(self._waiting)


_LIMITS: dict[tuple[int, str], HostLimit] = {}
_LIMITS_LOCK = threading.Lock()


def host_limit(url: str) -> HostLimit:
    """The limit of the host of an address: one for all that speak to it."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # no address at all: asking it will say so
        host = url
    with _LIMITS_LOCK:
        # By process: after a fork, locks on inherited files would be held by both.
        key = os.getpid(), host
        if key not in _LIMITS:
            _LIMITS[key] = HostLimit(host)
        return _LIMITS[key]


def _shared_files(host: str, names: list[str]) -> list[int | None]:
    """Descriptors of the files that processes share, one for each name; None where there are none."""
    if fcntl is None:
        return [None] * len(names)
    folder = Path(
        tempfile.gettempdir(), f"hifrac-{os.getuid()}", hashlib.sha256(host.encode()).hexdigest()[:16]
    )
    opened: list[int | None] = []
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        if folder.parent.is_symlink() or folder.parent.stat().st_uid != os.getuid():
            return [None] * len(names)  # someone else's: not to be trusted
        folder.mkdir(exist_ok=True)
        for name in names:
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            opened.append(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # does the file system know locks?
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:  # it does, and another process holds this one
        opened += [
            os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            for name in names[len(opened) :]
        ]
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        return [None] * len(names)
    return opened


@contextlib.contextmanager
def _locked(descriptor: int | None) -> Iterator[None]:
    if descriptor is None:
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int | None) -> bool:
    if descriptor is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
