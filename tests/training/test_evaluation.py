"""What a model is judged as, by which labels, and with which positions."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from astropy.table import Column, Table
from commands import call
from pictures import encode, galaxy
from sklearn.metrics import accuracy_score, roc_auc_score

from hifrac import ModelCard, load_model
from hifrac.core.exceptions import HifracWarning
from hifrac.core.reddening import galactic_ebv
from hifrac.models.registry import bundled_models
from hifrac.training import evaluation
from hifrac.training.cnn.learner import train_network
from hifrac.training.config import read_config
from hifrac.training.evaluation import evaluate

N = 60


@pytest.fixture(scope="module", autouse=True)
def _answers_are_read_once():
    """The held-out answers of the bundled model are thousands of rows, read for each judgement."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "held_out_answers", cache(evaluation.held_out_answers))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of more and less blue galaxies, of 128 and, for a network of our own, of 32 pixels."""
    root = tmp_path_factory.mktemp("galaxies")
    for width in (128, 32):
        (root / str(width)).mkdir()
        for number, value in enumerate(blueness()):
            pixels = galaxy(number, width).astype(float)
            pixels[..., 2] *= 1 + 0.6 * value
            picture = encode(np.clip(pixels, 0, 255).astype(np.uint8))
            (root / str(width) / f"g{number}.jpg").write_bytes(picture)
    return root


def blueness():
    return np.random.default_rng(11).uniform(-1, 1, N)


def table_of(**columns):
    """Labels; the galaxies lie in the plane of the Milky Way, where the reddening differs."""
    return Table(
        {
            "objid": [f"g{number}" for number in range(N)],
            "ra": Column(np.linspace(60, 100, N), unit="deg"),
            "dec": Column(np.linspace(-5, 25, N), unit="deg"),
            "blueness": blueness(),
            "blue": (blueness() > 0).astype(int),
            **columns,
        }
    )


@pytest.fixture(scope="module")
def classifier(folder, tmp_path_factory):
    """The folder of a network that was trained to tell blue galaxies, and the figures of its training."""
    root = tmp_path_factory.mktemp("classifier")
    table_of().write(root / "labels.ecsv")
    config = read_config("paper").for_table(str(root / "labels.ecsv"), str(folder / "32"), target="blue")
    config = config.changed(
        pictures={"width": 32},
        network={"architecture": "shallow", "loss": "smoothed_cross_entropy"},
        split={"held_out": 0.4},
        optimizer={"epochs": 2, "batch_size": 8},
        run={"accelerator": "cpu"},
    )
    return root / "model", train_network(config, root / "model")


