"""Cutouts of any colour HiPS, from the service hips2fits of the CDS."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Self

from hifrac.core.exceptions import FetchError, RowError
from hifrac.cutouts._answers import Answer
from hifrac.cutouts.recipe import HIPS_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import RemoteCutouts

_LARGEST = 7000  # the service gives at most 50 million pixels


class HiPSCutouts(RemoteCutouts):
    """Pictures of a colour HiPS (hierarchical progressive survey), through the local store.

    Parameters
    ----------
    recipe : `CutoutRecipe`, optional
        What is asked for: its ``survey`` is the identifier of the HiPS, such as
        ``"CDS/P/SDSS9/color"``, and its service ``"hips2fits"``. By default SDSS DR9 with
        128 pixels of 0.4 arcsec.
    base_url : str, optional
        Address of the service; ``conf.hips2fits_url`` by default.
    store, offline, retry_permanent : bool, optional
        See `RemoteCutouts`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If ``recipe`` is not one that the service can give: sides of at most 7000 pixels;
        or ``base_url`` is not one of http or https.

    Notes
    -----
    The parameters of a request are those of ``astroquery.hips2fits``; the requests
    themselves are sent like those of every other service, so that rate, repeats,
    store and manifest are the same. Pictures are JPEGs in gnomonic projection,
    north up.

    A HiPS is a resampling of the survey's images, with a colour stretch that its maker chose: the pictures
    are not those of the survey's own service, even where the bands are.

    The service is described at
    https://alasky.cds.unistra.fr/hips-image-services/hips2fits; it states no limit
    of the rate. Identifiers: https://aladin.cds.unistra.fr/hips/list.

    Examples
    --------
    >>> from hifrac.cutouts import HiPSCutouts
    >>> [(url, params)] = HiPSCutouts().payload(184.957, 5.1215)
    >>> params["hips"], params["projection"], params["width"], params["ra"]
    ('CDS/P/SDSS9/color', 'TAN', '128', '184.957000')
    """

    title = "CDS hips2fits"
    default_recipe = HIPS_RECIPE
    url_item = "hips2fits_url"

    def _check(self, recipe: CutoutRecipe) -> None:
        if recipe.service != "hips2fits":
            raise ValueError(f"recipe must be of the service hips2fits, got {recipe.service}")
        if recipe.survey.count("/") < 2:
            raise ValueError(
                "recipe must have the identifier of a HiPS as its survey, like CDS/P/SDSS9/color, "
                f"got {recipe.survey!r}"
            )
        if recipe.width > _LARGEST:
            raise ValueError(f"recipe must have a width of at most {_LARGEST}, got {recipe.width}")

    def _name(self) -> str:
        return f"{self.title} {self._recipe.survey}"

    @cached_property
    def _parameters(self) -> dict[str, str]:
        """What is the same for all pictures, as astroquery puts it; position and field are not."""
        from astropy import units as u
        from astropy.coordinates import Angle, Latitude, Longitude
        from astroquery.hips2fits import hips2fits

        recipe = self._recipe
        payload = hips2fits.query(
            hips=recipe.survey,
            width=recipe.width,
            height=recipe.width,
            projection="TAN",
            ra=Longitude(0 * u.deg),
            dec=Latitude(0 * u.deg),
            fov=Angle(1 * u.deg),
            format="jpg",
            get_query_payload=True,
        )
        return {key: str(value) for key, value in payload.items()}

    def _requests(self, recipe: CutoutRecipe, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        field = str(recipe.field_of_view / 3600)
        return [(self.url, self._parameters | {"ra": ra, "dec": dec, "fov": field})]

    def _frozen(self) -> Self:
        self._parameters  # noqa: B018 (worked out once, before threads begin)
        return super()._frozen()

    def _refusal(self, answer: Answer) -> RowError:
        # A HiPS that it does not have, say; astroquery reads the answer in the same way.
        try:
            words = json.loads(answer.body)
            reason = ": ".join(str(words[key]) for key in ("title", "description") if words.get(key))
        except (ValueError, AttributeError):
            reason = ""
        if not reason:
            return super()._refusal(answer)
        return FetchError(
            f"the service answered {answer.status}: {reason} ({answer.url})",
            url=answer.url,
            status=answer.status,
            retry_after=answer.retry_after,
        )
