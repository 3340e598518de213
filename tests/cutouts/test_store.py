import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import encode, galaxy

from hifrac import conf
from hifrac.core.config import cache_dir
from hifrac.core.exceptions import FetchError, OutOfFootprintError
from hifrac.cutouts import CutoutRecipe
from hifrac.cutouts._http import Attempt
from hifrac.cutouts._layouts import Folders
from hifrac.cutouts._positions import canonical_position, position_keys, position_of
from hifrac.cutouts._store import Outcome, PictureStore, stores

RECIPE = CutoutRecipe(
    survey="sdss", data_release="DR16", service="getjpeg", bands=("i", "r", "g"), pixel_scale=0.4, width=128
)
URL = "https://example.org/dr16/getjpeg"
PICTURE = encode(galaxy())
HERE = ("184.957000", "5.121500")
KEY = int(position_keys(np.array([184.957]), np.array([5.1215]))[0])


@pytest.fixture(params=["folders", "file"])
def layout(request):
    with conf.set_temp("store_layout", request.param):
        yield request.param


def pictures():
    return sorted(cache_dir().rglob("*.jpg"))


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


def test_what_is_put_is_got(layout):
    store = PictureStore(URL, RECIPE)
    assert store.get(KEY) is None
    store.put(KEY, PICTURE)
    other = PictureStore(URL, RECIPE)
    assert other.get(KEY) == (PICTURE, None)
    assert other.plan([KEY, KEY + 1]) == {KEY: Outcome.STORED}
    assert other.counts() == {Outcome.STORED: 1}
    assert other.is_whole()
    assert store.trouble is None
    assert (store.path(*HERE) is None) == (layout == "file")


def test_a_store_keeps_the_layout_that_it_began_with():
    with conf.set_temp("store_layout", "file"):
        PictureStore(URL, RECIPE).put(KEY, PICTURE)
    again = PictureStore(URL, RECIPE)
    again.put(KEY + 1, PICTURE)
    assert not pictures()
    assert again.get(KEY + 1) == (PICTURE, None)


def test_services_and_recipes_never_mix():
    kept = [
        PictureStore(URL, RECIPE),
        PictureStore(URL + "2", RECIPE),
        *(
            PictureStore(URL, CutoutRecipe(**{**RECIPE.to_dict(), **change}))
            for change in (
                {"width": 64},
                {"pixel_scale": 0.5},
                {"data_release": "DR17"},
                {"bands": ("z", "r", "g")},
            )
        ),
    ]
    assert len({store.folder for store in kept}) == len(kept)
    assert len({store.path("1.000000", dec) for store in kept[:1] for dec in ("2.000000", "-2.000000")}) == 2


