"""A survey service that behaves as badly as services do, as a process of its own.

``python tests/survey_server.py --log LOG`` speaks SkyServer's getjpeg on 127.0.0.1 and prints its
port. What it answers is decided by the seed, the position and how often that position was asked
for before: a run can be repeated, in whatever order its requests come. All that it sees goes to
the log, line by line, and a new process goes on where the log of a killed one ends.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gzip
import hashlib
import math
import os
import re
import signal
import socket
import struct
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import numpy as np
from pictures import encode, galaxy

Position = tuple[str, str]

#: What befalls a request, and how often: to a fifth of all.
FAULTS = {
    # A status.
    "500": 0.012,
    "502": 0.010,
    "503": 0.020,
    "504": 0.010,
    "429": 0.012,  # with Retry-After: 1
    "429 bare": 0.006,
    "503 date": 0.004,  # Retry-After is a date
    "503 now": 0.006,  # Retry-After: 0
    "503 soon": 0.006,  # Retry-After is nonsense
    "408": 0.004,
    "520": 0.004,
    "403": 0.001,
    "404": 0.001,
    # Status 200, and no picture.
    "html": 0.008,
    "json": 0.004,
    "empty": 0.004,
    "noise": 0.004,
    "blank": 0.001,
    "grey": 0.004,
    "small": 0.004,  # half the width
    "cut unannounced": 0.008,  # the length fits: only decoding shows it
    "packed, cut": 0.004,
    "bomb": 0.002,  # unpacked it is 64 MiB
    "flood": 0.002,
    # The connection ends,
    "cut announced": 0.008,  # before the announced length
    "cut head": 0.004,
    "closed": 0.006,  # without a word
    "reset": 0.008,
    "reset inside": 0.004,
    "no HTTP": 0.004,
    # or it does not.
    "silence": 0.003,
    "drip body": 0.003,
    "drip all": 0.003,
    # Elsewhere.
    "loop": 0.001,
    "astray": 0.003,  # where nobody listens
    "detour": 0.006,  # to the same place
    # The picture, called a text: no fault of the picture.
    "odd type": 0.006,
}
_STATUSES = {
    "500": "500 Internal Server Error",
    "502": "502 Bad Gateway",
    "503": "503 Service Unavailable",
    "504": "504 Gateway Timeout",
    "429": "429 Too Many Requests",
    "408": "408 Request Timeout",
    "520": "520 Web Server Returned an Unknown Error",
    "403": "403 Forbidden",
    "404": "404 Not Found",
}
_LATER = {"429": "1", "503 now": "0", "503 soon": "soon"}
POOL = 64
OUTSIDE_FRACTION = 0.02
DRIP_SECONDS = 0.2

_OUTSIDE = "404 NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."
_QUERY = re.compile(rb"[?&](ra|dec|width|height|scale|loop)=([^& ]*)")
_HTML = b"<!DOCTYPE html><html><body><h1>Runtime Error</h1>Server Error in '/dr16' Application.</body></html>"


# What the survey has.


@functools.cache
def _pool(width: int) -> tuple[bytes, ...]:
    return tuple(encode(galaxy(seed, width)) for seed in range(POOL))


@functools.cache
def _no_pictures(width: int) -> dict[str, bytes]:
    """Contents that are not the picture of a position."""
    return {
        "html": _HTML,
        "json": b'{"error": "no database connection"}',
        "empty": b"",
        "noise": bytes(range(256)) * 16,
        "blank": encode(np.zeros((width, width, 3), np.uint8)),
        "grey": encode(galaxy(0, width)[..., 0]),
        "small": encode(galaxy(0, width // 2)),
        "flood": encode(galaxy(0, width)) + bytes(2**21 + 64 * width**2),
        "bomb": gzip.compress(bytes(2**26)),
    }


def canonical(ra: float, dec: float) -> Position:
    """A position as it is asked for, to 1e-6 deg."""
    ra_steps = round(ra * 1e6) % 360_000_000
    return f"{ra_steps / 1e6:.6f}", f"{round(dec * 1e6) / 1e6 + 0.0:.6f}"


def picture_at(position: Position, width: int = 128) -> bytes:
    """The JPEG of a position: one of a few looks, but with bytes that no other position has."""
    digest = hashlib.blake2b(" ".join(position).encode(), digest_size=2).digest()
    look = _pool(width)[digest[0] % POOL]
    comment = " ".join(position).encode()
    return look[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + look[2:]


def is_outside(position: Position) -> bool:
    """Whether the survey did not image a position."""
    return _uniform("outside", *position)[0] < OUTSIDE_FRACTION


def _uniform(*words: object) -> tuple[float, float]:
    """Two numbers from 0 to below 1 that depend on nothing but some words."""
    digest = hashlib.blake2b(" ".join(map(str, words)).encode(), digest_size=16).digest()
    first, second = struct.unpack("<QQ", digest)
    return first / 2**64, second / 2**64


# What the log tells.


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; times are of `time.monotonic`, which processes share."""

    time: float
    position: Position
    answer: str


