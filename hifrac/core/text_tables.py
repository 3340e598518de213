"""Tables that are text: encodings, comments, separators and null words, and the dialects with names."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from hifrac.core.columns import RA_ALIASES
from hifrac.core.units import known_unit

#: What stands for no value, in numbers and in text.
NULL_WORDS = ("", "null", "NULL", "Null", "None", "none", "NA", "N/A", "n/a", "--", "<NA>", "#N/A", "\\N")
#: What stands for no value among numbers alone.
NULL_NUMBERS = ("-", "---", "...", "…", "NaN", "nan", "NAN", "INDEF")

#: Dialects that Astropy reads, by what their text begins with or holds.
_DIALECTS = (
    (re.compile(r"# %ECSV "), "ecsv"),
    (re.compile(r"(?is)(?=.*^Title:).{0,20000}^\s*Byte-by-byte Description of file", re.MULTILINE), "mrt"),
    (re.compile(r"(?is).{0,20000}^\s*Byte-by-byte Description of file", re.MULTILINE), "cds"),
    (re.compile(r"(?is).{0,2000}\\begin\{(?:deluxetable|table|tabular)"), "latex"),
    (re.compile(r"(?is)\s*<(?:!doctype html|html|table)"), "html"),
)
_IPAC_TYPES = {"char", "c", "int", "i", "long", "l", "float", "f", "real", "r", "double", "d", "date"}
_SEXTRACTOR = re.compile(r"#\s*(\d+)\s+(\S+)(?:\s+(.*?))?(?:\s*\[([^\]]*)\])?\s*")
_RULE = re.compile(r"[-=+|:;, \t]*[-=]{3}[-=+|:;, \t]*")

_NOT_INTEGER = re.compile(r"^(?![+-]?(?:0|[1-9][0-9]*)$)", re.MULTILINE)
_NOT_FLOAT = re.compile(  # 000123 is the number of a picture, or of a plate
    r"^(?![+-]?(?:(?:(?:0|[1-9][0-9]*)\.?|[0-9]*\.[0-9]+|[0-9]+\.)(?:[ed][+-]?[0-9]+)?|nan|inf|infinity)$)",
    re.MULTILINE | re.IGNORECASE,
)
_WITH_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_WITH_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")


def decode_text(data: bytes) -> str:
    """Return the text of a file: UTF-8, UTF-16 or UTF-32 by their marks, else Latin-1 as Windows has it."""
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return _one_newline(data.decode(encoding))
    if b"\0" in data[:2000]:
        if len(data) % 2 or min(data[:2000:2].count(0), data[1:2000:2].count(0)) > 0:
            raise ValueError("it is no text, and no format that is known by its first bytes")
        return _one_newline(data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be"))
    try:
        return _one_newline(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _one_newline(data.decode("cp1252", "replace"))


def _one_newline(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def dialect_of(text: str) -> str:
    """Return the name of the dialect of a text: one of Astropy's, or "text" for cells between separators."""
    lines = [line for line in text[:20000].strip().split("\n") if not line.startswith("\\")]
    n_above = next((place for place, line in enumerate(lines) if not line.startswith("|")), len(lines))
    words = {word.strip().lower() for line in lines[1:2] for word in line.strip("|").split("|")}
    if 1 <= n_above <= 4 and (n_above < len(lines) or words <= _IPAC_TYPES):
        return "ipac"  # the rows of other tables of bars begin with one as well
    return next((name for pattern, name in _DIALECTS if pattern.match(text)), "text")


def parts_of(text: str) -> dict[str, str]:
    """Return the tables of one text by their names: SkyServer writes ``#Table1`` above each of several."""
    starts = [match.start() for match in re.finditer(r"^#Table\d+\b.*$", text, re.MULTILINE)]
    if len(starts) < 2:
        return {"": text}
    parts = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    return {part.partition("\n")[0].strip("# "): part for part in parts}


def without_nulls(text: str) -> str:
    """Return the text of an ECSV file without null words among its numbers, which Astropy does not read."""
    lines = text.splitlines()
    head = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if line.strip() and not line.startswith("#")]
    header = "\n".join(head)
    delimiter = "," if re.search(r"^# delimiter: ['\"]?,", header, re.MULTILINE) else " "
    is_text = ["datatype: string" in column for column in re.findall(r"^# - \{(.*)", header, re.MULTILINE)]
    nulls = {*NULL_WORDS, *NULL_NUMBERS} - {"nan", "NaN", "NAN"}
    rows = list(csv.reader(body, delimiter=delimiter))
    result = [*head, body[0]]
    for row in rows[1:]:
        cells = [
            cell if text_column or cell not in nulls else ""
            for cell, text_column in zip(row, is_text, strict=True)
        ]
        result.append(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells))
    return "\n".join(result) + "\n"


