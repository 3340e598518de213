"""Cutouts of the DESI Legacy Imaging Surveys, from their sky viewer."""

from __future__ import annotations

import re

import numpy as np

from hifrac.core.exceptions import BadImageError, FetchError, OutOfFootprintError
from hifrac.cutouts._answers import Answer
from hifrac.cutouts._cubes import compose, read_image
from hifrac.cutouts._store import BlankError
from hifrac.cutouts.recipe import LEGACY_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import Get, RemoteCutouts

# The service clips larger sizes without a word (maxsize in map/views.py of its source).
_LARGEST = 3000
_BANDS = "griz"
# The first release with i, and the one whose plain layer shows all four bands.
_FIRST_WITH_I = 10

# An image header without an image, which older versions of the viewer give where there is nothing.
_NO_OVERLAP = re.compile(rb"OVERLAP *= +F\b")


class LegacyCutouts(RemoteCutouts):
    """Pictures from the viewer of the DESI Legacy Imaging Surveys, through the local store.

    Parameters
    ----------
    recipe : `CutoutRecipe`, optional
        What is asked for; its survey must be ``"legacy"``, its service
        ``"viewer-jpg"`` or ``"viewer-fits"``. By default JPEGs of DR9 in z, r, g with 224
        pixels of 0.262 arcsec, the scale of the survey's own images.
    layer : str, optional
        The viewer's layer. By default the one of the data release: ``"ls-dr9"`` for DR9 and so on,
        but ``"ls-dr10-grz"`` for JPEGs of DR10, whose ``"ls-dr10"`` mixes four bands into the picture.
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
        z, r, g alone; FITS has any three of g, r, i, z, before DR10 without i. Or if ``base_url``
        is not one of http or https.

    Notes
    -----
    The viewer is a web page's back end (https://www.legacysurvey.org/viewer) and states no limit of the
    rate. What is said of it here is from its source, https://github.com/legacysurvey/imagine
    (``map/views.py``).

    FITS files hold nanomaggies per native pixel of 0.262 arcsec *whatever the pixel scale*: the viewer
    resamples surface brightness. Their planes come in the order of the keyword BANDS. What is
    stored of them has the planes in the order red, green, blue of the recipe, and
    names the sha256 of the answer; JPEGs are stored as they come. Other bands than z, r, g
    get the display colours of these.

    Where a survey has no image the viewer's JPEG is uniformly grey, and a band of its FITS zero
    everywhere: a picture that lacks one of its three bands is outside the footprint. Where it has
    no image in any band the viewer may also fail to give a FITS file (status 500); that cannot be told from
    trouble that passes, and is a `~hifrac.core.FetchError`.

    Examples
    --------
    >>> from hifrac.cutouts import LegacyCutouts
    >>> [(url, params)] = LegacyCutouts().payload(184.957, 5.1215)
    >>> url, params["layer"], params["pixscale"], params["size"]
    ('https://www.legacysurvey.org/viewer/cutout.jpg', 'ls-dr9', '0.262', '224')
    """

    title = "DESI Legacy Imaging Surveys viewer"
    default_recipe = LEGACY_RECIPE
    url_item = "legacy_url"

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
        self._layer = self._layer_of_release() if layer is None else layer

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

    def _layer_of_release(self) -> str:
        recipe = self._recipe
        if not re.fullmatch(r"dr\d+", recipe.data_release, flags=re.IGNORECASE):
            raise ValueError(f'recipe must have a data_release like "DR9", got {recipe.data_release!r}')
        release = int(recipe.data_release[2:])
        # The viewer would ignore what bands were asked for, and give g, r, z.
        if "i" in recipe.bands and release < _FIRST_WITH_I:
            raise ValueError(f"recipe must have three bands of g, r, z before DR10, got {recipe.bands}")
        return f"ls-dr{release}" + ("-grz" if release == _FIRST_WITH_I and not self._is_fits else "")

    @property
    def _is_fits(self) -> bool:
        return self._recipe.service == "viewer-fits"

    def _requests(self, recipe: CutoutRecipe, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        params = {
            "ra": ra,
            "dec": dec,
            "layer": self._layer,
            "pixscale": f"{recipe.fixed_scale:.10g}",
            "size": str(recipe.width),
        }
        if self._is_fits:
            params["bands"] = "".join(band for band in _BANDS if band in recipe.bands)
        return [(f"{self.url.rstrip('/')}/cutout.{'fits' if self._is_fits else 'jpg'}", params)]

    def _obtain(self, get: Get, recipe: CutoutRecipe, ra: str, dec: str) -> tuple[bytes, np.ndarray]:
        ((url, params),) = self._requests(recipe, ra, dec)
        return get(url, params, self._accept_cube if self._is_fits else self._accept)

    def _accept(self, answer: Answer) -> tuple[bytes, np.ndarray]:
        self._check_layer(answer)
        return super()._accept(answer)

    def _check_layer(self, answer: Answer) -> None:
        # It says so with status 200; asking again would not help.
        if answer.body.strip() == b"no such layer":
            raise FetchError(
                f"the viewer has no layer {self._layer!r} ({answer.url})",
                url=answer.url,
                status=answer.status,
            )

    def _accept_cube(self, answer: Answer) -> tuple[bytes, np.ndarray]:
        if answer.status != 200:
            raise self._refusal(answer)
        self._check_layer(answer)
        if answer.body.startswith(b"SIMPLE") and _NO_OVERLAP.search(answer.body[:28800]):
            raise OutOfFootprintError(f"the viewer says that no image overlaps ({answer.url})")
        cube, header = read_image(answer)
        bands = self._recipe.bands
        order = str(header.get("BANDS", "".join(band for band in _BANDS if band in bands)))
        if cube.ndim != 3 or len(cube) != len(order) or not set(bands) <= set(order):
            raise BadImageError(
                f"FITS with planes {order!r} of shape {cube.shape} instead of "
                f"{', '.join(bands)} ({answer.url})"
            )
        planes = [cube[order.index(band)] for band in bands]
        for band, plane in zip(bands, planes, strict=True):
            # Sky has noise: what is exactly zero everywhere was not imaged.
            if not np.nan_to_num(plane).any():
                raise BlankError(f"the survey has no image in {band} there ({answer.url})")
        data = compose(planes, header, bands, [answer])
        return data, self._decode(data, answer)
