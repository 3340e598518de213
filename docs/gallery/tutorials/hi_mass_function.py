"""
From an optical sample to an HI mass function
=============================================

**Objective:** weigh an optical sample by the volumes that it sees, and count draws, not medians.
**Data:** a *simulated* survey, drawn here from published functions of stellar mass.

How many galaxies of each HI mass are there, if no radio telescope has looked? A picture gives each galaxy a
*distribution* of HI masses. The sum of these, each divided by the volume in which its galaxy would have been
noticed, is the HI mass function. This page makes all the steps on a simulated survey, whose
number of galaxies is known. On 1,154 real ones they are made in :ref:`hi-mass-function`.
"""

# %%
# A survey
# --------
# Stellar masses follow the function of Baldry et al. (2012), colours are red or blue with a probability that
# depends on mass. This piece of the sky has 700 galaxies of more than 10^9 solar masses, bright or faint.
import numpy as np
from astropy.table import Table

HUBBLE, LIMIT, NEAREST, FARTHEST = 70, 14.8, 0.01, 0.05  # km/s/Mpc, mag in i, redshifts


def schechter(log_mass, knee, *parts):
    """Galaxies per cubic megaparsec and dex: a sum of Schechter functions of one knee."""
    ratio = 10 ** (log_mass - knee)
    return sum(np.log(10) * phi * ratio ** (slope + 1) * np.exp(-ratio) for phi, slope in parts)


rng = np.random.default_rng(7)
n = 700
grid = np.linspace(9, 12, 3001)
baldry = schechter(grid, 10.66, (3.96e-3, -0.35), (0.79e-3, -1.47))
density = np.trapezoid(baldry, grid)
log_mstar = rng.choice(grid, n, p=baldry / baldry.sum())
z = rng.uniform(NEAREST**3, FARTHEST**3, n) ** (1 / 3)
distance = 299792.458 * z / HUBBLE  # Mpc
is_red = rng.uniform(size=n) < 1 / (1 + np.exp(-3 * (log_mstar - 10.4)))
g_minus_i = rng.normal(np.where(is_red, 1.15, 0.85) + 0.2 * (log_mstar - 10), 0.08)
abs_i = (1.15 + 0.7 * g_minus_i - log_mstar) / 0.4  # Taylor et al. (2011)
galaxies = Table({
    "objid": [f"sim-{k}" for k in range(n)],
    "ra": rng.uniform(150, 200, n), "dec": rng.uniform(10, 40, n), "z": z, "log_mstar": log_mstar,
    "i": abs_i + 5 * np.log10(distance) + 25, "g_minus_i": g_minus_i, "abs_i": abs_i,
    "distance": distance, "axial_ratio": rng.uniform(0.2, 1, n),
})  # fmt: skip
galaxies["i_mag"] = galaxies["i"]
galaxies["ra"].unit = galaxies["dec"].unit = "deg"

# %%
# What the survey sees
# --------------------
# Those brighter than its limit. Each of them stands for all galaxies of its kind, and the faint ones for
# more: a galaxy that could be seen in a hundredth of the volume counts a hundred times (Schmidt 1968).
seen = galaxies[galaxies["i_mag"] < LIMIT]
reach = np.minimum(seen["z"] * 10 ** (0.2 * (LIMIT - seen["i_mag"])), FARTHEST)
weights = density / n * (FARTHEST**3 - NEAREST**3) / (reach**3 - NEAREST**3)
print(f"{len(seen)} of {n} galaxies; their weights stand for {sum(weights) / density * n:.0f}")

# %%
# Their pictures are rendered from this photometry into an archive; in place of it stand the pictures of a
# survey that you have (:doc:`/fetching_many`).
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from hifrac.images import to_jpeg
from hifrac.simulate import render_table

temporary = TemporaryDirectory()
archive = Path(temporary.name) / "pictures.zip"
with zipfile.ZipFile(archive, "w") as file:
    for name, picture in zip(seen["objid"], render_table(seen), strict=True):
        file.writestr(f"{name}.jpg", to_jpeg(picture))

