"""Folders of explanations: FITS maps, regions, figures, and a page that shows them from the file system."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hifrac.attribution.regions import contours, evidence_blobs, write_regions
from hifrac.attribution.results import Explanation, map_sums
from hifrac.core.flags import decode_flags

#: Name of the page in the folder.
PAGE = "index.html"

# How a page refers to a file that was written with it; see `_table_row`.
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
    ("for", "sum for", "number"),
    ("against", "sum against", "number"),
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
) -> Path:
    """Write maps, regions, figures and a page that shows them.

    Parameters
    ----------
    explanations : iterable of `~hifrac.attribution.Explanation`
        Rows of the page, taken one at a time; memory does not grow with their number, but for a line each.
    folder : path-like
        Folder to write, made if missing. When all rows are done, an earlier page in it and the files to which
        that page refers are replaced; other files stay. Until then, and after an error, nothing changes.
    names : iterable, optional
        Names of the rows, shown on the page and used in file names as far as these allow; row numbers by
        default.
    title : str, optional
        Title of the page.
    figures : bool, optional
        Whether pictures are drawn, which takes longer than all the rest.

    Returns
    -------
    page : `pathlib.Path`
        ``index.html``: one row per galaxy, with the reason where there is no map; sorted by a click on a
        heading. It needs no network and no server. ``maps/*.fits`` has the maps; ``regions/*.reg`` (DS9)
        and ``*.crtf`` (CASA) contours and blobs, for pictures with a WCS; ``figures/*.png`` the figures.

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
        rows, about = _write_rows(explanations, staged, names, figures)
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
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the files of all rows; return the rows of the page, and how the maps were made."""
    remaining = None if names is None else iter(names)
    rows: list[dict[str, Any]] = []
    stems: set[str] = set()
    about: dict[str, Any] = {}
    for explanation in explanations:
        row = explanation.row
        try:
            name = str(row if remaining is None else next(remaining))
        except StopIteration:
            raise ValueError(f"names must have one entry per row, but ended before row {row}") from None
        stem = _stem(name, row, stems)
        files = _write_files(explanation, folder, stem, figures) if explanation.served else {}
        reason = str(explanation.error or "")
        rows.append({"name": name, **_numbers(explanation), "files": files, "reason": reason})
        about = about or explanation.meta
    return rows, about


def _remove_earlier(folder: Path) -> None:
    """Remove an earlier page, and then the files that were written with it."""
    page = folder / PAGE
    if not page.is_file():
        return
    text = page.read_text(encoding="utf-8", errors="replace")
    page.unlink()  # first: no page refers to files that are gone
    for match in _OWN_FILE.finditer(text):
        (folder / (match[1] or match[2])).unlink(missing_ok=True)


def _stem(name: str, row: int, stems: set[str]) -> str:
    """Return a file name that is safe on every system, and not among ``stems``; add it to them."""
    stem = re.sub(r"[^a-zA-Z0-9_+-]", "_", name)[:80] or str(row)
    if stem.lower() in stems:  # of two galaxies of one name, or of names that differ in case
        stem = f"{stem}_row{row}"
    stems.add(stem.lower())
    return stem


def _write_files(explanation: Explanation, folder: Path, stem: str, figures: bool) -> dict[str, str]:
    """Write the files of a row; return their names, relative to the folder."""
    files = {"FITS": f"maps/{stem}.fits"}
    explanation.write(folder / files["FITS"], overwrite=True)
    if explanation.wcs is not None:
        image = explanation.map
        regions = contours(image)
        regions.extend(evidence_blobs(image)[1])
        for label, ending in (("DS9", "reg"), ("CRTF", "crtf")):
            files[label] = f"regions/{stem}.{ending}"
            write_regions(regions, folder / files[label], overwrite=True)
    if figures:
        files["figure"] = f"figures/{stem}.png"
        explanation.plot().savefig(folder / files["figure"], dpi=90)
    return files


def _numbers(explanation: Explanation) -> dict[str, Any]:
    """Return the numbers of a row that are finite, and its flags in words."""
    numbers = {**map_sums(explanation), **explanation.answers}
    finite = {name: float(value) for name, value in numbers.items() if np.isfinite(value)}
    return {**finite, "flags": ", ".join(decode_flags(explanation.flags))}


def _page(title: str, rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Return the page: a template, into which the rows go as HTML."""
    template = (resources.files("hifrac.attribution") / "report.html").read_text(encoding="utf-8")
    heads = "".join(
        f'<th scope="col" data-kind="{sort}"><button type="button">{html.escape(label)}</button></th>'
        for _, label, sort in _COLUMNS
    )
    origin = "; ".join(f"{key}: {value}" for key, value in about.items())
    return (
        template.replace("{{title}}", html.escape(title))
        .replace("{{about}}", html.escape(origin))
        .replace("{{heads}}", heads)
        .replace("{{rows}}", "\n".join(_table_row(row) for row in rows))
    )


def _table_row(row: dict[str, Any]) -> str:
    """Return one row of the page as HTML."""
    cells = []
    for key, _, sort in _COLUMNS:
        value = row.get(key)
        if sort == "text":
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
    content = html.escape(row["reason"])
    if "figure" in files:
        alt = html.escape(f"Picture of {row['name']} and its heat maps", quote=True)
        content = f'<img loading="lazy" src="{html.escape(files["figure"])}" alt="{alt}">'
    cells.append(f"<td>{content}<div>{links}</div></td>")
    return f"<tr>{''.join(cells)}</tr>"
