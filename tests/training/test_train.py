"""The training command: what it writes agrees with itself, loads, and comes out the same twice."""

import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from scipy.stats import spearmanr

from hifrac import ModelCard, list_models, load_model
from hifrac.calibration import ConformalTable
from hifrac.exceptions import ModelError
from hifrac.metrics import detection_auc, regression_metrics
from hifrac.models import _artifact
from hifrac.models.structure import StructureNet
from hifrac.training import train as training
from hifrac.training.data import read_beyond, read_sample
from hifrac.training.evaluation import crossfold_coverage
from hifrac.training.fit import assign_folds, centred, cross_validate, measure

FILES = [
    "beyond_alfalfa.ecsv",
    "card.json",
    "cross_validation.ecsv",
    "model.pt",
    "out_of_fold.ecsv",
    "weights.safetensors",
]


@pytest.fixture(scope="module")
def card(trained):
    return ModelCard.read(trained.folder)


@pytest.fixture(scope="module")
def out_of_fold(trained):
    return Table.read(trained.folder / "out_of_fold.ecsv")


def test_the_folder_holds_the_model_and_its_evidence(trained, card):
    assert sorted(path.name for path in trained.folder.iterdir()) == FILES
    for name, expected in card.files.items():
        assert hashlib.sha256((trained.folder / name).read_bytes()).hexdigest() == expected


def test_the_card_says_how_the_model_was_made(card, sample):
    assert card.name == "tiny"
    assert {**card.folds, "sha256": ""} == {"n_folds": 3, "seed": 7, "sha256": ""}
    assert card.command == "hifrac train OUTPUT --seed 7"
    assert card.recipe == training.SDSS_RECIPE
    assert f"{sample.detected.sum()} ALFALFA" in card.training_set
    assert f"{(~sample.detected).sum()} undetected" in card.training_set
    assert card.references == training.REFERENCES


def test_the_log_tells_the_numbers(trained, sample):
    first, *_, last = trained.messages
    assert (
        first == f"{sample.detected.sum()} detections, {(~sample.detected).sum()} bright undetected galaxies"
    )
    assert "rmse" in last


def test_the_model_loads_and_its_artefacts_agree(trained, sample):
    eager, script = (
        load_model(trained.folder, device="cpu", runtime=name) for name in ("eager", "torchscript")
    )
    assert eager.card == script.card
    one, other = eager.run(sample.pixels), script.run(sample.pixels)
    for name, values in vars(one).items():
        np.testing.assert_allclose(getattr(other, name), values, rtol=1e-5, atol=1e-5)


def test_the_model_has_learned_the_relation(trained, sample):
    answer = load_model(trained.folder, device="cpu").run(sample.pixels)
    seen = sample.detected
    assert spearmanr(answer.log_hi_fraction[seen], sample.log_hi_fraction[seen]).statistic > 0.9
    assert detection_auc(seen, answer.detection_logit) > 0.75


def test_the_figures_of_the_card_are_those_of_the_table(trained, card):
    written = Table.read(trained.folder / "cross_validation.ecsv")
    assert written.colnames == trained.table.colnames
    for name in written.colnames[1:]:
        np.testing.assert_array_equal(written[name], trained.table[name])
    assert list(written["model"]) == list(trained.table["model"])
    assert len(written) > 1
    for name, value in card.figures.items():
        assert value == pytest.approx(written[name][0], abs=5.1e-5)
    assert {"rmse", "rmse_error", "slope_inverse", "coverage_68", "coverage_90", "auc"} <= set(card.figures)
    assert written.meta["model"] == card.sha256
    assert written.meta["command"] == card.command


def test_the_table_follows_from_the_out_of_fold_answers(trained, card, out_of_fold, sample):
    assert list(out_of_fold["objid"]) == list(sample.objid)
    seen = np.asarray(out_of_fold["detected"])
    truth, estimate, fold = (
        np.asarray(out_of_fold[name])[seen] for name in ("log_hi_fraction_true", "log_hi_fraction", "fold")
    )
    expected = regression_metrics(truth, estimate) | crossfold_coverage(truth, estimate, fold)
    for name, value in expected.items():
        assert trained.table[name][0] == pytest.approx(value)
    assert trained.table["auc"][0] == pytest.approx(detection_auc(seen, np.asarray(out_of_fold["p_detect"])))
    assert card.calibration == ConformalTable.from_residuals(truth - estimate)


def test_the_bootstrap_error_is_near_that_of_a_chi_square(trained, sample):
    row = trained.table[0]
    assert row["rmse_error"] == pytest.approx(row["rmse"] / np.sqrt(2 * sample.detected.sum()), rel=0.5)


