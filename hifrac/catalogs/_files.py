"""Where a catalogue's raw tables come from: a file that is here, else a service, kept for the next time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from astropy.table import Table

from hifrac.catalogs._registry import Catalog
from hifrac.catalogs.errors import (
    CatalogFormatError,
    CatalogMissingError,
    CatalogServiceError,
    CatalogWarning,
)
from hifrac.core.config import cache_dir, conf, data_dir
from hifrac.core.exceptions import warn_caller
from hifrac.core.files import file_sha256
from hifrac.core.tables import read_table, write_table


@dataclass
class Raw:
    """Raw tables and where they came from.

    Attributes
    ----------
    tables : list of `~astropy.table.Table`
        As the files or the service had them.
    origin : dict
        For ``meta``: files and their sha256, or service, address and date.
    published : bool
        True for the published files in their own place.
    places : list of path
        Where `keep` writes the tables; empty if they come from files.
    pieces : path, optional
        The folder of what was fetched piece by piece, which `keep` makes superfluous.
    """

    tables: list[Table]
    origin: dict[str, Any] = field(default_factory=dict)
    published: bool = False
    places: list[Path] = field(default_factory=list)
    pieces: Path | None = None

    def keep(self) -> None:
        """Write what was fetched, now that it proved to be the catalogue; warn if that cannot be done."""
        if not self.places:
            return
        try:
            self.places[0].parent.mkdir(parents=True, exist_ok=True)
            for table, path in zip(self.tables, self.places, strict=True):
                copy = table.copy()
                copy.meta = {"comments": [f"{key}: {value}" for key, value in self.origin.items()]}
                write_table(copy, path, overwrite=True)  # whole or not at all
        except (OSError, ValueError) as reason:
            for path in self.places:
                if path.is_file():
                    path.unlink()
            warn_caller(
                f"{self.places[0].name} could not be kept: {first_line(reason)}",
                CatalogWarning,
            )
        else:
            if self.pieces is not None:
                shutil.rmtree(self.pieces, ignore_errors=True)


def folder(root: Path | None = None) -> Path:
    """Return where catalogues are kept: ``catalogs`` in ``root``, the data directory, or the cache."""
    return (root or data_dir() or cache_dir()) / "catalogs"


def local_files(catalog: Catalog, root: Path | None = None) -> list[Path]:
    """Return the published files of a catalogue, if the data directory (or ``root``) has all, else none."""
    places = [folder(root)]
    root = root or data_dir()
    if root is not None:
        places += [root, root / "cutouts"]
    for place in places:
        paths = [place / name for name in catalog.files]
        if catalog.name == "nsa":  # one of its versions is enough
            paths = [path for path in paths if path.is_file()][:1]
        if paths and all(path.is_file() for path in paths):
            return paths
    return []


def kept_files(catalog: Catalog, root: Path | None = None) -> list[Path]:
    """Return the files of a catalogue that were fetched and kept."""
    return sorted(folder(root).glob(catalog.kept.format("*")))


def load(
    catalog: Catalog,
    path: str | Path | tuple | list | None,
    *,
    parts: int,
    fetch: Callable[[Path], list[Table]],
    read: Callable[[list[Path]], list[Table]] | None = None,
) -> Raw:
    """Return the raw tables of a catalogue.

    Parameters
    ----------
    catalog : Catalog
        Which one.
    path : path-like, or several, or None
        Files to read instead of those of the data directory; or another data directory.
    parts : int
        How many tables there must be.
    fetch : callable
        Asks the service; takes a folder for the pieces of an answer, which are there when it is called again.
    read : callable, optional
        Reads the published files, if that takes more than one `read_file` each.

    Returns
    -------
    raw : Raw
        Tables and origin.

    Raises
    ------
    CatalogMissingError
        If there is no file and none may be, or can be, fetched.
    CatalogFormatError
        If a file is damaged or no table.
    CatalogServiceError
        If the service fails; the message says where to put the file instead.
    """
    read = read or (lambda paths: [read_file(path) for path in paths])
    given = path if isinstance(path, tuple | list) else () if path is None else (path,)
    paths = [Path(file).expanduser() for file in given]
    root = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if paths and root is None:
        for file in paths:
            if not file.is_file():
                raise CatalogMissingError(f"path: no such file: {file}")
        return Raw(_checked(read(paths), parts, catalog, paths), _origin(paths))
    if paths := local_files(catalog, root):
        return Raw(_checked(read(paths), parts, catalog, paths), _origin(paths), published=True)
    copies = [
        folder(root) / catalog.kept.format(f"_{number + 1}" if parts > 1 else "") for number in range(parts)
    ]
    if catalog.service and all(copy.is_file() for copy in copies):
        tables = [read_file(copy) for copy in copies]
        return Raw(tables, {**_origin(copies), "comments": tables[0].meta.get("comments", [])})
    if conf.offline or not catalog.service:
        raise CatalogMissingError(_how_to_get(catalog, folder(root)))
    try:
        pieces = folder(root) / f"{catalog.name}_pieces"
        tables = _checked(fetch(pieces), parts, catalog, [])
    except CatalogServiceError as error:
        raise CatalogServiceError(
            f"{error}. Without the service: put {', '.join(catalog.files)} into {folder(root)}, or give its "
            f"path; when it is back, `{catalog.command}` fetches it",
            url=error.url,
            status=error.status,
            retry_after=error.retry_after,
        ) from error
    origin = {
        "service": catalog.service,
        "address": catalog.address,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Raw(tables, origin, places=copies, pieces=pieces)


def read_file(path: Path) -> Table:
    """Read a table from a file, complete or not at all."""
    try:
        return read_table(path)
    except ValueError as reason:
        raise CatalogFormatError(f"{path} is damaged, or no table: {first_line(reason)}") from reason


def _origin(paths: list[Path]) -> dict[str, Any]:
    # Of gigabytes a checksum would cost more than the reading.
    small = [path for path in paths if path.stat().st_size < 2**28]
    return {
        "files": [str(path) for path in paths],
        "sha256": {path.name: file_sha256(path) for path in small},
    }


def _checked(tables: list[Table], parts: int, catalog: Catalog, paths: list[Path]) -> list[Table]:
    if len(tables) != parts:
        raise CatalogFormatError(
            f"path: {catalog.name} is made of {parts} table(s), got {len(tables)} "
            f"({', '.join(path.name for path in paths)})"
        )
    return tables


def _how_to_get(catalog: Catalog, place: Path) -> str:
    names = " or ".join(catalog.files) if catalog.name == "nsa" else ", ".join(catalog.files)
    where = f"{catalog.name}: no file {names} in {place}"
    if not catalog.service:
        return f"{where}; download it from {catalog.address}, put it there, or give its path"
    return (
        f"{where}, and hifrac.conf.offline forbids asking {catalog.service} for {catalog.address}; "
        f"with a network, `{catalog.command}` fetches it"
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
