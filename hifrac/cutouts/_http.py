"""HTTP for cutout services: one session, repeats, and a limit of the rate.

This is transport only. What an answer means is the source's business.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import hifrac
from hifrac.config import conf
from hifrac.exceptions import BadImageError, FetchError

__all__ = ["Answer", "Client", "RateLimit", "rate_limit"]

REPEATED_STATUSES = (429, 500, 502, 503, 504)

# A service that asks to be left alone for longer gets what it asks: the row fails and says until when.
_LONGEST_WAIT = 60.0
_MAX_REDIRECTS = 5
_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Answer:
    """What a service answered, whatever its status.

    Parameters
    ----------
    url : str
        The address asked, with its parameters.
    status : int
        HTTP status.
    reason : str
        The phrase that came with the status.
    body : bytes
        The content; complete.
    retry_after : float or None
        The seconds after which the service asked to be called again.
    """

    url: str
    status: int
    reason: str
    body: bytes
    retry_after: float | None = None


class RateLimit:
    """Spaces the requests of all threads evenly: at most ``conf.max_rate`` per second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Return when the next request may go out, or when ``stop`` is set."""
        rate = conf.max_rate
        if rate <= 0:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 1 / rate
        stop.wait(turn - now)


_LIMITS: dict[str, RateLimit] = {}


def rate_limit(url: str) -> RateLimit:
    """The rate limit of the host of an address: one for all that speak to it."""
    try:
        host = urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # no address at all: asking it will say so
        host = url
    return _LIMITS.setdefault(host, RateLimit())


class _Repeat(Retry):
    """urllib3's Retry that can be stopped, and does not wait for ever.

    The first repeat comes after ``conf.retry_backoff`` seconds (urllib3 sends it
    at once), and a ``Retry-After`` beyond a minute ends the repeats.
    """

    stop: threading.Event
    limit: RateLimit

    def new(self, **changes: Any) -> _Repeat:
        fresh = super().new(**changes)
        fresh.stop, fresh.limit = self.stop, self.limit
        return fresh

    def get_backoff_time(self) -> float:
        return float(min(_LONGEST_WAIT, self.backoff_factor * 2 ** max(0, len(self.history) - 1)))

    def get_retry_after(self, response: Any) -> float | None:
        try:
            return super().get_retry_after(response)
        except urllib3.exceptions.InvalidHeader:
            return None

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        asked = self.get_retry_after(response) if response is not None else None
        self.stop.wait(self.get_backoff_time() if asked is None else max(0.0, asked))
        self.limit.wait(self.stop)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Retry:
        asked = self.get_retry_after(response) if response is not None else None
        if self.stop.is_set() or (asked is not None and asked > _LONGEST_WAIT):
            raise urllib3.exceptions.MaxRetryError(_pool, url or "", error)
        return super().increment(method, url, response, error, _pool, _stacktrace)


class Client:
    """A session for one round of requests; its settings are those of ``conf`` at its beginning.

    Thread-safe. Used as a context manager, it stops waiting and closes its
    connections on leaving.

    Parameters
    ----------
    connections : int
        How many threads will call `get` at the same time.
    limit : `RateLimit`
        Shared by all that speak to the service.
    """

    def __init__(self, connections: int, limit: RateLimit) -> None:
        self._stop = threading.Event()
        self._limit = limit
        self._timeout = conf.timeout
        self._retries = conf.retries
        self._repeat = _Repeat(
            total=conf.retries,
            backoff_factor=conf.retry_backoff,
            status_forcelist=REPEATED_STATUSES,
            allowed_methods={"GET"},
            raise_on_status=False,
        )
        self._repeat.stop, self._repeat.limit = self._stop, limit
        self._session = requests.Session()
        self._session.max_redirects = _MAX_REDIRECTS
        self._session.headers["User-Agent"] = f"hifrac/{hifrac.__version__}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections, max_retries=self._repeat))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._session.close()

    def get(self, url: str, params: dict[str, str]) -> Answer:
        """The answer to one request, after repeats where they help.

        Parameters
        ----------
        url : str
            The address.
        params : dict of str
            The query.

        Returns
        -------
        answer : `Answer`
            With any status, the repeated ones included when repeats did not help.

        Raises
        ------
        ~hifrac.exceptions.FetchError
            If no answer came.
        ~hifrac.exceptions.BadImageError
            If the content was cut off each time.
        """
        request = requests.Request("GET", url, params=params)
        sent = 0
        while sent <= self._retries:
            if sent:
                self._stop.wait(min(_LONGEST_WAIT, conf.retry_backoff * 2 ** (sent - 1)))
            self._limit.wait(self._stop)
            if self._stop.is_set():
                raise FetchError("stopped before the request was sent", url=url)
            try:
                return self._get_once(request)
            except _CutOffError as error:
                cut_off = error
                sent += 1 + error.repeats
        raise BadImageError(f"the service's answer was cut off: {cut_off} ({url})") from cut_off

    def _get_once(self, request: requests.Request) -> Answer:
        url = request.url
        try:
            prepared = self._session.prepare_request(request)
            url = prepared.url
            settings = self._session.merge_environment_settings(url, {}, True, None, None)
            with self._session.send(prepared, timeout=self._timeout, **settings) as response:
                status = response.status_code
                body = _read(response, time.monotonic() + self._timeout)
                return Answer(
                    url, status, response.reason or "", body, self._repeat.get_retry_after(response)
                )
        except _CutOffError as error:
            error.repeats = len(getattr(response.raw.retries, "history", ()))
            raise
        except requests.TooManyRedirects as error:
            last = error.response
            raise FetchError(
                f"the service redirects without end: {url}",
                url=url,
                status=None if last is None else last.status_code,
            ) from error
        # Beyond its own exceptions, requests lets through urllib3's and, for odd addresses, ValueError.
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise FetchError(f"no answer from the service: {error} ({url})", url=url) from error


class _CutOffError(Exception):
    """The content ended before its announced length.

    Attributes
    ----------
    repeats : int
        How many repeats had been spent before this answer came.
    """

    repeats = 0


def _read(response: requests.Response, deadline: float) -> bytes:
    """The whole content, within the deadline and a bound of its size."""
    parts, size = [], 0
    try:
        for part in response.iter_content(2**14):
            parts.append(part)
            size += len(part)
            if size > _MAX_BYTES or time.monotonic() > deadline:
                raise requests.exceptions.ReadTimeout("the answer is too long or too slow")
    except requests.exceptions.ChunkedEncodingError as error:
        raise _CutOffError(error) from error
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and "Content-Encoding" not in response.headers and size != int(announced):
        raise _CutOffError(f"{size} bytes of {announced}")
    return b"".join(parts)
