"""What starting costs, and one row: seconds of the processor in fresh processes, beside another checkout.

The least of many runs, in turns: what else the machine does only adds to them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import click

_ROW = """
import hifrac
from hifrac.demo import PICTURES, sample_table
estimator = hifrac.{}(cutouts=hifrac.LocalCutouts(PICTURES, name="name"))
row = sample_table()[:1]
"""
_TIMED = """
import time
def least(work, repeats):
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)
"""

_PREDICT, _EXPLAIN = "estimator.predict(row)", "estimator.explain(row)[0].values"
_ESTIMATORS = ("HIFractionEstimator", "MetallicityEstimator", "SpectrumEstimator")


def _warm(estimator: str, work: str, repeats: int) -> list[str]:
    """Return the arguments of a process that prints what some work costs when it was done before."""
    return ["-c", f"{_ROW.format(estimator)}{_TIMED}print(least(lambda: {work}, {repeats}))"]


#: What is run, each in a process of its own. Those that are warm measure themselves.
_CASES = {
    "python": ["-c", "pass"],
    "import hifrac": ["-c", "import hifrac"],
    "hifrac --help": ["-m", "hifrac", "--help"],
    "hifrac predict --help": ["-m", "hifrac", "predict", "--help"],
    "import torch": ["-c", "import torch"],
    "import torch, astropy.table": ["-c", "import torch, astropy.table"],
    "one row, cold": ["-c", _ROW.format(_ESTIMATORS[0]) + _PREDICT],
    "one row, warm": _warm(_ESTIMATORS[0], _PREDICT, 100),
    **{f"map, warm: {name}": _warm(name, _EXPLAIN, 12) for name in _ESTIMATORS},
}


def _seconds(arguments: list[str], checkout: Path) -> float:
    """Return the seconds of the processor that a process takes, or that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=checkout,  # the first place that Python looks in
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if _TIMED in arguments[-1]:
        return float(done.stdout)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command()
@click.option("--repeats", default=7, show_default=True)
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Checkout of another commit, which is measured in turns with this one.",
)
@click.option("--only", default="", help="Cases whose name contains this.")
def main(repeats: int, against: Path | None, only: str) -> None:
    """Print the least seconds of each case; with --against those of both, and their ratio."""
    checkouts = [Path(__file__).resolve().parents[1], *([] if against is None else [against.resolve()])]
    for name, arguments in _CASES.items():
        if only not in name:
            continue
        runs = [[_seconds(arguments, checkout) for checkout in checkouts] for _ in range(repeats)]
        least = [min(times) for times in zip(*runs, strict=True)]
        before = "" if against is None else f"   before {least[1]:7.4f} s   {least[1] / least[0]:5.2f} times"
        click.echo(f"{name:32s} {least[0]:7.4f} s{before}")


if __name__ == "__main__":
    main()
