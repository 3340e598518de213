"""What a table has of its galaxies beside their pictures, as plain arrays: the evidence for an estimate."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain

import numpy as np
from astropy.table import Table

from hifrac.core.exceptions import warn_caller
from hifrac.core.measurements import (
    BANDS,
    C_KM_S,
    MEASUREMENTS,
    find_column,
    find_measurement,
    parse_measurement,
    possible,
)
from hifrac.core.reddening import EXTINCTION_PER_EBV

# cz in km/s: below, a galaxy's own motion says more than its distance; beyond, z is another quantity.
_NEAREST, _FARTHEST = 300.0, C_KM_S
# Of 5,731 galaxies of SDSS none has a colour of neighbouring bands, u-g to i-z, beyond these (mag).
_BLUEST, _REDDEST = -1.5, 6.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of n galaxies, NaN where it is not.

    Attributes
    ----------
    g_minus_i, i : `~numpy.ndarray` of float, shape (n,)
        Colour and magnitude of SDSS, corrected for the dust of the Milky Way (mag, AB). Of a table's
        either both are known, or neither is.
    log_cz : `~numpy.ndarray` of float, shape (n,)
        log10 of the redshift times the speed of light in km/s.
    axis_ratio : `~numpy.ndarray` of float, shape (n,)
        Apparent, minor by major axis: 0 to 1.
    log_mstar, log_mstar_err : `~numpy.ndarray` of float, shape (n,)
        log10(M*/Msun) and its standard error, in dex.
    log_mhi_limit : `~numpy.ndarray` of float, shape (n,)
        Upper limit of log10(M_HI/Msun).
    dec : `~numpy.ndarray` of float, shape (n,)
        Declination in degrees.
    magnitudes : `~numpy.ndarray` of float, shape (n, 5)
        SDSS magnitudes u, g, r, i, z, corrected for the dust of the Milky Way (AB); any of them may be known.
    """

    g_minus_i: np.ndarray
    i: np.ndarray
    log_cz: np.ndarray
    axis_ratio: np.ndarray
    log_mstar: np.ndarray
    log_mstar_err: np.ndarray
    log_mhi_limit: np.ndarray
    dec: np.ndarray
    magnitudes: np.ndarray

    @classmethod
    def none(cls, n: int) -> Evidence:
        """Return the evidence of n galaxies of which nothing is known."""
        unknown = {field.name: np.full(n, np.nan) for field in fields(cls)}
        return cls(**{**unknown, "magnitudes": np.full((n, len(BANDS)), np.nan)})

    def __len__(self) -> int:
        return len(self.dec)

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> Evidence:
        """Return some of the rows."""
        return Evidence(*(getattr(self, field.name)[rows] for field in fields(self)))

    def or_else(self, other: Evidence) -> Evidence:
        """Return this, with what is unknown here taken from the other."""
        theirs = vars(other)
        return Evidence(
            **{name: np.where(np.isnan(values), theirs[name], values) for name, values in vars(self).items()}
        )


def parse_evidence(table: Table, ebv: np.ndarray | None, dec: np.ndarray) -> Evidence:
    """Return what the columns of a table say of its galaxies.

    Columns are found in any case, by the names that `MEASUREMENTS` has; where several are there, each row
    has the first that it knows. For the colour both g and i are needed: ``g_minus_i`` and ``i``, corrected
    for the foreground, come first, then ``dered_g`` and ``dered_i``, then those as observed (``mag_g``,
    ``modelmag_g``, ``cmodelmag_g``, ``g``; for the light in i ``cmodelmag_i`` comes before ``modelmag_i``),
    which are corrected by ``extinction_g`` and ``extinction_i``, else by the reddening. The magnitudes of all
    five bands have the same names in the order of those in g; single letters count where both g and i are
    there and ``g_minus_i`` is not, and ``z`` is one where ``redshift`` is there as well.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Any table, n rows.
    ebv : array of float, shape (n,), or None
        Galactic reddening E(B-V) in mag on the scale of SFD, NaN where unknown: what was observed there is
        of no use without an extinction.
    dec : array of float, shape (n,)
        Declination in degrees, NaN where unknown.

    Returns
    -------
    evidence : Evidence

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If a column does not hold numbers, is ambiguous, or has the unit of another quantity.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If numbers are those of no galaxy, as sentinels are: they are unknown.
    """
    color, magnitude, magnitudes = _photometry(table, ebv)
    return Evidence(
        g_minus_i=color,
        i=magnitude,
        log_cz=_log_cz(table),
        axis_ratio=_first(*(_read(table, "axis_ratio", name) for name in MEASUREMENTS["axis_ratio"].aliases)),
        log_mstar=_read(table, "log_mstar"),
        log_mstar_err=_read(table, "log_mstar_err"),
        log_mhi_limit=_limit(table),
        dec=np.asarray(dec, dtype=float),
        magnitudes=magnitudes,
    )


def _read(table: Table, measurement: str, name: str | None = None) -> np.ndarray:
    """Return a column by its name in any case, else by those of its measurement; NaN without one."""
    column = find_measurement(table, measurement) if name is None else find_column(table, name)
    if column is None:
        return np.full(len(table), np.nan)
    return parse_measurement(table[column], measurement, column)


