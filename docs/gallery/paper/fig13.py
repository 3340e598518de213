"""
Figure 13: point sources put into pictures
==========================================

**Objective:** whether foreground stars or other compact sources change the estimate.

**Tier:** *sample*, three labelled galaxies with real cutouts, with *made* point sources put into them.
"""

# %%
# Six sources of one colour at random places, a hundred times for each colour, in three galaxies: gas-poor,
# typical, gas-rich. The paper's text and its code disagree about the profile of a source, and both are tried.

import matplotlib.pyplot as plt
import numpy as np

from hifrac.attribution import inject_point_sources
from hifrac.reproduce import EXPERIMENTS, numbers_table, result, setting

black = np.zeros((65, 65, 3), np.uint8)
profiles = ("as-printed", "as-coded")
figure, axes = plt.subplots(1, len(profiles), figsize=(5, 2.8), layout="constrained")
for axis, profile in zip(axes, profiles, strict=True):
    rng = np.random.RandomState(3)
    made = inject_point_sources(black, n=1, color="blue", profile=profile, rng=rng)
    axis.imshow(made)
    axis.set(xticks=[], yticks=[], title=f"{profile}: {made.sum() / 255:.0f} units of light")

# %%
# What that does to the estimates of the default model. ``REDO`` computes the kept result anew (half a
# minute).

REDO = False
table = result("fig13", redo=REDO)
first = table[:3]
first.round(3)
first

# %%
# Left: the first set of positions, in the three colours. Right: changes of the estimate.

figure = EXPERIMENTS["fig13"].draw(table, setting())

# %%
# The mean change beside the scatter: a shift is not in the paper's number.

for group in table.group_by(["profile", "color"]).groups:
    change = np.asarray(group["change"])
    print(f"{group['profile'][0]:12} {group['color'][0]:6} mean {change.mean():+.3f} dex")

# %%
# **Ours and published.** The published number is a bound, "less than 0.05 dex".

numbers_table(table)

# %%
# **Why they differ.** With the profile that the code computed, they do not: the scatter stays below the
# bound. With the one that is printed each source has several times the light, the scatter is above it, and
# blue sources also shift the estimate up: large blue blobs count as star formation. Our cutouts are also
# narrower than the paper's, so that six sources stand closer together and more often on the galaxy. The
# statement about robustness holds for faint sources.
