"""Numbers of things, as users give them: whole, and at least one."""

from __future__ import annotations

from typing import Any

import numpy as np


def require_count(name: str, value: Any) -> None:
    """Refuse what is no positive integer, with an error that names the parameter.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
