"""Labelled pictures: the positions and the truth values of a table, in whatever form it has them."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from pictures import encode, galaxy

from hifrac.core.exceptions import HifracWarning
from hifrac.core.input import parse_labelled
from hifrac.core.tables import read_table
from hifrac.cutouts import SDSS_RECIPE
from hifrac.training.data import flags_of, read_labelled
from hifrac.training.splits import galaxy_groups

#: The first two are 60 arcsec apart.
RA = np.array([197.9, 197.9, 12.5, 359.75])
DEC = np.array([0.5, 0.5 + 60 / 3600, -3.0, 14.0])
N = len(RA)
SKY = SkyCoord(RA, DEC, unit="deg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number in range(N):
        (root / f"g{number}.jpg").write_bytes(encode(galaxy(number)))
    return root


def table_of(**columns):
    return Table(
        {"objid": [f"g{number}" for number in range(N)], "value": np.arange(N, dtype=float), **columns}
    )


def read(table, folder, **options):
    return read_labelled(table, folder, SDSS_RECIPE, target="value", **options)


POSITIONS = {
    "degrees": {"ra": RA * u.deg, "dec": DEC * u.deg},
    "documented names, which are degrees": {"ra": RA, "dec": DEC},
    "capitals": {"RA": RA, "DEC": DEC},
    "radians": {"ra": Column(np.radians(RA), unit="rad"), "dec": Column(np.radians(DEC), unit="rad")},
    "hours": {"ra": Column(RA / 15, unit="hourangle"), "dec": Column(DEC, unit="deg")},
    "names of VizieR": {"RAJ2000": Column(RA, unit="deg"), "DEJ2000": Column(DEC, unit="deg")},
    "a SkyCoord": {"place": SKY},
    "a SkyCoord of another frame": {"place": SKY.galactic},
}


@pytest.mark.parametrize("columns", POSITIONS.values(), ids=POSITIONS)
def test_positions_are_those_that_predict_would_read(folder, columns):
    pictures = read(table_of(**columns), folder)
    np.testing.assert_allclose(pictures.ra, RA, rtol=1e-9)
    np.testing.assert_allclose(pictures.dec, DEC, rtol=1e-9)
    group = galaxy_groups(pictures.name, pictures.ra, pictures.dec)
    assert group[0] == group[1]
    assert len(set(group)) == N - 1


@pytest.mark.parametrize("name", ["t.csv", "t.ecsv", "t.fits", "t.vot"])
def test_positions_survive_a_file(folder, tmp_path, name):
    table = table_of(RA=Column(np.radians(RA), unit="rad"), DEC=Column(np.radians(DEC), unit="rad"))
    if name.endswith(".csv"):  # which has no units
        table["RA"], table["DEC"] = Column(RA), Column(DEC)
    table.write(tmp_path / name, format="votable" if name.endswith(".vot") else None)
    pictures = read(read_table(tmp_path / name), folder)
    np.testing.assert_allclose(pictures.ra, RA, rtol=1e-9)
    np.testing.assert_allclose(pictures.dec, DEC, rtol=1e-9)


def test_other_names_without_a_unit_are_degrees_with_a_warning(folder):
    with pytest.warns(HifracWarning) as caught:
        pictures = read(table_of(RAJ2000=RA, DEJ2000=DEC), folder)
    assert [str(one.message) for one in caught] == [
        "RAJ2000 and DEJ2000 have no unit: read as degrees",
    ]
    np.testing.assert_array_equal(pictures.ra, RA)


@pytest.mark.parametrize(
    "columns", [{}, {"ra": RA}, {"ra": np.full(N, np.nan), "dec": DEC}, {"ra": RA, "dec": DEC + 100}]
)
def test_a_table_without_positions_is_warned_of(folder, columns):
    with pytest.warns(HifracWarning, match="no valid positions.* part galaxies closer than 90 arcsec"):
        pictures = read(table_of(**columns), folder)
    assert np.isnan(pictures.ra).all()
    assert np.isnan(pictures.dec).all()


def test_a_row_without_a_position_is_unknown_and_the_others_are_not(folder):
    ra = MaskedColumn(RA, mask=[False, False, True, False], unit="deg")
    pictures = read(table_of(ra=ra, dec=Column([*DEC[:3], -99.0], unit="deg")), folder)
    np.testing.assert_array_equal(pictures.ra, [RA[0], RA[1], np.nan, np.nan])
    np.testing.assert_array_equal(pictures.dec, [DEC[0], DEC[1], np.nan, np.nan])


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"ra": ["north"] * N, "dec": DEC}, TypeError, "ra must hold angles"),
        ({"ra": Column(RA, unit="m"), "dec": DEC}, u.UnitConversionError, "ra must be an angle"),
        ({"place": SKY, "other": SKY}, ValueError, "several SkyCoord columns"),
    ],
)
def test_positions_that_are_none_are_refused(folder, columns, kind, message):
    with pytest.raises(kind, match=message):
        read(table_of(**columns), folder)


def test_the_table_is_left_as_it_is():
    table = QTable(table_of(ra=RA, dec=DEC))
    before = table.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_labelled(table)
    assert table["ra"].unit is None
    assert (table == before).all()


LIMITS = [True, False, False, True]


@pytest.mark.parametrize("values", [LIMITS, [1, 0, 0, 1], [1.0, 0.0, 0.0, 1.0], np.ma.MaskedArray(LIMITS)])
def test_limits_are_truth_values(folder, values):
    pictures = read(table_of(ra=RA, dec=DEC, limit=values), folder, is_limit="limit")
    assert pictures.is_limit.dtype == bool
    assert pictures.is_limit.tolist() == LIMITS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 5609, 1], "^limit must be boolean, or 0 and 1, without gaps, got 5609 in row 2$"),
        ([0.0, np.nan, 1.0, 1.0], "^limit must be .* got a gap in row 1$"),
        (MaskedColumn(LIMITS, mask=[False, False, False, True]), "^limit must be .* got a gap in row 3$"),
        (["True", "False", "False", "True"], "^limit must be boolean, or 0 and 1, got <U5$"),
    ],
)
def test_what_is_no_truth_value_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        flags_of(table_of(limit=values), "limit")