def test_the_table_does_not_flatter_the_network(trained, out_of_fold):
    # The scatter of the labels about the colour, 0.1 dex, is a floor for whoever has not seen them.
    assert np.all(trained.table["rmse"][:3] > 0.07)
    assert np.all(trained.table["rmse"][:3] < 0.3)
    auc = np.asarray(trained.table["auc"])
    assert np.all((auc[np.isfinite(auc)] > 0.5) & (auc[np.isfinite(auc)] < 1))


def test_the_folds_are_those_of_the_seed(card, out_of_fold, sample):
    expected = assign_folds(sample.detected, sample.group, card.folds["n_folds"], card.folds["seed"])
    np.testing.assert_array_equal(out_of_fold["fold"], expected)
    lines = sorted(f"{name},{number}" for name, number in zip(sample.objid, expected, strict=True))
    assert card.folds["sha256"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_what_lies_beyond_the_survey_is_reported_apart(trained, card, out_of_fold, data_folder):
    labels = Table.read(data_folder / "cutouts" / "resolve_labels.ecsv")
    labels = labels[~labels["alfalfa_detected"]]
    beyond = read_beyond(data_folder)
    np.testing.assert_array_equal(beyond.objid, labels["objid"])
    estimate = load_model(trained.folder, device="cpu").run(beyond.pixels).log_hi_fraction
    difference = estimate - np.asarray(labels["log_hi_fraction_true"])
    limits = np.asarray(labels["is_limit"])
    held_out = out_of_fold[[list(out_of_fold["objid"]).index(name) for name in labels["objid"]]]
    score = card.recognition.ood_score(np.asarray(held_out["distance"]))
    clean = card.recognition.flags(np.asarray(held_out["p_detect"]), score) == 0

    rows = {row["sample"]: row for row in trained.beyond}
    assert [int(row["n"]) for row in trained.beyond] == [
        2,
        np.sum(clean & ~limits),
        4,
        np.sum(clean & limits),
    ]
    assert rows["detections"]["rmse"] == pytest.approx(np.sqrt(np.mean(difference[~limits] ** 2)))
    assert rows["detections"]["offset"] == pytest.approx(difference[~limits].mean())
    assert rows["upper limits"]["limits_violated"] == 0.75  # one limit is far above all estimates
    assert np.isnan(rows["upper limits"]["rmse"])
    written = Table.read(trained.folder / "beyond_alfalfa.ecsv")
    assert written.meta["model"] == card.sha256


def test_without_deeper_data_there_is_no_such_report(tmp_path, data_folder):
    shutil.copytree(data_folder, tmp_path / "data")
    (tmp_path / "data" / "cutouts" / "resolve_labels.ecsv").unlink()
    assert read_beyond(tmp_path / "data") is None


def test_the_recognition_is_calibrated_on_held_out_galaxies(card, out_of_fold):
    seen = np.asarray(out_of_fold["detected"])
    p_detect, distance = np.asarray(out_of_fold["p_detect"]), np.asarray(out_of_fold["distance"])
    table = card.recognition
    assert table.slope > 0
    # Platt's fit is balanced: the mean probability of each kind mirrors that of the other.
    assert p_detect[seen].mean() + p_detect[~seen].mean() == pytest.approx(1, abs=0.01)
    assert np.mean(p_detect[seen] >= table.threshold) == pytest.approx(training.COMPLETENESS, abs=0.03)
    scores = table.ood_score(distance)
    assert (scores.min(), scores.max()) == (0, 100)
    # Both kinds count alike.
    means = [np.mean(scores[kind]) for kind in (seen, ~seen)]
    assert np.mean(means) == pytest.approx(50, abs=2)
    assert np.mean(scores >= table.ood_threshold) == pytest.approx(1 - table.ood_threshold / 100, abs=0.03)


def test_training_twice_gives_the_same_model(trained, card, data_folder, tmp_path, monkeypatch):
    # The simple models beside the network take half of the time, and nothing of the model depends on them.
    monkeypatch.setattr(training, "N_FOLDS", card.folds["n_folds"])
    monkeypatch.setattr(training, "cross_validation_table", lambda *_: trained.table.copy())
    training.train(str(tmp_path / "tiny"), data=data_folder, name="tiny", seed=7)
    again = ModelCard.read(tmp_path / "tiny")
    assert again.sha256 == card.sha256
    assert again.calibration == card.calibration
    assert again.recognition == card.recognition
    one, other = (Table.read(folder / "out_of_fold.ecsv") for folder in (trained.folder, tmp_path / "tiny"))
    for name in ("log_hi_fraction", "p_detect", "distance", "fold"):
        np.testing.assert_array_equal(one[name], other[name])


def test_a_folder_can_be_written_over(trained, sample, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "weights.safetensors").write_bytes(b"old")
    files = _artifact.save(
        load_model(trained.folder, device="cpu", runtime="eager").network, tmp_path / "tiny"
    )
    assert files["weights.safetensors"] == ModelCard.read(trained.folder).sha256
    assert load_model(tmp_path / "tiny", runtime="eager").run(sample.pixels[:1]).distance > 0


def test_a_script_that_differs_from_the_weights_is_refused(trained, sample, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(trained.folder, folder)
    training._require_equal_artefacts(folder, sample.pixels[:4])
    other = StructureNet(128)
    other.load_state_dict(load_model(folder, device="cpu", runtime="eager").network.state_dict())
    other.fraction.bias.data += 0.01
    files = _artifact.save(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.pt", folder)
    facts = json.loads((folder / "card.json").read_text())
    facts["files"]["model.pt"] = files["model.pt"]
    (folder / "card.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=r"^the TorchScript file differs from its weights by 0.01 dex"):
        training._require_equal_artefacts(folder, sample.pixels[:4])


def test_nothing_is_written_when_the_data_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_dir"):
        training.train(tmp_path / "model", data=tmp_path / "nowhere")
    assert not (tmp_path / "model").exists()


# The bundled model and the data it was trained on


def test_the_committed_table_belongs_to_the_committed_model():
    card = list_models()[0]
    folder = Path(str(resources.files("hifrac.models") / "weights" / card.name))
    table = Table.read(folder / "cross_validation.ecsv")
    assert table.meta["model"] == card.sha256
    for name, value in card.figures.items():
        assert value == pytest.approx(table[name][0], abs=5.1e-5)
    # Better than the colours alone, or the network would not be worth its name.
    assert np.all(table["rmse"][0] < table["rmse"][1:][np.isfinite(table["rmse"][1:])])
    assert np.all(table["auc"][0] > table["auc"][1:][np.isfinite(table["auc"][1:])])


@pytest.mark.real_data
def test_the_committed_figures_are_of_these_data_and_folds(real_data):
    card = list_models()[0]
    assert card.figures["rmse"] < 0.234
    assert card.figures["auc"] >= 0.96
    sample = read_sample(real_data)
    seen = sample.detected
    assert (seen.sum(), (~seen).sum()) == (259, 6751)
    assert card.calibration.n == 259
    assert card.training_set.startswith("259 ALFALFA")
    assert "against 6751 undetected" in card.training_set

    fold = assign_folds(seen, sample.group, card.folds["n_folds"], card.folds["seed"])
    assert set(fold) == set(range(card.folds["n_folds"]))
    order = np.argsort(sample.group, kind="stable")
    same_group = np.diff(sample.group[order]) == 0
    assert same_group.any()
    assert np.all(np.diff(fold[order])[same_group] == 0)

    # The linear baseline of the committed table follows from the data and the folds alone.
    truth = sample.log_hi_fraction[seen]
    inputs = np.column_stack([np.ones(seen.sum()), sample.photometry[seen]])
    estimate = np.empty(seen.sum())
    for number in np.unique(fold):
        held_out = fold[seen] == number
        coefficients, *_ = np.linalg.lstsq(inputs[~held_out], truth[~held_out], rcond=None)
        estimate[held_out] = inputs[held_out] @ coefficients
    folder = Path(str(resources.files("hifrac.models") / "weights" / card.name))
    table = Table.read(folder / "cross_validation.ecsv")
    (row,) = (row for row in table if "catalogue" in row["model"])
    for name, value in regression_metrics(truth, estimate).items():
        assert row[name] == pytest.approx(value, abs=1e-6)

    # So do the network's own figures, from the pictures on: this is the cross-validation itself.
    features = measure(StructureNet(sample.pixels.shape[1]), sample.pixels)
    answers, _ = centred(cross_validate(sample, features, fold), sample.log_hi_fraction, seen)
    again = regression_metrics(truth, answers.log_hi_fraction[seen])
    for name in ("rmse", "slope", "offset", "nmad"):
        assert card.figures[name] == pytest.approx(again[name], abs=3e-3)
    assert card.figures["auc"] == pytest.approx(detection_auc(seen, answers.detection_logit), abs=2e-3)
    shares = crossfold_coverage(truth, answers.log_hi_fraction[seen], answers.fold[seen])
    for name, share in shares.items():
        assert card.figures[name] == pytest.approx(share, abs=0.012)

    # The network has seen these galaxies: it must do better on them than on held-out ones.
    answer = load_model(device="cpu").run(sample.pixels[seen])
    assert regression_metrics(truth, answer.log_hi_fraction)["rmse"] < card.figures["rmse"]
