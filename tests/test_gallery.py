"""The scripts of the gallery, as text: the build of the documentation runs them. And its plots, drawn."""

import ast
import importlib.util
import json
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from hifrac.reproduce import EXPERIMENTS
from hifrac.reproduce._experiment import TIERS

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"
PLOTS = sorted(ROOT.glob("docs/plots/*.py"))
TUTORIALS = sorted(GALLERY.glob("tutorials/*.py"))
GUIDE = sorted(GALLERY.glob("*.py")) + TUTORIALS
PAPER = sorted(path for path in GALLERY.glob("*/*.py") if path not in TUTORIALS)
#: A page is read in one go; a tutorial takes a little longer.
LONGEST, LONGEST_TUTORIAL = 90, 155
#: The figures and tables of the papers, by the names of the experiments.
OF_THE_PAPER = [name for name in EXPERIMENTS if re.fullmatch(r"(wu2019-)?(fig|table)\d+", name)]


def named(paths):
    """The scripts as parameters, with their names as ids."""
    return pytest.mark.parametrize("path", paths, ids=map(within, paths))


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def opening(path):
    return (ast.get_docstring(tree(path)) or "").splitlines()


def page_of(name):
    """The script of an experiment: fig1 has paper/fig01.py, wu2019-fig1 has wu2019/fig01_wu2019.py."""
    paper, _, figure = name.rpartition("-")
    figure = re.sub(r"^fig(\d)$", r"fig0\1", figure)
    return f"{paper}/{figure}_{paper}.py" if paper else f"paper/{figure}.py"


def within(path):
    """The place of a script in the gallery."""
    return path.relative_to(GALLERY).as_posix()


