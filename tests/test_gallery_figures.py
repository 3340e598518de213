"""The figures that a documentation without data shows: all there, small, and of the current models."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from contract import DEX
from PIL import Image

from hifrac.reproduce import EXPERIMENTS, setting

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = DOCS / "gallery_figures"
MANIFEST = FIGURES / "figures.json"
ENTRIES = json.loads(MANIFEST.read_text(encoding="utf-8"))["experiments"] if MANIFEST.is_file() else {}
#: Pages that run without the data: what they compare with is a catalogue that nobody has fetched.
RUN = {"paper/fig06.py": "fig6", "paper/fig07.py": "fig7", "paper/table3.py": "table3"}
#: Those that take less than a second, of each of the models.
QUICK = ("fig2", "fig4", "fig5", "reliability", "wu2019-fig2", "wu2019-fig3", "wu2019-fig6")


@pytest.fixture(scope="module")
def extension():
    """The module of the documentation that makes and shows the figures."""
    path = DOCS / "_ext" / "gallery_figures.py"
    spec = importlib.util.spec_from_file_location("gallery_figures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_that_needs_the_data_has_a_figure(extension):
    pages = extension.pages()
    assert len(set(pages.values())) == len(pages), "each page is of an experiment of its own"
    assert RUN.items() <= pages.items()
    assert set(pages.values()) - set(RUN.values()) == set(ENTRIES)
    assert {f"{name}.png" for name in ENTRIES} == {path.name for path in FIGURES.glob("*.png")}


def test_pages_without_a_figure_run_without_the_data():
    conf = (DOCS / "conf.py").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'^_without_data = r"(.+)"$', conf, re.MULTILINE)
    scripts = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.glob("gallery/*/*.py"))]
    of_papers = [name for name in scripts if not name.startswith("gallery/tutorials/")]
    assert {name for name in of_papers if re.search(pattern, name)} == {f"gallery/{page}" for page in RUN}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_figure_is_small_and_readable(name):
    path = FIGURES / f"{name}.png"
    assert path.stat().st_size < 150_000
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.width >= 890
        assert len(image.getcolors()) > 4, "an empty figure"


def test_figures_together_are_small():
    assert sum(path.stat().st_size for path in FIGURES.iterdir()) < 1_500_000


def test_pictures_of_galaxies_are_left_out(extension):
    shows_pictures = {name for name in ENTRIES if EXPERIMENTS[name].shows_pictures}
    assert shows_pictures == {name for name, entry in ENTRIES.items() if entry["pictures"] != "none"}
    assert {name for name in ENTRIES if ENTRIES[name]["pictures"] == "values"} == set(extension.VALUES)


def test_a_picture_becomes_a_grey_frame_and_a_map_stays(extension):
    from matplotlib.figure import Figure

    figure = Figure()
    left, middle, right = figure.subplots(1, 3)
    rng = np.random.default_rng(3)
    image = left.imshow(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    shares = middle.imshow(rng.random((8, 8, 4)))
    heat = right.imshow(values := rng.random((8, 8)))
    assert extension.blank_pictures(figure) == 2
    for blank in (image, shares):
        assert np.ptp(blank.get_array()) == 0
        assert blank.get_array().shape == (8, 8, 3)
    np.testing.assert_array_equal(heat.get_array(), values)


def test_the_caption_says_date_command_model_and_pictures(extension):
    entry = ENTRIES["wupeek2020-examples"]
    text = extension.shown("wupeek2020-examples", entry)
    (name, sha), *_ = entry["models"].items()
    assert text.startswith(".. figure:: /gallery_figures/wupeek2020-examples.png\n")
    assert f"Made on {entry['date']} by ``hifrac reproduce wupeek2020-examples``" in text
    assert f"``{name}`` (sha256 ``{sha[:12]}" in text
    assert "Grey frames stand for pictures" in text
    assert "Grey frames" not in extension.shown("fig2", ENTRIES["fig2"])
    assert ".. figure::" not in extension.shown("table1", ENTRIES["table1"]), "its numbers are a table"


@pytest.mark.parametrize("pattern", [r"gallery/[a-z_]+\.py$", r"\.py$"], ids=["without data", "with data"])
def test_a_page_whose_script_was_not_run_shows_the_figure_after_its_title(extension, pattern, tmp_path):
    app = SimpleNamespace(
        srcdir=tmp_path,
        config=SimpleNamespace(sphinx_gallery_conf={"filename_pattern": pattern}),
        env=SimpleNamespace(note_dependency=lambda path, docname: None),
    )
    source = [
        ".. GENERATED FROM PYTHON SOURCE LINES 1-2\n\nTitle\n\n.. GENERATED FROM PYTHON SOURCE LINES 3-4\n"
    ]
    extension.insert_figure(app, "examples/paper/fig02", source)
    is_run = pattern == r"\.py$"
    assert (".. figure:: /gallery_figures/fig2.png" in source[0]) is not is_run
    image = tmp_path / "examples" / "paper" / "images" / "sphx_glr_fig02_001.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"earlier")
    extension.place_thumbnails(app)
    assert (image.read_bytes() == b"earlier") is is_run
    assert image.with_name("sphx_glr_table1_001.png").is_file(), "a table draws nothing"


def test_a_long_table_says_that_it_is_a_part(extension):
    numbers = {f"n_{number}": (float(number), None) for number in range(extension.LONGEST + 1)}
    text = extension.shown("fig2", {**ENTRIES["fig2"], "numbers": numbers})
    assert rf"n\_{extension.LONGEST - 1}" in text
    assert rf"n\_{extension.LONGEST} " not in text
    assert f"{extension.LONGEST} of {extension.LONGEST + 1} numbers" in text


@pytest.mark.parametrize("name", ENTRIES)
def test_a_figure_is_of_the_models_of_this_version(extension, name):
    here = setting(needs_folder=False)
    assert ENTRIES[name]["models"] == extension.models_of(EXPERIMENTS[name], here), (
        "make them again: python docs/_ext/gallery_figures.py"
    )


@pytest.mark.real_data
@pytest.mark.parametrize("name", QUICK)
def test_the_numbers_of_a_figure_are_those_of_a_run(name, real_data):
    numbers = EXPERIMENTS[name].compute(setting(real_data)).meta["numbers"]
    expected = ENTRIES[name]["numbers"]
    assert numbers.keys() == expected.keys()
    for quantity, pair in numbers.items():
        for value, committed in zip(pair, expected[quantity], strict=True):
            assert (value is None) == (committed is None), quantity
            if value is not None:
                np.testing.assert_allclose(value, committed, rtol=0, atol=DEX, err_msg=quantity)
