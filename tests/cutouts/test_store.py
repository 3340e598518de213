import hashlib
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encode, galaxy
from stores import attempts, change_picture, shards, stored_pictures

from hifrac.core.config import cache_dir
from hifrac.core.exceptions import FetchError, OutOfFootprintError
from hifrac.cutouts import CutoutRecipe
from hifrac.cutouts._answers import Attempt
from hifrac.cutouts._positions import canonical_position, position_keys, position_of
from hifrac.cutouts._store import BlankError, Outcome, PictureStore, stores

RECIPE = CutoutRecipe(
    survey="sdss", data_release="DR16", service="getjpeg", bands=("i", "r", "g"), pixel_scale=0.4, width=128
)
URL = "https://example.org/dr16/getjpeg"
PICTURE = encode(galaxy())
HERE = ("184.957000", "5.121500")
KEY = int(position_keys(np.array([184.957]), np.array([5.1215]))[0])


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (184.957, 5.1215, HERE),
        (184.95700049, 5.12150049, HERE),
        (359.9999999, 0.0, ("0.000000", "0.000000")),
        (360.0, -1e-9, ("0.000000", "0.000000")),
        (-10.0, -90.0, ("350.000000", "-90.000000")),
    ],
)
def test_canonical_positions(ra, dec, expected):
    assert canonical_position(ra, dec) == expected


@given(st.floats(0, 360), st.floats(-90, 90))
def test_canonical_positions_are_near_and_stay(ra, dec):
    one = canonical_position(ra, dec)
    assert canonical_position(*map(float, one)) == one
    assert abs(float(one[1]) - dec) <= 0.51e-6
    assert min(abs(float(one[0]) - ra), 360 - abs(float(one[0]) - ra)) <= 0.51e-6
    assert 0 <= float(one[0]) < 360


@given(st.floats(-360, 360), st.floats(-90, 90))
def test_keys_hold_the_canonical_position(ra, dec):
    key = int(position_keys(np.array([ra]), np.array([dec]))[0])
    assert position_of(key) == canonical_position(ra, dec)
    assert key == int(position_keys(*(np.array([float(text)]) for text in position_of(key)))[0])


def test_what_is_put_is_got():
    store = PictureStore(RECIPE)
    assert store.get(KEY) is None
    store.put(KEY, PICTURE)
    other = PictureStore(RECIPE)
    assert other.get(KEY) == PICTURE
    assert other.plan([KEY, KEY + 1]) == {KEY: Outcome.STORED}
    assert other.counts() == {Outcome.STORED: 1}
    assert other.size()[0] == len(PICTURE)
    assert store.trouble is None


def test_recipes_and_layers_never_mix():
    changes = ({"width": 64}, {"pixel_scale": 0.5}, {"data_release": "DR17"}, {"bands": ("z", "r", "g")})
    recipes = [RECIPE, *(CutoutRecipe(**{**RECIPE.to_dict(), **change}) for change in changes)]
    kept = [*map(PictureStore, recipes), PictureStore(RECIPE, "layer")]
    assert len({store.folder for store in kept}) == len(kept)


