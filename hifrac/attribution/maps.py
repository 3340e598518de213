"""Heat maps of a batch of pictures: class activation, Grad-CAM and occlusion.

Every map is signed, and has the pixels of its picture. Where the method is additive, the sum of the map and
an offset is the output of the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac.attribution.targets import Target
from hifrac.core.counts import require_count

if TYPE_CHECKING:
    from torch import Tensor

    from hifrac.models import Model

#: The full names, as results have them.
CAM = "class activation map"
GRADCAM = "Grad-CAM"
GRADIENTS = "integrated gradients"
OCCLUSION = "occlusion"


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Heat maps of n pictures.

    Attributes
    ----------
    values : `~numpy.ndarray` of float32, shape (n, height, width)
        Contributions of the picture's pixels, first row on top, in the unit of the
        target per pixel.
    prediction : `~numpy.ndarray` of float64, shape (n,)
        The output that is explained.
    offset : `~numpy.ndarray` of float64, shape (n,)
        Output to which the map adds: the bias of the network (class activation), or its output for the
        baseline (integrated gradients). NaN where the method is not additive.
    outputs : dict of str to `~numpy.ndarray`, shape (n,)
        All the outputs of the network for these pictures.
    method : str
        Full name of the method.
    native : `~numpy.ndarray` of float32, shape (n, h, w), or None
        Map at the network's own size, before it was brought to the size of the picture:
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
        """Prediction minus offset and sum of the map; NaN if the method is not additive."""
        return self.prediction - self.offset - self.values.sum((1, 2), dtype=float)


def as_batch(model: Model, pixels: np.ndarray) -> Tensor:
    """Return pictures (n, h, w, 3) as the network takes them, (n, 3, h, w), on its device."""
    import torch

    batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    return batch.permute(0, 3, 1, 2).to(model.device).contiguous()


def named_outputs(model: Model, output: Tensor | tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Return the outputs of a network by the names of the card, as float64."""
    import torch

    columns = output.unbind(1) if isinstance(output, torch.Tensor) else output
    return {
        name: column.detach().cpu().double().numpy()
        for name, column in zip(model.card.outputs, columns, strict=True)
    }


def feature_maps(model: Model, pixels: np.ndarray, target: Target, method: str) -> HeatMaps:
    """Make class-activation maps or Grad-CAM of a network of pixels.

    They add up to the output where the network ends in a mean and a linear layer; elsewhere there is no
    offset.
    """
    import torch

    from hifrac.models.xresnet import centre

    network: Any = model.network  # its methods are those of PixelNet, in a script too
    with torch.no_grad():
        features = network.forward_features(as_batch(model, pixels))
        outputs = named_outputs(model, network.forward_head(features))
    column = model.card.outputs.index(target.output)
    bias = getattr(network.backbone.head, "bias", None)
    if method == CAM:
        with torch.no_grad():
            native = class_activation(features, network.backbone.head.weight[column])
    else:
        native = grad_cam(network.forward_head, features, column)
        # Grad-CAM sums over positions, class activation takes their mean.
        native = native * (native.shape[1] * native.shape[2])
    native = target.sign * native
    width = pixels.shape[1]
    side = getattr(network, "crop", None) or width  # scripts of earlier versions see the whole picture
    values = centre(upsample(native, (side, side))[:, None] / side**2, width)[:, 0]
    return HeatMaps(
        values.cpu().numpy().astype(np.float32),
        target.sign * outputs[target.output],
        np.full(len(pixels), np.nan if bias is None else target.sign * float(bias[column].detach())),
        outputs,
        method,
        native.cpu().numpy().astype(np.float32),
        {"upsampling": "bilinear, mean kept", "native_shape": list(native.shape[1:])},
    )


def class_activation(features: Tensor, weight: Tensor) -> Tensor:
    """Return the class-activation maps of one output (Zhou et al. 2016, arXiv:1512.04150): sum_k w_k A_k.

    ``features`` (n, channels, h, w) enter a mean over positions and a linear layer, which has ``weight``
    (channels,) for the output. The mean of a map over positions plus the layer's bias is exactly the output.
    """
    return (features * weight[None, :, None, None]).sum(1)


def grad_cam(head: Any, features: Tensor, column: int) -> Tensor:
    """Return Grad-CAM maps of one output (Selvaraju et al. 2017, arXiv:1610.02391): sum_k w_k A_k, signed.

    w_k is the mean over positions of the derivative of ``head(features)[:, column]`` by channel k of the
    features (n, channels, h, w). The paper's map is the positive part.
    """
    import torch

    with torch.enable_grad():
        leaf = features.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(head(leaf)[:, column].sum(), leaf)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features.detach()).sum(1)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps (n, h, w) to the size of a picture: bilinear, and the mean of each map stays as it is."""
    from torch.nn import functional

    large = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    # Interpolation changes the mean where the sides are no multiples of the map's.
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
    """Map how the output falls when a square is covered with the level of the sky (Zeiler & Fergus 2014).

    The value of a pixel is the mean, over the squares that covered it, of the fall per pixel of the square.
    Squares at the border are cut off by it. Not additive: squares are covered one at a time.
    """
    require_count("size", size)
    require_count("stride", stride)
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
    for row in range(n):  # a picture with each of its squares covered is one batch
        level = sky_level(pixels[row])
        covered = np.repeat(pixels[row][None], len(squares), axis=0)
        for picture, square in zip(covered, squares, strict=True):
            picture[square] = level
        reddening = [] if ebv is None else [np.repeat(ebv[row], len(squares))]
        falls = whole[row] - target.sign * model.run(covered, *reddening)[target.output]
        for fall, square in zip(falls, squares, strict=True):
            total[row][square] += fall / total[row][square].size
    details = {"size": int(size), "stride": int(stride), "cover": "median of the picture's border"}
    offset = np.full(n, np.nan)
    return HeatMaps((total / count).astype(np.float32), whole, offset, outputs, OCCLUSION, None, details)


def _starts(side: int, size: int, stride: int) -> range:
    """Return where squares begin, symmetric about the middle, so that each pixel is covered."""
    overlap = (size - stride) // 2
    steps = -(-(side - stride) // stride) + 1 if side > stride else 1
    first = -overlap - (steps * stride - side) // 2
    return range(first, first + steps * stride, stride)


def sky_level(picture: np.ndarray, border: int = 8) -> np.ndarray:
    """Return the sky of a picture (height, width, 3): the median of each channel along its border, uint8."""
    inside = np.zeros(picture.shape[:2], dtype=bool)
    inside[border:-border, border:-border] = True
    if inside.all() or not (~inside).any():
        inside[:] = False
    return np.median(picture[~inside], axis=0).astype(np.uint8)
