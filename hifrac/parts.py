"""Estimates for tables of any length: a folder of Parquet parts, made one by one, and gone on with."""

from __future__ import annotations

import logging
import operator
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable, Table

from hifrac._picture_estimator import PictureEstimator, require_count
from hifrac.core.arrow import to_arrow
from hifrac.core.exceptions import warn_caller, warnings_to, without_warnings
from hifrac.core.failures import count_unserved, failures_text
from hifrac.core.flags import UNSERVED, Flag
from hifrac.core.manifest import (
    differences,
    lasting_facts,
    plain_facts,
    read_manifest,
    run_of,
    table_facts,
    write_manifest,
)
from hifrac.core.parts import is_whole_part, part_flags, part_path, part_rows, remove_parts, write_part
from hifrac.core.progress import progress_reports
from hifrac.core.rows import Rows, open_rows
from hifrac.core.shapes import as_table
from hifrac.cutouts import RemoteCutouts
from hifrac.estimator import HIFractionEstimator

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger("hifrac.parts")

_NO_ESTIMATE = re.compile(r"\d+ of \d+ rows have no estimate, the first is (.*)")
_LACKING = int(Flag.FETCH_FAILED | Flag.BAD_IMAGE)


def predict_parts(
    data: Any,
    folder: str | Path,
    *,
    estimator: PictureEstimator | None = None,
    rows_per_part: int = 20_000,
    part: tuple[int, int] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    replace_columns: bool = False,
    progress: bool | Callable[[int], object] = False,
    **options: Any,
) -> Table:
    """Estimate a quantity of each row, and write the result as a folder of Parquet parts.

    Each part is on the disk before the next is begun: a process may be killed at any moment, and no more than
    the part at work is made again. Memory does not grow with the number of rows where ``data`` is a Parquet
    file. `hifrac.core.read_table` reads the folder as one table; pandas, polars and pyarrow do, too.

    Parameters
    ----------
    data : path-like, `~astropy.table.Table` or other
        As of `~hifrac.HIFractionEstimator.predict`; or a folder that this function wrote. Files other than
        Parquet are read whole.
    folder : path-like
        Where the parts go, ``part-00000.parquet`` and so on, and ``_manifest.json``, which says what they
        rest on. It is made if it does not exist.
    estimator : estimator, optional
        A `~hifrac.HIFractionEstimator`, the default, `~hifrac.MetallicityEstimator` or
        `~hifrac.SpectrumEstimator`.
    rows_per_part : int, optional
        Rows of a part; the last has the rest.
    part : (int, int), optional
        Make the share i of n alone, counted from 0: ``(0, 2)`` the first half of the parts, ``(1, 2)`` the
        other. Jobs of different shares may run at the same time on different computers.
    resume : bool, optional
        Go on with a folder: parts that are there stay, unless they cannot be read to their end, or their rows
        lack pictures that the survey service may give by now.
    overwrite : bool, optional
        Make parts anew that are there.
    replace_columns : bool, optional
        ``overwrite`` of `~hifrac.HIFractionEstimator.predict`: replace result columns that ``data`` has.
    progress : bool or callable, optional
        As of `~hifrac.HIFractionEstimator.predict`.
    **options
        Keywords of `~hifrac.HIFractionEstimator.predict`: ``ra``, ``dec``, ``environment``, ``samples`` and
        ``on_error``. Draws are those of one call for the whole table.

    Returns
    -------
    report : `~astropy.table.Table`
        One row for each part that was asked for: ``part``, ``file``, ``first_row``, ``n_rows``,
        ``n_estimated``, and ``is_new``, False for those that were there.

    Raises
    ------
    FileExistsError
        If the folder has something else in it, or parts, and neither ``resume`` nor ``overwrite`` is said.
    ValueError
        If the parts of the folder rest on other facts, which the message names: another table, model,
        version, number of rows a part or argument. If ``part`` is no share, or ``resume`` and ``overwrite``
        are both said; and as of `~hifrac.HIFractionEstimator.predict`.
    TypeError
        If ``estimator`` is none, ``rows_per_part`` no integer; and as of
        `~hifrac.HIFractionEstimator.predict`.
    OSError
        If a part cannot be written: those before it are kept.

    Warns
    -----
    ~hifrac.core.HifracWarning
        As `~hifrac.HIFractionEstimator.predict`, once for all parts.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from hifrac import HIFractionEstimator, LocalCutouts, predict_parts
    >>> from hifrac.core import read_table
    >>> from hifrac.demo import PICTURES, sample_table
    >>> folder = mkdtemp()
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> report = predict_parts(sample_table(), folder, estimator=estimator, rows_per_part=10)
    >>> report["n_rows"].tolist()
    [10, 10, 7]
    >>> len(read_table(folder))
    27
    """
    require_count("rows_per_part", rows_per_part)
    if resume and overwrite:
        raise ValueError("resume and overwrite exclude each other: keep the parts that are there, or not")
    estimator = HIFractionEstimator() if estimator is None else estimator
    if not isinstance(estimator, PictureEstimator):
        raise TypeError(f"estimator must be an estimator, such as HIFractionEstimator(), got {estimator!r}")
    name = estimator.cutouts.name_column
    rows = open_rows(data, text_columns=() if name is None else (name,))
    call = _Call(estimator, {**options, "overwrite": replace_columns})
    facts = call.facts(rows, int(rows_per_part))
    run = _Run(Path(folder), facts, call)
    numbers = _share(part, facts["parts"])
    todo = run.begin(numbers, part is not None, resume=resume, overwrite=overwrite)
    with progress_reports(progress, sum(np.ptp(part_rows(facts, n)) for n in todo), "estimating") as report:
        run.make(rows, todo, report)
    return run.report(numbers, todo)


