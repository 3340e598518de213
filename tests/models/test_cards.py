"""Model cards: exact in JSON, and unreadable only with a ModelError."""

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac import CutoutRecipe, ModelCard, list_models
from hifrac.core.columns import POSITION_COLUMNS, RESULT_COLUMNS
from hifrac.core.exceptions import ModelError
from hifrac.models.calibration import EVIDENCE_SETS, ConformalTable, PosteriorTable
from hifrac.models.cards import OUTPUTS, POSTERIOR_OUTPUTS
from hifrac.models.detection import DetectionTable

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
def posterior_tables(draw):
    levels = draw(increasing(SHARES, min_size=2, max_size=6))

    def rows(size):
        return st.fixed_dictionaries(
            {name: st.lists(FLOATS, min_size=size, max_size=size) for name in EVIDENCE_SETS}
        )

    widths, scores, others = (draw(rows(size)) for size in (2, len(levels), len(levels)))
    return PosteriorTable(
        n=draw(st.integers(1, 10_000)),
        levels=levels,
        widths=widths,
        scores={name: sorted(row) for name, row in scores.items()},
        scores_gswlc={name: sorted(row) for name, row in others.items()},
        scatter_gswlc=draw(st.floats(0, 1e3)),
    )


@st.composite
def detection_tables(draw):
    inner = draw(increasing(st.floats(1, 99), max_size=5))
    size = len(inner) + 2
    return DetectionTable(
        slope=draw(FLOATS),
        intercept=draw(FLOATS),
        threshold=draw(SHARES),
        percentiles=(0, *inner, 100),
        distances=tuple(sorted(draw(st.lists(st.floats(0, 1e6), min_size=size, max_size=size)))),
        ood_threshold=draw(st.floats(0, 100)),
        posterior_slope=draw(FLOATS),
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
    calibration=st.one_of(conformal_tables(), posterior_tables(), st.none()),
    detection=st.one_of(detection_tables(), st.none()),
    figures=st.dictionaries(TEXTS, FLOATS, max_size=4),
    protocol=TEXTS,
    folds=st.dictionaries(TEXTS, st.integers(), max_size=2),
    command=TEXTS,
    files=st.dictionaries(TEXTS, TEXTS, max_size=2).map(
        lambda files: {**files, "weights.safetensors": "00ff"}
    ),
    references=st.lists(TEXTS, max_size=3).map(tuple),
    licence=TEXTS,
    target_column=st.sampled_from(["log_hi_fraction", "metallicity", "x_2"]),
    outputs=st.permutations(sorted(OUTPUTS)).map(tuple),
    inputs=st.sampled_from([("pixels",), ("pixels", "ebv")]),
)


