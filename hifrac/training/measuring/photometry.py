"""The head that reads magnitudes, colours, redshift and mass off the measurements, fitted by steps."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch.nn import functional

from hifrac.models.photometry import PhotometryHead
from hifrac.models.reading import ReadingNet
from hifrac.training.measuring.linear import set_state

# Chosen of two configurations on other folds: 64 wide, 30 epochs, 0.1 dropout is 2% worse.
EPOCHS, BATCH, RATE, DECAY = 40, 128, 3e-3, 0.03
_CORNER = 0.3  # of the loss, in units of the spread of a quantity
_START_PENALTY = 10.0
#: The reddening, in mag, is given little room: what is read are magnitudes as observed.
_REDDENING = (0.08, 0.08)
#: Targets beyond these percentiles are moved there.
_PERCENTILES = (0.1, 99.9)


def fit_photometry(
    head: PhotometryHead,
    features: np.ndarray,
    quantities: np.ndarray,
    seed: int = 0,
    *,
    decay: float = DECAY,
) -> None:
    """Fit the head to the known quantities of some pictures, in place.

    ``seed`` fixes the steps; the larger the ``decay`` of weights, the smoother the network.
    """
    center, scale = np.median(features, 0), features.std(0) + 1e-6
    center[-1], scale[-1] = _REDDENING
    targets = np.where(np.isfinite(quantities), quantities, np.nanmedian(quantities, 0))
    targets = np.clip(targets, *np.percentile(targets, _PERCENTILES, axis=0))
    middle, spread = targets.mean(0), np.maximum(targets.std(0), 1e-6)
    set_state(head, input_center=center, input_scale=scale, center=middle, scale=spread)
    with torch.no_grad():
        inputs = head.inputs(torch.from_numpy(features).float())
    wanted = torch.from_numpy((targets - middle) / spread).float()
    # What is drawn, first weights and dropout, leaves the generator of the caller as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _start(head, inputs, wanted)
        _descend(head, inputs, wanted, decay)
    head.eval()


def fit_photometries(
    network: ReadingNet, features: np.ndarray, quantities: np.ndarray, *, decay: float = DECAY
) -> None:
    """Fit all heads of a network to the known quantities of some pictures, in place."""
    for seed, head in enumerate(network.photometry):
        fit_photometry(cast(PhotometryHead, head), features, quantities, seed, decay=decay)


def readings(network: ReadingNet, features: np.ndarray) -> np.ndarray:
    """Return what the heads of a network read off pictures, as observed, (n, 8) or more."""
    with torch.inference_mode():
        return network.quantities(torch.from_numpy(features).float()).double().numpy()


def _start(head: PhotometryHead, inputs: torch.Tensor, wanted: torch.Tensor) -> None:
    """Begin with the ridge regression, to which the network adds little at first."""
    for layer in head.deep:
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    ridge = Ridge(_START_PENALTY).fit(inputs.numpy(), wanted.numpy())
    set_state(head.linear, weight=ridge.coef_, bias=ridge.intercept_)
    last = [*head.deep.children()][-1]
    with torch.no_grad():
        for name, factor in (("weight", 0.1), ("bias", 0.0)):
            last.get_parameter(name).mul_(factor)


def _descend(head: PhotometryHead, inputs: torch.Tensor, wanted: torch.Tensor, decay: float) -> None:
    size = min(BATCH, len(inputs))
    n_batches = len(inputs) // size
    weights = [*head.linear.parameters(), *head.deep.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * n_batches)
    head.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs))[: n_batches * size].view(n_batches, size):
            loss = functional.smooth_l1_loss(head.standard(inputs[rows]), wanted[rows], beta=_CORNER)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
