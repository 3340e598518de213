"""Pictures decoded in threads, ahead of whoever wants them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from hifrac.core.exceptions import RowError
from hifrac.cutouts.base import Cutout

#: Pictures that a thread decodes at a time: less is not worth handing over.
_PART = 8

Decoded = tuple[int, Cutout, np.ndarray | RowError]


def decoded(
    cutouts: Iterable[tuple[int, Cutout]], decode: Callable[[int, Cutout], np.ndarray], n_threads: int
) -> Generator[Decoded]:
    """Decode the cutouts of rows, in order.

    Parameters
    ----------
    cutouts : iterable of (int, Cutout)
        Rows and their cutouts.
    decode : callable
        Given a row and its cutout, returns pixels, or raises a RowError.
    n_threads : int
        With one, each picture is decoded when it is asked for. With more, some are so ahead; one that its
        source has decoded, as services do when they verify it, waits for none that comes later.

    Yields
    ------
    row, cutout, pixels : int, Cutout, array or RowError
        The error in the place of the pixels it stopped.
    """

    def decode_all(part: list[tuple[int, Cutout]]) -> list[Decoded]:
        return [(row, cutout, _pixels_or_error(decode, row, cutout)) for row, cutout in part]

    if n_threads == 1:
        for item in cutouts:
            yield from decode_all([item])
        return
    with ThreadPoolExecutor(n_threads, thread_name_prefix="hifrac-decoder") as pool:
        waiting: deque[Future[list[Decoded]]] = deque()
        part: list[tuple[int, Cutout]] = []
        for item in cutouts:
            part.append(item)
            is_quick = item[1].data is None or item[1].pixels is not None
            if is_quick or len(part) == _PART:
                waiting.append(pool.submit(decode_all, part))
                part = []
            while waiting and (is_quick or len(waiting) > n_threads):
                yield from waiting.popleft().result()
        waiting.append(pool.submit(decode_all, part))
        for future in waiting:
            yield from future.result()


def _pixels_or_error(
    decode: Callable[[int, Cutout], np.ndarray], row: int, cutout: Cutout
) -> np.ndarray | RowError:
    try:
        return decode(row, cutout)
    except RowError as error:
        return error
    except Exception as error:
        error.add_note(f"in row {row} of data")
        raise
