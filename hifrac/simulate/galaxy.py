"""The parameters of a simulated galaxy, checked."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

_CLOSED_RANGES = (
    ("bulge_fraction", 0.0, 1.0),
    ("bulge_index", 0.5, 8.0),
    ("arm_contrast", 0.0, 1.0),
    ("clump_fraction", 0.0, 1.0),
    ("n_arms", 0, np.inf),
    ("n_clumps", 0, np.inf),
)


@dataclass(frozen=True, kw_only=True)
class SimulatedGalaxy:
    """Light and shape of a simulated galaxy.

    Parameters
    ----------
    i_mag : float
        Total i magnitude (AB); finite.
    g_minus_r, r_minus_i : float
        Colours of the whole galaxy, in mag; the bulge is redder and the clumps
        are bluer than the disk.
    r50 : float
        Half-light radius of the disk along its major axis, in arcsec; positive.
    axial_ratio : float
        Minor over major axis of the disk, in (0, 1]. The bulge is rounder, the
        more so the smaller it is; a bulge without a disk has this axial ratio.
    position_angle : float
        Of the major axis, in degrees from north through east (up through left).
    bulge_fraction : float
        Share of the bulge in the i-band light, in [0, 1]; 1 is an elliptical.
    bulge_size : float
        Half-light radius of the bulge in units of ``r50``; positive.
    bulge_index : float
        Sersic index of the bulge, from 0.5 to 8.
    n_arms : int
        Number of logarithmic spiral arms; 0 for a smooth disk.
    arm_contrast : float
        From 0 (no arms) to 1 (dark between the arms).
    pitch_angle : float
        Of the arms, in degrees, in (0, 90).
    n_clumps : int
        Number of star-forming clumps, strewn over the disk and along its arms.
    clump_fraction : float
        Share of the clumps in the i-band light, in [0, 1]; together with the bulge
        at most 1. Without clumps it counts as 0.

    Raises
    ------
    TypeError
        If a number is no number, or a count no integer.
    ValueError
        If a value is not finite or outside its range.

    Examples
    --------
    >>> from hifrac.simulate import SimulatedGalaxy, render
    >>> galaxy = SimulatedGalaxy(i_mag=15.2, g_minus_r=0.45, r_minus_i=0.2, r50=8.0,
    ...                          axial_ratio=0.7, n_arms=2, n_clumps=30, clump_fraction=0.1)
    >>> render(galaxy, rng=1).shape
    (128, 128, 3)
    """

    i_mag: float
    g_minus_r: float
    r_minus_i: float
    r50: float
    axial_ratio: float = 1.0
    position_angle: float = 0.0
    bulge_fraction: float = 0.0
    bulge_size: float = 0.25
    bulge_index: float = 4.0
    n_arms: int = 0
    arm_contrast: float = 0.6
    pitch_angle: float = 18.0
    n_clumps: int = 0
    clump_fraction: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            check_number(field.name, value, integer=field.type == "int")
        for name, low, high in _CLOSED_RANGES:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, got {getattr(self, name)}")
        for name, high in (("r50", np.inf), ("bulge_size", np.inf), ("pitch_angle", 90.0)):
            if not 0.0 < getattr(self, name) < high:
                raise ValueError(f"{name} must lie between 0 and {high:g}, got {getattr(self, name)}")
        if not 0.0 < self.axial_ratio <= 1.0:
            raise ValueError(f"axial_ratio must be in (0, 1], got {self.axial_ratio}")
        if self.n_clumps and self.bulge_fraction + self.clump_fraction > 1.0:
            raise ValueError("clump_fraction and bulge_fraction add up to more than 1")


def check_number(name: str, value: object, *, integer: bool = False) -> None:
    """Raise TypeError or ValueError unless a value is a finite number."""
    types = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, types):
        raise TypeError(f"{name} must be {'an integer' if integer else 'a number'}, got {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
