"""
Three instruments on one galaxy
===============================

**Objective:** gas, oxygen and spectrum of one picture: run, join, draw and compare what each has seen.
**Data:** a bundled *simulated* spiral; its redshift and magnitudes are invented to go with it.

The three estimators take the same tables and pictures, and give results of the same form. So one learns one
of them, and joins what they say. The spectra are drawn by way of specutils, which the package installs on
request (``pip install "hifrac[spectra]"``).
"""

# %%
# One table
# ---------
# A redshift and magnitudes are optional. Each estimator takes what it can use.
from hifrac.demo import PICTURES, sample_table

galaxy = sample_table()[[9]]
galaxy["z"], galaxy["dered_g"], galaxy["dered_r"], galaxy["dered_i"] = 0.03, 15.0, 14.5, 14.3
galaxy

# %%
# Three estimators
# ----------------
# With ``overwrite=True`` the result of one is the table for the next. Columns that both have, such as
# ``flags``, are then those of the later one, and those of the earlier get its name in front. Spectra have
# 1,000 numbers in a cell: they come last, and by themselves.
from hifrac import HIFractionEstimator, LocalCutouts, MetallicityEstimator, SpectrumEstimator

cutouts = LocalCutouts(PICTURES, name="name")
gas = HIFractionEstimator(cutouts=cutouts)
oxygen = MetallicityEstimator(cutouts=cutouts)
spectra = SpectrumEstimator(cutouts=cutouts)
both = oxygen.predict(gas.predict(galaxy), overwrite=True)
spectrum = spectra.predict(galaxy)

# %%
# A line for each answer, with its central 68%.
from astropy.table import Table

answers = (
    (both, "log_hi_fraction", "log10(M_HI/M*), dex"),
    (both, "oh", "12 + log10(O/H), scale of Tremonti et al. (2004)"),
    (spectrum, "h_alpha_ew", "equivalent width of H-alpha, Angstrom"),
)
lines = Table(names=["what", "p16", "median", "p84"], dtype=[str, float, float, float])
for result, name, what in answers:
    low, middle, high = (float(result[f"{name}{end}"].value[0]) for end in ("_p16", "", "_p84"))
    lines.add_row([what, low, middle, high])
lines.round(2)
lines

# %%
# Flags are of an instrument: that of passive galaxies is of the metallicity alone.
from hifrac import decode_flags

columns = {"HI": both["log_hi_fraction_flags"], "O/H": both["flags"], "spectrum": spectrum["flags"]}
for label, flags in columns.items():
    print(f"{label}: {', '.join(decode_flags(flags[0])) or 'no flag'}")

# %%
# The spectrum
# ------------
# :func:`~hifrac.plot_spectrum` draws a spectrum of specutils beside the picture. The band is the central 68%
# of each pixel. What was predicted is a *template* that goes with the looks: read H-alpha off the table, not
# off the curve.
from hifrac import plot_spectrum
from hifrac.images import decode
from hifrac.spectra import result_spectrum

picture = decode((PICTURES / f"{galaxy['name'][0]}.jpg").read_bytes())
figure = plot_spectrum(picture, result_spectrum(spectrum, 0), title=galaxy["name"][0])
figure

# %%
# Where each has looked
# ---------------------
# ``explain`` is the same for all three. Purple pixels raise the answer, orange ones lower it, each map in the
# unit of its own answer; a title has their sum, which is what sets this galaxy apart from the mean one.
import matplotlib.pyplot as plt

instruments = {"gas": gas, "oxygen": oxygen, "H-alpha": spectra}
figure, panels = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for axes, (name, estimator) in zip(panels, instruments.items(), strict=True):
    (explanation,) = estimator.explain(galaxy)
    title = f"{name}: {explanation.values.sum():+.2f} {explanation.target.unit}"
    explanation.plot(ax=axes, title=title)
    axes.set(xticks=[], yticks=[])
plt.show()

# %%
# What to beware of
# -----------------
# * *The answers are not independent.* All three rest on one picture and on the same magnitudes: a galaxy that
#   looks gas-rich looks metal-poor, too. A relation between predicted gas and predicted oxygen is one of the
#   training samples as much as of your galaxies.
# * *No conversion is hidden.* Metallicities are on one scale, and H-alpha is that of a fibre of 3 arcsec on a
#   galaxy such as SDSS measured: the outskirts have no part in it.
# * *Flags speak of one instrument each.* A galaxy without star formation has no oxygen lines, and still
#   has an honest upper end of its gas.
# * More of each: :doc:`/model`, :doc:`/metallicity`, :doc:`/spectra_model`.
