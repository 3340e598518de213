"""The facts of a model card as they come from a file: of the right type, finite and of a sensible size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

# Nothing that a card measures is larger: calibrations multiply and exponentiate such numbers.
_LARGEST, _MOST_CHARACTERS, _DEEPEST = 1e6, 100_000, 3


def check_facts(kind: type, facts: Any, name: str) -> None:
    """Check what JSON has for the fields of a dataclass.

    Parameters
    ----------
    kind : type
        The dataclass. Fields that are dataclasses themselves are checked on their own.
    facts : object
        What was read.
    name : str
        What messages call it.

    Raises
    ------
    TypeError
        If a fact is of another type, or no field of that name exists.
    ValueError
        If a number is not finite or beyond all sense, or a text is endless or no Unicode.
    """
    if not isinstance(facts, dict):
        raise TypeError(f"{name} must be an object, got {_short(facts)}")
    hints = get_type_hints(kind)
    if unknown := sorted(set(facts) - set(hints)):
        raise TypeError(f"{name} has unknown facts: {', '.join(key[:80] for key in unknown[:9])}")
    for key, value in facts.items():
        _check(hints[key], value, key)


def _check(hint: Any, value: Any, name: str) -> None:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in parts:
            return
        origin, hint = None, next(part for part in parts if part is not NoneType)
    if hint is str:
        _check_text(value, name)
    elif hint is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, got {_short(value)}")
        if not 0 <= value <= 2**31:
            raise ValueError(f"{name} must be between 0 and 2**31, got {_short(value)}")
    elif hint is float:
        if not -_LARGEST <= _number(value, name) <= _LARGEST:
            raise ValueError(f"{name} must be a number of at most {_LARGEST:g}, got {_short(value)}")
    elif origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{name} must be a list, got {_short(value)}")
        for entry in value:
            _check(parts[0], entry, name)
    elif origin is Mapping:
        if not isinstance(value, dict):
            raise TypeError(f"{name} must be an object, got {_short(value)}")
        for key, entry in value.items():
            _check_text(key, name)
            if parts[1] is Any:
                _check_plain(entry, name, _DEEPEST)
            else:
                _check(parts[1], entry, name)


def _check_plain(value: Any, name: str, depth: int) -> None:
    """Check what may be anything: text, numbers, and lists and objects of them."""
    if depth == 0:
        raise ValueError(f"{name} is nested too deeply")
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, list | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            _check_plain(entry, name, depth - 1)
    elif value is not None:
        _number(int(value) if isinstance(value, bool) else value, name)


def _check_text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {_short(value)}")
    if len(value) > _MOST_CHARACTERS:
        raise ValueError(f"{name} has {len(value)} characters")
    value.encode()  # JSON can spell halves of characters


def _number(value: Any, name: str) -> float:
    """Return a number, NaN included, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {_short(value)}")
    number = float(value)
    if math.isinf(number):
        raise ValueError(f"{name} must not be infinite")
    return number


def _short(value: Any) -> str:
    """Describe a value in a few characters, whatever it is."""
    return (
        f"{type(value).__name__} {str(value)[:40]!r}"
        if isinstance(value, str | float)
        else (type(value).__name__)
    )
