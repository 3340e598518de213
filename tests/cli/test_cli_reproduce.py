"""``hifrac reproduce`` on a small data directory, and on the real one."""

import json
from functools import partial
from importlib import resources

import pytest
from astropy.table import Table
from commands import call
from reproduce_data import write_data

from hifrac.reproduce import EXPERIMENTS


@pytest.fixture
def data(tmp_path):
    write_data(tmp_path / "data", tmp_path / "model")
    return ["--data", str(tmp_path / "data"), "--model", str(tmp_path / "model")]


run = partial(call, "reproduce")


def test_the_list_says_what_each_one_lacks(data):
    answer = run("--list", *data)
    assert answer.exit_code == 0
    lines = answer.output.splitlines()
    assert [line.split()[0] for line in lines[: len(EXPERIMENTS)]] == list(EXPERIMENTS)
    status = {line.split()[0]: line.split()[2] for line in lines[: len(EXPERIMENTS)]}
    assert (status["table2"], status["fig6"]) == ("ready", "missing")
    (missing,) = [line for line in lines if "hifrac catalogs fetch teimoorinia2017" in line]
    assert missing.endswith("(fig6, fig7, table3)")
    (without,) = [line for line in lines if line.startswith("  the pictures of alpha.100, NIBLES")]
    assert "table2" in without
    assert lines.index("missing:") < lines.index(missing) < lines.index("made without:")


def test_without_a_data_directory_all_are_listed_as_missing_it(tmp_path, monkeypatch):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    answer = run("--list")
    assert answer.exit_code == 0
    lines = answer.output.splitlines()
    assert [line.split()[0] for line in lines[: len(EXPERIMENTS)]] == list(EXPERIMENTS)
    assert {line.split()[2] for line in lines[: len(EXPERIMENTS)]} == {"missing"}
    (missing,) = [line for line in lines if line.startswith("  the data directory (set HIFRAC_DATA_DIR")]
    assert missing.endswith(f"({', '.join(EXPERIMENTS)})")
    (missing,) = [line for line in lines if "hifrac catalogs fetch teimoorinia2017" in line]
    assert missing.endswith("(fig6, fig7, table3)")
    # What of the paper is not used is said as well, and not cut off.
    assert all(any(experiment.without in line for line in lines) for experiment in EXPERIMENTS.values())


def test_what_can_be_run_is_run_and_the_rest_named(data, tmp_path):
    answer = run("table2", "fig6", *data, "--draws", "20", "-o", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    assert "1 done, 1 without their data" in answer.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["table2"]["status"] == "done"
    assert manifest["fig6"]["status"] == "missing"
    assert "published" in Table.read(tmp_path / "out" / "table2.ecsv")["origin"]


def test_a_second_run_keeps_what_is_there(data, tmp_path):
    assert "done" in run("fig5", *data, "-o", tmp_path / "out").output
    again = run("fig5", *data, "-o", tmp_path / "out")
    assert "kept: same inputs, same version" in again.output
    assert "1 kept" in again.output


def test_a_failure_is_told_by_the_exit_code(data, tmp_path):
    path = tmp_path / "data" / "cutouts" / "hi_labels.ecsv"
    table = Table.read(path)
    table.remove_column("v_helio")
    table.write(path, overwrite=True)
    answer = run("fig2", "fig4", *data, "-o", tmp_path / "out")
    assert answer.exit_code == 1
    assert "lacks the columns v_helio" in answer.output
    assert "1 done, 1 failed" in answer.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which"),
        (["fig2"], "say where the results go"),
        (["fig77", "-o", "out"], "name must be all or one of fig1"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(data, arguments, message):
    answer = run(*arguments, *data)
    assert answer.exit_code != 0
    assert message in answer.output
    assert "Traceback" not in answer.output


@pytest.mark.real_data
def test_the_held_out_error_is_that_of_the_model_s_own_table(real_data, tmp_path):
    answer = run("fig2", "--data", real_data, "-o", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    numbers = json.loads((tmp_path / "out" / "manifest.json").read_text())["fig2"]["numbers"]
    own = Table.read(str(resources.files("hifrac.models") / "weights" / "default" / "cross_validation.ecsv"))
    assert numbers["rmse"][0] == pytest.approx(own["rmse"][0], abs=2e-4)
    assert numbers["slope"][0] == pytest.approx(own["slope"][0], abs=2e-3)
