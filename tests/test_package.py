"""The package as a whole: what importing it costs, and the house rules."""

import ast
import configparser
import enum
import importlib
import inspect
import operator
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from astropy.table import Table
from numpy.testing import assert_allclose

import hifrac
from hifrac.metrics import written_value
from hifrac.models import ModelCard

PACKAGE = Path(hifrac.__file__).parent
#: The files beside the package: of the checkout, or of the source archive, whatever is installed.
ROOT = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE.parent)) for path in MODULES]
HEAVY = ("torch", "torchvision", "matplotlib", "sklearn", "scipy", "pandas", "requests", "astropy")


def python(*args):
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=60, check=True
    ).stdout


@pytest.mark.parametrize("module", ["hifrac", "hifrac.cli"])
def test_importing_costs_nothing(module):
    found = python("-c", f"import sys, {module}; print(*sys.modules)").split()
    assert module in found
    assert [name for name in HEAVY if name in found] == []


def test_the_input_side_does_without_torch():
    found = python(
        "-c",
        "import sys; from hifrac import LocalCutouts, decode_flags, conf; import hifrac.core.input; "
        "print(*sys.modules)",
    )
    heavy = ("torch", "matplotlib", "sklearn", "astropy.cosmology")
    assert [name for name in heavy if name in found.split()] == []


@pytest.mark.slow
def test_every_benchmark_can_be_imported():
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    folder = str(ROOT / "benchmarks")
    assert (
        python("-c", f"import sys; sys.path[0] = {folder!r}; import {', '.join(names)}; print('ok')")
        == "ok\n"
    )


def test_the_version():
    assert python("-m", "hifrac", "--version") == f"hifrac, version {hifrac.__version__}\n"


