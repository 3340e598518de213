"""Oxygen abundances of the literature: the mass-metallicity relation, and ratios of emission lines."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table

from hifrac.core.measurements import parse_numbers
from hifrac.relations._common import Relation, check, normal_percentiles, relation_result, same_length

#: Coefficients of each calibration of Pettini & Pagel (2004), from the constant upwards.
_PETTINI_PAGEL = {
    "O3N2": (8.73, -0.32),
    "N2": (9.37, 2.03, 1.26, 0.32),
    "N2 linear": (8.90, 0.57),
}
_TREMONTI = (-1.492, 1.847, -0.08026)
_KEWLEY_ELLISON = (-1661.9380, 585.17650, -68.471750, 2.6766690)
_DEX_SOLAR = u.dex(u.solMass)
_T04 = "on the scale of Tremonti et al. (2004), as oh_p50 of MPA-JHU"


_TREMONTI_FACTS = {
    "system": f"stellar masses of MPA-JHU (h = 0.7); abundances {_T04}",
    "reference": "Tremonti et al. 2004, ApJ 613, 898",
    "quantity": "oh",
}


def _by_lines(
    index: str, expression: str, limits: tuple[float, float], scatter: float, equation: str
) -> Relation:
    """Return what is known of a calibration of Pettini & Pagel (2004)."""
    return Relation(
        f"pettini_pagel2004_{index.lower().replace(' ', '_')}",
        f'pettini_pagel2004(ratio, index="{index}")',
        f"12 + log10(O/H) = {expression}",
        {index.split()[0]: limits},
        "of the paper",
        scatter,
        "abundances by electron temperatures, lower than those of MPA-JHU",
        "Pettini & Pagel 2004, MNRAS 348, L59",
        equation,
        "oh",
    )


_RELATIONS = (
    Relation(
        "tremonti2004",
        "tremonti2004(log_mstar)",
        "12 + log10(O/H) = -1.492 + 1.847 log M* - 0.08026 (log M*)^2",
        {"log_mstar": (8.5, 11.5)},
        "of the paper",
        0.10,
        equation="eq. 3",
        **_TREMONTI_FACTS,
    ),
    Relation(
        "tremonti2004_table",
        'tremonti2004(log_mstar, form="table")',
        "16th, 50th and 84th percentile of 12 + log10(O/H) in 28 bins of log M*, linear between them",
        {"log_mstar": (8.57, 11.25)},
        "first and last bin of the table",
        None,
        equation="Table 3",
        **_TREMONTI_FACTS,
    ),
    _by_lines("O3N2", "8.73 - 0.32 O3N2", (-1.0, 1.9), 0.14, "eq. 3"),
    _by_lines("N2", "9.37 + 2.03 N2 + 1.26 N2^2 + 0.32 N2^3", (-2.5, -0.3), 0.18, "eq. 2"),
    _by_lines("N2 linear", "8.90 + 0.57 N2", (-2.5, -0.3), 0.18, "eq. 1"),
    Relation(
        "kewley_ellison2008",
        "kewley_ellison2008(oh_n2)",
        "12 + log10(O/H) = -1661.9380 + 585.17650 x - 68.471750 x^2 + 2.6766690 x^3",
        {"oh_n2": (8.05, 8.9)},
        "of the paper",
        None,
        f"from N2 of Pettini & Pagel (2004), cubic, to abundances {_T04}",
        "Kewley & Ellison 2008, ApJ 681, 1183",
        "Table 3",
        "oh",
    ),
)

#: The relations of this module by name.
METALLICITY_RELATIONS = {relation.name: relation for relation in _RELATIONS}


def tremonti2004_table() -> Table:
    """Read Table 3 of Tremonti et al. (2004): ``log_mstar``, ``oh_p16``, ``oh``, ``oh_p84`` of 28 bins."""
    return Table.read(resources.files("hifrac") / "data" / "tremonti2004_table3.ecsv")


def tremonti2004(log_mstar: Any, *, form: str = "polynomial") -> QTable:
    r"""Estimate the oxygen abundance from the stellar mass, by the mass-metallicity relation.

    .. math:: 12 + \log_{10}(\mathrm{O/H}) = -1.492 + 1.847\,\log M_* - 0.08026\,(\log M_*)^2

    with a scatter of 0.10 dex (Tremonti et al. 2004, eq. 3), or by the percentiles of their Table 3.

    Parameters
    ----------
    log_mstar : array-like, column or `~astropy.units.Quantity`, shape (n,)
        Stellar mass (dex solMass), on the scale of MPA-JHU.
    form : {"polynomial", "table"}, optional
        The polynomial, from 8.5 to 11.5; or the table, linear between its bins, from 8.57 to 11.25: its
        interval is 0.2 dex wide at 10, and 0.4 at the low masses.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``oh`` (12 + log10(O/H)), ``oh_p16``, ``oh_p84`` and ``relation_flags`` (`RelationFlag`). Rows outside
        the range are masked.

    Raises
    ------
    TypeError, ValueError, ~astropy.units.UnitConversionError
        If the mass is not numbers or in another unit, or ``form`` is unknown.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If all rows are outside the range: that points to masses that are no logarithms.

    Examples
    --------
    >>> from hifrac.relations import tremonti2004
    >>> tremonti2004([9.0, 10.0, 11.0])["oh"].round(3).tolist()
    [8.63, 8.952, 9.114]
    """
    if form not in ("polynomial", "table"):
        raise ValueError(f"form must be 'polynomial' or 'table', got {form!r}")
    mass = parse_numbers(log_mstar, "log_mstar", _DEX_SOLAR, u.dex)
    if form == "table":
        relation = METALLICITY_RELATIONS["tremonti2004_table"]
        bins = tremonti2004_table()
        oh, low, high = (
            np.interp(mass, bins["log_mstar"], bins[name]) for name in ("oh", "oh_p16", "oh_p84")
        )
        return relation_result(oh, low, high, check({"log_mstar": mass}, relation), relation)
    return _with_scatter({"log_mstar": mass}, _TREMONTI, METALLICITY_RELATIONS["tremonti2004"])


def n2(nii_6584: Any, h_alpha: Any) -> MaskedColumn:
    r"""Compute the index N2 of emission lines.

    .. math:: \mathrm{N2} = \log_{10} \frac{[\mathrm{N\,II}]\,6584}{\mathrm{H}\alpha}

    Parameters
    ----------
    nii_6584, h_alpha : array-like, column or `~astropy.units.Quantity`, shape (n,)
        Fluxes, both in one unit.

    Returns
    -------
    index : `~astropy.table.MaskedColumn`, shape (n,)
        Masked where a flux is missing, or not above zero.

    Raises
    ------
    TypeError, ValueError
        If the fluxes are not numbers, or their lengths differ.

    Examples
    --------
    >>> from hifrac.relations import n2
    >>> n2([1.0, -0.1], [10.0, 10.0]).tolist()
    [-1.0, None]
    """
    return _index("N2", nii_6584=nii_6584, h_alpha=h_alpha)


def o3n2(oiii_5007: Any, h_beta: Any, nii_6584: Any, h_alpha: Any) -> MaskedColumn:
    r"""Compute the index O3N2 of emission lines.

    .. math::

        \mathrm{O3N2} = \log_{10} \frac{[\mathrm{O\,III}]\,5007 / \mathrm{H}\beta}
        {[\mathrm{N\,II}]\,6584 / \mathrm{H}\alpha}

    Parameters
    ----------
    oiii_5007, h_beta, nii_6584, h_alpha : array-like, column or `~astropy.units.Quantity`, shape (n,)
        Fluxes, the lines of a pair in one unit. The lines of a pair are so close that dust matters little.

    Returns
    -------
    index : `~astropy.table.MaskedColumn`, shape (n,)
        Masked where a flux is missing, or not above zero.

    Raises
    ------
    TypeError, ValueError
        If the fluxes are not numbers, or their lengths differ.

    Examples
    --------
    >>> from hifrac.relations import o3n2
    >>> o3n2([10.0], [1.0], [1.0], [10.0]).tolist()
    [2.0]
    """
    return _index("O3N2", oiii_5007=oiii_5007, h_beta=h_beta, nii_6584=nii_6584, h_alpha=h_alpha)


def pettini_pagel2004(ratio: Any, *, index: str = "O3N2") -> QTable:
    r"""Estimate the oxygen abundance from a ratio of emission lines (Pettini & Pagel 2004).

    .. math::

        12 + \log_{10}(\mathrm{O/H}) &= 8.73 - 0.32\,\mathrm{O3N2} \\
        &= 9.37 + 2.03\,\mathrm{N2} + 1.26\,\mathrm{N2}^2 + 0.32\,\mathrm{N2}^3 \\
        &= 8.90 + 0.57\,\mathrm{N2}

    Parameters
    ----------
    ratio : array-like or column, shape (n,)
        The index: what `o3n2` or `n2` returns.
    index : {"O3N2", "N2", "N2 linear"}, optional
        Which calibration: O3N2, from -1 to 1.9 with a scatter of 0.14 dex; N2, the cubic one, or N2 linear,
        from -2.5 to -0.3 with a scatter of 0.18 dex.

    Returns
    -------
    table : `~astropy.table.QTable`
        As of `tremonti2004`, on another scale: abundances of MPA-JHU are higher.

    Raises
    ------
    TypeError, ValueError
        If the ratio is not numbers, or the index unknown.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If all rows are outside the range: that points to ratios that are no logarithms.

    Examples
    --------
    >>> from hifrac.relations import n2, pettini_pagel2004
    >>> pettini_pagel2004([0.5, 2.5])["oh"].round(2).tolist()
    [8.57, None]
    >>> pettini_pagel2004(n2([3.0], [10.0]), index="N2")["oh"].round(2).tolist()
    [8.61]
    """
    if index not in _PETTINI_PAGEL:
        raise ValueError(f"index must be one of {', '.join(_PETTINI_PAGEL)}, got {index!r}")
    relation = METALLICITY_RELATIONS[f"pettini_pagel2004_{index.lower().replace(' ', '_')}"]
    inputs = {name: parse_numbers(ratio, "ratio") for name in relation.ranges}
    return _with_scatter(inputs, _PETTINI_PAGEL[index], relation)


def kewley_ellison2008(oh_n2: Any) -> QTable:
    """Convert abundances by N2 of Pettini & Pagel (2004) to the scale of Tremonti et al. (2004).

    Parameters
    ----------
    oh_n2 : array-like or column, shape (n,)
        12 + log10(O/H) of ``pettini_pagel2004(..., index="N2")``, from 8.05 to 8.9.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``oh`` and ``relation_flags`` as of `tremonti2004`; ``oh_p16`` and ``oh_p84`` are masked, since
        no scatter is published for this pair of scales.

    Raises
    ------
    TypeError, ValueError
        If the abundances are not numbers.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If all rows are outside the range: that points to abundances relative to the Sun.

    Notes
    -----
    Table 3 of Kewley & Ellison (2008). It has more pairs of scales; only this one could be checked.

    Examples
    --------
    >>> from hifrac.relations import kewley_ellison2008
    >>> kewley_ellison2008([8.2, 8.5])["oh"].round(2).tolist()
    [8.3, 8.79]
    """
    oh = parse_numbers(oh_n2, "oh_n2")
    return _with_scatter({"oh_n2": oh}, _KEWLEY_ELLISON, METALLICITY_RELATIONS["kewley_ellison2008"])


def _with_scatter(
    inputs: dict[str, np.ndarray], coefficients: tuple[float, ...], relation: Relation
) -> QTable:
    (values,) = inputs.values()
    oh = np.polynomial.polynomial.polyval(values, coefficients)
    spread = np.nan if relation.scatter is None else relation.scatter
    return relation_result(oh, *normal_percentiles(oh, spread), check(inputs, relation), relation)


def _index(name: str, **fluxes: Any) -> MaskedColumn:
    """Return the logarithm of the first flux over the second, over the third over the fourth, ..."""
    lines = {key: parse_numbers(values, key) for key, values in fluxes.items()}
    same_length(lines)
    with np.errstate(invalid="ignore"):
        logarithms = [np.log10(np.where(values > 0, values, np.nan)) for values in lines.values()]
    signs = (1, -1, -1, 1)
    index = sum(sign * values for sign, values in zip(signs, logarithms, strict=False))
    return MaskedColumn(index, mask=np.isnan(index), name=name)
