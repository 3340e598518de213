"""Errors and warnings of the package."""

from __future__ import annotations

import sys
import warnings
from typing import ClassVar

from astropy.utils.exceptions import AstropyUserWarning

from hifrac.core.flags import Flag


class HifracWarning(AstropyUserWarning):
    """A warning of this package."""


def warn_caller(message: str, category: type[Warning] = HifracWarning) -> None:
    """Warn, and point to the first line that is outside of this package."""
    frame, stacklevel = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "hifrac":
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)


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
