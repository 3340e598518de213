"""
Estimates from positions
========================

**Objective:** from a table of positions to HI mass fractions with intervals and flags.
**Data:** the bundled *simulated* galaxies; nothing is fetched.
"""

# %%
# The sample that comes with the package: 27 simulated objects, each with a name and a position.

from hifrac.demo import PICTURES, sample_table

galaxies = sample_table()
galaxies[:3]

# %%
# An estimator without arguments would fetch the pictures from SDSS SkyServer. Here they are files.

from hifrac import HIFractionEstimator, LocalCutouts

estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
result = estimator.predict(galaxies)
result["name", "log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84", "p_detect", "flags"][:5]
