"""The command ``hifrac``: one file a command, or a group of commands."""

from __future__ import annotations

import os
from typing import Any

import click

import hifrac
from hifrac.cli.benchmark import benchmark
from hifrac.cli.catalogs import catalogs
from hifrac.cli.demo import demo
from hifrac.cli.doctor import doctor
from hifrac.cli.explain import explain
from hifrac.cli.fetch import cache, fetch
from hifrac.cli.plan import plan
from hifrac.cli.predict import predict
from hifrac.cli.reproduce import reproduce
from hifrac.cli.spectra import spectra
from hifrac.cli.training import evaluate, export, models, train

__all__ = ["main"]


class _Commands(click.Group):
    """Commands that end on Ctrl-C as interrupted programs do, at whatever moment: click would end with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise SystemExit(130) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(hifrac.__version__, prog_name="hifrac")
def main() -> None:
    """HI mass fractions, metallicities and spectra of galaxies from pictures, with calibrated errors."""
    # Before PyTorch is loaded: threads of OpenMP that wait in a loop take the processor from others, and on a
    # busy machine from those that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


for command in (
    benchmark,
    cache,
    catalogs,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    fetch,
    models,
    plan,
    predict,
    reproduce,
    spectra,
    train,
):
    main.add_command(command)
