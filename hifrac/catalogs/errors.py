"""What can go wrong with a catalogue."""

from __future__ import annotations

from hifrac.core.exceptions import HifracError, HifracWarning, ServiceError


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


class CatalogServiceError(ServiceError, CatalogError):
    """A service did not give a catalogue; parameters as of `~hifrac.core.FetchError`."""
