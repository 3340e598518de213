"""Metallicities on the command line: one option, and what goes with it."""

import pytest
from astropy.io import fits
from commands import call
from contract import assert_same_results

from hifrac import Flag, LocalCutouts, MetallicityEstimator
from hifrac.core.columns import columns_of
from hifrac.core.tables import read_table, write_table
from hifrac.demo import PICTURES, sample_table

LOCAL = ("--cutouts", str(PICTURES), "--name", "name")
METALLICITY = (*LOCAL, "--quantity", "metallicity")


@pytest.fixture
def galaxies(tmp_path):
    """An elliptical, a spiral, a dwarf."""
    path = tmp_path / "galaxies.ecsv"
    write_table(sample_table()["name", "ra", "dec", "log_mstar"][[0, 8, 18]], path)
    return path


@pytest.mark.numeric
def test_metallicities_are_those_of_the_estimator(galaxies, tmp_path):
    output, page, figure = (tmp_path / name for name in ("out.fits", "out.html", "out.png"))
    done = call("predict", galaxies, "-o", output, *METALLICITY, "--html", page, "--overview", figure)
    assert done.exit_code == 0, done.output
    result = read_table(output)
    assert result.colnames == [*read_table(galaxies).colnames, *columns_of("oh", "")]
    estimator = MetallicityEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    assert_same_results(result, estimator.predict(read_table(galaxies)))
    assert f"1  NOT_STAR_FORMING: {Flag.NOT_STAR_FORMING.summary}" in done.output
    assert "12 + log(O/H)" in page.read_text(encoding="utf-8")
    assert figure.stat().st_size > 10_000
    drawn = call("predict", galaxies, "-o", tmp_path / "draws.ecsv", *METALLICITY, "--samples", 3)
    assert drawn.exit_code == 0, drawn.output
    assert read_table(tmp_path / "draws.ecsv")["oh_samples"].shape == (3, 3)


def test_metallicities_are_explained(galaxies, tmp_path):
    options = (*METALLICITY, "--method", "occlusion", "--no-figures")
    spiral = tmp_path / "spiral.ecsv"
    write_table(read_table(galaxies)[1:2], spiral)
    done = call("explain", spiral, "-o", tmp_path / "maps", *options)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "maps" / "index.html").read_text(encoding="utf-8")
    assert "<title>oh by occlusion" in text
    assert "p(star-forming)" in text
    assert "p(detect)" not in text
    assert len(list((tmp_path / "maps" / "maps").glob("*.fits"))) == 1
    done = call("explain", galaxies, "-o", tmp_path / "nodes", *METALLICITY, "--steps", 3, "--no-figures")
    assert done.exit_code == 0, done.output
    steps = [fits.getval(path, "NSTEPS") for path in (tmp_path / "nodes" / "maps").glob("*.fits")]
    assert steps == [3, 3, 3]
    refused = call("explain", galaxies, "-o", tmp_path / "refused", *options, "--steps", 3)
    assert refused.exit_code == 1
    assert "method 'occlusion' has no option 'steps'" in refused.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quantity", "dust"), "--quantity must be one of hi, metallicity, spectrum, got 'dust'"),
        (
            (*METALLICITY, "--selection", "alfalfa"),
            "--selection goes with --quantity hi, not with metallicity",
        ),
        (
            (*METALLICITY, "--mass-scale", "gswlc"),
            "--mass-scale goes with --quantity hi, not with metallicity",
        ),
        ((*METALLICITY, "--model", "default"), "model: 'default' estimates log_hi_fraction"),
        ((*LOCAL, "--model", "metallicity"), "model: 'metallicity' estimates oh"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "explain"])
def test_what_does_not_go_together_is_refused_in_one_line(galaxies, tmp_path, command, options, message):
    output = tmp_path / ("out.ecsv" if command == "predict" else "out")
    done = call(command, galaxies, "-o", output, *options)
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert line.startswith(f"Error: {message}")
    assert not output.exists()
