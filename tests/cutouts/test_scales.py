"""Pictures whose pixel scale is a column of the table, from the recipe to the result."""

import dataclasses
import json
import pickle
import zipfile

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from astropy.wcs.utils import proj_plane_pixel_scales
from commands import call
from getjpeg_server import serve
from hypothesis import given
from hypothesis import strategies as st
from pictures import encode, galaxy
from sdss_frames import write_field
from stores import shards, stored_pictures

from hifrac import Flag, HIFractionEstimator, LocalCutouts, ModelCard, SkyServerCutouts, conf, images
from hifrac.core.config import cache_dir
from hifrac.core.exceptions import BadCoordinateError, BadScaleError, HifracWarning
from hifrac.cutouts import (
    SDSS_RECIPE,
    WU_BOADA_RECIPE,
    CutoutRecipe,
    FrameCutouts,
    HiPSCutouts,
    LegacyCutouts,
    PanSTARRSCutouts,
    download,
)
from hifrac.cutouts._positions import picture_keys, position_key, position_of, scale_of
from hifrac.cutouts._scales import parse_scale, scale_text
from hifrac.cutouts._store import Outcome, PictureStore, stores
from hifrac.cutouts.recipe import HIPS_RECIPE, LEGACY_RECIPE, PANSTARRS_RECIPE
from hifrac.models import load_model

FACTS = {
    "survey": "sdss",
    "data_release": "DR14",
    "service": "getjpeg",
    "bands": ("i", "r", "g"),
    "width": 128,
}
COLUMN = {"scale_column": "petroR90_r", "scale_divisor": 25.344}

possible = st.floats(0.02, 5.0)
positive = st.floats(1e-300, 1e300)
columns = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True).filter(
    lambda name: name.lower() not in ("inf", "infinity", "nan")
)
scales = st.one_of(
    st.fixed_dictionaries({"pixel_scale": positive}),
    st.fixed_dictionaries({"scale_column": columns, "scale_divisor": positive}),
)


def pixel_scale_of(wcs):
    return proj_plane_pixel_scales(wcs)[0] * 3600


