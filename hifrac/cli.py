"""The command ``hifrac``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager
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
            except (HifracError, ValueError, TypeError, OSError, NotImplementedError, ImportError) as error:
                text = " ".join(str(error).split()) or type(error).__name__
                raise click.ClickException(text) from error

    return wrapped


@contextmanager
def _progress(total: int, label: str):
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
@click.option(
    "--name", default="objid", show_default=True, help="Column that names the pictures of --cutouts."
)
@click.option("--model", default=None, help="Bundled model, or folder of a model.  [default: default]")
@click.option("--device", default=None, help="auto, cpu or cuda.  [default: auto]")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=None, help="Pictures in one pass of the network."
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@click.option("--replace-columns", is_flag=True, help="Replace result columns that INPUT has already.")
@_one_line_errors
def predict(
    table: Path,
    output: Path,
    cutouts: Path | None,
    name: str,
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
    from hifrac._files import output_format, read_table, write_table
    from hifrac.config import conf
    from hifrac.cutouts import LocalCutouts
    from hifrac.estimator import HIFractionEstimator

    # What can be refused is refused before hours of work, not after.
    output_format(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {output.parent}")
    rows = read_table(table)
    source = None if cutouts is None else LocalCutouts(cutouts, name=name)
    estimator = HIFractionEstimator(
        model=conf.model if model is None else model, cutouts=source, device=device, batch_size=batch_size
    )
    with _progress(len(rows), "estimating") as progress:
        result = estimator.predict(rows, overwrite=replace_columns, progress=progress)
    write_table(result, output, overwrite=overwrite)
    lines, estimated = _summary(result)
    click.echo("\n".join(lines))
    click.echo(f"written to {output}")
    if len(result) and not estimated:
        raise SystemExit(1)


def _summary(result) -> tuple[list[str], int]:
    """Lines that count the rows by outcome, and the number of estimated rows."""
    import numpy as np

    from hifrac.flags import UNSERVED, Flag

    flags = np.asarray(result["flags"])
    unserved = (flags & int(UNSERVED)) != 0
    estimated = int(np.sum(~unserved))
    lines = [f"{len(flags)} rows, {estimated} estimated, {int(np.sum(unserved))} not"]
    counts = {flag: int(np.sum((flags & int(flag)) != 0)) for flag in Flag}
    lines += [f"  {count:7d}  {flag.name}: {flag.summary}" for flag, count in counts.items() if count]
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

    Needs the extra `train` (scikit-learn) and the data directory. Prints the
    cross-validated figures beside those of simple models on the same folds.
    """
    from hifrac.training.train import train as make

    table = make(output, data=data_dir, seed=seed)
    click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))
    click.echo(f"written to {output}")