def imports(path):
    """Every module, and every name of a module, that a script imports."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a script has no package to import from"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def test_there_is_a_gallery():
    assert GUIDE
    assert PAPER


@named(GUIDE + PAPER)
def test_a_script_opens_with_its_title_and_its_objective(path):
    title, line, *rest = opening(path)
    assert set(line) == {"="}
    assert len(line) == len(title)
    assert sum(one.startswith("**Objective:** ") for one in rest) == 1
    assert rest[1].startswith(("**Objective:** ", "**Simulated:** "))


@named(TUTORIALS)
def test_a_tutorial_shows_a_figure_and_says_what_to_beware_of(path):
    text = path.read_text(encoding="utf-8")
    assert "plt.show()" in text
    assert re.search(r"^# What to beware of\n# -+$", text, re.MULTILINE)


@named(GUIDE)
def test_the_documentation_runs_each_script_of_the_guide(path):
    """With or without a data directory: a script that fails then stops the build."""
    text = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'^_without_data = r"(.+)"$', text, re.MULTILINE)
    assert re.search(pattern, path.as_posix())
    assert '"abort_on_example_error": True' in text


@named(GUIDE)
def test_a_script_of_the_guide_says_what_its_data_are(path):
    (data,) = re.findall(r"^\*\*Data:\*\* (.+)", "\n".join(opening(path)), re.MULTILINE)
    assert "*simulated*" in data, "nothing real is bundled, and the first line has to say so"


@named(PAPER)
def test_a_script_of_the_paper_names_its_tier(path):
    tiers = re.findall(r"^\*\*Tier:\*\* \*(\w+)\*", "\n".join(opening(path)), re.MULTILINE)
    assert len(tiers) == 1
    assert tiers[0] in TIERS
    assert tiers[0] != "simulated" or "imulated" in opening(path)[3], "the first line has to say so"


@pytest.mark.parametrize("name", [name for name in OF_THE_PAPER if "fig" in name])
def test_a_figure_of_the_paper_says_of_which_data_it_is(name):
    (path,) = (path for path in PAPER if within(path) == page_of(name))
    drawn = re.findall(r'EXPERIMENTS\["([\w-]+)"\]\.draw\(', path.read_text(encoding="utf-8"))
    assert drawn, "the tier is that of the data at hand, which the script cannot know"
    assert set(drawn) == {name}


@named([path for path in PAPER if within(path) in {page_of(name) for name in OF_THE_PAPER}])
def test_the_tier_of_a_page_is_that_of_its_experiment(path):
    (name,) = (one for one in OF_THE_PAPER if page_of(one) == within(path))
    assert f"**Tier:** *{EXPERIMENTS[name].tier}*" in "\n".join(opening(path))


@named(GUIDE + PAPER)
def test_a_script_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= (
        LONGEST_TUTORIAL if path in TUTORIALS else LONGEST
    )


@named(GUIDE + PAPER)
def test_a_script_needs_nothing_private(path):
    assert [name for name in imports(path) if any(part.startswith("_") for part in name.split("."))] == []
    reached = (node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute))
    assert [name for name in reached if re.match(r"_(?!_)", name)] == []


@named(GUIDE)
def test_a_script_of_the_guide_reads_no_data_directory(path):
    text = path.read_text(encoding="utf-8")
    assert "HIFRAC_DATA_DIR" not in text
    assert not any(name.startswith(("hifrac.reproduce", "hifrac.catalogs")) for name in imports(path))


@named(GUIDE + PAPER)
def test_no_picture_is_embedded(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^#?\s*\.\. (?:image|figure|raw)::|data:image/", text, re.MULTILINE) == []
    strings = (node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant))
    assert all(len(one) < 1000 for one in strings if isinstance(one, str | bytes))


def test_beside_the_scripts_there_is_nothing_but_their_headers():
    others = {
        within(path) for path in GALLERY.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert others == {
        f"{part}GALLERY_HEADER.rst" for part in ("", "paper/", "tutorials/", "wu2019/", "wupeek2020/")
    }


def test_no_two_scripts_have_the_same_name():
    names = [path.name for path in GUIDE + PAPER]
    assert len(set(names)) == len(names), "links are by the name alone"


def test_the_guide_has_an_order_and_it_is_complete():
    (order,) = (
        ast.literal_eval(node.value)
        for node in tree(ROOT / "docs" / "_ext" / "hifrac_docs.py").body
        if isinstance(node, ast.Assign) and [one.id for one in node.targets] == ["GUIDE"]
    )
    assert sorted(order) == sorted(path.name for path in GUIDE)


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_each_figure_and_table_of_the_paper_has_a_page(name):
    assert (GALLERY / page_of(name)).is_file()


def test_no_page_is_of_a_figure_that_does_not_exist():
    pages = {within(path) for path in PAPER if re.match(r"(fig|table)\d", path.name)}
    assert pages <= {page_of(name) for name in OF_THE_PAPER}


def test_a_notebook_has_links_in_place_of_roles(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    spec = importlib.util.spec_from_file_location("hifrac_docs", ROOT / "docs" / "_ext" / "hifrac_docs.py")
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    before = (
        "``a`` (:doc:`/fetching_many`), :doc:`own <own_labels>`, `other`, `interval`, :func:`~hifrac.a.b`"
    )
    path = tmp_path / "examples" / "tutorials" / "page.ipynb"
    path.parent.mkdir(parents=True)
    cells = [{"cell_type": name, "source": [before]} for name in ("markdown", "code")]
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    titles = ("fetching_many", "examples/tutorials/own_labels")
    domain = SimpleNamespace(labels={"interval": ("concepts", "interval", "The interval")})
    env = SimpleNamespace(
        titles={name: SimpleNamespace(astext=lambda name=name: f"Title of {name}") for name in titles},
        get_domain={"std": domain}.get,
    )
    extension.link_notebooks(SimpleNamespace(srcdir=tmp_path), env)
    text, code = ("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
    docs = "https://github.com/hifrac/hifrac/blob/main/docs"
    assert text == (
        f"``a`` ([Title of fetching_many]({docs}/fetching_many.rst)), "
        f"[own]({docs}/gallery/tutorials/own_labels.py), `other`, [The interval]({docs}/concepts.rst), `b`"
    )
    assert code == before


@pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.name)
def test_a_plot_of_a_page_is_drawn(path, monkeypatch):
    from matplotlib import pyplot

    pages = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.rst"))
    monkeypatch.setattr(pyplot, "show", lambda: None)
    try:
        runpy.run_path(str(path))
        assert bool(pyplot.get_fignums()) == (f"\n.. plot:: plots/{path.name}\n" in pages)
    finally:
        pyplot.close("all")


_OFFLINE = """
import socket

def refuse(*arguments, **options):
    raise OSError("there is no network in this test")

socket.getaddrinfo = socket.create_connection = refuse
"""


@pytest.mark.slow
def test_the_quickstart_runs_as_a_notebook_without_a_network(tmp_path, monkeypatch):
    converter = pytest.importorskip("sphinx_gallery.notebook", reason="sphinx-gallery is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    import nbformat

    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    script = shutil.copy(GALLERY / "quickstart.py", tmp_path)
    converter.python_to_jupyter_cli([str(script)])
    notebook = nbformat.read(tmp_path / "quickstart.ipynb", as_version=4)
    words = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r":\w+:", words) == [], "a notebook cannot follow the links of the documentation"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_OFFLINE))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120, resources=resources).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = "".join(output.data.get("text/html", "") for output in shown if "data" in output)
    assert "HIFractionEstimator" in pages
    assert "log_hi_fraction" in pages
    assert any("image/png" in output.data for output in shown if "data" in output)
    assert "1 of 27 rows have no estimate" in "".join(output.get("text", "") for output in shown)
