"""A forked process, and what it returns."""

from __future__ import annotations

import multiprocessing
import warnings


class Child:
    """A process that was forked, and what it returned; killed if that takes long."""

    def __init__(self, work):
        context = multiprocessing.get_context("fork")
        self._end, end = context.Pipe(duplex=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            self._process = context.Process(target=lambda: end.send(work()), daemon=True)
            self._process.start()
        end.close()

    def result(self):
        assert self._end.poll(60), "the child does not end"
        result = self._end.recv()
        self._process.join()
        self._end.close()
        return result
