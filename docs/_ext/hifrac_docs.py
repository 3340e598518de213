"""Directives that render facts of the package itself, so that no page repeats them by hand.

``result-columns``, ``input-columns``, ``flag-table``, ``settings-table``, ``public-names``
    From the registries `hifrac.core.columns`, `hifrac.core.measurements`, `hifrac.core.flags`,
    `hifrac.core.config` and the list of lazy names in `hifrac`.
``catalog-table``, ``catalog-columns``, ``catalog-flags``
    From the registries of `hifrac.catalogs`.
``spectrum-flags``
    From that of `hifrac.spectra`.
``model-card``, ``model-command``, ``model-figures``, ``calibration-table``, ``model-table``
    From the files of a bundled model.
``accuracy-table``
    From the files of all of them: a line for each sample of real galaxies.
``command-help``
    From the command line.

`GalleryOrder` is the order of the scripts in the gallery; `save_last_figure` shows figures unknown to pyplot;
`let_spawn` lets scripts start processes.

The page ``changes`` gets the change log of the repository appended, and the fragments of the next one.
The notebooks of the gallery get links in place of roles, which Markdown does not know.
"""

from __future__ import annotations

import importlib
import inspect
import json
import multiprocessing
import posixpath
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import ClassVar

import click
import numpy as np
from astropy.config import ConfigItem
from astropy.table import Row, Table
from docutils.parsers.rst.directives import flag, unchanged_required
from matplotlib.figure import Figure
from sphinx.util.docutils import SphinxDirective
from sphinx_gallery.scrapers import figure_rst

import hifrac
from hifrac.catalogs import _registry as catalog_registry
from hifrac.catalogs import columns as catalog_columns
from hifrac.core import columns, config, flags, measurements, quantities
from hifrac.metrics import written_figures, written_value
from hifrac.models import ModelCard
from hifrac.models.registry import bundled_models
from hifrac.spectra import flags as spectrum_flags

NO_BREAK = "\N{NO-BREAK SPACE}"
CHANGE_LOG = Path(__file__).parents[2] / "CHANGES.rst"
#: Where this documentation is read by those who have a notebook alone.
SOURCES = "https://github.com/hifrac/hifrac/blob/main/docs"

#: The first part of the gallery, and its tutorials.
GUIDE = (
    "quickstart.py",
    "own_images.py",
    "uncertainty_and_flags.py",
    "environment.py",
    "relations.py",
    "hi_mass_function.py",
    "own_labels.py",
    "three_instruments.py",
    "ten_thousand_galaxies.py",
    "explain_to_ds9.py",
    "on_a_cluster.py",
)


#: The kinds of pages about the paper, by the beginning of their names.
PAPER = ("fig", "table", "simulated", "beyond", "spectra")


class GalleryOrder:
    """The place of a script in its part of the gallery: as in `GUIDE` or `PAPER`, then by name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, name: str) -> tuple[int, str]:
        if name in GUIDE:
            return (GUIDE.index(name), name)
        return (next(n for n, kind in enumerate(PAPER) if name.startswith(kind)), name)


def save_last_figure(block, block_vars: dict, gallery_conf: dict) -> str:
    """Save a figure that a cell ends with and that pyplot does not know; a notebook shows it by itself."""
    name = block.content.rstrip().rpartition("\n")[2]
    figure = block_vars["example_globals"].get(name)
    if not isinstance(figure, Figure) or hasattr(figure, "number"):
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path)
    return figure_rst([path], gallery_conf["src_dir"])


def let_spawn(_conf, _script) -> None:
    """Let a script of the gallery start processes: the way of the gallery's own ones is unknown to theirs."""
    multiprocessing.set_start_method("spawn", force=True)


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
    """The columns of a result of one quantity, by its name on the command line."""

    modules = (columns, quantities)
    required_arguments = 1

    def text(self) -> str:
        target = quantities.QUANTITIES[self.arguments[0]].column
        every = {"with_mass": True, "with_environment": True, "with_samples": True}
        rows = (
            (
                _literal(column.name),
                _literal(column.unit) if column.unit is not None else "none",
                column.description,
                column.when,
            )
            for column in columns.columns_of(target, "", **every).values()
        )
        return _list_table(("Column", "Unit", "Meaning", "Present"), rows, widths="26 14 42 18")


