"""Pixel scales: one for all pictures, or one for each row, from a column of the table."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hifrac.core.exceptions import BadScaleError

if TYPE_CHECKING:
    from astropy.table import Table


#: Scales are asked for, and stored, in steps of 1e-5 arcsec per pixel: at the edge of 2048 pixels, that is
#: 0.005 arcsec at most, as much as positions are rounded by.
_STEPS_PER_ARCSEC = 100_000

# Arcsec per pixel of a row. What is outside belongs to no galaxy, but to a column of something else.
_LOW, _HIGH = 0.02, 5.0


class Scaled(Protocol):
    """What names the column of its scales: a recipe, or files at hand."""

    @property
    def pixel_scale(self) -> float | None:
        """Arcsec per pixel, where all pictures have the same."""

    @property
    def scale_column(self) -> str | None:
        """Column with an angle in arcsec."""

    @property
    def scale_divisor(self) -> float:
        """Pixels that this angle takes."""


def plain_scale(pixel_scale: Any, name: str = "pixel_scale") -> float:
    """Return a positive number as a float, or raise an error that names the parameter."""
    number = int | float | np.integer | np.floating
    if isinstance(pixel_scale, bool) or not isinstance(pixel_scale, number):
        what = " in arcsec" if name == "pixel_scale" else ""
        raise TypeError(f"{name} must be a number{what}, got {pixel_scale!r}")
    if not 0 < pixel_scale < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {pixel_scale}")
    return float(pixel_scale)


def check_scale_column(column: Any, divisor: Any) -> float:
    """Return the divisor as a float, if the two can be a column of scales, or its absence."""
    if column is not None and not isinstance(column, str):
        raise TypeError(f"scale_column must be the name of a column, got {column!r}")
    if column is not None and not column.strip():
        raise ValueError("scale_column must be the name of a column, got an empty text")
    divisor = plain_scale(divisor, "scale_divisor")
    if column is None and divisor != 1.0:
        raise ValueError(f"scale_divisor must go with scale_column, got {divisor:g} alone")
    return divisor


def scale_text(scaled: Scaled) -> str:
    """Return the pixel scale as it is shown: a number, or a column and what it is divided by."""
    if scaled.scale_column is None:
        return f"{scaled.pixel_scale:g}"
    return scaled.scale_column + (f" / {scaled.scale_divisor:.10g}" if scaled.scale_divisor != 1.0 else "")


def parse_scale(text: str) -> dict[str, Any]:
    """Return the keywords of a scale as `scale_text` shows it: ``0.4``, or ``petroR90_r / 25.344``."""
    with suppress(ValueError):
        return {"pixel_scale": float(text)}
    column, _, divisor = text.rpartition("/")
    with suppress(ValueError):
        return {"scale_column": column.strip(), "scale_divisor": float(divisor)}
    return {"scale_column": text.strip()}  # which may have a slash of its own


def are_possible(scales: np.ndarray | float) -> Any:
    """Return whether scales, in arcsec per pixel, are finite and some that pictures of galaxies have."""
    with np.errstate(invalid="ignore"):
        return (scales >= _LOW) & (scales <= _HIGH)


def scale_steps(scales: np.ndarray) -> np.ndarray:
    """Return possible scales as whole steps (int64) in which they are asked for and stored."""
    return np.rint(scales * _STEPS_PER_ARCSEC).astype(np.int64)


def scale_of_steps(steps: int) -> float:
    """Return arcsec per pixel."""
    return steps / _STEPS_PER_ARCSEC


def checked_scale(pixel_scale: float, column: str, divisor: float) -> float:
    """Return the scale of a row, in arcsec, in whole steps; a BadScaleError if it is none."""
    if not math.isfinite(pixel_scale):
        raise BadScaleError(f"{column} is masked or not finite: the row's picture has no pixel scale")
    if not are_possible(pixel_scale):
        raise BadScaleError(
            f"{column} of {pixel_scale * divisor:g} arcsec makes pixels of {pixel_scale:g} arcsec, "
            f"and pictures of galaxies have {_LOW:g} to {_HIGH:g}"
        )
    return scale_of_steps(round(pixel_scale * _STEPS_PER_ARCSEC))


def column_scales(table: Table, column: str, divisor: float) -> np.ndarray:
    """Return arcsec per pixel of each row, NaN where masked.

    A ValueError if the table lacks the column, a TypeError or a UnitConversionError if that holds no angles.
    """
    from astropy import units as u

    from hifrac.core.measurements import find_column, parse_numbers

    name = find_column(table, column)
    if name is None:
        raise ValueError(
            f"data has no column {column!r}, which gives the pixel scale of each picture; "
            f"its columns are {', '.join(table.colnames)}"
        )
    units = u.arcsec, u.arcsec / u.pix
    return parse_numbers(table[name], name, *units, what="an angle, in arcsec") / divisor


def scales_of_source(source: Any, table: Table, rows: Any = slice(None)) -> dict[str, np.ndarray]:
    """Return the keyword ``pixel_scales`` of ``fetch`` for some rows, where a source has several scales."""
    for scaled in (source, source.recipe):
        if (column := getattr(scaled, "scale_column", None)) is not None:
            return {"pixel_scales": column_scales(table, column, scaled.scale_divisor)[rows]}
    return {}


def scales_of_model(recipe: Scaled, source: Any, table: Table) -> np.ndarray | None:
    """Return arcsec per pixel of what a model reads, row by row; None if that is one number, or unknown.

    It may be unknown of pictures at hand of which nothing is said: they are taken as they are.
    """
    from hifrac.core.measurements import find_column

    if (column := recipe.scale_column) is None:
        return None
    is_as_it_is = all(
        getattr(source, name, None) is None for name in ("recipe", "pixel_scale", "scale_column")
    )
    if is_as_it_is and find_column(table, column) is None:
        return None
    return column_scales(table, column, recipe.scale_divisor)


def checked_scales(pixel_scales: Any, column: str | None, n_rows: int) -> np.ndarray | None:
    """Return what ``fetch`` was given as ``pixel_scales``: one a row where there is a column, else None."""
    from hifrac.core.measurements import plain_floats

    if pixel_scales is None and column is None:
        return None
    if pixel_scales is None:
        raise ValueError(
            f"pixel_scales must be given: arcsec per pixel of each row, by the column {column!r}"
        )
    if column is None:
        raise ValueError("pixel_scales must not be given: all pictures have one scale")
    scales = plain_floats(pixel_scales)
    if scales.shape != (n_rows,):
        raise ValueError(f"pixel_scales must have one value per row ({n_rows}), got shape {scales.shape}")
    return scales
