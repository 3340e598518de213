"""The galaxies of Wu & Peek (2020, arXiv:2009.12318): which rows of a table of spectra they learned from."""

from __future__ import annotations

import numpy as np
from astropy.table import QTable, Table

from hifrac.catalogs.selection import Selection
from hifrac.core.measurements import find_column

#: Bits of ``primTarget`` of the main galaxy sample: GALAXY, GALAXY_BIG and GALAXY_BRIGHT_CORE (bits 6 to 8 of
#: TARGET in sdssMaskbits.par).
MAIN_GALAXY = 64 | 128 | 256

#: Spectra whose pictures have four bands instead of five in the paper's files, by SpecObjID.
FOUR_BANDS = (421190773933893632, 466155853016229888, 466156127894136832, 466156677649950720)


def wu_peek_sample(table: Table) -> Selection:
    """Select the galaxies of Wu & Peek (2020) of a table of SDSS spectra.

    Their table, ``sdss_64k.csv``, has 63,706 rows; 60,233 of them are galaxies of the main sample, and 60,229
    have pictures of five bands. That table is not published: with another one only the rule is the same.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the columns ``primTarget``, of integers, and ``SpecObjID``, integers or text, in any case.

    Returns
    -------
    selection : `~hifrac.catalogs.selection.Selection`
        ``table`` is what is left; ``counts()`` has each step beside the published number.

    Raises
    ------
    ValueError
        If a column is missing, or ``primTarget`` is not of integers.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from hifrac.catalogs.wu_peek import wu_peek_sample
    >>> spectra = Table({"SpecObjID": [1, 2, 421190773933893632], "primTarget": [96, 32, 64]})
    >>> wu_peek_sample(spectra).table["SpecObjID"].tolist()
    [1]
    """
    columns = {}
    for name in ("primTarget", "SpecObjID"):
        if (column := find_column(table, name)) is None:
            raise ValueError(f"table has no column {name}; its columns are {', '.join(table.colnames)}")
        columns[name] = column
    target = table[columns["primTarget"]]
    if target.dtype.kind not in "iu":
        raise ValueError(f"primTarget must be of integers, got {target.dtype}")
    # A masked row is of no sample.
    bits = np.ma.filled(np.ma.asarray(target), 0).astype(np.int64)
    sample = Selection.start("wu-peek", QTable(table), published=63706)
    sample.cut("main galaxies", "primTarget & (64|128|256) > 0", (bits & MAIN_GALAXY) > 0, published=60233)
    names = np.ma.filled(np.ma.asarray(sample.table[columns["SpecObjID"]]).astype(str), "")
    has_five = ~np.isin(np.char.strip(names), [str(name) for name in FOUR_BANDS])
    return sample.cut("five bands", "not one of four known SpecObjIDs", has_five, published=60229)
