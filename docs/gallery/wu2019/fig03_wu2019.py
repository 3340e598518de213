"""
Figure 3: distributions of metallicities
========================================

**Objective:** whether estimates are distributed as measured values are.

**Tier:** *sample*, galaxies of the paper's sample with real cutouts, each estimated by a model that had not
learned from it.
"""

# %%
from hifrac.reproduce import EXPERIMENTS, metallicity, numbers_table, setting

here = setting()
table = metallicity.fig3(here)
figure = EXPERIMENTS["wu2019-fig3"].draw(table, here)

# %%
# **Ours and published.** Widths, medians, and how many galaxies lie above 9.1.

numbers_table(table)

# %%
# A regression gives the mean of what is possible, and means are less spread: the variance of its estimates
# and its mean square error add to the variance of what it estimates, if it is a good one.

import numpy as np

truth = np.asarray(table["truth"])
for name in ("estimate", "published"):
    estimate = np.asarray(table[name])
    parts = np.var(estimate), np.mean((estimate - truth) ** 2), np.var(truth)
    print("{}: {:.4f} + {:.4f} = {:.4f}, measured {:.4f}".format(name, *parts[:2], sum(parts[:2]), parts[2]))

# %%
# **Why they differ.** The distributions of the measured values are alike: the sample is a fair one. The
# estimates lack the ends, ours more than the published ones, as the errors are larger. A histogram of
# estimates is therefore no distribution of metallicities; draws from the answers of galaxies are
# (:doc:`/examples/uncertainty_and_flags`). The stripes of the measured values are the grid of models behind
# them.
