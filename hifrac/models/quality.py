"""The quality of a picture: whether the galaxy is in its middle, alone, and wholly inside.

What the structure network measures is spoilt by a galaxy off the centre, by a neighbour, and by a galaxy
that is larger than the picture. Three numbers tell, at a small part of the network's cost, and a picture
whose centre is certain is rolled to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hifrac.core.flags import Flag
from hifrac.models.measuring import smoothing_matrix

#: Numbers above which a picture is flagged; ``benchmarks/quality.py`` says what they bring.
MOST_OFFSET = 3.0
MOST_CROWDING = 2.2
MOST_EDGE_SHARE = 0.22

# Pixels between which pictures are centred: less does not matter, and light that is farther out may be a
# neighbour of the galaxy that was meant.
_NEAREST, _FARTHEST = 2.0, 8.5
# Where SkyServer's pictures have their galaxies: pixels to the right of the middle of the bins, and below it.
_USUAL_PLACE = (0.0, 0.5)
_SKY = 0.02  # of the picture's range
_NOISE = 0.02  # what is fainter is not counted
_FAINTEST = 0.033  # of the peak: 8 of 255 counts
# In bins of two by two pixels: the square in which the galaxy is looked for, the sigma of the smoothing
# before, and that of the window in which its centre is measured.
_MIDDLE, _SMOOTHING, _WINDOW = 24, 0.75, 2.0
# In bins of four by four pixels, of 1.6 arcsec: where neighbours stand, and the edge.
_NEIGHBOURS = 1.875, 8.0
_EDGE = 12.0, 16.0


class Quality(NamedTuple):
    """What is measured on n pictures.

    Attributes
    ----------
    offset : Tensor, shape (n, 2)
        Where the light near the middle peaks, in pixels to the right of and below where a galaxy stands; 0
        if there is none.
    is_certain : Tensor of bool, shape (n,)
        Whether light rises all the way from the middle to the peak: a galaxy in the middle has its own.
    crowding : Tensor, shape (n,)
        Light 3 to 13 arcsec from the middle that no light faces across the centre, by the fourth root
        of that which is faced: the brighter a galaxy is, the more structure of its own is seen.
    edge_share : Tensor, shape (n,)
        Share of the faced light that is farther than 19 arcsec from the middle; 0 if that is noise.
    """

    offset: Tensor
    is_certain: Tensor
    crowding: Tensor
    edge_share: Tensor


class Inspection(NamedTuple):
    """Pictures as they should be measured, and what spoils them.

    Attributes
    ----------
    pixels : array of uint8, shape (n, width, width, 3)
        Centred where the centre is certain; the array that was given, if nothing had to be rolled.
    flags : array of int32, shape (n,)
        OFF_CENTRE, CROWDED and FILLS_FRAME, of the picture as returned; OFF_CENTRE also where it was centred.
    moves : array of int, shape (n, 2)
        By how many pixels the galaxy stood too far down and to the right; 0 where the picture is as it was.
    """

    pixels: np.ndarray
    flags: np.ndarray
    moves: np.ndarray


def inspect_pictures(pixels: np.ndarray, *, in_place: bool = False) -> Inspection:
    """Centre pictures that are off the centre, and flag what spoils an estimate.

    Parameters
    ----------
    pixels : array of uint8, shape (n, width, width, 3)
        Pictures of 0.4 arcsec a pixel, their width a multiple of 4 and at least 64.
    in_place : bool, optional
        Whether these may be rolled; by default they are left as they are.

    Returns
    -------
    inspection : Inspection
    """
    moves = np.zeros((len(pixels), 2), dtype=int)
    with torch.inference_mode():
        quality = measure_quality(torch.from_numpy(np.require(pixels, requirements=["C", "W"])))
        distance = torch.linalg.vector_norm(quality.offset, dim=1)
        is_centered = quality.is_certain & (distance > _NEAREST) & (distance < _FARTHEST)
        if is_centered.any():
            pixels = pixels if in_place else pixels.copy()
            rows = np.flatnonzero(is_centered.numpy())
            moves[rows] = quality.offset[rows].round().flip(1).int().numpy()
            for row in rows:
                # What leaves at one edge comes in at the other: sky for sky.
                pixels[row] = np.roll(pixels[row], -moves[row], (0, 1))
            centered = measure_quality(torch.from_numpy(pixels[rows]))
            quality.crowding[rows], quality.edge_share[rows] = centered.crowding, centered.edge_share
    flags = np.zeros(len(pixels), np.int32)
    for flag, is_set in (
        (Flag.OFF_CENTRE, distance > MOST_OFFSET),
        (Flag.CROWDED, quality.crowding > MOST_CROWDING),
        (Flag.FILLS_FRAME, quality.edge_share > MOST_EDGE_SHARE),
    ):
        flags |= np.where(is_set.numpy(), np.int32(flag), np.int32(0))
    return Inspection(pixels, flags, moves)


def measure_quality(pixels: Tensor) -> Quality:
    """Measure pictures: Tensor of uint8, shape (n, width, width, 3)."""
    n, width = pixels.shape[:2]
    start = width // 2 - _MIDDLE
    # One row of each bin is enough: there is more light than noise in what is looked for. It is the one
    # that makes bins symmetric about where galaxies stand, to half a pixel.
    middle = pixels[:, start + 1 : start + 2 * _MIDDLE : 2, start : start + 2 * _MIDDLE]
    return Quality(
        *_find_peak(_light(middle.reshape(n, _MIDDLE, _MIDDLE, 6))),
        *_surroundings(_light(pixels[:, 2::4].reshape(n, width // 4, width // 4, 12))),
    )


def _light(counts: Tensor) -> Tensor:
    """Return the mean brightness above the sky, from 0 to 1, of bins (n, side, side, values)."""
    size = counts.shape[-1]
    total = counts.float() @ torch.ones(size)  # of integers: exact in any order
    return (total / (255.0 * size) - _SKY).clamp(min=0.0)


def _find_peak(middle: Tensor) -> tuple[Tensor, Tensor]:
    """Return the offset of the peak of the light of the middle, in pixels, and whether it is certain."""
    flux = middle + 1.5 * middle**3  # the stretch undone: sinh to third order
    matrix = smoothing_matrix(_SMOOTHING, _MIDDLE)
    smooth = matrix @ flux @ matrix.t()
    axis = torch.arange(_MIDDLE) - (_MIDDLE - 1) / 2
    place = torch.tensor(_USUAL_PLACE) / 2
    reach = torch.hypot(axis - place[0], (axis - place[1])[:, None]) <= _FARTHEST / 2 + 1
    highest = torch.where(reach, smooth, torch.zeros(())).flatten(1).argmax(1)
    peak = torch.stack([axis[highest % _MIDDLE], axis[highest // _MIDDLE]], 1)
    steps = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])[:, None, None]
    nodes = (place + steps * (peak - place) + (_MIDDLE - 1) / 2).round().long()
    height = smooth.flatten(1).gather(1, (nodes[..., 1] * _MIDDLE + nodes[..., 0]).t())
    rises = (height[:, 1:] >= height[:, :-1]).all(1) & (height[:, -1] > height[:, 0])
    center = peak
    for _ in range(2):
        weight = torch.exp(-0.5 * ((axis - center[..., None]) / _WINDOW) ** 2)
        seen = flux * weight[:, :1]
        by_row, moment = seen.sum(2), seen @ axis
        total = (by_row * weight[:, 1]).sum(1).clamp(min=1e-6)
        x, y = (moment * weight[:, 1]).sum(1) / total, (by_row * weight[:, 1] * axis).sum(1) / total
        # Seen through a Gaussian of its own size, a source moves by half of what it should.
        center = 2 * torch.stack([x, y], 1) - center
    is_near = torch.linalg.vector_norm(center - peak, dim=1) < 1.25
    center = torch.where(is_near[:, None], center, peak)
    is_seen = height[:, -1:] > _FAINTEST
    return torch.where(is_seen, 2 * (center - place), 0.0), rises & is_near & is_seen[:, 0]


def _surroundings(light: Tensor) -> tuple[Tensor, Tensor]:
    """Return crowding and edge share of the light (n, side, side) in bins of four by four pixels."""
    axis = torch.arange(light.shape[1]) - (light.shape[1] - 1) / 2
    radius = torch.hypot(axis, axis[:, None]).flatten()
    zones = torch.stack([(radius < limit).float() for limit in (*_NEIGHBOURS, *_EDGE)], 1)
    facing = torch.minimum(light, light.flip(1, 2)).flatten(1)
    odd = (light.flatten(1) - facing - _NOISE).clamp(min=0.0) @ (zones[:, 1] - zones[:, 0])
    _, near, inner, whole = (facing @ zones).clamp(min=0.02).unbind(1)
    n_bins = (zones[:, 3] - zones[:, 2]).sum()
    return odd / near**0.25, torch.where(whole - inner > _NOISE * n_bins, 1 - inner / whole, 0.0)
