import json

import numpy as np
import pytest
from pictures import encode, fits_cube, galaxy

from hifrac import images
from hifrac.core.exceptions import BadImageError, FetchError
from hifrac.cutouts import Cutout, CutoutRecipe, CutoutSource, LocalCutouts, SkyServerCutouts, source_for

FACTS = {
    "survey": "sdss",
    "data_release": "DR16",
    "service": "getjpeg",
    "bands": ("i", "r", "g"),
    "pixel_scale": 0.4,
    "width": 128,
}


def test_a_recipe_survives_json():
    recipe = CutoutRecipe(**FACTS)
    assert CutoutRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.field_of_view == pytest.approx(51.2)


def test_equal_scales_make_one_recipe():
    one, other = (CutoutRecipe(**FACTS | {"pixel_scale": scale}) for scale in (1, 1.0))
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"bands": ("r", "g")}, ValueError, "^bands must name three"),
        ({"width": 0}, ValueError, "^width must be positive"),
        ({"width": 128.0}, TypeError, "^width must be an integer"),
        ({"width": True}, TypeError, "^width must be an integer"),
        ({"pixel_scale": "0.4"}, TypeError, "^pixel_scale must be a number"),
        ({"pixel_scale": np.nan}, ValueError, "^pixel_scale must be positive and finite"),
    ],
)
def test_an_impossible_recipe_is_refused(change, kind, message):
    with pytest.raises(kind, match=message):
        CutoutRecipe(**FACTS | change)


def test_pictures_of_a_survey_come_in_its_stretch_and_compression():
    pixels = galaxy(1)
    planes = np.moveaxis(pixels[::-1], 2, 0).astype(np.float32) / 255
    for survey, stretch, quality in (
        ("sdss", "sdss", 75),
        ("legacy", "legacy", None),
        ("unknown", None, None),
    ):
        recipe = CutoutRecipe(**FACTS | {"survey": survey})
        for data in (encode(pixels), encode(pixels, "JPEG"), fits_cube(planes)):
            expected = images.decode(data, stretch=stretch, quality=quality)
            np.testing.assert_array_equal(recipe.decode(data), expected)
    with pytest.raises(BadImageError, match="128"):
        CutoutRecipe(**FACTS | {"width": 64}).decode(encode(pixels))


def test_a_cutout_is_a_picture_or_an_error():
    assert Cutout(data=b"x").error is None
    assert Cutout(error=FetchError("no")).data is None
    for odd in ({}, {"data": b"x", "error": FetchError("no")}):
        with pytest.raises(ValueError, match=r"^data or error must be given, and not both"):
            Cutout(**odd)


def test_the_source_of_a_recipe():
    source = source_for(CutoutRecipe(**FACTS | {"width": 64}), store=False)
    assert isinstance(source, SkyServerCutouts)
    assert source.recipe.width == 64
    with pytest.raises(ValueError, match=r"^recipe names the service legacy layers, .*: getjpeg"):
        source_for(CutoutRecipe(**FACTS | {"survey": "legacy", "service": "layers"}))


def test_both_sources_speak_the_protocol(tmp_path):
    assert isinstance(SkyServerCutouts(), CutoutSource)
    assert isinstance(LocalCutouts(tmp_path), CutoutSource)
