"""The local store of downloaded pictures, and its manifest.

Layout below `hifrac.core.cache_dir`::

    cutouts/<survey>-<release>-<service>-<digest>/
        store.json          what is kept here
        manifest.sqlite     every attempt, and what became of each position
        pictures/<three hex digits>/<ra><dec>.jpg        or
        pictures.sqlite     with ``conf.store_layout = "file"``

The digest is of everything that decides the pixels apart from the position,
so that services, data releases and recipes never mix. The position is the one
asked for, in whole microdegrees (`canonical_position`). A picture is
written before it is noted, so that what the manifest says is there, is there,
whenever the process dies.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hifrac.core.config import cache_dir, conf
from hifrac.core.exceptions import BadImageError, OutOfFootprintError, RowError
from hifrac.cutouts._database import THESE, Database, listed
from hifrac.cutouts._http import Attempt, shown
from hifrac.cutouts._layouts import Folders, SingleFile, write_whole
from hifrac.cutouts._positions import position_keys, position_of
from hifrac.cutouts.recipe import CutoutRecipe

__all__ = ["Outcome", "PictureStore", "StoreReport", "stores"]

_FACTS = "store.json"
_MANIFEST = "manifest.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cutouts (
    position INTEGER PRIMARY KEY, outcome INTEGER NOT NULL, bytes INTEGER, sha256 BLOB, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    position INTEGER NOT NULL, at REAL NOT NULL, request TEXT NOT NULL, outcome TEXT NOT NULL,
    status INTEGER, bytes INTEGER, sha256 BLOB, message TEXT);
"""


class BlankError(OutOfFootprintError):
    """A blank picture came, for which nothing but a fault of the moment may be the reason."""


class Outcome(enum.IntEnum):
    """What became of a position; the numbers stand in the manifest."""

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


@dataclass(frozen=True)
class StoreReport:
    """What a check of a store found.

    Parameters
    ----------
    intact : int
        Pictures that decode and are the bytes that the manifest knows.
    damaged : tuple of str
        Positions whose picture is not.
    missing : int
        Pictures that the manifest has and the store has not.
    unrecorded : int
        Intact pictures that the manifest does not know.
    leftovers : int
        Temporary files of processes that died.
    """

    intact: int
    damaged: tuple[str, ...]
    missing: int
    unrecorded: int
    leftovers: int


