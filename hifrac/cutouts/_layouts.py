"""How a store keeps its pictures: each in a file of its own, or all in one."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from hifrac.cutouts._database import THESE, Database, listed
from hifrac.cutouts._positions import PARALLELS, PER_DEGREE, POLE, position_keys, position_of

__all__ = ["Folders", "SingleFile", "write_whole"]

# Fibonacci's multiplicative hash spreads positions over the folders: no survey is spread evenly on the sky.
_GOLDEN = 0x9E3779B97F4A7C15

_SCHEMA = "CREATE TABLE IF NOT EXISTS pictures (position INTEGER PRIMARY KEY, data BLOB NOT NULL);"


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file beside its place and rename it: no reader ever finds half of it."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        try:
            _write(temporary, data)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            _write(temporary, data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write(name: str, data: bytes) -> None:
    with open(name, "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:  # a disk that fills up takes a part first
            rest = rest[file.write(rest) :]


class Folders:
    """Each picture in a file of its own, in 4,096 folders: 2,400 files in each of them for ten million."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._suffix = suffix

    def path(self, key: int) -> Path:
        return Path(self._name(key))

    def _name(self, key: int) -> str:
        """Of the file of one position, 30 times as fast as `_names`."""
        ra, dec = position_of(key)
        folder = (key * _GOLDEN & 0xFFFFFFFFFFFFFFFF) >> 52
        return f"{self._prefix}{folder:03x}{os.sep}{ra}{'' if dec[0] == '-' else '+'}{dec}{self._suffix}"

    def _names(self, keys: Sequence[int]) -> list[str]:
        """Of the files of positions; for a million at a time."""
        keys = np.asarray(keys, dtype=np.int64)
        folder = keys.astype(np.uint64) * np.uint64(_GOLDEN) >> np.uint64(52)
        ra, dec = np.divmod(keys, PARALLELS)
        dec -= POLE
        columns = (folder, *np.divmod(ra, PER_DEGREE), dec < 0, *np.divmod(np.abs(dec), PER_DEGREE))
        prefix, suffix = self._prefix, self._suffix
        return [
            f"{prefix}{folder:03x}{os.sep}{a}.{b:06d}{'-' if south else '+'}{c}.{d:06d}{suffix}"
            for folder, a, b, south, c, d in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def present(self, keys: Iterable[int]) -> set[int]:
        keys = list(keys)
        return {key for key, name in zip(keys, self._names(keys), strict=True) if os.path.exists(name)}

    def holds(self, count: int) -> bool:
        """Whether there are so many pictures or more."""
        for number in range(4096):
            with contextlib.suppress(OSError), os.scandir(f"{self._prefix}{number:03x}") as entries:
                count -= sum(not entry.name.startswith(".") for entry in entries)
            if count <= 0:
                return True
        return False

    def read(self, key: int) -> bytes | None:
        try:
            with open(self._name(key), "rb", buffering=0) as file:
                return file.read()
        except OSError:
            return None

    def write(self, key: int, data: bytes) -> None:
        write_whole(self._name(key), data)

    def remove(self, key: int) -> None:
        self.path(key).unlink(missing_ok=True)

    def keys(self) -> Iterator[int]:
        pattern = re.compile(rf"(\d+\.\d{{6}})([+-]\d+\.\d{{6}}){re.escape(self._suffix)}")
        for path in self._folder.glob("*/*"):
            if (match := pattern.fullmatch(path.name)) is not None:
                yield int(position_keys(np.array([float(match[1])]), np.array([float(match[2])]))[0])

    def leftovers(self, *, remove: bool) -> int:
        """Temporary files an hour old or more: those of living processes are younger."""
        count = 0
        for path in self._folder.glob("*/.*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 3600:
                    count += 1
                    if remove:
                        path.unlink()
        return count

    def close(self) -> None:
        pass


class SingleFile:
    """All pictures in one SQLite file, for systems with a limit on the number of files."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    def present(self, keys: Iterable[int]) -> set[int]:
        statement = f"SELECT position FROM pictures WHERE position IN {THESE}"
        return {key for (key,) in self._database.read(statement, (listed(keys),))}

    def holds(self, count: int) -> bool:
        # To count its rows takes longer than to look a million of them up; and nobody removes a part of it.
        return count == 0 or self._database.exists()

    def read(self, key: int) -> bytes | None:
        rows = self._database.read("SELECT data FROM pictures WHERE position = ?", (key,))
        return rows[0][0] if rows else None

    def write(self, key: int, data: bytes) -> None:
        error = self._database.write([("INSERT OR REPLACE INTO pictures VALUES (?, ?)", (key, data))])
        if error is not None:
            raise error

    def remove(self, key: int) -> None:
        error = self._database.write([("DELETE FROM pictures WHERE position = ?", (key,))])
        if error is not None:
            raise error

    def keys(self) -> Iterator[int]:
        for (key,) in self._database.read("SELECT position FROM pictures"):
            yield key

    def leftovers(self, *, remove: bool) -> int:  # noqa: ARG002
        return 0

    def close(self) -> None:
        self._database.close()
