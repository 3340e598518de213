"""Literature relations: HI mass fractions from colours, oxygen abundances from masses and lines.

The classical estimators that everyone compares with. Each checks its input in
its own photometric system, masks what lies outside its range, and returns the
columns of the estimators, so that the two can be swapped.
"""

from __future__ import annotations

from hifrac.relations._common import RelationFlag
from hifrac.relations.fitting import LinearRelation, cross_validate_forest, fit_linear_relation
from hifrac.relations.metallicity import kewley_ellison2008, n2, o3n2, pettini_pagel2004, tremonti2004
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
    "cross_validate_forest",
    "eckert2015_density",
    "eckert2015_pgf",
    "fit_linear_relation",
    "kewley_ellison2008",
    "mu_i",
    "n2",
    "o3n2",
    "pettini_pagel2004",
    "relations_table",
    "tremonti2004",
    "zhang2009",
]
