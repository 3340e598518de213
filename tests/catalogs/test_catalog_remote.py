"""Catalogues from VizieR, and what happens when it fails; offline; what is kept."""

import os
import socket
import stat

import numpy as np
import pytest
from astropy.table import Table
from catalog_tables import a40_tables, a100_table, nibles_table, xgass_table
from conftest import HTML, Fault

from hifrac import catalogs, conf
from hifrac.catalogs import CatalogWarning, plain_values
from hifrac.catalogs.errors import CatalogFormatError, CatalogMissingError, CatalogServiceError


@pytest.fixture
def vizier(service):
    """VizieR with small tables; alpha.40 beside a table of notes, as in real catalogues."""
    hi, cross = a40_tables()
    notes = Table({"AGC": [11], "Note": ["a close pair"]})
    service.vizier = {
        "J/AJ/142/170": {
            "J/AJ/142/170/table1": hi,
            "J/AJ/142/170/notes": notes,
            "J/AJ/142/170/table3": cross,
        },
        "J/ApJ/861/49": {"J/ApJ/861/49/table2": a100_table()},
        "J/MNRAS/476/875": {"J/MNRAS/476/875/table": xgass_table()},
        "J/A+A/595/A118": {"J/A+A/595/A118/table": nibles_table()},
        "J/ApJS/199/26": {
            "J/ApJS/199/26/table3": Table(
                {"ID": ["00424433+4116074"], "RAJ2000": [10.68], "DEJ2000": [41.27], "cz": [-300]}
            )
        },
        "J/MNRAS/464/3796": {
            "J/MNRAS/464/3796/table": Table({"objID": [587722981736120347], "fgas": [-0.35]})
        },
        "J/ApJ/810/166": {
            "J/ApJ/810/166/table1": Table(
                {
                    "Name": ["rs0001", "rs0002"],
                    "RAJ2000": [200.0, 201.0],
                    "DEJ2000": [1.0, 1.0],
                    "cz": [5000.0, 6000.0],
                    "logM*": [9.0, 9.5],
                }
            )
        },
        "J/ApJ/832/126": {
            "J/ApJ/832/126/table3": Table(
                {"Name": ["rs0002"], "logMHI": [8.5], "l_logMHI": ["<"], "e_logMHI": [0.1]}
            )
        },
        "J/AJ/160/271": {
            "J/AJ/160/271/table1": Table(
                {"AGC": [1], "Flag": [1], "ObjID": [1237679455462228052], "RAdeg": [0.6], "DEdeg": [16.6],
                 "RVel": [5839], "Dist": [82.8], "imag": [15.07]}
            ),
            "J/AJ/160/271/table2": Table(
                {"AGC": [1], "iMAG": [-19.6], "logMsT": [9.34], "logMsM": [9.78], "logMsG": [9.5],
                 "logMHI": [9.67], "e_logMHI": [0.05]}
            ),
        },
    }  # fmt: skip
    return service


VIZIER = [
    "alfalfa_a40",
    "alfalfa_a100",
    "durbala2020",
    "xgass",
    "nibles",
    "teimoorinia2017",
    "resolve",
    "tmrs",
]


@pytest.mark.filterwarnings("ignore:nibles. the file has lost the signs")
@pytest.mark.parametrize("name", VIZIER)
def test_a_catalogue_is_fetched_once_and_then_read_from_the_data_directory(vizier, name, data_folder):
    fetched = getattr(catalogs, name)()
    assert fetched.meta["hifrac"]["service"] == "VizieR"
    asked = len(vizier.requests)
    again = getattr(catalogs, name)()
    assert len(vizier.requests) == asked
    assert again.colnames == fetched.colnames
    for column in fetched.colnames:
        assert again[column].mask.tolist() == fetched[column].mask.tolist(), column
        if fetched[column].dtype.kind == "f":
            np.testing.assert_array_equal(plain_values(again, column), plain_values(fetched, column))
        else:
            assert again[column].tolist() == fetched[column].tolist()
    assert all(path.suffix == ".fits" for path in data_folder.iterdir())


