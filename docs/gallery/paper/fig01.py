"""
Figure 1: HI mass fractions of the samples
==========================================

**Objective:** how rich in HI the galaxies of each survey are, and so what a model can learn from which.

**Tier:** *full*, the surveys' own catalogues; with stellar masses of Durbala et al. (2020), not of MPA-JHU.
"""

# %%
# The samples of the paper, cut by cut (:doc:`/catalogs`). With ``paper_samples(hifrac.catalogs.mpa_jhu())``
# the stellar masses are the paper's. One of the catalogues has something to say, which is printed here.

import textwrap
import warnings

from hifrac.catalogs.samples import paper_samples
from hifrac.core import HifracWarning

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", HifracWarning)
    chosen = paper_samples()
for one in said:
    print(textwrap.fill(str(one.message), 90))

# %%
# Each cut has its rule and the number of rows that it left, beside the published number.

chosen["alpha.40A"].counts()["step", "rule", "rows", "published"]

# %%
# A row for each galaxy, and the figure: cumulative shares. For xGASS the dashed line has the upper limits at
# the lowest value; the solid line counts them as values, as the paper does.

from hifrac.reproduce import EXPERIMENTS, numbers_table, samples, setting

table = samples.hi_fractions(chosen)
figure = EXPERIMENTS["fig1"].draw(table, setting())

# %%
# **Ours and published.** The paper has no numbers in this figure; the medians of its Table 1 belong to it.

from astropy.table import vstack

parts = [numbers_table(one) for one in (table, samples.sample_quantiles(chosen))]
ours = vstack(parts, metadata_conflicts="silent")
ours["ours"].format = ours["published"].format = ".5g"
ours

# %%
# **Why they differ.** The order of the samples is the paper's: alpha.100 is the richest, xGASS by far the
# poorest. Stellar masses of another catalogue move the medians and let in other galaxies. ALFALFA's samples
# come out larger: the catalogue of masses has nearly all of ALFALFA's optical counterparts, and as it has no
# other galaxies, fewer optical neighbours are counted. NIBLES was inspected by eye, and the list of what was
# thrown out is not published. xGASS comes with masses of its own and needs no cut: it is the same.