@dataclass
class ServerLog:
    """What the server saw, over all its lives."""

    requests: list[Request] = field(default_factory=list)
    #: Times at which the picture of a position had been sent completely.
    sent: dict[Position, list[float]] = field(default_factory=dict)
    most_connections: int = 0
    _rest: bytes = b""
    _offset: int = 0

    @classmethod
    def read(cls, path: Path) -> ServerLog:
        log = cls()
        log.update(path)
        return log

    def update(self, path: Path) -> None:
        """Read on from where the last reading ended."""
        with path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            kind, *words = line.decode().split("\t")
            if kind == "accepted":
                self.most_connections = max(self.most_connections, int(words[1]))
            elif kind == "asked":
                self.requests.append(Request(float(words[0]), (words[1], words[2]), words[3]))
            elif kind == "sent":
                self.sent.setdefault((words[1], words[2]), []).append(float(words[0]))

    @property
    def answers(self) -> Counter[str]:
        return Counter(request.answer for request in self.requests)

    def most_in_a_second(self) -> int:
        """The largest number of requests in any window of one second."""
        times = sorted(request.time for request in self.requests)
        return max((bisect_right(times, start + 1.0) - index for index, start in enumerate(times)), default=0)

    def asked_again(self) -> list[tuple[Request, float]]:
        """Requests for what had been sent completely before, and when it had been sent last."""
        found = []
        for request in self.requests:
            before = [at for at in self.sent.get(request.position, ()) if at < request.time]
            if before:
                found.append((request, max(before)))
        return found


# The service.


class SurveyServer:
    """Answers requests, well or badly; to be used within one event loop."""

    def __init__(
        self,
        log: Path,
        *,
        seed: int = 0,
        faults: Mapping[str, float] = FAULTS,
        latency: float = 0.0,
        leaves: int = 0,
        leave: float = 61.0,
        each: bool = False,
    ) -> None:
        if not faults.keys() <= FAULTS.keys() or sum(faults.values()) > 1:
            raise ValueError(f"faults must be shares of {', '.join(FAULTS)}, got {faults}")
        self.seed = seed
        self.latency = latency
        self.open = 0
        # So often, after every 500 requests, it asks to be left alone for so many seconds.
        self.leaves, self.leave = leaves, leave
        # The first requests for new positions meet with one fault after the other, and no other does.
        self._each = iter(FAULTS) if each else None
        self._faults = dict(faults)
        self._asked: Counter[Position] = Counter()
        if log.exists():
            self._asked.update(request.position for request in ServerLog.read(log).requests)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        _pool(128), _no_pictures(128)  # not while the first client waits

    def decide(self, position: Position) -> tuple[str, float]:
        """What befalls the next request for a position, and a number for its details."""
        number = self._asked[position]
        self._asked[position] += 1
        draw, detail = _uniform(self.seed, *position, number)
        if self._each is not None:
            fault = next(self._each, None) if number == 0 and not is_outside(position) else None
            return fault or ("outside" if is_outside(position) else "picture"), detail
        if 0 < self._asked.total() // 500 <= self.leaves and self._asked.total() % 500 == 0:
            return "leave", detail
        for fault, share in self._faults.items():
            draw -= share
            if draw < 0:
                return fault, detail
        return ("outside" if is_outside(position) else "picture"), detail

    def note(self, *words: object) -> None:
        os.write(self._log, ("\t".join(map(str, words)) + "\n").encode())


