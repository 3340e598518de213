"""The galaxies of Wu & Boada (2019) from a SkyServer that runs here: query, pieces, cuts, check values."""

import shutil
import sqlite3
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from astropy.table import Table
from commands import call
from conftest import HTML, Fault
from contract import values_of

from hifrac import catalogs, conf
from hifrac.catalogs import _files, sdss, wu_boada
from hifrac.catalogs.errors import CatalogFormatError, CatalogServiceError
from hifrac.catalogs.wu_boada import WU_BOADA_SQL, facts_table, wu_boada_samples
from hifrac.core.exceptions import HifracWarning
from hifrac.core.flags import Flag
from hifrac.cutouts._scales import column_scales

PHOTO, SPEC = 1237648000000000000, 300000000000000000
PIECES = 3  # where LAST_PLATE is the last one
LAST_PLATE = 402
#: A galaxy that passes all cuts, and one change each for galaxies that do not.
GOOD = {
    "petroMag_r": 17.0,
    "modelMag_u": 19.0,
    "modelMag_g": 17.6,
    "modelMag_r": 17.1,
    "modelMag_i": 16.8,
    "modelMag_z": 16.6,
    "rChi2": 1.1,
    "zErr": 0.0001,
    "z": 0.07,
    "oh_p50": 8.9,
}
BAD = (
    ("petroMag_r", 18.0),
    ("petroMag_r", 10.0),
    ("modelMag_u", 24.0),
    ("modelMag_i", 25.0),
    ("rChi2", 2.0),
    ("zErr", 0.01),
    ("zErr", 0.0),
    ("z", 0.02),
    ("oh_p50", -9999),
)


def rows_of_database():
    """Plates 266, 301, 302 and LAST_PLATE; the second row of plate 302 has no mass."""
    rows = [(plate, dict(GOOD)) for plate in (266, 301, 302, 302, LAST_PLATE)]
    rows[1][1]["oh_p50"] = 9.1
    return rows + [(266, GOOD | {name: value}) for name, value in BAD]


@pytest.fixture
def skyserver(service, monkeypatch):
    monkeypatch.setattr(wu_boada, "LAST_PLATE", LAST_PLATE)
    tables = {"S": "SpecObj", "G": "Galaxy", "GSL": "GalSpecLine", "GSI": "GalSpecInfo", "GSX": "GalSpecIndx",
              "GSE": "GalSpecExtra"}  # fmt: skip
    with sqlite3.connect(service.database_file) as database:
        for number, (plate, galaxy) in enumerate(rows_of_database()):
            values = galaxy | {
                "objID": PHOTO + number, "specObjID": SPEC + number, "ra": 150.0 + number, "dec": 2.0,
                "petroR90_r": 5.0, "petroR50_r": 2.0, "bptclass": 1, "d4000": 1.4,
                "lgm_tot_p50": -9999 if number == 3 else 10.0, "sfr_tot_p50": 0.2, "oh_p16": 8.8,
                "oh_p84": 9.0,
            }  # fmt: skip
            for alias, table in tables.items():
                own = [name for name, (source, *_) in wu_boada._COLUMNS.items() if source == alias]
                row = {name: values.get(name, 1.0) for name in own} | {"specObjID": SPEC + number}
                row |= {"bestObjID": PHOTO + number, "plate": plate} if alias == "S" else {}
                if not number:
                    database.execute(f"CREATE TABLE {table} ({', '.join(row)})")
                marks = ", ".join("?" * len(row))
                database.execute(f"INSERT INTO {table} VALUES ({marks})", list(row.values()))
    database.close()
    return service


def pieces_of(folder):
    return sorted(path.name for path in (folder / "wu2019_pieces").glob("*"))


def test_the_query_is_that_of_the_original_without_its_top_100():
    assert "top" not in WU_BOADA_SQL.lower()
    assert len(wu_boada._COLUMNS) == 42
    for cut in ("G.petroMag_r>10", "G.petroMag_r<18", "S.rChi2<2", "S.zErr>0", "S.zErr<0.01", "S.z>0.02",
                "GSE.oh_p50!=-9999", "G.modelMag_u-G.modelMag_r>0", "G.modelMag_u-G.modelMag_r<6",
                *(f"G.modelMag_{band}>10 AND G.modelMag_{band}<25" for band in "ugriz")):  # fmt: skip
        assert f" {cut}" in WU_BOADA_SQL


