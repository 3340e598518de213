"""MPA-JHU by SQL, the NASA-Sloan Atlas by columns, Teimoorinia's estimates."""

import sqlite3

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from conftest import HTML, Fault

from hifrac import catalogs, conf
from hifrac.catalogs import CatalogFlag, plain_values
from hifrac.catalogs.errors import CatalogFormatError, CatalogMissingError, CatalogServiceError
from hifrac.catalogs.sdss import mpa_jhu_queries


@pytest.fixture
def skyserver(service):
    """Six galaxies of four ranges of plates; the last two have no photometry, and no mass."""
    with sqlite3.connect(service.database_file) as database:
        database.executescript(
            """
            CREATE TABLE galSpecInfo (specObjID INTEGER, plateid INTEGER, mjd INTEGER, fiberid INTEGER,
                                      ra REAL, dec REAL, z REAL, z_warning INTEGER);
            CREATE TABLE galSpecExtra (specObjID INTEGER, lgm_tot_p16 REAL, lgm_tot_p50 REAL,
                                       lgm_tot_p84 REAL, sfr_tot_p50 REAL, oh_p50 REAL);
            CREATE TABLE SpecObjAll (specObjID INTEGER, bestObjID INTEGER);
            CREATE TABLE PhotoObjDR7 (dr7objid INTEGER, dr8objid INTEGER);
            """
        )
        for number, plate in enumerate((266, 300, 301, 900, 2974, 2974)):
            spec, photo = 300000000000000000 + number, 1237648000000000000 + number
            photometry = number < 4
            database.execute(
                "INSERT INTO galSpecInfo VALUES (?, ?, 52000, ?, ?, 10, 0.03, ?)",
                (spec, plate, number + 1, 150.0 + number, 4 if number == 3 else 0),
            )
            mass = (9.9, 10.0, 10.2, 0.3, 8.9) if photometry else (-9999, -9999 + number, -9999, -9999, 0)
            database.execute("INSERT INTO galSpecExtra VALUES (?, ?, ?, ?, ?, ?)", (spec, *mass))
            if photometry:
                database.execute("INSERT INTO SpecObjAll VALUES (?, ?)", (spec, photo))
                database.execute(
                    "INSERT INTO PhotoObjDR7 VALUES (?, ?)", (587722000000000000 + number, photo)
                )
    return service


def test_mpa_jhu_is_asked_for_in_ranges_of_plates_and_kept(skyserver, data_folder):
    table = catalogs.mpa_jhu()
    assert len(table) == 6
    assert table["objid_dr7"].filled("-").tolist() == [
        *(str(587722000000000000 + number) for number in range(4)), "-", "-",
    ]  # fmt: skip
    assert plain_values(table, "log_mstar")[0] == 10.0
    np.testing.assert_allclose(plain_values(table, "log_mstar_err")[0], 0.15)
    assert table["log_mstar"].mask.tolist() == [False] * 4 + [True] * 2
    assert table["log_sfr"].mask.tolist() == [False] * 4 + [True] * 2
    assert table["log_oh"].mask.tolist() == [False] * 4 + [True] * 2
    assert bool(table["catalog_flags"][3] & CatalogFlag.BAD_REDSHIFT)
    assert table.meta["hifrac"]["service"] == "SkyServer SQL"
    # Ranges without galaxies are counted, and not asked for.
    assert len(skyserver.requests) == len(mpa_jhu_queries()) + 4
    assert [path.name for path in data_folder.iterdir()] == ["mpa_jhu_sdss.fits"]


def test_what_was_kept_needs_no_service(skyserver):
    first = catalogs.mpa_jhu()
    skyserver.requests.clear()
    with conf.set_temp("offline", True):
        second = catalogs.mpa_jhu()
    assert not skyserver.requests
    assert second.colnames == first.colnames
    for name in first.colnames:
        assert second[name].mask.tolist() == first[name].mask.tolist()
    assert second["objid"].filled("-").tolist() == first["objid"].filled("-").tolist()
    assert any("SkyServer" in comment for comment in second.meta["hifrac"]["comments"])


def test_an_answer_that_skyserver_ended_early_is_an_error_and_nothing_is_kept(skyserver, data_folder):
    skyserver.sql_limit = 1
    with pytest.raises(CatalogServiceError, match="counted 2 rows, but sent 1"):
        catalogs.mpa_jhu()
    assert not data_folder.exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(body=HTML), "did not answer with a table: <!DOCTYPE html>"),
        (Fault(body=b""), "an empty answer"),
        (Fault(body=b'[{"ErrorCode":"400","error_message":"bad"}]'), "did not answer with a table"),
        (Fault(status=400, body=b"syntax"), "answered 400 Bad Request: syntax"),
    ],
)
def test_an_answer_that_is_no_table_is_an_error(skyserver, fault, message, data_folder):
    skyserver.faults = [fault]
    with pytest.raises(CatalogServiceError, match=message):
        catalogs.mpa_jhu()
    assert not data_folder.exists()


def test_queries_cover_each_plate_once():
    ranges = [query[0].split("BETWEEN ")[1].split(" AND ") for query in mpa_jhu_queries(1, 1000)]
    plates = [plate for first, last in ranges for plate in range(int(first), int(last) + 1)]
    assert plates == list(range(1, 1001))
    with pytest.raises(ValueError, match="first and last must be a range of plates"):
        mpa_jhu_queries(10, 9)


