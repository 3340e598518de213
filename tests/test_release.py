"""What a release is made of: the archives, and files that say the same in several places."""

import configparser
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import hifrac
from hifrac._doctor import _DEVELOPERS

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

yaml = pytest.importorskip("yaml")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere():
    versions = {
        "CITATION.cff": yaml.safe_load(read("CITATION.cff"))["version"],
        "codemeta.json": json.loads(read("codemeta.json"))["version"],
        "conda/meta.yaml": re.search(r'set version = "(.*)"', read("conda/meta.yaml"))[1],
        "CITATION.bib": re.search(r"version = \{(.*)\}", hifrac.__citation__)[1],
    }
    assert versions == dict.fromkeys(versions, hifrac.__version__)


def test_one_title_everywhere():
    title = re.search(r"title   = \{(.*)\},", hifrac.__citation__)[1]
    assert json.loads(read(".zenodo.json"))["title"] == title.replace("{H I}", "HI")
    assert yaml.safe_load(read("CITATION.cff"))["title"] == title.replace("{H I}", "HI")


def test_the_change_log_has_notes_of_the_version():
    notes = re.findall(r"^(\S+) \((unreleased|\d{4}-\d\d-\d\d)\)\n=+$", read("CHANGES.rst"), re.MULTILINE)
    newest, date = notes[0]
    version = Version(hifrac.__version__)
    if version.is_devrelease:
        assert Version(newest) <= Version(version.base_version)
    else:
        assert (Version(newest), date != "unreleased") == (version, True)
    assert "unreleased" not in {date for _, date in notes[1:]}


def test_one_address_everywhere():
    urls = tomllib.loads(read("pyproject.toml"))["project"]["urls"]
    assert json.loads(read("codemeta.json"))["codeRepository"] == urls["Source"]
    assert yaml.safe_load(read("CITATION.cff"))["repository-code"] == urls["Source"]
    texts = [read(name) for name in (".zenodo.json", "CODE_OF_CONDUCT.md", "SECURITY.md", "conda/meta.yaml")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / ".github").rglob("*.yml")]
    addresses = {
        found for text in texts for found in re.findall(r"https://github\.com/[\w-]+/hifrac\b", text)
    }
    assert addresses == {urls["Source"]}


def test_the_conda_recipe_has_the_dependencies_of_the_package():
    run = re.findall(r"^    - (\S+) >=(\S+)$", read("conda/meta.yaml").partition("  run:")[2], re.MULTILINE)
    names = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    project = tomllib.loads(read("pyproject.toml"))["project"]
    wanted = [f"python{project['requires-python']}", *project["dependencies"]]
    assert [f"{names.get(name, name)}>={version}" for name, version in run] == wanted


def test_the_oldest_versions_that_are_tested_are_those_of_the_package():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    oldest = set(project["dependencies"])
    for lines in project["optional-dependencies"].values():
        oldest |= {re.sub(r"\[.*\]", "", line) for line in lines}
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    pins = re.findall(r"^(\S+)==([\d.]+?)(?:\.\*)?$", tox["testenv:oldestdeps"]["deps"], re.MULTILINE)
    assert {f"{name}>={version}" for name, version in pins} - oldest == set()
    assert {line.partition(">=")[0] for line in project["dependencies"]} - {name for name, _ in pins} == set()


def test_the_extras_for_users_are_on_the_installation_page():
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    page = read("docs/install.rst").partition("Extras\n===")[2]
    terms = re.findall(r"^``.*``$", page, re.MULTILINE)
    named = {extra for term in terms for extra in re.findall(r"``(\w+)``", term)}
    assert named - set(_DEVELOPERS) == set(extras) - set(_DEVELOPERS)
    assert set(_DEVELOPERS) <= set(extras)


def test_every_python_that_is_promised_is_tested():
    classifiers = tomllib.loads(read("pyproject.toml"))["project"]["classifiers"]
    promised = [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]
    matrix = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]["tox"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    environments = {*matrix["environment"], *(job["environment"] for job in matrix["include"])}
    assert {job["os"].partition("-")[0] for job in matrix["include"]} == {"ubuntu", "macos", "windows"}
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    named = {name.partition(":")[2] for name in tox.sections()} | {"test"}
    assert environments <= named
    assert {"oldestdeps", "devdeps"} <= environments


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_a_workflow_may_only_read_unless_it_publishes(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert granted == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})
    for job in workflow["jobs"].values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("citation-file-format", "CITATION.cff"),
        ("readthedocs", ".readthedocs.yaml"),
        ("dependabot", ".github/dependabot.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-workflows", ".github/workflows/*.yml"),
    ],
)
def test_a_file_for_a_service_is_valid(schema, files):
    pytest.importorskip("check_jsonschema")
    paths = [str(path) for path in ROOT.glob(files)]
    assert paths
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *paths]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_source_archive_has_every_file_of_the_repository(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    # A copy, for setuptools writes beside the sources.
    files = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for name in files:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / "copy" / name)
    code = "import setuptools.build_meta as backend; print(backend.build_sdist('../dist'))"
    built = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "copy",
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    name = built.stdout.splitlines()[-1]
    data = io.BytesIO((tmp_path / "dist" / name).read_bytes())
    with tarfile.open(fileobj=data) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
        facts = archive.extractfile(f"{name.removesuffix('.tar.gz')}/PKG-INFO").read().decode()
    made = {path for path in packed if path.startswith("hifrac.egg-info/")} | {"PKG-INFO"}
    assert files - packed == set()
    assert packed - made - files == set()
    # PyPI shows README, and has none of its pictures and files.
    addresses = re.findall(r"""(?:\]\(|src=")([^)"]+)""", facts)
    assert [address for address in addresses if not address.startswith("https://")] == []
    tag = "HEAD" if Version(hifrac.__version__).is_devrelease else f"v{hifrac.__version__}"
    own = {address.partition(f"/{tag}/")[2] for address in addresses if f"/{tag}/" in address}
    assert {"docs/_static/evidence.png", "CONTRIBUTING.md"} <= own
    assert [path for path in own if not (ROOT / path).exists()] == []
