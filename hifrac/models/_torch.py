"""What is set for all of PyTorch in a process: kept away from the networks, but for the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hifrac.core.config import conf
from hifrac.core.imports import uncollected

if TYPE_CHECKING:
    import torch

_lock = threading.Lock()
#: How many computations are under way that want single precision, and the type that they found.
_users = 0
_found: torch.dtype | None = None


@contextmanager
def plain_torch() -> Iterator[None]:
    """Compute in single precision, without autocast and inference mode, new tensors on the CPU.

    With ``conf.threads`` threads, if it says how many.

    Also a decorator. Users set such things for their own networks: ``torch.set_default_dtype``,
    ``torch.set_default_device``, ``torch.autocast``, ``torch.inference_mode``. The default type alone is of
    the whole process and not of a thread; it is restored when the last of the threads is done.
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
        stack.enter_context(_single_precision())
        stack.enter_context(_configured_threads())
        yield


def n_threads() -> int:
    """Return with how many threads networks compute on the CPU, and pictures are decoded."""
    import torch

    return conf.threads or torch.get_num_threads()


@contextmanager
def _configured_threads() -> Iterator[None]:
    """Compute with as many threads as are configured."""
    import torch

    wanted, before = n_threads(), torch.get_num_threads()
    if wanted == before:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _single_precision() -> Iterator[None]:
    """Make single precision the default while any thread is within."""
    import torch

    global _users, _found
    with _lock:
        if _users == 0:
            _found = torch.get_default_dtype()
            if _found != torch.float32:
                torch.set_default_dtype(torch.float32)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _found is not None and _found != torch.float32:
                torch.set_default_dtype(_found)
