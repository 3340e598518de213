"""The training command: what it writes agrees with itself, loads, and comes out the same twice."""

import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table
from scipy.stats import spearmanr

from hifrac import ModelCard, list_models, load_model
from hifrac.core.exceptions import ModelError
from hifrac.core.flags import Flag
from hifrac.metrics import detection_auc, regression_metrics
from hifrac.models import _artifact
from hifrac.models.calibration import LEVELS, PopulationTable
from hifrac.models.photometry import bound
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training import write_model
from hifrac.training.evaluation import COMPLETENESS
from hifrac.training.splits import assign_folds, split_hash
from hifrac.training.structure import learner as training
from hifrac.training.structure import measurements
from hifrac.training.structure import tables as evaluation
from hifrac.training.structure.cross_validation import OOD_PERCENTILE, calibrate, calibrate_across
from hifrac.training.structure.heads import (
    FRACTION_GROUPS,
    GAS_POOR_SCATTER,
    GAS_POOR_WEIGHT,
    RIDGE_PENALTY,
    censored_ridge,
)
from hifrac.training.structure.measurements import augmented_features, measure, with_ebv
from hifrac.training.structure.sample import combine, read_deep, read_sample
from hifrac.training.write_model import require_same_answers

pytestmark = pytest.mark.numeric

TABLES = ["cross_validation", "deep_sample", "gswlc", "ood_tests", "parents", "terciles"]
FILES = [
    "card.json",
    "cross_validation.ecsv",
    "deep_sample.ecsv",
    "gswlc.ecsv",
    "model.pt",
    "ood_tests.ecsv",
    "out_of_fold.ecsv",
    "parents.ecsv",
    "terciles.ecsv",
    "weights.safetensors",
]


def odds_of(parent):
    return training.PARENTS[parent].log_odds


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
    assert card.command == "hifrac train default -o OUTPUT --seed 7"
    assert card.recipe == training.SDSS_RECIPE
    assert f"{sample.detected.sum()} ALFALFA" in card.training_set
    assert f"{(~sample.detected).sum()} undetected" in card.training_set
    assert "22 RESOLVE galaxies" in card.training_set
    assert card.references == training.REFERENCES
    assert card.outputs == NetworkOutput._fields
    assert card.target_column == "log_hi_fraction"
    assert training.PARENTS["hi-selected"].validity in card.validity
    assert (card.calibration.log_odds_estimate, card.calibration.log_odds_interval) == odds_of("hi-selected")


def test_the_log_tells_the_numbers(trained, sample):
    first, *_, last = trained.messages
    assert first == (
        f"{sample.detected.sum()} detections, {(~sample.detected).sum()} bright undetected galaxies, "
        "22 measured beyond ALFALFA"
    )
    assert "rmse" in last


def test_the_model_loads_and_its_artefacts_agree(trained, sample):
    eager, script = (
        load_model(trained.folder, device="cpu", runtime=name) for name in ("eager", "torchscript")
    )
    assert eager.card == script.card
    one, other = eager.run(sample.pixels), script.run(sample.pixels)
    assert tuple(one) == tuple(other) == NetworkOutput._fields
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-5, atol=1e-5)


def test_the_model_has_learned_the_relation(trained, sample):
    answer = load_model(trained.folder, device="cpu").run(sample.pixels)
    seen = sample.detected
    assert spearmanr(answer["estimate"][seen], sample.log_hi_fraction[seen]).statistic > 0.9
    assert detection_auc(seen, answer["detection_logit"]) > 0.75
    known = np.isfinite(sample.gswlc_offset)
    assert spearmanr(answer["gswlc_offset"][known], sample.gswlc_offset[known]).statistic > 0.9


def same(one, other):
    """Whether two tables hold the same, a missing number being equal to another."""
    assert one.colnames == other.colnames
    for name in one.colnames:
        if one[name].dtype.kind == "f":
            np.testing.assert_allclose(one[name], other[name], rtol=1e-12)
        else:
            assert list(one[name]) == list(other[name])


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_written_as_they_are_returned(trained, card, name):
    assert sorted(trained.tables) == TABLES
    written = Table.read(trained.folder / f"{name}.ecsv")
    same(written, trained.tables[name])
    assert written.meta["model"] == card.sha256
    assert written.meta["command"] == card.command


