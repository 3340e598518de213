"""What stopped rows: each in the log, and all of them in one warning."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from hifrac.core.exceptions import RowError, warn_caller
from hifrac.core.flags import UNSERVED, Flag


class Failures:
    """The rows that could not be served.

    Parameters
    ----------
    log : `~logging.Logger`
        Each row is told at level INFO; its record has the ``flag``.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._counts: Counter[Flag] = Counter()
        self._first = ""

    def add(self, row: int, error: RowError) -> None:
        """Note what stopped a row."""
        self._log.info("row %d: %s", row, error, extra={"flag": error.flag})
        self._counts[error.flag] += 1
        self._first = self._first or f"row {row}: {error}"

    def warn(self, n_rows: int) -> None:
        """Warn of them, once: how many of the rows, why the first, and what to do about each kind."""
        if self._counts:
            warn_caller(failures_text(self._counts, n_rows, self._first))


def count_unserved(counts: Mapping[int, int]) -> dict[Flag, int]:
    """Return how many rows each reason stopped, from the number of rows by what their ``flags`` are."""
    with_flag = {flag: sum(n for value, n in counts.items() if value & flag) for flag in UNSERVED}
    return {flag: n for flag, n in with_flag.items() if n}


def failures_text(counts: Mapping[Flag, int], n_rows: int, first: str = "") -> str:
    """Say how many of the rows have no estimate, why the first, and what to do about each kind."""
    head = f"{sum(counts.values())} of {n_rows} rows have no estimate"
    lines = [f"{head}, the first is {first}" if first else head]
    lines += [f"  {count} {flag.name}: {flag.advice}" for flag, count in counts.items()]
    return "\n".join(lines)
