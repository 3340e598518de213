"""The galaxies of Wu & Boada (2019, MNRAS 484, 4683): their query, what each cut leaves, and check values."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import resources
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table

from hifrac.catalogs._files import load
from hifrac.catalogs._harmonise import Field, assemble, extract
from hifrac.catalogs._registry import CATALOGS
from hifrac.catalogs._remote import skyserver_sql
from hifrac.catalogs.errors import CatalogFormatError
from hifrac.catalogs.sdss import LAST_PLATE, MPA_JHU_MASSES, plate_queries
from hifrac.catalogs.selection import Selection
from hifrac.core.columns import ResultColumn, make_column
from hifrac.core.measurements import parse_numbers

_MAGNITUDES = tuple(f"modelMag_{band}" for band in "ugriz")
_LINES = ("nii_6584", "h_alpha", "oiii_5007", "h_beta", "h_delta")
_PERCENTILES = ("oh_p2p5", "oh_p16", "oh_p50", "oh_p84", "oh_p97p5")
_MAG, _ARCSEC, _FLUX = u.mag, u.arcsec, 1e-17 * u.erg / u.s / u.cm**2

#: The columns of the query by name: where each comes from, its unit and what it is. The last two are
#: not among the forty of the original, and are what its cuts need beside those.
_COLUMNS: dict[str, tuple[str, Any, str]] = {
    "objID": ("G", None, "SDSS photometric object"),
    "specObjID": ("GSI", None, "SDSS spectroscopic object"),
    "ra": ("G", u.deg, "right ascension (J2000)"),
    "dec": ("G", u.deg, "declination (J2000)"),
    "z": ("S", None, "redshift"),
    "zErr": ("S", None, "error of the redshift"),
    "velDisp": ("S", u.km / u.s, "velocity dispersion"),
    "velDispErr": ("S", u.km / u.s, "error of the velocity dispersion"),
    **{name: ("G", _MAG, f"model magnitude in {name[-1]}, as observed") for name in _MAGNITUDES},
    **{
        name.replace("_", "Err_"): ("G", _MAG, f"error of the model magnitude in {name[-1]}")
        for name in _MAGNITUDES
    },
    "petroR50_r": ("G", _ARCSEC, "radius of half of the Petrosian light, in r"),
    "petroR90_r": ("G", _ARCSEC, "radius of nine tenths of the Petrosian light, in r"),
    **{f"{line}_flux": ("GSL", _FLUX, f"flux of {line}") for line in _LINES},
    **{f"{line}_flux_err": ("GSL", _FLUX, f"error of the flux of {line}") for line in _LINES},
    "d4000": ("GSX", None, "break at 4000 Angstrom"),
    "d4000_err": ("GSX", None, "error of the break at 4000 Angstrom"),
    "bptclass": ("GSE", None, "class by emission lines: 1 is star-forming"),
    **{
        name: (
            "GSE",
            None,
            f"percentile {name[4:].replace('p', '.')} of 12 + log10(O/H), Tremonti et al. (2004)",
        )
        for name in _PERCENTILES
    },
    "lgm_tot_p50": ("GSE", u.dex(u.solMass), "stellar mass"),
    "sfr_tot_p50": ("GSE", u.dex(u.solMass / u.yr), "star formation rate"),
    "petroMag_r": ("G", _MAG, "Petrosian magnitude in r, as observed"),
    "rChi2": ("S", None, "reduced chi squared of the redshift"),
}

# As short as SQL can be: SkyServer takes it in an address, and these end at about two thousand characters.
_FROM = "\n".join(
    (
        "FROM SpecObj S JOIN Galaxy G ON G.objID=S.bestObjID",
        "JOIN GalSpecLine GSL ON GSL.specObjID=S.specObjID",
        "JOIN GalSpecInfo GSI ON GSI.specObjID=S.specObjID",
        "JOIN GalSpecIndx GSX ON GSX.specObjID=S.specObjID",
        "JOIN GalSpecExtra GSE ON GSE.specObjID=S.specObjID",
        "WHERE S.plate BETWEEN {first} AND {last}",
        "AND G.petroMag_r>10 AND G.petroMag_r<18",
        "AND G.modelMag_u-G.modelMag_r>0 AND G.modelMag_u-G.modelMag_r<6",
        *(f"AND G.{name}>10 AND G.{name}<25" for name in _MAGNITUDES),
        "AND S.rChi2<2 AND S.zErr>0 AND S.zErr<0.01 AND S.z>0.02 AND GSE.oh_p50!=-9999",
    )
)

#: The query of `wu2019`, for the plates from ``first`` to ``last``: that of the original
#: (``SDSS_sql_query.sql``) without its "top 100", which would leave a hundred galaxies.
WU_BOADA_SQL = f"SELECT {','.join(f'{table}.{name}' for name, (table, *_) in _COLUMNS.items())}\n{_FROM}"
_COUNT_SQL = f"SELECT COUNT(*) AS n\n{_FROM}"
# Joins of six tables: a hundred plates are answered within the time that SkyServer gives a query.
_PLATES_AT_ONCE, _FIRST_PLATE = 100, 201

_SHARED = {
    "objid": "objID",
    "specobjid": "specObjID",
    "ra": "ra",
    "dec": "dec",
    "z": "z",
    "r_mag": "modelMag_r",
    "r50": "petroR50_r",
    "r90": "petroR90_r",
    "log_mstar": "lgm_tot_p50",
    "log_sfr": "sfr_tot_p50",
    "log_oh": "oh_p50",
}
_REQUIRED = ("objid", "ra", "dec", "z", "log_oh")
#: Smaller values stand for none.
_LEAST = {"log_mstar": 1e-9, "log_oh": 1e-9, "log_sfr": -90}
_FIELDS = tuple(
    Field(name, (label,), required=name in _REQUIRED, least=_LEAST.get(name))
    for name, label in _SHARED.items()
)
_OWN = tuple(name for name in _COLUMNS if name not in ("objID", "specObjID", "ra", "dec", "z"))

#: Rows that the original had after each step; those with a picture are of its download.
_PUBLISHED = {"abundance": 142_186, "picture": 116_430, "unique": 116_428, "mass": 142_145}


def wu2019(path=None, *, data_release: int = 17) -> QTable:
    """Read the galaxies of Wu & Boada (2019): oxygen abundances of MPA-JHU with photometry and spectroscopy.

    Parameters
    ----------
    path : path-like, optional
        A table with the columns of ``hifrac.catalogs.wu_boada.WU_BOADA_SQL``; by default that of the data
        directory, else SkyServer's answer in 28 pieces, which takes some minutes. Interrupted, it goes on
        where it was.
    data_release : int, optional
        The SDSS data release that is asked; the original asked DR14, which had the same imaging.

    Returns
    -------
    table : `~astropy.table.QTable`
        Some 142,000 rows, without HI: ``log_oh`` (12 + log10(O/H), ``oh_p50``), ``log_mstar``, ``log_sfr``
        and the other columns that catalogues share, then those of the query by its own names, among them
        ``petroR90_r``, which scales the pictures. -9999 is masked.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, for some minutes, or the file:

    >>> from hifrac import catalogs
    >>> table = catalogs.wu2019()  # doctest: +SKIP
    >>> table["log_oh", "log_mstar", "petroR90_r"]  # doctest: +SKIP
    """
    catalog = CATALOGS["wu2019"]
    queries = plate_queries(WU_BOADA_SQL, _COUNT_SQL, _FIRST_PLATE, LAST_PLATE, at_once=_PLATES_AT_ONCE)
    raw = load(
        catalog,
        path,
        parts=1,
        fetch=lambda pieces: [skyserver_sql(queries, pieces, data_release=data_release)],
    )
    table = raw.tables[0]
    names = {name.lower(): name for name in table.colnames}  # SkyServer has cases of its own
    if missing := [name for name in _COLUMNS if name.lower() not in names]:
        raise CatalogFormatError(f"{catalog.name} has no column {', '.join(missing)}")
    table = Table({name: table[names[name.lower()]] for name in _COLUMNS}, copy=False)
    own = {name: parse_numbers(table[name], name) for name in _OWN}
    values = extract(table, _FIELDS, what=catalog.name)
    result = assemble(catalog, values, raw, **MPA_JHU_MASSES)
    for name, numbers in own.items():
        _, unit, description = _COLUMNS[name]
        is_missing = ~np.isfinite(numbers) | (numbers == -9999)
        result[name] = make_column(ResultColumn(name, unit, description), numbers, is_missing)
    return result


def _between(low: float, high: float) -> Callable[..., np.ndarray]:
    return lambda *columns: np.all([(column > low) & (column < high) for column in columns], axis=0)


#: The cuts of the query: name, rule, the columns that it needs, and which rows it keeps.
_CUTS: tuple[tuple[str, str, tuple[str, ...], Callable[..., np.ndarray]], ...] = (
    ("magnitude", "10 < petroMag_r < 18", ("petroMag_r",), _between(10, 18)),
    ("colour", "0 < u-r < 6", ("modelMag_u", "modelMag_r"), lambda blue, red: _between(0, 6)(blue - red)),
    ("magnitudes", "10 < modelMag < 25 in u, g, r, i and z", _MAGNITUDES, _between(10, 25)),
    ("fit", "rChi2 < 2", ("rChi2",), lambda chi2: chi2 < 2),
    ("error", "0 < zErr < 0.01", ("zErr",), _between(0, 0.01)),
    ("redshift", "z > 0.02", ("z",), lambda z: z > 0.02),
    ("abundance", "12 + log10(O/H) is known", ("oh_p50",), lambda oh: np.isfinite(oh) & (oh > 0)),
)


def wu_boada_samples(table: Table, *, pictures: Collection[str] | None = None) -> dict[str, Selection]:
    """Count what each cut of Wu & Boada (2019) leaves of a table, beside the published numbers.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Any table with columns of `wu2019`, by the names of its query. A cut whose columns it lacks is
        not made, and says so in its note.
    pictures : collection of str, optional
        The objIDs of which there is a picture; by default those steps are left out.

    Returns
    -------
    samples : dict of str to Selection
        ``"metallicity"`` and ``"mass and metallicity"``, each with its cuts one by one.
    """
    selection = Selection.start("metallicity", QTable(table, copy=False))
    for name, rule, columns, keeps in _CUTS:
        selection = _cut(selection, name, rule, columns, keeps)
    with_mass = _cut(
        selection.copy("mass and metallicity"),
        "mass",
        "log M* > 0",
        ("lgm_tot_p50",),
        lambda mass: mass > 0,
    )
    if pictures is not None:
        objid = np.asarray(selection.table["objid"]).astype(str)
        there = np.isin(objid, np.array(sorted(pictures), dtype=str))
        selection.cut("picture", "there is a picture", there, _PUBLISHED["picture"])
        _, first = np.unique(objid[there], return_index=True)
        is_first = np.isin(np.arange(there.sum()), first)
        selection.cut("unique", "one row for each objID", is_first, _PUBLISHED["unique"])
    return {sample.name: sample for sample in (selection, with_mass)}


def _cut(
    selection: Selection, name: str, rule: str, columns: tuple[str, ...], keeps: Callable[..., np.ndarray]
) -> Selection:
    table = selection.table
    missing = [column for column in columns if column not in table.colnames]
    keep, note = np.ones(len(table), bool), f"not made: no column {', '.join(missing)}"
    if not missing:
        with np.errstate(invalid="ignore"):
            keep = keeps(*(parse_numbers(table[column], column) for column in columns))
        note = ""
    return selection.cut(name, rule, keep, _PUBLISHED.get(name), note)


def facts_table(table: Table) -> Table:
    """Compare a table with the statistics that the original's notebook printed of its catalogue.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Any table with columns of `wu2019`, by the names of its query.

    Returns
    -------
    facts : `~astropy.table.Table`
        A row for each printed number of a column that ``table`` has: ``column``, ``statistic`` (mean, std
        with ddof=1, min, quartiles, max), ``value``, ``published`` and ``difference``. Those of
        ``lgm_tot_p50`` were printed of the 95,986 galaxies that the original trained with masses.
    """
    published = Table.read(resources.files("hifrac") / "data" / "wu2019_facts.ecsv")
    rows = []
    for entry in published:
        if (name := str(entry["column"])) not in table.colnames:
            continue
        numbers = parse_numbers(table[name], name)
        numbers = numbers[np.isfinite(numbers) & ((numbers > 0) | (name != "lgm_tot_p50"))]
        value = _STATISTICS[str(entry["statistic"])](numbers) if numbers.size > 1 else np.nan
        rows.append((name, str(entry["statistic"]), value, float(entry["published"])))
    names = ("column", "statistic", "value", "published")
    facts = Table(rows=rows or None, names=names, dtype=["U16", "U8", float, float])
    facts["difference"] = facts["value"] - facts["published"]
    for name in (*names[2:], "difference"):
        facts[name] = MaskedColumn(facts[name], mask=~np.isfinite(facts[name]), format=".6f")
    return facts


_STATISTICS: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": np.mean,
    "std": lambda numbers: np.std(numbers, ddof=1),
    "min": np.min,
    "q25": lambda numbers: np.quantile(numbers, 0.25),
    "q50": np.median,
    "q75": lambda numbers: np.quantile(numbers, 0.75),
    "max": np.max,
}
