"""Catalogues: whole, complete, with what made them; killed and gone on with."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from contract import assert_same_results
from hats_catalogs import (
    WatchedCutouts,
    galaxies,
    open_catalog,
    rows_of,
    says_why,
    wait_for,
    write_catalog,
    written,
)

import hifrac
from hifrac import HIFractionEstimator, LocalCutouts, conf
from hifrac.core.exceptions import HifracWarning, warnings_to
from hifrac.demo import PICTURES
from hifrac.hats import predict_catalog


def test_what_made_it_stands_in_the_properties(catalog, estimator, tmp_path):
    with says_why():
        result = predict_catalog(catalog, tmp_path / "out", estimator=estimator, samples=2)
    facts = result.hc_structure.catalog_info.extra_dict()
    assert facts["hifrac_model_sha256"] == estimator.model.sha256
    assert facts["hifrac_source"] == "local files in pictures, by name"
    assert json.loads(facts["hifrac_arguments"])["samples"] == 2
    assert facts["prov_progenitor"] == "galaxies"
    assert result["log_hi_fraction_samples"].compute().dropna().map(len).eq(2).all()
    # A second quantity says what it stands beside.
    with says_why():
        second = predict_catalog(
            tmp_path / "out",
            tmp_path / "second",
            estimator=hifrac.MetallicityEstimator(cutouts=estimator.cutouts),
            replace_columns=True,
        )
    facts = second.hc_structure.catalog_info.extra_dict()
    assert facts["hifrac_column"] == "oh"
    assert json.loads(facts["hifrac_input"])["hifrac"]["column"] == "log_hi_fraction"
    assert {"oh", "log_hi_fraction", "log_hi_fraction_flags"} <= set(second.columns)


def test_partitions_without_rows(catalog, estimator, tmp_path):
    some = open_catalog(catalog).query("objid == 1237648720693755001")
    result = predict_catalog(some, tmp_path / "out", estimator=estimator)
    assert result.compute(progress_bar=False)["objid"].tolist() == [1237648720693755001]
    none = predict_catalog(some.query("dec < -10"), tmp_path / "none", estimator=estimator)
    assert len(none.compute(progress_bar=False)) == 0


def test_a_margin_is_estimated_as_well(estimator, tmp_path):
    frame = galaxies(12).drop([3, 6])
    catalog = write_catalog(frame, tmp_path / "galaxies", rows=5, margin=3600.0)
    result = predict_catalog(catalog, tmp_path / "out", estimator=estimator)
    margin = result.margin.compute(progress_bar=False)
    assert len(margin) > 0
    rows = result.compute(progress_bar=False).set_index("objid")
    same = rows.loc[margin["objid"], "log_hi_fraction"].to_numpy(float)
    np.testing.assert_allclose(margin["log_hi_fraction"].to_numpy(float), same, rtol=0, atol=1e-5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    predict_catalog(catalog, tmp_path / "out", estimator=estimator, resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}


_CLIENT = """
import sys
from hats_catalogs import WatchedCutouts
from hifrac import HIFractionEstimator
from hifrac.hats import local_cluster, predict_catalog
if __name__ == "__main__":
    catalog, output, log = sys.argv[1:]
    estimator = HIFractionEstimator(cutouts=WatchedCutouts(log, pause=0.2))
    with local_cluster(2) as cluster, cluster.get_client() as client:
        predict_catalog(catalog, output, estimator=estimator, client=client)
