"""How Dask's workers of this computer begin and end."""

from __future__ import annotations

import gc
from typing import Any

from distributed import Nanny, WorkerPlugin

from hifrac.hats._cluster import TRIM


class EndAtOnce(WorkerPlugin):
    """End without looking through half a million objects of libraries for garbage.

    Dask kills a worker that takes longer than four seconds, with a warning; on a busy computer it did.
    """

    def teardown(self, worker: object) -> None:  # noqa: ARG002  (the name is Dask's)
        gc.freeze()


class PlainNanny(Nanny):
    """Start a worker without what Dask sets of its memory: at any time, for ``cluster.scale`` starts some."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for environment in (self.pre_spawn_env, self.env):
            environment.pop(TRIM, None)
