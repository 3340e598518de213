"""What the commands say without being asked: of units, of nothing, of what comes next; and completion."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from commands import call
from contract import assert_same_estimates
from tqdm import tqdm

from hifrac.cli._shared import one_line_errors
from hifrac.core.exceptions import HifracWarning
from hifrac.core.tables import read_table
from hifrac.demo import PICTURES, sample_table
from hifrac.environment import overdensity

README = Path(__file__).parents[2] / "README.md"
LOCAL = ["--cutouts", PICTURES, "--name", "name"]


def shown(text):
    """The lines that a terminal shows: what follows a carriage return stands over what was there."""
    lines = []
    for line in text.split("\n"):
        cells = ""
        for part in line.split("\r"):
            cells = part + cells[len(part) :]
        lines.append(cells.rstrip())
    return lines


# Units and progress bars


def test_a_warning_comes_once_and_stands_above_a_progress_bar(capsys):
    @one_line_errors
    def work():
        warnings.simplefilter("always")
        with tqdm(total=3, file=sys.stderr, mininterval=0, leave=True) as bar:
            for _ in range(3):
                bar.update()
                warnings.warn("ra has no unit: read as degrees", HifracWarning, stacklevel=1)

    work()
    lines = shown(capsys.readouterr().err)
    assert [line for line in lines if "Warning" in line] == ["Warning: ra has no unit: read as degrees"]
    assert [line for line in lines if "3/3" in line]


@pytest.mark.filterwarnings("always:ra and dec have no unit")
@pytest.mark.parametrize("command", ["predict", "explain"])
def test_positions_without_units_are_warned_of_once(tmp_path, command):
    rows = sample_table()["name", "ra", "dec"][:2]
    rows["ra"].unit = rows["dec"].unit = None
    rows.write(tmp_path / "rows.csv")
    output = {"predict": "out.csv", "explain": "out"}[command]
    options = {"predict": [], "explain": ["--no-figures", "--method", "cam"]}[command]
    done = call(command, tmp_path / "rows.csv", "-o", tmp_path / output, *LOCAL, *options)
    assert done.exit_code == 0, done.output
    assert done.output.count("no unit") == 1
    assert "Warning: ra and dec have no unit: read as degrees" in done.output


# Environment


@pytest.fixture
def neighbours(tmp_path):
    """A table of galaxies around the bundled ones, and the bundled ones with redshifts."""
    rng = np.random.default_rng(8)
    rows = QTable(sample_table()[9:12])
    rows["z"] = [0.03, 0.031, np.nan]
    around = {
        axis: np.concatenate([rng.normal(value, 1.5, 300) for value in rows[axis][:2].value]) * u.deg
        for axis in ("ra", "dec")
    }
    catalog = QTable({**around, "z": rng.uniform(0.028, 0.033, 600)})
    rows.write(tmp_path / "rows.ecsv")
    catalog.write(tmp_path / "catalog.fits")
    return rows, catalog


def test_the_environment_comes_from_a_catalogue(tmp_path, neighbours):
    rows, catalog = neighbours
    output = tmp_path / "out.ecsv"
    options = ["--environment", tmp_path / "catalog.fits", "-o", output]
    done = call("predict", tmp_path / "rows.ecsv", *options, *LOCAL)
    assert done.exit_code == 0, done.output
    result = read_table(output)
    coords = SkyCoord(rows["ra"], rows["dec"])
    expected = overdensity(coords, rows["z"], catalog, population="reference")
    assert_same_estimates(result["log_overdensity"], expected["log_overdensity"])
    assert np.ma.getmaskarray(result["log_overdensity"]).tolist() == [False, False, True]
    assert result.meta["hifrac"]["environment"]["reference_rows"] == 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: Table({"a": [1]}).write(folder / "catalog.fits", overwrite=True), "reference"),
        (lambda folder: (folder / "catalog.fits").unlink(), "no such file"),
        (lambda folder: sample_table()[:2].write(folder / "rows.ecsv", overwrite=True), "no column z"),
    ],
    ids=["no galaxies", "no file", "no redshifts"],
)
def test_an_environment_that_is_none_is_refused_before_the_estimates(tmp_path, neighbours, change, message):
    change(tmp_path)
    options = ["--environment", tmp_path / "catalog.fits", "-o", tmp_path / "out.ecsv"]
    done = call("predict", tmp_path / "rows.ecsv", *options, *LOCAL)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert message in done.output
    assert not (tmp_path / "out.ecsv").exists()


# Results of results


@pytest.mark.filterwarnings("always:ra and dec have no unit")
def test_a_result_is_estimated_again_where_that_is_said(tmp_path):
    sample_table()[:3].write(tmp_path / "rows.ecsv")
    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    assert call("predict", tmp_path / "rows.ecsv", "-o", first, *LOCAL).exit_code == 0
    refused = call("predict", first, "-o", again, *LOCAL)
    assert refused.exit_code == 1
    assert "has the result columns log_hi_fraction" in refused.output
    assert "--replace-columns" in refused.output
    assert call("predict", first, "-o", again, *LOCAL, "--replace-columns").exit_code == 0
    assert again.read_text() == first.read_text()


# What is said of nothing, and of what is missing


def test_an_empty_store_is_said_to_be_empty(tmp_path):
    done = call("cache", "info", "--cache-dir", tmp_path / "nowhere")
    assert done.exit_code == 0
    assert done.output.splitlines() == [str(tmp_path / "nowhere"), "nothing is stored there"]
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_place_for_results_is_said_before_any_data_are_read(tmp_path):
    done = call("reproduce", "fig2", "--data", tmp_path / "no-such-folder")
    assert done.exit_code == 2
    assert "-o OUTPUT: say where the results go" in done.output


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell):
    variables = {"_HIFRAC_COMPLETE": f"{shell}_source"}
    done = call(env=variables)
    assert f"_HIFRAC_COMPLETE={shell}_complete" in done.output


def test_commands_and_options_are_completed():
    def complete(words, number):
        variables = {"_HIFRAC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        return call(env=variables).output.split()

    assert complete("hifrac pre", 1) == ["plain,predict"]
    assert "plain,--environment" in complete("hifrac predict --env", 2)


def test_the_installed_program_completes():
    program = Path(sys.executable).with_name("hifrac")
    if not program.is_file():
        pytest.skip("the command is not installed beside this Python")
    done = subprocess.run(
        [program],
        env={"_HIFRAC_COMPLETE": "zsh_source", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("#compdef hifrac")
