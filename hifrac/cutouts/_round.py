"""One pass over positions: what the store has is looked up, and the rest is asked for in a few threads."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import randrange
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from hifrac.core.exceptions import (
    BadImageError,
    FetchError,
    OutOfFootprintError,
    RowError,
    warn_caller,
)
from hifrac.cutouts._answers import printable
from hifrac.cutouts._http import CONNECTIONS, Client, CutoutRequests, StoppedError
from hifrac.cutouts._positions import Key, bad_row, on_sphere, picture_keys, position_of, scale_of
from hifrac.cutouts._scales import are_possible
from hifrac.cutouts._store import BlankError, Outcome

if TYPE_CHECKING:
    from hifrac.cutouts.remote import RemoteCutouts

# Rows planned at a time, and the memory that pictures may take while an earlier row is still waited for.
_PLANNED = 8192
_AHEAD_BYTES = 32 * 2**20
_AHEAD = 4096
_MIXED = 256  # so many rows are asked for in any order; no row is told of before those that it comes after

# So many positions with one picture are warned of; so many pictures are remembered for that.
_SAME, _REMEMBERED = 20, 4096

#: What became of a position: what stopped it, or its picture as a file, and decoded where that was done.
Result = RowError | tuple[bytes | None, np.ndarray | None]
_NOTHING = None, None


@dataclass
class _Job:
    """A position whose picture is read when its turn comes, or that is asked for, once for all its rows.

    What failed for the moment, while others were served, is asked for once more at the end of the window.
    """

    key: Key
    served: int  # how many pictures had come when it began
    is_stored: bool = False
    is_last: bool = False
    future: Future[Result] = field(default_factory=Future)


class Round:
    """One pass of a source over positions, in their order; a context manager.

    Later ones are being fetched while an earlier one is waited for; how many is bounded by their memory.
    """

    def __init__(self, source: RemoteCutouts, *, keep_pictures: bool) -> None:
        source = source._frozen()
        self._source = source
        self._keep_pictures = keep_pictures
        self.store = source._store() if source._keep else None
        self._offline = source.offline
        self._jobs: dict[Key, _Job] = {}
        self._waiting: list[_Job] = []
        self._lock = Lock()
        width = source.recipe.width
        # Fluxes of more bands than three, and headers, are longer than any picture.
        self._client = Client(most_bytes=2**20 + 32 * width**2)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="hifrac-fetch")
        self._served = 0
        self._pictures: Counter[int] = Counter()
        self._warning: str | None = None
        # A file of floating-point planes is four times its pixels.
        fitting = _AHEAD_BYTES // (15 * width**2)
        self._ahead = max(CONNECTIONS, min(_AHEAD, fitting)) if keep_pictures else _AHEAD

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._client.close()
        if self.store is not None:
            self.store.close()

    def raise_trouble(self) -> None:
        """Raise an OSError if something could not be kept."""
        if self.store is not None and (trouble := self.store.trouble) is not None:
            raise OSError(f"pictures cannot be kept in {self.store.folder}: {trouble}") from trouble

    def warn(self) -> None:
        """Warn of what the threads have noticed."""
        if self._warning is not None:
            message, self._warning = self._warning, None
            warn_caller(message)

    def run(
        self, ra: np.ndarray, dec: np.ndarray, scales: np.ndarray | None = None
    ) -> Iterator[tuple[Key, Result]]:
        """Yield each picture's key and what became of it, in their order."""
        window: deque[tuple[Key, Result | _Job]] = deque()
        for key, entry in self._begin_all(ra, dec, scales):
            if not window and not isinstance(entry, _Job):  # the way of a million rows
                yield key, entry
                continue
            window.append((key, entry))
            while window and (len(window) > self._ahead or self._is_ready(window[0][1])):
                yield window[0][0], self._finish(window)
        while window:
            yield window[0][0], self._finish(window)

    def _begin_all(
        self, ra: np.ndarray, dec: np.ndarray, scales: np.ndarray | None
    ) -> Iterator[tuple[Key, Result | _Job]]:
        """Yield the key of each picture, and what is known of it or its job."""
        # Rows of one page of the store are read together: of a million, that is four at a time.
        part = max(_PLANNED, min(4 * _PLANNED, len(ra) // 16))
        begin, stored, brief = self._begin, int(Outcome.STORED), not self._keep_pictures
        for start in range(0, len(ra), part):
            part_ra, part_dec = ra[start : start + part], dec[start : start + part]
            good = on_sphere(part_ra, part_dec)
            part_scales = None
            if scales is not None:
                good &= are_possible(scales[start : start + part])
                part_scales = np.where(good, scales[start : start + part], 1.0)
            keys = picture_keys(np.where(good, part_ra, 0.0), np.where(good, part_dec, 0.0), part_scales)
            outcomes = {} if self.store is None else self.store.plan(np.unique(keys[good]).tolist())
            for row, (key, is_good) in enumerate(zip(keys.tolist(), good.tolist(), strict=True)):
                if not is_good:
                    scale = None if scales is None else scales[start + row]
                    yield key, bad_row(part_ra[row], part_dec[row], self._source.recipe, scale)
                elif brief and outcomes.get(key) == stored:
                    yield key, _NOTHING
                else:
                    yield key, begin(key, outcomes.get(key, 0))

    def _begin(self, key: Key, outcome: int) -> Result | _Job:
        if outcome == Outcome.OUTSIDE and not self._source._retry_permanent:
            return OutOfFootprintError("the service said before that it has no image of this position")
        is_stored = outcome == Outcome.STORED
        if self._offline and not is_stored:
            if self.store is None or self.store.get(key) is None:
                return FetchError("the picture is not in the local store, and offline mode is on")
            is_stored = True
        if is_stored:
            return _Job(key, self._served, is_stored=True) if self._keep_pictures else _NOTHING
        if key not in self._jobs:
            is_last = outcome in (Outcome.BLANK, Outcome.OUTSIDE)
            self._jobs[key] = _Job(key, self._served, is_last=is_last)
            self._ask(self._jobs[key])
        return self._jobs[key]

    def _ask(self, job: _Job) -> None:
        self._waiting.append(job)
        self._threads.submit(self._work)

    def _work(self) -> None:
        """Do one of the jobs: the first where its picture is waited for, otherwise one of the first.

        Processes that fill one store from one list would ask for the same pictures at the same time.
        """
        with self._lock:
            any_of = 1 if self._keep_pictures else min(_MIXED, len(self._waiting))
            job = self._waiting.pop(randrange(any_of))
        try:
            job.future.set_result(self._fetch(job))
        except BaseException as error:
            job.future.set_exception(error)
            raise

    def _is_ready(self, entry: Result | _Job) -> bool:
        if not isinstance(entry, _Job) or entry.is_stored:
            return True
        return entry.future.done() and not self._is_to_be_asked_again(entry, entry.future.result())

    def _is_to_be_asked_again(self, job: _Job, result: Result) -> bool:
        if job.is_last or isinstance(result, StoppedError):
            return False
        if isinstance(result, FetchError | BadImageError):
            return self._served > job.served
        return isinstance(result, BlankError)

    def _finish(self, window: deque[tuple[Key, Result | _Job]]) -> Result:
        """Return what became of the first row of the window, and take it out."""
        key, entry = window[0]
        if isinstance(entry, _Job) and entry.is_stored:
            data = None if self.store is None else self.store.get(key)
            # One that was damaged is gone now.
            entry = self._begin(key, Outcome.UNKNOWN) if data is None else (data, None)
            window[0] = key, entry
        if isinstance(entry, _Job):
            entry.future.result()
            if not self._is_ready(entry):
                self._ask_again(window)
            result = entry.future.result()
            self._jobs.pop(key, None)
        else:
            result = entry
        window.popleft()
        return result

    def _ask_again(self, window: deque[tuple[Key, Result | _Job]]) -> None:
        for _, entry in window:
            if not isinstance(entry, _Job) or entry.is_stored or not entry.future.done():
                continue
            if not self._is_ready(entry):
                entry.future, entry.is_last = Future(), True
                self._ask(entry)

    def _fetch(self, job: _Job) -> Result:
        """Return what became of one position, from the service; its failure is its own."""
        key, store, requests = job.key, self.store, CutoutRequests(self._client)
        try:
            if store is not None:
                # Another process may have put it there, or one that died before it could note it;
                # one that works on the same list may have done so while the turn was waited for.
                data = store.get(key)
                if data is None and requests.take_turn(self._source.url):
                    data = store.get(key)
                if data is not None:
                    return (data, None) if self._keep_pictures else _NOTHING
            recipe = self._source.recipe.at(scale_of(key))
            data, pixels = self._source._obtain(requests.get, recipe, *position_of(key))
        except StoppedError as error:
            return error
        except RowError as error:
            failure = error
        except Exception as error:
            # An answer that nobody foresaw stops its own row, not a million others.
            failure = FetchError(f"the service's answer was not understood: {type(error).__name__}: {error}")
        else:
            self._count(data)
            if store is not None:
                store.put(key, data, requests.attempts)
            return (data, pixels) if self._keep_pictures else _NOTHING
        # What a service says goes to terminals, too.
        failure.args = (printable(str(failure)),)
        if job.is_last and isinstance(failure, BlankError):
            failure = OutOfFootprintError(f"{failure}, twice")
        if store is not None:
            store.record(key, failure, requests.attempts)
        # Frames of a traceback hold the error in turn, and the answer that it was about.
        failure.__traceback__ = failure.__cause__ = failure.__context__ = None
        return failure

    def _count(self, data: bytes) -> None:
        """Count a picture that has come, and notice a service that gives all positions the same."""
        with self._lock:
            self._served += 1
            if len(self._pictures) > _REMEMBERED:
                self._pictures -= Counter(dict.fromkeys(self._pictures, 1))
            self._pictures[hash(data)] += 1
            if self._pictures[hash(data)] == _SAME:
                self._warning = (
                    f"{_SAME} positions got one and the same picture from {self._source.describe()}"
                )
