"""Magnitudes, axis ratios and redshifts of SDSS for the rows of a table: asked for once, then kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
from astropy.table import Table

from hifrac.catalogs._remote import sql_table
from hifrac.catalogs.errors import CatalogServiceError
from hifrac.core.config import cache_dir, conf
from hifrac.core.evidence import Evidence, parse_evidence
from hifrac.core.exceptions import warn_caller
from hifrac.core.input import Positions
from hifrac.core.measurements import BANDS, find_column
from hifrac.cutouts._database import Database
from hifrac.cutouts._positions import position_keys, position_of

DATA_RELEASE = 17
#: What a result says of the source.
SDSS_PHOTOMETRY = f"SDSS DR{DATA_RELEASE}, by objID or within 3 arcsec, where the table has none"

# SkyServer allows addresses of about two thousand characters.
_ROWS_AT_ONCE = 16
_RADIUS = 0.05  # arcmin
_OBJIDS = 1237600000000000000, 1237700000000000000  # DR8 and later

_PHOTOMETRY = (
    *(f"{name}_{band}" for name in ("modelMag", "extinction") for band in BANDS),
    "cModelMag_g",
    "cModelMag_i",
    "expAB_r",
)
_COLUMNS = (*_PHOTOMETRY, "redshift")
#: What SDSS knows of the attributes of `Evidence`.
_KNOWN = ("g_minus_i", "magnitudes", "log_cz", "axis_ratio")

# With LEFT JOIN each row that was asked for is answered, so that an answer cut off is told from none.
_SQL = f"""SELECT t.k AS k,{",".join(f"p.{name}" for name in _PHOTOMETRY)},s.z AS redshift
FROM ({{rows}}) AS t LEFT JOIN PhotoObjAll AS p ON p.objID=t.id AND p.type=3
LEFT JOIN SpecObj AS s ON s.bestObjID=p.objID AND s.zWarning=0 AND s.class!='STAR'"""
_SCHEMA = "CREATE TABLE IF NOT EXISTS photometry (key INTEGER PRIMARY KEY, data TEXT NOT NULL);"


def with_sdss_photometry(
    evidence: Evidence, positions: Positions, ebv: np.ndarray, uses: Sequence[str]
) -> Evidence:
    """Fill what is lacking of magnitudes, redshift and axis ratio from SDSS.

    Rows are found by a column ``objid`` of DR8 or later, else as the primary galaxy that is nearest to
    their position, within 3 arcsec. What was asked for once is in the local store, with ``conf.offline``
    nothing else is used. A service that fails leaves the rest of the rows as they are, with one warning.

    Parameters
    ----------
    evidence : `~hifrac.core.evidence.Evidence`
        What the table says of n galaxies: it comes first.
    positions : `~hifrac.core.input.Positions`
        The table itself, parsed.
    ebv : array of float, shape (n,)
        Galactic reddening E(B-V) in mag, NaN where unknown.
    uses : sequence of str
        Attributes of the evidence; a row that has what SDSS knows of them is not asked for.

    Returns
    -------
    evidence : `~hifrac.core.evidence.Evidence`

    Warns
    -----
    ~hifrac.core.HifracWarning
        If SkyServer could not be asked for all of it, or it could not be kept.
    """
    keys = _keys(positions)
    is_known = [
        np.isfinite(getattr(evidence, name)).reshape(len(evidence), -1) for name in set(uses) & set(_KNOWN)
    ]
    lacks = np.any(~np.concatenate(is_known, axis=1), axis=1)
    wanted = sorted(set(keys[lacks & (keys > 0)].tolist()))
    answers = _look_up(wanted)
    nothing = [np.nan] * len(_COLUMNS)
    rows = [
        answers.get(key, nothing) if is_lacking else nothing
        for key, is_lacking in zip(keys, lacks, strict=True)
    ]
    table = Table(np.array(rows, dtype=float).reshape(len(keys), len(_COLUMNS)), names=_COLUMNS)
    return evidence.or_else(parse_evidence(table, ebv, positions.dec))


def _keys(positions: Positions) -> np.ndarray:
    """Return what identifies each row: its objID, else the smaller integer of its position, else 0."""
    keys = np.zeros(len(positions), dtype=np.int64)
    has_place = np.isfinite(positions.ra)
    keys[has_place] = position_keys(positions.ra[has_place], positions.dec[has_place])
    column = find_column(positions.table, "objid")
    if column is not None and positions.table[column].dtype.kind in "iuUSO":
        texts = np.ma.filled(np.ma.asarray(positions.table[column]).astype(str), "")
        for row, text in enumerate(texts):
            if text.strip().isdecimal() and _OBJIDS[0] <= int(text) < _OBJIDS[1]:
                keys[row] = int(text)
    return keys


def _look_up(keys: list[int]) -> dict[int, list[float]]:
    """Return what is known of some keys, from the store, else from SkyServer."""
    path = cache_dir() / "photometry" / f"sdss-dr{DATA_RELEASE}.sqlite"
    store = Database(path, _SCHEMA)
    try:
        # However many there are, the list is one parameter.
        statement = "SELECT key, data FROM photometry WHERE key IN (SELECT value FROM json_each(?))"
        stored = store.read(statement, (json.dumps(keys),))
        answers = {key: values for key, data in stored if len(values := json.loads(data)) == len(_COLUMNS)}
        lacking = [key for key in keys if key not in answers]
        for batch in _fetch(lacking):
            answers |= batch
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                store.write(
                    [
                        ("INSERT OR REPLACE INTO photometry VALUES (?, ?)", (key, json.dumps(values)))
                        for key, values in batch.items()
                    ]
                )
            except (OSError, sqlite3.Error) as error:
                warn_caller(f"photometry: what SkyServer said cannot be kept in {path}: {error}")
    finally:
        store.close()
    return answers


def _fetch(keys: list[int]) -> Iterator[dict[int, list[float]]]:
    """Yield the answers of SkyServer in batches; stop with a warning where it fails."""
    if keys and conf.offline:
        warn_caller(f"photometry: offline, and {len(keys)} galaxies are not in the local store")
        return
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        batch = keys[start : start + _ROWS_AT_ONCE]
        try:
            yield dict(zip(batch, _ask(batch), strict=True))
        except CatalogServiceError as error:
            warn_caller(f"photometry: {len(keys) - start} galaxies go on without that of SDSS: {error}")
            return


def _ask(keys: list[int]) -> list[list[float]]:
    """Ask SkyServer for some galaxies; NaN where there is nothing."""
    names = [(" AS k", " AS id"), *[("", "")] * (len(keys) - 1)]  # the first row names the columns
    rows = " UNION ALL ".join(
        f"SELECT {number}{k},{_objid_sql(key)}{objid}"
        for number, (key, (k, objid)) in enumerate(zip(keys, names, strict=True))
    )
    table = sql_table(_SQL.format(rows=rows), data_release=DATA_RELEASE)
    if missing := {"k", *_COLUMNS} - set(table.colnames):
        raise CatalogServiceError(f"SkyServer answered without the columns {', '.join(sorted(missing))}")
    columns = {name: np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan) for name in _COLUMNS}
    answers: dict[int, list[float]] = {}
    for row, k in enumerate(table["k"]):  # of several spectra the first
        answers.setdefault(int(k), [_sound(values[row]) for values in columns.values()])
    if sorted(answers) != list(range(len(keys))):
        raise CatalogServiceError(
            f"SkyServer was asked for {len(keys)} galaxies, and answered for {len(answers)}"
        )
    return [answers[k] for k in range(len(keys))]


def _objid_sql(key: int) -> str:
    """Return the SQL of an objID: itself, or that of the galaxy that is nearest to a position."""
    if key >= _OBJIDS[0]:
        return str(key)
    ra, dec = position_of(key)
    return f"dbo.fGetNearestObjIdEq({ra},{dec},{_RADIUS})"


def _sound(value: float) -> float:
    """Return a number of SDSS, NaN for its sentinels and for magnitudes of what was not seen."""
    return float(value) if -99 < value < 25 else float("nan")
