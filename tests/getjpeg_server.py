"""A real HTTP server on 127.0.0.1 that speaks SkyServer's getjpeg, and misbehaves on demand."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

TOLERANCE = 2e-6  # degrees


@dataclass(frozen=True)
class Request:
    """One request as the server saw it."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]
    time: float


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    ``body=None`` gives the picture of the position. ``announced`` is the Content-Length if it
    should be another than the true one; ``delay`` seconds pass before the answer; ``hang`` never
    answers; ``reset`` breaks the connection.
    """

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    announced: int | None = None
    delay: float = 0.0
    hang: bool = False
    reset: bool = False


OUTSIDE = Reply(404, b"", reason="NOT FOUND. Requested (ra, dec) is outside the SDSS footprint.")


class GetJpegServer:
    """Pictures by position, from a mapping ``{(ra, dec): bytes}`` or a function ``(params)``
    that gives bytes or a `Reply`.

    ``script`` maps the number of a request (from 0, in order of arrival) to a `Reply`;
    ``always`` is the reply to all others, if set. Where nothing is scripted, the picture of the
    position within 2e-6 deg is served, else `OUTSIDE`.
    """

    def __init__(
        self, pictures: Mapping[tuple[float, float], bytes] | Callable[[dict[str, str]], bytes | Reply]
    ):
        self.pictures = pictures
        self.script: dict[int, Reply] = {}
        self.always: Reply | None = None
        self.requests: list[Request] = []
        self.connections = self.most_connections = 0
        self.down = False
        self.lock = threading.Lock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.httpd.daemon_threads = True
        self.httpd.block_on_close = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_address[1]}"

    @property
    def url(self) -> str:
        """What to give as ``base_url`` or ``conf.skyserver_url``."""
        return self.address + "/{data_release}/SkyServerWS/ImgCutout/getjpeg"

    def picture_at(self, params: dict[str, str]) -> bytes | Reply | None:
        if callable(self.pictures):
            return self.pictures(params)
        ra, dec = float(params["ra"]), float(params["dec"])
        near = [(math.hypot(r - ra, d - dec), data) for (r, d), data in self.pictures.items()]
        distance, data = min(near, key=lambda pair: pair[0], default=(math.inf, b""))
        return data if distance <= TOLERANCE else None


class _Handler(BaseHTTPRequestHandler):
    owner: GetJpegServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        with self.owner.lock:
            self.owner.connections += 1
            self.owner.most_connections = max(self.owner.most_connections, self.owner.connections)

    def do_GET(self):
        owner = self.owner
        parts = urlsplit(self.path)
        params = dict(parse_qsl(parts.query))
        with owner.lock:
            reply = owner.script.get(len(owner.requests), owner.always)
            owner.requests.append(Request(parts.path, params, dict(self.headers), time.monotonic()))
        body = None if reply is None else reply.body
        if body is None:
            body = owner.picture_at(params)
            if isinstance(body, Reply):
                reply, body = body, body.body
            if body is None:
                body, reply = b"", reply or OUTSIDE
        reply = Reply(reset=True) if owner.down else reply or Reply()
        if reply.hang:
            owner.closing.wait(30)
        if reply.delay:
            owner.closing.wait(reply.delay)
        if reply.reset or reply.hang:
            with contextlib.suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(reply.status, reply.reason)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if reply.announced is None else reply.announced))
            self.end_headers()
            self.wfile.write(body)
        if reply.announced is not None:
            self.close_connection = True

    def finish(self):
        with self.owner.lock:
            self.owner.connections -= 1
        with contextlib.suppress(OSError, ValueError):
            super().finish()


@contextlib.contextmanager
def serve(pictures) -> Iterator[GetJpegServer]:
    """Run a `GetJpegServer` in a thread."""
    server = GetJpegServer(pictures)
    thread = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.httpd.shutdown()
        server.httpd.server_close()
        thread.join(5)
