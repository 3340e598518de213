"""The local store of downloaded pictures, and its manifest.

Layout below `hifrac.config.cache_dir`::

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
import os
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from hifrac import images
from hifrac.config import cache_dir, conf
from hifrac.cutouts._http import Attempt
from hifrac.cutouts.recipe import CutoutRecipe
from hifrac.exceptions import BadImageError, OutOfFootprintError, RowError

__all__ = [
    "Outcome",
    "PictureStore",
    "StoreReport",
    "canonical_position",
    "position_keys",
    "position_of",
    "stores",
]

_PER_DEGREE = 1_000_000
_TURN, _POLE = 360 * _PER_DEGREE, 90 * _PER_DEGREE
_PARALLELS = 2 * _POLE + 1

_FACTS = "store.json"
_MANIFEST = "manifest.sqlite"
_VERSION = 1  # of the tables
_LOCK_SECONDS = 60.0  # how long one process waits for another one's transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cutouts (
    position INTEGER PRIMARY KEY, outcome INTEGER NOT NULL, bytes INTEGER, sha256 BLOB, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    position INTEGER NOT NULL, at REAL NOT NULL, request TEXT NOT NULL, outcome TEXT NOT NULL,
    status INTEGER, bytes INTEGER, sha256 BLOB, message TEXT);
"""
_PICTURES_SCHEMA = "CREATE TABLE IF NOT EXISTS pictures (position INTEGER PRIMARY KEY, data BLOB NOT NULL);"


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

    @classmethod
    def of(cls, error: RowError) -> Outcome:
        """What an error means for its position."""
        if isinstance(error, OutOfFootprintError):
            return cls.OUTSIDE
        return cls.UNUSABLE if isinstance(error, BadImageError) else cls.FAILED


_OUTCOMES = {int(outcome): outcome for outcome in Outcome}


def canonical_position(ra: float, dec: float) -> tuple[str, str]:
    """A position as it is asked for and stored: rounded to 1e-6 deg.

    That is 0.0036 arcsec at most, 1% of an SDSS pixel and well below the
    0.05 arcsec of its astrometry, so the picture is the same; and it is coarse
    enough that a position which went through a text file finds its picture.

    Parameters
    ----------
    ra, dec : float
        ICRS degrees, finite; ``ra`` may be any turn of the circle.

    Returns
    -------
    ra, dec : str
        With six decimals; ``ra`` from 0 to below 360, never minus zero.
    """
    return position_of(int(position_keys(np.array([ra]), np.array([dec]))[0]))


