"""When a request to a service is repeated, and after which pause: one rule for all services."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity
import urllib3
from urllib3.util import Retry

from hifrac.core.config import conf
from hifrac.core.exceptions import ServiceError

T = TypeVar("T")

#: Statuses by which a host says that it has trouble as a whole.
BUSY = (429, 502, 503, 504)

#: Seconds; no pause that the service did not ask for is longer.
LONGEST_PAUSE = 60.0


def may_pass(status: int | None) -> bool:
    """Return whether a service may do better when it is asked again; ``None`` if no answer came."""
    return status is None or status in (408, 425, 429) or status >= 500


def retry_after(headers: Any) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, as a number or a date; None where it does not."""
    try:
        value = headers.get("Retry-After")
        return None if value is None else float(max(0, Retry().parse_retry_after(value)))
    except urllib3.exceptions.InvalidHeader:
        return None


def pause_before(
    repeat: int, backoff: float, asked: float | None = None, longest: float = LONGEST_PAUSE
) -> float:
    """Return the seconds before a repeat: ``backoff`` before the first, twice as long before each other.

    What the service ``asked`` for is a part of it, and waited for by whoever keeps the turns of its host.
    """
    return max(0.0, min(longest, backoff * 2.0 ** min(max(repeat, 1) - 1, 64)) - (asked or 0.0))


def ask_patiently(ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns, calling it again as the settings allow while its ServiceError may pass."""

    def asked(state: tenacity.RetryCallState) -> float:
        return getattr(state.outcome and state.outcome.exception(), "retry_after", None) or 0.0

    def wait(state: tenacity.RetryCallState) -> float:
        return max(pause_before(state.attempt_number, conf.retry_backoff), asked(state))

    def stop(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number > conf.retries or asked(state) > max(conf.patience, LONGEST_PAUSE)

    def is_passing(error: BaseException) -> bool:
        return isinstance(error, ServiceError) and may_pass(error.status)

    return repeating(is_passing, stop=stop, wait=wait)(ask)


def repeating(
    is_passing: Callable[[BaseException], bool],
    *,
    stop: Callable[[tenacity.RetryCallState], bool],
    wait: Callable[[tenacity.RetryCallState], float],
    sleep: Callable[[float], None] = time.sleep,
) -> tenacity.Retrying:
    """Return what calls a function again after passing errors until ``stop``, then raises the last one."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing), stop=stop, wait=wait, sleep=sleep, reraise=True
    )
