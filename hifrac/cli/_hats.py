"""``hifrac predict`` of a catalogue in HATS: a folder, estimated by workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from hifrac.cli._setup import Setup
from hifrac.cli._shared import describe_outcomes, first_failures, on_terminal


@dataclass(frozen=True)
class Workers:
    """The options of catalogues in HATS."""

    workers: int | None
    allow_fetch: bool

    def are_for(self, table: Path) -> bool:
        """Return whether INPUT is a folder with a catalogue in HATS; a ValueError if it should be."""
        if table.is_dir():
            from hifrac.hats._output import is_hats

            if is_hats(table):
                return True
        if self.workers is not None or self.allow_fetch:
            option = "allow-fetch" if self.workers is None else "workers"
            raise ValueError(f"--{option} goes with a catalogue in HATS, and {table} is none")
        return False

    def predict(self, setup: Setup, output: Path, refused: dict[str, Any], options: dict[str, Any]) -> None:
        """Estimate a catalogue, and print what became of it.

        ``refused`` are options of tables by their names, which are not to be given; ``options`` are keywords
        of `hifrac.hats.predict_catalog`.
        """
        from astropy.table import Table

        from hifrac.hats import local_cluster, predict_catalog
        from hifrac.hats._catalog import count_flags
        from hifrac.hats._cluster import import_lsdb

        for name, value in {**setup.reading, **setup.axes, **refused}.items():
            if value is not None:
                option = name.removeprefix("input_").replace("_", "-")
                raise ValueError(f"--{option} goes with tables, and {setup.table} is a catalogue in HATS")
        setup.check_options()
        catalog = import_lsdb().open_catalog(setup.table, columns="all")
        with (
            setup.estimator(Table(names=list(catalog.columns))) as estimator,
            first_failures() as first,
            ExitStack() as stack,
        ):
            if self.workers is not None:
                cluster = stack.enter_context(local_cluster(self.workers))
                options["client"] = stack.enter_context(cluster.get_client())
            result = predict_catalog(
                catalog,
                output,
                estimator=estimator,
                allow_fetch=self.allow_fetch,
                progress=on_terminal(),
                **options,
            )
        counts = count_flags(result)
        lines, n_estimated = describe_outcomes(counts, first)
        click.echo("\n".join([*lines, f"written to {output}"]))
        if counts and not n_estimated:
            raise SystemExit(1)


def workers_options(command: Callable) -> Callable:
    """Add the options of catalogues in HATS; these become ``workers``, a keyword."""

    @wraps(command)
    def wrapped(*args, workers, allow_fetch, **options):
        return command(*args, workers=Workers(workers, allow_fetch), **options)

    decorated: Callable = click.option(
        "--allow-fetch", is_flag=True, help="Let the estimates of a catalogue in HATS ask a survey service."
    )(wrapped)
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes that estimate INPUT, if it is a catalogue in HATS.  [default: this one]",
    )(decorated)
