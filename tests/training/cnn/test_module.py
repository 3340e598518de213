"""Training through Lightning: batches, losses, precision, and the resume that loses nothing."""

import copy
import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from contract import DEX, assert_same_estimates
from lightning.pytorch.callbacks import Callback
from torch import nn

from hifrac.models import architectures
from hifrac.models.xresnet import PixelNet, XResNet
from hifrac.training.cnn.augment import N_DIHEDRAL, Augmentation, dihedral
from hifrac.training.cnn.batches import PictureData
from hifrac.training.cnn.losses import gaussian_nll, smoothed_cross_entropy, tobit_nll
from hifrac.training.cnn.module import PictureNetwork, answer, answer_views, build, one_logit
from hifrac.training.cnn.trainer import fit_network
from hifrac.training.config import DataConfig, NetworkConfig, OptimizerConfig, RunConfig, TrainingConfig
from hifrac.training.data import LabelledPictures

pytestmark = pytest.mark.numeric

N = 26


def labelled(n=N, width=32, seed=0):
    """Pictures whose brightness is their target."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(-1, 1, n)
    pixels = rng.integers(0, 60, (n, 3, width, width)) + (80 * (target + 1)).astype(int)[:, None, None, None]
    return LabelledPictures(
        name=np.array([f"g{number}" for number in range(n)]),
        pixels=torch.from_numpy(pixels.astype(np.uint8)),
        target=target,
        is_limit=np.zeros(n, dtype=bool),
        ra=np.full(n, np.nan),
        dec=np.full(n, np.nan),
    )


def configured(loss="rmse", epochs=3, precision="32-true", architecture="shallow"):
    data = {"class_limits": (0.0, 0.0)} if loss == "smoothed_cross_entropy" else {}
    return TrainingConfig(
        name="tiny",
        data=DataConfig(**data),
        network=NetworkConfig(architecture=architecture, loss=loss),
        optimizer=OptimizerConfig(epochs=epochs, batch_size=8),
        run=RunConfig(precision=precision, accelerator="cpu", seed=3),
    )


def train(config, pictures=None, held_out=None, missing="raise", make=None, **options):
    pictures = labelled() if pictures is None else pictures
    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        network = build(config.network) if make is None else make()
    module = PictureNetwork(network, config.network, config.optimizer, missing)
    data = PictureData(pictures, held_out, batch_size=config.optimizer.batch_size, seed=config.run.seed)
    fit_network(module, data, config, **options)
    return module


def equal(one, other):
    """Whether two networks are the same to the last bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Look(Callback):
    """Keeps the batches that a network was given."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append((trainer.current_epoch, *(one.clone() for one in batch)))


class Stop(Callback):
    """Trouble in the middle of an epoch."""

    def __init__(self, step, error=RuntimeError):
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise self.error("power cut")


# Learning


def test_a_network_learns():
    pictures, config = labelled(), configured(epochs=12)
    module = train(config, pictures)
    found = answer(module.network, pictures.pixels)[:, 0]
    assert np.corrcoef(found, pictures.target)[0, 1] > 0.9


@pytest.mark.parametrize("loss", ["rmse", "gaussian_nll", "tobit_nll", "smoothed_cross_entropy"])
def test_each_loss_is_that_of_its_function(loss):
    pictures, config = labelled(8), configured(loss)
    limits = torch.arange(8) % 3 == 0
    module = PictureNetwork(build(config.network), config.network, config.optimizer).eval()
    target = torch.from_numpy(pictures.target).float()
    if loss == "smoothed_cross_entropy":
        target = (target > 0).float()
    output = module(pictures.pixels)
    expected = {
        "rmse": lambda: (output[:, 0] - target).square().mean().sqrt(),
        "gaussian_nll": lambda: gaussian_nll(output, target),
        "tobit_nll": lambda: tobit_nll(output, target, limits),
        "smoothed_cross_entropy": lambda: smoothed_cross_entropy(output, target, 0.05),
    }[loss]()
    assert module.loss(output, target, limits).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("loss", ["gaussian_nll", "tobit_nll", "smoothed_cross_entropy"])
def test_each_loss_is_trained_with(loss, tmp_path):
    pictures = labelled()
    if loss == "smoothed_cross_entropy":
        pictures.target[:] = pictures.target > 0
    pictures.is_limit[:5] = loss == "tobit_nll"
    module = train(configured(loss, epochs=2), pictures, pictures, folder=tmp_path)
    assert all(torch.isfinite(one).all() for one in module.state_dict().values())


def test_a_missing_label_stops_the_training_or_is_masked():
    pictures = labelled()
    pictures.target[3] = np.nan
    with pytest.raises(ValueError, match=r"^target: the label of row \d is NaN"):
        train(configured(), pictures)
    assert equal(train(configured(), pictures, missing="mask"), train(configured(), pictures, missing="mask"))


def test_weights_decay_and_batch_normalisation_and_biases_do_not():
    config = configured(epochs=2)
    network = build(config.network)
    seen = {}

    class Groups(Callback):
        def on_train_start(self, trainer, pl_module):
            seen["groups"] = copy.copy(trainer.optimizers[0].param_groups)

    module = PictureNetwork(network, config.network, config.optimizer)
    fit_network(module, PictureData(labelled(), None, batch_size=8, seed=1), config, callbacks=[Groups()])
    decays = {id(one): group["weight_decay"] for group in seen["groups"] for one in group["params"]}
    for name, parameter in network.named_parameters():
        norm = parameter.ndim == 1
        assert decays[id(parameter)] == (0.0 if norm else 0.01), name


def test_the_schedule_is_one_cycle_over_all_steps():
    rates, momenta = [], []

    class Rates(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            group = trainer.optimizers[0].param_groups[0]
            rates.append(group["lr"])
            momenta.append(group["betas"][0])

    train(configured(epochs=4), callbacks=[Rates()])
    assert len(rates) == 4 * (N // 8)
    assert rates[0] == pytest.approx(0.01 / 25)
    assert rates[-1] == pytest.approx(0.01 / 1e5)
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert momenta[0] == pytest.approx(0.95)
    assert min(momenta) == pytest.approx(0.85, abs=0.01)


# Restarts


def restarting(**options):
    """Two epochs of the head, one of all at the same rate, and cosines of one and two."""
    parts = {"epochs": 6, "frozen_epochs": 2, "constant_epochs": 1, "cycles": (1, 2)}
    optimizer = OptimizerConfig(schedule="restarts", lr=0.05, batch_size=8, **parts, **options)
    return replace(configured(architecture="resnet18_concat_pool"), optimizer=optimizer)


def state_of(module):
    """Copies of the body's and of the head's weights and statistics."""
    states = module.network.backbone.features, module.network.backbone.head
    return [{name: value.clone() for name, value in state.state_dict().items()} for state in states]


class States(Callback):
    """Keeps weights and momenta at the end of each epoch, and how many momenta there are at the beginning."""

    def __init__(self):
        self.states, self.momenta = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.momenta.append(len(trainer.optimizers[0].state))

    def on_train_start(self, trainer, pl_module):
        self.states.append(state_of(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        self.states.append(state_of(pl_module))


@pytest.mark.slow
def test_a_frozen_body_stays_as_it_is_with_its_statistics():
    states = States()
    train(restarting(), labelled(), labelled(5, seed=9), callbacks=[states])
    body, head = zip(*states.states, strict=True)
    for epoch in (1, 2):
        assert all(torch.equal(body[epoch][name], value) for name, value in body[0].items())
        assert not torch.equal(head[epoch]["2.weight"], head[epoch - 1]["2.weight"])
        assert not torch.equal(head[epoch]["0.running_mean"], head[epoch - 1]["0.running_mean"])
    for name in ("0.weight", "1.running_mean", "7.1.conv2.weight", "7.1.bn2.running_var"):
        assert not torch.equal(body[3][name], body[2][name])


@pytest.mark.slow
def test_each_part_of_the_schedule_begins_without_momentum():
    states = States()
    module = train(restarting(), callbacks=[states])
    n_head = len(list(module.network.backbone.head.parameters()))
    n_all = len(list(module.network.parameters()))
    assert states.momenta == [0, n_head, 0, 0, n_all, n_all]


@pytest.mark.slow
def test_each_group_of_layers_has_its_rate():
    rates = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    train(restarting(layer_lrs=(1e-3, 1e-2, 1e-1)), callbacks=[Rates()])
    rates = np.array(rates)
    of_an_epoch = N // 8
    assert len(rates) == 6 * of_an_epoch
    np.testing.assert_allclose(rates[: 3 * of_an_epoch], np.tile([1e-3, 1e-2, 1e-1], (9, 1)))
    step = np.arange(2 * of_an_epoch)
    fall = 0.05 * (1 + np.cos(np.pi * step / len(step)))
    np.testing.assert_allclose(rates[-len(step) :], np.outer(fall, [1e-2, 1e-1, 1]))


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 7, 10])
def test_restarts_interrupted_and_resumed_are_uninterrupted_bit_for_bit(tmp_path, step):
    config, pictures = restarting(), labelled()
    whole = train(config, pictures, folder=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, pictures, folder=tmp_path / "cut", callbacks=[Stop(step)])
    assert equal(train(config, pictures, folder=tmp_path / "cut", resume=True), whole)


# Batches


def test_a_batch_has_its_pictures_each_in_one_of_eight_orientations():
    pictures, look = labelled(), Look()
    train(configured(epochs=2), pictures, callbacks=[look])
    # 26 pictures are three batches of eight; the two that are left over have their turn in other epochs.
    assert [epoch for epoch, *_ in look.batches] == [0, 0, 0, 1, 1, 1]
    row_of = {np.float32(value): row for row, value in enumerate(pictures.target)}
    orientations = set()
    for epoch in (0, 1):
        rows = []
        for _, pixels, target, _ in (one for one in look.batches if one[0] == epoch):
            assert pixels.dtype == torch.uint8
            for picture, value in zip(pixels, target, strict=True):
                row = row_of[np.float32(value.item())]
                rows.append(row)
                turned = [dihedral(pictures.pixels[row][None], which)[0] for which in range(N_DIHEDRAL)]
                (which,) = [number for number, one in enumerate(turned) if torch.equal(one, picture)]
                orientations.add(which)
        assert len(set(rows)) == 24
    assert orientations == set(range(N_DIHEDRAL))


def test_order_and_orientation_follow_from_the_seed():
    first, same, other = Look(), Look(), Look()
    for look, seed in ((first, 1), (same, 1), (other, 2)):
        config = configured(epochs=2)
        module = PictureNetwork(build(config.network), config.network, config.optimizer)
        fit_network(module, PictureData(labelled(), None, batch_size=8, seed=seed), config, callbacks=[look])
    for one, two in zip(first.batches, same.batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[1:], two[1:], strict=True))
    assert not torch.equal(first.batches[0][2], other.batches[0][2])


def test_the_pictures_in_memory_are_not_changed():
    pictures = labelled()
    before = pictures.pixels.clone()
    train(configured(epochs=2), pictures, pictures)
    assert torch.equal(pictures.pixels, before)


def test_few_pictures_are_one_batch():
    look = Look()
    train(configured(epochs=5), labelled(3), callbacks=[look])
    assert [len(one[1]) for one in look.batches] == [3] * 5


@pytest.mark.parametrize(("n", "batch_size", "devices"), [(1, 8, 1), (8, 1, 1), (8, 3, 2), (3, 8, 2)])
def test_a_batch_of_one_is_refused(n, batch_size, devices):
    with pytest.raises(ValueError, match=r"^batch_size must leave at least 2 pictures to each device"):
        PictureData(labelled(n), None, batch_size=batch_size, seed=1, n_devices=devices)


def test_a_single_picture_is_judged_all_the_same():
    config = configured()
    network = build(config.network)
    pictures = labelled(3)
    together = answer(network, pictures.pixels)
    alone = [answer(network, pictures.pixels[row : row + 1])[0] for row in range(3)]
    assert_same_estimates(alone, together)


# Interruption


@pytest.mark.slow
@pytest.mark.parametrize(("step", "loss"), [(4, "rmse"), (6, "rmse"), (8, "gaussian_nll")])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(tmp_path, step, loss):
    config, pictures, held_out = configured(loss, epochs=4), labelled(), labelled(5, seed=9)
    whole = train(config, pictures, held_out, folder=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, pictures, held_out, folder=tmp_path / "cut", callbacks=[Stop(step)])
    resumed = train(config, pictures, held_out, folder=tmp_path / "cut", resume=True)
    assert equal(resumed, whole)
    one, other = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("whole", "cut")
    )
    assert one["global_step"] == other["global_step"] == 12
    assert_same(one["optimizer_states"], other["optimizer_states"])
    assert_same(one["lr_schedulers"], other["lr_schedulers"])


def assert_same(one, other):
    """Nested states are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    else:
        assert one == other


