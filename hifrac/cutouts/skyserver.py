"""Cutouts of SDSS from SkyServer's image cutout service (getjpeg)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Self

from hifrac.core.config import conf
from hifrac.core.exceptions import OutOfFootprintError, RowError
from hifrac.cutouts._answers import Answer
from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import RemoteCutouts

# The service clips requests to these limits without a word.
_WIDTHS, _SCALES = (64, 2048), (0.015, 60.0)


class SkyServerCutouts(RemoteCutouts):
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
    store, offline, retry_permanent : bool, optional
        See `RemoteCutouts`.

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
        60 arcsec per pixel; or if ``data_release`` is not like ``"DR16"``,
        or ``base_url`` not one of http or https.

    Notes
    -----
    All settings (``timeout``, ``retries``, ``retry_backoff``, ``max_rate`` and
    those above) are read from ``conf`` when the first picture is asked for.
    What may pass is asked for again, and ``Retry-After`` is honoured, as "Fetching a million cutouts
    politely" in the documentation says.

    Examples
    --------
    >>> from hifrac import SkyServerCutouts
    >>> source = SkyServerCutouts()
    >>> for url, params in source.payload(184.957, 5.1215):
    ...     print(url, params["ra"], params["dec"])
    https://skyserver.sdss.org/dr16/SkyServerWS/ImgCutout/getjpeg 184.957000 5.121500
    """

    title = "SDSS SkyServer getjpeg"
    default_recipe = SDSS_RECIPE
    url_item = "skyserver_url"

    def __init__(
        self,
        recipe: CutoutRecipe | None = None,
        *,
        base_url: str | None = None,
        data_release: str | None = None,
        store: bool = True,
        offline: bool | None = None,
        retry_permanent: bool = False,
    ) -> None:
        super().__init__(
            recipe, base_url=base_url, store=store, offline=offline, retry_permanent=retry_permanent
        )
        if data_release is not None:
            _check_release("data_release", data_release)
        self._data_release = data_release

    def _check(self, recipe: CutoutRecipe) -> None:
        if (recipe.survey.lower(), recipe.service.lower()) != ("sdss", "getjpeg"):
            raise ValueError(f"recipe must be of sdss getjpeg, got {recipe.survey} {recipe.service}")
        _check_release("recipe's data_release", recipe.data_release)
        if not _WIDTHS[0] <= recipe.width <= _WIDTHS[1]:
            raise ValueError(f"recipe must have a width of {_WIDTHS[0]} to {_WIDTHS[1]}, got {recipe.width}")
        # Scales of rows are within these limits: see `CutoutRecipe.at`.
        if recipe.pixel_scale is not None and not _SCALES[0] <= recipe.pixel_scale <= _SCALES[1]:
            raise ValueError(
                f"recipe must have a pixel_scale of {_SCALES[0]} to {_SCALES[1]}, got {recipe.pixel_scale}"
            )

    @property
    def recipe(self) -> CutoutRecipe:
        """The recipe of the pictures, with the data release in force."""
        release = self._data_release
        if release is None and conf.skyserver_data_release:
            release = conf.skyserver_data_release
            _check_release("conf.skyserver_data_release", release)
        if release is None or release.upper() == self._recipe.data_release:
            return self._recipe
        return replace(self._recipe, data_release=release.upper())

    def _frozen(self) -> Self:
        source = super()._frozen()
        source._data_release = source._recipe.data_release
        return source

    @property
    def url(self) -> str:
        """Address of the service, with the data release in force."""
        return super().url.replace("{data_release}", self.recipe.data_release.lower())

    def _requests(self, recipe: CutoutRecipe, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        scale, width = f"{recipe.fixed_scale:.10g}", str(recipe.width)
        return [(self.url, {"ra": ra, "dec": dec, "scale": scale, "width": width, "height": width})]

    def _refusal(self, answer: Answer) -> RowError:
        # Some releases say so with a status (404, the message in the reason), others with a blank picture.
        message = f"{answer.reason} {answer.body[:2000].decode('utf-8', errors='replace')}"
        if "outside the sdss footprint" in message.lower():
            return OutOfFootprintError(
                f"the service says the position is outside the SDSS footprint ({answer.url})"
            )
        return super()._refusal(answer)


def _check_release(name: str, release: str) -> None:
    if not isinstance(release, str) or not re.fullmatch(r"dr\d+", release, flags=re.IGNORECASE):
        raise ValueError(f'{name} must be like "DR16", got {release!r}')