def test_the_figures_of_the_card_are_those_of_the_table(trained, card):
    table = trained.tables["cross_validation"]
    assert len(table) > 1
    for name, value in card.figures.items():
        assert value == pytest.approx(table[name][0], abs=5.1e-5)
    assert {"rmse", "rmse_error", "slope_inverse", "coverage_68", "coverage_90", "auc"} <= set(card.figures)
    assert Table.read(trained.folder / "cross_validation.ecsv").meta["protocol"] == card.protocol


def test_the_table_follows_from_the_out_of_fold_answers(trained, card, out_of_fold, sample, deep):
    n = len(sample.objid)
    assert list(out_of_fold["objid"][:n]) == list(sample.objid)
    assert list(out_of_fold["objid"][n:]) == [name for name in deep.objid if name not in sample.objid]
    row = trained.tables["cross_validation"][0]
    seen = np.asarray(out_of_fold["detected"])
    truth, estimate = sample.log_hi_fraction[seen[:n]], np.asarray(out_of_fold["log_hi_fraction"])[seen]
    for name, value in regression_metrics(truth, estimate).items():
        assert row[name] == pytest.approx(value, abs=2e-4)
    # The ranks cover as the intervals do, but for rounding to whole galaxies.
    pit = np.asarray(out_of_fold["pit"])[seen]
    n_folds = card.folds["n_folds"]
    one = 1.5 * n_folds / ((n_folds - 1) * seen.sum())
    for name, low, high in (("coverage_68", 0.16, 0.84), ("coverage_90", 0.05, 0.95)):
        fewest, most = (np.mean((low - step <= pit) & (pit <= high + step)) for step in (-one, one))
        assert fewest <= row[name] <= most
    # Rounded probabilities tie.
    auc = detection_auc(seen[:n], np.asarray(out_of_fold["p_detect"])[:n])
    assert row["auc"] == pytest.approx(auc, abs=1e-3)


def test_the_calibration_follows_from_the_out_of_fold_answers(trained, card, out_of_fold):
    labels, answers = trained.labels, trained.answers
    table = calibrate(answers, labels, np.ones(len(labels), bool), odds_of("hi-selected"))
    assert isinstance(table, PopulationTable)
    assert card.calibration == table
    assert (table.n, table.n_poor) == (46, 22)
    for name in ("detected", "undetected", "gas_poor", "is_limit"):
        np.testing.assert_array_equal(out_of_fold[name], getattr(labels, name))
    np.testing.assert_array_equal(out_of_fold["fold"], answers.fold)
    np.testing.assert_allclose(out_of_fold["distance"], answers.outputs["distance"], atol=1e-4)


def test_the_estimates_of_a_fold_are_calibrated_on_the_others(trained, out_of_fold):
    again = calibrate_across(trained.answers, trained.labels, odds_of("hi-selected"))
    np.testing.assert_allclose(out_of_fold["log_hi_fraction"], again.estimate, atol=1e-4)
    np.testing.assert_allclose(out_of_fold["pit"], again.pit, atol=1e-4)
    for level in set(LEVELS) - {0.5}:  # the estimate has odds of its own
        below = trained.labels.log_hi_fraction < again.quantile[level]
        clear = np.abs(again.pit - level) > 0.05
        assert clear.mean() > 0.3
        assert np.mean((again.pit < level)[clear] == below[clear]) > 0.95


def test_the_bootstrap_error_is_near_that_of_a_chi_square(trained, sample):
    row = trained.tables["cross_validation"][0]
    assert row["rmse_error"] == pytest.approx(row["rmse"] / np.sqrt(2 * sample.detected.sum()), rel=0.5)


def test_the_table_does_not_flatter_the_network(trained):
    # The scatter of the labels about the colour, 0.1 dex, is a floor for whoever has not seen them.
    table = trained.tables["cross_validation"]
    assert np.all(table["rmse"][:3] > 0.07)
    assert np.all(table["rmse"][:3] < 0.3)
    auc = np.asarray(table["auc"])
    assert np.all((auc[np.isfinite(auc)] > 0.5) & (auc[np.isfinite(auc)] < 1))


