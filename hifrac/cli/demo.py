"""``hifrac demo``: the bundled sample of simulated galaxies, estimated offline."""

from __future__ import annotations

from pathlib import Path

import click

from hifrac.cli._shared import count_outcomes, first_failures, one_line_errors


@click.command()
@click.option(
    "-o",
    "--output",
    default=Path("hifrac-demo"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the table and the pictures.",
)
@one_line_errors
def demo(output: Path) -> None:
    """Estimate the bundled sample of simulated galaxies, offline."""
    from hifrac.demo import run_demo

    with first_failures() as first:
        result, paths = run_demo(output)
    estimates = ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84", "p_detect")
    columns = result["name", *estimates, "oh", "oh_p16", "oh_p84", "p_star_forming", "flags"]
    for name in ("p_detect", "p_star_forming"):
        columns[name].info.format = ".2f"
    click.echo("Simulated galaxies, from gas-poor to gas-rich; then a star, blank sky and no survey.")
    click.echo("\n".join(columns.pformat(max_lines=-1, max_width=-1)))
    click.echo("\n".join(count_outcomes(result, first)[0]))
    click.echo(f"table:    {paths[0]}\npictures: {paths[1]}, {paths[2]}")
