"""Answers that no change of the code may move: those of the bundled sample, and of 300 real pictures.

The tables in ``tests/golden`` are estimates of the bundled model. A new model writes them anew::

    python tests/test_golden.py
"""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from contract import assert_same_results

from hifrac import HIFractionEstimator, LocalCutouts, conf
from hifrac.demo import PICTURES, sample_table

pytestmark = pytest.mark.numeric

GOLDEN = Path(__file__).parent / "golden"
SAMPLE, PICTURED = GOLDEN / "bundled_sample.ecsv", GOLDEN / "sdss_pictures.ecsv"


def estimate_sample():
    with LocalCutouts(PICTURES, name="name") as cutouts:
        return HIFractionEstimator(cutouts=cutouts).predict(sample_table())


def estimate_pictures(folder, objids):
    labels = Table.read(folder / "cutouts" / "photometry_labels.ecsv")
    row_of = {str(objid): row for row, objid in enumerate(labels["objid"])}
    rows = labels[[row_of[str(objid)] for objid in objids]]
    table = Table({"ra": rows["ra"], "dec": rows["dec"], "objid": rows["objid"].astype(str)})
    table["ra"].unit = table["dec"].unit = "deg"
    with LocalCutouts(folder / "cutouts" / "sdss_cutouts.zip", name="objid") as cutouts:
        return HIFractionEstimator(cutouts=cutouts).predict(table)


def test_the_bundled_sample():
    golden = Table.read(SAMPLE)
    result = estimate_sample()
    assert result["name"].tolist() == golden["name"].tolist()
    assert_same_results(result, golden)


@pytest.mark.real_data
def test_real_pictures(real_data):
    golden = Table.read(PICTURED)
    assert len(golden) == 300
    assert_same_results(estimate_pictures(real_data, golden["objid"]), golden)


def write():
    """Write the golden tables of the model at hand."""
    from contract import FLAGS, PROBABILITIES, SCORES, values_of

    from hifrac.core.config import data_dir

    objids = Table.read(PICTURED)["objid"]
    for path, name, result in (
        (SAMPLE, "name", estimate_sample()),
        (PICTURED, "objid", estimate_pictures(data_dir(), objids)),
    ):
        golden = Table({name: np.asarray(result[name]).astype(str)})
        added = ("log_hi_fraction", *PROBABILITIES, *SCORES, *FLAGS)
        for column in result.colnames:
            if column in FLAGS:
                golden[column] = np.asarray(result[column])
            elif column == "evidence":
                golden[column] = np.ma.filled(result[column], "")
            elif column.startswith(added):
                golden[column] = np.round(values_of(result[column]), 7)
        golden.meta["comments"] = [f"Estimates by the bundled model {conf.model!r}."]
        golden.write(path, overwrite=True)


if __name__ == "__main__":
    write()
