"""Whether ``hifrac predict`` works on pictures while the next ones are being fetched."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
from astropy.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from survival import CONNECTIONS, SurveyProcess

_MAIN = "import sys; from hifrac.cli import main; main(sys.argv[1:])"


class _Commands:
    """The two commands on one table, timed."""

    def __init__(self, folder: Path, rows: int, max_rate: float) -> None:
        self._folder = folder
        self._max_rate = max_rate
        self._table = folder / "in.fits"
        rng = np.random.default_rng(0)
        ra, dec = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
        Table({"ra": ra, "dec": dec}, units={"ra": "deg", "dec": "deg"}).write(self._table)

    def run(self, command: str, server: SurveyProcess, cache: str, *, empty: bool) -> np.ndarray:
        """Seconds that a command takes, and those of all cores; from an empty store, or as it was left."""
        if empty:
            shutil.rmtree(self._folder / cache, ignore_errors=True)
        arguments = [command, self._table, "-o", self._folder / "out.fits", "--overwrite", "--survey", "sdss"]
        arguments += ["--base-url", server.url, "--cache-dir", self._folder / cache]
        arguments += ["--max-rate", self._max_rate]
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", _MAIN, *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return np.array([time.perf_counter() - start, busy])


def _latency(commands: _Commands, rows: int, folder: Path, predicting: float) -> float:
    """Seconds before each answer with which fetching takes as long as predicting."""
    guess = CONNECTIONS * predicting / rows
    with SurveyProcess(folder / "guess.log", faults=0, latency=guess) as server:
        fetching = commands.run("fetch", server, "new", empty=True)[0]
    return max(0.0, guess - CONNECTIONS * (fetching - predicting) / rows)


@click.command()
@click.option("--rows", default=5000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--latency", type=float, help="Seconds before each answer.  [default: fetching takes as long]")
@click.option(
    "--max-rate", type=float, default=0.0, help="Requests per second; there is no limit by default."
)
def main(rows: int, repeats: int, latency: float | None, max_rate: float) -> None:
    """Print median seconds of fetching, of predicting, and of both in one."""
    if max_rate:  # it alone decides how long fetching takes
        latency = latency or 0.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        commands = _Commands(folder, rows, max_rate)
        fast = stack.enter_context(SurveyProcess(folder / "fast.log", faults=0))
        commands.run("fetch", fast, "stored", empty=True)
        if latency is None:
            latency = _latency(
                commands, rows, folder, commands.run("predict", fast, "stored", empty=False)[0]
            )
        slow = stack.enter_context(SurveyProcess(folder / "slow.log", faults=0, latency=latency))
        seconds: dict[str, list[np.ndarray]] = {
            "fetch": [],
            "predict, stored": [],
            "predict, empty store": [],
        }
        for _ in range(repeats):
            seconds["fetch"].append(commands.run("fetch", slow, "new", empty=True))
            seconds["predict, stored"].append(commands.run("predict", fast, "stored", empty=False))
            seconds["predict, empty store"].append(commands.run("predict", slow, "new", empty=True))
    medians = [np.median(runs, axis=0) for runs in seconds.values()]
    click.echo(
        f"{rows} rows, {1000 * latency:.1f} ms before each answer, {repeats} runs each, "
        f"{f'{max_rate:g} requests/s' if max_rate else 'no limit'}"
    )
    click.echo(f"{'':<22} {'seconds':>8} {'of all cores':>13}")
    for (name, runs), (median, busy) in zip(seconds.items(), medians, strict=True):
        spread = np.array(runs)[:, 0]
        click.echo(f"{name:<22} {median:8.1f} {busy:13.1f}   ({spread.min():.1f} to {spread.max():.1f} s)")
    fetching, predicting, both = (median for median, _ in medians)
    click.echo(f"both over the longer of the two: {both / max(fetching, predicting):.2f}")
    click.echo(f"both over the sum of the two:    {both / (fetching + predicting):.2f}")
    least = max(fetching, predicting, (medians[0][1] + medians[1][1]) / (os.cpu_count() or 1))
    click.echo(f"least that {os.cpu_count()} cores allow:        {least:.1f} s")


if __name__ == "__main__":
    main()
