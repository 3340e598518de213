"""
Your own labels in twenty lines
===============================

**Objective:** train a small network on labels, judge it by galaxies it did not see, and use it.
**Data:** *simulated* galaxies with *simulated* labels: what is learned says nothing about real ones.

Whatever you have measured of some galaxies can be the target of a network: a colour, a size, the strength of
a bar. What is needed is a table with the label, a picture of each row, and about twenty lines.
"""

# %%
# Labels and pictures
# -------------------
# This cell stands in place of your data. A folder of pictures, and a table with their names and the label:
# here the colour g - r that each was drawn with, and an error. The pictures are small, so that the training
# takes seconds; the recipe says so.
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.table import Table
from PIL import Image

from hifrac.cutouts import SDSS_RECIPE
from hifrac.simulate import SimulatedGalaxy, render

recipe = replace(SDSS_RECIPE, width=32, pixel_scale=1.2)
temporary = TemporaryDirectory()
folder = Path(temporary.name)
(folder / "pictures").mkdir()
rng = np.random.default_rng(11)
n = 150
labels = Table({"name": [f"g{k:03}" for k in range(n)], "ra": np.arange(n), "dec": np.zeros(n)})
colours = rng.uniform(0.15, 0.8, n)
labels["g_minus_r"] = rng.normal(colours, 0.03)  # measured, with an error
for name, colour in zip(labels["name"], colours, strict=True):
    i_mag, r50, axial_ratio = rng.uniform((14, 4, 0.3), (16, 8, 1))
    galaxy = SimulatedGalaxy(
        i_mag=i_mag, g_minus_r=colour, r_minus_i=colour / 2, r50=r50, axial_ratio=axial_ratio
    )
    Image.fromarray(render(galaxy, rng=rng, recipe=recipe)).save(folder / "pictures" / f"{name}.png")
labels.write(folder / "labels.ecsv")

# %%
# Train
# -----
# The configuration: that of the paper, with the shallow network and few epochs (:doc:`/training`).
# ``for_table`` takes the place of the paper's own data.
from hifrac.training import read_config

sources = {"table": str(folder / "labels.ecsv"), "cutouts": str(folder / "pictures"), "name": "name"}
config = read_config("paper").for_table(**sources, target="g_minus_r")
settings = ["network.architecture=shallow", "optimizer.epochs=8", "optimizer.batch_size=16"]
config = replace(config, pictures=recipe).with_settings([*settings, "run.accelerator=cpu"])

# %%
# The training writes the folder of a model, and returns the figures of held-out galaxies: errors in mag.
from hifrac.training import train_network

figures = train_network(config, folder / "model")
shown = {name: round(figures[name], 3) for name in ("rmse", "rmse_error", "slope", "coverage_68")}
shown | {"scatter of the labels": round(float(np.std(labels["g_minus_r"])), 3)}

# %%
# Judge
# -----
# Did it learn, and has it stopped to? Here the loss of the held-out galaxies still falls, and the estimates
# are off on one side: more epochs would help. Intervals rest on these galaxies, and so allow for it.
import matplotlib.pyplot as plt

log = Table.read(folder / "model" / "log.csv")
held_out = Table.read(folder / "model" / "held_out.ecsv")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for name, label in (("train_loss", "trained on"), ("valid_loss", "held out")):
    left.semilogy(log["epoch"], log[name], "o-", label=label)
left.set(xlabel="epoch", ylabel="RMSE, mag")
left.legend()
right.plot(held_out["target"], held_out["estimate"], "o")
right.axline((0.5, 0.5), slope=1, color="0.6")
right.set(xlabel="label, mag", ylabel="estimate, mag")
plt.show()

# %%
# Use
# ---
# The folder is a model as the bundled one is. Its results have the columns of its own target; ``p_detect``
# and ``ood_score`` are empty, for it was taught neither.
from hifrac import HIFractionEstimator, LocalCutouts

cutouts = LocalCutouts(folder / "pictures", name="name", recipe=recipe)
unseen = labels[np.isin(labels["name"], held_out["objid"])]["name", "ra", "dec"][:5]
unseen["ra"].unit = unseen["dec"].unit = "deg"
result = HIFractionEstimator(model=folder / "model", cutouts=cutouts).predict(unseen)
temporary.cleanup()
result.round(2)
result["name", "g_minus_r", "g_minus_r_p16", "g_minus_r_p84"]

# %%
# What to beware of
# -----------------
# * *A figure needs its rival.* Were all estimates the mean label, the RMSE would be the scatter of the
#   labels: an RMSE says something below that only.
# * *A network learns what is easy.* If your sample has its label by way of distance or brightness, so has the
#   network: judge it on galaxies of another survey, and look at its maps (:doc:`explain_to_ds9`).
# * *Medians are pulled to the mean.* The slope shows it; give intervals, or draws, with the estimates.
# * *Few labels.* With some hundred of *real* galaxies it is better to keep the measurements of the bundled
#   model and to learn its last layer anew: ``hifrac train --from default`` (:func:`hifrac.training.refit`).