class PictureStore:
    """The stored pictures of one service and recipe. Thread-safe; processes may share it.

    Parameters
    ----------
    address : str
        Address of the service, data release included.
    recipe : `~hifrac.cutouts.CutoutRecipe`
        What is asked of it.
    suffix : str, optional
        Of the files of pictures.

    Attributes
    ----------
    folder : `pathlib.Path`
        Where it is; not made before there is something to keep.
    trouble : Exception or None
        What last kept something from being written or removed: nothing here
        raises for this.
    """

    def __init__(self, address: str, recipe: CutoutRecipe, *, suffix: str = ".jpg") -> None:
        facts = json.dumps({"address": address, **recipe.to_dict()}, sort_keys=True)
        digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
        name = "-".join(part for part in (recipe.survey, recipe.data_release, recipe.service) if part)
        self.folder = cache_dir() / "cutouts" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{digest}"
        self._facts = {
            "address": shown(address),
            "recipe": recipe.to_dict(),
            "suffix": suffix,
            "layout": conf.store_layout,
        }
        self._prepare()

    @classmethod
    def at(cls, folder: Path) -> PictureStore:
        """The store in a folder.

        Raises
        ------
        ValueError
            If there is none.
        """
        store = cls.__new__(cls)
        store.folder = folder
        store._facts = None
        store._prepare()
        if store._facts is None:
            raise ValueError(f"no store of cutouts: {folder}")
        return store

    def _prepare(self) -> None:
        self.trouble: Exception | None = None
        self._described = False
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            written = json.loads((self.folder / _FACTS).read_text())
            CutoutRecipe.from_dict(written["recipe"])
            self._facts = {key: str(written[key]) for key in ("address", "suffix", "layout")} | {
                "recipe": written["recipe"]
            }
            self._described = True
        if self._facts is not None:
            self.recipe = CutoutRecipe.from_dict(self._facts["recipe"])
            self._manifest = Database(self.folder / _MANIFEST, _SCHEMA)
            if self._facts["layout"] == "file":
                self._pictures: Folders | SingleFile = SingleFile(self.folder / "pictures.sqlite")
            else:
                self._pictures = Folders(self.folder / "pictures", self._facts["suffix"])

    def __enter__(self) -> PictureStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; the store can be used again."""
        self._manifest.close()
        self._pictures.close()

    @property
    def facts(self) -> dict[str, Any]:
        """Address, recipe, suffix and layout."""
        return dict(self._facts)

    def path(self, ra: str, dec: str) -> Path | None:
        """Where the picture of a canonical position is, or would be; None in the layout ``"file"``."""
        key = int(position_keys(np.array([float(ra)]), np.array([float(dec)]))[0])
        return self._pictures.path(key) if isinstance(self._pictures, Folders) else None

    def is_whole(self) -> bool:
        """Whether there are as many pictures as the manifest knows: none was removed behind its back."""
        return self._pictures.holds(self.counts()[Outcome.STORED])

    def plan(self, keys: Sequence[int], *, look: bool = True) -> dict[int, int]:
        """The outcomes that are known of positions, as numbers of `Outcome`. Unknown positions are left out.

        A picture that the manifest has and the store has not is unknown, too;
        without ``look`` the manifest is believed, in a third of the time.
        """
        statement = f"SELECT position, outcome FROM cutouts WHERE position IN {THESE}"
        known = dict(self._manifest.read(statement, (listed(keys),)))
        if look:
            stored = int(Outcome.STORED)
            claimed = {key for key, outcome in known.items() if outcome == stored}
            for key in claimed - self._pictures.present(claimed):
                del known[key]
        return known

    def get(self, key: int) -> tuple[bytes, np.ndarray | None] | None:
        """The stored picture of a position, and its pixels where they had to be decoded.

        A picture that the manifest knows must have the noted sha256; any
        other is decoded, and noted.

        Returns
        -------
        found : (bytes, `~numpy.ndarray` or None), or None
            None if there is none. One that is damaged is removed, and counts as none.
        """
        data = self._pictures.read(key)
        if data is None:
            return None
        known = self._digest(key)
        if known is not None:
            # Once more where it differs: another process may just have put a new one.
            if hashlib.sha256(data).digest() in (known, self._digest(key)):
                return data, None
        else:
            with contextlib.suppress(RowError):
                pixels = self.recipe.decode(data)
                self._note(key, Outcome.STORED, (), data)
                return data, pixels
        self._remove(key)
        return None

    def put(self, key: int, data: bytes, attempts: Sequence[Attempt] = ()) -> None:
        """Keep a picture that `hifrac.images.decode` has accepted, and the attempts that led to it."""
        try:
            self._make()
            self._pictures.write(key, data)
        except (OSError, sqlite3.Error) as error:
            self.trouble = error
            return
        self._note(key, Outcome.STORED, attempts, data)

    def record(self, key: int, error: RowError, attempts: Sequence[Attempt]) -> None:
        """Note a position for which there is no picture."""
        try:
            self._make()
        except OSError as trouble:
            self.trouble = trouble
            return
        self._note(key, Outcome.of(error), attempts, None)

    def counts(self) -> Counter[Outcome]:
        """How many positions had which outcome."""
        rows = self._manifest.read("SELECT outcome, COUNT(*) FROM cutouts GROUP BY outcome")
        return Counter({Outcome(outcome): count for outcome, count in rows})

    def size(self) -> tuple[int, float | None]:
        """Bytes of all pictures, and the time (Unix) of the last attempt."""
        (found,) = self._manifest.read("SELECT TOTAL(bytes), MAX(at) FROM cutouts") or [(0, None)]
        return int(found[0]), found[1]

    def attempts(self) -> Iterator[tuple[Any, ...]]:
        """All attempts: (ra, dec, at, request, outcome, status, bytes, sha256, message)."""
        for key, *rest in self._manifest.read("SELECT * FROM attempts ORDER BY rowid"):
            yield *position_of(key), *rest

    def verify(self, *, repair: bool = False, progress: Any = None) -> StoreReport:
        """Read, compare and decode every picture.

        Parameters
        ----------
        repair : bool, optional
            Remove the damaged pictures and what dead processes left, and
            correct the manifest: the next round asks for what is missing.
        progress : callable, optional
            Called with 1 after each picture.
        """
        digests = dict(
            self._manifest.read(
                "SELECT position, sha256 FROM cutouts WHERE outcome = ?", (int(Outcome.STORED),)
            )
        )
        intact, unrecorded, damaged = 0, 0, []
        for key in self._pictures.keys():  # noqa: SIM118 (no mapping)
            data = self._pictures.read(key)
            known = digests.pop(key, None)
            if data is None:  # removed meanwhile
                continue
            try:
                self.recipe.decode(data)
                sound = known is None or hashlib.sha256(data).digest() in (known, self._digest(key))
            except RowError:
                sound = False
            if sound:
                intact += 1
                unrecorded += known is None
                if repair and known is None:
                    self._note(key, Outcome.STORED, (), data)
            else:
                damaged.append("{} {}".format(*position_of(key)))
                if repair:
                    self._remove(key)
            if progress is not None:
                progress(1)
        missing = digests.keys() - self._pictures.present(digests)
        if repair:
            for key in missing:
                self._forget(key)
        leftovers = self._pictures.leftovers(remove=repair)
        return StoreReport(intact, tuple(damaged), len(missing), unrecorded, leftovers)

    def _digest(self, key: int) -> bytes | None:
        rows = self._manifest.read("SELECT sha256 FROM cutouts WHERE position = ?", (key,))
        return rows[0][0] if rows else None

    def _make(self) -> None:
        if not self._described:  # or not legibly
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / _FACTS, json.dumps(self._facts, indent=1).encode())
            self._described = True

    def _note(self, key: int, outcome: Outcome, attempts: Iterable[Attempt], data: bytes | None) -> None:
        """One transaction: the state of a position and the attempts that led to it."""
        digest = None if data is None else hashlib.sha256(data).digest()
        size = None if data is None else len(data)
        statements: list[tuple[str, tuple[Any, ...]]] = [
            (
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, one.when, one.request, *_attempt_outcome(one)),
            )
            for one in attempts
        ]
        state = "INSERT INTO cutouts VALUES (?, ?, ?, ?, ?) ON CONFLICT (position) DO UPDATE SET "
        state += (
            "outcome = excluded.outcome, bytes = excluded.bytes, sha256 = excluded.sha256, at = excluded.at"
        )
        if outcome != Outcome.STORED:
            # Another process may have had more luck meanwhile: its picture stays known.
            state += f" WHERE outcome != {int(Outcome.STORED)}"
        statements.append((state, (key, int(outcome), size, digest, time.time())))
        trouble = self._manifest.write(statements)
        if trouble is not None:
            self.trouble = trouble

    def _forget(self, key: int) -> None:
        trouble = self._manifest.write([("DELETE FROM cutouts WHERE position = ?", (key,))])
        self.trouble = trouble or self.trouble

    def _remove(self, key: int) -> None:
        try:
            self._pictures.remove(key)
        except (OSError, sqlite3.Error) as error:
            self.trouble = error
        else:
            self._forget(key)


def stores() -> tuple[list[PictureStore], list[Path]]:
    """The stores below `hifrac.core.cache_dir`, and the folders that do not say what they hold."""
    found, illegible = [], []
    for manifest in sorted((cache_dir() / "cutouts").glob(f"*/{_MANIFEST}")):
        try:
            found.append(PictureStore.at(manifest.parent))
        except ValueError:
            illegible.append(manifest.parent)
    return found, illegible


def _attempt_outcome(attempt: Attempt) -> tuple[Any, ...]:
    """Outcome, status, bytes, sha256 and message of an attempt."""
    error = attempt.error
    outcome = "answered" if error is None else Outcome.of(error).name.lower()
    return outcome, attempt.status, attempt.size, attempt.sha256, error and str(error)[:500]
