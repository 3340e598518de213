"""Rate and memory of ``hifrac predict`` in parts, as it goes on: both must not depend on how far it is.

Reads the memory of the process from ``/proc``: Linux alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from predict import archive_of_pictures

_TICKS = os.sysconf("SC_CLK_TCK")


def _write_input(path: Path, names: np.ndarray, rows: int) -> None:
    """Write a table that has the galaxies again and again, without holding it in memory."""
    schema = pa.schema([("objid", pa.string()), ("ra", pa.float64()), ("dec", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 100_000):
            row = np.arange(start, min(start + 100_000, rows))
            ra = 360.0 * row / rows
            columns = [names[row % len(names)], ra, np.zeros(len(row))]
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))


def _used(process: int) -> tuple[float, float]:
    """Return seconds of the processor, and MiB in memory."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--rows-per-part", default=20_000, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the parts, to go on with.")
def main(rows: int, rows_per_part: int, output: Path | None) -> None:
    """Print for each part the seconds since the last one, those of the processor, and the memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = folder / "out" if output is None else output
        pictures, names = archive_of_pictures(folder)
        _write_input(folder / "input.parquet", names, rows)
        command = [
            sys.executable,
            "-m",
            "hifrac",
            "predict",
            str(folder / "input.parquet"),
        ]
        command += ["-o", str(output), "--cutouts", str(pictures)]
        command += ["--resume", "--rows-per-part", str(rows_per_part)]
        click.echo(f"{'rows':>9} {'seconds':>8} {'processor':>9} {'MiB':>6} {'MiB at most':>11}")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _watch(process, output, rows_per_part)


def _watch(process: subprocess.Popen, output: Path, rows_per_part: int) -> None:
    """Print a line for each part while a process makes them."""
    n_parts, peak = len(list(output.glob("part-*"))), 0.0
    since, processor, memory = time.perf_counter(), 0.0, 0.0
    before = 0.0
    while process.poll() is None:
        processor, memory = _used(process.pid)
        peak = max(peak, memory)
        n_now = len(list(output.glob("part-*")))
        if n_now > n_parts:
            now = time.perf_counter()
            click.echo(
                f"{n_now * rows_per_part:9d} {now - since:8.1f} {processor - before:9.1f} "
                f"{memory:6.0f} {peak:11.0f}"
            )
            n_parts, since, before = n_now, now, processor
        time.sleep(0.2)


if __name__ == "__main__":
    main()
