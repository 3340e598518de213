"""Files: written whole or not at all, and told apart by their sha256."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path, *, keep: bool = True, sync: bool = False) -> Iterator[Path]:
    """Yield a path beside a file's place, of the same extension: complete, it goes there; else it goes away.

    Parameters
    ----------
    path : `~pathlib.Path`
        Where the file belongs. What is there stays until the new one is complete.
    keep : bool, optional
        False to try whether it can be written, and leave nothing.
    sync : bool, optional
        Whether the file is on the disk, and not on its way there, once it has its name: a computer that
        loses its power keeps it.
    """
    # Some writers look at the extension.
    name = f".{path.stem}.{uuid.uuid4().hex}.partial{path.suffix}"  # other computers may write here, too
    partial = path.with_name(name)
    try:
        yield partial
        if keep and sync:
            _sync(partial)
        if keep:
            os.replace(partial, path)
        if keep and sync and os.name == "posix":  # elsewhere folders cannot be opened
            _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a path as `whole_file`; an OSError names the file, also one that is there and is to stay."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already")
    with naming(path), whole_file(path) as partial:
        yield partial


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError name a file or folder, where it would name a partial one or none."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if re.fullmatch(r"\d+ requested and \d+ written", reason):  # by NumPy, of a file that cannot grow
            reason = f"is the disk full? {reason}"
        raise type(error)(f"{path} cannot be written: {reason}") from error


def _sync(path: Path) -> None:
    """Wait until a file, or what a folder says of its files, is on the disk."""
    # Windows syncs only what is open for writing; folders are opened for reading alone.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes | str, *, sync: bool = False) -> None:
    """Write bytes, or text as UTF-8, to a file: no reader ever finds half of it; an OSError names it."""
    with naming(path), whole_file(path, sync=sync) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
