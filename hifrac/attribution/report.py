"""Folders of explanations: FITS maps, regions, figures, and a page that shows them from the file system."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hifrac.attribution.regions import contours, evidence_blobs, write_regions
from hifrac.attribution.results import Explanation, map_sums
from hifrac.core.files import new_file, write_whole
from hifrac.core.flags import decode_flags
from hifrac.visualization.page import (
    DEC,
    FLAGS,
    LINKS,
    NAME,
    PROBABILITY_COLUMNS,
    RA,
    ROW,
    PageColumn,
    PageRow,
    render_page,
)

#: Name of the page in the folder.
PAGE = "index.html"

# How a page refers to a file that was written with it; see the template of the page.
_OWN_FILE = re.compile(
    r'<a href="(maps/[\w+-]+\.fits|regions/[\w+-]+\.(?:reg|crtf))">(?:FITS|DS9|CRTF)</a>'
    r'|<img loading="lazy" src="(figures/[\w+-]+\.png)" alt="Picture of ',
    re.ASCII,
)

_INTRO = (
    "Each map is signed: blue speaks for a higher value, orange for a lower one. “Explained” is the output "
    "of the network; it is the offset and the sums for and against, but for what is “missing”. A click on a "
    "heading sorts."
)
_COLUMNS = (
    ROW,
    NAME,
    RA,
    DEC,
    PageColumn("estimate", "estimate", 2, "The estimate and its central 68% interval", ("p16", "p84")),
    *PROBABILITY_COLUMNS,
    PageColumn("explained", "explained", 3, "Output of the network, before its calibration"),
    PageColumn("offset", "offset", 3, "Output to which the map adds"),
    PageColumn("for", "sum for", 3, "Sum of the contributions for a higher value"),
    PageColumn("against", "sum against", 3, "Sum of the contributions for a lower value"),
    PageColumn("gap", "missing", 3, "What the map leaves unexplained"),
    FLAGS,
    LINKS,
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
        ``index.html``: the numbers of each galaxy with its figure below, or the reason why there is no map;
        sorted by a click on a heading, filtered by flag, with links to sky viewers. It needs no network and
        no server. ``maps/*.fits`` has the maps; ``regions/*.reg`` (DS9) and ``*.crtf`` (CASA) contours and
        blobs, for pictures with a WCS; ``figures/*.png`` the figures.

    Raises
    ------
    OSError
        If something cannot be written.
    ValueError
        If ``names`` are fewer than ``explanations``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hifrac import HIFractionEstimator, LocalCutouts
    >>> from hifrac.attribution import write_report
    >>> from hifrac.demo import PICTURES, sample_table
    >>> galaxies = sample_table()[:2]
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> with TemporaryDirectory() as folder:
    ...     page = write_report(estimator.explain(galaxies), folder, names=galaxies["name"], figures=False)
    ...     page.name, sorted(path.name for path in page.parent.glob("maps/*"))
    ('index.html', ['sim-01-elliptical.fits', 'sim-02-elliptical.fits'])
    """
    folder = Path(folder)
    parts = ("maps", "regions", *(["figures"] if figures else []))
    # In the same folder, for files are only moved within one file system.
    with _folders(folder, parts), tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
        staged = Path(name)
        for part in parts:
            (staged / part).mkdir()
        rows, about = _write_rows(explanations, staged, names, figures)
        page = staged / PAGE
        columns = [
            column
            for column in _COLUMNS
            if column not in PROBABILITY_COLUMNS or any(column.key in row.values for row in rows)
        ]
        write_whole(page, render_page(title, columns, rows, intro=[_INTRO], about=about))
        _remove_earlier(folder)
        for row in rows:
            for path in filter(None, (*row.files.values(), row.figure)):
                (staged / path).replace(folder / path)
        return page.replace(folder / PAGE)


@contextmanager
def _folders(folder: Path, parts: Iterable[str]) -> Iterator[None]:
    """Make a folder and those in it; after an error, those that are new and empty go away."""
    paths = [folder, *(folder / part for part in parts)]
    new = [path for path in paths if not path.exists()]
    try:
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in reversed(new):
            with suppress(OSError):
                path.rmdir()
        raise


def _write_rows(
    explanations: Iterable[Explanation],
    folder: Path,
    names: Iterable[Any] | None,
    figures: bool,
) -> tuple[list[PageRow], dict[str, Any]]:
    """Write the files of all rows; return the rows of the page, and how the maps were made."""
    remaining = None if names is None else iter(names)
    rows: list[PageRow] = []
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
        rows.append(_page_row(explanation, name, files))
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
        with new_file(folder / files["figure"], overwrite=True) as partial:
            explanation.plot().savefig(partial, dpi=90)
    return files


def _page_row(explanation: Explanation, name: str, files: dict[str, str]) -> PageRow:
    """Return the row of the page for an explanation."""
    values = {**map_sums(explanation), **explanation.answers, "ra": explanation.ra, "dec": explanation.dec}
    return PageRow(
        {**values, "row": explanation.row, "name": name},
        decode_flags(explanation.flags),
        str(explanation.error or ""),
        files.get("figure", ""),
        {label: path for label, path in files.items() if label != "figure"},
    )
