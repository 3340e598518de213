"""A folder of explanations: FITS maps, regions, figures, and a page that shows them from the file system."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hifrac.attribution.plotting import plot_explanation
from hifrac.attribution.regions import contours, evidence_blobs, write_regions
from hifrac.attribution.results import Explanation
from hifrac.core.flags import decode_flags

__all__ = ["PAGE", "write_report"]

#: Name of the page in the folder.
PAGE = "index.html"

#: How a page refers to a file that was written with it; see `_row`.
_OWN_FILE = re.compile(
    r'<a href="(maps/[\w+-]+\.fits|regions/[\w+-]+\.(?:reg|crtf))">(?:FITS|DS9|CRTF)</a>'
    r'|<img loading="lazy" src="(figures/[\w+-]+\.png)" alt="Picture of ',
    re.ASCII,
)

_COLUMNS = (
    ("name", "galaxy", "text"),
    ("estimate", "estimate", "number"),
    ("p_detect", "p(detection)", "number"),
    ("explained", "explained", "number"),
    ("offset", "offset", "number"),
    ("more", "sum for", "number"),
    ("less", "sum against", "number"),
    ("gap", "missing", "number"),
    ("flags", "flags", "text"),
)


def write_report(
    explanations: Iterable[Explanation],
    folder: str | Path,
    *,
    names: Iterable[Any] | None = None,
    title: str = "What the network sees",
    figures: bool = True,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write maps, regions, figures and a page.

    Parameters
    ----------
    explanations : iterable of `~hifrac.attribution.Explanation`
        Taken one at a time; memory does not grow with their number, but for a line each.
    folder : path-like
        Made if missing. When all rows are done, the files that an earlier page here refers to go, with the
        page, and the new ones take their place; other files stay. Until then, and after an error, all is as
        it was.
    names : iterable, optional
        What each row is called on the page, and in its files' names as far as a file can be called that; row
        numbers by default.
    title : str, optional
        Of the page.
    figures : bool, optional
        Whether pictures are drawn, which takes longer than all the rest.
    progress : callable, optional
        Called with 1 after each row.

    Returns
    -------
    page : `pathlib.Path`
        ``index.html``: one row a galaxy, those that could not be served with the reason; sorted by a click on
        a heading. It needs no network and no server. ``maps/*.fits`` has the maps; ``regions/*.reg`` (DS9)
        and ``*.crtf`` (CASA) contours and blobs, for pictures whose place is known; ``figures/*.png`` what
        the page shows.

    Raises
    ------
    ValueError
        If ``names`` are fewer than ``explanations``.
    """
    folder = Path(folder)
    parts = ("maps", "regions", *(["figures"] if figures else []))
    for part in parts:
        (folder / part).mkdir(parents=True, exist_ok=True)
    # In the same folder, for files are only moved within one file system.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
        staged = Path(name)
        for part in parts:
            (staged / part).mkdir()
        rows, about = _write_rows(explanations, staged, names, figures, progress)
        page = staged / PAGE
        page.write_text(_page(title, rows, about), encoding="utf-8")
        _remove_earlier(folder)
        for row in rows:
            for path in row["files"].values():
                (staged / path).replace(folder / path)
        return page.replace(folder / PAGE)


