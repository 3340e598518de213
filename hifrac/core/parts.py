"""A table in parts, a folder of Parquet files with a manifest: names, writing, checking and reading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hifrac.core.arrow import PROVENANCE, from_arrow
from hifrac.core.files import whole_file
from hifrac.core.manifest import MANIFEST, read_manifest, run_of

if TYPE_CHECKING:
    import pyarrow

# Rows that are read at a time to see whether a part is whole.
_CHECKED_ROWS = 4096


def part_path(folder: Path, number: int) -> Path:
    """Return the file of a part."""
    return folder / f"part-{number:05d}.parquet"


def part_rows(facts: Mapping[str, Any], number: int) -> tuple[int, int]:
    """Return the first row of a part, and the one behind its last."""
    start = number * facts["rows_per_part"]
    return start, min(start + facts["rows_per_part"], facts["rows"])


def write_part(part: pyarrow.Table, path: Path) -> None:
    """Write a part whole or not at all, on the disk when this returns; OSError if that fails."""
    import pyarrow.parquet

    def write() -> None:
        with whole_file(path, sync=True) as partial:
            pyarrow.parquet.write_table(part, partial, write_page_checksum=True)

    try:
        write()
    except FileNotFoundError:
        # Another process that begins with the same folder takes the partial file for one of a killed process.
        write()


def is_whole_part(path: Path, rows: int, facts: Mapping[str, Any]) -> bool:
    """Return whether a file is a part of a run that has its rows and columns, and can be read to its end."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            if _run_in(schema) != run_of(facts) or file.metadata.num_rows != rows:
                return False
            for _ in file.iter_batches(batch_size=_CHECKED_ROWS):
                pass
    except (OSError, ValueError, pyarrow.ArrowException):
        return False
    return schema.names == list(facts["columns"])


def part_flags(folder: Path, number: int) -> np.ndarray:
    """Return the flags of the rows of a part."""
    import pyarrow.parquet

    column = pyarrow.parquet.read_table(part_path(folder, number), columns=["flags"])["flags"]
    return np.asarray(column, dtype=np.int32)


def part_files(folder: Path) -> list[Path]:
    """Return the files of a folder of parts, in order.

    Raises
    ------
    IsADirectoryError
        If it is some other folder.
    ValueError
        If parts are not there.
    """
    facts = read_manifest(folder)
    if facts is None or "parts" not in facts:
        raise IsADirectoryError(f"{folder} is a folder, not a table")
    paths = [part_path(folder, number) for number in range(facts["parts"])]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of its {len(paths)} parts, the first is {missing[0]}: "
            "resume=True (--resume) makes them"
        )
    return paths


def read_parts(folder: Path) -> Table:
    """Read a folder of parts as one table; errors as of `part_files`, ValueError for another run's part."""
    import pyarrow

    paths = part_files(folder)
    run = run_of(read_manifest(folder) or {})
    tables = [_read_part(path, run) for path in paths]
    # The schema of the first: the others say the same of the columns, and less of the longest text.
    table = from_arrow(
        pyarrow.concat_tables([tables[0], *(part.cast(tables[0].schema) for part in tables[1:])])
    )
    table.meta.get("hifrac", {}).pop("part", None)
    return table


def _read_part(path: Path, run: str) -> pyarrow.Table:
    import pyarrow.parquet

    try:
        part = pyarrow.parquet.read_table(path, page_checksum_verification=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path.name} is damaged: {error}; resume=True (--resume) makes it anew") from error
    if _run_in(part.schema) != run:
        raise ValueError(f"{path.name} is of another run than the manifest: --resume makes it anew")
    return part


def _run_in(schema: pyarrow.Schema) -> str | None:
    """Return of which run a part says that it is."""
    made_by = json.loads((schema.metadata or {}).get(PROVENANCE, b"{}"))
    return made_by.get("part", {}).get("run")


def remove_folder(folder: Path) -> None:
    """Remove a folder of parts, if nothing else is in it."""
    remove_parts(folder, range((read_manifest(folder) or {}).get("parts", 0)))
    (folder / MANIFEST).unlink(missing_ok=True)
    with suppress(OSError):  # what is not ours stays
        folder.rmdir()


def remove_parts(folder: Path, numbers: Sequence[int]) -> None:
    """Remove parts, and what was left of them where a process was killed."""
    for number in numbers:
        path = part_path(folder, number)
        path.unlink(missing_ok=True)
        for partial in folder.glob(f".{path.stem}.*.partial{path.suffix}"):
            partial.unlink(missing_ok=True)
