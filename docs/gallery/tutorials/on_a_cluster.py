"""
On a cluster
============

**Objective:** share a table among jobs, or a catalogue among workers, and check that nothing was lost.
**Data:** the bundled *simulated* galaxies, at invented positions; the "cluster" is this computer.

Jobs that know nothing of each other share a *table* by its parts; Dask's workers share a *catalogue* in HATS
by its pixels. In both, a share is on the disk before it counts, so that whatever is killed is begun again
where it was.
"""

# %%
# The table
# ---------
# 120 rows, each with one of the pictures; and one folder that all jobs see.
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.table import Table

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.core import read_table
from hifrac.demo import PICTURES, sample_table

rng = np.random.default_rng(4)
galaxies = Table({
    "objid": np.arange(120), "name": np.resize(sample_table()["name"][:24], 120),
    "ra": rng.uniform(150, 180, 120), "dec": rng.uniform(0, 30, 120),
})  # fmt: skip
galaxies["ra"].unit = galaxies["dec"].unit = "deg"
temporary = TemporaryDirectory()
shared = Path(temporary.name)

# %%
# An array of jobs
# ----------------
# The command of a job. On a cluster the queue numbers the jobs: ``--part $SLURM_ARRAY_TASK_ID/2`` after
# ``sbatch --array=0-1`` (:doc:`/clusters`). Here two processes are started at once.
words = ["predict", shared / "big.parquet", "-o", shared / "parts", "--cutouts", PICTURES, "--name", "name",
         "--rows-per-part", "20", "--threads", "1", "--resume"]  # fmt: skip
galaxies.write(shared / "big.parquet")
jobs = [
    subprocess.Popen([sys.executable, "-m", "hifrac", *map(str, words), "--part", f"{job}/2"],
                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for job in range(2)
]  # fmt: skip
for number, job in enumerate(jobs):
    print(f"job {number}: status {job.wait()}")

# %%
# The parts, and all of them as one table. ``read_table`` refuses a folder that lacks one. Jobs may differ in
# speed and computer: the rows and their order are those of the input.
print(*sorted(path.name for path in (shared / "parts").iterdir()))
by_jobs = read_table(shared / "parts")
print(f"{len(by_jobs)} rows, in order: {bool(np.all(by_jobs['objid'] == galaxies['objid']))}")

# %%
# A catalogue in HATS
# -------------------
# LSDB makes a catalogue of the table: partitions are pixels of the sky, finer where there is more. It comes
# with ``pip install "hifrac[hats]"``; without it the rest of this page says so and does nothing.
has_lsdb = find_spec("lsdb") is not None
if not has_lsdb:
    print("LSDB is not installed here: this part was left out.")
if has_lsdb:
    from hifrac.hats import predict_catalog

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries below LSDB
        import lsdb
    frame = galaxies.to_pandas()
    catalog = lsdb.from_dataframe(frame, catalog_name="galaxies", lowest_order=2, partition_rows=30)
    print(f"{catalog.npartitions} partitions")
    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    result = predict_catalog(catalog, shared / "estimates", estimator=estimator)
    by_workers = result.compute(progress_bar=False).sort_values("objid")

# %%
# Without a client this process did it, one partition after the other. With one, its workers share them. Each
# of them imports the script, hence the first line (``hifrac predict galaxies -o estimates --workers 2`` does
# the same):
#
# .. code-block:: python
#
#    if __name__ == "__main__":
#        with local_cluster(2) as cluster, cluster.get_client() as client:
#            predict_catalog("galaxies", "estimates", estimator=estimator, client=client)

# %%
# The same estimates
# ------------------
# Who did the work must not matter. *Left:* the pixels, which are the shares. *Right:* the
# differences between jobs and catalogue, galaxy by galaxy.
if has_lsdb:
    import matplotlib.pyplot as plt

    workers, jobs = (np.asarray(table["log_hi_fraction"], float) for table in (by_workers, by_jobs))
    difference = workers - jobs
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for pixel in result.get_healpix_pixels():  # the index of a row is its pixel of order 29
        part = by_workers[by_workers.index >> 2 * (29 - pixel.order) == pixel.pixel]
        left.scatter(part["ra"], part["dec"], s=8)
    left.set(xlabel="RA, deg", ylabel="Dec, deg", xlim=(181, 149))
    right.plot(by_workers["objid"], difference, ".")
    right.set(xlabel="objid", ylabel="difference, dex", ylim=(-2e-5, 2e-5))
    plt.show()
    print(f"largest difference: {np.nanmax(np.abs(difference)):.0e} dex")
temporary.cleanup()

# %%
# What to beware of
# -----------------
# * *Pictures first.* Jobs that each ask a survey service are what gets their owner banned: fetch once
#   (:doc:`ten_thousand_galaxies`), and give all jobs the archive. A catalogue refuses a service by itself.
# * *One share, one process.* Two jobs with the same ``--part`` at the same time write over each other.
# * *Resume is no repair of changes.* With another model, table or number of rows a part it refuses.
# * *A worker is a process with a start*, some seconds: it does not pay for a minute's work.