def test_all_files_of_the_bundled_models_are_in_a_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["hifrac"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {path for path in (PACKAGE / "models" / "weights").rglob("*") if path.is_file()}
    assert any(path.name == "missed.ecsv" for path in files)
    assert files <= packed


def test_the_public_names():
    assert list(hifrac.__all__) == sorted(hifrac.__all__)
    for name in hifrac.__all__:
        assert getattr(hifrac, name) is not None
    assert set(hifrac.__all__) <= set(dir(hifrac))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hifrac.nothing


def test_everything_that_the_models_of_the_estimators_rest_on_can_be_cited():
    entries = re.split(r"\n(?=@)", hifrac.__citation__)
    fields = [dict(re.findall(r"^  (\w+) += \{(.*?)\},?$", one, re.MULTILINE | re.DOTALL)) for one in entries]
    assert entries[0].startswith("@software{hifrac,")
    assert fields[0]["version"] == hifrac.__version__
    names = (hifrac.conf.model, hifrac.conf.metallicity_model, hifrac.conf.spectrum_model)
    references = {text for card in hifrac.list_models() if card.name in names for text in card.references}
    cited = {one for reference in references for one in reference.partition(" (")[0].split("; ")}
    assert len(cited) == len(entries) - 1
    for one in cited:
        author, year, *place = re.fullmatch(
            r"(\w+).* (\d{4}), (?:arXiv:([\d.]+)|\w+ (\d+), (\d+))", one
        ).groups()
        keys = ("eprint",) if place[0] else ("volume", "pages")
        wanted = (year, *filter(None, place))
        (entry,) = (f for f in fields[1:] if (f["year"], *map(f.get, keys)) == wanted)
        assert f"{{{author}}}" in entry["author"].partition(" and ")[0]


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_house_rules(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    first = (ast.get_docstring(tree) or "").partition("\n")[0]
    assert first.endswith("."), "a room says what lives there"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, "past 600 lines it is two rooms"
    for node in ast.walk(tree):
        place = f"{path.name}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{place}: assert is no validation"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp)
            assert not any(isinstance(one, mutable) for one in defaults), f"{place}: a mutable default"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called != "print", f"{place}: print"
        assert called not in ("pickle.load", "pickle.loads", "eval", "exec"), f"{place}: {called}"
        if called.startswith("logging."):
            method = called.removeprefix("logging.")
            assert method not in ("debug", "info", "warning", "error", "exception", "log", "basicConfig"), (
                place
            )
            assert method != "getLogger" or node.args, f"{place}: the root logger"
        if called.endswith("warnings.warn"):
            assert len(node.args) > 1, f"{place}: a warning without its class"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_what_a_module_exports_is_there(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    if name == "hifrac.__main__":
        return
    if name.startswith("hifrac.training"):
        pytest.importorskip("sklearn")
    if name == "hifrac.hats._plugin":
        pytest.importorskip("distributed")
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    assert [one for one in exported if not hasattr(module, one)] == []


def test_the_top_level():
    expected = {
        ".ci",
        ".github",
        ".pre-commit-config.yaml",
        ".readthedocs.yaml",
        ".zenodo.json",
        "CHANGES.rst",
        "CITATION.cff",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "MANIFEST.in",
        "README.md",
        "SECURITY.md",
        "benchmarks",
        "codemeta.json",
        "conda",
        "docs",
        "hifrac",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
        "tests",
        "tox.ini",
    }
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    present = {line.partition("/")[0] for line in listed.stdout.splitlines()} - {".gitignore"}
    assert present == expected
    assert (ROOT / ".ci" / "run").is_file()
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "hifrac"
    assert project["dynamic"] == ["readme", "version"]
    assert project["license"] == "BSD-3-Clause"
    assert project["scripts"] == {"hifrac": "hifrac.cli:main"}
    assert {"train", "test", "docs"} <= set(project["optional-dependencies"])
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(setup.sections()) - {"egg_info"} == {"flake8"}  # a source archive has the other


def test_the_bundled_model_is_small():
    files = (PACKAGE / "models" / "weights" / "default").iterdir()
    assert sum(path.stat().st_size for path in files if path.name != "out_of_fold.ecsv") < 6e6


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/development.rst", "docs/checklist.rst"]
)
def test_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    paths = re.findall(r"`((?:docs|hifrac|benchmarks|tests)/[\w./-]+)`", text)
    assert links or page != "README.md"
    assert paths
    places = [(PACKAGE.parent if path.startswith("hifrac/") else ROOT) / path for path in links + paths]
    assert [place for place in places if not place.exists()] == []


@pytest.mark.parametrize(
    ("model", "table", "only", "figure", "written"),
    [
        ("default", "cross_validation", {}, "rmse", "RMSE {} dex"),
        ("default", "missed", {"selection": "intrinsic"}, "rmse", "RMSE {} dex"),
        ("metallicity", "cross_validation", {}, "rmse", "RMSE {} dex"),
        ("spectra", "lines", {"quantity": "h_alpha"}, "spearman", "Spearman {}"),
        ("spectra", "template", {}, "relative_rms", "relative rms {}"),
        ("untouched", None, {"galaxies": "of ALFALFA"}, "rmse", "RMSE {} dex"),
    ],
)
def test_the_readme_says_what_the_models_tables_say(model, table, only, figure, written):
    path = PACKAGE / "models" / "weights" / model / f"{table}.ecsv"
    rows = Table.read(path if table else ROOT / "docs" / f"{model}.ecsv")
    for column, value in only.items():
        rows = rows[rows[column] == value]
    named = "evidence" if "evidence" in rows.colnames else "model"
    evidence = [row.partition(",")[0] for row in rows[named]]
    chosen = rows[[evidence.index(used) for used in ("picture", "picture+z+photometry")]]
    figures = [written.format(written_value(row[figure], row[f"{figure}_error"])) for row in chosen]
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("|") and all(text in line for text in figures))
    counts = chosen["n"] if "n" in rows.colnames else [ModelCard.read(path.parent).calibration.n]
    assert [f"{n:,}" for n in counts if f"{n:,} " not in line] == []


