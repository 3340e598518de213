"""Positions as they are asked for and stored: whole microdegrees, and one integer for each."""

from __future__ import annotations

import numpy as np

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


def position_of(key: int) -> tuple[str, str]:
    """Return the canonical position of a key, each coordinate with six decimals and no minus zero."""
    ra_steps, dec_steps = divmod(key, PARALLELS)
    dec_steps -= POLE
    sign, dec_steps = ("-", -dec_steps) if dec_steps < 0 else ("", dec_steps)
    return (
        f"{ra_steps // PER_DEGREE}.{ra_steps % PER_DEGREE:06d}",
        f"{sign}{dec_steps // PER_DEGREE}.{dec_steps % PER_DEGREE:06d}",
    )
