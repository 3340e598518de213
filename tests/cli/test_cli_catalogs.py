"""The command ``hifrac catalogs``, as a process and within this one."""

import numpy as np
import pytest
from astropy.table import Table
from commands import call

from hifrac.catalogs import CATALOGS, plain_values

XGASS = {
    "GASS": [11834, 11892],
    "AGCnr": [101866, 0],
    "RA": [0.19954, 0.50344],
    "DEC": [14.27755, 15.02561],
    "zSDSS": [0.03618, 0.03573],
    "lgMstar": [10.709, 10.539],
    "HIsrc": [3, 4],
    "lgMHI": [9.603, 8.74],
    "lgGF": [-1.106, -1.799],
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data directory with one catalogue, and no network to ask for another."""
    from hifrac import conf

    monkeypatch.setenv("HIFRAC_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "data" / "catalogs"
    folder.mkdir(parents=True)
    Table(XGASS).write(folder / "xgass_vizier.fits")
    with conf.set_temp("offline", True):
        yield folder


def test_the_list_says_what_is_here_as_published_or_as_fetched(data):
    (data / "2mrs_radec_cz.csv").write_text("ra,dec,cz\n1,2,3\n")
    result = call("catalogs", "list")
    assert result.exit_code == 0
    states = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()}
    assert set(states) == set(CATALOGS)
    assert (states["xgass"], states["tmrs"], states["nibles"]) == ("kept", "here", "absent")


def test_a_catalogue_is_written_with_the_columns_that_all_share(data, tmp_path):
    output = tmp_path / "xgass.ecsv"
    result = call("catalogs", "write", "xgass", "-o", output)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"xgass: 2 rows\nwritten to {output}\n"
    table = Table.read(output)
    assert table["log_mhi_limit"].tolist() == [False, True]
    assert plain_values(table, "log_hi_fraction").tolist() == [-1.106, -1.799]
    assert table.meta["hifrac"]["catalog"] == "xgass"
    again = call("catalogs", "write", "xgass", "-o", output)
    assert again.exit_code == 1
    assert again.stderr == f"Error: {output} exists already; say --overwrite to replace it\n"
    assert call("catalogs", "write", "xgass", "-o", output, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("fetch", "xgass", "nibbles"), ("NAME must be one of alfalfa_a100", "nibbles")),
        (("fetch", "nsa"), ("no file nsa_v1_0_1.fits", "download it from https://data.sdss.org")),
        (("fetch", "nibles"), ("no file nibles_clean.csv", "`hifrac catalogs fetch nibles` fetches it")),
        (("write", "xgass", "-o", "table.docx"), ("table.docx",)),
        (("counts",), ("no file durbala2020_table1.dat.gz", "hifrac catalogs fetch durbala2020")),
        (("counts", "--masses", "mpa_jhu"), ("no file mpa_jhu.fits", "SkyServer SQL")),
    ],
)
def test_what_cannot_be_done_is_one_line(data, args, words):
    result = call("catalogs", *args)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    for word in ("Error: ", *words):
        assert word in line


def test_a_name_that_is_wrong_is_found_before_anything_is_fetched(data):
    assert "xgass" not in call("catalogs", "fetch", "xgass", "nibbles").stdout


def test_a_damaged_file_is_one_line(data):
    path = data / "xgass_vizier.fits"
    path.write_bytes(path.read_bytes()[:3000])
    result = call("catalogs", "fetch", "xgass")
    assert result.exit_code == 1
    assert "xgass_vizier.fits is damaged" in result.stderr


def test_what_is_on_the_disk_is_counted(data):
    done = call("catalogs", "fetch", "xgass")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "xgass: 2 rows\n", "")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.filterwarnings("default::hifrac.catalogs.CatalogWarning")
def test_the_counts_stand_beside_the_published_ones(tmp_path):
    result = call("catalogs", "counts", "-o", tmp_path / "counts.ecsv")
    assert result.exit_code == 0, result.stderr
    table = Table.read(tmp_path / "counts.ecsv")
    exact = {(row["sample"], row["step"]): row["rows"] for row in table if row["difference"] == 0}
    assert exact["alpha.40A", "counterpart"] == 11739
    assert exact["NIBLES", "own fraction"] == 1171
    lines = result.stdout.splitlines()
    assert any(line.startswith("alpha.40B (published: 4,797") for line in lines)
    assert any(line.startswith("non-detections (published: 23,702") for line in lines)
    # xGASS agrees with Table 1 of the paper in every digit.
    (row,) = [line.split() for line in lines if line.split()[:2] == ["xGASS", "log_hi_fraction"]]
    assert row[2:6] == row[6:] == ["1179", "-1.78", "-1.11", "-0.27"]
    assert "declinations" in result.stderr
    assert np.count_nonzero(table["sample"] == "NIBLES") == 7
