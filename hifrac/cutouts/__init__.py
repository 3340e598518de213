"""Cutouts: where the pictures come from."""

from __future__ import annotations

from typing import Any

from hifrac.cutouts.base import Cutout, CutoutSource
from hifrac.cutouts.download import download
from hifrac.cutouts.local import LocalCutouts
from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import RemoteCutouts
from hifrac.cutouts.skyserver import SkyServerCutouts

__all__ = [
    "SDSS_RECIPE",
    "SURVEYS",
    "Cutout",
    "CutoutRecipe",
    "CutoutSource",
    "LocalCutouts",
    "RemoteCutouts",
    "SkyServerCutouts",
    "download",
    "source_for",
]

#: The survey services, by the names that the command line has for them.
SURVEYS: dict[str, type[RemoteCutouts]] = {"sdss": SkyServerCutouts}

_SERVICES = {("sdss", "getjpeg"): SkyServerCutouts}


def source_for(recipe: CutoutRecipe, **options: Any) -> CutoutSource:
    """The survey service that gives the pictures of a recipe.

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
        If no source of this package speaks to that service.

    Examples
    --------
    >>> from hifrac.cutouts import CutoutRecipe, source_for
    >>> recipe = CutoutRecipe(survey="sdss", data_release="DR16", service="getjpeg",
    ...                       bands=("i", "r", "g"), pixel_scale=0.4, width=128)
    >>> source_for(recipe)
    <SkyServerCutouts: SDSS SkyServer getjpeg DR16>
    """
    key = recipe.survey.lower(), recipe.service.lower()
    if key not in _SERVICES:
        known = ", ".join(f"{survey} {service}" for survey, service in sorted(_SERVICES))
        raise ValueError(
            f"recipe names the service {recipe.survey} {recipe.service}, which has no source; known: {known}"
        )
    return _SERVICES[key](recipe, **options)
