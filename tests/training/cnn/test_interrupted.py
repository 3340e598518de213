"""Trainings that do not come to an end: what is said, what is kept, and what may be run again."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.table import Table
from commands import call
from lightning.pytorch.callbacks import Callback
from pictures import encode, galaxy
from torch import nn

from hifrac import ModelCard
from hifrac.core.exceptions import HifracWarning, ModelError
from hifrac.training.cnn import learner as run
from hifrac.training.cnn.learner import train_network
from hifrac.training.cnn.module import answer
from hifrac.training.cnn.trainer import fit_network
from hifrac.training.config import read_config

pytestmark = pytest.mark.slow

N = 100
SETTINGS = ("pictures.width=32", "network.architecture=shallow", "run.accelerator=cpu",
            "optimizer.epochs=2", "optimizer.batch_size=16")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labels and pictures."""
    root = tmp_path_factory.mktemp("galaxies")
    (root / "my pictures").mkdir()
    for number in range(N):
        (root / "my pictures" / f"g{number}.jpg").write_bytes(encode(galaxy(number, 32)))
    table = Table({"objid": [f"g{number}" for number in range(N)], "ra": np.arange(N) * u.deg})
    table["dec"] = np.zeros(N) * u.deg
    table["size"] = np.random.default_rng(5).normal(size=N)
    table["flags"], table["big"] = table["size"], table["size"] > 0
    table.write(root / "labels.ecsv")
    return root


@pytest.fixture
def config(folder):
    return (
        read_config("paper")
        .for_table(str(folder / "labels.ecsv"), str(folder / "my pictures"), target="size")
        .with_settings(SETTINGS)
    )


@pytest.fixture(autouse=True)
def at_home(folder, monkeypatch):
    """Paths are those that a user in the folder would type."""
    monkeypatch.chdir(folder)


def command(output, *more, target="size", config="paper"):
    words = ["train", config, "-o", str(output), "--table", "labels.ecsv", "--cutouts", "my pictures"]
    words += ["--target", target]
    for setting in SETTINGS:
        words += ["--set", setting]
    return [*words, *more]


def train(output, *more, **options):
    return call(*command(output, *more, **options))


class Stop(Callback):
    """Trouble after so many steps."""

    def __init__(self, step, error):
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise self.error


def press(output):
    """The command in a process of its own, which is sent the signal of Ctrl-C after three steps."""
    script = (
        # A process started in the background of a shell ignores the signal, and so would its children.
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hifrac.training.cnn import learner as run\n"
        "from lightning.pytorch.callbacks import Callback\n"
        "class Press(Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        "        if trainer.global_step == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "fit = run.fit_network\n"
        "run.fit_network = lambda *args, **more: fit(*args, **{**more, 'callbacks': [Press()]})\n"
        "from hifrac.cli import main\nmain(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command(output)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr


def interrupt(output, step, *more):
    """The same in this process, after so many steps; five are an epoch."""

    def stopped(*args, **options):
        return fit_network(*args, **{**options, "callbacks": [Stop(step, KeyboardInterrupt)]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "fit_network", stopped)
        done = train(output, *more)
    return done.exit_code, done.stderr


# Interrupted


@pytest.fixture(scope="module")
def straight(folder, tmp_path_factory):
    """A model whose training was not interrupted."""
    output = tmp_path_factory.mktemp("straight") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = train(output)
    assert done.exit_code == 0, done.output
    return output


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_training_interrupted_in_its_first_epoch_is_started_anew(straight, tmp_path, more):
    code, said = interrupt(tmp_path / "model", 3) if more else press(tmp_path / "model")
    assert code == 130
    assert said.splitlines()[-1] == (
        "interrupted; the first epoch was not done, and nothing is kept: the same command starts anew"
    )
    assert (tmp_path / "model" / "config.json").is_file()
    again = train(tmp_path / "model", *more)
    assert again.exit_code == 0, again.output
    assert ModelCard.read(tmp_path / "model") == ModelCard.read(straight)
    assert (tmp_path / "model" / "log.csv").read_text() == (straight / "log.csv").read_text()


def test_a_training_interrupted_later_is_resumed(straight, tmp_path):
    code, said = interrupt(tmp_path / "model", 7)
    assert code == 130
    assert said == "interrupted; the epochs that are done are kept: say --resume to go on\n"
    refused = train(tmp_path / "model")
    assert refused.exit_code == 1
    assert "holds a training already: resume it (--resume), or give another folder" in refused.stderr
    resumed = train(tmp_path / "model", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert ModelCard.read(tmp_path / "model") == ModelCard.read(straight)


def test_a_training_that_failed_in_its_first_epoch_may_be_another_one(config, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        train_network(config, tmp_path / "model", callbacks=[Stop(2, RuntimeError("power cut"))])
    smaller = config.changed(optimizer={"batch_size": 8})
    train_network(smaller, tmp_path / "model", resume=True)
    assert '"batch_size": 8' in (tmp_path / "model" / "config.json").read_text()


def test_a_finished_model_without_checkpoints_is_neither_replaced_nor_resumed(config, tmp_path):
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"holds a training already: give another folder$"):
        train_network(config, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^resume: .* has no checkpoint"):
        train_network(config, tmp_path, resume=True)


# Refused before anything is done


def test_a_target_must_not_take_the_place_of_another_column(config, tmp_path):
    refused = train(tmp_path / "model", target="flags")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: data.target must not be 'flags': ")
    wrong = config.changed(data={"column": "p_detect", "table": "nowhere.ecsv"})
    with pytest.raises(ValueError, match=r"^data\.column, the result column of the target, must not be"):
        train_network(wrong, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# What the card says of it


def test_the_card_has_the_command_that_was_run(straight):
    card = ModelCard.read(straight)
    settings = " ".join(f"--set {one}" for one in SETTINGS)
    assert card.command == (
        "hifrac train paper --table labels.ecsv --cutouts 'my pictures' --target size "
        f"{settings} -o OUTPUT --seed 12345"
    )
    assert card.protocol.endswith(
        "; the interval rests on the same pictures, its coverage on parts of them in turn"
    )


def test_of_absolute_paths_the_card_has_the_last_part(straight, folder, tmp_path):
    (tmp_path / "mine.toml").write_text(
        f'name = "mine"\n[data]\ntable = "{folder}/labels.ecsv"\ncutouts = "{folder}/my pictures"\n'
        'target = "flags"\ncolumn = "marks"\n[pictures]\nwidth = 32\n[network]\narchitecture = "shallow"\n'
        '[optimizer]\nepochs = 2\nbatch_size = 16\n[run]\naccelerator = "cpu"\n'
    )
    options = ["--from", straight, "--split", straight / "splits.ecsv", "--seed", 4]
    words = ["train", tmp_path / "mine.toml", "-o", tmp_path / "model", *options]
    done = call(*words)
    assert done.exit_code == 0, done.output
    card = ModelCard.read(tmp_path / "model")
    assert card.command == "hifrac train mine.toml --from model --split splits.ecsv -o OUTPUT --seed 4"
    assert card.target_column == "marks"  # and not flags, which is refused


def test_of_classes_the_card_promises_no_interval_and_from_python_no_command(config, tmp_path):
    classes = config.changed(network={"loss": "smoothed_cross_entropy"}, data={"target": "big"})
    train_network(classes, tmp_path / "model")
    card = ModelCard.read(tmp_path / "model")
    assert card.protocol.endswith("; the last of 2 epochs, chosen by nothing; a class has no interval")
    assert card.command == "train_network of hifrac.training, with the configuration in config.json"
    more = ["--set", "split.held_out=0.4", "--set", "optimizer.batch_size=8"]
    detections = train(tmp_path / "other", *more, target="big", config="paper-recognition")
    assert detections.exit_code == 0, detections.output
    card = ModelCard.read(tmp_path / "other")
    assert card.protocol.endswith("chosen by nothing; p_detect is calibrated on the same pictures")


# Too little memory


def test_a_batch_for_which_there_is_no_memory_is_said_to_be_one(config, tmp_path):
    short = Stop(2, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    with pytest.raises(
        ModelError,
        match=r"^out of memory with optimizer\.batch_size = 16: give a smaller one, such as 8, a smaller",
    ):
        train_network(config, tmp_path / "model", callbacks=[short])
    least = config.changed(optimizer={"batch_size": 2})
    with pytest.raises(
        ModelError, match=r"^out of memory with optimizer\.batch_size = 2: give a smaller net"
    ):
        train_network(least, tmp_path / "model", callbacks=[short])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_network(
            config, tmp_path / "model", callbacks=[Stop(2, RuntimeError("shapes cannot be multiplied"))]
        )


class Cramped(nn.Module):
    """The brightness of no more pictures than there is room for."""

    def __init__(self, room):
        super().__init__()
        self.room, self.weight = room, nn.Parameter(torch.ones(1))

    def forward(self, planes):
        if len(planes) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return planes.float().mean((1, 2, 3))[:, None] * self.weight


def test_what_a_network_answers_is_asked_for_in_smaller_parts():
    pixels = torch.randint(0, 256, (11, 3, 8, 8), dtype=torch.uint8)
    with pytest.warns(HifracWarning, match="^out of memory on cpu with 8 pictures at once: going on with 4$"):
        found = answer(Cramped(4), pixels, batch_size=8)
    np.testing.assert_array_equal(found, answer(Cramped(8), pixels, batch_size=8))
    assert answer(Cramped(8), pixels[:0], batch_size=8).shape == (0, 1)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        answer(Cramped(0), pixels[:1])
