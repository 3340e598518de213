"""Are the intervals and probabilities of the default model what they say? Of held-out galaxies."""

from importlib import resources

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from scipy.stats import binom

from hifrac.reproduce.probabilities import reliability_table

answers = Table.read(resources.files("hifrac.models") / "weights" / "default" / "out_of_fold.ecsv")
detected = np.asarray(answers["detected"])
pit, pit_of_all = (np.asarray(answers[name])[detected] for name in ("pit", "pit_z_photometry"))
estimate = np.asarray(answers["log_hi_fraction"])[detected]
n = len(pit)

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.5, 3.5), layout="constrained")

# Probability integral transform: flat if the intervals are right at every level.
n_bins = 10
edges = np.linspace(0, 1, n_bins + 1)
left.stairs(np.histogram(pit, edges)[0], edges, fill=True, color="0.75", label="picture")
left.stairs(np.histogram(pit_of_all, edges)[0], edges, color="C3", label="picture+z+photometry")
low, high = binom.interval(0.95, n, 1 / n_bins)
left.axhspan(low, high, color="C0", alpha=0.2, label="95% of flat ones")
left.axhline(n / n_bins, color="C0")
left.set(xlabel="rank of the truth in its distribution (PIT)", ylabel="detections", ylim=(0, None))
left.legend(loc="lower center")

# Coverage of central intervals, of all and by tercile of the estimate.
nominal = np.linspace(0.02, 0.98, 49)
away = 2 * np.abs(pit - 0.5)
terciles = np.array_split(np.argsort(estimate), 3)
for part, label, style in (
    (np.arange(n), f"all {n} detections", {"color": "k", "lw": 2}),
    (terciles[0], "lowest third of the estimates", {"color": "C3", "ls": "--"}),
    (terciles[1], "middle third", {"color": "C2", "ls": "-."}),
    (terciles[2], "highest third", {"color": "C0", "ls": ":"}),
):
    middle.plot(nominal, [np.mean(away[part] <= share) for share in nominal], label=label, **style)
middle.plot([0, 1], [0, 1], color="0.6", lw=1, zorder=0)
middle.set(xlabel="nominal share of the interval", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1))
middle.legend(fontsize="small")

# Reliability of p_detect, detections and bright undetected galaxies counting alike.
kinds = detected | np.asarray(answers["undetected"])
p_detect, seen = np.asarray(answers["p_detect"])[kinds], detected[kinds]
table = reliability_table(seen, p_detect)
error = [table["share"] - table["share_low"], table["share_high"] - table["share"]]
right.errorbar(table["stated"], table["share"], error, fmt="o", color="k", capsize=2)
right.plot([0, 1], [0, 1], color="0.6", lw=1, zorder=0)
right.set(xlabel="mean p_detect", ylabel="share of detections", xlim=(0, 1), ylim=(0, 1))
plt.show()
