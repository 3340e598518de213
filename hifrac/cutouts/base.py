"""What a source of cutouts is: the protocol that every source speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hifrac.cutouts.recipe import CutoutRecipe
from hifrac.exceptions import RowError

__all__ = ["Cutout", "CutoutSource"]


@dataclass(frozen=True)
class Cutout:
    """What a source gave for one position: the bytes of a picture, or why there are none.

    Parameters
    ----------
    data : bytes or None
        The file as the source holds it (JPEG, PNG or FITS), not yet decoded.
    error : `~hifrac.exceptions.RowError` or None
        What stopped the row, where ``data`` is None.

    Raises
    ------
    ValueError
        If both ``data`` and ``error`` are given, or neither.
    """

    data: bytes | None = None
    error: RowError | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.error is None):
            raise ValueError("data or error must be given, and not both")


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
    """

    recipe: CutoutRecipe | None
    name_column: str | None

    def fetch(self, ra: np.ndarray, dec: np.ndarray, names: Sequence[Any] | None = None) -> Iterator[Cutout]:
        """Pictures of positions, one per position, in their order.

        Parameters
        ----------
        ra, dec : `~numpy.ndarray` of float, shape (n,)
            ICRS positions in degrees; all finite and on the sphere.
        names : sequence, optional
            The value of ``name_column`` of each row.

        Yields
        ------
        cutout : `~hifrac.cutouts.Cutout`
            The failure of one position is that position's ``error``; it never
            stops the others.
        """
        ...

    def describe(self) -> str:
        """One line for the provenance of a result, without secrets."""
        ...