class _Connection(asyncio.Protocol):
    def __init__(self, server: SurveyServer) -> None:
        self._server = server
        self._received = b""
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._written = False
        self._picture: Position | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(0)
        self._server.open += 1
        self._server.note("accepted", f"{time.monotonic():.6f}", self._server.open)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.open -= 1
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._busy and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._busy = True
            self._begin(head, time.monotonic())

    def resume_writing(self) -> None:
        if self._written:
            self._sent()

    def _begin(self, head: bytes, now: float) -> None:
        query = dict(_QUERY.findall(head.partition(b"\r\n")[0]))
        try:
            position = canonical(float(query[b"ra"]), float(query[b"dec"]))
            width = int(query.get(b"width", b"128"))
        except (KeyError, ValueError, OverflowError):
            self._server.note("asked", f"{now:.6f}", "-", "-", "400", self._server.open)
            self._answer("400 Bad Request")
            return
        answer, detail = ("loop", 0.0) if b"loop" in query else self._server.decide(position)
        self._server.note("asked", f"{now:.6f}", *position, answer, self._server.open)
        self._after(self._server.latency, lambda: self._misbehave(answer, detail, position, width))

    def _after(self, seconds: float, action) -> None:
        if seconds > 0:
            self._timer = asyncio.get_running_loop().call_later(seconds, action)
        else:
            action()

    def _misbehave(self, answer: str, detail: float, position: Position, width: int) -> None:
        status = _STATUSES.get(answer.partition(" ")[0])
        if answer == "outside":
            self._answer(_OUTSIDE)
        elif answer == "leave":
            self._answer(_STATUSES["429"], b"", "text/html", f"Retry-After: {self._server.leave:g}\r\n")
        elif status is not None:
            later = formatdate(time.time() + 2, usegmt=True) if "date" in answer else _LATER.get(answer)
            self._answer(status, _HTML, "text/html", f"Retry-After: {later}\r\n" if later else "")
        elif answer in _no_pictures(width):
            packed = "Content-Encoding: gzip\r\n" if answer == "bomb" else ""
            self._answer("200 OK", _no_pictures(width)[answer], more_headers=packed)
        elif answer in ("loop", "detour", "astray"):
            ra, dec = position
            query = f"ra={ra}&dec={dec}&width={width}" + ("&loop=1" if answer == "loop" else "")
            host = "http://127.0.0.1:9" if answer == "astray" else ""
            self._answer("302 Found", b"", more_headers=f"Location: {host}/moved?{query}\r\n")
        else:
            self._break(answer, detail, position, picture_at(position, width))

    def _break(self, answer: str, detail: float, position: Position, body: bytes) -> None:
        """Answer with the picture, a part of it, something else, or slowly; or not at all."""
        head, cut = _head("200 OK", len(body)), math.floor(detail * len(body))
        if answer in ("picture", "odd type", "drip body", "drip all"):
            self._picture = position
        if answer == "picture":
            self._answer("200 OK", body)
        elif answer == "odd type":
            self._answer("200 OK", body, "text/html; charset=utf-16")
        elif answer == "cut unannounced":
            self._answer("200 OK", body[:cut])
        elif answer == "packed, cut":
            self._answer("200 OK", gzip.compress(body)[:cut], more_headers="Content-Encoding: gzip\r\n")
        elif answer in ("reset", "reset inside"):
            self._transport.write(b"" if answer == "reset" else head + body[:cut])
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        elif answer in ("cut announced", "cut head", "closed", "no HTTP"):
            parts = {"cut announced": head + body[:cut], "cut head": head[: 10 + cut % 20], "closed": b""}
            self._transport.write(parts.get(answer, b"ERROR 17: too many connections\r\n"))
            self._transport.close()
        elif answer == "drip body":
            self._transport.write(head)
            self._drip(body)
        elif answer == "drip all":
            self._drip(head + body)

    def _answer(
        self, status: str, body: bytes = b"", kind: str = "image/jpeg", more_headers: str = ""
    ) -> None:
        self._transport.write(_head(status, len(body), kind, more_headers) + body)
        self._end()

    def _drip(self, data: bytes) -> None:
        self._transport.write(data[:1])
        if len(data) > 1:
            self._after(DRIP_SECONDS, lambda: self._drip(data[1:]))
        else:
            self._end()

    def _end(self) -> None:
        """All is written; it is sent when the system has taken it."""
        self._written = True
        if self._transport.get_write_buffer_size() == 0:
            self._sent()

    def _sent(self) -> None:
        if self._picture is not None:
            self._server.note("sent", f"{time.monotonic():.6f}", *self._picture)
        self._picture = self._timer = None
        self._written = self._busy = False
        if self._received:
            self.data_received(b"")


def _head(status: str, length: int, kind: str = "image/jpeg", more_headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more_headers}\r\n"
    ).encode()


async def serve(server: SurveyServer, port: int = 0) -> None:
    """Answer until the task is cancelled; the port is printed when connections can come."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: _Connection(server), "127.0.0.1", port, reuse_address=True)
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--log", type=Path, required=True, help="file that the requests are appended to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=float, default=1.0, help="how many times the usual share; 0: none")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--leaves", type=int, default=0, help="how often it wants to be left alone")
    parser.add_argument("--each", type=float, default=0, help="1: each fault once, and nothing else")
    parser.add_argument("--leave", type=float, default=61.0, help="for so many seconds")
    options = parser.parse_args()
    faults = {fault: share * options.faults for fault, share in FAULTS.items()}
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = SurveyServer(
        options.log,
        seed=options.seed,
        faults=faults,
        latency=options.latency,
        leaves=options.leaves,
        leave=options.leave,
        each=bool(options.each),
    )
    asyncio.run(serve(server, options.port))


if __name__ == "__main__":
    main()
