"""The local store seen from outside: by SQLite alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hifrac.core.config import cache_dir


def shards(folder: Path | None = None) -> list[Path]:
    """The files of all stores."""
    return sorted((folder or cache_dir()).rglob("*.sqlite"))


def stored_pictures(folder: Path | None = None) -> dict[int, bytes]:
    """The pictures of all stores, by the keys of their positions."""
    pictures = {}
    for path in shards(folder):
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions'").fetchall():
                rows = connection.execute("SELECT position, data FROM positions WHERE data IS NOT NULL")
                pictures |= dict(rows.fetchall())
    return pictures


def change_picture(key: int, data: bytes | None) -> None:
    """Put other bytes, or none, in the place of a picture, as damage would; what is noted of it stays."""
    for path in shards():
        with closing(sqlite3.connect(path)) as connection:
            if data is None:
                connection.execute("UPDATE positions SET data = NULL WHERE position = ?", (key,))
            else:
                connection.execute("UPDATE positions SET data = ? WHERE position = ?", (data, key))
            connection.commit()


def attempts() -> list[tuple]:
    """The attempts of all stores: time, outcome, status, bytes and sha256."""
    rows = []
    for path in shards():
        with closing(sqlite3.connect(path)) as connection:
            rows += connection.execute("SELECT at, outcome, status, bytes, sha256 FROM attempts").fetchall()
    return sorted(rows)
