"""Photometry and redshifts from a SkyServer that runs here: what is asked, kept, filled in; failures."""

from __future__ import annotations

import json
import sqlite3
from urllib.parse import urlencode

import numpy as np
import pytest
from astropy.table import Table
from commands import call
from conftest import HTML, Fault

from hifrac import HIFractionEstimator, LocalCutouts, MetallicityEstimator, conf
from hifrac.catalogs import _remote
from hifrac.catalogs.photometry import with_sdss_photometry
from hifrac.core.config import cache_dir
from hifrac.core.evidence import parse_evidence
from hifrac.core.exceptions import HifracWarning
from hifrac.core.input import parse
from hifrac.core.measurements import C_KM_S
from hifrac.demo import PICTURES

OBJID = 1237648720000000000
CZ = np.log10(0.02 * C_KM_S)


@pytest.fixture
def skyserver(service, monkeypatch, tmp_path):
    """SkyServer with forty galaxies along the equator; of every second one it has a spectrum."""
    monkeypatch.setenv("HIFRAC_CACHE_DIR", str(tmp_path / "cache"))
    with sqlite3.connect(service.database_file) as database:
        database.executescript(
            """CREATE TABLE PhotoObjAll (objID INTEGER, ra REAL, dec REAL, type INTEGER, modelMag_g REAL,
            modelMag_i REAL, cModelMag_g REAL, cModelMag_i REAL, extinction_g REAL, extinction_i REAL,
            expAB_r REAL, modelMag_u REAL, modelMag_r REAL, modelMag_z REAL, extinction_u REAL,
            extinction_r REAL, extinction_z REAL);
            CREATE TABLE SpecObj (bestObjID INTEGER, z REAL, zWarning INTEGER, class TEXT);"""
        )
        for k in range(40):
            values = (OBJID + k, 100 + k / 10, 0.5, 3, 17.0, 16.0, 16.8, 15.8, 0.2, 0.1, 0.5)
            values += (18.0, 16.4, 15.9, 0.3, 0.15, 0.05)
            database.execute(f"INSERT INTO PhotoObjAll VALUES ({','.join('?' * len(values))})", values)
            if k % 2 == 0:
                database.execute("INSERT INTO SpecObj VALUES (?, 0.02, 0, 'GALAXY')", (OBJID + k,))
    database.close()
    return service


def change(service, statement):
    with sqlite3.connect(service.database_file) as database:
        database.execute(statement)
    database.close()


def evidence_of(uses=("log_cz", "g_minus_i", "axis_ratio", "log_mstar"), **columns):
    """Return what is known of a table after SkyServer was asked."""
    positions = parse(Table(columns, units={"ra": "deg", "dec": "deg"}))
    ebv = np.full(len(positions), 0.5)
    evidence = parse_evidence(positions.table, ebv, positions.dec)
    return with_sdss_photometry(evidence, positions, ebv, uses)


def places(*numbers):
    return {"ra": [100 + k / 10 for k in numbers], "dec": [0.5] * len(numbers)}


@pytest.mark.parametrize(
    "objid", [[OBJID, OBJID + 1], [str(OBJID), f" {OBJID + 1}"]], ids=["numbers", "text"]
)
def test_objids_are_looked_up_and_corrected_for_the_foreground(skyserver, objid):
    evidence = evidence_of(objid=objid, ra=[0.0, 0.0], dec=[0.0, 0.0])
    np.testing.assert_allclose(evidence.i, [15.7, 15.7])
    np.testing.assert_allclose(evidence.g_minus_i, [0.9, 0.9])
    np.testing.assert_allclose(evidence.axis_ratio, [0.5, 0.5])
    np.testing.assert_allclose(evidence.log_cz, [CZ, np.nan])
    np.testing.assert_allclose(evidence.magnitudes, [[17.7, 16.8, 16.25, 15.9, 15.85]] * 2)
    assert len(skyserver.requests) == 1


def test_rows_without_an_objid_are_found_by_position_within_three_arcseconds(skyserver):
    evidence = evidence_of(
        objid=np.ma.MaskedArray([OBJID, 0, 587722981736120347, -1, 5], mask=[0, 0, 0, 0, 1]),
        ra=[0.0, 100.2 + 2 / 3600, 100.4 - 2 / 3600, 100.6 + 4 / 3600, np.nan],
        dec=[0.0, 0.5, 0.5, 0.5, 0.5],
    )
    np.testing.assert_allclose(evidence.log_cz, [CZ, CZ, CZ, np.nan, np.nan])
    np.testing.assert_array_equal(np.isnan(evidence.i), [False, False, False, True, True])


