"""HTTP for survey services: the rate, repeats, patience and time limits of one run, and a record of attempts.

This is transport only. What an answer means is the source's business.
"""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import requests
import tenacity
import urllib3

from hifrac.core.config import conf
from hifrac.core.exceptions import BadImageError, FetchError, RowError
from hifrac.core.retry import BUSY, LONGEST_PAUSE, REPEATED, pause_before, repeating, retry_after
from hifrac.cutouts._line import Line, TooLongError
from hifrac.cutouts._turns import turns_of

#: Open connections of one process to one host.
CONNECTIONS = 4

_MOST_REDIRECTS = 5
_REFUSALS = 3  # a host that asked so often in a row to be left alone for longer than the patience is given up
_PROBE = 30.0  # seconds, at most, between two requests of a thread to a host that does not answer
_LEAST_BACKOFF = 0.1  # seconds, of the pauses when all repeats are used up
_CUT_OFF = urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError, TooLongError
_MOMENT = 0.005  # seconds of a turn in which others may have done something

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a service answered, whatever its status; ``url`` is the address asked, without secrets."""

    url: str
    status: int
    reason: str
    body: bytes
    retry_after: float | None = None
    location: str | None = None


@dataclass(frozen=True)
class Attempt:
    """One request that was sent (``when`` in Unix seconds), for the record of the store."""

    when: float
    request: str
    status: int | None = None
    size: int | None = None
    sha256: bytes | None = None
    error: RowError | None = None


class StoppedError(FetchError):
    """The user, or a reader who had enough, stopped the run before this cutout was done."""


class _TroubleError(Exception):
    """What a repeat may mend: the error if none does, and whether the host is in trouble, not the row."""

    def __init__(self, error: RowError, *, by_host: bool = False, is_final: bool = False) -> None:
        super().__init__(error)
        self.error, self.by_host, self.is_final = error, by_host, is_final


@dataclass
class _Health:
    """How a host has been doing in this run."""

    answers: int = 0
    refusals: int = 0
    silent_since: float | None = None
    given_up: str | None = None
    retry_after: float | None = None

    def answered(self) -> None:
        self.answers, self.refusals, self.silent_since = self.answers + 1, 0, None

    def silence(self) -> float:
        """Return the seconds since the host was first asked in vain."""
        self.silent_since = since = self.silent_since or time.monotonic()
        return time.monotonic() - since


class Client:
    """One run of requests in a few threads; its settings are those of ``conf`` at its beginning.

    As a context manager it ends on leaving all that is still going on.
    """

    def __init__(self, most_bytes: int = 2**24) -> None:
        self.stop, self._closed = threading.Event(), threading.Event()
        self.most_bytes = most_bytes
        self.timeout, self.cutout_timeout, self.patience = conf.timeout, conf.cutout_timeout, conf.patience
        self.rate, self.retries, self.backoff = conf.max_rate, conf.retries, conf.retry_backoff
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="hifrac-fetch")
        self._watch = threading.Thread(target=self._watch_lines, name="hifrac-watch", daemon=True)
        self._health: dict[str, _Health] = {}
        self._lines: dict[int, Line] = {}
        self._prepared: dict[str, tuple[requests.PreparedRequest, Any]] = {}

    def __enter__(self) -> Client:
        self._watch.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._closed.set()
        self._watch.join()
        for line in self._lines.values():
            line.close()

    def submit(self, action: Callable[..., T], *arguments: Any) -> Future[T]:
        """Do something in one of the threads."""
        return self._threads.submit(action, *arguments)

    def health(self, url: str) -> _Health:
        """Return how the host of an address has been doing."""
        return self._health.setdefault(_host(url), _Health())

    def line(self) -> Line:
        """Return the calling thread's line."""
        number = threading.get_ident()
        if number not in self._lines:
            self._lines[number] = Line()
        return self._lines[number]

    def prepare(self, url: str, params: dict[str, str]) -> tuple[requests.PreparedRequest, Any]:
        """Return a request with proxies and certificates; what all of an address share is worked out once."""
        if url not in self._prepared:
            session = self.line().session
            named = session.merge_environment_settings(url, {}, None, None, None)
            settings = {key: value for key, value in named.items() if key != "stream"}
            prepared = session.prepare_request(requests.Request("GET", url)), settings
            if not params:  # a redirect: there may be one for each position
                return prepared
            self._prepared[url] = prepared
        request, settings = self._prepared[url]
        request = copy.copy(request)
        request.url = f"{request.url}{'&' if '?' in str(request.url) else '?'}{urlencode(params)}"
        return request, settings

    def _watch_lines(self) -> None:
        while not self._closed.wait(0.1):
            now = float("inf") if self.stop.is_set() else time.monotonic()
            for line in list(self._lines.values()):
                line.break_off(now)


