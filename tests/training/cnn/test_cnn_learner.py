"""From a configuration to the folder of a model, and what is refused on the way."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.table import MaskedColumn, Table
from commands import call
from contract import DEX
from pictures import encode, galaxy
from torchvision.models import resnet18

from hifrac import HIFractionEstimator, LocalCutouts, ModelCard, load_model
from hifrac.core.exceptions import BadImageError, FetchError, HifracWarning, ModelError
from hifrac.cutouts import SDSS_RECIPE
from hifrac.metrics import coverage, detection_auc, regression_metrics
from hifrac.models import export_model
from hifrac.training.cnn.augment import Augmentation
from hifrac.training.cnn.learner import train_network
from hifrac.training.cnn.module import answer
from hifrac.training.config import read_config
from hifrac.training.evaluation import evaluate
from hifrac.training.splits import read_split, split_hash

pytestmark = pytest.mark.slow

N, WIDTH = 100, 32

CONFIG = """
name = "tiny"
[pictures]
width = 32
[data]
table = "labels.ecsv"
cutouts = "pictures"
name = "id"
target = "blueness"
[network]
architecture = "shallow"
[optimizer]
epochs = 3
batch_size = 16
[run]
accelerator = "cpu"
"""


@pytest.fixture(scope="session")
def galaxies(tmp_path_factory):
    """Pictures of galaxies, and how blue they are."""
    root = tmp_path_factory.mktemp("galaxies")
    (root / "pictures").mkdir()
    rng = np.random.default_rng(7)
    blueness = rng.uniform(-1, 1, N)
    for number, value in enumerate(blueness):
        pixels = galaxy(number, WIDTH).astype(float)
        pixels[..., 2] *= 1 + 0.6 * value
        (root / "pictures" / f"g{number}.jpg").write_bytes(encode(np.clip(pixels, 0, 255).astype(np.uint8)))
    ra = 10.0 * (np.arange(N) % 30) + np.arange(N) / 50
    ra[1] = ra[0] + 30 / 3600
    table = Table(
        {"id": [f"g{number}" for number in range(N)], "ra": ra, "dec": np.zeros(N), "blueness": blueness}
    )
    table["is_limit"] = np.arange(N) % 4 == 0
    table["blue"] = blueness > 0
    table.write(root / "labels.ecsv")
    (root / "config.toml").write_text(CONFIG)
    return root


@pytest.fixture(scope="session")
def config(galaxies):
    return read_config(galaxies / "config.toml")


@pytest.fixture(scope="session")
def labels(galaxies):
    return Table.read(galaxies / "labels.ecsv")


@pytest.fixture(scope="module")  # after the one that sets the number of threads
def trained(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "deep" / "model"
    return folder, train_network(config, folder)


def with_labels(config, labels, tmp_path, **columns):
    """The configuration with a changed table."""
    table = labels.copy()
    for name, values in columns.items():
        table[name] = values
    table.write(tmp_path / "changed.ecsv")
    return config.changed(data={"table": str(tmp_path / "changed.ecsv")})


#: Of tests that judge a model on galaxies that it learned from.
known = pytest.mark.filterwarnings("ignore:'.*' learned from .* of the .* galaxies")


# What is written


def test_the_folder_holds_a_model_and_how_it_was_made(trained):
    folder, _ = trained
    assert sorted(one.name for one in folder.iterdir()) == [
        "card.json", "checkpoints", "config.json", "held_out.ecsv", "log", "log.csv", "model.pt",
        "splits.ecsv", "weights.safetensors",
    ]  # fmt: skip
    card = ModelCard.read(folder)
    for name, expected in card.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    assert (card.architecture, card.target_column, card.outputs) == ("shallow", "blueness", ("estimate",))
    assert card.recipe.width == WIDTH


def read(folder, galaxies, names):
    """Pictures as the model in a folder is fed them."""
    decode = ModelCard.read(folder).recipe.decode
    return np.stack([decode((galaxies / "pictures" / f"{one}.jpg").read_bytes()) for one in names])


@pytest.mark.numeric
def test_the_model_answers_as_its_table_says(trained, labels, galaxies):
    folder, _ = trained
    held_out = Table.read(folder / "held_out.ecsv")
    pixels = read(folder, galaxies, held_out["objid"])
    for runtime in ("torchscript", "eager"):
        found = load_model(folder, device="cpu", runtime=runtime).run(pixels)["estimate"]
        np.testing.assert_allclose(found, held_out["estimate"], atol=1e-4)
    truth = dict(zip(labels["id"], labels["blueness"], strict=True))
    assert [truth[one] for one in held_out["objid"]] == list(held_out["target"])


@pytest.mark.numeric
def test_the_figures_are_those_of_the_held_out_galaxies(trained):
    folder, figures = trained
    held_out = Table.read(folder / "held_out.ecsv")
    expected = regression_metrics(held_out["target"], held_out["estimate"])
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value)
    residual = held_out["estimate_8_orientations"] - held_out["target"]
    assert figures["rmse_8_orientations"] == pytest.approx(np.sqrt(np.mean(residual**2)))
    card = ModelCard.read(folder)
    assert card.figures["rmse"] == pytest.approx(figures["rmse"], abs=1e-4)
    # Split-conformal: its ends are residuals of the held-out galaxies.
    assert card.calibration.n == len(held_out) == 20
    residuals = np.sort(held_out["target"] - held_out["estimate"])
    assert card.calibration.value(0.05) == pytest.approx(residuals[0])
    assert card.calibration.value(0.95) == pytest.approx(residuals[-1])


def test_the_split_is_written_with_seed_and_rule_and_keeps_close_pairs_together(trained, labels):
    folder, _ = trained
    split = read_split(folder / "splits.ecsv", labels["id"], labels["ra"], labels["dec"])
    assert (split.meta["seed"], split.meta["rule"]) == (12345, "groups")
    assert split["role"][0] == split["role"][1]
    held_out = Table.read(folder / "held_out.ecsv")
    assert set(held_out["objid"]) == set(split["objid"][split["role"] == "held_out"])
    assert ModelCard.read(folder).folds["sha256"] == split_hash(split)


@pytest.mark.numeric
def test_the_log_has_one_row_an_epoch(trained):
    folder, figures = trained
    log = pd.read_csv(folder / "log.csv")
    assert list(log["epoch"]) == [0, 1, 2]
    assert log["valid_rmse"].iloc[-1] == pytest.approx(figures["rmse"], abs=DEX)
    assert log.notna().all().all()


def test_the_same_configuration_gives_the_same_model(trained, config, tmp_path):
    folder, _ = trained
    train_network(config, tmp_path / "again")
    assert ModelCard.read(tmp_path / "again").files == ModelCard.read(folder).files
    other = config.changed(run={"seed": 1})
    train_network(other, tmp_path / "other")
    assert ModelCard.read(tmp_path / "other").sha256 != ModelCard.read(folder).sha256


def test_a_written_split_is_used(trained, config, tmp_path):
    folder, _ = trained
    given = config.changed(split={"file": str(folder / "splits.ecsv")}, run={"seed": 5})
    train_network(given, tmp_path / "model")
    assert Table.read(tmp_path / "model" / "splits.ecsv").meta["seed"] == 12345
    assert ModelCard.read(tmp_path / "model").folds == ModelCard.read(folder).folds


def test_the_model_estimates_through_the_estimator(config, galaxies, labels, tmp_path):
    train_network(config.changed(data={"column": "log_hi_fraction"}), tmp_path / "model")
    source = LocalCutouts(galaxies / "pictures", name="id")
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    rows = labels["id", "ra", "dec"][[list(labels["id"]).index(one) for one in held_out["objid"]]]
    rows["ra"].unit = rows["dec"].unit = "deg"
    result = HIFractionEstimator(model=tmp_path / "model", cutouts=source).predict(rows)
    found = result["log_hi_fraction"].data.data
    np.testing.assert_allclose(found, held_out["estimate"], atol=1e-4)
    card = ModelCard.read(tmp_path / "model")
    above = result["log_hi_fraction_p84"].data.data - found
    np.testing.assert_allclose(above, card.calibration.value(0.84), atol=1e-6)


# Other losses


def test_a_network_with_a_spread_has_intervals_in_units_of_it(config, tmp_path):
    spread = config.changed(network={"loss": "gaussian_nll"}, split={"held_out": 0.3})
    figures = train_network(spread, tmp_path / "model")
    card = ModelCard.read(tmp_path / "model")
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    assert card.outputs == ("estimate", "log_spread")
    scaled = np.sort((held_out["target"] - held_out["estimate"]) / np.exp(held_out["log_spread"]))
    assert card.calibration.value(0.95) == pytest.approx(scaled[-1])
    outputs = {name: np.asarray(held_out[name]) for name in card.outputs}
    low, high = (card.calibration.quantile(outputs, level) for level in (0.05, 0.95))
    assert coverage(held_out["target"], low, high) == 1.0
    # Judged by residuals of other galaxies, less than all.
    assert 0.5 < figures["coverage_68"] < figures["coverage_90"] <= 1.0


def test_upper_limits_are_learned_from_but_calibrate_nothing(config, tmp_path):
    limited = config.changed(
        network={"loss": "tobit_nll"}, data={"is_limit": "is_limit"}, split={"held_out": 0.3}
    )
    train_network(limited, tmp_path / "model")
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    card = ModelCard.read(tmp_path / "model")
    assert 0 < np.sum(held_out["is_limit"]) < len(held_out)
    assert card.calibration.n == np.sum(~held_out["is_limit"])


def test_classes_are_one_number_the_log_odds(config, labels, tmp_path):
    classes = config.changed(network={"loss": "smoothed_cross_entropy"}, data={"target": "blue"})
    figures = train_network(classes, tmp_path / "model")
    card = ModelCard.read(tmp_path / "model")
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    assert card.outputs == ("estimate",)
    assert card.calibration is None
    truth = held_out["target"] == 1
    assert figures["auc"] == pytest.approx(detection_auc(truth, held_out["estimate"]))
    assert figures["accuracy"] == pytest.approx(np.mean((held_out["estimate"] > 0) == truth))


def test_classes_made_of_values_leave_out_what_lies_between(config, labels, tmp_path):
    limits = config.changed(
        network={"loss": "smoothed_cross_entropy"},
        data={"class_limits": [-0.2, 0.2]},
        split={"held_out": 0.4},
    )
    train_network(limits, tmp_path / "model")
    kept = Table.read(tmp_path / "model" / "splits.ecsv")["objid"]
    assert set(kept) == set(labels["id"][np.abs(labels["blueness"]) > 0.2])
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    truth = dict(zip(labels["id"], labels["blueness"], strict=True))
    assert all((truth[row["objid"]] > 0.2) == row["target"] for row in held_out)


def test_a_missing_label_can_be_left_out(config, labels, tmp_path):
    target = MaskedColumn(labels["blueness"], mask=np.arange(N) % 10 == 0)
    changed = with_labels(config, labels, tmp_path, blueness=target)
    train_network(changed.changed(data={"missing": "mask"}, split={"held_out": 0.3}), tmp_path / "model")
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    assert ModelCard.read(tmp_path / "model").calibration.n == np.sum(np.isfinite(held_out["target"]))


# The recipes of metallicities


@pytest.fixture(scope="module")
def metallicity(galaxies, tmp_path_factory):
    """The published recipe with a smaller network, from weights that mean nothing: folder and output."""
    root = tmp_path_factory.mktemp("metallicity")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        torch.save(resnet18(weights=None).state_dict(), root / "resnet18.pth")
    result = call(
        "train", "metallicity-paper", "-o", root / "model", "--table", galaxies / "labels.ecsv",
        "--cutouts", galaxies / "pictures", "--name", "id", "--target", "blueness",
        "--pretrained", root / "resnet18.pth", "--set", "network.architecture=resnet18_concat_pool",
        "--set", "pictures.width=32", "--set", "optimizer.batch_size=16", "--set", "run.accelerator=cpu",
    )  # fmt: skip
    return root / "model", result


def test_the_published_recipe_makes_a_model(metallicity, galaxies):
    folder, result = metallicity
    assert result.exit_code == 0, result.output
    card = ModelCard.read(folder)
    assert (card.architecture, card.target_column) == ("resnet18_concat_pool", "blueness")
    assert "from weights of ImageNet (resnet18.pth, sha256 " in card.training_set
    assert "--pretrained resnet18.pth" in card.command
    assert card.references == read_config("metallicity-paper").references
    log = pd.read_csv(folder / "log.csv")
    assert list(log["epoch"]) == list(range(10))
    assert list(log["lr"][:2]) == pytest.approx([0.1, 0.1])
    # The rate of the first step of a cycle is logged where one ends: that after the last step of an epoch.
    assert log["lr"].iloc[5] == pytest.approx(0.1)
    assert log["lr"].iloc[-1] == 0
    held_out = Table.read(folder / "held_out.ecsv")
    pixels = read(folder, galaxies, held_out["objid"])
    for runtime in ("eager", "torchscript"):
        said = load_model(folder, device="cpu", runtime=runtime).run(pixels)["estimate"]
        np.testing.assert_allclose(said, held_out["estimate"], rtol=1e-4, atol=1e-4)
    exported = export_model(folder, folder.parent / "exported", formats=("export",))
    assert "model.pt2" in exported.files


def test_the_mean_over_five_views_is_judged_too(metallicity, galaxies):
    folder, _ = metallicity
    held_out = Table.read(folder / "held_out.ecsv")
    pixels = torch.from_numpy(read(folder, galaxies, held_out["objid"])).permute(0, 3, 1, 2)
    network = load_model(folder, device="cpu", runtime="eager").network
    views = Augmentation(torch.Generator().manual_seed(12345), max_degrees=10, max_zoom=1.1, lighting=0.05)
    pictures = [pixels, *(views(pixels) for _ in range(4))]
    mean = np.mean([answer(network, some)[:, 0] for some in pictures], axis=0)
    expected = np.sqrt(np.mean((mean - held_out["target"]) ** 2))
    assert ModelCard.read(folder).figures["rmse_5_views"] == pytest.approx(expected, rel=1e-3)


def test_the_later_recipe_crops_and_says_so(galaxies, tmp_path):
    config = read_config("metallicity-xresnet34").for_table(
        str(galaxies / "labels.ecsv"), str(galaxies / "pictures"), target="blueness", name="id"
    )
    config = config.changed(
        pictures={"width": 32},
        network={"architecture": "baseline_cnn", "crop": 28},
        optimizer={"frame": 36, "batch_size": 16, "epochs": 3},
        run={"accelerator": "cpu"},
    )
    train_network(config, tmp_path / "model")
    card = ModelCard.read(tmp_path / "model")
    assert card.options["crop"] == 28
    assert "from random weights" in card.training_set
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    pixels = read(tmp_path / "model", galaxies, held_out["objid"])
    network = load_model(tmp_path / "model", device="cpu", runtime="eager").network
    middle = torch.from_numpy(pixels).permute(0, 3, 1, 2)[:, :, 2:30, 2:30]
    np.testing.assert_allclose(answer(network, middle)[:, 0], held_out["estimate"], atol=1e-5)


def test_five_folds_hold_out_each_galaxy_once(config, labels, tmp_path):
    held_out = []
    for fold in range(5):
        folder = tmp_path / str(fold)
        train_network(config.changed(split={"fold": fold}, optimizer={"epochs": 2}), folder)
        table = Table.read(folder / "held_out.ecsv")
        held_out += list(table["objid"])
        split = Table.read(folder / "splits.ecsv")
        assert set(split["objid"][split["role"] == "held_out"]) == set(table["objid"])
    assert sorted(held_out) == sorted(labels["id"])


# Fine-tuning


def test_a_training_starts_from_another_model(trained, config, tmp_path):
    folder, _ = trained
    tuned = config.changed(network={"init_from": str(folder), "loss": "gaussian_nll"}, optimizer={"lr": 1e-9})
    train_network(tuned, tmp_path / "tuned")
    one, other = (
        load_model(path, device="cpu", runtime="eager").network for path in (folder, tmp_path / "tuned")
    )
    for name, value in one.named_parameters():
        if ".head." not in name:
            np.testing.assert_allclose(
                dict(other.named_parameters())[name].detach(), value.detach(), atol=1e-6
            )


def test_another_architecture_is_no_start(trained, config, tmp_path):
    folder, _ = trained
    for model, kind in ((folder, "shallow"), ("default", "StructureNet")):
        wrong = config.changed(network={"init_from": str(model), "architecture": "xresnet18"})
        with pytest.raises(
            ModelError, match=rf"^init_from: .* of another architecture, {kind}, not xresnet18"
        ):
            train_network(wrong, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# Going on


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_training_is_resumed_to_the_same_model(trained, galaxies, tmp_path):
    whole, _ = trained
    folder = tmp_path / "model"
    # Killed as by a power cut, once the first epoch is on the disk.
    script = (
        "import os, signal, sys\nfrom lightning.pytorch.callbacks import Callback\n"
        "from hifrac.training.config import read_config\n"
        "from hifrac.training.cnn.learner import train_network\n"
        "class Kill(Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        "        if trainer.global_step == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "train_network(read_config(sys.argv[1]), sys.argv[2], callbacks=[Kill()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(galaxies / "config.toml"), str(folder)],
        capture_output=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -9, done.stderr.decode()
    assert not (folder / "card.json").exists()
    again = call("train", galaxies / "config.toml", "-o", folder)
    assert "holds a training already: resume it (--resume)" in again.stderr
    resumed = call("train", galaxies / "config.toml", "-o", folder, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert ModelCard.read(folder).files == ModelCard.read(whole).files
    assert list(pd.read_csv(folder / "log.csv")["epoch"]) == [0, 1, 2]


def test_what_cannot_be_resumed(trained, config, tmp_path):
    folder, _ = trained
    with pytest.raises(FileNotFoundError, match=r"resume: .* has no checkpoint"):
        train_network(config, tmp_path / "nothing", resume=True)
    with pytest.raises(
        ModelError, match="resume: the checkpoint is of another architecture, shallow, not xresnet18"
    ):
        train_network(config.changed(network={"architecture": "xresnet18"}), folder, resume=True)
    with pytest.raises(ValueError, match=r"resume: the run was started with another \[optimizer\]"):
        train_network(config.changed(optimizer={"epochs": 9}), folder, resume=True)


# Bad input


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_label_that_is_no_number(config, labels, tmp_path, value):
    changed = with_labels(config, labels, tmp_path, blueness=[*labels["blueness"][:-1], value])
    with pytest.raises(
        ValueError, match=r"^blueness: 1 labels are missing or not finite, the first is that of g99"
    ):
        train_network(changed, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_constant_target(config, labels, tmp_path):
    changed = with_labels(config, labels, tmp_path, blueness=np.full(N, 0.5))
    with pytest.raises(ValueError, match=r"^blueness: the target is always 0\.5 .* nothing to learn"):
        train_network(changed, tmp_path / "model")


def test_too_few_rows_to_calibrate(config, tmp_path):
    with pytest.raises(ValueError, match=r"^too few rows to calibrate: 10 measured values .* needs 19"):
        train_network(config.changed(split={"held_out": 0.1}), tmp_path / "model")
    classes = config.changed(
        network={"loss": "smoothed_cross_entropy"}, data={"target": "blue"}, split={"held_out": 0.05}
    )
    with pytest.raises(ValueError, match=r"^too few rows to calibrate: of the two classes .* 5 of each"):
        train_network(classes, tmp_path / "model")


def test_too_few_steps_for_a_cycle(config, tmp_path):
    short = config.changed(optimizer={"epochs": 1, "batch_size": 64})
    with pytest.raises(ValueError, match=r"^optimizer.epochs: 1 epochs of 1 steps are too few"):
        train_network(short, tmp_path / "model")


def test_pictures_that_do_not_match_the_recipe(config, tmp_path):
    with pytest.raises(BadImageError, match=r"id g0: the picture has 32 x 32 pixels instead of 128 x 128"):
        train_network(config.changed(pictures={"width": 128}), tmp_path / "model")


def test_a_picture_that_is_missing(config, labels, tmp_path):
    changed = with_labels(config, labels, tmp_path, id=["nowhere", *labels["id"][1:]])
    with pytest.raises(FetchError, match="id nowhere: no picture named 'nowhere'"):
        train_network(changed, tmp_path / "model")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"target": "mass"}, "table has no column 'mass'; its columns are id, ra, dec, blueness"),
        ({"target": "id"}, "id must hold one number a row"),
        ({"name": "blue"}, "blue: '.*' stands in the table .* times"),
    ],
)
def test_a_table_that_does_not_fit(config, tmp_path, data, words):
    with pytest.raises(ValueError, match=words):
        train_network(config.changed(data=data), tmp_path / "model")


def test_classes_that_are_none(config, tmp_path):
    wrong = config.changed(network={"loss": "smoothed_cross_entropy"})
    with pytest.raises(ValueError, match=r"blueness must hold the classes 0 and 1, got .*class_limits"):
        train_network(wrong, tmp_path / "model")


# The data directory


def test_the_paper_on_a_data_directory(data_folder, tmp_path):
    small = ["-o", tmp_path / "model", "--data-dir", data_folder, "--set", "split.held_out=0.5",
             "--set", "optimizer.epochs=3", "--set", "optimizer.batch_size=8",
             "--set", "network.architecture=shallow"]  # fmt: skip
    result = call("train", "paper", *small, "--seed", 7)
    assert result.exit_code == 0, result.output
    card = ModelCard.read(tmp_path / "model")
    assert (card.target_column, card.recipe, card.outputs) == ("log_hi_fraction", SDSS_RECIPE, ("estimate",))
    assert card.folds["seed"] == 7
    assert f"{'rmse':24s} {card.figures['rmse']:8.4f}" in result.stdout
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["optimizer"] == {
        **read_config("paper").to_dict()["optimizer"],
        "epochs": 3,
        "batch_size": 8,
    }


def test_the_detection_on_a_data_directory(data_folder, tmp_path):
    result = call("train", "paper-recognition", "-o", tmp_path / "model", "--data-dir", data_folder,
                  "--set", "optimizer.epochs=2", "--set", "optimizer.batch_size=16",
                  "--set", "network.architecture=shallow")  # fmt: skip
    assert result.exit_code == 0, result.output
    card = ModelCard.read(tmp_path / "model")
    assert card.outputs == ("detection_logit",)
    held_out = Table.read(tmp_path / "model" / "held_out.ecsv")
    p_detect = card.detection.probability(np.asarray(held_out["detection_logit"]))
    assert np.all((p_detect > 0) & (p_detect < 1))
    roles = Table.read(tmp_path / "model" / "splits.ecsv")
    assert len(roles) == 92


# The command line


@pytest.mark.filterwarnings("default:'paper-blueness' learned from")  # the command shows it
def test_any_number_is_learned_from_any_pictures(galaxies, tmp_path):
    result = call("train", "paper", "-o", tmp_path / "model", "--table", galaxies / "labels.ecsv",
                  "--cutouts", galaxies / "pictures", "--name", "id", "--target", "blueness",
                  "--set", "pictures.width=32", "--set", "network.architecture=shallow",
                  "--set", "optimizer.epochs=5")  # fmt: skip
    assert result.exit_code == 0, result.output
    card = ModelCard.read(tmp_path / "model")
    assert (card.name, card.target_column) == ("paper-blueness", "blueness")
    assert "Taylor" not in card.mass_scale

    figures = tmp_path / "figures.ecsv"
    judged = call("evaluate", tmp_path / "model", galaxies / "labels.ecsv", "--cutouts",
                  galaxies / "pictures", "--name", "id", "--target", "blueness", "-o", figures)  # fmt: skip
    assert judged.exit_code == 0, judged.output
    assert "highest third" in judged.stdout
    written = Table.read(figures)
    assert list(written["n"]) == [100, 34, 33, 33]
    assert (written.meta["learned_from"], written.meta["perhaps_learned_from"]) == (80, 0)
    assert judged.stderr.startswith("Warning: 'paper-blueness' learned from 80 of the 100 galaxies")
    assert len(judged.stderr.splitlines()) == 1
    assert "cannot be told" not in judged.stdout
    again = call("evaluate", tmp_path / "model", galaxies / "labels.ecsv", "--cutouts", galaxies / "pictures",
                 "--name", "id", "--target", "blueness", "-o", figures)  # fmt: skip
    assert "exists already; say --overwrite" in again.stderr

    exported = call("export", tmp_path / "model", "-o", tmp_path / "exported", "--format", "torchscript")
    assert exported.exit_code == 0, exported.output
    assert ModelCard.read(tmp_path / "exported").sha256 in exported.stdout
    # A copy does not have the names of the galaxies.
    judged = call("evaluate", tmp_path / "exported", galaxies / "labels.ecsv", "--cutouts",
                  galaxies / "pictures", "--name", "id", "--target", "blueness")  # fmt: skip
    assert (judged.exit_code, judged.stderr) == (0, "")
    assert "of 100 of these galaxies it cannot be told whether the model learned from them" in judged.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["paper", "--cutouts", "p"], "--cutouts, --name and --target describe a table"),
        (["paper", "--table", "t.ecsv"], "--table needs --cutouts"),
        (["papers"], "metallicity-xresnet34, paper, paper-recognition, shallow"),
        (["paper", "--set", "optimizer.epoch=3"], "optimizer.epoch is unknown"),
        (["paper", "--split", "no.ecsv"], "no such file"),
        (["default", "--resume"], "--resume does not go with the configuration 'default'"),
        (["default", "--set", "a=1"], "--set does not go with"),
        (["default", "--from", "x"], "--from does not go with"),
    ],
)
def test_a_training_that_is_refused(data_folder, tmp_path, args, words):
    result = call("train", *args, "-o", tmp_path / "model", "--data-dir", data_folder)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "model").exists()


# Judging


@pytest.mark.numeric
@known
def test_the_figures_of_a_model_on_a_table(trained, galaxies, labels):
    model = load_model(trained[0], device="cpu")
    table = evaluate(model, labels, galaxies / "pictures", name="id", target="blueness")
    pixels = read(trained[0], galaxies, labels["id"])
    estimate, truth = model.run(pixels)["estimate"], np.asarray(labels["blueness"])
    for name, value in regression_metrics(truth, estimate).items():
        assert table[name][0] == pytest.approx(value, rel=1e-4), name
    low, high = (model.card.calibration.value(level) for level in (0.16, 0.84))
    assert table["coverage_68"][0] == pytest.approx(coverage(truth, estimate + low, estimate + high))
    third = np.argsort(estimate)[:34]
    assert table["rmse"][1] == pytest.approx(np.sqrt(np.mean((estimate - truth)[third] ** 2)), rel=1e-4)
    assert table["estimate_max"][1] <= table["estimate_min"][2] <= table["estimate_max"][2]
    # The error of a root mean square of n values is about rmse / sqrt(2 n).
    assert table["rmse_error"][0] == pytest.approx(table["rmse"][0] / np.sqrt(2 * N), rel=0.5)


def learned(model, table, folder, **options):
    """What is said of galaxies that the model learned from, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"name": "id", "target": "blueness", **options}
        meta = evaluate(load_model(model, device="cpu"), table, folder / "pictures", **options).meta
    said = [str(one.message) for one in caught if issubclass(one.category, HifracWarning)]
    return (meta["learned_from"], meta["perhaps_learned_from"]), said


