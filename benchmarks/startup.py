"""What starting costs: seconds of fresh processes, medians, side by side."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import numpy as np

_CASES = {
    "python": [sys.executable, "-c", "pass"],
    "import hifrac": [sys.executable, "-c", "import hifrac"],
    "hifrac --version": [sys.executable, "-m", "hifrac", "--version"],
    "import torch": [sys.executable, "-c", "import torch"],
}


@click.command()
@click.option("--repeats", default=7, show_default=True)
def main(repeats: int) -> None:
    """Print the median seconds of each case."""
    seconds: dict[str, list[float]] = {name: [] for name in _CASES}
    for _ in range(repeats):
        for name, command in _CASES.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    for name, runs in seconds.items():
        click.echo(f"{name:20s} {np.median(runs):6.3f} s")


if __name__ == "__main__":
    main()
