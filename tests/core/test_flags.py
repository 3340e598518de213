"""The flag registry: its values are public, and every set of flags can be read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hifrac import Flag, decode_flags
from hifrac.core import exceptions
from hifrac.core.flags import UNSERVED

FLAG_SETS = st.sets(st.sampled_from(list(Flag)))


def test_the_bits_are_public_and_never_renumbered():
    assert {flag.name: int(flag) for flag in Flag} == {
        "BAD_COORDINATE": 1,
        "OUT_OF_FOOTPRINT": 2,
        "FETCH_FAILED": 4,
        "BAD_IMAGE": 8,
        "UNLIKELY_DETECTION": 16,
        "OUT_OF_DISTRIBUTION": 32,
        "HIGH_DENSITY": 64,
        "HIGH_REDDENING": 128,
        "RESAMPLED": 256,
        "CROWDED": 512,
        "FILLS_FRAME": 1024,
        "OFF_CENTRE": 2048,
        "BAD_SCALE": 4096,
        "NOT_STAR_FORMING": 8192,
        "SUSPECT_BANDS": 16384,
    }


@pytest.mark.parametrize("flag", Flag, ids=lambda flag: flag.name)
def test_every_flag_says_what_it_means_and_what_follows(flag):
    assert len(flag.summary.split()) > 3
    assert flag.advice.endswith(".")
    assert all(flag.summary != other.summary for other in Flag if other is not flag)


@given(FLAG_SETS)
def test_decoding_inverts_the_sum_of_bits(flags):
    names = decode_flags(sum(int(flag) for flag in flags))
    assert names == [flag.name for flag in sorted(flags)]


@given(st.lists(FLAG_SETS, max_size=5), st.sampled_from([np.uint16, np.int16, np.int32, np.int64]))
def test_arrays_are_decoded_row_by_row(rows, dtype):
    values = np.array([sum(int(flag) for flag in row) for row in rows], dtype=dtype)
    assert decode_flags(values) == [decode_flags(int(value)) for value in values]


def test_a_flag_itself_can_be_decoded():
    assert decode_flags(Flag.BAD_IMAGE | Flag.HIGH_DENSITY) == ["BAD_IMAGE", "HIGH_DENSITY"]
    assert decode_flags(np.int64(16)) == ["UNLIKELY_DETECTION"]


@pytest.mark.parametrize("nothing", [[], (), np.array([]), np.array([], dtype=int)])
def test_no_rows_give_no_names(nothing):
    assert decode_flags(nothing) == []


@pytest.mark.parametrize("value", [1.0, [1.0, 2.0], "BAD_IMAGE", None, True, [True, False]])
def test_only_integers_are_flags(value):
    with pytest.raises(TypeError, match=r"^flags must be integers"):
        decode_flags(value)


def test_a_table_of_flags_is_refused():
    with pytest.raises(ValueError, match=r"^flags must be one value or one-dimensional"):
        decode_flags([[1, 2], [4, 8]])


@given(st.integers(-(2**62), 2**62).filter(lambda value: value < 0 or value & ~sum(Flag)))
def test_bits_without_a_name_are_refused(value):
    with pytest.raises(ValueError, match=r"^flags sets a bit that has no name"):
        decode_flags([0, value])


@pytest.mark.parametrize("error", exceptions.RowError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_row_error_has_its_own_flag_among_those_that_mask_a_row(error):
    assert error.flag in UNSERVED
    assert [other.flag for other in exceptions.RowError.__subclasses__()].count(error.flag) == 1


def test_the_flags_of_unserved_rows_are_those_of_the_row_errors():
    together = Flag(0)
    for error in exceptions.RowError.__subclasses__():
        together |= error.flag
    assert together == UNSERVED


def test_a_fetch_error_carries_what_the_service_said():
    error = exceptions.FetchError("busy", url="https://example.org/cutout", status=503, retry_after=2.0)
    assert (str(error), error.url, error.status, error.retry_after) == (
        "busy",
        "https://example.org/cutout",
        503,
        2.0,
    )
    bare = exceptions.FetchError("no connection")
    assert (bare.url, bare.status, bare.retry_after) == (None, None, None)
