"""What Dask's workers of this computer do at their end."""

from __future__ import annotations

import gc

from distributed import WorkerPlugin


class EndAtOnce(WorkerPlugin):
    """End without looking through half a million objects of libraries for garbage.

    Dask kills a worker that takes longer than four seconds, with a warning; on a busy computer it did.
    """

    def teardown(self, worker: object) -> None:  # noqa: ARG002  (the name is Dask's)
        gc.freeze()
