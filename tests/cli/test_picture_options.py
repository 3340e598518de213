"""What the command line says of local pictures: their scale and filters."""

import pytest
from astropy import units as u
from astropy.table import Table
from commands import call

from hifrac.demo import PICTURES


@pytest.mark.parametrize(("scale", "status", "flag"), [("0.401", 0, "RESAMPLED"), ("0.39", 1, "BAD_IMAGE")])
def test_pictures_of_another_scale(tmp_path, scale, status, flag):
    table = tmp_path / "t.ecsv"
    Table({"name": ["sim-10-spiral"], "ra": [150.0] * u.deg, "dec": [5.0] * u.deg}).write(table)
    options = ["--cutouts", str(PICTURES), "--name", "name", "--pixel-scale", scale]
    done = call("predict", table, "-o", tmp_path / "o.ecsv", *options)
    assert done.exit_code == status, done.output
    assert flag in done.output


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_filters_are_of_local_pictures(tmp_path, command):
    done = call(command, "t.csv", "-o", tmp_path / "o.ecsv", "--bands", "gri")
    assert done.exit_code == 1
    assert "--cutouts: give that as well" in done.output
