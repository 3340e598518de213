"""The losses against SciPy, their gradients against finite differences, and labels that are missing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, special, stats

from hifrac.training.cnn.losses import gaussian_nll, rmse, smoothed_cross_entropy, tobit_nll

VALUES = st.floats(-1e3, 1e3)
LOG_SIGMAS = st.floats(-6, 6)
NAN = math.nan


@st.composite
def batches(draw):
    """Outputs (n, 2), labels (n,) and which of them are limits."""
    n = draw(st.integers(1, 8))
    mean, target = (draw(hnp.arrays(float, n, elements=VALUES)) for _ in range(2))
    log_sigma = draw(hnp.arrays(float, n, elements=LOG_SIGMAS))
    is_limit = draw(hnp.arrays(bool, n))
    return np.stack([mean, log_sigma], 1), target, is_limit


def random_batch(n=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(n, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randn(n, dtype=torch.float64, generator=generator)
    return output, target


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


# Values


def test_rmse_of_several_targets_is_that_of_all_their_errors():
    output, target = (torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert rmse(output, target).item() == pytest.approx(np.sqrt(np.mean((output - target).numpy() ** 2)))
    target[0, 1] = math.nan
    labelled = torch.isfinite(target)
    expected = (output - target)[labelled].square().mean().sqrt()
    torch.testing.assert_close(rmse(output, target, missing="mask"), expected)
    with pytest.raises(ValueError, match=r"^prediction must be"):
        rmse(output[:, :2], target)


@given(batches())
def test_rmse_is_what_it_says(batch):
    output, target, _ = batch
    expected = math.sqrt(np.mean((output[:, 0] - target) ** 2))
    mean, truth = tensors(output[:, 0], target)
    assert rmse(mean, truth).item() == pytest.approx(expected, rel=1e-12, abs=1e-150)
    assert rmse(mean[:, None], truth).item() == rmse(mean, truth).item()


@given(batches())
def test_gaussian_nll_is_that_of_scipy(batch):
    output, target, _ = batch
    expected = -stats.norm.logpdf(target, output[:, 0], np.exp(output[:, 1])).mean()
    assert gaussian_nll(*tensors(output, target)).item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@given(batches())
def test_tobit_nll_is_that_of_scipy(batch):
    output, target, is_limit = batch
    normal = stats.norm(output[:, 0], np.exp(output[:, 1]))
    expected = -np.where(is_limit, normal.logcdf(target), normal.logpdf(target)).mean()
    found = tobit_nll(*tensors(output, target, is_limit)).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-10)


@given(
    hnp.arrays(float, (5, 3), elements=st.floats(-50, 50)),
    hnp.arrays(np.int64, 5, elements=st.integers(0, 2)),
    st.floats(0, 1),
)
def test_smoothed_cross_entropy_is_that_of_the_targets_written_out(logits, number, epsilon):
    log_p = logits - special.logsumexp(logits, axis=1, keepdims=True)
    one_hot = np.eye(3)[number]
    for convention, targets in (
        ("code", (1 - epsilon) * one_hot + epsilon / 3),
        ("paper", (1 - epsilon) * one_hot + epsilon / 2 * (1 - one_hot)),
    ):
        expected = -(targets * log_p).sum(1).mean()
        found = smoothed_cross_entropy(*tensors(logits, number), epsilon, convention=convention)
        assert found.item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(("convention", "right"), [("code", 0.975), ("paper", 0.95)])
def test_the_best_probabilities_are_those_of_the_code_or_of_the_paper(convention, right):
    logits = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    best = torch.tensor([[math.log(right), math.log(1 - right)], [math.log(1 - right), math.log(right)]])
    with torch.no_grad():
        logits.copy_(best)
    smoothed_cross_entropy(logits, torch.tensor([0, 1]), convention=convention).backward()
    np.testing.assert_allclose(logits.grad, 0, atol=1e-8)


def test_the_convention_of_the_code_is_that_of_pytorch():
    logits, _ = random_batch()
    number = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    expected = torch.nn.functional.cross_entropy(logits, number, label_smoothing=0.05)
    assert smoothed_cross_entropy(logits, number).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32, torch.float64])
def test_classes_may_be_of_any_type(dtype):
    logits, _ = random_batch(4)
    number = torch.tensor([0, 1, 1, 0])
    expected = smoothed_cross_entropy(logits, number).item()
    assert smoothed_cross_entropy(logits, number.to(dtype)).item() == expected


def test_without_limits_tobit_is_gaussian():
    output, target = random_batch()
    nowhere = torch.zeros(len(target), dtype=torch.bool)
    assert tobit_nll(output, target, nowhere).item() == pytest.approx(
        gaussian_nll(output, target).item(), rel=1e-12
    )


def test_a_limit_far_above_costs_nothing_and_one_below_pushes_the_mean_down():
    output = torch.tensor([[0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = tobit_nll(output, torch.tensor([30.0, -2.0]), torch.tensor([True, True]))
    loss.backward()
    assert output.grad[0].tolist() == [0.0, 0.0]
    assert output.grad[1, 0] > 0
    assert output.grad[1, 1] < 0


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # inside LBFGS of PyTorch 2.8
def test_the_likelihood_finds_mean_and_scatter_behind_a_limit():
    rng = np.random.default_rng(3)
    truth = rng.normal(-0.4, 0.5, 4000)
    is_limit = truth < -0.5
    target, limit = tensors(np.where(is_limit, -0.5, truth), is_limit)
    output = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=60)

    def closure():
        optimizer.zero_grad()
        loss = tobit_nll(output.expand(len(target), 2), target, limit)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert output[0].item() == pytest.approx(-0.4, abs=0.03)
    assert output[1].exp().item() == pytest.approx(0.5, abs=0.03)


# Gradients


def test_gradients_are_those_of_finite_differences():
    output, target = random_batch()
    is_limit = torch.tensor([True, False, True, True, False, False, True])
    number = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    check = torch.autograd.gradcheck
    assert check(lambda one: rmse(one[:, 0], target), output)
    assert check(lambda one: gaussian_nll(one, target), output)
    assert check(lambda one: tobit_nll(one, target, is_limit), output)
    for convention in ("code", "paper"):
        assert check(lambda one: smoothed_cross_entropy(one, number, convention=convention), output)  # noqa: B023


@given(
    mean=st.floats(-1e4, 1e4, width=32),
    target=st.floats(-1e4, 1e4, width=32),
    log_sigma=st.floats(-20, 20, width=32),
    is_limit=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=200)
def test_loss_and_gradient_are_finite_however_wrong_the_network_is(mean, target, log_sigma, is_limit, dtype):
    output = torch.tensor([[mean, log_sigma], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([target, 0.0], dtype=dtype)
    loss = tobit_nll(output, labels, torch.tensor([is_limit, not is_limit]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("z", [-1e8, -1e4, -200.0, -38.0, -5.0, 0.0, 5.0, 10.0])
def test_far_limits_pull_as_hard_as_they_should(z, dtype, accuracy):
    output = torch.tensor([[0.0, 0.0]], dtype=dtype, requires_grad=True)
    tobit_nll(output, torch.tensor([z], dtype=dtype), torch.tensor([True])).backward()
    # Phi / phi is the integral of exp(z t - t^2 / 2) over positive t.
    scale = max(1.0, -z)
    ratio, _ = integrate.quad(lambda s: math.exp(z * s / scale - (s / scale) ** 2 / 2), 0, 60, epsrel=1e-13)
    expected = scale / ratio
    assert output.grad[0, 0].item() == pytest.approx(expected, rel=accuracy)
    assert output.grad[0, 1].item() == pytest.approx(expected * z, rel=accuracy)


def test_an_exact_batch_has_no_gradient():
    prediction = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = rmse(prediction, torch.tensor([1.0, 2.0]))
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad.tolist() == [0.0, 0.0]


# Labels that are missing or wrong

LIMITS = torch.tensor([True, False, True, False])
LOSSES = {
    "rmse": lambda output, target, **options: rmse(output[:, 0], target, **options),
    "gaussian": gaussian_nll,
    "tobit": lambda output, target, **options: tobit_nll(
        output, target, LIMITS[: target.numel()].reshape(target.shape), **options
    ),
    "cross-entropy": smoothed_cross_entropy,
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@each_loss
def test_a_missing_label_is_masked_with_its_row(loss):
    output, _ = random_batch(4)
    target = torch.tensor([0.0, 1.0, NAN, NAN])
    masked = loss(output, target, missing="mask")
    masked.backward()
    assert output.grad[:2].abs().max() > 0
    assert not output.grad[2:].any()
    assert masked.item() == pytest.approx(loss(output[:2], target[:2]).item(), rel=1e-12)


@each_loss
def test_a_batch_without_labels_has_no_loss_and_no_gradient(loss):
    output, _ = random_batch(4)
    nothing = loss(output, torch.full((4,), NAN), missing="mask")
    nothing.backward()
    assert nothing.item() == 0
    assert not output.grad.any()


@each_loss
def test_a_missing_label_is_an_error_that_names_the_row(loss):
    output, _ = random_batch(4)
    with pytest.raises(ValueError, match=r"^target: the label of row 2 is NaN"):
        loss(output, torch.tensor([0.0, 1.0, NAN, NAN]))


@each_loss
@pytest.mark.parametrize("missing", ["raise", "mask"])
def test_an_infinite_label_is_always_an_error(loss, missing):
    output, _ = random_batch(4)
    target = torch.tensor([NAN if missing == "mask" else 0.0, 1.0, 0.0, -math.inf])
    with pytest.raises(ValueError, match=r"^target: the label of row 3 is infinite"):
        loss(output, target, missing=missing)


@pytest.mark.parametrize("label", [-1.0, 2.0, 0.5])
def test_a_label_that_is_no_class(label):
    output, _ = random_batch(4)
    with pytest.raises(ValueError, match=r"^target: the label of row 3 is no class of 2"):
        smoothed_cross_entropy(output, torch.tensor([0.0, NAN, 1.0, label]), missing="mask")


@each_loss
def test_what_to_do_must_be_known(loss):
    with pytest.raises(ValueError, match=r"^missing must be one of \('raise', 'mask'\), got 'ignore'"):
        loss(random_batch(4)[0], torch.zeros(4), missing="ignore")


@each_loss
@pytest.mark.parametrize("shape", [(3,), (4, 1), ()])
def test_labels_of_a_wrong_shape(loss, shape):
    with pytest.raises(ValueError, match=r"^(prediction|output|target) must be "):
        loss(random_batch(4)[0], torch.zeros(shape))


def test_outputs_of_a_wrong_shape():
    target = torch.zeros(4)
    with pytest.raises(ValueError, match=r"^prediction must be \(n,\) or \(n, 1\)"):
        rmse(torch.zeros(4, 2), target)
    for loss in (gaussian_nll, LOSSES["tobit"]):
        with pytest.raises(ValueError, match=r"^output must be \(n, 2\)"):
            loss(torch.zeros(4, 1), target)
    for logits in (torch.zeros(4, 1), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"^logits must be \(n, classes\)"):
            smoothed_cross_entropy(logits, target)


def test_limits_of_a_wrong_kind():
    output, target = torch.zeros(4, 2), torch.zeros(4)
    with pytest.raises(TypeError, match=r"^is_limit must be boolean, got torch\.float32"):
        tobit_nll(output, target, target)
    with pytest.raises(ValueError, match=r"^is_limit must have the shape of target, \(4,\), got \(3,\)"):
        tobit_nll(output, target, LIMITS[:3])


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, NAN])
def test_a_smoothing_out_of_range(epsilon):
    with pytest.raises(ValueError, match=r"^epsilon must lie from 0 to 1"):
        smoothed_cross_entropy(torch.zeros(1, 2), torch.zeros(1), epsilon)


def test_an_unknown_convention():
    with pytest.raises(ValueError, match=r"^convention must be one of \('code', 'paper'\), got 'mine'"):
        smoothed_cross_entropy(torch.zeros(1, 2), torch.zeros(1), convention="mine")
