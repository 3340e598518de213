"""Projected density around galaxies, and how it compares with others of the same redshift."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.cosmology import Cosmology
from astropy.table import QTable, Table

import hifrac
from hifrac.core.counts import require_count
from hifrac.core.exceptions import warn_caller, without_warnings
from hifrac.core.measurements import C_KM_S, parse_numbers, plain_floats
from hifrac.environment._median import sliding_median
from hifrac.environment._neighbours import nearest_in_window
from hifrac.environment._parse import (
    Galaxies,
    parse_cosmology,
    parse_galaxies,
    parse_redshifts,
    parse_reference,
    parse_window,
    transverse_distance,
)
from hifrac.environment.columns import MASKED, EnvironmentFlag, environment_column
from hifrac.environment.footprint import as_footprint, outside

_WINDOW = 1000 * u.km / u.s
_MATCH = 5 * u.arcsec
_NEAR = 10 * u.Mpc
_BOXCAR = 0.02  # full width of the window of the median (Wu 2020, section 7.1)
_GRID = 0.002  # step of the grid on which the original code took its medians
_SPARSE = 20
_UNCOVERED = 0.1  # less of a circle covered: outside
_REFERENCES = ("Wu 2020, ApJ 900, 142 (section 7.1)", "Cooper et al. 2008, MNRAS 383, 1058")

#: log10(1 + delta5) at and above which the relation of HI and morphology breaks (Wu 2020, section 7.2).
HIGH_DENSITY = 0.5

#: Keywords of `overdensity` for Wu (2020, section 7.1) as the paper prints it.
AS_PRINTED = MappingProxyType(
    {
        "n": 5,
        "velocity_window": _WINDOW,
        "numerator": 3,
        "include_self": True,
        "median": "exact",
        "footprint": None,
    }
)

#: Keywords of `overdensity` for what the code of Wu (2020) computed for ALFALFA: no velocity window,
#: and medians interpolated from a grid.
AS_CODED = MappingProxyType({**AS_PRINTED, "velocity_window": None, "median": "grid"})


def surface_density(
    coords: SkyCoord | Table,
    z: Any,
    reference: Table | tuple[SkyCoord, Any],
    *,
    n: int = 5,
    numerator: float = 3,
    velocity_window: u.Quantity | None = _WINDOW,
    rest_frame: bool = False,
    include_self: bool = True,
    match_radius: u.Quantity = _MATCH,
    footprint: Any = "reference",
    min_coverage: float = 0.8,
    min_distance: u.Quantity = _NEAR,
    cosmology: Cosmology | None = None,
) -> QTable:
    r"""Compute the projected density to the n-th nearest neighbour.

    .. math:: \Sigma_n = \frac{3}{\pi D_n^2}, \qquad D_n = d_A(z)\,\theta_n

    (Wu 2020, equation 2), where :math:`\theta_n` is the angle on the sky (the great circle, not the chord) to
    the n-th nearest reference galaxy within the velocity window, and :math:`d_A(z)` the angular-diameter
    distance at the galaxy's own redshift: :math:`D_n` is a physical length, not a comoving one.

    Parameters
    ----------
    coords : `~astropy.coordinates.SkyCoord` or `~astropy.table.Table`
        The galaxies, in any frame; or a table with their positions, as `hifrac.HIFractionEstimator.predict`
        takes it.
    z : array-like of float, shape (m,)
        Their redshifts, as a plain array, a column, or a quantity without unit. Rows whose redshift is
        masked, not finite, zero or negative are masked in the result.
    reference : `~astropy.table.Table` or tuple of (`~astropy.coordinates.SkyCoord`, array-like)
        The galaxies that define the density: a table with ``ra``, ``dec`` and ``z`` (or ``redshift``), or
        positions and redshifts. Rows without a position or with a redshift below -0.01 are left out, with a
        warning.
    n : int, optional
        Which neighbour.
    numerator : float, optional
        The 3 of the equation. Cooper et al. (2008) have it with the third neighbour, Wu (2020) with the
        fifth; with ``numerator=n`` it is the mean density of the circle. It cancels in the overdensity.
    velocity_window : `~astropy.units.Quantity` or None, optional
        Reference galaxies count where \|c (z' - z)\| is not greater, at each redshift. None for no window.
    rest_frame : bool, optional
        Whether the difference of velocities is taken in the rest frame, c (z' - z) / (1 + z).
    include_self : bool, optional
        Whether the galaxy's own entry in the reference counts as a neighbour, as in Wu (2020): the fifth
        nearest is then the fourth other galaxy. If false, the nearest reference galaxy within
        ``match_radius`` and the window is taken to be the galaxy itself and not counted. Either way, a
        galaxy that is not in the reference is flagged NO_COUNTERPART.
    match_radius : `~astropy.units.Quantity`, optional
        Within it a reference galaxy is the galaxy itself.
    footprint : optional
        Where the reference survey has looked. Random points (SkyCoord or table), a MOC, a function of RA and
        Dec in degrees that returns booleans, or an object of ``hifrac.environment``: adds the column
        ``coverage`` and flags EDGE. ``"reference"``: only what lies clearly outside, where the reference has
        no galaxy of any redshift, is found. None: nothing is checked.
    min_coverage : float, optional
        Below this share of the circle covered, the row is flagged EDGE; below a tenth, it is outside.
    min_distance : `~astropy.units.Quantity`, optional
        Galaxies nearer than this are flagged NEARBY. The distance is the comoving one of the redshift.
    cosmology : `~astropy.cosmology.Cosmology`, optional
        Any of Astropy's; by default flat with H0 = 70 km/s/Mpc and Omega_m = 0.3.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row for each galaxy, in order: ``neighbour_distance`` (Mpc), ``surface_density`` (Mpc^-2),
        ``coverage`` with a footprint, ``environment_flags`` (`EnvironmentFlag`); the arguments in ``meta``.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, or positions or redshifts are not numbers.
    ValueError
        If the lengths of positions and redshifts differ, redshifts look like velocities, the reference
        has no usable row, or a number is out of its range.
    ~astropy.units.UnitConversionError
        If a unit does not fit.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If rows of the reference are left out, or if the reference does not cover some of the galaxies.

    Notes
    -----
    The n-th neighbour is exact: as from comparing all pairs, to rounding. The search takes k-d trees in
    overlapping slabs of redshift, see ``benchmarks/environment.py``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from hifrac.environment import surface_density
    >>> row = SkyCoord(ra=np.arange(6.) * u.deg, dec=np.zeros(6) * u.deg)
    >>> result = surface_density(row, np.full(6, 0.02), (row, np.full(6, 0.02)), n=3)
    >>> result["neighbour_distance"].round(3)
    <MaskedQuantity [2.918, 1.459, 1.459, 1.459, 1.459, 2.918] Mpc>
    >>> result["surface_density"].round(3)
    <MaskedQuantity [0.112, 0.449, 0.449, 0.449, 0.449, 0.112] 1 / Mpc2>
    """
    galaxies = parse_galaxies(coords, z)
    catalogue, left_out = parse_reference(reference)
    window = parse_window(velocity_window)
    _check_numbers(n, numerator, min_coverage)
    match = _not_negative(match_radius, "match_radius", u.rad)
    nearest = _not_negative(min_distance, "min_distance", u.Mpc)
    cosmology = parse_cosmology(cosmology)
    survey = footprint if footprint is None or _is_reference(footprint) else as_footprint(footprint)

    with np.errstate(invalid="ignore"):
        flags = np.where(np.isfinite(galaxies.ra), 0, int(EnvironmentFlag.BAD_POSITION))
        flags |= np.where(galaxies.z > 0, 0, int(EnvironmentFlag.BAD_REDSHIFT))
    good = np.flatnonzero(flags == 0)
    angle, distance = np.full(len(galaxies), np.nan), transverse_distance(cosmology, galaxies.z)
    half_width = None
    if window is not None:
        half_width = window / C_KM_S * (1 + galaxies.z[good] if rest_frame else np.ones(len(good)))
    angle[good], flags[good] = _neighbour(
        galaxies[good], catalogue, n, half_width, match=match, include_self=include_self
    )
    flags[good] |= np.where(distance[good] < nearest, int(EnvironmentFlag.NEARBY), 0)
    coverage, uncovered = _check_coverage(galaxies, good, angle, catalogue, survey, min_coverage)
    flags |= uncovered
    _warn_uncovered(flags)

    table = _density_table(distance / (1 + galaxies.z) * angle, numerator, coverage, flags)
    table.meta["hifrac"] = {
        "version": hifrac.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "n": int(n),
        "numerator": float(numerator),
        "velocity_window_km_s": window,
        "rest_frame": bool(rest_frame),
        "include_self": bool(include_self),
        "match_radius_arcsec": float(np.degrees(match) * 3600),
        "footprint": footprint if survey is None or survey == "reference" else type(footprint).__name__,
        "cosmology": repr(cosmology),
        "reference_rows": len(catalogue),
        "reference_left_out": left_out,
        "references": [*_REFERENCES, *_references_of(reference)],
    }
    return table


def _check_numbers(n: Any, numerator: float, min_coverage: float) -> None:
    """Raise an error that names the number out of its range."""
    require_count("n", n)
    if not numerator > 0:
        raise ValueError(f"numerator must be positive, got {numerator}")
    if not 0 <= min_coverage <= 1:
        raise ValueError(f"min_coverage must be from 0 to 1, got {min_coverage}")


def _check_coverage(
    galaxies: Galaxies,
    good: np.ndarray,
    angle: np.ndarray,
    catalogue: Galaxies,
    survey: Any,
    min_coverage: float,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the covered share of each circle, where a footprint is given, and the flags that follow."""
    flags = np.zeros(len(galaxies), int)
    if survey is None:
        return None, flags
    if isinstance(survey, str):
        is_outside = outside(galaxies.ra[good], galaxies.dec[good], catalogue.ra, catalogue.dec)
        flags[good] = np.where(is_outside, int(EnvironmentFlag.OUTSIDE_REFERENCE), 0)
        return None, flags
    coverage = np.full(len(galaxies), np.nan)
    rows = np.flatnonzero(np.isfinite(angle))
    coverage[rows] = survey.coverage(galaxies.ra[rows], galaxies.dec[rows], angle[rows])
    with np.errstate(invalid="ignore"):
        flags |= np.where(coverage < _UNCOVERED, int(EnvironmentFlag.OUTSIDE_REFERENCE), 0)
        is_edge = (coverage >= _UNCOVERED) & (coverage < min_coverage)
    return coverage, flags | np.where(is_edge, int(EnvironmentFlag.EDGE), 0)


def _density_table(
    length: np.ndarray, numerator: float, coverage: np.ndarray | None, flags: np.ndarray
) -> QTable:
    """Return the columns of `surface_density`; ``length`` (Mpc) is the distance to the n-th neighbour."""
    mask = (flags & int(MASKED)) != 0
    with np.errstate(divide="ignore", invalid="ignore"):
        density = numerator / (np.pi * length**2)
    table = QTable()
    table["neighbour_distance"] = environment_column("neighbour_distance", length, mask)
    table["surface_density"] = environment_column("surface_density", density, mask)
    if coverage is not None:
        table["coverage"] = environment_column("coverage", coverage, np.isnan(coverage))
    table["environment_flags"] = environment_column("environment_flags", flags)
    return table


def _references_of(data: Any) -> list[str]:
    """Return what to cite for a table of `hifrac.catalogs`; nothing is known of others."""
    meta = getattr(data, "meta", None) or {}
    provenance = meta.get("hifrac")
    return list(provenance.get("references", [])) if isinstance(provenance, dict) else []


def overdensity(
    coords: SkyCoord | Table,
    z: Any,
    reference: Table | tuple[SkyCoord, Any],
    *,
    population: Any = "targets",
    median: str = "exact",
    boxcar_width: float = _BOXCAR,
    **density: Any,
) -> QTable:
    r"""Compute the density over the typical density of the same redshift.

    .. math:: 1 + \delta_n = \frac{\Sigma_n}{\mathrm{median}\,\Sigma_n(z)}

    the median taken over a population in a sliding window of redshift, the boxcar (Wu 2020, section 7.1,
    after Cooper et al. 2008). That removes the dependence on redshift, which comes from a reference
    complete to a limit of flux.

    Parameters
    ----------
    coords, z, reference
        As for `surface_density`.
    population : str or tuple of (array-like, array-like or `~astropy.units.Quantity`), optional
        Whose median it is: ``"targets"``, the galaxies themselves, as in Wu (2020); ``"reference"``,
        the reference galaxies, whose densities are then computed as well: for a handful of galaxies there is
        no other way; or redshifts and surface densities of your own (Mpc^-2 if without unit), for instance
        those of the sample that the model was trained on.
    median : str, optional
        ``"exact"``: the window is centred on each galaxy. ``"grid"``: on a grid of step 0.002 from
        zero, with linear interpolation, as the original code has it. Windows are cut off at the ends of the
        population.
    boxcar_width : float, optional
        Full width of the window in redshift; its ends are not inside.
    **density
        Keywords of `surface_density`. `AS_PRINTED` and `AS_CODED` are such, with ``median``: what Wu (2020)
        prints, and what the code did.

    Returns
    -------
    table : `~astropy.table.QTable`
        That of `surface_density`, with ``overdensity`` (1 + delta_n) and ``log_overdensity`` (dex). Both are
        masked where there is no density, for NEARBY galaxies, and where the window of the median is empty.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        As `surface_density`, and if an argument here is out of its range.

    Examples
    --------
    The environments of a sample with respect to itself, as the paper prints it, and as it was computed:

    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from hifrac.environment import AS_CODED, AS_PRINTED, overdensity
    >>> rng = np.random.default_rng(0)
    >>> coords = SkyCoord(rng.uniform(150, 160, 500), rng.uniform(0, 10, 500), unit="deg")
    >>> z = rng.uniform(0.02, 0.03, 500)
    >>> for settings in (AS_PRINTED, AS_CODED):
    ...     table = overdensity(coords, z, (coords, z), **settings)
    ...     print(np.percentile(table["log_overdensity"].filled(np.nan), [16, 84]).round(2))
    [-0.28  0.24]
    [-0.25  0.27]
    """
    if median not in ("exact", "grid"):
        raise ValueError(f"median must be 'exact' or 'grid', got {median!r}")
    if not 0 < boxcar_width < np.inf:
        raise ValueError(f"boxcar_width must be positive, got {boxcar_width}")
    if not isinstance(population, str):
        sample, population = _parse_population(population), "given"
    elif population not in ("targets", "reference"):
        raise ValueError(f"population must be 'targets', 'reference' or (z, density), got {population!r}")
    table = surface_density(coords, z, reference, **density)
    z = parse_redshifts(z, "z", len(table))
    nearby = (table["environment_flags"] & int(EnvironmentFlag.NEARBY)) != 0
    sigma = np.where(nearby, np.nan, plain_floats(table["surface_density"]))
    if population == "targets":
        sample = _usable(table, z)
    elif population == "reference":
        sample = _reference_densities(reference, z, boxcar_width, density)
    middle, count = _median_at(z, *sample, width=boxcar_width, on_grid=median == "grid")
    with np.errstate(invalid="ignore"):
        ratio = sigma / middle
    mask = ~np.isfinite(ratio)
    flags = table["environment_flags"]
    flags |= np.where((count < _SPARSE) & ~np.isnan(sigma), int(EnvironmentFlag.SPARSE_MEDIAN), 0)
    with np.errstate(invalid="ignore"):
        columns = {"overdensity": ratio, "log_overdensity": np.log10(ratio)}
    place = table.colnames.index("surface_density") + 1
    table.add_columns(
        [environment_column(name, columns[name], mask) for name in columns], [place] * 2, list(columns)
    )
    table.meta["hifrac"] |= {
        "median": median,
        "boxcar_width": float(boxcar_width),
        "population": population,
        "population_rows": len(sample[0]),
    }
    return table


def _not_negative(value: u.Quantity, name: str, unit: u.UnitBase) -> float:
    if not isinstance(value, u.Quantity):
        raise TypeError(f"{name} must be a quantity with its unit, got {value!r}")
    try:
        number = value.to_value(unit)
    except u.UnitConversionError:
        raise u.UnitConversionError(f"{name} must be convertible to {unit}, got {value}") from None
    if np.ndim(number) or not 0 <= number < np.inf:
        raise ValueError(f"{name} must be one number, not negative, got {value}")
    return float(number)


def _is_reference(footprint: Any) -> bool:
    if isinstance(footprint, str) and footprint != "reference":
        raise ValueError(f"footprint must be 'reference', None or a footprint, got {footprint!r}")
    return isinstance(footprint, str)


def _neighbour(
    galaxies: Galaxies,
    reference: Galaxies,
    n: int,
    half_width: np.ndarray | None,
    *,
    match: float,
    include_self: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the angle (radians) to the n-th neighbour, NaN for none, and the flags that follow."""
    z = galaxies.z
    flags = np.zeros(len(z), int)
    if half_width is not None and z.size:
        flags |= _redshift_edges(z, half_width, reference.z)
        reach = half_width.max() + 1e-9
        reference = reference[(reference.z >= z.min() - reach) & (reference.z <= z.max() + reach)]
    # One more, for the galaxy itself; and two at least, for duplicates.
    k = max(n if include_self else n + 1, 2)
    chords = nearest_in_window(galaxies.vectors, z, reference.vectors, reference.z, k, half_width)
    is_match = chords <= 2 * np.sin(min(match, np.pi) / 2)
    has_counterpart = is_match[:, 0]
    place = np.full(len(z), n - 1) if include_self else n - 1 + has_counterpart.astype(int)
    chord = chords[np.arange(len(z)), place]
    is_missing = np.isinf(chord)
    angle = 2 * np.arcsin(np.minimum(np.where(is_missing, 0, chord) / 2, 1))
    flags |= np.where(is_missing, int(EnvironmentFlag.TOO_FEW_NEIGHBOURS), 0)
    flags |= np.where(chord == 0, int(EnvironmentFlag.COINCIDENT), 0)
    flags |= np.where(has_counterpart, 0, int(EnvironmentFlag.NO_COUNTERPART))
    flags |= np.where(is_match[:, 1], int(EnvironmentFlag.POSSIBLE_DUPLICATE), 0)
    return np.where(is_missing, np.nan, angle), flags


def _redshift_edges(z: np.ndarray, half_width: np.ndarray, reference_z: np.ndarray) -> np.ndarray:
    is_edge = z + half_width > reference_z.max()
    # A reference that begins with the nearest galaxies has no edge there.
    is_edge |= (z - half_width < reference_z.min()) & (reference_z.min() > half_width)
    return np.where(is_edge, int(EnvironmentFlag.REDSHIFT_EDGE), 0)


def _warn_uncovered(flags: np.ndarray) -> None:
    count = np.count_nonzero(flags & int(EnvironmentFlag.OUTSIDE_REFERENCE))
    if count:
        warn_caller(
            f"reference does not cover {count} of {len(flags)} galaxies: flagged OUTSIDE_REFERENCE, masked"
        )


def _usable(table: QTable, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return redshifts and densities of those that a median is taken of: not at an edge, and not nearby."""
    sigma = plain_floats(table["surface_density"])
    is_fit = (table["environment_flags"] & int(EnvironmentFlag.EDGE | EnvironmentFlag.NEARBY)) == 0
    is_fit &= np.isfinite(sigma)
    return z[is_fit], sigma[is_fit]


def _reference_densities(
    reference: Any, z: np.ndarray, width: float, density: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return redshifts and densities of the reference galaxies that the windows of ``z`` hold."""
    positive = z[z > 0]
    if positive.size == 0:
        return np.empty(0), np.empty(0)
    with without_warnings():  # the densities of the targets have warned
        catalogue, _ = parse_reference(reference)
        reach = width / 2 + _GRID
        rows = (catalogue.z > max(positive.min() - reach, 0)) & (catalogue.z < positive.max() + reach)
        coords = SkyCoord(catalogue.ra, catalogue.dec, unit=u.deg)
        table = surface_density(coords[rows], catalogue.z[rows], (coords, catalogue.z), **density)
    return _usable(table, catalogue.z[rows])


def _parse_population(population: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the usable redshifts and densities (Mpc^-2) of a population of the user's."""
    if not isinstance(population, tuple | list) or len(population) != 2:
        raise TypeError("population must be 'targets', 'reference' or a pair of redshifts and densities")
    sigma = parse_numbers(population[1], "population: densities", u.Mpc**-2, what="per Mpc^2")
    z = parse_redshifts(population[0], "population", len(sigma))
    is_fit = np.isfinite(z) & np.isfinite(sigma)
    return z[is_fit], sigma[is_fit]


def _median_at(
    z: np.ndarray, population_z: np.ndarray, sigma: np.ndarray, *, width: float, on_grid: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the median at each redshift, and of how many it is."""
    is_finite = np.isfinite(z)
    median, count = np.full(len(z), np.nan), np.zeros(len(z), int)
    median[is_finite], count[is_finite] = sliding_median(population_z, sigma, z[is_finite], width)
    if on_grid and np.any(is_finite):
        grid = np.arange(0, max(z[is_finite].max(), 0) + 2 * _GRID, _GRID)
        grid_median, _ = sliding_median(population_z, sigma, grid, width)
        median[is_finite] = np.interp(z[is_finite], grid, grid_median)
    return median, count
