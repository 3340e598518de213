"""``hifrac fetch`` and ``hifrac cache``: pictures into the local store, and the care of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hifrac.cli._shared import (
    count_outcomes,
    exit_on_interrupt,
    exit_unless_complete,
    input_options,
    make_source,
    one_line_errors,
    pixel_scale_option,
    progress_bar,
    survey_options,
    temporary_settings,
    write_result,
)

if TYPE_CHECKING:
    from hifrac.core.exceptions import RowError


class _Outcomes:
    """Shows how a download goes: a bar on a terminal, a line now and then elsewhere."""

    seconds = 60.0

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self.counts: Counter = Counter()
        self._start = self._said = time.monotonic()
        self._total = total
        self._bar = tqdm(total=total, desc="fetching", unit=" rows", disable=not sys.stderr.isatty())

    def __enter__(self) -> _Outcomes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()

    def __call__(self, error: RowError | None) -> None:
        self.counts["stored" if error is None else error.flag.name] += 1
        if not self._bar.disable:
            self._bar.set_postfix(self.counts, refresh=False)
            self._bar.update()
        elif (now := time.monotonic()) - self._said >= self.seconds:
            self._said = now
            done = self.counts.total()
            rate = done / (now - self._start)
            counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
            remaining = timedelta(seconds=round((self._total - done) / rate))
            click.echo(f"{done} of {self._total} rows ({counts}); {rate:.3g}/s, {remaining} left", err=True)


@click.command()
@click.argument("table", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--survey",
    default="sdss",
    show_default=True,
    metavar="sdss|legacy|panstarrs|hips",
    help="Service that gives the pictures.",
)
@input_options
@survey_options
@click.option("--width", type=int, help="Side of the pictures in pixels.  [default: the survey's]")
@pixel_scale_option("Arcsec per pixel.  [default: the survey's]")
@click.option(
    "--bands",
    metavar="BANDS",
    help="Filters shown as red, green and blue, e.g. irg. More, e.g. grizy, are kept as fluxes, with "
    "--survey panstarrs.  [default: the survey's]",
)
@click.option("--hips", metavar="ID", help="HiPS to cut from, with --survey hips, e.g. CDS/P/SDSS9/color.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of every row and its flags.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@one_line_errors
def fetch(
    table: Path,
    survey: str,
    cache_dir: Path | None,
    max_rate: float | None,
    output: Path | None,
    overwrite: bool,
    reading: dict[str, Any],
    axes: dict[str, Any],
    **recipe_and_service: Any,
) -> None:
    """Fetch the pictures of every row of INPUT into the local store.

    What is in the store already is not asked for, so an interrupted or partly
    failed run is finished by running it again.
    """
    from hifrac.core.shapes import read_input
    from hifrac.core.tables import check_output, output_format
    from hifrac.cutouts.download import download

    if output is not None:
        output_format(output)
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    rows = read_input(str(table), **reading)
    if output is not None:
        check_output(rows, output, overwrite=overwrite)
    first: dict = {}
    with (
        temporary_settings(cache_dir, max_rate),
        exit_on_interrupt(fetching=True),
        _Outcomes(len(rows)) as outcomes,
    ):
        source = make_source(survey, **{key: value for key, value in recipe_and_service.items() if value})

        def progress(error: RowError | None) -> None:
            if error is not None and error.flag not in first:
                first[error.flag] = f"row {outcomes.counts.total()}: {error}"
            outcomes(error)

        report = download(rows, source, **axes, progress=progress)
    del rows  # its columns are in the report: a large table need not be in memory twice
    if output is not None:
        write_result(report, output, overwrite=overwrite)
    lines, stored = count_outcomes(report, first, served="with a picture")
    click.echo("\n".join(lines))
    if output is not None:
        click.echo(f"written to {output}")
    again = "" if output is None else "with --overwrite"
    exit_unless_complete(report, stored, fetching=True, offline=recipe_and_service["offline"], again=again)


@click.group()
def cache() -> None:
    """Look after the local store of pictures."""


def _cache_option(command: Callable) -> Callable:
    return click.option(
        "--cache-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the local store.  [default: HIFRAC_CACHE_DIR, conf.cache_dir or ~/.cache/hifrac]",
    )(command)


@cache.command()
@_cache_option
@one_line_errors
def info(cache_dir: Path | None) -> None:
    """Show what is stored, and what became of the rest."""
    from datetime import UTC, datetime

    from hifrac.core import config
    from hifrac.cutouts._store import stores

    with temporary_settings(cache_dir):
        click.echo(f"{config.cache_dir()}")
        legible, illegible = stores()
        if not (legible or illegible):
            click.echo("nothing is stored there")
        for store in legible:
            with store:
                size, at = store.size()
                counts = ", ".join(
                    f"{n} {outcome.name.lower()}" for outcome, n in sorted(store.counts().items())
                )
                last = "never" if at is None else datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds")
                click.echo(f"\n{store.folder.name}\n  {store.recipe}\n  {store.layer}".rstrip())
                click.echo(f"  {counts or 'nothing'}; {size / 1e6:.1f} MB; last {last}")
        _name_illegible(illegible)


@cache.command()
@_cache_option
@click.option("--repair", is_flag=True, help="Remove what is damaged; the next run asks for it again.")
@one_line_errors
def verify(cache_dir: Path | None, repair: bool) -> None:
    """Read, compare and decode every stored picture; exit status 1 if one is damaged."""
    from hifrac.cutouts._store import stores

    damaged = 0
    with temporary_settings(cache_dir):
        legible, illegible = stores()
        for store in legible:
            with store, progress_bar(store.counts().total(), store.folder.name) as progress:
                report = store.verify(repair=repair, progress=progress)
            click.echo(
                f"{store.folder.name}: {report.intact} intact, {len(report.damaged)} damaged, "
                f"{report.leftovers} left over"
            )
            for position in report.damaged[:20]:
                click.echo(f"  damaged: {position}")
            damaged += len(report.damaged)
    _name_illegible(illegible)
    if damaged:
        click.echo("removed" if repair else "say --repair to remove what is damaged")
    if damaged or any(not (folder / "manifest.sqlite").exists() for folder in illegible):
        raise SystemExit(1)


def _name_illegible(folders: list[Path]) -> None:
    for folder in folders:
        if (folder / "manifest.sqlite").exists():
            click.echo(f"{folder.name}: of an earlier version; its pictures are copied when they are used")
        else:
            click.echo(f"{folder.name}: store.json is damaged; the next fetch into this store mends it")


@cache.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@_cache_option
@one_line_errors
def export(folder: Path, cache_dir: Path | None) -> None:
    """Write the stored pictures into DIR as plain files, a folder for each store.

    Each has a table positions.ecsv: `hifrac predict positions.ecsv --cutouts . --name name` reads them.
    """
    from hifrac.cutouts._store import stores

    with temporary_settings(cache_dir):
        for store in stores()[0]:
            with store:
                count = store.export(folder / store.folder.name)
            click.echo(f"{store.folder.name}: {count} pictures")


@cache.command()
@_cache_option
@click.option("--store", "name", default=None, help="Only the store of this name, as `info` shows it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@one_line_errors
def clear(cache_dir: Path | None, name: str | None, yes: bool) -> None:
    """Remove the stored pictures and their manifests."""
    import shutil

    from hifrac.cutouts._store import stores

    with temporary_settings(cache_dir):
        legible, folders = stores()
        counts = dict.fromkeys(folders, "unknown")
        for store in legible:
            with store:
                counts[store.folder] = f"{store.counts().total()} positions"
        counts = {folder: count for folder, count in counts.items() if name in (None, folder.name)}
        if name is not None and not counts:
            raise ValueError(f"--store: there is no store {name!r}")
        for folder, count in counts.items():
            if yes or click.confirm(f"Remove {folder} ({count})?"):
                shutil.rmtree(folder)
                click.echo(f"removed {folder}")
