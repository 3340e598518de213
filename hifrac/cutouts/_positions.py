"""Positions as they are asked for and stored: whole microdegrees, and one integer for each.

Where pictures have scales of their own, these stand behind the integer, in a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac.core.exceptions import BadCoordinateError, BadScaleError, RowError
from hifrac.cutouts._scales import scale_of_steps, scale_steps

if TYPE_CHECKING:
    from hifrac.cutouts.recipe import CutoutRecipe

#: What tells a picture from all others of its recipe: a position, or a text of that and a scale.
Key = int | str

PER_DEGREE = 1_000_000
POLE = 90 * PER_DEGREE
PARALLELS = 2 * POLE + 1


def canonical_position(ra: float, dec: float) -> tuple[str, str]:
    """Return a position in degrees as it is asked for and stored: rounded to 1e-6 deg, ``ra`` below 360.

    That is 0.0036 arcsec at most, 1% of an SDSS pixel and well below the
    0.05 arcsec of its astrometry, so the picture is the same; and it is coarse
    enough that a position which went through a text file finds its picture.
    """
    return position_of(int(position_keys(np.array([ra]), np.array([dec]))[0]))


def position_keys(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return canonical positions as single integers (int64), in the order of right ascension.

    They are (whole microdegrees of ``ra``) * 180,000,001 + (those of ``dec`` from the south pole).
    """
    ra_steps = np.rint(np.asarray(ra, dtype=np.float64) * PER_DEGREE).astype(np.int64) % (360 * PER_DEGREE)
    dec_steps = np.rint(np.asarray(dec, dtype=np.float64) * PER_DEGREE).astype(np.int64) + POLE
    return ra_steps * PARALLELS + dec_steps


def picture_keys(ra: np.ndarray, dec: np.ndarray, pixel_scales: np.ndarray | None = None) -> np.ndarray:
    """Return the keys of pictures: those of their positions, with their scales where each has its own.

    These texts are ``<position>@<scale>``, the scale in steps of 1e-5 arcsec per pixel.
    """
    keys = position_keys(ra, dec)
    if pixel_scales is None:
        return keys
    pairs = zip(keys.tolist(), scale_steps(pixel_scales).tolist(), strict=True)
    return np.array([f"{key}@{steps}" for key, steps in pairs], dtype=str)


def position_key(key: Key) -> int:
    """Return the key of a picture's position alone."""
    return key if isinstance(key, int) else int(key.partition("@")[0])


def scale_of(key: Key) -> float | None:
    """Return the scale in the key of a picture, arcsec per pixel; None where all pictures have one."""
    return None if isinstance(key, int) else scale_of_steps(int(key.partition("@")[2]))


def name_of(key: Key) -> str:
    """Return the name of a picture's file: its position, and the scale in its key."""
    ra, dec = position_of(key)
    scale = scale_of(key)
    return f"{ra}{'' if dec[0] == '-' else '+'}{dec}" + ("" if scale is None else f"@{scale:.5f}")


def position_of(key: Key) -> tuple[str, str]:
    """Return the canonical position of a key, each coordinate with six decimals and no minus zero."""
    ra_steps, dec_steps = divmod(position_key(key), PARALLELS)
    dec_steps -= POLE
    sign, dec_steps = ("-", -dec_steps) if dec_steps < 0 else ("", dec_steps)
    return (
        f"{ra_steps // PER_DEGREE}.{ra_steps % PER_DEGREE:06d}",
        f"{sign}{dec_steps // PER_DEGREE}.{dec_steps % PER_DEGREE:06d}",
    )


def on_sphere(ra: np.ndarray | float, dec: np.ndarray | float) -> Any:
    """Return whether positions are finite and on the sphere."""
    return np.isfinite(ra) & np.isfinite(dec) & (np.abs(ra) <= 360) & (np.abs(dec) <= 90)


def bad_row(ra: float, dec: float, recipe: CutoutRecipe, pixel_scale: float | None) -> RowError:
    """Return the error of a row without a position on the sphere, or without a possible scale."""
    try:
        recipe.at(pixel_scale)
    except BadScaleError as error:
        if on_sphere(ra, dec):
            return error
    return bad_coordinate(ra, dec)


def bad_coordinate(ra: float, dec: float) -> BadCoordinateError:
    """Return the error of a position that is not on the sphere."""
    return BadCoordinateError(f"ra and dec must be finite and on the sphere, got {ra}, {dec}")
