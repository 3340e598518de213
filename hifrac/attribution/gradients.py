"""Integrated gradients of networks that measure pictures, from the mean galaxy to the picture."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from astropy import units as u
from torch import Tensor

from hifrac.attribution.maps import GRADIENTS, HeatMaps, as_batch, named_outputs
from hifrac.attribution.targets import Target
from hifrac.core.counts import require_count
from hifrac.core.exceptions import ModelError
from hifrac.models._torch import plain_torch
from hifrac.models.architectures import ARCHITECTURES
from hifrac.models.measuring import MeasuringNet

if TYPE_CHECKING:
    from hifrac.models import Model

#: Points of the line in one pass of the network. One at a time they take three times as long.
_PASS = 16

# A picture whose sum misses more than this, in dex or in log odds (which span ten times as much), is
# integrated again with four times as many nodes.
_TOLERANCE, _TOLERANCE_LOGIT, _FINER = 0.05, 0.5, 4


def integrated_gradients(
    model: Model,
    pixels: np.ndarray,
    target: Target,
    *,
    steps: int = 16,
    baseline: np.ndarray | None = None,
    ebv: np.ndarray | None = None,
) -> HeatMaps:
    """Map integrated gradients (Sundararajan, Taly & Yan 2017, arXiv:1703.01365) of measuring networks.

    The contribution of a pixel is (x - x0) times the mean of the derivative of the output by it along the
    straight line from a baseline picture x0 to the picture x. Their sum is f(x) - f(x0).

    Parameters
    ----------
    model : `~hifrac.models.Model`
        Model that measures pictures, as the default one does; it is left as it is.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures of the model's recipe.
    target : `~hifrac.attribution.Target`
        What is explained.
    steps : int, optional
        Nodes of the Gauss-Legendre quadrature along the line; at least 1. A picture whose sum misses
        more than 0.05 dex (0.5 for log odds) is integrated again with four times as many.
    baseline : `~numpy.ndarray`, shape (width, width, 3) or (n, width, width, 3), optional
        Pictures to start from, 0 to 255; the mean galaxy of the training set by default.
    ebv : array of float, shape (n,), optional
        Galactic reddening, the same along the line: its contribution is in the offset.

    Returns
    -------
    maps : `~hifrac.attribution.HeatMaps`
        ``offset`` is f(x0), and ``gap`` the error of the quadrature: the larger, the less the map means. It
        is large for pictures without a galaxy.

    Raises
    ------
    TypeError
        If ``steps`` is no integer.
    ValueError
        If ``steps`` is below 1, or ``baseline`` has another shape.
    ~hifrac.core.ModelError
        If the model is of another kind.

    Notes
    -----
    The baseline is a choice, and decides what the map means. From a flat picture of the sky the network takes
    logarithms of no light at all, and the integral does not converge (with 64 nodes it misses 0.3 dex). From
    the mean galaxy of the training set it does, and the map shows why the estimate is higher or lower than
    that galaxy's.

    The network decides by a threshold, which has no derivative, which pixels belong to the galaxy's isophotal
    segment. Along the line that mask goes from the baseline's to the picture's in proportion, and its
    contribution is given to the pixels that enter or leave. At both ends the network is the one that
    predicts, so that the sum of the map is the difference of its answers.
    """
    require_count("steps", steps)
    network = _with_settable_segment(model)
    picture = as_batch(model, pixels).float()
    start = _baseline(network, baseline, picture)
    reddening = [] if ebv is None else [torch.as_tensor(ebv, dtype=torch.float32, device=picture.device)]
    with torch.no_grad():
        masks = network.segments(start), network.segments(picture)
        begin, outputs = (
            named_outputs(model, network.with_segment(pixels, segment, reddening))
            for pixels, segment in zip((start, picture), masks, strict=True)
        )
    column = model.card.outputs.index(target.output)
    values = _integral(network, column, start, picture, masks, reddening, steps)
    maps = HeatMaps(
        values=(target.sign * values).cpu().numpy(),
        prediction=target.sign * outputs[target.output],
        offset=target.sign * begin[target.output],
        outputs=outputs,
        method=GRADIENTS,
        details={"steps": int(steps), "baseline": "mean galaxy" if baseline is None else "given"},
    )
    tolerance = _TOLERANCE if target.unit == u.dex else _TOLERANCE_LOGIT
    rough = np.flatnonzero(np.abs(maps.gap) > tolerance)
    if rough.size:  # few pictures need it, and most of those are no galaxies
        start, picture = start[rough], picture[rough]
        masks = masks[0][rough], masks[1][rough]
        reddening = [ebv_values[rough] for ebv_values in reddening]
        finer = _integral(network, column, start, picture, masks, reddening, _FINER * steps)
        maps.values[rough] = (target.sign * finer).cpu().numpy()
    return maps


def mean_galaxy(network: MeasuringNet) -> np.ndarray:
    """Return the mean galaxy of the training set, a round one: float32 (width, width, 3), 0 to 255.

    ``network.center`` has the mean brightness of the training set's detections in circles, by channel; it is
    interpolated linearly between the middles of the circles, and constant beyond.
    """
    edges = np.array(network.CIRCLES)
    columns = network.columns(("circles",))
    levels = 255.0 * network.center[columns].detach().cpu().numpy().reshape(3, -1)
    axis = np.arange(network.width) - (network.width - 1) / 2
    radius = np.hypot(axis[None, :], axis[:, None])
    middles = (edges[1:] + edges[:-1]) / 2
    planes = [np.interp(radius, middles, level) for level in levels]
    return np.stack(planes, -1).astype(np.float32)


@plain_torch()
def baseline_picture(model: Model) -> np.ndarray:
    """Return the picture that the maps of a model start from: `mean_galaxy` of its network."""
    return mean_galaxy(_with_settable_segment(model))


class _SettableSegment(MeasuringNet):
    """What goes before a network to have an isophotal segment that can be set from outside."""

    segment: Tensor | None = None

    def _segment(self, counts: Tensor) -> Tensor:
        return super()._segment(counts) if self.segment is None else self.segment

    def with_segment(self, pixels: Tensor, segment: Tensor, ebv: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for pictures that have these segments."""
        self.segment = segment
        try:
            return self.forward_head(self.forward_features(pixels, *ebv))
        finally:
            self.segment = None

    def segments(self, pixels: Tensor) -> Tensor:
        """Return the segments (n, width / 2, width / 2) of pictures, binned as ``measure`` does it."""
        rows = pixels[:, :, 0::2] + pixels[:, :, 1::2]
        return super()._segment((rows[..., 0::2] + rows[..., 1::2]).sum(1))