def _write_rows(
    explanations: Iterable[Explanation],
    folder: Path,
    names: Iterable[Any] | None,
    figures: bool,
    progress: Callable[[int], object] | None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the files of all rows; what the page says of each, and what was asked of the network."""
    called = None if names is None else iter(names)
    rows, taken = [], set()
    about: dict[str, Any] = {}
    for one in explanations:
        try:
            name = str(one.row if called is None else next(called))
        except StopIteration:
            raise ValueError(f"names must have one entry per row, but ended before row {one.row}") from None
        stem = _stem(name, one.row, taken)
        files = _files(one, folder, stem, figures) if one.served else {}
        rows.append({"name": name, **_numbers(one), "files": files, "why": str(one.error or "")})
        about = about or one.meta
        if progress is not None:
            progress(1)
    return rows, about


def _remove_earlier(folder: Path) -> None:
    """Remove an earlier page, and then the files that were written with it."""
    page = folder / PAGE
    if not page.is_file():
        return
    text = page.read_text(encoding="utf-8", errors="replace")
    page.unlink()  # first: no page refers to files that are gone
    for found in _OWN_FILE.finditer(text):
        (folder / (found[1] or found[2])).unlink(missing_ok=True)


def _stem(name: str, row: int, taken: set[str]) -> str:
    """A file name that is safe anywhere, and nobody else's."""
    kept = "".join(
        letter if (letter.isalnum() and letter.isascii()) or letter in "-_+" else "_" for letter in name
    )
    stem = kept[:80] or str(row)
    if stem.lower() in taken:  # of two galaxies of one name, or of names that differ in case
        stem = f"{stem}_row{row}"
    taken.add(stem.lower())
    return stem


def _files(one: Explanation, folder: Path, stem: str, figures: bool) -> dict[str, str]:
    """Write what belongs to a row; the names, relative to the folder."""
    files = {"FITS": f"maps/{stem}.fits"}
    one.write(folder / files["FITS"], overwrite=True)
    if one.wcs is not None:
        image = one.map
        regions = contours(image)
        regions.extend(evidence_blobs(image)[1])
        for label, ending in (("DS9", "reg"), ("CRTF", "crtf")):
            files[label] = f"regions/{stem}.{ending}"
            write_regions(regions, folder / files[label], overwrite=True)
    if figures:
        files["figure"] = f"figures/{stem}.png"
        plot_explanation(one).savefig(folder / files["figure"], dpi=90)
    return files


def _numbers(one: Explanation) -> dict[str, Any]:
    values = one.values.astype(float)
    sums = {"more": values[values > 0].sum(), "less": values[values < 0].sum()} if one.served else {}
    numbers = {"explained": one.prediction, "offset": one.offset, "gap": one.gap, **one.answers, **sums}
    finite = {key: float(value) for key, value in numbers.items() if np.isfinite(value)}
    return {**finite, "flags": ", ".join(decode_flags(one.flags))}


def _page(title: str, rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """The page: a template, into which the rows go as HTML."""
    template = (resources.files("hifrac.attribution") / "report.html").read_text(encoding="utf-8")
    heads = "".join(
        f'<th scope="col" data-kind="{kind}"><button type="button">{html.escape(label)}</button></th>'
        for _, label, kind in _COLUMNS
    )
    said = "; ".join(f"{key}: {value}" for key, value in about.items())
    return (
        template.replace("{{title}}", html.escape(title))
        .replace("{{about}}", html.escape(said))
        .replace("{{heads}}", heads)
        .replace("{{rows}}", "\n".join(_row(row) for row in rows))
    )


def _row(row: dict[str, Any]) -> str:
    cells = []
    for key, _, kind in _COLUMNS:
        value = row.get(key)
        if kind == "text":
            cells.append(f"<td>{html.escape(str(value))}</td>")
        elif value is None:
            cells.append('<td class="number"></td>')
        else:
            interval = ""
            if key == "estimate" and "p16" in row:
                interval = f"<br><small>{row['p16']:.2f} to {row['p84']:.2f}</small>"
            cells.append(f'<td class="number" data-value="{value!r}">{value:.3f}{interval}</td>')
    files = row["files"]
    links = " ".join(
        f'<a href="{html.escape(path)}">{label}</a>' for label, path in files.items() if label != "figure"
    )
    shown = ""
    if "figure" in files:
        alt = html.escape(f"Picture of {row['name']} and its heat maps", quote=True)
        shown = f'<img loading="lazy" src="{html.escape(files["figure"])}" alt="{alt}">'
    cells.append(f"<td>{shown or html.escape(row['why'])}<div>{links}</div></td>")
    return f"<tr>{''.join(cells)}</tr>"