DAMAGE = {
    "cut": lambda data: data[:500],
    "empty": lambda data: b"",
    "html": lambda data: b"<html>no</html>",
    # It decodes: only the sha256 tells.
    "flipped": lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_picture_is_found_and_removed(damage):
    store = PictureStore(URL, RECIPE)
    store.put(KEY, PICTURE)
    store.put(KEY + 1, PICTURE)
    path = store.path(*HERE)
    path.write_bytes(damage(PICTURE))
    report = store.verify()
    assert (report.intact, report.damaged) == (1, (" ".join(HERE),))
    assert path.exists()
    assert store.get(KEY) is None
    assert not path.exists()
    assert store.plan([KEY, KEY + 1]) == {KEY + 1: Outcome.STORED}


def test_repair_removes_what_is_damaged_and_notes_what_is_not():
    store = PictureStore(URL, RECIPE)
    for number in range(4):
        store.put(KEY + number, PICTURE)
    names = [store.path(*position_of(KEY + number)) for number in range(5)]
    names[0].write_bytes(b"")
    names[1].unlink()
    names[4].parent.mkdir(exist_ok=True, parents=True)
    names[4].write_bytes(PICTURE)
    old = names[2].with_name(".old.part")
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    report = store.verify(repair=True)
    assert (report.intact, len(report.damaged), report.missing, report.unrecorded, report.leftovers) == (
        3,
        1,
        1,
        1,
        1,
    )
    report = store.verify()
    assert (report.intact, report.damaged, report.missing, report.unrecorded, report.leftovers) == (
        3,
        (),
        0,
        0,
        0,
    )
    assert store.plan(range(KEY, KEY + 5)) == dict.fromkeys((KEY + 2, KEY + 3, KEY + 4), Outcome.STORED)


def test_a_picture_that_was_written_but_not_noted_is_found_again(layout):
    store = PictureStore(URL, RECIPE)
    store.put(KEY + 1, PICTURE)
    store._pictures.write(KEY, PICTURE)  # as by a process that died then
    data, pixels = store.get(KEY)
    assert data == PICTURE
    assert np.array_equal(pixels, RECIPE.decode(PICTURE))
    assert store.plan([KEY]) == {KEY: Outcome.STORED}


def test_a_picture_that_was_removed_is_unknown():
    store = PictureStore(URL, RECIPE)
    store.put(KEY, PICTURE)
    store.path(*HERE).unlink()
    assert not store.is_whole()
    assert store.plan([KEY]) == {}
    assert store.plan([KEY], look=False) == {KEY: Outcome.STORED}


def test_the_manifest_has_every_attempt_and_no_failure_undoes_a_picture(layout):
    store = PictureStore(URL, RECIPE)
    busy = FetchError("busy", status=503)
    attempts = [Attempt(1.0, URL, 503, 4, b"\1", busy), Attempt(2.0, URL, error=FetchError("silence"))]
    store.record(KEY, busy, attempts)
    assert store.plan([KEY]) == {KEY: Outcome.FAILED}
    store.put(KEY, PICTURE, [Attempt(3.0, URL, 200, len(PICTURE), hashlib.sha256(PICTURE).digest())])
    store.record(KEY, busy, [Attempt(4.0, URL, 503, 4, b"\1", busy)])
    store.record(KEY + 1, OutOfFootprintError("outside"), [])
    assert store.plan([KEY, KEY + 1]) == {KEY: Outcome.STORED, KEY + 1: Outcome.OUTSIDE}
    rows = [(at, outcome, status, size) for _, _, at, _, outcome, status, size, _, _ in store.attempts()]
    assert rows == [
        (1.0, "failed", 503, 4),
        (2.0, "failed", None, None),
        (3.0, "answered", 200, len(PICTURE)),
        (4.0, "failed", 503, 4),
    ]
    digests = [row[7] for row in store.attempts()]
    assert digests[2] == hashlib.sha256(PICTURE).digest()


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 500, b"SQLite format 3\0" + b"\xff" * 5000], ids=["empty", "text", "header"]
)
def test_a_damaged_manifest_is_begun_anew_and_costs_no_picture(content):
    with PictureStore(URL, RECIPE) as store:
        store.put(KEY, PICTURE)
    manifest = store.folder / "manifest.sqlite"
    for path in store.folder.glob("manifest.sqlite*"):
        path.unlink()
    manifest.write_bytes(content)
    with PictureStore(URL, RECIPE) as store:
        assert store.plan([KEY]) == {}
        assert store.get(KEY)[0] == PICTURE
        assert store.plan([KEY]) == {KEY: Outcome.STORED}
        assert store.trouble is None


def test_a_damaged_description_is_mended_by_the_next_picture():
    with PictureStore(URL, RECIPE) as store:
        store.put(KEY, PICTURE)
    (store.folder / "store.json").write_text("{")
    assert stores() == ([], [store.folder])
    with PictureStore(URL, RECIPE) as store:
        store.put(KEY + 1, PICTURE)
    ((found,), illegible) = stores()
    assert illegible == []
    assert found.recipe == RECIPE
    assert found.counts() == {Outcome.STORED: 2}


def test_threads_may_write_at_once(layout):
    with ThreadPoolExecutor(8) as threads:
        kept = [PictureStore(URL, RECIPE) for _ in range(3)]
        list(threads.map(lambda number: kept[number % 3].put(KEY + number, PICTURE), range(120)))
    assert [store.trouble for store in kept] == [None] * 3
    assert PictureStore(URL, RECIPE).counts() == {Outcome.STORED: 120}


def test_a_failed_write_leaves_nothing_behind(monkeypatch):
    store = PictureStore(URL, RECIPE)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    store.put(KEY, PICTURE)
    assert "No space left" in str(store.trouble)
    assert not [path for path in cache_dir().rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_made_is_trouble_and_no_error():
    cache_dir().parent.mkdir(parents=True, exist_ok=True)
    cache_dir().write_text("a file where the folder should be")
    store = PictureStore(URL, RECIPE)
    store.put(KEY, PICTURE)
    store.record(KEY, FetchError("x"), [])
    assert isinstance(store.trouble, OSError)
    assert store.get(KEY) is None
    assert store.plan([KEY]) == {}


def test_readers_never_see_half_a_file():
    store = PictureStore(URL, RECIPE)
    versions = [encode(galaxy(seed)) for seed in range(2)]
    store.put(KEY, versions[0])
    path = store.path(*HERE)
    seen = set()

    def read():
        for _ in range(100):
            seen.add(path.read_bytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(100):
        store.put(KEY, versions[turn % 2])
    for reader in readers:
        reader.join()
    assert seen <= set(versions)
    assert len(list(path.parent.iterdir())) == 1


@given(st.floats(0, 360), st.floats(-90, 90))
@example(0.0, -0.0000004)
@example(359.9999999, 90.0)
@example(12.5, -0.000001)
def test_a_file_has_one_name_however_many_are_asked_for(ra, dec):
    folders = Folders(Path("pictures"), ".jpg")
    key = int(position_keys(np.array([ra]), np.array([dec]))[0])
    assert folders._names([key]) == [folders._name(key)]
