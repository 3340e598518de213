"""
Figure 9: galaxies in different environments
============================================

**Objective:** what galaxies of ALFALFA look like from lonely to crowded places.

**Tier:** *sample*, real cutouts; densities from a volume-limited sample of SDSS DR7 instead of the NASA-Sloan
Atlas.
"""

# %%
# The overdensity of each galaxy with a picture, with respect to all galaxies of ALFALFA at its redshift, by
# the recipe that the paper prints. Five galaxies are taken near each of five percentiles.

from hifrac.reproduce import EXPERIMENTS, environment, setting

here = setting()
table = environment.fig9(here)
nearest = table[::5]
nearest.round(2)
nearest

# %%
# Their pictures, from the archive of the data directory: a row for each density, M the measured log HI
# fraction.

figure = EXPERIMENTS["fig9"].draw(table, here)

# %%
# **Ours and published.** The figure has no numbers. The densities that its rows aim at:

import numpy as np

for aim in np.unique(table["aim"]):
    near = table["log_overdensity"][table["aim"] == aim]
    print(f"aim {aim:+.2f}, shown {near.min():+.2f} to {near.max():+.2f}")

# %%
# **Why they differ.** Other galaxies: those whose pictures are at hand, in smaller cutouts (51 arcsec wide),
# and only where SDSS DR7 covers the sky. The densities are those of the recipe that the paper prints, and not
# of the one that its code had (:doc:`fig08`). Five pictures of a kind show no rule: whether there is one is
# asked in :doc:`fig10` and :doc:`table4`.
