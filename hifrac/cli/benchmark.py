"""``hifrac benchmark``: the estimators judged on a survey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hifrac.cli._shared import one_line_errors
from hifrac.cli.catalogs import refuse_output

if TYPE_CHECKING:
    from astropy.table import Table


_SHOWN = ("rmse", "slope", "sigma", "offset", "nmad", "coverage")


@click.command()
@click.argument("survey", metavar="NAME")
@click.option(
    "--cutouts",
    type=click.Path(path_type=Path),
    help="Folder or archive of pictures, named by objid.  [default: sdss_cutouts.zip of the data directory, "
    "or what `hifrac fetch` got]",
)
@click.option("--model", help="Bundled model, or folder of a model.  [default: default]")
@click.option(
    "--photometry",
    type=click.Path(path_type=Path),
    help="Table with ra, dec, and any of nuv_minus_r, u_minus_r, u_minus_i, g_minus_r, g_minus_i, mu_i, "
    "objid.",
)
@click.option("--common", is_flag=True, help="Only galaxies that every estimator has an answer for.")
@click.option(
    "--draws",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Samples of the bootstrap; 0 for no errors.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Table of the figures to write.")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@one_line_errors
def benchmark(
    survey: str,
    cutouts: Path | None,
    model: str | None,
    photometry: Path | None,
    common: bool,
    draws: int,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Judge every estimator that can run on the survey NAME.

    NAME is xgass, nibles, resolve, durbala2020 or alfalfa_a40. The estimators
    are the relations for which there is photometry, a line fitted to the survey
    itself, and the model where there are pictures. Detections and upper limits
    are judged apart; what an estimator masks is counted.
    """
    from hifrac.core.tables import read_table, write_table
    from hifrac.reproduce import benchmark as score_survey

    refuse_output(output, overwrite)
    if draws == 1:
        raise ValueError("--draws must be 0, or at least 2")
    if cutouts is not None and not cutouts.exists():
        raise FileNotFoundError(f"--cutouts: no such file or folder: {cutouts}")
    table = score_survey(
        survey,
        cutouts=cutouts,
        model=model,
        photometry=None if photometry is None else read_table(photometry),
        common=common,
        draws=draws,
    )
    click.echo("\n".join(_report(table)))
    if output is not None:
        write_table(table, output, overwrite=overwrite)
        click.echo(f"written to {output}")


def _report(table: Table) -> list[str]:
    from hifrac.metrics import format_metrics, published_metrics

    meta = table.meta
    lines = [
        f"{meta['survey']}: {meta['rows']} galaxies, {meta['with_hi']} with HI mass fraction, "
        f"of which {meta['limits']} upper limits",
        f"stellar masses: {meta['stellar_mass']}",
        "",
    ]
    counts = ["n", "no_input", "out_of_range", "n_limits"]
    order = ["estimator", *counts[:3], *_SHOWN, "n_limits", "limits_violated"]
    chosen = [name for one in order for name in (one, f"{one}_error") if name in table.colnames]
    lines += [format_metrics(table[chosen]), ""]
    published = published_metrics()
    rows = published[(published["sample"] == meta["published"]) & (published["cut"] == "all")]
    if len(rows):
        note = ", upper limits counted as values" if meta["published"] == "xGASS" else ""
        lines.append(f"published for {meta['published']} (Wu 2020; other galaxies and masses{note}):")
        rows["table"] = [f"Table {number}" for number in rows["table"]]
        shown = rows["table", "estimator", "n", "rmse", "slope", "sigma", "offset"]
        lines += [format_metrics(shown, decimals=4), ""]
    lines += [f"not run: {name}: {reason}" for name, reason in meta["not_run"].items()]
    return lines + [f"note: {note}" for note in meta["notes"]]
