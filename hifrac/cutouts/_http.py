"""HTTP for cutout services: repeats, time limits, and a record of every attempt.

This is transport only. What an answer means is the source's business.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from urllib3.util import Retry

from hifrac.core.config import conf
from hifrac.core.exceptions import BadImageError, FetchError, RowError
from hifrac.cutouts._line import CutOffError, Line, new_session
from hifrac.cutouts._politeness import LONGEST_WAIT, HostLimit, host_limit

__all__ = ["Answer", "Attempt", "Client", "Errand", "StoppedError", "without_user"]

REPEATED_STATUSES = (429, 500, 502, 503, 504)

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5

# A host is given up when it asked for a long leave so often without a break,
# or gave no answer of any kind for so many cutouts and seconds.
_REFUSALS = 3
_SILENT_CUTOUTS, _SILENT_SECONDS = 20, 60.0

_MOMENT = 0.005

T = TypeVar("T")


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


@dataclass(frozen=True)
class Attempt:
    """One request that was sent, for the manifest.

    Parameters
    ----------
    when : float
        Seconds since 1970 (UTC) at which it was sent.
    request : str
        The address with its parameters.
    status : int or None
        HTTP status, if there was an answer.
    body : bytes or None
        The content, if it came completely.
    error : `Exception` or None
        What was wrong with it.
    """

    when: float
    request: str
    status: int | None = None
    body: bytes | None = None
    error: Exception | None = None


class StoppedError(FetchError):
    """The user, or a reader who had enough, stopped the round before this cutout was done."""


class _Repeat(Retry):
    """urllib3's Retry: the first repeat comes after ``conf.retry_backoff`` seconds, not at once."""

    def get_backoff_time(self) -> float:
        return float(min(LONGEST_WAIT, self.backoff_factor * 2 ** max(0, len(self.history) - 1)))

    def get_retry_after(self, response: Any) -> float | None:
        try:
            return super().get_retry_after(response)
        except urllib3.exceptions.InvalidHeader:
            return None


class Client:
    """One round of requests; its settings are those of ``conf`` at its beginning.

    Thread-safe: each thread has a session, and one connection, of its own.
    Used as a context manager, it ends on leaving all that is still going on.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.timeout = conf.timeout
        self.cutout_timeout = conf.cutout_timeout
        self.rate = conf.max_rate
        self.repeat = _Repeat(total=conf.retries, backoff_factor=conf.retry_backoff)
        self._template = new_session()
        self._prepared: dict[str, requests.PreparedRequest] = {}
        self._environment: dict[HostLimit, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._lines: dict[tuple[int, int], Line] = {}
        self._health: dict[HostLimit, _Health] = {}
        self._watch = threading.Thread(target=self._watch_lines, name="hifrac-watch", daemon=True)

    def __enter__(self) -> Client:
        self._watch.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop.set()
        with self._lock:
            lines = list(self._lines.values())
        for line in lines:
            line.break_off()
        self._watch.join()
        for line in lines:
            line.close()

    def errand(self) -> Errand:
        """The requests of one cutout."""
        return Errand(self)

    def prepare(self, url: str, params: dict[str, str]) -> requests.PreparedRequest:
        """A request; what is the same for all of an address (headers, credentials) is worked out once."""
        if url not in self._prepared:
            self._prepared[url] = self._template.prepare_request(requests.Request("GET", url))
        request = copy.copy(self._prepared[url])
        if params:
            request.url += ("&" if "?" in request.url else "?") + urlencode(params)
        return request

    def environment(self, limit: HostLimit, url: str) -> dict[str, Any]:
        """Proxies and certificates that the environment names for a host; looked up once."""
        if limit not in self._environment:
            self._environment[limit] = self._template.merge_environment_settings(url, {}, True, None, None)
        return self._environment[limit]

    def line(self, limit: HostLimit) -> Line:
        """The calling thread's line to a host."""
        key = threading.get_ident(), id(limit)
        with self._lock:
            if key not in self._lines:
                self._lines[key] = Line(limit)
            return self._lines[key]

    def health(self, limit: HostLimit) -> _Health:
        """How the host has been doing in this round."""
        with self._lock:
            return self._health.setdefault(limit, _Health())

    def _watch_lines(self) -> None:
        """Break off what takes too long, and give way to other programs."""
        while not self.stop.wait(0.1):
            with self._lock:
                lines = list(self._lines.values())
            for line in lines:
                line.look_after()


