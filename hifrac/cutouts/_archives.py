"""Collections of files: a folder, a zip and a tar, listed and read in one manner.

A collection gives a *place* for each file, small enough to keep a million of
them, and reads a place from any thread in any order.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from hifrac.core.exceptions import BadImageError

# How many times larger than the archive its pictures may be, and the bytes that any archive may unpack to.
_MAX_RATIO, _ALWAYS_ALLOWED = 50, 2**26

# Bytes of the target of a link, as on Linux.
_LONGEST_LINK = 4096

_UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class Collection(Protocol):
    """Files below one path. Damage of the whole is a ValueError, of one file a BadImageError.

    So is a file of more than ``most_bytes``, which is not read: an archive may hold what fills a memory or a
    disk.
    """

    def __init__(self, path: Path, most_bytes: int) -> None: ...

    def files(self) -> Iterator[tuple[str, Any]]:
        """Yield the name (with ``/``) and the place of each file."""
        ...

    def read(self, place: Any) -> bytes:
        """Return the content of a file."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class Folder:
    """The files directly in a folder; a place is a file name."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most_bytes = path, most_bytes

    def files(self) -> Iterator[tuple[str, str]]:
        with os.scandir(self._path) as entries:
            # Sorted: an error that names two files must not depend on the file system.
            yield from sorted((entry.name, entry.name) for entry in entries if _is_file(entry))

    def read(self, place: str) -> bytes:
        path = self._path / place
        _check_size(path.stat().st_size, self._most_bytes)
        return path.read_bytes()

    def close(self) -> None:
        pass


class ZipArchive:
    """The members of a zip archive; a place is a `zipfile.ZipInfo`."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ValueError(f"path is a damaged zip archive ({error}): {path}") from error

    def files(self) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        links = []
        places: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                if member.file_size <= _LONGEST_LINK:
                    with suppress(BadImageError):
                        links.append((member.filename, os.fsdecode(self.read(member))))
            elif not member.filename.endswith(("/", "\\")):
                places[member.filename] = member
                yield member.filename, member
        yield from _follow(links, places)

    def read(self, place: zipfile.ZipInfo) -> bytes:
        try:
            with self._zip.open(place) as file:
                data = file.read(self._most_bytes + 1)  # what the archive says of the size may be false
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise BadImageError(f"the archive is damaged there ({error})") from error
        except (NotImplementedError, RuntimeError) as error:  # exotic compression, encryption
            raise BadImageError(f"the archive cannot be read there ({error})") from error
        _check_size(len(data), self._most_bytes)
        return data

    def close(self) -> None:
        self._zip.close()


class TarArchive:
    """The members of a tar archive; a place is an offset and a size.

    Of a compressed one the files are copied into an unnamed temporary file, as long as that takes no more
    than pictures can.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._lock = threading.Lock()
        self._path, self._most_bytes = path, most_bytes
        unpack = _unpacker(path)
        self._file: IO[bytes] = path.open("rb") if unpack is None else tempfile.TemporaryFile()  # noqa: SIM115
        self._unpacked: list[tuple[str, tuple[int, int]]] | None = None
        if unpack is not None:
            try:
                with unpack(path, "rb") as packed:
                    most = max(_ALWAYS_ALLOWED, _MAX_RATIO * path.stat().st_size)
                    links: list[tuple[str, str]] = []
                    files = list(self._unpack(packed, most, links))
                    self._unpacked = [*files, *_follow(links, dict(files))]
            except BaseException:
                self._file.close()
                raise

    def files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        if self._unpacked is not None:
            yield from self._unpacked
            return
        links: list[tuple[str, str]] = []
        yield from self._plain_files(links)
        if links:  # a second time, for a million names are remembered only where links want them
            yield from _follow(links, dict(self._plain_files([])))

    def _plain_files(self, links: list[tuple[str, str]]) -> Iterator[tuple[str, tuple[int, int]]]:
        self._file.seek(0)
        with _naming_damage(self._path), tarfile.open(fileobj=self._file, mode="r:") as archive:
            for member in _members(archive, links):
                yield member.name, (member.offset_data, member.size)

    def _unpack(
        self, packed: IO[bytes], most_bytes: int, links: list[tuple[str, str]]
    ) -> Iterator[tuple[str, tuple[int, int]]]:
        """Copy the files of a compressed archive; what is too large, or would make all so, is left out."""
        place = 0
        with _naming_damage(self._path), tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in _members(archive, links):
                content = archive.extractfile(member)
                if content is None or member.size > min(self._most_bytes, most_bytes - place):
                    yield member.name, (place, self._most_bytes + 1)
                    continue
                shutil.copyfileobj(content, self._file, 2**20)
                yield member.name, (place, member.size)
                place += member.size
            while packed.read(2**20):  # to the end, where a checksum is
                pass

    def read(self, place: tuple[int, int]) -> bytes:
        offset, size = place
        _check_size(size, self._most_bytes)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) != size:
            raise BadImageError(f"the archive is cut off there ({len(data)} bytes of {size})")
        return data

    def close(self) -> None:
        self._file.close()


def _members(archive: tarfile.TarFile, links: list[tuple[str, str]]) -> Iterator[tarfile.TarInfo]:
    """Yield the plain files of an archive, and add its links, each with its target, to a list."""
    while (member := archive.next()) is not None:
        if member.issym():
            links.append((member.name, member.linkname))
        elif member.islnk():  # named from the top of the archive
            links.append((member.name, f"/{member.linkname}"))
        elif member.isreg() and not member.issparse():
            yield member
        archive.members.clear()  # type: ignore[attr-defined] # tarfile keeps a kilobyte of each otherwise


@contextlib.contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"path is a damaged tar archive ({error}): {path}") from error


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise BadImageError(f"the file has more than the {most_bytes} bytes that a picture can have")


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _follow(links: list[tuple[str, str]], places: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the links that lead to files of the archive, with the places of these."""
    places = {posixpath.normpath(name): place for name, place in places.items()}
    targets = {}
    for name, target in links:
        path = target[1:] if target.startswith("/") else posixpath.join(posixpath.dirname(name), target)
        targets[posixpath.normpath(name)] = posixpath.normpath(path)
    for name, _ in links:
        path, seen = posixpath.normpath(name), set()
        while path in targets and path not in seen:
            seen.add(path)
            path = targets[path]
        if path in places:
            yield name, places[path]


def is_tar(path: Path) -> bool:
    """Return whether a file begins as a tar archive does, compressed or not."""
    try:
        unpack = _unpacker(path) or open
        with unpack(path, "rb") as file:
            tarfile.TarInfo.frombuf(file.read(512), "utf-8", "surrogateescape")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.HeaderError):
        return False
    return True


def _unpacker(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(6)
    return next((unpack for magic, unpack in _UNPACKERS.items() if start.startswith(magic)), None)
