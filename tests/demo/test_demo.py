"""The demonstration: hifrac demo."""

import numpy as np
import pytest
from astropy.table import Table
from commands import call
from PIL import Image

from hifrac import decode_flags
from hifrac.core.columns import columns_of
from hifrac.demo import PICTURES, run_demo, sample_table


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of one run, the table it wrote, and what it said."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    done = call("demo", "-o", folder)
    assert done.exit_code == 0, done.output
    return folder, Table.read(folder / "result.ecsv"), done.output


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
    assert str(folder / "result.ecsv") in said
    assert str(folder / "overview.png") in said


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


def test_it_replaces_an_earlier_run(tmp_path):
    for name in ("result.ecsv", "overview.png", "metallicity.png"):
        (tmp_path / name).write_text("old")
    result, paths = run_demo(tmp_path)
    assert len(result) == 27
    assert [path.name for path in paths] == ["result.ecsv", "overview.png", "metallicity.png"]
    assert paths[0].read_text().startswith("# %ECSV")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[1:])
