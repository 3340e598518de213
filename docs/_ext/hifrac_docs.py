"""Directives that render facts of the package itself, so that no page repeats them by hand.

``result-columns``, ``flag-table``, ``settings-table``, ``public-names``
    From the registries `hifrac.columns`, `hifrac.flags`, `hifrac.config` and the
    list of lazy names in `hifrac`.
``model-card``, ``model-command``, ``calibration-table``, ``cross-validation-table``
    From the files of a bundled model.
``command-help``
    From the command line.

The page ``changes`` gets the change log of the repository appended, and the fragments of the next one.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from textwrap import indent
from typing import ClassVar

import click
import numpy as np
from astropy.config import ConfigItem
from astropy.table import Table
from sphinx.util.docutils import SphinxDirective

import hifrac
from hifrac import columns, config, flags
from hifrac.models import ModelCard

CHANGE_LOG = Path(__file__).parents[2] / "CHANGES.rst"


def _literal(value: object) -> str:
    return f"``{value}``"


def _list_table(header: Iterable[str], rows: Iterable[Iterable[str]], *, widths: str = "auto") -> str:
    """A reST list-table; a cell is one line of reST."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (header, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'* -' if number == 0 else '  -'} {cell}".rstrip())
    return "\n".join(lines) + "\n"


class _Generated(SphinxDirective):
    """A directive whose content is reST made from the package."""

    modules: ClassVar[tuple] = ()

    def run(self):
        for module in self.modules:
            self.env.note_dependency(module.__file__)
        return self.parse_text_to_nodes(self.text())

    def text(self) -> str:
        raise NotImplementedError


class ResultColumns(_Generated):
    """The columns of a result."""

    modules = (columns,)

    def text(self) -> str:
        rows = (
            (
                _literal(column.name),
                _literal(column.unit) if column.unit is not None else "none",
                column.description,
                column.when,
            )
            for column in columns.RESULT_COLUMNS.values()
        )
        return _list_table(("Column", "Unit", "Meaning", "Present"), rows, widths="26 14 42 18")


class FlagTable(_Generated):
    """The bits of the flags column."""

    modules = (flags,)

    def text(self) -> str:
        rows = (
            (
                str(int(flag)),
                _literal(flag.name),
                flag.summary,
                flag.advice,
                "no" if flag & flags.UNSERVED else "yes",
            )
            for flag in flags.Flag
        )
        header = ("Value", "Name", "Meaning", "What follows", "Estimate")
        return _list_table(header, rows, widths="7 25 27 33 8")


class SettingsTable(_Generated):
    """The items of the configuration."""

    modules = (config,)

    def text(self) -> str:
        rows = (
            (_literal(item.name), _literal(repr(item.defaultvalue)), item.description.strip())
            for item in vars(config.Conf).values()
            if isinstance(item, ConfigItem)
        )
        return _list_table(("Setting", "Default", "Meaning"), rows, widths="22 33 45")


class PublicNames(_Generated):
    """The names that `hifrac` itself offers, and where each is described."""

    modules = (hifrac,)

    def text(self) -> str:
        return _list_table(("Name", "What it is"), map(self._row, self._names()), widths="35 65")

    @staticmethod
    def _names() -> list[str]:
        return [name for name in hifrac.__all__ if not name.startswith("__")]

    @staticmethod
    def _row(name: str) -> tuple[str, str]:
        room, value = hifrac._ROOM_OF[name], getattr(hifrac, name)
        if name == "conf":
            return ":obj:`hifrac.conf <hifrac.config.Conf>`", "The settings; see :doc:`configuration`."
        home = "hifrac" if room == "hifrac.estimator" else room
        return f":obj:`hifrac.{name} <{home}.{name}>`", inspect.getdoc(value).splitlines()[0]


class _OfModel(_Generated):
    """A directive about one bundled model, named by its argument."""

    required_arguments = 1

    def file(self, name: str) -> Path:
        path = Path(str(resources.files("hifrac.models") / "weights")) / self.arguments[0] / name
        self.env.note_dependency(str(path))
        return path

    def card(self) -> ModelCard:
        return ModelCard.read(self.file("card.json").parent)


class Card(_OfModel):
    """The facts of a model's card, as a table."""

    def text(self) -> str:
        card = self.card()
        rows = [
            ("Name", _literal(card.name)),
            ("Summary", card.summary),
            ("Target", card.target),
            ("Mass scale", card.mass_scale),
            ("Pictures (recipe)", str(card.recipe)),
            ("Field of view", f"{card.recipe.field_of_view:g} arcsec"),
            ("Normalisation", card.normalisation),
            ("Training set", card.training_set),
            ("Domain of validity", card.validity),
            ("Figures obtained by", card.protocol),
            ("Folds", ", ".join(f"{key} {value}" for key, value in card.folds.items())),
            ("Threshold of ``p_detect``", f"{card.recognition.threshold:g}"),
            ("Threshold of ``ood_score``", f"{card.recognition.ood_threshold:g}"),
            ("Architecture", f":class:`~hifrac.models.structure.{card.architecture}`"),
            ("Trained", f"{card.created}, by {_literal(card.command)}"),
            *((f"sha256 of {name}", _literal(digest)) for name, digest in card.files.items()),
            ("Licence of the weights", card.licence),
            ("References", "; ".join(card.references)),
        ]
        return _list_table(("Fact", "Value"), rows, widths="25 75")


