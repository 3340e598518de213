"""The functions of the package that one picture passes through, from a position to pixels."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from getjpeg_server import serve
from pictures import encode, galaxy

import hifrac
from hifrac import SkyServerCutouts, conf

_PACKAGE = str(Path(hifrac.__file__).parent)


def walk(ra: float = 184.957, dec: float = 5.1215) -> dict[str, list[str]]:
    """Return the functions, by file, that are entered while one picture is fetched that is not stored."""
    entered: dict[str, set[str]] = defaultdict(set)

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_PACKAGE) and code.co_name != "<module>":
            entered[code.co_filename[len(_PACKAGE) + 1 :]].add(f"{code.co_firstlineno} {code.co_qualname}")

    with serve({(1.0, 2.0): encode(galaxy(1)), (ra, dec): encode(galaxy())}) as server:
        source = SkyServerCutouts(base_url=server.url)
        list(source.fetch(np.array([1.0]), np.array([2.0])))  # what is imported late is imported now
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            (cutout,) = source.fetch(np.array([ra]), np.array([dec]))
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        if cutout.pixels is None:
            raise click.ClickException(f"no picture came: {cutout.error}")
    return {file: sorted(names) for file, names in sorted(entered.items())}


@click.command()
@click.option("--names", is_flag=True, help="Print each function.")
@click.option("--cache-dir", required=True, type=click.Path(), help="An empty folder.")
def main(names: bool, cache_dir: str) -> None:
    """Print how many functions in how many files one picture passes through."""
    with conf.set_temp("cache_dir", cache_dir):
        files = walk()
    for file, functions in files.items():
        click.echo(f"{len(functions):>4} {file}")
        for name in functions if names else ():
            click.echo(f"       {name}")
    click.echo(f"{sum(map(len, files.values())):>4} functions in {len(files)} files")


if __name__ == "__main__":
    main()
