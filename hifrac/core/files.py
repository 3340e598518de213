"""Files: written whole or not at all, and told apart by their sha256."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path, *, keep: bool = True) -> Iterator[Path]:
    """Yield a path beside a file's place, of the same extension: complete, it goes there; else it goes away.

    Parameters
    ----------
    path : `~pathlib.Path`
        Where the file belongs. What is there stays until the new one is complete.
    keep : bool, optional
        False to try whether it can be written, and leave nothing.
    """
    # Some writers look at the extension.
    name = f".{path.stem}.{os.getpid()}-{threading.get_ident()}.partial{path.suffix}"
    partial = path.with_name(name)
    try:
        yield partial
        if keep:
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write bytes, or text as UTF-8, to a file: no reader ever finds half of it."""
    with whole_file(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
