"""What all tests share: a cache of their own, a service of their own, and the real data if there are any."""

from __future__ import annotations

import itertools
import os
import sys

# One thread for each process, set before PyTorch and SciPy are loaded, and inherited by the workers of
# pytest-xdist and by the processes that a test starts. There is a worker for each core already, and what the
# tests compute is so small that threads would wait for each other longer than they work.
for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

from pathlib import Path

import pytest
from getjpeg_server import serve
from hypothesis import settings
from pictures import encode, galaxy

from hifrac import conf

# The same examples at each run, and no folder of them left behind.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

# Scripts of the checkout have tests too; last, for none of them may stand for a module of the tests.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


_numbers = itertools.count()


@pytest.fixture(scope="session")
def _caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def _own_cache(_caches, monkeypatch, request):
    # Most tests need neither a folder nor a cache: none is made for them.
    wants_folder = "tmp_path" in request.fixturenames
    folder = request.getfixturevalue("tmp_path") / "cache" if wants_folder else _caches / str(next(_numbers))
    monkeypatch.setenv("HIFRAC_CACHE_DIR", str(folder))


@pytest.fixture
def getjpeg():
    """A getjpeg service on this computer with a galaxy at each whole degree of RA on the equator."""
    files = {(float(ra), 0.0): encode(galaxy(ra)) for ra in range(8)}
    with serve(files) as server:
        yield server


@pytest.fixture
def quick_service(getjpeg, monkeypatch):
    """`getjpeg` as the configured SDSS service, with patience for tenths of seconds only."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with (
        conf.set_temp("skyserver_url", getjpeg.url),
        conf.set_temp("timeout", 5.0),
        conf.set_temp("retries", 2),
        conf.set_temp("retry_backoff", 0.01),
        conf.set_temp("max_rate", 0.0),
        conf.set_temp("patience", 0.0),
    ):
        yield getjpeg


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data; the test is skipped without it."""
    folder = os.environ.get("HIFRAC_DATA_DIR")
    if not folder:
        pytest.skip("HIFRAC_DATA_DIR is not set: no real data")
    return Path(folder)


def pytest_collection_modifyitems(items):
    if os.environ.get("HIFRAC_DATA_DIR"):
        return
    skip = pytest.mark.skip(reason="HIFRAC_DATA_DIR is not set: no real data")
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(skip)


#: Files that share costly fixtures of the session, or the import of a large library.
_TOGETHER = (("tests/training/structure/",), ("tests/hats/", "docs/clusters.rst", "hifrac/hats/"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay with one worker, and so do all files that share something costly."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            shared = next((starts for starts in _TOGETHER if nodeid.startswith(starts)), None)
            return shared[0] if shared else super()._split_scope(nodeid)

    return Scheduling(config, log)
