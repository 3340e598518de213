"""Errors and warnings of the package."""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

from astropy.utils.exceptions import AstropyUserWarning

from hifrac.core.flags import Flag
from hifrac.core.forks import hold_at_fork

# The filters of `warnings.catch_warnings` are those of all threads, and the last one to leave it restores
# what it met. So warnings of this package are told to whoever listens in their own context, and filters are
# changed for those of libraries alone, by one thread at a time.
_Receiver = Callable[[str, type[Warning]], object]
_receiver: ContextVar[_Receiver | None] = ContextVar("_receiver", default=None)
_filters_lock = threading.RLock()
hold_at_fork(_filters_lock)


class HifracWarning(AstropyUserWarning):
    """A warning of this package."""


def warn_caller(message: str, category: type[Warning] = HifracWarning) -> None:
    """Warn, and point to the first line that is outside of this package."""
    if (receive := _receiver.get()) is not None:
        receive(message, category)
        return
    frame, stacklevel = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "hifrac":
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)


@contextmanager
def warnings_to(receive: _Receiver | None) -> Iterator[None]:
    """Tell warnings of this package to a function: those of this thread, and of what it gives its context."""
    token = _receiver.set(receive)
    try:
        yield
    finally:
        _receiver.reset(token)


@contextmanager
def without_warnings(beginning: str = "") -> Iterator[None]:
    """Leave out warnings of this package that begin as a regular expression says."""
    outer = _receiver.get()

    def receive(message: str, category: type[Warning]) -> None:
        if not re.match(beginning, message):
            with warnings_to(outer):
                warn_caller(message, category)

    with warnings_to(receive):
        yield


@contextmanager
def silenced(*beginnings: str) -> Iterator[None]:
    """Silence what libraries warn of, or what of it begins as regular expressions say.

    To be left soon, and without waiting for other threads: these may wait for it.
    """
    with _filters_lock, warnings.catch_warnings():
        for beginning in beginnings or ("",):
            warnings.filterwarnings("ignore", beginning)
        yield


class HifracError(Exception):
    """Base class of the errors of this package."""


class RowError(HifracError):
    """What stopped one row; it becomes that row's flag unless ``on_error="raise"``.

    Attributes
    ----------
    flag : `~hifrac.Flag`
        The flag that a row stopped by this error carries.
    """

    flag: ClassVar[Flag]


class BadCoordinateError(RowError, ValueError):
    """A position that is masked, not finite, or outside the sphere."""

    flag = Flag.BAD_COORDINATE


class BadScaleError(RowError, ValueError):
    """A pixel scale that is masked, not positive, or not one that a picture can have."""

    flag = Flag.BAD_SCALE


class OutOfFootprintError(RowError):
    """The survey answered with a blank picture: it has no image there."""

    flag = Flag.OUT_OF_FOOTPRINT


class BadImageError(RowError, ValueError):
    """Bytes that are no usable picture: damaged, cut off, HTML, or of the wrong size."""

    flag = Flag.BAD_IMAGE


class ServiceError(HifracError):
    """A service refused, failed, or did not answer.

    Parameters
    ----------
    message : str
        What happened.
    url : str, optional
        The address asked.
    status : int, optional
        The HTTP status of the last answer, if there was one.
    retry_after : float, optional
        The seconds after which the service asked to be called again.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.url = url
        self.status = status
        self.retry_after = retry_after


class FetchError(ServiceError, RowError):
    """No picture could be obtained.

    Parameters
    ----------
    message : str
        What happened.
    url : str, optional
        The address asked.
    status : int, optional
        The HTTP status of the last answer, if there was one.
    retry_after : float, optional
        The seconds after which the service asked to be called again.
    """

    flag = Flag.FETCH_FAILED


class ModelError(HifracError):
    """A model cannot be used."""


class UnknownModelError(ModelError, ValueError):
    """No model of that name is installed."""


class ModelIntegrityError(ModelError):
    """A model file is not the one its card describes: its sha256 differs."""
