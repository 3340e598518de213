"""The training command: what it writes agrees with itself, loads, comes out the same twice, and is honest."""

import hashlib

import numpy as np
import pytest
import torch
from astropy.table import Table
from commands import call
from scipy.stats import spearmanr

from hifrac import ModelCard, load_model
from hifrac.core import HifracWarning
from hifrac.models.evidence_table import READINGS
from hifrac.models.metallicity import MetallicityNet, MetallicityOutput
from hifrac.models.metallicity_table import MetallicityTable
from hifrac.training import train_metallicity
from hifrac.training.measuring.evidence import EVIDENCE, evidence_of
from hifrac.training.measuring.measurements import measure_all
from hifrac.training.metallicity import learner
from hifrac.training.metallicity.cross_validation import cross_validate
from hifrac.training.metallicity.heads import (
    FEWEST,
    PUBLISHED_SHARE,
    fit_metallicity,
    fit_readings,
    head_inputs,
    require_labels,
    without_label,
)
from hifrac.training.splits import assign_folds

pytestmark = [pytest.mark.numeric, pytest.mark.slow]

TABLES = ("cross_validation", "published", "thirds", "readings", "star_forming", "targets", "ood_tests")


@pytest.fixture(scope="module")
def card(trained_metals):
    return ModelCard.read(trained_metals[0])


def test_the_folder_holds_the_model_and_its_evidence(trained_metals, card):
    folder, tables = trained_metals
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("card.json", "weights.safetensors", "model.pt", "out_of_fold.ecsv"),
        *(f"{name}.ecsv" for name in TABLES),
    }
    assert set(tables) == set(TABLES)
    for name, expected in card.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    assert Table.read(folder / "out_of_fold.ecsv").meta["command"] == card.command


def test_the_card_says_how_the_model_was_made(card):
    assert (card.name, card.architecture, card.target_column) == ("tiny", "MetallicityNet", "oh")
    assert card.outputs == MetallicityOutput._fields
    assert card.command == "hifrac train metallicity -o OUTPUT --seed 7"
    assert "66 star-forming galaxies with oh_p50" in card.training_set
    assert isinstance(card.calibration, MetallicityTable)
    assert card.calibration.n == 66
    assert card.references == learner.REFERENCES
    assert ModelCard.from_json(card.to_json()) == card


def test_the_model_has_learned_the_relation(trained_metals, metals, metal_world):
    model = load_model(trained_metals[0], device="cpu")
    outputs = model.run(metals.pixels, np.asarray(metals.table["ebv"]))
    labelled = np.isfinite(metals.table["oh"])
    assert spearmanr(outputs["estimate"][labelled], metals.table["oh"][labelled]).statistic > 0.8
    is_told = np.isfinite(metals.table["star_forming"])
    forming = metals.table["star_forming"][is_told] == 1
    logit = outputs["star_forming_logit"][is_told]
    assert np.median(logit[forming]) > np.median(logit[~forming])


