"""
Estimates from positions
========================

**Objective:** from a table of positions to HI mass fractions with intervals and flags, and to a file.
**Data:** the bundled *simulated* galaxies; nothing is fetched.
"""

# %%
# The sample that comes with the package: simulated objects, each with a name and a position. Any table with
# ``ra`` and ``dec`` will do; other columns are kept.
from hifrac.demo import PICTURES, sample_table

galaxies = sample_table()
galaxies[:3]

# %%
# An estimator without arguments would fetch the pictures from SDSS SkyServer. Here they
# are files, found by the column ``name``.
from hifrac import HIFractionEstimator, LocalCutouts

estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
estimator

# %%
# The result has one row for each row of the table. One that cannot be served has a flag, and a warning
# says so.
result = estimator.predict(galaxies)
columns = ["name", "log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84", "p_detect", "flags"]
first = result[columns][:5]
first.round(2)
first

# %%
# The table has stellar masses, and so the result has HI masses. Logarithms are plain
# numbers, with the unit in the description of their column.
10 ** result["log_mhi"][:3]

# %%
# Every estimate with its central interval of 68%. Rows with a flag are drawn apart.
import matplotlib.pyplot as plt

from hifrac import plot_result

figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
plot_result(result, ax=axes)
plt.show()

# %%
# A flag is a bit of the column ``flags``; ``decode_flags`` gives their names, and ``Flag`` says what follows.
# The last row has no estimate: it is masked, and still there.
from hifrac import decode_flags

for name, names_of_flags in zip(result["name"], decode_flags(result["flags"]), strict=True):
    if names_of_flags:
        print(f"{name:26} {', '.join(names_of_flags)}")

# %%
# The result goes into a file whole, and comes out of it with its descriptions and masks; its ``meta`` says
# what made it, and which papers to cite.
from pathlib import Path
from tempfile import TemporaryDirectory

from hifrac.core import read_table, write_table

with TemporaryDirectory() as folder:
    write_table(result, Path(folder) / "result.ecsv")
    again = read_table(Path(folder) / "result.ecsv")

print(again["log_hi_fraction"].description, "masked:", again["log_hi_fraction"].mask.sum())
for key in ("version", "model", "recipe", "source"):
    print(f"{key}:", again.meta["hifrac"][key])
print("references:", *again.meta["hifrac"]["references"], sep="\n  ")
