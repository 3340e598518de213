"""What masses and distances hang on: the Hubble constant and the initial mass function.

Masses of two catalogues are only put together if both stand on one scale. The
catalogues here say theirs in ``meta["hifrac"]``, as ``h0`` (km/s/Mpc) and ``imf``.
A table of your own says nothing until you declare it.
"""

from __future__ import annotations

import numpy as np
from astropy.table import QTable

from hifrac.catalogs.columns import CATALOG_COLUMNS, catalog_column, plain_values
from hifrac.catalogs.errors import CatalogScaleError

#: The initial mass functions that a catalogue may declare.
IMFS = ("Chabrier", "Kroupa", "Salpeter")

#: By how many powers of the distance a column grows; the logarithm of a ratio by none.
_POWERS = {"distance": 1, "distance_err": 1}
_LOG_POWERS = {
    "log_mhi": 2,
    "log_mstar": 2,
    "log_mstar_taylor": 2,
    "log_mstar_mcgaugh": 2,
    "log_mstar_gswlc": 2,
    "log_sfr": 2,
    "abs_i": -5,
    "abs_r": -5,
}


def declare_scale(table: QTable, *, h0: float | None = None, imf: str | None = None) -> QTable:
    """Declare that a table is on another scale than its ``meta`` tells; nothing is converted.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        A catalogue, for instance of a file of your own.
    h0 : float, optional
        The Hubble constant that its distances, masses and luminosities are for (km/s/Mpc).
    imf : {"Chabrier", "Kroupa", "Salpeter"}, optional
        The initial mass function of its stellar masses.

    Returns
    -------
    table : `~astropy.table.QTable`
        A copy that says so in ``meta["hifrac"]``.

    Raises
    ------
    ValueError
        If ``h0`` is no Hubble constant (20 to 200), or ``imf`` is not known.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from hifrac import catalogs
    >>> table = QTable({"log_mhi": [9.5], "log_mstar": [10.2]})
    >>> catalogs.declare_scale(table, h0=100, imf="Salpeter").meta["hifrac"]
    {'h0': 100.0, 'imf': 'Salpeter'}
    """
    changes: dict[str, float | str] = {}
    if h0 is not None:
        changes["h0"] = _hubble(h0)
    if imf is not None:
        if imf not in IMFS:
            raise ValueError(f"imf must be one of {', '.join(IMFS)}, got {imf!r}")
        changes["imf"] = imf
    result = table.copy()
    result.meta["hifrac"] = {**result.meta.get("hifrac", {}), **changes}
    return result


def convert_h0(table: QTable, h0: float = 70) -> QTable:
    """Convert a table to the scale of another Hubble constant.

    Distances go as 1/H0, masses and star formation rates as 1/H0^2, absolute magnitudes by 5 log10 H0.
    The HI mass fraction does not change: both of its masses do alike.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        A catalogue that tells its own ``h0``, see `declare_scale`.
    h0 : float, optional
        The Hubble constant wanted (km/s/Mpc).

    Returns
    -------
    table : `~astropy.table.QTable`
        A copy, converted. Distances that were measured otherwise than by redshift are scaled as well.

    Raises
    ------
    ValueError
        If ``h0`` is no Hubble constant (20 to 200).
    ~hifrac.catalogs.CatalogError
        If the table does not tell its own.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy.table import QTable
    >>> from hifrac import catalogs
    >>> table = QTable({"distance": [70.0] * u.Mpc, "log_mhi": [9.5]})
    >>> converted = catalogs.convert_h0(catalogs.declare_scale(table, h0=75), 70)
    >>> converted["distance"].round(1), converted["log_mhi"].round(2).tolist()
    (<MaskedQuantity [75.] Mpc>, [9.56])
    """
    own = table.meta.get("hifrac", {}).get("h0")
    if own is None:
        raise CatalogScaleError("table does not tell its Hubble constant: declare_scale(table, h0=...)")
    ratio = float(own) / _hubble(h0)
    result = declare_scale(table, h0=h0)
    for name, power in {**_POWERS, **_LOG_POWERS}.items():
        if name not in table.colnames:
            continue
        values = plain_values(table, name)
        changed = values * ratio**power if name in _POWERS else values + power * np.log10(ratio)
        result[name] = catalog_column(name, changed)
        result[name].info.description = CATALOG_COLUMNS[name].description
    return result


def check_scales(table: QTable, masses: QTable, *, imf: bool = False) -> None:
    """Refuse to put together what stands on two scales; what tells no scale is taken as it is.

    Parameters
    ----------
    table, masses : `~astropy.table.Table`
        The catalogue, and that whose masses it is to get.
    imf : bool, optional
        Whether the initial mass functions must agree as well: where stellar masses of both are used.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If both tell a Hubble constant, or an initial mass function, and not the same.
    """
    own, other = (entry.meta.get("hifrac", {}) for entry in (table, masses))
    if None not in (own.get("h0"), other.get("h0")) and own["h0"] != other["h0"]:
        shift = 2 * np.log10(float(own["h0"]) / float(other["h0"]))
        raise CatalogScaleError(
            f"table is for H0 = {own['h0']:g}, masses for H0 = {other['h0']:g} km/s/Mpc: fractions of "
            f"the two would be off by {abs(shift):.2f} dex; convert one with convert_h0"
        )
    if imf and None not in (own.get("imf"), other.get("imf")) and own["imf"] != other["imf"]:
        raise CatalogScaleError(
            f"table has stellar masses of a {own['imf']} initial mass function, masses those of "
            f"{other['imf']}: choose one, or shift one by the offset you trust and declare_scale it"
        )


def _hubble(h0: float) -> float:
    if isinstance(h0, bool) or not isinstance(h0, int | float | np.number):
        raise ValueError(f"h0 must be a number (km/s/Mpc), got {h0!r}")
    if not 20 <= h0 <= 200:
        raise ValueError(f"h0 must be a Hubble constant from 20 to 200 km/s/Mpc, got {h0}")
    return float(h0)
