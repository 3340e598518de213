"""From the photometry of a catalogue to a simulated galaxy.

A catalogue has a magnitude, a colour, an axial ratio, perhaps a size. What a
picture needs beside them comes from relations that are stated here, each with
its source: published, or fitted to galaxies of RESOLVE (Eckert et al. 2015,
ApJ 810, 166) with SDSS photometry, and then with its scatter. Position angles
and clumps are drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize, special

from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import EXTINCTION_PER_EBV
from hifrac.simulate.galaxy import SimulatedGalaxy, check_number

# g-r = slope (g-i) + intercept: least squares through 81 galaxies of RESOLVE, 0.14 < g-i < 1.11.
_LOCUS = (0.698, -0.020)
#: Scatter of g-r about the locus of galaxies, mag.
COLOUR_SCATTER = 0.009

# log10 of the half-light radius in kpc = slope (M_i + 20) + intercept: least squares through the 34 of them
# that ALFALFA detected, which are 0.15 dex larger than the others; distances cz / (70 km/s/Mpc).
_SIZE = (-0.108, 0.604)
#: Scatter of the half-light radius about the relation with luminosity, dex.
SIZE_SCATTER = 0.15

# Internal extinction in ALFALFA-SDSS is gamma log10(a/b), with gamma by band and luminosity
# (Durbala et al. 2020, AJ 160, 271, section 2.2): slope and intercept in M_i, never below zero. Least
# squares through the gammas that their Table 2 tabulates, -24 < M_i < -18.
_INTERNAL = {"g": (-0.29, -5.05), "i": (-0.146, -2.48)}

# log M* = 1.15 + 0.70 (g-i) - 0.4 M_i: Taylor et al. (2011, MNRAS 418, 1587), equation 8.
_TAYLOR = (1.15, 0.70)

# What follows was chosen so that rendered galaxies have the curves of growth, clumpiness and mean colours of
# real cutouts of the same galaxies, 259 of ALFALFA: shares of bulge and clumps by colour; and what to take
# off g-r and r-i, for the stretch was found with colours that had been corrected for dust.
_BULGE = {"colours": (0.5, 1.3), "shares": (0.0, 0.2)}
_BULGE_SIZE = 0.25
_CLUMPS = {"colours": (0.4, 1.1), "shares": (0.2, 0.02)}
_N_CLUMPS = 20
_ZERO_POINTS = {"g_minus_r": -0.065, "r_minus_i": -0.09}


def split_colour(g_minus_i: Any) -> tuple[np.ndarray, np.ndarray]:
    """Split the colour g-i of a galaxy into g-r and r-i on the locus of galaxies, all in mag.

    The parts add up to g-i. The scatter of real galaxies about them is `COLOUR_SCATTER`.
    """
    colour = plain_floats(g_minus_i)
    g_minus_r = _LOCUS[0] * colour + _LOCUS[1]
    return g_minus_r, colour - g_minus_r


def observed_colour(g_minus_i: Any, *, abs_i: Any, axial_ratio: Any, ebv: Any) -> np.ndarray:
    """Return the colour g-i that a picture shows of a galaxy whose colour was corrected for dust.

    Undoes the corrections of ALFALFA-SDSS (Durbala et al. 2020) for dust in the galaxy and in ours.

    Parameters
    ----------
    g_minus_i : array-like of float, shape (n,)
        Corrected colour in mag.
    abs_i : array-like of float, shape (n,)
        Corrected absolute magnitude in i.
    axial_ratio : array-like of float, shape (n,)
        Minor over major axis.
    ebv : array-like of float, shape (n,)
        Galactic reddening in mag, on the scale of SFD, such as `~hifrac.core.galactic_ebv` gives.

    Returns
    -------
    colour : array of float, shape (n,)
        In mag; NaN where something is not known.

    Examples
    --------
    >>> from hifrac.simulate import observed_colour
    >>> observed_colour([0.6, 0.6], abs_i=[-21.0, -21.0], axial_ratio=[0.9, 0.3], ebv=[0.02, 0.1]).round(2)
    array([0.65, 1.  ])
    """
    absolute, ratio = plain_floats(abs_i), plain_floats(axial_ratio)
    internal = {band: np.maximum(np.polyval(line, absolute), 0.0) for band, line in _INTERNAL.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        dust = (internal["g"] - internal["i"]) * -np.log10(ratio)
    return (
        plain_floats(g_minus_i)
        + dust
        + (EXTINCTION_PER_EBV["g"] - EXTINCTION_PER_EBV["i"]) * plain_floats(ebv)
    )


def half_light_radius(abs_i: Any, distance: Any) -> np.ndarray:
    """Return the mean half-light radius (major axis, arcsec) of galaxies of an absolute magnitude in i.

    Distances are in Mpc. Real galaxies scatter about it by `SIZE_SCATTER`.
    """
    kpc = 10.0 ** np.polyval(_SIZE, plain_floats(abs_i) + 20.0)
    return np.degrees(kpc / (1e3 * plain_floats(distance))) * 3600.0


def taylor2011_colour(log_mstar: Any, *, abs_r: Any) -> np.ndarray:
    """Return the colour g-i at which a galaxy of absolute magnitude ``abs_r`` has the stellar mass.

    The relation of Taylor et al. (2011, MNRAS 418, 1587, equation 8), log M* = 1.15 + 0.70 (g-i) - 0.4 M_i
    with M* in solar masses, solved for g-i (mag) where the magnitude is in r. Masses of another method than
    Taylor's shift the colour: 0.1 dex by 0.12 mag.
    """
    slope, intercept = 1.0 - _LOCUS[0], -_LOCUS[1]  # r-i on the locus
    brightness = plain_floats(log_mstar) - _TAYLOR[0] + 0.4 * (plain_floats(abs_r) - intercept)
    return brightness / (_TAYLOR[1] + 0.4 * slope)


def galaxy_from_photometry(
    *,
    i_mag: float,
    g_minus_i: float,
    r50: float,
    axial_ratio: float,
    rng: np.random.Generator | int,
) -> SimulatedGalaxy:
    """Make a bulge, a disk and clumps that have the photometry of a galaxy.

    Parameters
    ----------
    i_mag : float
        Apparent i magnitude (AB), not corrected for dust.
    g_minus_i : float
        Colour in mag, not corrected for dust; red galaxies get larger bulges, blue ones more clumps.
    r50 : float
        Half-light radius of the whole galaxy along its major axis, in arcsec.
    axial_ratio : float
        Minor over major axis, in (0, 1].
    rng : `~numpy.random.Generator` or int
        Draws the position angle.

    Returns
    -------
    galaxy : `SimulatedGalaxy`
        Bluer than ``g_minus_i`` by 0.155 mag: then its picture has the colours of real ones.

    Raises
    ------
    TypeError, ValueError
        If a value is no finite number or out of its range.

    Examples
    --------
    >>> from hifrac.simulate import galaxy_from_photometry
    >>> galaxy = galaxy_from_photometry(i_mag=15.0, g_minus_i=0.6, r50=6.0, axial_ratio=0.5, rng=1)
    >>> galaxy.i_mag, round(galaxy.bulge_fraction, 2), galaxy.n_clumps
    (15.0, 0.02, 20)
    """
    check_number("g_minus_i", g_minus_i)
    g_minus_r, r_minus_i = (float(colour) for colour in split_colour(g_minus_i))
    bulge = _share(g_minus_i, _BULGE)
    return SimulatedGalaxy(
        i_mag=i_mag,
        g_minus_r=g_minus_r + _ZERO_POINTS["g_minus_r"],
        r_minus_i=r_minus_i + _ZERO_POINTS["r_minus_i"],
        r50=r50 / _relative_radius(bulge),
        axial_ratio=axial_ratio,
        position_angle=np.random.default_rng(rng).uniform(0.0, 180.0),
        bulge_fraction=bulge,
        bulge_size=_BULGE_SIZE,
        n_clumps=_N_CLUMPS,
        clump_fraction=_share(g_minus_i, _CLUMPS),
    )


def _share(colour: float, part: dict[str, tuple[float, float]]) -> float:
    """Return the share of the light that the bulge or the clumps of a galaxy of that colour have."""
    return float(np.interp(colour, part["colours"], part["shares"]))


def _relative_radius(bulge: float) -> float:
    """Return the half-light radius of bulge and disk together, in that of the disk, seen face-on."""

    def light_beyond_half(radius: float) -> float:
        inside = bulge * _light_within(radius / _BULGE_SIZE, 4.0) + (1.0 - bulge) * _light_within(radius, 1.0)
        return inside - 0.5

    return optimize.brentq(light_beyond_half, 1e-3, 1.5)


def _light_within(radius: float, index: float) -> float:
    """Return the share of a Sersic profile's light within a radius in units of its half-light radius.

    Equation 2 of Graham & Driver (2005, PASA 22, 118).
    """
    b = special.gammaincinv(2.0 * index, 0.5)
    return float(special.gammainc(2.0 * index, b * radius ** (1.0 / index)))
