"""``hifrac catalogs``: catalogues listed, fetched and written, and the samples of the paper counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, is_zipfile

import click

from hifrac.cli._shared import (
    count_outcomes,
    exit_on_interrupt,
    make_source,
    one_line_errors,
    progress_bar,
    survey_options,
    temporary_settings,
)

if TYPE_CHECKING:
    from astropy.table import QTable, Table

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

    for catalog in CATALOGS.values():
        state = "absent"
        if _files.local_files(catalog):
            state = "here"
        elif _files.kept_files(catalog):
            state = "kept"
        service = f"{catalog.service} {catalog.address}" if catalog.service else "to be downloaded by you"
        click.echo(f"{catalog.name:16} {state:7} {catalog.reference} ({service})")


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
    from hifrac.core.tables import write_table

    refuse_output(output, overwrite)
    table = _reader(name)()
    write_table(table, output, overwrite=overwrite)
    click.echo(f"{name}: {len(table)} rows\nwritten to {output}")


@catalogs.command()
@click.option(
    "--paper",
    type=click.Choice(["wu2019", "wu2020"]),
    default="wu2020",
    show_default=True,
    help="Whose samples: HI mass fractions (Wu 2020), or metallicities (Wu & Boada 2019).",
)
@click.option(
    "--masses",
    type=click.Choice(["durbala2020", "mpa_jhu"]),
    default="durbala2020",
    show_default=True,
    help="Stellar masses of wu2020; the paper's are mpa_jhu.",
)
@click.option(
    "--pictures",
    type=click.Path(exists=True, path_type=Path),
    help="Of wu2019: report of `hifrac fetch`, or folder or zip of objID.jpg: who has a picture.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of the counts to write.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@one_line_errors
def counts(paper: str, masses: str, pictures: Path | None, output: Path | None, overwrite: bool) -> None:
    """Count what each cut of the paper's samples leaves, beside the published numbers."""
    from hifrac.catalogs.samples import paper_samples, quantiles_table
    from hifrac.catalogs.selection import counts_table
    from hifrac.catalogs.wu_boada import facts_table, wu_boada_samples
    from hifrac.core.tables import write_table

    refuse_output(output, overwrite)
    if pictures is not None and paper != "wu2019":
        raise click.UsageError("--pictures needs --paper wu2019")
    if paper == "wu2019":
        galaxies = _reader(paper)()
        stems = None if pictures is None else _with_picture(pictures)
        samples, others = wu_boada_samples(galaxies, pictures=stems), facts_table(galaxies)
        title = "Statistics beside those that Wu & Boada (2019) printed:"
    else:
        samples = paper_samples(_reader(masses)())
        others, title = quantiles_table(samples.values()), "Quantiles beside those of Table 1 of Wu (2020):"
    table = counts_table(samples.values())
    for lines in (table, others):
        click.echo("\n".join(lines.pformat(max_lines=-1, max_width=-1)))
        if lines is table:
            click.echo(f"\n{title}")
    for name, published, what in _OF_MPA_JHU if paper == "wu2020" else ():
        if name not in samples:
            click.echo(f"{name} (published: {published}) needs {what}: --masses mpa_jhu")
    if output is not None:
        write_table(table, output, overwrite=overwrite)
        click.echo(f"written to {output}")


@catalogs.command()
@click.argument("sample", metavar="a40|a100", type=click.Choice(["a40", "a100"]))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory to fill.",
)
@click.option(
    "--undetected",
    metavar="TABLE|mpa_jhu",
    help="Galaxies of the area that ALFALFA did not detect (objid and position); mpa_jhu: the paper's.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N of each, for a trial."
)
@click.option("--overwrite", is_flag=True, help="Replace what is in OUTPUT/cutouts.")
@survey_options
@one_line_errors
def cutouts(
    sample: str,
    output: Path,
    undetected: str | None,
    limit: int | None,
    overwrite: bool,
    cache_dir: Path | None,
    max_rate: float | None,
    **service: Any,
) -> None:
    """Make a data directory: labels and SDSS pictures of a sample of the paper.

    a40 is alpha.40A, a100 is alpha.100, both with the masses of Durbala et al.
    (2020). The pictures are those that the default model reads. Training needs galaxies
    that were not detected, too. What is there already is not asked for: an interrupted or
    partly failed run is finished by running it again.
    """
    from hifrac.catalogs.directory import copy_catalogs, write_directory
    from hifrac.catalogs.labels import sample_labels
    from hifrac.core.config import conf

    with ExitStack() as stack:
        stack.enter_context(temporary_settings(cache_dir, max_rate))
        stack.enter_context(exit_on_interrupt(fetching=True))
        if service["offline"]:
            stack.enter_context(conf.set_temp("offline", True))
        source = make_source("sdss", **{key: value for key, value in service.items() if value})
        labels = sample_labels(sample)[:limit]
        others = None if undetected is None else _undetected(undetected)[:limit]
        total = len(labels) + (0 if others is None else len(others))
        update = stack.enter_context(progress_bar(total, "fetching"))
        report = write_directory(
            labels,
            source,
            output,
            undetected=others,
            overwrite=overwrite,
            progress=lambda _: update(1),
        )
        copied = copy_catalogs(output)
    stopped = (report["flags"] != 0) | (report["reason"] == "")
    lines, stored = count_outcomes(report[stopped], served="with a picture")
    click.echo("\n".join(lines))
    if left_out := int((~stopped).sum()):
        click.echo(f"{left_out} left out: see {output / 'cutouts' / 'missing.ecsv'}")
    click.echo(f"{len(copied)} files of catalogues copied\nwritten to {output}")
    if others is None:
        click.echo("without --undetected: no model can be trained on it")
    if total and not stored:
        raise SystemExit(1)


def _with_picture(pictures: Path) -> set[str]:
    """Return the objIDs of which a folder or a zip has a picture, or a report of ``hifrac fetch`` says so."""
    from hifrac.core.flags import UNSERVED
    from hifrac.core.tables import read_table

    if pictures.is_dir():
        return {path.stem for path in pictures.iterdir()}
    if is_zipfile(pictures):
        with ZipFile(pictures) as archive:
            return {Path(name).stem for name in archive.namelist()}
    report = read_table(pictures)
    if missing := {"objid", "flags"} - set(report.colnames):
        raise ValueError(f"--pictures: {pictures} has no column {', '.join(sorted(missing))}")
    return set(report["objid"][(report["flags"] & int(UNSERVED)) == 0].astype(str).tolist())


def _undetected(name: str) -> Table:
    """Return the galaxies of a table, or the paper's."""
    from hifrac.catalogs import alfalfa_a100
    from hifrac.catalogs.samples import non_detections
    from hifrac.core.tables import read_table

    if name == "mpa_jhu":
        return non_detections(_reader(name)(), alfalfa_a100()).table
    return read_table(Path(name))


def refuse_output(output: Path | None, overwrite: bool) -> None:
    """Refuse before the work what could not be written after it."""
    from hifrac.core.tables import output_format

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
