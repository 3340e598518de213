"""``hifrac catalogs``: catalogues listed, fetched and written, and the samples of the paper counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hifrac.cli._shared import one_line_errors

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["catalogs", "refuse_output"]

_OF_MPA_JHU = (
    ("alpha.40B", "4,797; 4,644 without xGASS", "metallicities and star formation rates"),
    ("non-detections", "23,702, of which 7,399 drawn", "galaxies that ALFALFA did not detect"),
)


@click.group()
def catalogs() -> None:
    """Catalogues of HI surveys and of SDSS galaxies.

    They are looked for in the folder catalogs of the data directory
    (HIFRAC_DATA_DIR or conf.data_dir); what is not there comes from VizieR or
    SkyServer, and is kept.
    """


@catalogs.command("list")
@one_line_errors
def list_catalogs() -> None:
    """List the catalogues, and whether each is on this computer."""
    from hifrac.catalogs import CATALOGS, _files

    for one in CATALOGS.values():
        state = "here" if _files.local_files(one) else "kept" if _files.kept_files(one) else "absent"
        service = f"{one.service} {one.address}" if one.service else "to be downloaded by you"
        click.echo(f"{one.name:16} {state:7} {one.reference} ({service})")


@catalogs.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@one_line_errors
def fetch(names: tuple[str, ...]) -> None:
    """Read the catalogues NAME...; what is not on this computer is fetched and kept."""
    readers = [_reader(name) for name in names]
    for name, read in zip(names, readers, strict=True):
        click.echo(f"{name}: {len(read())} rows")


@catalogs.command()
@click.argument("name", metavar="NAME")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Table to write.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@one_line_errors
def write(name: str, output: Path, overwrite: bool) -> None:
    """Write the catalogue NAME with the columns and units that all catalogues share."""
    from hifrac.tables import write_table

    refuse_output(output, overwrite)
    table = _reader(name)()
    write_table(table, output, overwrite=overwrite)
    click.echo(f"{name}: {len(table)} rows\nwritten to {output}")


@catalogs.command()
@click.option(
    "--masses",
    type=click.Choice(["durbala2020", "mpa_jhu"]),
    default="durbala2020",
    show_default=True,
    help="Stellar masses; the paper's are mpa_jhu.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of the counts to write.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@one_line_errors
def counts(masses: str, output: Path | None, overwrite: bool) -> None:
    """Count what each cut of the paper's samples leaves, beside the published numbers."""
    from hifrac.catalogs.samples import paper_samples, quantiles_table
    from hifrac.catalogs.selection import counts_table
    from hifrac.tables import write_table

    refuse_output(output, overwrite)
    samples = paper_samples(_reader(masses)())
    table = counts_table(samples.values())
    click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))
    click.echo("\nQuantiles beside those of Table 1 of Wu (2020):")
    click.echo("\n".join(quantiles_table(samples.values()).pformat(max_lines=-1, max_width=-1)))
    for name, published, what in _OF_MPA_JHU:
        if name not in samples:
            click.echo(f"{name} (published: {published}) needs {what}: --masses mpa_jhu")
    if output is not None:
        write_table(table, output, overwrite=overwrite)
        click.echo(f"written to {output}")


def refuse_output(output: Path | None, overwrite: bool) -> None:
    """Refuse before the work what could not be written after it."""
    from hifrac.tables import output_format

    if output is None:
        return
    output_format(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already; say --overwrite to replace it")


def _reader(name: str) -> Callable[[], QTable]:
    from hifrac import catalogs as readers

    if name not in readers.CATALOGS:
        raise ValueError(f"NAME must be one of {', '.join(sorted(readers.CATALOGS))}, got {name!r}")
    return getattr(readers, name)
