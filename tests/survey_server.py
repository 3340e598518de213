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
from pathlib import Path

from pictures import encode, galaxy

Position = tuple[str, str]

#: What befalls a request, and how often.
FAULTS = {
    "503": 0.05,
    "429": 0.02,
    "cut announced": 0.01,  # the connection ends before the announced length
    "cut unannounced": 0.01,  # the length fits: only decoding shows it
    "html": 0.01,
    "silence": 0.01,
    "drip body": 0.005,
    "drip all": 0.005,
    "reset": 0.01,
}
POOL = 64
OUTSIDE_FRACTION = 0.02
DRIP_SECONDS = 0.2

_OUTSIDE = "404 NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."
_QUERY = re.compile(rb"[?&](ra|dec|width|height|scale)=([^& ]*)")
_HTML = b"<!DOCTYPE html><html><body><h1>Runtime Error</h1>Server Error in '/dr16' Application.</body></html>"


# What the survey has.


@functools.cache
def _pool(width: int) -> tuple[bytes, ...]:
    return tuple(encode(galaxy(seed, width)) for seed in range(POOL))


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
    ) -> None:
        if not faults.keys() <= FAULTS.keys() or sum(faults.values()) > 1:
            raise ValueError(f"faults must be shares of {', '.join(FAULTS)}, got {faults}")
        self.seed = seed
        self.latency = latency
        self.open = 0
        # So often, after every 500 requests, it asks to be left alone for so many seconds.
        self.leaves, self.leave = leaves, leave
        self._faults = dict(faults)
        self._asked: Counter[Position] = Counter()
        if log.exists():
            self._asked.update(request.position for request in ServerLog.read(log).requests)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        _pool(128)  # not while the first client waits

    def decide(self, position: Position) -> tuple[str, float]:
        """What befalls the next request for a position, and a number for its details."""
        number = self._asked[position]
        self._asked[position] += 1
        draw, detail = _uniform(self.seed, *position, number)
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
        answer, detail = self._server.decide(position)
        self._server.note("asked", f"{now:.6f}", *position, answer, self._server.open)
        self._after(self._server.latency, lambda: self._misbehave(answer, detail, position, width))

    def _after(self, seconds: float, action) -> None:
        if seconds > 0:
            self._timer = asyncio.get_running_loop().call_later(seconds, action)
        else:
            action()

    def _misbehave(self, answer: str, detail: float, position: Position, width: int) -> None:
        if answer == "outside":
            self._answer(_OUTSIDE)
        elif answer == "503":
            self._answer("503 Service Unavailable", _HTML, "text/html")
        elif answer == "429":
            self._answer("429 Too Many Requests", b"", "text/html", "Retry-After: 1\r\n")
        elif answer == "leave":
            self._answer(
                "429 Too Many Requests", b"", "text/html", f"Retry-After: {self._server.leave:g}\r\n"
            )
        elif answer == "html":
            self._answer("200 OK", _HTML, "text/html")
        elif answer == "reset":
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        elif answer != "silence":
            body = picture_at(position, width)
            cut = math.floor(detail * len(body))
            if answer == "picture":
                self._picture = position
                self._answer("200 OK", body)
            elif answer == "cut unannounced":
                self._answer("200 OK", body[:cut])
            elif answer == "cut announced":
                self._transport.write(_head("200 OK", len(body)) + body[:cut])
                self._transport.close()
            else:
                self._picture = position
                head = _head("200 OK", len(body))
                if answer == "drip body":
                    self._transport.write(head)
                self._drip(body if answer == "drip body" else head + body)

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
    )
    asyncio.run(serve(server, options.port))


if __name__ == "__main__":
    main()
