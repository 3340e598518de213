"""What a source of cutouts is: the protocol that every source speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hifrac import images
from hifrac.core.exceptions import RowError
from hifrac.cutouts.recipe import CutoutRecipe

if TYPE_CHECKING:
    from astropy.wcs import WCS


@dataclass(frozen=True, eq=False)
class Cutout:
    """What a source gave for one position: a picture, or why there is none.

    Parameters
    ----------
    data : bytes or None
        The file as the source holds it (JPEG, PNG or FITS).
    error : `~hifrac.core.RowError` or None
        What stopped the row, where ``data`` is None.
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3), or None
        What `hifrac.images.decode` makes of ``data``, where the source has
        decoded it already; the fluxes of a recipe of more bands, float32.
    position : (float, float) or None
        ICRS right ascension and declination of the centre, in degrees.
    recipe : `~hifrac.cutouts.CutoutRecipe` or None
        How this picture was made, where the source knows it: with one pixel scale.
    pixel_scale : float or None
        Arcsec per pixel of ``data``, where that may be another than that of the model's recipe.

    Raises
    ------
    ValueError
        If both ``data`` and ``error`` are given, or neither.

    Examples
    --------
    >>> from hifrac.cutouts import Cutout
    >>> from hifrac.demo import PICTURES
    >>> cutout = Cutout((PICTURES / "sim-01-elliptical.jpg").read_bytes())
    >>> cutout.pixels is None, cutout.error is None
    (True, True)
    """

    data: bytes | None = None
    error: RowError | None = None
    pixels: np.ndarray | None = None
    position: tuple[float, float] | None = None
    recipe: CutoutRecipe | None = None
    pixel_scale: float | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.error is None):
            raise ValueError("data or error must be given, and not both")

    @property
    def wcs(self) -> WCS | None:
        """World coordinates of the pixels, the first row on top as `hifrac.images.decode` gives them.

        From the header of a FITS file, else from ``position`` and ``recipe``;
        None where neither says it. `~hifrac.core.BadImageError` if the header cannot be read.
        """
        if self.data is not None and (wcs := images.header_wcs(self.data)) is not None:
            return wcs
        if self.position is None or self.recipe is None:
            return None
        return self.recipe.wcs(*self.position)


@runtime_checkable
class CutoutSource(Protocol):
    """Where pictures come from: a survey's service, or files at hand.

    Attributes
    ----------
    recipe : `~hifrac.cutouts.CutoutRecipe` or None
        The recipe of the pictures that the source gives; None when the source
        cannot know (local files).
    name_column : str or None
        The input column whose values `fetch` wants as ``names``; None when
        positions are enough.

    Examples
    --------
    An archive in memory, whose pictures have names:

    >>> from hifrac.core import FetchError
    >>> from hifrac.cutouts import Cutout, CutoutSource
    >>> class Archive(dict):
    ...     recipe, name_column = None, "objid"
    ...     def fetch(self, ra, dec, names=None):
    ...         for name in names:
    ...             error = None if name in self else FetchError(f"no picture of {name}")
    ...             yield Cutout(self.get(name), error)
    ...     def describe(self):
    ...         return "pictures in memory"
    >>> isinstance(Archive(), CutoutSource)
    True
    """

    @property
    def recipe(self) -> CutoutRecipe | None:
        """Recipe of the pictures."""

    @property
    def name_column(self) -> str | None:
        """Input column of the names."""

    def fetch(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        names: Sequence[Any] | None = None,
        pixel_scales: np.ndarray | None = None,
    ) -> Iterator[Cutout]:
        """Give pictures of positions, one per position, in their order.

        Parameters
        ----------
        ra, dec : `~numpy.ndarray` of float, shape (n,)
            ICRS positions in degrees; all finite and on the sphere.
        names : sequence, optional
            The value of ``name_column`` of each row.
        pixel_scales : `~numpy.ndarray` of float, shape (n,), optional
            Arcsec per pixel of each row, NaN where unknown. Given only where the recipe has a
            ``scale_column``: a source without such recipes need not take it.

        Yields
        ------
        cutout : `~hifrac.cutouts.Cutout`
            The failure of one position is that position's ``error``; it never
            stops the others.
        """
        ...

    def describe(self) -> str:
        """Describe the source in one line for the provenance of a result, without secrets."""
        ...
