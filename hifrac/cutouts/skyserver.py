"""Cutouts of SDSS from SkyServer's image cutout service (getjpeg)."""

from __future__ import annotations

import concurrent.futures
import re
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from hifrac import images
from hifrac.config import conf
from hifrac.cutouts._http import Answer, Client, rate_limit
from hifrac.cutouts._store import PictureStore, canonical_position
from hifrac.cutouts.base import Cutout
from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe
from hifrac.exceptions import (
    BadCoordinateError,
    BadImageError,
    FetchError,
    HifracWarning,
    OutOfFootprintError,
    RowError,
)

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["SkyServerCutouts"]

_CONNECTIONS, _WINDOW = 4, 16

# The service clips requests to these limits without a word.
_WIDTHS, _SCALES = (64, 2048), (0.015, 60.0)


class SkyServerCutouts:
    """Pictures from SDSS SkyServer, through the local store.

    Parameters
    ----------
    recipe : `CutoutRecipe`, optional
        What is asked for; its survey and service must be ``"sdss"`` and
        ``"getjpeg"``. By default DR16 in i, r, g with 128 pixels of 0.4 arcsec.
    base_url : str, optional
        Address of the service; ``{data_release}`` in it is replaced, e.g. by
        ``dr16``. By default ``conf.skyserver_url``.
    data_release : str, optional
        For example ``"DR17"``. By default ``conf.skyserver_data_release``, or
        the one of ``recipe`` where that is empty.
    store : bool, optional
        Whether verified pictures are kept in, and taken from, the local store
        below `hifrac.config.cache_dir`.

    Attributes
    ----------
    recipe : `CutoutRecipe`
        Of the pictures it gives now: with the data release in force.
    name_column : None
        Positions are enough.

    Raises
    ------
    TypeError
        If ``recipe`` is not a `CutoutRecipe` or ``store`` is not a bool.
    ValueError
        If ``recipe`` is not one that the service can give: another service,
        a width outside 64 to 2048 pixels, or a scale outside 0.015 to
        60 arcsec per pixel; or if ``data_release`` is not like ``"DR16"``.

    Notes
    -----
    All settings (``timeout``, ``retries``, ``retry_backoff``, ``max_rate`` and
    those above) are read from ``conf`` when the first picture is asked for.
    Statuses 429, 500, 502, 503 and 504 and failures of the connection are
    tried again; ``Retry-After`` is honoured, up to a minute.

    Examples
    --------
    >>> from hifrac import SkyServerCutouts
    >>> source = SkyServerCutouts()
    >>> for url, params in source.payload(184.957, 5.1215):
    ...     print(url, params["ra"], params["dec"])
    https://skyserver.sdss.org/dr16/SkyServerWS/ImgCutout/getjpeg 184.957000 5.121500
    """

    name_column = None

    def __init__(
        self,
        recipe: CutoutRecipe | None = None,
        *,
        base_url: str | None = None,
        data_release: str | None = None,
        store: bool = True,
    ) -> None:
        recipe = SDSS_RECIPE if recipe is None else recipe
        if not isinstance(recipe, CutoutRecipe):
            raise TypeError(f"recipe must be a CutoutRecipe, got {type(recipe).__name__}")
        if (recipe.survey.lower(), recipe.service.lower()) != ("sdss", "getjpeg"):
            raise ValueError(f"recipe must be of sdss getjpeg, got {recipe.survey} {recipe.service}")
        if not _WIDTHS[0] <= recipe.width <= _WIDTHS[1]:
            raise ValueError(f"recipe must have a width of {_WIDTHS[0]} to {_WIDTHS[1]}, got {recipe.width}")
        if not _SCALES[0] <= recipe.pixel_scale <= _SCALES[1]:
            raise ValueError(
                f"recipe must have a pixel_scale of {_SCALES[0]} to {_SCALES[1]}, got {recipe.pixel_scale}"
            )
        if data_release is not None:
            _check_release("data_release", data_release)
        if not isinstance(store, bool):
            raise TypeError(f"store must be a bool, got {store!r}")
        self._recipe = recipe
        self._base_url = base_url
        self._data_release = data_release
        self._keep = store
        self._warned = False

    @property
    def recipe(self) -> CutoutRecipe:
        """The recipe of the pictures, with the data release in force."""
        release = self._data_release
        if release is None and conf.skyserver_data_release:
            release = conf.skyserver_data_release
            _check_release("conf.skyserver_data_release", release)
        return self._recipe if release is None else replace(self._recipe, data_release=release.upper())

    @property
    def url(self) -> str:
        """Address of the service, with the data release in force."""
        template = conf.skyserver_url if self._base_url is None else self._base_url
        return template.replace("{data_release}", self.recipe.data_release.lower())

    def describe(self) -> str:
        """One line for the provenance of a result: service, data release, address."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"SDSS SkyServer getjpeg {self.recipe.data_release} ({parts.scheme}://{host}{parts.path})"

    def __repr__(self) -> str:
        return f"<SkyServerCutouts: SDSS SkyServer getjpeg {self.recipe.data_release}>"

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
        ~hifrac.exceptions.BadCoordinateError
            If a position is not finite or not on the sphere.
        """
        if dec is None:
            if not hasattr(ra, "icrs"):
                raise TypeError("dec must be given unless ra is a SkyCoord")
            ra, dec = ra.icrs.ra.deg, ra.icrs.dec.deg
        ra, dec = np.broadcast_arrays(np.atleast_1d(ra), np.atleast_1d(dec))
        url, recipe = self.url, self.recipe
        return [
            (url, _query(recipe, *_position(one_ra, one_dec)))
            for one_ra, one_dec in zip(ra.ravel(), dec.ravel(), strict=True)
        ]

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
            `~hifrac.exceptions.FetchError` (with ``url``, ``status`` and ``retry_after``) if no
            picture could be obtained, `~hifrac.exceptions.BadImageError` if something else
            came or a part of it, `~hifrac.exceptions.OutOfFootprintError` if
            SDSS did not image the position.

        Warns
        -----
        ~hifrac.exceptions.HifracWarning
            Once, if pictures cannot be written to the store; they are given all the same.
        """
        if len(ra) != len(dec):
            raise ValueError(f"ra and dec must have the same length, got {len(ra)} and {len(dec)}")
        return self._fetch(ra, dec)

    def _fetch(self, ra: np.ndarray, dec: np.ndarray) -> Iterator[Cutout]:
        url, recipe = self.url, self.recipe
        store = PictureStore(url, recipe) if self._keep else None
        threads = concurrent.futures.ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="hifrac-fetch")
        # The window bounds what is held in memory, however many rows there are.
        window: deque[concurrent.futures.Future[Cutout]] = deque()
        try:
            with Client(_CONNECTIONS, rate_limit(url)) as client:
                for position in zip(ra, dec, strict=True):
                    if len(window) == _WINDOW:
                        yield window.popleft().result()
                        self._warn_once(store)
                    window.append(threads.submit(_fetch_one, client, store, url, recipe, *position))
                while window:
                    yield window.popleft().result()
                    self._warn_once(store)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _warn_once(self, store: PictureStore | None) -> None:
        if store is not None and store.trouble is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"pictures cannot be kept in {store.folder}: {store.trouble}; they will be fetched again",
                HifracWarning,
                stacklevel=3,
            )


def _check_release(name: str, release: str) -> None:
    if not isinstance(release, str) or not re.fullmatch(r"dr\d+", release, flags=re.IGNORECASE):
        raise ValueError(f'{name} must be like "DR16", got {release!r}')


def _position(ra: float, dec: float) -> tuple[str, str]:
    """Canonical strings of a position that is on the sphere."""
    if not (np.isfinite(ra) and np.isfinite(dec)) or not -360 <= ra <= 360 or not -90 <= dec <= 90:
        raise BadCoordinateError(f"ra and dec must be finite and on the sphere, got {ra}, {dec}")
    return canonical_position(ra, dec)


def _query(recipe: CutoutRecipe, ra: str, dec: str) -> dict[str, str]:
    width = str(recipe.width)
    return {"ra": ra, "dec": dec, "scale": f"{recipe.pixel_scale:.10g}", "width": width, "height": width}


def _fetch_one(
    client: Client, store: PictureStore | None, url: str, recipe: CutoutRecipe, ra: float, dec: float
) -> Cutout:
    """One row, from the store or the service; its failure is its own."""
    try:
        position = _position(ra, dec)
        data = None if store is None else store.get(*position)
        if data is None:
            data = _picture_of(client.get(url, _query(recipe, *position)), recipe.width)
            if store is not None:
                store.put(*position, data)
    except RowError as error:
        return Cutout(error=error)
    return Cutout(data=data)


def _picture_of(answer: Answer, width: int) -> bytes:
    """The verified picture of an answer; the RowError that it amounts to otherwise."""
    if answer.status != 200:
        # Some releases say so with a status (404, the message in the reason), others with a blank picture.
        said = f"{answer.reason} {answer.body[:2000].decode('utf-8', errors='replace')}"
        if "outside the sdss footprint" in said.lower():
            raise OutOfFootprintError(
                f"the service says the position is outside the SDSS footprint ({answer.url})"
            )
        raise FetchError(
            f"the service answered {answer.status} {answer.reason} ({answer.url})",
            url=answer.url,
            status=answer.status,
            retry_after=answer.retry_after,
        )
    try:
        images.decode(answer.body, width=width)
    except BadImageError as error:
        raise BadImageError(f"{error} ({answer.url})") from error
    return answer.body
