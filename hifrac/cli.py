"""The command ``hifrac``."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

import hifrac

__all__ = ["main"]

# Everything else is imported inside the commands: `hifrac --version` and
# `hifrac --help` must not wait for astropy and torch.


def _one_line_errors(command: Callable) -> Callable:
    """Turn the errors that users cause into one clear line, and warnings too."""

    @wraps(command)
    def wrapped(*args, **kwargs):
        from hifrac.exceptions import HifracError

        def show(message, *_, **__):
            click.echo(f"Warning: {message}", err=True)

        with warnings.catch_warnings():
            warnings.showwarning = show
            try:
                return command(*args, **kwargs)
            except BrokenPipeError:  # of `hifrac ... | head`: click ends quietly
                raise
            except (
                HifracError,
                ValueError,
                TypeError,
                OSError,
                RuntimeError,
                ImportError,
                MemoryError,
            ) as error:
                text = " ".join(str(error).split()) or type(error).__name__
                raise click.ClickException(text) from error

    return wrapped


@contextmanager
def _first_failures() -> Iterator[dict]:
    """The first failure of each flag, from the log of the estimator."""
    first: dict = {}

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            first.setdefault(getattr(record, "flag", None), record.getMessage())

    logger, handler = logging.getLogger("hifrac.estimator"), Keep()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield first
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def _progress(total: int, label: str) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal; silence elsewhere."""
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=" rows", disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar.update


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

    def __call__(self, error: Exception | None) -> None:
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


