"""The paper's optimizer against one written from its formulas, interrupted or not; and its schedule."""

import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from hifrac.models.architectures import build
from hifrac.models.xresnet import PixelNet, XResNet, shallow
from hifrac.training.cnn.optim import (
    layer_groups,
    momentum_descent,
    one_cycle,
    parameter_groups,
    radam_lookahead,
    restarts,
)

N_STEPS = 40
SHAPES = {"matrix": (4, 3), "kernel": (2, 3, 3, 3), "vector": (5,)}
DECAYS = {"matrix": 0.01, "kernel": 0.01, "vector": 0.0}


class WrittenOut:
    """Rectified Adam (Liu et al. 2020, algorithm 2), decoupled decay, and Lookahead, in NumPy."""

    def __init__(self, start, *, beta2=0.99, eps=1e-6, k=6, alpha=0.5, decay=DECAYS):
        self.fast = {name: value.copy() for name, value in start.items()}
        self.slow = {name: value.copy() for name, value in start.items()}
        self.first = {name: np.zeros_like(value) for name, value in start.items()}
        self.second = {name: np.zeros_like(value) for name, value in start.items()}
        self.beta2, self.eps, self.k, self.alpha, self.decay = beta2, eps, k, alpha, decay
        self.t = 0
        self.rectified = []

    def step(self, gradient, lr, beta1):
        self.t += 1
        longest = 2 / (1 - self.beta2) - 1
        power = self.beta2**self.t
        length = longest - 2 * self.t * power / (1 - power)
        self.rectified.append(length > 5)
        for name, g in gradient.items():
            self.fast[name] = self.fast[name] - lr * self.decay[name] * self.fast[name]
            self.first[name] = beta1 * self.first[name] + (1 - beta1) * g
            self.second[name] = self.beta2 * self.second[name] + (1 - self.beta2) * g**2
            step = self.first[name] / (1 - beta1**self.t)
            if length > 5:
                rectification = math.sqrt(
                    (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
                )
                # As in the paper's code, the constant joins the root before the correction of the bias.
                root = (np.sqrt(self.second[name]) + self.eps) / math.sqrt(1 - power)
                step = step * rectification / root
            self.fast[name] = self.fast[name] - lr * step
        if self.t % self.k == 0:
            for name, fast in self.fast.items():
                self.slow[name] = self.slow[name] + self.alpha * (fast - self.slow[name])
                self.fast[name] = self.slow[name].copy()


def start_values(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(scale=0.3, size=shape) for name, shape in SHAPES.items()}


def gradient_at(values, step):
    """The gradient of a noisy bowl: it depends on where the weights are."""
    rng = np.random.default_rng(1000 + step)
    return {name: 0.5 * value + rng.normal(size=value.shape) for name, value in values.items()}


def ours(start, dtype=torch.float64, **options):
    weights = {name: nn.Parameter(torch.tensor(value, dtype=dtype)) for name, value in start.items()}
    groups = [
        {"params": [weights["matrix"], weights["kernel"]]},
        {"params": [weights["vector"]], "weight_decay": 0.0},
    ]
    return weights, radam_lookahead(groups, **options)


def take(weights, optimizer, step):
    values = {name: weight.detach().double().numpy() for name, weight in weights.items()}
    for name, gradient in gradient_at(values, step).items():
        weights[name].grad = torch.from_numpy(gradient).to(weights[name].dtype)
    optimizer.step()


def largest_difference(weights, written):
    return max(
        float(np.abs(weight.detach().double().numpy() - written.fast[name]).max())
        for name, weight in weights.items()
    )


# The optimizer


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("lr", [0.01, 0.1])
def test_every_step_is_that_of_the_formulas(dtype, tolerance, lr):
    start = start_values()
    weights, optimizer = ours(start, dtype, lr=lr)
    written = WrittenOut(start)
    for step in range(N_STEPS):
        take(weights, optimizer, step)
        written.step(gradient_at(written.fast, step), lr, 0.95)
        assert largest_difference(weights, written) < tolerance, step
    assert written.rectified == [step > 5 for step in range(1, N_STEPS + 1)]
    assert max(np.abs(written.fast[name] - start[name]).max() for name in start) > 2 * lr


def test_the_formulas_notice_each_option():
    start = start_values()
    default, optimizer = ours(start, lr=0.01)
    for step in range(N_STEPS):
        take(default, optimizer, step)
    for options in ({"k": 5}, {"alpha": 0.6}, {"eps": 1e-2}, {"betas": (0.9, 0.99)}, {"weight_decay": 0.1}):
        weights, optimizer = ours(start, lr=0.01, **options)
        for step in range(N_STEPS):
            take(weights, optimizer, step)
        assert any((weights[name] - default[name]).abs().max() > 1e-5 for name in weights), options


@pytest.mark.parametrize("pause", [3, 5, 6, 20, 37])
def test_an_interrupted_training_continues_exactly(pause):
    start = start_values()

    def begin(values):
        weights, optimizer = ours(values, lr=1e-9)
        return weights, optimizer, one_cycle(optimizer, 0.01, N_STEPS)

    def run(weights, optimizer, schedule, steps):
        for step in steps:
            take(weights, optimizer, step)
            schedule.step()

    through = begin(start)
    run(*through, range(N_STEPS))

    first = begin(start)
    run(*first, range(pause))
    file = io.BytesIO()
    weights, optimizer, schedule = first
    torch.save([weights, optimizer.state_dict(), schedule.state_dict()], file)
    run(*first, range(pause, N_STEPS))  # what is saved is not what goes on
    file.seek(0)
    saved, optimizer_state, schedule_state = torch.load(file, weights_only=True)
    second = begin(start_values(seed=9))
    with torch.no_grad():
        for name, weight in second[0].items():
            weight.copy_(saved[name])
    second[1].load_state_dict(optimizer_state)
    second[2].load_state_dict(schedule_state)
    run(*second, range(pause, N_STEPS))
    for name, weight in through[0].items():
        assert torch.equal(second[0][name], weight), name
        assert torch.equal(first[0][name], weight), name


def test_neither_batch_normalisation_nor_biases_decay():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    decaying, kept = parameter_groups(network, 0.02)
    assert decaying["weight_decay"] == 0.02
    assert kept["weight_decay"] == 0
    assert {id(one) for one in decaying["params"]} == {id(network[0].weight), id(network[3].weight)}
    assert {id(one) for one in kept["params"]} == {
        id(one) for one in (network[0].bias, network[1].weight, network[1].bias, network[3].bias)
    }


def test_each_parameter_of_the_papers_network_is_in_one_group():
    network = XResNet((1, 1))
    decaying, kept = parameter_groups(network)
    chosen = [id(one) for group in (decaying, kept) for one in group["params"]]
    assert sorted(chosen) == sorted(id(one) for one in network.parameters())
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(kept["params"]) == 2 * len(norms) + 1
    optimizer = radam_lookahead(network)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]


