"""What is set for all of PyTorch in a process: kept away from the networks, with its number of threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from hifrac.core.config import conf
from hifrac.core.imports import uncollected

_lock = threading.Lock()


@dataclass
class _Process:
    """What a user has set for the whole process, while any thread computes with our settings."""

    users: int = 0
    threads: int = 0
    restored: ExitStack = field(default_factory=ExitStack)
    is_forked: bool = False


_process = _Process()


@contextmanager
def plain_torch(threads: int | None = None) -> Iterator[None]:
    """Compute in single precision, without autocast and inference mode, new tensors on the CPU.

    An operation is shared among so many threads, or else `n_threads`; not in a process that was forked, where
    OpenMP waits for threads that are not there.

    Also a decorator. Users set such things for their own networks: ``torch.set_default_dtype``,
    ``torch.set_float32_matmul_precision``, ``torch.set_default_device``, ``torch.autocast``,
    ``torch.inference_mode``. The first two are of the whole process, and so is the number of threads for
    threads that begin meanwhile: they are restored when the last thread is done.
    """
    with uncollected():  # for it is mostly here that PyTorch is imported
        import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":  # get_default_device fails in PyTorch 2.8 once it was reset
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_settings(threads or (1 if _process.is_forked else n_threads())))
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
        process, before = _process, torch.get_num_threads()
        if process.users == 0:
            process.threads = before
            process.restored.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
            process.restored.enter_context(_full_products())
        process.users += 1
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _lock:
            process.users -= 1
            torch.set_num_threads(before if process.users else process.threads)
            if process.users == 0:
                process.restored.close()


@contextmanager
def _full_products() -> Iterator[None]:
    """Multiply in single precision, where processors that have less were allowed to use it."""
    import torch

    backends: Any = torch.backends
    if not hasattr(backends.mkldnn, "matmul"):  # before PyTorch 2.9
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        yield
        torch.set_float32_matmul_precision(precision)
        return
    places = backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul
    lowered = {place: place.fp32_precision for place in places if place.fp32_precision in ("bf16", "tf32")}
    for place in lowered:
        place.fp32_precision = "ieee"
    yield
    for place, precision in lowered.items():
        place.fp32_precision = precision


def _begin_anew() -> None:
    """Restore, after a fork, what was set for threads that are not here."""
    global _process
    _process.restored.close()
    _process = _Process(is_forked=True)
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_anew)
