"""The command ``python -m hifrac.catalogs``: fetch catalogues, and count the paper's samples."""

from __future__ import annotations

import sys

import click

from hifrac import catalogs
from hifrac.catalogs import _files


@click.group()
def main() -> None:
    """Catalogues of HI surveys and of SDSS galaxies."""


@main.command("list")
def list_catalogs() -> None:
    """List the catalogues, and whether each is on this computer."""
    for one in catalogs.CATALOGS.values():
        kept = sorted(_files.folder().glob(f"{one.name}_*.fits"))
        state = "here" if _files.local_files(one) else "kept" if kept else "absent"
        service = f"{one.service} {one.address}" if one.service else "to be downloaded by you"
        click.echo(f"{one.name:16} {state:7} {one.reference} ({service})")


@main.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(sorted(catalogs.CATALOGS)))
def fetch(names: tuple[str, ...]) -> None:
    """Read the catalogues NAMES; what is not on this computer is fetched and kept."""
    for name in names:
        try:
            table = getattr(catalogs, name)()
        except catalogs.CatalogError as error:
            click.echo(f"{name}: {error}", err=True)
            sys.exit(1)
        click.echo(f"{name}: {len(table)} rows")


@main.command()
@click.option(
    "--masses",
    type=click.Choice(["durbala2020", "mpa_jhu"]),
    default="durbala2020",
    show_default=True,
    help="Stellar masses; the paper's are mpa_jhu.",
)
def counts(masses: str) -> None:
    """Count what each cut of the paper's samples leaves, beside the published numbers."""
    from hifrac.catalogs.samples import paper_samples
    from hifrac.catalogs.selection import counts_table

    try:
        table = counts_table(paper_samples(getattr(catalogs, masses)()).values())
    except catalogs.CatalogError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))


if __name__ == "__main__":
    main(prog_name="python -m hifrac.catalogs")