def test_what_the_table_has_comes_first_and_is_not_asked_for(skyserver):
    full = {"g_minus_i": [1.2], "i": [14.0], "z": [0.01], "axis_ratio": [0.9]}
    assert evidence_of(**places(0), **full).i[0] == 14.0
    assert skyserver.requests == []
    evidence = evidence_of(("log_cz", "magnitudes"), **places(0), **full)
    np.testing.assert_allclose(evidence.magnitudes, [[17.7, 15.2, 16.25, 14.0, 15.85]])
    assert len(skyserver.requests) == 1
    evidence = evidence_of(**places(0, 2), z=[0.01, np.nan])
    np.testing.assert_allclose(evidence.log_cz, [np.log10(0.01 * C_KM_S), CZ])
    np.testing.assert_allclose(evidence.i, [15.7, 15.7])


def test_many_rows_are_asked_for_in_short_batches_once_each(skyserver):
    numbers = [*range(40), *range(40)]
    evidence = evidence_of(**places(*numbers))
    assert np.isfinite(evidence.i).all()
    np.testing.assert_array_equal(np.isfinite(evidence.log_cz), np.array(numbers) % 2 == 0)
    assert len(skyserver.requests) == 3
    assert all(len(urlencode({"cmd": query})) < 2000 for query in skyserver.requests)


def test_what_was_asked_for_is_kept_and_works_offline(skyserver):
    first = evidence_of(**places(0, 1), objid=[OBJID + 7, 0])
    asked = len(skyserver.requests)
    again = evidence_of(**places(0, 1), objid=[OBJID + 7, 0])
    with conf.set_temp("offline", True):
        offline = evidence_of(**places(0, 1), objid=[OBJID + 7, 0])
        with pytest.warns(
            HifracWarning, match=r"^photometry: offline, and 2 galaxies are not in the local store"
        ):
            unknown = evidence_of(**places(1, 5, 6))
    assert len(skyserver.requests) == asked
    for evidence in (again, offline):
        np.testing.assert_array_equal(evidence.i, first.i)
        np.testing.assert_array_equal(evidence.log_cz, first.log_cz)
    np.testing.assert_array_equal(np.isnan(unknown.i), [False, True, True])


def test_that_there_is_nothing_is_kept_as_well(skyserver):
    for _ in range(2):
        assert np.isnan(evidence_of(ra=[10.0], dec=[0.0]).i).all()
    assert len(skyserver.requests) == 1


def test_stars_doubtful_redshifts_and_sentinels_are_nothing(skyserver):
    change(skyserver, f"UPDATE PhotoObjAll SET type = 6 WHERE objID = {OBJID}")
    change(skyserver, f"UPDATE SpecObj SET zWarning = 4 WHERE bestObjID = {OBJID + 2}")
    change(skyserver, f"UPDATE SpecObj SET class = 'STAR' WHERE bestObjID = {OBJID + 4}")
    change(
        skyserver, f"UPDATE PhotoObjAll SET modelMag_g = -9999, cModelMag_g = 31 WHERE objID = {OBJID + 6}"
    )
    change(skyserver, f"INSERT INTO SpecObj VALUES ({OBJID + 8}, 0.02, 0, 'QSO')")
    evidence = evidence_of(**places(0, 2, 4, 6, 8))
    np.testing.assert_array_equal(np.isnan(evidence.i), [True, False, False, True, False])
    np.testing.assert_allclose(evidence.log_cz, [np.nan, np.nan, np.nan, CZ, CZ])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=400, body=b"no"), "answered 400"),
        (Fault(body=HTML), "did not answer with a table"),
        (Fault(body=b"#Table1\nk,objid\n0,1"), "answered without the columns cModelMag_g"),
        (
            Fault(keep=0.5, announce_all=False),
            r"damaged table|asked for 16 galaxies, and answered for \d|complete",
        ),
    ],
    ids=["refused", "page", "other columns", "cut off"],
)
def test_a_service_that_fails_is_said_once_and_the_rows_go_on(skyserver, fault, message):
    skyserver.faults = [Fault(), fault]
    with pytest.warns(HifracWarning, match=message) as caught:
        evidence = evidence_of(**places(*range(40)))
    assert len(caught) == 1
    assert str(caught[0].message).startswith("photometry: 24 galaxies go on without that of SDSS")
    assert np.isfinite(evidence.i).sum() == 16
    # Nothing of it was kept: the next run asks for the rest, and for no more.
    skyserver.faults, asked = [], len(skyserver.requests)
    assert np.isfinite(evidence_of(**places(*range(40))).i).all()
    assert len(skyserver.requests) == asked + 2


