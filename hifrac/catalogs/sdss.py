"""Optical catalogues: MPA-JHU, NASA-Sloan Atlas, Teimoorinia's estimates, 2MASS Redshift Survey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from hifrac.catalogs._files import first_line, load
from hifrac.catalogs._harmonise import Field, assemble, expect_rows, extract, load_published
from hifrac.catalogs._registry import CATALOGS
from hifrac.catalogs._remote import skyserver_sql
from hifrac.catalogs.columns import CatalogFlag
from hifrac.catalogs.errors import CatalogFormatError
from hifrac.core.exceptions import silenced
from hifrac.core.measurements import C_KM_S

_FROM = """
FROM galSpecInfo AS i
JOIN galSpecExtra AS e ON e.specObjID = i.specObjID
LEFT JOIN SpecObjAll AS s ON s.specObjID = i.specObjID
LEFT JOIN PhotoObjDR7 AS d ON d.dr8objid = s.bestObjID
WHERE i.plateid BETWEEN {first} AND {last}
""".strip()

#: The query of `mpa_jhu`, for the plates from ``first`` to ``last``.
MPA_JHU_SQL = (
    """
SELECT i.specObjID AS specobjid, s.bestObjID AS objid, d.dr7objid AS dr7objid,
  i.plateid AS plate, i.mjd AS mjd, i.fiberid AS fiberid, i.ra AS ra, i.dec AS dec,
  i.z AS z, i.z_warning AS z_warning,
  e.lgm_tot_p16 AS lgm_tot_p16, e.lgm_tot_p50 AS lgm_tot_p50, e.lgm_tot_p84 AS lgm_tot_p84,
  e.sfr_tot_p50 AS sfr_tot_p50, e.oh_p50 AS oh_p50
