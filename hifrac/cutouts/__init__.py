"""Cutouts: where the pictures come from."""

from __future__ import annotations

from typing import Any

from hifrac.cutouts.base import Cutout, CutoutSource
from hifrac.cutouts.download import download
from hifrac.cutouts.frames import FrameCutouts
from hifrac.cutouts.hips import HiPSCutouts
from hifrac.cutouts.legacy import LegacyCutouts
from hifrac.cutouts.local import LocalCutouts
from hifrac.cutouts.panstarrs import PanSTARRSCutouts
from hifrac.cutouts.recipe import SDSS_RECIPE, WU_BOADA_RECIPE, WU_PEEK_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import RemoteCutouts
from hifrac.cutouts.skyserver import SkyServerCutouts

__all__ = [
    "SDSS_RECIPE",
    "WU_BOADA_RECIPE",
    "WU_PEEK_RECIPE",
    "Cutout",
    "CutoutRecipe",
    "CutoutSource",
    "FrameCutouts",
    "HiPSCutouts",
    "LegacyCutouts",
    "LocalCutouts",
    "PanSTARRSCutouts",
    "RemoteCutouts",
    "SkyServerCutouts",
    "download",
    "source_for",
]

#: The survey services, by the names that the command line has for them.
SURVEYS: dict[str, type[RemoteCutouts]] = {
    "sdss": SkyServerCutouts,
    "legacy": LegacyCutouts,
    "panstarrs": PanSTARRSCutouts,
    "hips": HiPSCutouts,
}

_SERVICES = {
    "getjpeg": SkyServerCutouts,
    "viewer-jpg": LegacyCutouts,
    "viewer-fits": LegacyCutouts,
    "fitscut": PanSTARRSCutouts,
    "hips2fits": HiPSCutouts,
}


def source_for(recipe: CutoutRecipe, **options: Any) -> CutoutSource:
    """Return the survey service that gives the pictures of a recipe.

    Parameters
    ----------
    recipe : `CutoutRecipe`
        Its ``survey`` and ``service`` name the source.
    **options
        Passed on to the source.

    Returns
    -------
    source : `CutoutSource`
        A source whose ``fetch`` gives pictures of ``recipe``.

    Raises
    ------
    ValueError
        If no source of this package speaks to that service, or the service
        has no such survey.

    Examples
    --------
    >>> from hifrac.cutouts import CutoutRecipe, source_for
    >>> recipe = CutoutRecipe(survey="sdss", data_release="DR16", service="getjpeg",
    ...                       bands=("i", "r", "g"), pixel_scale=0.4, width=128)
    >>> source_for(recipe)
    <SkyServerCutouts: SDSS SkyServer getjpeg DR16>
    """
    if (service := _SERVICES.get(recipe.service.lower())) is None:
        raise ValueError(
            f"recipe names the service {recipe.survey} {recipe.service}, which has no source; "
            f"known services: {', '.join(_SERVICES)}"
        )
    return service(recipe, **options)
