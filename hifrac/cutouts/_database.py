"""SQLite files that threads and processes share; of a damaged one all is salvaged that can be read."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment] # what it lacks is looked at before it is used

_VERSION = 1  # of the tables
_LOCK_SECONDS = 60.0  # how long one process waits for another one's transaction
_NOT_WRITABLE = sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM
_OPENING = threading.Lock()

# However many there are, a list of positions is one parameter of a statement.
THESE = "(SELECT value FROM json_each(?))"


def listed(keys: Iterable[int]) -> str:
    """The parameter for `THESE`."""
    return json.dumps([*map(int, keys)])


class Database:
    """A SQLite file that threads and processes share, made when first written to.

    One that is damaged is put aside, and a new one begun with what can be read of it: damage must not stop
    the work. The tables of ``schema`` must have integer keys; ``mend`` is executed after.
    """

    def __init__(self, path: Path, schema: str, mend: str = "") -> None:
        self._path = path
        self._schema, self._mend = schema, mend
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which one the connection was opened to

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; none where there is no file, or nothing legible in it."""
        with self._lock:
            for _ in range(2):
                try:
                    if self._connection is None and not self._path.exists():
                        return []
                    return self._open().execute(statement, values).fetchall()
                except sqlite3.DatabaseError as error:
                    if not _tells_damage(error):
                        return []
                    self._put_aside()
            return []

    def write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Execute statements in one transaction.

        Raises
        ------
        OSError, sqlite3.Error
            What was in the way: a full disk, another process, or that the file was removed while it was open.
        """
        with self._lock:
            self.check()
            for turn in range(2):
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
                    return
                except sqlite3.DatabaseError as error:
                    if turn or not _tells_damage(error):  # locked, full, read-only
                        raise
                    self._put_aside()

    def check(self) -> None:
        """Raise an OSError if the file was removed while it was open: what is written to it would be lost."""
        with self._lock:
            if self._connection is not None and (there := self._file_there()) != self._file:
                self.close()
                if there is None:
                    raise FileNotFoundError(f"it was removed while it was in use: {self._path}")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            with _alone_in(self._path.parent):
                try:
                    self._connection = self._connect()
                finally:
                    self._file = self._file_there()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        options: dict[str, Any] = {
            "timeout": _LOCK_SECONDS,
            "check_same_thread": False,
            "isolation_level": None,
        }
        connection = sqlite3.connect(self._path, **options)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                # Readers and one writer at a time: the file remembers it.
                connection.execute("PRAGMA journal_mode = WAL")
                # The version is seen together with the tables, or neither is.
                connection.executescript(
                    f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version = {_VERSION}; COMMIT;"
                )
            # No waiting for the disk: a killed process loses nothing; a computer that loses
            # power may lose the last notes, not the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -256")  # KiB: there are many of these files
        except sqlite3.OperationalError as error:
            connection.close()
            if _code(error) not in _NOT_WRITABLE or not self._path.exists():
                raise
            # To be read all the same, without the files that the journal needs.
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, **options
            )
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _file_there(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _put_aside(self) -> None:
        self.close()
        with contextlib.suppress(OSError), _alone_in(self._path.parent):
            if self._file_there() != self._file:
                return  # another thread or process did it, and the file there now is a new one
            aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
            os.replace(self._path, aside)
            for end in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self._path}{end}", f"{aside}{end}")
            with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as new:
                _salvage(aside, new, self._mend)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _salvage(path: Path, new: sqlite3.Connection, mend: str) -> None:
    """Copy what can be read of a damaged file: its tables from both ends, and what lies between by key."""
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.text_factory = lambda text: text.decode("utf-8", "replace")
        keys: set[int] = set()
        damaged = []
        new.execute("BEGIN")
        for (table,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for order in ("ASC", "DESC"):
                try:
                    for row in old.execute(f"SELECT * FROM {table} ORDER BY 1 {order}"):
                        keys.add(row[0])
                        _insert(new, table, row)
                    break
                except sqlite3.DatabaseError:
                    damaged.append(table)
        for table, key in itertools.product(dict.fromkeys(damaged), sorted(keys)):
            with contextlib.suppress(sqlite3.DatabaseError):
                for row in old.execute(f"SELECT * FROM {table} WHERE rowid = ?", (key,)):
                    _insert(new, table, row)
        new.execute(mend)
        new.execute("COMMIT")


def _insert(connection: sqlite3.Connection, table: str, row: tuple[Any, ...]) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)


def _code(error: sqlite3.Error) -> int:
    # The lowest byte is the kind; the others say more of it.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _tells_damage(error: sqlite3.Error) -> bool:
    """Whether an error is about the file, and not about the moment."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let no other thread or process open a file of a folder, or put one aside.

    One that opened a file while another one made it, or moved it away, would find it
    without its tables, or together with the journal of the file before.
    """
    with _OPENING, contextlib.ExitStack() as stack:
        # Without such locks (not a POSIX system, some network file systems) SQLite's own must do.
        if fcntl is not None:
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)  # which gives the lock back
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
