"""The methods of ``explain``: which of them a model supports, and the heat maps that they make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac.attribution.gradients import integrated_gradients
from hifrac.attribution.maps import (
    CAM,
    GRADCAM,
    GRADIENTS,
    OCCLUSION,
    HeatMaps,
    feature_maps,
    occlusion_maps,
)
from hifrac.attribution.targets import resolve_target
from hifrac.core.exceptions import ModelError
from hifrac.models._torch import plain_torch
from hifrac.models.architectures import CONCAT_POOL

if TYPE_CHECKING:
    from hifrac.models import Model

#: Values of ``explain(method=)``.
METHODS = ("cam", "gradcam", "occlusion")

_OPTIONS: dict[str, tuple[str, ...]] = {GRADIENTS: ("steps", "baseline"), OCCLUSION: ("size", "stride")}

_GRADIENTS_OF = ("torchscript", "eager")


@plain_torch()
def heat_maps(
    model: Model,
    pixels: np.ndarray,
    *,
    method: str = "cam",
    target: str | None = None,
    ebv: np.ndarray | None = None,
    **options: Any,
) -> HeatMaps:
    """Map how each pixel of each picture contributes to the output of a model.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model; nothing of it is changed.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures of the model's recipe.
    method : {"cam", "gradcam", "occlusion"}, optional
        ``"cam"`` is the exact additive map that the architecture allows: the class-activation map where the
        network ends in a mean over positions and a linear layer, and integrated gradients where it has no
        maps of features.
    target : str, optional
        What is explained, see `~hifrac.attribution.resolve_target`; the estimate by default.
    ebv : array of float, shape (n,), optional
        Galactic reddening, for models that take it; its contribution is in the offset.
    **options
        Integrated gradients take ``steps``, the nodes of the quadrature (16), and ``baseline``, pictures to
        start from instead of the mean galaxy; occlusion takes ``size`` and ``stride``, the side of the square
        and its step in pixels (16 and 8).

    Returns
    -------
    maps : `HeatMaps`
        One map a picture.

    Raises
    ------
    TypeError
        If the method has no such option.
    ValueError
        If ``method`` is unknown, the model does not have ``target``, an option is out of its range, or
        ``pixels`` are of another type or shape.
    ~hifrac.core.ModelError
        If the model does not support ``method``; the message names both.

    Examples
    --------
    >>> from hifrac import load_model
    >>> from hifrac.attribution import heat_maps
    >>> from hifrac.demo import PICTURES
    >>> from hifrac.images import decode
    >>> picture = decode((PICTURES / "sim-01-elliptical.jpg").read_bytes())
    >>> maps = heat_maps(load_model("default"), picture[None], steps=32)
    >>> maps.values.shape, abs(maps.offset + maps.values.sum((1, 2)) - maps.prediction).round(2)
    ((1, 128, 128), array([0.]))
    """
    output = resolve_target(model.card, target)
    name = resolve_method(model, method, options)
    width = model.card.recipe.width
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (width, width, 3):
        raise ValueError(
            f"pixels must be uint8 of shape (n, {width}, {width}, 3), got {pixels.dtype} {pixels.shape}"
        )
    if name == OCCLUSION:
        return occlusion_maps(model, pixels, output, ebv=ebv, **options)
    if name == GRADIENTS:
        return integrated_gradients(model, pixels, output, ebv=ebv, **options)
    return feature_maps(model, pixels, output, name)


def resolve_method(model: Model, method: str, options: Iterable[str] = ()) -> str:
    """Return the full name of a method as the model does it.

    Raises ModelError if the model does not, and TypeError if there the method has no such option.
    """
    name = _method_of(model, method)
    for option in options:
        if option not in _OPTIONS.get(name, ()):
            what = f"{name} of the model {model.card.name!r}"
            raise TypeError(f"method {method!r} has no option {option!r} ({what})")
    return name


def _method_of(model: Model, method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not model.card.recipe.is_picture:
        bands = ", ".join(model.card.recipe.bands)
        raise ModelError(
            f"model: {model.card.name!r} reads fluxes of {bands}, and maps are of pictures of three bands"
        )
    if method == "occlusion":
        return OCCLUSION
    if model.runtime not in _GRADIENTS_OF:
        raise ModelError(
            f"method {method!r} looks into the network, and {model.runtime!r} does not let it: load the "
            f"model {model.card.name!r} with runtime='torchscript' or 'eager', or take method='occlusion'"
        )
    if model.card.is_measured:
        if method == "cam":
            return GRADIENTS
        raise ModelError(
            f"method {method!r} needs maps of features, and the model {model.card.name!r} "
            f"({model.card.architecture}) has none: it measures whole pictures; take method='cam' "
            "(integrated gradients) or 'occlusion'"
        )
    if method == "cam" and model.card.architecture.endswith(CONCAT_POOL):
        raise ModelError(
            f"method 'cam' needs a network that ends in a mean and a linear layer, and the model "
            f"{model.card.name!r} ({model.card.architecture}) does not: take method='gradcam' or 'occlusion'"
        )
    return CAM if method == "cam" else GRADCAM
