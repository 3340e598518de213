"""ALFALFA: two files joined, lost counterparts, the trap of W20, three stellar masses."""

import gzip

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from catalog_tables import DURBALA_README, a40_tables, a100_table, durbala_lines

from hifrac import catalogs
from hifrac.catalogs import CatalogFlag, CatalogWarning, plain_values
from hifrac.catalogs.errors import CatalogFormatError


@pytest.fixture
def a40(tmp_path):
    paths = tmp_path / "hi.csv", tmp_path / "cross.csv"
    for table, path in zip(a40_tables(), paths, strict=True):
        table.write(path, format="ascii.csv")
    return paths


def flags_of(table):
    return [CatalogFlag.decode(value) for value in table["catalog_flags"]]


def test_the_two_files_of_a40_are_joined_by_agc_number(a40):
    table = catalogs.alfalfa_a40(a40)
    assert list(table["agc"]) == [11, 12, 13, 14, 15]
    assert list(table["objid_dr7"].filled("-")) == [
        "587730775499407375", "587740589481525478", "-", "-", "-",
    ]  # fmt: skip
    np.testing.assert_allclose(plain_values(table, "r_mag")[:3], [14.77, 15.11, np.nan])
    assert table.meta["hifrac"]["crossmatched"] == 2


def test_a_signal_without_counterpart_stands_where_it_was_heard(a40):
    table = catalogs.alfalfa_a40(a40)
    np.testing.assert_allclose(plain_values(table, "ra"), [150.0, 151.0, 152.0, 153.0, 154.0])
    assert flags_of(table) == [
        [],
        ["PRIOR"],
        ["BAD_FLUX", "BAD_REDSHIFT"],
        ["NO_COUNTERPART"],
        ["NO_COUNTERPART", "NOT_EXTRAGALACTIC", "BAD_REDSHIFT"],
    ]


def test_units_and_derived_columns_of_a40(a40):
    table = catalogs.alfalfa_a40(a40)
    assert table["log_mhi"].unit is None
    assert table["log_mhi"].info.description.endswith("[dex(solMass)]")
    assert table["v"].unit == u.km / u.s
    np.testing.assert_allclose(plain_values(table, "z")[0], 6007 / 299792.458)
    # 814 clouds have neither distance nor mass in the file, and no mass is an upper limit.
    assert table["log_mhi"].mask[4]
    assert table["distance"].mask[4]
    assert list(table["log_mhi_limit"].filled(True)) == [False] * 4 + [True]
    assert table["log_mstar"].mask.all()
    assert table["log_mhi_err"].mask.all()
    assert table["log_hi_fraction"].mask.all()


def test_provenance_says_what_was_read(a40):
    meta = catalogs.alfalfa_a40(a40).meta["hifrac"]
    assert meta["files"] == [str(path) for path in a40]
    assert len(meta["sha256"]["hi.csv"]) == 64
    assert (meta["catalog"], meta["rows"], meta["bibcode"]) == ("alfalfa_a40", 5, "2011AJ....142..170H")


def test_renamed_columns_can_be_named(tmp_path):
    hi, cross = a40_tables()
    hi.rename_column("logMsun", "mass")
    paths = tmp_path / "hi.csv", tmp_path / "cross.csv"
    hi.write(paths[0], format="ascii.csv")
    cross.write(paths[1], format="ascii.csv")
    with pytest.raises(CatalogFormatError, match=r"no column for log_mhi .*it has AGCNr.*labels="):
        catalogs.alfalfa_a40(paths)
    table = catalogs.alfalfa_a40(paths, labels={"log_mhi": "mass"})
    assert plain_values(table, "log_mhi")[0] == 9.29
    with pytest.raises(ValueError, match="labels: nonsense is no column"):
        catalogs.alfalfa_a40(paths, labels={"nonsense": "mass"})


def test_one_file_instead_of_two_is_refused(a40):
    with pytest.raises(CatalogFormatError, match=r"path: alfalfa_a40 is made of 2 table\(s\), got 1"):
        catalogs.alfalfa_a40(a40[0])


def test_a_number_that_is_text_is_an_error_that_names_the_column(tmp_path):
    table = a100_table()
    table["logMH"] = ["9.87", "10.01", "heavy", "9.07"]
    table.write(tmp_path / "a100.csv", format="ascii.csv")
    with pytest.raises(CatalogFormatError, match="column logMH holds text where numbers are expected"):
        catalogs.alfalfa_a100(tmp_path / "a100.csv")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("PhotoObjID", [5.877405894814255e17, 1e17], "PhotoObjID has lost digits of its identifiers"),
        ("rmodelmag", [[15.1, 15.2], [14.7, 14.8]], "rmodelmag has more than one number in a row"),
        ("AGCNr", [11, 11], "agc occurs more than once in the second table"),
    ],
)
def test_a_cross_match_that_says_nothing_is_refused(tmp_path, column, values, message):
    hi, cross = a40_tables()
    cross[column] = values
    paths = tmp_path / "hi.fits", tmp_path / "cross.fits"
    for table, path in zip((hi, cross), paths, strict=True):
        table.write(path)
    with pytest.raises(CatalogFormatError, match=message):
        catalogs.alfalfa_a40(paths)


def test_whole_numbers_with_gaps_are_read_as_such(tmp_path):
    table = a100_table()
    table["AGCNr"] = [105367.0, 333313.0, np.nan, 400.0]
    table.write(tmp_path / "a100.fits")
    assert catalogs.alfalfa_a100(tmp_path / "a100.fits")["agc"].tolist() == [105367, 333313, None, 400]


def test_a_table_without_rows_is_refused(tmp_path):
    a100_table()[:0].write(tmp_path / "a100.csv", format="ascii.csv")
    with pytest.raises(CatalogFormatError, match="has no rows"):
        catalogs.alfalfa_a100(tmp_path / "a100.csv")


