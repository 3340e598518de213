"""The command hifrac, called within this process or as one of its own."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from hifrac.cli import main


def call(*args, **options):
    """Run the command within this process, its two streams apart."""
    try:
        runner = CliRunner(mix_stderr=False)  # click 8.1
    except TypeError:
        runner = CliRunner()
    return runner.invoke(main, [str(arg) for arg in args], prog_name="hifrac", **options)


def command(*args, **options):
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hifrac", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def assert_one_line(result, *words, status=1):
    """The command ended with one clear line, and did nothing."""
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "Traceback" not in line
    for word in words:
        assert str(word) in line
