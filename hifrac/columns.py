"""The columns that a result adds, and those that tell a position: the registry.

Names, units and meanings are public interface; the documentation page of the
result columns is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Column, MaskedColumn
from astropy.utils.masked import Masked

__all__ = [
    "DEC_ALIASES",
    "POSITION_COLUMNS",
    "RA_ALIASES",
    "RESULT_COLUMNS",
    "WITH_MASS",
    "ResultColumn",
    "result_column",
]

#: Names of position columns, in the order in which they are looked for; case
#: does not matter. A pair of one system comes before a mixture.
POSITION_COLUMNS = (
    ("ra", ("dec",)),
    ("raj2000", ("dej2000", "decj2000")),
    ("ra_icrs", ("de_icrs", "dec_icrs")),
    ("radeg", ("dedeg", "decdeg")),
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
        Its unit; None for plain numbers.
    description : str
        What it means.
    when : str
        What the input must hold for the column to be there.
    """

    name: str
    unit: u.UnitBase | None
    description: str
    when: str = "always"


_DEX_SOLAR = u.dex(u.solMass)
WITH_MASS = "the input has log_mstar"

RESULT_COLUMNS = {
    column.name: column
    for column in (
        ResultColumn("log_hi_fraction", u.dex, "HI mass fraction log10(M_HI/M*): the estimate"),
        ResultColumn("log_hi_fraction_p16", u.dex, "16th percentile of the HI mass fraction, conformal"),
        ResultColumn("log_hi_fraction_p84", u.dex, "84th percentile of the HI mass fraction, conformal"),
        ResultColumn(
            "p_detect",
            None,
            "probability of an ALFALFA-like detection, against bright undetected galaxies, at equal odds",
        ),
        ResultColumn(
            "ood_score", None, "percentile (0-100) of the distance from the training set; 100 is farthest"
        ),
        ResultColumn("flags", None, "quality flags, a bit mask; 0 is unflagged, see decode_flags"),
        ResultColumn("log_mhi", _DEX_SOLAR, "HI mass, log_hi_fraction + log_mstar", WITH_MASS),
        ResultColumn("log_mhi_p16", _DEX_SOLAR, "16th percentile of the HI mass, M* exact", WITH_MASS),
        ResultColumn("log_mhi_p84", _DEX_SOLAR, "84th percentile of the HI mass, M* exact", WITH_MASS),
    )
}


def result_column(name: str, values: np.ndarray, mask: np.ndarray | None = None):
    """A result column with the unit and description of the registry.

    Parameters
    ----------
    name : str
        A key of `RESULT_COLUMNS`.
    values : `~numpy.ndarray`, shape (n,)
        Its values.
    mask : `~numpy.ndarray` of bool, optional
        True where there is no value. Without it the column is not masked.

    Returns
    -------
    column : masked quantity, `~astropy.table.MaskedColumn` or `~astropy.table.Column`
        Ready to stand in a `~astropy.table.QTable`.
    """
    entry = RESULT_COLUMNS[name]
    if mask is not None:
        values = np.where(mask, 0 if values.dtype.kind in "iu" else np.nan, values)
    if entry.unit is None:
        column = Column(values) if mask is None else MaskedColumn(values, mask=mask)
    else:
        cls = getattr(entry.unit, "_quantity_class", u.Quantity)  # u.Dex for dex(solMass)
        column = Masked(cls(values, entry.unit), mask=np.zeros(len(values), bool) if mask is None else mask)
    column.info.description = entry.description
    return column
