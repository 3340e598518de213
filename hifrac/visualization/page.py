"""The page that shows rows in a browser, from one file: sorted, filtered by flag, linked to sky viewers.

Everything that comes from a table is escaped by the template, and a policy in the page lets a browser
run no script but the one that belongs to it.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from hifrac.core.columns import RESULT_COLUMNS
from hifrac.core.flags import Flag
from hifrac.core.quantities import PROBABILITIES

if TYPE_CHECKING:
    from jinja2 import Template

_SKYSERVER = "https://skyserver.sdss.org/dr17/VisualTools/explore/summary"
_LEGACY = "https://www.legacysurvey.org/viewer"
_ALADIN = "https://aladin.cds.unistra.fr/AladinLite/"


@dataclass(frozen=True)
class PageColumn:
    """One column of a page.

    Attributes
    ----------
    key : str
        Where its value is in a row's ``values``; also its class in the style sheet.
    label : str
        Its heading.
    digits : int or None
        Digits after the point; None for text.
    summary : str
        What it means, shown when the pointer rests on the heading.
    interval : tuple of two str or None
        Where the ends of its interval are in ``values``.
    """

    key: str
    label: str
    digits: int | None = None
    summary: str = ""
    interval: tuple[str, str] | None = None

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.digits is not None

    @property
    def is_sorted(self) -> bool:
        """Whether a click on its heading sorts."""
        return self.key not in ("picture", "links")


ROW = PageColumn("row", "row", 0, "Number of the row of the table, from 0")
NAME = PageColumn("name", "galaxy")
PICTURE = PageColumn("picture", "picture")
RA = PageColumn("ra", "RA", 5, "ICRS right ascension, degrees")
DEC = PageColumn("dec", "Dec", 5, "ICRS declination, degrees")
FLAGS = PageColumn("flags", "flags", None, "Quality flags; what they say stands below the table")
LINKS = PageColumn("links", "on the sky")
PROBABILITY_COLUMNS = tuple(
    PageColumn(name, f"p({name[2:].replace('_', '-')})", 2, RESULT_COLUMNS[name].description)
    for name in PROBABILITIES
)


@dataclass(frozen=True)
class PageRow:
    """One galaxy of a page.

    Attributes
    ----------
    values : mapping
        Its numbers and texts, by the keys of the columns. Numbers that are not finite are not shown.
    flags : sequence of str
        Names of its flags.
    reason : str
        Why there is nothing to see.
    figure : str
        Address of a figure below the numbers.
    files : mapping of str to str
        Addresses of files by their labels.
    """

    values: Mapping[str, Any]
    flags: Sequence[str] = ()
    reason: str = ""
    figure: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the galaxy is called."""
        return str(self.values["name"])

    @property
    def links(self) -> dict[str, str]:
        """Addresses of its place in sky viewers; none without a place."""
        return sky_links(self.values.get("ra", np.nan), self.values.get("dec", np.nan))


def render_page(
    title: str,
    columns: Sequence[PageColumn],
    rows: Sequence[PageRow],
    *,
    intro: Iterable[str] = (),
    about: Mapping[str, Any] | None = None,
) -> str:
    """Return a page as HTML: one file that loads nothing from anywhere, but the figures of its rows.

    Parameters
    ----------
    title : str
        Its title.
    columns : sequence of `PageColumn`
        Its columns, from left to right; without those of positions if no row has one.
    rows : sequence of `PageRow`
        Its rows.
    intro : iterable of str, optional
        Paragraphs above the table.
    about : mapping, optional
        What made the page.

    Returns
    -------
    html : str
    """
    from markupsafe import Markup

    if not any(row.links for row in rows):
        columns = [column for column in columns if column not in (RA, DEC, LINKS)]
    style, script = (_text(f"page.{ending}") for ending in ("css", "js"))
    return _template().render(
        title=title,
        intro=list(intro),
        columns=columns,
        rows=(
            {**vars(row), "name": row.name, "links": row.links, "cells": _cells(row, columns)} for row in rows
        ),
        flags=_flag_counts(rows),
        about=about or {},
        # Of the package itself, and nothing of a table is in them.
        style=Markup(style),
        script=Markup(script),
        policy=(
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' data: file:; "
            f"style-src {_hash_source(style)}; script-src {_hash_source(script)}"
        ),
    )


def sky_links(ra: float, dec: float) -> dict[str, str]:
    """Return addresses that show a position, ICRS degrees, in sky viewers; none if it is not finite."""
    if not (np.isfinite(ra) and np.isfinite(dec)):
        return {}
    x, y = f"{float(ra):.6f}", f"{float(dec):.6f}"
    queries: dict[str, tuple[str, dict[str, Any]]] = {
        "SkyServer": (_SKYSERVER, {"ra": x, "dec": y}),
        "Legacy": (_LEGACY, {"ra": x, "dec": y, "layer": "ls-dr9", "zoom": 15, "mark": f"{x},{y}"}),
        "Aladin": (_ALADIN, {"target": f"{x} {y}", "fov": 0.05, "survey": "CDS/P/SDSS9/color"}),
    }
    return {label: f"{address}?{urlencode(query)}" for label, (address, query) in queries.items()}


def _flag_counts(rows: Sequence[PageRow]) -> list[dict[str, Any]]:
    """Return the flags that rows have, in the order of their bits, with their numbers of rows."""
    counts = Counter(name for row in rows for name in (row.flags or ("",)))
    unflagged = {"name": "", "count": counts[""], "summary": "Rows without any flag", "advice": ""}
    return [unflagged] * ("" in counts) + [
        {"name": flag.name, "count": counts[str(flag.name)], "summary": flag.summary, "advice": flag.advice}
        for flag in Flag
        if flag.name in counts
    ]


def _cells(row: PageRow, columns: Sequence[PageColumn]) -> list[dict[str, Any]]:
    """Return what stands in the cells of a row."""
    cells = []
    for column in columns:
        value = row.values.get(column.key, "")
        if not column.is_number:
            content = column.key if column.key in ("picture", "links", "flags") else "text"
            cells.append({"content": content, "text": str(value)})
            continue
        cell = {"content": "number", "text": "", "value": "", "note": ""}
        if value != "" and np.isfinite(value):
            cell["text"], cell["value"] = f"{value:z.{column.digits}f}", repr(float(value))
            ends = [row.values.get(name, np.nan) for name in column.interval or ()]
            if ends and np.isfinite(ends).all():
                cell["note"] = " to ".join(f"{end:z.{column.digits}f}" for end in ends)
        cells.append(cell)
    return cells


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text("page.html"))


@cache
def _text(name: str) -> str:
    return (resources.files("hifrac.visualization") / name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    """Return by which hash a policy allows a text of the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