def _share(part: tuple[int, int] | None, n_parts: int) -> range:
    """Return the parts of a share."""
    if part is None:
        return range(n_parts)
    try:
        share, of = map(operator.index, part)
        is_share = 0 <= share < of
    except (TypeError, ValueError):
        is_share = False
    if not is_share:
        raise ValueError(f"part must be (i, n) with 0 <= i < n, such as (0, 2) and (1, 2), got {part!r}")
    return range(share * n_parts // of, (share + 1) * n_parts // of)


@dataclass(frozen=True)
class _Call:
    """What is asked of the estimator for each part."""

    estimator: PictureEstimator
    options: dict[str, Any]

    def facts(self, rows: Rows, rows_per_part: int) -> dict[str, Any]:
        """Return the manifest, which no row decides; raise what is wrong with columns or arguments."""
        with without_warnings():  # they come with the first part
            empty, given = rows.read(0, 0)
            result = self.estimator.predict(empty, **self.options)
        columns = self.arrow(result, given).schema
        environment = self.options.get("environment")
        facts = {
            "estimator": type(self.estimator).__name__,
            **lasting_facts(result.meta["hifrac"]),
            **({} if environment is None else {"environment": _reference_facts(environment)}),
            "input": rows.facts,
            "rows": rows.n_rows,
            "rows_per_part": rows_per_part,
            "parts": max(-(-rows.n_rows // rows_per_part), 1),  # one without rows, for its columns
            "columns": {field.name: str(field.type) for field in columns},
        }
        return plain_facts(facts)

    def arrow(self, result: QTable, given: pyarrow.Table | None) -> pyarrow.Table:
        """Return a result whose input columns have the types that they had, such as lists and decimals."""
        made = to_arrow(result)
        if given is None:
            return made
        options = self.options
        new = self.estimator.model.card.columns_for(
            result,
            with_environment=options.get("environment") is not None,
            with_samples=options.get("samples") is not None,
        )
        for place, field in enumerate(made.schema):
            if field.name in given.column_names and field.name not in new:
                values = given[field.name]
                made = made.set_column(place, field.with_type(values.type), values)
        return made


def _reference_facts(environment: Any) -> dict[str, Any]:
    """Return the sha256 of a reference catalogue."""
    if isinstance(environment, tuple):
        coords, z = environment
        icrs = coords.icrs
        return table_facts(Table({"ra": icrs.ra.deg, "dec": icrs.dec.deg, "z": np.asarray(z, dtype=float)}))
    return table_facts(as_table(environment))


@dataclass(frozen=True)
class _Run:
    """The parts of one result in a folder."""

    folder: Path
    facts: dict[str, Any]
    call: _Call

    def begin(self, numbers: Sequence[int], is_share: bool, *, resume: bool, overwrite: bool) -> list[int]:
        """Make the folder ready; return the parts that are to be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        there = read_manifest(self.folder)
        if there is not None and overwrite and not is_share:
            remove_parts(self.folder, range(there.get("parts", 0)))
            there = None
        if there is None:
            if strange := [
                path.name for path in self.folder.iterdir() if not path.name.startswith((".", "_"))
            ]:
                raise FileExistsError(f"{self.folder} has something else in it: {strange[0]}")
            write_manifest(self.folder, self.facts)
            there = read_manifest(self.folder) or {}  # of another job, if that was begun at the same moment
        if changes := differences(there, self.facts):
            raise ValueError(
                f"{self.folder} has parts that rest on other facts: {'; '.join(changes)}. "
                "Take another folder; or make all parts anew by overwrite=True (--overwrite), part=None"
            )
        present = [number for number in numbers if part_path(self.folder, number).exists()]
        if present and not (resume or overwrite):
            raise FileExistsError(
                f"{self.folder} has {len(present)} of {len(numbers)} parts already: resume=True (--resume) "
                "goes on with them, overwrite=True (--overwrite) makes them anew"
            )
        whole = [number for number in present if resume and self._is_done(number)]
        todo = [number for number in numbers if number not in set(whole)]
        remove_parts(self.folder, todo)
        return todo

    def _is_done(self, number: int) -> bool:
        start, stop = part_rows(self.facts, number)
        path = part_path(self.folder, number)
        if not is_whole_part(path, stop - start, self.facts):
            warn_caller(f"{path} is damaged, or of another run: it is made anew")
            return False
        source = self.call.estimator.cutouts
        if not isinstance(source, RemoteCutouts) or source.offline:
            return True
        n_lacking = int(np.sum(part_flags(self.folder, number) & _LACKING != 0))
        if n_lacking:
            log.info("%s is made anew: %d rows lack their picture", path, n_lacking)
        return not n_lacking

    def make(self, rows: Rows, todo: Sequence[int], progress: Callable[[int], object]) -> None:
        """Make parts, one by one, and warn once of what was wrong with their rows."""
        said = _Said()
        try:
            for number in todo:
                self._make_part(rows, number, progress, said)
        finally:
            said.warn()

    def _make_part(self, rows: Rows, number: int, progress: Callable[[int], object], said: _Said) -> None:
        start, stop = part_rows(self.facts, number)
        table, given = rows.read(start, stop)
        with _counted_from(start), said.listen(start):
            try:
                result = self.call.estimator.predict(table, progress=progress, **self.call.options)
            except Exception as error:
                error.add_note(f"in {part_path(self.folder, number).name}, which begins with row {start}")
                raise
        result.meta["hifrac"]["part"] = {
            "number": number,
            "of": self.facts["parts"],
            "first_row": start,
            "run": run_of(self.facts),
        }
        path = part_path(self.folder, number)
        try:
            write_part(self.call.arrow(result, given), path)
        except OSError as error:
            raise OSError(
                f"{path} cannot be written: {error.strerror or error}; the parts before it are kept: "
                "resume=True (--resume) goes on with them"
            ) from error
        said.count(np.asarray(result["flags"]))
        log.info("%s written", path)

    def report(self, numbers: Sequence[int], made: Sequence[int]) -> Table:
        """Return the report of the parts asked for."""
        flags = [part_flags(self.folder, number) for number in numbers]
        return Table(
            {
                "part": np.array(numbers, dtype=int),
                "file": np.array([part_path(self.folder, number).name for number in numbers], dtype=str),
                "first_row": np.array([part_rows(self.facts, number)[0] for number in numbers], dtype=int),
                "n_rows": np.array([len(rows) for rows in flags], dtype=int),
                "n_estimated": np.array([np.sum(rows & int(UNSERVED) == 0) for rows in flags], dtype=int),
                "is_new": np.isin(numbers, list(made)),
            }
        )


class _Said:
    """Warnings of all parts, each once, with the rows counted through the whole table."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, type[Warning]]] = {}
        self._first = ""
        self._counts: Counter[int] = Counter()  # of rows, by what their flags are

    def listen(self, start: int) -> AbstractContextManager[None]:
        """Collect the warnings of a part that begins with a row."""

        def receive(message: str, category: type[Warning]) -> None:
            text = re.sub(r"\brow (\d+)\b", lambda row: f"row {int(row[1]) + start}", message)
            if match := _NO_ESTIMATE.match(text):
                self._first = self._first or match[1]
            else:  # one that counts rows is said of the first part that has it
                self._texts.setdefault(re.sub(r"\d+", "", text), (text, category))

        return warnings_to(receive)

    def count(self, flags: np.ndarray) -> None:
        """Count the rows of a part."""
        self._counts.update(flags.tolist())

    def warn(self) -> None:
        """Warn of all that was said."""
        for text, category in self._texts.values():
            warn_caller(text, category)
        if unserved := count_unserved(self._counts):
            warn_caller(failures_text(unserved, self._counts.total(), self._first))


@contextmanager
def _counted_from(start: int) -> Iterator[None]:
    """Count the rows that the log of estimators names through the whole table."""
    thread = threading.get_ident()

    def shift(record: logging.LogRecord) -> bool:
        if record.thread != thread:  # of another call
            return True
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], int):
            record.args = (record.args[0] + start, *record.args[1:])
        return True

    logger = logging.getLogger("hifrac.estimator")
    logger.addFilter(shift)
    try:
        yield
    finally:
        logger.removeFilter(shift)