class InputColumns(_Generated):
    """The columns of a table of galaxies that an estimate uses."""

    modules = (measurements,)

    def text(self) -> str:
        rows = (
            (
                ", ".join(map(_literal, one.aliases)),
                one.what,
                str(one.units[0]) or "none",
                f"{one.low:g} to {one.high:g}".replace("-inf to", "up to").replace("to inf", "and more"),
            )
            for one in measurements.MEASUREMENTS.values()
        )
        return _list_table(("Columns", "What", "Unit", "Else unknown"), rows, widths="34 36 14 16")


class CatalogTable(_Generated):
    """The catalogues, where each comes from, and what to cite."""

    modules = (catalog_registry,)

    def text(self) -> str:
        rows = (
            (
                f":func:`~hifrac.catalogs.{one.name}`",
                one.title,
                f"{one.rows:,}" if one.rows else "",
                f"{one.service} {one.address}".strip(),
                one.reference,
            )
            for one in catalog_registry.CATALOGS.values()
        )
        header = ("Function", "What", "Rows", "Service", "Reference")
        return _list_table(header, rows, widths="20 27 8 18 27")


class CatalogColumns(_Generated):
    """The columns of the harmonised catalogues."""

    modules = (catalog_columns,)

    def text(self) -> str:
        rows = (
            (
                _literal(one.name),
                _literal(one.unit) if one.unit is not None else "none",
                one.description,
                one.when,
            )
            for one in catalog_columns.CATALOG_COLUMNS.values()
        )
        return _list_table(("Column", "Unit", "Meaning", "Present"), rows, widths="26 14 42 18")


class CatalogFlags(_Generated):
    """The bits of catalog_flags."""

    modules = (catalog_columns,)
    registry: ClassVar[type[flags.BitFlag]] = catalog_columns.CatalogFlag

    def text(self) -> str:
        rows = ((str(int(flag)), _literal(flag.name), flag.summary) for flag in self.registry)
        return _list_table(("Value", "Name", "Meaning"), rows, widths="8 27 65")


class SpectrumFlags(CatalogFlags):
    """The bits of spectrum_flags."""

    modules = (spectrum_flags,)
    registry = spectrum_flags.SpectrumFlag


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
            (
                _literal(item.name),
                _literal(repr(item.defaultvalue)),
                re.sub(r"\b\w+(?:\.\w+){2,}", r"``\g<0>``", item.description.strip()),
            )
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
            return "``hifrac.conf``", "The settings; see :doc:`configuration`."
        home = room if room in ("hifrac.cutouts", "hifrac.models") else "hifrac"
        return f":obj:`hifrac.{name} <{home}.{name}>`", inspect.getdoc(value).splitlines()[0]


class _OfModel(_Generated):
    """A directive about one bundled model, named by its argument."""

    required_arguments = 1

    def file(self, name: str) -> Path:
        path = bundled_models()[self.arguments[0]] / name
        self.env.note_dependency(str(path))
        return path

    def card(self) -> ModelCard:
        return ModelCard.read(self.file("card.json").parent)


class Card(_OfModel):
    """The facts of a model's card, as a table."""

    def text(self) -> str:
        card = self.card()
        probabilities = [name for name, of in quantities.PROBABILITIES.items() if of.output in card.outputs]
        rows = [
            ("Name", _literal(card.name)),
            ("Summary", card.summary),
            ("Target", card.target),
            ("Mass scale", card.mass_scale),
            ("Pictures (recipe)", str(card.recipe)),
            *(
                [("Field of view", f"{card.recipe.field_of_view:g} arcsec")]
                if card.recipe.scale_column is None
                else []
            ),
            ("Normalisation", card.normalisation),
            ("Training set", card.training_set),
            ("Domain of validity", card.validity),
            ("Figures obtained by", card.protocol),
            ("Folds", ", ".join(f"{key} {value}" for key, value in card.folds.items())),
            *((f"Threshold of {_literal(name)}", f"{card.detection.threshold:g}") for name in probabilities),
            ("Threshold of ``ood_score``", f"{card.detection.ood_threshold:g}"),
            ("Architecture", f"``{card.architecture}``"),
            ("Trained", f"{card.created}, by {_literal(card.command)}"),
            *((f"sha256 of {name}", _literal(digest)) for name, digest in card.files.items()),
            ("Licence of the weights", card.licence),
            ("References", "; ".join(card.references)),
        ]
        return _list_table(("Fact", "Value"), rows, widths="25 75")


