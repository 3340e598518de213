"""What the tests of catalogues in HATS share: a catalogue, its estimates by one call, and two workers."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.demo import PICTURES
from hifrac.hats import local_cluster

# LSDB's functions are compiled for longer than they run on so few rows.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

if find_spec("lsdb") is None:  # as with the oldest versions of what it needs
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def frame():
    from hats_catalogs import galaxies

    return galaxies(36)


@pytest.fixture(scope="session")
def catalog(frame, tmp_path_factory):
    """The folder of a catalogue with six partitions."""
    from hats_catalogs import write_catalog

    return write_catalog(frame, tmp_path_factory.mktemp("hats") / "galaxies")


@pytest.fixture(scope="session")
def estimator():
    return HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))


@pytest.fixture(scope="session")
def at_once(frame, estimator):
    """The estimates of all rows by one call, in the order of objid."""
    from hats_catalogs import estimates

    return estimates(estimator, frame)


@pytest.fixture(scope="module")
def client():
    """Two workers, each a process; while they are there, all work without a client is theirs."""
    with local_cluster(2) as cluster, cluster.get_client() as client:
        yield client