def test_galaxies_that_the_model_learned_from_are_told_by_their_names(trained, galaxies, labels):
    folder, _ = trained
    split = Table.read(folder / "splits.ecsv")
    n_train = int(np.sum(split["role"] == "train"))
    counts, (said,) = learned(folder, labels[::-1], galaxies)
    assert counts == (n_train, 0)
    assert f"learned from {n_train} of the {N} galaxies that it is judged on" in said
    held_out = labels[np.isin(labels["id"], split["objid"][split["role"] == "held_out"])]
    assert learned(folder, held_out, galaxies) == ((0, 0), [])
    # What was left out of the judgement is not counted.
    some = labels.copy()
    some["blueness"] = MaskedColumn(labels["blueness"], mask=~np.isin(labels["id"], [*held_out["id"], "g0"]))
    first = split["role"][list(split["objid"]).index("g0")] == "train"
    assert learned(folder, some, galaxies)[0] == (int(first), 0)


def test_where_nothing_tells_what_was_learned_from_nothing_is_claimed(trained, galaxies, labels, tmp_path):
    folder, _ = trained
    for name in ("card.json", "weights.safetensors", "model.pt"):
        shutil.copy(folder / name, tmp_path)
    assert learned(tmp_path, labels, galaxies) == ((0, N), [])