def test_with_self_attention_the_resume_is_exact_too(tmp_path):
    # Its spectral norm has a state of its own, that of the power iteration.
    def attentive():
        return PixelNet(XResNet((1,), self_attention=True))

    config, pictures = configured(epochs=3), labelled(16)
    whole = train(config, pictures, folder=tmp_path / "whole", make=attentive)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, pictures, folder=tmp_path / "cut", callbacks=[Stop(3)], make=attentive)
    assert equal(train(config, pictures, folder=tmp_path / "cut", resume=True, make=attentive), whole)


def test_ctrl_c_is_what_it_was(tmp_path):
    import signal

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(configured(), folder=tmp_path, callbacks=[Stop(2, KeyboardInterrupt)])
    assert signal.getsignal(signal.SIGINT) is before


# Precision


def test_mixed_precision_keeps_weights_and_loss_in_single_precision():
    class Losses(Callback):
        def __init__(self):
            self.values = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.values.append(outputs["loss"])

    mixed, single = Losses(), Losses()
    module = train(configured(precision="bf16-mixed", epochs=2), callbacks=[mixed])
    other = train(configured(epochs=2), callbacks=[single])
    assert {one.dtype for one in module.parameters()} == {torch.float32}
    assert {one.dtype for one in mixed.values} == {torch.float32}
    assert not equal(module, other)
    # bfloat16 has eight bits.
    np.testing.assert_allclose(mixed.values[0], single.values[0], rtol=0.03)