CONFORMAL = ConformalTable(n=99, levels=(0.16, 0.5, 0.84), values=(-0.2, 0.0, 0.2))
POSTERIOR = PosteriorTable(
    n=259, levels=(0.16, 0.5, 0.84), widths=dict.fromkeys(EVIDENCE_SETS, (-1.5, 0.4)),
    scores=dict.fromkeys(EVIDENCE_SETS, (-1.0, 0.1, 1.0)),
    scores_gswlc=dict.fromkeys(EVIDENCE_SETS, (-0.9, 0.0, 0.8)), scatter_gswlc=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def card():
    (default,) = (card for card in list_models() if card.name == "default")
    return default


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


@pytest.mark.parametrize("calibration", [CONFORMAL, POSTERIOR, None], ids=lambda table: type(table).__name__)
def test_every_kind_of_calibration_comes_back_as_itself(card, calibration):
    again = ModelCard.from_json(dataclasses.replace(card, calibration=calibration).to_json())
    assert type(again.calibration) is type(calibration)
    assert again.calibration == calibration


def test_a_card_without_calibration_and_detection(card):
    bare = dataclasses.replace(card, calibration=None, detection=None, outputs=("estimate",))
    again = ModelCard.from_json(bare.to_json())
    assert again == bare
    assert again.calibration is again.detection is None


def test_the_default_model_says_all_that_the_estimator_can_use(card):
    assert set(card.outputs) == {*POSTERIOR_OUTPUTS, "detection_logit", "distance"}
    assert set(card.outputs) <= OUTPUTS.keys()
    assert card.target_column == "log_hi_fraction"
    assert isinstance(card.calibration, PosteriorTable)


@pytest.mark.parametrize("outputs", [(), ("estimate", "colour"), ("Estimate",)])
def test_outputs_are_those_that_are_known(card, facts, outputs):
    with pytest.raises(ValueError, match=r"^outputs must be different ones of estimate, log_spread, .*; got"):
        dataclasses.replace(card, outputs=outputs)
    facts["outputs"] = list(outputs)
    with pytest.raises(ModelError, match="outputs must be different ones of"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize("inputs", [(), ("ebv",), ("ebv", "pixels"), ("pixels", "redshift")])
def test_inputs_are_the_picture_and_perhaps_its_reddening(card, facts, inputs):
    with pytest.raises(ValueError, match=r"^inputs must be pixels, or pixels and ebv; got"):
        dataclasses.replace(card, inputs=inputs)
    facts["inputs"] = list(inputs)
    with pytest.raises(ModelError, match="inputs must be pixels"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize("name", ["", "log hi", "3d", "a-b"])
def test_a_target_column_is_the_name_of_a_column(card, facts, name):
    with pytest.raises(ValueError, match=r"^target_column must be the name of a column, got"):
        dataclasses.replace(card, target_column=name)
    facts["target_column"] = name
    with pytest.raises(ModelError, match="target_column"):
        ModelCard.from_json(json.dumps(facts))


TAKEN = sorted(
    {
        *RESULT_COLUMNS,
        *(name for ra, decs in POSITION_COLUMNS for name in (ra, *decs)),
        "log_mstar",
        "ebv",
        "z",
    }
    - {"log_hi_fraction", "oh", "h_alpha_ew"}
)


@pytest.mark.parametrize("name", [*TAKEN, "Flags", "RAJ2000", "DEC", "Z", "EBV"])
def test_a_target_column_does_not_take_the_place_of_another(card, facts, name):
    with pytest.raises(ValueError, match=rf"^target_column must not be '{name}': .* give it another name$"):
        dataclasses.replace(card, target_column=name)
    facts["target_column"] = name
    with pytest.raises(ModelError, match="target_column must not be"):
        ModelCard.from_json(json.dumps(facts))


def test_a_model_of_detections_alone_may_have_their_column(card):
    of_detections = dataclasses.replace(
        card, calibration=None, outputs=("detection_logit",), target_column="p_detect"
    )
    assert ModelCard.from_json(of_detections.to_json()) == of_detections
    for outputs in (("estimate",), ("estimate", "detection_logit")):
        with pytest.raises(ValueError, match="target_column must not be 'p_detect'"):
            dataclasses.replace(of_detections, outputs=outputs)


@pytest.mark.parametrize("column", [None, 5, ["log_hi_fraction"]])
def test_a_target_column_that_is_no_text(facts, column):
    facts["target_column"] = column
    with pytest.raises(ModelError, match="not a model card"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize("outputs", [None, 5, "estimate", [["estimate"]], {"estimate": 1, "x": 2}])
def test_outputs_that_are_no_list_of_names(facts, outputs):
    facts["outputs"] = outputs
    with pytest.raises(ModelError, match="not a model card"):
        ModelCard.from_json(json.dumps(facts))


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


def test_some_facts_have_a_default(facts):
    for name in ("licence", "target_column", "outputs"):
        del facts[name]
    facts["calibration"] = None  # that of the bundled model needs more outputs
    card = ModelCard.from_json(json.dumps(facts))
    assert card.licence == "BSD-3-Clause"
    assert card.target_column == "log_hi_fraction"
    assert card.outputs == ("estimate", "detection_logit", "distance")


def test_unknown_facts_are_named(facts):
    facts |= {"colour": "blue", "Name": "default"}
    with pytest.raises(ModelError, match="unknown facts: Name, colour"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize("calibration", [CONFORMAL, POSTERIOR], ids=["conformal", "posterior"])
@pytest.mark.parametrize("part", ["recipe", "calibration", "detection"])
def test_missing_and_unknown_facts_of_a_part(card, part, calibration):
    facts = json.loads(dataclasses.replace(card, calibration=calibration).to_json())
    whole = dict(facts[part])
    optional = {"largest_ebv", "posterior_slope", "noise_slope", "noise_center"}
    for name in whole.keys() - optional:
        facts[part] = {key: value for key, value in whole.items() if key != name}
        # What has no scores is read as the other kind of table.
        with pytest.raises(ModelError, match="unknown facts" if name == "scores" else name):
            ModelCard.from_json(json.dumps(facts))
    facts[part] = {**whole, "surprise": 1}
    with pytest.raises(ModelError, match="surprise"):
        ModelCard.from_json(json.dumps(facts))
    facts[part] = 3
    with pytest.raises(ModelError, match="not a model card"):
        ModelCard.from_json(json.dumps(facts))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("recipe", "width", -1),
        ("recipe", "width", "128"),
        ("recipe", "bands", ["g"]),
        ("recipe", "pixel_scale", None),
        ("calibration", "levels", [0.1, 0.2]),
        ("calibration", "levels", ["a", "b"]),
        ("calibration", "scores", {"picture": [0.1, 0.2]}),
        ("calibration", "scores", [0.1, 0.2]),
        ("calibration", "scores", {"picture": 0.1}),
        ("calibration", "widths", {"picture": ["a", "b"]}),
        ("calibration", "scatter_gswlc", -1),
        ("calibration", "scatter_gswlc", "1"),
        ("calibration", "scores_gswlc", None),
        ("calibration", "scatter_gswlc", float("nan")),
        ("recipe", None, None),
        ("detection", "percentiles", 5),
        ("detection", "slope", None),
        ("detection", "slope", float("nan")),
        ("files", "weights.safetensors", None),
    ],
)
def test_a_wrong_fact(facts, part, name, value):
    if part == "files":
        del facts[part][name]
    elif name is None:
        facts[part] = None
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


# Altered cards

ODD = [
    *(None, True, -1, 0, 1.5, 4096, 10**30, 1e308, -1e308, float("nan"), float("inf"), "", "text", "\ud800"),
    *([], {}, [[]], [None], {"": {}}, [1e308] * 5, ["x"] * 3, {"a": "b"}, [[[[[1]]]]], "x" * 200_000),
]


def places(facts, path=()):
    """Every place in a card, and the first of each list, as the keys that lead to it."""
    if isinstance(facts, dict | list):
        for key, value in facts.items() if isinstance(facts, dict) else enumerate(facts[:1]):
            yield (*path, key)
            yield from places(value, (*path, key))


def altered(facts, path, value):
    """A copy of a card with another value in one place."""
    copy = json.loads(json.dumps(facts))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return copy


def test_an_altered_card_is_a_card_or_a_model_error(facts):
    facts["calibration"] = dataclasses.asdict(POSTERIOR)  # with few levels
    for path in places(facts):
        for value in ODD:
            with contextlib.suppress(ModelError):
                card = ModelCard.from_json(json.dumps(altered(facts, path, value)))
                # What is a card can be used as one.
                assert ModelCard.from_json(card.to_json()).to_json() == card.to_json()
                assert str(card).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 5),
        (("recipe", "survey"), None),
        (("recipe", "bands"), "irg"),
        (("recipe", "bands"), ["i", "r", 3]),
        (("calibration", "scatter_gswlc"), 1e308),
        (("calibration", "widths", "picture", 0), 1e308),
        (("calibration", "n"), 2.5),
        (("calibration", "levels"), {"0.5": 1}),
        (("detection", "largest_ebv"), "0.1"),
        (("detection", "distances", 0), True),
        (("figures", "rmse"), "small"),
        (("options",), [["width", 128]]),
        (("files", "weights.safetensors"), 12),
        (("references",), "Wu 2020"),
    ],
)
def test_facts_have_the_type_and_size_that_they_need(facts, path, value):
    with pytest.raises(ModelError, match="not a model card: "):
        ModelCard.from_json(json.dumps(altered(facts, path, value)))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "5", "null", '"card"', "", "{"])
def test_texts_that_are_no_card(text):
    with pytest.raises(ModelError, match="not a model card"):
        ModelCard.from_json(text)


def test_nesting_is_shallow(facts):
    deep = 1
    for _ in range(500):
        deep = [deep]
    facts["options"] = {"mean": deep}
    with pytest.raises(ModelError, match="nested too deeply"):
        ModelCard.from_json(json.dumps(facts))
