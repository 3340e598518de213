"""The workers of this computer: their answers, their rate, the death of one."""

import builtins
import gc
import os
import sys
import threading
import types
from collections import Counter

import numpy as np
import pandas as pd
import psutil
import pytest
from contract import assert_same_results
from getjpeg_server import serve
from hats_catalogs import (
    WatchedCutouts,
    estimates,
    galaxies,
    open_catalog,
    rows_of,
    says_why,
    wait_for,
    write_catalog,
    written,
)
from pictures import encode, galaxy
from sdss_frames import write_field

import hifrac
from hifrac import HIFractionEstimator, SkyServerCutouts, conf
from hifrac.core.exceptions import HifracWarning
from hifrac.cutouts import FrameCutouts
from hifrac.hats import local_cluster, predict_catalog
from hifrac.hats._cluster import client_at_hand, count_hosts, import_lsdb


def test_workers_have_one_thread_and_keep_their_memory(client):
    wanted = {"MALLOC_TRIM_THRESHOLD_": None, "OMP_NUM_THREADS": "1"}
    found = client.run(lambda: {name: os.environ.get(name) for name in wanted})
    assert list(found.values()) == [wanted] * 2
    assert set(client.nthreads().values()) == {1}
    assert count_hosts(client) == 1


@pytest.mark.numeric
def test_two_workers_answer_as_one_call(catalog, client, at_once, tmp_path):
    log = tmp_path / "log"
    watched = HIFractionEstimator(cutouts=WatchedCutouts(log))
    with says_why():
        result = predict_catalog(catalog, tmp_path / "out", estimator=watched, client=client)
    assert_same_results(rows_of(result), at_once)
    assert list(result.columns) == at_once.colnames
    assert result.get_healpix_pixels() == open_catalog(catalog).get_healpix_pixels()
    # Here, and once in each worker.
    openings = Counter(map(int, log.read_text().split()))
    assert set(openings) == {os.getpid(), *client.run(os.getpid).values()}
    assert set(openings.values()) == {1}


@pytest.mark.slow
@pytest.mark.numeric
def test_a_worker_is_killed(catalog, client, at_once, tmp_path):
    log, output = tmp_path / "log", tmp_path / "out"
    slow = HIFractionEstimator(cutouts=WatchedCutouts(log, pause=0.05))
    before = set(client.run(os.getpid).values())

    def kill():
        wait_for(lambda: len(written(output)) >= 2)
        psutil.Process(min(before)).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with says_why():
        result = predict_catalog(catalog, output, estimator=slow, client=client)
    killer.join()
    assert_same_results(rows_of(result), at_once)
    wait_for(lambda: len(client.run(os.getpid)) == 2)
    assert min(before) not in client.run(os.getpid).values()


def test_two_workers_share_the_rate_of_a_host(client, tmp_path):
    catalog = write_catalog(galaxies(16).drop(columns="name"), tmp_path / "galaxies", rows=8)
    picture = encode(galaxy(1))
    with serve(lambda params: picture) as server:
        estimator = HIFractionEstimator(cutouts=SkyServerCutouts(base_url=server.url, store=False))
        with pytest.raises(ValueError, match="allow_fetch=True"):
            predict_catalog(catalog, tmp_path / "out", estimator=estimator, client=client)
        with conf.set_temp("max_rate", 8.0):
            result = predict_catalog(
                catalog, tmp_path / "out", estimator=estimator, client=client, allow_fetch=True
            )
        times = sorted(request.time for request in server.requests)
    assert result.compute(progress_bar=False)["log_hi_fraction"].notna().all()
    assert len(times) == 16
    assert all(later - first >= 1.0 for first, later in zip(times, times[9:], strict=False))


@pytest.mark.numeric
def test_pictures_are_cut_from_frames_by_the_workers(client, tmp_path):
    dra, ddec = np.random.default_rng(3).uniform(-0.02, 0.02, (2, 6))
    ra, dec = np.repeat([185.0, 187.0], 3) + dra, 5.0 + ddec
    rows = pd.DataFrame({"objid": np.arange(6), "ra": ra, "dec": dec})
    for field, place in enumerate((185.0, 187.0)):
        stars = [(*star, 300.0) for star in zip(ra, dec, strict=True) if abs(star[0] - place) < 1.0]
        write_field(tmp_path / "frames", place, 5.0, stars, field=field)
    catalog = write_catalog(rows, tmp_path / "galaxies", rows=3)
    with FrameCutouts(tmp_path / "frames") as frames:
        estimator = hifrac.MetallicityEstimator(cutouts=frames)
        result = predict_catalog(catalog, tmp_path / "out", estimator=estimator, client=client)
        expected = estimates(estimator, rows)
    assert len(result.get_healpix_pixels()) > 1
    assert np.isfinite(expected["oh"]).all()
    assert_same_results(rows_of(result), expected)


def test_workers_that_give_their_memory_back_are_warned_of(monkeypatch):
    from distributed import Client

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with (
        Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None),
        pytest.warns(HifracWarning, match="MALLOC_TRIM_THRESHOLD_ in their environment") as caught,
    ):
        assert count_hosts(client_at_hand(None)) == 1
    assert caught[0].filename == __file__


@pytest.mark.slow
def test_workers_that_come_later_keep_their_memory():
    with local_cluster(1) as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        assert list(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == [None] * 2


def test_one_worker_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(ImportError, match="pip install dask-cuda"):
        local_cluster(gpus=2)
    module = types.ModuleType("dask_cuda")
    module.LocalCUDACluster = lambda **options: options
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    options = local_cluster(gpus=2)
    assert (options["n_workers"], options["threads_per_worker"]) == (2, 1)


def test_a_worker_ends_without_a_search_for_garbage(client):
    def freeze(dask_worker):
        (plugin,) = (one for one in dask_worker.plugins.values() if type(one).__name__ == "EndAtOnce")
        plugin.teardown(dask_worker)
        n_frozen = gc.get_freeze_count()
        gc.unfreeze()
        return n_frozen

    assert all(n_frozen > 100_000 for n_frozen in client.run(freeze).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 0}, "n_workers must be at least 1, got 0"),
        ({"gpus": -1}, "gpus must be at least 0, got -1"),
        ({"n_workers": 2, "gpus": 1}, "n_workers must not be given with gpus"),
    ],
)
def test_numbers_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        local_cluster(**options)


def test_without_lsdb(monkeypatch):
    imports = builtins.__import__

    def without(name, *args, **options):
        if name == "lsdb":
            raise ImportError("No module named 'lsdb'")
        return imports(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'hifrac\[hats\]'"):
        import_lsdb()
