"""Imports of large libraries, without the search for garbage that they set off."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without collecting garbage meanwhile.

    PyTorch makes half a million objects that stay, and Python looks through them again and again: a sixth of
    the time that its import takes. Once it is there, nothing changes: what is new then does not stay.
    """
    if "torch" in sys.modules:
        yield
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            # What is new counts as old now, or the next collection would be about all of it.
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()