def _first(*columns: np.ndarray) -> np.ndarray:
    """Return for each row the first of some columns that is known."""
    result, *others = columns
    for column in others:
        result = np.where(np.isnan(result), column, result)
    return result


def _photometry(table: Table, ebv: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return colour, magnitude in i, and those of all bands (n, 5), corrected for the foreground."""
    has_color = find_column(table, "g_minus_i") is not None
    has_letters = not has_color and all(find_column(table, band) for band in "gi")
    letters = dict.fromkeys(BANDS, has_letters)
    letters["z"] &= find_column(table, "redshift") is not None
    names = {
        band: [
            name
            for name in (f"dered_{band}", *MEASUREMENTS[f"mag_{band}"].aliases)
            if (name != band or letters[band]) and find_column(table, name)
        ]
        for band in BANDS
    }
    read = {name: _corrected(table, name, ebv) for name in chain.from_iterable(names.values())}
    unknown = np.full(len(table), np.nan)
    pairs = [(name, f"{name[:-1]}i") for name in names["g"] if f"{name[:-1]}i" in read]
    color = _first(_read(table, "g_minus_i"), *(read[g] - read[i] for g, i in pairs))
    plain = _read(table, "i") if has_color else unknown
    magnitude = _first(plain, *(read[name] for name in names["i"]))
    made = np.isfinite(color)
    color = possible(color, "g_minus_i", "g-i")
    is_strange = made & np.isnan(color)  # bands are swapped, or one is wrong: none can be trusted
    is_known = np.isfinite(color) & np.isfinite(magnitude)
    color, magnitude = np.where(is_known, color, np.nan), np.where(is_known, magnitude, np.nan)
    # Of one row all magnitudes should be of one make, in the order of those in g.
    systems = [name[:-1] for name in ("dered_g", *MEASUREMENTS["mag_g"].aliases)]
    of_bands = [
        _first(unknown, *(read[f"{name}{band}"] for name in systems if f"{name}{band}" in read))
        for band in BANDS
    ]
    of_bands[1], of_bands[3] = _first(of_bands[1], color + magnitude), _first(of_bands[3], magnitude)
    return color, magnitude, _of_galaxies(np.where(is_strange[:, None], np.nan, np.stack(of_bands, axis=1)))


def _of_galaxies(magnitudes: np.ndarray) -> np.ndarray:
    """Return magnitudes (n, 5), NaN in rows with the colours of no galaxy, and warn of them."""
    colors = magnitudes[:, :-1] - magnitudes[:, 1:]
    is_strange = (colors < _BLUEST) | (colors > _REDDEST)
    rows = np.flatnonzero(is_strange.any(axis=1))
    if rows.size:
        band = int(np.argmax(is_strange[rows[0]]))
        warn_caller(
            f"magnitudes in {BANDS[band]} and {BANDS[band + 1]} must differ by {_BLUEST:g} to {_REDDEST:g}: "
            f"all of {rows.size} of {len(magnitudes)} rows are taken to be unknown, the first is row "
            f"{rows[0]} with {colors[rows[0], band]:g}"
        )
    return np.where(is_strange.any(axis=1, keepdims=True), np.nan, magnitudes)


def _corrected(table: Table, name: str, ebv: np.ndarray | None) -> np.ndarray:
    """Return a magnitude that is corrected for the foreground, by whatever is known of that."""
    band = name[-1]
    if name.startswith("dered_"):
        return _read(table, name)
    magnitude = _read(table, f"mag_{band}", name)
    reddening = np.full(len(table), np.nan) if ebv is None else EXTINCTION_PER_EBV[band] * ebv
    return magnitude - _first(_read(table, f"extinction_{band}"), reddening)


def _log_cz(table: Table) -> np.ndarray:
    """Return log10(c z), and warn where a column of redshifts holds something else."""
    column = find_measurement(table, "z")
    if column is None:
        return np.full(len(table), np.nan)
    velocity = C_KM_S * parse_measurement(table[column], "z", column)
    with np.errstate(invalid="ignore"):
        is_far = velocity > _FARTHEST
        is_known = (velocity >= _NEAREST) & ~is_far
    if is_far.any():
        first = np.flatnonzero(is_far)[0]
        warn_caller(
            f"{column} must be redshifts up to 1: {is_far.sum()} of {len(table)} rows are taken to be "
            f"unknown, the first is row {first} with {velocity[first] / C_KM_S:g} (magnitudes in z need "
            "another name)"
        )
    return np.log10(np.where(is_known, velocity, np.nan))


def _limit(table: Table) -> np.ndarray:
    """Return the upper limits of the HI mass: numbers, or log_mhi where a column of truth values says so."""
    column = find_column(table, "log_mhi_limit")
    if column is None or table[column].dtype.kind != "b":
        return _read(table, "log_mhi_limit")
    mass = find_column(table, "log_mhi")
    if mass is None:
        return np.full(len(table), np.nan)
    is_limit = np.ma.filled(np.ma.asarray(table[column]), False)
    values = parse_measurement(table[mass], "log_mhi_limit", mass)
    return np.where(is_limit, values, np.nan)
