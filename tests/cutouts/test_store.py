import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encode, galaxy

from hifrac.config import cache_dir
from hifrac.cutouts import CutoutRecipe
from hifrac.cutouts._store import PictureStore, canonical_position

RECIPE = CutoutRecipe(
    survey="sdss", data_release="DR16", service="getjpeg", bands=("i", "r", "g"), pixel_scale=0.4, width=128
)
URL = "https://example.org/dr16/getjpeg"
PICTURE = encode(galaxy())
HERE = ("184.957000", "5.121500")


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


def test_what_is_put_is_got():
    store = PictureStore(URL, RECIPE)
    assert store.get(*HERE) is None
    store.put(*HERE, PICTURE)
    assert PictureStore(URL, RECIPE).get(*HERE) == PICTURE
    assert store.path(*HERE).is_relative_to(cache_dir())
    assert store.trouble is None


def test_services_and_recipes_never_mix():
    stores = [
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
    assert len({store.folder for store in stores}) == len(stores)
    assert (
        len({store.path("1.000000", dec) for store in stores[:1] for dec in ("2.000000", "-2.000000")}) == 2
    )


@pytest.mark.parametrize(
    "damage", [lambda data: data[:500], lambda data: b"", lambda data: b"<html>no</html>"]
)
def test_a_damaged_file_is_removed(damage):
    store = PictureStore(URL, RECIPE)
    store.put(*HERE, PICTURE)
    store.path(*HERE).write_bytes(damage(PICTURE))
    assert store.get(*HERE) is None
    assert not store.path(*HERE).exists()


def test_a_failed_write_leaves_nothing_behind(monkeypatch):
    store = PictureStore(URL, RECIPE)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    store.put(*HERE, PICTURE)
    assert "No space left" in str(store.trouble)
    assert not [path for path in cache_dir().rglob("*") if path.is_file()]


def test_readers_never_see_half_a_file():
    store = PictureStore(URL, RECIPE)
    pictures = [encode(galaxy(seed)) for seed in range(2)]
    store.put(*HERE, pictures[0])
    seen = set()

    def read():
        for _ in range(100):
            seen.add(store.path(*HERE).read_bytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(100):
        store.put(*HERE, pictures[turn % 2])
    for reader in readers:
        reader.join()
    assert seen <= set(pictures)
    assert len(list(store.path(*HERE).parent.iterdir())) == 1
