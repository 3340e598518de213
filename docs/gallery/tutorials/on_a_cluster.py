"""
On a cluster
============

**Objective:** share a table among jobs, or a catalogue among workers, and check that nothing was lost.
**Data:** the bundled *simulated* galaxies, at invented positions; the "cluster" is this computer.

Jobs that know nothing of each other share a *table* by its parts; Dask's workers share a *catalogue* in HATS
by its pixels. In both, a share is on the disk before it counts, so that whatever is killed is begun again
where it was.

In a script ``if __name__ == "__main__":`` keeps the workers, each of which imports it, from doing all of it
again. In a notebook, as on this page, workers import nothing, and the line is not needed.
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
if __name__ == "__main__":
    temporary = TemporaryDirectory()
    shared = Path(temporary.name)
    galaxies.write(shared / "big.parquet")

# %%
# An array of jobs
# ----------------
# The command of a job. On a cluster the queue numbers the jobs: ``--part $SLURM_ARRAY_TASK_ID/2`` after
# ``sbatch --array=0-1`` (:doc:`/clusters`). Here two processes are started at once.
if __name__ == "__main__":
    words = ["predict", shared / "big.parquet", "-o", shared / "parts", "--cutouts", PICTURES, "--name",
             "name", "--rows-per-part", "20", "--threads", "1", "--resume"]  # fmt: skip
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
if __name__ == "__main__":
    print(*sorted(path.name for path in (shared / "parts").iterdir()), sep="\n")
    by_jobs = read_table(shared / "parts")
    print(f"{len(by_jobs)} rows, in order: {bool(np.all(by_jobs['objid'] == galaxies['objid']))}")

# %%
# A catalogue in HATS
# -------------------
# LSDB makes a catalogue of the table: partitions are pixels of the sky, finer where there is more. It comes
# with ``pip install "hifrac[hats]"``; without it the rest of this page says so and does nothing.
has_lsdb = find_spec("lsdb") is not None
if __name__ == "__main__" and not has_lsdb:
    print("LSDB is not installed here: this part was left out.")
if __name__ == "__main__" and has_lsdb:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries below LSDB
        import lsdb
    frame = galaxies.to_pandas()
    catalog = lsdb.from_dataframe(frame, catalog_name="galaxies", lowest_order=2, partition_rows=30)
    print(f"{catalog.npartitions} partitions")

# %%
# Two workers of this computer share them. Without a client this process would do it, one partition after the
# other. On the command line it is ``hifrac predict galaxies -o estimates --workers 2``.
if __name__ == "__main__" and has_lsdb:
    from hifrac.hats import local_cluster, predict_catalog

    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    with local_cluster(2) as cluster, cluster.get_client() as client:
        print(f"{len(client.nthreads())} workers")
        result = predict_catalog(catalog, shared / "estimates", estimator=estimator, client=client)
    by_workers = result.compute(progress_bar=False).sort_values("objid")

# %%
# The same estimates
# ------------------
# Who did the work must not matter. *Left:* the pixels, which are the shares of the workers. *Right:* the
# differences between jobs and workers, galaxy by galaxy.
if __name__ == "__main__" and has_lsdb:
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
if __name__ == "__main__":
    temporary.cleanup()

# %%
# What to beware of
# -----------------
# * *Pictures first.* Jobs that each ask a survey service are what gets their owner banned: fetch once
#   (:doc:`ten_thousand_galaxies`), and give all jobs the archive. A catalogue refuses a service by itself.
# * *One share, one process.* Two jobs with the same ``--part`` at the same time write over each other.
# * *Resume is no repair of changes.* With another model, table or number of rows a part it refuses.
# * *A worker is a process with a start*, some seconds: it does not pay for a minute's work.
