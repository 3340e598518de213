"""A data directory of one's own, and a real HTTP server that answers as VizieR and SkyServer do."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import sys
import threading
import warnings
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from astropy.io import votable
from astropy.table import Table

from hifrac import conf
from hifrac.catalogs import _remote

sys.path.insert(0, str(Path(__file__).parent))  # for catalog_tables

HTML = b"<!DOCTYPE html><html><body>Service temporarily unavailable</body></html>"


@dataclass
class Fault:
    """One answer that is not what was asked for."""

    status: int = 200
    body: bytes | None = None
    headers: dict = field(default_factory=dict)
    keep: float = 1.0  # which part of the good answer is sent
    announce_all: bool = True


class CatalogServer:
    """VizieR with the given tables by catalogue, and SkyServer's SQL over a SQLite database.

    ``faults`` are used up by the next requests, one each.
    """

    def __init__(self, database_file: str):
        self.vizier: dict[str, dict[str, Table]] = {}
        self.overflow = False
        self.sql_limit = 500_000
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.database_file = database_file
        handler = type("Handler", (_Handler,), {"owner": self})
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.httpd.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def votable(self, body: str) -> bytes:
        asked = dict(line.partition("=")[::2] for line in body.splitlines())
        assert asked["-out.max"] == "unlimited"
        assert "-out.all" in asked
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # VizieR's labels, such as logM*, are no VOTable identifiers
            return self._votable(asked["-source"])

    def _votable(self, source: str) -> bytes:
        tree = votable.tree.VOTableFile()
        resource = votable.tree.Resource(name=source)
        status = "OVERFLOW" if self.overflow else "OK"
        resource.infos.append(votable.tree.Info(name="QUERY_STATUS", value=status))
        tree.resources.append(resource)
        for name, table in self.vizier.get(source, {}).items():
            part = votable.tree.TableElement.from_table(tree, table)
            part.name = name
            resource.tables.append(part)
        stream = io.BytesIO()
        tree.to_xml(stream)
        return stream.getvalue()

    def sql(self, query: str) -> bytes:
        # immutable: several threads read it
        with contextlib.closing(sqlite3.connect(self.database_file)) as database:
            database.create_function("fGetNearestObjIdEq", 3, self.nearest)
            cursor = database.execute(query.replace("dbo.", ""))
            names = [one[0] for one in cursor.description]
            rows = cursor.fetchmany(self.sql_limit)
        lines = ["#Table1", ",".join(names)]
        lines += [",".join("null" if one is None else str(one) for one in row) for row in rows]
        return "\n".join(lines).encode()

    def nearest(self, ra: float, dec: float, radius: float) -> int | None:
        """SkyServer's function: the objID of the primary object that is nearest, within arcminutes."""
        with contextlib.closing(sqlite3.connect(self.database_file)) as database:
            row = database.execute(
                """SELECT objID, (ra - ?) * (ra - ?) + (dec - ?) * (dec - ?) AS squared FROM PhotoObjAll
                WHERE squared < ? ORDER BY squared""",
                (ra, ra, dec, dec, (radius / 60) ** 2),
            ).fetchone()
        return row and row[0]


class _Handler(BaseHTTPRequestHandler):
    owner: CatalogServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.owner.requests.append(body)
        assert self.path == "/viz-bin/votable"
        self._answer(lambda: self.owner.votable(body), "text/xml")

    def do_GET(self):
        parts = urlsplit(self.path)
        assert parts.path == "/dr17/en/tools/search/x_results.aspx"
        query = parse_qs(parts.query)["cmd"][0]
        self.owner.requests.append(query)
        self._answer(lambda: self.owner.sql(query), "text/csv")

    def _answer(self, good, kind):
        fault = self.owner.faults.pop(0) if self.owner.faults else Fault()
        body = good() if fault.body is None else fault.body
        sent = body[: int(len(body) * fault.keep)]
        self.send_response(fault.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if fault.announce_all else len(sent)))
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """An empty data directory."""
    monkeypatch.setenv("HIFRAC_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "catalogs"


@pytest.fixture
def service(tmp_path, monkeypatch, data_folder):
    """The services, at work; the data directory is empty."""
    from astroquery import sdss

    monkeypatch.setattr(_remote, "QUERIES_PER_SECOND", 10_000.0)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    server = CatalogServer(str(tmp_path / "skyserver.db"))
    thread = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    with (
        conf.set_temp("vizier_url", server.url),
        conf.set_temp("catalog_timeout", 20.0),
        sdss.conf.set_temp("skyserver_baseurl", server.url),
        conf.set_temp("retries", 2),
        conf.set_temp("retry_backoff", 0.01),
        conf.set_temp("max_rate", 0.0),
    ):
        yield server
    server.httpd.shutdown()
    server.httpd.server_close()
    thread.join(5)
