"""Rate, processor time and peak memory of ``hifrac predict``, each time in a process of its own.

Threads of OpenMP that wait asleep, as the command has them, beside threads that wait in a loop, as PyTorch
has them else; on a machine that other processes keep busy, if wanted.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from astropy.table import Table

from hifrac.core.config import data_dir

_CHILD = """
import resource, sys
from hifrac.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("USED", used.ru_maxrss, used.ru_utime + used.ru_stime)
"""

#: Environments of the command. The second has the count of libgomp's default policy, which is not passive.
_WAITING = {"asleep": {}, "in a loop": {"GOMP_SPINCOUNT": "300000"}}


def archive_of_pictures(folder: Path) -> tuple[Path, np.ndarray]:
    """A zip of pictures and their names: the real ones, or a few hundred simulated."""
    root = data_dir()
    if root is not None and (root / "cutouts" / "sdss_cutouts.zip").is_file():
        path = root / "cutouts" / "sdss_cutouts.zip"
        with zipfile.ZipFile(path) as archive:
            return path, np.array([Path(name).stem for name in archive.namelist() if name.endswith(".jpg")])
    from hifrac.demo import PICTURES

    path, names = folder / "simulated.zip", []
    sources = sorted(PICTURES.glob("sim-*.jpg"))[:24]
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            names.append(f"{number:06d}")
            archive.write(sources[number % len(sources)], f"{number:06d}.jpg")
    return path, np.array(names)


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """Keep the machine busy with so many other processes."""
    others = [multiprocessing.Process(target=sum, args=(itertools.count(),)) for _ in range(processes)]
    for process in others:
        process.start()
    try:
        yield
    finally:
        for process in others:
            process.kill()


def _run(table: Path, pictures: Path, output: Path, settings: dict[str, str]) -> tuple[float, float, float]:
    """Return seconds, seconds of the processor, and MiB at most."""
    command = [sys.executable, "-c", _CHILD, "predict", str(table), "-o", str(output)]
    command += ["--cutouts", str(pictures), "--name", "objid", "--overwrite"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **settings})
    seconds = time.perf_counter() - start
    peak, processor = done.stdout.split("USED")[1].split()
    # ru_maxrss counts kilobytes on Linux, bytes on macOS.
    return seconds, float(processor), int(peak) / (1024 if sys.platform != "darwin" else 1024**2)


@click.command()
@click.option("--sizes", default="2000,20000", show_default=True, help="Numbers of rows, by commas.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--busy", default=0, show_default=True, help="Other processes that compute meanwhile.")
def main(sizes: str, repeats: int, busy: int) -> None:
    """Print medians by number of rows, and by how threads wait; of the memory the most."""
    with tempfile.TemporaryDirectory() as name, _busy(busy):
        folder = Path(name)
        pictures, names = archive_of_pictures(folder)
        click.echo(
            f"{'rows':>7} {'waiting':>9} {'seconds':>8} {'processor':>9} {'pictures/s':>11} {'peak MiB':>9}"
        )
        peaks = []
        for size in (int(text) for text in sizes.split(",")):
            chosen = names[np.arange(size) % len(names)]
            positions = np.linspace(0.0, 359.0, size)
            Table(
                {"objid": chosen, "ra": positions, "dec": np.zeros(size)}, units={"ra": "deg", "dec": "deg"}
            ).write(folder / "input.ecsv", overwrite=True)
            runs: dict[str, list[tuple[float, float, float]]] = {waiting: [] for waiting in _WAITING}
            for _ in range(repeats):  # in turns, so that what else the machine does hits both alike
                for waiting, settings in _WAITING.items():
                    runs[waiting].append(_run(folder / "input.ecsv", pictures, folder / "out.fits", settings))
            for waiting, numbers in runs.items():
                seconds, processor, _ = np.median(numbers, axis=0)
                rate, peak = size / seconds, max(run[2] for run in numbers)
                click.echo(f"{size:7d} {waiting:>9} {seconds:8.1f} {processor:9.1f} {rate:11.0f} {peak:9.0f}")
            peaks.append(max(run[2] for run in runs["asleep"]))
        click.echo(f"peak memory, largest over smallest size: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
