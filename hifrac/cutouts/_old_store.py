"""Stores of the kind before this one, which are only read: a manifest, and pictures in files or in one."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from hifrac.cutouts._positions import position_of

# Pictures were spread over 4,096 folders by Fibonacci's multiplicative hash.
_GOLDEN = 0x9E3779B97F4A7C15
_SUFFIXES = ".jpg", ".fits"


class OldStore:
    """The pictures of one service and recipe in a folder of the old kind; a ValueError if it is none."""

    def __init__(self, folder: Path) -> None:
        try:
            facts = json.loads((folder / "store.json").read_text())
            self.recipe_facts: dict[str, Any] = facts["recipe"]
            self.layer: str = facts["address"].partition(" ")[2]
            self._suffix = facts["suffix"]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no store of cutouts: {folder}") from error
        if self._suffix not in _SUFFIXES:
            raise ValueError(f"{folder} has pictures {self._suffix!r}: no store of cutouts")
        self.folder = folder
        self._manifest = folder / "manifest.sqlite"
        self._pictures = folder / "pictures.sqlite"

    def plan(self, keys: list[int]) -> dict[int, int]:
        """Return the outcomes of positions whose picture is there, or of which another outcome is known."""
        rows = self._read(
            self._manifest,
            "SELECT position, outcome FROM cutouts WHERE position IN (SELECT value FROM json_each(?))",
            json.dumps(keys),
        )
        return {key: outcome for key, outcome in rows if outcome != 1 or self._has(key)}

    def get(self, key: int) -> tuple[bytes, bytes | None] | None:
        """Return a picture and the sha256 that was noted of it; None if there is none."""
        rows = self._read(self._pictures, "SELECT data FROM pictures WHERE position = ?", key)
        try:
            data = rows[0][0] if rows else Path(self._name(key)).read_bytes()
        except OSError:
            return None
        digests = self._read(self._manifest, "SELECT sha256 FROM cutouts WHERE position = ?", key)
        return data, digests[0][0] if digests else None

    def _has(self, key: int) -> bool:
        if self._pictures.exists():
            return bool(self._read(self._pictures, "SELECT 1 FROM pictures WHERE position = ?", key))
        return os.path.exists(self._name(key))

    def _name(self, key: int) -> str:
        ra, dec = position_of(key)
        folder = (key * _GOLDEN & 0xFFFFFFFFFFFFFFFF) >> 52
        return f"{self.folder}/pictures/{folder:03x}/{ra}{'' if dec[0] == '-' else '+'}{dec}{self._suffix}"

    def _read(self, path: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none where there is no file, or nothing legible in it."""
        if path.exists():
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
                return connection.execute(statement, values).fetchall()
        return []
