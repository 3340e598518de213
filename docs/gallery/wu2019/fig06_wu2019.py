"""
Figure 6: the mass-metallicity relation of estimates
====================================================

**Objective:** whether the relation is there in metallicities of pictures, and how tight.

**Tier:** *sample*, galaxies of the paper's sample with real cutouts and SDSS photometry, every metallicity
estimated without the galaxy.
"""

# %%
from hifrac.reproduce import EXPERIMENTS, mass_metallicity, numbers_table, setting

here = setting()
table = mass_metallicity.fig6(here)
figure = EXPERIMENTS["wu2019-fig6"].draw(table, here)

# %%
# **Ours and published.** Scatter about equation 3 of Tremonti et al. (2004), who found 0.10 dex.

numbers_table(table)

# %%
# **Why they differ.** The masses are those of Taylor et al. (2011), not of MPA-JHU, and the measured
# metallicities of these galaxies lie closer to the relation than those of the whole sample. In both samples
# the estimates lie about as close to the relation as the measured values, or closer. That says less than it
# seems to, see :doc:`beyond_shrinkage`.
