"""The local store of downloaded pictures, with a record of every attempt.

Layout below `hifrac.core.cache_dir`::

    cutouts/<survey>-<release>-<service>-<digest>/
        store.json          what is kept here
        0.sqlite ...        pictures, outcomes and attempts, spread over sixteen files

The digest is of the recipe, and of a layer where the service has several: so
recipes never mix, and a picture is found whatever mirror it came from. The
position is the one asked for, in whole microdegrees (`canonical_position`); where
each picture has a scale of its own, that is a part of the key, in whole 1e-5 arcsec (`picture_keys`). A
picture and what is known of it are one row of one table, so that what the
record says is there, is there, whenever the process dies.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hifrac.core.config import cache_dir
from hifrac.core.exceptions import BadImageError, OutOfFootprintError, RowError
from hifrac.core.files import whole_file, write_whole
from hifrac.cutouts._answers import Attempt
from hifrac.cutouts._database import Database
from hifrac.cutouts._old_store import OldStore
from hifrac.cutouts._positions import Key, name_of, position_key, position_of, scale_of
from hifrac.cutouts.recipe import CutoutRecipe

_FACTS = "store.json"
_SHARDS = 16
_GOLDEN = 0x9E3779B97F4A7C15  # Fibonacci's multiplicative hash: no survey is spread evenly on the sky

# Only a picture has a sha256: an outcome that was changed by damage is not believed. Of the table only the
# index is read where no picture is wanted. A key is a number, or a text where it has a scale as well.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (
    position {key} PRIMARY KEY, outcome INTEGER NOT NULL, at REAL NOT NULL, sha256 BLOB, data BLOB);
CREATE INDEX IF NOT EXISTS outcomes ON positions (position, outcome, sha256);
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY, position {key} NOT NULL, at REAL NOT NULL, request TEXT NOT NULL,
    outcome TEXT NOT NULL, status INTEGER, bytes INTEGER, sha256 BLOB, message TEXT);
"""
_OUTCOMES = """SELECT position, outcome FROM positions INDEXED BY outcomes
WHERE position IN (SELECT value FROM json_each(?)) AND (outcome = 1) = (sha256 IS NOT NULL)"""
_STORED = "FROM positions WHERE (data IS NOT NULL OR sha256 IS NOT NULL)"
_PICTURE = f"SELECT data, sha256 {_STORED} AND position = ?"
_ATTEMPT = "INSERT INTO attempts VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT = "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)"
# Another process may have had more luck meanwhile: its picture stays.
_NOTE = """INSERT INTO positions VALUES (?, ?, ?, NULL, NULL) ON CONFLICT (position) DO UPDATE SET
outcome = excluded.outcome, at = excluded.at WHERE data IS NULL"""


class BlankError(OutOfFootprintError):
    """A blank picture came, for which nothing but a fault of the moment may be the reason."""


class Outcome(enum.IntEnum):
    """What became of a position; the numbers stand in the store."""

    UNKNOWN = 0
    #: The picture is in the store.
    STORED = 1
    #: The survey has no image there: permanent.
    OUTSIDE = 2
    #: No answer, or a refusal: temporary.
    FAILED = 3
    #: Answers came, but no usable picture: taken as temporary.
    UNUSABLE = 4
    #: A blank picture came, once: temporary until another one comes later.
    BLANK = 5

    @classmethod
    def _missing_(cls, value: object) -> Outcome:  # noqa: ARG003
        return cls.UNKNOWN  # of a newer version, or damaged

    @classmethod
    def of(cls, error: RowError) -> Outcome:
        """Return what an error means for its position."""
        if isinstance(error, BlankError):
            return cls.BLANK
        if isinstance(error, OutOfFootprintError):
            return cls.OUTSIDE
        return cls.UNUSABLE if isinstance(error, BadImageError) else cls.FAILED


class StoreReport(NamedTuple):
    """What a check of a store found."""

    intact: int
    damaged: tuple[str, ...]  # positions whose picture does not decode, or is not the one that was noted
    leftovers: int  # files that were put aside because they were damaged


