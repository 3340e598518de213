"""Parts that commands share: errors in one line, options, settings, sources, progress and summaries."""

from __future__ import annotations

import logging
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path

import click

# Everything else is imported inside the commands: `hifrac --version` and
# `hifrac --help` must not wait for astropy and torch.


def one_line_errors(command: Callable) -> Callable:
    """Decorate a command: errors that users cause, and warnings, become one line, and come once."""

    @wraps(command)
    def wrapped(*args, **kwargs):
        from astropy.logger import conf

        from hifrac.core.exceptions import HifracError

        shown = set()

        def show(message, *_, **__):
            from tqdm import tqdm

            if str(message) not in shown:
                shown.add(str(message))
                tqdm.write(f"Warning: {message}", file=sys.stderr)  # above a progress bar

        # The logger of astroquery, which commands import late, would take the warnings over.
        with warnings.catch_warnings(), conf.set_temp("log_warnings", False):
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


def on_terminal() -> bool:
    """Return whether there is a terminal to show progress on."""
    return sys.stderr.isatty()


def progress_bar(total: int, label: str) -> AbstractContextManager[Callable[[int], object]]:
    """Show a progress bar on a terminal; nothing elsewhere."""
    from hifrac.core.progress import progress_reports

    return progress_reports(on_terminal(), total, label)


def input_options(command: Callable) -> Callable:
    """Add the options of commands that read INPUT; these become ``reading`` and ``axes``, of keywords."""

    @wraps(command)
    def wrapped(*args, input_format, input_table, ra, dec, **options):
        reading = {"format": input_format, "table": input_table}
        return command(*args, reading=reading, axes={"ra": ra, "dec": dec}, **options)

    decorated: Callable = wrapped
    options = [
        click.option(
            "--format", "input_format", help="Format of INPUT, e.g. ipac or mrt.  [default: guessed]"
        ),
        click.option("--table", "input_table", help="Which of several tables of INPUT: its number or name."),
        click.option("--ra", help="Column of right ascensions, if its name is not known."),
        click.option("--dec", help="Column of declinations, likewise."),
    ]
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def survey_options(command: Callable) -> Callable:
    """Add the options of commands that ask a survey service."""
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


def selection_option(command: Callable) -> Callable:
    """Add the option that says how the galaxies of a table were selected."""
    return click.option(
        "--selection",
        metavar="intrinsic|alfalfa|undetected",
        help="Why the galaxies are in the sample: HI had no part in it (the default), ALFALFA detects them, "
        "or it does not.",
    )(command)


def pixel_scale_option(what: str) -> Callable[[Callable], Callable]:
    """Make the option of a pixel scale, whose value is keywords of a recipe and of local pictures."""

    def keywords(context, option, text: str | None) -> dict | None:  # noqa: ARG001 (of click)
        from hifrac.cutouts._scales import parse_scale

        return None if text is None else parse_scale(text)

    return click.option(
        "--pixel-scale",
        metavar="X|COLUMN[/X]",
        callback=keywords,
        help=f"{what} Or the column that gives each row's, over a number, e.g. petroR90_r/25.344.",
    )


@contextmanager
def temporary_settings(
    cache_dir: Path | None = None,
    max_rate: float | None = None,
    *,
    offline: bool = False,
    threads: int | None = None,
) -> Iterator[None]:
    """Apply settings of the command line, which come before those of the environment."""
    from hifrac.core import config

    given = {"max_rate": max_rate, "offline": offline or None, "threads": threads}
    settings = {name: value for name, value in given.items() if value is not None}
    with config.temporary_settings(cache_dir, **settings):
        yield


def make_source(
    survey: str,
    recipe=None,
    *,
    width=None,
    pixel_scale=None,
    bands=None,
    data_release=None,
    hips=None,
    **options,
):
    """Make the source of pictures that the options of the command line describe."""
    from dataclasses import replace

    from hifrac.cutouts import SURVEYS
    from hifrac.cutouts._cubes import parse_bands

    if survey not in SURVEYS:
        raise ValueError(f"--survey must be one of {', '.join(SURVEYS)}, got {survey!r}")
    source_class = SURVEYS[survey]
    recipe = source_class.default_recipe if recipe is None else recipe
    changes = {"width": width, "bands": None if bands is None else parse_bands(bands, None)}
    if pixel_scale is not None:
        scales = {"pixel_scale": None, "scale_column": None, "scale_divisor": 1.0, **pixel_scale}
        recipe = replace(recipe, **scales)
    if hips is not None:
        if survey != "hips":
            raise ValueError("--hips goes with --survey hips")
        changes["survey"] = hips
    if data_release is not None:
        changes["data_release"] = data_release.upper()
    recipe = replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    return source_class(recipe, **options)


@contextmanager
def exit_on_interrupt(*, fetching: bool, what: str = "pictures") -> Iterator[None]:
    """End on Ctrl-C as interrupted programs do, with a line on the pictures fetched so far."""
    try:
        yield
    except KeyboardInterrupt:
        advice = f"; the {what} fetched so far are kept: run it again to go on" if fetching else ""
        click.echo(f"interrupted{advice}", err=True)
        raise SystemExit(130) from None


def write_result(table, path: Path, *, overwrite: bool) -> None:
    """Write a table that took hours; where that fails, keep it elsewhere; the OSError says so."""
    import tempfile

    from hifrac.core.tables import write_table

    try:
        write_table(table, path, overwrite=overwrite)
    except (OSError, ValueError) as error:
        for root in (Path.home(), Path(tempfile.gettempdir())):
            rescued = root / "hifrac-rescued" / f"{path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S}.ecsv"
            try:
                rescued.parent.mkdir(parents=True, exist_ok=True)
                write_table(table, rescued)
            except (OSError, ValueError):
                continue
            raise OSError(f"{error}; the result is kept in {rescued}") from error
        raise


def exit_unless_complete(
    result, n_served: int, *, fetching: bool, offline: bool = False, again: str = ""
) -> None:
    """Exit with status 1 where nothing was served, or where another run is expected to fetch more."""
    import numpy as np

    from hifrac.core.flags import Flag

    flags = np.asarray(result["flags"])
    n_missing = int(np.sum((flags & int(Flag.FETCH_FAILED | Flag.BAD_IMAGE)) != 0)) if fetching else 0
    if n_missing:
        how = " ".join(filter(None, ("run it again", again, "without --offline" if offline else "")))
        click.echo(f"{n_missing} rows lack their picture for the moment: {how} to ask for these", err=True)
    if n_missing or (len(flags) and not n_served):
        raise SystemExit(1)


@contextmanager
def first_failures() -> Iterator[dict]:
    """Collect the first message of each flag from the log of the estimator, for `count_outcomes`."""
    from hifrac.core.exceptions import without_warnings

    first: dict = {}

    class FirstMessages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            first.setdefault(getattr(record, "flag", None), record.getMessage())

    logger, handler = logging.getLogger("hifrac.estimator"), FirstMessages()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with without_warnings(r"\d+ of \d+ rows have no estimate"):  # the summary says it
            yield first
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def count_outcomes(result, first: dict | None = None, served: str = "estimated") -> tuple[list[str], int]:
    """Return lines that count the rows by flag, with advice, and the number of rows that were served.

    ``first`` has a message by flag, of the first row that has it.
    """
    import numpy as np

    values, counts = np.unique(np.asarray(result["flags"]), return_counts=True)
    return describe_outcomes(dict(zip(values.tolist(), counts.tolist(), strict=True)), first, served)


def describe_outcomes(
    counts: Mapping[int, int], first: dict | None = None, served: str = "estimated"
) -> tuple[list[str], int]:
    """Return the lines of `count_outcomes`, from the number of rows by what their ``flags`` are."""
    from hifrac.core.flags import UNSERVED, Flag

    def count_with(flags: int) -> int:
        return sum(count for value, count in counts.items() if value & flags)

    n_rows, n_unserved = sum(counts.values()), count_with(UNSERVED)
    n_served = n_rows - n_unserved
    lines = [f"{n_rows} rows, {n_served} {served}, {n_unserved} not"]
    for flag in Flag:
        if count := count_with(flag):
            lines.append(f"  {count:7d}  {flag.name}: {flag.summary}")
            if first and flag in first:
                lines.append(f"{'':11}first in {first[flag]}")
            lines += textwrap.wrap(flag.advice, 100, initial_indent=" " * 11, subsequent_indent=" " * 11)
    return lines, n_served
