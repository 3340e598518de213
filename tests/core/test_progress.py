"""Progress: a bar, a function, or nothing."""

import os
import struct
import sys

import pytest

from hifrac.cli import main
from hifrac.core.progress import progress_reports
from hifrac.demo import PICTURES, sample_table


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


@pytest.mark.skipif(os.name != "posix", reason="terminals are those of POSIX")
@pytest.mark.parametrize(("command", "label"), [("predict", "estimating"), ("explain", "explaining")])
def test_a_command_shows_a_bar_on_a_terminal(command, label, tmp_path, monkeypatch):
    import fcntl
    import pty
    import termios

    rows = sample_table()[:2]
    rows.write(tmp_path / "in.ecsv")
    arguments = [command, tmp_path / "in.ecsv", "-o", tmp_path / "out.ecsv"]
    arguments += ["--cutouts", PICTURES, "--name", "name"]
    arguments += ["--no-figures"] if command == "explain" else []
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    try:
        with open(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            main(list(map(str, arguments)), standalone_mode=False)
            shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
    assert f"\r{label}:   0%|" in shown
    assert "0/2 [" in shown
    assert shown.rstrip("\r\n").rpartition("\r")[2].strip() == ""
