"""Forks: a child must not share what its parent has open, nor wait for threads that it does not have."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol
from weakref import WeakSet


class Unshared(Protocol):
    """What has locks, files or connections, and is told of forks."""

    def _before_fork(self) -> None:
        """Let go of what must not be open, and begin nothing until `_after_fork`."""

    def _after_fork(self, is_child: bool) -> None:
        """Go on; in the child with locks and files of its own."""


_unshared: WeakSet[Any] = WeakSet()
_told: list[Unshared] = []  # what is between its two calls
_lock = threading.Lock()


def tell_of_forks(unshared: Unshared) -> None:
    """Tell an object of forks, as long as it is there."""
    with _lock:
        _unshared.add(unshared)


def hold_at_fork(lock: Any) -> None:
    """Hold a lock of a module during forks: a child does not have the thread that could release it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _before() -> None:
    _lock.acquire()
    _told[:] = _unshared
    for unshared in _told:
        unshared._before_fork()


def _after(is_child: bool) -> None:
    for unshared in _told:
        unshared._after_fork(is_child)
    _told.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=lambda: _after(False), after_in_child=lambda: _after(True)
    )
