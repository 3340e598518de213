"""``hifrac predict``: estimates for the rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hifrac.cli._hats import Workers, workers_options
from hifrac.cli._parts import Parts, parts_options
from hifrac.cli._setup import Setup, setup_options
from hifrac.cli._shared import (
    count_outcomes,
    exit_unless_complete,
    first_failures,
    on_terminal,
    one_line_errors,
    write_result,
)
from hifrac.cli._visual import Visuals, visual_options


@click.command()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Table to write; with --rows-per-part a folder, or a table that is joined of parts.",
)
@setup_options
@click.option(
    "--environment",
    metavar="CATALOG",
    type=click.Path(path_type=Path),
    help="Table of positions and redshifts around the galaxies: adds their overdensity, which needs z.",
)
@click.option("--samples", type=click.IntRange(min=1), help="Draws from the distribution of each row.")
@parts_options
@workers_options
@visual_options
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT, and what --overview and --html write.")
@click.option("--replace-columns", is_flag=True, help="Replace result columns that INPUT has already.")
@one_line_errors
def predict(
    setup: Setup,
    output: Path,
    environment: Path | None,
    samples: int | None,
    parts: Parts,
    workers: Workers,
    visuals: Visuals,
    overwrite: bool,
    replace_columns: bool,
) -> None:
    """Estimate the HI mass fraction, the metallicity, or the spectrum, of every row of INPUT.

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

    With --rows-per-part the result is made in parts, each of which is on the disk before the next is begun:
    after an interruption run it again with --resume to go on. OUTPUT is then a folder of Parquet files; or,
    if its name ends as a table's, that table, joined in the end of the parts in OUTPUT.parts.

    INPUT may also be the folder of a catalogue in HATS, and then OUTPUT is one too.
    """
    from hifrac.core.tables import output_format, read_table

    # What can be refused is refused before hours of work, not after.
    if setup.name is not None and setup.cutouts is None:
        raise ValueError("--name names pictures of --cutouts: give that as well")
    if workers.are_for(setup.table):
        replaced = {"overwrite": overwrite, "replace_columns": replace_columns}
        tables = {"environment": environment, **vars(visuals), "part": parts.part}
        workers.predict(
            setup,
            output,
            {**tables, "rows_per_part": parts.rows_per_part},
            {**replaced, "samples": samples, "resume": parts.resume},
        )
        return
    if not parts.make_folder(output):
        output_format(output)
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} exists already; say --overwrite to replace it")
    visuals.check(output, overwrite=overwrite)
    options = {
        **setup.axes,
        "environment": None if environment is None else read_table(environment),
        "samples": samples,
        "progress": on_terminal(),
    }
    if parts.are_wanted:
        parts.predict(
            setup, output, visuals, {**options, "overwrite": overwrite, "replace_columns": replace_columns}
        )
    else:
        _predict_at_once(setup, output, visuals, {**options, "overwrite": replace_columns}, overwrite)


def _predict_at_once(
    setup: Setup, output: Path, visuals: Visuals, options: dict[str, Any], overwrite: bool
) -> None:
    """Estimate all rows, and write one table; ``options`` are keywords of the estimator's ``predict``."""
    from hifrac.core.tables import check_output, require_vectors

    rows = setup.read()
    require_vectors(output, setup.columns)
    check_output(rows, output, overwrite=overwrite)
    with setup.estimator(rows) as estimator, first_failures() as first:
        result = estimator.predict(rows, **options)
        write_result(result, output, overwrite=overwrite)
        written = visuals.write(result, estimator.cutouts, f"Estimates of {setup.table.name}")
    lines, n_estimated = count_outcomes(result, first)
    click.echo("\n".join([*lines, f"written to {output}", *written]))
    fetching = not setup.is_local
    exit_unless_complete(
        result, n_estimated, fetching=fetching, offline=setup.offline, again="with --overwrite"
    )
