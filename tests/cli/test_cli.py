"""The command hifrac."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from astropy.table import Column, MaskedColumn, Table
from commands import assert_one_line, call, command
from contract import assert_same_results
from getjpeg_server import Reply, serve
from pictures import encode, galaxy

import hifrac
import hifrac.training
from hifrac import Flag, conf
from hifrac.core.columns import columns_of
from hifrac.core.exceptions import HifracWarning
from hifrac.core.tables import read_table, write_table
from hifrac.demo import PICTURES, sample_table

FORMATS = ("ecsv", "fits", "csv", "vot", "parquet", "hdf5")
NEEDS = {"parquet": ("pandas", "pyarrow"), "hdf5": ("h5py",)}
WITH_MASS_TOO = list(columns_of("log_hi_fraction", "", with_mass=True))
ADDED = list(columns_of("log_hi_fraction", ""))
LOCAL = ("--cutouts", str(PICTURES), "--name", "name")


@pytest.fixture
def galaxies(tmp_path):
    """A table of five rows of the bundled sample; the last was not imaged."""
    table = sample_table()["name", "ra", "dec", "log_mstar"][[0, 8, 18, 23, 26]]
    path = tmp_path / "galaxies.ecsv"
    table.write(path)
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.ecsv"


def change(path, **columns):
    table = Table.read(path)
    for name, values in columns.items():
        table[name] = values
    table.write(path, overwrite=True)


# Tables in and out

FORMAT_ROWS = [0, 8, 18, 26]


@pytest.fixture(scope="module")
def in_memory():
    """The result for some rows that went through no file."""
    estimator = hifrac.HIFractionEstimator(cutouts=hifrac.LocalCutouts(PICTURES, name="name"))
    with pytest.warns(HifracWarning, match="1 of 4 rows have no estimate"):
        return estimator.predict(sample_table()[FORMAT_ROWS])


@pytest.mark.numeric
@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.filterwarnings("default:ra and dec have no unit")  # not in CSV
def test_tables_of_every_format(tmp_path, in_memory, extension):
    for library in NEEDS.get(extension, ()):
        pytest.importorskip(library)
    rows = sample_table()[FORMAT_ROWS]
    rows["objid"] = [f"sdss-{name}" for name in rows["name"]]
    rows["grade"] = MaskedColumn([1, 2, 3, 4], mask=[False, True, False, False])
    rows["seeing"] = MaskedColumn([1.25, 1.5, 1.75, 2.0], mask=[True, False, False, False], unit="arcsec")
    source, target = tmp_path / f"in.{extension}", tmp_path / f"out.{extension}"
    write_table(rows, source)
    result = call("predict", source, "-o", target, *LOCAL)
    assert result.exit_code == 0, result.stderr
    back = read_table(target)
    assert back.colnames == [*rows.colnames, *WITH_MASS_TOO]
    assert [str(value) for value in back["objid"]] == rows["objid"].tolist()
    assert back["ra"].tolist() == rows["ra"].tolist()
    assert np.ma.getmaskarray(back["grade"]).tolist() == [False, True, False, False]
    assert [back["grade"][row] for row in (0, 2, 3)] == [1, 3, 4]
    assert np.ma.getmaskarray(back["seeing"]).tolist() == [True, False, False, False]
    assert back["seeing"].tolist()[1:] == [1.5, 1.75, 2.0]
    assert back["flags"].tolist()[3] == 2
    for name in ("log_hi_fraction", "log_hi_fraction_p16", "p_detect", "ood_score", "log_mhi"):
        assert np.ma.getmaskarray(back[name]).tolist() == [False, False, False, True], name
    assert_same_results(back, in_memory)
    if extension == "fits":
        said = " ".join(back.meta["comments"])
        for fact in ("hifrac version", "hifrac model_sha256", "hifrac references", "local files in pictures"):
            assert fact in said
    elif extension == "csv":
        assert result.stderr == "Warning: ra and dec have no unit: read as degrees\n"
    elif extension in ("ecsv", "parquet", "hdf5"):
        assert back.meta["hifrac"]["model"] == "default"
        assert back["log_mhi"].unit is None
        assert back["log_mhi"].description.endswith("[dex(solMass)]")
    if extension != "csv":
        assert result.stderr == ""


def test_a_result_may_be_the_input(galaxies, output):
    assert call("predict", galaxies, "-o", output, *LOCAL).exit_code == 0
    again = call("predict", output, "-o", output.with_suffix(".fits"), *LOCAL)
    assert_one_line(again, "log_hi_fraction", "flags", "--replace-columns")
    assert not output.with_suffix(".fits").exists()
    replaced = call("predict", output, "-o", output, *LOCAL, "--replace-columns", "--overwrite")
    assert replaced.exit_code == 0
    assert read_table(output).colnames == ["name", "ra", "dec", "log_mstar", *WITH_MASS_TOO]


def test_the_summary_counts_the_rows_by_outcome(galaxies, output):
    change(galaxies, ra=Column([150.0, np.nan, 500.0, 4.0, 5.0], unit="deg"))
    result = call("predict", galaxies, "-o", output, *LOCAL)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "5 rows, 2 estimated, 3 not"
    assert lines[1].split()[:2] == ["2", "BAD_COORDINATE:"]
    assert lines[2].split()[:4] == ["first", "in", "row", "1:"]
    assert lines[3].strip() == Flag.BAD_COORDINATE.advice
    assert lines[4].split()[:2] == ["1", "OUT_OF_FOOTPRINT:"]
    assert lines[5].split()[:4] == ["first", "in", "row", "4:"]
    assert lines[6].strip() == Flag.OUT_OF_FOOTPRINT.advice
    assert lines[-1] == f"written to {output}"
    assert result.stderr == ""
    assert np.count_nonzero(read_table(output)["flags"] & 3) == 3


def test_nothing_estimated_is_a_failure_with_a_table_and_a_reason(tmp_path, galaxies, output):
    folder = tmp_path / "none"
    folder.mkdir()
    result = call("predict", galaxies, "-o", output, "--cutouts", folder, "--name", "name")
    assert result.exit_code == 1
    assert result.stdout.startswith("5 rows, 0 estimated, 5 not\n        5  FETCH_FAILED:")
    assert "first in row 0: no picture named " in result.stdout
    assert read_table(output)["flags"].tolist() == [4] * 5


def test_names_that_are_floating_point_are_refused_before_any_row(galaxies, output):
    result = call("predict", galaxies, "-o", output, "--cutouts", PICTURES, "--name", "ra")
    assert_one_line(result, "ra must be a column of integers or text")
    assert not output.exists()


def test_an_address_of_another_scheme_is_refused_before_any_row(galaxies, output):
    result = call("predict", galaxies, "-o", output, "--base-url", "ftp://foo")
    assert_one_line(result, "base_url", "ftp://foo")
    assert not output.exists()


def test_no_rows_are_no_failure(tmp_path, galaxies, output):
    empty = tmp_path / "empty.ecsv"
    Table.read(galaxies)[:0].write(empty)
    result = call("predict", empty, "-o", output, *LOCAL)
    assert result.exit_code == 0
    assert result.stdout == f"0 rows, 0 estimated, 0 not\nwritten to {output}\n"
    assert read_table(output).colnames[-len(WITH_MASS_TOO) :] == WITH_MASS_TOO


def test_the_options_reach_the_estimator(galaxies, output):
    result = call(
        "predict", galaxies, "-o", output, *LOCAL, "--batch-size", 2, "--device", "cpu", "--model", "default"
    )
    assert result.exit_code == 0
    made = read_table(output).meta["hifrac"]
    assert made["arguments"]["batch_size"] == 2
    assert made["runtime"].endswith(" on cpu")


def test_the_threads_reach_the_network(galaxies, output, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert call("predict", galaxies, "-o", output, *LOCAL, "--threads", 7).exit_code == 0
    assert 7 in asked
    assert conf.threads == 0


@pytest.mark.slow
def test_threads_wait_asleep_unless_something_else_is_set(galaxies, output, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    shown = command("predict", galaxies, "-o", output, *LOCAL, env={**os.environ, "OMP_DISPLAY_ENV": "true"})
    assert shown.returncode == 0
    if "OMP_WAIT_POLICY" in shown.stderr:  # on Linux: other libraries of OpenMP show other names
        assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown.stderr
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    call("models")
    assert os.environ["OMP_WAIT_POLICY"] == "active"


def test_the_model_of_the_configuration(galaxies, output):
    with conf.set_temp("model", "nothing"):
        assert_one_line(
            call("predict", galaxies, "-o", output, *LOCAL), "'nothing'", "bundled models: default"
        )


def test_pictures_of_the_survey(galaxies, output, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with (
        serve(lambda params: encode(galaxy(1))) as server,
        conf.set_temp("skyserver_url", server.url),
        conf.set_temp("max_rate", 0.0),
        conf.set_temp("retries", 0),
    ):
        result = call("predict", galaxies, "-o", output)
        assert result.exit_code == 0, result.stderr
        assert len(server.requests) == 5
        assert call("predict", galaxies, "-o", output, "--overwrite").exit_code == 0
        assert len(server.requests) == 5
        server.always = Reply(500, b"")
        change(galaxies, ra=Column([1.0, 2.0, 3.0, 4.0, 5.0], unit="deg"))
        failed = call("predict", galaxies, "-o", output, "--overwrite")
    assert failed.exit_code == 1
    assert "first in row 0: the service answered 500" in failed.stdout


# What is refused, and before the work


@pytest.fixture
def no_work(monkeypatch):
    """Loading a model would be work."""

    def load(*args, **kwargs):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("hifrac.models.load_model", load)


@pytest.mark.usefixtures("no_work")
def test_an_existing_output_is_refused(galaxies, output):
    output.write_text("precious")
    assert_one_line(call("predict", galaxies, "-o", output, *LOCAL), output, "exists already", "--overwrite")
    assert output.read_text() == "precious"


def test_an_existing_output_is_replaced_when_asked(galaxies, output):
    output.write_text("old")
    assert call("predict", galaxies, "-o", output, *LOCAL, "--overwrite").exit_code == 0
    assert len(read_table(output)) == 5


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["out", "out.xyz", "out.txt", "."])
def test_an_unknown_format_is_refused(galaxies, tmp_path, name):
    assert_one_line(call("predict", galaxies, "-o", tmp_path / name, *LOCAL), "format", ".ecsv, .fits, .csv")


@pytest.mark.usefixtures("no_work")
def test_an_output_that_cannot_be_written_is_refused(galaxies, tmp_path):
    assert_one_line(
        call("predict", galaxies, "-o", tmp_path / "no" / "out.fits", *LOCAL), "no such folder", "no"
    )
    folder = tmp_path / "folder.ecsv"
    folder.mkdir()
    assert_one_line(call("predict", galaxies, "-o", folder, *LOCAL, "--overwrite"), "is a folder")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == [
        "folder.ecsv",
        galaxies.name,
    ]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 99, b"<html></html>", b"SIMPLE  = T"])
@pytest.mark.parametrize("name", ["in.fits", "in.vot", "in.dat"])
def test_an_unreadable_input_is_refused(tmp_path, output, name, content):
    (tmp_path / name).write_bytes(content)
    assert_one_line(
        call("predict", tmp_path / name, "-o", output, *LOCAL), f"{name} cannot be read as a table: "
    )


@pytest.mark.usefixtures("no_work")
def test_a_missing_input_is_refused(tmp_path, output):
    assert_one_line(call("predict", tmp_path / "no.fits", "-o", output, *LOCAL), "no such file", "no.fits")
    assert_one_line(call("predict", tmp_path, "-o", output, *LOCAL), "is a folder, not a table")


def test_an_input_without_positions_is_refused(galaxies, output):
    table = Table.read(galaxies)
    table.rename_columns(["ra", "dec"], ["alpha", "delta"])
    table.write(galaxies, overwrite=True)
    result = call("predict", galaxies, "-o", output, "--offline")
    assert_one_line(result, "no ra and no dec", "name, alpha, delta", "raj2000", "dej2000", "--ra")
    assert not output.exists()


def test_the_sample_and_its_draws_are_asked_for(galaxies, output):
    asked = ("--selection", "alfalfa", "--mass-scale", "gswlc", "--samples", 3)
    result = call("predict", galaxies, "-o", output, *LOCAL, *asked)
    assert result.exit_code == 0, result.output
    cutouts = hifrac.LocalCutouts(PICTURES, name="name")
    estimator = hifrac.HIFractionEstimator(selection="alfalfa", mass_scale="gswlc", cutouts=cutouts)
    assert_same_results(read_table(output), estimator.predict(read_table(galaxies), samples=3))


def test_choices_that_do_not_exist_are_refused(galaxies, output):
    for option, message in (
        (
            ("--selection", "optical"),
            "selection must be one of intrinsic, alfalfa, undetected, got 'optical'",
        ),
        (("--mass-scale", "kroupa"), "mass_scale must be one of taylor, gswlc, got 'kroupa'"),
    ):
        assert_one_line(call("predict", galaxies, "-o", output, *LOCAL, *option), message)
    assert call("predict", galaxies, "-o", output, *LOCAL, "--samples", "0").exit_code == 2
    assert not output.exists()


@pytest.mark.filterwarnings("always:data has no ra and dec")
def test_pictures_that_have_names_need_no_positions(galaxies, output):
    table = Table.read(galaxies)
    table.remove_columns(["ra", "dec"])
    table.write(galaxies, overwrite=True)
    result = call("predict", galaxies, "-o", output, *LOCAL)
    assert result.exit_code == 0, result.output
    assert "Warning: data has no ra and dec: its pictures are found by name" in result.stderr
    assert read_table(output)["flags"].tolist() == [16, 0, 0, 2048, 2]


def test_positions_whose_columns_are_named(galaxies, output):
    table = Table.read(galaxies)
    table.rename_columns(["ra", "dec"], ["alpha", "delta"])
    table["alpha"] = MaskedColumn(table["alpha"], mask=[True] + [False] * 4)
    table.write(galaxies, overwrite=True)
    result = call("predict", galaxies, "-o", output, *LOCAL, "--ra", "ALPHA", "--dec", "delta")
    assert result.exit_code == 0, result.output
    assert read_table(output)["flags"].tolist() == [1, 0, 0, 2048, 2]
    assert_one_line(
        call("predict", galaxies, "-o", output, *LOCAL, "--overwrite", "--ra", "alpha"), "given together"
    )


def test_a_position_instead_of_a_file(output, tmp_path):
    result = call("predict", "10h20m30s +12d30m", "-o", output, "--offline", "--cache-dir", tmp_path)
    assert result.exit_code == 1, result.output
    table = read_table(output)
    assert table["name"].tolist() == ["10h20m30s +12d30m"]
    assert (float(table["ra"][0]), float(table["dec"][0])) == (155.125, 12.5)


def test_an_input_with_wrong_units_or_text_is_refused(galaxies, output):
    change(galaxies, ra=Column([1.0] * 5, unit="m"))
    assert_one_line(call("predict", galaxies, "-o", output, *LOCAL), "ra must be an angle, got the unit m")
    change(galaxies, ra=["00:42:44", "M 31", "a", "b", "c"], dec=["M 31"] * 5)
    assert_one_line(call("predict", galaxies, "-o", output, *LOCAL), "dec must hold angles", "+12d30m00s")


@pytest.mark.usefixtures("no_work")
def test_trouble_with_the_pictures_is_named_by_its_option(galaxies, output, tmp_path):
    base = ("predict", galaxies, "-o", output)
    assert_one_line(
        call(*base, "--cutouts", tmp_path / "no", "--name", "name"), "--cutouts: path does not exist"
    )
    assert_one_line(
        call(*base, "--cutouts", galaxies, "--name", "name"), "--cutouts: path must be a folder or"
    )
    assert_one_line(
        call(*base, "--cutouts", PICTURES), "--name", "no column 'objid'", "name, ra, dec, log_mstar"
    )
    assert_one_line(call(*base, "--cutouts", PICTURES, "--name", ""), "--name", "no column ''")
    assert_one_line(call(*base, "--name", "name"), "--name", "--cutouts")


def test_an_unknown_model_is_refused(galaxies, output, tmp_path):
    result = call("predict", galaxies, "-o", output, *LOCAL, "--model", "nothing")
    assert_one_line(result, "no model named 'nothing'", "bundled models: default")
    result = call("predict", galaxies, "-o", output, *LOCAL, "--model", tmp_path)
    assert_one_line(result, "card.json")


def test_a_changed_model_is_refused(galaxies, output, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (PICTURES.parents[1] / "models" / "weights" / "default").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("model.pt", "weights.safetensors"):
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)
    result = call("predict", galaxies, "-o", output, *LOCAL, "--model", folder)
    assert_one_line(result, "sha256", "nothing of it was loaded")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(galaxies, output):
    assert_one_line(call("predict", galaxies, "-o", output, *LOCAL, "--device", "cuda"), "device", "CUDA")


@pytest.mark.parametrize("device", ["gpu", "", "meta"])
def test_an_unknown_device_is_refused(galaxies, output, device):
    assert_one_line(
        call("predict", galaxies, "-o", output, *LOCAL, "--device", device), "device", repr(device)
    )


@pytest.mark.parametrize("size", [0, -5])
def test_a_batch_size_is_positive(galaxies, output, size):
    result = call("predict", galaxies, "-o", output, *LOCAL, "--batch-size", size)
    assert_one_line(result, "batch_size must be at least 1", size)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["predict"], "Missing argument 'INPUT'"),
        (["predict", "x.fits"], "Missing option '-o'"),
        (["predict", "x.fits", "-o", "y.fits", "--batch-size", "many"], "'many' is not a valid integer"),
        (["predict", "x.fits", "-o", "y.fits", "--threads", "0"], "0 is not in the range"),
        (["predict", "x.fits", "-o", "y.fits", "--colour"], "No such option"),
        (["nonsense"], "No such command 'nonsense'"),
        (["train"], "Missing option '-o'"),
        (["train", "default"], "Missing option '-o'"),
    ],
)
def test_a_wrong_call_says_how_it_is_called(args, words):
    result = call(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: hifrac")
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of\nmemory"), MemoryError(), ImportError("no torch")]
)
def test_trouble_within_is_one_line(galaxies, output, monkeypatch, error):
    def load(*args, **kwargs):
        raise error

    monkeypatch.setattr("hifrac.models.load_model", load)
    text = " ".join(str(error).split()) or type(error).__name__
    assert_one_line(call("predict", galaxies, "-o", output, *LOCAL), text)


# The other commands


def test_help_and_version():
    assert call("--version").stdout == f"hifrac, version {hifrac.__version__}\n"
    for args in ([], ["predict"], ["demo"], ["models"], ["train"], ["evaluate"], ["export"]):
        result = call(*args, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: hifrac")
        assert "Options:" in result.stdout
        assert call(*args, "-h").stdout == result.stdout


def test_models_shows_the_cards():
    result = call("models")
    cards = hifrac.list_models()
    assert result.exit_code == 0
    assert result.stdout.strip() == "\n\n".join(map(str, cards))
    for card in cards:
        for fact in (card.name, card.sha256, card.target, card.mass_scale, str(card.recipe)):
            assert fact in result.stdout


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    with conf.set_temp("data_dir", ""):
        yield


@pytest.mark.usefixtures("no_data")
def test_training_wants_data(tmp_path):
    assert_one_line(
        call("train", "default", "-o", tmp_path / "model"),
        "no data directory",
        "--data-dir",
        "HIFRAC_DATA_DIR",
    )
    pytest.importorskip("sklearn")
    result = call("train", "default", "-o", tmp_path / "model", "--data-dir", tmp_path)
    assert_one_line(result, tmp_path / "cutouts" / "hi_labels.ecsv", "is missing")
    assert not (tmp_path / "model").exists()


@pytest.mark.usefixtures("no_data")
def test_training_wants_its_extra(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("hifrac.training.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("structure", "cnn"):  # what is imported anew must not stay in the package
        if hasattr(hifrac.training, name):
            monkeypatch.setattr(hifrac.training, name, getattr(hifrac.training, name))
    for name in ("sklearn", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, name, None)
    result = call("train", "default", "-o", tmp_path / "model", "--data-dir", tmp_path)
    assert_one_line(result, "scikit-learn", "pip install 'hifrac[train]'")


# As processes


def test_off_a_terminal_no_bar_is_shown(galaxies, output):
    done = call("predict", galaxies, "-o", output, *LOCAL)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("5 rows, 4 estimated, 1 not\n")
    table = read_table(output)
    assert set(ADDED) <= set(table.colnames)


def test_a_process_that_is_refused(galaxies, tmp_path):
    done = command("predict", tmp_path / "no.fits", "-o", tmp_path / "out.fits")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: no such file: {tmp_path / 'no.fits'}\n"


def test_a_process_on_a_terminal_shows_a_bar(galaxies, output):
    termios = pytest.importorskip("termios", reason="there are no pseudo-terminals here")
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 80))
    args = [sys.executable, "-m", "hifrac", "predict", str(galaxies), "-o", str(output), *LOCAL]
    try:
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=end) as process:
            os.close(end)
            shown = b""
            while True:
                try:
                    part = os.read(terminal, 4096)
                except OSError:  # Linux's way to say that nobody writes any more
                    break
                if not part:
                    break
                shown += part
            said = process.stdout.read()
    finally:
        os.close(terminal)
    assert process.returncode == 0
    assert b"estimating" in shown
    assert b"0/5" in shown
    assert said.startswith(b"5 rows, 4 estimated, 1 not\n")
    assert b"\r" not in said


@pytest.mark.parametrize("step", ["hifrac.core.shapes.read_input", "hifrac.core.tables.write_table"])
def test_an_interrupt_at_any_moment_has_one_exit_status(galaxies, tmp_path, monkeypatch, step):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, interrupt)
    done = call("predict", galaxies, "-o", tmp_path / "out.fits", *LOCAL)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (130, "interrupted")
    assert list(tmp_path.iterdir()) == [galaxies]