def judged(model, table, folder, **options):
    """The figures; that the model learned from these galaxies is said elsewhere."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*learned from", HifracWarning)
        return evaluate(model, table, folder / str(model.card.recipe.width), **options)


def loaded(folder):
    return load_model(folder, device="cpu")


def pixels_of(folder, model):
    recipe = model.card.recipe
    return np.stack(
        [recipe.decode((folder / str(recipe.width) / f"g{number}.jpg").read_bytes()) for number in range(N)]
    )


# Classes


@pytest.mark.parametrize("kind", [int, float, bool])
def test_a_network_trained_on_classes_is_judged_by_accuracy_and_area(classifier, folder, kind):
    model, table = loaded(classifier[0]), table_of()
    table["blue"] = table["blue"].astype(kind)
    figures = judged(model, table, folder, target="blue")
    assert figures.colnames == ["sample", "n", "accuracy", "auc", "auc_error"]
    logit = model.run(pixels_of(folder, model))["estimate"]
    assert figures["n"].tolist() == [N]
    assert figures["accuracy"][0] == pytest.approx(accuracy_score(table["blue"], logit > 0))
    assert figures["auc"][0] == pytest.approx(roc_auc_score(table["blue"], logit))


def test_judged_on_its_held_out_galaxies_it_has_the_figures_of_its_card(classifier, folder):
    path, of_training = classifier
    split = Table.read(path / "splits.ecsv")
    held_out = table_of()[np.asarray(split["role"]) == "held_out"]
    for orientations, name in ((1, "auc"), (8, "auc_8_orientations")):
        figures = judged(loaded(path), held_out, folder, target="blue", orientations=orientations)
        assert figures["auc"][0] == pytest.approx(of_training[name]), name


def test_the_bundled_classes_are_judged_as_classes(folder):
    figures = judged(loaded("gas-classes"), table_of(), folder, target="blue")
    assert figures.colnames == ["sample", "n", "accuracy", "auc", "auc_error"]


def test_a_card_has_an_accuracy_if_and_only_if_its_model_tells_classes_apart():
    found = {name: "accuracy" in ModelCard.read(path).figures for name, path in bundled_models().items()}
    assert found == {name: name.startswith("gas-classes") for name in found}
    assert {True, False} == set(found.values())


def test_a_model_with_an_interval_estimates_a_value_whatever_its_figures_are(folder):
    model = loaded("default")
    card = replace(model.card, figures={**model.card.figures, "accuracy": 0.9})
    figures = judged(replace(model, card=card), table_of()[:10], folder, target="blueness")
    assert "rmse" in figures.colnames


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "blueness"},
            "^target: blueness must hold the classes 0 and 1, got -0.9.*tells two classes",
        ),
        ({"target": "three"}, "^target: three must hold the classes 0 and 1, got 2: "),
        ({"target": "objid"}, "^objid must hold one number a row"),
        ({"target": "ones"}, "^target: of the classes in ones only 1 has a picture"),
        ({"target": "blue", "is_limit": "blue"}, "^is_limit: classes have no upper limits"),
    ],
)
@pytest.mark.parametrize("model", ["trained", "gas-classes"])
def test_what_is_no_class_is_refused(classifier, folder, model, options, message):
    model = loaded(classifier[0] if model == "trained" else model)
    table = table_of(three=np.arange(N) % 3, ones=np.ones(N))
    with pytest.raises(ValueError, match=message):
        judged(model, table, folder, **options)


def test_a_galaxy_of_unknown_class_is_left_out(classifier, folder):
    classes = np.where(np.arange(N) < 5, np.nan, table_of()["blue"])
    figures = judged(loaded(classifier[0]), table_of(blue=classes), folder, target="blue")
    assert figures["n"].tolist() == [N - 5]
    assert figures.meta["without_label"] == 5


def test_the_command_judges_classes_and_names_what_is_wrong(classifier, folder, tmp_path):
    table_of().write(tmp_path / "t.ecsv")
    command = [
        "evaluate",
        str(classifier[0]),
        str(tmp_path / "t.ecsv"),
        "--cutouts",
        str(folder / "32"),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*learned from", HifracWarning)
        done = call(*command, "--target", "blue")
        assert done.exit_code == 0, done.output
        assert "accuracy" in done.stdout
        assert "rmse" not in done.stdout
        wrong = call(*command, "--target", "blueness")
        assert wrong.exit_code == 1
        assert "target: blueness must hold the classes 0 and 1" in wrong.stderr


# Limits


def test_limits_that_are_no_truth_values_are_refused(folder):
    table = table_of(v_helio=np.arange(N) + 5000)
    with pytest.raises(
        ValueError, match=r"^v_helio must be boolean, or 0 and 1, without gaps, got 5000 in row 0$"
    ):
        judged(loaded("default"), table, folder, target="blueness", is_limit="v_helio")


def test_limits_of_zero_and_one_are_those_of_false_and_true(folder):
    limits = np.arange(N) % 4 == 0
    tables = [
        judged(loaded("default"), table_of(limit=kind)[:20], folder, target="blueness", is_limit="limit")
        for kind in (limits, limits.astype(int), limits.astype(float))
    ]
    assert tables[0]["n_limits"][0] == limits[:20].sum()
    for other in tables[1:]:
        assert other.pformat() == tables[0].pformat()


# Positions, which tell the reddening


def test_the_reddening_is_that_of_the_positions_in_whatever_form(folder):
    model, plain = loaded("default"), table_of()[::5]
    radians = Table(plain, copy=True)
    for name in ("ra", "dec"):
        radians[name] = Column(np.radians(plain[name]), unit="rad")
    capitals = Table(plain, copy=True)
    capitals.rename_columns(["ra", "dec"], ["RA", "DEC"])
    capitals["RA"].unit = capitals["DEC"].unit = None
    ebv = galactic_ebv(np.asarray(plain["ra"]), np.asarray(plain["dec"]))
    assert np.ptp(ebv) > 0.5
    stated = plain["objid", "blueness"]
    stated["ebv"] = ebv
    expected = judged(model, stated, folder, target="blueness")
    for table in (plain, radians, capitals):
        found = judged(model, table, folder, target="blueness")
        np.testing.assert_allclose(found["rmse"], expected["rmse"], rtol=1e-5)
        np.testing.assert_allclose(found["offset"], expected["offset"], rtol=1e-5)


def test_what_a_table_says_beside_the_pictures_is_evidence(folder):
    model, plain = loaded("default"), table_of()[::5]
    known = Table(plain, copy=True)
    known["redshift"], known["g_minus_i"], known["i"] = 0.02, 1.1, 15.0
    figures = [judged(model, table, folder, target="blueness") for table in (plain, known)]
    # All of one colour, brightness and redshift, they are nearly the same.
    ranges = [row["estimate_max"][0] - row["estimate_min"][0] for row in figures]
    assert ranges[1] < 0.5 * ranges[0]


def test_an_unknown_reddening_is_warned_of(folder):
    model, table = loaded("default"), table_of()[::5]
    table["ra"][:3] = np.nan
    with pytest.warns(HifracWarning, match="table: 3 of 12 rows have neither a valid position nor ebv"):
        judged(model, table, folder, target="blueness")
    table.remove_column("dec")
    with pytest.warns(HifracWarning, match="table: 12 of 12 rows"):
        unknown = judged(model, table, folder, target="blueness")
    known = judged(model, table_of()[::5], folder, target="blueness")
    assert unknown["rmse"][0] != known["rmse"][0]


def test_a_model_that_does_not_ask_for_the_reddening_needs_no_positions(classifier, folder):
    table = table_of()["objid", "blue"]
    table["ra"] = ["13:11:36"] * N
    assert judged(loaded(classifier[0]), table, folder, target="blue")["n"].tolist() == [N]
