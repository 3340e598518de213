"""The page of a result: one file, in a real browser, with whatever a table may hold."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from astropy.table import Table, vstack
from browser import look_at, needs_browser
from commands import call
from PIL import Image

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.core.flags import UNSERVED, Flag
from hifrac.demo import PICTURES, sample_table
from hifrac.visualization import result_page
from hifrac.visualization.page import NAME, ROW, PageColumn, PageRow, render_page, sky_links
from hifrac.visualization.result_page import write_result_page

EVIL = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&lt;b&gt; \'{{ 7*7 }}'


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def estimator(default):
    return HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))


@pytest.fixture(scope="module")
def result(estimator):
    return estimator.predict(sample_table())


@pytest.fixture(scope="module")
def page(result, estimator, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_result_page(result, estimator.cutouts, path)
    return path


def test_it_is_one_file_that_loads_nothing(page):
    elements = Elements(page.read_text(encoding="utf-8"))
    assert {"link", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in elements.elements)
    assert all("src" not in script for script in elements.all("script"))
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in elements.all("img"))
    assert "@import" not in page.read_text(encoding="utf-8")
    assert "url(" not in page.read_text(encoding="utf-8")


def test_thumbnails_are_the_pictures_in_96_pixels(page, result):
    images = Elements(page.read_text(encoding="utf-8")).all("img")
    assert len(images) == 26  # the last row has none
    for row in (0, 22):
        content = base64.b64decode(images[row]["src"].partition(",")[2])
        thumbnail = Image.open(io.BytesIO(content))
        assert thumbnail.size == (96, 96)
        with Image.open(PICTURES / f"{result['name'][row]}.jpg") as picture:
            expected = np.asarray(picture.resize((96, 96), Image.Resampling.LANCZOS), float)
        assert np.abs(np.asarray(thumbnail, float) - expected).mean() < 3


def test_rows_link_to_sky_viewers_by_position(page, result):
    links = [link["href"] for link in Elements(page.read_text(encoding="utf-8")).all("a")]
    assert len(links) == 3 * len(result)
    ra, dec = f"{result['ra'][3].value:.6f}", f"{result['dec'][3].value:.6f}"
    assert links[9:12] == list(sky_links(float(ra), float(dec)).values())
    assert links[9].startswith("https://skyserver.sdss.org/")
    assert f"?ra={ra}&dec={dec}" in links[9]
    assert links[10].startswith("https://www.legacysurvey.org/viewer?")
    assert links[11].startswith("https://aladin.cds.unistra.fr/")
    assert sky_links(np.nan, 2.0) == {}


_LOOK = """
const names = () => [...document.querySelectorAll("tbody")].filter((body) => !body.hidden)
  .map((body) => body.rows[0].cells[2].textContent);
const heading = (label) => [...document.querySelectorAll("th")].find((head) => head.textContent === label);
const sortBy = (label) => { heading(label).querySelector("button").click(); return names(); };
const choose = (flag, value) => {
  const select = document.querySelector(`select[data-flag="${flag}"]`);
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  return names();
};
const tooWide = () => [...document.querySelectorAll("td, th, dd, p, label")]
  .filter((cell) => cell.clientWidth && cell.scrollWidth > cell.clientWidth + 1)
  .map((cell) => cell.textContent);
