"""SQLite files that threads and processes share; of a damaged one all is salvaged that can be read.

* A transaction is written as a whole or not at all, whenever a process dies.
* A damaged file is put aside, and a new one begun with what can be read of it: damage must not stop the work.
* A file that was removed while it was open is an error: what is written to it would be lost.
* One that may only be read is read.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hifrac.core.forks import tell_of_forks

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment] # what it lacks is looked at before it is used

_LOCK_SECONDS = 60.0  # how long one process waits for another one's transaction
_NOT_WRITABLE = sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM
_DAMAGED = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB
_OPENING = threading.Lock()

# WAL: readers and one writer at a time. No waiting for the disk: a killed process loses nothing; a computer
# that loses power may lose the last notes, not the file. The cache is in KiB: there are many of these files.
_SETTINGS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256;"

T = TypeVar("T")


class Database:
    """A SQLite file of tables with rowids, made when first written to. Thread-safe.

    SQLite's connections and locks must not be carried across a fork: they are closed before one.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path, self._schema = path, schema
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which one the connection was opened to
        tell_of_forks(self)

    def _before_fork(self) -> None:
        self._lock.acquire()
        self.close()

    def _after_fork(self, is_child: bool) -> None:  # noqa: ARG002
        self._lock.release()

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none where there is no file, or nothing legible in it."""
        with self._lock:
            if self._connection is None and not self._path.exists():
                return []
            with contextlib.suppress(sqlite3.DatabaseError):
                return self._mending(lambda connection: connection.execute(statement, values).fetchall())
            return []

    def write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Execute statements in one transaction.

        An OSError or a sqlite3.Error says what was in the way: a full disk, another process, or that the file
        was removed while it was open.
        """

        def execute(connection: sqlite3.Connection) -> None:
            with connection:  # commits, or takes all back
                connection.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    connection.execute(statement, values)

        with self._lock:
            self.check()
            self._mending(execute)

    def check(self) -> None:
        """Raise an OSError if the file was removed while it was open."""
        with self._lock:
            if self._connection is not None and (there := self._file_there()) != self._file:
                self.close()
                if there is None:
                    raise FileNotFoundError(f"it was removed while it was in use: {self._path}")

    def close(self) -> None:
        """Close the file; it is opened again when it is used."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _mending(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Return what an action on the file gives; once more if the file is damaged."""
        try:
            return action(self._open())
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGED:  # but locked, full, read-only, or the statement is wrong
                raise
        self._put_aside()
        return action(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            with _alone_in(self._path.parent):
                try:
                    self._connection = self._connect()
                finally:
                    self._file = self._file_there()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        try:
            return _opened(self._path, f"{_SETTINGS} BEGIN; {self._schema} COMMIT;")
        except sqlite3.OperationalError as error:
            if _code(error) not in _NOT_WRITABLE or not self._path.exists():
                raise
            # To be read all the same, without the files that the journal needs.
            address = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
            return _opened(address, "SELECT 1 FROM sqlite_master;")

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
                _salvage(aside, new)


def _opened(path: Path | str, script: str) -> sqlite3.Connection:
    """Open a file, and execute a script in it."""
    connection = sqlite3.connect(
        path, timeout=_LOCK_SECONDS, check_same_thread=False, isolation_level=None, uri=True
    )
    try:
        connection.executescript(script)
    except BaseException:
        connection.close()
        raise
    return connection


def _salvage(path: Path, new: sqlite3.Connection) -> None:
    """Copy what can be read of a damaged file: its tables from both ends, and what lies between by key."""
    tables = [name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    indices = new.execute("SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'").fetchall()
    keys: dict[str, set[int]] = {table: set() for table in tables}
    with contextlib.closing(sqlite3.connect(path)) as old, new:
        old.text_factory = lambda text: text.decode("utf-8", "replace")
        new.execute("BEGIN")
        for (table, index), order in itertools.product(indices, ("ASC", "DESC")):
            with contextlib.suppress(sqlite3.DatabaseError):
                for (key,) in old.execute(f"SELECT rowid FROM {table} INDEXED BY {index} ORDER BY 1 {order}"):
                    keys[table].add(key)
        for table, order in itertools.product(tables, ("ASC", "DESC")):
            with contextlib.suppress(sqlite3.DatabaseError):
                for row in old.execute(f"SELECT * FROM {table} ORDER BY 1 {order}"):
                    keys[table].discard(row[0])
                    _insert(new, table, row)
        for table in tables:
            for key in sorted(keys[table]):
                with contextlib.suppress(sqlite3.DatabaseError):
                    for row in old.execute(f"SELECT * FROM {table} WHERE rowid = ?", (key,)):
                        _insert(new, table, row)


def _insert(connection: sqlite3.Connection, table: str, row: tuple[Any, ...]) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)


def _code(error: sqlite3.Error) -> int:
    # The lowest byte is the kind; the others say more of it.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


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
