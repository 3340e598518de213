"""
Photometric scaling relations
=============================

**Objective:** the published relations beside each other and beside the estimator: scatter and validity.
**Data:** the bundled *simulated* galaxies. They have no gas: each method is asked of the same light.
"""

# %%
# What there is, and where each relation holds. The scatter is missing where a relation gives a density of
# its own.
from hifrac import relations

relations.relations_table()["name", "range", "scatter", "system", "reference"]

# %%
# *Left:* the relations against colour; the bands are their central 68%. Zhang et al. (2009) also take the
# surface brightness, here a bright and a faint one. Curves end where a relation does. *Right:* the density
# that Eckert et al. (2015) give at three colours. At the red one a part lies in the bin of the gas-poor, of
# which is only known that their gas is below 5% of their stars.
import matplotlib.pyplot as plt
import numpy as np

colour = np.linspace(-0.1, 1.1, 121)
curves = {
    "Eckert+2015": relations.eckert2015_pgf(colour, band="g-r", resolution=0.01),
    "Zhang+2009, 20.5 mag/arcsec$^2$": relations.zhang2009(g_minus_r=colour, mu_i=np.full(121, 20.5)),
    "Zhang+2009, 22.5 mag/arcsec$^2$": relations.zhang2009(g_minus_r=colour, mu_i=np.full(121, 22.5)),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for label, curve in curves.items():
    middle, low, high = (curve[f"log_hi_fraction{end}"].filled(np.nan) for end in ("", "_p16", "_p84"))
    (line,) = left.plot(colour, middle, label=label)
    left.fill_between(colour, low, high, color=line.get_color(), alpha=0.2, lw=0)
left.set(xlabel="g - r, mag", ylabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$, dex")
left.legend(fontsize="small")
grid, density = relations.eckert2015_density([0.3, 0.5, 0.72])
for one, label in zip(density, ("0.3", "0.5", "0.72"), strict=True):
    right.step(grid.value, one, where="mid", label=f"g - r = {label}")
right.set(xlabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$, dex", ylabel="density per dex")
right.legend()
plt.show()

# %%
# The simulated galaxies were drawn with these magnitudes, colours, and half-light radii (arcsec) and axial
# ratios of their disks. The surface brightness is that within a circle of the area of the disk's ellipse.
from astropy.table import QTable

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.demo import PICTURES, sample_table

i_mag, g_minus_r, r50, axial_ratio = np.array([
    [13.6, 14.3, 15.1, 13.9, 14.6, 13.7, 14.2, 14.5, 13.8, 14.3, 14.7, 15.0, 14.4, 14.9, 15.3, 15.6,
     15.3, 15.8, 15.9, 16.2, 16.4, 16.5, 16.8, 17.0],
    [0.80, 0.79, 0.77, 0.77, 0.75, 0.68, 0.64, 0.65, 0.56, 0.53, 0.51, 0.50, 0.44, 0.41, 0.39, 0.37,
     0.36, 0.34, 0.31, 0.29, 0.26, 0.23, 0.20, 0.15],
    [6.5, 4.5, 3.2, 7.0, 7.5, 8.5, 8.0, 10.0, 9.5, 9.0, 9.5, 10.5, 10.0, 9.0, 9.5, 10.0, 9.0, 8.0,
     7.5, 7.0, 6.5, 6.0, 6.5, 5.5],
    [0.85, 0.70, 0.95, 0.65, 0.25, 0.75, 0.50, 0.20, 0.90, 0.65, 0.40, 0.17, 0.85, 0.60, 0.38, 0.15,
     0.95, 0.70, 0.80, 0.50, 0.65, 0.85, 0.45, 0.75],
])  # fmt: skip
mu_i = relations.mu_i(i_mag, r50 * axial_ratio**0.5)
zhang = relations.zhang2009(g_minus_r=g_minus_r, mu_i=mu_i)
eckert = relations.eckert2015_pgf(g_minus_r, band="g-r")
estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
result = estimator.predict(sample_table()[: len(i_mag)])

# %%
# The columns have the same names, so that one can stand for another. Where a point has no interval the
# relation holds the galaxy to be gas-poor, and gives a limit.
methods = {"Zhang+2009": zhang, "Eckert+2015": eckert, "estimator": result}
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for shift, (label, table) in zip((-0.15, 0, 0.15), methods.items(), strict=True):
    middle, low, high = (table[f"log_hi_fraction{end}"].filled(np.nan) for end in ("", "_p16", "_p84"))
    errors = np.abs([low - middle, high - middle])
    axes.errorbar(np.arange(len(i_mag)) + shift, middle, yerr=errors, fmt=".", lw=1, label=label)
axes.set(xlabel="galaxy, from red to blue", ylabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$, dex")
axes.legend()
plt.show()

# %%
# How they differ from the estimator: in the mean, and from galaxy to galaxy.
rows = []
for label, table in list(methods.items())[:2]:
    difference = (table["log_hi_fraction"] - result["log_hi_fraction"]).filled(np.nan)
    served = np.isfinite(difference)
    rows.append((label, served.sum(), difference[served].mean().round(2), difference[served].std().round(2)))
QTable(rows=rows, names=["relation", "galaxies", "mean difference, dex", "scatter, dex"])