# The log


def test_the_log_says_what_the_whole_held_out_set_says(tmp_path):
    pictures, held_out = labelled(), labelled(11, seed=4)
    module = train(configured(epochs=2), pictures, held_out, folder=tmp_path)
    with open(tmp_path / "log" / "version_0" / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["valid_rmse"]]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    residual = answer(module.network, held_out.pixels)[:, 0] - held_out.target
    assert float(rows[-1]["valid_rmse"]) == pytest.approx(math.sqrt(np.mean(residual**2)), abs=DEX)
    assert float(rows[-1]["valid_loss"]) == pytest.approx(float(rows[-1]["valid_rmse"]), abs=DEX)


def test_limits_do_not_count_in_the_logged_rmse(tmp_path):
    held_out = labelled(6, seed=4)
    held_out.is_limit[:] = [True, False, False, True, False, False]
    module = train(configured("tobit_nll", epochs=2), labelled(), held_out, folder=tmp_path)
    with open(tmp_path / "log" / "version_0" / "metrics.csv") as file:
        logged = [float(row["valid_rmse"]) for row in csv.DictReader(file) if row["valid_rmse"]]
    residual = (answer(module.network, held_out.pixels)[:, 0] - held_out.target)[~held_out.is_limit]
    assert logged[-1] == pytest.approx(math.sqrt(np.mean(residual**2)), rel=1e-4)


