"""ALFALFA: alpha.40, alpha.100, and alpha.100 with SDSS photometry and stellar masses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table

from hifrac.catalogs._files import first_line, read_file
from hifrac.catalogs._harmonise import Field, Values, assemble, expect_rows, extract, join_by, load_published
from hifrac.catalogs._registry import CATALOGS
from hifrac.catalogs.columns import CatalogFlag
from hifrac.catalogs.errors import CatalogFormatError, CatalogWarning
from hifrac.core.exceptions import silenced, warn_caller

_NO_OBJID = (-9223372036854775808, 0, -9999)

# Labels: the survey's own files first, then those of VizieR.
_HI_FIELDS = (
    Field("agc", ("AGCNr", "AGC"), required=True),
    Field("name", ("Name", "OName")),
    Field("ra_hi", ("RAdeg_HI", "RAJ2000", "_RAJ2000"), required=True),
    Field("dec_hi", ("Decdeg_HI", "DEJ2000", "_DEJ2000"), required=True),
    Field("v", ("Vhelio", "Vhel", "HRV", "cz"), required=True),
    Field("w50", ("W50",), missing=(0,)),
    Field("w50_err", ("errW50", "sigW", "e_W50")),
    Field("hi_flux", ("HIflux", "Flux", "F", "Fc", "S21")),
    Field("hi_flux_err", ("errflux", "sigflux", "e_HIflux", "e_Flux", "e_F", "e_S21")),
    Field("snr", ("SNR", "S/N")),
    Field("hi_rms", ("RMS", "rms")),
    Field("distance", ("Dist",), missing=(0,)),
    Field("hi_code", ("HIcode", "HI", "Code", "Cat"), required=True),
)
_OC_LABELS = (
    ("RAdeg_OC", "RAOdeg", "RAOpt", "RAOC", "RAJ2000-OC", "RA2000O", "RA1deg"),
    ("DECdeg_OC", "DEOdeg", "DEOpt", "DEOC", "DEJ2000-OC", "DE2000O", "DE1deg"),
)
_OC_FIELDS = (
    Field("ra", _OC_LABELS[0], required=True),
    Field("dec", _OC_LABELS[1], required=True),
)
_A40_FIELDS = (
    *_HI_FIELDS,
    *_OC_FIELDS,
    Field("log_mhi", ("logMsun", "logMHI", "logM", "logHI"), required=True),
    Field("oc_code", ("OCcode", "OC"), required=True),
)
_A40_CROSS_FIELDS = (
    Field("agc", ("AGCNr", "AGC"), required=True),
    Field("objid_dr7", ("PhotoObjID", "objID", "SDSS"), required=True, missing=_NO_OBJID),
    Field("specobjid", ("SpectObjID", "SpecObjID", "SpObjID"), missing=_NO_OBJID),
    Field("r_mag", ("rmodelmag", "rmag", "r'mag", "rModelMag")),
    Field("u_minus_r", ("uminusr", "u-r")),
    Field("z_optical", ("z_sdss", "zSDSS", "z"), dtype=float),
)
_A100_FIELDS = (
    *_HI_FIELDS,
    *_OC_FIELDS,
    Field("w20", ("W20",), missing=(0,)),
    Field("distance_err", ("sigDist", "e_Dist")),
    Field("log_mhi", ("logMH", "logMHI"), required=True),
    Field("log_mhi_err", ("siglogMH", "e_logMHI")),
)
_DURBALA_1 = (
    Field("agc", ("AGC",), required=True),
    Field("_flag", ("Flag",), required=True, dtype=int),
    Field("objid", ("ObjID",), required=True, missing=_NO_OBJID),
    Field("ra", ("RAdeg", "RAJ2000"), required=True),
    Field("dec", ("DEdeg", "DEJ2000"), required=True),
    Field("v", ("RVel",), required=True),
    Field("distance", ("Dist",), missing=(0,)),
    Field("distance_err", ("e_Dist",)),
    Field("extinction_g", ("gext",)),
    Field("extinction_i", ("iext",)),
    Field("axial_ratio", ("b/a",)),
    Field("i_mag", ("imag",)),
    Field("i_mag_err", ("e_imag",)),
)
_DURBALA_2 = (
    Field("agc", ("AGC",), required=True),
    Field("gamma_g", ("Ag",)),
    Field("gamma_i", ("Ai",)),
    Field("abs_i", ("iMAG",)),
    Field("g_minus_i", ("g-i",)),
    Field("log_mstar_taylor", ("logMsT",), required=True),
    Field("_taylor_err", ("e_logMsT",)),
    Field("log_mstar_mcgaugh", ("logMsM",), required=True),
    Field("_mcgaugh_err", ("e_logMsM",)),
    Field("log_mstar_gswlc", ("logMsG",), required=True),
    Field("_gswlc_err", ("e_logMsG",)),
    Field("_sfr_gswlc", ("logSFRG",)),
    Field("_sfr_nuv", ("logSFRN",)),
    Field("log_mhi", ("logMHI",), required=True),
    Field("log_mhi_err", ("e_logMHI",)),
)
_METHODS = {
    "taylor": "g-i colour (Taylor+2011), Chabrier IMF",
    "mcgaugh": "3.4 micron luminosity (McGaugh & Schombert 2015)",
    "gswlc": "UV-optical SED fit (GSWLC-2, Salim+2018), Chabrier IMF",
}

# Widths W20 of the release of 2019-08-08, by AGC number: how to tell it from
# that of 2018-03-15 and the journal's table, whose W20 are wrong in 28,094 rows.
_W20_CORRECTED = {
    732937: 168, 103755: 288, 239133: 59, 194720: 212, 220793: 54,
    7418: 379, 732872: 287, 211470: 257, 105367: 281, 333313: 333,
}  # fmt: skip


def alfalfa_a40(path=None, *, labels: Mapping[str, str] | None = None) -> QTable:
    """Read ALFALFA alpha.40 (Haynes+2011) with its SDSS DR7 counterparts: both files, joined by AGC number.

    Parameters
    ----------
    path : pair of path-like, optional
        The HI table and the cross-match, or a data directory that has them; by default those of
        `hifrac.core.data_dir`, else VizieR's.
    labels : mapping, optional
        For renamed columns of the HI table: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        15,855 rows, 12,468 of them with ``objid_dr7``. Without an optical
        counterpart the position is that of the HI signal, flagged
        NO_COUNTERPART. There is no error of the HI mass and no stellar mass.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, or the files of the survey:

    >>> from hifrac import catalogs
    >>> a40 = catalogs.alfalfa_a40()  # doctest: +REMOTE_DATA
    >>> len(a40), int((~a40["objid_dr7"].mask).sum())  # doctest: +REMOTE_DATA
    (15855, 12468)
    """
    catalog = CATALOGS["alfalfa_a40"]
    raw = load_published(catalog, path, _A40_FIELDS, _A40_CROSS_FIELDS)
    hi = extract(raw.tables[0], _A40_FIELDS, labels=labels, what=f"{catalog.name}, HI table")
    cross = extract(raw.tables[1], _A40_CROSS_FIELDS, what=f"{catalog.name}, cross-match")
    expect_rows(raw, catalog, hi.rows)
    values = join_by(hi, cross, "agc")
    flags = _alfalfa_flags(values)
    return assemble(catalog, values, raw, flags=flags, h0=70, crossmatched=int(values["_joined"][0].sum()))


def alfalfa_a100(path=None, *, labels: Mapping[str, str] | None = None) -> QTable:
    """Read ALFALFA alpha.100 (Haynes+2018), the whole survey.

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
        31,502 rows, without stellar masses. ``w20`` is masked, with a
        `~hifrac.catalogs.CatalogWarning`, if the file is not the corrected
        release of 2019-08-08: the earlier one and the journal's table carry
        wrong W20. The ``meta`` entry ``w20`` says which.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.

    Examples
    --------
    With a network, or the file of the survey; without sources that are no galaxies, and blends of a prior:

    >>> from hifrac import catalogs
    >>> a100 = catalogs.alfalfa_a100()  # doctest: +REMOTE_DATA
    >>> secure = a100[a100["catalog_flags"] == 0]  # doctest: +REMOTE_DATA
    >>> len(a100), len(secure)  # doctest: +REMOTE_DATA
    (31502, 25066)
    """
    catalog = CATALOGS["alfalfa_a100"]
    raw = load_published(catalog, path, _A100_FIELDS)
    values = extract(raw.tables[0], _A100_FIELDS, labels=labels, what=catalog.name)
    expect_rows(raw, catalog, values.rows)
    release = _check_w20(values)
    return assemble(catalog, values, raw, flags=_alfalfa_flags(values), h0=70, w20=release)


def durbala2020(path=None, *, mass: str = "taylor", labels: Mapping[str, str] | None = None) -> QTable:
    """Read ALFALFA-SDSS (Durbala+2020): alpha.100 with SDSS photometry and three stellar masses.

    Parameters
    ----------
    path : triple of path-like, optional
        Table 1, table 2 and the ReadMe, or a data directory that has them; by default those of
        `hifrac.core.data_dir`, else VizieR's.
    mass : {"taylor", "mcgaugh", "gswlc"}, optional
        Which of the three stellar masses is ``log_mstar``, and makes
        ``log_hi_fraction``. The scales differ by up to some tenths of a dex:
        choose one and keep to it. All three stand in columns of their own.
    labels : mapping, optional
        For renamed columns of table 1: our name to the file's.

    Returns
    -------
    table : `~astropy.table.QTable`
        31,501 rows. ``log_sfr`` is that of GSWLC-2. ``g_minus_i`` is corrected for the dust of the Milky Way
        and inside the galaxy. The columns Ag and Ai of the catalogue are no magnitudes but what multiplies
        log10(a/b): ``gamma_g``, ``gamma_i``. ``g_minus_i_foreground`` takes the second correction back, and
        agrees with the colours of SDSS to 0.01 mag.

    Raises
    ------
    ~hifrac.catalogs.CatalogError
        If the catalogue is not there, cannot be fetched, or is not what it should be.
    ValueError
        If ``mass`` is none of the three.

    Examples
    --------
    With a network, or the files of the catalogue; the median of log M_HI/M* on two scales of mass:

    >>> import numpy as np
    >>> from hifrac import catalogs
    >>> for mass in ("taylor", "gswlc"):  # doctest: +REMOTE_DATA
    ...     table = catalogs.durbala2020(mass=mass)
    ...     print(mass, np.nanmedian(catalogs.plain_values(table, "log_hi_fraction")).round(2))
    taylor 0.16
    gswlc -0.02
    """
    if mass not in _METHODS:
        raise ValueError(f"mass must be one of {', '.join(_METHODS)}, got {mass!r}")
    catalog = CATALOGS["durbala2020"]
    raw = load_published(catalog, path, _DURBALA_1, _DURBALA_2, read=_read_cds)
    first = extract(raw.tables[0], _DURBALA_1, labels=labels, what=f"{catalog.name}, table 1")
    second = extract(raw.tables[1], _DURBALA_2, what=f"{catalog.name}, table 2")
    expect_rows(raw, catalog, first.rows)
    values = join_by(first, second, "agc")
    values["log_mstar"] = values[f"log_mstar_{mass}"]
    if f"_{mass}_err" in values:
        values["log_mstar_err"] = values[f"_{mass}_err"]
    if "_sfr_gswlc" in values:
        values["log_sfr"] = values["_sfr_gswlc"]
    if {"g_minus_i", "gamma_g", "gamma_i", "axial_ratio"} <= values.keys():
        inside = values.floats("gamma_g") - values.floats("gamma_i")
        log_axes = -np.log10(np.maximum(values.floats("axial_ratio"), 0.01))
        values.put("g_minus_i_foreground", values.floats("g_minus_i") + inside * log_axes)
    photometry = values["_flag"][0]
    flags = np.where(photometry == 1, 0, int(CatalogFlag.BAD_PHOTOMETRY))
    flags |= np.where(photometry == 3, int(CatalogFlag.NO_COUNTERPART), 0)
    return assemble(catalog, values, raw, flags=flags, h0=70, stellar_mass=_METHODS[mass], **_imf(mass))


def _imf(mass: str) -> dict[str, str]:
    return {} if mass == "mcgaugh" else {"imf": "Chabrier"}  # of the first none is said


def _read_cds(paths: list[Path]) -> list[Table]:
    """Read fixed-width tables of the CDS, which a ReadMe explains; or two tables of any other format."""
    explained = [path for path in paths if "readme" in path.name.lower()]
    data = [path for path in paths if path not in explained]
    if not explained:
        return [read_file(path) for path in data]
    tables = []
    for number, path in enumerate(data, start=1):
        try:
            # The reader looks the table up in the ReadMe by its name there.
            lines = _lines(path)
            reader_name = f"table{number}.dat"
            tables.append(_cds_table(lines, explained[0], reader_name))
        except Exception as reason:  # gzip, decoding and the reader raise errors of their own
            raise CatalogFormatError(
                f"{path} is damaged, or not the table of the ReadMe: {first_line(reason)}"
            ) from reason
    return tables


def _lines(path: Path) -> list[str]:
    import gzip

    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def _cds_table(lines: list[str], readme: Path, name: str) -> Table:
    from astropy.io import ascii as text_tables

    with silenced():
        reader = text_tables.get_reader(text_tables.Cds, readme=str(readme))
        reader.data.table_name = name
        return reader.read(lines)


def _alfalfa_flags(values: Values) -> np.ndarray:
    """Return the flags, and set positions of (0, 0), which mean no counterpart, to those of the signal."""
    none = (values.floats("ra") == 0) & (values.floats("dec") == 0)
    none |= ~np.isfinite(values.floats("ra")) | ~np.isfinite(values.floats("dec"))
    for name in ("ra", "dec"):
        values.put(name, np.where(none, values.floats(f"{name}_hi"), values.floats(name)))
    code = np.where(values["hi_code"][1], 0, values["hi_code"][0])
    flux = values.floats("hi_flux")
    bad = (flux <= 0) | (flux >= 999.9)  # 999.9 is the largest that the format holds
    values.put("hi_flux", flux, ~np.isfinite(flux) | bad)
    flags = np.where(none, int(CatalogFlag.NO_COUNTERPART), 0)
    flags |= np.where(code == 2, int(CatalogFlag.PRIOR), 0)
    flags |= np.where(code == 9, int(CatalogFlag.NOT_EXTRAGALACTIC), 0)
    return flags | np.where(bad, int(CatalogFlag.BAD_FLUX), 0)


def _check_w20(values: Values) -> str:
    agc, w20 = values["agc"][0], values.floats("w20")
    telling = [row for row, number in enumerate(agc) if int(number) in _W20_CORRECTED]
    if "w20" not in values:
        return "not in the file"
    if not telling:
        return "release unknown: none of the galaxies that tell the releases apart is in the file"
    wrong = sum(w20[row] != _W20_CORRECTED[int(agc[row])] for row in telling)
    if not wrong:
        return "corrected release of 2019-08-08"
    values.put("w20", w20, np.ones(values.rows, bool))
    warn_caller(
        f"W20 of {wrong} of {len(telling)} galaxies are not those of the corrected alpha.100 of 2019-08-08, "
        "so this is an earlier release, whose W20 are wrong: w20 is masked",
        CatalogWarning,
    )
    return "masked: not the corrected release of 2019-08-08"
