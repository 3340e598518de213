"""
Beyond the paper: reliability of the probability of detection
=============================================================

**Objective:** whether of the galaxies with ``p_detect`` of 0.7 seven in ten are detections.

**Tier:** *sample*, real cutouts of ALFALFA's detections and of galaxies it did not detect; every answer held
out.
"""

# %%
# The area under the curve (:doc:`fig05`) asks for the order only. Here the numbers themselves are asked.
# Detections and others are to count alike, however many there are of each: at such odds ``p_detect`` is
# calibrated (:doc:`/model`).

from hifrac.reproduce import EXPERIMENTS, numbers_table, probabilities, setting

here = setting()
table = probabilities.reliability(here)
shown = table.copy()
shown.round(3)
shown

# %%
# Errors are Wilson's intervals of 68% for the shares counted, carried to equal odds. Mind the counts below.

figure = EXPERIMENTS["reliability"].draw(table, here)

# %%
# For a survey in which detections are rarer, the probability must be told so: its odds times those of the
# survey. What ``p_detect`` becomes where a fifth of the galaxies are detected, as the paper quotes for
# ALFALFA:

import numpy as np

p_detect, prior = np.array([0.5, 0.7, 0.8, 0.9, 0.95]), 0.2
odds = p_detect / (1 - p_detect) * prior / (1 - prior)
for before, after in zip(p_detect, odds / (1 + odds), strict=True):
    print(f"p_detect {before:.2f} -> {after:.2f}")

# %%
# **Ours**; nothing is published. The Brier score is the mean square of probability minus outcome: 0 is
# perfect, and 0.25 what a constant one half has.

numbers_table(table)["quantity", "ours"]

# %%
# **What it says, and what not.** Stated and counted probabilities agree, best where most detections are. In
# the lower bins a handful of detections decides, and neighbouring bins miss on both sides of the line. The
# undetected galaxies are bright ones in ALFALFA's footprint, at any redshift; what the numbers are worth for
# those of ALFALFA's redshifts alone, which look more like detections, this sample does not tell.