def test_figures_are_those_of_the_held_out_answers(trained_metals):
    folder, tables = trained_metals
    answers, figures = Table.read(folder / "out_of_fold.ecsv"), tables["cross_validation"]
    figures = {row["model"]: row for row in figures}
    for name in EVIDENCE:
        end = name.removeprefix("picture").replace("+", "_").replace("log_mstar", "mstar")
        has = ~np.ma.getmaskarray(answers[f"oh{end}"])
        assert has.sum() == figures[name]["n"] == (54 if end else 66)
        truth = np.asarray(answers["oh_p50"])[has]
        residual = np.asarray(answers[f"oh{end}"])[has] - truth
        assert figures[name]["rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)), abs=2e-4)
        low, high = (np.asarray(answers[f"oh{end}_{level}"])[has] for level in ("p16", "p84"))
        assert figures[name]["coverage_68"] == pytest.approx(
            np.mean((truth >= low) & (truth <= high)), abs=0.02
        )
    published = tables["published"]
    assert list(published["published_width"][:4]) == [128, 64, 32, 16]
    np.testing.assert_allclose(
        published["difference"], published["rmse"] - published["rmse_published"], atol=2e-4
    )


def test_evidence_makes_the_error_smaller(trained_metals):
    figures = {row["model"]: row["rmse"] for row in trained_metals[1]["cross_validation"]}
    of_picture = figures["picture, of galaxies with photometry"]
    assert figures["picture+log_mstar"] < 0.9 * of_picture
    assert figures["picture+z+photometry+log_mstar"] < of_picture


def test_what_is_strange_is_flagged(trained_metals):
    table = trained_metals[1]["ood_tests"]
    assert np.mean(table["flagged"][~table["real"]]) > 0.7
    assert table["flagged"][0] < 0.2


def test_the_same_command_makes_the_same_model(trained_metals, metal_folder, quick, tmp_path):
    folder, tables = trained_metals
    command = ["train", "metallicity", "-o", tmp_path, "--data-dir", metal_folder, "--seed", "7"]
    said = call(*command)
    assert said.exit_code == 0, said.output
    assert f"written to {tmp_path}" in said.output
    one, other = ModelCard.read(folder), ModelCard.read(tmp_path)
    assert other.name == "metallicity"
    assert other.files["weights.safetensors"] == one.files["weights.safetensors"]
    assert other.calibration == one.calibration
    again = Table.read(tmp_path / "cross_validation.ecsv")
    assert list(again["rmse"]) == list(tables["cross_validation"]["rmse"])


def test_options_that_do_not_go_with_it(tmp_path):
    said = call("train", "metallicity", "-o", tmp_path, "--set", "run.seed=1")
    assert said.exit_code != 0
    assert "--set does not go with the configuration 'metallicity', which is fixed" in said.output


@pytest.fixture(scope="module")
def crossing(metals, quick):
    """What cross-validates given labels, with the readings learned once."""
    table = metals.table
    labelled = ~without_label(table)
    fold = assign_folds(labelled.astype(int), np.asarray(table["group"]), 3, 1)
    network = MetallicityNet(128, n_heads=1)
    measured = measure_all(network, metals, labelled, ~labelled, fold, 1)
    fit_readings(network, measured.features, table)
    return network, fold, measured


def test_no_answer_knows_the_label_of_its_own_fold(metals, crossing):
    network, fold, measured = crossing
    before = cross_validate(network, metals.table, fold, measured)
    row = np.flatnonzero(np.isfinite(metals.table["oh"]) & (fold == 1))[0]
    changed = metals.table.copy()
    changed["oh"][row] += 0.3
    changed["published"][row] += 0.3
    after = cross_validate(network, changed, fold, measured)
    same = fold == 1
    for name, values in before.outputs.items():
        np.testing.assert_array_equal(after.outputs[name][same], values[same])
    assert after.tables[1] == before.tables[1]
    assert after.tables[0] != before.tables[0]
    assert np.any(after.outputs["estimate"][~same] != before.outputs["estimate"][~same])


def test_readings_know_nothing_of_galaxies_with_a_metallicity(metals, crossing):
    network, _, measured = crossing
    changed = metals.table.copy()
    labelled = np.isfinite(changed["oh"])
    changed["photometry"][labelled] += 1.0
    state = {name: values.clone() for name, values in network.photometry.state_dict().items()}
    fit_readings(network, measured.features, changed)
    for name, values in network.photometry.state_dict().items():
        torch.testing.assert_close(values, state[name], rtol=0, atol=0)


def test_the_published_prediction_is_part_of_what_is_learned(metals, crossing):
    network, _, measured = crossing
    rows = np.isfinite(metals.table["oh"])
    galaxies, features = metals.table[rows], measured.features[rows]
    galaxies["published"][:, 0] = galaxies["oh"] + 0.2
    fit_metallicity(network, features, galaxies)
    inputs = torch.from_numpy(head_inputs(network, features)).float()
    with torch.inference_mode():
        mean = network.metallicity(inputs).mean().item()
    assert mean == pytest.approx(np.mean(galaxies["oh"]) + 0.2 * PUBLISHED_SHARE, abs=1e-3)
    galaxies["published"] = np.nan
    fit_metallicity(network, features, galaxies)
    with torch.inference_mode():
        inputs = torch.from_numpy(head_inputs(network, features)).float()
        assert network.metallicity(inputs).mean().item() == pytest.approx(np.mean(galaxies["oh"]), abs=1e-3)


def test_evidence_is_what_a_table_would_say(metals):
    galaxies = metals.table[np.isfinite(metals.table["photometry"]).all(axis=1)]
    known = evidence_of(galaxies, ("magnitudes", "log_cz", "log_mstar"))
    ebv = np.asarray(galaxies["ebv"])
    observed = known.magnitudes + ebv[:, None] * [4.239, 3.303, 2.285, 1.698, 1.263]
    np.testing.assert_allclose(observed[:, 3], galaxies["photometry"][:, 1])
    np.testing.assert_allclose(observed[:, 1] - observed[:, 3], galaxies["photometry"][:, 0])
    assert np.isnan(evidence_of(galaxies, ()).magnitudes).all()
    assert len(READINGS) == 7


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("oh", 9.9, r"oh_p50 must be 12 \+ log\(O/H\), from 7\.5 to 9\.5, got 9\.9 for"),
        ("oh", -9999.0, r"oh_p50 must be 12 \+ log\(O/H\)"),
    ],
)
def test_labels_that_are_no_metallicities(metals, column, value, message):
    table = metals.table.copy()
    table[column][3] = value
    with pytest.raises(ValueError, match=message):
        require_labels(table)


def test_many_low_labels_are_doubted(metals):
    table = metals.table.copy()
    rows = np.flatnonzero(np.isfinite(table["oh"]))
    low = len(rows) // 50 + 1
    table["oh"][rows[:low]] = 7.9
    with pytest.warns(HifracWarning, match=f"oh_p50: {low} of {len(rows)} labels are below 8"):
        require_labels(table)


def test_too_few_galaxies_are_refused(metals):
    table = metals.table.copy()
    table["oh"][FEWEST - 1 :] = np.nan
    with pytest.raises(ValueError, match=f"^oh_p50: {FEWEST} or more must be known to learn from, got 39"):
        require_labels(table)
    table = metals.table.copy()
    table["star_forming"][table["star_forming"] == 0] = np.nan
    with pytest.raises(ValueError, match=r"^galaxies that are not star-forming: 40 or more"):
        require_labels(table)
    table = metals.table.copy()
    table["oh"][np.isfinite(table["oh"])] = 8.9
    with pytest.raises(ValueError, match="oh_p50 must not be constant"):
        require_labels(table)


def test_a_data_directory_is_needed(monkeypatch, tmp_path):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match="data_dir: none is configured"):
        train_metallicity(tmp_path)
