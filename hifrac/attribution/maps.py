"""Heat maps of a batch of pictures: class activation, Grad-CAM and occlusion.

Every map is signed, and its pixels are those of the picture. Where the method is additive, the sum of the map
and an offset are what the network says of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac.attribution.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

    from hifrac.models import Model

__all__ = [
    "HeatMaps",
    "class_activation",
    "grad_cam",
    "occlusion_maps",
    "of_features",
    "upsample",
]

#: The full names, as results have them.
CAM = "class activation map"
GRADCAM = "Grad-CAM"
GRADIENTS = "integrated gradients"
OCCLUSION = "occlusion"


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """The maps of n pictures.

    Attributes
    ----------
    values : `~numpy.ndarray` of float32, shape (n, height, width)
        Contributions of the picture's pixels, first row on top, in the unit of the
        target per pixel.
    prediction : `~numpy.ndarray` of float64, shape (n,)
        The output that is explained.
    offset : `~numpy.ndarray` of float64, shape (n,)
        What the map starts from: the bias of the network (class activation), or what it says of the
        baseline (integrated gradients). NaN where the method is not additive.
    outputs : dict of str to `~numpy.ndarray`, shape (n,)
        All the outputs of the network for these pictures.
    method : str
        What was done, by its full name.
    native : `~numpy.ndarray` of float32, shape (n, h, w), or None
        The map as the network has it, before it was brought to the size of the picture:
        ``mean(native) + offset`` is the prediction. None where the method has the size of the picture.
    details : dict
        Parameters of the method.
    """

    values: np.ndarray
    prediction: np.ndarray
    offset: np.ndarray
    outputs: dict[str, np.ndarray]
    method: str
    native: np.ndarray | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def gap(self) -> np.ndarray:
        """What is missing: the prediction minus the offset and the sum of the map; NaN if not additive."""
        return self.prediction - self.offset - self.values.sum((1, 2), dtype=float)


def as_batch(model: Model, pixels: np.ndarray) -> Tensor:
    """Pictures (n, h, w, 3) as the network takes them, (n, 3, h, w), on its device."""
    import torch

    batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    return batch.permute(0, 3, 1, 2).to(model.device).contiguous()


def named_outputs(model: Model, output: Tensor | tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """What a network said, by the names of the card; float64."""
    import torch

    columns = output.unbind(1) if isinstance(output, torch.Tensor) else output
    return {
        name: column.detach().cpu().double().numpy()
        for name, column in zip(model.card.outputs, columns, strict=True)
    }


def of_features(model: Model, pixels: np.ndarray, aim: Target, kind: str) -> HeatMaps:
    """Class activation or Grad-CAM, for networks that end in a mean and a linear layer."""
    import torch

    network = model.network
    with torch.no_grad():
        features = network.forward_features(as_batch(model, pixels))
        outputs = named_outputs(model, network.forward_head(features))
    column = model.card.outputs.index(aim.output)
    weight, bias = network.backbone.head.weight, network.backbone.head.bias
    if kind == CAM:
        with torch.no_grad():
            native = class_activation(features, weight[column])
    else:
        native = grad_cam(network.forward_head, features, column)
        # Grad-CAM is a share for each position, class activation a mean over them.
        native = native * (native.shape[1] * native.shape[2])
    native = aim.sign * native
    height, width = pixels.shape[1:3]
    values = upsample(native, (height, width)) / (height * width)
    prediction = aim.sign * outputs[aim.output]
    return HeatMaps(
        values.cpu().numpy().astype(np.float32),
        prediction,
        np.full(len(pixels), aim.sign * float(bias[column].detach())),
        outputs,
        kind,
        native.cpu().numpy().astype(np.float32),
        {"upsampling": "bilinear, mean kept", "native_shape": list(native.shape[1:])},
    )


def class_activation(features: Tensor, weight: Tensor) -> Tensor:
    """The class-activation map of one output (Zhou et al. 2016, arXiv:1512.04150): sum_k w_k A_k.

    Parameters
    ----------
    features : Tensor, shape (n, channels, h, w)
        The last map of a network whose head is a mean over positions and a linear layer.
    weight : Tensor, shape (channels,)
        That layer's, for one output.

    Returns
    -------
    maps : Tensor, shape (n, h, w)
        Signed. The mean over positions and the layer's bias are the output, exactly.
    """
    return (features * weight[None, :, None, None]).sum(1)


def grad_cam(head: Any, features: Tensor, column: int) -> Tensor:
    """Grad-CAM of one output (Selvaraju et al. 2017, arXiv:1610.02391): sum_k w_k A_k, not rectified.

    Parameters
    ----------
    head : callable
        The outputs (n, n_outputs) of ``features``.
    features : Tensor, shape (n, channels, h, w)
        The last map; w_k is the mean over its positions of the derivative of the output by channel k.
    column : int
        The output.

    Returns
    -------
    maps : Tensor, shape (n, h, w)
        Signed: evidence against stays negative. The paper's map is its positive part.
    """
    import torch

    with torch.enable_grad():
        leaf = features.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(head(leaf)[:, column].sum(), leaf)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features.detach()).sum(1)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps brought to the size of a picture: bilinear, and the mean of each is kept.

    Parameters
    ----------
    maps : Tensor, shape (n, h, w)
        Maps of a network.
    size : (int, int)
        Height and width.

    Returns
    -------
    maps : Tensor, shape (n, height, width)
        Where the sides are multiples of those of ``maps``, plain bilinear interpolation keeps the mean;
        elsewhere the difference is added to all pixels.
    """
    from torch.nn import functional

    large = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return large + (maps.mean((1, 2)) - large.mean((1, 2)))[:, None, None]