def test_the_figures_of_the_first_page_are_of_these_models():
    written = Table.read(ROOT / "docs" / "predicted_measured.ecsv")
    assert set(written.meta["models"]) == {"default", "metallicity", "spectra"}
    for name, digest in written.meta["models"].items():
        assert ModelCard.read(PACKAGE / "models" / "weights" / name).sha256 == digest
    rmse = {row["sample"]: row["scatter"] for row in written if row["quarter"] == 0}
    figures = Table.read(PACKAGE / "models" / "weights" / "default" / "cross_validation.ecsv")
    assert_allclose(rmse["ALFALFA, picture alone"], figures["rmse"][0], atol=1e-4)


# The public interface.

#: Rooms with an `__init__`, and rooms of one file: their `__all__` says what is public.
ROOMS = (
    "attribution",
    "catalogs",
    "cli",
    "core",
    "cutouts",
    "demo",
    "environment",
    "estimator",
    "hats",
    "images",
    "metrics",
    "models",
    "relations",
    "reproduce",
    "samp",
    "simulate",
    "spectra",
    "training",
)


def summary_of(value):
    return (getattr(value, "help", None) or inspect.getdoc(value) or "").partition("\n")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_documented(room):
    if room == "training":
        pytest.importorskip("sklearn")
    module = importlib.import_module(f"hifrac.{room}")
    assert len(set(module.__all__)) == len(module.__all__)  # ruff sorts them
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    for name in module.__all__:
        value = getattr(module, name)
        if not callable(value):
            assert re.search(rf"^#: .*\n(#:.*\n)*{name}\b", source, re.MULTILINE), f"{name}: no comment"
            continue
        assert summary_of(value).endswith("."), f"{name}: no summary"
        if inspect.isfunction(value) and inspect.signature(value).parameters:
            described = "Parameters\n----------" in inspect.getdoc(value)
            assert described, f"{name}: its parameters are not described"


#: What has no example in its docstring, and where there is one. Exceptions, flags and enumerations need none.
EXAMPLE_ELSEWHERE = {
    "HeatMaps": "attribution.heat_maps",
    "Latents": "spectra.LinearLatents",
    "ObservedSpectrum": "spectra.read_sdss_spectrum",
    "Target": "attribution.resolve_target",
    "main": "cli.main.commands",  # text for a terminal: an example is a line of the shell, in docs/cli.rst
}


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_public_names_have_an_example(room):
    if room == "training":
        pytest.importorskip("sklearn")
    module = importlib.import_module(f"hifrac.{room}".rstrip("."))
    public = {name: getattr(module, name) for name in module.__all__}
    public = {name: value for name, value in public.items() if callable(value)}
    estimators = [name for name in public if name.endswith("Estimator")]
    public |= {f"{name}.explain": public[name].explain for name in estimators}  # those of the classes predict
    for name, value in public.items():
        if inspect.isclass(value) and issubclass(value, (Exception, enum.Enum)):
            continue
        has_example = "Examples\n--------\n" in inspect.getdoc(value) and ">>> " in inspect.getdoc(value)
        if name not in EXAMPLE_ELSEWHERE:
            assert has_example, f"{name}: no example"
            continue
        assert not has_example, f"{name} has an example: it is no exception"
        place, _, other = EXAMPLE_ELSEWHERE[name].partition(".")
        assert operator.attrgetter(other)(importlib.import_module(f"hifrac.{place}"))


def test_there_are_few_public_names():
    pytest.importorskip("sklearn")
    counts = {room: len(importlib.import_module(f"hifrac.{room}").__all__) for room in ROOMS}
    assert sum(counts.values()) + len(hifrac.__all__) <= 187, counts


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_only_rooms_have_public_names(path):
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    if name not in ("__init__", *ROOMS):
        assert not re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.MULTILINE)
