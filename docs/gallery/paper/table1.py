"""
Table 1: the samples
====================

**Objective:** how many galaxies each sample has, and how their masses and HI fractions are spread.

**Tier:** *full*, the surveys' own catalogues; with stellar masses of Durbala et al. (2020), not of MPA-JHU.
"""

# %%
# The samples are made by named cuts. All but those that need the abundances of MPA-JHU (alpha.40B, and the
# non-detections) can be had from the catalogues at hand.

import textwrap
import warnings

from hifrac.catalogs.samples import paper_samples
from hifrac.catalogs.selection import counts_table
from hifrac.core import HifracWarning
from hifrac.reproduce import numbers_table, samples

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", HifracWarning)
    chosen = paper_samples()
for one in said:
    print(textwrap.fill(str(one.message), 90))

# %%
# What each cut left, of all samples, beside the published counts.

counts = counts_table(chosen.values())
counts["sample", "step", "removed", "rows", "published"].pprint(max_lines=-1)

# %%
# Quantiles of both masses and of their ratio, with the published ones.

table = samples.sample_quantiles(chosen)
table

# %%
# **Ours and published.** Number of galaxies and median HI fraction, in dex.

ours = numbers_table(table)
ours["ours"].format = ours["published"].format = ".5g"
ours

# %%
# **Why they differ.** The first cuts, which need the HI catalogues alone, agree to the galaxy. From the join
# with stellar masses on they do not: the paper's are those of MPA-JHU, ours those of Durbala et al. (2020),
# made for ALFALFA, which nearly every galaxy has. The medians move with the masses, and with who is in the
# sample. Of NIBLES the inspection by eye cannot be repeated. xGASS is the published sample itself, and its
# rows agree.
