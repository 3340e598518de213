"""A thread's line to a host: one connection, watched from outside so that nothing can hold it for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

import hifrac
from hifrac.cutouts._politeness import HostLimit

__all__ = ["CutOffError", "Line", "new_session"]

_MAX_BYTES = 256 * 2**20


class CutOffError(OSError):
    """The content ended before its announced length."""


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """The whole content, within a bound of its size."""
    parts, size = [], 0
    try:
        for part in response.stream(2**16, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > _MAX_BYTES:
                raise OSError("the answer is too long")
    except urllib3.exceptions.ProtocolError as error:
        raise CutOffError(str(error)) from error
    return b"".join(parts)


class Line:
    """A thread's session with one connection to one host, which it may keep open between requests."""

    def __init__(self, limit: HostLimit) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._number: int | None = None
        self._session: requests.Session | None = None
        self._pool: Any = None
        self._deadline: float | None = None
        self._closed = False
        self.connection: Any = None
        self.broken_off = False

    def open(self, stop: threading.Event, until: float) -> bool:
        """Be allowed to have a connection; False if stopped, or too late."""
        with self._lock:
            if self._number is not None:
                self._deadline = until + 1  # not idle: not to be closed
                return True
        number = self._limit.take_connection(stop, until)
        if number is None:
            return False
        with self._lock:
            self._number, self._session = number, new_session()
            self._deadline = until + 1
            if self._closed:
                self.close()
                return False
        return True

    def rest(self) -> None:
        """Nothing is going on: the line may be closed when others want it."""
        with self._lock:
            self._deadline = None
            if self._closed:
                self._end()

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[requests.Session]:
        """The session, for one exchange that is broken off after some time."""
        with self._lock:
            self.broken_off = False
            self._deadline = time.monotonic() + seconds
            session = self._session
        if session is None:
            raise requests.ConnectionError("closed")
        _THREAD.line = self
        try:
            yield session
        finally:
            with self._lock:
                self._deadline = None
                if (
                    self.broken_off
                    or self._closed
                    or (self._number is not None and self._limit.is_wanted(self._number))
                ):
                    self._end()

    def exchange(
        self, request: requests.PreparedRequest, environment: dict[str, Any], seconds: float
    ) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        """Send a request and read the whole answer; broken off after some time.

        The session of requests knows proxies, certificates and credentials. The exchange itself
        is asked of its urllib3 pool, in a quarter of the time that ``Session.send`` takes.
        """
        with self._within(seconds) as session:
            adapter, proxies = session.get_adapter(request.url), environment["proxies"]
            if self._pool is None:
                self._pool = adapter.get_connection_with_tls_context(
                    request, environment["verify"], proxies=proxies, cert=environment["cert"]
                )
            response = self._pool.urlopen(
                "GET",
                adapter.request_url(request, proxies),
                headers=request.headers,
                retries=False,
                redirect=False,
                timeout=seconds,
                preload_content=False,
                decode_content=False,
            )
            try:
                return response, _read(response)
            except BaseException:
                response.close()
                raise
            finally:
                response.release_conn()

    def look_after(self) -> None:
        """Break off an exchange that takes too long; give way where the line is idle."""
        with self._lock:
            if self._deadline is not None:
                if time.monotonic() > self._deadline:
                    self.break_off()
            elif self._number is not None and self._limit.is_wanted(self._number):
                self._end()

    def break_off(self) -> None:
        """Make an exchange that goes on in its thread end at once."""
        with self._lock:
            self.broken_off = True
            sock = getattr(self.connection, "line_socket", None)
            if self._deadline is not None and sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close for good."""
        with self._lock:
            self._closed = True
            if self._deadline is None or self._session is None:
                self._end()

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.close()  # the session would only forget it
        if self._session is not None:
            self._session.close()
        if self._number is not None:
            self._limit.give_connection(self._number)
        self._session = self._pool = self._number = self.connection = None


_THREAD = threading.local()


class _Watched:
    """A connection that tells the line of its thread its socket: whoever looks after the line can end it."""

    def connect(self) -> None:
        super().connect()
        # http.client forgets the socket of an answer that ends its connection.
        self.line_socket = self.sock

    def request(self, *args: Any, **options: Any) -> None:
        line = getattr(_THREAD, "line", None)
        if line is not None:
            line.connection = self
        super().request(*args, **options)


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPS


class _Adapter(HTTPAdapter):
    """One connection, no repeats of its own."""

    def __init__(self) -> None:
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager


def new_session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"hifrac/{hifrac.__version__}"
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session
