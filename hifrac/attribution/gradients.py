"""Integrated gradients of networks without maps of features, from the mean galaxy to the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from astropy import units as u
from torch import Tensor

from hifrac.attribution.maps import GRADIENTS, HeatMaps, as_batch, named_outputs
from hifrac.attribution.targets import Target
from hifrac.core.exceptions import ModelError
from hifrac.models.structure import StructureNet

if TYPE_CHECKING:
    from hifrac.models import Model

__all__ = ["baseline_picture", "integrated_gradients", "mean_galaxy"]


def integrated_gradients(
    model: Model,
    pixels: np.ndarray,
    target: Target,
    *,
    steps: int = 16,
    baseline: np.ndarray | None = None,
    ebv: np.ndarray | None = None,
) -> HeatMaps:
    """Integrated gradients (Sundararajan, Taly & Yan 2017, arXiv:1703.01365) of the structure network.

    The contribution of a pixel is (x - x0) times the mean of the derivative of the output by it along the
    straight line from a baseline picture x0 to the picture x. Their sum is f(x) - f(x0).

    Parameters
    ----------
    model : `~hifrac.models.Model`
        With the architecture ``StructureNet``; nothing of it is changed.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures of the model's recipe.
    target : `~hifrac.attribution.Target`
        What is explained.
    steps : int, optional
        Nodes of the Gauss-Legendre quadrature along the line; at least 1. A picture whose sum misses
        more than 0.05 dex (0.5 for log odds) is given four times as many.
    baseline : `~numpy.ndarray`, shape (width, width, 3) or (n, width, width, 3), optional
        The pictures to start from, 0 to 255; `mean_galaxy` by default.
    ebv : array of float, shape (n,), optional
        Galactic reddening, the same along the line: it is in the offset.

    Returns
    -------
    maps : `~hifrac.attribution.HeatMaps`
        ``offset`` is f(x0), and ``gap`` what the quadrature missed: the larger, the less the map is worth. It
        is large for pictures without a galaxy.

    Raises
    ------
    TypeError
        If ``steps`` is no integer.
    ValueError
        If ``steps`` is below 1, or ``baseline`` has another shape.
    ~hifrac.core.exceptions.ModelError
        If the model is of another architecture.

    Notes
    -----
    Where to start is a choice, and decides what the map says. From a flat picture of the sky the derivatives
    are those of logarithms of no light at all, and the integral does not converge (with 64 nodes it misses
    0.3 dex); from the mean galaxy of the training set it does, and the map says why the galaxy is held to be
    richer or poorer in gas than that one.

    The network decides which pixels belong to the galaxy's isophotal segment, by a threshold that has no
    derivative. Along the line that mask goes from the one of the baseline to the one of the picture in
    proportion, and what it contributes is given to the pixels that enter or leave. At both ends the
    network is the one that predicts, so that the sum is that of its answers.
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise TypeError(f"steps must be an integer, got {steps!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    network = _with_given_segment(model)
    picture = as_batch(model, pixels).float()
    start = _baseline(network, baseline, picture)
    reddening = [] if ebv is None else [torch.as_tensor(ebv, dtype=torch.float32, device=picture.device)]
    with torch.no_grad():
        outputs = named_outputs(model, network(picture, *reddening))
        begin = named_outputs(model, network(start, *reddening))[target.output]
        masks = network.segments(start), network.segments(picture)
    column = model.card.outputs.index(target.output)
    values = _integral(network, column, start, picture, masks, reddening, steps)
    details = {"steps": int(steps), "baseline": "mean galaxy" if baseline is None else "given"}
    prediction, offset = target.sign * outputs[target.output], target.sign * begin
    maps = HeatMaps(
        (target.sign * values).cpu().numpy(), prediction, offset, outputs, GRADIENTS, None, details
    )
    tolerance = TOLERANCE if target.unit == u.dex else TOLERANCE_LOGIT
    if not (rough := np.flatnonzero(np.abs(maps.gap) > tolerance)).size:
        return maps
    # Few pictures need it, and most of those are no galaxies.
    part = [tensor[rough] for tensor in (start, picture, *masks, *reddening)]
    finer = _integral(network, column, part[0], part[1], tuple(part[2:4]), part[4:], FINER * steps)
    maps.values[rough] = (target.sign * finer).cpu().numpy()
    return maps


def mean_galaxy(network: StructureNet) -> np.ndarray:
    """The mean galaxy of the training set, as the structure network remembers it: a round one.

    Parameters
    ----------
    network : `~hifrac.models.structure.StructureNet`
        Its ``center`` has the mean brightness of the training set's detections in circles, by channel.

    Returns
    -------
    picture : `~numpy.ndarray` of float32, shape (width, width, 3)
        0 to 255; interpolated linearly between the middles of the circles, and constant beyond.
    """
    edges = np.array(network.CIRCLES)
    columns = network.columns(("circles",))
    levels = 255.0 * network.center[columns].detach().cpu().numpy().reshape(3, -1)
    axis = np.arange(network.width) - (network.width - 1) / 2
    radius = np.hypot(axis[None, :], axis[:, None])
    middles = (edges[1:] + edges[:-1]) / 2
    planes = [np.interp(radius, middles, level) for level in levels]
    return np.stack(planes, -1).astype(np.float32)


#: Where more than this is missing from the sum, in dex or in log odds, so many times as many nodes are taken.
#: Log odds span ten times as much.
TOLERANCE, TOLERANCE_LOGIT, FINER = 0.05, 0.5, 4


def baseline_picture(model: Model) -> np.ndarray:
    """The picture that the maps of a model start from: `mean_galaxy` of its network."""
    return mean_galaxy(_with_given_segment(model))


class _GivenSegment(StructureNet):
    """The structure network whose isophotal segment can be given; while it is not, it is found."""

    given: Tensor | None = None

    def _segment(self, counts: Tensor) -> Tensor:
        return super()._segment(counts) if self.given is None else self.given

    def segments(self, pixels: Tensor) -> Tensor:
        """The segments (n, width / 2, width / 2) of pictures, binned as `measure` does it."""
        rows = pixels[:, :, 0::2] + pixels[:, :, 1::2]
        return super()._segment((rows[..., 0::2] + rows[..., 1::2]).sum(1))


def _with_given_segment(model: Model) -> _GivenSegment:
    """A network of its own with the model's weights, from either runtime: the model stays as it is."""
    if model.card.architecture != "StructureNet":
        raise ModelError(
            f"integrated gradients are for StructureNet, and the model {model.card.name!r} is of "
            f"{model.card.architecture}: method='cam' is exact for it"
        )
    network = _GivenSegment(**model.card.options)
    state = model.network.state_dict()  # a script's has the constants too
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    return network.requires_grad_(False).eval().to(model.device)


def _baseline(network: StructureNet, baseline: np.ndarray | None, picture: Tensor) -> Tensor:
    given = mean_galaxy(network) if baseline is None else np.asarray(baseline, dtype=np.float32)
    if given.shape not in (
        tuple(picture.permute(0, 2, 3, 1).shape[1:]),
        tuple(picture.permute(0, 2, 3, 1).shape),
    ):
        raise ValueError(f"baseline must have the shape of the pictures, got {given.shape}")
    start = torch.from_numpy(given).to(picture.device)
    start = start.expand(len(picture), *start.shape[-3:]).permute(0, 3, 1, 2)
    return start.contiguous()


def _integral(
    network: _GivenSegment,
    column: int,
    start: Tensor,
    picture: Tensor,
    masks: tuple[Tensor, Tensor],
    reddening: list[Tensor],
    steps: int,
) -> Tensor:
    """The map (n, height, width): contributions of the three channels and of the mask, together."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    across, entered = picture - start, masks[1] - masks[0]
    total = torch.zeros_like(picture[:, 0])
    of_mask = torch.zeros_like(entered)
    try:
        with torch.enable_grad():
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                at: Any = (start + float(node) * across).requires_grad_(True)
                network.given = (masks[0] + float(node) * entered).requires_grad_(True)
                answer = network(at, *reddening)[column].sum()
                by_pixel, by_mask = torch.autograd.grad(answer, (at, network.given))
                total += float(weight) * (by_pixel * across).sum(1)
                of_mask += float(weight) * by_mask * entered
    finally:
        network.given = None
    # A cell of the mask is two by two pixels, which share what it contributes.
    return total + of_mask.repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