""".strip()
    + "\n"
    + _FROM
)
_COUNT_SQL = f"SELECT COUNT(*) AS n\n{_FROM}"

# The spectroscopy of DR7 ends with plate 2974; SkyServer gives 500,000 rows at most.
LAST_PLATE = 3000
_PLATES_AT_ONCE = 300

#: What a table with the masses of MPA-JHU says of them.
MPA_JHU_MASSES: dict[str, Any] = {
    "h0": 70,
    "imf": "Chabrier",
    "stellar_mass": "MPA-JHU DR7 lgm_tot_p50 (Kauffmann+2003, Salim+2007), Chabrier IMF",
}

# -9999, -1 and 0 stand for no mass.
_MPA_JHU_FIELDS = (
    Field("specobjid", ("specobjid",), missing=(0,)),
    Field("objid", ("objid", "bestobjid"), missing=(0, -9999)),
    Field("objid_dr7", ("dr7objid", "objid_dr7", "photoobjid"), missing=(0, -9999)),
    Field("plate", ("plate", "plateid")),
    Field("mjd", ("mjd",)),
    Field("fiberid", ("fiberid",)),
    Field("ra", ("ra",), required=True),
    Field("dec", ("dec",), required=True),
    Field("z", ("z",), required=True, least=-1),
    Field("_warning", ("z_warning",), dtype=int),
    Field("log_mstar", ("lgm_tot_p50",), required=True, least=1e-9),
    Field("_p16", ("lgm_tot_p16",), least=1e-9),
    Field("_p84", ("lgm_tot_p84",), least=1e-9),
    Field("log_sfr", ("sfr_tot_p50", "logSFR"), least=-90),
    Field("log_oh", ("oh_p50", "Zgas"), least=1e-9),
)

_TEIMOORINIA_FIELDS = (
    Field("objid_dr7", ("objID", "SDSS", "objid_dr7", "ID"), required=True),
    Field("ra", ("ra", "RAJ2000", "RAdeg")),
    Field("dec", ("dec", "DEJ2000", "DEdeg")),
    Field("z", ("z",), least=-1),
    Field("log_mstar", ("logM*", "logMstar"), least=0),
    Field(
        "log_hi_fraction_estimate",
        ("log(MHI/M*)", "logMHI/M*", "logfgas", "fgas", "MHI/M*", "log_hi_fraction_estimate"),
        required=True,
        least=-90,
    ),
    Field("estimate_sigma", ("sigmafit", "e_logMHI/M*", "s_fit", "sigfit", "sfit", "e_fgas")),
    Field("p_detect", ("PR", "P_R", "PRdet")),
)

_TMRS_FIELDS = (
    Field("name", ("id2mass", "ID", "2MASX")),
    Field("ra", ("ra", "RAJ2000", "RAdeg"), required=True),
    Field("dec", ("dec", "DEJ2000", "DEdeg"), required=True),
    Field("v", ("cz", "Vel"), required=True),
)

# The masses and magnitudes of the atlas are for h = 1.
_LOG_H = np.log10(0.7)
_NSA_BANDS = {"u": 2, "g": 3, "r": 4, "i": 5}  # of its seven, FNugriz
_NSA_COLOURS = {"u_minus_r": ("u", "r"), "g_minus_r": ("g", "r"), "g_minus_i": ("g", "i")}
_BAND = "absolute magnitude "
_EXTRA = "extra column "


def mpa_jhu_queries(first: int = 1, last: int = LAST_PLATE) -> list[tuple[str, str]]:
    """Return the SQL queries of `mpa_jhu`, each with the one that counts its rows.

    Parameters
    ----------
    first, last : int, optional
        Range of plates.

    Returns
    -------
    queries : list of (str, str)
        For ranges of 300 plates.

    Raises
    ------
    ValueError
        If the range is empty.
    """
    return plate_queries(MPA_JHU_SQL, _COUNT_SQL, first, last, at_once=_PLATES_AT_ONCE)


def plate_queries(query: str, count: str, first: int, last: int, *, at_once: int) -> list[tuple[str, str]]:
    """Return two templates of SQL, of a query and of its count, filled in for ranges of plates."""
    if not 0 < first <= last:
        raise ValueError(f"first and last must be a range of plates, got {first} and {last}")
    ranges = [
        {"first": start, "last": min(last, start + at_once - 1)} for start in range(first, last + 1, at_once)
    ]
    return [(query.format(**plates), count.format(**plates)) for plates in ranges]


def mpa_jhu(path=None, *, data_release: int = 17, labels: Mapping[str, str] | None = None) -> QTable:
    """Read the MPA-JHU galaxies of SDSS DR7: stellar masses, star formation rates, oxygen abundances.

    Parameters
    ----------
    path : path-like, optional
        A table with the columns of ``hifrac.catalogs.sdss.MPA_JHU_SQL``; by default that of the data
        directory, else SkyServer's answer, some 900,000 rows.
    data_release : int, optional
        The SDSS data release that is asked; the content is that of DR7 since DR8.
    labels : mapping, optional
        For renamed columns: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        Without HI. Masses, rates and abundances that were not measured (-9999,
        -1, 0) are masked; a redshift warning is flagged BAD_REDSHIFT.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    From a file of the query, for SkyServer's answer takes long; the galaxies with a measured abundance:

    >>> from hifrac import catalogs
    >>> table = catalogs.mpa_jhu("mpa_jhu.fits")  # doctest: +SKIP
    >>> table = table[~table["log_oh"].mask]  # doctest: +SKIP
    """
    catalog = CATALOGS["mpa_jhu"]
    raw = load(
        catalog,
        path,
        parts=1,
        fetch=lambda pieces: [skyserver_sql(mpa_jhu_queries(), pieces, data_release=data_release)],
    )
    values = extract(raw.tables[0], _MPA_JHU_FIELDS, labels=labels, what=catalog.name)
    if {"_p16", "_p84"} <= set(values):
        values.put("log_mstar_err", (values.floats("_p84") - values.floats("_p16")) / 2)
    warned = values["_warning"][0] != 0 if "_warning" in values else np.zeros(values.rows, bool)
    flags = np.where(warned, int(CatalogFlag.BAD_REDSHIFT), 0)
    return assemble(catalog, values, raw, flags=flags, **MPA_JHU_MASSES)


def nsa(path=None, *, columns: Sequence[str] = ()) -> QTable:
    """Read the NASA-Sloan Atlas: galaxies to z = 0.15, from the FITS file that the user downloads.

    The file (2.9 GB) is mapped into memory and read by columns: no more than what is returned is held.

    Parameters
    ----------
    path : path-like, optional
        ``nsa_v1_0_1.fits`` or ``nsa_v0_1_2.fits``; by default that of the data directory.
    columns : sequence of str, optional
        More columns of the file, by their names there; they are taken as they
        are, and called ``nsa_`` and the name in small letters.

    Returns
    -------
    table : `~astropy.table.QTable`
        Without HI. Masses are converted to h = 0.7 from the file's h = 1;
        ``distance`` is c ZDIST / H0 with H0 = 70 km/s/Mpc. Colours are those of the absolute magnitudes.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the file is not there, or is not what it should be.

    Examples
    --------
    With the file of the atlas; its disks by their Sersic index:

    >>> from hifrac import catalogs
    >>> table = catalogs.nsa("nsa_v1_0_1.fits", columns=["SERSIC_N"])  # doctest: +SKIP
    >>> disks = table[table["nsa_sersic_n"] < 2]  # doctest: +SKIP
    """
    catalog = CATALOGS["nsa"]
    raw = load(catalog, path, parts=1, fetch=lambda _: [], read=lambda paths: [_read_nsa(paths[0], columns)])
    table = raw.tables[0]
    values = extract(table, _NSA_FIELDS, what=catalog.name)
    values.put("distance", values.floats("_zdist") * C_KM_S / 70)
    if _BAND + "r" in table.colnames:
        for name, bands in _NSA_COLOURS.items():
            pair = [np.asarray(table[_BAND + band], float) for band in bands]
            # Where a band was not measured there is a zero, or a number without meaning.
            values.put(
                name, pair[0] - pair[1], ~np.all([np.abs(magnitude + 17) < 13 for magnitude in pair], axis=0)
            )
    result = assemble(
        catalog,
        values,
        raw,
        h0=70,
        imf="Chabrier",
        stellar_mass="kcorrect SED fit (Blanton & Roweis 2007), Chabrier IMF, h = 0.7",
        distances="c ZDIST / H0",
        colours="of absolute magnitudes, K-corrected to z = 0",
    )
    for name in columns:
        result[f"nsa_{name.lower()}"] = table[_EXTRA + name]
    return result


_NSA_FIELDS = (
    Field("name", ("IAUNAME",)),
    Field("nsaid", ("NSAID",), required=True),
    Field("ra", ("RA",), required=True),
    Field("dec", ("DEC",), required=True),
    Field("z", ("Z",), required=True),
    Field("_zdist", ("ZDIST",), required=True),
    Field("plate", ("PLATE",), least=1),
    Field("mjd", ("MJD",), least=1),
    Field("fiberid", ("FIBERID",), least=1),
    Field("log_mstar", ("ELPETRO_MASS", "MASS"), least=1, convert=lambda m: np.log10(m) - 2 * _LOG_H),
    Field("abs_r", ("ELPETRO_ABSMAG", "ABSMAG"), convert=lambda m: m + 5 * _LOG_H),
    Field("r50", ("ELPETRO_TH50_R", "PETROTH50"), least=0),
    Field("r90", ("ELPETRO_TH90_R", "PETROTH90"), least=0),
    Field("axial_ratio", ("ELPETRO_BA", "SERSIC_BA", "BA"), least=0),
)


def _read_nsa(path: Path, columns: Sequence[str]) -> Table:
    try:
        with silenced(), fits.open(path, memmap=True) as file:  # a file cut off is found below
            data = file[1].data
            size = file[1].header["NAXIS1"] * file[1].header["NAXIS2"]
            names = {name.upper(): name for name in file[1].columns.names}
            if path.stat().st_size < file[1].fileinfo()["datLoc"] + size:
                raise OSError("the file is shorter than its header says")
            wanted = {label for entry in _NSA_FIELDS for label in entry.labels}
            if missing := [name for name in columns if name.upper() not in names]:
                raise KeyError(f"columns: the file has no {', '.join(missing)}")
            result = Table()
            # Copies, so that the file can be closed.
            for name in sorted(wanted & set(names)):
                column = data.field(names[name])
                result[name] = np.array(column[:, _NSA_BANDS["r"]] if column.ndim == 2 else column)
            seven = next((names[label] for label in ("ELPETRO_ABSMAG", "ABSMAG") if label in names), None)
            if seven is not None and data.field(seven).ndim == 2:
                for band, number in _NSA_BANDS.items():
                    result[_BAND + band] = np.array(data.field(seven)[:, number])
            for name in columns:
                result[_EXTRA + name] = np.array(data.field(names[name.upper()]))
    except (OSError, IndexError, AttributeError, TypeError, ValueError) as reason:
        raise CatalogFormatError(
            f"{path} is damaged, or not the NASA-Sloan Atlas: {first_line(reason)}"
        ) from reason
    except KeyError as reason:
        raise CatalogFormatError(f"{path}: {reason.args[0]}") from reason
    return result


def teimoorinia2017(path=None, *, labels: Mapping[str, str] | None = None) -> QTable:
    """Read the HI mass fractions of half a million SDSS galaxies, estimated by networks (Teimoorinia+2017).

    Parameters
    ----------
    path : path-like, optional
        The table, or a data directory that has it; by default that of `hifrac.core.data_dir`,
        else VizieR's.
    labels : mapping, optional
        For renamed columns: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``log_hi_fraction_estimate`` with ``estimate_sigma`` and ``p_detect``
        where given. Nothing here is measured: ``log_mhi`` and
        ``log_hi_fraction`` are masked.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, or the file; the galaxies that ALFALFA would detect:

    >>> from hifrac import catalogs
    >>> table = catalogs.teimoorinia2017()  # doctest: +REMOTE_DATA
    >>> table = table[table["p_detect"] > 0.5]  # doctest: +REMOTE_DATA
    """
    catalog = CATALOGS["teimoorinia2017"]
    raw = load_published(catalog, path, _TEIMOORINIA_FIELDS)
    values = extract(raw.tables[0], _TEIMOORINIA_FIELDS, labels=labels, what=catalog.name)
    return assemble(catalog, values, raw, h0=70)


def tmrs(path=None, *, labels: Mapping[str, str] | None = None) -> QTable:
    """Read the 2MASS Redshift Survey (Huchra+2012): bright galaxies of the whole sky.

    Parameters
    ----------
    path : path-like, optional
        The table, or a data directory that has it; by default that of `hifrac.core.data_dir`,
        else VizieR's.
    labels : mapping, optional
        For renamed columns: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        43,533 rows of positions and velocities, without HI or stellar masses.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, or the file:

    >>> from hifrac import catalogs
    >>> len(catalogs.tmrs())  # doctest: +REMOTE_DATA
    43533
    """
    catalog = CATALOGS["tmrs"]
    raw = load_published(catalog, path, _TMRS_FIELDS)
    values = extract(raw.tables[0], _TMRS_FIELDS, labels=labels, what=catalog.name)
    expect_rows(raw, catalog, values.rows)
    return assemble(catalog, values, raw)
