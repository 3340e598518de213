"""
Figure 2: estimates against measured metallicities
==================================================

**Objective:** how well a picture tells the metallicity, along the metallicity.

**Tier:** *sample*, galaxies of the paper's sample with real cutouts, each estimated by a model that had not
learned from it.
"""

# %%
# Measured values are 12 + log(O/H) of MPA-JHU (``oh_p50``, Tremonti et al. 2004). They are joined with the
# held-out answers of the model by the identifier of SDSS, never by row.

from hifrac.reproduce import EXPERIMENTS, metallicity, numbers_table, setting

here = setting()
table = metallicity.fig2(here)
table[:5]

# %%
figure = EXPERIMENTS["wu2019-fig2"].draw(table, here)

# %%
# Medians, RMSE and NMAD in bins of 0.1 dex, open at both ends, as the original code has them; a bin of
# fewer than five galaxies says nothing.

from numpy import asarray

residual = asarray(table["estimate"]) - asarray(table["truth"])
bins = metallicity.running(table["truth"], table["estimate"], residual)
bins.round(3)
bins

# %%
# **Ours and published.** The published numbers are of 20,466 test galaxies; beside them the published
# network on these galaxies.

numbers_table(table)

# %%
# **Why they differ.** The published network has the same errors on these galaxies as on its whole test
# sample: they are no easier and no harder. It learned from 76,772 galaxies, ours from some hundreds, and on
# pictures of a fixed scale of 0.4 arcsec per pixel, which show a galaxy with fewer pixels than the paper's.
# Both are regressions: their medians lie above the diagonal at the low end, where there are few galaxies to
# learn from, and below it at the high end.
