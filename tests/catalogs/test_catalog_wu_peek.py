"""The galaxies of Wu & Peek (2020): which bits make one, and what is left out by name."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from hifrac.catalogs.wu_peek import FOUR_BANDS, wu_peek_sample

BITS = {0: False, 1: False, 32: False, 64: True, 96: True, 128: True, 256: True, 512: False, -(2**31): False}


@pytest.mark.parametrize("dtype", [int, str])
def test_galaxies_of_the_main_sample_with_five_bands(dtype):
    names = np.array([*range(1, len(BITS) + 1), *FOUR_BANDS]).astype(dtype)
    table = Table({"specobjid": names, "PRIMTARGET": [*BITS, 64, 64, 64, 64]})
    sample = wu_peek_sample(table)
    expected = [str(row + 1) for row, is_galaxy in enumerate(BITS.values()) if is_galaxy]
    assert [str(name) for name in sample.table["specobjid"]] == expected
    counts = sample.counts()
    assert counts["rows"].tolist() == [13, 8, 4]
    assert counts["published"].tolist() == [63706, 60233, 60229]


def test_a_masked_target_is_none():
    table = Table({"SpecObjID": ["1", "2"], "primTarget": MaskedColumn([64, 64], mask=[True, False])})
    assert wu_peek_sample(table).table["SpecObjID"].tolist() == ["2"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (Table({"SpecObjID": [1]}), "^table has no column primTarget; its columns are SpecObjID"),
        (Table({"primTarget": [64]}), "^table has no column SpecObjID"),
        (Table({"SpecObjID": [1], "primTarget": [64.0]}), "^primTarget must be of integers, got float64"),
    ],
)
def test_tables_that_cannot_be_cut(table, message):
    with pytest.raises(ValueError, match=message):
        wu_peek_sample(table)
