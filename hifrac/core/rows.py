"""The rows of an input, some at a time: of Parquet no more is in memory than is asked for."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from hifrac.core.arrow import PROVENANCE, flattened, from_arrow
from hifrac.core.input import parse
from hifrac.core.manifest import file_facts, table_facts
from hifrac.core.parts import part_files
from hifrac.core.shapes import as_table, read_input
from hifrac.core.tables import is_parquet

if TYPE_CHECKING:
    import pyarrow

# Rows that pyarrow decodes at a time, and bytes of a column that it reads at a time: by default all of a row
# group, which may be the whole file.
_BATCH, _BUFFER = 4096, 1 << 18


class Rows:
    """An input, of which some rows at a time are read.

    Attributes
    ----------
    n_rows : int
        How many it has.
    facts : dict
        Name, size and sha256, in plain types.
    """

    n_rows: int
    facts: dict[str, Any]

    def read(self, start: int, stop: int) -> tuple[Table, pyarrow.Table | None]:
        """Return some rows as a table; and as they were, where Arrow has types that the table has not."""
        raise NotImplementedError


class _TableRows(Rows):
    """The rows of a table in memory."""

    def __init__(self, table: Table, facts: dict[str, Any] | None = None) -> None:
        self._table = table
        self.n_rows = len(table)
        self.facts = table_facts(table) if facts is None else facts

    def read(self, start: int, stop: int) -> tuple[Table, None]:
        return self._table[start:stop], None


class _ParquetRows(Rows):
    """The rows of Parquet files of one schema, one behind the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        import pyarrow
        import pyarrow.parquet

        self._files = []
        for path in paths:
            try:
                file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
                self._files.append(file)
            except pyarrow.ArrowException as error:
                raise ValueError(f"{path} cannot be read as a table: {error}") from error
        # Of each row group its file, its number there, and its first row.
        self._groups = [(file, number) for file in self._files for number in range(file.num_row_groups)]
        sizes = [file.metadata.row_group(number).num_rows for file, number in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=int)])
        self.n_rows = int(self._starts[-1])
        self.facts = file_facts(*paths)
        self._schema = self._files[0].schema_arrow
        self._next = 0
        self._batches = self._from_group(0)
        self._rest: pyarrow.RecordBatch | None = None

    def read(self, start: int, stop: int) -> tuple[Table, pyarrow.Table | None]:
        import pyarrow
        import pyarrow.parquet

        if start != self._next:
            self._seek(start)
        arrow = pyarrow.Table.from_batches(self._take(stop - start), self._schema)
        metadata = self._schema.metadata or {}
        if b"table_meta_yaml" not in metadata or PROVENANCE in metadata:
            return from_arrow(arrow), flattened(arrow)
        written_by_astropy = io.BytesIO()  # which reads files alone
        pyarrow.parquet.write_table(arrow, written_by_astropy)
        return Table.read(written_by_astropy, format="parquet"), None

    def _seek(self, row: int) -> None:
        """Go to a row, by its row group."""
        group = max(int(np.searchsorted(self._starts, row, side="right")) - 1, 0)
        self._batches, self._rest, self._next = self._from_group(group), None, int(self._starts[group])
        for _ in self._take(row - self._next):
            pass

    def _from_group(self, first: int) -> Iterator[pyarrow.RecordBatch]:
        for file, group in self._groups[first:]:
            yield from file.iter_batches(batch_size=_BATCH, row_groups=[group])

    def _take(self, n: int) -> Iterator[pyarrow.RecordBatch]:
        """Yield the next n rows."""
        while n > 0:
            batch = next(self._batches) if self._rest is None else self._rest
            taken = batch.slice(0, n)
            self._rest = batch.slice(n) if n < len(batch) else None
            self._next += len(taken)
            n -= len(taken)
            yield taken


def open_rows(data: Any, *, text_columns: Collection[str] = (), **reading: Any) -> Rows:
    """Open an input, whatever it is.

    Parameters
    ----------
    data : object
        As of `~hifrac.core.shapes.as_table`; a folder of parts; or rows that are open.
    text_columns : collection of str, optional
        As of `~hifrac.core.read_table`.
    **reading
        Keywords of `~hifrac.core.shapes.read_input`.

    Raises
    ------
    TypeError, ValueError, OSError
        As of these.
    """
    if isinstance(data, Rows):
        return data
    if not isinstance(data, str | os.PathLike) or not Path(data).exists():
        is_text = isinstance(data, str | os.PathLike)
        table = read_input(data, text_columns=text_columns, **reading) if is_text else as_table(data)
        return _TableRows(parse(table).table if isinstance(table, SkyCoord) else table)
    path = Path(data)
    if path.is_dir():
        return _ParquetRows(part_files(path))
    if reading.get("format") in (None, "parquet") and is_parquet(path):
        return _ParquetRows([path])
    options = {name: value for name, value in reading.items() if value is not None}
    return _TableRows(read_input(path, text_columns=text_columns, **options), {**file_facts(path), **options})