class Errand:
    """The requests of one cutout: they share a time limit, a number of repeats, and a record.

    Attributes
    ----------
    attempts : list of `Attempt`
        What was sent, in order.
    """

    def __init__(self, client: Client) -> None:
        self.attempts: list[Attempt] = []
        self._client = client
        self._repeat = client.repeat
        self._deadline: float | None = None
        self._turn: HostLimit | None = None

    def take_turn(self, url: str) -> bool:
        """Wait for what a request needs: a connection, and its turn.

        Returns
        -------
        waited : bool
            Whether that took long enough for others to have done something.

        Raises
        ------
        ~hifrac.core.exceptions.FetchError
            If the host is not to be asked, or no turn came in time.
        StoppedError
            If the client ended meanwhile.
        """
        client, limit = self._client, host_limit(url)
        health, line = client.health(limit), client.line(limit)
        if (given_up := health.given_up()) is not None:
            raise FetchError(f"not asked: {given_up} ({url})", url=url, retry_after=health.retry_after)
        begin = time.monotonic()
        patience = begin + client.cutout_timeout if self._deadline is None else self._deadline
        if not line.open(client.stop, patience) or not limit.wait(client.rate, client.stop, patience):
            line.rest()
            if client.stop.is_set():
                raise StoppedError("stopped before the request was sent", url=url)
            raise FetchError(f"no turn came within {client.cutout_timeout:g} s ({url})", url=url)
        self._turn = limit
        return time.monotonic() > begin + _MOMENT

    def leave_turn(self) -> None:
        """Nothing is to be sent after all."""
        if self._turn is not None:
            self._client.line(self._turn).rest()
            self._turn = None

    def get(self, url: str, params: dict[str, str], accept: Callable[[Answer], T]) -> T:
        """What an accepted answer amounts to, after repeats where they help.

        Parameters
        ----------
        url : str
            The address.
        params : dict of str
            The query.
        accept : callable
            Turns an `Answer` into the result. It raises a
            `~hifrac.core.exceptions.RowError` for any other: with a
            `~hifrac.core.exceptions.BadImageError` the request is repeated.

        Returns
        -------
        result : object
            What ``accept`` returned.

        Raises
        ------
        ~hifrac.core.exceptions.RowError
            What ``accept`` raised.
        ~hifrac.core.exceptions.FetchError
            If no answer came, or only such as ask to come again.
        ~hifrac.core.exceptions.BadImageError
            If the answer was cut off each time.
        StoppedError
            If the client ended meanwhile.
        """
        try:
            request = self._client.prepare(url, params)
        except (requests.RequestException, ValueError) as error:
            raise FetchError(f"no answer from the service: {error} ({url})", url=url) from error
        limit, redirects = host_limit(url), 0
        while True:
            answer, raw, error = self._once(request, limit)
            if answer is not None and answer.status in _REDIRECTS and "location" in raw.headers:
                redirects += 1
                if redirects > _MAX_REDIRECTS:
                    raise FetchError(
                        f"the service redirects without end: {url}", url=url, status=answer.status
                    )
                request = self._client.prepare(urljoin(answer.url, raw.headers["location"]), {})
                limit = host_limit(request.url)
                continue
            if error is None and answer.status not in REPEATED_STATUSES:
                try:
                    result = accept(answer)
                except RowError as refusal:
                    self._note(answer, refusal)
                    if not isinstance(refusal, BadImageError):
                        raise
                    error = refusal
                else:
                    self._note(answer, None)
                    return result
            elif error is None:
                error = FetchError(
                    f"the service answered {answer.status} {answer.reason} ({answer.url})",
                    url=answer.url,
                    status=answer.status,
                    retry_after=answer.retry_after,
                )
                self._note(answer, error)
            self._wait_to_repeat(request, limit, raw, error)

    def _note(self, answer: Answer, error: Exception | None) -> None:
        self.attempts[-1] = Attempt(
            self.attempts[-1].when, self.attempts[-1].request, answer.status, answer.body, error
        )

    def _wait_to_repeat(
        self, request: Any, limit: HostLimit, raw: urllib3.BaseHTTPResponse | None, error: RowError
    ) -> None:
        """Wait as long as is due before a repeat; raise the error where none is due."""
        asked = None if raw is None else self._repeat.get_retry_after(raw)
        if asked is not None and raw.status in REPEATED_STATUSES:
            self._client.health(limit).leave_asked(asked)
            if asked > LONGEST_WAIT:
                raise error
            limit.pause(asked)
        try:
            self._repeat = self._repeat.increment("GET", request.url, error=error)
        except urllib3.exceptions.MaxRetryError:
            raise error from None
        pause = self._repeat.get_backoff_time() if asked is None else max(0.0, asked)
        if time.monotonic() + pause > self._deadline:
            raise error
        if self._client.stop.wait(pause):
            raise StoppedError("stopped", url=request.url) from error

    def _once(
        self, request: requests.PreparedRequest, limit: HostLimit
    ) -> tuple[Answer | None, urllib3.BaseHTTPResponse | None, RowError | None]:
        """Send a request: the answer, also as urllib3 has it, or what went wrong."""
        client, url = self._client, request.url
        if self._turn is not limit:
            self.leave_turn()
            self.take_turn(url)
        self._turn = None
        health, line = client.health(limit), client.line(limit)
        if self._deadline is None:  # the time of a cutout begins with its first request
            self._deadline = time.monotonic() + client.cutout_timeout
        seconds = min(client.timeout, max(0.001, self._deadline - time.monotonic()))
        self.attempts.append(Attempt(time.time(), url))
        try:
            response, body = line.exchange(request, client.environment(limit, url), seconds)
            if line.broken_off:  # headers that end there pass for complete ones
                raise requests.Timeout("broken off")
        # Beyond its own exceptions, requests lets through urllib3's and, for odd addresses, ValueError.
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as failure:
            if isinstance(failure, CutOffError) and not line.broken_off:
                health.answered()
                error: RowError = BadImageError(f"the service's answer was cut off: {failure} ({url})")
            else:
                reason = f"timed out, not complete after {seconds:g} s" if line.broken_off else failure
                error = FetchError(f"no answer from the service: {reason} ({url})", url=url)
                health.silent(first=len(self.attempts) == 1)
            error.__cause__ = failure
        else:
            health.answered()
            retry_after = self._repeat.get_retry_after(response)
            return Answer(url, response.status, response.reason or "", body, retry_after), response, None
        if client.stop.is_set():
            raise StoppedError("stopped before the answer was complete", url=url)
        self.attempts[-1] = Attempt(self.attempts[-1].when, url, error=error)
        return None, None, error


