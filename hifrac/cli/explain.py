"""``hifrac explain``: heat maps of the rows of a table, and a page that shows them."""

from __future__ import annotations

from pathlib import Path

import click

from hifrac.cli._setup import Setup, setup_options
from hifrac.cli._shared import count_outcomes, on_terminal, one_line_errors


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.",
)
@setup_options
@click.option("--method", default="cam", show_default=True, help="cam, gradcam or occlusion.")
@click.option(
    "--target",
    help="log_hi_fraction, p_detect, gas-rich or gas-poor (of --model gas-classes); oh, p_star_forming; or "
    "the column that the model estimates.  [default: the estimate]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Nodes of the quadrature of integrated gradients: more are truer and slower.  [default: 16]",
)
@click.option("--no-figures", is_flag=True, help="Maps, regions and a table without pictures: faster.")
@click.option("--overwrite", is_flag=True, help="Replace the page in DIR, and the files that belong to it.")
@one_line_errors
def explain(
    setup: Setup,
    output: Path,
    method: str,
    target: str | None,
    steps: int | None,
    no_figures: bool,
    overwrite: bool,
) -> None:
    """Show which pixels make the estimate of every row of INPUT.

    DIR gets a page, index.html, which opens without a network or server; maps as FITS files with world
    coordinates (maps/); contours and blobs as regions for DS9 and CASA (regions/); and figures (figures/).
    Pictures come from where `hifrac predict` takes them.
    """
    from hifrac.attribution.report import PAGE, write_report
    from hifrac.core.measurements import find_column

    if (output / PAGE).exists() and not overwrite:
        raise FileExistsError(f"{output / PAGE} exists already; say --overwrite to replace it")
    rows = setup.read()
    usual = (find_column(rows, name) for name in ("objid", "name"))
    column = next(filter(None, usual), None) if setup.name is None else setup.find_name(rows)
    with setup.estimator(rows) as estimator:
        explanations = estimator.explain(
            rows, **setup.axes, method=method, target=target, steps=steps, progress=on_terminal()
        )
        recorder = _Recorder(explanations)
        page = write_report(
            recorder,
            output,
            names=None if column is None else rows[column],
            title=f"{explanations.target.name} by {explanations.method}",
            figures=not no_figures,
        )
    lines, n_explained = count_outcomes({"flags": recorder.flags}, recorder.first, served="explained")
    click.echo("\n".join([*lines, f"written to {page}"]))
    if recorder.flags and not n_explained:
        raise SystemExit(1)


class _Recorder:
    """Explanations that are passed on, their flags, and the first message of each flag."""

    def __init__(self, explanations) -> None:
        self.explanations = explanations
        self.flags: list[int] = []
        self.first: dict = {}

    def __iter__(self):
        for explanation in self.explanations:
            self.flags.append(explanation.flags)
            if (error := explanation.error) is not None:
                self.first.setdefault(error.flag, f"row {explanation.row}: {error}")
            yield explanation
