"""
Figure 1: galaxies of the lowest and the highest metallicities
==============================================================

**Objective:** what pictures of metal-poor and metal-rich galaxies look like, and which the model has most
wrong.

**Tier:** *sample*, galaxies of the paper's sample with real cutouts, each estimated by a model that had not
learned from it.
"""

# %%
# Five galaxies of each kind that the paper shows: the extremes of estimate and of measured value, the most
# wrong on either side, and five at random.

from hifrac.reproduce import EXPERIMENTS, metallicity, numbers_table, setting

here = setting()
table = metallicity.fig1(here)
figure = EXPERIMENTS["wu2019-fig1"].draw(table, here)

# %%
# **Ours and published.** The paper has no numbers here. What the published network says of the same
# galaxies tells whether the model is to blame or the pictures and labels: it is wrong in the same
# direction, by half as much of the underestimated, and by nearly as much of the overestimated, red galaxies
# with a low metallicity among them.

numbers_table(table)["quantity", "ours"]

# %%
# **Why they differ.** The paper's galaxies fill their pictures, each with a pixel scale of its own; these
# have 0.4 arcsec per pixel all, so that distant ones stay small, and are shown to 32 arcsec. The kinds are
# the same: blue irregular and edge-on galaxies at the low end, discs with red bulges at the high end. The
# metal-poorest are estimated too high, as there are few to learn from.
