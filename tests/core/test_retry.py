import time
from email.utils import formatdate

import pytest

from hifrac.core.retry import LONGEST_PAUSE, may_pass, pause_before, repeating, retry_after


@pytest.mark.parametrize("status", [None, 408, 425, 429, 500, 502, 503, 504, 520])
def test_what_may_pass(status):
    assert may_pass(status)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 410])
def test_what_does_not_pass(status):
    assert not may_pass(status)


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("", None), ("-1", None), (None, None)]
)
def test_seconds_that_a_service_asks_for(value, seconds):
    assert retry_after({} if value is None else {"Retry-After": value}) == seconds


def test_a_date_that_a_service_asks_for():
    assert 58 <= retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert retry_after({"Retry-After": formatdate(time.time() - 60, usegmt=True)}) == 0


def test_pauses_double_up_to_a_longest_one():
    assert [pause_before(repeat, 0.5) for repeat in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert pause_before(10**6, 0.5) == LONGEST_PAUSE
    assert pause_before(20, 0.5, longest=30.0) == 30.0


def test_what_the_service_asked_for_is_a_part_of_the_pause_and_none_is_negative():
    assert [pause_before(3, 0.5, asked) for asked in (None, 0.0, 1.5, 9.0)] == [2.0, 2.0, 0.5, 0.0]


def test_only_passing_errors_are_repeated_and_the_last_one_is_raised():
    tries, pauses = [], []

    def fail():
        tries.append(len(tries))
        raise OSError(len(tries)) if len(tries) < 9 else ValueError("final")

    def retrying(most):
        return repeating(
            lambda error: isinstance(error, OSError),
            stop=lambda state: state.attempt_number >= most,
            wait=lambda state: float(state.attempt_number),
            sleep=pauses.append,
        )

    with pytest.raises(OSError, match="3"):
        retrying(3)(fail)
    assert pauses == [1.0, 2.0]
    with pytest.raises(ValueError, match="final"):
        retrying(99)(fail)
    assert len(tries) == 9
