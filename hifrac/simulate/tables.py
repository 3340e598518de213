"""Pictures of the galaxies of a catalogue, rendered from its photometry."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from astropy import units as u
from astropy.table import Table

from hifrac.core.measurements import plain_floats
from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe
from hifrac.images import compress
from hifrac.simulate.photometry import SIZE_SCATTER, galaxy_from_photometry, half_light_radius
from hifrac.simulate.pictures import check_recipe, render

_REQUIRED = ("i_mag", "g_minus_i", "axial_ratio")
_UNITS = {"i_mag": u.mag, "g_minus_i": u.mag, "abs_i": u.mag, "r50": u.arcsec, "distance": u.Mpc}


def render_table(
    table: Table,
    *,
    name: str = "objid",
    seed: int = 0,
    recipe: CutoutRecipe = SDSS_RECIPE,
    field: bool = True,
    size_scatter: float = SIZE_SCATTER,
) -> Iterator[np.ndarray]:
    """Render the galaxies of a catalogue from their photometry, one after the other.

    The pictures are simulated: they have the brightness, colour, size and axial ratio that the catalogue
    states, bulges and clumps after the colour, and a position angle at random. Nothing in them depends on
    gas, so an estimate from them is no measurement. They are compressed and decoded as the service's
    pictures are.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A row a galaxy: ``i_mag`` and ``g_minus_i``, both as seen (for corrected colours see
        `observed_colour`), ``axial_ratio``, and ``r50``, the half-light radius along the major axis
        (arcsec unless the column has a unit); where that is masked or missing ``abs_i`` and ``distance``
        (Mpc), from which it is drawn: log10(r50/kpc) = 0.604 - 0.108 (abs_i + 20), a fit to galaxies of
        RESOLVE.
    name : str, optional
        Column of identifiers. All that is random in a picture follows from the identifier and ``seed``: a
        row has the same picture in every table and at every place.
    seed : int, optional
        Not negative.
    recipe, field
        As for `render`.
    size_scatter : float, optional
        Scatter of drawn radii about that relation, in dex; not negative.

    Yields
    ------
    picture : `~numpy.ndarray` of uint8, shape (width, width, 3)
        In the order of the rows. One is made at a time, so that the memory does not grow with the table.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If a row lacks something, or has what no galaxy can have; if a column has a wrong unit, or an
        option a wrong value. The first picture is made after all of the table was checked.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from hifrac.simulate import render_table
    >>> table = Table({"objid": ["a", "b"], "i_mag": [15.0, 16.0], "g_minus_i": [0.6, 1.1],
    ...                "axial_ratio": [0.5, 0.9], "r50": [6.0, 4.0]})
    >>> [picture.shape for picture in render_table(table)]
    [(128, 128, 3), (128, 128, 3)]
    """
    check_recipe(recipe)
    if not size_scatter >= 0.0 or not np.isfinite(size_scatter):
        raise ValueError(f"size_scatter must not be negative, got {size_scatter}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer that is not negative, got {seed!r}")
    identifiers = _identifiers(table, name)
    values = {column: _values(table, column) for column in _REQUIRED}
    size, is_drawn = _sizes(table)
    values["r50"] = size
    for column, numbers in values.items():
        _require(np.isfinite(numbers), column, "known")
    _require((values["axial_ratio"] > 0) & (values["axial_ratio"] <= 1), "axial_ratio", "in (0, 1]")
    _require(size > 0, "r50", "positive")
    scatter = np.where(is_drawn, size_scatter, 0.0)

    def pictures() -> Iterator[np.ndarray]:
        for row, identifier in enumerate(identifiers):
            rng = _generator(identifier, seed)
            photometry = {column: float(numbers[row]) for column, numbers in values.items()}
            # Drawn even where it has no effect: what the generator draws next is then the same.
            photometry["r50"] *= 10.0 ** (float(scatter[row]) * rng.standard_normal())
            galaxy = galaxy_from_photometry(**photometry, rng=rng)
            yield compress(render(galaxy, rng=rng, recipe=recipe, field=field))

    return pictures()


def _generator(identifier: str, seed: int) -> np.random.Generator:
    """Return the random numbers of one galaxy, whatever its row."""
    digest = int.from_bytes(sha256(identifier.encode()).digest()[:16], "big")
    return np.random.default_rng([seed, digest])


def _identifiers(table: Table, name: str) -> list[str]:
    """Return the identifiers as text; raise if one is masked or blank."""
    if name not in table.colnames:
        raise KeyError(f"table has no column {name}")
    _require(~np.array(getattr(table[name], "mask", np.zeros(len(table), bool)), bool), name, "known")
    identifiers = [str(identifier).strip() for identifier in table[name]]
    _require(np.array([bool(identifier) for identifier in identifiers], bool), name, "known")
    return identifiers


def _sizes(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return half-light radii in arcsec, and where they follow from the luminosity."""
    size = _values(table, "r50") if "r50" in table.colnames else np.full(len(table), np.nan)
    missing = ~np.isfinite(size)
    if missing.any():
        try:
            relation = half_light_radius(_values(table, "abs_i"), _values(table, "distance"))
        except KeyError as error:
            raise KeyError(f"table has no r50 in every row, and instead: {error.args[0]}") from None
        size = np.where(missing, relation, size)
    return size, missing


def _values(table: Table, column: str) -> np.ndarray:
    """Return the numbers of a column, in the unit that its name stands for."""
    if column not in table.colnames:
        raise KeyError(f"table has no column {column}")
    values, unit = plain_floats(table[column]), getattr(table[column], "unit", None)
    if unit is None or column not in _UNITS:
        return values
    try:
        return values * unit.to(_UNITS[column])
    except u.UnitConversionError:
        raise ValueError(f"{column} must be in {_UNITS[column]}, got {unit}") from None


def _require(is_good: np.ndarray, column: str, condition: str) -> None:
    if not is_good.all():
        first = int(np.argmin(is_good))
        raise ValueError(
            f"{column} must be {condition}: it is not in {np.sum(~is_good)} rows, the first is {first}"
        )