class Errand:
    """The requests of one cutout: they share a time limit, a number of repeats, and a record of attempts."""

    def __init__(self, client: Client) -> None:
        self.attempts: list[Attempt] = []
        self._client = client
        self._seconds, self._repeats = client.cutout_timeout, 0
        self._turn: str | None = None

    def take_turn(self, url: str) -> bool:
        """Wait until the host may be asked.

        Returns
        -------
        waited : bool
            Whether that took long enough for others to have done something.

        Raises
        ------
        ~hifrac.core.FetchError
            If the host is not to be asked any more.
        StoppedError
            If the run ended meanwhile.
        """
        client, health, host = self._client, self._client.health(url), _host(url)
        turns, began = turns_of(host), time.monotonic()
        wait = turns.reserve(client.rate)
        while True:
            if (pause := turns.paused()) > max(client.patience, LONGEST_PAUSE):
                health.given_up = f"the service asked to be left alone for {pause:.0f} s more"
            if health.given_up is not None:
                error = f"not asked: {health.given_up} ({shown(url)})"
                raise FetchError(error, url=shown(url), retry_after=health.retry_after)
            if client.stop.wait(wait) if wait > 0 else client.stop.is_set():
                raise StoppedError("stopped before the request was sent", url=shown(url))
            # The host may have asked for a pause after the turn was given.
            if not (wait := turns.paused()):
                self._turn = host
                return time.monotonic() > began + _MOMENT

    def get(self, url: str, params: dict[str, str], accept: Callable[[Answer], T]) -> T:
        """Return what an accepted answer amounts to, after repeats where they help.

        Parameters
        ----------
        url : str
            The address.
        params : dict of str
            The query.
        accept : callable
            Turns an `Answer` into the result, or raises a `~hifrac.core.RowError`: with a
            `~hifrac.core.BadImageError` the request is repeated.

        Returns
        -------
        result : object
            What ``accept`` returned.

        Raises
        ------
        ~hifrac.core.RowError
            What ``accept`` raised; or if no answer came, only such as ask to come again, or each was cut off.
        StoppedError
            If the run ended meanwhile.
        """
        client, health = self._client, self._client.health(url)
        answers = health.answers

        def is_hopeless(state: tenacity.RetryCallState) -> bool:
            trouble, pause = _trouble_of(state), state.upcoming_sleep
            if trouble.is_final or (self._repeats <= client.retries and pause <= self._seconds):
                return trouble.is_final
            # The repeats of this row are used up. Is it the row, or has the host served nobody meanwhile?
            if not trouble.by_host or health.answers > answers:
                return True
            if health.silence() > max(client.patience, LONGEST_PAUSE):
                health.given_up = f"the service gave no answer for {health.silence():.0f} s"
            return health.silence() > client.patience

        def sleep(seconds: float) -> None:
            self._seconds -= seconds
            if client.stop.wait(seconds):
                raise StoppedError("stopped", url=shown(url))

        try:
            return repeating(_TroubleError, stop=is_hopeless, wait=self._pause, sleep=sleep)(
                self._try, url, params, accept
            )
        except _TroubleError as trouble:
            raise trouble.error from None

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next repeat, beyond those that the host named: turns wait for these."""
        trouble = _trouble_of(state)
        # Frames of its traceback hold the error in turn, and the answer that it was about.
        error: Exception
        for error in (trouble, trouble.error):
            error.__traceback__ = error.__cause__ = error.__context__ = None
        client = self._client
        # Even without pauses between repeats, a host that serves nobody must not be asked without end at once.
        backoff = client.backoff if self._repeats <= client.retries else max(client.backoff, _LEAST_BACKOFF)
        asked = getattr(trouble.error, "retry_after", None) or 0.0
        return max(0.0, min(_PROBE, pause_before(self._repeats, backoff)) - asked)

    def _try(self, url: str, params: dict[str, str], accept: Callable[[Answer], T]) -> T:
        """Ask once, redirects included."""
        self._repeats += 1
        health = self._client.health(url)
        answer = self._follow(url, params, health)
        if answer.status in REPEATED:
            busy = f"the service answered {answer.status} {answer.reason}".rstrip()
            error = FetchError(
                f"{busy} ({answer.url})", url=answer.url, status=answer.status, retry_after=answer.retry_after
            )
            self._note(answer, error)
            raise _TroubleError(error, by_host=answer.status in BUSY, is_final=self._leave(answer, health))
        try:
            result = accept(answer)
        except BadImageError as error:
            self._note(answer, error)
            raise _TroubleError(error) from error
        except RowError as error:
            self._note(answer, error)
            raise
        self._note(answer, None)
        return result

    def _leave(self, answer: Answer, health: _Health) -> bool:
        """Leave the host alone as long as it asks for; whether that is longer than the patience."""
        if (asked := answer.retry_after) is None:
            return False
        health.retry_after = asked
        if asked <= max(self._client.patience, LONGEST_PAUSE):
            turns_of(_host(answer.url)).pause(asked)
            return False
        health.refusals += 1
        if health.refusals >= _REFUSALS:
            health.given_up = f"the service asked to be left alone for {asked:g} s"
        return True

    def _follow(self, url: str, params: dict[str, str], health: _Health) -> Answer:
        """The answer to a request, or to the one that it is redirected to."""
        target, query = url, params
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(target, query, health)
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

    def _once(self, url: str, params: dict[str, str], health: _Health) -> Answer:
        """The answer to one request."""
        client, line = self._client, self._client.line()
        address = f"{shown(url)}?{urlencode(params)}" if params else shown(url)
        if self._turn != _host(url):
            self.take_turn(url)
        self._turn = None
        seconds = min(client.timeout, self._seconds) if self._seconds > 0 else client.timeout
        self.attempts.append(Attempt(time.time(), address))
        began = time.monotonic()
        try:
            request, settings = client.prepare(url, params)
            response, body = line.exchange(request, settings, seconds, client.most_bytes)
        # Beyond its own exceptions, requests lets through urllib3's and, for odd addresses, ValueError.
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as failure:
            if client.stop.is_set():
                raise StoppedError("stopped before the answer was complete", url=address) from None
            cause: Exception = failure
            if line.broken_off:
                cause = requests.Timeout(f"timed out, not complete after {seconds:g} s")
            elif isinstance(failure, _CUT_OFF):
                health.answered()
            raise self._trouble(cause, url, address) from None
        finally:
            self._seconds -= time.monotonic() - began
        if response.status_code not in BUSY:
            health.answered()
        reason = printable(response.reason or "")
        location = response.headers.get("Location") if response.is_redirect else None
        return Answer(address, response.status_code, reason, body, retry_after(response.headers), location)

    def _trouble(self, failure: Exception, url: str, address: str) -> _TroubleError:
        """What it means that no answer came, or a part of one."""
        reason = failure.args[0] if failure.args else failure
        text = printable(str(getattr(reason, "reason", reason)))
        for secret in (urlsplit(url).netloc.rpartition("@")[0], urlsplit(url).query):
            text = text.replace(secret, "...") if secret else text
        error: RowError
        if isinstance(failure, _CUT_OFF):
            error = BadImageError(
                f"the service's answer was cut off, damaged or too long: {text} ({address})"
            )
        else:
            error = FetchError(f"no answer from the service: {text} ({address})", url=address)
        self.attempts[-1] = replace(self.attempts[-1], error=error)
        return _TroubleError(error, by_host=isinstance(error, FetchError))

    def _note(self, answer: Answer, error: RowError | None) -> None:
        """Record what came; of the content only its length and sha256 are kept."""
        self.attempts[-1] = replace(
            self.attempts[-1],
            status=answer.status,
            size=len(answer.body),
            sha256=hashlib.sha256(answer.body).digest(),
            error=error,
        )


def _trouble_of(state: tenacity.RetryCallState) -> _TroubleError:
    outcome = cast("tenacity.Future", state.outcome)
    return cast("_TroubleError", outcome.exception())


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def printable(text: str) -> str:
    """Return what a service said without control characters, which a terminal would obey."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def shown(address: str) -> str:
    """Return an address as it may be shown and kept: without name, password, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
