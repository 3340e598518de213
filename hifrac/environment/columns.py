"""The columns of a table of densities, and the bits of ``environment_flags``: the registry.

Names, units and meanings are public interface.
"""

from __future__ import annotations

import numpy as np
from astropy import units as u

from hifrac.core.columns import ResultColumn, make_column
from hifrac.core.flags import BitFlag


class EnvironmentFlag(BitFlag):
    """One bit of the ``environment_flags`` column; ``summary`` says what it means."""

    BAD_POSITION = 1, "the position is masked, not finite, or outside the sphere: masked"
    BAD_REDSHIFT = 2, "the redshift is missing, not above zero, or beyond 20: masked"
    TOO_FEW_NEIGHBOURS = 4, "fewer than n reference galaxies in the velocity window: masked"
    COINCIDENT = 8, "the n-th neighbour is at the very position, the density infinite: masked"
    OUTSIDE_REFERENCE = 16, "the reference does not cover this part of the sky: masked"
    EDGE = 32, "the reference covers the circle around the galaxy only in part: the density is too low"
    REDSHIFT_EDGE = 64, "the velocity window reaches beyond the redshifts of the reference"
    NO_COUNTERPART = 128, "no reference galaxy within the match radius: the galaxy itself is not counted"
    POSSIBLE_DUPLICATE = 256, "two or more reference galaxies within the match radius: one counted twice?"
    NEARBY = 512, "nearer than the minimum distance, where a redshift is no distance: overdensity masked"
    SPARSE_MEDIAN = 1024, "the median of the redshift window comes from fewer than 20 galaxies"


#: The flags of rows that have no density.
MASKED = (
    EnvironmentFlag.BAD_POSITION
    | EnvironmentFlag.BAD_REDSHIFT
    | EnvironmentFlag.TOO_FEW_NEIGHBOURS
    | EnvironmentFlag.COINCIDENT
    | EnvironmentFlag.OUTSIDE_REFERENCE
)


#: All columns by name, in the order in which they stand in a table.
ENVIRONMENT_COLUMNS = {
    column.name: column
    for column in (
        ResultColumn(
            "neighbour_distance",
            u.Mpc,
            "projected physical distance to the n-th nearest reference galaxy, at the galaxy's redshift",
        ),
        ResultColumn(
            "surface_density", u.Mpc**-2, "Sigma_n = numerator / (pi D_n^2), where numerator is 3 by default"
        ),
        ResultColumn(
            "overdensity",
            None,
            "1 + delta_n: surface_density over its median at this redshift",
            "overdensity()",
        ),
        ResultColumn("log_overdensity", u.dex, "log10(1 + delta_n)", "overdensity()"),
        ResultColumn(
            "coverage",
            None,
            "share of the circle to the n-th neighbour that the reference survey covers",
            "a footprint is given",
        ),
        ResultColumn("environment_flags", None, "what to know of the row, a bit mask: see EnvironmentFlag"),
    )
}


def environment_column(name: str, values: np.ndarray, mask: np.ndarray | None = None):
    """Return a column with the unit and description of the registry; masked where told, if at all."""
    return make_column(ENVIRONMENT_COLUMNS[name], values, mask)
