"""``hifrac predict`` in parts: its options, and the way to a folder of parts or to one table of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from hifrac.cli._setup import Setup
from hifrac.cli._shared import count_outcomes, exit_unless_complete, first_failures
from hifrac.cli._visual import Visuals


@dataclass(frozen=True)
class Parts:
    """The options of parts, each or None."""

    rows_per_part: int | None
    part: str | None
    resume: bool

    @property
    def are_wanted(self) -> bool:
        """Whether the result is to be made in parts."""
        return self.resume or self.part is not None or self.rows_per_part is not None

    @property
    def share(self) -> tuple[int, int] | None:
        """The share that --part asks for; a ValueError if it is none."""
        if self.part is None:
            return None
        match = re.fullmatch(r"(\d+)/(\d+)", self.part.strip())
        if match is None or int(match[1]) >= int(match[2]):
            raise ValueError(
                f"--part must be I/N with I from 0 to N-1, such as 0/2 and 1/2, got {self.part!r}"
            )
        return int(match[1]), int(match[2])

    def make_folder(self, output: Path) -> bool:
        """Return whether OUTPUT is a folder of parts, and not one table."""
        from hifrac.core.tables import output_format

        share = self.share
        if not self.are_wanted or output.is_dir():
            return self.are_wanted
        try:
            output_format(output)
        except ValueError:
            return True
        if share is not None:
            raise ValueError(f"--part makes some parts of a folder, and {output} is one table")
        return False

    def predict(self, setup: Setup, output: Path, visuals: Visuals, options: dict[str, Any]) -> None:
        """Make parts, and print what became of them; ``options`` are keywords of `hifrac.predict_parts`."""
        import hifrac
        from hifrac.core.tables import check_output, read_table, require_vectors

        one_table = not self.make_folder(output)
        folder = output.with_name(f"{output.name}.parts") if one_table else output
        if not one_table and (visuals.overview or visuals.html):
            raise ValueError("--overview and --html go with an OUTPUT that is one table, not with a folder")
        rows = setup.open_rows()
        head, _ = rows.read(0, 0)
        if one_table:
            require_vectors(output, setup.columns)
            check_output(head, output, overwrite=options["overwrite"])
        given = {"rows_per_part": self.rows_per_part} if self.rows_per_part is not None else {}
        with setup.estimator(head) as estimator, first_failures() as first, _advice(folder):
            report = hifrac.predict_parts(
                rows, folder, estimator=estimator, part=self.share, resume=self.resume, **given, **options
            )
            flags = _flags_of(folder, report)
            written = [f"{_count_of(report)} in {folder}"]
            if one_table:
                result = read_table(folder)
                written = _join(result, folder, output, overwrite=options["overwrite"])
                written += visuals.write(result, estimator.cutouts, f"Estimates of {setup.table.name}")
        lines, n_estimated = count_outcomes(flags, first)
        click.echo("\n".join([*lines, *written]))
        exit_unless_complete(
            flags, n_estimated, fetching=not setup.is_local, offline=setup.offline, again="with --resume"
        )


def _flags_of(folder: Path, report) -> dict[str, Any]:
    """Return the flags of all rows of the parts in a report."""
    import numpy as np

    from hifrac.core.parts import part_flags

    flags = [part_flags(folder, number) for number in report["part"]]
    return {"flags": np.concatenate(flags) if flags else np.zeros(0, dtype=np.int32)}


def _count_of(report) -> str:
    n_new = int(report["is_new"].sum())
    if not len(report):
        return "this share has no parts: nothing to do"
    if not n_new:
        return f"all {len(report)} parts are there: nothing to do"
    return f"{len(report)} parts, {n_new} of them made now,"


def _join(result, folder: Path, output: Path, *, overwrite: bool) -> list[str]:
    """Write the table of all parts, and remove these; where it cannot be written they are kept."""
    from hifrac.core.parts import remove_folder
    from hifrac.core.tables import write_table

    try:
        write_table(result, output, overwrite=overwrite)
    except (OSError, ValueError) as error:
        message = f"{error}; all parts are kept in {folder}: run it again with --resume to write the table"
        raise OSError(message) from error
    remove_folder(folder)
    return [f"written to {output}"]


@contextmanager
def _advice(folder: Path) -> Iterator[None]:
    """Say on Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        n_parts = sum(1 for _ in folder.glob("part-*.parquet"))
        click.echo(f"{n_parts} parts in {folder} are complete: run it again with --resume to go on", err=True)
        raise


def parts_options(command: Callable) -> Callable:
    """Add the options of parts; these become ``parts``, a keyword."""

    @wraps(command)
    def wrapped(*args, rows_per_part, part, resume, **options):
        return command(*args, parts=Parts(rows_per_part, part, resume), **options)

    decorated: Callable = wrapped
    options = [
        click.option(
            "--rows-per-part",
            type=click.IntRange(min=1),
            metavar="N",
            help="Make the result in parts of so many rows.  [default with --part and --resume: 20000]",
        ),
        click.option(
            "--part",
            metavar="I/N",
            help="Of the parts make the share I of N, counted from 0: for arrays of jobs.",
        ),
        click.option("--resume", is_flag=True, help="Go on: keep the parts that are there."),
    ]
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