class Figures(_Generated):
    """The figures on the cards of bundled models, a column each."""

    required_arguments = 1
    final_argument_whitespace = True

    def text(self) -> str:
        folders = bundled_models()
        cards = []
        for name in self.arguments[0].split():
            self.env.note_dependency(str(folders[name] / "card.json"))
            cards.append(ModelCard.read(folders[name]))
        figures = [written_figures(card.figures) for card in cards]
        keys = dict.fromkeys(key for texts in figures for key in texts)
        rows = [(_literal(key), *(_unbroken(texts.get(key, "—")) for texts in figures)) for key in keys]
        return _list_table(("figure", *(_literal(card.name) for card in cards)), rows)


class Command(_OfModel):
    """The command that trained a model."""

    def text(self) -> str:
        return f".. code-block:: console\n\n   $ {self.card().command}\n"


class Calibration(_OfModel):
    """What a model's intervals rest on: a row for each set of evidence."""

    def text(self) -> str:
        table = self.card().calibration
        header = ("Evidence", "Power of the spread", *(f"Score at {level:g}" for level in table.levels))
        rows = [
            (_breakable(name), f"{table.widths[name][1]:.2f}", *(f"{score:.2f}" for score in scores))
            for name, scores in table.scores.items()
        ]
        return _list_table(header, rows)


class ModelTable(_OfModel):
    """A table that was written with a model: its name is the second argument.

    A column ``x_error`` stands with its column ``x``, as x ± x_error. ``:turned:`` sets the columns as rows.
    """

    required_arguments = 2
    option_spec: ClassVar[dict] = {"turned": flag}

    def text(self) -> str:
        name = f"{self.arguments[1]}.ecsv"
        table = Table.read(self.file(name), format="ascii.ecsv")
        if table.meta["model"] != self.card().sha256:
            raise self.error(f"{name} is not of the weights that card.json describes")
        return _figures_table(table, turned="turned" in self.options)


#: What is judged, on which galaxies, by which model, in which of its tables, and by which figure.
ACCURACY = (
    (":doc:`HI <model>`", "of ALFALFA", "default", "cross_validation", {}, "rmse"),
    (":doc:`HI <model>`", "that ALFALFA missed", "default", "missed", {"selection": "intrinsic"}, "rmse"),
    (":doc:`Metallicity <metallicity>`", "star-forming", "metallicity", "cross_validation", {}, "rmse"),
    (
        ":doc:`Spectrum <spectra_model>`: EW of H-alpha",
        "with measured lines",
        "spectra",
        "lines",
        {"quantity": "h_alpha"},
        "spearman",
    ),
    (
        ":doc:`Spectrum <spectra_model>`: template",
        "with photometry",
        "spectra",
        "template",
        {},
        "relative_rms",
    ),
)
FIGURES = {"rmse": "RMSE {} dex", "spearman": "Spearman {}", "relative_rms": "relative rms {}"}
#: What was reported of galaxies that no choice was made on; they are of the first line of `ACCURACY`.
UNTOUCHED = "untouched.ecsv"
SHOWN_EVIDENCE = ("picture", "picture+z+photometry")


class AccuracyTable(_Generated):
    """Each instrument's error on real galaxies that were held out, and on untouched ones."""

    def text(self) -> str:
        header = ("Instrument", "Real galaxies", "Picture alone", "With redshift and photometry")
        rows = [(instrument, *self._held_out(*source)) for instrument, *source in ACCURACY]
        return _list_table(header, [*rows, self._untouched()], widths="22 26 26 26")

    def _held_out(self, galaxies: str, model: str, name: str, only: dict, figure: str) -> Iterable[str]:
        folder = bundled_models()[model]
        table = self._read(folder / f"{name}.ecsv")
        for column, value in only.items():
            table = table[table[column] == value]
        if "n" not in table.colnames:
            table["n"] = ModelCard.read(folder).calibration.n
        evidence = [
            used.partition(",")[0] for used in table["evidence" if "evidence" in table.colnames else "model"]
        ]
        rows = [table[evidence.index(used)] for used in SHOWN_EVIDENCE]
        counts = list(dict.fromkeys(f"{row['n']:,}" for row in rows))
        yield f"{counts[0]} {galaxies}" + "".join(f" ({count} with both)" for count in counts[1:])
        for row in rows:
            yield FIGURES[figure].format(_figure(row, figure, f"{figure}_error"))

    def _untouched(self) -> Iterable[str]:
        table = self._read(Path(self.env.srcdir, UNTOUCHED))
        rows = [next(row for row in table if row["evidence"] == used) for used in SHOWN_EVIDENCE]
        yield f"{ACCURACY[0][0]}, earlier models"
        yield f"{rows[0]['n']} {rows[0]['galaxies']}, *untouched*"
        for row in rows:
            yield f"{FIGURES['rmse'].format(_figure(row, 'rmse', 'rmse_error'))} ({row['model']})"

    def _read(self, path: Path) -> Table:
        self.env.note_dependency(str(path))
        return Table.read(path, format="ascii.ecsv")


