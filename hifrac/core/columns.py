"""The columns that a result adds, and those that tell a position: the registry.

Names, units and meanings are public interface; the documentation page of the
result columns is generated from this file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.masked import Masked

from hifrac.core.quantities import QUANTITIES, Quantity, quantity_of
from hifrac.core.units import known_unit

#: Names of position columns, in the order in which they are looked for; case, and a unit in brackets
#: behind them, do not matter. A pair of one system comes before a mixture. Of TOPCAT's matches, which
#: put ``_1`` and ``_2`` behind all names, the first table has the positions.
POSITION_COLUMNS = (
    ("ra", ("dec", "decl")),
    ("raj2000", ("dej2000", "decj2000")),
    ("_raj2000", ("_dej2000",)),
    ("ra_icrs", ("de_icrs", "dec_icrs")),
    ("_ra_icrs", ("_de_icrs",)),
    ("radeg", ("dedeg", "decdeg")),
    ("ra_deg", ("dec_deg", "de_deg")),
    ("_ra", ("_de", "_dec")),
    ("ra_j2000", ("dec_j2000", "de_j2000")),
    ("right_ascension", ("declination",)),
    ("alpha_j2000", ("delta_j2000",)),
    ("alphawin_j2000", ("deltawin_j2000",)),
    ("alphapeak_j2000", ("deltapeak_j2000",)),
    ("target_ra", ("target_dec",)),
    ("targ_ra", ("targ_dec",)),
    ("plug_ra", ("plug_dec",)),
    ("s_ra", ("s_dec",)),
    ("ramean", ("decmean",)),
)
RA_ALIASES = tuple(ra for ra, _ in POSITION_COLUMNS)
DEC_ALIASES = tuple(dec for _, names in POSITION_COLUMNS for dec in names)


@dataclass(frozen=True)
class ResultColumn:
    """One column of a result.

    Attributes
    ----------
    name : str
        Its name.
    unit : `~astropy.units.UnitBase` or None
        Its unit; None for plain numbers. That of a logarithm stands in the description of the column.
    description : str
        What it means.
    when : str
        What the input must hold for the column to be there.
    quantity : str
        Column of the estimate with which alone it stands; empty if with any.
    size : int
        How many numbers are in a cell, of single precision; 0 for one, or as many as are asked for.

    Examples
    --------
    >>> from hifrac.core import RESULT_COLUMNS
    >>> column = RESULT_COLUMNS["log_hi_fraction"]
    >>> print(column.unit, "-", column.description)
    dex - HI mass fraction log10(M_HI/M*): the estimate, the median
    """

    name: str
    unit: u.UnitBase | None
    description: str
    when: str = "always"
    quantity: str = ""
    size: int = 0


_HI, _OH, _LINE = (QUANTITIES[name].column for name in ("hi", "metallicity", "spectrum"))
_LEVELS = (16, 84, 5, 95)  # the percentiles, in order
_DEX_SOLAR = u.dex(u.solMass)
WITH_MASS = "the input has log_mstar"
WITH_ENVIRONMENT = "environment is given"
WITH_SAMPLES = "samples is given"
_TRUST = ("evidence", "ood_score", "flags")  # columns that stand with estimates of any quantity


def _estimates(quantity: Quantity, definition: str) -> tuple[ResultColumn, ...]:
    """Return the columns of an estimate, its percentiles and its draws."""
    column, meaning, unit = quantity.column, quantity.meaning, u.Unit(quantity.unit)
    percentiles = (
        ResultColumn(f"{column}_p{level:02}", unit, f"{level}th percentile of the {meaning}", quantity=column)
        for level in _LEVELS
    )
    draws = f"draws from the distribution of the {meaning}, those of a row in one cell"
    return (
        ResultColumn(column, unit, f"{definition}: the estimate, the median", quantity=column),
        *percentiles,
        ResultColumn(f"{column}_samples", unit, draws, WITH_SAMPLES, quantity=column),
    )


def _spectra() -> Iterator[ResultColumn]:
    """Yield what a predicted spectrum has beside the line that is its estimate."""
    for name, meaning in (
        ("flux", "photometric template spectrum in the rest frame, of norm 1; no measured spectrum"),
        ("flux_p16", "16th percentile of that template spectrum"),
        ("flux_p84", "84th percentile of that template spectrum"),
    ):
        yield ResultColumn(name, None, meaning, quantity=_LINE, size=1000)
    yield ResultColumn(
        "latents", None, "coordinates of the photometric template spectrum", quantity=_LINE, size=5
    )
    for blue, red in ((3900, 6500), (4340, 5877)):
        ratio = f"log10 of the ratio of the continua at {blue} and {red} Angstrom"
        yield ResultColumn(f"log_continuum_{blue}_{red}", u.dex, ratio, quantity=_LINE)
        for percent in (16, 84):
            meaning = f"{percent}th percentile of that ratio"
            yield ResultColumn(f"log_continuum_{blue}_{red}_p{percent}", u.dex, meaning, quantity=_LINE)


#: The columns of a result by name.
RESULT_COLUMNS = {
    column.name: column
    for column in (
        *_estimates(QUANTITIES["hi"], "HI mass fraction log10(M_HI/M*)"),
        *_estimates(QUANTITIES["metallicity"], "12 + log10(O/H) of the gas, scale of Tremonti et al. (2004)"),
        *_estimates(QUANTITIES["spectrum"], "equivalent width of H-alpha, positive in emission"),
        *_spectra(),
        ResultColumn(
            "evidence",
            None,
            "what the estimate rests on: the picture, and what else the row has (see Evidence)",
        ),
        ResultColumn(
            "p_detect",
            None,
            "probability of an ALFALFA-like detection, against bright undetected galaxies, at equal odds",
            quantity=_HI,
        ),
        ResultColumn(
            "p_star_forming",
            None,
            "probability of star formation, without which no O/H can be measured, at equal odds",
            quantity=_OH,
        ),
        ResultColumn(
            "ood_score", None, "percentile (0-100) of the distance from the training set; 100 is farthest"
        ),
        ResultColumn("flags", None, "quality flags, a bit mask; 0 is unflagged, see decode_flags"),
        ResultColumn("log_mhi", _DEX_SOLAR, "HI mass, log_hi_fraction + log_mstar", WITH_MASS, _HI),
        *(
            ResultColumn(
                f"log_mhi_p{level:02}",
                _DEX_SOLAR,
                f"{level}th percentile of the HI mass, with the error of M* where log_mstar_err has it",
                WITH_MASS,
                _HI,
            )
            for level in _LEVELS
        ),
        ResultColumn(
            "log_overdensity", u.dex, "log10(1 + delta5), the projected overdensity", WITH_ENVIRONMENT
        ),
        ResultColumn(
            "environment_flags",
            None,
            "why the overdensity is masked or to be doubted, a bit mask; see EnvironmentFlag",
            WITH_ENVIRONMENT,
        ),
    )
}


def columns_of(
    target: str,
    description: str,
    *,
    others: Sequence[str] = (),
    with_mass: bool = False,
    with_environment: bool = False,
    with_samples: bool = False,
) -> dict[str, ResultColumn]:
    """Return the columns of a result by name.

    Parameters
    ----------
    target : str
        The column of the estimate, ``target_column`` of the model's card. One that is none of
        `QUANTITIES` has no unit and no draws, and nothing is said of evidence or masses.
    description : str
        What is estimated.
    others : sequence of str, optional
        The columns of further estimates of the same model.
    with_mass : bool, optional
        Whether the input has ``log_mstar``.
    with_environment : bool, optional
        Whether the overdensity is wanted.
    with_samples : bool, optional
        Whether draws are wanted.

    Returns
    -------
    columns : dict of str to `ResultColumn`
    """
    is_registered = target in RESULT_COLUMNS and RESULT_COLUMNS[target].quantity == target
    wanted = {
        "always": True,
        WITH_MASS: with_mass and is_registered,
        WITH_ENVIRONMENT: with_environment,
        WITH_SAMPLES: with_samples and is_registered,
    }
    columns = [
        column
        for column in RESULT_COLUMNS.values()
        if wanted[column.when] and column.quantity in ("", target)
    ]
    if not is_registered:
        columns = [*_of_other(target, description), *(part for part in columns if part.name != "evidence")]
    of_others = [column for name in others for column in _of_other(name, description)[:-1]]
    columns = [*columns[: len(_LEVELS) + 1], *of_others, *columns[len(_LEVELS) + 1 :]]
    return {column.name: column for column in columns}


def _of_other(target: str, description: str) -> tuple[ResultColumn, ...]:
    """Return the columns of an estimate that is none of `QUANTITIES`."""
    percentiles = (
        ResultColumn(f"{target}_p{level:02}", None, f"{level}th percentile of {target}, conformal")
        for level in _LEVELS
    )
    probability = RESULT_COLUMNS[quantity_of(target).probability]
    return ResultColumn(target, None, description), *percentiles, probability


def make_room(table: Table, names: list[str], overwrite: bool) -> None:
    """Remove the columns that results take the place of, if that is allowed; the estimate is named first.

    What says how far an estimate of another quantity is to be trusted is kept, with its name in front:
    ``flags`` becomes ``log_hi_fraction_flags`` in a table that gets metallicities.
    """
    taken = [name for name in names if name in table.colnames]
    if taken and not overwrite:
        raise ValueError(
            f"data has the result columns {', '.join(taken)} already; "
            "rename them, or say overwrite=True (--replace-columns)"
        )
    own, *_ = names
    others = [part.column for part in QUANTITIES.values() if part.column in table.colnames]
    for name in set(taken) & set(_TRUST):
        # They are its own where the estimate is there, unless those are set apart already.
        if own in table.colnames and f"{own}_{name}" not in table.colnames:
            continue
        for other in others:
            if other != own and f"{other}_{name}" not in table.colnames:
                table.rename_column(name, f"{other}_{name}")
                break
    # An estimate must not stand beside the error, the draws, or the mark of a limit, of what it replaces.
    ends = ("err", "limit", "samples", *_TRUST)
    replaced = {*taken, *(f"{name}_{end}" for name in taken for end in ends)}
    table.remove_columns([name for name in table.colnames if name in replaced])


def result_column(name: str, values: np.ndarray, mask: np.ndarray | None = None) -> Any:
    """Return a result column with the unit and description of the registry.

    Parameters
    ----------
    name : str
        A key of `RESULT_COLUMNS`.
    values : `~numpy.ndarray`, shape (n,)
        Its values.
    mask : `~numpy.ndarray` of bool, optional
        True where there is no value. Without it the column is not masked, unless it has a unit.

    Returns
    -------
    column : masked quantity, `~astropy.table.MaskedColumn` or `~astropy.table.Column`
        Ready to stand in a `~astropy.table.QTable`.
    """
    return make_column(RESULT_COLUMNS[name], values, mask)


def make_column(entry: ResultColumn, values: np.ndarray, mask: np.ndarray | None = None) -> Any:
    """Return a column with the unit and description of an entry; see `result_column`."""
    if mask is not None:
        values = values.copy()
        values[mask] = np.nan if values.dtype.kind == "f" else np.zeros(1, values.dtype)[0]
    if mask is None and entry.unit is not None:
        mask = np.zeros(len(values), bool)
    if entry.unit is not None and not is_logarithm(entry.unit):
        quantity = Masked(u.Quantity(values, entry.unit), mask=mask)
        quantity.info.description = entry.description
        return quantity
    facts = {"description": entry.description}
    if entry.unit is not None:
        facts = _of_logarithm(entry.description, entry.unit)
    return Column(values, **facts) if mask is None else MaskedColumn(values, mask=mask, **facts)


def unknown_values(column: ResultColumn, n_rows: int) -> np.ndarray:
    """Return the values of a column before there are any; a MemoryError says if there is no room."""
    if not column.size:
        return np.full(n_rows, np.nan)
    try:
        return np.full((n_rows, column.size), np.nan, dtype=np.float32)
    except MemoryError as error:
        raise MemoryError(
            f"{column.name}: {column.size} numbers of {n_rows} rows do not fit into memory; "
            "estimate parts of the table"
        ) from error


def is_logarithm(unit: Any) -> bool:
    """Return whether a unit is dex, alone or of something; no magnitude is."""
    return isinstance(unit, u.DexUnit) or unit == u.dex


def plain_logarithm(column: Any) -> MaskedColumn:
    """Return a column of logarithms as `make_column` makes them: floats, the unit in the description."""
    info, mask = column.info, getattr(column, "mask", False)
    values = np.ma.getdata(getattr(column, "unmasked", column))
    facts = _of_logarithm(info.description, known_unit(column.unit), info.format)
    numbers = np.array(getattr(values, "value", values), dtype=float)
    return MaskedColumn(numbers, mask=mask, meta=copy.deepcopy(info.meta), **facts)


def _of_logarithm(description: str | None, unit: Any, shown: str | None = None) -> dict[str, str]:
    """Return what a column of logarithms has: the unit in its description, and two decimals in print."""
    return {"description": f"{description or ''} [{unit}]".strip(), "format": shown or ".2f"}
