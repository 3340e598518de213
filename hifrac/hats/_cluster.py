"""Dask's workers: those of this computer, and what is asked of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hifrac.core.exceptions import silenced, warn_caller

if TYPE_CHECKING:
    import distributed

TRIM = "MALLOC_TRIM_THRESHOLD_"


def local_cluster(n_workers: int | None = None, gpus: int = 0) -> distributed.LocalCluster:
    """Start workers on this computer, one process each, with one thread.

    Parameters
    ----------
    n_workers : int, optional
        How many; as many as there are cores by default.
    gpus : int, optional
        Instead, one for each of so many GPUs, which needs dask-cuda.

    Returns
    -------
    cluster : `distributed.LocalCluster`
        A context manager; ``cluster.get_client()`` is what `predict_catalog` takes.

    Raises
    ------
    ImportError
        If LSDB, or for GPUs dask-cuda, is not installed.
    ValueError
        If ``n_workers`` or ``gpus`` is none that can be, or both are given.

    Notes
    -----
    Dask sets ``MALLOC_TRIM_THRESHOLD_`` for its workers, after which the C library gives back, and fetches
    again, the memory of every batch of pictures: that takes longer than the pictures. Workers started here
    have it not.

    A script that calls this needs ``if __name__ == "__main__":``, for each worker imports it. A notebook does
    not: it is no file that they could import.

    Examples
    --------
    >>> from hifrac.hats import local_cluster, predict_catalog
    >>> with local_cluster(2) as cluster, cluster.get_client() as client:  # doctest: +SKIP
    ...     result = predict_catalog("galaxies", "estimates", estimator=estimator, client=client)
    """
    for name, value, least in (("n_workers", n_workers, 1), ("gpus", gpus, 0)):
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if gpus and n_workers is not None:
        raise ValueError("n_workers must not be given with gpus: there is one worker for each")
    import_lsdb()
    import dask
    from distributed import LocalCluster

    from hifrac.hats._plugin import EndAtOnce, PlainNanny

    options = {"threads_per_worker": 1, "dashboard_address": ":0", "plugins": (EndAtOnce(),)}
    if not gpus:
        return LocalCluster(n_workers=n_workers, worker_class=PlainNanny, **options)
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ImportError("gpus: workers with a GPU need dask-cuda (pip install dask-cuda)") from error
    with dask.config.set({f"distributed.nanny.pre-spawn-environ.{TRIM}": None}):
        return LocalCUDACluster(n_workers=gpus, **options)


def import_lsdb():
    """Return the module ``lsdb``; an ImportError says where it comes from."""
    try:
        with silenced():  # it sets an option of pandas that is none any more
            import lsdb
    except ImportError as error:
        raise ImportError(f"catalogues in HATS need LSDB (pip install 'hifrac[hats]'): {error}") from error
    return lsdb


def client_at_hand(client: distributed.Client | None) -> distributed.Client | None:
    """Return a client, else the one that Dask would take, else None."""
    import distributed

    if client is not None:
        return client
    try:
        return distributed.default_client()
    except ValueError:
        return None


def count_hosts(client: distributed.Client | None) -> int:
    """Return on how many computers the workers are; warn if there are none, or they give memory back."""
    if client is None:
        return 1
    trims = client.run(os.environ.get, TRIM)
    if not trims:
        warn_caller(
            "client has no workers: the partitions wait for some, which client.cluster.scale(2), a queue of "
            "jobs or the command dask worker may start"
        )
    if any(value is not None for value in trims.values()):
        warn_caller(
            f"workers have {TRIM} in their environment, which Dask sets: it doubles their work; set "
            f"distributed.nanny.pre-spawn-environ.{TRIM} to null in Dask's configuration, or use "
            "hifrac.hats.local_cluster"
        )
    return len({urlsplit(address).hostname for address in trims})


@contextmanager
def work_of(client: distributed.Client | None) -> Iterator[None]:
    """Let Dask work with a client; without one, here."""
    import dask

    if client is None:
        with dask.config.set(scheduler="synchronous"):
            yield
        return
    # The name, not the client: a worker that takes the place of a dead one is sent the configuration.
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield
