"""What the subcommands share: errors in one line, settings, sources, progress and summaries."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

__all__ = [
    "kept_on_interrupt",
    "local_source",
    "model_options",
    "model_source",
    "one_line_errors",
    "picture_options",
    "progress_bar",
    "requested_source",
    "settings",
    "source_of",
    "summary",
    "survey_options",
]

# Everything else is imported inside the commands: `hifrac --version` and
# `hifrac --help` must not wait for astropy and torch.


def one_line_errors(command: Callable) -> Callable:
    """Turn the errors that users cause into one clear line, and warnings too."""

    @wraps(command)
    def wrapped(*args, **kwargs):
        from hifrac.core.exceptions import HifracError

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
def progress_bar(total: int, label: str) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal; silence elsewhere."""
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=" rows", disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar.update


def survey_options(command: Callable) -> Callable:
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


def model_options(command: Callable) -> Callable:
    """The options of everything that runs a model over many pictures."""
    options = [
        click.option("--model", help="Bundled model, or folder of a model.  [default: default]"),
        click.option("--device", help="auto, cpu or cuda.  [default: auto]"),
        click.option("--batch-size", type=int, help="Pictures in one pass of the network."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def settings(cache_dir: Path | None = None, max_rate: float | None = None) -> Iterator[None]:
    """The settings of the command line, which come before those of the environment."""
    from hifrac.core.config import conf

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


def source_of(
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


def picture_options(name_help: str) -> Callable[[Callable], Callable]:
    """The options of everything that reads the pictures of a table: where they are, and `survey_options`."""
    options = [
        click.option(
            "--cutouts",
            type=click.Path(path_type=Path),
            help="Folder or archive of pictures; nothing is fetched.",
        ),
        click.option("--name", default=None, help=f"{name_help}  [default: objid]"),
        click.option(
            "--frames",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of SDSS frame-*.fits files to cut the pictures from; nothing is fetched.",
        ),
        click.option(
            "--survey", default=None, help="sdss, legacy, panstarrs or hips.  [default: the model's]"
        ),
    ]

    def decorate(command: Callable) -> Callable:
        command = survey_options(command)
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def requested_source(
    service: dict[str, Any], survey: str | None, cutouts: Path | None, frames: Path | None
) -> tuple[dict[str, Any], bool]:
    """What was asked of the service, and whether the pictures are at hand; an error if both were."""
    service = {key: value for key, value in service.items() if value}
    asked = ["--survey"] if survey is not None else []
    asked += [f"--{key.replace('_', '-')}" for key in service]
    local = [option for option, path in (("--cutouts", cutouts), ("--frames", frames)) if path is not None]
    if len(local) > 1 or (local and asked):
        raise ValueError(
            f"{local[0]} does not go with {(local[1:] + asked)[0]}: the pictures have one source"
        )
    return service, bool(local)


def local_source(table: Path, rows, cutouts: Path | None, name: str | None, frames: Path | None):
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


def model_source(model, survey: str | None, service: dict[str, Any]):
    """The service that a model's pictures come from."""
    from hifrac.cutouts import SURVEYS, source_for

    recipe = model.card.recipe
    kind = type(source_for(recipe))
    known = {value: key for key, value in SURVEYS.items()}
    if survey is not None and SURVEYS.get(survey) is not kind:
        raise ValueError(
            f"--survey: the model {model.card.name!r} reads pictures of {known[kind]}, got {survey!r}"
        )
    return source_of(known[kind], recipe, **service)


@contextmanager
def kept_on_interrupt(fetching: bool) -> Iterator[None]:
    """Say on Ctrl-C what became of the work, and end as interrupted programs do."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "; the pictures fetched so far are kept: run it again to go on" if fetching else ""
        click.echo(f"interrupted{kept}", err=True)
        raise SystemExit(130) from None


def summary(result, first: dict | None = None, served: str = "estimated") -> tuple[list[str], int]:
    """Lines that count the rows by outcome, and the number of those that were served."""
    import numpy as np

    from hifrac.core.flags import UNSERVED, Flag

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
