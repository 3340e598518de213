"""Every link within the built documentation leads somewhere: ``python docs/_ext/check_links.py HTML``.

Sphinx checks the references that it resolves itself; this reads what came out, so that links of templates, of
raw HTML and of the gallery are checked as well. Addresses on the network are those of ``tox -e links``.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Templates of the theme, and listings of the source, which name an object by the module it is in.
_APART = {"_static", "_modules"}


class Page(HTMLParser):
    """The links of a page, and the places in it that a link may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.places.add(value or "")


def dead_links(folder: Path) -> list[str]:
    """Links that lead nowhere, as "page: link"."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        if path.relative_to(folder.resolve()).parts[0] in _APART:
            continue
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                dead.append(f"{path.relative_to(folder.resolve())}: {link}")
    return dead


def main() -> int:
    folder = Path(sys.argv[1])
    if not (folder / "index.html").is_file():
        print(f"{folder} has no index.html: build the documentation first", file=sys.stderr)
        return 2
    dead = dead_links(folder)
    print(*dead, sep="\n", end="\n" if dead else "")
    print(f"{len(dead)} links of {folder} lead nowhere")
    return bool(dead)


if __name__ == "__main__":
    sys.exit(main())
