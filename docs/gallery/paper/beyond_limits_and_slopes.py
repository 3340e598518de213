"""
Beyond the paper: upper limits, and both slopes
===============================================

**Objective:** what the slope of the paper's Table 2 means, and how often an estimate contradicts an upper
limit.

**Tier:** *sample*, galaxies of ALFALFA and of RESOLVE beyond it, with real cutouts; every answer held out.
"""

# %%
# Regressions of estimate on measured value (the paper's) and of measured value on estimate, with bootstrap
# errors, for each threshold of the probability of detection; and the share of upper limits that lie below the
# estimate.

from hifrac.metrics import format_metrics
from hifrac.reproduce import EXPERIMENTS, numbers_table, regression, setting

here = setting()
table = regression.slopes(here)
names = ("slope", "slope_inverse", "limits_violated")
columns = ("sample", "cut", "n", "n_limits", *names, *(f"{one}_error" for one in names))
print(format_metrics(table[columns], decimals=2))

# %%
# A share of limits has Wilson's interval of 68%, which a bootstrap does not give where all are violated.

figure = EXPERIMENTS["slopes"].draw(table, here)

# %%
# Why two slopes. The best estimate of a value from incomplete knowledge is its mean for what is known; its
# slope on the measured value is below one *because* it is best, and the other slope is one. Made numbers:

import numpy as np

from hifrac.metrics import regression_metrics

rng = np.random.default_rng(0)
seen, hidden = rng.normal(0, 0.4, (2, 5000))
value = seen + 0.5 * hidden
for name, estimate in (("the mean for what is seen", seen), ("stretched to slope one", seen * 1.25)):
    figures = regression_metrics(value, estimate)
    print(f"{name}: " + ", ".join(f"{one} {figures[one]:.2f}" for one in ("slope", "slope_inverse", "rmse")))

# %%
# **Ours and published.** The paper has the first slope only, and counts upper limits as values.

from hifrac.metrics import published_metrics

paper = published_metrics()
paper = paper[(paper["table"] == 2) & (paper["cut"] == "all")]
paper["sample", "n", "slope"].pprint()
numbers_table(table)["quantity", "ours"]

# %%
# **What it says.** For ALFALFA's galaxies the second slope is one within its error: no estimate should be
# stretched to make the first one so. Beyond ALFALFA nearly every limit is violated, whatever the threshold:
# the default model answers as if ALFALFA would detect the galaxy, and for a gas-poor twin that is too much.
# The selection ``"intrinsic"``, the default of ``predict``, knows of such galaxies: :ref:`beyond-alfalfa`.