def test_it_is_asked_for_in_pieces_and_kept_whole(skyserver, data_folder, monkeypatch):
    monkeypatch.setattr(wu_boada, "LAST_PLATE", sdss.LAST_PLATE)
    pieces = 28
    table = catalogs.wu2019()
    assert table["objid"].tolist() == [str(PHOTO + number) for number in range(5)]
    np.testing.assert_array_equal(values_of(table["log_oh"]), [8.9, 9.1, 8.9, 8.9, 8.9])
    assert table["log_mstar"].mask.tolist() == [False, False, False, True, False]
    assert table["lgm_tot_p50"].mask.tolist() == [False, False, False, True, False]
    assert str(table["petroR90_r"].unit) == "arcsec"
    np.testing.assert_array_equal(table["petroR90_r"].unmasked.value, 5.0)
    np.testing.assert_allclose(column_scales(table, "petroR90_r", 25.344), 5 / 25.344)
    assert table["modelMag_g"].unmasked.value[0] == 17.6
    assert table.meta["hifrac"]["catalog"] == "wu2019"
    assert len(skyserver.requests) == pieces + 3  # all are counted, three have rows
    assert all(len(urlencode({"cmd": query})) < 2000 for query in skyserver.requests)
    assert [path.name for path in data_folder.iterdir()] == ["wu2019_sdss.fits"]
    with conf.set_temp("offline", True):
        again = catalogs.wu2019()
    assert len(skyserver.requests) == pieces + 3
    assert again.colnames == table.colnames


def test_an_interrupted_fetch_goes_on_where_it_was(skyserver, data_folder):
    # The first four requests are the counts and rows of two ranges of plates.
    skyserver.faults = [*[Fault()] * 4, Fault(status=400, body=b"no")]
    with pytest.raises(CatalogServiceError, match="answered 400"):
        catalogs.wu2019()
    assert len(pieces_of(data_folder)) == 2
    assert all(name.endswith(".fits") for name in pieces_of(data_folder))
    asked = len(skyserver.requests)
    table = catalogs.wu2019()
    assert len(table) == 5
    assert len(skyserver.requests) - asked == (PIECES - 2) + 1
    assert pieces_of(data_folder) == []


def test_a_damaged_piece_is_asked_for_again(skyserver, data_folder):
    skyserver.faults = [*[Fault()] * 4, Fault(status=400, body=b"no")]
    with pytest.raises(CatalogServiceError):
        catalogs.wu2019()
    path = data_folder / "wu2019_pieces" / pieces_of(data_folder)[0]
    path.write_bytes(path.read_bytes()[:2000])
    assert len(catalogs.wu2019()) == 5


def test_the_pieces_stay_where_the_whole_cannot_be_kept(skyserver, data_folder, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(_files, "write_table", fail)
    with pytest.warns(catalogs.CatalogWarning, match="could not be kept: disk full"):
        catalogs.wu2019()
    assert len(pieces_of(data_folder)) == PIECES
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(body=HTML), "did not answer with a table"),
        (Fault(body=b"#Table1\nobjID,z\n1,red\n2,0\n3,0"), "text in the column z: red"),
        (
            Fault(body=b"#Table1\nobjID,z\n1,0.1\n2,0\n3,0"),
            "with the columns objID, z, before it was objID, specObjID",
        ),
        (Fault(body=b"#Table1\nobjID,z\n1,0.1\n2,0.1"), "counted 3 rows, but sent 2"),
    ],
    ids=["page", "text", "other columns", "too many"],
)
def test_what_is_not_the_answer_is_not_kept_as_a_piece(skyserver, data_folder, fault, message):
    skyserver.faults = [*[Fault()] * 3, fault]
    with pytest.raises(CatalogServiceError, match=message):
        catalogs.wu2019()
    assert len(pieces_of(data_folder)) == 1


def test_a_folder_that_cannot_hold_pieces_costs_a_warning(skyserver, data_folder):
    data_folder.mkdir(parents=True)
    (data_folder / "wu2019_pieces").write_text("a file where the folder should be")
    with pytest.warns(HifracWarning, match="cannot be kept piece by piece") as caught:
        assert len(catalogs.wu2019()) == 5
    assert len(caught) == 1


def test_a_file_without_a_column_is_an_error(tmp_path):
    Table({"objID": [1], "oh_p50": [8.9]}).write(tmp_path / "mine.fits")
    with pytest.raises(CatalogFormatError, match="wu2019 has no column specObjID, ra, dec, z"):
        catalogs.wu2019(tmp_path / "mine.fits")


# ---------------------------------------------------------------- cuts and check values


def galaxies():
    names = [*GOOD, "objid", "lgm_tot_p50"]
    rows = [galaxy for _, galaxy in rows_of_database()]
    for number, galaxy in enumerate(rows):
        galaxy |= {"objid": str(PHOTO + min(number, 3)), "lgm_tot_p50": -9999 if number == 3 else 10.0}
    return Table({name: [galaxy[name] for galaxy in rows] for name in names})