def test_pictures_of_other_names_are_matched_by_objid_where_there_is_one(trained, galaxies, labels, tmp_path):
    folder, _ = trained
    (tmp_path / "pictures").mkdir()
    for row in range(N):
        shutil.copy(galaxies / "pictures" / f"g{row}.jpg", tmp_path / "pictures" / f"{row}.jpg")
    rows = labels.copy()
    rows["number"] = np.arange(N)
    assert learned(folder, rows, tmp_path, name="number") == ((0, N), [])
    rows["objid"] = MaskedColumn(labels["id"], mask=np.arange(N) % 2 == 0)
    train = set(Table.read(folder / "splits.ecsv").group_by("role").groups[1]["objid"])
    expected = sum(one in train for one in labels["id"][1::2])
    counts, said = learned(folder, rows, tmp_path, name="number")
    assert (counts, len(said)) == ((expected, N // 2), 1)


@pytest.mark.real_data
def test_the_default_model_knows_its_galaxies(real_data, tmp_path):
    rows = Table.read(real_data / "cutouts" / "hi_labels.ecsv")[:5]
    rows["objid"] = [int(one) for one in rows["objid"]]  # text or numbers
    archive = real_data / "cutouts" / "sdss_cutouts.zip"
    export_model("default", tmp_path / "copy")
    for model in ("default", tmp_path / "copy"):
        with pytest.warns(HifracWarning, match="'default' learned from 5 of the 5 galaxies"):
            table = evaluate(load_model(model, device="cpu"), rows, archive, target="log_hi_fraction_true")
        assert (table.meta["learned_from"], table.meta["perhaps_learned_from"]) == (5, 0)


@known
def test_rows_without_label_or_picture_are_left_out_and_counted(trained, galaxies, labels):
    changed = labels.copy()
    changed["blueness"] = MaskedColumn(labels["blueness"], mask=np.arange(N) < 3)
    changed["id"] = [*labels["id"][:5], "none", *labels["id"][6:]]
    model = load_model(trained[0], device="cpu")
    table = evaluate(model, changed, galaxies / "pictures", name="id", target="blueness")
    assert table["n"][0] == N - 4
    assert (table.meta["without_label"], table.meta["without_picture"]) == (3, 1)
    assert table.meta["first_failure"].startswith("row 5: no picture named 'none'")
    changed["id"] = "none"
    with pytest.raises(
        ValueError, match="of 100 rows none has a label and a picture; the first failure: row 3"
    ):
        evaluate(model, changed, galaxies / "pictures", name="id", target="blueness")


@pytest.mark.numeric
@known
def test_limits_are_judged_apart(trained, galaxies, labels):
    model = load_model(trained[0], device="cpu")
    options = {"name": "id", "target": "blueness"}
    table = evaluate(model, labels, galaxies / "pictures", is_limit="is_limit", **options)
    assert (table["n"][0], table["n_limits"][0]) == (75, 25)
    alone = evaluate(model, labels[~labels["is_limit"]], galaxies / "pictures", **options)
    assert table["rmse"][0] == pytest.approx(alone["rmse"][0], abs=DEX)
    assert 0 <= table["limits_violated"][0] <= 1


@pytest.mark.numeric
def test_all_orientations_are_those_of_the_training(trained, galaxies, labels):
    model = load_model(trained[0], device="cpu")
    held_out = Table.read(trained[0] / "held_out.ecsv")
    rows = labels[np.isin(labels["id"], held_out["objid"])]
    table = evaluate(model, rows, galaxies / "pictures", name="id", target="blueness", orientations=8)
    assert table["rmse"][0] == pytest.approx(trained[1]["rmse_8_orientations"], rel=1e-4)


def test_what_cannot_be_judged(trained, galaxies, labels):
    model = load_model(trained[0], device="cpu")
    with pytest.raises(ValueError, match="table has no column 'mass'"):
        evaluate(model, labels, galaxies / "pictures", name="id", target="mass")
    with pytest.raises(ValueError, match="orientations must be 1 or 8, got 3"):
        evaluate(model, labels, galaxies / "pictures", name="id", target="blueness", orientations=3)
