"""
Beyond the paper: coverage of the intervals
===========================================

**Objective:** whether the intervals hold for every kind of galaxy, and not only on the average.

**Tier:** *sample*, galaxies of ALFALFA with real cutouts, every interval from a model that had not learned
from the galaxy.
"""

# %%
# The held-out answers have the rank of each measured value in its predicted distribution
# (:func:`hifrac.metrics.pit`). A value lies inside the central interval of 68% if its rank is between 0.16
# and 0.84. The table has the ranks of galaxies in bins of equal numbers: by stellar mass, overdensity,
# estimate, and Galactic reddening.

from hifrac.reproduce import EXPERIMENTS, numbers_table, probabilities, setting

here = setting()
table = probabilities.coverage(here)
shown = table["property", "n", "median", "coverage_68", "coverage_68_low", "coverage_68_high", "coverage_90"]
shown.round(2)
shown

# %%
# Vertical bars are Wilson's intervals of 68% for the share, horizontal ones the extent of the bin.

figure = EXPERIMENTS["coverage"].draw(table, here)

# %%
# Of correct intervals a third of the bins should miss the line by more than the bar. How many do:

import numpy as np

for nominal in (68, 90):
    low, high = (np.asarray(table[f"coverage_{nominal}_{end}"]) for end in ("low", "high"))
    missed = np.sum((low > nominal / 100) | (high < nominal / 100))
    print(f"{nominal}% interval: {missed} of {len(table)} bins miss it")

# %%
# **Ours**; nothing is published, for the paper's estimates have no intervals. If a property mattered, values
# would lie farther out in their distributions at one end of it: the rank correlation of the distance from the
# median, and the probability of one as strong by chance.

numbers_table(table)["quantity", "ours"]

# %%
# **What it says, and what not.** On the average the intervals hold. No trend is significant; single bins that
# stand out are to be expected among so many. A bin has a few dozen galaxies, and its coverage is known no
# better than the bar says. All of these galaxies are detections of ALFALFA: of others see
# :doc:`beyond_limits_and_slopes`.
