"""
Figure 6: estimates beside those of Teimoorinia et al. (2017)
=============================================================

**Objective:** whether pictures tell more than the fifteen measured properties that an earlier network used.

**Tier:** *sample*, galaxies of ALFALFA with real cutouts; needs the catalogue of Teimoorinia et al. (2017).
"""

# %%
# What the comparison needs, and whether it is there. (``hifrac catalogs fetch teimoorinia2017`` fetches it.)

import matplotlib.pyplot as plt

from hifrac.metrics import published_metrics
from hifrac.reproduce import EXPERIMENTS, numbers_table, regression, setting

here = setting(needs_folder=False)
_, missing = EXPERIMENTS["fig6"].files(here)
print(*(missing or ["ready"]), sep="\n")

# %%
# **Published.** The panels have thresholds of our kind of probability (left) and of the robustness C\
# :sub:`fgas` of that catalogue (right); CNN is the network of Wu (2020), FCNN that of Teimoorinia et al.
# (2017).

published = published_metrics()
published = published[(published["table"] == 3)]
panels = published[(published["cut"] == "p>0.9") | (published["cut"] == "Cfgas>0.5")]
panels["sample", "cut", "estimator", "n", "rmse", "slope", "sigma", "offset"]

# %%
# Errors of all published pairs, drawn from the published numbers (not from data of ours). Above the line the
# network of pictures is the better one.

cnn, fcnn = (published[published["estimator"] == name] for name in regression.ESTIMATORS)
figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
for sample, marker in zip(dict.fromkeys(cnn["sample"]), "os^D", strict=True):
    chosen = cnn["sample"] == sample
    axes.scatter(cnn["rmse"][chosen], fcnn["rmse"][chosen], marker=marker, label=sample)
axes.axline((0.3, 0.3), slope=1, color="0.6", lw=1)
axes.set(xlabel="RMSE, CNN (dex)", ylabel="RMSE, FCNN (dex)", title="as published")
_ = axes.legend()

# %%
# **Ours**: both estimates of the same galaxies, matched within 1 arcsec. Ours are held out.

if missing:
    print("not computed")
else:
    table = regression.fig6(here)
    figure = EXPERIMENTS["fig6"].draw(table, here)
    numbers_table(table).pprint(max_lines=-1, max_width=-1)

# %%
# **Why they differ.** Without the catalogue there is nothing of ours to compare. With it the galaxies would
# be those of ALFALFA with pictures in the data directory, not alpha.100, NIBLES and xGASS: the training set
# of both networks is among them, so that theirs has an advantage that ours, held out, has not.
