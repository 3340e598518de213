"""Tables on disk, in every format that Astropy reads and writes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits, registry, votable
from astropy.table import Table
from astropy.utils.data import get_readable_fileobj

from hifrac.core.arrow import from_arrow
from hifrac.core.columns import DEC_ALIASES, RA_ALIASES, RESULT_COLUMNS
from hifrac.core.exceptions import silenced
from hifrac.core.files import naming, whole_file
from hifrac.core.parts import read_parts
from hifrac.core.plain_columns import holds_vectors, suited_table
from hifrac.core.text_tables import decode_text, dialect_of, parts_of, read_cells, without_nulls
from hifrac.core.units import known_unit

# Astropy knows a VOTable by its content, which a file to be written does not have.
_VOTABLE = (".vot", ".votable", ".xml")
_PACKED = (".gz", ".bz2", ".xz")

#: Formats by their first bytes.
_FIRST_BYTES = {
    b"SIMPLE  =": "fits",
    b"\x89HDF": "hdf5",
    b"PAR1": "parquet",
    b"# %ECSV": "text",
}
#: Names for cells between separators, and the separators; None for one that is guessed.
_CELLS = {
    "csv": ",",
    "ascii.csv": ",",
    "tsv": "\t",
    "ascii.tab": "\t",
    "ascii": None,
    "ascii.basic": None,
    "ascii.commented_header": None,
    "sextractor": None,
    "ascii.sextractor": None,
}
# How Astropy is told which table of several is wanted.
_OPTION = {"fits": "hdu", "votable": "table_id", "hdf5": "path"}

_REMOTE_STREAM = re.compile(rb"<STREAM\b[^>]*\bhref\s*=\s*[\"']\s*((?:https?|ftp)://[^\"'?]*)", re.IGNORECASE)

# Messages about what a format cannot hold; the documentation says it once.
_FORMAT_LIMITS = (
    "The unit '.*' could not be saved in native FITS format",
    "'.*' did not parse as fits unit",
    "The unit '.*' has been deprecated in the VOUnit standard",
    "Attribute `.*` of type .* cannot be added to FITS Header",
    "Keyword name '.*' is greater than 8 characters",
    ".*W03.*",
    ".*W31.*",
    ".*W50.*",
    "(?s).*(table|column) contains mixin columns.*",
)


def read_table(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    table: int | str | None = None,
    text_columns: Collection[str] = (),
) -> Table:
    r"""Read a table, in whatever format and dialect it is.

    Parameters
    ----------
    path : path-like
        The file; it may be packed by gzip, bzip2 or xz. Or a folder that `hifrac.predict_parts` wrote.
    format : str, optional
        A format of Astropy, ``ascii.`` left out or not, if it is not to be told by content and name.
    table : int or str, optional
        Of a file of several tables, which one: its number or name, as the error without it lists them.
        By default the only one, or the only one with positions.
    text_columns : collection of str, optional
        Columns, in any case, of names: of text, they keep what a number would lose, such as 000123.

    Returns
    -------
    table : `~astropy.table.Table`
        Masked where a cell is empty, or has a word for nothing such as null, None, NA, N/A or --.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    IsADirectoryError
        If it is another folder.
    ValueError
        If it is no table, or several of which none was chosen; or a folder that lacks parts.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from hifrac.core import read_table
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "galaxies.csv"
    ...     _ = path.write_text("objid,ra,dec,z\n000123,150.1,2.2,0.03\n000124,150.2,2.3,null\n")
    ...     print(read_table(path, text_columns=["objid"]))
    objid    ra  dec  z
    ------ ----- --- ----
    000123 150.1 2.2 0.03
    000124 150.2 2.3   --
    """
    path = Path(path)
    if path.is_dir():
        return read_parts(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with silenced():
            # A file that was cut off is an error: half a table is none.
            warnings.filterwarnings("error", message=".*truncated.*")
            result = _read(path, format, table, text_columns)
    except Exception as error:  # each reader of Astropy raises errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read as a table: {reason}") from error
    if not result.colnames:
        raise ValueError(f"{path} cannot be read as a table: it has no columns")
    for column in result.columns.values():
        if (unit := getattr(column, "unit", None)) is not None and not isinstance(column, u.Quantity):
            column.unit = known_unit(unit)
    return result


def read_text_table(text: str, text_columns: Collection[str] = ()) -> Table:
    """Read a table that is text between separators, as `read_table`; ValueError if it is none."""
    return read_cells(text, text_columns)


def _read(path: Path, file_format: str | None, table: int | str | None, names: Collection[str]) -> Table:
    """Read the one table of a file that is wanted."""
    file_format = _format_name(file_format) or _format_of(path)
    if file_format in _CELLS or file_format == "text":
        text = decode_text(_unpacked(path))
        parts = parts_of(text)
        if len(parts) == 1:
            return _read_text(text, file_format, names)
        tables = {name: read_cells(part, names) for name, part in parts.items()}
        return tables[_choose(list(tables), [one.colnames for one in tables.values()], table)]
    if file_format == "votable":
        _refuse_remote_rows(path)
    if file_format in ("fits", "votable", "hdf5"):
        numbers, columns, options = _tables_in(path, file_format)
        if len(numbers) > 1 or table is not None:
            options[_OPTION[file_format]] = _choose(numbers, columns, table)
        return Table.read(path, format=file_format, **options)
    if file_format == "parquet":
        return _read_parquet(path)
    return Table.read(path, format=file_format)


def is_parquet(path: Path) -> bool:
    """Return whether a file is a table in Parquet; ValueError if it is not what its name says."""
    return _format_of(path) == "parquet"


def _refuse_remote_rows(path: Path) -> None:
    """Refuse a VOTable whose rows are at another address: reading a file must not touch the network."""
    addresses = [match[1].decode("utf-8", "replace") for match in _REMOTE_STREAM.finditer(_unpacked(path))]
    if addresses:
        raise ValueError(f"its rows are at another address: {addresses[0]}")


def _format_name(name: str | None) -> str | None:
    """Return the name that Astropy has for a format, or ours for cells between separators."""
    if name is None or name == "text" or name in _CELLS:
        return name
    known = set(registry.get_formats(Table, "Read")["Format"])
    for candidate in (name, f"ascii.{name}", name.removeprefix("ascii.")):
        if candidate in known:
            return candidate
    short = sorted({known_name.removeprefix("ascii.") for known_name in known} | {"text", *_CELLS})
    raise ValueError(f"format must be one of {', '.join(short)}, got {name!r}")


def _format_of(path: Path) -> str:
    """Return the format of a file, by its first bytes, else by its name, else "text"."""
    with get_readable_fileobj(str(path), encoding="binary") as file:
        head = file.read(4096)
    for start, name in _FIRST_BYTES.items():
        if head.startswith(start):
            return name
    if b"<VOTABLE" in head.upper() or path.suffix.lower() in _VOTABLE:
        return "votable"
    by_name = registry.identify_format("read", Table, str(path), None, [], {})
    if not by_name and path.suffix.lower() in _PACKED:  # by the name alone: the content is not as it says
        by_name = registry.identify_format("write", Table, str(path.with_suffix("")), None, [], {})
    others = [name for name in by_name if name not in ("ascii.csv", "ascii.ecsv")]
    if "ascii.ecsv" in by_name and not head.lstrip(b"\xef\xbb\xbf").startswith(b"# %ECSV"):
        raise ValueError("it is named .ecsv, but does not begin as such")
    return others[0] if len(others) == 1 else "text"


def _unpacked(path: Path) -> bytes:
    with get_readable_fileobj(str(path), encoding="binary") as file:
        return file.read()


def _read_text(text: str, file_format: str, names: Collection[str]) -> Table:
    """Read one table that is text, in the dialect that it turns out to be."""
    if file_format in _CELLS:
        return read_cells(text, names, _CELLS[file_format])
    dialect = dialect_of(text)
    if dialect == "text":
        return read_cells(text, names)
    try:
        return Table.read(text, format=f"ascii.{dialect}")
    except ValueError:
        if dialect != "ecsv":
            raise
        return Table.read(without_nulls(text), format="ascii.ecsv")


def _tables_in(path: Path, file_format: str) -> tuple[list[int | str], list[list[str]], dict[str, Any]]:
    """Return numbers or names, and columns, of the tables of a file; and options to read it."""
    if file_format == "fits":
        with fits.open(path) as hdus:
            is_table = [isinstance(hdu, fits.BinTableHDU | fits.TableHDU) for hdu in hdus]
            numbers = [number for number, wanted in enumerate(is_table) if wanted]
            return list(numbers), [[hdus[n].name, *hdus[n].columns.names] for n in numbers], {}
    if file_format == "votable":
        parts = list(votable.parse(path, verify="ignore").iter_tables())
        columns = [[part.name or part.ID or "", *(field.name for field in part.fields)] for part in parts]
        return list(range(len(parts))), columns, {}
    import h5py

    names: dict[str, list[str]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.names and not name.endswith("__table_column_meta__"):
            names[name] = [name, *item.dtype.names]

    with h5py.File(path) as file:
        file.visititems(visit)
    return list(names), list(names.values()), {}


def _choose(numbers: Sequence[int | str], columns: Sequence[list[str]], table: int | str | None) -> Any:
    """Return the number or name of the table that is wanted; without a wish, of the one with positions."""
    if table is not None:
        for number, names in zip(numbers, columns, strict=True):
            if str(table).lower() in (str(number).lower(), names[0].lower()):
                return number
    aliases = {*RA_ALIASES}, {*DEC_ALIASES}
    with_positions = [
        number
        for number, names in zip(numbers, columns, strict=True)
        if all(part & {name.lower() for name in names} for part in aliases)
    ]
    if table is None and len(with_positions) == 1:
        return with_positions[0]
    listed = (f"{number} ({', '.join(names[:8])})" for number, names in zip(numbers, columns, strict=True))
    asked = f"has no table {table!r}" if table is not None else f"holds {len(numbers)} tables"
    raise ValueError(f"it {asked}: {'; '.join(listed)}; choose one by table= (--table)")


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet

    if b"table_meta_yaml" in (pyarrow.parquet.read_schema(path).metadata or {}):  # Astropy wrote it
        return Table.read(path, format="parquet")
    return from_arrow(pyarrow.parquet.read_table(path))


def output_format(path: str | Path) -> str:
    """Return the format that the name of a file asks for.

    Raises
    ------
    ValueError
        If no format, or more than one, goes by that extension.
    """
    if Path(path).suffix.lower() in _VOTABLE:
        return "votable"
    if Path(path).suffix.lower() == ".tsv":
        return "ascii.tab"
    formats = registry.identify_format("write", Table, str(path), None, [], {})
    if len(formats) == 1:
        return formats[0]
    raise ValueError(
        f"the format of {path} is not known by its name; "
        "use for instance .ecsv, .fits, .csv, .vot or .parquet"
    )


def require_vectors(path: str | Path, names: Iterable[str]) -> None:
    """Refuse a format of one value in a cell for result columns that are spectra.

    Raises
    ------
    ValueError
        If the format is such a one, or not known.
    """
    file_format = output_format(path)
    if holds_vectors(file_format):
        return
    for column in (RESULT_COLUMNS[name] for name in names if name in RESULT_COLUMNS):
        if column.size:
            raise ValueError(
                f"{path} cannot be written: {file_format.removeprefix('ascii.')} has one value in a cell, "
                f"and {column.name} has {column.size}; write .ecsv, .fits, .vot, .parquet or .hdf5"
            )


def check_output(table: Table, path: str | Path, *, overwrite: bool = False) -> None:
    """Make sure that a table of such columns can be written, before the work that fills it.

    The table is written beside its place as a trial, and removed again: that
    finds the missing folder, the missing library, and the column that the
    format cannot hold.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError, OSError
        As `write_table`.
    """
    _write(table, Path(path), overwrite=overwrite, keep=False)


def write_table(table: Table, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a table whole or not at all.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Written as the format can hold it: ECSV, HDF5 and Parquet give all back,
        units and ``meta`` included. Units that FITS does not have, as dex, go into the
        column's comment, and ``meta["hifrac"]`` into COMMENT cards. VOTable
        keeps units, CSV numbers alone; its vectors become text, and spectra are refused.
    path : path-like
        Its extension decides the format.
    overwrite : bool, optional
        Whether an existing file is replaced.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If it is a folder.
    ValueError
        If the format is not known, or cannot hold the table.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from astropy import units as u
    >>> from astropy.table import QTable
    >>> from hifrac.core import read_table, write_table
    >>> table = QTable({"distance": [16.5, 70.0] * u.Mpc})
    >>> with TemporaryDirectory() as folder:
    ...     write_table(table, f"{folder}/galaxies.ecsv")
    ...     print(read_table(f"{folder}/galaxies.ecsv"))
    distance
      Mpc
    --------
        16.5
        70.0
    """
    _write(table, Path(path), overwrite=overwrite, keep=True)


def _write(table: Table, path: Path, *, overwrite: bool, keep: bool) -> None:
    file_format = output_format(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    require_vectors(path, (name for name in table.colnames if np.ndim(table[name]) > 1))
    options = {"serialize_meta": True, "path": "result"} if file_format == "hdf5" else {}
    try:
        with naming(path), whole_file(path, keep=keep, sync=True) as partial, silenced(*_FORMAT_LIMITS):
            plain = suited_table(table, file_format)
            plain.write(partial, format=file_format, overwrite=True, **options)
    except OSError:
        raise
    except Exception as error:  # each writer of Astropy raises errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be written: {reason}") from error
