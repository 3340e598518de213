"""HTTP for survey services: requests sends and tenacity repeats; what they leave open is here.

* No request goes out before its turn, or while the host has asked to be left alone (`hifrac.cutouts._turns`).
* An exchange ends in time, however its answer drips, and as soon as the run ends.
* What may pass is asked for again. A host that serves nobody is waited for as long as ``conf.patience``.
* No redirect is followed to where it is less safe, and a repeat goes to the original address.
* An answer is as long as a picture can be, also unpacked; of a failed one only length and sha256 are kept.
* A name, a password and a query of an address are sent, and shown nowhere.

What an answer means is the source's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter

import hifrac
from hifrac.core.config import conf
from hifrac.core.exceptions import BadImageError, FetchError, RowError
from hifrac.core.retry import BUSY, LONGEST_PAUSE, may_pass, pause_before, repeating, retry_after
from hifrac.cutouts._answers import Answer, Attempt, printable, refused, shown
from hifrac.cutouts._turns import turns_of

#: Open connections of one process to one host.
CONNECTIONS = 4

_MOST_REDIRECTS = 5
_REFUSALS = 3  # a host that asked so often in a row to be left alone for longer than the patience is given up
_UNRESOLVED = 3  # requests for one cutout, before any answer, to a host of unknown name: there is no network
_PROBE = 30.0  # seconds, at most, between two requests of a thread to a host that does not answer
_LEAST_BACKOFF = 0.1  # seconds, of the pauses when all repeats are used up
_MOMENT = 0.005  # seconds of a turn in which others may have done something
_SLICE = 0.1  # seconds in which a thread notices that the run has ended

T = TypeVar("T")


class StoppedError(FetchError):
    """The user, or a reader who had enough, stopped the run before this cutout was done."""


class _TooLongError(OSError):
    """The content is longer than is allowed, as it came or unpacked."""


_CUT_OFF = requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError, _TooLongError

# What bounds the exchange of a thread: ``deadline``, by `time.monotonic`, and ``stop``, an event.
_LIMITS = threading.local()


class _Reader(io.RawIOBase):
    """What comes through a socket within the limits of the thread; its timeout begins anew at each byte."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase) -> None:
        self._socket, self._file = sock, file
        self._deadline, self._stop = _LIMITS.deadline, _LIMITS.stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        before = self._socket.gettimeout()
        while (remaining := self._deadline - time.monotonic()) > 0 and not self._stop.is_set():
            self._socket.settimeout(min(remaining, _SLICE))
            with contextlib.suppress(TimeoutError):
                size = self._socket.recv_into(buffer)
                self._socket.settimeout(before)
                return size
        raise TimeoutError("timed out: the answer is not complete")

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Reader(sock, self.fp.detach()))


@cache
def _bounded(connection: type) -> type:
    """Return a kind of connections whose answers are read within the limits of the thread."""
    return type(connection.__name__, (connection,), {"response_class": _Response})