class Command(_OfModel):
    """The command that trained a model."""

    def text(self) -> str:
        return f".. code-block:: console\n\n   $ {self.card().command}\n"


class Calibration(_OfModel):
    """The residual quantiles of a model's intervals."""

    def text(self) -> str:
        table = self.card().calibration
        rows = (
            (f"{level:g}", f"{value:+.3f}") for level, value in zip(table.levels, table.values, strict=True)
        )
        counted = f"Number of residuals: {table.n}.\n\n"
        return counted + _list_table(("Level", "Residual quantile (dex)"), rows)


class CrossValidation(_OfModel):
    """The cross-validated figures of a model and of simple models on the same folds."""

    def text(self) -> str:
        table = Table.read(self.file("cross_validation.ecsv"), format="ascii.ecsv")
        if table.meta["model"] != self.card().sha256:
            raise self.error("cross_validation.ecsv is not of the weights that card.json describes")
        # Turned: the figures are more than the models.
        header = ("Figure", *(str(name) for name in table["model"]))
        rows = (
            (_literal(name), *map(self._number, table[name])) for name in table.colnames if name != "model"
        )
        return f"Obtained by {table.meta['protocol']}.\n\n{_list_table(header, rows)}"

    @staticmethod
    def _number(value: float) -> str:
        return "—" if np.ma.is_masked(value) or np.isnan(value) else f"{value:.3f}"


class Beyond(CrossValidation):
    """The figures of a model on galaxies that ALFALFA did not detect."""

    def text(self) -> str:
        table = Table.read(self.file("beyond_alfalfa.ecsv"), format="ascii.ecsv")
        if table.meta["model"] != self.card().sha256:
            raise self.error("beyond_alfalfa.ecsv is not of the weights that card.json describes")
        names = table.colnames[2:]
        header = ("Galaxies", "n", *(_literal(name) for name in names))
        rows = (
            (str(row["sample"]), str(row["n"]), *(self._number(row[name]) for name in names)) for row in table
        )
        return _list_table(header, rows)


class CommandHelp(SphinxDirective):
    """The help of a click group and of its commands, as a terminal shows it."""

    required_arguments = 1

    def run(self):
        module, _, name = self.arguments[0].partition(":")
        imported = importlib.import_module(module)
        self.env.note_dependency(imported.__file__)
        group = getattr(imported, name)
        # Settings such as the names of the help option go from the group's context to the commands'.
        whole = group.make_context("hifrac", [], resilient_parsing=True, terminal_width=70)
        text = self._section(whole)
        for one in sorted(group.commands):
            text += self._section(click.Context(group.commands[one], parent=whole, info_name=one))
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    @staticmethod
    def _section(context: click.Context) -> str:
        path, shown = context.command_path, indent(context.get_help(), "   ")
        return f"{path}\n{'=' * len(path)}\n\n.. code-block:: text\n\n{shown}\n\n"


def append_change_log(_app, docname: str, source: list[str]) -> None:
    """Append the change log of the repository to the page ``changes``."""
    if docname != "changes":
        return
    if CHANGE_LOG.is_file():
        # The page has that title already.
        source[0] += "\n" + re.sub(r"\AChanges\n=+\n", "", CHANGE_LOG.read_text(encoding="utf-8"))
    # What towncrier will collect at the next release: <issue>.<type>.rst.
    if fragments := sorted(CHANGE_LOG.parent.glob("docs/changes/*.*.rst")):
        source[0] += "\nNot released yet\n================\n"
    for fragment in fragments:
        source[0] += f"\n* {indent(fragment.read_text(encoding='utf-8').strip(), '  ').lstrip()}\n"


def edit_docstring(_app, _what, _name, obj, _options, lines) -> None:
    """Point from the flags to their page; leave out what Python says of fields of named tuples."""
    if obj is flags.Flag:
        lines += ["", "What each bit means, and what follows: :doc:`/flags`.", ""]
    elif lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # the class docstring says it better


def setup(app):
    for name, directive in (
        ("result-columns", ResultColumns),
        ("flag-table", FlagTable),
        ("settings-table", SettingsTable),
        ("public-names", PublicNames),
        ("model-card", Card),
        ("model-command", Command),
        ("calibration-table", Calibration),
        ("cross-validation-table", CrossValidation),
        ("beyond-table", Beyond),
        ("command-help", CommandHelp),
    ):
        app.add_directive(name, directive)
    app.connect("source-read", append_change_log)
    app.connect("autodoc-process-docstring", edit_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
