"""``hifrac explain``: the folder it writes, and its page in a real browser, from the file system."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS
from browser import look_at, needs_browser
from commands import call
from regions import CirclePixelRegion, PixCoord, Regions

from hifrac.attribution import write_regions, write_report
from hifrac.demo import PICTURES, sample_table


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two galaxies and a row without a picture, explained by the command."""
    folder = tmp_path_factory.mktemp("explained")
    rows = sample_table()[[0, 22, 26]]
    pictures = folder / "pictures"
    pictures.mkdir()
    for source, name in zip(rows["name"], ("one", "two", "three"), strict=True):
        shutil.copy(PICTURES / f"{source}.jpg", pictures / f"{name}.jpg")
    table = Table({"objid": ["one", "two", "three"], "ra": rows["ra"], "dec": rows["dec"]})
    table.write(folder / "in.ecsv")
    done = call("explain", folder / "in.ecsv", "-o", folder / "out", "--cutouts", pictures)
    assert done.exit_code == 0, done.output
    assert "3 rows, 2 explained, 1 not\n        1  OUT_OF_FOOTPRINT: " in done.stdout
    assert "first in row 2: the picture is blank" in done.stdout
    return folder


def test_there_are_maps_regions_figures_and_a_page(written):
    out = written / "out"
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == sorted(
        ["index.html"]
        + [f"{part}/{name}.{end}" for name in ("one", "two") for part, end in
           (("figures", "png"), ("maps", "fits"), ("regions", "crtf"), ("regions", "reg"))]
    )  # fmt: skip
    assert len(Regions.read(out / "regions" / "one.reg")) > 3


def test_the_written_map_is_at_the_position_of_the_row(written):
    from astropy.io import fits

    table = Table.read(written / "in.ecsv")
    with fits.open(written / "out" / "maps" / "two.fits") as hdus:
        wcs = WCS(hdus[0].header)
        assert hdus[0].header["METHOD"] == "integrated gradients"
        total = hdus[0].data.sum() + hdus[0].header["OFFSET"] + hdus[0].header["GAP"]
        assert total == pytest.approx(hdus[0].header["PREDICT"], abs=1e-4)
    x, y = wcs.wcs_world2pix(table["ra"][1], table["dec"][1], 0)
    np.testing.assert_allclose([x, y], 63.5, atol=0.1)


def test_the_page_needs_nothing_from_the_network(written):
    page = (written / "out" / "index.html").read_text(encoding="utf-8")
    assert {address.partition(":")[0] for address in referred(written / "out") if ":" in address} == {"https"}
    assert not re.search(r'src="[^"]*:|@import|url\(|<link', page)
    assert page.count("<tbody") == 3
    assert "OUT_OF_FOOTPRINT" in page


def test_the_page_has_positions_and_links(written):
    table = Table.read(written / "in.ecsv")
    page = (written / "out" / "index.html").read_text(encoding="utf-8")
    for row in table:
        assert f'data-value="{float(row["ra"])!r}"' in page
        assert f"?ra={row['ra']:.6f}&amp;dec={row['dec']:.6f}" in page


_LOOK = """
const names = () => [...document.querySelectorAll("tbody")].map((body) => body.rows[0].cells[1].textContent);
const button = [...document.querySelectorAll("th button")].find((one) => one.textContent === "estimate");
const seen = { first: names() };
button.click(); seen.up = names(); seen.sorted = button.parentElement.getAttribute("aria-sort");
button.click(); seen.down = names();
seen.pictures = [...document.images].map((image) => image.complete && image.naturalWidth > 0);
seen.below = [...document.images].map((image) => {
  const [numbers, figure] = image.closest("tbody").rows;
  const [place, above] = [image, numbers].map((element) => element.getBoundingClientRect());
  return image.closest("tr") === figure && place.top > above.top && place.width > 800;
});
const name = document.querySelector("tbody").rows[0].cells[1];
name.textContent = "1237648704043942146"; // an objid is read in one line
const text = document.createRange();
text.selectNodeContents(name);
seen.lines = text.getClientRects().length;
seen.width = document.documentElement.scrollWidth;
seen.wide = [...document.querySelectorAll("td, th")].filter((cell) => cell.scrollWidth > cell.clientWidth + 1)
  .map((cell) => cell.textContent);
return seen;
"""


