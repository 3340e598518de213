"""What can go wrong with a catalogue."""

from __future__ import annotations

from hifrac.core.exceptions import HifracError, HifracWarning

__all__ = [
    "CatalogError",
    "CatalogFormatError",
    "CatalogMissingError",
    "CatalogScaleError",
    "CatalogServiceError",
    "CatalogWarning",
]


class CatalogWarning(HifracWarning):
    """Something in a catalogue that its reader must know."""


class CatalogError(HifracError):
    """A catalogue cannot be had."""


class CatalogFormatError(CatalogError, ValueError):
    """A file or an answer is not the catalogue that it should be: damaged, empty, or without its columns."""


class CatalogMissingError(CatalogError, FileNotFoundError):
    """A catalogue is not on this computer, and may not be fetched."""


class CatalogScaleError(CatalogError, ValueError):
    """Two catalogues stand on different Hubble constants or initial mass functions."""


class CatalogServiceError(CatalogError):
    """A service did not give a catalogue.

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
