"""``hifrac predict`` of a catalogue in HATS: a folder, estimated by workers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hifrac.cli._setup import Setup
from hifrac.cli._shared import on_terminal


def is_hats(path: Path) -> bool:
    """Return whether INPUT is a folder with a catalogue in HATS."""
    if not path.is_dir():
        return False
    from hifrac.hats._output import is_hats as has_properties

    return has_properties(path)


def predict_hats(
    setup: Setup,
    output: Path,
    *,
    workers: int | None,
    allow_fetch: bool,
    refused: dict[str, Any],
    **options: Any,
) -> None:
    """Estimate a catalogue, and print what became of it; ``options`` are keywords of `predict_catalog`.

    ``refused`` are options of tables by their names, which are not to be given.
    """
    from astropy.table import Table

    from hifrac.hats import local_cluster, predict_catalog
    from hifrac.hats._catalog import count_unserved
    from hifrac.hats._cluster import import_lsdb

    given = [name for name, value in {**setup.reading, **setup.axes, **refused}.items() if value is not None]
    if given:
        option = given[0].replace("_", "-")
        raise ValueError(f"--{option} goes with tables, not with a catalogue in HATS: {setup.table}")
    setup.check()
    rows = import_lsdb().open_catalog(setup.table, columns="all")
    with setup.estimator(Table(names=list(rows.columns))) as estimator, ExitStack() as stack:
        client = None
        if workers is not None:
            cluster = stack.enter_context(local_cluster(workers))
            client = stack.enter_context(cluster.get_client())
        result = predict_catalog(
            rows,
            output,
            estimator=estimator,
            client=client,
            allow_fetch=allow_fetch,
            progress=on_terminal(),
            **options,
        )
    n_rows, n_unserved, _ = count_unserved(result)
    click.echo(f"{n_rows} rows, {n_rows - n_unserved} estimated, {n_unserved} not\nwritten to {output}")
    if n_rows and n_unserved == n_rows:
        raise SystemExit(1)