# Answers


def test_the_answer_over_all_orientations_is_the_same_for_a_turned_picture():
    network = build(configured().network)
    pixels = labelled(4).pixels
    expected = answer(network, pixels, orientations=8)
    for which in range(1, N_DIHEDRAL):
        turned = answer(network, dihedral(pixels, which), orientations=8)
        assert_same_estimates(turned, expected)
    mean = np.mean([answer(network, dihedral(pixels, which)) for which in range(N_DIHEDRAL)], axis=0)
    assert_same_estimates(expected, mean)
    with pytest.raises(ValueError, match="orientations must be 1 or 8, got 4"):
        answer(network, pixels, orientations=4)


def test_the_mean_over_views_is_that_of_the_picture_and_of_each_view():
    network, pixels = build(configured().network), labelled(4).pixels
    options = {"max_degrees": 10, "max_zoom": 1.1, "lighting": 0.05}
    found = answer_views(network, pixels, Augmentation(torch.Generator().manual_seed(8), **options), 4)
    views = Augmentation(torch.Generator().manual_seed(8), **options)
    explicit = [answer(network, pixels)] + [answer(network, views(pixels)) for _ in range(4)]
    assert np.std(explicit, axis=0).min() > 1e-4, "or the mean would show nothing"
    assert_same_estimates(found, sum(explicit) / 5)
    assert_same_estimates(answer_views(network, pixels, views, 0), explicit[0])


@pytest.mark.parametrize("architecture", ["shallow", "resnet18_concat_pool"])
def test_two_classes_are_one_logit_exactly(architecture):
    network = architectures.build(architecture, {"n_outputs": 2}).eval()
    nn.init.normal_([*network.backbone.head.modules()][-1].bias)
    pixels = labelled(5).pixels
    scores = answer(network, pixels)
    logit = answer(one_logit(copy.deepcopy(network)), pixels)
    assert logit.shape == (5, 1)
    np.testing.assert_allclose(logit[:, 0], scores[:, 1] - scores[:, 0], rtol=1e-4, atol=1e-5)
