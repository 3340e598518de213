"""
Spectra from pictures of another survey
=======================================

**Objective:** what becomes of pictures unlike those of the training, beside measured spectra.

**Tier:** *sample*, fourteen pictures of the Legacy Surveys with SDSS spectra, none of the training.
"""

# %%
# A predicted spectrum is a photometric template spectrum, smooth by nature, and no measured one. These
# pictures show g, r and z instead of g, r and i, with another stretch, sharper, and half of the field. As
# they are the estimator refuses them: they have not the size of its pictures. Here they are brought to its
# scale, with sky around them. Six of the fourteen are drawn, from the weakest measured H-alpha to the
# strongest. ``REDO`` computes the kept result anew.

import numpy as np

from hifrac.reproduce import EXPERIMENTS, numbers_table, result, setting

REDO = False
table = result("wupeek2020-legacy", redo=REDO)
figure = EXPERIMENTS["wupeek2020-legacy"].draw(table, setting())

# %%
# **Every row is flagged** ``OUT_OF_DISTRIBUTION``: the flag says not to use it.

names = ["h_alpha_ew", "h_alpha_ew_p16", "h_alpha_ew_p84", "measured_h_alpha_ew", "relative_rms"]
for name in names:
    table[name] = np.round(table[name], 2)
table["objid", *names, "out_of_distribution"].pprint_all()

# %%
# **All together.** A measured spectrum has noise, 0.03 in the median, which no prediction can tell.

numbers_table(table)["quantity", "ours"].pprint_all()

# %%
# **What it shows.** The spectra are too blue: with the other stretch middles are whiter. They are hardly
# closer to the measured ones than the mean of all galaxies is. Blue galaxies are told from red ones all
# the same, so that the ranks of H-alpha are about right; its values are not. The spread of five templates
# is too small for these errors, and bands do not tell of them: that is what the flag is for.
