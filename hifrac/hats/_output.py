"""The folder of a result in HATS: begun, gone on with, complete; LSDB writes what is in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hifrac.core.manifest import MANIFEST, differences, plain_facts, read_manifest, write_manifest

_PROPERTIES = ("hats.properties", "collection.properties")


def is_hats(path: Path) -> bool:
    """Return whether a folder is a catalogue, or a collection, in HATS."""
    return any((path / name).is_file() for name in _PROPERTIES)


def begin(folder: Path, facts: Mapping[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Make the folder of a result ready, and return whether there is anything left to do.

    Raises
    ------
    FileExistsError
        If there is something, and it is neither to be gone on with nor replaced.
    FileNotFoundError
        If the folder around it does not exist.
    ValueError
        If both are wanted, or what is there is no such result, or was made by something else.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite must not both be given")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (resume or overwrite):
            raise FileExistsError(
                f"{folder} exists already; say resume=True (--resume) to go on with it, "
                "or overwrite=True (--overwrite)"
            )
        if not folder.is_dir() or not (is_hats(folder) or (folder / MANIFEST).is_file()):
            raise ValueError(f"{folder} is no catalogue in HATS: it is left as it is")
        if resume:
            changes = differences(read_manifest(folder) or {}, plain_facts(facts))
            if changes:
                raise ValueError(f"{folder} was begun by another run, --overwrite begins anew: {changes[0]}")
            return not _is_complete(folder) and _tidy(folder)
        shutil.rmtree(folder)
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {folder.parent}")
    folder.mkdir(exist_ok=True)
    write_manifest(folder, plain_facts(facts))
    return True


def _is_complete(folder: Path) -> bool:
    """Return whether the last thing that LSDB does is done: it writes properties, then forgets the marks."""
    from lsdb.io.to_hats import DONE_DIR_NAME

    return is_hats(folder) and not (folder / DONE_DIR_NAME).exists()


def _tidy(folder: Path) -> bool:
    """Forget partitions that are marked as done and are not whole; a kill at the wrong moment leaves such."""
    from lsdb.io.to_hats import DONE_DIR_NAME, HISTOGRAM_DIR_NAME

    for root in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        done = {path.name.removesuffix("_done"): path for path in root.glob(f"{DONE_DIR_NAME}/*_done")}
        for path in root.glob(f"{HISTOGRAM_DIR_NAME}/*_histogram.npz"):
            pixel = path.name.removesuffix("_histogram.npz")
            if pixel in done and _is_whole(root, pixel, path):
                del done[pixel]
            else:
                path.unlink()
        for path in done.values():
            path.unlink()
    return True


def _is_whole(root: Path, pixel: str, histogram: Path) -> bool:
    """Return whether a partition has as many rows as were counted; one without rows has no file."""
    import pyarrow.parquet
    from hats.pixel_math.sparse_histogram import SparseHistogram

    order, number = pixel.split("_")
    pattern = f"dataset/Norder={order}/Dir=*/Npix={number}.parquet"
    try:
        count = int(np.sum(SparseHistogram.from_file(histogram).counts))
        return any(pyarrow.parquet.read_metadata(path).num_rows == count for path in root.glob(pattern))
    except Exception:  # of numpy, zipfile and Arrow: half a file
        return False