# %%
# Draws, not medians
# ------------------
# ``selection="intrinsic"``, the default, is the one for galaxies that were not chosen by their HI
# (:doc:`/selection`). ``samples=32`` adds to each row 32 draws from what its HI may be.
import warnings

from hifrac import HIFractionEstimator, LocalCutouts

masses = {}
for selection in ("intrinsic", "alfalfa"):
    with LocalCutouts(archive, name="objid") as cutouts, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows with flags; they are counted below
        estimator = HIFractionEstimator(cutouts=cutouts, selection=selection)
        result = estimator.predict(seen, samples=32)
    masses[selection] = result["log_hi_fraction_samples"] + seen["log_mstar"][:, None]
    masses[f"{selection}, medians"] = result["log_mhi"][:, None]
    print(f"{selection}: {np.sum(result['flags'] != 0)} rows with a flag, {result['evidence'][0]}")
temporary.cleanup()

# %%
# Each draw gets its share of its galaxy's weight. Drawing galaxies again and again (a bootstrap) gives the
# errors, of the galaxies and of the draws at once.
edges = np.arange(8.4, 10.81, 0.3)
middles = (edges[1:] + edges[:-1]) / 2


def mass_function(log_mhi, weights):
    """Galaxies per cubic megaparsec and dex: of each galaxy several masses, shape (n, k)."""
    values = np.asarray(log_mhi, dtype=float)
    shares = np.broadcast_to(weights[:, None] / values.shape[1], values.shape)
    return np.histogram(values, edges, weights=shares)[0] / np.diff(edges)


weights = np.asarray(weights)
resamples = rng.integers(0, len(seen), (200, len(seen)))
curves = [mass_function(masses["intrinsic"][rows], weights[rows]) for rows in resamples]

# %%
# The figure
# ----------
# The black line is what ALFALFA measured in the Universe (Jones et al. 2018). The colours of these galaxies
# were invented, and adjusted until the curve looked plausible: the line is no test here. That of
# :ref:`hi-mass-function` is one.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
axes.plot(middles, schechter(middles, 9.94, (4.5e-3, -1.25)), "k", label="ALFALFA, measured")
counts = mass_function(masses["intrinsic"], weights)
axes.errorbar(middles, counts, np.std(curves, axis=0), fmt="o", capsize=2, label="intrinsic, draws")
for name, style in (("intrinsic, medians", "v--"), ("alfalfa", "s:")):
    counts = mass_function(masses[name], weights)
    axes.plot(middles, np.where(counts > 0, counts, np.nan), style, mfc="none", label=name)
axes.set(yscale="log", ylim=(1e-5, 0.06), ylabel="galaxies per Mpc$^3$ and dex")
axes.set(xlabel=r"$\log_{10}(M_\mathrm{HI}/M_\odot)$")
axes.legend(loc="lower left")
plt.show()

# %%
# The density of HI is the sum over all draws, in units of the critical density. ALFALFA has 3.9e-4.
for name, values in masses.items():
    total = np.sum(np.mean(10 ** np.asarray(values), axis=1) * weights)
    print(f"{name:20} Omega_HI = {total / 1.36e11:.1e}")

# %%
# What to beware of
# -----------------
# * *Medians have no tails.* The most massive systems, the rich ones among galaxies that look alike, are
#   missing, and the sum is too small.
# * *The wrong selection is wrong by a factor.* ``"alfalfa"`` takes each galaxy for one that ALFALFA detects.
# * *The sample ends somewhere.* Galaxies below 10^9 solar masses were left out here, and a limit in flux
#   loses them in any survey: below 10^9.4 solar masses of HI the points fall short.
# * *Weights have errors of their own*: few faint galaxies stand for many. The bootstrap knows that, but knows
#   nothing of errors that all share: of the mass scale, of distances, of the density of the sample.
