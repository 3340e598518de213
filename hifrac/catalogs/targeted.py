"""Surveys that looked at chosen galaxies, and so have upper limits: xGASS, NIBLES, RESOLVE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table

from hifrac.catalogs._files import load
from hifrac.catalogs._harmonise import (
    Field,
    Values,
    assemble,
    choose_tables,
    expect_rows,
    extract,
    join_by,
    load_published,
)
from hifrac.catalogs._registry import CATALOGS
from hifrac.catalogs._remote import vizier_tables
from hifrac.catalogs.columns import CatalogFlag, plain_values
from hifrac.catalogs.errors import CatalogFormatError, CatalogWarning
from hifrac.core.exceptions import warn_caller
from hifrac.core.measurements import C_KM_S

_XGASS_FIELDS = (
    Field("gass", ("GASS",), required=True),
    Field("agc", ("AGCnr", "AGC"), missing=(0,)),
    Field("name", ("SDSS",)),
    Field("plate", ("PLATEID", "Plate")),
    Field("mjd", ("MJD",)),
    Field("fiberid", ("FIBERID", "Fiber")),
    Field("ra", ("RA", "RAJ2000", "_RAJ2000"), required=True),
    Field("dec", ("DEC", "DEJ2000", "_DEJ2000"), required=True),
    Field("z", ("zSDSS", "z"), required=True),
    Field("distance", ("Dlum", "DL"), least=0.01),
    Field("log_mstar", ("lgMstar", "logM*", "logMstar"), required=True, least=0),
    Field("axial_ratio", ("expAB_r", "b/a"), least=0),
    Field("r_mag", ("model_r", "rmag"), least=0),
    Field("extinction_r", ("ext_r", "extr", "Ar"), least=0),
    Field("r50", ("petrR50_r", "R50r"), least=0),
    Field("r90", ("petrR90_r", "R90r"), least=0),
    Field("nuv_minus_r", ("NUVr", "NUV-r"), least=-90),
    Field("log_sfr", ("SFR_best", "SFR"), least=1e-10, convert=np.log10),
    Field("hi_code", ("HIsrc", "r_MHI"), required=True),
    Field("_confused", ("HIconf_flag",), dtype=float),
    Field("w50", ("W50cor", "W50"), least=1e-3),
    Field("log_mhi", ("lgMHI", "logMHI"), required=True, least=0),
    Field("log_hi_fraction", ("lgGF", "logMHI/M*"), least=-90),
)
_XGASS_LIMIT = 4

_NIBLES_FIELDS = (
    Field("nibles", ("nibles_id", "NIBLES", "Source"), required=True),
    Field("name", ("Name", "OName")),
    Field("ra", ("ra", "RAJ2000"), required=True),
    Field("dec", ("dec", "DEJ2000"), required=True),
    Field("z", ("z",)),
    Field("v", ("Vopt", "VHI", "HRV", "cz")),
    Field("log_mstar", ("logMstar", "logM*"), required=True),
    Field("log_mhi", ("logMHI",), required=True),
    Field("log_hi_fraction", ("logfgas", "logMHI/M*")),
    Field("_limit", ("l_logMHI",), dtype=str),
)

#: Degrees: SDSS took no spectra of its main samples, from which NIBLES chose, south of this.
SOUTHERN_LIMIT = -15.0

_RESOLVE_FIELDS = (
    Field("name", ("Name", "RESOLVE")),
    Field("objid", ("objid",)),
    Field("ra", ("ra", "RAJ2000", "RAdeg"), required=True),
    Field("dec", ("dec", "DEJ2000", "DEdeg"), required=True),
    Field("v", ("cz", "Vel"), required=True),
    Field("log_mstar", ("log_mstar_resolve", "logM*", "logMstar"), required=True),
    Field("g_minus_r", ("g_minus_r", "g-r")),
    Field("g_minus_i", ("g_minus_i", "g-i")),
    Field("u_minus_r", ("u_minus_r", "u-r")),
    Field("i_mag", ("i_mag", "imag")),
    Field("r50", ("r50",)),
    Field("axial_ratio", ("axial_ratio", "b/a")),
)
_RESOLVE_HI_FIELDS = (
    Field("name", ("Name", "RESOLVE")),
    Field("log_mhi", ("log_mhi", "logMHI"), required=True),
    Field("log_mhi_err", ("e_logMHI",)),
    Field("_limit", ("is_limit", "l_logMHI"), dtype=str),
    Field("_confused", ("confused",), dtype=str),
    Field("log_hi_fraction", ("log_hi_fraction_true",)),
)
_RESOLVE_PHOTOMETRY = "J/ApJ/810/166"


def xgass(path=None, *, labels: Mapping[str, str] | None = None) -> QTable:
    """Read xGASS, the representative sample (Catinella+2018): HI to a fixed gas fraction.

    Parameters
    ----------
    path : path-like, optional
        The survey's table, or a data directory that has it; by default that of `hifrac.core.data_dir`,
        else VizieR's.
    labels : mapping, optional
        For renamed columns: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        1,179 rows, 375 of them limits (5 sigma). A detection whose beam holds
        another galaxy is flagged CONFUSED. The redshift is the optical one.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, or the file of the survey:

    >>> from hifrac import catalogs
    >>> xgass = catalogs.xgass()  # doctest: +REMOTE_DATA
    >>> len(xgass), int(xgass["log_mhi_limit"].sum())  # doctest: +REMOTE_DATA
    (1179, 375)
    """
    catalog = CATALOGS["xgass"]
    raw = load_published(catalog, path, _XGASS_FIELDS)
    values = extract(raw.tables[0], _XGASS_FIELDS, labels=labels, what=catalog.name)
    expect_rows(raw, catalog, values.rows)
    values.put("log_mhi_limit", values["hi_code"][0] == _XGASS_LIMIT, values["hi_code"][1])
    flags = np.where(values.floats("_confused") > 0, int(CatalogFlag.CONFUSED), 0)
    method = "MPA-JHU DR7 (Salim+2007), Chabrier IMF"
    return assemble(
        catalog, values, raw, flags=flags, h0=70, imf="Chabrier", stellar_mass=method, limits="5 sigma"
    )


def nibles(path=None, *, signs_from: Sequence[Table] = (), labels: Mapping[str, str] | None = None) -> QTable:
    """Read NIBLES (van Driel+2016), the galaxies with a stellar mass.

    A file whose declinations are all positive has lost their signs. Then a sign is certain only where the
    mirror image would lie south of -15 degrees, or where a second catalogue has the galaxy, at the same
    velocity, at one of the two places and not at the other. Every other row is flagged DEC_SIGN_UNKNOWN.

    Parameters
    ----------
    path : path-like, optional
        The table, or a data directory that has it; by default that of `hifrac.core.data_dir`,
        else VizieR's.
    signs_from : sequence of `~astropy.table.Table`, optional
        Catalogues with ``ra``, ``dec``, ``v`` that can tell the signs, such as
        `~hifrac.catalogs.alfalfa_a100` and, for the whole sky, `~hifrac.catalogs.tmrs`.
    labels : mapping, optional
        For renamed columns: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        1,621 rows. The file has no limit flag: ``log_mhi_limit`` is masked,
        and so are distances and errors.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Warns
    -----
    ~hifrac.catalogs.CatalogWarning
        If signs were lost and remain unknown.

    Examples
    --------
    With a network, or the files; the signs of declinations from two other surveys:

    >>> from hifrac import catalogs
    >>> others = [catalogs.alfalfa_a100(), catalogs.tmrs()]  # doctest: +REMOTE_DATA
    >>> nibles = catalogs.nibles(signs_from=others)  # doctest: +REMOTE_DATA +IGNORE_WARNINGS
    >>> nibles.meta["hifrac"]["declination_signs"]  # doctest: +REMOTE_DATA
    'lost in the file; 101 turned and 889 confirmed after 2 catalogue(s), 273 unknown'
    """
    catalog = CATALOGS["nibles"]
    raw = load_published(catalog, path, _NIBLES_FIELDS)
    values = extract(raw.tables[0], _NIBLES_FIELDS, labels=labels, what=catalog.name)
    expect_rows(raw, catalog, values.rows)
    if not {"z", "v"} & set(values):
        raise CatalogFormatError(f"{catalog.name} has neither redshifts nor velocities")
    derived = _fill_fraction(values)
    if "_limit" in values:
        values.put("log_mhi_limit", _says_yes(values, "_limit"))
    else:
        values.put("log_mhi_limit", np.zeros(values.rows, bool), np.ones(values.rows, bool))
    flags = np.zeros(values.rows, np.int64)
    signs = "as listed"
    dec = values.floats("dec")
    if values.rows and not np.any(dec < 0):
        flags, counts = _signs(values, signs_from)
        signs = f"lost in the file; {counts}"
        unknown = np.count_nonzero(flags & int(CatalogFlag.DEC_SIGN_UNKNOWN))
        if unknown:
            warn_caller(
                f"nibles: the file has lost the signs of its declinations; {unknown} of {values.rows} remain "
                "unknown, flagged DEC_SIGN_UNKNOWN, and may be mirror images (signs_from=... tells more)",
                CatalogWarning,
            )
    flags |= np.where(derived, int(CatalogFlag.DERIVED_FRACTION), 0)
    return assemble(
        catalog,
        values,
        raw,
        flags=flags,
        h0=70,
        imf="Chabrier",
        stellar_mass="MPA-JHU, Chabrier IMF",
        declination_signs=signs,
    )


def resolve(path=None, *, labels: Mapping[str, str] | None = None) -> QTable:
    """Read RESOLVE (Eckert+2015, Stark+2016): a volume-limited survey with strong HI limits.

    Parameters
    ----------
    path : path-like, optional
        A table of galaxies with HI masses, or a data directory; by default ``resolve_labels.ecsv``
        of `hifrac.core.data_dir`, else VizieR's tables of HI and of photometry, joined by name.
    labels : mapping, optional
        For renamed columns of positions and photometry: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        Limits are marked by ``log_mhi_limit``, confused detections flagged CONFUSED.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, or the file; the detections:

    >>> from hifrac import catalogs
    >>> table = catalogs.resolve()  # doctest: +REMOTE_DATA
    >>> table = table[~table["log_mhi_limit"]]  # doctest: +REMOTE_DATA
    """
    catalog = CATALOGS["resolve"]

    def fetch(_: Path) -> list[Table]:
        (photometry,) = choose_tables(vizier_tables(_RESOLVE_PHOTOMETRY), [_RESOLVE_FIELDS], catalog.name)
        (hi,) = choose_tables(vizier_tables(catalog.address), [_RESOLVE_HI_FIELDS], catalog.name)
        optical = extract(photometry, _RESOLVE_FIELDS, what=catalog.name)
        return [_as_table(join_by(optical, extract(hi, _RESOLVE_HI_FIELDS, what=catalog.name), "name"))]

    raw = load(catalog, path, parts=1, fetch=fetch)
    fields = (*_RESOLVE_FIELDS, *(field for field in _RESOLVE_HI_FIELDS if field.column != "name"))
    values = extract(raw.tables[0], fields, labels=labels, what=catalog.name)
    if "_limit" in values:
        values.put("log_mhi_limit", _says_yes(values, "_limit"), ~np.isfinite(values.floats("log_mhi")))
    confused = _says_yes(values, "_confused")
    flags = np.where(confused, int(CatalogFlag.CONFUSED), 0)
    method = "RESOLVE SED fit (Eckert+2015), Chabrier IMF"
    return assemble(catalog, values, raw, flags=flags, h0=70, imf="Chabrier", stellar_mass=method)


def _says_yes(values: Values, name: str) -> np.ndarray:
    """Return where a column of text or truth values says yes; not where it is masked, or not there."""
    if name not in values:
        return np.zeros(values.rows, bool)
    text, mask = values[name]
    return np.isin(text, ["True", "<", "1"]) & ~mask


def _as_table(values: Values) -> Table:
    from astropy.table import MaskedColumn

    table = Table()
    for name, (data, mask) in values.items():
        if name != "_joined":
            label = {"_limit": "is_limit", "_confused": "confused"}.get(name, name)
            table[label] = MaskedColumn(data, mask=mask)
    return table


def _fill_fraction(values: Values) -> np.ndarray:
    """Fill in fractions of 0.00, which were lost upstream, from the masses; return where."""
    masses = values.floats("log_mhi") - values.floats("log_mstar")
    own = values.floats("log_hi_fraction")
    derived = ~np.isfinite(own) & np.isfinite(masses)
    values.put("log_hi_fraction", np.where(derived, masses, own))
    return derived


def _signs(values: Values, references: Sequence[Table]) -> tuple[np.ndarray, str]:
    """Return the flags of the signs of declinations, and turn in ``values`` those proven wrong."""
    dec = values.floats("dec")
    v = values.floats("v") if "v" in values else values.floats("z") * C_KM_S
    as_listed, mirrored = np.zeros(len(dec), bool), np.zeros(len(dec), bool)
    for table in references:
        reference = [plain_values(table, name) for name in ("ra", "dec", "v")]
        as_listed |= _is_there(values.floats("ra"), dec, v, *reference)
        mirrored |= _is_there(values.floats("ra"), -dec, v, *reference)
    turned = mirrored & ~as_listed
    confirmed = as_listed & ~mirrored
    certain = confirmed | turned | (-dec < SOUTHERN_LIMIT)
    values.put("dec", np.where(turned, -dec, dec))
    flags = np.where(certain, 0, int(CatalogFlag.DEC_SIGN_UNKNOWN))
    flags |= np.where(confirmed, int(CatalogFlag.DEC_SIGN_CONFIRMED), 0)
    flags |= np.where(turned, int(CatalogFlag.DEC_SIGN_REPAIRED), 0)
    counts = (
        f"{np.count_nonzero(turned)} turned and {np.count_nonzero(confirmed)} confirmed after "
        f"{len(references)} catalogue(s), {np.count_nonzero(~certain)} unknown"
    )
    return flags, counts


def _is_there(ra, dec, v, ra_reference, dec_reference, v_reference) -> np.ndarray:
    """Return whether the reference has a galaxy within 5 arcsec and 300 km/s."""
    from hifrac.catalogs.matching import pairs_within

    mine, theirs, _ = pairs_within((ra, dec), (ra_reference, dec_reference), 5.0)
    close = np.abs(v[mine] - v_reference[theirs]) < 300
    result = np.zeros(len(ra), bool)
    result[mine[close]] = True
    return result
