"""The samples of the paper (Wu 2020, ApJ 900, 142, section 2), cut by cut.

Every cut is a named step that says its rule and how many rows it left, beside
the published number. The paper took its stellar masses from MPA-JHU; with
other masses the same steps give other numbers, and the table says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table

from hifrac.catalogs.columns import CatalogFlag, catalog_column, plain_values
from hifrac.catalogs.matching import count_neighbours, find_duplicates, match_ids, match_positions
from hifrac.catalogs.scales import check_scales
from hifrac.catalogs.selection import Selection

SAME_GALAXY = 1 * u.arcsec  # section 2.2
FIBRE_COLLISION = 55 * u.arcsec  # section 2.2
HALF_BEAM = 1.9 * u.arcmin  # section 2.2; Arecibo's beam is 3.8 arcmin wide
_SPRING = (112.5, 247.5)  # RA of ALFALFA's Spring sky, 07h30m to 16h30m (Haynes+2018)

#: Table 1 of the paper: number of galaxies, and the 0.16, 0.50 and 0.84 quantiles of
#: log M_HI, log M* and M, after overlaps were removed. (xGASS counts limits as values.)
PUBLISHED_QUANTILES: dict[str, tuple[Any, ...]] = {
    "alpha.40A": (7128, (9.21, 9.71, 10.06), (8.71, 9.56, 10.41), (-0.52, 0.15, 0.68)),
    "alpha.40B": (4644, (9.21, 9.68, 10.02), (8.73, 9.41, 10.07), (-0.26, 0.25, 0.70)),
    "alpha.100": (6087, (9.22, 9.67, 10.03), (8.62, 9.38, 10.24), (-0.37, 0.28, 0.75)),
    "NIBLES": (899, (8.54, 9.18, 9.73), (8.52, 9.62, 10.68), (-1.19, -0.50, 0.29)),
    "xGASS": (1179, (8.68, 9.27, 9.84), (9.52, 10.30, 10.95), (-1.78, -1.11, -0.27)),
}


def with_stellar_mass(table: QTable, masses: QTable, *, by: str, radius: u.Quantity = SAME_GALAXY) -> QTable:
    """Return the same rows with stellar masses, rates and abundances of another catalogue.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        A harmonised catalogue.
    masses : `~astropy.table.QTable`
        A harmonised catalogue with ``log_mstar``.
    by : str
        "position", or the name of an identifier that both have.
    radius : angle, optional
        Of the match by position.

    Returns
    -------
    table : `~astropy.table.QTable`
        A copy with ``log_mstar``, its error and method, ``log_hi_fraction``
        made anew, ``log_sfr`` and ``log_oh`` where ``masses`` has them, and
        ``mass_row``, the row of ``masses``, masked where there is none.

    Raises
    ------
    KeyError
        If a table has not the identifier.
    ~hifrac.catalogs.CatalogError
        If the tables tell different Hubble constants.
    """
    check_scales(table, masses)
    if by == "position":
        match = match_positions(table, masses, radius)
    else:
        for catalog, what in ((table, "table"), (masses, "masses")):
            if by not in catalog.colnames:
                raise KeyError(f"{what} has no column {by}")
        match = match_ids(table[by], masses[by])
    there = ~np.asarray(match["row"].mask)
    row = np.asarray(match["row"].filled(0))
    result = table.copy()
    result["mass_row"] = match["row"]
    for name in ("log_mstar", "log_mstar_err", "log_sfr", "log_oh"):
        if name in masses.colnames:
            values = plain_values(masses, name)
            taken = values[row] if len(values) else np.full(len(table), np.nan)
            result[name] = catalog_column(name, np.where(there, taken, np.nan))
    mass = plain_values(result, "log_mstar")
    method = masses.meta.get("hifrac", {}).get("stellar_mass", "unknown")
    result["log_mstar_method"] = catalog_column(
        "log_mstar_method", np.full(len(result), method), ~np.isfinite(mass)
    )
    result["log_hi_fraction"] = catalog_column("log_hi_fraction", plain_values(result, "log_mhi") - mass)
    provenance = masses.meta.get("hifrac", {})
    result.meta = {**table.meta, "hifrac_masses": provenance}
    if "imf" in provenance:
        result.meta["hifrac"] = {**table.meta.get("hifrac", {}), "imf": provenance["imf"]}
    return result


def a40a(a40: QTable, masses: QTable) -> Selection:
    """Select alpha.40A, the paper's training set.

    Parameters
    ----------
    a40 : `~astropy.table.QTable`
        Of `~hifrac.catalogs.alfalfa_a40`.
    masses : `~astropy.table.QTable`
        Of `~hifrac.catalogs.mpa_jhu`, joined by DR7 PhotoObjID as in the paper; or of
        `~hifrac.catalogs.durbala2020`, joined by AGC number.

    Returns
    -------
    selection : Selection
        Published: 7,399.
    """
    by, note = _mass_key(masses)
    selection = Selection.start("alpha.40A", a40, 15855)
    selection.cut("SDSS", "in the cross-match with SDSS DR7", ~_masked(a40, "objid_dr7"), 12468)
    code = np.asarray(selection.table["oc_code"].filled(""))
    selection.cut("counterpart", "OCcode == I", code == "I", 11739)
    first = _first_of_each(selection.table["objid_dr7"])
    selection.cut("duplicates", "one row for each DR7 PhotoObjID", first, 11739)
    selection.change(lambda table: with_stellar_mass(table, masses, by=by))
    selection.cut(
        "masses",
        f"in the catalogue of stellar masses, by {by}",
        ~_masked(selection.table, "mass_row"),
        note=note,
    )
    return selection.cut(
        "valid mass", "log M* > 0", plain_values(selection.table, "log_mstar") > 0, 7399, note
    )


def a40b(selection: Selection) -> Selection:
    """Select alpha.40B, the galaxies of alpha.40A with metallicity and star formation rate.

    Parameters
    ----------
    selection : Selection
        Of `a40a`, with MPA-JHU masses.

    Returns
    -------
    selection : Selection
        Published: 4,797.

    Raises
    ------
    ValueError
        If the masses came without abundances: then there is no such sample.
    """
    if "log_oh" not in selection.table.colnames:
        raise ValueError("selection has no log_oh: alpha.40B needs the abundances of MPA-JHU")
    result = selection.copy("alpha.40B")
    result.cut("metallicity", "12 + log(O/H) > 0", plain_values(result.table, "log_oh") > 0)
    return result.cut("star formation", "log SFR > -10", plain_values(result.table, "log_sfr") > -10, 4797)


def without_xgass(selection: Selection, xgass: QTable) -> Selection:
    """Remove the galaxies whose AGC numbers are in xGASS, as in Table 1 of the paper.

    Parameters
    ----------
    selection : Selection
        Of `a40a` or `a40b`.
    xgass : `~astropy.table.QTable`
        Of `~hifrac.catalogs.xgass`.

    Returns
    -------
    selection : Selection
        Published: 7,128 and 4,644.
    """
    published = PUBLISHED_QUANTILES.get(selection.name, (None,))[0]
    result = selection.copy(selection.name)
    agc = np.asarray(xgass["agc"].filled(0))
    overlap = np.isin(np.asarray(result.table["agc"].filled(-1)), agc[agc > 0])
    return result.cut("xGASS", "AGC number not in xGASS", ~overlap, published)


def a100_clean(a100: QTable, masses: QTable, a40: QTable, xgass: QTable) -> Selection:
    """Select alpha.100, the isolated galaxies of the Spring sky that are in neither alpha.40A nor xGASS.

    Parameters
    ----------
    a100, masses, xgass : `~astropy.table.QTable`
        Of `~hifrac.catalogs.alfalfa_a100`; of `~hifrac.catalogs.mpa_jhu` or
        `~hifrac.catalogs.durbala2020`; and of `~hifrac.catalogs.xgass`.
    a40 : `~astropy.table.QTable`
        The table of `a40a`.

    Returns
    -------
    selection : Selection
        Published: 6,087.
    """
    durbala = _is_durbala(masses)
    note = "Durbala+2020 masses, not MPA-JHU" if durbala else ""
    selection = Selection.start("alpha.100", a100, 31502)
    selection.change(lambda table: with_stellar_mass(_optical_only(table), masses, by="position"))
    selection.cut(
        "masses",
        'within 1" of a galaxy with a stellar mass',
        ~_masked(selection.table, "mass_row"),
        12153,
        note,
    )
    selection.cut("valid mass", "log M* > 0", plain_values(selection.table, "log_mstar") > 0, 12114, note)
    # Neighbours are those in the full catalogues, whether they have passed the cuts or not.
    row = np.asarray(selection.table["mass_row"])
    crowded = count_neighbours(masses, radius=FIBRE_COLLISION)[row] > 0
    optical = "only ALFALFA's galaxies count as neighbours" if durbala else ""
    selection.cut("fibre collisions", 'no optical neighbour within 55"', ~crowded, 12114 - 555, optical)
    signals = _hi_positions(a100)
    near = count_neighbours(_hi_positions(selection.table), signals, radius=HALF_BEAM) > 1  # itself is one
    selection.cut("blends", "no other HI source within 1.9'", ~near, 11432)
    for name, other in (("alpha.40A", a40), ("xGASS", xgass)):
        match = match_positions(selection.table, other, SAME_GALAXY)
        selection.cut(name, f'no galaxy of {name} within 1"', _masked(match, "row"))
    ra = plain_values(selection.table, "ra")
    spring = (ra > _SPRING[0]) & (ra < _SPRING[1])
    return selection.cut("Spring sky", "07h30m < RA < 16h30m", spring, 6087, note)


def nibles_clean(
    nibles: QTable, a40: QTable, a100: QTable, xgass: QTable, *, radius: u.Quantity = 5 * u.arcsec
) -> Selection:
    """Select NIBLES, the galaxies above 1e8 solar masses that are in none of the other samples.

    The paper's author looked at every picture and kept 941 of 1,171, of which
    42 were in other samples. The list is not published: that step cannot be
    repeated, and what follows it cannot agree.

    Parameters
    ----------
    nibles, xgass : `~astropy.table.QTable`
        Of `~hifrac.catalogs.nibles` and `~hifrac.catalogs.xgass`.
    a40, a100 : `~astropy.table.QTable`
        The tables of `a40a` and of `a100_clean`.
    radius : angle, optional
        Of the match; the paper gives none. ALFALFA's counterparts lie some
        arcsec from the SDSS positions.

    Returns
    -------
    selection : Selection
        Published: 1,171 before the inspection, 899 at the end.
    """
    selection = Selection.start("NIBLES", nibles, 1621)
    selection.cut("stellar mass", "log M* > 8", plain_values(nibles, "log_mstar") > 8)
    own = ~_has_flag(selection.table, CatalogFlag.DERIVED_FRACTION)
    selection.cut("own fraction", "the catalogue's own fraction is there (0.00 was lost)", own, 1171)
    everything = np.ones(len(selection.table), bool)
    selection.cut(
        "inspection", "a galaxy in the picture", everything, 941, "not repeated: the list is not public"
    )
    unknown = np.count_nonzero(_has_flag(selection.table, CatalogFlag.DEC_SIGN_UNKNOWN))
    note = f"{unknown} declinations of unknown sign" if unknown else ""
    samples = (("alpha.40A", a40, None), ("alpha.100", a100, None), ("xGASS", xgass, 899))
    for name, other, published in samples:
        match = match_positions(selection.table, other, radius)
        rule = f"no galaxy of {name} within {radius}"
        selection.cut(name, rule, _masked(match, "row"), published, note)
    return selection


def xgass_representative(xgass: QTable) -> Selection:
    """Select xGASS, the representative sample as published, upper limits included."""
    return Selection.start("xGASS", xgass, 1179)


def non_detections(masses: QTable, a100: QTable, *, n: int = 7399, random_state: int = 12345) -> Selection:
    """Select galaxies that ALFALFA could have detected and did not: the other class of the detection.

    Parameters
    ----------
    masses : `~astropy.table.QTable`
        Of `~hifrac.catalogs.mpa_jhu`: all galaxies of SDSS, detected or not.
    a100 : `~astropy.table.QTable`
        Of `~hifrac.catalogs.alfalfa_a100`.
    n : int, optional
        How many to draw at the end; all, if there are fewer.
    random_state : int, optional
        Seed of the draw (pandas), the paper's by default.

    Returns
    -------
    selection : Selection
        Published: 23,702 before the draw of 7,399.

    Raises
    ------
    ValueError
        If the masses are those of ALFALFA's own galaxies, which are all detected.
    """
    if _is_durbala(masses):
        raise ValueError("masses are those of ALFALFA's detections: non-detections need mpa_jhu()")
    selection = Selection.start("non-detections", masses, 717778)
    pairs = find_duplicates(masses, FIBRE_COLLISION) >= 0
    selection.cut("fibre collisions", 'no other galaxy within 55"', ~pairs)
    signals = _hi_positions(a100)
    selection.cut(
        "detections",
        "no HI source within 1.9'",
        count_neighbours(selection.table, signals, radius=HALF_BEAM) == 0,
    )
    selection.cut("stellar mass", "log M* > 8", plain_values(selection.table, "log_mstar") > 8)
    z = plain_values(selection.table, "z")
    selection.cut("redshift", "0 < z < 0.059", (z > 0) & (z < 0.059))
    ra, dec = plain_values(selection.table, "ra"), plain_values(selection.table, "dec")
    box = (ra > 150) & (ra < 220) & (dec > 1) & (dec < 35)
    selection.cut("footprint", "150 < RA < 220, 1 < Dec < 35", box, 23702)
    return selection.cut("draw", f"{n} at random", _draw(len(selection.table), n, random_state), 7399)


def paper_samples(masses: QTable | None = None, *, folder: str | Path | None = None) -> dict[str, Selection]:
    """Return all samples of the paper that can be had with the given stellar masses.

    Parameters
    ----------
    masses : `~astropy.table.QTable`, optional
        Of `~hifrac.catalogs.mpa_jhu`, as in the paper; by default of
        `~hifrac.catalogs.durbala2020`, with which the counts differ, and
        alpha.40B and the non-detections cannot be had.
    folder : path-like, optional
        The data directory that has the catalogues; `hifrac.core.data_dir` by default.

    Returns
    -------
    samples : dict of Selection
        By name.
    """
    from hifrac.catalogs import alfalfa_a40, alfalfa_a100, durbala2020, nibles, tmrs, xgass

    masses = durbala2020(folder) if masses is None else masses
    a100, xgass_table = alfalfa_a100(folder), xgass(folder)
    first = a40a(alfalfa_a40(folder), masses)
    complete = a100_clean(a100, masses, first.table, xgass_table)
    samples = {"alpha.40A": without_xgass(first, xgass_table)}
    if "log_oh" in first.table.colnames:
        samples["alpha.40B"] = without_xgass(a40b(first), xgass_table)
    samples["alpha.100"] = complete
    signed = nibles(folder, signs_from=[a100, tmrs(folder)])
    samples["NIBLES"] = nibles_clean(signed, first.table, complete.table, xgass_table)
    samples["xGASS"] = xgass_representative(xgass_table)
    if not _is_durbala(masses):
        samples["non-detections"] = non_detections(masses, a100)
    return samples


def quantiles_table(selections: Iterable[Selection]) -> Table:
    """Return the quantiles of masses and fractions of the samples, beside the paper's Table 1.

    Parameters
    ----------
    selections : iterable of Selection
        Samples, such as the values of `paper_samples`.

    Returns
    -------
    table : `~astropy.table.Table`
        Three rows (log M_HI, log M*, log M_HI/M*) for each sample with measured HI: ``sample``,
        ``quantity``, ``n``, ``q16``, ``q50``, ``q84`` (limits counted as values, as in the paper), and
        ``n_published`` and the published quantiles, masked for samples that are not in Table 1.
    """
    rows = []
    for selection in selections:
        published = PUBLISHED_QUANTILES.get(selection.name, (0, *3 * [3 * (np.nan,)]))
        for name, theirs in zip(("log_mhi", "log_mstar", "log_hi_fraction"), published[1:], strict=True):
            values = plain_values(selection.table, name)
            values = values[np.isfinite(values)]
            if values.size and not _masked(selection.table, "log_mhi").all():
                mine = np.quantile(values, [0.16, 0.5, 0.84])
                rows.append((selection.name, name, values.size, *mine, published[0], *theirs))
    levels = ("q16", "q50", "q84")
    names = ("sample", "quantity", "n", *levels, "n_published", *(f"{level}_published" for level in levels))
    table = Table(
        rows=rows or None,
        names=names,
        masked=True,
        dtype=["U16"] * 2 + [int] + [float] * 3 + [int] + [float] * 3,
    )
    for name in names[3:]:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".2f"
            table[name].mask = ~np.isfinite(table[name].data.data)
    table["n_published"].mask = table["n_published"].data.data == 0
    return table


def _draw(total: int, n: int, random_state: int) -> np.ndarray:
    import pandas as pd

    chosen = pd.Series(range(total)).sample(min(n, total), random_state=random_state)
    keep = np.zeros(total, bool)
    keep[chosen.to_numpy(int)] = True
    return keep


def _mass_key(masses: QTable) -> tuple[str, str]:
    if "objid_dr7" in masses.colnames and not _masked(masses, "objid_dr7").all():
        return "objid_dr7", ""
    if "agc" in masses.colnames:
        return "agc", "Durbala+2020 masses, not MPA-JHU" if _is_durbala(masses) else "not MPA-JHU"
    raise ValueError("masses have neither objid_dr7 nor agc to be joined by")


def _is_durbala(masses: QTable) -> bool:
    return masses.meta.get("hifrac", {}).get("catalog") == "durbala2020"


def _masked(table: Table, name: str) -> np.ndarray:
    return np.array(getattr(table[name], "mask", np.zeros(len(table), bool)), bool)


def _has_flag(table: QTable, flag: CatalogFlag) -> np.ndarray:
    return (np.asarray(table["catalog_flags"].filled(0)) & int(flag)) > 0


def _first_of_each(column) -> np.ndarray:
    _, first = np.unique(np.asarray(column.filled("")), return_index=True)
    keep = np.zeros(len(column), bool)
    keep[first] = True
    return keep


def _optical_only(table: QTable) -> QTable:
    """Return a copy without the positions of signals that have no counterpart: they are no galaxy's."""
    result = table.copy()
    none = _has_flag(table, CatalogFlag.NO_COUNTERPART)
    for name in ("ra", "dec"):
        result[name] = catalog_column(name, plain_values(table, name), none)
    return result


def _hi_positions(table: QTable) -> QTable:
    result = QTable()
    for name in ("ra", "dec"):
        result[name] = catalog_column(name, plain_values(table, f"{name}_hi"))
    return result