class PictureStore:
    """The stored pictures of one recipe, and of a layer that decides their pixels too.

    Thread-safe; processes may share it. Its ``folder`` is not made before there is something to keep.
    ``trouble`` is what last kept something from being written or removed: nothing here raises for this.
    """

    def __init__(self, recipe: CutoutRecipe, layer: str = "") -> None:
        self.recipe, self.layer = recipe, layer
        self._facts = json.dumps({"recipe": recipe.to_dict(), "layer": layer}, sort_keys=True, indent=1)
        name = "-".join(part for part in (recipe.survey, recipe.data_release, recipe.service) if part)
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower())
        root = cache_dir() / "cutouts"
        self.folder = root / f"{slug}-{hashlib.sha256(self._facts.encode()).hexdigest()[:12]}"
        self.trouble: Exception | None = None
        self._is_made = False
        schema = _SCHEMA.format(key="INTEGER" if recipe.scale_column is None else "TEXT")
        self._shards = [Database(self.folder / f"{number:x}.sqlite", schema) for number in range(_SHARDS)]
        self._old: list[OldStore] = []
        for manifest in root.glob(f"{slug}-*/manifest.sqlite"):
            with contextlib.suppress(ValueError):
                old = OldStore(manifest.parent)
                if (old.recipe_facts, old.layer) == (recipe.to_dict(), layer):
                    self._old.append(old)

    @classmethod
    def at(cls, folder: Path) -> PictureStore:
        """Return the store in a folder; a ValueError if it does not say what it holds, or something else."""
        try:
            facts = json.loads((folder / _FACTS).read_text())
            store = cls(CutoutRecipe.from_dict(facts["recipe"]), str(facts["layer"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"no store of cutouts: {folder}") from error
        if store.folder.name != folder.name:
            raise ValueError(f"no store of cutouts: {folder} is that of something else")
        return store

    def __enter__(self) -> PictureStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; the store can be used again."""
        for shard in self._shards:
            shard.close()

    def check(self) -> None:
        """Note as ``trouble`` if the store was removed while it was in use."""
        try:
            for shard in self._shards:
                shard.check()
        except OSError as error:
            self.trouble = error

    def plan(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the outcomes that are known of positions, as numbers of `Outcome`."""
        by_shard: list[list[Key]] = [[] for _ in range(_SHARDS)]
        for key in keys:
            by_shard[_shard_of(key)].append(key)
        outcomes: dict[Key, int] = {}
        for shard, group in zip(self._shards, by_shard, strict=True):
            if group:
                outcomes.update(shard.read(_OUTCOMES, (json.dumps(group),)))
        for old in self._old:
            plain = [key for key in keys if key not in outcomes and isinstance(key, int)]
            outcomes.update(old.plan(plain).items())
        return outcomes

    def get(self, key: Key) -> bytes | None:
        """Return the stored picture of a position; one that is not as it was noted is removed."""
        for data, digest in self._shards[_shard_of(key)].read(_PICTURE, (key,)):
            if _is_noted(data, digest):
                return data
            self._remove(key)
        for old in self._old:
            if (picture := old.get(position_key(key))) is None:
                continue
            data, digest = picture
            with contextlib.suppress(RowError):
                if not _is_noted(data, digest):
                    self.recipe.decode(data)
                self.put(key, data)
                return data
        return None

    def put(self, key: Key, data: bytes, attempts: Iterable[Attempt] = ()) -> None:
        """Keep a picture that `hifrac.images.decode` has accepted, and the attempts that led to it."""
        row = key, int(Outcome.STORED), time.time(), hashlib.sha256(data).digest(), data
        self._write(key, [*_attempts(key, attempts), (_PUT, row)])

    def record(self, key: Key, error: RowError, attempts: Iterable[Attempt]) -> None:
        """Note a position for which there is no picture."""
        row = key, int(Outcome.of(error)), time.time()
        self._write(key, [*_attempts(key, attempts), (_NOTE, row)])

    def counts(self) -> Counter[Outcome]:
        """Return how many positions had which outcome."""
        counts: Counter[Outcome] = Counter()
        for outcome, count in self._read("SELECT outcome, COUNT(*) FROM positions GROUP BY outcome"):
            counts[Outcome(outcome)] += count
        return counts

    def size(self) -> tuple[int, float | None]:
        """Return the bytes of all pictures, and the time (Unix) of the last attempt."""
        rows = list(self._read("SELECT TOTAL(LENGTH(data)), MAX(at) FROM positions"))
        return int(sum(total for total, _ in rows)), max((at for _, at in rows if at), default=None)

    def export(self, folder: Path) -> int:
        """Write all pictures as plain files with a table of their positions; return how many."""
        from astropy.table import Table

        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for key in self._positions():
            if (data := self.get(key)) is None:
                continue
            name = name_of(key)
            suffix = ".fits" if data.startswith(b"SIMPLE") else ".png" if data[1:4] == b"PNG" else ".jpg"
            write_whole(folder / f"{name}{suffix}", data)
            rows.append((name, *map(float, position_of(key)), *filter(None, [scale_of(key)])))
        names, units = ["name", "ra", "dec"], {"ra": "deg", "dec": "deg"}
        if self.recipe.scale_column is not None:
            names, units = [*names, "pixel_scale"], {**units, "pixel_scale": "arcsec"}
        table = Table(rows=rows, names=names, units=units, dtype=["U48", *[float] * (len(names) - 1)])
        with whole_file(folder / "positions.ecsv") as partial:
            table.write(partial)
        return len(rows)

    def verify(self, *, repair: bool = False, progress: Any = None) -> StoreReport:
        """Read, compare and decode every picture, and remove what is damaged if it is to be repaired.

        ``progress`` is called with 1 after each picture.
        """
        intact, damaged = 0, []
        for key in self._positions():
            for data, digest in self._shards[_shard_of(key)].read(_PICTURE, (key,)):
                try:
                    is_intact = _is_noted(data, digest) and self.recipe.decode(data) is not None
                except RowError:
                    is_intact = False
                intact += is_intact
                if not is_intact:
                    damaged.append(" ".join([*position_of(key), f"{scale_of(key) or ''}"]).rstrip())
                if repair and not is_intact:
                    self._remove(key)
            if progress is not None:
                progress(1)
        leftovers = list(self.folder.glob("*.damaged-*"))
        for path in leftovers if repair else ():
            path.unlink(missing_ok=True)
        return StoreReport(intact, tuple(damaged), len(leftovers))

    def _positions(self) -> Iterator[Key]:
        """Yield the key of each picture."""
        for (key,) in self._read(f"SELECT position {_STORED}"):
            yield key

    def _read(self, statement: str) -> Iterator[tuple[Any, ...]]:
        for shard in self._shards:
            yield from shard.read(statement)

    def _write(self, key: Key, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            self._make()
            self._shards[_shard_of(key)].write(statements)
        except (OSError, sqlite3.Error) as error:
            self.trouble = error

    def _make(self) -> None:
        """Make the folder, or mend what it says of itself; once, for it may be removed later."""
        if not self._is_made:
            path = self.folder / _FACTS
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != self._facts.encode():
                write_whole(path, self._facts)
            self._is_made = True

    def _remove(self, key: Key) -> None:
        self._write(key, [("DELETE FROM positions WHERE position = ?", (key,))])


def stores() -> tuple[list[PictureStore], list[Path]]:
    """Return the stores in `hifrac.core.cache_dir`, and the folders that do not say what they hold."""
    legible, illegible = [], []
    for folder in sorted({path.parent for path in (cache_dir() / "cutouts").glob("*/*.sqlite")}):
        try:
            legible.append(PictureStore.at(folder))
        except ValueError:
            illegible.append(folder)
    return legible, illegible


def _shard_of(key: Key) -> int:
    return ((position_key(key) * _GOLDEN & 0xFFFFFFFFFFFFFFFF) >> 60) % _SHARDS


def _is_noted(data: bytes | None, digest: bytes | None) -> bool:
    """Return whether a picture is the one that was noted."""
    return data is not None and digest == hashlib.sha256(data).digest()


def _attempts(key: Key, attempts: Iterable[Attempt]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the statements that note attempts."""
    statements: list[tuple[str, tuple[Any, ...]]] = []
    for attempt in attempts:
        error = attempt.error
        outcome = "answered" if error is None else Outcome.of(error).name.lower()
        message = None if error is None else str(error)[:500]
        values = outcome, attempt.status, attempt.size, attempt.sha256, message
        statements.append((_ATTEMPT, (key, attempt.when, attempt.request, *values)))
    return statements