"""


def names_where(result, wanted):
    return list(result["name"][np.asarray(wanted, bool)])


@needs_browser
def test_it_sorts_and_filters_without_a_complaint(page, result, tmp_path):
    seen, console = look_at(
        page,
        _LOOK
        + """
        const seen = { first: names() };
        seen.up = sortBy("log M(HI)/M*"); seen.aria = heading("log M(HI)/M*").getAttribute("aria-sort");
        seen.down = sortBy("log M(HI)/M*");
        seen.words = sortBy("galaxy"); seen.words = sortBy("galaxy");
        seen.back = sortBy("row");
        seen.clean = choose("", "only");
        seen.unlikely = choose("", "") && choose("UNLIKELY_DETECTION", "only");
        seen.less = choose("OUT_OF_DISTRIBUTION", "hide");
        seen.both = choose("OUT_OF_DISTRIBUTION", "only");
        seen.count = document.getElementById("count").textContent;
        seen.pictures = [...document.images].every((image) => image.complete && image.naturalWidth === 96);
        seen.wide = tooWide();
        seen.width = document.documentElement.scrollWidth;
        return seen;""",
        tmp_path,
    )
    names, value = list(result["name"]), np.ma.filled(np.ma.asarray(result["log_hi_fraction"]), np.nan)
    order = [names[row] for row in np.argsort(value[:26])]
    flags = np.asarray(result["flags"])
    assert seen["first"] == seen["back"] == names
    assert seen["aria"] == "ascending"
    assert seen["up"] == [*order, names[26]]  # the row without an estimate stays last, either way
    assert seen["down"] == [*order[::-1], names[26]]
    assert seen["words"] == names[::-1]
    assert seen["clean"] == names_where(result, flags == 0)
    assert seen["unlikely"] == names_where(result, flags & 16)
    assert seen["less"] == names_where(result, (flags & (16 | 32)) == 16)
    assert seen["both"] == names_where(result, flags & (16 | 32))
    assert seen["count"] == f"{len(seen['both'])} of 27 rows"
    assert seen["pictures"]
    assert seen["wide"] == []
    assert seen["width"] <= 1280
    assert console == []


@needs_browser
def test_the_test_would_hear_complaints(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<body><script>nothing.there</script></body>")
    seen, console = look_at(path, "return { width: document.documentElement.scrollWidth };", tmp_path)
    assert seen == {"width": 1280}
    assert any("nothing is not defined" in line for line in console)


@pytest.fixture(scope="module")
def evil(result, estimator, tmp_path_factory):
    """A page of a table that wants to be more than a table, with all columns that there may be."""
    rows = result[[0, 10, 26]].copy()
    rows["name"] = [EVIL, "x" * 300, "javascript:alert(1)"]
    rows["log_overdensity"] = 0.3
    rows["flags"][1] = sum(Flag) & ~int(UNSERVED)
    rows.meta["hifrac"] = {**rows.meta["hifrac"], "source": EVIL, "references": [EVIL]}
    path = tmp_path_factory.mktemp("evil") / "page.html"
    pictures = [np.zeros((128, 128, 3), np.uint8), np.ones((64, 64, 3)), None]
    write_result_page(rows, pictures, path, title=EVIL)
    return path


def test_what_a_table_holds_is_text_and_nothing_else(evil):
    text = evil.read_text(encoding="utf-8")
    elements = Elements(text)
    assert len(elements.all("script")) == 1
    assert len(elements.all("img")) == 2
    assert not any(name.startswith("on") for _, attributes in elements.elements for name in attributes)
    assert all(link["href"].startswith("https://") for link in elements.all("a"))
    assert elements.all("img")[0]["alt"] == f"Picture of {EVIL}"
    assert "49" not in re.sub(r"\d{3,}|base64,\S+", "", text.partition("<tbody")[0])  # no template in a title


@needs_browser
def test_a_hostile_table_does_nothing_in_a_browser(evil, tmp_path):
    seen, console = look_at(
        evil,
        _LOOK
        + """
        return { hacked: window.hacked ?? null, names: names(), title: document.title,
                 wide: tooWide(), width: document.documentElement.scrollWidth };""",
        tmp_path,
    )
    assert seen["hacked"] is None
    assert seen["names"][0] == EVIL
    assert seen["title"] == EVIL
    assert seen["wide"] == []
    assert seen["width"] <= 1280
    assert console == []


def test_a_script_that_came_in_all_the_same_would_not_run(page):
    (policy,) = (meta["content"] for meta in Elements(page.read_text()).all("meta") if "http-equiv" in meta)
    scripts = policy.partition("script-src ")[2].partition(";")[0]
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", scripts)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "", None])
def test_what_is_no_number_leaves_its_cell_empty(value):
    values = {"row": 0, "name": "a", **({} if value is None else {"x": value})}
    text = render_page("title", [ROW, NAME, PageColumn("x", "x", 2)], [PageRow(values)])
    assert re.search(r'<td class="number"></td>', text)


def test_without_positions_there_are_no_columns_for_them(result, estimator, tmp_path):
    rows = result.copy()
    rows.remove_columns(["ra", "dec"])
    write_result_page(rows, estimator.cutouts, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<th ") == 8
    assert "on the sky" not in text
    assert text.count('src="data:') == 26


def test_there_is_no_negative_zero():
    text = render_page("t", [NAME, PageColumn("x", "x", 2)], [PageRow({"name": "a", "x": -0.001})])
    assert 'data-value="-0.001">0.00<' in text


def test_flags_are_counted_and_explained(page, result):
    text = page.read_text(encoding="utf-8")
    flags = np.asarray(result["flags"])
    for name, bit in (("UNLIKELY_DETECTION", 16), ("OUT_OF_DISTRIBUTION", 32), ("OUT_OF_FOOTPRINT", 2)):
        assert re.search(rf"{name} <small>{np.sum((flags & bit) != 0)}</small>", text)
        assert f"<dt>{name}</dt>" in text
    assert re.search(rf"no flag <small>{np.sum(flags == 0)}</small>", text)
    assert "FETCH_FAILED" not in text
    assert "No estimate: the picture is blank" in text


def test_a_page_of_too_many_rows_has_the_first_and_says_so(result, estimator, tmp_path, monkeypatch):
    monkeypatch.setattr(result_page, "MOST_ROWS", 20)
    for cutouts in (estimator.cutouts, [None] * 27):
        write_result_page(result, cutouts, tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert text.count("<tbody") == 20
        assert "the first 20 of 27 rows" in text


@needs_browser
def test_some_thousands_of_rows_stay_usable(result, tmp_path):
    rows = vstack([result] * 75, metadata_conflicts="silent")[:2000]
    rows["name"] = [f"galaxy {number}" for number in range(2000)]
    path = tmp_path / "many.html"
    write_result_page(rows, [np.full((96, 96, 3), 60, np.uint8)] * 2000, path)
    seen, console = look_at(
        path,
        _LOOK
        + """
        const start = performance.now();
        const sorted = sortBy("p(detect)"); document.body.offsetHeight;
        choose("", "hide"); document.body.offsetHeight;
        return { time: performance.now() - start, rows: sorted.length, shown: names().length };""",
        tmp_path,
    )
    assert seen["rows"] == 2000
    assert seen["shown"] == np.sum(np.asarray(rows["flags"]) != 0)
    assert seen["time"] < 10_000  # 1 s on an idle computer
    assert console == []


# The command


def predict(*arguments):
    return call("predict", *arguments)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.ecsv"
    sample_table()[[0, 22, 26]].write(path)
    return path


def test_the_command_writes_a_figure_and_a_page(table, tmp_path):
    source = ["--cutouts", PICTURES, "--name", "name"]
    done = predict(table, "-o", tmp_path / "out.ecsv", *source, "--overview", tmp_path / "all.png",
                   "--html", tmp_path / "page")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"overview of all 3 rows written to {tmp_path / 'all.png'}" in done.output
    assert f"page of all 3 rows written to {tmp_path / 'page.html'}" in done.output
    with Image.open(tmp_path / "all.png") as picture:
        assert min(picture.size) > 200
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>Estimates of in.ecsv</title>" in text
    assert text.count('src="data:') == 2
    assert len(Table.read(tmp_path / "out.ecsv")) == 3


def test_the_command_says_how_many_rows_are_shown(table, tmp_path, monkeypatch):
    monkeypatch.setattr("hifrac.visualization.overview.MOST_ROWS", 1)
    monkeypatch.setattr("hifrac.visualization.result_page.MOST_ROWS", 2)
    done = predict(table, "-o", tmp_path / "out.ecsv", "--cutouts", PICTURES, "--name", "name", "--overview",
                   tmp_path / "all.png", "--html", tmp_path / "page.htm")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "overview of the first 1 of 3 rows written" in done.output
    assert f"page of the first 2 of 3 rows written to {tmp_path / 'page.htm'}" in done.output
    assert (tmp_path / "page.htm").read_text(encoding="utf-8").count("<tbody") == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--overview", "old.png"], "--overview: old.png exists already; say --overwrite"),
        (["--html", "old.html"], "--html: old.html exists already; say --overwrite"),
        (["--overview", "new.jpgg"], "--overview: new.jpgg must end in one of"),
        (["--html", "gone/new.html"], "--html: there is no folder gone"),
        (["--html", "out.html"], "--html: out.html is the table to write"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(table, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    for name in ("old.png", "old.html"):
        (tmp_path / name).write_text("old")
    done = predict(table, "-o", "out.html", "--cutouts", PICTURES, "--name", "name", *options)
    assert done.exit_code == 1
    assert words in done.output
    assert not (tmp_path / "out.html").exists()


def test_a_table_without_rows_has_a_page_and_no_figure(table, tmp_path):
    Table.read(table)[:0].write(table, overwrite=True)
    done = predict(table, "-o", tmp_path / "out.ecsv", "--cutouts", PICTURES, "--name", "name", "--overview",
                   tmp_path / "all.png", "--html", tmp_path / "page.html")  # fmt: skip
    assert "no overview: there are no rows" in done.output
    assert not (tmp_path / "all.png").exists()
    assert "<tbody" not in (tmp_path / "page.html").read_text(encoding="utf-8")
