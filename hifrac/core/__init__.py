"""What every room shares: settings, flags, columns, errors, and tables read and written."""

from __future__ import annotations

import importlib

# Names are imported on first use: the settings must not cost what tables cost.
_HOME_OF = {
    "BadCoordinateError": "exceptions",
    "BadImageError": "exceptions",
    "BadScaleError": "exceptions",
    "BitFlag": "flags",
    "FetchError": "exceptions",
    "HifracError": "exceptions",
    "HifracWarning": "exceptions",
    "ModelError": "exceptions",
    "ModelIntegrityError": "exceptions",
    "OutOfFootprintError": "exceptions",
    "RESULT_COLUMNS": "columns",
    "ResultColumn": "columns",
    "RowError": "exceptions",
    "UnknownModelError": "exceptions",
    "cache_dir": "config",
    "data_dir": "config",
    "galactic_ebv": "reddening",
    "read_table": "tables",
    "write_table": "tables",
}

__all__ = [
    "RESULT_COLUMNS",
    "BadCoordinateError",
    "BadImageError",
    "BadScaleError",
    "BitFlag",
    "FetchError",
    "HifracError",
    "HifracWarning",
    "ModelError",
    "ModelIntegrityError",
    "OutOfFootprintError",
    "ResultColumn",
    "RowError",
    "UnknownModelError",
    "cache_dir",
    "data_dir",
    "galactic_ebv",
    "read_table",
    "write_table",
]


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
