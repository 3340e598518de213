"""``hifrac reproduce``: the figures and tables of the papers made again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hifrac.cli._shared import one_line_errors

if TYPE_CHECKING:
    from hifrac.reproduce._experiment import Setting


@click.command()
@click.argument("names", metavar="[NAME...|all]", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="List what there is, and what is missing.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data directory.  [default: HIFRAC_DATA_DIR or conf.data_dir]",
)
@click.option(
    "--model",
    help="Bundled model, or folder of a model: of the HI mass fraction or of the metallicity, the other "
    "is the default.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results."
)
@click.option("--seed", type=int, default=12345, show_default=True, help="Of everything random.")
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    default=1000,
    show_default=True,
    help="Samples of the bootstrap behind each error.",
)
@click.option("--redo", is_flag=True, help="Compute again what is kept.")
@one_line_errors
def reproduce(
    names: tuple[str, ...],
    only_list: bool,
    data: Path | None,
    model: str | None,
    output: Path | None,
    seed: int,
    draws: int,
    redo: bool,
) -> None:
    """Make figures and tables of Wu (2020), Wu & Boada (2019) and Wu & Peek (2020) from the data at hand.

    NAME is fig1, table2, wu2019-fig1, wupeek2020-lines and so on: see --list. The results (ECSV), the figures
    (PDF, PNG), our numbers beside the published ones (summary.ecsv) and a manifest go to OUTPUT. What was
    computed from the same inputs by the same version is kept in the cache. Nothing is fetched. An experiment
    that lacks its data is passed over with a word; the exit code is 1 if one fails.
    """
    from hifrac.reproduce import reproduce as run
    from hifrac.reproduce import setting

    if only_list:
        where = setting(data, model=model, needs_folder=False)
        click.echo("\n".join(_inventory(names or "all", where)))
        return
    if not names:
        raise click.UsageError("say which: all, or names such as fig1 (see --list)")
    if output is None:
        raise click.UsageError("-o OUTPUT: say where the results go")
    entries = run(
        names,
        setting(data, model=model, seed=seed, draws=draws),
        output,
        redo=redo,
        report=lambda entry: click.echo(_line(entry)),
    )
    counts = {status: sum(entry["status"] == status for entry in entries.values()) for status in _STATUSES}
    click.echo(", ".join(f"{count} {_STATUSES[status]}" for status, count in counts.items() if count))
    click.echo(f"written to {output}")
    if counts["failed"]:
        raise SystemExit(1)


_STATUSES = {"done": "done", "kept": "kept", "missing": "without their data", "failed": "failed"}


def _inventory(names: str | tuple[str, ...], where: Setting) -> Iterator[str]:
    """Yield a line for each experiment; then, once, what is missing and what of the paper is not used."""
    from hifrac.reproduce._run import select

    missing: dict[str, list[str]] = {}
    without: dict[str, list[str]] = {}
    for experiment in select(names):
        lacking = experiment.files(where)[1]
        status = "missing" if lacking else "ready"
        yield f"{experiment.name:19s} {experiment.tier_in(where):10s} {status:8s} {experiment.title}"
        for sentences, found in ((lacking, missing), ([experiment.without], without)):
            for sentence in filter(None, sentences):
                found.setdefault(sentence, []).append(experiment.name)
    for title, found in (("missing:", missing), ("made without:", without)):
        if found:
            yield f"\n{title}"
        for sentence, experiments in found.items():
            yield f"  {sentence} ({', '.join(experiments)})"


def _line(entry: dict) -> str:
    status = entry["status"]
    tail = {
        "done": lambda: f"{entry['seconds']:.1f} s",
        "kept": lambda: "kept: same inputs, same version",
        "missing": lambda: f"missing: {'; '.join(entry['missing'])}",
        "failed": lambda: f"failed: {entry['error']}",
    }[status]()
    return f"{entry['name']:19s} {entry['tier']:10s} {tail}"