def test_each_cut_is_counted_beside_the_published_numbers():
    samples = wu_boada_samples(galaxies(), pictures=[str(PHOTO + number) for number in (0, 2, 3)])
    counts = {
        name: dict(zip(s.counts()["step"], s.counts()["rows"], strict=True)) for name, s in samples.items()
    }
    assert counts["metallicity"] == {
        "start": 14, "magnitude": 12, "colour": 11, "magnitudes": 10, "fit": 9, "error": 7, "redshift": 6,
        "abundance": 5, "picture": 4, "unique": 3,
    }  # fmt: skip
    assert counts["mass and metallicity"]["mass"] == 4
    published = {cut.name: cut.published for sample in samples.values() for cut in sample.cuts}
    assert (published["abundance"], published["picture"]) == (142_186, 116_430)
    assert (published["unique"], published["mass"]) == (116_428, 142_145)
    # The original's counts of its splits fit together.
    assert published["picture"] == 76_772 + 19_192 + 20_466
    assert int(0.2 * (76_772 + 19_192)) == 19_192


def test_a_cut_whose_column_is_lacking_is_not_made_and_says_so():
    table = galaxies()["objid", "oh_p50"]
    (sample, _) = wu_boada_samples(table).values()
    notes = {cut.name: cut.note for cut in sample.cuts}
    assert notes["colour"] == "not made: no column modelMag_u, modelMag_r"
    assert notes["abundance"] == ""
    assert len(sample.table) == 13


def test_the_check_values_are_those_of_the_notebook_and_compare():
    table = Table({"oh_p50": [8.9, 9.1, np.nan], "lgm_tot_p50": [10.0, -9999, 11.0], "other": [1, 2, 3]})
    facts = facts_table(table)
    value = {(row["column"], row["statistic"]): row["value"] for row in facts}
    published = {(row["column"], row["statistic"]): row["published"] for row in facts}
    assert published["oh_p50", "mean"] == 8.906503
    assert published["lgm_tot_p50", "q50"] == 10.058685
    assert value["oh_p50", "mean"] == pytest.approx(9.0)
    assert value["oh_p50", "std"] == pytest.approx(0.2 / np.sqrt(2))
    assert value["lgm_tot_p50", "mean"] == pytest.approx(10.5)
    np.testing.assert_allclose(facts["difference"], facts["value"] - facts["published"])
    assert len(facts_table(Table({"other": [1.0]}))) == 0


def test_the_command_fetches_counts_and_compares(skyserver, tmp_path):
    fetched = call("catalogs", "fetch", "wu2019")
    assert (fetched.exit_code, fetched.output) == (0, "wu2019: 5 rows\n")
    output = tmp_path / "counts.ecsv"
    done = call("catalogs", "counts", "--paper", "wu2019", "-o", output)
    assert done.exit_code == 0, done.output
    counts = Table.read(output)
    assert counts["rows"][counts["step"] == "abundance"].tolist() == [5, 5]
    assert counts["rows"][counts["step"] == "mass"].tolist() == [4]
    assert "142186" in done.output
    assert "8.906503" in done.output


@pytest.mark.parametrize("what", ["folder", "zip", "report"])
def test_the_command_counts_the_galaxies_with_a_picture(skyserver, tmp_path, what):
    pictures, output = tmp_path / "pictures", tmp_path / "counts.ecsv"
    pictures.mkdir()
    for number in (0, 2, 77):
        (pictures / f"{PHOTO + number}.jpg").write_bytes(b"picture")
    if what == "zip":
        pictures = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", pictures))
    if what == "report":
        objid, flags = [PHOTO, PHOTO + 1, PHOTO + 2], [0, int(Flag.FETCH_FAILED), int(Flag.CROWDED)]
        pictures = tmp_path / "report.ecsv"
        Table({"objid": objid, "flags": flags}).write(pictures)
    arguments = ["--paper", "wu2019", "--pictures", str(pictures), "-o", str(output)]
    done = call("catalogs", "counts", *arguments)
    assert done.exit_code == 0, done.output
    counts = Table.read(output)
    assert counts["rows"][counts["step"] == "picture"].tolist() == [2]
    assert counts["published"][counts["step"] == "unique"].tolist() == [116_428]


def test_pictures_that_cannot_be_counted_are_refused(skyserver, tmp_path):
    path = tmp_path / "notes.ecsv"
    Table({"objid": [PHOTO]}).write(path)
    for arguments, message in (
        (["--paper", "wu2019"], "notes.ecsv has no column flags"),
        ([], "--pictures needs --paper wu2019"),
    ):
        done = call("catalogs", "counts", *arguments, "--pictures", path)
        assert done.exit_code != 0
        assert message in done.output
