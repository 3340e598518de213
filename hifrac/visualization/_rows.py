"""What figures and pages show of the rows of a result: estimates, flags, names, places and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from hifrac import images
from hifrac.core.exceptions import RowError, without_warnings
from hifrac.core.flags import UNSERVED
from hifrac.core.input import parse
from hifrac.core.measurements import find_column, plain_floats
from hifrac.core.positions import NoPositionsError
from hifrac.core.quantities import Quantity, quantity_of
from hifrac.cutouts import Cutout, CutoutSource
from hifrac.cutouts._scales import scales_of_source

#: Colours of rows without a flag and with one, which colour-blind readers tell apart (Okabe & Ito 2008).
CLEAN, FLAGGED = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Estimates:
    """The estimates of a result, in its order.

    Attributes
    ----------
    quantity : `~hifrac.core.quantities.Quantity`
        What was estimated.
    value, low, high : array of float, shape (n,)
        The estimate and the ends of its central 68% interval; NaN where there is none.
    flags : array of int, shape (n,)
        Quality flags.
    """

    quantity: Quantity
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    flags: np.ndarray

    @property
    def shown(self) -> np.ndarray:
        """True for the rows that have an estimate with an interval."""
        return np.isfinite(self.value) & np.isfinite(self.low) & np.isfinite(self.high)


def estimates_of(result: Table) -> Estimates:
    """Return the estimates of a result.

    Raises
    ------
    TypeError
        If ``result`` is no table.
    ValueError
        If it has no column of an estimate with its intervals, or none of flags.
    """
    if not isinstance(result, Table):
        raise TypeError(f"result must be a table that predict returned, got {type(result).__name__}")
    ends = ("", "_p16", "_p84")
    columns = [name for name in result.colnames if all(name + end in result.colnames for end in ends)]
    column = result.meta.get("hifrac", {}).get("column")
    if column not in columns:
        # An HI mass follows from the estimate; of another quantity than HI, the result's columns come last.
        others = [name for name in columns if name not in ("log_hi_fraction", "log_mhi")]
        column = "log_hi_fraction" if "log_hi_fraction" in columns or not others else others[-1]
    missing = [name for name in (*(column + end for end in ends), "flags") if name not in result.colnames]
    if missing:
        raise ValueError(f"result lacks the columns {', '.join(missing)}")
    value, low, high = (plain_floats(result[column + end]) for end in ends)
    flags = np.ma.filled(np.ma.asarray(result["flags"]), 0).astype(int)
    return Estimates(quantity_of(column), value, low, high, flags)


def row_names(result: Table, names: Sequence[Any] | None = None) -> list[str]:
    """Return names of the rows: those given, else a column ``name`` or ``objid``, else the row numbers.

    Raises
    ------
    ValueError
        If there is not one name per row.
    """
    if names is None:
        columns = (find_column(result, usual) for usual in ("name", "objid"))
        column = next(filter(None, columns), None)
        names = range(len(result)) if column is None else result[column]
    if len(names) != len(result):
        raise ValueError(f"names must have one entry per row, got {len(names)} for {len(result)} rows")
    return [str(name) for name in names]


def places_of(result: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the ICRS degrees of a result's rows, NaN where unknown."""
    arguments = result.meta.get("hifrac", {}).get("arguments", {})
    axes = {axis: arguments[axis] for axis in ("ra", "dec") if arguments.get(axis) in result.colnames}
    with without_warnings():  # predict has said all this of the same table
        try:
            positions = parse(result, **axes)
        except NoPositionsError:
            return np.full(len(result), np.nan), np.full(len(result), np.nan)
    return positions.ra, positions.dec


def pictures_of(
    result: Table, cutouts: CutoutSource | Sequence[np.ndarray | None]
) -> Iterator[np.ndarray | None]:
    """Yield the picture of each row of a result, in order; None where there is none.

    Parameters
    ----------
    result : `~astropy.table.Table`
        Result of `~hifrac.HIFractionEstimator.predict`.
    cutouts : `~hifrac.cutouts.CutoutSource` or sequence of `~numpy.ndarray` or None
        The source of its pictures, which is asked for the rows that were served; or the pictures.

    Raises
    ------
    ValueError
        If there is not one picture per row, or ``result`` lacks the column of the pictures' names or scales.
    """
    if not isinstance(cutouts, CutoutSource):
        if len(cutouts) != len(result):
            raise ValueError(
                f"cutouts must have one entry per row, got {len(cutouts)} for {len(result)} rows"
            )
        yield from cutouts
        return
    column = None
    if cutouts.name_column is not None:
        column = find_column(result, cutouts.name_column, "result")
        if column is None:
            raise ValueError(f"result has no column {cutouts.name_column!r}, which names the pictures")
    ra, dec = places_of(result)
    is_asked = (estimates_of(result).flags & int(UNSERVED)) == 0
    is_asked &= np.isfinite(ra) | (column is not None)
    names = None if column is None else result[column][is_asked]
    survey = str(result.meta.get("hifrac", {}).get("recipe", "")).partition(" ")[0]
    scales = scales_of_source(cutouts, result, is_asked)
    fetched = iter(cutouts.fetch(ra[is_asked], dec[is_asked], names, **scales))
    for asked in is_asked:
        yield _decoded(next(fetched, None), survey) if asked else None


def _decoded(cutout: Cutout | None, survey: str) -> np.ndarray | None:
    """Return the picture of a cutout as the model's survey shows it; None where there is none."""
    if cutout is None or cutout.pixels is not None or cutout.data is None:
        return None if cutout is None else cutout.pixels
    try:
        return images.decode(cutout.data, stretch=images.STRETCHES.get(survey))
    except RowError:
        return None