def test_the_corrected_release_of_a100_keeps_its_w20(tmp_path):
    a100_table().write(tmp_path / "a100.csv", format="ascii.csv")
    table = catalogs.alfalfa_a100(tmp_path / "a100.csv")
    np.testing.assert_allclose(plain_values(table, "w20"), [281, 333, np.nan, 184])
    assert table.meta["hifrac"]["w20"] == "corrected release of 2019-08-08"
    assert flags_of(table) == [[], [], ["BAD_FLUX"], ["NO_COUNTERPART", "PRIOR"]]
    assert table["name"].mask.tolist() == [True, True, True, False]


def test_the_w20_of_an_earlier_release_of_a100_are_masked_with_a_warning(tmp_path):
    table = a100_table()
    table["W20"][0] = 299
    table.write(tmp_path / "a100.csv", format="ascii.csv")
    with pytest.warns(CatalogWarning, match=r"W20 of 1 of 2 galaxies .* w20 is masked"):
        result = catalogs.alfalfa_a100(tmp_path / "a100.csv")
    assert result["w20"].mask.all()
    assert plain_values(result, "w50")[0] == 274


def test_a_part_of_a100_without_the_telling_galaxies_says_that_its_release_is_unknown(tmp_path):
    a100_table()[2:].write(tmp_path / "a100.csv", format="ascii.csv")
    assert "release unknown" in catalogs.alfalfa_a100(tmp_path / "a100.csv").meta["hifrac"]["w20"]


def test_a_file_cut_off_in_the_data_directory_is_recognised_by_its_number_of_rows(data_folder):
    data_folder.mkdir(parents=True)
    a100_table().write(data_folder / "alfalfa_a100_190808.csv", format="ascii.csv")
    with pytest.raises(CatalogFormatError, match=r"has 4 rows, but .* has 31502: cut off"):
        catalogs.alfalfa_a100()


@pytest.fixture
def durbala(tmp_path):
    paths = [tmp_path / "durbala_1.dat.gz", tmp_path / "durbala_2.dat.gz", tmp_path / "ReadMe"]
    for lines, path in zip(durbala_lines(), paths[:2], strict=True):
        path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    paths[2].write_text(DURBALA_README)
    return paths


@pytest.mark.parametrize(
    ("mass", "value", "fraction"), [("taylor", 9.34, 0.33), ("mcgaugh", 9.78, -0.11), ("gswlc", 9.5, 0.17)]
)
def test_one_of_three_stellar_masses_is_chosen_and_named(durbala, mass, value, fraction):
    table = catalogs.durbala2020(durbala, mass=mass)
    assert plain_values(table, "log_mstar")[0] == value
    assert plain_values(table, "log_hi_fraction")[0] == pytest.approx(fraction)
    assert mass in table["log_mstar_method"][0].lower() or "McGaugh" in table["log_mstar_method"][0]
    assert table["log_mstar_method"].mask.tolist() == [False, True]
    assert {"log_mstar_taylor", "log_mstar_mcgaugh", "log_mstar_gswlc"} <= set(table.colnames)


def test_a_galaxy_without_counterpart_has_no_objid_and_is_flagged(durbala):
    table = catalogs.durbala2020(durbala)
    assert table["objid"].filled("-").tolist() == ["1237679455462228052", "-"]
    assert flags_of(table)[1] == ["NO_COUNTERPART", "BAD_PHOTOMETRY"]


def test_the_colour_that_a_galaxy_shows_is_behind_its_own_dust_again(durbala):
    table = catalogs.durbala2020(durbala)
    shown = 0.48 + (0.73 - 0.33) * np.log10(1 / 0.50)
    assert plain_values(table, "g_minus_i_foreground")[0] == pytest.approx(shown)
    assert np.isnan(plain_values(table, "g_minus_i_foreground")[1])
    names = ("extinction_g", "extinction_i", "gamma_g", "gamma_i")
    assert [plain_values(table, name)[0] for name in names] == [0.11, 0.06, 0.73, 0.33]


def test_an_unknown_mass_is_refused(durbala):
    with pytest.raises(ValueError, match="mass must be one of taylor, mcgaugh, gswlc, got 'salim'"):
        catalogs.durbala2020(durbala, mass="salim")


@pytest.mark.parametrize("cut", [0.5, 0.9, 0.99])
def test_a_compressed_file_that_was_cut_off_is_damaged(durbala, cut):
    whole = durbala[0].read_bytes()
    durbala[0].write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(CatalogFormatError, match=r"durbala_1.dat.gz is damaged"):
        catalogs.durbala2020(durbala)


def test_a_web_page_in_place_of_a_table_is_refused(tmp_path):
    (tmp_path / "a100.csv").write_text("<html><body><h1>404 Not Found</h1></body></html>")
    with pytest.raises(CatalogFormatError, match="a100"):
        catalogs.alfalfa_a100(tmp_path / "a100.csv")


def test_positions_in_sexagesimal_are_read(tmp_path):
    table = Table(a100_table())
    table["RAdeg_HI"] = ["00 00 00.4", "00 00 00.9", "10 36 30.1", "00 40 00.0"]
    table["DECdeg_HI"] = ["+05 26 36", "+24 54 32", "+02 23 10", "-20 00 00"]
    table.write(tmp_path / "a100.ecsv")
    result = catalogs.alfalfa_a100(tmp_path / "a100.ecsv")
    np.testing.assert_allclose(plain_values(result, "ra_hi"), [0.00167, 0.00375, 159.12541, 10.0], atol=1e-5)
    assert plain_values(result, "dec_hi")[3] == -20.0
