"""
Figure 3: residuals against properties of the galaxies
======================================================

**Objective:** whether estimates are wrong in one direction for some kind of galaxy.

**Tier:** *sample*, galaxies of ALFALFA with real cutouts, each estimated by a model that had not learned from
it.
"""

# %%
# Held-out estimate minus measured value, beside properties of the same galaxies, joined by identifier (as in
# :doc:`fig02`).

from hifrac.reproduce import EXPERIMENTS, numbers_table, regression, setting

here = setting()
table = regression.fig3(here)
first = table[:3]
first.round(3)
first

# %%
# Each point a galaxy; medians and 16 to 84% of the residuals in bins of equal numbers.

figure = EXPERIMENTS["fig3"].draw(table, here)

# %%
# Rank correlations. The probability is that of a correlation at least as strong if the values are shuffled.

properties = {name: table[name] for name in ("truth", "redshift", "log_mstar", "g_minus_i", "axial_ratio")}
measured, estimate = table["truth"], table["truth"] + table["residual"]
trends = regression.residual_trends(measured, estimate, properties, draws=here.draws, seed=here.seed)
trends.round(3)
trends

# %%
# **Ours and published.** The paper shows the panels and gives no numbers. It finds that residuals fall with
# the measured value, as a slope below one has it, and go with nothing else.

numbers_table(table)

# %%
# **Why they differ.** They do not: our residuals fall with the measured value too, as they must when the
# estimate is a mean for its picture, and the other trends are no stronger than chance makes them. But of so
# few galaxies a weak trend would not be seen. Star formation rates and metallicities are in MPA-JHU, which is
# not at hand; colour and axis ratio stand for them, and alpha.40B, the subset that has them, cannot be had.
