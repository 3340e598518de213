"""
The environment
===============

**Objective:** the density around galaxies, near the edges of a survey too, and the flag where it is high.
**Data:** a *simulated* reference catalogue, made by this script; the bundled *simulated* galaxies.
"""

# %%
# A reference catalogue has positions and redshifts. This one covers a piece of the sky.
import numpy as np
from astropy.table import QTable, Table

rng = np.random.default_rng(5)
n_field, n_cluster = 6000, 150
ra = [rng.uniform(145, 190, n_field)]
dec = [rng.uniform(15, 45, n_field)]
z = [rng.uniform(0.01, 0.05, n_field)]
for middle in ((152, 30, 0.02), (170, 25, 0.03), (181, 38, 0.04)):
    ra.append(rng.normal(middle[0], 0.4, n_cluster))
    dec.append(rng.normal(middle[1], 0.4, n_cluster))
    z.append(rng.normal(middle[2], 0.0007, n_cluster))
reference = Table([np.concatenate(part) for part in (ra, dec, z)], names=["ra", "dec", "z"])
for name in ("ra", "dec"):
    reference[name].unit = "deg"

# %%
# :func:`~hifrac.environment.overdensity` finds the fifth nearest neighbour within 1000 km/s, and compares
# the density with the median at the same redshift. Told where the survey has looked, it says how much of
# the circle to that neighbour is covered.
from hifrac.environment import HIGH_DENSITY, EnvironmentFlag, overdensity


def survey(ra, dec):
    """Whether the reference covers a position."""
    return (ra > 145) & (ra < 190) & (dec > 15) & (dec < 45)


density = overdensity(reference, reference["z"], reference, footprint=survey)
few = density[:3]
few.round(2)
few

# %%
# What can be known of the rows. Those of ``EDGE`` have a density that is too low, and do not enter the
# median.
for flag in EnvironmentFlag:
    if count := np.count_nonzero(density["environment_flags"] & flag):
        print(f"{count:5} {flag.name}: {flag.summary}")

# %%
# *Left:* the clusters stand out, and the edge is lined with flagged galaxies. *Right:* without the
# footprint these would pass for lonely ones: their densities are lower than those of the others.
import matplotlib.pyplot as plt

log_density = density["log_overdensity"].filled(np.nan)
edge = (density["environment_flags"] & EnvironmentFlag.EDGE) != 0
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
drawn = left.scatter(reference["ra"], reference["dec"], c=log_density, s=4, vmin=-1, vmax=2)
left.scatter(reference["ra"][edge], reference["dec"][edge], s=12, fc="none", ec="C3", lw=0.6, label="EDGE")
left.set(xlabel="RA, deg", ylabel="Dec, deg", xlim=(191, 144))
left.legend(loc="lower left", framealpha=1)
figure.colorbar(drawn, label=r"$\log_{10}(1+\delta_5)$")
steps = np.arange(-2, 3.1, 0.2)
right.hist(log_density[~edge], steps, density=True, histtype="step", label="covered")
right.hist(log_density[edge], steps, density=True, histtype="step", color="C3", label="EDGE")
right.axvline(HIGH_DENSITY, color="0.5", ls="--", label="high density")
right.set(xlabel=r"$\log_{10}(1+\delta_5)$", ylabel="share per dex")
right.legend()
plt.show()

# %%
# With a reference the estimator does this by itself, for a table that has redshifts: the result has the
# column ``log_overdensity``, and the flag ``HIGH_DENSITY`` where the relation of gas and looks is known to
# break. Where there is no redshift there is no density; the estimate stands.
from hifrac import HIFractionEstimator, LocalCutouts, decode_flags
from hifrac.demo import PICTURES, sample_table

galaxies = QTable(sample_table()[[3, 8, 12, 16, 19]])
galaxies["ra"] = [152.0, 170.1, 181.0, 165.0, 160.0] << galaxies["ra"].unit
galaxies["dec"] = [30.0, 24.9, 38.0, 31.0, 30.0] << galaxies["dec"].unit
galaxies["z"] = [0.02, 0.03, 0.02, 0.03, np.nan]
estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
result = estimator.predict(galaxies, environment=reference)
result["meaning"] = [", ".join(names) for names in decode_flags(result["flags"])]
result = result["name", "z", "log_hi_fraction", "log_overdensity", "meaning"]
result.round(2)
result
