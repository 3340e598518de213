"""Tables as the field writes them, in every dialect, shape and unit."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from hifrac.core.input import parse
from hifrac.core.tables import read_table
from hifrac.core.text_tables import decode_text, read_cells
from hifrac.core.units import known_unit

OBJID = 1237648720693755918
HEADER = "name,ra,dec\n"
TEXTS = {
    "a.csv": HEADER + "M 31,150.5,5.0\n",
    "sky.csv": "#Table1\n" + HEADER + "M 31,150.5,5.0\n",
    "comments.csv": "# a sample\n#\n" + HEADER + "M 31,150.5,5.0\n",
    "european.csv": "name;ra;dec\nM 31;150,5;5,0\n",
    "a.tsv": "name\tra\tdec\nM 31\t150.5\t5.0\n",
    "vizier.tsv": "#RESOURCE\nname\tra\tdec\n\tdeg\tdeg\n----\t-----\t---\nM 31\t150.5\t5.0\n",
    "a.txt": 'name ra dec\n"M 31" 150.5 5.0\n',
    "fixed.txt": "name    ra      dec\nM 31    150.5   5.0\n",
    "commented.dat": '# a first line\n# name ra dec\n"M 31" 150.5 5.0\n',
    "bars": "| name | ra | dec |\n|------|----|-----|\n| M 31 | 150.5 | 5.0 |\n",
    "a.tbl": "|name |ra    |dec   |\n|char |double|double|\n M 31  150.5  5.0   \n",
    "a.cat": '#   1 name   Name\n#   2 ra   RA [deg]\n#   3 dec   Dec [deg]\n"M 31" 150.5 5.0\n',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("name", TEXTS)
def test_every_dialect_in_every_encoding(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(TEXTS[name].replace("\n", "\r\n").encode(encoding))
    table = read_table(tmp_path / name)
    assert [str(table["name"][0]), float(table["ra"][0]), float(table["dec"][0])] == ["M 31", 150.5, 5.0]


ECSV = """# %ECSV 1.0
# ---
# datatype:
# - {name: id, datatype: string}
# - {name: z, datatype: float64}
id z
"M ""31""\" 0.5
null null
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("thrice.csv", "z,z,z,\n1,2,3,4\n", {"z": 1, "z_2": 2, "z_3": 3, "col4": 4}),
        (
            "vector.cat",
            "# 1 ID\n# 2 MAG [mag]\n# 4 X\n1 15 16 7\n",
            {"ID": 1, "MAG": 15, "MAG_2": 16, "X": 7},
        ),
        ("huge.csv", "id,ra\n123456789012345678901,150.5\n", {"id": "123456789012345678901", "ra": 150.5}),
        ("nulls.ecsv", ECSV, {"id": 'M "31"', "z": 0.5}),
        ("sky.csv", "#Table1\nplate,mjd\n266,51630\n#Table2\nra,dec\n150.5,5.0\n", {"ra": 150.5, "dec": 5.0}),
    ],
)
def test_what_programs_write(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    table = read_table(tmp_path / name)
    assert table.colnames == list(expected)
    assert table[0].as_void().tolist() == tuple(expected.values())


def test_names_without_rows():
    assert read_cells("# ra dec\n").colnames == ["ra", "dec"]


def test_a_format_by_name(tmp_path):
    (tmp_path / "t").write_text("ra|dec;z\n1|2;3\n")
    assert read_table(tmp_path / "t").colnames == ["ra|dec", "z"]
    assert read_table(tmp_path / "t", format="csv").colnames == ["ra|dec;z"]
    assert read_table(tmp_path / "t", format="fixed_width").colnames == ["ra", "dec;z"]
    with pytest.raises(ValueError, match=r"format must be one of .*csv.*, got 'excel'"):
        read_table(tmp_path / "t", format="excel")


@pytest.mark.parametrize("word", ["", "null", "NULL", "None", "NA", "N/A", "--"])
def test_words_for_nothing_are_masked_among_integers_floats_and_text(word):
    table = read_cells(f"objid,z,name\n{OBJID},0.1,a\n{word},{word},{word}\n")
    assert table["objid"].dtype == np.int64
    assert int(table["objid"][0]) == OBJID
    assert [table[name][1] is np.ma.masked for name in table.colnames] == [True] * 3


@pytest.mark.parametrize("cell", ["000123", "12E3", "1.50", "1e5", "+5"])
def test_a_column_of_names_stays_text(cell):
    assert read_cells(f"NAME,ra\n{cell},1.5\n", ["name"])["NAME"].tolist() == [cell]


@given(st.lists(st.integers(-(2**63), 2**64 - 1) | st.none(), min_size=1))
def test_integers_keep_their_digits(values):
    table = read_cells("a,b\n" + "".join(f"{'' if value is None else value},x\n" for value in values))
    for value, cell in zip(values, table["a"], strict=True):
        assert cell is np.ma.masked if value is None else int(cell) == value


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))))
def test_text_of_any_encoding_is_read_back(text):
    for encoding in ("utf-8-sig", "utf-16"):
        assert decode_text(text.encode(encoding)) == text


