"""Rate and peak memory of ``hifrac predict`` at two sizes, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import zipfile
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
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _archive(folder: Path) -> tuple[Path, np.ndarray]:
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


def _run(table: Path, pictures: Path, output: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", _CHILD, "predict", str(table), "-o", str(output)]
    command += ["--cutouts", str(pictures), "--name", "objid", "--overwrite"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    peak = int(done.stdout.split("PEAK")[1])
    # ru_maxrss counts kilobytes on Linux, bytes on macOS.
    return seconds, peak / (1024 if sys.platform != "darwin" else 1024**2)


@click.command()
@click.option("--sizes", default="2000,20000", show_default=True, help="Numbers of rows, by commas.")
@click.option("--repeats", default=3, show_default=True)
def main(sizes: str, repeats: int) -> None:
    """Print rows, median seconds, pictures per second, and peak memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures, names = _archive(folder)
        click.echo(f"{'rows':>7} {'seconds':>8} {'pictures/s':>11} {'peak MiB':>9}   {pictures.name}")
        peaks = []
        for size in (int(text) for text in sizes.split(",")):
            chosen = names[np.arange(size) % len(names)]
            positions = np.linspace(0.0, 359.0, size)
            Table(
                {"objid": chosen, "ra": positions, "dec": np.zeros(size)}, units={"ra": "deg", "dec": "deg"}
            ).write(folder / "input.ecsv", overwrite=True)
            runs = [_run(folder / "input.ecsv", pictures, folder / "out.fits") for _ in range(repeats)]
            seconds = float(np.median([run[0] for run in runs]))
            peaks.append(max(run[1] for run in runs))
            click.echo(f"{size:7d} {seconds:8.1f} {size / seconds:11.0f} {peaks[-1]:9.0f}")
        click.echo(f"peak memory, largest over smallest size: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
