"""Selections that remember their cuts: name, rule, and how many rows were left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from astropy.table import MaskedColumn, QTable, Table


@dataclass(frozen=True)
class Cut:
    """One step of a selection.

    Attributes
    ----------
    name : str
        What it is for.
    rule : str
        What it keeps.
    before, after : int
        Rows before and after it.
    published : int or None
        The paper's number of rows after it, if it gives one.
    note : str
        What is different here.
    """

    name: str
    rule: str
    before: int
    after: int
    published: int | None = None
    note: str = ""


@dataclass
class Selection:
    """A sample on its way through its cuts.

    Attributes
    ----------
    name : str
        Name of the sample.
    table : `~astropy.table.QTable`
        What is left.
    cuts : list of Cut
        The steps so far.
    """

    name: str
    table: QTable
    cuts: list[Cut] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, table: QTable, published: int | None = None, note: str = "") -> Selection:
        """Return a selection with all rows of a catalogue."""
        n = len(table)
        title = table.meta.get("hifrac", {}).get("title", "all rows")
        return cls(name, table, [Cut("start", title, n, n, published, note)])

    def cut(
        self, name: str, rule: str, keep: np.ndarray, published: int | None = None, note: str = ""
    ) -> Selection:
        """Keep some rows.

        Parameters
        ----------
        name, rule : str
            What the step is for, and what it keeps.
        keep : array of bool, shape (n,)
            True for the rows to keep.
        published : int, optional
            The paper's number of rows after the step.
        note : str, optional
            What is different here.

        Returns
        -------
        self : Selection
            So that steps can be chained.

        Raises
        ------
        ValueError
            If ``keep`` is not one truth value for each row.
        """
        keep = np.asarray(keep)
        if keep.dtype != bool or keep.shape != (len(self.table),):
            raise ValueError(f"keep must be {len(self.table)} truth values, got {keep.dtype} {keep.shape}")
        before = len(self.table)
        self.table = self.table[keep]
        self.cuts.append(Cut(name, rule, before, len(self.table), published, note))
        return self

    def change(self, function: Callable[[QTable], QTable]) -> Selection:
        """Replace the table by one with the same rows, and more columns."""
        table = function(self.table)
        if len(table) != len(self.table):
            raise ValueError("function must keep the rows as they are")
        self.table = table
        return self

    def copy(self, name: str) -> Selection:
        """Return the same selection under another name, to be cut further."""
        return Selection(name, self.table.copy(), list(self.cuts))

    def counts(self) -> Table:
        """Return the steps as a table: see `counts_table`."""
        return counts_table([self])


def counts_table(selections: Iterable[Selection]) -> Table:
    """Return what every cut of the selections left, beside the published numbers.

    Parameters
    ----------
    selections : iterable of Selection
        One or more.

    Returns
    -------
    table : `~astropy.table.Table`
        Columns ``sample``, ``step``, ``rule``, ``removed``, ``rows``,
        ``published`` and ``difference`` (masked where the paper gives no number), ``note``.
    """
    rows = [
        (selection.name, cut.name, cut.rule, cut.before - cut.after, cut.after, cut.published, cut.note)
        for selection in selections
        for cut in selection.cuts
    ]
    names = ("sample", "step", "rule", "removed", "rows", "published", "note")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    table = Table()
    for name in names[:3]:
        table[name] = np.array(columns[name], dtype=str)
    table["removed"] = np.array(columns["removed"], dtype=int)
    table["rows"] = np.array(columns["rows"], dtype=int)
    unknown = np.array([rows_left is None for rows_left in columns["published"]], dtype=bool)
    published = np.array([rows_left or 0 for rows_left in columns["published"]], dtype=int)
    table["published"] = MaskedColumn(published, mask=unknown)
    table["difference"] = MaskedColumn(table["rows"] - published, mask=unknown)
    table["note"] = np.array(columns["note"], dtype=str)
    return table
