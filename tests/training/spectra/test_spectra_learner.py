"""The training command: what it writes agrees with itself, loads, comes out the same twice, and is honest."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from astropy.table import Table
from commands import call
from scipy.stats import spearmanr

from hifrac import HIFractionEstimator, ModelCard, load_model
from hifrac.models.spectrum import SpectrumNet, SpectrumOutput, latents_of
from hifrac.models.spectrum_table import LATENTS, SpectrumTable
from hifrac.training import train_spectra
from hifrac.training.measuring.measurements import measure, with_ebv
from hifrac.training.spectra.heads import fit_heads, fit_lines, fit_readings, set_space
from hifrac.training.spectra.sample import FEWEST, read_sample, require_labels, with_lines, with_template

pytestmark = [pytest.mark.numeric, pytest.mark.slow]
# As in the folder of the tests.
N_MPA_JHU, N_THOMAS, N_OTHERS, OFFSET = 44, 12, 70, 0.05
TABLES = ("template", "lines", "readings", "targets", "ood_tests")


@pytest.fixture(scope="module")
def card(trained):
    return ModelCard.read(trained[0])


# The sample


def test_what_is_read(sample, colour):
    galaxies, space = sample
    table = galaxies.table
    assert len(table) == len(galaxies.pixels) == N_MPA_JHU + N_THOMAS + N_OTHERS
    assert with_lines(table).sum() == N_MPA_JHU + N_THOMAS
    assert with_template(table).sum() == N_MPA_JHU + N_OTHERS
    assert np.sum(table["portsmouth"] == 1) == N_THOMAS
    assert np.isfinite(table["ebv"]).all()
    lines = np.asarray(table["lines"])
    assert np.isnan(lines).any(axis=1).sum() == N_OTHERS + 1  # and the one whose continuum is negative
    assert np.nanmin(lines[:, 0]) > 0  # emission is positive in both catalogues
    spectra = space.decode(np.asarray(table["latents"])[with_template(table)])
    np.testing.assert_allclose(np.linalg.norm(spectra, axis=1), 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spectra/galaxy_spectral_bases.npz", "galaxy_spectral_bases.npz is missing"),
        ("cutouts/line_labels.ecsv", "line_labels.ecsv is missing"),
    ],
)
def test_a_file_that_is_not_there(spectra_folder, tmp_path, name, message):
    folder = shutil.copytree(spectra_folder, tmp_path / "data")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        read_sample(folder)


def test_templates_of_another_shape(spectra_folder, tmp_path):
    folder = shutil.copytree(spectra_folder, tmp_path / "data")
    np.savez(folder / "spectra" / "galaxy_spectral_bases.npz", kcorrect5=np.ones((4, 1000)))
    with pytest.raises(ValueError, match=r"kcorrect5 must be 5 by 1000, got \(4, 1000\)"):
        read_sample(folder)


def test_the_second_catalogue_may_be_missing(spectra_folder, tmp_path):
    folder = shutil.copytree(spectra_folder, tmp_path / "data")
    (folder / "cutouts" / "portsmouth_labels.ecsv").unlink()
    assert with_lines(read_sample(folder)[0].table).sum() == N_MPA_JHU


def test_too_few_galaxies(sample):
    table = sample[0].table.copy()
    table["lines"][: FEWEST + 10, 2] = np.nan
    with pytest.raises(ValueError, match=f"^continuum_4340_5877: {FEWEST} or more must be known to learn"):
        require_labels(table)


# The model


def test_the_folder_holds_the_model_and_its_evidence(trained, card):
    folder, tables = trained
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
    assert (card.name, card.architecture, card.target_column) == ("tiny", "SpectrumNet", "h_alpha_ew")
    assert card.outputs == SpectrumOutput._fields
    assert card.command == "hifrac train spectra -o OUTPUT --seed 7"
    assert f"{N_OTHERS} galaxies with template spectra" in card.training_set
    assert f"{N_MPA_JHU + N_THOMAS} others with real spectra, {N_THOMAS} of them" in card.training_set
    assert isinstance(card.calibration, SpectrumTable)
    assert (card.calibration.n, card.calibration.n_lines) == (N_MPA_JHU + N_OTHERS, N_MPA_JHU + N_THOMAS)
    assert ModelCard.from_json(card.to_json()) == card


def test_the_model_has_learned_the_relation(trained, sample):
    model = load_model(trained[0], device="cpu")
    galaxies, space = sample
    outputs = model.run(galaxies.pixels, np.asarray(galaxies.table["ebv"]))
    lines = np.asarray(galaxies.table["lines"])
    has = np.isfinite(lines)
    for column, name in enumerate(("estimate", "log_continuum_3900_6500", "log_continuum_4340_5877")):
        rows = has[:, column]
        assert spearmanr(outputs[name][rows], lines[rows, column]).statistic > 0.8
    mine = latents_of(model.network)
    np.testing.assert_allclose(mine.basis, space.basis, atol=1e-6)
    rows = with_template(galaxies.table)
    truth = space.decode(np.asarray(galaxies.table["latents"])[rows])
    flux = mine.decode(np.stack([outputs[name] for name in LATENTS], axis=1)[rows])
    missed = np.median(np.linalg.norm(flux - truth, axis=1))
    assert missed < 0.5 * np.median(np.linalg.norm(truth - truth.mean(0), axis=1))


def test_figures_are_those_of_the_held_out_answers(trained):
    folder, tables = trained
    answers = Table.read(folder / "out_of_fold.ecsv")
    lines = {(row["quantity"], row["model"]): row for row in tables["lines"]}
    truth, estimate = np.asarray(answers["measured_h_alpha_ew"]), np.asarray(answers["h_alpha_ew"])
    has = np.isfinite(truth)
    row = lines["h_alpha", "picture"]
    assert row["n"] == has.sum() == N_MPA_JHU + N_THOMAS
    assert row["spearman"] == pytest.approx(spearmanr(truth[has], estimate[has]).statistic, abs=1e-3)
    inside = (truth >= answers["h_alpha_ew_p16"]) & (truth <= answers["h_alpha_ew_p84"])
    assert row["coverage_68"] == pytest.approx(np.mean(inside[has]), abs=0.02)
    template = {row["evidence"]: row for row in tables["template"]}
    missed = np.stack([answers[f"template_{name}"] - answers[name] for name in LATENTS], axis=1)
    missed = np.linalg.norm(missed[np.isfinite(missed).all(axis=1)], axis=1)
    assert template["picture"]["relative_rms"] == pytest.approx(
        np.median(missed), rel=0.1
    )  # less the offsets
    assert template["picture"]["relative_rms"] < 0.5 * template["mean spectrum"]["relative_rms"]
    assert template["picture+z+photometry"]["relative_rms"] < template["picture"]["relative_rms"]
    assert 0.5 < template["picture"]["coverage_68"] < 0.85
    targets = tables["targets"]
    assert list(targets["reached"]) == [row["lowest"] <= row["value"] <= row["highest"] for row in targets]


def test_what_is_strange_is_flagged(trained):
    table = trained[1]["ood_tests"]
    assert np.mean(table["flagged"][~table["real"]]) > 0.7
    assert table["flagged"][0] < 0.2


def test_the_same_command_makes_the_same_model(trained, spectra_folder, quick, tmp_path):
    folder, tables = trained
    command = ["train", "spectra", "-o", tmp_path, "--data-dir", spectra_folder, "--seed", "7"]
    said = call(*command)
    assert said.exit_code == 0, said.output
    one, other = ModelCard.read(folder), ModelCard.read(tmp_path)
    assert other.name == "spectra"
    assert other.files["weights.safetensors"] == one.files["weights.safetensors"]
    assert other.calibration == one.calibration
    assert list(Table.read(tmp_path / "lines.ecsv")["rmse"]) == list(tables["lines"]["rmse"])


def test_the_estimator_of_gas_takes_no_spectra(trained):
    with pytest.raises(ValueError, match=r"^model: 'tiny' estimates h_alpha_ew .*; HIFractionEstimator "):
        HIFractionEstimator(model=trained[0])


# The heads


@pytest.fixture(scope="module")
def fitted(sample, quick):
    """A network with one head, fitted, the measurements, and the offsets."""
    galaxies, space = sample
    network = SpectrumNet(128, n_heads=1)
    set_space(network, space)
    features = with_ebv(measure(network, galaxies.pixels), np.asarray(galaxies.table["ebv"]))
    return network, features, fit_heads(network, features, galaxies.table)


def test_the_offset_of_the_second_catalogue_is_found(fitted):
    np.testing.assert_allclose(fitted[2][1:], [0, OFFSET], atol=0.03)


def test_readings_know_nothing_of_galaxies_with_lines(fitted, sample):
    network, features, _ = fitted
    changed = sample[0].table.copy()
    changed["latents"][with_lines(changed)] += 1.0
    changed["photometry"][with_lines(changed)] += 1.0
    state = {name: values.clone() for name, values in network.photometry.state_dict().items()}
    fit_readings(network, features, changed)
    for name, values in network.photometry.state_dict().items():
        torch.testing.assert_close(values, state[name], rtol=0, atol=0)


def test_lines_that_are_not_known_do_not_count(fitted, sample):
    network, features, _ = fitted
    table = sample[0].table[with_lines(sample[0].table)]
    rows = features[with_lines(sample[0].table)]
    table["lines"][::2, 1] = np.nan
    fit_lines(network, rows, table)
    before = network.continuum.weight.clone()
    part = np.isfinite(np.asarray(table["lines"])[:, 1])
    table["lines"][~part, 2] = np.nan
    fit_lines(network, rows, table)
    torch.testing.assert_close(network.continuum.weight[0], before[0], rtol=0, atol=0)
    assert not torch.equal(network.continuum.weight[1], before[1])


def test_no_data_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"photometry_labels\.ecsv is missing"):
        train_spectra(tmp_path / "model", data=tmp_path)
