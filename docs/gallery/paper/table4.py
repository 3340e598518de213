"""
Table 4: one environment predicted from the others
==================================================

**Objective:** whether what is learned in sparse places holds in crowded ones, and the other way round.

**Tier:** *sample*, real cutouts; densities from SDSS DR7; a ridge regression on the default model's
measurements instead of its network.
"""

# %%
# Galaxies are ordered by overdensity; the sparse fifth, the dense fifth, or a random fifth is held out, and
# the rest is learned from. ``REDO`` computes the kept result anew.

from hifrac.reproduce import environment, numbers_table, result

REDO = False
table = result("table4", redo=REDO)
shown = table[
    "validation", "n_train", "n_valid", "sigma", "rmse", "rmse_error", "normalised", "normalised_error"
]
shown.round(3)
shown

# %%
# The function takes any measurements. Made galaxies whose relation breaks where it is dense show what a break
# looks like:

import numpy as np

rng = np.random.default_rng(1)
density, features = rng.normal(0, 0.4, 1500), rng.normal(size=(1500, 5))
truth = features @ [0.4, 0.2, 0.1, 0, 0] + rng.normal(0, 0.2, 1500)
truth -= 0.5 * (density > np.quantile(density, 0.8))
broken = environment.split_errors(features, truth, density)
broken.round(3)
broken["validation", "sigma", "rmse", "normalised", "normalised_error"]

# %%
# **Ours and published.** RMSE in dex, and over the standard deviation of the held-out values. The random row
# has no published quotient: the 0.6036 that is printed as its standard deviation is the logarithm of that of
# the density.

numbers_table(table)

# %%
# **Why they differ.** In the paper the dense fifth is the one predicted badly. Here it is not, and the sample
# cannot tell: the fifth that is held out is a few dozen galaxies, mostly below the paper's threshold, and
# their spread decides the quotient. The errors are scatter over samples of the training galaxies and do not
# contain that of the held-out fifth. The paper trained a network for each split, on densities without the
# velocity window (:doc:`fig08`).