"""


@pytest.mark.slow
@pytest.mark.numeric
def test_the_client_is_killed_and_its_work_is_gone_on_with(frame, at_once, tmp_path):
    catalog = write_catalog(frame, tmp_path / "galaxies", rows=6)  # many partitions: workers die later
    script, log, output = (tmp_path / name for name in ("client.py", "log", "out"))
    script.write_text(_CLIENT)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, script, catalog, output, log], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        wait_for(lambda: len(written(output)) >= 3)
    finally:
        process.kill()
        process.wait()
    # The workers follow it.
    workers = {int(number) for number in log.read_text().split()}
    wait_for(lambda: not any(map(psutil.pid_exists, workers)))
    before = written(output)
    n_partitions = len(open_catalog(catalog).get_healpix_pixels())
    assert 3 <= len(before) < n_partitions
    watched = HIFractionEstimator(cutouts=WatchedCutouts(log))
    with says_why():
        result = predict_catalog(catalog, output, estimator=watched, resume=True)
    assert_same_results(rows_of(result), at_once)
    assert len(list((output / "dataset").rglob("Npix=*.parquet"))) == n_partitions
    times = {
        f"{path.parts[-3][7:]}/{path.stem[5:]}": path.stat().st_mtime_ns for path in output.rglob("Npix=*")
    }
    assert before.items() <= times.items()


def test_half_a_partition_is_made_again(catalog, estimator, at_once, tmp_path):
    output = tmp_path / "out"
    with says_why():
        predict_catalog(catalog, output, estimator=estimator)
    files = sorted((output / "dataset").rglob("Npix=*.parquet"))
    # As LSDB leaves it where it is killed: marks of what is done, counts, and no properties.
    (output / "done").mkdir()
    (output / "hists").mkdir()
    from lsdb.io.to_hats import calculate_histogram, write_histogram

    for pixel in open_catalog(output).get_healpix_pixels():
        rows = open_catalog(output).get_partition(pixel.order, pixel.pixel).compute(progress_bar=False)
        write_histogram(calculate_histogram(rows, 8), output, pixel)
        (output / "done" / f"{pixel.order}_{pixel.pixel}_done").touch()
    for name in ("hats.properties", "properties"):
        (output / name).unlink()
    files[0].write_bytes(files[0].read_bytes()[:-100])
    files[1].unlink()
    _, _, unmarked, uncounted = sorted((output / "done").iterdir())[-4:]
    unmarked.unlink()
    (output / "hists" / uncounted.name.replace("_done", "_histogram.npz")).write_bytes(b"PK")
    before = {path: path.stat().st_mtime_ns for path in files[2:]}
    with says_why():
        result = predict_catalog(catalog, output, estimator=estimator, resume=True)
    assert_same_results(rows_of(result), at_once)
    assert sum(path.stat().st_mtime_ns != when for path, when in before.items()) == 2
    assert not (output / "done").exists()


def test_what_is_there_is_not_lost_by_mistake(catalog, estimator, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(ValueError, match="output must not be the catalogue itself"):
        predict_catalog(catalog, catalog, estimator=estimator, overwrite=True)
    with pytest.raises(ValueError, match="resume and overwrite must not both"):
        predict_catalog(catalog, output, estimator=estimator, overwrite=True, resume=True)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        predict_catalog(catalog, tmp_path / "no" / "out", estimator=estimator)
    output.mkdir()
    (output / "thesis.tex").write_text("all of it")
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(ValueError, match="is no catalogue in HATS"):
            predict_catalog(catalog, output, estimator=estimator, **options)
    (output / "thesis.tex").unlink()
    with says_why():
        predict_catalog(catalog, output, estimator=estimator)
    with pytest.raises(FileExistsError, match=r"resume=True \(--resume\) to go on"):
        predict_catalog(catalog, output, estimator=estimator)
    other = HIFractionEstimator(selection="alfalfa", cutouts=estimator.cutouts)
    with pytest.raises(ValueError, match='selection was "intrinsic", and is "alfalfa"'):
        predict_catalog(catalog, output, estimator=other, resume=True)
    with says_why():
        result = predict_catalog(catalog, output, estimator=other, overwrite=True)
    assert result.hc_structure.catalog_info.extra_dict()["hifrac_selection"] == "alfalfa"


@pytest.fixture
def idle():
    """A cluster without workers, which has some in this process when it is asked to."""
    from distributed import LocalCluster

    options = {"threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=0, **options) as cluster:
        yield cluster


def test_workers_are_waited_for_aloud(frame, catalog, estimator, idle, tmp_path):
    heard = []

    def receive(message, category):
        heard.append(message)
        idle.scale(1)

    with idle.get_client() as client, warnings_to(receive):
        result = predict_catalog(catalog, tmp_path / "estimates", estimator=estimator, client=client)
        with conf.set_temp("offline", False):
            idle.scale(0)
            while client.nthreads():
                time.sleep(0.05)
            with pytest.raises(ValueError, match="client has no workers, among which"):
                predict_catalog(catalog, tmp_path / "e", estimator=estimator, client=client, allow_fetch=True)
    assert len(result) == len(frame)
    assert "client has no workers: the partitions wait for some, which client.cluster.scale(2)" in heard[0]


def test_pictures_that_are_not_there_stop_nothing(catalog, tmp_path):
    (tmp_path / "empty").mkdir()
    nothing = HIFractionEstimator(cutouts=LocalCutouts(tmp_path / "empty", name="name"))
    with pytest.warns(HifracWarning, match="36 of 36 rows have no estimate"):
        result = predict_catalog(catalog, tmp_path / "out", estimator=nothing)
    assert result.compute(progress_bar=False)["log_hi_fraction"].isna().all()
    by_number = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="number"))
    with pytest.raises(ValueError, match="data has no column 'number'"):
        predict_catalog(catalog, tmp_path / "other", estimator=by_number)
    assert not (tmp_path / "other").exists()
