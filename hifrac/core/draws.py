"""Random numbers of galaxies, for draws from their distributions: the same for a galaxy in every table."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from hifrac.core.input import Positions


def random_shares(positions: Positions, names: Any, samples: int) -> np.ndarray:
    """Return uniform random numbers (n, samples) that follow from the position and name of each row.

    One stream for a table would give the first rows of all tables the same numbers, and the errors of a
    sample that is estimated in parts would not average out.
    """
    try:
        shares = np.empty((len(positions), samples))
    except (MemoryError, OverflowError, ValueError) as error:
        raise MemoryError(
            f"samples: {samples} draws of {len(positions)} rows do not fit into memory"
        ) from error
    for row, (ra, dec) in enumerate(zip(positions.ra, positions.dec, strict=True)):
        galaxy = f"{ra:.6f} {dec:.6f} {'' if names is None else names[row]}"
        seed = hashlib.blake2b(galaxy.encode(), digest_size=16).digest()
        shares[row] = np.random.default_rng(int.from_bytes(seed, "little")).random(samples)
    return shares