def test_the_parts_of_a_catalogue_are_told_by_their_columns(vizier):
    table = catalogs.alfalfa_a40()
    assert table["objid_dr7"].filled("-").tolist()[:3] == ["587730775499407375", "587740589481525478", "-"]
    assert plain_values(table, "log_mhi")[1] == 10.11


def test_magnitudes_that_differ_by_case_alone_are_not_confused(vizier):
    table = catalogs.durbala2020()
    assert plain_values(table, "i_mag")[0] == 15.07
    assert plain_values(table, "abs_i")[0] == -19.6


def test_limits_of_resolve_come_from_two_catalogues_joined_by_name(vizier):
    table = catalogs.resolve()
    assert table["name"].tolist() == ["rs0001", "rs0002"]
    assert table["log_mhi"].mask.tolist() == [True, False]
    assert table["log_mhi_limit"].tolist()[1] is True


def test_offline_the_error_names_file_service_and_command(data_folder):
    with (
        conf.set_temp("offline", True),
        pytest.raises(CatalogMissingError) as caught,
    ):
        catalogs.alfalfa_a100()
    message = str(caught.value)
    assert "alfalfa_a100_190808.csv" in message
    assert str(data_folder) in message
    assert "VizieR for J/ApJ/861/49" in message
    assert "hifrac catalogs fetch alfalfa_a100" in message


@pytest.mark.parametrize("name", [*VIZIER, "mpa_jhu", "nsa"])
def test_offline_no_catalogue_touches_the_network(service, name):
    with conf.set_temp("offline", True), pytest.raises(CatalogMissingError, match=name):
        getattr(catalogs, name)()
    assert not service.requests


def test_a_catalogue_is_read_from_and_kept_in_the_data_directory_that_is_given(vizier, tmp_path, data_folder):
    given = tmp_path / "another"
    given.mkdir()
    fetched = catalogs.tmrs(given)
    assert [path.name for path in (given / "catalogs").iterdir()] == ["tmrs_vizier.fits"]
    assert not data_folder.exists()
    with conf.set_temp("offline", True):
        assert len(catalogs.tmrs(given)) == len(fetched)
        with pytest.raises(CatalogMissingError, match=str(data_folder)):
            catalogs.tmrs()


def test_a_path_that_is_not_there_is_an_error_and_not_a_reason_to_fetch(vizier, tmp_path):
    with pytest.raises(CatalogMissingError, match=r"path: no such file: .*nowhere.csv"):
        catalogs.alfalfa_a100(tmp_path / "nowhere.csv")
    assert not vizier.requests


def test_a_busy_service_is_asked_again(vizier):
    vizier.faults = [
        Fault(status=503, body=b"busy", headers={"Retry-After": "0"}),
        Fault(status=429, body=b""),
    ]
    assert len(catalogs.alfalfa_a100()) == 4
    assert len(vizier.requests) == 3


def test_a_service_that_stays_busy_is_reported_with_its_status(vizier, data_folder):
    vizier.faults = [Fault(status=503, body=b"busy", headers={"Retry-After": "0"})] * 3
    with pytest.raises(CatalogServiceError, match=r"answered 503 Service Unavailable: busy") as caught:
        catalogs.alfalfa_a100()
    assert (caught.value.status, caught.value.retry_after) == (503, 0.0)
    assert caught.value.url == vizier.url + "/viz-bin/votable"
    assert not data_folder.exists()


def test_a_service_that_asks_for_an_hour_is_not_waited_for(vizier):
    vizier.faults = [Fault(status=503, body=b"", headers={"Retry-After": "3600"})]
    with pytest.raises(CatalogServiceError) as caught:
        catalogs.alfalfa_a100()
    assert caught.value.retry_after == 3600
    assert len(vizier.requests) == 1


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("announced", [True, False])
def test_a_download_cut_off_leaves_nothing_behind(vizier, keep, announced, data_folder):
    vizier.faults = [Fault(keep=keep, announce_all=announced)] * 3
    with pytest.raises(CatalogServiceError, match=r"no complete answer|damaged VOTable"):
        catalogs.alfalfa_a100()
    assert not data_folder.exists()
    # And nothing damaged is remembered: the next time is as good as new.
    vizier.faults = []
    assert len(catalogs.alfalfa_a100()) == 4


