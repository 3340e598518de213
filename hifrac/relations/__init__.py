"""Literature relations: HI mass fractions from colours and surface brightness.

The classical estimators that everyone compares with. Each checks its input in
its own photometric system, masks what lies outside its range, and returns the
columns of `hifrac.HIFractionEstimator.predict`, so that the two can be swapped.
"""

from __future__ import annotations

from hifrac.relations._common import RelationFlag
from hifrac.relations.fitting import LinearRelation, fit_linear_relation
from hifrac.relations.published import (
    RELATIONS,
    eckert2015_density,
    eckert2015_pgf,
    mu_i,
    relations_table,
    zhang2009,
)

__all__ = [
    "RELATIONS",
    "LinearRelation",
    "RelationFlag",
    "eckert2015_density",
    "eckert2015_pgf",
    "fit_linear_relation",
    "mu_i",
    "relations_table",
    "zhang2009",
]
