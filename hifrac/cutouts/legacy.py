"""Cutouts of the DESI Legacy Imaging Surveys, from their sky viewer."""

from __future__ import annotations

import re

import numpy as np

from hifrac.config import conf
from hifrac.cutouts._cubes import compose, read_image
from hifrac.cutouts._http import Answer
from hifrac.cutouts.recipe import LEGACY_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import Get, RemoteCutouts
from hifrac.exceptions import BadImageError, OutOfFootprintError

__all__ = ["LegacyCutouts"]

# The service clips larger sizes without a word (maxsize in map/views.py of its source).
_LARGEST = 3000
_BANDS = "griz"


class LegacyCutouts(RemoteCutouts):
    """Pictures from the viewer of the DESI Legacy Imaging Surveys, through the local store.

    Parameters
    ----------
    recipe : `CutoutRecipe`, optional
        What is asked for; its survey must be ``"legacy"``, its service
        ``"viewer-jpg"`` or ``"viewer-fits"``. By default JPEGs of DR9 in z, r, g with 224
        pixels of 0.262 arcsec, the scale of the survey's own images.
    layer : str, optional
        The viewer's layer; ``"ls-dr9"`` for DR9 and so on by default.
    base_url : str, optional
        Address of the service, without the file name ``cutout.jpg`` or
        ``cutout.fits``. By default ``conf.legacy_url``.
    store, offline, retry_permanent : bool, optional
        See `RemoteCutouts`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If ``recipe`` is not one that the service can give: sides of at most 3000 pixels; JPEG shows
        z, r, g alone; FITS has any three of g, r, i, z.

    Notes
    -----
    The viewer is a web page's back end (https://www.legacysurvey.org/viewer; source:
    https://github.com/legacysurvey/imagine) and states no limit of the rate. For more than some
    ten thousand cutouts use the surveys' own images, as its authors ask.

    FITS files hold nanomaggies per pixel, in the viewer's order of bands. What is
    stored of them has the planes in the order red, green, blue of the recipe, and
    names the sha256 of the answer; JPEGs are stored as they come.

    Examples
    --------
    >>> from hifrac.cutouts import LegacyCutouts
    >>> [(url, params)] = LegacyCutouts().payload(184.957, 5.1215)
    >>> url, params["layer"], params["pixscale"], params["size"]
    ('https://www.legacysurvey.org/viewer/cutout.jpg', 'ls-dr9', '0.262', '224')
    """

    title = "DESI Legacy Imaging Surveys viewer"
    default_recipe = LEGACY_RECIPE

    def __init__(
        self,
        recipe: CutoutRecipe | None = None,
        *,
        layer: str | None = None,
        base_url: str | None = None,
        store: bool = True,
        offline: bool | None = None,
        retry_permanent: bool = False,
    ) -> None:
        super().__init__(
            recipe, base_url=base_url, store=store, offline=offline, retry_permanent=retry_permanent
        )
        if layer is not None and not (isinstance(layer, str) and re.fullmatch(r"[\w.-]+", layer)):
            raise ValueError(f'layer must be like "ls-dr9", got {layer!r}')
        if layer is None and not re.fullmatch(r"dr\d+", self._recipe.data_release, flags=re.IGNORECASE):
            raise ValueError(f'recipe must have a data_release like "DR9", got {self._recipe.data_release!r}')
        self._layer = f"ls-{self._recipe.data_release.lower()}" if layer is None else layer
        self.suffix = ".fits" if self._is_fits else ".jpg"

    def _check(self, recipe: CutoutRecipe) -> None:
        if recipe.survey != "legacy" or recipe.service not in ("viewer-jpg", "viewer-fits"):
            raise ValueError(
                f"recipe must be of legacy viewer-jpg or viewer-fits, got {recipe.survey} {recipe.service}"
            )
        if recipe.width > _LARGEST:
            raise ValueError(f"recipe must have a width of at most {_LARGEST}, got {recipe.width}")
        if recipe.service == "viewer-jpg" and recipe.bands != ("z", "r", "g"):
            raise ValueError(f"recipe must have the bands z, r, g for JPEGs, got {recipe.bands}")
        if len(set(recipe.bands)) != 3 or not set(recipe.bands) <= set(_BANDS):
            raise ValueError(f"recipe must have three bands of g, r, i, z, got {recipe.bands}")

    @property
    def _is_fits(self) -> bool:
        return self._recipe.service == "viewer-fits"

    def _default_url(self) -> str:
        return conf.legacy_url

    def _identity(self) -> str:
        return f"{self.url} {self._layer}"

    def _requests(self, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        recipe = self._recipe
        params = {
            "ra": ra,
            "dec": dec,
            "layer": self._layer,
            "pixscale": f"{recipe.pixel_scale:.10g}",
            "size": str(recipe.width),
        }
        if self._is_fits:
            params["bands"] = "".join(band for band in _BANDS if band in recipe.bands)
        return [(f"{self.url.rstrip('/')}/cutout.{'fits' if self._is_fits else 'jpg'}", params)]

    def _obtain(self, get: Get, ra: str, dec: str) -> tuple[bytes, np.ndarray]:
        ((url, params),) = self._requests(ra, dec)
        return get(url, params, self._accept_cube if self._is_fits else self._accept)

    def _accept_cube(self, answer: Answer) -> tuple[bytes, np.ndarray]:
        if answer.status != 200:
            raise self._refusal(answer)
        cube, header = read_image(answer)
        bands = self._recipe.bands
        order = str(header.get("BANDS", "".join(band for band in _BANDS if band in bands)))
        if cube.ndim != 3 or len(cube) != len(order) or not set(bands) <= set(order):
            raise BadImageError(
                f"FITS with planes {order!r} of shape {cube.shape} instead of "
                f"{', '.join(bands)} ({answer.url})"
            )
        planes = [cube[order.index(band)] for band in bands]
        if not any(plane.any() for plane in planes):
            raise OutOfFootprintError(f"every pixel is zero: the survey has no image there ({answer.url})")
        data = compose(planes, header, bands, [answer])
        return data, self._decode(data)