def _with_settable_segment(model: Model) -> _SettableSegment:
    """Build a network of its own with the model's weights, from either runtime."""
    card = model.card
    if not card.is_measured:
        raise ModelError(
            f"integrated gradients are for networks that measure pictures, and the model {card.name!r} is of "
            f"{card.architecture}: method='cam' is exact for it"
        )
    measuring = cast("type[MeasuringNet]", ARCHITECTURES[card.architecture])
    network = type("Settable", (_SettableSegment, measuring), {})(**card.options)
    state = model.network.state_dict()  # a script's has the constants too
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    return network.requires_grad_(False).eval().to(model.device)


def _baseline(network: MeasuringNet, baseline: np.ndarray | None, picture: Tensor) -> Tensor:
    """Return the pictures to start from, (n, 3, height, width)."""
    values = mean_galaxy(network) if baseline is None else np.asarray(baseline, dtype=np.float32)
    n, channels, height, width = picture.shape
    if values.shape not in ((height, width, channels), (n, height, width, channels)):
        raise ValueError(f"baseline must have the shape of the pictures, got {values.shape}")
    start = torch.from_numpy(values).to(picture.device)
    start = start.expand(len(picture), *start.shape[-3:]).permute(0, 3, 1, 2)
    return start.contiguous()


def _integral(
    network: _SettableSegment,
    column: int,
    start: Tensor,
    picture: Tensor,
    masks: tuple[Tensor, Tensor],
    reddening: list[Tensor],
    steps: int,
) -> Tensor:
    """Integrate along the line: contributions (n, height, width) of the three channels and of the mask."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places, shares = (
        torch.as_tensor(values / 2, dtype=picture.dtype, device=picture.device)
        for values in (nodes + 1, weights)
    )
    difference, mask_difference = picture - start, masks[1] - masks[0]
    pixel_sum = torch.zeros_like(picture[:, 0])
    mask_sum = torch.zeros_like(mask_difference)
    # Picture by picture, so that no map depends on the others; the nodes of one fill a pass.
    for row, part in itertools.product(range(len(picture)), torch.arange(steps).split(_PASS)):
        place = places[part, None, None]
        points = start[row] + place[..., None] * difference[row]
        segments = masks[0][row] + place * mask_difference[row]
        ebv = [values[row].expand(len(part)) for values in reddening]
        with torch.enable_grad():
            line = points.requires_grad_(True), segments.requires_grad_(True)
            output = network.with_segment(*line, ebv)[column].sum()
            by_pixel, by_mask = torch.autograd.grad(output, line)
        pixel_sum[row] += (torch.tensordot(shares[part], by_pixel, 1) * difference[row]).sum(0)
        mask_sum[row] += torch.tensordot(shares[part], by_mask, 1) * mask_difference[row]
    # A cell of the mask is two by two pixels, which share its contribution.
    return pixel_sum + mask_sum.repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