# NASA-Sloan Atlas


def atlas(path, n=20):
    seven = np.tile(np.arange(7, dtype=">f4"), (n, 1)) - 20
    columns = [
        fits.Column("IAUNAME", "19A", array=[f"J{number:018d}" for number in range(n)]),
        fits.Column("NSAID", "J", array=np.arange(n)),
        fits.Column("RA", "D", array=np.linspace(100, 200, n)),
        fits.Column("DEC", "D", array=np.linspace(-5, 60, n)),
        fits.Column("Z", "E", array=np.linspace(0.001, 0.15, n)),
        fits.Column("ZDIST", "E", array=np.linspace(0.002, 0.15, n)),
        fits.Column("PLATE", "J", array=np.arange(n) - 1),
        fits.Column("ELPETRO_MASS", "E", array=np.geomspace(1e8, 1e11, n)),
        fits.Column("ELPETRO_ABSMAG", "7E", array=seven),
        fits.Column("ELPETRO_BA", "E", array=np.full(n, 0.5)),
        fits.Column("SERSIC_N", "E", array=np.full(n, 2.5)),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


def test_the_atlas_is_read_by_columns_and_converted_to_h_of_0_7(tmp_path):
    table = catalogs.nsa(atlas(tmp_path / "nsa_v1_0_1.fits"), columns=["SERSIC_N", "ELPETRO_ABSMAG"])
    np.testing.assert_allclose(plain_values(table, "log_mstar")[0], 8 + 0.3098, atol=1e-4)
    np.testing.assert_allclose(plain_values(table, "abs_r"), -16 + 5 * np.log10(0.7), rtol=1e-6)
    np.testing.assert_allclose(plain_values(table, "distance")[0], 0.002 * 299792.458 / 70, rtol=1e-6)
    assert table["plate"].mask.tolist() == [True, True] + [False] * 18
    # Bands are one magnitude apart in the file: F, N, u, g, r, i, z.
    for name, steps in (("u_minus_r", -2), ("g_minus_r", -1), ("g_minus_i", -2)):
        np.testing.assert_allclose(plain_values(table, name), steps)
    assert table["nsa_sersic_n"].tolist() == [2.5] * 20
    assert table["nsa_elpetro_absmag"].shape == (20, 7)
    assert table["log_mhi"].mask.all()


def test_a_band_that_the_atlas_did_not_measure_makes_no_colour(tmp_path):
    path = atlas(tmp_path / "nsa.fits")
    with fits.open(path, mode="update") as file:
        file[1].data["ELPETRO_ABSMAG"][0, 2] = 0
        file[1].data["ELPETRO_ABSMAG"][1, 5] = -9999
    table = catalogs.nsa(path)
    assert table["u_minus_r"].mask.tolist() == [True] + [False] * 19
    assert table["g_minus_i"].mask.tolist() == [False, True] + [False] * 18
    assert not table["g_minus_r"].mask.any()


def test_the_atlas_is_found_in_the_data_directory_in_either_version(data_folder):
    data_folder.mkdir(parents=True)
    atlas(data_folder / "nsa_v0_1_2.fits")
    assert catalogs.nsa().meta["hifrac"]["files"][0].endswith("nsa_v0_1_2.fits")


def test_without_the_atlas_the_error_says_where_it_is(data_folder):
    with pytest.raises(CatalogMissingError, match=r"nsa_v1_0_1.fits.*download it from https://data.sdss.org"):
        catalogs.nsa()


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_an_atlas_cut_off_is_refused(tmp_path, keep):
    path = atlas(tmp_path / "nsa.fits", n=200)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(CatalogFormatError, match="is damaged, or not the NASA-Sloan Atlas"):
        catalogs.nsa(path)


def test_an_atlas_without_a_wanted_column_or_another_file_is_refused(tmp_path):
    path = atlas(tmp_path / "nsa.fits")
    with pytest.raises(CatalogFormatError, match="columns: the file has no WISDOM"):
        catalogs.nsa(path, columns=["WISDOM"])
    (tmp_path / "page.fits").write_bytes(HTML)
    with pytest.raises(CatalogFormatError, match="not the NASA-Sloan Atlas"):
        catalogs.nsa(tmp_path / "page.fits")
    Table({"RA": [1.0]}).write(tmp_path / "other.fits")
    with pytest.raises(CatalogFormatError, match="no column for nsaid"):
        catalogs.nsa(tmp_path / "other.fits")


# Teimoorinia


def test_estimates_are_kept_apart_from_measurements(tmp_path):
    table = Table({"objID": [587722981736120347], "fgas": [-0.35], "sigmafit": [0.05], "PR": [0.9]})
    table.write(tmp_path / "estimates.fits")
    result = catalogs.teimoorinia2017(tmp_path / "estimates.fits")
    assert plain_values(result, "log_hi_fraction_estimate")[0] == -0.35
    assert result["objid_dr7"][0] == "587722981736120347"
    assert result["log_hi_fraction"].mask.all()
    assert result["log_mhi"].mask.all()
    assert plain_values(result, "p_detect")[0] == 0.9