def test_an_answer_that_vizier_limited_is_an_error(vizier, data_folder):
    vizier.overflow = True
    with pytest.raises(CatalogServiceError, match="answered OVERFLOW"):
        catalogs.alfalfa_a100()
    assert not data_folder.exists()


def test_a_web_page_is_no_catalogue(vizier):
    vizier.faults = [Fault(body=HTML)]
    with pytest.raises(CatalogServiceError, match="did not answer with a VOTable: <!DOCTYPE html>"):
        catalogs.alfalfa_a100()


def test_an_unknown_catalogue_is_an_error(service):
    with pytest.raises(CatalogServiceError, match="found no such catalogue, or nothing in it"):
        catalogs.alfalfa_a100()


def test_a_catalogue_with_other_columns_is_an_error_that_lists_them(service, data_folder):
    service.vizier = {"J/ApJ/861/49": {"J/ApJ/861/49/table2": Table({"AGC": [1], "Speed": [3.0]})}}
    with pytest.raises(CatalogFormatError, match="table2: AGC, Speed"):
        catalogs.alfalfa_a100()
    assert not data_folder.exists()


def test_an_answer_with_the_right_columns_and_the_wrong_content_is_not_kept(service, data_folder):
    table = a100_table()
    table["logMH"] = ["9.87", "10.01", "heavy", "9.07"]
    service.vizier = {"J/ApJ/861/49": {"J/ApJ/861/49/table2": table}}
    with pytest.raises(CatalogFormatError, match="logMH holds text"):
        catalogs.alfalfa_a100()
    assert not data_folder.exists()


def test_the_file_of_another_catalogue_is_refused(tmp_path):
    a100_table().write(tmp_path / "a100.csv")
    with pytest.raises(CatalogFormatError, match="xgass has no column for gass"):
        catalogs.xgass(tmp_path / "a100.csv")


def test_no_service_at_all_is_an_error(data_folder):
    with (
        conf.set_temp("vizier_url", "http://127.0.0.1:9"),
        conf.set_temp("retries", 0),
        pytest.raises(
            CatalogServiceError,
            match=r"gave no complete answer.* put xgass_representative_sample.fits into .*hifrac catalogs",
        ),
    ):
        catalogs.xgass()


def test_a_service_that_says_nothing_is_not_waited_for_longer_than_the_setting(data_folder):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        conf.set_temp("vizier_url", f"http://127.0.0.1:{silent.getsockname()[1]}"),
        conf.set_temp("catalog_timeout", 0.2),
        conf.set_temp("retries", 0),
        pytest.raises(CatalogServiceError, match=r"gave no complete answer: .*timed out.*timeout=0.2"),
    ):
        catalogs.xgass()


@pytest.mark.parametrize("value", [0.0, -1.0, "soon"])
def test_a_timeout_that_is_none_is_refused(value):
    with pytest.raises(TypeError, match="catalog_timeout"), conf.set_temp("catalog_timeout", value):
        pass


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_costs_a_warning_not_the_catalogue(vizier, data_folder):
    data_folder.parent.mkdir(parents=True)
    data_folder.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.warns(CatalogWarning, match="xgass_vizier.fits could not be kept"):
        assert len(catalogs.xgass()) == 3


def test_a_data_directory_that_is_a_file_costs_a_warning_not_the_catalogue(vizier, data_folder):
    data_folder.parent.write_text("not a folder")
    with pytest.warns(CatalogWarning, match="xgass_vizier.fits could not be kept"):
        assert len(catalogs.xgass()) == 3


def test_without_a_data_directory_the_cache_keeps_what_was_fetched(vizier, monkeypatch, tmp_path):
    monkeypatch.delenv("HIFRAC_DATA_DIR")
    catalogs.xgass()
    assert (tmp_path / "cache" / "catalogs" / "xgass_vizier.fits").is_file()


def test_a_kept_file_that_was_damaged_is_an_error(vizier, data_folder):
    catalogs.xgass()
    path = data_folder / "xgass_vizier.fits"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CatalogFormatError, match=r"xgass_vizier.fits is damaged"):
        catalogs.xgass()