@needs_browser
def test_the_page_works_in_a_browser_from_the_file_system(written, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(written / "out", out)
    seen, console = look_at(out / "index.html", _LOOK, tmp_path)
    assert seen["first"] == ["one", "two", "three"]
    assert seen["sorted"] == "ascending"
    # The row without an estimate stays last, either way.
    assert seen["up"] == ["one", "two", "three"]
    assert seen["down"] == ["two", "one", "three"]
    assert seen["pictures"] == [True, True]
    assert seen["below"] == [True, True]
    assert seen["width"] <= 1280
    assert seen["lines"] == 1
    assert seen["wide"] == []
    assert console == []


def test_names_are_escaped_and_files_of_equal_names_do_not_collide(tmp_path, default):
    from hifrac import HIFractionEstimator, LocalCutouts

    estimator = HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))
    explanations = estimator.explain(sample_table()[[0, 1]])
    page = write_report(explanations, tmp_path, names=["<b>x/../y", "<B>x/../y"], figures=False)
    text = page.read_text(encoding="utf-8")
    assert "<b>x" not in text
    assert "&lt;b&gt;x/../y" in text
    maps = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert maps == ["_B_x____y_row1.fits", "_b_x____y.fits"]
    with pytest.raises(ValueError, match="names must have one entry per row"):
        write_report(explanations, tmp_path, names=["a"], figures=False)


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def referred(folder):
    """The files that a page refers to, as a parser of HTML sees them."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda _, attributes: found.extend(
        value for key, value in attributes if key in ("href", "src")
    )
    parser.feed((folder / "index.html").read_text(encoding="utf-8"))
    return set(found)


def files_referred(folder):
    return {address for address in referred(folder) if ":" not in address}


@pytest.fixture
def earlier(written, tmp_path):
    """A folder with a page, and with files that are the user's own."""
    out = tmp_path / "out"
    shutil.copytree(written / "out", out)
    own = {"maps/mine.fits", "maps/one.fits.bak", "regions/mine.reg", "figures/talk.png", "notes.txt"}
    for path in own:
        (out / path).write_text("the user's own")
    return out, own


def test_a_new_page_takes_the_place_of_the_files_of_the_earlier_one_and_of_no_others(written, earlier):
    out, own = earlier
    rows = Table.read(written / "in.ecsv")[1:]
    rows.write(out / "in.ecsv")
    done = call("explain", out / "in.ecsv", "-o", out, "--cutouts", written / "pictures", "--overwrite",
                  "--no-figures")  # fmt: skip
    assert done.exit_code == 0, done.output
    new = {"maps/two.fits", "regions/two.reg", "regions/two.crtf"}
    assert files_referred(out) == new
    assert files_of(out) == own | new | {"index.html", "in.ecsv"}
    assert all((out / path).read_text() == "the user's own" for path in own)
    assert sorted(one.name for one in out.iterdir() if one.is_dir()) == ["figures", "maps", "regions"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_leaves_the_earlier_page_and_its_files(earlier, default, error):
    from hifrac import HIFractionEstimator, LocalCutouts

    out, _ = earlier
    before = {path: (out / path).read_bytes() for path in files_of(out)}
    estimator = HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))
    explained = iter(estimator.explain(sample_table()[[0, 1]]))

    def stopped():
        yield next(explained)
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write_report(stopped(), out, names=["one", "new"], figures=False)
    assert {path: (out / path).read_bytes() for path in files_of(out)} == before
    assert files_referred(out) <= files_of(out)


def test_a_run_that_is_interrupted_leaves_no_folder(tmp_path):
    def stopped():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        write_report(stopped(), tmp_path / "explained")
    assert list(tmp_path.iterdir()) == []


def test_a_file_on_a_full_disk_is_named_and_not_there(tmp_path, default):
    resource = pytest.importorskip("resource")
    from hifrac import HIFractionEstimator, LocalCutouts

    estimator = HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))
    (explanation,) = estimator.explain(sample_table()[:1])
    regions = Regions([CirclePixelRegion(PixCoord(40, row), 5) for row in range(200)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"map\.fits cannot be written: "):
            explanation.write(tmp_path / "map.fits")
        with pytest.raises(OSError, match=r"map\.reg cannot be written: "):
            write_regions(regions, tmp_path / "map.reg")
        with pytest.raises(OSError, match=r"maps.0\.fits cannot be written: "):
            write_report([explanation], tmp_path / "explained")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_the_user_s_own_costs_no_files(tmp_path, default):
    from hifrac import HIFractionEstimator, LocalCutouts

    (tmp_path / "maps").mkdir()
    for path in ("maps/old.fits", "precious.fits"):
        (tmp_path / path).write_text("the user's own")
    (tmp_path / "index.html").write_text(
        '<a href="maps/old.fits">my map</a><a href="maps/../precious.fits">FITS</a>'
    )
    estimator = HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))
    write_report(estimator.explain(sample_table()[[0]]), tmp_path, figures=False)
    assert {"maps/old.fits", "precious.fits", "maps/0.fits"} <= files_of(tmp_path)


def test_a_page_is_not_replaced_unasked_and_options_that_do_not_go_together_are_named(written):
    arguments = ["explain", written / "in.ecsv", "-o", written / "out", "--cutouts", written / "pictures"]
    for more, words in (
        ([], "exists already; say --overwrite"),
        (["--overwrite", "--survey", "sdss"], "--cutouts does not go with --survey"),
        (["--overwrite", "--method", "gradcam"], "method 'gradcam' needs maps of features"),
        (["--overwrite", "--target", "mass"], "target: the model 'default' has no 'mass'"),
        (["--overwrite", "--name", "id"], "--name: "),
    ):
        done = call(*arguments, *more)
        assert done.exit_code == 1
        assert words in done.output
        assert "Traceback" not in done.output