@pytest.fixture
def service(monkeypatch):
    """A getjpeg service whose pictures depend on position and scale."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def picture(params):
        return encode(galaxy(round(1e5 * float(params["scale"]) + float(params["ra"]))), "JPEG")

    with (
        serve(picture) as server,
        conf.set_temp("skyserver_url", server.url),
        conf.set_temp("timeout", 5.0),
        conf.set_temp("retries", 0),
        conf.set_temp("max_rate", 0.0),
    ):
        yield server


@pytest.fixture(scope="module")
def model():
    """The default model, as if it had learned from pictures in which galaxies have one size."""
    default = load_model("default")
    return dataclasses.replace(default, card=dataclasses.replace(default.card, recipe=WU_BOADA_RECIPE))


def rows_of(*radii, name="petroR90_r", unit=u.arcsec):
    mask = [radius is None for radius in radii]
    values = MaskedColumn([0.0 if radius is None else radius for radius in radii], mask=mask, unit=unit)
    n = np.arange(len(radii), dtype=float)
    return Table({"ra": n * u.deg, "dec": 0 * n * u.deg, name: values, "name": [f"g{int(i)}" for i in n]})


# The recipe


@given(scales)
def test_a_recipe_survives_json_and_its_scale_its_text(scale):
    recipe = CutoutRecipe(**FACTS, **scale)
    facts = json.loads(json.dumps(recipe.to_dict()))
    assert CutoutRecipe.from_dict(facts) == recipe
    shown = scale_text(recipe)
    assert str(recipe).endswith(f"at {shown} arcsec/px")
    again = CutoutRecipe(**FACTS, **parse_scale(shown))
    assert scale_text(again) == shown
    assert again.scale_column == recipe.scale_column
    assert again.scale_divisor == pytest.approx(recipe.scale_divisor, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        ("0.4", {"pixel_scale": 0.4}),
        ("petroR90_r/25.344", COLUMN),
        (" petroR90_r / 25.344 ", COLUMN),
        ("scale", {"scale_column": "scale"}),
        ("b/a", {"scale_column": "b/a"}),
        ("b/a/2", {"scale_column": "b/a", "scale_divisor": 2.0}),
    ],
)
def test_a_scale_is_a_number_or_a_column(text, keywords):
    assert parse_scale(text) == keywords


def test_what_was_written_before_there_were_columns_is_the_same():
    # The digest of the facts is in the name of every store, and they stand in every card.
    assert list(SDSS_RECIPE.to_dict()) == [
        "survey", "data_release", "service", "bands", "width", "pixel_scale"
    ]  # fmt: skip
    assert PictureStore(SDSS_RECIPE).folder.name == "sdss-dr16-getjpeg-20731ab993a0"


@pytest.mark.parametrize(
    ("facts", "kind", "message"),
    [
        ({}, ValueError, "^pixel_scale or scale_column must be given, and not both"),
        (
            {"pixel_scale": 0.4, **COLUMN},
            ValueError,
            "^pixel_scale or scale_column must be given, and not both",
        ),
        ({"scale_column": ""}, ValueError, "^scale_column must be the name of a column"),
        ({"scale_column": 3}, TypeError, "^scale_column must be the name of a column"),
        ({"scale_column": "r", "scale_divisor": 0}, ValueError, "^scale_divisor must be positive"),
        ({"scale_column": "r", "scale_divisor": "2"}, TypeError, "^scale_divisor must be a number, got"),
        ({"pixel_scale": 0.4, "scale_divisor": 2}, ValueError, "^scale_divisor must go with scale_column"),
    ],
)
def test_an_impossible_scale_is_refused(facts, kind, message):
    with pytest.raises(kind, match=message):
        CutoutRecipe(**FACTS, **facts)


@given(possible)
def test_the_recipe_of_a_row_has_its_scale_and_nothing_else_of_its_own(scale):
    recipe = WU_BOADA_RECIPE.at(scale)
    assert abs(recipe.pixel_scale - scale) <= 0.5001e-5
    assert recipe == CutoutRecipe(**FACTS, pixel_scale=recipe.pixel_scale)
    assert WU_BOADA_RECIPE.at(recipe.pixel_scale) == recipe
    assert recipe.field_of_view == pytest.approx(128 * scale, abs=1e-3)
    assert pixel_scale_of(recipe.wcs(10.0, 60.0)) == pytest.approx(recipe.pixel_scale, rel=1e-9)
    assert recipe.step(0.4) is None or recipe.step(0.4) == pytest.approx(recipe.pixel_scale / 0.4)


def test_every_galaxy_of_the_paper_has_the_same_size():
    # download_images.py: scale = 2 * petroR90_r / 0.396 / 128; a radius is then 25.344 pixels.
    for radius in (2.0, 5.0, 12.0):
        scale = WU_BOADA_RECIPE.at(radius / 25.344).pixel_scale
        assert scale == pytest.approx(2 * radius / 0.396 / 128, rel=1e-4)
        assert radius / scale == pytest.approx(25.344, rel=1e-4)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (np.nan, "petroR90_r is masked or not finite"),
        (np.inf, "petroR90_r is masked or not finite"),
        (0.0, "petroR90_r of 0 arcsec makes pixels of 0 arcsec, and pictures of galaxies have 0.02 to 5"),
        (-0.2, "petroR90_r of -5.0688 arcsec makes pixels of -0.2 arcsec"),
        (0.019, "petroR90_r of 0.481536 arcsec"),
        (5.1, "petroR90_r of 129.254 arcsec"),
    ],
)
def test_a_scale_of_no_galaxy_is_an_error_of_its_row(scale, words):
    with pytest.raises(BadScaleError, match=f"^{words}") as caught:
        WU_BOADA_RECIPE.at(scale)
    assert caught.value.flag == Flag.BAD_SCALE


def test_a_recipe_knows_what_it_does_not_know():
    assert WU_BOADA_RECIPE.at(None) is WU_BOADA_RECIPE
    for ask in (lambda r: r.field_of_view, lambda r: r.wcs(1.0, 2.0), lambda r: r.step(0.4)):
        with pytest.raises(
            ValueError, match=r"^recipe must have one pixel_scale, got sdss DR14.* petroR90_r / 25.344"
        ):
            ask(WU_BOADA_RECIPE)
    assert WU_BOADA_RECIPE.step(None) is None
    with pytest.raises(ValueError, match=r"^pixel_scale must be None: all pictures are .* 0\.4 arcsec/px"):
        SDSS_RECIPE.at(0.4)
    # What a picture shows can be read without its scale.
    pixels = galaxy(3)
    assert np.array_equal(
        WU_BOADA_RECIPE.decode(encode(pixels, "JPEG")), SDSS_RECIPE.decode(encode(pixels, "JPEG"))
    )


def test_cards_hold_it(model):
    card = ModelCard.from_json(model.card.to_json())
    assert card.recipe == WU_BOADA_RECIPE
    assert "petroR90_r / 25.344 arcsec/px" in str(card)


# Keys and the store


@given(st.floats(0, 360), st.floats(-90, 90), possible)
def test_keys_hold_position_and_scale(ra, dec, scale):
    ra, dec, scale = np.array([ra]), np.array([dec]), np.array([scale])
    (key,) = picture_keys(ra, dec, scale).tolist()
    (plain,) = picture_keys(ra, dec).tolist()
    assert position_key(key) == plain
    assert position_of(key) == position_of(plain)
    assert scale_of(key) == WU_BOADA_RECIPE.at(scale[0]).pixel_scale
    assert scale_of(plain) is None


def test_pictures_of_one_position_and_two_scales_are_two(tmp_path):
    store = PictureStore(WU_BOADA_RECIPE)
    small, large = picture_keys(np.full(2, 184.957), np.full(2, 5.1215), np.array([0.2, 0.3])).tolist()
    first, second = encode(galaxy(1), "JPEG"), encode(galaxy(2), "JPEG")
    store.put(small, first)
    assert store.get(large) is None
    store.record(large, BadCoordinateError("once"), [])
    store.put(large, second)
    assert (store.get(small), store.get(large)) == (first, second)
    assert store.plan([small, large, "1@2"]) == {small: Outcome.STORED, large: Outcome.STORED}
    (other,) = stores()[0]
    assert (other.recipe, other.get(large)) == (WU_BOADA_RECIPE, second)
    assert other.verify().intact == 2
    assert other.export(tmp_path / "out") == 2
    table = Table.read(tmp_path / "out" / "positions.ecsv")
    assert sorted(table["name"]) == ["184.957000+5.121500@0.20000", "184.957000+5.121500@0.30000"]
    assert sorted(table["pixel_scale"]) == [0.2, 0.3]
    assert (tmp_path / "out" / "184.957000+5.121500@0.30000.jpg").read_bytes() == second


def test_a_damaged_store_of_scales_is_salvaged():
    with PictureStore(WU_BOADA_RECIPE) as store:
        keys = picture_keys(np.arange(60.0), np.zeros(60), np.full(60, 0.2)).tolist()
        for seed, key in enumerate(keys):
            store.put(key, encode(galaxy(seed % 4), "JPEG"))
    path = max(shards(), key=lambda shard: shard.stat().st_size)
    content = bytearray(path.read_bytes())
    content[4096 * 5 : 4096 * 6] = bytes(4096)
    path.write_bytes(content)
    with PictureStore(WU_BOADA_RECIPE) as store:
        found = sum(store.get(key) is not None for key in keys)
        assert 60 > found >= 50
        store.put(keys[0], encode(galaxy(9), "JPEG"))
        assert store.get(keys[0]) == encode(galaxy(9), "JPEG")


# Services


def test_each_row_is_asked_for_at_its_scale_and_comes_from_the_store_later(service):
    source = SkyServerCutouts(WU_BOADA_RECIPE)
    ra, dec = np.array([1.0, 1.0, 2.0, 1.0]), np.zeros(4)
    asked = np.array([6.0, 12.0, 6.0, 6.00001]) / 25.344
    found = list(source.fetch(ra, dec, pixel_scales=asked))
    sent = sorted((request.params["ra"], request.params["scale"]) for request in service.requests)
    assert sent == [("1.000000", "0.23674"), ("1.000000", "0.47348"), ("2.000000", "0.23674")]
    assert {request.path for request in service.requests} == {"/dr14/SkyServerWS/ImgCutout/getjpeg"}
    assert {request.params["width"] for request in service.requests} == {"128"}
    assert found[0].data == found[3].data
    assert len({cutout.data for cutout in found}) == 3
    for cutout, scale in zip(found, asked, strict=True):
        assert cutout.recipe == WU_BOADA_RECIPE.at(scale)
        assert pixel_scale_of(cutout.wcs) == pytest.approx(scale, abs=1e-5)
        assert cutout.pixel_scale is None
    again = SkyServerCutouts(WU_BOADA_RECIPE, offline=True)
    stored = list(again.fetch(ra, dec, pixel_scales=asked))
    assert [cutout.data for cutout in stored] == [cutout.data for cutout in found]
    assert [cutout.recipe for cutout in stored] == [cutout.recipe for cutout in found]
    (other,) = again.fetch(ra[:1], dec[:1], pixel_scales=[0.9])
    assert "not in the local store" in str(other.error)
    assert len(stored_pictures()) == 3


def test_rows_without_a_scale_are_errors_and_stop_no_other(service):
    source = SkyServerCutouts(WU_BOADA_RECIPE)
    asked = np.ma.array([0.2, 0.2, 0.0, -1.0, np.nan, 9.0, 0.3, 0.2], mask=[0, 1, 0, 0, 0, 0, 0, 0])
    ra = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, np.nan])
    found = list(source.fetch(ra, np.zeros(8), pixel_scales=asked))
    kinds = [type(cutout.error).__name__ if cutout.error else "" for cutout in found]
    assert kinds == ["", *["BadScaleError"] * 5, "", "BadCoordinateError"]
    assert "masked or not finite" in str(found[1].error)
    assert len(service.requests) == 2


def test_scales_are_given_where_they_are_needed():
    for source, given_scales, words in (
        (
            SkyServerCutouts(WU_BOADA_RECIPE),
            None,
            "^pixel_scales must be given: .* by the column 'petroR90_r'",
        ),
        (SkyServerCutouts(), [0.4], "^pixel_scales must not be given"),
        (SkyServerCutouts(WU_BOADA_RECIPE), [0.4, 0.4], "^pixel_scales must have one value per row"),
    ):
        for method in (source.fetch, source.ensure):
            with pytest.raises(ValueError, match=words):
                method([1.0], [2.0], pixel_scales=given_scales)


def test_the_requests_can_be_seen_before():
    source = SkyServerCutouts(WU_BOADA_RECIPE)
    requests = source.payload([1.0, 2.0], 0.0, np.array([2.0, 10.0]) / 25.344)
    assert [params["scale"] for _, params in requests] == ["0.07891", "0.39457"]
    with pytest.raises(BadScaleError, match=r"^petroR90_r of 0 arcsec"):
        source.payload(1.0, 2.0, 0.0)
    with pytest.raises(BadCoordinateError):
        source.payload(1.0, 91.0, 0.2)
    with pytest.raises(ValueError, match=r"^pixel_scales must be given"):
        source.payload(1.0, 2.0)


def test_other_services_are_asked_for_the_scale_of_the_row_too():
    change = {"pixel_scale": None, **COLUMN}
    legacy = LegacyCutouts(dataclasses.replace(LEGACY_RECIPE, **change))
    assert legacy.payload(1.0, 2.0, 0.3)[0][1]["pixscale"] == "0.3"
    hips = HiPSCutouts(dataclasses.replace(HIPS_RECIPE, **change))
    assert float(hips.payload(1.0, 2.0, 0.3)[0][1]["fov"]) == pytest.approx(128 * 0.3 / 3600)
    assert float(HiPSCutouts().payload(1.0, 2.0)[0][1]["fov"]) == pytest.approx(51.2 / 3600)
    with pytest.raises(
        ValueError, match=r"^recipe must have a pixel_scale of 0\.25, got petroR90_r / 25\.344"
    ):
        PanSTARRSCutouts(dataclasses.replace(PANSTARRS_RECIPE, **change))


def test_a_download_flags_what_has_no_scale(service):
    table = rows_of(6.0, None, 0.0, np.nan, 3.0, 1000.0)
    report = download(table, SkyServerCutouts(WU_BOADA_RECIPE))
    assert report["flags"].tolist() == [0, 4096, 4096, 4096, 0, 4096]
    assert report.colnames == ["ra", "dec", "petroR90_r", "name", "flags"]
    sent = sorted((request.params["ra"], request.params["scale"]) for request in service.requests)
    assert sent == [("0.000000", "0.23674"), ("4.000000", "0.11837")]
    # Other units and other cases are the same pictures.
    table = rows_of(0.1, 0.05, name="PETROR90_R", unit=u.arcmin)
    assert download(table, SkyServerCutouts(WU_BOADA_RECIPE))["flags"].tolist() == [0, 0]
    assert sorted(request.params["scale"] for request in service.requests[2:]) == ["0.11837"]


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        (None, ValueError, "^data has no column 'petroR90_r', which gives the pixel scale .* are ra, dec"),
        (["6"], TypeError, "^petroR90_r must hold numbers"),
        ([6.0] * u.mag, u.UnitConversionError, "^petroR90_r must be an angle, in arcsec"),
    ],
)
def test_a_column_that_cannot_give_scales_is_named(service, model, column, kind, message):
    table = Table({"ra": [1.0] * u.deg, "dec": [0.0] * u.deg})
    if column is not None:
        table["petroR90_r"] = column
    with pytest.raises(kind, match=message):
        download(table, SkyServerCutouts(WU_BOADA_RECIPE))
    estimator = HIFractionEstimator(model)
    for method in (estimator.predict, estimator.explain):
        with pytest.raises(kind, match=message):
            method(table)
    assert service.requests == []


# Estimates


@pytest.mark.filterwarnings("ignore:.* rows have no estimate")
def test_an_estimate_and_its_map_are_of_the_picture_at_the_scale_of_the_row(service, model):
    table = rows_of(6.0, None, 12.0, 0.001)
    estimator = HIFractionEstimator(model)
    result = estimator.predict(table)
    assert result["flags"][[1, 3]].tolist() == [4096, 4096]
    assert np.asarray(result["log_hi_fraction"].mask).tolist() == [False, True, False, True]
    assert (np.asarray(result["flags"]) & int(Flag.RESAMPLED)).tolist() == [0] * 4
    assert "petroR90_r / 25.344" in result.meta["hifrac"]["pictures"]
    maps = list(estimator.explain(table))
    for row, radius in ((0, 6.0), (2, 12.0)):
        assert pixel_scale_of(maps[row].wcs) == pytest.approx(radius / 25.344, abs=1e-5)
        assert maps[row].wcs.pixel_to_world_values(63.5, 63.5)[0] == pytest.approx(row)
    for row in (1, 3):
        assert maps[row].wcs is None
        assert maps[row].flags == Flag.BAD_SCALE
        assert isinstance(maps[row].error, BadScaleError)
    with pytest.raises(BadScaleError, match="masked or not finite") as caught:
        estimator.predict(table, on_error="raise")
    assert caught.value.__notes__ == ["in row 1 of data"]


def test_what_the_rows_without_a_scale_lack_is_said_once(service, model):
    with pytest.warns(HifracWarning, match="2 of 3 rows have no estimate(.|\n)*2 BAD_SCALE: ") as caught:
        HIFractionEstimator(model).predict(rows_of(6.0, None, -1.0))
    assert len(caught) == 1


def test_models_and_sources_of_several_scales_do_not_mix_with_those_of_one(model):
    with pytest.raises(
        ValueError, match=r"^cutouts gives .* 0\.4 arcsec/px, but .* petroR90_r / 25\.344 arc"
    ):
        HIFractionEstimator(model, cutouts=SkyServerCutouts(SDSS_RECIPE))
    with pytest.raises(ValueError, match=r"^cutouts gives .* petroR90_r / 25\.344 arcsec/px, but"):
        HIFractionEstimator(cutouts=SkyServerCutouts(WU_BOADA_RECIPE))
    other = dataclasses.replace(WU_BOADA_RECIPE, scale_divisor=20.0)
    with pytest.raises(ValueError, match=r"^cutouts gives .* petroR90_r / 20 arcsec/px, but"):
        HIFractionEstimator(model, cutouts=SkyServerCutouts(other))


def test_what_was_chosen_for_pixels_of_one_size_is_not_asked_of_others(model):
    pixels = np.stack([np.roll(galaxy(seed), 12, axis=1) for seed in range(3)])
    assert load_model("default").inspect(pixels).flags.any()
    inspection = model.inspect(pixels)
    assert not inspection.flags.any()
    assert not inspection.moves.any()
    assert np.array_equal(inspection.pixels, pixels)


# Files at hand


@pytest.fixture
def folder(tmp_path):
    for row in range(4):
        (tmp_path / f"g{row}.jpg").write_bytes(encode(galaxy(row), "JPEG"))
    return tmp_path


def test_files_of_the_recipe_need_no_scales_but_for_their_place(folder, model):
    table = rows_of(6.0, 12.0)
    estimator = HIFractionEstimator(model, cutouts=LocalCutouts(folder, name="name"))
    result = estimator.predict(table["ra", "dec", "name"])
    assert not np.asarray(result["flags"] & int(Flag.BAD_SCALE | Flag.RESAMPLED)).any()
    unknown = estimator.explain(table["ra", "dec", "name"])[0]
    assert unknown.wcs is None
    known = estimator.explain(table)[1]
    assert pixel_scale_of(known.wcs) == pytest.approx(12 / 25.344, abs=1e-5)
    assert np.array_equal(estimator.explain(table)[0].values, unknown.values)
    assert np.array_equal(estimator.predict(table)["log_hi_fraction"], result["log_hi_fraction"])


def test_files_know_their_place_by_the_recipe(folder):
    source = LocalCutouts(folder, name="name", recipe=WU_BOADA_RECIPE)
    source = pickle.loads(pickle.dumps(source))
    found = list(source.fetch([1.0, 2.0], [0.0, 0.0], ["g0", "g1"], pixel_scales=[0.3, np.nan]))
    assert found[0].recipe == WU_BOADA_RECIPE.at(0.3)
    assert pixel_scale_of(found[0].wcs) == pytest.approx(0.3)
    assert isinstance(found[1].error, BadScaleError)
    with pytest.raises(ValueError, match=r"^pixel_scales must be given"):
        source.fetch([1.0], [0.0], ["g0"])


def test_files_of_one_scale_are_resampled_to_that_of_the_row(folder, model):
    source = LocalCutouts(folder, name="name", pixel_scale=0.4)
    table = rows_of(6.0, 10.1376, 20.0)
    with pytest.warns(
        HifracWarning, match=r"1 of 3 rows have no estimate, the first is row 2: the picture has 128"
    ):
        result = HIFractionEstimator(model, cutouts=source).predict(table)
    flags = np.asarray(result["flags"])
    # At 10.1 arcsec the scales are equal; a larger galaxy does not fit into the file.
    assert ((flags & int(Flag.RESAMPLED)) != 0).tolist() == [True, False, False]
    assert flags[2] == Flag.BAD_IMAGE
    (cutout,) = source.fetch([0.0], [0.0], ["g0"])
    shown = WU_BOADA_RECIPE.at(6 / 25.344).decode(cutout.data, 0.4)
    expected = images.decode(cutout.data, width=128, quality=75, step=0.23674 / 0.4)
    assert np.array_equal(shown, expected)
    explanation = HIFractionEstimator(model, cutouts=source).explain(table[:1])[0]
    assert np.array_equal(explanation.pixels, shown)
    assert pixel_scale_of(explanation.wcs) == pytest.approx(6 / 25.344, abs=1e-5)
    with pytest.raises(ValueError, match=r"^data has no column 'petroR90_r'"):
        HIFractionEstimator(model, cutouts=source).predict(table["ra", "dec", "name"])


def test_files_of_several_scales_are_resampled_to_one(folder):
    source = LocalCutouts(folder, name="name", **COLUMN)
    assert source.describe().endswith("by name, at petroR90_r / 25.344 arcsec/px")
    table = rows_of(12.0, 10.1376, 6.0, None)
    with pytest.warns(HifracWarning, match="2 of 4 rows have no estimate") as caught:
        result = HIFractionEstimator(cutouts=pickle.loads(pickle.dumps(source))).predict(table)
    assert "1 BAD_SCALE" in str(caught[0].message)
    flags = np.asarray(result["flags"])
    assert ((flags & int(Flag.RESAMPLED)) != 0).tolist() == [True, False, False, False]
    assert flags[2:].tolist() == [Flag.BAD_IMAGE, Flag.BAD_SCALE]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixel_scale": 0.4, "scale_column": "r"}, "^pixel_scale must not be given with scale_column"),
        (
            {"pixel_scale": 0.4, "recipe": WU_BOADA_RECIPE},
            "^pixel_scale must be that of recipe, petroR90_r / 25",
        ),
        (
            {"scale_column": "r", "recipe": WU_BOADA_RECIPE},
            "^scale_column must be that of recipe, petroR90_r",
        ),
        ({"scale_column": "r", "recipe": SDSS_RECIPE}, r"^scale_column must be that of recipe, 0\.4, got r"),
        ({"scale_divisor": 2.0}, "^scale_divisor must go with scale_column"),
    ],
)
def test_files_of_contradictory_scales_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        LocalCutouts(folder, **options)


@pytest.mark.real_data
def test_the_pictures_of_the_paper_are_read_as_they_are(real_data, model):
    path = real_data / "cutouts" / "metallicity_demo.zip"
    with zipfile.ZipFile(path) as archive:
        names = sorted(name.partition(".")[0] for name in archive.namelist() if name.endswith(".jpg"))
    table = Table({"objid": [name.rpartition("/")[2] for name in names[:8]]})
    with pytest.warns(HifracWarning, match="data has no ra and dec"):
        result = HIFractionEstimator(model, cutouts=LocalCutouts(path)).predict(table)
    assert not np.asarray(result["log_hi_fraction"].mask).any()
    assert not (np.asarray(result["flags"]) & int(Flag.BAD_SCALE | Flag.RESAMPLED)).any()


# Frames


def test_frames_are_cut_at_the_scale_of_the_row(tmp_path):
    rng = np.random.default_rng(5)
    noise = lambda ra, dec: rng.normal(0, 0.02, ra.shape)  # noqa: E731
    write_field(tmp_path, 185.0, 5.0, [(185.0, 5.0, 300.0)], shape=(600, 700), background=noise)
    recipe = dataclasses.replace(SDSS_RECIPE, pixel_scale=None, **COLUMN)
    ra, dec = np.array([185.0, 185.01, 185.0, 185.0, 185.0, np.nan]), np.full(6, 5.0)
    asked = np.array([0.2, 0.4, 0.3, 0.05, np.nan, 0.4])
    with FrameCutouts(tmp_path, recipe=recipe) as source:
        found = list(source.fetch(ra, dec, pixel_scales=asked))
        with pytest.raises(ValueError, match=r"^pixel_scales must be given"):
            source.fetch(ra, dec)
    for row in range(3):
        fixed = dataclasses.replace(SDSS_RECIPE, pixel_scale=asked[row])
        with FrameCutouts(tmp_path, recipe=fixed) as source:
            (expected,) = source.fetch(ra[row : row + 1], dec[row : row + 1])
        assert found[row].data == expected.data
        assert found[row].recipe == expected.recipe == fixed
        assert pixel_scale_of(found[row].wcs) == pytest.approx(asked[row])
    assert [type(cutout.error).__name__ for cutout in found[3:]] == [
        "BadScaleError", "BadScaleError", "BadCoordinateError"
    ]  # fmt: skip
    assert str(found[3].error).startswith(
        "petroR90_r: recipe must have a pixel_scale of 0.1 to 0.8, got 0.05"
    )


# The command line


def test_the_pictures_of_the_paper_are_fetched_by_one_option(service, tmp_path):
    rows_of(6.0, 3.0, None).write(tmp_path / "t.ecsv")
    options = ["--data-release", "DR14", "--pixel-scale", "petroR90_r/25.344", "-o", tmp_path / "report.ecsv"]
    result = call("fetch", tmp_path / "t.ecsv", *options)
    assert result.exit_code == 0, result.output
    assert "3 rows, 2 with a picture, 1 not" in result.output
    assert "1  BAD_SCALE" in result.output
    assert Table.read(tmp_path / "report.ecsv")["flags"].tolist() == [0, 0, 4096]
    assert "128 x 128 px at petroR90_r / 25.344 arcsec/px" in call("cache", "info").output
    assert call("cache", "verify").output.startswith(
        f"{next((cache_dir() / 'cutouts').iterdir()).name}: 2 intact"
    )
    before = len(service.requests)
    assert call("fetch", tmp_path / "t.ecsv", *options[:4]).exit_code == 0
    assert len(service.requests) == before


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("radius/25.344", "data has no column 'radius', which gives the pixel scale of each picture"),
        ("radius/0", "scale_divisor must be positive and finite, got 0"),
        ("0", "pixel_scale must be positive and finite, got 0"),
    ],
)
def test_an_impossible_scale_of_the_command_line_is_named(service, tmp_path, scale, words):
    rows_of(6.0).write(tmp_path / "t.ecsv")
    result = call("fetch", tmp_path / "t.ecsv", "--pixel-scale", scale)
    assert result.exit_code == 1
    assert words in result.output
    assert len(result.output.splitlines()) == 1


def test_local_pictures_of_several_scales_on_the_command_line(folder):
    rows_of(12.0, None).write(folder / "t.ecsv")
    options = ["--cutouts", folder, "--name", "name", "--pixel-scale", "petroR90_r/25.344"]
    result = call("predict", folder / "t.ecsv", "-o", folder / "o.ecsv", *options)
    assert result.exit_code == 0, result.output
    assert "RESAMPLED" in result.output
    assert "BAD_SCALE" in result.output