def test_parquet_of_other_programs(tmp_path):
    columns = {
        "objid": pa.array([OBJID, None], pa.int64()),
        "name": pa.array(["a", None]),
        "class": pa.array(["spiral", None]).dictionary_encode(),
        "good": pa.array([True, None]),
        "when": pa.array([datetime.datetime(2020, 1, 1), None]),
        "flux": pa.array([{"g": 1.0, "r": 2.0}, {"g": 3.0, "r": None}]),
        "vector": pa.array([[1.0, 2.0], [3.0, 4.0]]),
        "ragged": pa.array([[1], [2, 3]]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert int(table["objid"][0]) == OBJID
    assert all(
        table[name][1] is np.ma.masked for name in ("objid", "name", "class", "good", "when", "flux.r")
    )
    assert table["flux.g"].tolist() == [1.0, 3.0]
    assert table["vector"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert table["ragged"].tolist() == ["[1]", "[2, 3]"]


@pytest.mark.skipif(
    Version(pa.__version__) < Version("26"), reason="before, Arrow read no missing vectors of fixed size"
)
def test_vectors_of_other_programs(tmp_path):
    columns = {
        "fixed": pa.array([[1, 2], None], pa.list_(pa.int32(), 2)),
        "nulls": pa.array([None, None], pa.list_(pa.float32(), 3)),
        "holes": pa.array([[1.0, None], [3.0, 4.0]]),
        "whole": pa.array([[1, None], [3, 4]]),
        "nested": pa.array([[[1], [2]], [[3], [4]]]),
        "words": pa.array([["a", "b"], ["c", "d"]]),
        "empty": pa.array([[], []], pa.list_(pa.float64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table["fixed"].dtype == np.int32
    assert table["fixed"].tolist() == [[1, 2], [None, None]]
    assert (table["nulls"].shape, table["nulls"].mask.all()) == ((2, 3), True)
    assert np.array_equal(table["holes"], [[1, np.nan], [3, 4]], equal_nan=True)
    assert table["whole"].tolist() == ["[1, null]", "[3, 4]"]
    assert table["nested"].tolist() == ["[[1], [2]]", "[[3], [4]]"]
    assert table["words"].tolist() == [["a", "b"], ["c", "d"]]
    assert table["empty"].tolist() == ["[]", "[]"]


def test_a_file_of_several_tables(tmp_path):
    def hdu(name, *columns):
        return fits.BinTableHDU.from_columns([fits.Column(c, "D", array=[1.0]) for c in columns], name=name)

    path = tmp_path / "t.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu("A", "x"), hdu("B", "RA", "DEC")]).writeto(path)
    assert read_table(path).colnames == ["RA", "DEC"]
    assert read_table(path, table="a").colnames == read_table(path, table=1).colnames == ["x"]
    with pytest.raises(ValueError, match=r"has no table 'C': 1 \(A, x\); 2 \(B, RA, DEC\).*--table"):
        read_table(path, table="C")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("degrees", u.deg),
        ("DEGREE", u.deg),
        ("RADIANS", u.rad),
        ("[deg]", u.deg),
        ("log(Msun)", u.dex(u.solMass)),
        ("[solMass]", u.dex(u.solMass)),
        ("mag(AB)", u.ABmag),
        ("mag/sqarcsec", u.mag / u.arcsec**2),
        ("KM/SEC", u.km / u.s),
        ("unitless", None),
    ],
)
def test_units_as_archives_spell_them(text, unit):
    assert known_unit(text) == unit


@pytest.mark.filterwarnings("ignore:.* no unit")
@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"objid": pd.array([OBJID], "Int64"), "ra": [155.125], "dec": [12.5]}),
        pd.DataFrame({"ra": [155.125], "dec": [12.5]}, index=pd.Index([OBJID], name="objid")),
        pa.table({"objid": [OBJID], "ra": [155.125], "dec": [12.5]}),
        {"objid": [OBJID], "ra": [155.125], "dec": [12.5]},
        {"objid": OBJID, "ra": 155.125, "dec": 12.5},
        [{"objid": OBJID, "ra": 155.125, "dec": 12.5}],
        pd.Series({"objid": OBJID, "ra": 155.125, "dec": 12.5}, dtype=object),
        [SkyCoord(155.125, 12.5, unit="deg")],
        np.array([(OBJID, 155.125, 12.5)], dtype=[("objid", int), ("ra", float), ("dec", float)]),
        [(155.125, 12.5)],
        np.array([[155.125, 12.5]]),
        (155.125, 12.5),
        "10h20m30s +12d30m",
        "155.125 12.5",
        ["10:20:30 +12:30:00"],
        "SDSS J102030.00+123000.0",
    ],
    ids=str,
)
def test_every_shape(data):
    parsed = parse(data)
    np.testing.assert_allclose([parsed.ra, parsed.dec], [[155.125], [12.5]], atol=1e-9)
    if "objid" in parsed.table.colnames:
        assert int(parsed.table["objid"][0]) == OBJID


def test_polars_is_told_by_what_it_can_do():
    class Frame:
        columns = ("ra", "dec")

        def to_arrow(self):
            return pa.table({"ra (deg)": [1.0], "dec (deg)": [2.0]})

    assert parse(Frame()).dec.tolist() == [2.0]


def test_a_path(tmp_path):
    (tmp_path / "t.csv").write_text("objID,ra_deg,dec_deg\n000123,1.0,2.0\n")
    parsed = parse(str(tmp_path / "t.csv"), name="objid")
    assert parsed.table["objID"].tolist() == ["000123"]
    with pytest.raises(FileNotFoundError, match=r"no such file: .*missing\.csv"):
        parse(tmp_path / "missing.csv")
