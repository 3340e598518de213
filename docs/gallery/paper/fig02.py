"""
Figure 2: estimates against measured values
===========================================

**Objective:** how well a picture tells the HI mass fraction of a galaxy that ALFALFA detects.

**Tier:** *sample*, galaxies of ALFALFA with real cutouts, each estimated by a model that had not learned from
it.
"""

# %%
# Measured values, and what the default model said of each galaxy while it had not learned from it. They are
# joined by the identifier of SDSS, never by row.

import numpy as np
from astropy.table import Table

from hifrac.catalogs import match_ids
from hifrac.reproduce import EXPERIMENTS, numbers_table, regression, setting

here = setting()
labels = Table.read(here.folder / "cutouts" / "hi_labels.ecsv")
answers = Table.read(here.model / "out_of_fold.ecsv")
row = match_ids(labels["objid"].astype(str), answers["objid"].astype(str))["row"]
print(f"{len(labels)} galaxies, {np.sum(~row.mask)} of them with a held-out answer")

# %%
# The figures of merit of the paper, with errors from a bootstrap of the galaxies.

from hifrac.metrics import format_metrics, metrics_table, score_estimates

known = ~np.asarray(row.mask)
truth = np.asarray(labels["log_hi_fraction_true"])[known]
estimate = np.asarray(answers["log_hi_fraction"])[np.asarray(row[known])]
judged = metrics_table({"default model": score_estimates(truth, estimate)})
print(
    format_metrics(judged["estimator", "n", "rmse", "rmse_error", "slope", "slope_error", "sigma", "offset"])
)

# %%
# ``hifrac.reproduce.regression.fig2`` has done the same, and keeps the numbers of the paper beside ours.

table = regression.fig2(here)
figure = EXPERIMENTS["fig2"].draw(table, here)

# %%
# **Ours and published.** The published RMSE is that of the validation set, a random fifth of alpha.40A.

numbers_table(table)

# %%
# **Why they differ.** Ours are some hundreds of galaxies of ALFALFA with pictures of good size, theirs a
# fifth of thousands: the spread of the measured values, and with it the error, depends on who is in the
# sample, so a lower RMSE here does not mean a better model. The stellar masses are those of Taylor et al.
# (2011), made from colours, which a picture shows; the paper's are those of MPA-JHU. The model is another
# one: for so few galaxies the paper's network has far too many weights (:doc:`/model`). What is the same is
# the relation: one slope below unity, the other near it (:doc:`beyond_limits_and_slopes`).
