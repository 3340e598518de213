"""The HI mass function of an optical sample by three ways to add up, beside that of ALFALFA."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

folder = Path(globals().get("__file__", sys.argv[0])).parent  # Sphinx gives a plot its arguments alone
table = Table.read(folder / "hi_mass_function.ecsv")
x = table["log_mhi"]

figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
axes.plot(x, table["alfalfa_survey"], color="k", label="ALFALFA, measured (Jones et al. 2018)")
axes.errorbar(x, table["intrinsic"], table["intrinsic_error"], fmt="o", color="C0", capsize=2,
              label="selection='intrinsic', draws")  # fmt: skip
for name, style, label in (
    ("intrinsic, medians", {"marker": "v", "color": "C2", "ls": "--"}, "selection='intrinsic', medians"),
    ("alfalfa", {"marker": "s", "color": "C3", "ls": ":"}, "selection='alfalfa', draws"),
):
    shown = np.where(table[name] > 0, table[name], np.nan)
    axes.plot(x, shown, mfc="none", label=label, **style)
axes.set(
    yscale="log",
    ylim=(1e-5, 0.06),
    xlabel=r"$\log_{10}(M_\mathrm{HI}/M_\odot)$",
    ylabel=r"galaxies per Mpc$^3$ and dex",
)
axes.legend(loc="lower left")
plt.show()