def read_cells(text: str, text_columns: Collection[str] = (), delimiter: str | None = None) -> Table:
    """Read a table of cells between separators: commas, semicolons, tabs, bars, blanks, or fixed places.

    Parameters
    ----------
    text : str
        The whole of it. Lines that begin with ``#`` are comments, but for the last one above the first
        row if it has as many words, and no other line has the names.
    text_columns : collection of str, optional
        Columns, in any case, of names: what a number would not give back, such as 000123, stays text.
    delimiter : str, optional
        The separator, if it is not to be guessed.

    Raises
    ------
    ValueError
        If a row has more cells than there are names, or there is no table.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    comments = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#") and not _RULE.fullmatch(line)]
    n_above_rules = _rows_above_rules(lines)
    sextractor = _sextractor_names(comments)
    if not body and comments and sextractor is None:  # names in a comment, and no rows
        body = [comments.pop().lstrip("# ")]
    if not body and sextractor is None:
        raise ValueError("it is empty")
    rows = _rows(body, delimiter) if body else []
    if sextractor is not None:
        names, units = sextractor
        _lengthen(names, units, len(rows[0]) if rows else 0)
    else:
        names, rows, units = _header(rows, comments, has_units=2 in n_above_rules and 1 not in n_above_rules)
    if len(names) == 1 and not rows:
        raise ValueError("it is one line, not names above rows")
    _check_widths(rows, len(names))
    columns = [[row[place] if place < len(row) else "" for row in rows] for place in range(len(names))]
    has_point = any(_WITH_POINT.fullmatch(cell) for column in columns for cell in column[:50])
    wanted = {name.lower() for name in text_columns}
    table = Table()
    for name, column, unit in zip(_distinct(names), columns, units, strict=True):
        table[name] = _column(column, is_name=name.lower() in wanted, decimal_comma=not has_point)
        table[name].unit = known_unit(unit)
    if kept := [line.lstrip("#").strip() for line in comments if sextractor is None]:
        table.meta["comments"] = [line for line in kept if line and not re.fullmatch(r"Table\d+", line)]
    return table


def _rows(lines: list[str], delimiter: str | None) -> list[list[str]]:
    """Part lines into cells, with the separator that makes every row as long as the first."""
    if delimiter is not None:
        return _split(lines, delimiter)
    sample = lines[:100]
    for sign in ("\t", ";", "|", ","):
        counts = [len(row) for row in _split(sample, sign)]
        if counts[0] > 1 and max(counts) == counts[0]:
            return _split(lines, sign)
    if "," in lines[0] or "\t" in lines[0]:
        return _split(lines, "," if "," in lines[0] else "\t")
    rows = _split(lines, " ")
    if len({len(row) for row in rows}) > 1:
        rows = _at_blanks(lines) or rows
    return rows


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    if delimiter == " ":
        lines = [line.replace("\t", " ").strip() for line in lines]
    elif delimiter == "|":
        lines = [line.strip().removeprefix("|").removesuffix("|") for line in lines]
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in reader]


def _at_blanks(lines: list[str]) -> list[list[str]]:
    """Part lines where all have a blank: tables of fixed width, whose names may hold single blanks."""
    spread = [line.expandtabs() for line in lines]
    width = max(map(len, spread))
    padded = [line.ljust(width) for line in spread]
    is_blank = [all(line[place] == " " for line in padded) for place in range(width)]
    starts = [place for place in range(width) if not is_blank[place] and (place == 0 or is_blank[place - 1])]
    return [[line[a:b].strip() for a, b in pairwise([*starts, width])] for line in padded]


def _rows_above_rules(lines: list[str]) -> set[int]:
    """Return how many lines are above each line of dashes: above VizieR's are names and units."""
    counts, n_above = set(), 0
    for line in lines:
        if _RULE.fullmatch(line):
            counts.add(n_above)
        elif not line.startswith("#"):
            n_above += 1
    return counts


def _header(
    rows: list[list[str]], comments: list[str], *, has_units: bool
) -> tuple[list[str], list[list[str]], list[str | None]]:
    """Return names, rows and units: from the first line, from the comment above it, or made up."""
    names = rows[0]
    none: list[str | None] = [None] * len(names)
    if not any(map(_is_number, names)):
        if not has_units:
            return names, rows[1:], none
        units: list[str | None] = [cell or None for cell in rows[1]]
        return names, rows[2:], (units + none)[: len(names)]
    commented = _words_of_comment(comments, len(names))
    return commented or [f"col{place + 1}" for place in range(len(names))], rows, none


