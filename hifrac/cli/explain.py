"""``hifrac explain``: heat maps of the rows of a table, and a page that shows them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hifrac.cli._shared import (
    check_source_options,
    exit_on_interrupt,
    input_options,
    local_source,
    model_options,
    model_source,
    on_terminal,
    one_line_errors,
    picture_options,
    temporary_settings,
)


@click.command()
@click.argument("table", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.",
)
@input_options
@picture_options("Column that names the galaxies, and the pictures of --cutouts.")
@model_options
@click.option("--method", default="cam", show_default=True, help="cam, gradcam or occlusion.")
@click.option(
    "--target",
    default="log_hi_fraction",
    show_default=True,
    help="log_hi_fraction, p_detect, gas-rich, gas-poor, or the column that the model estimates.",
)
@click.option("--no-figures", is_flag=True, help="Maps, regions and a table without pictures: faster.")
@click.option("--overwrite", is_flag=True, help="Replace the page in DIR, and the files that belong to it.")
@one_line_errors
def explain(
    table: Path,
    output: Path,
    cutouts: Path | None,
    name: str | None,
    bands: str | None,
    pixel_scale: float | None,
    frames: Path | None,
    survey: str | None,
    cache_dir: Path | None,
    max_rate: float | None,
    model: str | None,
    method: str,
    target: str,
    no_figures: bool,
    device: str | None,
    batch_size: int | None,
    overwrite: bool,
    reading: dict[str, Any],
    axes: dict[str, Any],
    **service: Any,
) -> None:
    """Show which pixels make the estimate of every row of INPUT.

    DIR gets a page, index.html, which opens without a network or server; maps as FITS files with world
    coordinates (maps/); contours and blobs as regions for DS9 and CASA (regions/); and figures (figures/).
    Pictures come from where `hifrac predict` takes them.
    """
    from hifrac.attribution.report import PAGE, write_report
    from hifrac.core.measurements import find_column
    from hifrac.core.shapes import read_input
    from hifrac.estimator import HIFractionEstimator
    from hifrac.models import load_model

    if (output / PAGE).exists() and not overwrite:
        raise FileExistsError(f"{output / PAGE} exists already; say --overwrite to replace it")
    if cutouts is None and (bands is not None or pixel_scale is not None):
        raise ValueError("--bands and --pixel-scale are of the pictures of --cutouts: give that as well")
    service, is_local = check_source_options(service, survey, cutouts, frames)
    rows = read_input(str(table), text_columns=[name or "objid"], **reading)
    if name is not None and find_column(rows, name) is None:
        columns = ", ".join(rows.colnames)
        raise ValueError(f"--name: {table} has no column {name!r}; its columns are {columns}")
    with ExitStack() as stack:
        stack.enter_context(temporary_settings(cache_dir, max_rate))
        loaded = load_model(model, device=device)
        if is_local:
            pictures = {"bands": bands, "pixel_scale": pixel_scale}
            source = stack.enter_context(local_source(table, rows, cutouts, name, frames, **pictures))
        else:
            source = model_source(loaded, survey, service)
        estimator = HIFractionEstimator(loaded, cutouts=source, batch_size=batch_size)
        explanations = estimator.explain(rows, **axes, method=method, target=target, progress=on_terminal())
        name_columns = (find_column(rows, usual) for usual in ([name] if name else ["objid", "name"]))
        column = next(filter(None, name_columns), None)
        recorder = _FlagRecorder(explanations)
        stack.enter_context(exit_on_interrupt(fetching=not is_local))
        page = write_report(
            recorder,
            output,
            names=None if column is None else rows[column],
            title=f"{explanations.target.name} by {explanations.method}",
            figures=not no_figures,
        )
    _report_outcome(recorder.flags, page)


def _report_outcome(all_flags: list[int], page: Path) -> None:
    """Print how many rows were explained; exit with status 1 if none was."""
    from hifrac.core.flags import UNSERVED

    n_rows = len(all_flags)
    n_unserved = sum((flags & int(UNSERVED)) != 0 for flags in all_flags)
    click.echo(f"{n_rows} rows, {n_rows - n_unserved} explained, {n_unserved} not")
    click.echo(f"written to {page}")
    if n_rows and n_unserved == n_rows:
        raise SystemExit(1)


class _FlagRecorder:
    """Explanations that are passed on, and their flags."""

    def __init__(self, explanations) -> None:
        self.explanations = explanations
        self.flags: list[int] = []

    def __iter__(self):
        for explanation in self.explanations:
            self.flags.append(explanation.flags)
            yield explanation
