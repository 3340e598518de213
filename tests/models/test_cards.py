"""Model cards: exact in JSON, and unreadable only with a ModelError."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac import CutoutRecipe, ModelCard, list_models
from hifrac.calibration import ConformalTable
from hifrac.exceptions import ModelError
from hifrac.recognition import RecognitionTable

FLOATS = st.floats(-1e6, 1e6)
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


def increasing(values, **sizes):
    return st.lists(values, unique=True, **sizes).map(lambda drawn: tuple(sorted(drawn)))


@st.composite
def conformal_tables(draw):
    levels = draw(increasing(SHARES, min_size=1, max_size=6))
    values = draw(st.lists(FLOATS, min_size=len(levels), max_size=len(levels)))
    return ConformalTable(n=draw(st.integers(1, 10_000)), levels=levels, values=tuple(sorted(values)))


@st.composite
def recognition_tables(draw):
    inner = draw(increasing(st.floats(1, 99), max_size=5))
    size = len(inner) + 2
    return RecognitionTable(
        slope=draw(FLOATS),
        intercept=draw(FLOATS),
        threshold=draw(SHARES),
        percentiles=(0, *inner, 100),
        distances=tuple(sorted(draw(st.lists(st.floats(0, 1e6), min_size=size, max_size=size)))),
        ood_threshold=draw(st.floats(0, 100)),
    )


CARDS = st.builds(
    ModelCard,
    name=TEXTS,
    summary=TEXTS,
    created=st.dates().map(lambda date: date.isoformat()),
    architecture=TEXTS,
    options=st.dictionaries(TEXTS, st.one_of(st.integers(), FLOATS, TEXTS), max_size=3),
    recipe=st.builds(
        CutoutRecipe,
        survey=TEXTS,
        data_release=TEXTS,
        service=TEXTS,
        bands=st.tuples(TEXTS, TEXTS, TEXTS),
        pixel_scale=st.floats(1e-3, 1e3),
        width=st.integers(1, 4096),
    ),
    target=TEXTS,
    mass_scale=TEXTS,
    training_set=TEXTS,
    validity=TEXTS,
    normalisation=TEXTS,
    calibration=conformal_tables(),
    recognition=recognition_tables(),
    figures=st.dictionaries(TEXTS, FLOATS, max_size=4),
    protocol=TEXTS,
    folds=st.dictionaries(TEXTS, st.integers(), max_size=2),
    command=TEXTS,
    files=st.dictionaries(TEXTS, TEXTS, max_size=2).map(
        lambda files: {**files, "weights.safetensors": "00ff"}
    ),
    references=st.lists(TEXTS, max_size=3).map(tuple),
    licence=TEXTS,
)


@pytest.fixture(scope="module")
def card():
    return list_models()[0]


@pytest.fixture
def facts(card):
    return json.loads(card.to_json())


@given(CARDS)
@settings(max_examples=40)
def test_json_gives_back_exactly_the_same_card(card):
    text = card.to_json()
    again = ModelCard.from_json(text)
    assert again == card
    assert again.to_json() == text


def test_a_file_gives_back_exactly_the_same_card(card, tmp_path):
    strange = dataclasses.replace(
        card, summary="10\u207b\u00b9 \u2013 \u03c3 \u2265 \U0001f52d", name="\u00e9"
    )
    path = strange.write(tmp_path)
    assert path == tmp_path / "card.json"
    assert ModelCard.read(tmp_path) == strange
    assert ModelCard.read(str(tmp_path)) == strange
    assert "\u03c3" in path.read_text(encoding="utf-8")


def test_a_card_is_frozen(card):
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.name = "other"


def test_the_identity_is_that_of_the_weights(card):
    assert card.sha256 == card.files["weights.safetensors"]
    assert len(card.sha256) == 64


def test_the_card_in_words_has_what_a_user_must_know(card):
    text = str(card)
    for fact in (
        card.name,
        card.summary,
        card.target,
        card.mass_scale,
        card.validity,
        card.sha256,
        card.licence,
    ):
        assert fact in text
    assert str(card.recipe) in text
    assert f"rmse {card.figures['rmse']:.3g}" in text


REQUIRED = [field.name for field in dataclasses.fields(ModelCard) if field.default is dataclasses.MISSING]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_fact(facts, name):
    del facts[name]
    with pytest.raises(ModelError, match=rf"not a model card: .*{name}"):
        ModelCard.from_json(json.dumps(facts))


def test_the_licence_has_a_default(facts):
    del facts["licence"]
    assert ModelCard.from_json(json.dumps(facts)).licence == "BSD-3-Clause"


def test_unknown_facts_are_named(facts):
    facts |= {"colour": "blue", "Name": "default"}
    with pytest.raises(ModelError, match="unknown facts: Name, colour"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize("part", ["recipe", "calibration", "recognition"])
def test_missing_and_unknown_facts_of_a_part(facts, part):
    whole = dict(facts[part])
    for name in whole:
        facts[part] = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ModelError, match=name):
            ModelCard.from_json(json.dumps(facts))
    facts[part] = {**whole, "surprise": 1}
    with pytest.raises(ModelError, match="surprise"):
        ModelCard.from_json(json.dumps(facts))
    facts[part] = None
    with pytest.raises(ModelError):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("recipe", "width", -1),
        ("recipe", "width", "128"),
        ("recipe", "bands", ["g"]),
        ("recipe", "pixel_scale", None),
        ("calibration", "levels", [0.1, 0.2]),
        ("calibration", "values", ["a", "b", "c", "d", "e"]),
        ("recognition", "percentiles", 5),
        ("recognition", "slope", None),
        ("recognition", "slope", float("nan")),
        ("files", "weights.safetensors", None),
    ],
)
def test_a_wrong_fact(facts, part, name, value):
    if part == "files":
        del facts[part][name]
    else:
        facts[part][name] = value
    with pytest.raises(ModelError, match="not a model card"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize("text", ["", "no JSON", "{", "[]", "[1, 2]", "[{}]", "null", "3", '"card"', "{}"])
def test_what_is_no_card(text):
    with pytest.raises(ModelError, match="not a model card"):
        ModelCard.from_json(text)


@given(st.text(max_size=40))
def test_no_text_is_more_than_a_model_error(text):
    with pytest.raises(ModelError):
        ModelCard.from_json(text)


def test_a_folder_without_a_card(tmp_path):
    with pytest.raises(ModelError, match=r"no readable model card at .*card\.json"):
        ModelCard.read(tmp_path)
    with pytest.raises(ModelError, match="no readable model card at"):
        ModelCard.read(tmp_path / "nowhere")


def test_a_card_that_is_no_text(tmp_path):
    (tmp_path / "card.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ModelError, match="no readable model card at"):
        ModelCard.read(tmp_path)


def test_a_card_that_is_a_folder(tmp_path):
    (tmp_path / "card.json").mkdir()
    with pytest.raises(ModelError, match="no readable model card at"):
        ModelCard.read(tmp_path)


def test_the_error_names_the_file(tmp_path):
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ModelError, match=r"card\.json: not a model card"):
        ModelCard.read(tmp_path)
