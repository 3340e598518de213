"""The paper's optimizer and its schedule: Lookahead of rectified Adam, one cycle.

Wu (2020, ApJ 900, 142, section 3): rectified Adam (Liu et al. 2020,
arXiv:1908.03265), Lookahead (Zhang et al. 2019, arXiv:1907.08610), decoupled
weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101) on all but batch
normalisation and biases, and the one-cycle policy (Smith 2018,
arXiv:1803.09820). The defaults are the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_optimizer import Lookahead
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

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


def _require_positive(**options: float) -> None:
    for name, value in options.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