def test_a_busy_service_is_asked_again(skyserver):
    skyserver.faults = [Fault(status=503, body=b"busy")]
    assert np.isfinite(evidence_of(**places(1)).i).all()
    assert len(skyserver.requests) == 2


def test_a_store_that_cannot_be_written_costs_a_warning(skyserver):
    (cache_dir()).parent.mkdir(parents=True, exist_ok=True)
    cache_dir().write_text("a file where the folder should be")
    with pytest.warns(HifracWarning, match=r"^photometry: what SkyServer said cannot be kept in"):
        assert np.isfinite(evidence_of(**places(1)).i).all()


def test_what_an_older_version_kept_is_asked_for_anew(skyserver):
    evidence_of(**places(1))
    path = next((cache_dir() / "photometry").glob("*.sqlite"))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE photometry SET data = ?", (json.dumps([1.0]),))
    database.close()
    assert np.isfinite(evidence_of(**places(1)).i).all()
    assert len(skyserver.requests) == 2


def test_the_service_is_not_asked_more_often_than_its_limit(skyserver, monkeypatch):
    pauses = []
    monkeypatch.setattr(_remote, "QUERIES_PER_SECOND", 0.5)
    monkeypatch.setattr(_remote.time, "sleep", pauses.append)
    evidence_of(**places(*range(40)))
    assert len(pauses) == 3
    assert pauses[2] > pauses[1] > 1.5


def test_an_estimator_uses_it_and_says_so(skyserver, tmp_path):
    table = Table({"name": ["sim-09-spiral"] * 3, **places(0, 1, 0)}, units={"ra": "deg", "dec": "deg"})
    table["z"] = [np.nan, np.nan, 0.03]
    with LocalCutouts(PICTURES, name="name") as cutouts:
        result = HIFractionEstimator(photometry="sdss", cutouts=cutouts).predict(table)
        plain = HIFractionEstimator(cutouts=cutouts).predict(table)
    assert result["evidence"].tolist() == [
        "picture+z+photometry+axis_ratio",
        "picture+photometry+axis_ratio",
        "picture+z+photometry+axis_ratio",
    ]
    assert plain["evidence"].tolist() == ["picture", "picture", "picture+z"]
    assert result["z"].tolist()[2] == 0.03  # the table stays as it is
    assert np.all(result["log_hi_fraction"] != plain["log_hi_fraction"])
    assert result.meta["hifrac"]["photometry"].startswith("SDSS DR17, by objID")
    assert "photometry" not in plain.meta["hifrac"]


def test_metallicities_have_all_magnitudes_of_it_and_no_axis_ratio(skyserver):
    table = Table({"name": ["sim-09-spiral"] * 2, **places(0, 1)}, units={"ra": "deg", "dec": "deg"})
    with LocalCutouts(PICTURES, name="name") as cutouts:
        result = MetallicityEstimator(photometry="sdss", cutouts=cutouts).predict(table)
        plain = MetallicityEstimator(cutouts=cutouts).predict(table)
    assert result["evidence"].tolist() == ["picture+z+ugriz", "picture+ugriz"]
    assert np.all(result["oh"] != plain["oh"])
    assert result.meta["hifrac"]["photometry"].startswith("SDSS DR17, by objID")


def test_the_command_line_has_it_as_well(skyserver, tmp_path):
    table = Table({"name": ["sim-09-spiral"], **places(0)}, units={"ra": "deg", "dec": "deg"})
    table.write(tmp_path / "in.ecsv")
    arguments = [
        "predict",
        str(tmp_path / "in.ecsv"),
        "-o",
        str(tmp_path / "out.ecsv"),
        "--photometry",
        "sdss",
    ]
    done = call(*arguments, "--cutouts", PICTURES, "--name", "name")
    assert done.exit_code == 0, done.output
    assert Table.read(tmp_path / "out.ecsv")["evidence"][0] == "picture+z+photometry+axis_ratio"


def test_other_sources_and_models_without_use_for_it_are_refused():
    with pytest.raises(ValueError, match=r"^photometry must be one of sdss, got 'gaia'"):
        HIFractionEstimator(photometry="gaia")
    with pytest.raises(ValueError, match=r"^photometry: the model 'gas-classes' has one answer"):
        HIFractionEstimator("gas-classes", photometry="sdss")
