"""A thread's connections to services; another one can break them off, so that none holds it for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import hifrac

_THREAD = threading.local()


class TooLongError(OSError):
    """The content is longer than is allowed, as it came or unpacked."""


class _Watched(HTTPConnection):
    """A connection whose thread's line has its socket, before a proxy or TLS has any part in it."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        _THREAD.line.watch(self, sock.dup())
        return sock


class _WatchedTLS(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


class _Adapter(HTTPAdapter):
    """One connection to each host, and no repeats of its own."""

    def __init__(self) -> None:
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # whose pools have connections of their own
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager


class Line:
    """A thread's session; another thread may break off what goes on in it."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.headers["User-Agent"] = f"hifrac/{hifrac.__version__}"
        self.session.headers["Accept-Encoding"] = "identity"  # pictures do not get smaller
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, _Adapter())
        self._lock = threading.Lock()
        self._watched: list[tuple[HTTPConnection, socket.socket]] = []
        self._deadline = float("inf")
        self.broken_off = False

    def exchange(
        self, request: requests.PreparedRequest, settings: Any, seconds: float, most_bytes: int
    ) -> tuple[requests.Response, bytes]:
        """Send a request and read the whole answer, within some time and length."""
        _THREAD.line = self
        self.broken_off, self._deadline = False, time.monotonic() + seconds
        body = bytearray()
        try:
            response = self.session.send(
                request, stream=True, allow_redirects=False, timeout=seconds, **settings
            )
            try:
                for part in response.raw.stream(2**16, decode_content=True):
                    body += part
                    if len(body) > most_bytes:
                        raise TooLongError(f"the answer is longer than {most_bytes} bytes")
            except BaseException:
                response.close()
                raise
            response.raw.release_conn()
            if self.broken_off:  # headers that end there pass for complete ones
                raise requests.Timeout("broken off")
            return response, bytes(body)
        finally:
            self._deadline = float("inf")
            self._forget_closed()

    def watch(self, connection: HTTPConnection, sock: socket.socket) -> None:
        """Keep a second handle of a socket: it ends the connection, whatever is put around the first."""
        with self._lock:
            for earlier in [pair for pair in self._watched if pair[0] is connection]:
                earlier[1].close()  # of before it was opened again
                self._watched.remove(earlier)
            self._watched.append((connection, sock))

    def _forget_closed(self) -> None:
        """Close the handles of connections that are closed; their other end waits for that."""
        with self._lock:
            for connection, sock in self._watched:
                if connection.sock is None:
                    sock.close()
            self._watched = [pair for pair in self._watched if pair[0].sock is not None]

    def break_off(self, now: float = float("inf")) -> None:
        """Make an exchange end that goes on in its thread, if its time is over."""
        if now >= self._deadline:
            with self._lock:
                self.broken_off = True
                for _, sock in self._watched:
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections; nothing may be going on."""
        self.session.close()  # which only forgets its connections
        for connection, _ in self._watched:
            connection.close()
        self._forget_closed()
