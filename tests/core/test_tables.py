"""Tables on disk."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time, TimeDelta
from astropy.utils.masked import Masked

from hifrac.core.exceptions import HifracWarning
from hifrac.core.plain_columns import plain_table
from hifrac.core.tables import check_output, output_format, read_table, write_table

FORMATS = {
    "ecsv": "ascii.ecsv",
    "fits": "fits",
    "csv": "ascii.csv",
    "tsv": "ascii.tab",
    "vot": "votable",
    "parquet": "parquet",
    "hdf5": "hdf5",
}
NEEDS = {"parquet": ("pandas", "pyarrow"), "hdf5": ("h5py",)}
DEX_SOLAR = u.dex(u.solMass)
PROVENANCE = {
    "version": "1.0",
    "arguments": {"overwrite": False, "batch_size": 128},
    "references": ["Wu 2020"],
}


@pytest.fixture(params=FORMATS)
def extension(request):
    for library in NEEDS.get(request.param, ()):
        pytest.importorskip(library)
    return request.param


def result():
    """A table with all that a result may hold."""
    mask = [False, True, False]
    table = QTable(meta={"survey": "ours", "hifrac": PROVENANCE})
    table["objid"] = ["1237648722312298550", "b", "c"]
    table["number"] = np.array([1237648722312298550, -2, 3])
    table["ra"] = [10.0, 20.0, 30.0] * u.deg
    table["fraction"] = Masked([-0.25, np.nan, 0.5] * u.dex, mask=mask)
    table["mass"] = Masked(u.Dex([9.5, np.nan, 10.5], DEX_SOLAR), mask=mask)
    table["p_detect"] = MaskedColumn([0.5, 0.25, 0.125], mask=mask)
    table["count"] = MaskedColumn([999999, 2, 3], mask=mask)
    table["flags"] = Column(np.array([0, 4, 48], dtype=np.int32), description="a bit mask")
    table["word"] = MaskedColumn(["x", "y", "z"], mask=mask)
    table["good"] = MaskedColumn([True, False, False], mask=mask)
    return table


def mask_of(column):
    return np.broadcast_to(getattr(column, "mask", False), len(column)).tolist()


def test_all_formats_give_values_and_masks_back(tmp_path, extension):
    path = tmp_path / f"table.{extension}"
    write_table(result(), path)
    back = read_table(path)
    assert back.colnames == result().colnames
    assert [str(value) for value in back["objid"]] == ["1237648722312298550", "b", "c"]
    assert back["number"].tolist() == [1237648722312298550, -2, 3]
    assert back["ra"].tolist() == [10.0, 20.0, 30.0]
    assert back["flags"].tolist() == [0, 4, 48]
    for name, values in {"fraction": (-0.25, 0.5), "mass": (9.5, 10.5), "p_detect": (0.5, 0.125)}.items():
        assert mask_of(back[name]) == [False, True, False], name
        assert (back[name][0], back[name][2]) == values, name
    assert mask_of(back["count"]) == [False, True, False]
    assert (back["count"][0], back["count"][2]) == (999999, 3)
    assert [str(back["word"][row]) for row in (0, 2)] == ["x", "z"]
    assert mask_of(back["good"]) == [False, True, False]
    assert [str(back["good"][row]) in ("1", "True") for row in (0, 2)] == [True, False]


@pytest.mark.parametrize("extension", ["ecsv", "parquet", "hdf5"], indirect=True)
def test_some_formats_give_everything_back(tmp_path, extension):
    path = tmp_path / f"table.{extension}"
    write_table(result(), path)
    back = read_table(path)
    assert back.meta == result().meta
    assert back["mass"].unit == DEX_SOLAR
    assert back["fraction"].unit == u.dex
    assert back["flags"].description == "a bit mask"
    assert back["flags"].dtype == np.int32


def test_votable_keeps_units(tmp_path):
    write_table(result(), tmp_path / "table.vot")
    back = read_table(tmp_path / "table.vot")
    assert back["ra"].unit == u.deg
    assert back["mass"].unit == DEX_SOLAR


def test_fits_says_in_words_what_its_header_cannot_hold(tmp_path):
    path = tmp_path / "table.fits"
    write_table(result(), path)
    back = read_table(path)
    assert back["ra"].unit == u.deg
    assert back["mass"].unit is None
    assert back["mass"].description == f"[{DEX_SOLAR}]"
    comments = [line for line in back.meta["comments"] if line.startswith("hifrac ")]
    said = dict(line.removeprefix("hifrac ").split(": ", 1) for line in comments)
    assert {key: json.loads(value) for key, value in said.items()} == PROVENANCE
    with fits.open(path) as hdus:
        assert "hifrac version" in str(hdus[1].header["COMMENT"])
        assert hdus[1].header["SURVEY"] == "ours"


def test_fits_masks_no_integer_that_has_a_value(tmp_path):
    ends = np.iinfo(np.int16)
    values = {
        "tall": np.array([ends.max, 5, 999], dtype=np.int16),
        "small": np.array([ends.min, 5, 63], dtype=np.int16),
        "bytes": np.array([0, 255, 63], dtype=np.uint8),
    }
    mask = [False, True, False]
    table = Table({name: MaskedColumn(column, mask=mask) for name, column in values.items()})
    write_table(table, tmp_path / "t.fits")
    back = read_table(tmp_path / "t.fits")
    for name, column in values.items():
        assert mask_of(back[name]) == mask, name
        assert (back[name][0], back[name][2]) == (column[0], column[2])


def test_fits_escapes_what_is_not_ascii_and_says_so(tmp_path):
    with pytest.warns(HifracWarning, match=r"^FITS holds ASCII text alone: who is written with escapes"):
        write_table(Table({"who": ["Ann", "Bjørk"]}), tmp_path / "t.fits")
    assert [str(name) for name in read_table(tmp_path / "t.fits")["who"]] == ["Ann", "Bj\\xf8rk"]
    write_table(Table({"x": Column([1.0], description="in M☉")}), tmp_path / "u.fits")
    assert read_table(tmp_path / "u.fits")["x"].description == "in M?"


@pytest.mark.parametrize(
    "unit", ["hourangle", "3.631e-06 Jy", "ABflux", "nmgy", "mag(AB)", "dex", "maggy", "dB"]
)
def test_fits_says_units_that_it_does_not_have_in_the_comment(tmp_path, unit):
    write_table(Table({"x": Column([1.0], unit=u.Unit(unit), description="a flux")}), tmp_path / "t.fits")
    column = read_table(tmp_path / "t.fits")["x"]
    assert column.description == f"a flux [{u.Unit(unit)}]"


@pytest.mark.parametrize("comments", ["my sample", "two\nlines", ["my sample"], [1, 2]])
def test_comments_are_a_card_a_line(tmp_path, comments):
    write_table(Table({"x": [1]}, meta={"comments": comments}), tmp_path / "t.fits")
    lines = comments.splitlines() if isinstance(comments, str) else [str(line) for line in comments]
    assert [str(card) for card in fits.getheader(tmp_path / "t.fits", 1)["COMMENT"]] == lines


ODD_COLUMNS = {
    "vector": np.arange(6.0).reshape(3, 2),
    "vector of text": np.array([["a", "b"], ["c", "d"], ["e", "f"]]),
    "masked vector of text": MaskedColumn(
        [["a", "b"], ["c", "d"], ["e", "f"]], mask=[[1, 0], [0, 0], [0, 1]]
    ),
    "masked vector of integers": MaskedColumn(np.arange(6).reshape(3, 2), mask=[[1, 0], [0, 0], [0, 1]]),
    "cube": np.ones((3, 2, 2)),
    "moments": np.array(["2020-01-01", "NaT", "2021-01-01"], "M8[us]"),
    "days": np.array(["2020-01-01", "NaT", "2021-01-01"], "M8[D]"),
    "spans": np.array([1, 2, 3], "m8[s]"),
    "Astropy's spans": TimeDelta([1, 2, 3], format="sec"),
    "half floats": np.ones(3, np.float16),
    "long floats": np.ones(3, np.longdouble),
    "complex": np.ones(3, complex),
    "short integers": MaskedColumn(np.array([1, -2, 3], np.int8), mask=[1, 0, 0]),
    "long unsigned integers": MaskedColumn(np.array([1, 2, 2**64 - 1], np.uint64), mask=[1, 0, 0]),
    "bytes that are no text": np.array([b"a", b"b\xff", b"c"]),
    "objects": np.array([1, "a", None], object),
    "ragged": Column([[1, 2], [3], [4]], dtype=object),
    "structure": np.array([(1, 2.0), (3, 4.0), (5, 6.0)], dtype=[("a", int), ("b", float)]),
    "places on Earth": EarthLocation.from_geodetic([1, 2, 3], [1, 2, 3]),
    "a name with / and é": [1, 2, 3],
    "quantities": np.ones((3, 2)) * u.m,
    "vectors with a format": Column(np.ones((3, 2)), format=".2f"),
}


@pytest.mark.filterwarnings("ignore:FITS holds ASCII text alone")
@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_every_format_takes_every_column(tmp_path, extension, name):
    write_table(QTable({name: ODD_COLUMNS[name]}), tmp_path / f"t.{extension}")
    back = read_table(tmp_path / f"t.{extension}")
    assert len(back) == 3
    text = str([str(value) for column in back.itercols() for value in column])
    if name == "moments":
        assert text.count("-01-01T00:00:00") == 2
    if name == "long unsigned integers":
        assert str(2**64 - 1) in text


def test_units_and_meta_that_a_format_cannot_hold_do_not_stop_it(tmp_path, extension):
    table = QTable({"x": Column([1.0], unit=u.Unit("furlongs", parse_strict="silent"))})
    table.meta = {"a keyword that is long": 1, "author": "Bjørk", "deep": {"er": [1]}, "nothing": None}
    write_table(table, tmp_path / f"t.{extension}")
    assert read_table(tmp_path / f"t.{extension}")["x"].tolist() == [1.0]


def test_positions_and_times_as_columns(tmp_path, extension):
    place = SkyCoord(
        Masked([1.0, 2.0] * u.deg, mask=[False, True]), Masked([3.0, 4.0] * u.deg, mask=[False, True])
    )
    table = QTable({"place": place.galactic, "when": Time(["2020-01-01", "2021-01-01"])})
    write_table(table, tmp_path / f"t.{extension}")
    back = read_table(tmp_path / f"t.{extension}")
    assert back.colnames[:2] == ["place_ra", "place_dec"]
    np.testing.assert_allclose([back["place_ra"][0], back["place_dec"][0]], [1.0, 3.0])
    assert mask_of(back["place_ra"]) == mask_of(back["place_dec"]) == [False, True]
    assert str(Time(back["when"])[0].iso) == "2020-01-01 00:00:00.000"


def test_objects_become_text_and_nothing_is_masked(tmp_path):
    table = Table({"thing": Column(["a", None, 3], dtype=object)})
    plain = plain_table(table)
    assert plain["thing"].tolist() == ["a", None, "3"]
    assert mask_of(plain["thing"]) == [False, True, False]


def test_writing_leaves_the_table_alone(tmp_path, extension):
    table = result()
    write_table(table, tmp_path / f"t.{extension}")
    assert table.meta == result().meta
    assert table["mass"].unit == DEX_SOLAR
    assert isinstance(table["mass"], u.Dex)
    assert table["mass"].info.description is None


def test_no_rows(tmp_path, extension):
    write_table(result()[:0], tmp_path / f"t.{extension}")
    back = read_table(tmp_path / f"t.{extension}")
    assert len(back) == 0
    assert back.colnames == result().colnames


# The name decides


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"t.{extension}", kind) for extension, kind in FORMATS.items()),
        ("T.FITS", "fits"),
        ("t.fit", "fits"),
        ("t.fits.gz", "fits"),
        ("t.h5", "hdf5"),
        ("t.xml", "votable"),
        ("t.VOT", "votable"),
        ("t.votable", "votable"),
        ("a.b/t.csv", "ascii.csv"),
    ],
)
def test_the_format_of_a_name(name, expected):
    assert output_format(name) == expected


@pytest.mark.parametrize("name", ["t", "t.xyz", "t.txt", "fits", ".", "t.fits.bak", "t.csv.gz"])
def test_names_without_a_format(name):
    with pytest.raises(
        ValueError, match=r"^the format of .* is not known by its name; use for instance \.ecsv"
    ):
        output_format(name)


def test_a_packed_fits_file(tmp_path):
    write_table(result(), tmp_path / "t.fits.gz")
    assert (tmp_path / "t.fits.gz").read_bytes().startswith(b"\x1f\x8b")
    assert read_table(tmp_path / "t.fits.gz")["flags"].tolist() == [0, 4, 48]


# Trouble


def test_an_existing_file_is_only_replaced_when_asked(tmp_path, extension):
    path = tmp_path / f"t.{extension}"
    path.write_text("precious")
    for attempt in (check_output, write_table):
        with pytest.raises(FileExistsError, match=r"t\.\w+ exists already"):
            attempt(result(), path)
    check_output(result(), path, overwrite=True)
    assert path.read_text() == "precious"
    write_table(result(), path, overwrite=True)
    assert read_table(path)["flags"].tolist() == [0, 4, 48]
    assert list(tmp_path.iterdir()) == [path]


def test_a_check_leaves_nothing(tmp_path, extension):
    check_output(result(), tmp_path / f"t.{extension}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("attempt", [check_output, write_table])
def test_what_cannot_be_written_is_one_clear_error(tmp_path, attempt):
    table = Table({"vector": np.zeros((2, 2))})
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*missing"):
        attempt(table, tmp_path / "missing" / "t.ecsv")
    (tmp_path / "folder.ecsv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.ecsv is a folder"):
        attempt(table, tmp_path / "folder.ecsv", overwrite=True)
    with pytest.raises(ValueError, match=r"format of .* is not known"):
        attempt(table, tmp_path / "t.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.ecsv"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"t\.ecsv cannot be written: Permission denied"):
            check_output(result(), tmp_path / "t.ecsv")
    finally:
        tmp_path.chmod(0o700)


def test_a_failure_leaves_no_part_and_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.ecsv"
    path.write_text("precious")

    def fail(self, partial, **_):
        Path(partial).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Table, "write", fail)
    with pytest.raises(OSError, match=r"t\.ecsv cannot be written: No space left on device"):
        write_table(result(), path, overwrite=True)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_library_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"t\.parquet cannot be written: .*pyarrow"):
        check_output(Table({"x": [1]}), tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.fits", b"not a table"),
        ("t.fits", b"SIMPLE  =                    T"),
        ("t.ecsv", b"\xff\xfe\x00"),
        ("t.ecsv", b"a b\n1 2\n"),
        ("t.vot", b"<html>busy</html>"),
        ("t.csv", b"a,b\n1,2,3\n"),
        ("t.txt", b"hello"),
        ("t", b""),
        ("t.parquet", b"PAR1"),
        ("t.hdf5", b"\x89HDF"),
    ],
)
def test_what_is_no_table_is_one_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as a table: \S") as error:
        read_table(tmp_path / name)
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no such file: .*nothing"):
        read_table(tmp_path / "nothing.fits")
    with pytest.raises(IsADirectoryError, match=r"is a folder, not a table"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/rows", "HTTPS://host/rows?token=1", "ftp://host/rows"]
)
def test_a_table_whose_rows_are_elsewhere_is_refused_without_asking(tmp_path, address):
    path = tmp_path / "a.vot"
    path.write_text(
        f'''<?xml version="1.0"?><VOTABLE version="1.3"><RESOURCE><TABLE>
        <FIELD name="ra" datatype="double"/><DATA><BINARY><STREAM encoding="base64" href="{address}"/>
        </BINARY></DATA></TABLE></RESOURCE></VOTABLE>'''
    )
    with pytest.raises(ValueError, match="its rows are at another address"):
        read_table(path)
