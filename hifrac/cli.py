"""The command ``hifrac``."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path

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
    model: str | None,
    device: str | None,
    batch_size: int | None,
    overwrite: bool,
    replace_columns: bool,
) -> None:
    """Estimate the HI mass fraction of every row of INPUT.

    INPUT and OUTPUT may be of any table format that Astropy knows (ECSV, FITS,
    CSV, VOTable, Parquet, ...). INPUT has columns ra and dec. Without
    --cutouts the pictures come from the survey service of the model.
    """
    from hifrac.cutouts import LocalCutouts
    from hifrac.estimator import HIFractionEstimator
    from hifrac.tables import check_output, output_format, read_table, write_table

    # What can be refused is refused before hours of work, not after.
    output_format(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    if name is not None and cutouts is None:
        raise ValueError("--name names pictures of --cutouts: give that as well")
    rows = read_table(table)
    check_output(rows, output, overwrite=overwrite)
    with ExitStack() as stack:
        source = None
        if cutouts is not None:
            column = "objid" if name is None else name
            if column not in rows.colnames:
                raise ValueError(
                    f"--name: {table} has no column {column!r} to name its pictures; "
                    f"its columns are {', '.join(rows.colnames) or '(none)'}"
                )
            try:
                source = stack.enter_context(LocalCutouts(cutouts, name=column))
            except (ValueError, OSError) as error:
                raise ValueError(f"--cutouts: {error}") from error
        estimator = HIFractionEstimator(model=model, cutouts=source, device=device, batch_size=batch_size)
        first = stack.enter_context(_first_failures())
        progress = stack.enter_context(_progress(len(rows), "estimating"))
        result = estimator.predict(rows, overwrite=replace_columns, progress=progress)
    write_table(result, output, overwrite=overwrite)
    lines, estimated = _summary(result, first)
    click.echo("\n".join(lines))
    click.echo(f"written to {output}")
    if len(result) and not estimated:
        raise SystemExit(1)


def _summary(result, first: dict | None = None) -> tuple[list[str], int]:
    """Lines that count the rows by outcome, and the number of estimated rows."""
    import numpy as np

    from hifrac.flags import UNSERVED, Flag

    flags = np.asarray(result["flags"])
    unserved = (flags & int(UNSERVED)) != 0
    estimated = int(np.sum(~unserved))
    lines = [f"{len(flags)} rows, {estimated} estimated, {int(np.sum(unserved))} not"]
    counts = {flag: int(np.sum((flags & int(flag)) != 0)) for flag in Flag}
    for flag, count in counts.items():
        if count:
            lines.append(f"  {count:7d}  {flag.name}: {flag.summary}")
        if count and first and flag in first:
            lines.append(f"           first in {first[flag]}")
    return lines, estimated


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