def _survey_options(command: Callable) -> Callable:
    """The options of everything that asks a survey service."""
    options = [
        click.option("--base-url", metavar="URL", help="Address of the service, if not the configured one."),
        click.option("--data-release", metavar="DR", help="Data release, e.g. DR17 (sdss) or DR9 (legacy)."),
        click.option(
            "--cache-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of the local store.  [default: HIFRAC_CACHE_DIR, conf.cache_dir or ~/.cache/hifrac]",
        ),
        click.option(
            "--max-rate",
            type=click.FloatRange(min=0),
            metavar="N",
            help="Requests per second, at most; 0 for no limit.  [default: conf.max_rate]",
        ),
        click.option("--offline", is_flag=True, help="Never touch the network; flag what is missing."),
        click.option(
            "--retry-permanent", is_flag=True, help="Ask again for what was outside the survey before."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def _settings(cache_dir: Path | None = None, max_rate: float | None = None) -> Iterator[None]:
    """The settings of the command line, which come before those of the environment."""
    from hifrac.config import conf

    before = os.environ.get("HIFRAC_CACHE_DIR")
    with ExitStack() as stack:
        if max_rate is not None:
            stack.enter_context(conf.set_temp("max_rate", max_rate))
        if cache_dir is not None:
            os.environ["HIFRAC_CACHE_DIR"] = str(cache_dir)
        try:
            yield
        finally:
            if before is None:
                os.environ.pop("HIFRAC_CACHE_DIR", None)
            else:
                os.environ["HIFRAC_CACHE_DIR"] = before


def _source(
    survey: str, recipe=None, *, width=None, pixel_scale=None, data_release=None, hips=None, **options
):
    """The source that the options of the command line describe."""
    from dataclasses import replace

    from hifrac.cutouts import SURVEYS

    if survey not in SURVEYS:
        raise ValueError(f"--survey must be one of {', '.join(SURVEYS)}, got {survey!r}")
    kind = SURVEYS[survey]
    recipe = kind.default_recipe if recipe is None else recipe
    changes = {"width": width, "pixel_scale": pixel_scale}
    if hips is not None:
        if survey != "hips":
            raise ValueError("--hips goes with --survey hips")
        changes["survey"] = hips
    if data_release is not None:
        changes["data_release"] = data_release.upper()
    recipe = replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    return kind(recipe, **options)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(hifrac.__version__, prog_name="hifrac")
def main() -> None:
    """HI mass fractions of galaxies, with an honest error, from their pictures."""


@main.command()
@click.argument("table", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Table to write.")
@click.option(
    "--cutouts", type=click.Path(path_type=Path), help="Folder or archive of pictures; nothing is fetched."
)
@click.option("--name", default=None, help="Column that names the pictures of --cutouts.  [default: objid]")
@click.option(
    "--frames",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of SDSS frame-*.fits files to cut the pictures from; nothing is fetched.",
)
@click.option("--survey", default=None, help="sdss, legacy, panstarrs or hips.  [default: the model's]")
@_survey_options
@click.option("--model", default=None, help="Bundled model, or folder of a model.  [default: default]")
@click.option("--device", default=None, help="auto, cpu or cuda.  [default: auto]")
@click.option("--batch-size", type=int, default=None, help="Pictures in one pass of the network.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@click.option("--replace-columns", is_flag=True, help="Replace result columns that INPUT has already.")
@_one_line_errors
def predict(
    table: Path,
    output: Path,
    cutouts: Path | None,
    name: str | None,
    frames: Path | None,
    survey: str | None,
    cache_dir: Path | None,
    max_rate: float | None,
    model: str | None,
    device: str | None,
    batch_size: int | None,
    overwrite: bool,
    replace_columns: bool,
    **service: Any,
) -> None:
    """Estimate the HI mass fraction of every row of INPUT.

    INPUT and OUTPUT may be of any table format that Astropy knows (ECSV, FITS,
    CSV, VOTable, Parquet, ...). INPUT has columns ra and dec. Without
    --cutouts or --frames the pictures come from the survey service of the
    model, through the local store: what `hifrac fetch` got is not asked for
    again, and what is fetched here is kept.
    """
    from hifrac.estimator import HIFractionEstimator
    from hifrac.models import load_model
    from hifrac.tables import check_output, output_format, read_table, write_table

    # What can be refused is refused before hours of work, not after.
    output_format(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    if name is not None and cutouts is None:
        raise ValueError("--name names pictures of --cutouts: give that as well")
    service = {key: value for key, value in service.items() if value}
    asked = ["--survey"] if survey is not None else []
    asked += [f"--{key.replace('_', '-')}" for key in service]
    local = [option for option, path in (("--cutouts", cutouts), ("--frames", frames)) if path is not None]
    if len(local) > 1 or (local and asked):
        raise ValueError(
            f"{local[0]} does not go with {(local[1:] + asked)[0]}: the pictures have one source"
        )
    rows = read_table(table)
    check_output(rows, output, overwrite=overwrite)
    with ExitStack() as stack:
        stack.enter_context(_settings(cache_dir, max_rate))
        source = None
        if local:
            source = stack.enter_context(_local_source(table, rows, cutouts, name, frames))
        loaded = load_model(model, device=device)
        if source is None:
            source = _model_source(loaded, survey, service)
        estimator = HIFractionEstimator(loaded, cutouts=source, batch_size=batch_size)
        first = stack.enter_context(_first_failures())
        progress = stack.enter_context(_progress(len(rows), "estimating"))
        stack.enter_context(_kept_on_interrupt(not local))
        result = estimator.predict(rows, overwrite=replace_columns, progress=progress)
    write_table(result, output, overwrite=overwrite)
    lines, estimated = _summary(result, first)
    click.echo("\n".join(lines))
    click.echo(f"written to {output}")
    if len(result) and not estimated:
        raise SystemExit(1)


def _local_source(table: Path, rows, cutouts: Path | None, name: str | None, frames: Path | None):
    """Pictures at hand."""
    from hifrac.cutouts import FrameCutouts, LocalCutouts

    if frames is not None:
        try:
            return FrameCutouts(frames)
        except (ValueError, OSError) as error:
            raise ValueError(f"--frames: {error}") from error
    column = "objid" if name is None else name
    if column not in rows.colnames:
        raise ValueError(
            f"--name: {table} has no column {column!r} to name its pictures; "
            f"its columns are {', '.join(rows.colnames) or '(none)'}"
        )
    try:
        return LocalCutouts(cutouts, name=column)
    except (ValueError, OSError) as error:
        raise ValueError(f"--cutouts: {error}") from error


def _model_source(model, survey: str | None, service: dict[str, Any]):
    """The service that a model's pictures come from."""
    from hifrac.cutouts import SURVEYS, source_for

    recipe = model.card.recipe
    kind = type(source_for(recipe))
    known = {value: key for key, value in SURVEYS.items()}
    if survey is not None and SURVEYS.get(survey) is not kind:
        raise ValueError(
            f"--survey: the model {model.card.name!r} reads pictures of {known[kind]}, got {survey!r}"
        )
    return _source(known[kind], recipe, **service)


@contextmanager
def _kept_on_interrupt(fetching: bool) -> Iterator[None]:
    """Say on Ctrl-C what became of the work, and end as interrupted programs do."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "; the pictures fetched so far are kept: run it again to go on" if fetching else ""
        click.echo(f"interrupted{kept}", err=True)
        raise SystemExit(130) from None


@main.command()
@click.argument("table", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--survey",
    default="sdss",
    show_default=True,
    metavar="sdss|legacy|panstarrs|hips",
    help="Service that gives the pictures.",
)
@_survey_options
@click.option("--width", type=int, help="Side of the pictures in pixels.  [default: the survey's]")
@click.option("--pixel-scale", type=float, help="Arcsec per pixel.  [default: the survey's]")
@click.option("--hips", metavar="ID", help="HiPS to cut from, with --survey hips, e.g. CDS/P/SDSS9/color.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of every row and its flags.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@_one_line_errors
def fetch(
    table: Path,
    survey: str,
    cache_dir: Path | None,
    max_rate: float | None,
    output: Path | None,
    overwrite: bool,
    **recipe_and_service: Any,
) -> None:
    """Fetch the pictures of every row of INPUT into the local store.

    What is in the store already is not asked for, so an interrupted or partly
    failed run is finished by running it again.
    """
    from hifrac.cutouts.download import download
    from hifrac.tables import check_output, output_format, read_table, write_table

    if output is not None:
        output_format(output)
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    rows = read_table(table)
    if output is not None:
        check_output(rows, output, overwrite=overwrite)
    first: dict = {}
    with (
        _settings(cache_dir, max_rate),
        _kept_on_interrupt(fetching=True),
        _Outcomes(len(rows)) as outcomes,
    ):
        source = _source(survey, **{key: value for key, value in recipe_and_service.items() if value})

        def progress(error: Exception | None) -> None:
            if error is not None and error.flag not in first:
                first[error.flag] = f"row {outcomes.counts.total()}: {error}"
            outcomes(error)

        report = download(rows, source, progress=progress)
    if output is not None:
        write_table(report, output, overwrite=overwrite)
    lines, stored = _summary(report, first, served="with a picture")
    click.echo("\n".join(lines))
    if output is not None:
        click.echo(f"written to {output}")
    if len(report) and not stored:
        raise SystemExit(1)


@main.group()
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
@_one_line_errors
def info(cache_dir: Path | None) -> None:
    """Show what is stored, and what became of the rest."""
    from datetime import UTC, datetime

    from hifrac import config
    from hifrac.cutouts._store import stores

    with _settings(cache_dir):
        click.echo(f"{config.cache_dir()}")
        found, illegible = stores()
        for store in found:
            with store:
                size, at = store.size()
                counts = ", ".join(
                    f"{n} {outcome.name.lower()}" for outcome, n in sorted(store.counts().items())
                )
                last = "never" if at is None else datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds")
                click.echo(f"\n{store.folder.name}\n  {store.recipe}\n  {store.facts['address']}")
                click.echo(
                    f"  {counts or 'nothing'}; {size / 1e6:.1f} MB in {store.facts['layout']}; last {last}"
                )
        _name_illegible(illegible)


@cache.command()
@_cache_option
@click.option("--repair", is_flag=True, help="Remove what is damaged; the next run asks for it again.")
@_one_line_errors
def verify(cache_dir: Path | None, repair: bool) -> None:
    """Read, compare and decode every stored picture; exit status 1 if one is damaged."""
    from hifrac.cutouts._store import stores

    damaged = 0
    with _settings(cache_dir):
        found, illegible = stores()
        for store in found:
            with store, _progress(store.counts().total(), store.folder.name) as progress:
                report = store.verify(repair=repair, progress=progress)
            click.echo(
                f"{store.folder.name}: {report.intact} intact, {len(report.damaged)} damaged, "
                f"{report.missing} missing, {report.unrecorded} not in the manifest, "
                f"{report.leftovers} left over"
            )
            for position in report.damaged[:20]:
                click.echo(f"  damaged: {position}")
            damaged += len(report.damaged)
    _name_illegible(illegible)
    if damaged:
        click.echo("removed" if repair else "say --repair to remove what is damaged")
    if damaged or illegible:
        raise SystemExit(1)


def _name_illegible(folders: list[Path]) -> None:
    for folder in folders:
        click.echo(f"{folder.name}: store.json is damaged; the next fetch into this store mends it")


@cache.command()
@_cache_option
@click.option("--store", "name", default=None, help="Only the store of this name, as `info` shows it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_one_line_errors
def clear(cache_dir: Path | None, name: str | None, yes: bool) -> None:
    """Remove the stored pictures and their manifests."""
    import shutil

    from hifrac.cutouts._store import stores

    with _settings(cache_dir):
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


def _summary(result, first: dict | None = None, served: str = "estimated") -> tuple[list[str], int]:
    """Lines that count the rows by outcome, and the number of those that were served."""
    import numpy as np

    from hifrac.flags import UNSERVED, Flag

    flags = np.asarray(result["flags"])
    unserved = (flags & int(UNSERVED)) != 0
    count_served = int(np.sum(~unserved))
    lines = [f"{len(flags)} rows, {count_served} {served}, {int(np.sum(unserved))} not"]
    counts = {flag: int(np.sum((flags & int(flag)) != 0)) for flag in Flag}
    for flag, count in counts.items():
        if count:
            lines.append(f"  {count:7d}  {flag.name}: {flag.summary}")
        if count and first and flag in first:
            lines.append(f"           first in {first[flag]}")
    return lines, count_served


@main.command()
@click.option(
    "-o",
    "--output",
    default=Path("hifrac-demo"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the table and the picture.",
)
@_one_line_errors
def demo(output: Path) -> None:
    """Estimate the bundled sample of simulated galaxies, offline."""
    from hifrac.demo import run_demo

    result, paths = run_demo(output)
    estimates = ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84", "p_detect")
    shown = result["name", *estimates, "flags"]
    for column in estimates:
        shown[column].info.format = ".2f"
    click.echo("Simulated galaxies, from gas-poor to gas-rich; then a star, blank sky and no survey.")
    click.echo("\n".join(shown.pformat(max_lines=-1, max_width=-1)))
    click.echo("\n".join(_summary(result)[0]))
    click.echo(f"table:   {paths[0]}\npicture: {paths[1]}")


@main.command()
@_one_line_errors
def models() -> None:
    """Show the cards of the bundled models."""
    from hifrac.models import list_models

    click.echo("\n\n".join(str(card) for card in list_models()))


@main.command()
@click.argument("output", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory.  [default: HIFRAC_DATA_DIR or conf.data_dir]",
)
@click.option("--seed", default=12345, show_default=True, help="Fixes the folds of the cross-validation.")
@_one_line_errors
def train(output: Path, data_dir: Path | None, seed: int) -> None:
    """Train the default model and write its folder OUTPUT.

    Needs the extra "train" (scikit-learn) and the data directory. Prints the
    cross-validated figures beside those of simple models on the same folds.
    """
    from hifrac import config

    if data_dir is None and config.data_dir() is None:
        raise ValueError("no data directory: give --data-dir, or set HIFRAC_DATA_DIR")
    try:
        from hifrac.training.train import train as make
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        raise ImportError("training needs scikit-learn: pip install 'hifrac[train]'") from error

    figures, beyond = make(output, data=data_dir, seed=seed)
    click.echo("\n".join(figures.pformat(max_lines=-1, max_width=-1)))
    if beyond is not None:
        click.echo("\nGalaxies that ALFALFA did not detect:")
        click.echo("\n".join(beyond.pformat(max_lines=-1, max_width=-1)))
    click.echo(f"written to {output}")
