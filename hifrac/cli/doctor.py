"""``hifrac doctor``: whether the installation works, and the services answer."""

from __future__ import annotations

import click

from hifrac.cli._shared import one_line_errors


@click.command()
@click.option("--network", is_flag=True, help="Ask each service for one galaxy.")
@one_line_errors
def doctor(network: bool) -> None:
    """Look at the installation; exit status 1 if something is broken.

    Shows what is installed, the device, the local store, the models and their checksums, and makes an
    estimate. What an issue needs to know.
    """
    import warnings

    from hifrac._doctor import BROKEN, examine

    broken = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what goes wrong has a line
        for finding in examine(network=network):
            click.echo(f"{finding.state:<7} {finding.what:<28} {finding.facts}")
            broken += finding.state == BROKEN
    if broken:
        click.echo(f"{broken} of these are broken", err=True)
        raise SystemExit(1)
