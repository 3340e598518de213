"""Maps of many galaxies together: mean maps by class, and evidence by elliptical radius."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from hifrac.attribution.results import Explanation


def stack_by_class(
    explanations: Iterable[Explanation], classes: Sequence[Any]
) -> dict[Any, tuple[np.ndarray, int]]:
    """The mean map of each class of galaxies.

    Parameters
    ----------
    explanations : iterable of `~hifrac.attribution.Explanation`
        Taken one at a time. Rows without a map are left out.
    classes : sequence
        The class of each row; rows of the class None, or masked, are left out.

    Returns
    -------
    stacks : dict of class to (`~numpy.ndarray` of float64, shape (height, width), int)
        Mean map, its first row on top, and the number of galaxies in it.

    Raises
    ------
    ValueError
        If ``classes`` are fewer or more than ``explanations``, or maps differ in size.
    """
    stacks: dict[Any, tuple[np.ndarray, int]] = {}
    for one, label in zip(explanations, classes, strict=True):
        if not one.served or label is None or label is np.ma.masked:
            continue
        label = label.item() if isinstance(label, np.generic) else label
        total, number = stacks.get(label, (np.zeros(one.values.shape), 0))
        if total.shape != one.values.shape:
            raise ValueError(f"explanations must be of one size, got {total.shape} and {one.values.shape}")
        stacks[label] = (total + one.values, number + 1)
    return {label: (total / number, number) for label, (total, number) in stacks.items()}


def elliptical_radius(
    shape: tuple[int, int], *, axis_ratio: float = 1.0, position_angle: float | u.Quantity = 0.0
) -> np.ndarray:
    """Radius of each pixel in the plane of an inclined disc, along its major axis.

    Parameters
    ----------
    shape : (int, int)
        Height and width of a picture of which the middle is the galaxy's.
    axis_ratio : float, optional
        Minor over major axis, b/a; above 0 and at most 1.
    position_angle : float or `~astropy.units.Quantity`, optional
        Of the major axis, north through east, in degrees; north is up and east to the left.

    Returns
    -------
    radius : `~numpy.ndarray` of float, shape (height, width)
        In pixels; first row on top.

    Raises
    ------
    ValueError
        If ``axis_ratio`` is not between 0 and 1.
    """
    if not 0 < axis_ratio <= 1:
        raise ValueError(f"axis_ratio must be above 0 and at most 1, got {axis_ratio}")
    angle = u.Quantity(position_angle, u.deg).to_value(u.rad)
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    north = (height - 1) / 2 - rows
    east = (width - 1) / 2 - columns
    along = north * np.cos(angle) + east * np.sin(angle)
    across = east * np.cos(angle) - north * np.sin(angle)
    return np.hypot(along, across / axis_ratio)


def radial_evidence(
    explanations: Iterable[Explanation],
    r50: Sequence[float] | u.Quantity,
    *,
    axis_ratio: Sequence[float] | None = None,
    position_angle: Sequence[float] | u.Quantity | None = None,
    edges: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
) -> QTable:
    """Where, in half-light radii, the evidence lies.

    Parameters
    ----------
    explanations : iterable of `~hifrac.attribution.Explanation`
        Taken one at a time; pictures whose scale is known (by their WCS). Rows without a map are left out.
    r50 : sequence of float or `~astropy.units.Quantity`
        Half-light radius of each row, in arcsec unless it has a unit; rows where it is not positive are left
        out.
    axis_ratio : sequence of float, optional
        b/a of each row, to deproject with; 1 by default. Rows where it is not above 0 and at most 1 are left
        out.
    position_angle : sequence of float or `~astropy.units.Quantity`, optional
        Of the major axes, north through east, in degrees. Needed if ``axis_ratio`` is given.
    edges : sequence of float, optional
        Of the rings, in units of ``r50``; increasing, not negative.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row a ring: ``inner``, ``outer`` (in R50), and means over galaxies of the sums of the map in the
        ring: ``total``, ``for`` and ``against`` (its positive and negative contributions), and ``error`` (of
        ``total``, by the spread between galaxies); ``n_galaxies``, those whose picture holds the whole ring.

    Raises
    ------
    ValueError
        If sequences differ in length, ``edges`` do not increase, ``axis_ratio`` comes without
        ``position_angle``, or a picture has no WCS.
    """
    edges = np.asarray(edges, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or np.any(np.diff(edges) <= 0):
        raise ValueError(f"edges must increase from 0 or more, got {edges}")
    radii = u.Quantity(r50, u.arcsec).value
    if axis_ratio is not None and position_angle is None:
        raise ValueError("position_angle is needed with axis_ratio: which way is the galaxy inclined?")
    ratios = np.ones(len(radii)) if axis_ratio is None else np.asarray(axis_ratio, dtype=float)
    angles = np.zeros(len(radii)) if position_angle is None else u.Quantity(position_angle, u.deg).value
    sums: list[list[tuple[float, float]]] = [[] for _ in edges[1:]]
    unit: u.UnitBase = u.dimensionless_unscaled
    for one, radius, ratio, angle in zip(explanations, radii, ratios, angles, strict=True):
        if not one.served or not radius > 0 or not 0 < ratio <= 1 or not np.isfinite(angle):
            continue
        unit = one.target.unit
        scaled = elliptical_radius(one.values.shape, axis_ratio=ratio, position_angle=angle)
        scaled = scaled * _pixel_scale(one) / radius
        # The largest circle, or ellipse, that the picture holds: along its border.
        border = np.concatenate([scaled[0], scaled[-1], scaled[:, 0], scaled[:, -1]]).min()
        for number, (inner, outer) in enumerate(pairwise(edges)):
            if outer > border:
                continue
            ring = one.values[(scaled >= inner) & (scaled < outer)].astype(float)
            sums[number].append((ring[ring > 0].sum(), ring[ring < 0].sum()))
    table = QTable({"inner": edges[:-1], "outer": edges[1:]})
    more, less = (
        np.array([np.mean([pair[side] for pair in ring]) if ring else np.nan for ring in sums])
        for side in (0, 1)
    )
    spread = [np.std([sum(pair) for pair in ring], ddof=1) if len(ring) > 1 else np.nan for ring in sums]
    number = np.array([len(ring) for ring in sums])
    table["total"], table["for"], table["against"] = (more + less) * unit, more * unit, less * unit
    table["error"] = np.array(spread) / np.sqrt(np.maximum(number, 1)) * unit
    table["n_galaxies"] = number
    return table


def _pixel_scale(one: Explanation) -> float:
    """Arcseconds per pixel."""
    if one.wcs is None:
        raise ValueError(f"explanations: the picture of row {one.row} has no WCS, and its scale is not known")
    from astropy.wcs.utils import proj_plane_pixel_scales

    return float(np.mean(proj_plane_pixel_scales(one.wcs))) * 3600
