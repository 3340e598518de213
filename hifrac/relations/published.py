"""The published relations, each with its source, and their registry."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from hifrac.core.columns import ResultColumn, make_column
from hifrac.core.measurements import parse_numbers
from hifrac.relations._common import (
    Relation,
    RelationFlag,
    check,
    normal_percentiles,
    relation_result,
)
from hifrac.relations.metallicity import METALLICITY_RELATIONS

_ZHANG_SCATTER = 0.31  # dex; abstract of Zhang et al. (2009)
_SURFACE_BRIGHTNESS = u.mag / u.arcsec**2

#: Eckert et al. (2015), Tables 4 to 7: p0 to p8 of each colour.
_ECKERT = {
    "g-r": (19.70, -1.15, 0.48, -3.65, 1.51, 0.87, 115.1, 0.72, 0.05),
    "g-i": (19.99, -0.70, 0.45, -2.47, 1.58, 0.55, 72.29, 1.05, 0.09),
    "u-r": (17.22, 0.33, 0.22, -1.67, 2.56, 0.21, 47.65, 2.21, 0.14),
    "u-i": (35.05, 0.46, 0.24, -1.37, 2.40, 0.19, 68.44, 2.55, 0.20),
}
_HELIUM = np.log10(1.4)  # their gas mass is 1.4 M_HI
_GAS_POOR = (-1.4, -1.3)  # the bin in log(G/S) that holds all galaxies with G/S < 0.05


def _eckert_range(band: str) -> tuple[float, float]:
    _, p1, p2, *_, p7, p8 = _ECKERT[band]
    return round(float(np.exp(p1 - 2 * p2)), 2), round(p7 + 3 * p8, 2)


def _relations() -> dict[str, Relation]:
    zhang = Relation(
        "zhang2009",
        "zhang2009(g_minus_r=..., mu_i=...)",
        "log10(M_HI/M*) = -1.73238 (g-r) + 0.215182 mu_i - 4.08451",
        {"g_minus_r": (0.0, 1.0), "mu_i": (18.0, 25.0)},
        "chosen here: the abstract gives none; about where SDSS galaxies with HI lie",
        _ZHANG_SCATTER,
        "SDSS Petrosian magnitudes (AB); mu_i = m_i + 2.5 log10(2 pi R50^2), R50 Petrosian",
        "Zhang et al. 2009, MNRAS 397, 1243 (arXiv:0902.2392)",
        "abstract",
    )
    eckert = (
        Relation(
            f"eckert2015_{band.replace('-', '')}",
            f'eckert2015_pgf(color, band="{band}")',
            f"density of log10(1.4 M_HI/M*) given {band}, nine parameters",
            {band: _eckert_range(band)},
            "from the parameters: bluest 2% of the lognormal, red sequence plus three sigma",
            None,
            "SDSS magnitudes (AB) as remeasured for RESOLVE",
            "Eckert et al. 2015, ApJ 810, 166",
            "Tables 4-7",
        )
        for band in _ECKERT
    )
    return {relation.name: relation for relation in (zhang, *eckert)} | METALLICITY_RELATIONS


#: All relations by name; print `relations_table`.
RELATIONS = _relations()


def relations_table() -> Table:
    """Return the registry as a table.

    Returns
    -------
    table : `~astropy.table.Table`
        One row for each of `RELATIONS`; its scatter is masked where the relation gives a density of its own.

    Examples
    --------
    >>> from hifrac.relations import relations_table
    >>> print(relations_table()["name", "range", "scatter", "equation"][:5])
         name                range            scatter  equation
                                                 dex
    ------------- --------------------------- ------- ----------
        zhang2009 g_minus_r 0..1, mu_i 18..25    0.31   abstract
    eckert2015_gr              g-r 0.12..0.87      -- Tables 4-7
    eckert2015_gi               g-i 0.2..1.32      -- Tables 4-7
    eckert2015_ur               u-r 0.9..2.63      -- Tables 4-7
    eckert2015_ui              u-i 0.98..3.15      -- Tables 4-7
    """
    rows = list(RELATIONS.values())
    table = Table()
    for name in ("name", "call", "expression"):
        table[name] = [getattr(row, name) for row in rows]
    table["range"] = [
        ", ".join(f"{key} {low:g}..{high:g}" for key, (low, high) in row.ranges.items()) for row in rows
    ]
    table["range_from"] = [row.ranges_from for row in rows]
    scatter = [np.nan if row.scatter is None else row.scatter for row in rows]
    table["scatter"] = MaskedColumn(scatter, mask=np.isnan(scatter), unit=u.dex)
    for name in ("system", "reference", "equation"):
        table[name] = [getattr(row, name) for row in rows]
    return table


def mu_i(m_i: Any, r50: Any) -> u.Quantity:
    r"""Compute the surface brightness in i within the half-light radius, as `zhang2009` takes it.

    .. math:: \mu_i = m_i + 2.5 \log_{10}(2 \pi R_{50}^2)

    Parameters
    ----------
    m_i : array-like or `~astropy.units.Quantity`
        Petrosian apparent magnitude in i, corrected for Galactic extinction (mag).
    r50 : array-like or `~astropy.units.Quantity`
        Radius of half of the Petrosian light in i: an angle, or plain numbers in arcsec.

    Returns
    -------
    mu_i : masked `~astropy.units.Quantity`
        In mag / arcsec^2, masked where a measurement is masked, not finite, or the radius not above zero.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If a measurement is not numbers, in another unit, or the shapes differ.

    Examples
    --------
    >>> from astropy import units as u
    >>> from hifrac.relations import mu_i
    >>> mu_i(15.0, 5 * u.arcsec).round(3)
    <MaskedQuantity 20.49 mag / arcsec2>
    """
    magnitude = parse_numbers(m_i, "m_i", u.mag)
    radius = parse_numbers(r50, "r50", u.arcsec)
    if magnitude.shape != radius.shape and magnitude.size != 1 and radius.size != 1:
        raise ValueError(f"m_i and r50 must have one shape, got {magnitude.shape} and {radius.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        result = magnitude + 2.5 * np.log10(2 * np.pi * np.where(radius > 0, radius, np.nan) ** 2)
    if np.ndim(m_i) == np.ndim(r50) == 0:
        result = result[0]
    return Masked(result * _SURFACE_BRIGHTNESS, mask=~np.isfinite(result))


def zhang2009(*, g_minus_r: Any, mu_i: Any) -> QTable:
    r"""Estimate the HI mass fraction from colour and surface brightness.

    .. math:: \log_{10}(M_\mathrm{HI}/M_*) = -1.73238\,(g-r) + 0.215182\,\mu_i - 4.08451

    with a scatter of 0.31 dex (Zhang et al. 2009).

    Parameters
    ----------
    g_minus_r : array-like, column or `~astropy.units.Quantity`, shape (n,)
        Colour from SDSS Petrosian magnitudes, corrected for Galactic extinction (mag).
    mu_i : array-like, column or `~astropy.units.Quantity`, shape (n,)
        Surface brightness in i, see `mu_i` (mag / arcsec^2).

    Returns
    -------
    table : `~astropy.table.QTable`
        ``log_hi_fraction``, ``log_hi_fraction_p16``, ``log_hi_fraction_p84`` (dex) and ``relation_flags``
        (`RelationFlag`). The percentiles take the published scatter to be normal. Rows outside the
        range of the relation are masked.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If a measurement is not numbers, in another unit, or the lengths differ.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If all rows are outside the range: that points to another colour or system.

    Examples
    --------
    >>> from hifrac.relations import zhang2009
    >>> zhang2009(g_minus_r=[0.5], mu_i=[21.0])["log_hi_fraction"].round(3).tolist()
    [-0.432]
    """
    relation = RELATIONS["zhang2009"]
    inputs = {
        "g_minus_r": parse_numbers(g_minus_r, "g_minus_r", u.mag),
        "mu_i": parse_numbers(mu_i, "mu_i", _SURFACE_BRIGHTNESS, u.mag),
    }
    flags = check(inputs, relation)
    estimate = -1.73238 * inputs["g_minus_r"] + 0.215182 * inputs["mu_i"] - 4.08451
    return relation_result(estimate, *normal_percentiles(estimate, _ZHANG_SCATTER), flags, relation)


def eckert2015_density(
    color: Any, *, band: str = "g-r", resolution: float = 0.04
) -> tuple[u.Quantity, np.ndarray]:
    r"""Compute the full probability density of the HI mass fraction at a colour.

    With :math:`y = \log_{10}(1.4\,M_\mathrm{HI}/M_*)`, the colour c, the parameters
    p0 to p8 of the colour, :math:`\bar y = p_3 c + p_4` and :math:`\sigma = p_5 c`, the density is
    proportional to

    .. math::

        P(c) \exp\left(-\frac{(y - \bar y)^2}{2 \sigma^2}\right) \quad (y > -1.3), \qquad
        P(c) = \frac{p_0}{\sqrt{2\pi}\, p_2 c} \exp\left(-\frac{(\ln c - p_1)^2}{2 p_2^2}\right)

    and in the bin of the gas-poor, :math:`-1.4 < y \le -1.3`, to

    .. math::

        P(c)\,\sigma \sqrt{\frac{\pi}{2}}
        \left[1 - \mathrm{erf}\frac{|\log_{10} 0.05 - \bar y|}{\sqrt 2\, \sigma}\right]
        + p_6 \exp\left(-\frac{(c - p_7)^2}{2 p_8^2}\right)

    (Eckert et al. 2015). All galaxies with gas below 5% of their stars are in that bin.

    Parameters
    ----------
    color : array-like, column or `~astropy.units.Quantity`, shape (n,)
        The colour (mag).
    band : str, optional
        Which: "g-r", "g-i", "u-r" or "u-i".
    resolution : float, optional
        Step in dex of the grid, from y = -2 to 2; the published one is 0.04.

    Returns
    -------
    log_hi_fraction : `~astropy.units.Quantity`, shape (m,)
        log10(M_HI/M*) of the grid, which is y less log10(1.4) (dex).
    density : array of float, shape (n, m)
        Per dex; its integral by the trapezoidal rule is 1. NaN in rows that are missing or outside the range.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If the colour is not numbers or in another unit, the band unknown, or the resolution out of range.

    Examples
    --------
    >>> from hifrac.relations import eckert2015_density
    >>> log_hi_fraction, density = eckert2015_density([0.3, 0.6])
    >>> log_hi_fraction[density.argmax(axis=1)].round(2)
    <Quantity [ 0.25, -0.83] dex>
    """
    _, values, flags = _eckert_input(color, band)
    y = _eckert_grid(resolution)
    density = np.full((len(values), len(y)), np.nan)
    density[flags == 0] = _eckert_density(values[flags == 0], y, _ECKERT[band])
    return (y - _HELIUM) * u.dex, density


def eckert2015_pgf(color: Any, *, band: str = "g-r", resolution: float = 0.04) -> QTable:
    """Estimate the HI mass fraction from a colour: photometric gas fractions of RESOLVE (Eckert et al. 2015).

    Parameters
    ----------
    color : array-like, column or `~astropy.units.Quantity`, shape (n,)
        The colour, from SDSS magnitudes as remeasured for RESOLVE (mag).
    band : str, optional
        Which: "g-r", "g-i", "u-r" or "u-i".
    resolution : float, optional
        Step in dex of the grid that the density is computed on; the published one is 0.04. Median, mode and
        percentiles are values of the grid: a percentile is the first at which the integral of the
        density reaches the share.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``log_hi_fraction`` (the median), ``log_hi_fraction_p16``, ``log_hi_fraction_p84``,
        ``log_hi_fraction_mode`` (dex), ``p_gas_poor`` (probability of gas, helium included, below 5% of
        the stars) and ``relation_flags`` (`RelationFlag`). Rows outside the range of the relation are masked.
        For the density itself see `eckert2015_density`.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        As `eckert2015_density`.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If all rows are outside the range: that points to another colour or system.

    Examples
    --------
    >>> from hifrac.relations import eckert2015_pgf
    >>> eckert2015_pgf([0.5])["log_hi_fraction"].round(3).tolist()
    [-0.426]
    """
    relation, values, flags = _eckert_input(color, band)
    y = _eckert_grid(resolution)
    columns = {name: np.full(len(values), np.nan) for name in ("p16", "p50", "p84", "mode", "poor")}
    good = np.flatnonzero(flags == 0)
    # In pieces: the densities of a million galaxies are 800 MB.
    for rows in np.array_split(good, max(1, len(good) * len(y) // (1 << 22))):
        density = _eckert_density(values[rows], y, _ECKERT[band])
        total = np.cumsum(_trapezoids(density, y), axis=1)
        for name, share in (("p16", 0.16), ("p50", 0.5), ("p84", 0.84)):
            columns[name][rows] = y[1 + np.argmax(total >= share, axis=1)]
        columns["mode"][rows] = y[np.argmax(density, axis=1)]
        columns["poor"][rows] = density[:, y <= _GAS_POOR[1] + 1e-9].sum(axis=1) * (y[1] - y[0])
    flags |= np.where(columns["p50"] <= _GAS_POOR[1] + 1e-9, int(RelationFlag.GAS_POOR), 0)
    p50, p16, p84, mode = (columns[name] - _HELIUM for name in ("p50", "p16", "p84", "mode"))
    table = relation_result(p50, p16, p84, flags, relation)
    mask = np.isnan(mode)
    likeliest = ResultColumn(
        "log_hi_fraction_mode", u.dex, "HI mass fraction log10(M_HI/M*): the likeliest value"
    )
    table.add_column(make_column(likeliest, mode, mask), 3, likeliest.name)
    table.add_column(MaskedColumn(columns["poor"], mask=mask), 4, "p_gas_poor")
    table["p_gas_poor"].info.description = "probability of gas, helium included, below 5% of the stellar mass"
    return table


def _eckert_input(color: Any, band: str) -> tuple[Relation, np.ndarray, np.ndarray]:
    if band not in _ECKERT:
        raise ValueError(f"band must be one of {', '.join(_ECKERT)}, got {band!r}")
    relation = RELATIONS[f"eckert2015_{band.replace('-', '')}"]
    values = parse_numbers(color, "color", u.mag)
    return relation, values, check({band: values}, relation)


def _eckert_grid(resolution: float) -> np.ndarray:
    if not 1e-4 <= resolution <= 0.1:
        raise ValueError(f"resolution must be from 0.0001 to 0.1 dex, got {resolution}")
    steps = round(4 / resolution)
    return np.round(-2 + 4 / steps * np.arange(steps + 1), 10)


def _eckert_density(color: np.ndarray, y: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    from scipy.special import erfc

    p0, p1, p2, p3, p4, p5, p6, p7, p8 = parameters
    c = color[:, None]
    middle, width = p3 * c + p4, p5 * c
    peak = p0 * np.exp(-((np.log(c) - p1) ** 2) / (2 * p2**2)) / (c * p2 * np.sqrt(2 * np.pi))
    rich = peak * np.exp(-((y - middle) ** 2) / (2 * width**2))
    tail = erfc(np.abs(np.log10(0.05) - middle) / (np.sqrt(2) * width))
    poor = peak * width * np.sqrt(np.pi / 2) * tail + p6 * np.exp(-((c - p7) ** 2) / (2 * p8**2))
    low, high = _GAS_POOR
    density = np.where(y > high + 1e-9, rich, np.where(y > low + 1e-9, poor, 0.0))
    return density / _trapezoids(density, y).sum(axis=1)[:, None]


def _trapezoids(density: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (density[:, 1:] + density[:, :-1]) / 2 * np.diff(y)
