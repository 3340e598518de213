"""What ``hifrac predict`` writes to look at: a figure and a page of the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import click


@dataclass(frozen=True)
class Visuals:
    """The files that were asked for, each or None."""

    overview: Path | None
    html: Path | None

    def check(self, output: Path, *, overwrite: bool) -> None:
        """Raise before hours of work for what cannot be written after them, beside the table ``output``."""
        if self.overview is not None:
            from matplotlib.figure import Figure

            formats = Figure().canvas.get_supported_filetypes()
            if self.overview.suffix.lstrip(".").lower() not in formats:
                raise ValueError(f"--overview: {self.overview} must end in one of {', '.join(formats)}")
        for option, path in (("--overview", self.overview), ("--html", self.html)):
            if path is None:
                continue
            if path == output:
                raise ValueError(f"{option}: {path} is the table to write; give another name")
            if path.exists() and not overwrite:
                raise FileExistsError(f"{option}: {path} exists already; say --overwrite to replace it")
            if not path.parent.is_dir():
                raise FileNotFoundError(f"{option}: there is no folder {path.parent}")

    def write(self, result, cutouts, title: str) -> list[str]:
        """Write the files, and return what to say of them."""
        lines = []
        if self.overview is not None and not len(result):
            lines.append("no overview: there are no rows")
        elif self.overview is not None:
            from hifrac.core.files import new_file
            from hifrac.visualization import overview

            shown = result[: overview.MOST_ROWS]
            figure = overview.plot_overview(shown, cutouts, title=title)
            with new_file(self.overview, overwrite=True) as partial:
                figure.savefig(partial, dpi=110)
            lines.append(f"overview of {_share(len(shown), len(result))} written to {self.overview}")
        if self.html is not None:
            from hifrac.visualization import result_page

            result_page.write_result_page(result, cutouts, self.html, title=title)
            n_shown = min(len(result), result_page.MOST_ROWS)
            lines.append(f"page of {_share(n_shown, len(result))} written to {self.html}")
        return lines


def visual_options(command: Callable) -> Callable:
    """Add the options of what to look at; these become ``visuals``, a keyword."""

    @wraps(command)
    def wrapped(*args, overview, html, **options):
        if html is not None and html.suffix.lower() not in (".html", ".htm"):
            html = html.with_name(f"{html.name}.html")
        return command(*args, visuals=Visuals(overview, html), **options)

    path = click.Path(path_type=Path, dir_okay=False)
    decorated: Callable = wrapped
    decorated = click.option(
        "--html",
        type=path,
        help="Page to write: pictures, estimates and flags, to sort and filter in a browser (5,000 rows).",
    )(decorated)
    return click.option(
        "--overview",
        type=path,
        help="Figure to write: every picture with its estimate (500 rows); .png, .pdf, .svg ...",
    )(decorated)


def _share(n_shown: int, n_rows: int) -> str:
    return f"all {n_rows} rows" if n_shown == n_rows else f"the first {n_shown} of {n_rows} rows"
