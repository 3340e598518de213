"""The samples of the paper: every cut counted, on catalogues small enough to count by hand."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from catalog_tables import nibles_table, xgass_table

from hifrac import catalogs
from hifrac.catalogs import CatalogFlag, plain_values, samples
from hifrac.catalogs.columns import catalog_column
from hifrac.catalogs.selection import Selection, counts_table


def harmonised(catalog, **columns):
    """A harmonised catalogue with the given columns, some of them masked where NaN or None."""
    n = len(next(iter(columns.values())))
    table = QTable()
    for name, values in columns.items():
        hidden = np.array([one is None for one in values])
        filler = [0 if one is None else one for one in values]
        table[name] = catalog_column(name, np.array(filler), hidden)
    if "catalog_flags" not in columns:
        table["catalog_flags"] = catalog_column("catalog_flags", np.zeros(n, int))
    table.meta["hifrac"] = {"catalog": catalog, "title": catalog, "stellar_mass": f"masses of {catalog}"}
    return table


def steps(selection):
    return {cut.name: (cut.before, cut.after) for cut in selection.cuts}


@pytest.fixture
def a40():
    return harmonised(
        "alfalfa_a40",
        agc=[1, 2, 3, 4, 5, 6, 7],
        # one outside SDSS, one pair with the same counterpart
        objid_dr7=["10", "11", "12", "13", "13", None, "15"],
        oc_code=["I", "I", "I", "I", "I", "I", "O"],
        ra=[150.0, 151.0, 152.0, 153.0, 153.0, 155.0, 156.0],
        dec=[10.0] * 7,
        log_mhi=[9.0, 9.5, 10.0, 9.2, 9.2, 9.0, 9.0],
    )


@pytest.fixture
def mpa():
    return harmonised(
        "mpa_jhu",
        objid_dr7=["13", "12", "11", "10"],
        ra=[153.0, 152.0, 151.0, 150.0],
        dec=[10.0] * 4,
        z=[0.03] * 4,
        log_mstar=[9.7, np.nan, 9.5, 9.3],
        log_sfr=[0.1, 0.1, np.nan, 0.2],
        log_oh=[8.7, 8.7, 8.6, 8.8],
    )


def test_a40a_is_cut_step_by_step(a40, mpa):
    selection = samples.a40a(a40, mpa)
    assert steps(selection) == {
        "start": (7, 7),
        "SDSS": (7, 6),
        "counterpart": (6, 5),
        "duplicates": (5, 4),
        "masses": (4, 4),
        "valid mass": (4, 3),
    }
    assert selection.table["agc"].tolist() == [1, 2, 4]
    np.testing.assert_allclose(plain_values(selection.table, "log_hi_fraction"), [-0.3, 0.0, -0.5])
    assert set(selection.table["log_mstar_method"]) == {"masses of mpa_jhu"}


def test_a40b_needs_metallicity_and_star_formation(a40, mpa):
    first = samples.a40a(a40, mpa)
    second = samples.a40b(first)
    assert second.table["agc"].tolist() == [1, 4]
    assert len(first.table) == 3
    assert [cut.published for cut in second.cuts][-1] == 4797
    mpa.remove_column("log_oh")
    with pytest.raises(ValueError, match="selection has no log_oh"):
        samples.a40b(samples.a40a(a40, mpa))


def test_with_durbala_the_join_is_by_agc_number_and_the_table_says_so(a40):
    durbala = harmonised("durbala2020", agc=[1, 2, 3], log_mstar=[9.0, 9.0, 9.0])
    selection = samples.a40a(a40, durbala)
    assert selection.table["agc"].tolist() == [1, 2, 3]
    assert "Durbala+2020 masses, not MPA-JHU" in selection.counts()["note"].tolist()
    with pytest.raises(ValueError, match="neither objid_dr7 nor agc"):
        samples.a40a(a40, harmonised("mine", log_mstar=[9.0]))


def test_overlap_with_xgass_is_by_agc_number(a40, mpa):
    xgass = harmonised("xgass", agc=[2, None, 99])
    selection = samples.without_xgass(samples.a40a(a40, mpa), xgass)
    assert selection.table["agc"].tolist() == [1, 4]
    assert selection.cuts[-1].published == 7128


def test_a100_loses_close_pairs_blends_and_overlaps():
    arcsec = 1 / 3600
    ra = [150.0, 160.0, 170.0, 180.0, 190.0, 200.0, 10.0, 210.0]
    a100 = harmonised(
        "alfalfa_a100",
        agc=list(range(1, 9)),
        ra=ra,
        dec=[20.0] * 8,
        # the third's HI neighbour is the signal of the last, which has no counterpart
        ra_hi=[*ra[:7], 170.02],
        dec_hi=[20.0] * 8,
        log_mhi=[9.5] * 8,
        catalog_flags=[0] * 7 + [int(CatalogFlag.NO_COUNTERPART)],
    )
    masses = harmonised(
        "mpa_jhu",
        ra=[*ra[:7], 160.0, 210.0],
        # the fifth is 2 arcsec off; the second has a neighbour 40 arcsec away
        dec=[20.0, 20.0, 20.0, 20.0, 20 + 2 * arcsec, 20.0, 20.0, 20 + 40 * arcsec, 20.0],
        log_mstar=[9.0, 9.0, 9.0, 9.0, 9.0, np.nan, 9.0, 9.0, 9.0],
    )
    a40 = harmonised("alfalfa_a40", ra=[180.0], dec=[20 + 0.5 * arcsec])
    xgass = harmonised("xgass", ra=[1.0], dec=[1.0])
    selection = samples.a100_clean(a100, masses, a40, xgass)
    assert steps(selection) == {
        "start": (8, 8),
        "masses": (8, 6),
        "valid mass": (6, 5),
        "fibre collisions": (5, 4),
        "blends": (4, 3),
        "alpha.40A": (3, 2),
        "xGASS": (2, 2),
        "Spring sky": (2, 1),
    }
    assert selection.table["agc"].tolist() == [1]


@pytest.mark.filterwarnings("ignore:nibles. the file has lost the signs")
def test_nibles_tells_of_lost_fractions_and_of_an_inspection_that_cannot_be_repeated(tmp_path):
    nibles_table().write(tmp_path / "nibles.csv")
    nibles = catalogs.nibles(tmp_path / "nibles.csv")
    nowhere = harmonised("none", ra=[300.0], dec=[-40.0])
    here = harmonised("some", ra=[20.0005], dec=[1.0])
    selection = samples.nibles_clean(nibles, nowhere, here, nowhere)
    assert steps(selection) == {
        "start": (6, 6),
        "stellar mass": (6, 5),
        "own fraction": (5, 4),
        "inspection": (4, 4),
        "alpha.40A": (4, 4),
        "alpha.100": (4, 3),
        "xGASS": (3, 3),
    }
    notes = selection.counts()["note"].tolist()
    assert "not repeated: the list is not public" in notes
    assert "3 declinations of unknown sign" in notes
    assert len(samples.nibles_clean(nibles, nowhere, here, nowhere, radius=1 * u.arcsec).table) == 4


def test_non_detections_are_isolated_light_enough_near_and_drawn_as_pandas_draws():
    rng = np.random.default_rng(1)
    n = 400
    grid = np.arange(n)
    # Every tenth of a degree, so that none is another's neighbour, but for the first two.
    ra, dec = 160 + (grid % 20) * 0.1, 5 + (grid // 20) * 0.1
    ra[1], dec[1] = ra[0] + 10 / 3600, dec[0]
    mpa = harmonised(
        "mpa_jhu",
        ra=[*ra, 100.0, 170.0, 171.0, 172.0],
        dec=[*dec, 5.0, 5.0, 5.0, 36.0],
        z=[*rng.uniform(0.01, 0.05, n), 0.03, 0.06, 0.03, 0.03],
        log_mstar=[*rng.uniform(8.1, 11, n), 9.0, 9.0, 7.9, 9.0],
    )
    a100 = harmonised("alfalfa_a100", ra_hi=[ra[5] + 0.01], dec_hi=[dec[5]])
    selection = samples.non_detections(mpa, a100, n=100)
    assert steps(selection) == {
        "start": (404, 404),
        "fibre collisions": (404, 402),
        "detections": (402, 401),
        "stellar mass": (401, 400),
        "redshift": (400, 399),
        "footprint": (399, 397),
        "draw": (397, 100),
    }
    pd = pytest.importorskip("pandas")
    everything = samples.non_detections(mpa, a100, n=10_000).table
    chosen = sorted(pd.DataFrame({"x": range(397)}).sample(100, random_state=12345).index)
    np.testing.assert_array_equal(plain_values(selection.table, "ra"), plain_values(everything, "ra")[chosen])


def test_non_detections_cannot_be_drawn_from_detections():
    with pytest.raises(ValueError, match=r"non-detections need mpa_jhu\(\)"):
        samples.non_detections(harmonised("durbala2020", ra=[1.0], dec=[1.0]), QTable())


def test_xgass_is_taken_as_published(tmp_path):
    xgass_table().write(tmp_path / "xgass.fits")
    selection = samples.xgass_representative(catalogs.xgass(tmp_path / "xgass.fits"))
    assert len(selection.table) == 3
    assert selection.counts()["published"].tolist() == [1179]


def test_stellar_masses_by_position_take_the_closest_once():
    table = harmonised("alfalfa_a100", ra=[10.0, 10.0001, 50.0], dec=[0.0] * 3, log_mhi=[9.0, 9.0, 9.0])
    masses = harmonised("mpa_jhu", ra=[10.0], dec=[0.0], log_mstar=[8.5])
    result = samples.with_stellar_mass(table, masses, by="position")
    np.testing.assert_allclose(plain_values(result, "log_hi_fraction"), [0.5, np.nan, np.nan])
    assert result["mass_row"].mask.tolist() == [False, True, True]
    assert result["log_mstar_method"].mask.tolist() == [False, True, True]
    assert "log_mstar" not in table.colnames
    with pytest.raises(KeyError, match="masses has no column agc"):
        samples.with_stellar_mass(harmonised("x", agc=[1], log_mhi=[9.0]), masses, by="agc")


def test_a_selection_counts_what_each_cut_leaves():
    selection = Selection.start("mine", QTable({"x": [1, 2, 3]}), published=3)
    selection.cut("odd", "x is odd", np.array([True, False, True]), published=1, note="more here")
    other = selection.copy("other")
    other.cut("nothing", "x > 9", np.zeros(2, bool))
    table = counts_table([selection, other])
    assert table["rows"].tolist() == [3, 2, 3, 2, 0]
    assert table["removed"].tolist() == [0, 1, 0, 1, 2]
    assert table["difference"].filled(-99).tolist() == [0, 1, 0, 1, -99]
    assert "more here" in "\n".join(table.pformat(max_width=-1))
    assert len(selection.table) == 2
    assert len(counts_table([])) == 0


@pytest.mark.parametrize("keep", [np.array([1, 0, 1]), np.array([True]), [True, False]])
def test_a_cut_needs_a_truth_value_for_each_row(keep):
    selection = Selection.start("mine", QTable({"x": [1, 2, 3]}))
    with pytest.raises(ValueError, match="keep must be 3 truth values"):
        selection.cut("wrong", "wrong", keep)


def test_a_change_must_keep_the_rows():
    selection = Selection.start("mine", QTable({"x": [1, 2, 3]}))
    with pytest.raises(ValueError, match="function must keep the rows"):
        selection.change(lambda table: table[:1])


def test_published_quantiles_are_those_of_table_1():
    assert {name: row[0] for name, row in samples.PUBLISHED_QUANTILES.items()} == {
        "alpha.40A": 7128,
        "alpha.40B": 4644,
        "alpha.100": 6087,
        "NIBLES": 899,
        "xGASS": 1179,
    }
    for _, *quantiles in samples.PUBLISHED_QUANTILES.values():
        assert all(list(row) == sorted(row) for row in quantiles)


def test_the_chain_runs_on_a_synthetic_mpa_jhu_table_from_a_file(a40, tmp_path):
    Table(
        {
            "dr7objid": [10, 11, 13],
            "ra": [150.0, 151.0, 153.0],
            "dec": [10.0] * 3,
            "z": [0.02] * 3,
            "z_warning": [0, 0, 0],
            "lgm_tot_p50": [9.3, -9999.0, 9.7],
            "sfr_tot_p50": [0.2, -9999.0, -99.0],
            "oh_p50": [8.8, -9999.0, 8.7],
        }
    ).write(tmp_path / "mpa.fits")
    mpa = catalogs.mpa_jhu(tmp_path / "mpa.fits")
    first = samples.a40a(a40, mpa)
    assert first.table["agc"].tolist() == [1, 4]
    assert samples.a40b(first).table["agc"].tolist() == [1]