def test_what_is_frozen_or_shared_is_trained_never_or_once():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    network[2].requires_grad_(False)
    decaying, kept = parameter_groups(network)
    assert [id(one) for one in decaying["params"]] == [id(network[0].weight)]
    assert [id(one) for one in kept["params"]] == [id(network[0].bias), id(network[1].bias)]


def test_without_gradient_a_biased_weight_shrinks_and_a_bias_stays():
    network = nn.Linear(2, 2)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = radam_lookahead(network, lr=0.1, weight_decay=0.5)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(network.weight.detach(), before["weight"] * (1 - 0.1 * 0.5))
    torch.testing.assert_close(network.bias.detach(), before["bias"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be positive, got 0"),
        ({"alpha": 0.0}, "alpha must be positive, got 0"),
        ({"alpha": 1.5}, "alpha must be at most 1, got 1.5"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        radam_lookahead(nn.Linear(1, 1), **options)


@pytest.mark.parametrize("nothing", [[], nn.ReLU()])
def test_nothing_to_train(nothing):
    with pytest.raises(ValueError, match=r"^model_or_params must have at least one parameter"):
        radam_lookahead(nothing)


# The schedule


def cycle(total_steps, **options):
    """Learning rate and momentum of each step, as the optimizer takes it."""
    weights, optimizer = ours(start_values())
    schedule = one_cycle(optimizer, 0.01, total_steps, **options)
    taken = []
    for step in range(total_steps):
        group = optimizer.param_groups[-1]
        taken.append((group["lr"], group["betas"][0]))
        assert group["betas"][1] == 0.99
        take(weights, optimizer, step)
        schedule.step()
    return np.array(taken).T


def test_one_cycle_has_the_papers_values_at_its_ends_and_its_top():
    lr, momentum = cycle(400)
    top = 99
    assert lr.argmax() == momentum.argmin() == top
    np.testing.assert_allclose(lr[[0, top, -1]], [0.01 / 25, 0.01, 0.01 / 1e5], rtol=1e-9)
    np.testing.assert_allclose(momentum[[0, top, -1]], [0.95, 0.85, 0.95], rtol=1e-12)


@pytest.mark.parametrize(("total_steps", "warm_up"), [(400, 0.25), (400, 0.3), (7, 0.5)])
def test_rise_and_fall_are_half_periods_of_a_cosine(total_steps, warm_up):
    top = warm_up * total_steps - 1
    step = np.arange(total_steps)
    rising = step <= top
    phase = np.where(rising, step / top, (step - top) / (total_steps - 1 - top))
    swing = (1 - np.cos(np.pi * phase)) / 2
    low = np.where(rising, 0.01 / 25, 0.01 / 1e5)
    lr, momentum = cycle(total_steps, warm_up=warm_up)
    share = np.where(rising, swing, 1 - swing)
    np.testing.assert_allclose(lr, low + (0.01 - low) * share, rtol=1e-9)
    np.testing.assert_allclose(momentum, 0.95 - 0.1 * share, rtol=1e-9)


def test_the_schedule_drives_the_wrapped_optimizer():
    start = start_values()
    weights, optimizer = ours(start, lr=123.0)
    schedule = one_cycle(optimizer, 0.05, N_STEPS)
    written = WrittenOut(start)
    lr, momentum = cycle(N_STEPS)
    for step in range(N_STEPS):
        take(weights, optimizer, step)
        schedule.step()
        written.step(gradient_at(written.fast, step), 5 * lr[step], momentum[step])
        assert largest_difference(weights, written) < 1e-12, step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_lr": 0.0}, "max_lr must be positive, got 0"),
        ({"div": -1.0}, "div must be positive, got -1"),
        ({"final_div": 0.0}, "final_div must be positive, got 0"),
        ({"warm_up": 1.0}, "warm_up must lie between 0 and 1, got 1"),
        ({"total_steps": 4}, "total_steps must be above 4 for a rise and a fall, got 4"),
    ],
)
def test_schedules_that_cannot_be(arguments, message):
    _, optimizer = ours(start_values())
    with pytest.raises(ValueError, match=f"^{message}"):
        one_cycle(optimizer, **{"max_lr": 0.01, "total_steps": 100, **arguments})


# Restarts


def rates_of_fastai(of_an_epoch, lr):
    """The rates of the published notebook: three epochs at ``lr``, then cosines of 1, 2 and 4."""
    constant = np.full(3 * of_an_epoch, lr)
    cosines = [
        lr / 2 * (1 + np.cos(np.linspace(0, np.pi, n + 1)[:-1])) for n in of_an_epoch * np.array([1, 2, 4])
    ]
    cosines = np.concatenate(cosines)
    cosines[: math.ceil(of_an_epoch / 20)] = lr / 100
    return np.concatenate([constant, cosines])


@pytest.mark.parametrize("of_an_epoch", [1, 2, 20, 41])
def test_the_rates_are_those_of_the_paper(of_an_epoch):
    network = PixelNet(shallow(1))
    lrs = [1e-3, 1e-2, 1e-1]
    optimizer = momentum_descent(network, lrs)
    schedule = restarts(
        optimizer, constant_steps=3 * of_an_epoch, cycle_steps=[n * of_an_epoch for n in (1, 2, 4)]
    )
    taken = []
    for _ in range(10 * of_an_epoch):
        taken.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    for column, lr in zip(np.transpose(taken), lrs, strict=True):
        np.testing.assert_allclose(column, rates_of_fastai(of_an_epoch, lr), rtol=1e-9)
    assert schedule.get_last_lr() == [0, 0, 0]


def test_layers_are_grouped_as_by_fastai():
    with torch.device("meta"):
        network = build("resnet34_concat_pool")
    groups = layer_groups(network)
    # Convolution, normalisation, ReLU, pooling, stages 1 and 2; stages 3 and 4; head.
    assert [len(group) for group in groups] == [6, 2, 1]
    counts = [sum(value.numel() for value in group.parameters()) for group in groups]
    assert sum(counts) == sum(value.numel() for value in network.parameters())
    assert counts[0] == 9408 + 128 + 221_952 + 1_116_416
    assert [len(group) for group in layer_groups(PixelNet(XResNet((1, 1, 1, 1))))] == [4, 2, 1]


def test_descent_has_momentum_and_no_decay_unless_asked():
    optimizer = momentum_descent(PixelNet(shallow(1)), [0.1, 0.2, 0.3], weight_decay=1e-4)
    assert [(group["lr"], group["momentum"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (lr, 0.9, 1e-4) for lr in (0.1, 0.2, 0.3)
    ]
    with pytest.raises(ValueError, match=r"^lrs must be three rates, one for each group of layers, got 2"):
        momentum_descent(PixelNet(shallow(1)), [0.1, 0.2])


@pytest.mark.parametrize(("constant", "cycles"), [(-1, [1]), (0, []), (0, [2, 0])])
def test_restarts_that_are_none(constant, cycles):
    with pytest.raises(ValueError, match=r"^constant_steps must be at least 0, and cycle_steps"):
        restarts(
            momentum_descent(PixelNet(shallow(1)), [1, 1, 1]), constant_steps=constant, cycle_steps=cycles
        )
