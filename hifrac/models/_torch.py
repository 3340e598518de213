"""What is set for all of PyTorch in a process: kept away from the networks, with its number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hifrac.core.config import conf
from hifrac.core.imports import uncollected

if TYPE_CHECKING:
    import torch

_lock = threading.Lock()


@dataclass
class _Process:
    """What a user has set for the whole process, while any thread computes with our settings."""

    users: int = 0
    dtype: torch.dtype | None = None
    threads: int = 0


_process = _Process()


@contextmanager
def plain_torch(threads: int | None = None) -> Iterator[None]:
    """Compute in single precision, without autocast and inference mode, new tensors on the CPU.

    An operation is shared among so many threads, or else `n_threads`.

    Also a decorator. Users set such things for their own networks: ``torch.set_default_dtype``,
    ``torch.set_default_device``, ``torch.autocast``, ``torch.inference_mode``. The default type is of the
    whole process, and so is the number of threads for threads that begin meanwhile: both are restored when
    the last thread is done.
    """
    with uncollected():  # for it is mostly here that PyTorch is imported
        import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_settings(threads or n_threads()))
        yield


def n_threads() -> int:
    """Return with how many threads networks compute on the CPU, and pictures are decoded."""
    import torch

    with _lock:
        return conf.threads or (_process.threads if _process.users else torch.get_num_threads())


@contextmanager
def _settings(threads: int) -> Iterator[None]:
    """Compute in single precision, an operation with so many threads."""
    import torch

    with _lock:
        before = torch.get_num_threads()
        if _process.users == 0:
            _process.dtype, _process.threads = torch.get_default_dtype(), before
            torch.set_default_dtype(torch.float32)
        _process.users += 1
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _lock:
            _process.users -= 1
            torch.set_num_threads(before if _process.users else _process.threads)
            if _process.users == 0 and _process.dtype is not None:
                torch.set_default_dtype(_process.dtype)