class WrittenTable(_Generated):
    """The rows of a table in a file of this folder whose first column has a value, and that column not.

    As of `ModelTable`; columns that are masked in all of them are left out.
    """

    required_arguments = 1
    option_spec: ClassVar[dict] = {"turned": flag, "only": unchanged_required}

    def text(self) -> str:
        path = Path(self.env.srcdir, self.arguments[0])
        self.env.note_dependency(str(path))
        table = Table.read(path, format="ascii.ecsv")
        if "only" in self.options:
            first = table.colnames[0]
            table = table[table[first] == self.options["only"]]
            table.remove_column(first)
        if not len(table):
            return "*Not measured yet; the command above does so.*\n"
        unknown = [name for name in table.colnames if np.all(np.ma.getmaskarray(table[name]))]
        table.remove_columns(unknown)
        return _figures_table(table, turned="turned" in self.options)


class WrittenCommand(_Generated):
    """The command that wrote a table in a file of this folder."""

    required_arguments = 1

    def text(self) -> str:
        path = Path(self.env.srcdir, self.arguments[0])
        self.env.note_dependency(str(path))
        command = Table.read(path, format="ascii.ecsv").meta["command"]
        return f".. code-block:: console\n\n   $ {command}\n"


def _figures_table(table: Table, *, turned: bool) -> str:
    """Return a table of figures as a list-table, each with its error; turned it has the columns as rows."""
    # "error" alone is that of "value".
    errors = {column: f"{column}_error" for column in table.colnames} | {"value": "error"}
    errors = {column: error for column, error in errors.items() if error in table.colnames}
    cells = {
        column: [_figure(row, column, errors.get(column)) for row in table]
        for column in table.colnames
        if column not in errors.values()
    }
    names = [_literal(_breakable(name)) for name in cells]
    if not turned:
        return _list_table(names, zip(*cells.values(), strict=True))
    (title, *rows), (header, *figures) = names, cells.values()
    return _list_table((title, *header), zip(rows, *zip(*figures, strict=True), strict=True))


def _figure(row: Row, column: str, error: str | None) -> str:
    value = row[column]
    if np.ma.is_masked(value):
        return "—"
    if not isinstance(value, float | np.floating):
        return _breakable(str(value))
    return _unbroken("—" if np.isnan(value) else written_value(value, row[error] if error else np.nan))


def _unbroken(text: str) -> str:
    """Return a value with its error so that a narrow column breaks it before the sign alone."""
    return text.replace("± ", f"±{NO_BREAK}")


def _breakable(name: str) -> str:
    """Return a long name so that a narrow column can break it after its signs."""
    return re.sub(r"(?<=[_+])", "\N{ZERO WIDTH SPACE}", name)


class CommandHelp(SphinxDirective):
    """The help of a click group and of its commands, as a terminal shows it."""

    required_arguments = 1

    def run(self):
        module, _, name = self.arguments[0].partition(":")
        imported = importlib.import_module(module)
        self.env.note_dependency(imported.__file__)
        group = getattr(imported, name)
        # Settings such as the names of the help option go from the group's context to the commands'.
        whole = group.make_context("hifrac", [], resilient_parsing=True, terminal_width=100)
        text = self._section(whole)
        for one in sorted(group.commands):
            text += self._section(click.Context(group.commands[one], parent=whole, info_name=one))
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    @staticmethod
    def _section(context: click.Context) -> str:
        path, shown = context.command_path, indent(context.get_help(), "   ")
        return f"{path}\n{'=' * len(path)}\n\n.. code-block:: text\n\n{shown}\n\n"