def without_user(address: str) -> str:
    """An address without the name and password that it may have."""
    with contextlib.suppress(ValueError):
        if "@" not in address:
            return address
        parts = urlsplit(address)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return address


class _Health:
    """Whether there is any use in asking a host further. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals = 0
        self._silent = 0
        self._silent_since: float | None = None
        self.retry_after: float | None = None

    def answered(self) -> None:
        with self._lock:
            self._silent, self._silent_since = 0, None

    def silent(self, *, first: bool) -> None:
        """No answer came; ``first`` says whether to the first request of a cutout."""
        with self._lock:
            self._silent += first
            if self._silent_since is None:
                self._silent_since = time.monotonic()

    def leave_asked(self, seconds: float) -> None:
        """The host asked to be left alone."""
        with self._lock:
            self._refusals = self._refusals + 1 if seconds > LONGEST_WAIT else 0
            self.retry_after = seconds

    def given_up(self) -> str | None:
        """Why the host is not asked any more in this round, or None."""
        with self._lock:
            if self._refusals >= _REFUSALS:
                return f"the service asked to be left alone for {self.retry_after:g} s"
            if self._silent >= _SILENT_CUTOUTS and time.monotonic() - self._silent_since > _SILENT_SECONDS:
                return f"the service gave no answer for {time.monotonic() - self._silent_since:.0f} s"
            return None