def test_the_folds_are_those_of_the_seed(card, out_of_fold, sample):
    expected = assign_folds(sample.detected, sample.group, card.folds["n_folds"], card.folds["seed"])
    np.testing.assert_array_equal(out_of_fold["fold"][: len(expected)], expected)
    lines = sorted(f"{name},{number}" for name, number in zip(sample.objid, expected, strict=True))
    assert card.folds["sha256"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_no_neighbours_are_in_different_folds(out_of_fold, sample, deep):
    galaxies = combine(sample, deep, np.asarray(out_of_fold["fold"][: len(sample.objid)]))
    labels, fold = galaxies.labels, galaxies.fold
    np.testing.assert_array_equal(fold, out_of_fold["fold"])
    assert len(set(zip(labels.group, fold, strict=True))) == len(set(labels.group))


def test_what_lies_beyond_the_survey_is_reported_apart(trained, card, out_of_fold, deep):
    rows = [list(out_of_fold["objid"]).index(name) for name in deep.objid]
    held_out = out_of_fold[rows]
    limits = np.asarray(held_out["is_limit"])
    np.testing.assert_array_equal(limits, deep.is_limit)
    difference = np.asarray(held_out["log_hi_fraction"]) - deep.log_hi_fraction
    score = card.detection.ood_score(np.asarray(held_out["distance"]))
    clean = card.detection.flags(np.asarray(held_out["p_detect"]), score) == 0

    table = trained.tables["deep_sample"]
    assert list(table["sample"]) == ["all", "without a flag"]
    assert list(table["n"]) == [18, np.sum(clean & ~limits)]
    assert list(table["n_limits"]) == [4, np.sum(clean & limits)]
    assert table["rmse"][0] == pytest.approx(np.sqrt(np.mean(difference[~limits] ** 2)), abs=2e-4)
    assert table["offset"][0] == pytest.approx(difference[~limits].mean(), abs=2e-4)
    assert table["limits_violated"][0] == pytest.approx(np.mean(difference[limits] > 0))
    assert table["limits_violated"][0] <= 0.75  # one limit is far above all estimates
    # What ALFALFA missed has less gas than it looks: that is what the table is for.
    assert table["offset"][0] > 0.2


def test_the_parents_begin_with_those_of_the_model(trained):
    table, own = trained.tables["parents"], trained.tables["cross_validation"][0]
    assert (table["log_odds_estimate"][0], table["log_odds_interval"][0]) == odds_of("hi-selected")
    assert len(table) == 1 + len(evaluation.SHOWN_ODDS)
    assert table["alfalfa_rmse"][0] == pytest.approx(own["rmse"])
    assert table["alfalfa_coverage_68"][0] == pytest.approx(own["coverage_68"])
    assert table["rmse"][0] == pytest.approx(trained.tables["deep_sample"]["rmse"][0])
    # The more of the others there are, the less too high they come out.
    same_odds = table[1:]
    assert same_odds["offset"][-1] < same_odds["offset"][0] - 0.1


def test_ood_pictures_are_told_from_real_ones(trained):
    table = trained.tables["ood_tests"]
    real, ood = table[table["real"]], table[~table["real"]]
    assert list(real["n"]) == [46, 46, 22]
    assert np.all(real["flagged"][:2] <= 0.12)
    assert len(ood) == 18
    assert len(set(ood["n"])) == 1
    assert np.mean(ood["flagged"]) > 0.8


def test_the_detection_is_calibrated_on_held_out_galaxies(card, out_of_fold):
    out_of_fold = out_of_fold[out_of_fold["detected"] | out_of_fold["undetected"]]
    seen = np.asarray(out_of_fold["detected"])
    p_detect, distance = np.asarray(out_of_fold["p_detect"]), np.asarray(out_of_fold["distance"])
    table = card.detection
    assert table.slope > 0
    # Platt's fit is balanced: the mean probability of each kind mirrors that of the other.
    assert p_detect[seen].mean() + p_detect[~seen].mean() == pytest.approx(1, abs=0.01)
    assert np.mean(p_detect[seen] >= table.threshold) == pytest.approx(COMPLETENESS, abs=0.03)
    scores = table.ood_score(distance)
    assert (scores.min(), scores.max()) == pytest.approx((0, 100), abs=0.01)
    # Both kinds count alike.
    means = [np.mean(scores[kind]) for kind in (seen, ~seen)]
    assert np.mean(means) == pytest.approx(50, abs=2)
    assert np.mean(scores >= table.ood_threshold) == pytest.approx(1 - table.ood_threshold / 100, abs=0.03)


def test_the_flags_say_what_training_does():
    assert f"{OOD_PERCENTILE:g}%" in Flag.OUT_OF_DISTRIBUTION.summary
    assert f"{100 * COMPLETENESS:g}%" in Flag.UNLIKELY_DETECTION.summary


def test_training_twice_gives_the_same_model(trained, card, data_folder, tmp_path, monkeypatch):
    # The simple models beside the network take half of the time, and nothing of the model depends on them.
    monkeypatch.setattr(training, "N_FOLDS", card.folds["n_folds"])
    monkeypatch.setattr(
        evaluation, "cross_validation_table", lambda *_, **__: trained.tables["cross_validation"].copy()
    )
    monkeypatch.setattr(evaluation, "_ood_tests", lambda *_: trained.tables["ood_tests"].copy())
    training.train_structure(str(tmp_path / "tiny"), data=data_folder, name="tiny", seed=7)
    again = ModelCard.read(tmp_path / "tiny")
    assert again.sha256 == card.sha256
    assert again.calibration == card.calibration
    assert again.detection == card.detection
    one, other = (Table.read(folder / "out_of_fold.ecsv") for folder in (trained.folder, tmp_path / "tiny"))
    same(one, other)


def test_a_folder_can_be_written_over(trained, sample, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "weights.safetensors").write_bytes(b"old")
    files = _artifact.save(
        load_model(trained.folder, device="cpu", runtime="eager").network, tmp_path / "tiny"
    )
    assert files["weights.safetensors"] == ModelCard.read(trained.folder).sha256
    assert load_model(tmp_path / "tiny", runtime="eager").run(sample.pixels[:1])["distance"] > 0


def test_a_script_that_differs_from_the_weights_is_refused(trained, sample, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(trained.folder, folder)
    network = load_model(folder, device="cpu", runtime="eager").network
    require_same_answers(folder, network, sample.pixels[:4], 1e-5)
    other = StructureNet(128)
    other.load_state_dict(load_model(folder, device="cpu", runtime="eager").network.state_dict())
    other.fraction.bias.data += 0.01
    files = _artifact.save(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.pt", folder)
    facts = json.loads((folder / "card.json").read_text())
    facts["files"]["model.pt"] = files["model.pt"]
    (folder / "card.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=r"differs from the trained one by 0.01 \(estimate, torchscript\)$"):
        require_same_answers(folder, network, sample.pixels[:4], 1e-5)


def test_nothing_is_written_when_the_data_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_dir"):
        training.train_structure(tmp_path / "model", data=tmp_path / "nowhere")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("parent", ["", "HI-selected", "resolve"])
def test_an_unknown_parent_population_is_refused_before_anything_is_read(tmp_path, parent):
    with pytest.raises(ValueError, match=r"^parent must be one of hi-selected, volume-limited, got"):
        training.train_structure(tmp_path / "model", data=tmp_path / "nowhere", parent=parent)
    assert not (tmp_path / "model").exists()


@pytest.fixture
def quick(trained, monkeypatch):
    """What takes time and is tested elsewhere is left out, and no picture is measured twice."""
    monkeypatch.setattr(training, "N_FOLDS", 3)
    for function in (measure, augmented_features):
        monkeypatch.setattr(measurements, function.__name__, trained.remembering(function))
    monkeypatch.setattr(
        evaluation, "cross_validation_table", lambda *_, **__: trained.tables["cross_validation"].copy()
    )
    monkeypatch.setattr(evaluation, "_ood_tests", lambda *_: trained.tables["ood_tests"].copy())


def test_another_parent_population_is_another_estimate_of_the_same_network(
    trained, card, data_folder, tmp_path, quick
):
    tables = training.train_structure(tmp_path / "other", data=data_folder, seed=7, parent="volume-limited")
    other = ModelCard.read(tmp_path / "other")
    assert other.name == "volume-limited"
    assert other.sha256 == card.sha256
    assert other.command.endswith("--seed 7 --parent volume-limited")
    assert other.summary != card.summary
    assert (other.calibration.log_odds_estimate, other.calibration.log_odds_interval) == odds_of(
        "volume-limited"
    )
    assert other.calibration.poor_shift == card.calibration.poor_shift
    assert tables["parents"]["offset"][0] < trained.tables["parents"]["offset"][0]
    same(tables["parents"][1:], trained.tables["parents"][1:])


def test_a_model_is_written_whole_or_not_at_all(data_folder, tmp_path, quick, trained, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def differ(*_):
        raise ModelError("the TorchScript file differs")

    monkeypatch.setattr(write_model, "require_same_answers", differ)
    with pytest.raises(ModelError, match="differs"):
        training.train_structure(folder, data=data_folder, name="tiny", seed=8)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert load_model(folder, device="cpu").card.folds["seed"] == 7


@pytest.fixture
def unmeasured(quick, monkeypatch):
    """Where labels are refused, measurements do not matter."""
    monkeypatch.setattr(
        measurements, "measure", lambda network, pixels: np.zeros((len(pixels), network.n_measured))
    )
    monkeypatch.setattr(
        measurements,
        "augmented_features",
        lambda network, _, rows, __: np.zeros((7, len(rows), network.n_measured)),
    )


def spoil(data_folder, tmp_path, change):
    shutil.copytree(data_folder, tmp_path / "data")
    path = tmp_path / "data" / "cutouts" / "hi_labels.ecsv"
    table = Table.read(path)
    change(table)
    table.write(path, overwrite=True)
    return tmp_path / "data"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.4])
def test_targets_that_cannot_be_learned_are_refused(data_folder, tmp_path, unmeasured, value):
    def change(table):
        rows = slice(None) if np.isfinite(value) else 3
        table["log_hi_fraction_true"][rows] = value

    data = spoil(data_folder, tmp_path, change)
    with pytest.raises(ValueError, match=r"^target must be finite and not constant"):
        training.train_structure(tmp_path / "model", data=data)
    assert not (tmp_path / "model").exists()


def test_too_few_galaxies_are_refused(data_folder, tmp_path, unmeasured):
    data = spoil(data_folder, tmp_path, lambda table: table.remove_rows(slice(24, None)))
    with pytest.raises(ValueError, match=r"^detected must hold at least 20 detections"):
        training.train_structure(tmp_path / "model", data=data)
    assert not (tmp_path / "model").exists()


# The bundled model and the data it was trained on


@pytest.fixture(scope="module")
def bundled():
    (card,) = (card for card in list_models() if card.name == "default")
    return card, Path(str(resources.files("hifrac.models") / "weights" / card.name))


def test_the_committed_table_belongs_to_the_committed_model(bundled):
    card, folder = bundled
    table = Table.read(folder / "cross_validation.ecsv")
    assert table.meta["model"] == card.sha256
    for name, value in card.figures.items():
        assert value == pytest.approx(table[name][0], abs=5.1e-5)
    # Better than the colours alone, or the network would not be worth its name.
    assert np.all(table["rmse"][0] < table["rmse"][1:][np.isfinite(table["rmse"][1:])])
    assert np.all(table["auc"][0] > table["auc"][1:][np.isfinite(table["auc"][1:])])


def test_the_committed_figures_follow_from_the_committed_answers(bundled):
    card, folder = bundled
    assert card.outputs == NetworkOutput._fields
    answers = Table.read(folder / "out_of_fold.ecsv")
    assert answers.meta["model"] == card.sha256
    seen = np.asarray(answers["detected"])
    assert (
        (seen.sum(), answers["gas_poor"].sum()) == (card.calibration.n, card.calibration.n_poor) == (259, 47)
    )
    pit = np.asarray(answers["pit"])[seen]
    figures = {
        "coverage_68": np.mean((pit >= 0.16) & (pit <= 0.84)),
        "coverage_90": np.mean((pit >= 0.05) & (pit <= 0.95)),
    }
    kinds = seen | np.asarray(answers["undetected"])
    figures["auc"] = detection_auc(seen[kinds], np.asarray(answers["p_detect"])[kinds])
    for name, value in figures.items():
        assert card.figures[name] == pytest.approx(value, abs=0.01), name
    np.testing.assert_allclose([figures["coverage_68"], figures["coverage_90"]], [0.68, 0.9], atol=0.04)


def test_the_committed_flag_of_ood_pictures_does_its_work(bundled):
    _, folder = bundled
    table = Table.read(folder / "ood_tests.ecsv")
    assert np.all(table["flagged"][~table["real"]] > 0.8)
    assert np.all(table["flagged"][table["real"]] < 0.1)


@pytest.mark.real_data
def test_the_committed_figures_are_of_these_data_and_folds(real_data, bundled):
    card, folder = bundled
    assert card.figures["rmse"] < 0.234
    assert card.figures["auc"] >= 0.96
    sample, deep = read_sample(real_data), read_deep(real_data)
    seen = sample.detected
    assert (seen.sum(), (~seen).sum(), len(deep.objid)) == (259, 6751, 47)
    assert card.training_set.startswith("259 ALFALFA")
    assert "against 6751 undetected" in card.training_set
    assert "47 RESOLVE" in card.training_set

    fold = assign_folds(seen, sample.group, card.folds["n_folds"], card.folds["seed"])
    assert set(fold) == set(range(card.folds["n_folds"]))
    assert split_hash(Table({"objid": sample.objid, "fold": fold})) == card.folds["sha256"]
    galaxies = combine(sample, deep, fold)
    labels, folds = galaxies.labels, galaxies.fold
    answers = Table.read(folder / "out_of_fold.ecsv")
    np.testing.assert_array_equal(answers["fold"], folds)
    np.testing.assert_array_equal(answers["gas_poor"], labels.gas_poor)
    order = np.argsort(labels.group, kind="stable")
    same_group = np.diff(labels.group[order]) == 0
    assert same_group.any()
    assert np.all(np.diff(folds[order])[same_group] == 0)

    # What the network answered, beside the measured values.
    again = regression_metrics(
        sample.log_hi_fraction[seen], np.asarray(answers["log_hi_fraction"])[: len(seen)][seen]
    )
    for name in again.keys() & card.figures.keys():
        assert card.figures[name] == pytest.approx(again[name], abs=2e-3), name

    # The linear baseline of the committed table follows from the data and the folds alone.
    truth = sample.log_hi_fraction[seen]
    inputs = np.column_stack([np.ones(seen.sum()), sample.photometry[seen]])
    estimate = np.empty(seen.sum())
    for number in np.unique(fold):
        held_out = fold[seen] == number
        coefficients, *_ = np.linalg.lstsq(inputs[~held_out], truth[~held_out], rcond=None)
        estimate[held_out] = inputs[held_out] @ coefficients
    table = Table.read(folder / "cross_validation.ecsv")
    (row,) = (row for row in table if "catalogue" in row["model"])
    for name, value in regression_metrics(truth, estimate).items():
        assert row[name] == pytest.approx(value, abs=1e-6)

    # So do the network's own, of the fold with the number 0: trained here on what was measured of the others.
    # (The detection head needs all 7,010 pictures, and minutes; the estimate does not know of it.)
    network = StructureNet(sample.pixels.shape[1])
    galaxies = combine(sample, deep, fold)
    pixels, labels, folds = galaxies.pixels, galaxies.labels, galaxies.fold
    measured = labels.detected | labels.gas_poor
    known, rest = labels[measured], folds[measured] != 0
    features = with_ebv(measure(network, pixels[measured]), known.ebv)
    columns = StructureNet.columns(FRACTION_GROUPS)
    center, scale = (getattr(features[rest & known.detected], name)(0) for name in ("mean", "std"))
    standard = bound(torch.from_numpy((features - center) / np.where(scale < 1e-6, 1.0, scale))).numpy()
    intercept, coefficients = censored_ridge(
        standard[rest][:, columns],
        known.log_hi_fraction[rest],
        known.is_limit[rest],
        np.where(known.detected[rest], 1.0, GAS_POOR_WEIGHT),
        penalty=RIDGE_PENALTY,
        scatter=GAS_POOR_SCATTER,
    )
    again = intercept + standard[~rest & known.detected][:, columns] @ coefficients
    # What was written is calibrated: that moves an estimate by a few hundredths of a dex.
    held_out = np.asarray(answers["log_hi_fraction"])[: len(seen)][seen & (fold == 0)]
    assert np.median(np.abs(again - held_out)) < 0.03
    assert np.corrcoef(again, held_out)[0, 1] > 0.99

    # The network has seen these galaxies: it must do better on them than on held-out ones.
    outputs = load_model("default", device="cpu").run(sample.pixels[seen], sample.ebv[seen])
    assert regression_metrics(truth, card.calibration.estimate(outputs))["rmse"] < card.figures["rmse"]
