"""What objects look like at the end of a cell of a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any


def html_facts(title: str, facts: Mapping[str, Any]) -> str:
    """Return a small table of facts with a title, as HTML; everything in it is escaped."""
    return html_rows(title, (), facts.items())


def html_rows(title: str, heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a small table with a title, as HTML; the first cell of each row is its head, all is escaped."""
    head = "".join(f'<th scope="col">{_escaped(text)}</th>' for text in heads)
    lines = [f"<caption><strong>{_escaped(title)}</strong></caption>", f"<tr>{head}</tr>" if head else ""]
    for first, *cells in rows:
        text = "".join(f'<td style="text-align: left">{_escaped(cell)}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row" style="text-align: left">{_escaped(first)}</th>{text}</tr>')
    return f"<table>{''.join(lines)}</table>"


def _escaped(value: Any) -> str:
    return html.escape(str(value))