def position_keys(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Canonical positions as single integers, in the order of right ascension.

    Parameters
    ----------
    ra, dec : `~numpy.ndarray` of float, shape (n,)
        ICRS degrees, on the sphere.

    Returns
    -------
    keys : `~numpy.ndarray` of int64, shape (n,)
        (whole microdegrees of ``ra``) * 180,000,001 + (those of ``dec`` from the south pole).
    """
    ra_steps = np.rint(np.asarray(ra, dtype=np.float64) * _PER_DEGREE).astype(np.int64) % _TURN
    dec_steps = np.rint(np.asarray(dec, dtype=np.float64) * _PER_DEGREE).astype(np.int64) + _POLE
    return ra_steps * _PARALLELS + dec_steps


def position_of(key: int) -> tuple[str, str]:
    """The canonical position of a key; see `canonical_position`."""
    ra_steps, dec_steps = divmod(key, _PARALLELS)
    dec_steps -= _POLE
    sign, dec_steps = ("-", -dec_steps) if dec_steps < 0 else ("", dec_steps)
    return (
        f"{ra_steps // _PER_DEGREE}.{ra_steps % _PER_DEGREE:06d}",
        f"{sign}{dec_steps // _PER_DEGREE}.{dec_steps % _PER_DEGREE:06d}",
    )


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
            "address": _without_user(address),
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
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            written = json.loads((self.folder / _FACTS).read_text())
            CutoutRecipe.from_dict(written["recipe"])
            self._facts = {key: str(written[key]) for key in ("address", "suffix", "layout")} | {
                "recipe": written["recipe"]
            }
        if self._facts is not None:
            self.recipe = CutoutRecipe.from_dict(self._facts["recipe"])
            self._manifest = _Database(self.folder / _MANIFEST, _SCHEMA)
            if self._facts["layout"] == "file":
                self._pictures: _Folders | _SingleFile = _SingleFile(self.folder / "pictures.sqlite")
            else:
                self._pictures = _Folders(self.folder / "pictures", self._facts["suffix"])

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
        return self._pictures.path(key) if isinstance(self._pictures, _Folders) else None

    def plan(self, keys: Sequence[int]) -> dict[int, tuple[Outcome, bytes | None]]:
        """What is known of positions: outcome, and sha256 of the picture. Unknown ones are left out.

        A picture that the manifest has and the store has not is unknown, too.
        """
        rows = self._manifest.read(
            f"SELECT position, outcome, sha256 FROM cutouts WHERE position IN {_THESE}", (_listed(keys),)
        )
        stored = int(Outcome.STORED)
        known = {key: (_OUTCOMES[outcome], sha256) for key, outcome, sha256 in rows}
        claimed = [key for key, outcome, _ in rows if outcome == stored]
        for key in set(claimed) - self._pictures.present(claimed):
            del known[key]
        return known

    def get(self, key: int, sha256: bytes | None = None) -> tuple[bytes, np.ndarray | None] | None:
        """The stored picture of a position, and its pixels where they had to be decoded.

        Parameters
        ----------
        key : int
            See `position_keys`.
        sha256 : bytes, optional
            Of the picture, as `plan` gave it; a picture of which it is not
            known is decoded.

        Returns
        -------
        found : (bytes, `~numpy.ndarray` or None), or None
            None if there is none. One that is damaged is removed, and counts as none.
        """
        data = self._pictures.read(key)
        if data is None:
            return None
        if sha256 is not None:
            digest = hashlib.sha256(data).digest()
            if digest == sha256 or digest == self._digest(key):  # another process may have put a new one
                return data, None
        else:
            with contextlib.suppress(RowError):
                pixels = self._decode(data)
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
                self._decode(data)
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

    def _decode(self, data: bytes) -> np.ndarray:
        stretch = images.STRETCHES.get(self.recipe.survey)
        return images.decode(data, width=self.recipe.width, stretch=stretch)

    def _digest(self, key: int) -> bytes | None:
        rows = self._manifest.read("SELECT sha256 FROM cutouts WHERE position = ?", (key,))
        return rows[0][0] if rows else None

    def _make(self) -> None:
        path = self.folder / _FACTS
        if path.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(self._facts, indent=1).encode())

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


def stores() -> list[PictureStore]:
    """The stores below `hifrac.config.cache_dir`, by name."""
    found = []
    for facts in sorted((cache_dir() / "cutouts").glob(f"*/{_FACTS}")):
        with contextlib.suppress(ValueError):
            found.append(PictureStore.at(facts.parent))
    return found


def _attempt_outcome(attempt: Attempt) -> tuple[Any, ...]:
    """Outcome, status, bytes, sha256 and message of an attempt."""
    error, body = attempt.error, attempt.body
    if error is None:
        outcome = "answered"
    elif isinstance(error, RowError):
        outcome = Outcome.of(error).name.lower()
    else:
        outcome = "failed"
    digest = None if body is None else hashlib.sha256(body).digest()
    return outcome, attempt.status, None if body is None else len(body), digest, error and str(error)[:500]


# However many there are, a list of positions is one parameter of a statement.
_THESE = "(SELECT value FROM json_each(?))"


def _listed(keys: Iterable[int]) -> str:
    return json.dumps([int(key) for key in keys])


def _without_user(address: str) -> str:
    with contextlib.suppress(ValueError):
        parts = urlsplit(address)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return address


def _write(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it: no reader ever finds half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class _Folders:
    """Each picture in a file of its own, in 4,096 folders: 2,400 files in each of them for ten million."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._suffix = suffix

    def path(self, key: int) -> Path:
        return Path(self._name(key))

    def _name(self, key: int) -> str:
        return self._names([key])[0]

    def _names(self, keys: Sequence[int]) -> list[str]:
        """Of the files of positions; for a million at a time."""
        keys = np.asarray(keys, dtype=np.int64)
        # Spread by a multiplicative hash (Fibonacci's): surveys are not spread evenly on the sky.
        folder = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(52)
        ra, dec = np.divmod(keys, _PARALLELS)
        dec -= _POLE
        columns = (folder, *np.divmod(ra, _PER_DEGREE), dec < 0, *np.divmod(np.abs(dec), _PER_DEGREE))
        prefix, suffix = self._prefix, self._suffix
        return [
            f"{prefix}{folder:03x}{os.sep}{a}.{b:06d}{'-' if south else '+'}{c}.{d:06d}{suffix}"
            for folder, a, b, south, c, d in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def present(self, keys: Iterable[int]) -> set[int]:
        keys = list(keys)
        return {key for key, name in zip(keys, self._names(keys), strict=True) if os.path.exists(name)}

    def read(self, key: int) -> bytes | None:
        try:
            with open(self._name(key), "rb", buffering=0) as file:
                return file.read()
        except OSError:
            return None

    def write(self, key: int, data: bytes) -> None:
        _write(self.path(key), data)

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


class _SingleFile:
    """All pictures in one SQLite file, for systems with a limit on the number of files."""

    def __init__(self, path: Path) -> None:
        self._database = _Database(path, _PICTURES_SCHEMA)

    def present(self, keys: Iterable[int]) -> set[int]:
        statement = f"SELECT position FROM pictures WHERE position IN {_THESE}"
        return {key for (key,) in self._database.read(statement, (_listed(keys),))}

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


class _Database:
    """A SQLite file that threads and processes share, made when first written to.

    One that is damaged is put aside, and a new one begun: what it said can
    be had again, and a damaged note must not stop the work.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

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
