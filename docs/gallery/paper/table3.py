"""
Table 3: estimates beside those of Teimoorinia et al. (2017)
============================================================

**Objective:** two estimators on the same galaxies, for each cut of either.

**Tier:** *sample*, galaxies of ALFALFA with real cutouts; needs the catalogue of Teimoorinia et al. (2017).
"""

# %%
# What the comparison needs, and whether it is there. (``hifrac catalogs fetch teimoorinia2017`` fetches it.)

import matplotlib.pyplot as plt
import numpy as np

from hifrac.metrics import format_metrics, published_metrics
from hifrac.reproduce import EXPERIMENTS, numbers_table, regression, setting

here = setting(needs_folder=False)
_, missing = EXPERIMENTS["table3"].files(here)
print(*(missing or ["ready"]), sep="\n")

# %%
# **Published**, all rows. CNN is the network of Wu (2020), FCNN that of Teimoorinia et al. (2017).

published = published_metrics()
published = published[published["table"] == 3]
columns = ("cut", "sample", "estimator", "n", "rmse", "slope", "sigma", "offset", "consistent")
published[columns].pprint(max_lines=-1, max_width=-1)
figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
for name in regression.ESTIMATORS:
    rows = published[published["estimator"] == name]
    axes.scatter(rows["slope"], rows["offset"], label=name)
axes.set(xlabel="slope (1: unbiased)", ylabel="offset (dex)", title="as published, each sample and cut")
_ = axes.legend()

# %%
# For each row RMSE² = σ² (N-1)/N + offset² must hold. One row contradicts itself, and its offset is a
# misprint:

rows = published[~published["consistent"]]
follows = np.sqrt(rows["rmse"] ** 2 - rows["sigma"] ** 2 * (rows["n"] - 1) / rows["n"])
for row, value in zip(rows, follows, strict=True):
    name = f"{row['sample']}, {row['cut']}, {row['estimator']}"
    print(f"{name}: offset printed {row['offset']}, by the others {value:.4f}")

# %%
# **Ours**, with held-out answers.

if missing:
    print("not computed")
else:
    table = regression.table3(here)
    mine = table[table["origin"] == "ours"]
    print(format_metrics(mine["cut", "estimator", "n", "rmse", "rmse_error", "slope", "sigma", "offset"]))
    numbers_table(table).pprint(max_lines=-1, max_width=-1)

# %%
# **Why they differ.** Without the catalogue there is nothing of ours to compare. With it, ours are galaxies
# of ALFALFA with pictures in the data directory, while the published rows are alpha.100, NIBLES and xGASS
# galaxies.
