"""Catalogues in HATS on the command line."""

import numpy as np
import pytest
from commands import call
from contract import assert_same_results
from hats_catalogs import open_catalog

from hifrac import Flag
from hifrac.core.shapes import as_table
from hifrac.core.tables import write_table
from hifrac.demo import PICTURES, sample_table

LOCAL = ("--cutouts", str(PICTURES), "--name", "name")


@pytest.mark.numeric
def test_a_catalogue_is_estimated_by_workers(catalog, at_once, tmp_path):
    output = tmp_path / "out"
    done = call("predict", catalog, "-o", output, *LOCAL, "--workers", 1, "--samples", 2)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("36 rows, 34 estimated, 2 not\n")
    assert f"2  FETCH_FAILED: {Flag.FETCH_FAILED.summary}" in done.output
    assert done.output.endswith(f"written to {output}\n")
    result = open_catalog(output).compute(progress_bar=False).sort_values("objid")
    assert np.shape(result["log_hi_fraction_samples"].iloc[0]) == (2,)
    assert_same_results(as_table(result.reset_index(drop=True)), at_once, names=at_once.colnames[5:])
    again = call("predict", catalog, "-o", output, *LOCAL, "--samples", 2)
    assert again.exit_code == 1
    assert "--resume" in again.output
    complete = call("predict", catalog, "-o", output, *LOCAL, "--samples", 2, "--resume")
    assert complete.exit_code == 0, complete.output
    replaced = call("predict", catalog, "-o", output, *LOCAL, "--quantity", "metallicity", "--overwrite")
    assert replaced.exit_code == 0, replaced.output
    assert "oh" in open_catalog(output).columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "fits"), "--format goes with tables, and"),
        (("--environment", "reference.ecsv"), "--environment goes with tables"),
        (("--rows-per-part", "5"), "--rows-per-part goes with tables"),
        (("--html", "page.html"), "--html goes with tables"),
        (("--ra", "RA"), "--ra goes with tables"),
        (("--cutouts", str(PICTURES)), "has no column 'objids'"),
        (("--bands", "g,r,i"), "--bands and --pixel-scale are of the pictures of --cutouts"),
        ((), "asks a survey service"),
    ],
)
def test_options_that_do_not_go_with_a_catalogue(catalog, tmp_path, options, message):
    name = ("--name", "objids") if "--cutouts" in options else ()
    done = call("predict", catalog, "-o", tmp_path / "out", *options, *name)
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_workers_are_for_catalogues(tmp_path):
    path = tmp_path / "galaxies.ecsv"
    write_table(sample_table(), path)
    for option in (("--workers", 2), ("--allow-fetch",)):
        done = call("predict", path, "-o", tmp_path / "out.ecsv", *LOCAL, *option)
        assert done.exit_code == 1
        assert f"{option[0]} goes with a catalogue in HATS" in done.output
