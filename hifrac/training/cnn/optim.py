"""The papers' optimizers and their schedules: Lookahead of rectified Adam in one cycle, and restarts.

Wu (2020, ApJ 900, 142, section 3): rectified Adam (Liu et al. 2020,
arXiv:1908.03265), Lookahead (Zhang et al. 2019, arXiv:1907.08610), decoupled
weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101) on all but batch
normalisation and biases, and the one-cycle policy (Smith 2018,
arXiv:1803.09820). The defaults are the paper's.

Wu & Boada (2019, MNRAS 484, 4683), as their code ran with fastai 0.7: stochastic gradient descent with
momentum at a constant rate, and then along cosines that are restarted (Loshchilov & Hutter 2017,
arXiv:1608.03983).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pytorch_optimizer import Lookahead
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from hifrac.models.xresnet import PixelNet

_MOMENTUM = 0.9  # fastai's default
#: fastai 0.7 begins its cosines with a share of the first cycle at a part of the rate.
_SLOW_SHARE, _SLOW_FACTOR = 1 / 20, 1 / 100

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def parameter_groups(network: nn.Module, weight_decay: float = 0.01) -> list[dict[str, Any]]:
    """Sort the trainable parameters of a network: with weight decay, and without.

    The second group are biases and all that belongs to batch normalisation. A parameter that two modules
    share counts once.
    """
    decaying: dict[int, Tensor] = {}
    exempt: dict[int, Tensor] = {}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                is_exempt = name == "bias" or isinstance(module, _BATCH_NORMS)
                (exempt if is_exempt else decaying)[id(parameter)] = parameter
    with_decay = [parameter for key, parameter in decaying.items() if key not in exempt]
    return [
        {"params": with_decay, "weight_decay": weight_decay},
        {"params": list(exempt.values()), "weight_decay": 0.0},
    ]


def radam_lookahead(
    model_or_params: nn.Module | Iterable[Tensor] | Iterable[dict[str, Any]],
    lr: float = 0.01,
    *,
    betas: tuple[float, float] = (0.95, 0.99),
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    k: int = 6,
    alpha: float = 0.5,
) -> Lookahead:
    """Make the paper's optimizer; its state, saved and restored, continues exactly.

    A step is rectified where the length of the moving average exceeds 5 (step 6 on with the paper's 0.99),
    and is plain momentum before. Each step multiplies weights by 1 - lr * weight_decay; batch normalisation
    and biases of a network do not decay. Every ``k`` steps the slow weights move by ``alpha`` of the way to
    the fast ones, which go on from there.
    """
    groups: list[Any]
    if isinstance(model_or_params, nn.Module):
        groups = [group for group in parameter_groups(model_or_params, weight_decay) if group["params"]]
    else:
        groups = list(model_or_params)
    if not groups:
        raise ValueError("model_or_params must have at least one parameter to train")
    _require_positive(k=k, alpha=alpha)
    if alpha > 1:
        raise ValueError(f"alpha must be at most 1, got {alpha}")
    fast = torch.optim.RAdam(
        groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True
    )
    return Lookahead(fast, k=k, alpha=alpha)


def one_cycle(
    optimizer: torch.optim.Optimizer,
    max_lr: float,
    total_steps: int,
    *,
    warm_up: float = 0.25,
    div: float = 25.0,
    final_div: float = 1e5,
    momentum: tuple[float, float] = (0.95, 0.85),
) -> OneCycleLR:
    """Make the one-cycle schedule, to be stepped after each batch.

    The learning rate rises from ``max_lr / div`` to ``max_lr`` in a share ``warm_up`` of the steps, and
    falls to ``max_lr / final_div``; the momentum falls from its first value to its second and rises again;
    all along half periods of a cosine.
    """
    _require_positive(max_lr=max_lr, div=div, final_div=final_div)
    if not 0 < warm_up < 1:
        raise ValueError(f"warm_up must lie between 0 and 1, got {warm_up}")
    if warm_up * total_steps <= 1:
        raise ValueError(
            f"total_steps must be above {1 / warm_up:g} for a rise and a fall, got {total_steps}"
        )
    outer, inner = momentum
    return OneCycleLR(
        optimizer,
        max_lr,
        total_steps=total_steps,
        pct_start=warm_up,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=inner,
        max_momentum=outer,
        div_factor=div,
        # PyTorch divides the initial rate by this one; the paper's code divides the largest.
        final_div_factor=final_div / div,
    )


def layer_groups(network: PixelNet) -> list[nn.ModuleList]:
    """Return the three groups of layers that may have their own rates: up to stage 2, stages 3 and 4, head.

    So fastai 0.7 cuts the residual networks of torchvision (its ``lr_cut`` is 6).
    """
    *body, third, fourth = network.backbone.body()
    return [nn.ModuleList(modules) for modules in (body, [third, fourth], [network.backbone.head])]


def momentum_descent(
    network: PixelNet, lrs: Sequence[float], *, weight_decay: float = 0.0
) -> torch.optim.SGD:
    """Make gradient descent with momentum 0.9, with a rate for each of the `layer_groups`."""
    if len(lrs) != 3:
        raise ValueError(f"lrs must be three rates, one for each group of layers, got {len(lrs)}")
    groups = [
        {"params": list(group.parameters()), "lr": lr}
        for group, lr in zip(layer_groups(network), lrs, strict=True)
    ]
    return torch.optim.SGD(groups, momentum=_MOMENTUM, weight_decay=weight_decay)


def restarts(
    optimizer: torch.optim.Optimizer, *, constant_steps: int, cycle_steps: Sequence[int]
) -> LambdaLR:
    """Make a schedule of constant rates and then cosines, each from the full rate to 0 in its steps.

    It is to be stepped after each batch. As in fastai 0.7 the first twentieth of the first cosine has a
    hundredth of the rate.
    """
    if constant_steps < 0 or not cycle_steps or min(cycle_steps) < 1:
        raise ValueError(
            "constant_steps must be at least 0, and cycle_steps numbers of at least 1; "
            f"got {constant_steps} and {list(cycle_steps)}"
        )

    def factor(step: int) -> float:
        step -= constant_steps
        if step < 0:
            return 1.0
        if step < _SLOW_SHARE * cycle_steps[0]:
            return _SLOW_FACTOR
        for steps in cycle_steps:
            if step < steps:
                return 0.5 * (1 + math.cos(math.pi * step / steps))
            step -= steps
        return 0.0

    return LambdaLR(optimizer, factor)


def _require_positive(**options: float) -> None:
    for name, value in options.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
