"""Survey services: what all of them share, from positions to verified pictures.

A service is a subclass that says what it can give, how it is asked, and what
its answers mean. The store, the manifest, repeats, limits and the order of
the rows are here, once.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import randrange
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np

from hifrac.core.config import conf
from hifrac.core.exceptions import (
    BadCoordinateError,
    BadImageError,
    FetchError,
    HifracWarning,
    OutOfFootprintError,
    RowError,
)
from hifrac.core.retry import REPEATED
from hifrac.cutouts._http import CONNECTIONS, Answer, Client, Errand, StoppedError, printable, shown
from hifrac.cutouts._positions import canonical_position, position_keys, position_of
from hifrac.cutouts._store import BlankError, Outcome, PictureStore
from hifrac.cutouts.base import Cutout
from hifrac.cutouts.recipe import CutoutRecipe

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

T = TypeVar("T")
Get = Callable[[str, dict[str, str], Callable[[Answer], T]], T]

# Rows planned at a time, and the memory that pictures may take while an earlier row is still waited for.
_PLANNED = 8192
_AHEAD_BYTES = 32 * 2**20
_AHEAD = 4096

# So many positions with one picture are warned of; so many pictures are remembered for that.
_SAME, _REMEMBERED = 20, 4096


class RemoteCutouts:
    """Pictures from a survey's service, through the local store: the base of all services.

    Parameters
    ----------
    recipe : `CutoutRecipe`, optional
        What is asked for; the service's default by default.
    base_url : str, optional
        Address of the service, of http or https, where it is not the configured one.
    store : bool, optional
        Whether verified pictures are kept in, and taken from, the local store
        below `hifrac.core.cache_dir`.
    offline : bool, optional
        Whether the network is never touched: a position that is not in the
        store is a `~hifrac.core.FetchError`. ``conf.offline`` by default.
    retry_permanent : bool, optional
        Whether positions are asked for again of which the service has said
        that it has no image there.

    Attributes
    ----------
    name_column : None
        Positions are enough.

    Raises
    ------
    TypeError
        If ``recipe`` is not a `CutoutRecipe`, or another argument is of a wrong type.
    ValueError
        If ``recipe`` is not one that the service can give, or ``base_url`` has another scheme than http and
        https, or no host.
    """

    title: ClassVar[str]
    default_recipe: ClassVar[CutoutRecipe]
    #: The item of ``hifrac.core.config.conf`` that has the address.
    url_item: ClassVar[str]
    name_column = None
    #: What decides the pixels beside recipe and position.
    _layer: str = ""

    def __init__(
        self,
        recipe: CutoutRecipe | None = None,
        *,
        base_url: str | None = None,
        store: bool = True,
        offline: bool | None = None,
        retry_permanent: bool = False,
    ) -> None:
        recipe = self.default_recipe if recipe is None else recipe
        if not isinstance(recipe, CutoutRecipe):
            raise TypeError(f"recipe must be a CutoutRecipe, got {type(recipe).__name__}")
        self._check(recipe)
        if base_url is not None and not isinstance(base_url, str):
            raise TypeError(f"base_url must be an address, got {base_url!r}")
        if base_url is not None:
            _check_address("base_url", base_url)
        for name, value in (("store", store), ("retry_permanent", retry_permanent)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be a bool, got {value!r}")
        if offline is not None and not isinstance(offline, bool):
            raise TypeError(f"offline must be a bool, got {offline!r}")
        self._recipe = recipe
        self._base_url = base_url
        self._keep = store
        self._offline = offline
        self._retry_permanent = retry_permanent
        self._warned = False

    # What a service says of itself.

    def _check(self, recipe: CutoutRecipe) -> None:
        """Raise a ValueError that begins with "recipe must" for one that the service cannot give."""
        raise NotImplementedError

    def _requests(self, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        """Addresses and parameters of the requests for a canonical position."""
        raise NotImplementedError

    def _obtain(self, get: Get, ra: str, dec: str) -> tuple[bytes, np.ndarray]:
        """The verified picture of a canonical position, as a file and decoded.

        ``get(url, params, accept)`` sends a request and returns what
        ``accept`` makes of the answer, see `hifrac.cutouts._http.Errand.get`.
        """
        ((url, params),) = self._requests(ra, dec)
        return get(url, params, self._accept)

    def _accept(self, answer: Answer) -> tuple[bytes, np.ndarray]:
        """The verified picture of an answer, as a file and decoded; a RowError otherwise."""
        if answer.status != 200:
            raise self._refusal(answer)
        return answer.body, self._decode(answer.body, answer)

    def _decode(self, data: bytes, answer: Answer) -> np.ndarray:
        """The pixels of a file that was made of an answer; a RowError otherwise."""
        try:
            return self._recipe.decode(data)
        except BadImageError as error:
            raise BadImageError(f"{error} ({answer.url})") from error
        except OutOfFootprintError as error:
            raise BlankError(f"{error} ({answer.url})") from error

    def _refusal(self, answer: Answer) -> RowError:
        """What an answer with another status than 200 means."""
        return FetchError(
            f"the service answered {answer.status} {answer.reason} ({answer.url})",
            url=answer.url,
            status=answer.status,
            retry_after=answer.retry_after,
        )

    # What every service does.

    @property
    def recipe(self) -> CutoutRecipe:
        """The recipe of the pictures."""
        return self._recipe

    @property
    def url(self) -> str:
        """Address of the service; a ValueError if it is the configured one, and cannot be asked."""
        if self._base_url is not None:
            return self._base_url
        address = getattr(conf, self.url_item)
        _check_address(f"conf.{self.url_item}", address)
        return address

    @property
    def offline(self) -> bool:
        """Whether the network is never touched."""
        return bool(conf.offline) if self._offline is None else self._offline

    def describe(self) -> str:
        """One line for the provenance of a result: service, data release, address."""
        return f"{self._name()} ({shown(self.url)})"

    def _name(self) -> str:
        return f"{self.title} {self.recipe.data_release}".strip()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._name()}>"

    def payload(
        self, ra: float | np.ndarray | SkyCoord, dec: float | np.ndarray | None = None
    ) -> list[tuple[str, dict[str, str]]]:
        """The requests that `fetch` would send for positions that are not stored; nothing is sent.

        Parameters
        ----------
        ra, dec : float or array-like of float
            ICRS positions in degrees. A `~astropy.coordinates.SkyCoord` may stand alone as ``ra``.

        Returns
        -------
        requests : list of (str, dict)
            Address and parameters of each; positions are rounded to 1e-6 deg.

        Raises
        ------
        TypeError
            If ``dec`` is missing and ``ra`` is not a SkyCoord.
        ~hifrac.core.BadCoordinateError
            If a position is not finite or not on the sphere.
        """
        if dec is None:
            if not hasattr(ra, "icrs"):
                raise TypeError("dec must be given unless ra is a SkyCoord")
            ra, dec = ra.icrs.ra.deg, ra.icrs.dec.deg
        ra, dec = np.broadcast_arrays(np.atleast_1d(ra), np.atleast_1d(dec))
        requests = []
        for one_ra, one_dec in zip(ra.ravel(), dec.ravel(), strict=True):
            if not _on_sphere(one_ra, one_dec):
                raise _bad_coordinate(one_ra, one_dec)
            requests += self._requests(*canonical_position(one_ra, one_dec))
        return requests

    def fetch(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        names: Sequence[Any] | None = None,  # noqa: ARG002 (of the protocol)
    ) -> Iterator[Cutout]:
        """Pictures of positions, one per position, in their order.

        Parameters
        ----------
        ra, dec : `~numpy.ndarray` of float, shape (n,)
            ICRS positions in degrees.
        names : sequence, optional
            Not used.

        Yields
        ------
        cutout : `Cutout`
            The verified picture, or as ``error`` what stopped this row:
            `~hifrac.core.FetchError` (with ``url``, ``status`` and ``retry_after``) if no
            picture could be obtained, `~hifrac.core.BadImageError` if something else
            came or a part of it, `~hifrac.core.OutOfFootprintError` if
            the survey did not image the position.

        Warns
        -----
        ~hifrac.core.HifracWarning
            Once, if pictures cannot be written to the store; they are given all the same.

        Notes
        -----
        Settings are read from ``conf`` when the first picture is asked for.
        Closing the iterator, or an exception such as KeyboardInterrupt, ends
        the requests that are going on; what was fetched is kept.
        """
        return self._fetch(*_same_length(ra, dec))

    def ensure(self, ra: np.ndarray, dec: np.ndarray) -> Generator[RowError | None]:
        """Fetch into the store what is not there yet, without reading what is.

        Parameters
        ----------
        ra, dec : `~numpy.ndarray` of float, shape (n,)
            ICRS positions in degrees.

        Yields
        ------
        error : `~hifrac.core.RowError` or None
            For each position in order: None if its picture is in the store,
            otherwise what stopped it, see `fetch`.

        Raises
        ------
        OSError
            If the store cannot be written to: without it nothing would be kept.
        ValueError
            If the source was made with ``store=False``.
        """
        if not self._keep:
            raise ValueError("store must not be False: pictures would be fetched for nothing")
        return self._ensure(*_same_length(ra, dec))

    def _fetch(self, ra: np.ndarray, dec: np.ndarray) -> Iterator[Cutout]:
        recipe = self.recipe
        with _Round(self, keep_pictures=True) as pass_:
            for key, outcome in pass_.run(ra, dec):
                if pass_.store is not None and pass_.store.trouble is not None and not self._warned:
                    self._warned = True
                    warnings.warn(
                        f"pictures cannot be kept in {pass_.store.folder}: {pass_.store.trouble}; "
                        "they will be fetched again",
                        HifracWarning,
                        stacklevel=2,
                    )
                pass_.warn()
                if isinstance(outcome, RowError):
                    yield Cutout(error=outcome)
                else:
                    ra_text, dec_text = position_of(key)
                    data, pixels = outcome
                    yield Cutout(
                        data, pixels=pixels, position=(float(ra_text), float(dec_text)), recipe=recipe
                    )

    def _ensure(self, ra: np.ndarray, dec: np.ndarray) -> Generator[RowError | None]:
        with _Round(self, keep_pictures=False) as pass_:
            for _, outcome in pass_.run(ra, dec):
                pass_.raise_trouble()
                pass_.warn()
                yield outcome if isinstance(outcome, RowError) else None
            if pass_.store is not None:
                pass_.store.check()
                pass_.raise_trouble()

    def _frozen(self) -> Self:
        """The source with the settings in force now, whatever becomes of ``conf``."""
        source = copy.copy(self)
        source._recipe, source._base_url, source._offline = self.recipe, self.url, self.offline
        return source

    def _store(self) -> PictureStore:
        return PictureStore(self.recipe, self._layer)


# What became of a position: what stopped it, or its picture as a file and decoded where that was asked for.
_Found = RowError | tuple[bytes | None, np.ndarray | None]
_NOTHING = None, None


class _Stored:
    """A row whose picture is in the store, and is read when its turn comes."""


@dataclass
class _Job:
    """A position that is being asked for; shared by the rows that have it.

    What failed for the moment, while others were served, is asked for once more at the end of the window.
    """

    key: int
    served: int  # how many pictures had come when it began
    is_last: bool = False
    future: Future[_Found] = field(default_factory=Future)


class _Round:
    """One pass over positions: what is known of them is looked up, the rest is asked for.

    Pictures come in the order of the positions while later ones are already
    being fetched; how many is bounded by their memory.
    """

    def __init__(self, source: RemoteCutouts, *, keep_pictures: bool) -> None:
        source = source._frozen()
        self._source = source
        self._keep_pictures = keep_pictures
        self.store = source._store() if source._keep else None
        self._offline = source.offline
        self._jobs: dict[int, _Job] = {}
        self._waiting: list[_Job] = []
        self._lock = Lock()
        self._client: Client | None = None
        self._served = 0
        self._pictures: Counter[int] = Counter()
        self.warning: str | None = None
        pixels = 3 * source.recipe.width**2
        # A file of floating-point planes is four times its pixels.
        self._ahead = max(CONNECTIONS, min(_AHEAD, _AHEAD_BYTES // (5 * pixels))) if keep_pictures else _AHEAD

    def __enter__(self) -> _Round:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._client is not None:
            self._client.__exit__(*exc_info)
        if self.store is not None:
            self.store.close()

    def raise_trouble(self) -> None:
        """Raise an OSError if something could not be kept."""
        if self.store is not None and (trouble := self.store.trouble) is not None:
            raise OSError(f"pictures cannot be kept in {self.store.folder}: {trouble}") from trouble

    def warn(self) -> None:
        """Warn of what the threads have noticed."""
        if self.warning is not None:
            message, self.warning = self.warning, None
            warnings.warn(message, HifracWarning, stacklevel=4)

    def run(self, ra: np.ndarray, dec: np.ndarray) -> Iterator[tuple[int, _Found]]:
        """Yield each position's key and what became of it, in their order."""
        window: deque[tuple[int, _Found | _Stored | _Job]] = deque()
        for key, entry in self._begin_all(ra, dec):
            if not window and not isinstance(entry, _Job | _Stored):  # the way of a million rows
                yield key, entry
                continue
            window.append((key, entry))
            while window and (len(window) > self._ahead or self._is_ready(window[0][1])):
                yield window[0][0], self._finish(window)
        while window:
            yield window[0][0], self._finish(window)

    def _begin_all(self, ra: np.ndarray, dec: np.ndarray) -> Iterator[tuple[int, _Found | _Stored | _Job]]:
        """The key of each position, and what is known of it or its job."""
        # Rows of one page of the manifest are read together: of a million, that is four at a time.
        part = max(_PLANNED, min(4 * _PLANNED, len(ra) // 16))
        begin, stored, brief = self._begin, int(Outcome.STORED), not self._keep_pictures
        for start in range(0, len(ra), part):
            part_ra, part_dec = ra[start : start + part], dec[start : start + part]
            good = _on_sphere(part_ra, part_dec)
            keys = position_keys(np.where(good, part_ra, 0.0), np.where(good, part_dec, 0.0))
            known = {} if self.store is None else self.store.plan(np.unique(keys[good]).tolist())
            for row, (key, is_good) in enumerate(zip(keys.tolist(), good.tolist(), strict=True)):
                if not is_good:
                    yield key, _bad_coordinate(part_ra[row], part_dec[row])
                elif brief and known.get(key) == stored:
                    yield key, _NOTHING
                else:
                    yield key, begin(key, known.get(key, 0))

    def _begin(self, key: int, outcome: int) -> _Found | _Stored | _Job:
        if outcome == Outcome.STORED:
            return _Stored() if self._keep_pictures else _NOTHING
        if outcome == Outcome.OUTSIDE and not self._source._retry_permanent:
            return OutOfFootprintError("the service said before that it has no image of this position")
        if self._offline:
            if self.store is not None and self.store.get(key) is not None:
                return _Stored() if self._keep_pictures else _NOTHING
            return FetchError("the picture is not in the local store, and offline mode is on")
        if key not in self._jobs:
            is_last = outcome in (Outcome.BLANK, Outcome.OUTSIDE)
            self._jobs[key] = _Job(key, self._served, is_last)
            self._ask(self._jobs[key])
        return self._jobs[key]

    def _ask(self, job: _Job) -> None:
        if self._client is None:
            # Fluxes of more bands than three, and headers, are longer than any picture.
            self._client = Client(most_bytes=2**20 + 32 * self._source.recipe.width**2).__enter__()
        self._waiting.append(job)
        self._client.submit(self._work)

    def _work(self) -> None:
        """Do one of the jobs: the first where its picture is waited for, otherwise any.

        Processes that fill one store from one list would ask for the same pictures at the same time.
        """
        with self._lock:
            job = self._waiting.pop(0 if self._keep_pictures else randrange(len(self._waiting)))
        try:
            job.future.set_result(self._fetch(job))
        except BaseException as error:
            job.future.set_exception(error)
            raise

    def _is_ready(self, entry: _Found | _Stored | _Job) -> bool:
        if not isinstance(entry, _Job):
            return True
        return entry.future.done() and not self._is_to_be_asked_again(entry)

    def _is_to_be_asked_again(self, job: _Job) -> bool:
        outcome = job.future.result()
        if job.is_last or isinstance(outcome, StoppedError):
            return False
        if isinstance(outcome, FetchError | BadImageError) and not _is_final(outcome):
            return self._served > job.served
        return isinstance(outcome, BlankError)

    def _count(self, data: bytes) -> None:
        """Count a picture that has come, and notice a service that gives all positions the same."""
        with self._lock:
            self._served += 1
            if len(self._pictures) > _REMEMBERED:
                self._pictures -= Counter(dict.fromkeys(self._pictures, 1))
            self._pictures[hash(data)] += 1
            if self._pictures[hash(data)] == _SAME:
                self.warning = (
                    f"{_SAME} positions got one and the same picture from {self._source.describe()}"
                )

    def _finish(self, window: deque[tuple[int, _Found | _Stored | _Job]]) -> _Found:
        """What became of the first row of the window."""
        key, entry = window[0]
        if isinstance(entry, _Stored):
            picture = None if self.store is None else self.store.get(key)
            if picture is not None:
                window.popleft()
                return picture
            # It was damaged, and is gone now.
            entry = self._begin(key, Outcome.UNKNOWN)
        if isinstance(entry, _Job):
            entry.future.result()
            if self._is_to_be_asked_again(entry):
                self._ask_again(window)
            outcome = entry.future.result()
            self._jobs.pop(key, None)
        else:
            outcome = cast("_Found", entry)  # what was stored has been read
        window.popleft()
        return outcome

    def _ask_again(self, window: deque[tuple[int, _Found | _Stored | _Job]]) -> None:
        for _, entry in window:
            if isinstance(entry, _Job) and entry.future.done() and self._is_to_be_asked_again(entry):
                entry.future, entry.is_last = Future(), True
                self._ask(entry)

    def _fetch(self, job: _Job) -> _Found:
        """One position, from the service; its failure is its own."""
        key, store, errand = job.key, self.store, Errand(cast("Client", self._client))
        try:
            if store is not None:
                # Another process may have put it there, or one that died before it could note it;
                # one that works on the same list may have done so while the turn was waited for.
                picture = store.get(key)
                if picture is None and errand.take_turn(self._source.url):
                    picture = store.get(key)
                if picture is not None:
                    return picture if self._keep_pictures else _NOTHING
            data, pixels = self._source._obtain(errand.get, *position_of(key))
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
                store.put(key, data, errand.attempts)
            return (data, pixels) if self._keep_pictures else _NOTHING
        # What a service says goes to terminals, too.
        failure.args = (printable(str(failure)),)
        if job.is_last and isinstance(failure, BlankError):
            failure = OutOfFootprintError(f"{failure}, twice")
        if store is not None:
            store.record(key, failure, errand.attempts)
        # Frames of a traceback hold the error in turn, and the answer that it was about.
        failure.__traceback__ = failure.__cause__ = failure.__context__ = None
        return failure


def _is_final(error: RowError) -> bool:
    """Whether an error is what the service has to say: another status than those that may pass."""
    return isinstance(error, FetchError) and error.status is not None and error.status not in REPEATED


def _check_address(name: str, address: str) -> None:
    """Refuse an address that no request can go to: else every row would fail of it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port  # a port that is no number is a ValueError
        is_good = bool(host) and parts.scheme in ("http", "https") and not re.search(r"\s", str(host))
    except ValueError:
        is_good = False
    # A name and password, and what is asked for, may be secrets.
    plain = printable(re.sub(r"[^/]*@|[?#].*", "", address))
    if not is_good:
        raise ValueError(f"{name} must be http:// or https:// and the name of a host, got {plain!r}")
    if "#" in address:
        raise ValueError(f"{name} must not have a fragment (#), after which no position is sent: {plain}")


def _on_sphere(ra: Any, dec: Any) -> Any:
    return np.isfinite(ra) & np.isfinite(dec) & (np.abs(ra) <= 360) & (np.abs(dec) <= 90)


def _bad_coordinate(ra: float, dec: float) -> BadCoordinateError:
    return BadCoordinateError(f"ra and dec must be finite and on the sphere, got {ra}, {dec}")


def _same_length(ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    if len(ra) != len(dec):
        raise ValueError(f"ra and dec must have the same length, got {len(ra)} and {len(dec)}")
    return ra, dec
