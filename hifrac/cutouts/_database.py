"""SQLite files that threads and processes share."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["THESE", "Database", "listed"]

_VERSION = 1  # of the tables
_LOCK_SECONDS = 60.0  # how long one process waits for another one's transaction

# However many there are, a list of positions is one parameter of a statement.
THESE = "(SELECT value FROM json_each(?))"


def listed(keys: Iterable[int]) -> str:
    """The parameter for `THESE`."""
    return json.dumps([*map(int, keys)])


class Database:
    """A SQLite file that threads and processes share, made when first written to.

    One that is damaged is put aside, and a new one begun: what it said can
    be had again, and a damaged note must not stop the work.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; none where there is no file, or nothing legible in it."""
        with self._lock:
            for _ in range(2):
                try:
                    if self._connection is None and not self._path.exists():
                        return []
                    return self._open().execute(statement, values).fetchall()
                except sqlite3.OperationalError:
                    if self._is_sound():
                        return []
                    self._put_aside()
                except sqlite3.DatabaseError:
                    self._put_aside()
            return []

    def write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> Exception | None:
        """Execute statements in one transaction; what was in the way, if anything was."""
        with self._lock:
            trouble: Exception | None = None
            for _ in range(2):
                try:
                    connection = self._open()
                    connection.execute("BEGIN IMMEDIATE")
                    try:
                        for statement, values in statements:
                            connection.execute(statement, values)
                        connection.execute("COMMIT")
                    except BaseException:
                        with contextlib.suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                        raise
                    return None
                except sqlite3.OperationalError as error:  # locked, full, read-only
                    return error
                except sqlite3.DatabaseError as error:
                    trouble = error
                    self._put_aside()
            return trouble

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        options = {"timeout": _LOCK_SECONDS, "check_same_thread": False, "isolation_level": None}
        connection = sqlite3.connect(self._path, **options)
        try:
            # Readers and one writer at a time, and no waiting for the disk: a killed process
            # loses nothing; a computer that loses power may lose the last notes, not the file.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                connection.executescript(f"{self._schema} PRAGMA user_version = {_VERSION};")
        except sqlite3.OperationalError:
            connection.close()
            if not self._path.exists():
                raise
            # Not writable: to be read all the same, without the files that the journal needs.
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, **options
            )
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _is_sound(self) -> bool:
        """Whether an operational error was about the moment, not about the file."""
        try:
            return self._open().execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] > 0
        except sqlite3.Error:
            return not os.access(self._path, os.R_OK)

    def _put_aside(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            os.replace(self._path, self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}"))
            for end in ("-wal", "-shm"):
                Path(f"{self._path}{end}").unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
