"""The passes of a batch through a network: as large as memory allows, or small ones side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from hifrac.core.exceptions import warn_caller
from hifrac.models._torch import n_threads, plain_torch

if TYPE_CHECKING:
    import torch

_Part = TypeVar("_Part")

#: What PyTorch says when memory is short: it has a class for that only on a GPU and outside TorchScript.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "OutOfMemoryError")


def in_parts(
    answer: Callable[[slice], _Part],
    count: int,
    room: list[int],
    device: str | torch.device,
    *,
    advice: str = "",
) -> list[_Part]:
    """Answer for pictures in as few parts as there is memory for.

    Parameters
    ----------
    answer : callable
        Given a slice of the rows, works out their part of the answer.
    count : int
        Number of rows; with none there is one part, of none.
    room : list of int
        The size of the largest part, once it is known, else nothing; kept up to date.
    device : str or torch.device
        Where it is worked out.
    advice : str, optional
        What the warning ends with.

    Returns
    -------
    parts : list
        In the order of the rows.

    Raises
    ------
    RuntimeError
        PyTorch's, if there is no memory for one row, or ``answer`` fails for another reason.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If there is no memory for a part: it is halved.
    """
    import torch

    parts: list[_Part] = []
    size, start = room[0] if room else max(count, 1), 0
    while start < count or not parts:
        tried = min(size, count - start)
        try:
            parts.append(answer(slice(start, start + size)))
            start += size
            continue
        except RuntimeError as error:
            if tried < 2 or not is_out_of_memory(error):
                raise
        # Only here is what the failed pass held free again.
        size = (tried + 1) // 2
        room[:] = [size]
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()
        warn_caller(f"out of memory on {device} with {tried} pictures at once: going on with {size}{advice}")
    return parts


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether PyTorch says with an error that memory is short."""
    return any(words in str(error) for words in _OUT_OF_MEMORY) or "OutOfMemory" in type(error).__name__


def side_by_side(work: Callable[[slice], _Part], count: int, size: int) -> list[_Part]:
    """Work on rows in passes of at most so many, each in a thread of its own, `n_threads` at a time.

    For networks whose operations are too short to be shared among threads, in inference mode.

    Returns
    -------
    parts : list
        In the order of the rows; with no rows there is one part, of none.
    """
    import torch

    threads = n_threads()
    size = max(size // 2, min(size, -(-count // threads)))  # smaller passes cost more than an idle thread
    passes = [slice(start, start + size) for start in range(0, max(count, 1), size)]

    def one_pass(rows: slice) -> _Part:
        with plain_torch(threads=1), torch.inference_mode():
            return work(rows)

    if min(threads, len(passes)) == 1:
        return [one_pass(rows) for rows in passes]
    return list(_pool(threads).map(one_pass, passes))


@lru_cache(maxsize=1)  # for another number the threads end, once they have done what they were given
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads for passes: the same all along, for what PyTorch sets up in a thread takes time."""
    return ThreadPoolExecutor(threads, thread_name_prefix="hifrac-pass")


if hasattr(os, "register_at_fork"):  # after a fork there are no threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
