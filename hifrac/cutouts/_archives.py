"""Collections of files: a folder, a zip and a tar, listed and read in one manner.

A collection gives a *place* for each file, small enough to keep a million of
them, and reads a place from any thread in any order.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from hifrac.core.exceptions import BadImageError

__all__ = ["Collection", "Folder", "TarArchive", "ZipArchive", "is_tar"]

_UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class Collection(Protocol):
    """Files below one path. Damage of the whole is a ValueError, of one file a BadImageError."""

    def __init__(self, path: Path) -> None: ...

    def files(self) -> Iterator[tuple[str, Any]]:
        """Name (with ``/``) and place of each file."""
        ...

    def read(self, place: Any) -> bytes:
        """Content of a file."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class Folder:
    """The files directly in a folder; a place is a file name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> Iterator[tuple[str, str]]:
        with os.scandir(self._path) as entries:
            # Sorted: an error that names two files must not depend on the file system.
            yield from sorted((entry.name, entry.name) for entry in entries if entry.is_file())

    def read(self, place: str) -> bytes:
        return (self._path / place).read_bytes()

    def close(self) -> None:
        pass


class ZipArchive:
    """The members of a zip archive; a place is a `zipfile.ZipInfo`."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ValueError(f"path is a damaged zip archive ({error}): {path}") from error

    def files(self) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        for member in self._zip.infolist():
            if not member.is_dir():
                yield member.filename, member

    def read(self, place: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(place)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise BadImageError(f"the archive is damaged there ({error})") from error
        except (NotImplementedError, RuntimeError) as error:  # exotic compression, encryption
            raise BadImageError(f"the archive cannot be read there ({error})") from error

    def close(self) -> None:
        self._zip.close()


class TarArchive:
    """The members of a tar archive; a place is an offset and a size."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._path = path
        unpack = _unpacker(path)
        self._file: IO[bytes]
        if unpack is None:
            self._file = path.open("rb")
            return
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        try:
            with unpack(path, "rb") as packed:
                shutil.copyfileobj(packed, self._file, 2**20)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            self._file.close()
            raise ValueError(f"path is a damaged tar archive ({error}): {path}") from error

    def files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        self._file.seek(0)
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    if member.isreg() and not member.issparse():
                        yield member.name, (member.offset_data, member.size)
                    archive.members.clear()  # tarfile keeps a kilobyte of each otherwise
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f"path is a damaged tar archive ({error}): {self._path}") from error

    def read(self, place: tuple[int, int]) -> bytes:
        offset, size = place
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) != size:
            raise BadImageError(f"the archive is cut off there ({len(data)} bytes of {size})")
        return data

    def close(self) -> None:
        self._file.close()


def is_tar(path: Path) -> bool:
    """Whether a file begins as a tar archive does, compressed or not."""
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
