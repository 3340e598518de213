"""Results to other programs: through a real SAMP hub on this computer, and to a widget."""

import io
import subprocess
import sys
import threading
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from astropy.utils.data import get_readable_fileobj

from hifrac import HIFractionEstimator, LocalCutouts, samp
from hifrac.core import HifracError, HifracWarning
from hifrac.demo import PICTURES, sample_table


@pytest.fixture(scope="module")
def result():
    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    return estimator.predict(sample_table()[[0, 10, 20]])


# SAMP

pyvo_samp = pytest.importorskip("pyvo.samp", reason="pyvo 1.9 is not installed")


class Program:
    """A program at the hub that loads tables, as TOPCAT is one."""

    def __init__(self, name, status="samp.ok"):
        self.status, self.tables, self.parameters = status, [], []
        self.client = pyvo_samp.SAMPIntegratedClient(name=name, addr="127.0.0.1")
        self.client.connect(pool_size=1)
        self.client.bind_receive_call("table.load.votable", self.load)

    def load(self, private_key, sender, message_id, mtype, parameters, extra):
        with get_readable_fileobj(parameters["url"], encoding="binary", cache=False) as file:
            self.tables.append(Table.read(io.BytesIO(file.read()), format="votable"))
        self.parameters.append(parameters)
        error = {"samp.errortxt": "out of memory"} if self.status == "samp.error" else None
        self.client.ereply(message_id, self.status, result={}, error=error)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of its own, which clients find by its lock file."""
    lock = tmp_path / "samp.lock"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lock.as_uri()}")
    with pyvo_samp.conf.set_temp("use_internet", False):
        server = pyvo_samp.SAMPHubServer(
            web_profile=False, addr="127.0.0.1", lockfile=str(lock), pool_size=2, label="test"
        )
        server.start()
        yield server
        server.stop()


@pytest.fixture
def programs(hub):
    """Starts programs, and ends them."""
    started = []

    def start(*arguments):
        started.append(Program(*arguments))
        return started[-1]

    yield start
    for program in started:
        program.client.disconnect()


def test_every_program_that_loads_tables_gets_the_result(programs, result):
    topcat, aladin = programs("topcat"), programs("Aladin")
    assert sorted(samp.send(result, name="dwarfs")) == ["Aladin", "topcat"]
    for program in (topcat, aladin):
        (table,) = program.tables
        assert table.colnames == result.colnames
        np.testing.assert_allclose(table["log_hi_fraction"], result["log_hi_fraction"])
        assert table["ra"].unit == u.deg
        assert program.parameters[0]["name"] == "dwarfs"
    assert topcat.parameters[0]["table-id"].startswith("hifrac-")


def test_one_program_may_be_chosen_in_any_case(programs, result):
    topcat, aladin = programs("topcat"), programs("Aladin")
    assert samp.send(result, "TOPCAT") == ["topcat"]
    assert (len(topcat.tables), len(aladin.tables)) == (1, 0)
    with pytest.raises(HifracError, match=r"^recipient: 'ds9' is none of the programs: .*Aladin"):
        samp.send(result, "ds9")


def test_no_file_and_no_client_stay_behind(programs, result, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    topcat = programs("topcat")
    before = set(threading.enumerate())
    samp.send(result)
    assert not list(tmp_path.glob("hifrac-samp-*"))
    assert not [
        client
        for client in topcat.client.get_registered_clients()
        if topcat.client.get_metadata(client).get("samp.name") == "hifrac"
    ]
    assert not [thread for thread in set(threading.enumerate()) - before if "_serve" in thread.name]


def test_a_program_that_fails_is_named_and_the_others_have_the_table(programs, result):
    programs("topcat", "samp.error")
    with pytest.raises(HifracError, match="no program loaded the table: topcat: out of memory"):
        samp.send(result)
    programs("Aladin", "samp.warning")
    with pytest.warns(HifracWarning, match="topcat: out of memory"):
        assert samp.send(result) == ["Aladin"]


def test_without_programs_or_without_a_hub_the_error_says_what_to_open(hub, result):
    with pytest.raises(HifracError, match="no program that loads tables is at the SAMP hub: open TOPCAT"):
        samp.send(result)
    hub.stop()
    with pytest.raises(HifracError, match="no SAMP hub is running: open TOPCAT or Aladin first"):
        samp.send(result)


def test_bad_input_is_named(result):
    with pytest.raises(TypeError, match=r"^result must be a table, got list"):
        samp.send([1.0])
    with pytest.raises(ValueError, match=r"^timeout must be positive"):
        samp.send(result, timeout=0)


@pytest.mark.parametrize(
    ("call", "module", "extra"),
    [(samp.send, "pyvo.samp", "samp"), (samp.to_aladin, "ipyaladin", "aladin")],
)
def test_a_missing_extra_is_named(call, module, extra, result, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'hifrac\[{extra}\]'"):
        call(result)


def test_neither_is_imported_before_it_is_needed():
    command = "import sys, hifrac.samp; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert not {"pyvo.samp", "ipyaladin", "torch"} & set(done.stdout.split())


# Aladin Lite


class Widget:
    """Stands in for `ipyaladin.Aladin`: notes what it is asked for, and writes tables as that does."""

    def __init__(self, **options):
        self.options, self.tables = options, {}

    def add_table(self, table, **options):
        buffer = io.BytesIO()
        table.write(buffer, format="votable")
        buffer.seek(0)
        self.tables[options["name"]] = (Table.read(buffer, format="votable"), options)


@pytest.fixture
def widgets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyaladin", SimpleNamespace(Aladin=Widget))


def test_flagged_rows_are_shown_apart_on_the_sky(widgets, result):
    aladin = samp.to_aladin(result, survey="CDS/P/SDSS9/color")
    assert list(aladin.tables) == ["hifrac: no flag", "hifrac: flagged"]
    assert aladin.options["survey"] == "CDS/P/SDSS9/color"
    clean, options = aladin.tables["hifrac: no flag"]
    expected = result[result["flags"] == 0]
    assert 0 < len(expected) < len(result)
    np.testing.assert_array_equal(clean["name"], expected["name"])
    np.testing.assert_allclose(clean[options["ra_field"]], expected["ra"].value)
    np.testing.assert_allclose(clean[options["dec_field"]], expected["dec"].value)
    assert options["shape"] != aladin.tables["hifrac: flagged"][1]["shape"]


def test_a_new_widget_has_all_rows_in_view(widgets, result):
    from astropy.coordinates import SkyCoord

    options = samp.to_aladin(result).options
    ra, dec = map(float, options["target"].split())
    middle = SkyCoord(ra, dec, unit="deg")
    assert np.all(SkyCoord(result["ra"], result["dec"]).separation(middle).deg < options["fov"] / 2)
    assert samp.to_aladin(result[:1]).options["fov"] == 0.05


def test_a_widget_that_is_there_keeps_its_view(result):
    aladin = Widget()
    assert samp.to_aladin(result, aladin) is aladin
    assert aladin.options == {}
    assert len(aladin.tables) == 2
    with pytest.raises(TypeError, match=r"^options are for a new widget, and aladin is given: fov"):
        samp.to_aladin(result, aladin, fov=1)


def test_rows_without_a_place_are_left_out_and_a_table_without_any_is_refused(result):
    rows = Table({"ra": MaskedColumn([10.0, 20.0], mask=[True, False], unit="deg")})
    rows["dec"] = [1.0, 2.0] * u.deg
    for end in ("", "_p16", "_p84"):
        rows[f"log_hi_fraction{end}"] = [0.1, 0.2]
    rows["flags"] = [0, 0]
    aladin = samp.to_aladin(rows, Widget())
    assert [len(table) for table, _ in aladin.tables.values()] == [1]
    rows.remove_columns(["ra", "dec"])
    with pytest.raises(ValueError, match="result has no row with a position"):
        samp.to_aladin(rows, Widget())


def test_the_real_widget_takes_it(result):
    pytest.importorskip("ipyaladin", reason="ipyaladin is not installed")
    aladin = samp.to_aladin(result)
    assert type(aladin).__name__ == "Aladin"
    assert float(aladin.fov.deg) == pytest.approx(aladin._fov)
