"""
Figure 2: estimates against measured values
===========================================

**Objective:** how well a picture tells the HI mass fraction of a galaxy that ALFALFA detects.
**Tier:** *sample*, 259 galaxies of ALFALFA with real cutouts, each estimated by a model that had not
learned from it.
"""

# %%
# Measured values and held-out estimates, joined by the identifier of SDSS, not by row.

import numpy as np

from hifrac.metrics import metrics_table
from hifrac.reproduce import numbers_table, regression, setting

here = setting()
table = regression.fig2(here)
table[:5]

# %%
figure = regression.draw_scatter(table)

# %%
# **Ours and published.**
numbers_table(table)
