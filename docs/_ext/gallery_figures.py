"""Figures of the gallery for a documentation that is built without the data directory.

The pages about the papers run scripts that need the data. Where there are none, each page shows the figure
that its experiment made when there were, and its numbers: they are in ``docs/gallery_figures``, which

    $ python docs/_ext/gallery_figures.py

makes again where ``HIFRAC_DATA_DIR`` is set. Pictures of galaxies are left out of them: they are not ours.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from io import BytesIO
from itertools import cycle
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from hifrac.metrics import written_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]
FIGURES = DOCS / "gallery_figures"
MANIFEST = FIGURES / "figures.json"
#: The parts of the gallery that need the data directory.
PAPERS = ("paper", "wu2019", "wupeek2020")
WIDTH = 900  # pixels: a column of a page, at least
COLOURS = 64
#: As many numbers are read at a glance; all of them are in the manifest.
LONGEST = 12
#: What is drawn of figures that are nothing but pictures: columns for x, y and colour, and their names.
VALUES = {
    "fig9": (
        ("log_overdensity", "log_hi_fraction_true", "aim"),
        (r"$\log_{10}(1+\delta_5)$", r"measured $\log_{10}(M_\mathrm{HI}/M_*)$ (dex)"),
    ),
    "wu2019-fig1": (("truth", "estimate", "shown"), ("measured 12 + log(O/H)", "estimated 12 + log(O/H)")),
}
#: By what became of the pictures of a figure.
_OF_PICTURES = {
    "none": "",
    "blank": " Grey frames stand for pictures of galaxies: a documentation built with the data has them.",
    "values": " The figure is of pictures, which a documentation built with the data has: here are values "
    "of the galaxies in them.",
}
_BLOCK = ".. GENERATED FROM PYTHON SOURCE LINES"


def pages() -> dict[str, str]:
    """Return the experiment of each page about a paper, by the place of its script in the gallery."""
    scripts = sorted(path for paper in PAPERS for path in DOCS.glob(f"gallery/{paper}/*.py"))
    return {path.relative_to(DOCS / "gallery").as_posix(): _experiment_of(path) for path in scripts}


def _experiment_of(path: Path) -> str:
    named = re.search(r'(?:EXPERIMENTS\[|result\()"([\w-]+)"', path.read_text(encoding="utf-8"))
    return named[1] if named else path.stem


# -- What a build without data shows -------------------------------------------------------------------


def place_thumbnails(app) -> None:
    """Put each figure where the gallery looks for the first one of a script, unless that has made one."""
    for page, experiment in pages().items():
        path = Path(page)
        target = Path(app.srcdir, "examples", path.parent, "images", f"sphx_glr_{path.stem}_001.png")
        figure = FIGURES / f"{experiment}.png"
        if figure.is_file() and not (_is_run(app, page) and target.is_file()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(figure, target)


def insert_figure(app, docname: str, source: list[str]) -> None:
    """Insert figure and numbers into the page of a script that was not run, after its introduction."""
    folder, _, page = f"{docname}.py".partition("/")
    if folder != "examples" or _is_run(app, page) or page not in (of_pages := pages()):
        return
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    app.env.note_dependency(str(MANIFEST), docname=docname)
    introduction, *blocks = re.split(rf"^(?={re.escape(_BLOCK)})", source[0], flags=re.MULTILINE)
    # The first block is the title.
    blocks.insert(1, shown(of_pages[page], manifest["experiments"][of_pages[page]]))
    source[0] = introduction + "\n\n".join(blocks)


def _is_run(app, page: str) -> bool:
    """Return whether this build runs the script of a page."""
    return re.search(app.config.sphinx_gallery_conf["filename_pattern"], f"gallery/{page}") is not None


def shown(name: str, entry: dict[str, Any]) -> str:
    """Return a figure with its caption and its numbers as reST."""
    models = [f"the model ``{model}`` (sha256 ``{sha[:12]}…``)" for model, sha in entry["models"].items()]
    caption = f"Made on {entry['date']} by ``hifrac reproduce {name}``"
    caption += f", with {' and '.join(models)}." if models else "."
    caption += _OF_PICTURES[entry["pictures"]]
    caption += " The script below was not run: this documentation was built without the data directory."
    lines = [f".. figure:: /gallery_figures/{name}.png", f"   :alt: {entry['title']}", "", f"   {caption}"]
    if entry["is_table"]:
        lines = [caption]
    numbers = _rows(entry["numbers"])
    if not numbers:
        return "\n".join([*lines, "", ""])
    table = "\n".join(
        f"{'* -' if number == 0 else '  -'} {cell}"
        for row in (("quantity", "ours", "published"), *numbers[:LONGEST])
        for number, cell in enumerate(row)
    )
    lines += [
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 62 22 16",
        "",
        indent(table, "   "),
        "",
    ]
    if len(numbers) > LONGEST:
        lines += [
            f"These are {LONGEST} of {len(numbers)} numbers; ``summary.ecsv`` of that command has all.",
            "",
        ]
    return "\n".join([*lines, ""])


def _rows(numbers: dict[str, list[float | None]]) -> list[tuple[str, str, str]]:
    """Return of each number its name, free of markup, itself with its error, and the published one."""
    endings = (", error", "_error")
    errors = {
        key.removesuffix(end): own
        for key, (own, _) in numbers.items()
        for end in endings
        if key.endswith(end)
    }
    return [
        (re.sub(r"([*|`_\\])", r"\\\1", key), _cell(own, errors.get(key)), _cell(published))
        for key, (own, published) in numbers.items()
        if not key.endswith(endings)
    ]


def _cell(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "—"
    if error is None and float(value).is_integer() and abs(value) > 1:
        return f"{value:,.0f}"
    text = written_value(value, float("nan") if error is None else error)
    return text.replace("± ", "±\N{NO-BREAK SPACE}")


def setup(app):
    app.connect("builder-inited", place_thumbnails, priority=100)  # before the gallery is made
    app.connect("source-read", insert_figure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# -- How the figures are made again --------------------------------------------------------------------


def main() -> None:
    """Make all figures and the manifest again, from the data directory at hand."""
    import matplotlib as mpl

    from hifrac.reproduce import EXPERIMENTS, setting

    mpl.use("agg")
    FIGURES.mkdir(exist_ok=True)
    for path in FIGURES.glob("*.png"):
        path.unlink()
    where = setting()
    # What lacks a catalogue that nobody fetched has a page that runs without data.
    names = [name for name in pages().values() if not EXPERIMENTS[name].files(where)[1]]
    entries = {name: _made(name, where) for name in names}
    manifest = {"command": "python docs/_ext/gallery_figures.py", "experiments": entries}
    MANIFEST.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sizes = [path.stat().st_size for path in FIGURES.iterdir()]
    sys.stdout.write(
        f"{len(entries)} figures, {sum(sizes) / 1e3:.0f} kB, the largest {max(sizes) / 1e3:.0f} kB\n"
    )


def _made(name: str, where) -> dict[str, Any]:
    """Return the entry of an experiment in the manifest, and write its figure."""
    from hifrac.reproduce import EXPERIMENTS, result

    experiment = EXPERIMENTS[name]
    table = result(name, where=where)
    facts = table.meta["hifrac"]
    entry = {
        "title": experiment.title,
        "date": facts["date"][:10],
        "models": models_of(experiment, where),
        "is_table": experiment.plot is None,
        "pictures": "none",
        "numbers": facts["numbers"],
    }
    if experiment.plot is None:
        figure = _drawn_table(experiment.title, entry["numbers"])
    elif name in VALUES:
        figure = _drawn_values(table, *VALUES[name])
        entry["pictures"] = "values"
    else:
        figure = experiment.draw(table, where)
        entry["pictures"] = "blank" if blank_pictures(figure) else "none"
    (FIGURES / f"{name}.png").write_bytes(_small_png(figure))
    return entry


def models_of(experiment, where) -> dict[str, str]:
    """Return the sha256 of the weights of each model that an experiment reads, by the name of the model."""
    from hifrac.models import ModelCard
    from hifrac.models.registry import bundled_models

    folders = []
    for name in experiment.inputs:
        scheme, _, rest = name.partition(":")
        first = name.partition("/")[0]
        if scheme == "bundled":
            folders.append(bundled_models()[rest])
        elif first in ("model", "metallicity", "spectrum"):
            folders.append(getattr(where, first))
    cards = [ModelCard.read(folder) for folder in dict.fromkeys(folders)]
    return {card.name: card.sha256 for card in cards}


def blank_pictures(figure: Figure) -> int:
    """Put grey frames in place of pictures in colours, and return how many; maps of one number stay."""
    from matplotlib.image import AxesImage

    pictures = [image for image in figure.findobj(AxesImage) if image.get_array().ndim == 3]
    for image in pictures:
        pixels = image.get_array()
        image.set_data(pixels[..., :3] * 0 + (150 if pixels.dtype.kind == "u" else 0.6))
        middle = {"transform": image.axes.transAxes, "ha": "center", "va": "center"}
        image.axes.text(0.5, 0.5, "picture", color="w", fontsize="small", **middle)
    return len(pictures)


def _drawn_values(table, columns: tuple[str, str, str], labels: tuple[str, str]) -> Figure:
    """Draw two columns of a table, with a colour for each value of the third."""
    import matplotlib.pyplot as plt

    x, y, group = columns
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    for value, marker in zip(dict.fromkeys(table[group].tolist()), cycle("os^Dv<>")):
        rows = table[table[group] == value]
        label = value if isinstance(value, str) else f"near {value:.2f}"
        axes.scatter(rows[x], rows[y], s=26, marker=marker, label=label)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    figure.legend(fontsize="small", loc="outside right upper")
    return figure


def _drawn_table(title: str, numbers: dict[str, list[float | None]]) -> Figure:
    """Draw the first numbers of a table, for the index of the gallery."""
    import matplotlib.pyplot as plt

    rows = [(name.replace("\\", ""), *cells) for name, *cells in _rows(numbers)[:LONGEST]]
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.3 * len(rows)), layout="constrained")
    axes.set_axis_off()
    axes.set_title(title, fontsize="medium")
    cells = axes.table(
        rows,
        colLabels=("", "ours", "published"),
        colWidths=(0.7, 0.15, 0.15),
        loc="center",
        edges="horizontal",
    )
    cells.auto_set_font_size(False)
    for (_, column), cell in cells.get_celld().items():
        cell.get_text().set_horizontalalignment("left" if column == 0 else "right")
        cell.set_edgecolor("0.8")
        cell.set_height(1 / (len(rows) + 1))
    return figure


def _small_png(figure: Figure) -> bytes:
    """Return a figure in few colours, at least `WIDTH` pixels wide."""
    import matplotlib.pyplot as plt
    from PIL import Image

    drawn, small = BytesIO(), BytesIO()
    # Wide figures have small letters.
    figure.savefig(drawn, dpi=max(WIDTH / figure.get_figwidth(), 90))
    plt.close(figure)
    image = Image.open(drawn).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    main()
