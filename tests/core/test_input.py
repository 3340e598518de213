"""What a user may hand in."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle, Latitude, Longitude, SkyCoord
from astropy.coordinates.name_resolve import NameResolveError
from astropy.table import Column, MaskedColumn, QTable, Row, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from hifrac.core.columns import DEC_ALIASES, RA_ALIASES
from hifrac.core.exceptions import HifracWarning
from hifrac.core.input import parse

DEX_SOLAR = u.dex(u.solMass)


def table(ra=(10.0, 20.0), dec=(1.0, -2.0), unit=u.deg, **columns):
    return Table({"ra": Column(ra, unit=unit), "dec": Column(dec, unit=unit), **columns})


def positions(data):
    parsed = parse(data)
    assert parsed.ra.dtype == parsed.dec.dtype == np.dtype(float)
    assert parsed.ra.shape == parsed.dec.shape == (len(parsed.table),)
    assert isinstance(parsed.table, QTable)
    return parsed.ra.tolist(), parsed.dec.tolist()


# SkyCoord


def test_a_scalar_coordinate_is_one_row():
    parsed = parse(SkyCoord(10.0, 20.0, unit="deg"))
    assert (parsed.ra.tolist(), parsed.dec.tolist()) == ([10.0], [20.0])
    assert parsed.table.colnames == ["ra", "dec"]
    assert parsed.table["ra"].unit == parsed.table["dec"].unit == u.deg


def test_an_array_of_coordinates():
    assert positions(SkyCoord([10.0, 20.0], [1.0, -2.0], unit="deg")) == ([10.0, 20.0], [1.0, -2.0])
    assert positions(SkyCoord([], [], unit="deg")) == ([], [])


@pytest.mark.parametrize("frame", ["galactic", "fk5", "fk4", "barycentrictrueecliptic", "supergalactic"])
def test_coordinates_of_another_frame_are_transformed(frame):
    ra, dec = positions(SkyCoord([10.0, 20.0], [1.0, -2.0], unit="deg").transform_to(frame))
    np.testing.assert_allclose(ra, [10.0, 20.0], atol=1e-9)
    np.testing.assert_allclose(dec, [1.0, -2.0], atol=1e-9)


def test_coordinates_with_a_distance_or_in_cartesian_form():
    coords = SkyCoord([10.0, 20.0] * u.deg, [1.0, -2.0] * u.deg, distance=[5.0, 7.0] * u.Mpc)
    for form in (coords, SkyCoord(coords, representation_type="cartesian")):
        ra, dec = positions(form)
        np.testing.assert_allclose(ra, [10.0, 20.0])
        np.testing.assert_allclose(dec, [1.0, -2.0])


def test_masked_and_nan_coordinates_are_no_position():
    ra = Masked([10.0, 20.0, 30.0] * u.deg, mask=[False, True, False])
    dec = Masked([1.0, 2.0, np.nan] * u.deg, mask=[False, True, False])
    for coords in (SkyCoord(ra, dec), SkyCoord(ra, dec).galactic):
        found = parse(coords)
        np.testing.assert_allclose(found.ra, [10.0, np.nan, np.nan])
        np.testing.assert_allclose(found.dec, [1.0, np.nan, np.nan])


def test_coordinates_of_two_dimensions_are_refused():
    grid = SkyCoord(np.zeros((2, 3)), np.zeros((2, 3)), unit="deg")
    with pytest.raises(ValueError, match=r"^data must be one-dimensional, got a SkyCoord of shape \(2, 3\)"):
        parse(grid)
    with pytest.raises(ValueError, match=r"^place must be one-dimensional, got a SkyCoord of shape \(2, 3\)"):
        parse(QTable({"place": grid}))


def test_a_frame_that_cannot_be_transformed_is_named():
    with pytest.raises(ValueError, match=r"^data cannot be transformed from altaz to ICRS"):
        parse(SkyCoord([10.0], [20.0], unit="deg", frame="altaz"))


# Tables


@pytest.mark.parametrize("kind", [Table, QTable])
def test_tables_with_units(kind):
    assert positions(kind({"ra": [10.0, 20.0] * u.deg, "dec": [1.0, -2.0] * u.deg})) == (
        [10.0, 20.0],
        [1.0, -2.0],
    )


@pytest.mark.parametrize("kind", [Table, QTable])
def test_a_row_is_one_row(kind):
    row = kind({"ra": [10.0, 20.0] * u.deg, "dec": [1.0, -2.0] * u.deg, "id": ["a", "b"]})[1]
    assert isinstance(row, Row)
    parsed = parse(row)
    assert (parsed.ra.tolist(), parsed.dec.tolist()) == ([20.0], [-2.0])
    assert parsed.table["id"].tolist() == ["b"]


@pytest.mark.parametrize(
    ("unit", "ra", "dec"),
    [
        (u.deg, 180.0, 45.0),
        (u.rad, np.pi, np.pi / 4),
        (u.hourangle, 12.0, 3.0),
        (u.arcmin, 10800.0, 2700.0),
        (u.arcsec, 648000.0, 162000.0),
        (u.mas, 648e6, 162e6),
    ],
    ids=str,
)
def test_units_are_honoured(unit, ra, dec):
    for kind in (Table, QTable):
        found = positions(kind(table([ra], [dec], unit)))
        np.testing.assert_allclose(found, [[180.0], [45.0]], rtol=1e-12)


def test_each_column_has_its_own_unit():
    found = positions(Table({"ra": [12.0] * u.hourangle, "dec": [45.0] * u.deg}))
    np.testing.assert_allclose(found, [[180.0], [45.0]])


@pytest.mark.parametrize("unit", [u.m, u.s, u.hour, u.mag, u.deg / u.s, u.dex(u.solMass)], ids=str)
@pytest.mark.parametrize("name", ["ra", "dec"])
def test_a_unit_that_is_no_angle_is_refused_by_the_name_of_its_column(name, unit):
    data = table()
    data[name].unit = unit
    with pytest.raises(u.UnitConversionError, match=f"^{name} must be an angle, got the unit"):
        parse(data)


def test_an_unknown_unit_is_refused():
    data = table()
    data["ra"].unit = u.Unit("furlongs", parse_strict="silent")
    with pytest.raises(u.UnitConversionError, match=r"^ra must be an angle, got the unit furlongs"):
        parse(data)


@pytest.mark.parametrize("unit", [None, u.dimensionless_unscaled], ids=["none", "dimensionless"])
def test_without_units_degrees_are_read_and_said(unit):
    with pytest.warns(HifracWarning) as caught:
        found = positions(table(unit=unit))
    assert found == ([10.0, 20.0], [1.0, -2.0])
    said = [str(warning.message) for warning in caught]
    assert said == ["ra and dec have no unit: read as degrees"]


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("ra", "dec"),
        ("RA", "DEC"),
        ("Ra", "Dec"),
        ("RAJ2000", "DEJ2000"),
        ("raj2000", "DECJ2000"),
        ("RA_ICRS", "DE_ICRS"),
        ("ra_icrs", "dec_icrs"),
        ("RAdeg", "DEdeg"),
        ("RADEG", "DecDeg"),
    ],
)
def test_aliases_in_any_case(ra, dec):
    assert positions(Table({"id": [1], dec: [2.0] * u.deg, ra: [1.0] * u.deg})) == ([1.0], [2.0])


def test_ra_and_dec_come_before_their_aliases():
    names = ("RAJ2000", "DEJ2000", "RA", "DEC", "ra", "dec")
    data = Table({name: [float(value)] * u.deg for value, name in enumerate(names)})
    assert positions(data) == ([4.0], [5.0])
    del data["ra", "dec"]
    assert positions(data) == ([2.0], [3.0])


def test_a_pair_of_one_system_comes_before_a_mixture():
    data = Table({"dec": [1.0] * u.deg, "RAJ2000": [2.0] * u.deg, "DEJ2000": [3.0] * u.deg})
    assert positions(data) == ([2.0], [3.0])
    del data["DEJ2000"]
    assert positions(data) == ([2.0], [1.0])


def test_a_skycoord_column():
    place = SkyCoord([10.0, 20.0], [1.0, -2.0], unit="deg")
    for coords in (place, place.galactic):
        found = positions(QTable({"id": [1, 2], "place": coords}))
        np.testing.assert_allclose(found, [[10.0, 20.0], [1.0, -2.0]])
    assert positions(QTable({"ra": place, "dec": [5.0, 6.0] * u.deg})) == ([10.0, 20.0], [1.0, -2.0])


def test_columns_come_before_a_skycoord_and_several_skycoords_are_ambiguous():
    place = SkyCoord([10.0], [20.0], unit="deg")
    with_columns = QTable({"place": place, "ra": [1.0] * u.deg, "dec": [2.0] * u.deg})
    assert positions(with_columns) == ([1.0], [2.0])
    with pytest.raises(ValueError, match=r"several SkyCoord columns \(one, two\); add ra and dec"):
        parse(QTable({"one": place, "two": place}))


@pytest.mark.parametrize(
    ("columns", "missing"),
    [((), "no ra and no dec"), (("ra",), "no dec"), (("DEJ2000",), "no ra"), (("glon", "glat"), "no ra and")],
)
def test_missing_positions_list_what_was_found_and_what_is_accepted(columns, missing):
    data = Table({name: [1.0] * u.deg for name in columns})
    with pytest.raises(ValueError, match=f"^data has {missing}") as error:
        parse(data)
    assert f"its columns are {', '.join(columns) or '(none)'};" in str(error.value)
    for alias in (*RA_ALIASES, *DEC_ALIASES):
        assert alias in str(error.value)


@pytest.mark.parametrize(
    "column",
    [Column(["M 31", "M 33"]), Column([1 + 1j, 2], unit="deg"), Column([True, False])],
    ids=["text", "complex", "bool"],
)
def test_positions_that_are_no_angles_are_refused(column):
    with pytest.raises(TypeError, match=r"^ra must hold (numbers|angles), got .*10h20m30.5s"):
        parse(Table({"ra": column, "dec": [1.0, 2.0] * u.deg}))


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        (["10:20:30", "10 20 30.0"], ["+12:30:00", "12 30"]),
        (["10h20m30s", "10ʰ20ᵐ30ˢ"], ["12d30m", "+12°30\u203200\u2033"]),
        (["155d07m30s", "155.125"], ["12.5", "12d30m0s"]),
        ([b"155.125", b"155.125"], [b"12.5", b"12.5"]),
        ([155.125, "155.125"], [12.5, 12.5]),
    ],
)
def test_text_that_is_an_angle_is_read(ra, dec):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HifracWarning)
        found = positions({"ra": ra, "dec": dec})
    np.testing.assert_allclose(found, [[155.125] * 2, [12.5] * 2], atol=1e-12)


@given(st.floats(0, 359.99), st.floats(-89.99, 89.99))
def test_sexagesimal_text_of_astropy_is_read_back(ra, dec):
    place = SkyCoord(ra, dec, unit="deg")
    for style in ({"style": "hmsdms"}, {"sep": ":"}, {"sep": " "}):
        text = place.to_string(precision=8, **({"style": "hmsdms"} | style))
        half = text.split()
        cut = len(half) // 2
        columns = {"ra": [" ".join(half[:cut])], "dec": [" ".join(half[cut:])]}
        for data in (columns, text):
            np.testing.assert_allclose(positions(data), [[place.ra.deg], [place.dec.deg]], atol=1e-8)


@pytest.mark.parametrize("bad", ["", "null", "M 31", "10:61:00", "-", None])
def test_a_bad_cell_stops_its_row_alone(bad):
    parsed = parse({"ra": ["10:20:30", bad], "dec": ["+12:30:00", "+12:30:00"]})
    np.testing.assert_array_equal(parsed.ra, [155.125, np.nan])


@pytest.mark.parametrize(
    ("ra", "dec"), [(["155:07:30"], ["+12:30:00"]), ([10.5], ["+12:30:00"]), (["10.5"], ["12d30m00s"])]
)
def test_text_that_may_be_hours_or_degrees_is_refused_with_an_example(ra, dec):
    with pytest.raises(ValueError, match=r"10h20m30.5s or 155d07m37.5s"):
        parse({"ra": ra, "dec": dec})
    if isinstance(ra[0], str):
        return
    assert positions(Table({"ra": ra * u.deg, "dec": dec})) == ([10.5], [12.5])
    np.testing.assert_allclose(positions(Table({"ra": ra * u.hourangle, "dec": dec})), [[157.5], [12.5]])


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("RA_1", "DEC_1"),
        ("RAJ2000_1", "DEJ2000_1"),
        ("ra_deg", "dec_deg"),
        ("RA (deg)", "Dec (deg)"),
        ("R.A. [deg]", "Decl. [deg]"),
        ("ALPHA_J2000", "DELTA_J2000"),
        ("TARGET_RA", "TARGET_DEC"),
        ("radeg", "dedeg"),
    ],
)
def test_names_of_archives(ra, dec):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HifracWarning)
        assert positions({"id": [7], dec: [2.0], ra: [1.0], "RA_2": [5.0], "DEC_2": [5.0]}) == ([1.0], [2.0])


def test_numbers_come_before_text_and_a_skycoord_too():
    table = Table(
        {"RAJ2000": ["10 00 00.0"], "DEJ2000": ["+05 00 00"], "_RAJ2000": [15.0], "_DEJ2000": [5.0]}
    )
    for name in ("_RAJ2000", "_DEJ2000"):
        table[name].unit = u.deg
    assert positions(table) == ([15.0], [5.0])
    table.remove_columns(["_RAJ2000", "_DEJ2000"])
    assert positions(table) == ([150.0], [5.0])
    table["place"] = SkyCoord([20.0], [5.0], unit="deg")
    assert positions(table) == ([20.0], [5.0])


def test_columns_named_by_the_user_come_first():
    data = QTable({"ra": [1.0], "dec": [2.0], "Alpha": [3.0] * u.deg, "delta": [4.0] * u.deg})
    parsed = parse(data, ra="alpha", dec="delta")
    assert (parsed.ra[0], parsed.dec[0]) == (3.0, 4.0)
    with pytest.raises(ValueError, match=r"^ra: data has no column 'lon'; its columns are ra, dec, Alpha"):
        parse(data, ra="lon", dec="delta")
    with pytest.raises(ValueError, match=r"^ra and dec must be given together"):
        parse(data, ra="alpha")


def test_columns_of_two_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"^ra must be one-dimensional, got shape \(2, 2\)"):
        parse(Table({"ra": np.zeros((2, 2)) * u.deg, "dec": np.zeros((2, 2)) * u.deg}))


@pytest.mark.parametrize("data", [None, 3.0, {1.0, 2.0}, object()])
def test_other_types_are_refused(data):
    with pytest.raises(TypeError, match=rf"^data must be one of: SkyCoord.*; got {type(data).__name__}"):
        parse(data)


@pytest.mark.parametrize("data", [[1.0, 2.0], np.zeros((2, 3)), [(1.0, 2.0), (3.0,)], ([1, 2], [3, 4])])
def test_lists_of_something_else_are_refused(data):
    with pytest.raises(TypeError, match=r"^data (must be pairs|is a tuple of two arrays)"):
        parse(data)


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (0.0, 0.0, (0.0, 0.0)),
        (359.9999, 0.0, (359.9999, 0.0)),
        (-0.0001, 0.0, (359.9999, 0.0)),
        (360.0, 0.0, (0.0, 0.0)),
        (-180.0, 0.0, (180.0, 0.0)),
        (5.0, 90.0, (5.0, 90.0)),
        (5.0, -90.0, (5.0, -90.0)),
        (5.0, 90.0000001, None),
        (5.0, -91.0, None),
        (360.0000001, 0.0, None),
        (-180.0000001, 0.0, None),
        (1e300, 0.0, None),
        (np.nan, 0.0, None),
        (0.0, np.nan, None),
        (np.inf, 0.0, None),
        (0.0, -np.inf, None),
    ],
)
def test_the_edges_of_the_sphere(ra, dec, expected):
    found = np.array(positions(table([1.0, ra], [2.0, dec])))
    assert found[:, 0].tolist() == [1.0, 2.0]
    np.testing.assert_allclose(found[:, 1], (np.nan, np.nan) if expected is None else expected, atol=1e-9)


@pytest.mark.parametrize("kind", [Table, QTable])
def test_masked_cells_are_no_position(kind):
    data = kind(
        {
            "ra": MaskedColumn([1.0, 2.0, 3.0], mask=[True, False, False], unit="deg"),
            "dec": MaskedColumn([4.0, 5.0, 6.0], mask=[False, True, False], unit="deg"),
        }
    )
    found = parse(data)
    np.testing.assert_array_equal(found.ra, [np.nan, np.nan, 3.0])
    np.testing.assert_array_equal(found.dec, [np.nan, np.nan, 6.0])


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, ">f8", "<i8"])
def test_numbers_of_any_kind(dtype):
    values = np.array([7, 8], dtype=dtype)
    assert positions(table(values, values)) == ([7.0, 8.0], [7.0, 8.0])


def test_angles_and_longitudes():
    data = QTable({"ra": Longitude([1, 2], unit="deg"), "dec": Latitude([3, 4], unit="deg")})
    assert positions(data) == ([1.0, 2.0], [3.0, 4.0])
    assert positions(QTable({"ra": Angle(["1d"]), "dec": Angle(["2d"])})) == ([1.0], [2.0])


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True)), max_size=20
    )
)
def test_any_numbers_give_a_position_or_none(pairs):
    ra, dec = np.array(pairs, dtype=float).reshape(-1, 2).T
    parsed = parse(table(ra, dec))
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (ra >= -180) & (ra <= 360)
    assert np.isfinite(parsed.ra).tolist() == np.isfinite(parsed.dec).tolist() == good.tolist()
    assert np.all((parsed.ra[good] >= 0) & (parsed.ra[good] <= 360))
    distance = np.abs((parsed.ra[good] - ra[good] + 180) % 360 - 180)
    assert np.all(distance < 1e-9)
    assert parsed.dec[good].tolist() == dec[good].tolist()


# What is carried through


def carried():
    data = Table(
        {
            "objid": np.array([1237648722312298550, 2, 3]),
            "ra": Column([1.0, 2.0, 3.0], unit="deg", description="J2000", format=".5f", meta={"ucd": "pos"}),
            "dec": MaskedColumn([1.0, 2.0, 3.0], unit="deg", mask=[False, True, False]),
            "name": Column(["a", "b", "c"], description="of the galaxy"),
            "grade": Column(["x", "y", "z"], unit="mag"),  # not numbers, and yet with a unit
            "count": MaskedColumn([1, 2, 3], mask=[True, False, False]),
            "flux": Column([1.0, 2.0, 3.0], unit=u.Unit("nanomaggies", parse_strict="silent")),
            "mass": MaskedColumn([9.0, 10.0, 11.0], unit=DEX_SOLAR, mask=[False, True, False]),
            "brightness": MaskedColumn([19.0, 20.0, 21.0], unit=u.ABmag, mask=[False, True, False]),
            "vector": np.arange(6.0).reshape(3, 2),
        },
        meta={"catalogue": "ours", "nested": {"list": [1, 2]}},
    )
    data["mass"].description, data["mass"].format, data["mass"].meta["ucd"] = "stellar", ".2f", "phys.mass"
    return data


def test_columns_units_descriptions_and_meta_are_carried_without_a_warning():
    data = carried()
    result = parse(data).table
    assert result.colnames == data.colnames
    for name in data.colnames:
        old, new = data[name], result[name]
        unit, description = (
            (None, "stellar [dex(solMass)]") if name == "mass" else (old.unit, old.description)
        )
        assert str(unit or "") == str(getattr(new, "unit", None) or ""), name
        assert (description, old.info.format) == (new.info.description, new.info.format), name
        assert dict(old.info.meta or {}) == dict(new.info.meta or {}), name
        mask = np.asarray(getattr(old, "mask", np.zeros(old.shape, bool)))
        np.testing.assert_array_equal(np.asarray(getattr(new, "mask", np.zeros(new.shape, bool))), mask)
        plain = getattr(getattr(new, "unmasked", new), "value", new)
        np.testing.assert_array_equal(np.asarray(plain)[~mask], np.asarray(old)[~mask])
    assert result["objid"].dtype == data["objid"].dtype
    assert isinstance(result["brightness"], u.Magnitude)
    assert result.meta == data.meta


def test_the_input_is_never_touched():
    data, twin = carried(), carried()
    result = parse(data).table
    result["ra"][0] = 99 * u.deg
    result["name"][0] = "z"
    result.meta["nested"]["list"].append(3)
    result["ra"].info.meta["ucd"] = "changed"
    result["mass"].info.meta["ucd"] = "changed"
    result["new"] = 1
    assert data.colnames == twin.colnames
    assert data.meta == twin.meta
    assert all(data[name].info.meta == twin[name].info.meta for name in data.colnames)
    assert data["ra"][0] == 1.0
    assert data["name"][0] == "a"


def test_a_coordinate_is_never_touched():
    coords = SkyCoord([1.0], [2.0], unit="deg")
    parse(coords).table["ra"][0] = 9 * u.deg
    assert coords.ra.deg.tolist() == [1.0]


def test_duplicate_rows_stay():
    assert positions(table([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])) == ([1.0] * 3, [2.0] * 3)


def test_no_rows():
    assert positions(table([], [])) == ([], [])


# Stellar masses


@pytest.mark.parametrize(
    "column",
    [
        Column([10.0, 9.5], unit=DEX_SOLAR),
        Column([10.0, 9.5], unit="dex(solMass)"),
        Column([10.0, 9.5], unit="dex"),
        Column([10.0, 9.5]),
        MaskedColumn([10.0, 9.5], unit=DEX_SOLAR),
        u.Dex([10.0, 9.5], DEX_SOLAR),
        np.array([10.0, 9.5], dtype=np.float32),
    ],
    ids=["dex(solMass)", "by name", "dex", "none", "masked column", "quantity", "float32"],
)
def test_masses_in_dex_of_solar_masses_or_without_a_unit(column):
    assert parse(table(log_mstar=column), "log_mstar").log_mstar.tolist() == [10.0, 9.5]


@pytest.mark.parametrize("unit", [DEX_SOLAR, u.dex, None], ids=str)
def test_unknown_masses(unit):
    column = MaskedColumn([10.0, 9.0, np.nan, np.inf], mask=[True, False, False, False], unit=unit)
    positions = parse(table(np.arange(4.0), np.arange(4.0), log_mstar=column), "log_mstar")
    np.testing.assert_array_equal(positions.log_mstar, [np.nan, 9.0, np.nan, np.nan])
    assert np.asarray(positions.table["log_mstar"].mask).tolist() == [True, False, False, False]


@pytest.mark.parametrize("unit", [u.solMass, u.dex(u.kg), u.mag, u.dex(10 * u.solMass), u.deg], ids=str)
def test_masses_in_another_unit_are_refused(unit):
    data = table(log_mstar=Column([10.0, 9.0], unit=unit))
    with pytest.raises(u.UnitConversionError, match=r"^log_mstar must be in dex\(solMass\), got the unit"):
        parse(data, "log_mstar")


@pytest.mark.parametrize(
    "column",
    [["a", "b"], [True, False], np.array([None, 1.0], dtype=object), SkyCoord([1, 2], [1, 2], unit="deg")],
)
def test_masses_that_are_no_numbers_are_refused(column):
    with pytest.raises(TypeError, match=r"^log_mstar must hold numbers"):
        parse(table(log_mstar=column), "log_mstar")


def test_masses_of_two_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"^log_mstar must be one-dimensional, got shape \(2, 3\)"):
        parse(table(log_mstar=np.zeros((2, 3))), "log_mstar")


def test_without_the_column_there_are_no_masses():
    assert parse(table(), "log_mstar").log_mstar is None


# The reddening


def test_reddening_is_read_in_magnitudes_or_without_a_unit():
    for unit in (None, u.mag):
        column = MaskedColumn([0.1, 0.2, np.nan], mask=[False, True, False], unit=unit)
        data = table(np.arange(3.0), np.arange(3.0), ebv=column)
        np.testing.assert_array_equal(parse(data, "ebv").ebv, [0.1, np.nan, np.nan])
    assert parse(table(), "ebv").ebv is None


def test_what_is_no_reddening_is_refused():
    with pytest.raises(u.UnitConversionError, match=r"^ebv must be in mag, got the unit"):
        parse(table(ebv=Column([0.1, 0.2], unit=u.deg)), "ebv")
    with pytest.raises(TypeError, match=r"^ebv must hold numbers"):
        parse(table(ebv=["low", "high"]), "ebv")
    with pytest.raises(ValueError, match=r"^ebv must be one-dimensional, got shape \(2, 3\)"):
        parse(table(ebv=np.zeros((2, 3))), "ebv")


# What no galaxy has


def test_a_sentinel_is_an_unknown_value_of_its_row_alone():
    rows = np.arange(4.0)
    columns = {"ebv": [0.1, -9999.0, 0.2, -99.0], "log_mstar": [10.5, 99.0, -99.0, 9.0]}
    data = table(rows, rows, **columns)
    with pytest.warns(HifracWarning, match=r"^ebv must be .*: 2 of 4 rows .* the first is row 1 with -9999$"):
        np.testing.assert_array_equal(parse(data, "ebv").ebv, [0.1, np.nan, 0.2, np.nan])
    with pytest.warns(
        HifracWarning, match=r"^log_mstar must be .* 2 of 4 rows .* the first is row 1 with 99$"
    ):
        positions = parse(data, "log_mstar")
    np.testing.assert_array_equal(positions.log_mstar, [10.5, np.nan, np.nan, 9.0])
    assert positions.table["log_mstar"].tolist() == [
        10.5,
        99.0,
        -99.0,
        9.0,
    ]  # the user's own is carried


def test_masses_that_are_no_logarithms_are_refused():
    rows = np.arange(3.0)
    with pytest.raises(ValueError, match=r"^log_mstar must be log10\(M\*/Msun\), got 3e\+10: is it the mass"):
        parse(table(rows, rows, log_mstar=[1e10, 3e10, np.nan]), "log_mstar")


def test_a_column_is_found_in_any_case_and_its_own_first():
    assert parse(table(EBV=[0.1, 0.2]), "ebv").ebv.tolist() == [0.1, 0.2]
    assert parse(table(LOG_MSTAR=[9.0, 10.0]), "log_mstar").log_mstar.tolist() == [9.0, 10.0]
    assert parse(table(EBV=[0.1, 0.2], ebv=[0.3, 0.4]), "ebv").ebv.tolist() == [0.3, 0.4]
    with pytest.raises(ValueError, match=r"^data has EBV and Ebv, and no ebv: rename one"):
        parse(table(EBV=[0.1, 0.2], Ebv=[0.3, 0.4]), "ebv")


def test_the_positions_that_vizier_adds_are_positions():
    data = Table({"_RAJ2000": [10.0], "_DEJ2000": [-5.0]}, units={"_RAJ2000": "deg", "_DEJ2000": "deg"})
    positions = parse(data)
    assert (positions.ra[0], positions.dec[0]) == (10, -5)


# Names of objects


def test_a_silent_name_service_is_asked_for_few_of_many_names(monkeypatch):
    asked = []

    def from_name(name):
        asked.append(name)
        raise NameResolveError("All Sesame queries failed. See errors:\n[Errno -2] Name or service not known")

    monkeypatch.setattr(SkyCoord, "from_name", from_name)
    texts = ["M 31", "10h20m30s +12d30m", *(f"NGC {number}" for number in range(300))]
    with pytest.warns(HifracWarning, match=r"301 of 302 names have no position: 'M 31' is no position and no "
                      r"file, and the name service gives no answer: is there a network\?"):  # fmt: skip
        found = parse(texts)
    assert asked == ["M 31", "NGC 0"]
    assert found.usable.tolist() == [False, True, *[False] * 300]


def test_names_that_are_unknown_do_not_keep_others_from_being_asked_for(monkeypatch):
    def from_name(name):
        if name == "M 31":
            return SkyCoord(10.68, 41.27, unit="deg")
        raise NameResolveError(f"Unable to find coordinates for name '{name}'")

    monkeypatch.setattr(SkyCoord, "from_name", from_name)
    with pytest.warns(HifracWarning, match=r"3 of 4 names have no position: .*no object"):
        found = parse(["X 1", "X 2", "X 3", "M 31"])
    assert found.usable.tolist() == [False] * 3 + [True]
