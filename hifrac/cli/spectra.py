"""``hifrac spectra``: spectra of the SDSS fetched and brought to the rest frame."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hifrac.cli._shared import exit_on_interrupt, one_line_errors, progress_bar, temporary_settings

if TYPE_CHECKING:
    from astropy.table import Table

#: The table that ``fetch`` writes into its folder.
SPECTRA = "spectra.fits"


@click.group()
def spectra() -> None:
    """Spectra of the SDSS, in the rest frame."""


@spectra.command()
@click.argument("table", metavar="TABLE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="FOLDER",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files, as PLATE/spec-PLATE-MJD-FIBER.fits, and of spectra.fits.",
)
@click.option("--format", "input_format", help="Format of TABLE, e.g. ipac or mrt.  [default: guessed]")
@click.option(
    "--base-url", metavar="URL", help="Address of the archive.  [default: https://data.sdss.org/sas]"
)
@click.option(
    "--max-rate",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Requests per second, at most; 0 for no limit.  [default: conf.max_rate]",
)
@click.option("--offline", is_flag=True, help="Never touch the network; flag what is missing.")
@one_line_errors
def fetch(
    table: Path,
    folder: Path,
    input_format: str | None,
    base_url: str | None,
    max_rate: float | None,
    offline: bool,
) -> None:
    """Fetch the spectrum of every row of TABLE, by plate, mjd and fiberid.

    FOLDER/spectra.fits gets a row for each of TABLE: flux and ivar on the
    rest-frame grid of 1,000 pixels, normalised, and spectrum_flags with their
    reasons. Files that are in FOLDER already are not asked for, so an
    interrupted or partly failed run is finished by running it again.
    """
    from hifrac.core.exceptions import without_warnings
    from hifrac.core.tables import read_table, write_table
    from hifrac.spectra import fetch_spectra

    rows = read_table(table, format=input_format, text_columns=["run2d", "objid", "specobjid"])
    with ExitStack() as stack:
        # The summary says it in more words.
        stack.enter_context(without_warnings(r"\d+ of \d+ rows have no spectrum"))
        stack.enter_context(temporary_settings(max_rate=max_rate, offline=offline))
        stack.enter_context(exit_on_interrupt(fetching=True, what="spectra"))
        if base_url is not None:
            from astroquery import sdss

            stack.enter_context(sdss.conf.set_temp("sas_baseurl", base_url.rstrip("/")))
        update = stack.enter_context(progress_bar(len(rows), "fetching"))
        result = fetch_spectra(rows, folder, progress=update)
        write_table(result, folder / SPECTRA, overwrite=True)
    n_usable, n_missing = _say(result)
    click.echo(f"written to {folder / SPECTRA}")
    if n_missing:
        again = "run it again without --offline" if offline else "run it again"
        click.echo(f"{n_missing} spectra are missing for the moment: {again} to ask for these", err=True)
    if n_missing or (len(result) and not n_usable):
        raise SystemExit(1)


def _say(result: Table) -> tuple[int, int]:
    """Say what became of the rows; return how many can be learned from, and how many to ask for again."""
    import numpy as np

    from hifrac.spectra import SpectrumFlag

    flags = np.asarray(result["spectrum_flags"])
    n_usable = int(np.sum(flags == 0))
    click.echo(f"{len(flags)} rows, {n_usable} with the spectrum of a galaxy and no flag")
    for flag in SpectrumFlag:
        rows = np.flatnonzero(flags & int(flag))
        if rows.size:
            first = f"first in row {rows[0]}: {result['spectrum_reason'][rows[0]]}"
            click.echo(f"  {rows.size:7d}  {flag.name}: {flag.summary}\n{'':11}{first}")
    return n_usable, int(np.sum((flags & int(SpectrumFlag.FETCH_FAILED | SpectrumFlag.BAD_FILE)) != 0))
