"""``hifrac predict`` in parts: killed and resumed, shared by jobs, joined to one table."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import assert_one_line, call
from contract import assert_same_results

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.core import read_table
from hifrac.core.manifest import MANIFEST
from hifrac.demo import PICTURES, sample_table

LOCAL = ("--cutouts", str(PICTURES), "--name", "name")
ROWS, PER_PART = 520, 40  # thirteen parts
# A script started in the background may ignore SIGINT, and then so do its children.
_COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hifrac.cli import main; main(sys.argv[1:], prog_name='hifrac')"
)


@pytest.fixture(scope="module")
def rows():
    return sample_table()["name", "ra", "dec", "log_mstar"][np.arange(ROWS) % 27]


@pytest.fixture(scope="module")
def whole(rows):
    return HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name")).predict(rows)


@pytest.fixture
def table(tmp_path, rows):
    """The rows as another program writes them."""
    path = tmp_path / "t.parquet"
    arrays = [pa.array(np.asarray(rows[name]).tolist()) for name in rows.colnames]
    fields = [
        pa.field(name, array.type, metadata={"unit": "deg"} if name in ("ra", "dec") else None)
        for name, array in zip(rows.colnames, arrays, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path, row_group_size=150)
    return path


def start(*args, before=""):
    return subprocess.Popen(
        [sys.executable, "-c", before + _COMMAND, "predict", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def parts_in(folder):
    return sorted(folder.glob("part-*.parquet"))


def wait_for_parts(process, folder, n):
    end = time.monotonic() + 100
    while len(parts_in(folder)) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


# Interrupted


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_whatever_ends_it_only_the_part_at_work_is_made_again(tmp_path, table, whole, name):
    number = getattr(signal, name)
    folder = tmp_path / "out"
    command = (table, "-o", folder, *LOCAL, "--rows-per-part", PER_PART)
    with start(*command) as process:
        wait_for_parts(process, folder, 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    made = {path.name: path.stat().st_ino for path in parts_in(folder)}
    assert 2 <= len(made) < 13
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines()[-2:] == [
            f"{len(made)} parts in {folder} are complete: run it again with --resume to go on",
            "interrupted",
        ]
    else:
        assert process.returncode == -number
    result = call("predict", *command, "--resume")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"13 parts, {13 - len(made)} of them made now, in {folder}"
    assert {path.name: path.stat().st_ino for path in parts_in(folder) if path.name in made} == made
    assert sorted(path.name for path in folder.iterdir()) == [
        MANIFEST,
        *(path.name for path in parts_in(folder)),
    ]
    assert_same_results(read_table(folder), whole)


@pytest.mark.slow
def test_two_jobs_at_once_make_the_whole(tmp_path, table, whole):
    folder = tmp_path / "out"
    jobs = [
        start(table, "-o", folder, *LOCAL, "--rows-per-part", PER_PART, "--part", f"{share}/2")
        for share in (0, 1)
    ]
    for job, n in zip(jobs, (6, 7), strict=True):
        output, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
        assert f"{n} parts, {n} of them made now, in {folder}" in output
    assert len(parts_in(folder)) == 13
    assert_same_results(read_table(folder), whole)
    result = call("predict", table, "-o", folder, *LOCAL, "--rows-per-part", PER_PART, "--resume")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == f"{ROWS} rows, {np.sum(whole['flags'] != 2)} estimated, 19 not"
    assert result.stdout.splitlines()[-1] == f"all 13 parts are there: nothing to do in {folder}"


# One table


@pytest.mark.parametrize("extension", ["fits", "parquet"])
def test_parts_are_joined_to_one_table(tmp_path, table, whole, extension):
    output = tmp_path / f"out.{extension}"
    page = tmp_path / "page.html"
    command = ("predict", table, "-o", output, *LOCAL, "--rows-per-part", 200, "--html", page)
    result = call(*command)
    assert result.exit_code == 0, result.stderr
    assert f"written to {output}" in result.stdout
    assert page.exists()
    assert_same_results(read_table(output), whole)
    assert not (tmp_path / f"{output.name}.parts").exists()
    assert_one_line(call(*command), output, "exists already; say --overwrite")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_parts_survive_a_table_that_cannot_be_written(tmp_path, table, whole):
    output, parts = tmp_path / "out.fits", tmp_path / "out.fits.parts"
    command = ("predict", table, "-o", output, *LOCAL, "--rows-per-part", 200)
    # The disk is full for files of the size of the table, but not of its parts.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000)); "
    with start(*command[1:], before=limit) as process:
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert not output.exists()
    (line,) = (line for line in errors.splitlines() if line.startswith("Error"))
    assert line.startswith(f"Error: {output} cannot be written: is the disk full? ")
    assert line.endswith(f"; all parts are kept in {parts}: run it again with --resume to write the table")
    assert len(parts_in(parts)) == 3
    made = [path.stat().st_ino for path in parts_in(parts)]
    assert_one_line(call(*command), "has 3 of 3 parts already")
    assert [path.stat().st_ino for path in parts_in(parts)] == made
    (parts / "notes.txt").write_text("mine")
    result = call(*command, "--resume")
    assert result.exit_code == 0, result.stderr
    assert_same_results(read_table(output), whole)
    assert [path.name for path in parts.iterdir()] == ["notes.txt"]  # what is not ours stays


# Refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "out", "--part", "2/2"), ("--part must be I/N", "'2/2'")),
        (("-o", "out", "--part", "half"), ("--part must be I/N",)),
        (("-o", "out.fits", "--part", "0/2"), ("--part makes some parts of a folder", "one table")),
        (("-o", "out", "--resume", "--overwrite"), ("resume and overwrite exclude each other",)),
        (("-o", "out", "--resume", "--html", "x.html"), ("go with an OUTPUT that is one table",)),
        (("-o", "out"), ("format of out is not known",)),
        (("-o", "out.csv", "--quantity", "spectrum", "--resume"), ("one value in a cell",)),
        (("-o", "t.parquet/out", "--resume"), ("t.parquet",)),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, table, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert_one_line(call("predict", table, *LOCAL, *options), *words)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_other_facts_is_refused(tmp_path, table):
    folder = tmp_path / "out"
    command = ("predict", table, "-o", folder, *LOCAL, "--rows-per-part", 200)
    assert call(*command, "--part", "0/3").exit_code == 0
    for changes in (("--resume",), ("--part", "1/3")):
        message = f'{folder} has parts that rest on other facts: selection was "intrinsic", and is "alfalfa"'
        assert_one_line(call(*command, *changes, "--selection", "alfalfa"), message)
    result = call(*command, "--part", "1/3")
    assert result.exit_code == 0, result.stderr
    result = call(*command, "--part", "8/9")
    assert "this share has no parts: nothing to do" in result.stdout or result.exit_code == 0