def occlusion_maps(
    model: Model,
    pixels: np.ndarray,
    target: Target,
    *,
    size: int = 16,
    stride: int = 8,
    ebv: np.ndarray | None = None,
) -> HeatMaps:
    """How the answer falls when a square is covered with the level of the sky (Zeiler & Fergus 2014).

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model, of any architecture and runtime.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures of the model's recipe.
    target : `Target`
        What is explained.
    size, stride : int, optional
        Side of the square and its step, in pixels; a step of at most the side covers every pixel. Squares at
        the border are cut off by it.
    ebv : array of float, shape (n,), optional
        Galactic reddening.

    Returns
    -------
    maps : `HeatMaps`
        For each pixel the mean over the squares that covered it of the fall of the output divided by the
        square's pixels. Not additive: squares are covered one at a time.

    Raises
    ------
    TypeError
        If ``size`` or ``stride`` is no integer.
    ValueError
        If one is below 1, or ``stride`` above ``size``.
    """
    for name, value in (("size", size), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if stride > size:
        raise ValueError(f"stride must be at most size, {size}, got {stride}: pixels would be left out")
    n, height, width, _ = pixels.shape
    outputs = model.run(pixels, *([] if ebv is None else [ebv]))
    whole = target.sign * outputs[target.output]
    total, count = np.zeros((n, height, width)), np.zeros((height, width))
    squares = [
        (slice(max(top, 0), top + size), slice(max(left, 0), left + size))
        for top in _starts(height, size, stride)
        for left in _starts(width, size, stride)
    ]
    for square in squares:
        count[square] += 1
    for row in range(n):  # one picture with all its squares is one batch
        level = sky_level(pixels[row])
        covered = np.repeat(pixels[row][None], len(squares), axis=0)
        for picture, square in zip(covered, squares, strict=True):
            picture[square] = level
        reddening = [] if ebv is None else [np.repeat(ebv[row], len(squares))]
        falls = whole[row] - target.sign * model.run(covered, *reddening)[target.output]
        for fall, square in zip(falls, squares, strict=True):
            total[row][square] += fall / total[row][square].size
    details = {"size": int(size), "stride": int(stride), "cover": "median of the picture's border"}
    nothing = np.full(n, np.nan)
    return HeatMaps((total / count).astype(np.float32), whole, nothing, outputs, OCCLUSION, None, details)


def _starts(side: int, size: int, stride: int) -> range:
    """Where squares begin, symmetric about the middle, so that each pixel is covered."""
    overlap = (size - stride) // 2
    steps = -(-(side - stride) // stride) + 1 if side > stride else 1
    first = -overlap - (steps * stride - side) // 2
    return range(first, first + steps * stride, stride)


def sky_level(picture: np.ndarray, border: int = 8) -> np.ndarray:
    """The sky of a picture (height, width, 3): the median of each channel along its border, uint8."""
    inside = np.zeros(picture.shape[:2], dtype=bool)
    inside[border:-border, border:-border] = True
    if inside.all() or not (~inside).any():
        inside[:] = False
    return np.median(picture[~inside], axis=0).astype(np.uint8)
