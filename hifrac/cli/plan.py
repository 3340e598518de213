"""``hifrac plan``: what a large catalogue costs, before it is begun."""

from __future__ import annotations

import click

from hifrac.cli._shared import one_line_errors

#: Label, unit, and how many of what `plan` counts in are one of that unit.
_LINES = {
    "predict_hours": ("estimates", "core h", 1),
    "gpu_hours": ("or on one GPU", "h", 1),
    "service_days": ("pictures from a service", "days", 1),
    "service_bytes": ("which sends", "GB", 1e9),
    "fields": ("or fields of the survey", "", 1),
    "field_bytes": ("their files", "TB", 1e12),
    "cut_hours": ("pictures cut from these", "core h", 1),
    "zip_bytes": ("pictures, in zips", "GB", 1e9),
    "store_bytes": ("in the local store", "GB", 1e9),
    "result_bytes": ("result", "GB", 1e9),
    "cost": ("price of the core hours", "", 1),
}


@click.command()
@click.argument("galaxies", metavar="N...", nargs=-1, required=True, type=float)
@click.option(
    "--imaging", default="sdss", show_default=True, metavar="sdss|legacy", help="Survey of the pictures."
)
@click.option(
    "--max-rate", default=10.0, show_default=True, help="Pictures asked of a survey service in a second."
)
@click.option("--price", default=0.05, show_default=True, help="Of one hour of one core.")
@one_line_errors
def plan(galaxies: tuple[float, ...], imaging: str, max_rate: float, price: float) -> None:
    """Show what estimates of N galaxies take: hours, bytes and money.

    The rates are those of one machine, with the default model: `docs/scale.rst` has their sources.
    """
    from hifrac._plan import plan as figures_of

    plans = [figures_of(n, imaging=imaging, max_rate=max_rate, price=price) for n in galaxies]
    click.echo(f"{'galaxies':<32}" + "".join(f"{_shown(n):>15}" for n in galaxies))
    for name, (label, unit, scale) in _LINES.items():
        values = "".join(f"{_shown(figures[name] / scale):>15}" for figures in plans)
        click.echo(f"{label:<25}{unit:<7}{values}")


def _shown(value: float) -> str:
    """Return a number with two digits, or as a whole one."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"
