"""When a request to a service is repeated, and after which pause: one rule for all services."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tenacity
import urllib3
from urllib3.util import Retry

#: Statuses that may pass, and those of them with which a host says that it has trouble as a whole.
REPEATED = (429, 500, 502, 503, 504)
BUSY = (429, 502, 503, 504)

#: Seconds; no pause that the service did not ask for is longer.
LONGEST_PAUSE = 60.0


def retry_after(headers: Any) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, as a number or a date; None where it does not."""
    try:
        value = headers.get("Retry-After")
        return None if value is None else float(max(0, Retry().parse_retry_after(value)))
    except urllib3.exceptions.InvalidHeader:
        return None


def pause_before(repeat: int, backoff: float) -> float:
    """Return the seconds before a repeat: ``backoff`` before the first, twice as long before each other."""
    return min(LONGEST_PAUSE, backoff * 2.0 ** min(max(repeat, 1) - 1, 64))


def repeating(
    error: type[Exception],
    *,
    stop: Callable[[tenacity.RetryCallState], bool],
    wait: Callable[[tenacity.RetryCallState], float],
    sleep: Callable[[float], None] = time.sleep,
) -> tenacity.Retrying:
    """Return what calls a function again after each ``error`` until ``stop``, then raises the last one."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(error), stop=stop, wait=wait, sleep=sleep, reraise=True
    )