class _Adapter(HTTPAdapter):
    """Makes connections, by way of proxies too, whose answers are read within the limits of the thread."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if pool.ConnectionCls.response_class is not _Response:
            pool.ConnectionCls = _bounded(pool.ConnectionCls)
        return pool


class Client:
    """One run of requests to a service by a few threads, with the settings of ``conf`` at its beginning."""

    def __init__(self, most_bytes: int = 2**24) -> None:
        self.stop = threading.Event()
        self.timeout, self.cutout_timeout, self.patience = conf.timeout, conf.cutout_timeout, conf.patience
        self.rate, self.retries, self.backoff = conf.max_rate, conf.retries, conf.retry_backoff
        self.longest_leave = max(self.patience, LONGEST_PAUSE)
        self._most_bytes = most_bytes
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"hifrac/{hifrac.__version__}"
        self._session.headers["Accept-Encoding"] = "identity"  # pictures do not get smaller
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_maxsize=CONNECTIONS, pool_block=True))
        self._settings: dict[str, Any] = {}
        # How the service has been doing.
        self.answers = self._refusals = 0
        self.given_up: str | None = None
        self.retry_after: float | None = None
        self._silent_since: float | None = None

    def close(self) -> None:
        """Close all connections; nothing may be going on."""
        self._session.close()

    def exchange(self, url: str, params: dict[str, str], seconds: float) -> tuple[requests.Response, bytes]:
        """Send a request and read the whole answer, within some time and the length of a picture."""
        _LIMITS.deadline, _LIMITS.stop = time.monotonic() + seconds, self.stop
        body = bytearray()
        if (host := _host(url)) not in self._settings:  # requests would read the environment each time
            self._settings[host] = self._session.merge_environment_settings(url, {}, True, None, None)
        request = self._session.prepare_request(requests.Request("GET", url, params=params))
        with self._session.send(
            request, allow_redirects=False, timeout=seconds, **self._settings[host]
        ) as response:
            for part in response.iter_content(2**16):
                body += part
                if len(body) > self._most_bytes:
                    raise _TooLongError(f"the answer is longer than {self._most_bytes} bytes")
        return response, bytes(body)

    def answered(self) -> None:
        """Note that the service answers."""
        self.answers, self._refusals, self._silent_since = self.answers + 1, 0, None

    def silence(self) -> float:
        """Return the seconds since the service was first asked in vain; after too many it is given up."""
        self._silent_since = since = self._silent_since or time.monotonic()
        if (seconds := time.monotonic() - since) > self.longest_leave:
            self.given_up = f"the service gave no answer for {seconds:.0f} s"
        return seconds

    def leave(self, host: str, seconds: float) -> None:
        """Leave a host alone as it asks to be; if that is too long, and was twice before, give it up."""
        self.retry_after = seconds
        if seconds <= self.longest_leave:
            turns_of(host).pause(seconds)
            return
        self._refusals += 1
        if self._refusals >= _REFUSALS:
            self.given_up = f"the service asked to be left alone for {seconds:g} s"


class CutoutRequests:
    """The requests of one cutout: they share a time limit, a number of repeats, and a record of attempts."""

    def __init__(self, client: Client) -> None:
        self.attempts: list[Attempt] = []
        self._client = client
        self._seconds, self._repeats, self._answers = client.cutout_timeout, 0, client.answers
        self._turn: str | None = None

    def take_turn(self, url: str) -> bool:
        """Wait until the host may be asked; return whether others may have done something meanwhile.

        A FetchError if it is not to be asked any more, or if the run ended.
        """
        client, host, began = self._client, _host(url), time.monotonic()
        turns = turns_of(host)
        wait = turns.reserve(client.rate)
        while True:
            if (pause := turns.paused()) > client.longest_leave:
                client.given_up = f"the service asked to be left alone for {pause:.0f} s more"
            if client.given_up is not None:
                error = f"not asked: {client.given_up} ({shown(url)})"
                raise FetchError(error, url=shown(url), retry_after=client.retry_after)
            if client.stop.wait(wait) if wait > 0 else client.stop.is_set():
                raise StoppedError("stopped before the request was sent", url=shown(url))
            if not turns.paused():
                self._turn = host
                return time.monotonic() > began + _MOMENT
            # The host asked for a pause after the turn was given: all who wait for its end need new ones.
            wait = turns.reserve(client.rate)

    def get(self, url: str, params: dict[str, str], accept: Callable[[Answer], T]) -> T:
        """Return what ``accept`` makes of the answer, after repeats where they help.

        A RowError of ``accept`` ends it, but after a BadImageError the request is repeated; so it is where no
        answer came, or one that asks to come again. A StoppedError if the run ended.
        """
        self._answers = self._client.answers
        repeat = repeating(self._is_passing, stop=self._is_hopeless, wait=self._pause, sleep=self._sleep)
        return repeat(self._try, url, params, accept)

    def _is_passing(self, error: BaseException) -> bool:
        if self._client.given_up is not None or isinstance(error, StoppedError):
            return False
        return isinstance(error, BadImageError) or (isinstance(error, FetchError) and may_pass(error.status))

    def _is_hopeless(self, state: tenacity.RetryCallState) -> bool:
        client, error = self._client, _error_of(state)
        if (getattr(error, "retry_after", None) or 0.0) > client.longest_leave:
            return True
        if self._repeats <= client.retries and state.upcoming_sleep <= self._seconds:
            return False
        # The repeats of this row are used up. Is it the row, or has the service served nobody meanwhile?
        is_the_row = not isinstance(error, FetchError) or error.status not in (None, *BUSY)
        if is_the_row or client.answers > self._answers:
            return True
        return client.silence() > client.patience

    def _pause(self, state: tenacity.RetryCallState) -> float:
        client, error = self._client, _error_of(state)
        # Frames of its traceback hold the answer that it was about.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        # Whatever the settings, a host that serves nobody is not asked again and again without a pause.
        backoff = client.backoff if self._repeats <= client.retries else max(client.backoff, _LEAST_BACKOFF)
        return pause_before(self._repeats, backoff, getattr(error, "retry_after", None), longest=_PROBE)

    def _sleep(self, seconds: float) -> None:
        self._seconds -= seconds
        if self._client.stop.wait(seconds):
            raise StoppedError("stopped before the request was repeated")

    def _try(self, url: str, params: dict[str, str], accept: Callable[[Answer], T]) -> T:
        """Ask once, redirects included."""
        self._repeats += 1
        try:
            answer = self._follow(url, params)
            if not may_pass(answer.status):
                return accept(answer)
            if answer.retry_after is not None:
                self._client.leave(_host(answer.url), answer.retry_after)
            raise refused(answer)
        except RowError as error:
            if self.attempts and self.attempts[-1].error is None:
                self.attempts[-1].error = error
            raise

    def _follow(self, url: str, params: dict[str, str]) -> Answer:
        """Return the answer to a request, or to the one that it is redirected to."""
        target, query = url, params
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._ask(target, query)
            if answer.location is None:
                return answer
            before, target, query = urlsplit(target), urljoin(target, answer.location), {}
            after = urlsplit(target)
            if after.scheme not in ("http", "https") or (
                before.scheme > after.scheme and before.hostname != after.hostname
            ):
                reason = f"the service redirects to {shown(target)}, which is less safe"
                break
        else:
            reason = "the service redirects without end"
        raise FetchError(f"{reason} ({answer.url})", url=answer.url, status=answer.status)

    def _ask(self, url: str, params: dict[str, str]) -> Answer:
        """Return the answer to one request."""
        client = self._client
        address = f"{shown(url)}?{urlencode(params)}" if params else shown(url)
        if self._turn != _host(url):
            self.take_turn(url)
        self._turn = None
        seconds = min(client.timeout, self._seconds) if self._seconds > 0 else client.timeout
        attempt = Attempt(time.time(), address)
        self.attempts.append(attempt)
        began = time.monotonic()
        try:
            response, body = client.exchange(url, params, seconds)
        # Beyond its own exceptions, requests lets through urllib3's and, for odd addresses, ValueError.
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as failure:
            if client.stop.is_set():
                raise StoppedError("stopped before the answer was complete", url=address) from None
            if isinstance(failure, _CUT_OFF):
                client.answered()
            if self._repeats >= _UNRESOLVED and not client.answers and _is_unresolved(failure):
                client.given_up = f"the name {_host(url)} is not known: is there a network?"
            raise _no_answer(failure, url, address) from None
        finally:
            self._seconds -= time.monotonic() - began
        attempt.status, attempt.size = response.status_code, len(body)
        attempt.sha256 = hashlib.sha256(body).digest()
        if response.status_code not in BUSY:
            client.answered()
        reason = printable(response.reason or "")
        location = response.headers.get("Location") if response.is_redirect else None
        return Answer(address, response.status_code, reason, body, retry_after(response.headers), location)


def _no_answer(failure: Exception, url: str, address: str) -> RowError:
    """Return the error of an exchange without a complete answer."""
    text = printable(str(_reason_of(failure)))
    for secret in (urlsplit(url).netloc.rpartition("@")[0], urlsplit(url).query):
        text = text.replace(secret, "...") if secret else text
    if isinstance(failure, _CUT_OFF):
        return BadImageError(f"the service's answer was cut off, damaged or too long: {text} ({address})")
    return FetchError(f"no answer from the service: {text} ({address})", url=address)


def _is_unresolved(failure: Exception) -> bool:
    """Return whether no address is known by the name of a host."""
    return isinstance(_reason_of(failure), urllib3.exceptions.NameResolutionError)


def _reason_of(failure: Exception) -> object:
    """Return what requests and urllib3 have wrapped."""
    reason = failure.args[0] if failure.args else failure
    return getattr(reason, "reason", reason)


def _error_of(state: tenacity.RetryCallState) -> BaseException:
    outcome = cast("tenacity.Future", state.outcome)
    return cast("BaseException", outcome.exception())


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()
