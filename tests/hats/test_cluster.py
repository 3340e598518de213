"""The workers of this computer."""

import builtins
import gc
import os
import sys
import types

import pytest

from hifrac.core.exceptions import HifracWarning
from hifrac.hats import local_cluster
from hifrac.hats._cluster import client_at_hand, count_hosts, import_lsdb


def test_workers_have_one_thread_and_keep_their_memory(client):
    wanted = {"MALLOC_TRIM_THRESHOLD_": None, "OMP_NUM_THREADS": "1"}
    found = client.run(lambda: {name: os.environ.get(name) for name in wanted})
    assert list(found.values()) == [wanted] * 2
    assert set(client.nthreads().values()) == {1}
    assert count_hosts(client) == 1


def test_workers_that_give_their_memory_back_are_warned_of(monkeypatch):
    from distributed import Client

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with (
        Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None),
        pytest.warns(HifracWarning, match="MALLOC_TRIM_THRESHOLD_ in their environment") as caught,
    ):
        assert count_hosts(client_at_hand(None)) == 1
    assert caught[0].filename == __file__


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
