"""xGASS, NIBLES and RESOLVE: upper limits, sentinels, and declinations without a sign."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from catalog_tables import nibles_table, xgass_table

from hifrac import catalogs
from hifrac.catalogs import CatalogFlag, plain_values
from hifrac.catalogs.errors import CatalogFormatError


@pytest.fixture
def xgass(tmp_path):
    xgass_table().write(tmp_path / "xgass.fits")
    return catalogs.xgass(tmp_path / "xgass.fits")


def test_limits_of_xgass_are_marked_and_keep_their_values(xgass):
    assert xgass["log_mhi_limit"].tolist() == [False, False, True]
    np.testing.assert_allclose(plain_values(xgass, "log_mhi"), [9.603, 9.3, 8.74])
    np.testing.assert_allclose(plain_values(xgass, "log_hi_fraction"), [-1.106, -0.2, -1.799])
    assert xgass.meta["hifrac"]["limits"] == "5 sigma"


def test_sentinels_of_xgass_are_masked(xgass):
    assert xgass["nuv_minus_r"].mask.tolist() == [False, True, False]
    assert xgass["log_sfr"].mask.tolist() == [False, True, False]
    assert xgass["w50"].mask.tolist() == [False, False, True]
    assert xgass["agc"].mask.tolist() == [False, True, False]
    assert plain_values(xgass, "log_sfr")[0] == pytest.approx(np.log10(0.83))


def test_confusion_in_xgass_is_flagged_only_where_it_is_known(xgass):
    assert [bool(flag & CatalogFlag.CONFUSED) for flag in xgass["catalog_flags"]] == [False, True, False]


@pytest.fixture
def nibles_file(tmp_path):
    nibles_table().write(tmp_path / "nibles.csv")
    return tmp_path / "nibles.csv"


def signs(table):
    known = CatalogFlag.DEC_SIGN_UNKNOWN | CatalogFlag.DEC_SIGN_CONFIRMED | CatalogFlag.DEC_SIGN_REPAIRED
    return [(CatalogFlag.decode(flag & known) or [""])[0] for flag in table["catalog_flags"].filled(0)]


LOST = r"nibles: the file has lost the signs of its declinations; {} of 6 remain unknown"
signs_lost = pytest.mark.filterwarnings("ignore:nibles. the file has lost the signs")


def test_lost_signs_are_reported_when_the_file_is_read(nibles_file):
    with pytest.warns(catalogs.CatalogWarning, match=LOST.format(5)) as caught:
        catalogs.nibles(nibles_file)
    assert caught[0].filename == __file__  # it points to the caller


@signs_lost
def test_a_lost_sign_is_certain_only_where_the_mirror_image_is_outside_the_survey(nibles_file):
    table = catalogs.nibles(nibles_file)
    assert signs(table) == [""] + ["DEC_SIGN_UNKNOWN"] * 5
    np.testing.assert_allclose(plain_values(table, "dec"), [40, 1, 2, 3, 4, 5])
    assert "lost in the file; 0 turned" in table.meta["hifrac"]["declination_signs"]


@signs_lost
def test_a_second_catalogue_turns_or_confirms_a_sign(nibles_file):
    v = 0.01 * 299792.458
    reference = Table(
        {
            # as listed; mirrored; mirrored, but another velocity; both places; 6 arcsec away
            "ra": [20.0, 30.0, 40.0, 50.0, 50.0, 60.0],
            "dec": [1.0, -2.0, -3.0, 4.0, -4.0, -5.0 + 6 / 3600],
            "v": [v, v + 200, v + 400, v, v, v],
        }
    )
    table = catalogs.nibles(nibles_file, signs_from=[reference])
    assert signs(table) == [
        "", "DEC_SIGN_CONFIRMED", "DEC_SIGN_REPAIRED", *["DEC_SIGN_UNKNOWN"] * 3,
    ]  # fmt: skip
    np.testing.assert_allclose(plain_values(table, "dec"), [40, 1, -2, 3, 4, 5])
    assert (
        "1 turned and 1 confirmed after 1 catalogue(s), 3 unknown"
        in (table.meta["hifrac"]["declination_signs"])
    )


def test_a_file_with_southern_galaxies_has_its_signs(tmp_path):
    table = nibles_table()
    table["dec"][2] = -2.0
    table.write(tmp_path / "nibles.csv")
    result = catalogs.nibles(tmp_path / "nibles.csv")
    assert signs(result) == [""] * 6
    assert result.meta["hifrac"]["declination_signs"] == "as listed"


@signs_lost
def test_a_lost_fraction_is_made_from_the_masses_and_flagged(nibles_file):
    table = catalogs.nibles(nibles_file)
    np.testing.assert_allclose(plain_values(table, "log_hi_fraction")[[0, 4]], [0.01, 0.01])
    derived = [bool(flag & CatalogFlag.DERIVED_FRACTION) for flag in table["catalog_flags"]]
    assert derived == [False, False, False, False, True, False]


@signs_lost
def test_limits_of_nibles_are_unknown_unless_the_file_tells_them(nibles_file, tmp_path):
    assert catalogs.nibles(nibles_file)["log_mhi_limit"].mask.all()
    table = nibles_table()
    table["l_logMHI"] = ["", "<", "", "", "", ""]
    table.write(tmp_path / "limits.ecsv")
    assert catalogs.nibles(tmp_path / "limits.ecsv")["log_mhi_limit"].tolist() == [False, True] + [False] * 4


@signs_lost
@pytest.mark.parametrize("sentinel", [-9999, -999, -99.0])
@pytest.mark.parametrize(("label", "name"), [("logMstar", "log_mstar"), ("logMHI", "log_mhi")])
def test_a_sentinel_is_no_mass_and_makes_no_fraction(tmp_path, label, name, sentinel):
    table = nibles_table()
    table[label][4] = sentinel  # the row whose fraction would be made from its masses
    table.write(tmp_path / "nibles.csv")
    result = catalogs.nibles(tmp_path / "nibles.csv")
    assert result[name].mask.tolist() == [False] * 4 + [True, False]
    assert result["log_hi_fraction"].mask.tolist() == [False] * 4 + [True, False]


@signs_lost
def test_a_velocity_of_minus_99_is_one_and_minus_9999_is_none(tmp_path):
    table = nibles_table()
    table["Vopt"] = [-99.0, -9999.0, 3000.0, 3000.0, 3000.0, 3000.0]
    table.remove_column("z")
    table.write(tmp_path / "nibles.csv")
    result = catalogs.nibles(tmp_path / "nibles.csv")
    assert result["v"].mask.tolist() == [False, True] + [False] * 4
    assert plain_values(result, "v")[0] == -99
    # A redshift below zero stays and is flagged; one that is missing is masked.
    assert (result["catalog_flags"] & int(CatalogFlag.BAD_REDSHIFT) > 0).tolist() == [True] + [False] * 5
    assert result["z"].mask.tolist() == [False, True] + [False] * 4


def test_nibles_without_redshifts_is_refused(tmp_path):
    table = nibles_table()
    table.remove_column("z")
    table.write(tmp_path / "nibles.csv")
    with pytest.raises(CatalogFormatError, match="neither redshifts nor velocities"):
        catalogs.nibles(tmp_path / "nibles.csv")


def test_resolve_reads_limits_and_confusion_and_converts_units(tmp_path):
    table = QTable(
        {
            "objid": ["1237648674511061240", "1237648704577601678"],
            "ra": [195.7, 184.6] * u.deg,
            "dec": [24.4, 0.8] * u.arcmin,
            "cz": [6186.1, 6229.1] * u.km / u.s,
            "log_mhi": [8.6, 8.62],
            "is_limit": [True, False],
            "confused": [False, True],
            "log_mstar_resolve": [7.83, 8.75],
            "log_hi_fraction_true": [0.77, -0.13],
        }
    )
    table.write(tmp_path / "resolve.ecsv")
    result = catalogs.resolve(tmp_path / "resolve.ecsv")
    assert result["log_mhi_limit"].tolist() == [True, False]
    assert [bool(flag & CatalogFlag.CONFUSED) for flag in result["catalog_flags"]] == [False, True]
    np.testing.assert_allclose(plain_values(result, "dec"), [24.4 / 60, 0.8 / 60])
    assert result["objid"][0] == "1237648674511061240"
