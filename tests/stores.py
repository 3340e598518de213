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
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pictures'").fetchall():
                pictures |= dict(connection.execute("SELECT position, data FROM pictures").fetchall())
    return pictures


def change_picture(key: int, data: bytes | None) -> None:
    """Put other bytes, or none, in the place of a picture, as damage would; what is noted of it stays."""
    for path in shards():
        with closing(sqlite3.connect(path)) as connection:
            if data is None:
                connection.execute("DELETE FROM pictures WHERE position = ?", (key,))
            else:
                connection.execute("UPDATE pictures SET data = ? WHERE position = ?", (data, key))
            connection.commit()
