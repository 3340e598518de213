"""Pictures decoded ahead: in order, each once, so many at a time, and without waiting for what is slow."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac.core import BadImageError, FetchError, RowError
from hifrac.cutouts import Cutout
from hifrac.cutouts._decoding import decoded


def decode(row, cutout):
    """A picture of one pixel, the bytes of the cutout; odd ones are no pictures."""
    if cutout.pixels is not None:
        return cutout.pixels
    if cutout.data is None:
        raise cutout.error
    value = cutout.data[0]
    if value % 2:
        raise BadImageError(f"{value} in row {row}")
    return np.full((1, 1, 3), value, np.uint8)


CUTOUTS = st.one_of(
    st.integers(0, 255).map(lambda value: Cutout(data=bytes([value]))),
    st.integers(0, 255).map(lambda value: Cutout(data=b"1", pixels=np.full((1, 1, 3), value, np.uint8))),
    st.just(Cutout(error=FetchError("away"))),
)


@given(cutouts=st.lists(CUTOUTS, max_size=60), n_threads=st.integers(1, 5))
@settings(max_examples=40)
def test_pictures_come_in_order_with_what_stopped_the_others(cutouts, n_threads):
    said = list(decoded(enumerate(cutouts), decode, n_threads))
    assert [row for row, _, _ in said] == list(range(len(cutouts)))
    for row, cutout, picture in said:
        assert cutout is cutouts[row]
        if isinstance(picture, RowError):
            with pytest.raises(type(picture), match=f"^{picture}$"):
                decode(row, cutout)
        else:
            np.testing.assert_array_equal(picture, decode(row, cutout))


def test_other_errors_are_raised():
    def fail(row, cutout):
        raise KeyError(row)

    for n_threads in (1, 3):
        with pytest.raises(KeyError) as caught:
            list(decoded([(7, Cutout(data=b"0"))], fail, n_threads))
        assert caught.value.__notes__ == ["in row 7 of data"]


@pytest.mark.parametrize(("n_threads", "most"), [(1, 1), (2, 32), (3, 40)])
def test_few_are_ahead(n_threads, most):
    asked = []

    def endless():
        for row in range(500):
            asked.append(row)
            yield row, Cutout(data=b"0")

    for row, _, _ in decoded(endless(), decode, n_threads):
        assert len(asked) - row <= most
    assert len(asked) == 500


def test_so_many_threads_decode_at_once():
    meeting = threading.Barrier(3, timeout=30)

    def together(row, cutout):
        if row % 8 == 0:
            meeting.wait()
        return decode(row, cutout)

    assert len(list(decoded(((row, Cutout(data=b"0")) for row in range(24)), together, 3))) == 24


def test_what_its_source_has_decoded_waits_for_none_that_comes_later():
    came = []

    def slow():
        for row in range(4):
            came.append(row)
            yield row, Cutout(data=b"0", pixels=np.zeros((1, 1, 3), np.uint8))

    for row, _, _ in decoded(slow(), decode, 2):
        assert came == list(range(row + 1))


def test_whoever_stops_early_leaves_no_thread():
    pictures = decoded(((row, Cutout(data=b"0")) for row in range(100)), decode, 3)
    next(pictures)
    pictures.close()
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("hifrac-decoder") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
