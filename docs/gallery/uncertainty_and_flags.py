"""
Uncertainty and flags
=====================

**Objective:** read intervals, ``p_detect``, ``ood_score`` and flags, and choose rows by them.
**Data:** the bundled *simulated* galaxies, and one of them altered by this script.
"""

# %%
# Each row has an estimate, the ends of its central intervals of 68% and 90%, and two answers to two
# questions: would a survey like ALFALFA detect this galaxy, and does its picture resemble those that the
# model learned from?
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hifrac import Flag, HIFractionEstimator, LocalCutouts, decode_flags
from hifrac.demo import PICTURES, sample_table

estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
result = estimator.predict(sample_table())
fraction, p05, p16, p84, p95 = (
    result[f"log_hi_fraction{end}"].filled(np.nan) for end in ("", "_p05", "_p16", "_p84", "_p95")
)
p_detect, ood_score = (result[name].filled(np.nan) for name in ("p_detect", "ood_score"))

# %%
# *Left:* intervals of a blue galaxy are nearly symmetric; a red one may hold next to no gas, and the lower
# end of its interval is far down (:ref:`interval`). *Right:* both questions, with the thresholds of the
# model's card.
import matplotlib.pyplot as plt

limits = estimator.model.card.detection
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
row = np.arange(len(result))
left.vlines(row, p05, p95, color="0.75", label="90%")
left.vlines(row, p16, p84, color="C0", lw=4, label="68%")
left.plot(row, fraction, "k.", label="estimate")
left.set(xlabel="row", ylabel=r"$\log_{10}(M_\mathrm{HI}/M_*)$, dex")
left.legend(loc="lower right")
drawn = right.scatter(p_detect, ood_score, c=fraction)
right.axvline(limits.threshold, color="0.5", ls="--")
right.axhline(limits.ood_threshold, color="0.5", ls=":")
right.set(xlabel="p_detect", ylabel="ood_score")
figure.colorbar(drawn, label="estimate, dex")
plt.show()

# %%
# **Choosing rows.** None with a flag, to begin with; or all but those with one flag. That is no proof that
# a row is right: see :ref:`when-not-to-trust`.
clean = result[result["flags"] == 0]
usual = result[(result["flags"] & (Flag.OUT_OF_DISTRIBUTION | Flag.OUT_OF_FOOTPRINT)) == 0]
print(f"{len(result)} rows, {len(clean)} without any flag, {len(usual)} with a usual picture")

# %%
# **Altered pictures.** A galaxy does not get richer by being turned. A star beside it matters little; one
# on top of it changes the estimate, and no flag tells. With the middle or one half blanked the estimate is
# of something else.
from hifrac.images import decode
from hifrac.simulate import encode_jpeg, render_star

galaxy = decode((PICTURES / "sim-14-late-spiral.jpg").read_bytes())
star = render_star(i_mag=15, g_minus_r=0.6, r_minus_i=0.3, rng=1, field=False)
altered = {"as it is": galaxy}
altered |= {f"rotated {90 * n}": np.ascontiguousarray(np.rot90(galaxy, n)) for n in (1, 2, 3)}
altered["star beside"] = np.maximum(galaxy, np.roll(star, 40, axis=1))
altered["star on top"] = np.maximum(galaxy, star)
altered["middle blanked"], altered["half blanked"] = galaxy.copy(), galaxy.copy()
altered["middle blanked"][44:84, 44:84] = np.median(galaxy, (0, 1))
altered["half blanked"][:, 64:] = 0

table = sample_table()[[13] * len(altered)]
table["name"] = list(altered)
with TemporaryDirectory() as folder:
    for name, pixels in altered.items():
        (Path(folder) / f"{name}.jpg").write_bytes(encode_jpeg(pixels))
    changed = HIFractionEstimator(cutouts=LocalCutouts(folder, name="name")).predict(table)

figure, panels = plt.subplots(2, 4, figsize=(10, 5.9), layout="constrained")
for axes, one, names in zip(panels.flat, changed, decode_flags(changed["flags"]), strict=True):
    axes.imshow(altered[one["name"]])
    words = [f"{one['name']}: {one['log_hi_fraction']:+.2f} dex", *names]
    axes.set_title("\n".join(words), fontsize=9, va="bottom")
    axes.set(xticks=[], yticks=[])
plt.show()
