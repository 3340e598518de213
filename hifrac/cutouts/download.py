"""Filling the local store for a whole table, without estimating anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from astropy.table import QTable

from hifrac.core.columns import result_column
from hifrac.core.exceptions import RowError
from hifrac.core.flags import Flag
from hifrac.core.input import parse
from hifrac.cutouts._scales import scales_of_source
from hifrac.cutouts.remote import RemoteCutouts


def download(
    data: Any,
    source: RemoteCutouts,
    *,
    ra: str | None = None,
    dec: str | None = None,
    progress: Callable[[RowError | None], object] | None = None,
) -> QTable:
    """Fetch the pictures of a table into the local store; what is there already is not asked for.

    Parameters
    ----------
    data : object
        Positions, as `hifrac.HIFractionEstimator.predict` takes them.
    source : `~hifrac.cutouts.RemoteCutouts`
        The service.
    ra, dec : str, optional
        Columns of the positions, if they have other names.
    progress : callable, optional
        Called after each row, in order, with None if its picture is in the
        store, or with the error that stopped it.

    Returns
    -------
    report : `~astropy.table.QTable`
        One row per input row, in order: the input columns and ``flags``. A
        row without flags has its picture in the store; see `hifrac.Flag`.

    Raises
    ------
    TypeError
        If ``data`` holds no positions, or ``source`` is no survey service.
    ValueError
        If ``data`` has no positions, or a column ``flags`` already, or lacks the column of the pixel scales.
    OSError
        If the store cannot be written to.

    Notes
    -----
    An interruption loses nothing: call it again with the same table.

    Examples
    --------
    With a network:

    >>> from astropy.table import Table
    >>> from hifrac import SkyServerCutouts
    >>> from hifrac.cutouts import download
    >>> galaxies = Table({"ra": [184.957, 150.09], "dec": [5.1215, 2.21]}, units=["deg", "deg"])
    >>> report = download(galaxies, SkyServerCutouts())  # doctest: +SKIP
    >>> missing = report[report["flags"] != 0]  # doctest: +SKIP
    """
    if not isinstance(source, RemoteCutouts):
        raise TypeError(f"source must be a survey service, such as SkyServerCutouts(), got {source!r}")
    positions = parse(data, ra=ra, dec=dec)
    report = positions.table
    if "flags" in report.colnames:
        raise ValueError("data has a column flags already; rename it")
    scales = scales_of_source(source, report)
    flags = np.full(len(positions.ra), int(Flag.BAD_COORDINATE), dtype=np.int32)
    # NaN positions go along: the source refuses them one by one, and the rows stay in step.
    with closing(source.ensure(positions.ra, positions.dec, **scales)) as outcomes:
        for row, error in enumerate(outcomes):
            flags[row] = 0 if error is None else int(error.flag)
            if progress is not None:
                progress(error)
    report["flags"] = result_column("flags", flags)
    return report
