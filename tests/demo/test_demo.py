"""The demonstration: hifrac demo."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from commands import call
from PIL import Image

from hifrac import Flag, decode_flags
from hifrac.core.columns import columns_of
from hifrac.demo import PICTURES, run_demo, sample_table

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of one run, the table it wrote, and what it said."""
    home = tmp_path_factory.mktemp("demo")
    with contextlib.chdir(home):
        done = call("demo")
        assert done.exit_code == 0, done.output
    return home / "hifrac-demo", Table.read(home / "hifrac-demo" / "result.ecsv"), done.output


def test_the_sample_has_a_picture_for_every_row():
    table = sample_table()
    assert len(table) == 27
    assert {path.stem for path in PICTURES.glob("*.jpg")} == set(table["name"])
    assert len(set(table["name"])) == 27
    assert np.all((table["ra"] >= 0) & (table["ra"] < 360) & (np.abs(table["dec"]) <= 90))
    assert "simulated" in str(table.meta).lower()


def test_it_writes_a_table_and_a_picture(demo):
    folder, result, _ = demo
    figures = ["metallicity.png", "overview.png"]
    assert sorted(path.name for path in folder.iterdir()) == [*figures, "result.ecsv"]
    assert len(result) == 27
    of_hi = columns_of("log_hi_fraction", "", with_mass=True)
    assert result.colnames[: len(sample_table().colnames) + len(of_hi)] == [*sample_table().colnames, *of_hi]
    assert {"oh", "oh_p16", "oh_p84", "p_star_forming"} <= set(result.colnames)
    with Image.open(folder / "overview.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").resize((200, 100)).getcolors(20000)) > 100


def test_it_says_what_it_found_and_where_it_is(demo):
    folder, result, said = demo
    for name in result["name"]:
        assert name in said
    assert "27 rows, 26 estimated, 1 not" in said
    assert "OUT_OF_DISTRIBUTION" in said
    assert str(Path(folder.name) / "result.ecsv") in said
    assert str(Path(folder.name) / "overview.png") in said


def test_it_shows_metallicities_as_well(demo):
    _, result, said = demo
    heading = said.splitlines()[1].split()
    assert {"log_hi_fraction", "p_detect", "oh", "oh_p16", "oh_p84", "p_star_forming"} <= set(heading)
    assert result.colnames[-7:] == [
        *("log_mhi_p95", "oh", "oh_p16", "oh_p84", "oh_p05", "oh_p95", "p_star_forming")
    ]
    is_passive = np.asarray(result["flags"]) & int(Flag.NOT_STAR_FORMING) > 0
    assert is_passive[:3].all()
    assert not is_passive[8:18].any()
    assert result.meta["hifrac"]["metallicity"]["model"] == "metallicity"


def test_the_readme_names_the_files_that_it_writes(demo):
    folder, _, _ = demo
    names = re.findall(r"`(hifrac-demo/[^`]+)`", README.read_text(encoding="utf-8"))
    assert set(names) == {f"hifrac-demo/{path.name}" for path in folder.iterdir()}


def test_the_estimates_rise_from_ellipticals_to_clumpy_dwarfs(demo):
    _, result, _ = demo
    value = result["log_hi_fraction"].filled(np.nan)

    def mean(*kinds):
        return value[np.isin(result["morphology"], kinds)].mean()

    assert mean("elliptical") < mean("spiral", "inclined spiral") < mean("clumpy dwarf disk")
    galaxies = np.arange(24)  # the sample is in the order of gas richness
    assert np.corrcoef(galaxies, value[:24])[0, 1] > 0.8


def test_what_is_no_galaxy_is_flagged(demo):
    _, result, _ = demo
    flags = dict(zip(result["name"], decode_flags(np.asarray(result["flags"])), strict=True))
    assert "OUT_OF_DISTRIBUTION" in flags["sim-25-star"]
    assert "OUT_OF_DISTRIBUTION" in flags["sim-26-blank-sky"]
    assert flags["sim-27-outside-footprint"] == ["OUT_OF_FOOTPRINT"]
    assert result["log_hi_fraction"].mask.tolist() == [False] * 26 + [True]
    galaxies = [flags[name] for name in result["name"][:24]]
    assert sum("OUT_OF_DISTRIBUTION" in names for names in galaxies) <= 2


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    done = call("demo", "-o", tmp_path / "file")
    assert done.exit_code == 2
    assert "is a file" in done.output
    assert (tmp_path / "file").read_text() == "precious"


def test_it_makes_a_folder_and_replaces_an_earlier_run(tmp_path, monkeypatch):
    monkeypatch.setattr("hifrac.demo.sample_table", lambda: sample_table()[:2])  # fewer are as good here
    folder = tmp_path / "new" / "folder"
    run_demo(folder)
    for name in ("result.ecsv", "overview.png", "metallicity.png"):
        (folder / name).write_text("old")
    result, paths = run_demo(folder)
    assert len(result) == 2
    assert [path.name for path in paths] == ["result.ecsv", "overview.png", "metallicity.png"]
    assert paths[0].read_text().startswith("# %ECSV")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[1:])
