"""Survey services: what all of them share, from positions to verified pictures.

A service is a subclass that says what it can give, how it is asked, and what
its answers mean. The store, the manifest, repeats, limits and the order of
the rows are here, once.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np

from hifrac.core.config import conf
from hifrac.core.exceptions import BadImageError, OutOfFootprintError, RowError, warn_caller
from hifrac.cutouts._answers import Answer, printable, refused, shown
from hifrac.cutouts._positions import bad_row, canonical_position, on_sphere, position_of, scale_of
from hifrac.cutouts._scales import are_possible, checked_scales
from hifrac.cutouts._store import BlankError, PictureStore
from hifrac.cutouts.base import Cutout
from hifrac.cutouts.recipe import CutoutRecipe

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

T = TypeVar("T")
Get = Callable[[str, dict[str, str], Callable[[Answer], T]], T]


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

    Examples
    --------
    >>> from hifrac import SkyServerCutouts
    >>> from hifrac.cutouts import RemoteCutouts
    >>> isinstance(SkyServerCutouts(offline=True), RemoteCutouts)
    True
    """

    title: ClassVar[str]
    default_recipe: ClassVar[CutoutRecipe]
    #: The item of ``hifrac.core.config.conf`` that has the address.
    url_item: ClassVar[str]
    name_column = None
    #: Whether it has recipes of more than three bands, whose pixels are fluxes.
    gives_fluxes: ClassVar[bool] = False
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
        if not (recipe.is_picture or self.gives_fluxes):
            raise ValueError(f"recipe must have three bands, got {', '.join(recipe.bands)}")
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

    def _requests(self, recipe: CutoutRecipe, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        """Return addresses and parameters of the requests for the picture of a canonical position.

        ``recipe`` is that of this picture: it has one scale.
        """
        raise NotImplementedError

    def _obtain(self, get: Get, recipe: CutoutRecipe, ra: str, dec: str) -> tuple[bytes, np.ndarray]:
        """Return the verified picture of a canonical position, as a file and decoded.

        ``get(url, params, accept)`` sends a request and returns what
        ``accept`` makes of the answer, see `hifrac.cutouts._http.CutoutRequests.get`.
        """
        ((url, params),) = self._requests(recipe, ra, dec)
        return get(url, params, self._accept)

    def _accept(self, answer: Answer) -> tuple[bytes, np.ndarray]:
        """Return the verified picture of an answer, as a file and decoded, or raise a RowError."""
        if answer.status != 200:
            raise self._refusal(answer)
        return answer.body, self._decode(answer.body, answer)

    def _decode(self, data: bytes, answer: Answer) -> np.ndarray:
        """Return the pixels of a file that was made of an answer, or raise a RowError."""
        try:
            return self._recipe.decode(data)
        except BadImageError as error:
            raise BadImageError(f"{error} ({answer.url})") from error
        except OutOfFootprintError as error:
            raise BlankError(f"{error} ({answer.url})") from error

    def _refusal(self, answer: Answer) -> RowError:
        """Return what an answer with another status than 200 means."""
        return refused(answer)

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
        """Return one line for the provenance of a result: service, data release, address."""
        return f"{self._name()} ({shown(self.url)})"

    def _name(self) -> str:
        return f"{self.title} {self.recipe.data_release}".strip()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._name()}>"

    def payload(
        self,
        ra: float | np.ndarray | SkyCoord,
        dec: float | np.ndarray | None = None,
        pixel_scales: float | np.ndarray | None = None,
    ) -> list[tuple[str, dict[str, str]]]:
        """Return the requests that `fetch` would send for positions that are not stored; nothing is sent.

        Parameters
        ----------
        ra, dec : float or array-like of float
            ICRS positions in degrees. A `~astropy.coordinates.SkyCoord` may stand alone as ``ra``.
        pixel_scales : float or array-like of float, optional
            As of `fetch`.

        Returns
        -------
        requests : list of (str, dict)
            Address and parameters of each; positions are rounded to 1e-6 deg, scales to 1e-5 arcsec.

        Raises
        ------
        TypeError
            If ``dec`` is missing and ``ra`` is not a SkyCoord.
        ~hifrac.core.BadCoordinateError
            If a position is not finite or not on the sphere.
        ~hifrac.core.BadScaleError
            If a scale is none that a picture can have.
        """
        if dec is None:
            if not hasattr(ra, "icrs"):
                raise TypeError("dec must be given unless ra is a SkyCoord")
            ra, dec = ra.icrs.ra.deg, ra.icrs.dec.deg
        ra, dec = np.broadcast_arrays(np.atleast_1d(ra), np.atleast_1d(dec))
        if pixel_scales is not None:
            pixel_scales = np.broadcast_to(pixel_scales, ra.shape).ravel()
        scales = checked_scales(pixel_scales, self._recipe.scale_column, ra.size)
        requests, recipe = [], self.recipe
        for row, position in enumerate(zip(ra.ravel(), dec.ravel(), strict=True)):
            scale = None if scales is None else scales[row]
            if not on_sphere(*position) or not (scale is None or are_possible(scale)):
                raise bad_row(*position, recipe, scale)
            requests += self._requests(recipe.at(scale), *canonical_position(*position))
        return requests

    def fetch(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        names: Sequence[Any] | None = None,  # noqa: ARG002 (of the protocol)
        pixel_scales: np.ndarray | None = None,
    ) -> Iterator[Cutout]:
        """Yield pictures of positions, one per position, in their order.

        Parameters
        ----------
        ra, dec : `~numpy.ndarray` of float, shape (n,)
            ICRS positions in degrees.
        names : sequence, optional
            Not used.
        pixel_scales : array-like of float, shape (n,), optional
            Arcsec per pixel of each picture, where the recipe has a ``scale_column``; NaN where unknown.

        Yields
        ------
        cutout : `Cutout`
            The verified picture, or as ``error`` what stopped this row:
            `~hifrac.core.FetchError` (with ``url``, ``status`` and ``retry_after``) if no
            picture could be obtained, `~hifrac.core.BadImageError` if something else
            came or a part of it, `~hifrac.core.OutOfFootprintError` if
            the survey did not image the position, `~hifrac.core.BadScaleError` if the row has no possible
            scale.

        Raises
        ------
        ValueError
            If the arguments differ in length, or ``pixel_scales`` is missing, or given where all pictures
            have one scale.

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
        return self._fetch(*self._checked_rows(ra, dec, pixel_scales))

    def ensure(
        self, ra: np.ndarray, dec: np.ndarray, pixel_scales: np.ndarray | None = None
    ) -> Generator[RowError | None]:
        """Fetch into the store what is not there yet, without reading what is.

        Parameters
        ----------
        ra, dec : `~numpy.ndarray` of float, shape (n,)
            ICRS positions in degrees.
        pixel_scales : array-like of float, shape (n,), optional
            As of `fetch`.

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
            If the source was made with ``store=False``, or as of `fetch`.
        """
        if not self._keep:
            raise ValueError("store must not be False: pictures would be fetched for nothing")
        return self._ensure(*self._checked_rows(ra, dec, pixel_scales))

    def _checked_rows(
        self, ra: Any, dec: Any, scales: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        if len(ra) != len(dec):
            raise ValueError(f"ra and dec must have the same length, got {len(ra)} and {len(dec)}")
        return ra, dec, checked_scales(scales, self._recipe.scale_column, len(ra))

    def _fetch(self, ra: np.ndarray, dec: np.ndarray, scales: np.ndarray | None) -> Iterator[Cutout]:
        from hifrac.cutouts._round import Round  # brings the libraries of HTTP, which not every run asks

        recipe = self.recipe
        with Round(self, keep_pictures=True) as round_:
            for key, result in round_.run(ra, dec, scales):
                if round_.store is not None and round_.store.trouble is not None and not self._warned:
                    self._warned = True
                    warn_caller(
                        f"pictures cannot be kept in {round_.store.folder}: {round_.store.trouble}; "
                        "they will be fetched again"
                    )
                round_.warn()
                if isinstance(result, RowError):
                    yield Cutout(error=result)
                else:
                    position = position_of(key)
                    data, pixels = result
                    yield Cutout(
                        data,
                        pixels=pixels,
                        position=(float(position[0]), float(position[1])),
                        recipe=recipe.at(scale_of(key)),
                    )

    def _ensure(
        self, ra: np.ndarray, dec: np.ndarray, scales: np.ndarray | None
    ) -> Generator[RowError | None]:
        from hifrac.cutouts._round import Round

        with Round(self, keep_pictures=False) as round_:
            for _, result in round_.run(ra, dec, scales):
                round_.raise_trouble()
                round_.warn()
                yield result if isinstance(result, RowError) else None
            if round_.store is not None:
                round_.store.check()
                round_.raise_trouble()

    def _frozen(self) -> Self:
        """Return the source with the settings in force now, whatever becomes of ``conf``."""
        source = copy.copy(self)
        source._recipe, source._base_url, source._offline = self.recipe, self.url, self.offline
        return source

    def _store(self) -> PictureStore:
        return PictureStore(self.recipe, self._layer)


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
