"""Rows of an input, some at a time."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from hifrac.core import write_table
from hifrac.core.rows import open_rows

N = 1000


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "t.parquet"
    pq.write_table(pa.table({"x": np.arange(N), "ra": np.zeros(N)}), path, row_group_size=130)
    return open_rows(path)


@given(st.lists(st.tuples(st.integers(0, N), st.integers(0, N)), min_size=1, max_size=6))
def test_any_rows_in_any_order(opened, ranges):
    for start, stop in ranges:
        stop = max(start, stop)
        table, arrow = opened.read(start, stop)
        assert table["x"].tolist() == list(range(start, stop))
        assert arrow["x"].to_pylist() == list(range(start, stop))


@pytest.mark.skipif(Version(pa.__version__) < Version("23"), reason="before, Arrow decoded more")
def test_no_more_is_decoded_than_is_asked_for(tmp_path):
    path = tmp_path / "long.parquet"
    n = 400_000
    table = pa.table({f"x{i}": np.random.default_rng(i).random(n) for i in range(8)})
    pq.write_table(table, path, use_dictionary=False)  # one row group of 26 MB
    del table
    rows = open_rows(path)
    before = pa.total_allocated_bytes()
    for start in range(0, n, 20_000):
        read, _ = rows.read(start, start + 20_000)
        assert len(read) == 20_000
        assert pa.total_allocated_bytes() - before < 10e6


def test_the_columns_of_astropy_keep_units_and_masks(tmp_path):
    table = Table({"x": np.arange(9.0), "y": np.arange(9)}, units=["deg", None], masked=True, meta={"a": 1})
    table["y"].mask[4] = True
    write_table(table, tmp_path / "t.parquet")
    read, arrow = open_rows(tmp_path / "t.parquet").read(3, 6)
    assert arrow is None
    assert read["x"].unit == "deg"
    assert read["y"].tolist() == [3, None, 5]
    assert read.meta == {"a": 1}


def test_what_makes_two_inputs_the_same(tmp_path):
    table = Table({"ra": [1.0, 2.0], "dec": [3.0, 4.0], "name": ["a", "bc"]})
    for name in ("a.csv", "b.csv"):
        write_table(table, tmp_path / name)
    first, second = (open_rows(tmp_path / name).facts for name in ("a.csv", "b.csv"))
    assert (first["name"], second["name"]) == ("a.csv", "b.csv")
    assert first["sha256"] == second["sha256"]
    assert open_rows(table).facts == open_rows(table.copy()).facts
    for name, value in (("ra", 1.5), ("name", "b")):
        other = table.copy()
        other[name][0] = value
        assert open_rows(other).facts != open_rows(table).facts
    renamed = table.copy()
    renamed.rename_column("dec", "DEC")
    assert open_rows(renamed).facts != open_rows(table).facts


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder, not a table"):
        open_rows(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"x\.parquet cannot be read as a table: "):
        open_rows(tmp_path / "x.parquet")
    with pytest.raises(FileNotFoundError, match=r"y\.parquet"):
        open_rows(tmp_path / "y.parquet")
    with pytest.raises(TypeError, match="data must be one of"):
        open_rows(3)
