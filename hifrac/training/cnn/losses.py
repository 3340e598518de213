"""Losses: what training makes small, for measured values, upper limits and classes.

Each is a mean over the rows of a batch that have a label. A label that is
missing (NaN) stops the training unless ``missing="mask"`` leaves its row out;
a batch with no label at all then has the loss 0. What is wrong with a shape or a
label is a ValueError, which names the first such row.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_MISSING = ("raise", "mask")
_CONVENTIONS = ("code", "paper")


def rmse(prediction: Tensor, target: Tensor, *, missing: str = "raise") -> Tensor:
    """Compute the root of the mean squared error of estimates (n,) or (n, 1), in the unit of the target.

    Of several targets (n, k), with estimates of the same shape, it is the mean over all of them (Wu & Boada
    2019). Its gradient is 0 where all is exact.
    """
    if target.ndim == 2 and prediction.shape == target.shape:
        prediction, target = prediction.flatten(), target.flatten()
    prediction = _column(prediction, "prediction", target)
    labelled = _labelled(target, missing)
    residual = prediction[labelled] - target[labelled]
    if len(residual) == 0:
        return residual.sum()
    # A norm, because the derivative of a square root at 0 is infinite.
    return torch.linalg.vector_norm(residual) / math.sqrt(len(residual))


def gaussian_nll(output: Tensor, target: Tensor, *, missing: str = "raise") -> Tensor:
    """Compute the negative log likelihood of values with normal errors whose size the network gives too.

    The output, shape (n, 2), is the mean and the natural logarithm of sigma. The loss is the mean of
    (z^2 + log 2 pi) / 2 + log sigma, with z = (target - mean) / sigma.
    """
    _require_pairs(output, target)
    labelled = _labelled(target, missing)
    return _mean(_gaussian(output[labelled], target[labelled]))


def tobit_nll(output: Tensor, target: Tensor, is_limit: Tensor, *, missing: str = "raise") -> Tensor:
    """Compute the negative log likelihood of values and upper limits (Tobin 1958, Econometrica 26, 24).

    Of an upper limit only that the truth lies below it is known, the probability of which is Phi((limit -
    mean) / sigma): the loss is the mean of `gaussian_nll` of the truths and -log Phi of the limits. The
    output, shape (n, 2), is as there. Loss and gradient stay finite as long as the square of (target - mean)
    / sigma does.
    """
    _require_pairs(output, target)
    if is_limit.dtype != torch.bool:
        raise TypeError(f"is_limit must be boolean, got {is_limit.dtype}")
    if is_limit.shape != target.shape:
        raise ValueError(f"is_limit must have the shape of target, {_of(target)}, got {_of(is_limit)}")
    labelled = _labelled(target, missing)
    limits, truths = labelled & is_limit, labelled & ~is_limit
    # Two selections, not one choice between two results: the other's infinities would reach the gradient.
    z = (target[limits] - output[limits, 0]) * torch.exp(-output[limits, 1])
    parts = [_gaussian(output[truths], target[truths]), -_LogPhi.apply(z)]
    return _mean(torch.cat(parts))


def smoothed_cross_entropy(
    logits: Tensor,
    target: Tensor,
    epsilon: float = 0.05,
    *,
    convention: str = "code",
    missing: str = "raise",
) -> Tensor:
    """Compute the cross-entropy with smoothed labels.

    ``logits``, shape (n, classes), are unnormalised log probabilities; ``target`` is the number of the
    class. Epsilon is taken from the right class, and given to all alike, the right one too, by the
    convention ``"code"`` (Szegedy et al. 2016, CVPR), so that for two classes and 0.05 the targets are 0.975
    and 0.025, as in the code of Wu (2020, ApJ 900, 142); or by ``"paper"`` to the wrong ones, so that they
    are 0.95 and 0.05, as in the text of its section 5.2.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must be (n, classes) with at least two classes, got {_of(logits)}")
    if target.shape != logits.shape[:1]:
        raise ValueError(f"target must be ({len(logits)},) as logits are, got {_of(target)}")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must lie from 0 to 1, got {epsilon}")
    if convention not in _CONVENTIONS:
        raise ValueError(f"convention must be one of {_CONVENTIONS}, got {convention!r}")
    classes = logits.shape[1]
    labelled = _labelled(target, missing)
    logits, target = logits[labelled], target[labelled]
    number = target.long()
    _require_all((number == target) & (number >= 0) & (number < classes), labelled, f"no class of {classes}")
    wrong = epsilon / classes if convention == "code" else epsilon / (classes - 1)
    right = 1 - (classes - 1) * wrong
    log_p = functional.log_softmax(logits, dim=1)
    of_target = log_p.gather(1, number[:, None])[:, 0]
    return _mean(-(right - wrong) * of_target - wrong * log_p.sum(1))


class _LogPhi(torch.autograd.Function):
    """log Phi(z), with a derivative that holds far out.

    That of `torch.special.log_ndtr` is the exponential of a difference of
    large numbers: in float32 it is 4% off at z = -1000 and meaningless at -10,000.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return torch.special.log_ndtr(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        # phi(z) / Phi(z), and Phi(z) = exp(-z^2 / 2) erfcx(-z / sqrt 2) / 2.
        return gradient * math.sqrt(2 / math.pi) / torch.special.erfcx(-z / math.sqrt(2))


def _gaussian(output: Tensor, target: Tensor) -> Tensor:
    mean, log_sigma = output[:, 0], output[:, 1]
    z = (target - mean) * torch.exp(-log_sigma)
    return 0.5 * z**2 + log_sigma + _HALF_LOG_2PI


def _mean(values: Tensor) -> Tensor:
    """Return the mean; of no values 0, with a gradient of 0."""
    return values.sum() / max(len(values), 1)


def _of(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _column(values: Tensor, name: str, target: Tensor) -> Tensor:
    """Return values (n,) or (n, 1) as (n,); against the target, (n, 1) would be broadcast to n x n errors."""
    if target.ndim != 1 or _of(values) not in ((len(target),), (len(target), 1)):
        raise ValueError(f"{name} must be (n,) or (n, 1) for a target (n,), got {_of(values)}, {_of(target)}")
    return values.reshape(-1)


def _require_pairs(output: Tensor, target: Tensor) -> None:
    if target.ndim != 1 or _of(output) != (len(target), 2):
        raise ValueError(f"output must be (n, 2) for a target (n,), got {_of(output)}, {_of(target)}")


def _labelled(target: Tensor, missing: str) -> Tensor:
    """Tell which rows have a label; raise where one is infinite, or missing and not to be masked."""
    if missing not in _MISSING:
        raise ValueError(f"missing must be one of {_MISSING}, got {missing!r}")
    labelled = ~torch.isnan(target)
    if missing == "raise":
        _require_all(labelled, torch.ones_like(labelled), "NaN; missing='mask' would leave it out")
    _require_all(torch.isfinite(target[labelled]), labelled, "infinite")
    return labelled


def _require_all(good: Tensor, labelled: Tensor, fault: str) -> None:
    """Raise for the first row that is not good; ``good`` has one value for each labelled row."""
    if not bool(good.all()):
        row = int(labelled.nonzero()[~good][0])
        raise ValueError(f"target: the label of row {row} is {fault}")
