"""``hifrac predict``: estimates for the rows of a table."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hifrac.cli._shared import (
    check_source_options,
    count_outcomes,
    exit_on_interrupt,
    exit_unless_complete,
    first_failures,
    input_options,
    local_source,
    model_options,
    model_source,
    on_terminal,
    one_line_errors,
    picture_options,
    temporary_settings,
    write_result,
)
from hifrac.cli._visual import Visuals, visual_options


@click.command()
@click.argument("table", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Table to write.")
@input_options
@picture_options("Column that names the pictures of --cutouts.")
@model_options
@visual_options
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT, and what --overview and --html write.")
@click.option("--replace-columns", is_flag=True, help="Replace result columns that INPUT has already.")
@one_line_errors
def predict(
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
    device: str | None,
    batch_size: int | None,
    overwrite: bool,
    replace_columns: bool,
    reading: dict[str, Any],
    axes: dict[str, Any],
    visuals: Visuals,
    **service: Any,
) -> None:
    """Estimate the HI mass fraction of every row of INPUT.

    INPUT and OUTPUT may be of any table format that Astropy knows (ECSV, FITS,
    CSV, VOTable, Parquet, ...); INPUT may also be one position or the name of an
    object, such as "10h20m30s +12d30m". INPUT has columns ra and dec, which
    pictures found by --name do without. Without --cutouts or --frames the
    pictures come from the survey service of the model, through the local store:
    what `hifrac fetch` got is not asked for again, and what is fetched here is kept.

    A picture of --cutouts is a JPEG, PNG or FITS file named by the galaxy, in colour, square, with the galaxy
    in the middle, and of the width and pixel scale of the model (128 pixels of 0.4 arcsec for the default
    one). FITS files have three planes, red first: integers of 0 to 255, or fluxes. Where the planes have
    another order, or a galaxy has three files (NAME-g.fits ...), say --bands g,r,i; for
    another scale, --pixel-scale.
    """
    from hifrac.core.shapes import read_input
    from hifrac.core.tables import check_output, output_format
    from hifrac.estimator import HIFractionEstimator
    from hifrac.models import load_model

    # What can be refused is refused before hours of work, not after.
    output_format(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    visuals.check(output, overwrite=overwrite)
    if name is not None and cutouts is None:
        raise ValueError("--name names pictures of --cutouts: give that as well")
    if cutouts is None and (bands is not None or pixel_scale is not None):
        raise ValueError("--bands and --pixel-scale are of the pictures of --cutouts: give that as well")
    service, is_local = check_source_options(service, survey, cutouts, frames)
    rows = read_input(str(table), text_columns=[name or "objid"] if cutouts else (), **reading)
    check_output(rows, output, overwrite=overwrite)
    with ExitStack() as stack:
        stack.enter_context(temporary_settings(cache_dir, max_rate))
        source = None
        if is_local:
            pictures = {"bands": bands, "pixel_scale": pixel_scale}
            source = stack.enter_context(local_source(table, rows, cutouts, name, frames, **pictures))
        loaded = load_model(model, device=device)
        if source is None:
            source = model_source(loaded, survey, service)
        estimator = HIFractionEstimator(loaded, cutouts=source, batch_size=batch_size)
        first = stack.enter_context(first_failures())
        stack.enter_context(exit_on_interrupt(fetching=not is_local))
        result = estimator.predict(rows, **axes, overwrite=replace_columns, progress=on_terminal())
        write_result(result, output, overwrite=overwrite)
        written = visuals.write(result, source, f"Estimates of {table.name}")
    lines, n_estimated = count_outcomes(result, first)
    click.echo("\n".join([*lines, f"written to {output}", *written]))
    exit_unless_complete(result, n_estimated, fetching=not is_local)
