"""
Figure 7: errors beside those of Teimoorinia et al. (2017), cut by cut
======================================================================

**Objective:** which of two estimators errs less, whatever selection is made.

**Tier:** *sample*, galaxies of ALFALFA with real cutouts; needs the catalogue of Teimoorinia et al. (2017).
"""

# %%
# What the comparison needs, and whether it is there. (``hifrac catalogs fetch teimoorinia2017`` fetches it.)

import numpy as np

from hifrac.metrics import published_metrics
from hifrac.reproduce import EXPERIMENTS, numbers_table, regression, setting

here = setting(needs_folder=False)
_, missing = EXPERIMENTS["fig7"].files(here)
print(*(missing or ["ready"]), sep="\n")

# %%
# **Published.** The bars of the figure are the RMSE of Table 3, here drawn again for each sample from the
# published numbers (not from data of ours): CNN is the network of Wu (2020), FCNN that of Teimoorinia et al.
# (2017).

published = published_metrics()
published = published[published["table"] == 3]
for sample in dict.fromkeys(published["sample"]):
    rows = published[published["sample"] == sample]
    rows["rmse_error"] = np.zeros(len(rows))  # none published
    figure = regression.plot_bars(rows)
    figure.suptitle(f"{sample}, as published")

# %%
# The caption of the paper says that "in every case the CNN recovers M with lower scatter". Of the RMSE in the
# bars that holds in so many of the published pairs:

cnn, fcnn = (published["rmse"][published["estimator"] == name] for name in regression.ESTIMATORS)
print(f"{np.sum(cnn < fcnn)} of {len(cnn)}; the other way round in")
print(published["sample", "cut"][published["estimator"] == "CNN"][cnn >= fcnn])

# %%
# **Ours**: the same bars for galaxies with held-out answers.

if missing:
    print("not computed")
else:
    table = regression.fig7(here)
    figure = EXPERIMENTS["fig7"].draw(table, here)
    numbers_table(table).pprint(max_lines=-1, max_width=-1)

# %%
# **Why they differ.** Without the catalogue there is nothing of ours to compare. The published bars have no
# errors, and both networks are judged on the same galaxies, so that single pairs that are nearly equal say
# little.
