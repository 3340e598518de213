"""The environment of galaxies: projected density to the n-th neighbour, and overdensity.

Coordinates, redshifts and a reference catalogue in; a table out. See
`surface_density` and `overdensity`.
"""

from __future__ import annotations

from hifrac.environment.columns import ENVIRONMENT_COLUMNS, EnvironmentFlag
from hifrac.environment.density import AS_CODED, AS_PRINTED, HIGH_DENSITY, overdensity, surface_density
from hifrac.environment.footprint import RandomPoints, Region

__all__ = [
    "AS_CODED",
    "AS_PRINTED",
    "ENVIRONMENT_COLUMNS",
    "HIGH_DENSITY",
    "EnvironmentFlag",
    "RandomPoints",
    "Region",
    "overdensity",
    "surface_density",
]
