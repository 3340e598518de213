"""Catalogues from VizieR and from SkyServer's SQL, by way of astroquery.

astroquery asks and this module listens: an HTTP error, an answer that was cut
off, and an answer that the service itself limited are errors here, nothing is
cached but what was complete, and a busy service is asked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from astropy.io import votable
from astropy.table import Table, vstack

from hifrac.catalogs.errors import CatalogServiceError
from hifrac.core.config import conf
from hifrac.core.exceptions import silenced, warn_caller
from hifrac.core.retry import ask_patiently, retry_after
from hifrac.core.tables import read_table, read_text_table, write_table
from hifrac.cutouts._turns import turns_of

# SkyServer allows sixty queries a minute.
QUERIES_PER_SECOND = 1.0


def vizier_tables(address: str) -> dict[str, Table]:
    """Return all tables of a VizieR catalogue, whole.

    Parameters
    ----------
    address : str
        The catalogue, e.g. "J/ApJ/861/49".

    Returns
    -------
    tables : dict of `~astropy.table.Table`
        By the names of the tables, with the labels of the catalogue's ReadMe.

    Raises
    ------
    CatalogServiceError
        If the service cannot be reached, refuses, answers with something
        else, or with less than everything.
    """
    from astroquery.vizier import VizierClass

    class Vizier(VizierClass):
        # astroquery has mirrors, but not their scheme and port.
        def _server_to_url(self, return_type="votable"):
            return f"{self.VIZIER_SERVER.rstrip('/')}/viz-bin/{return_type}"

    with _no_astroquery_cache():
        vizier = Vizier(
            columns=["**"], row_limit=-1, vizier_server=conf.vizier_url, timeout=conf.catalog_timeout
        )
        response = _ask(lambda: vizier.get_catalogs_async(address), f"VizieR, asked for {address},")
    return _parse_votable(response, address)


def _parse_votable(response: requests.Response, address: str) -> dict[str, Table]:
    def error(what: str) -> CatalogServiceError:
        return CatalogServiceError(
            f"VizieR, asked for {address}, {what}", url=response.url, status=response.status_code
        )

    if not response.content.lstrip().startswith(b"<?xml"):
        raise error(f"did not answer with a VOTable: {_beginning(response)}")
    try:
        with silenced():  # VizieR's labels are not all valid VOTable identifiers
            tree = votable.parse(io.BytesIO(response.content), verify="ignore")
    except Exception as reason:  # each layer of the parser raises errors of its own
        raise error(f"answered with a damaged VOTable: {reason}") from reason
    infos = [*tree.infos, *(info for resource in tree.resources for info in resource.infos)]
    for info in infos:
        if info.name == "QUERY_STATUS" and info.value.upper() in ("ERROR", "OVERFLOW"):
            raise error(f"answered {info.value}: {info.content or 'no reason given'}")
    tables: dict[str, Table] = {}
    for part in tree.iter_tables():
        with silenced():
            table = part.to_table(use_names_over_ids=True)
        table.meta.clear()
        if part.nrows is not None and part.nrows != len(table):
            raise error(f"announced {part.nrows} rows of {part.name}, but sent {len(table)}")
        tables[part.name or part.ID or str(len(tables))] = table
    if not any(len(table) for table in tables.values()):
        raise error("found no such catalogue, or nothing in it")
    return tables


def skyserver_sql(queries: list[tuple[str, str]], pieces: Path, *, data_release: int) -> Table:
    """Return the rows of several SQL queries in one table.

    Parameters
    ----------
    queries : list of (str, str)
        Pairs of a query and of the query that counts its rows (one column
        ``n``): SkyServer ends a long answer without a word.
    pieces : path
        The folder for the answer to each query. Those that are there, of a call that was interrupted or that
        failed, are not asked for again.
    data_release : int
        The SDSS data release.

    Returns
    -------
    table : `~astropy.table.Table`
        All rows, in the order of the queries.

    Raises
    ------
    CatalogServiceError
        If the service cannot be reached, refuses, or if one answer has not
        as many rows as counted, other columns than the first, or text.

    Warns
    -----
    ~hifrac.core.HifracWarning
        Once, if the pieces cannot be written: an interruption then loses them.
    """
    parts: list[Table] = []
    can_write = True
    for query, count in queries:
        key = hashlib.sha256(f"DR{data_release} {query}".encode()).hexdigest()[:16]
        path = pieces / f"{key}.fits"
        part = _read_piece(path)
        if part is None:
            part = _ask_piece(query, count, data_release)
            _check_piece(part, parts)
            can_write = can_write and _write_piece(part, path)
        if len(part):
            parts.append(part)
    if not parts:
        raise CatalogServiceError("SkyServer found no rows")
    return vstack(parts, metadata_conflicts="silent")


def _ask_piece(query: str, count: str, data_release: int) -> Table:
    announced = int(sql_table(count, data_release=data_release)["n"][0])
    if announced == 0:
        return Table({"n": []}, dtype=[int])  # a file must have a column
    part = sql_table(query, data_release=data_release)
    if len(part) != announced:
        raise CatalogServiceError(
            f"SkyServer counted {announced} rows, but sent {len(part)}: its answer was cut off ({query})"
        )
    return part


def _check_piece(part: Table, others: list[Table]) -> None:
    """Refuse what must not be written: it would be read again and again."""
    if not len(part):
        return
    if text := [name for name in part.colnames if part[name].dtype.kind not in "iuf"]:
        raise CatalogServiceError(f"SkyServer answered with text in the column {text[0]}: {part[text[0]][0]}")
    if others and part.colnames != others[0].colnames:
        raise CatalogServiceError(
            f"SkyServer answered with the columns {', '.join(part.colnames)}, before it was "
            f"{', '.join(others[0].colnames)}"
        )


def _read_piece(path: Path) -> Table | None:
    """Return what an earlier call has written, None if there is nothing that can be read."""
    try:
        return read_table(path) if path.is_file() else None
    except (OSError, ValueError):
        return None


def _write_piece(part: Table, path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(part, path, overwrite=True)  # whole or not at all
    except (OSError, ValueError) as error:
        warn_caller(f"what SkyServer answers cannot be kept piece by piece in {path.parent}: {error}")
        return False
    return True


def sql_table(query: str, *, data_release: int) -> Table:
    """Return the rows of one SQL query as they came; a CatalogServiceError if the answer is no table.

    It is asked when it is this user's turn: all processes together ask no more than `QUERIES_PER_SECOND`.
    """
    from astroquery.sdss import SDSSClass
    from astroquery.sdss import conf as sdss_conf

    host = f"{urlsplit(str(sdss_conf.skyserver_baseurl)).netloc} sql"

    def ask() -> requests.Response:
        rate = min(QUERIES_PER_SECOND, conf.max_rate or QUERIES_PER_SECOND)
        time.sleep(turns_of(host).reserve(rate))
        return SDSSClass().query_sql_async(
            query, data_release=data_release, timeout=conf.catalog_timeout, cache=False
        )

    with _no_astroquery_cache():
        response = _ask(ask, "SkyServer")
    lines = response.text.lstrip("\ufeff").splitlines()
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    if not rows or rows[0].lstrip().startswith(("<", "{", "[", '"error')) or "error" in rows[0].lower():
        raise CatalogServiceError(
            f"SkyServer did not answer with a table: {_beginning(response)}",
            url=response.url,
            status=response.status_code,
        )
    try:
        return read_text_table("\n".join(rows))
    except ValueError as reason:
        raise CatalogServiceError(
            f"SkyServer answered with a damaged table: {reason}", url=response.url
        ) from reason


def _ask(ask: Callable[[], requests.Response], who: str) -> requests.Response:
    """Return one good answer, asking again as often as the settings say."""

    def try_() -> requests.Response:
        try:
            response = ask()
        except requests.RequestException as error:
            # What urllib3 wraps says the same without the address, in which is the whole query.
            reason = getattr(error.args[0] if error.args else None, "reason", None) or error
            raise CatalogServiceError(
                f"{who} gave no complete answer: {reason}", url=_url_of(error)
            ) from error
        if response.status_code == requests.codes.ok:
            return response
        raise CatalogServiceError(
            f"{who} answered {response.status_code} {response.reason}: {_beginning(response)}",
            url=response.url,
            status=response.status_code,
            retry_after=retry_after(response.headers),
        )

    return ask_patiently(try_)


def _url_of(error: requests.RequestException) -> str | None:
    return error.request.url if error.request is not None else None


def _beginning(response: requests.Response) -> str:
    return " ".join(response.text[:200].split()) or "an empty answer"


@contextlib.contextmanager
def _no_astroquery_cache():
    # astroquery would keep error pages as well.
    from astroquery import cache_conf

    with cache_conf.set_temp("cache_active", False):
        yield
