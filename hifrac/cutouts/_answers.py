"""What services answer, as sources and the store see it: nothing here opens a connection."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from hifrac.core.exceptions import FetchError, RowError


@dataclass(frozen=True)
class Answer:
    """What a service answered, whatever its status; ``url`` is the address asked, without secrets."""

    url: str
    status: int
    reason: str
    body: bytes
    retry_after: float | None = None
    location: str | None = None


@dataclass
class Attempt:
    """One request that was sent (``when`` in Unix seconds), for the record of the store."""

    when: float
    request: str
    status: int | None = None
    size: int | None = None
    sha256: bytes | None = None
    error: RowError | None = None


def refused(answer: Answer) -> FetchError:
    """Return the error of an answer with a status that is not that of a picture."""
    reason = f"the service answered {answer.status} {answer.reason}".rstrip()
    return FetchError(
        f"{reason} ({answer.url})", url=answer.url, status=answer.status, retry_after=answer.retry_after
    )


def printable(text: str) -> str:
    """Return what a service said without control characters, which a terminal would obey."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def shown(address: str) -> str:
    """Return an address as it may be shown and kept: without name, password, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
