"""Progress: a bar, a function, or nothing."""

import pytest

from hifrac.core.progress import progress_reports


def test_a_bar_counts_the_rows_and_goes_away(capsys):
    with progress_reports(True, 40, "estimating") as report:
        report(32)
        report(8)
    shown = capsys.readouterr().err
    assert "estimating" in shown
    assert "/40" in shown
    assert shown.rpartition("\r")[2].strip() == ""


def test_a_bar_ends_with_an_error(capsys):
    def stop():
        with progress_reports(True, 2, "explaining") as report:
            report(1)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop()
    assert capsys.readouterr().err.rpartition("\r")[2].strip() == ""


@pytest.mark.parametrize("progress", [False, None])
def test_without_a_bar_nothing_is_shown(progress, capsys):
    with progress_reports(progress, 2, "estimating") as report:
        report(2)
    assert capsys.readouterr() == ("", "")


def test_a_function_is_told_the_numbers(capsys):
    numbers = []
    with progress_reports(numbers.append, 3, "estimating") as report:
        report(1)
        report(2)
    assert numbers == [1, 2]
    assert capsys.readouterr().err == ""


def test_what_is_neither_is_named():
    with (
        pytest.raises(TypeError, match=r"^progress must be True, False or a function"),
        progress_reports("yes", 3, "estimating"),
    ):
        pass
