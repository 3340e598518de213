"""Draw what goes in and what comes out: coordinates, pictures with their maps, and the table of estimates.

``python benchmarks/draw_panels.py`` draws three simulated galaxies of the bundled sample, without a network.
"""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib.pyplot as plt
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm

from hifrac import HIFractionEstimator, LocalCutouts, decode_flags
from hifrac.attribution import Explanation
from hifrac.attribution.regions import smoothed
from hifrac.demo import PICTURES, sample_table

OUTPUT = Path(__file__).parents[1] / "docs" / "_static" / "in_and_out.png"
ROWS = [1, 9, 22]
INK, PAPER = "#12283f", "#f3f6f9"
#: Of a row, as a share of the figure.
HEIGHT = 0.295


@click.command()
@click.option("-o", "--output", default=OUTPUT, type=click.Path(path_type=Path, dir_okay=False))
def main(output: Path) -> None:
    """Draw the figure of the first page."""
    galaxies = sample_table()[ROWS]
    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    result = estimator.predict(galaxies)
    figure = plt.figure(figsize=(11, 4.4))
    places = [(f"{row['ra']:.4f}", f"{row['dec']:+.4f}") for row in galaxies]
    _write(figure.add_axes((0.0, 0.0, 0.19, 1.0)), ("ra", "dec"), places)
    for number, explanation in enumerate(estimator.explain(galaxies), start=1):
        _show(figure, number, explanation)
    header = (r"$\log M_\mathrm{HI}/M_*$", "68% interval", "p_detect", "flags")
    _write(figure.add_axes((0.52, 0.0, 0.48, 1.0)), header, [_estimate(row) for row in result])
    for place, word in ((0.205, "\N{RIGHTWARDS ARROW}"), (0.505, "\N{RIGHTWARDS ARROW}")):
        figure.text(place, 1.5 * HEIGHT, word, ha="center", va="center", fontsize=20, color=INK)
    for place, word in ((0.285, "picture"), (0.425, "map of what counts")):
        figure.text(place, 3 * HEIGHT + 0.055, word, ha="center", va="center", fontsize=11, color=INK)
    figure.savefig(output, dpi=90)


def _show(figure: plt.Figure, row: int, explanation: Explanation) -> None:
    """Draw a picture, and beside it which pixels speak for more (purple) and for less gas (orange)."""
    values = smoothed(explanation.values, 1.5)
    edge = abs(values).max()
    norm = AsinhNorm(edge / 20, vmin=-edge, vmax=edge)
    for left, image, style in (
        (0.22, explanation.pixels, {}),
        (0.36, values, {"cmap": "PuOr", "norm": norm}),
    ):
        axes = figure.add_axes((left, (3 - row) * HEIGHT + 0.01, 0.13, HEIGHT - 0.02))
        axes.imshow(image, **style)
        axes.set(xticks=[], yticks=[])


def _estimate(row: Table.Row) -> tuple[str, ...]:
    low, high = (f"{row[f'log_hi_fraction_{end}']:+.1f}" for end in ("p16", "p84"))
    flags = ", ".join(decode_flags(row["flags"])).lower().replace("_", " ") or "none"
    return f"{row['log_hi_fraction']:+.2f}", f"{low} to {high}", f"{row['p_detect']:.2f}", flags


def _write(axes: Axes, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Write a table whose rows are as high as the pictures."""
    axes.set_axis_off()
    table = axes.table([header, *rows], cellLoc="center", bbox=(0, 0, 1, 1))
    table.auto_set_font_size(False)
    table.set_fontsize(11)
    table.auto_set_column_width(range(len(header)))
    for (row, _), cell in table.get_celld().items():
        cell.set(edgecolor="white", linewidth=3, facecolor=INK if row == 0 else PAPER)
        cell.set_height(HEIGHT if row else 1 - len(rows) * HEIGHT)
        cell.get_text().set_color("white" if row == 0 else INK)


if __name__ == "__main__":
    main()
