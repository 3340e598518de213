"""The methods of ``explain``: which of them a model can do, and the heat maps that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac.attribution.gradients import integrated_gradients
from hifrac.attribution.maps import CAM, GRADCAM, GRADIENTS, OCCLUSION, HeatMaps, occlusion_maps, of_features
from hifrac.attribution.targets import resolve_target
from hifrac.core.exceptions import ModelError

if TYPE_CHECKING:
    from hifrac.models import Model

__all__ = ["METHODS", "heat_maps", "resolve_method"]

#: What ``explain(method=)`` takes.
METHODS = ("cam", "gradcam", "occlusion")

_GRADIENTS_OF = ("torchscript", "eager")


def heat_maps(
    model: Model,
    pixels: np.ndarray,
    *,
    method: str = "cam",
    target: str = "log_hi_fraction",
    ebv: np.ndarray | None = None,
    **options: Any,
) -> HeatMaps:
    """Heat maps of pictures.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model; nothing of it is changed.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures of the model's recipe.
    method : {"cam", "gradcam", "occlusion"}, optional
        ``"cam"`` is the exact additive map that the architecture allows: the class-activation map where the
        network ends in a mean over positions and a linear layer, and integrated gradients
        (`~hifrac.attribution.gradients.integrated_gradients`) where it has no maps of features.
    target : str, optional
        What is explained, see `~hifrac.attribution.resolve_target`.
    ebv : array of float, shape (n,), optional
        Galactic reddening, for models that take it; it has no pixels, and its part is in the offset.
    **options
        Of the method: ``steps`` and ``baseline`` of `~hifrac.attribution.gradients.integrated_gradients`,
        ``size`` and ``stride`` of `occlusion_maps`.

    Returns
    -------
    maps : `HeatMaps`

    Raises
    ------
    TypeError
        If the method has no such option.
    ValueError
        If ``method`` is unknown, the model does not have ``target``, or ``pixels`` are of another type or
        shape.
    ~hifrac.core.exceptions.ModelError
        If the model cannot do ``method``; the message names both.
    """
    aim = resolve_target(model.card, target)
    kind = resolve_method(model, method)
    width = model.card.recipe.width
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (width, width, 3):
        raise ValueError(
            f"pixels must be uint8 of shape (n, {width}, {width}, 3), got {pixels.dtype} {pixels.shape}"
        )
    if kind == OCCLUSION:
        return occlusion_maps(model, pixels, aim, ebv=ebv, **options)
    if kind == GRADIENTS:
        return integrated_gradients(model, pixels, aim, ebv=ebv, **options)
    if options:
        raise TypeError(f"method {method!r} has no option {next(iter(options))!r}")
    return of_features(model, pixels, aim, kind)


def resolve_method(model: Model, method: str) -> str:
    """The full name of what a method is for a model.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    method : str
        One of `METHODS`.

    Returns
    -------
    name : str

    Raises
    ------
    ValueError
        If ``method`` is unknown.
    ~hifrac.core.exceptions.ModelError
        If the model cannot do it.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if method == "occlusion":
        return OCCLUSION
    if model.runtime not in _GRADIENTS_OF:
        raise ModelError(
            f"method {method!r} looks into the network, and {model.runtime!r} does not let it: load the "
            f"model {model.card.name!r} with runtime='torchscript' or 'eager', or take method='occlusion'"
        )
    if model.card.architecture == "StructureNet":
        if method == "cam":
            return GRADIENTS
        raise ModelError(
            f"method {method!r} needs maps of features, and the model {model.card.name!r} (StructureNet) has "
            "none: it measures whole pictures; take method='cam' (integrated gradients) or 'occlusion'"
        )
    return CAM if method == "cam" else GRADCAM