def _words_of_comment(comments: list[str], number: int) -> list[str] | None:
    """Return the names that a comment has, and take it away: the one with an RA, else the last that fits."""
    fitting: list[tuple[int, list[str]]] = []
    for place, comment in enumerate(comments):
        for delimiter in (",", ";", "\t", "|", " "):
            words = _split([comment.lstrip("#").strip() or "#"], delimiter)[0]
            if len(words) == number and not any(map(_is_number, words)):
                fitting.append((place, words))
                break
    if not fitting:
        return None
    with_position = [entry for entry in fitting if any(word.lower() in RA_ALIASES for word in entry[1])]
    place, words = (with_position or fitting)[-1]
    del comments[place]
    return words


def _sextractor_names(comments: list[str]) -> tuple[list[str], list[str | None]] | None:
    """Return the names and units of a header of SExtractor: a comment a column, with its number."""
    matches = [_SEXTRACTOR.fullmatch(line) for line in comments]
    if not matches or not all(matches):
        return None
    columns = [(int(match[1]), match[2], match[4]) for match in matches if match]
    if columns[0][0] != 1:
        return None
    names: list[str] = []
    units: list[str | None] = []
    for number, name, unit in columns:
        _lengthen(names, units, number - 1)
        names.append(name)
        units.append(unit)
    return names, units


def _lengthen(names: list[str], units: list[str | None], number: int) -> None:
    """Name the elements of a vector, of which SExtractor names the first alone."""
    while len(names) < number:
        names.append(names[-1])
        units.append(units[-1])


def _check_widths(rows: list[list[str]], number: int) -> None:
    for place, row in enumerate(rows):
        if len(row) > number and any(row[number:]):
            raise ValueError(f"row {place} has {len(row)} cells, but there are {number} names")


def _distinct(names: list[str]) -> list[str]:
    """Return names of which each stands for one column: the second "z" is "z_2", and an empty one "col3"."""
    result: list[str] = []
    for place, name in enumerate(names):
        base, copies = name or f"col{place + 1}", 2
        name = base
        while name in result:
            name, copies = f"{base}_{copies}", copies + 1
        result.append(name)
    return result


def _is_number(cell: str) -> bool:
    return any(sign.isdigit() for sign in cell) and _NOT_FLOAT.search(cell.replace(",", ".")) is None


def _column(cells: list[str], *, is_name: bool, decimal_comma: bool) -> Column:
    """Return a column of integers, floats, truth values or text, masked where there is no value."""
    text, mask = np.array(cells, dtype=str), np.isin(cells, NULL_WORDS)
    numbers = None
    if not mask.all() or not is_name:
        numbers = _numbers(cells, decimal_comma=decimal_comma and not is_name, integers_only=is_name)
    if numbers is None:
        present = set(text[~mask])
        if present and present <= {"True", "False", "true", "false"}:
            numbers = np.isin(text, ("True", "true")), mask
    values, mask = (text, mask) if numbers is None else numbers
    if values.dtype.kind == "U":
        values = np.where(mask, "", values) if len(values) else values
    return MaskedColumn(values, mask=mask) if mask.any() else Column(values)


def _numbers(
    cells: list[str], *, decimal_comma: bool, integers_only: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the numbers of cells and their mask, or None if not all are numbers that keep their digits."""
    mask = np.isin(cells, (*NULL_WORDS, *NULL_NUMBERS))
    present = [cell for cell, is_null in zip(cells, mask, strict=True) if not is_null]
    if decimal_comma and any(map(_WITH_COMMA.fullmatch, present)):
        present = [cell.replace(",", ".") if _WITH_COMMA.fullmatch(cell) else cell for cell in present]
    joined = "\n".join(present)
    if integers_only and any(cell.startswith("+") or cell == "-0" for cell in present):
        return None
    if present and _NOT_INTEGER.search(joined) is None:
        return _filled(present, mask, [np.int64, np.uint64], int)
    if integers_only or joined.count("\n") != max(len(present) - 1, 0):
        return None
    if present and _NOT_FLOAT.search(joined) is not None:
        return None
    if not present:  # floats would spoil identifiers that the column is stacked with
        return np.zeros(len(mask), np.int64), mask
    is_nan = np.char.lower(np.array(cells, dtype=str)) == "nan"
    filled = _filled([cell.replace("D", "e").replace("d", "e") for cell in present], mask, [float], float)
    return None if filled is None else (filled[0], filled[1] & ~is_nan)


def _filled(present, mask, dtypes, convert):
    """Return numbers in their places, of the first type that holds them all; None if none does."""
    for dtype in dtypes:
        try:
            values = np.zeros(len(mask), dtype) if dtype is not float else np.full(len(mask), np.nan)
            values[~mask] = np.array([convert(cell) for cell in present], dtype)
        except OverflowError:
            continue
        return values, mask
    return None
