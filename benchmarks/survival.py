"""Whether ``hifrac fetch`` survives a bad service, its restart, and being killed itself."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from survey_server import ServerLog
from survival import QUICK, SurveyProcess, Trial, answers, positions


@click.command()
@click.option("--rows", default=10_000, show_default=True, type=click.IntRange(min=100))
@click.option("--seed", default=1, show_default=True, help="Of positions, misbehaviour and moments.")
@click.option(
    "--rate",
    default=100.0,
    show_default=True,
    help="Requests per second, at most; 10 by default of the package.",
)
@click.option(
    "--timeout", default=2.0, show_default=True, help="Seconds that the client waits for an answer."
)
@click.option("--kills", default=3, show_default=True, help="How often the client is killed.")
@click.option(
    "--faults", default=1.0, show_default=True, help="How many times a fifth of the answers are bad."
)
@click.option("--outage", default=1.0, show_default=True, help="Seconds for which the service is gone.")
@click.option("--leaves", default=0, show_default=True, help="How often it wants to be left alone.")
@click.option("--leave", default=61.0, show_default=True, help="For so many seconds.")
@click.option("--default-settings", is_flag=True, help="Of repeats and timeouts: those of the package.")
@click.option("--keep", type=click.Path(path_type=Path), help="New folder for store, logs and reports.")
def main(
    rows: int,
    seed: int,
    rate: float,
    timeout: float,
    kills: int,
    faults: float,
    outage: float,
    leaves: int,
    leave: float,
    default_settings: bool,
    keep: Path | None,
) -> None:
    """Print what must be true, whether it is, and what the service answered; exit status 1 if not all is."""
    with ExitStack() as stack:
        if keep is None:
            keep = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        elif keep.exists():
            raise click.ClickException(f"--keep: {keep} exists already")
        settings = QUICK | {"timeout": timeout, "cutout_timeout": 30 * timeout, "retries": 4}
        if default_settings:
            settings = {}
        trial = Trial(keep, *positions(rows, seed), rate=rate, settings=settings, leave=leave)
        trial.server = stack.enter_context(
            SurveyProcess(trial.log, seed=seed, faults=faults, leaves=leaves, leave=leave)
        )
        start = time.monotonic()
        moments = np.random.default_rng(seed).uniform(0.05, 0.95, kills)
        trial.live(
            moments.tolist(), [0.5], say=lambda text: click.echo(f"{elapsed(start)} {text}"), outage=outage
        )
        click.echo(f"{elapsed(start)} {rows} rows done: {' '.join(trial.clients[-1].stdout.split())}")
        checks = trial.checks(late=2)  # requests that a busy computer delivers in the second after their own
        click.echo(f"{elapsed(start)} checked\n")
        click.echo("\n".join(map(str, checks)))
        click.echo(f"\n{answers(ServerLog.read(trial.log))}")
    if not all(check.passed for check in checks):
        raise SystemExit(1)


def elapsed(start: float) -> str:
    """Seconds since a start, for the margin."""
    return f"{time.monotonic() - start:7.1f} s "


if __name__ == "__main__":
    main()