DAMAGE = {
    "cut": lambda data: data[:500],
    "empty": lambda data: b"",
    "html": lambda data: b"<html>no</html>",
    # It decodes: only the sha256 tells.
    "flipped": lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_picture_is_found_and_removed(damage):
    with PictureStore(RECIPE) as store:
        store.put(KEY, PICTURE)
        store.put(KEY + 1, PICTURE)
    change_picture(KEY, damage(PICTURE))
    report = store.verify()
    assert (report.intact, report.damaged) == (1, (" ".join(HERE),))
    assert KEY in stored_pictures()
    assert store.get(KEY) is None
    assert KEY not in stored_pictures()
    assert store.plan([KEY, KEY + 1]) == {KEY + 1: Outcome.STORED}


def test_repair_removes_what_is_damaged():
    with PictureStore(RECIPE) as store:
        for number in range(5):
            store.put(KEY + number, PICTURE)
    change_picture(KEY, b"")
    change_picture(KEY + 1, None)
    (store.folder / "0.sqlite.damaged-1").write_bytes(b"half")
    report = store.verify(repair=True)
    assert (report.intact, len(report.damaged), report.leftovers) == (3, 2, 1)
    assert store.verify() == (3, (), 0)
    assert store.plan(range(KEY, KEY + 5)) == dict.fromkeys((KEY + 2, KEY + 3, KEY + 4), Outcome.STORED)


def test_the_store_has_every_attempt_and_no_failure_undoes_a_picture():
    store = PictureStore(RECIPE)
    busy = FetchError("busy", status=503)
    silence = Attempt(2.0, URL, error=FetchError("silence"))
    store.record(KEY, busy, [Attempt(1.0, URL, 503, 4, b"\1", busy), silence])
    assert store.plan([KEY]) == {KEY: Outcome.FAILED}
    store.put(KEY, PICTURE, [Attempt(3.0, URL, 200, len(PICTURE), hashlib.sha256(PICTURE).digest())])
    store.record(KEY, busy, [Attempt(4.0, URL, 503, 4, b"\1", busy)])
    store.record(KEY + 1, OutOfFootprintError("outside"), [])
    store.record(KEY + 2, BlankError("blank"), [])
    assert store.plan(range(KEY, KEY + 3)) == {
        KEY: Outcome.STORED,
        KEY + 1: Outcome.OUTSIDE,
        KEY + 2: Outcome.BLANK,
    }
    rows = attempts()
    assert [row[:4] for row in rows] == [
        (1.0, "failed", 503, 4),
        (2.0, "failed", None, None),
        (3.0, "answered", 200, len(PICTURE)),
        (4.0, "failed", 503, 4),
    ]
    assert rows[2][4] == hashlib.sha256(PICTURE).digest()


def test_outcomes_that_nobody_knows_or_that_damage_made_are_not_believed():
    with PictureStore(RECIPE) as store:
        for number in range(3):
            store.put(KEY + number, PICTURE)
        store.record(KEY + 3, OutOfFootprintError("outside"), [])
    for key, outcome in ((KEY, 77), (KEY + 1, 2), (KEY + 3, 1)):
        for path in shards():
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("UPDATE positions SET outcome = ? WHERE position = ?", (outcome, key))
                connection.commit()
    assert store.plan(range(KEY, KEY + 4)) == {KEY + 2: Outcome.STORED}
    assert store.counts()[Outcome.UNKNOWN] == 1
    assert store.get(KEY + 1) == PICTURE


@pytest.mark.parametrize("content", [b"", b"garbage" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_shard_that_is_beyond_help_is_begun_anew(content):
    with PictureStore(RECIPE) as store:
        store.put(KEY, PICTURE)
    (shard,) = shards()
    shard.write_bytes(content)
    with PictureStore(RECIPE) as store:
        assert store.plan([KEY]) == {}
        assert store.get(KEY) is None
        store.put(KEY, PICTURE)
        assert store.trouble is None
        assert store.plan([KEY]) == {KEY: Outcome.STORED}


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_page_costs_only_what_is_on_it(seed):
    rng = np.random.default_rng(seed)
    keys = range(KEY, KEY + 600)
    with PictureStore(RECIPE) as store:
        for key in keys:
            store.put(key, PICTURE, [Attempt(1.0, URL, 200, len(PICTURE), b"1")])
    largest = max(shards(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    page = int(rng.integers(2, len(content) // 4096))
    content[4096 * page : 4096 * page + 4096] = rng.bytes(4096)
    largest.write_bytes(content)
    with PictureStore(RECIPE) as store:
        intact = sum(store.get(key) == PICTURE for key in keys)
        assert intact >= 600 - 45  # the whole shard has as many, and mostly far fewer are lost
        report = store.verify(repair=True)
        assert report.intact >= intact
        known = store.plan(keys)
        assert all(store.get(key) is not None for key in known)
        assert store.trouble is None


def test_a_single_damaged_byte_costs_few_pictures():
    lost = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        keys = range(KEY, KEY + 160)
        with PictureStore(RECIPE) as store:
            for key in keys:
                store.put(key, PICTURE)
        largest = max(shards(), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[rng.integers(4096, len(content))] ^= 0xFF
        largest.write_bytes(content)
        with PictureStore(RECIPE) as store:
            lost.append(160 - sum(store.get(key) is not None for key in keys))
        shutil.rmtree(store.folder)
    assert max(lost) <= 16
    assert np.median(lost) <= 1


def test_a_damaged_description_is_mended_by_the_next_picture():
    with PictureStore(RECIPE) as store:
        store.put(KEY, PICTURE)
    (store.folder / "store.json").write_text("{")
    assert stores() == ([], [store.folder])
    with PictureStore(RECIPE) as store:
        store.put(KEY + 1, PICTURE)
    ((found,), illegible) = stores()
    assert illegible == []
    assert found.recipe == RECIPE
    assert found.counts() == {Outcome.STORED: 2}


@pytest.mark.parametrize(
    "change",
    [
        {"layer": "../../elsewhere"},
        {"layer": 7},
        {"recipe": {**RECIPE.to_dict(), "width": 64}},
        {"recipe": {**RECIPE.to_dict(), "width": "wide"}},
        {"recipe": []},
        {"recipe": None},
    ],
)
def test_a_description_of_something_else_is_not_believed(change):
    with PictureStore(RECIPE) as store:
        store.put(KEY, PICTURE)
    facts = json.loads((store.folder / "store.json").read_text())
    (store.folder / "store.json").write_text(json.dumps(facts | change))
    assert stores() == ([], [store.folder])


def test_threads_may_write_at_once():
    with ThreadPoolExecutor(8) as threads:
        kept = [PictureStore(RECIPE) for _ in range(3)]
        list(threads.map(lambda number: kept[number % 3].put(KEY + number, PICTURE), range(120)))
    assert [store.trouble for store in kept] == [None] * 3
    assert PictureStore(RECIPE).counts() == {Outcome.STORED: 120}


def test_a_folder_that_cannot_be_made_is_trouble_and_no_error():
    cache_dir().parent.mkdir(parents=True, exist_ok=True)
    cache_dir().write_text("a file where the folder should be")
    store = PictureStore(RECIPE)
    store.put(KEY, PICTURE)
    store.record(KEY, FetchError("x"), [])
    assert isinstance(store.trouble, OSError)
    assert store.get(KEY) is None
    assert store.plan([KEY]) == {}


def test_a_store_that_is_removed_under_a_run_is_said():
    with PictureStore(RECIPE) as store:
        store.put(KEY, PICTURE)
        store.check()
        assert store.trouble is None
        shutil.rmtree(store.folder)
        store.check()
        assert "removed while it was in use" in str(store.trouble)
    with PictureStore(RECIPE) as store:
        store.put(KEY, PICTURE)
        shutil.rmtree(store.folder)
        store.put(KEY, PICTURE)
        assert "removed while it was in use" in str(store.trouble)


# Stores of the kind before


def old_store(layout, address="https://mirror.org/dr16/getjpeg", recipe=RECIPE, suffix=".jpg", noted=True):
    """A store as versions before 1.0 wrote it, with a picture at KEY and nothing at KEY + 1."""
    folder = cache_dir() / "cutouts" / "sdss-dr16-getjpeg-0123456789ab"
    folder.mkdir(parents=True)
    facts = {"address": address, "recipe": recipe.to_dict(), "suffix": suffix, "layout": layout}
    (folder / "store.json").write_text(json.dumps(facts))
    with closing(sqlite3.connect(folder / "manifest.sqlite")) as manifest:
        manifest.execute("CREATE TABLE cutouts (position INTEGER PRIMARY KEY, outcome, bytes, sha256, at)")
        digest = hashlib.sha256(PICTURE).digest()
        if noted:
            manifest.execute("INSERT INTO cutouts VALUES (?, 1, ?, ?, 1.0)", (KEY, len(PICTURE), digest))
        manifest.execute("INSERT INTO cutouts VALUES (?, 2, NULL, NULL, 1.0)", (KEY + 1,))
        manifest.commit()
    if layout == "file":
        with closing(sqlite3.connect(folder / "pictures.sqlite")) as pictures:
            pictures.execute("CREATE TABLE pictures (position INTEGER PRIMARY KEY, data BLOB NOT NULL)")
            pictures.execute("INSERT INTO pictures VALUES (?, ?)", (KEY, PICTURE))
            pictures.commit()
    else:
        place = (KEY * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 52
        path = folder / "pictures" / f"{place:03x}" / f"{HERE[0]}+{HERE[1]}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(PICTURE)
    return folder


@pytest.mark.parametrize("layout", ["folders", "file"])
@pytest.mark.parametrize("noted", [True, False])
def test_a_store_of_the_kind_before_is_read_and_its_pictures_are_taken_over(layout, noted):
    folder = old_store(layout, noted=noted)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with PictureStore(RECIPE) as store:
        expected = {KEY: Outcome.STORED} if noted else {}
        assert store.plan([KEY, KEY + 1, KEY + 2]) == {**expected, KEY + 1: Outcome.OUTSIDE}
        assert store.get(KEY) == PICTURE
        assert store.get(KEY + 1) is None
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.rmtree(folder)
    assert PictureStore(RECIPE).get(KEY) == PICTURE


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": CutoutRecipe(**{**RECIPE.to_dict(), "width": 64})},
        {"address": "https://mirror.org layer"},
        {"suffix": "/../../../../etc/passwd"},
        {"suffix": 7},
    ],
)
def test_a_store_of_something_else_or_with_strange_facts_is_left_alone(options):
    old_store("folders", **options)
    assert PictureStore(RECIPE).plan([KEY, KEY + 1]) == {}


def test_a_damaged_picture_of_the_kind_before_is_not_taken_over():
    folder = old_store("folders")
    next(folder.rglob("*.jpg")).write_bytes(PICTURE[:500])
    with PictureStore(RECIPE) as store:
        assert store.get(KEY) is None
        assert not stored_pictures(store.folder)
