"""A catalogue in HATS by one process, by one on one core, and by workers of Dask: rate, memory, equality."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the workers have it

import click
import numpy as np
import pandas as pd


def _write_catalog(folder: Path, names: np.ndarray, rows: int, rows_per_partition: int) -> None:
    """Write a catalogue of so many rows, with pictures in turns."""
    from hifrac.hats._cluster import import_lsdb

    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "objid": names[np.arange(rows) % len(names)],
            "ra": generator.uniform(150.0, 190.0, rows),
            "dec": generator.uniform(0.0, 40.0, rows),
        }
    )
    catalog = import_lsdb().from_dataframe(
        frame, catalog_name=folder.name, highest_order=9, partition_rows=rows_per_partition
    )
    catalog.write_catalog(folder, as_collection=False, progress_bar=False)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, its threads to come included, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _peak_memory() -> float:
    """Return the most memory that this process has had, in MiB; NaN where there is no /proc."""
    status = Path("/proc/self/status")  # getrusage would tell that of the process which started this one
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def _trimming_cluster(n_workers: int):
    """Start workers as Dask does."""
    from distributed import LocalCluster

    return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


@click.command()
@click.option("--rows", default=6000, show_default=True)
@click.option("--rows-per-partition", default=500, show_default=True, help="At most.")
@click.option("--workers", default=2, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="The ways take turns.")
@click.option("--trim", is_flag=True, help="Also workers with MALLOC_TRIM_THRESHOLD_, as Dask starts them.")
def main(rows: int, rows_per_partition: int, workers: int, repeats: int, trim: bool) -> None:
    """Print rows per second of each way, without start and loading, and its ratio to one process."""
    from distributed import Client
    from predict import archive_of_pictures

    from hifrac import HIFractionEstimator, LocalCutouts
    from hifrac.hats import local_cluster, predict_catalog

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        pictures, names = archive_of_pictures(folder)
        estimator = HIFractionEstimator(cutouts=LocalCutouts(pictures, name="objid"))
        _write_catalog(folder / "galaxies", names, rows, rows_per_partition)
        _write_catalog(folder / "few", names, 40 * workers, 2)
        clusters = {"workers": stack.enter_context(local_cluster(workers))}
        if trim:
            clusters["workers, trimming"] = stack.enter_context(_trimming_cluster(workers))
        # Clients that are no default: else what has none, the one process, would work with them.
        clients = {
            way: stack.enter_context(Client(cluster, set_as_default=False))
            for way, cluster in clusters.items()
        }
        ways = {"one process": None, "one process, one core": None, **clients}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        processor: dict[str, list[float]] = {way: [] for way in ways}
        results = {}

        def processor_time(way: str) -> float:
            client = ways[way]
            return time.process_time() if client is None else sum(client.run(time.process_time).values())

        def run(way: str, catalog: str) -> float:
            with ExitStack() as here:
                if way.endswith("one core"):
                    here.enter_context(_one_core())
                start = time.perf_counter()
                results[way] = predict_catalog(
                    folder / catalog, folder / "out", estimator=estimator, client=ways[way], overwrite=True
                ).compute(progress_bar=False)["log_hi_fraction"]
                return time.perf_counter() - start

        for way in ways:  # each process imports, and loads the model
            run(way, "few")
        for _ in range(repeats):
            for way in ways:
                before = processor_time(way)
                seconds[way].append(run(way, "galaxies"))
                processor[way].append(processor_time(way) - before)
        medians = {way: float(np.median(times)) for way, times in seconds.items()}
        click.echo(
            f"{'':>24} {'rows/s':>8} {'ratio':>6} {'to one core':>12} {'processor, ms/row':>18} "
            f"{'largest difference, dex':>24}"
        )
        for way, median in medians.items():
            difference = np.nanmax(
                np.abs(results[way].to_numpy(float) - results["one process"].to_numpy(float))
            )
            click.echo(
                f"{way:>24} {rows / median:8.0f} {medians['one process'] / median:6.2f} "
                f"{medians['one process, one core'] / median:12.2f} "
                f"{1e3 * np.median(processor[way]) / rows:18.2f} {difference:24.1e}"
            )
        for way, client in clients.items():
            peaks = ", ".join(f"{peak:.0f}" for peak in client.run(_peak_memory).values())
            click.echo(f"peak memory of {way}, MiB: {peaks}")
            client.close()


if __name__ == "__main__":
    main()