def append_change_log(_app, docname: str, source: list[str]) -> None:
    """Append the change log of the repository to the page ``changes``; on top, what is not released yet."""
    if docname != "changes":
        return
    # What towncrier will collect at the next release: <issue>.<type>.rst.
    fragments = sorted(CHANGE_LOG.parent.glob("docs/changes/*.*.rst"))
    unreleased = "Not released yet\n================\n" if fragments else ""
    for fragment in fragments:
        unreleased += f"\n* {indent(fragment.read_text(encoding='utf-8').strip(), '  ').lstrip()}\n"
    # The page has the title already.
    text = re.sub(r"\AChanges\n=+\n", "", CHANGE_LOG.read_text(encoding="utf-8"))
    source[0] += "\n" + text.replace(".. towncrier release notes start\n", unreleased)


#: A role with its text, or what sphinx-gallery leaves of ``:ref:``; no literal.
_ROLE = re.compile(r"(?::(\w+):)?(?<!`)`(?:([^`<]+) <)?([^`<>]+)>?`(?!`)")


def link_notebooks(app, env) -> None:
    """Put links in the place of roles in the notebooks of the gallery."""
    for path in Path(app.srcdir, "examples").rglob("*.ipynb"):
        folder = path.parent.relative_to(app.srcdir).as_posix()
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                cell["source"] = [_ROLE.sub(partial(_in_markdown, env=env, folder=folder), text)]
        path.write_text(json.dumps(notebook, indent=2), encoding="utf-8")


def _in_markdown(match: re.Match, env, folder: str) -> str:
    role, text, target = match.groups()
    if role == "doc":
        page = posixpath.normpath(posixpath.join("/", folder, target))[1:]
        title = env.titles[page].astext()
    elif role is None and target in env.get_domain("std").labels:
        page, _, title = env.get_domain("std").labels[target]
    else:
        return f"`{target.rpartition('.')[2] if target.startswith('~') else target}`" if role else match[0]
    file = f"gallery/{page.removeprefix('examples/')}.py" if page.startswith("examples/") else f"{page}.rst"
    return f"[{text or title}]({SOURCES}/{file})"


def edit_docstring(_app, _what, _name, obj, _options, lines) -> None:
    """Point from the flags to their page, and link errors; leave out what Python says of named tuples."""
    if obj is flags.Flag:
        lines += ["", "What each bit means, and what follows: :doc:`/flags`.", ""]
    elif lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # the class docstring says it better
    lines[:] = [re.sub(r"(?<![\w`])~(?:hifrac|astropy)\.[\w.]+", r"`\g<0>`", line) for line in lines]


def let_names_break(_app, _page, _template, context: dict, _doctree) -> None:
    """Let a narrow column break a literal after its signs, and a digest after each eight digits."""
    places = re.compile(r"[_(/=,+.-](?=[A-Za-z])|[0-9a-f]{8}(?=[0-9a-f]{8})")
    context["body"] = re.sub(
        r'(?<=<span class="pre">)[^<]+',
        lambda text: places.sub(r"\g<0><wbr>", text[0]),
        context.get("body", ""),
    )


def setup(app):
    for name, directive in (
        ("result-columns", ResultColumns),
        ("input-columns", InputColumns),
        ("flag-table", FlagTable),
        ("catalog-table", CatalogTable),
        ("catalog-columns", CatalogColumns),
        ("catalog-flags", CatalogFlags),
        ("spectrum-flags", SpectrumFlags),
        ("settings-table", SettingsTable),
        ("public-names", PublicNames),
        ("model-card", Card),
        ("model-command", Command),
        ("model-figures", Figures),
        ("calibration-table", Calibration),
        ("model-table", ModelTable),
        ("accuracy-table", AccuracyTable),
        ("written-table", WrittenTable),
        ("written-command", WrittenCommand),
        ("command-help", CommandHelp),
    ):
        app.add_directive(name, directive)
    app.connect("source-read", append_change_log)
    app.connect("autodoc-process-docstring", edit_docstring)
    app.connect("env-updated", link_notebooks)
    app.connect("html-page-context", let_names_break)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
