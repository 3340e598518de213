"""A network in training: loss, optimizer and schedule, for Lightning; and its answers afterwards."""

from __future__ import annotations

from typing import cast

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from hifrac.core.exceptions import ModelError
from hifrac.models import architectures
from hifrac.models.registry import in_parts
from hifrac.models.xresnet import PixelNet
from hifrac.training.cnn.augment import DihedralMean
from hifrac.training.cnn.losses import gaussian_nll, rmse, smoothed_cross_entropy, tobit_nll
from hifrac.training.cnn.optim import one_cycle, radam_lookahead
from hifrac.training.config import NetworkConfig, OptimizerConfig


def build(config: NetworkConfig, n_channels: int = 3) -> PixelNet:
    """Build the network of a configuration, its weights random, for uint8 pixels (n, n_channels, h, w)."""
    options = {"n_outputs": config.n_outputs, "n_channels": n_channels, "monochrome": config.monochrome}
    return cast(PixelNet, architectures.build(config.architecture, options))


class PictureNetwork(lightning.LightningModule):
    """A network with its loss, optimizer and schedule, for `lightning.Trainer`.

    Logs ``train_loss``, ``valid_loss`` (that of all held-out pictures
    together, not a mean over batches), the learning rate, and ``valid_rmse`` or
    ``valid_accuracy``. ``missing`` says what the loss does about a missing label.
    """

    def __init__(
        self, network: PixelNet, config: NetworkConfig, optimizer: OptimizerConfig, missing: str = "raise"
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.options = optimizer
        self.missing = missing
        self._held_out: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the raw answers, shape (n, outputs)."""
        return self.network(pixels)

    def loss(self, output: Tensor, target: Tensor, is_limit: Tensor) -> Tensor:
        """Compute the configured loss, in single precision whatever the network computes in."""
        output = output.float()
        if self.config.loss == "rmse":
            return rmse(output, target, missing=self.missing)
        if self.config.loss == "gaussian_nll":
            return gaussian_nll(output, target, missing=self.missing)
        if self.config.loss == "tobit_nll":
            return tobit_nll(output, target, is_limit, missing=self.missing)
        return smoothed_cross_entropy(output, target, self.config.smoothing, missing=self.missing)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Compute the loss of a batch of pixels, targets and limits."""
        pixels, target, is_limit = batch
        value = self.loss(self.network(pixels), target, is_limit)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=len(target), sync_dist=True)
        return value

    def on_train_epoch_end(self) -> None:
        """Log where the schedule is."""
        # After the last step of all it has ended: what it says then is the rate of that step.
        self.log("lr", self.trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0])

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keep the answers of a batch."""
        pixels, target, is_limit = batch
        self._held_out.append((self.network(pixels).float(), target, is_limit))

    def on_validation_epoch_end(self) -> None:
        """Score all held-out pictures together."""
        output, target, is_limit = (torch.cat(parts) for parts in zip(*self._held_out, strict=True))
        self._held_out.clear()
        if self.trainer.world_size > 1:
            output, target, is_limit = (
                cast(Tensor, self.all_gather(part)).flatten(0, 1) for part in (output, target, is_limit)
            )
        self.log("valid_loss", self.loss(output, target, is_limit), rank_zero_only=True)
        scored = torch.isfinite(target) & ~is_limit
        if self.config.classifies:
            right = (output.argmax(1) == target)[scored]
            self.log("valid_accuracy", right.float().mean(), rank_zero_only=True)
        else:
            self.log("valid_rmse", rmse(output[scored, 0], target[scored]), rank_zero_only=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Set up the paper's optimizer and its schedule, stepped after each batch."""
        options = self.options
        optimizer = radam_lookahead(self.network, options.lr, weight_decay=options.weight_decay)
        schedule = one_cycle(
            optimizer,
            options.lr,
            int(self.trainer.estimated_stepping_batches),
            warm_up=options.warm_up,
            div=options.div,
            final_div=options.final_div,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def answer(network: nn.Module, pixels: Tensor, *, orientations: int = 1, batch_size: int = 64) -> np.ndarray:
    """Return what a network answers to pixels of uint8: float64 (n, outputs), in evaluation mode.

    With 8 orientations the mean over all of each picture. If there is no memory for a batch, fewer pictures
    are passed at once, with a warning.
    """
    if orientations not in (1, 8):
        raise ValueError(f"orientations must be 1 or 8, got {orientations}")
    network = network.eval()
    device = next(network.parameters()).device
    run = DihedralMean(network) if orientations == 8 else network

    def part(rows: slice) -> Tensor:
        return run(pixels[rows].to(device)).double().cpu()

    with torch.inference_mode():
        parts = in_parts(part, len(pixels), [batch_size], device)
    return torch.cat(parts).numpy()


def load_weights(network: PixelNet, other: nn.Module) -> PixelNet:
    """Start from the weights of another network of the same architecture, in place.

    Where its last layer has another number of outputs, that of ``network`` stays as it is.
    """
    theirs, mine = dict(other.state_dict()), network.state_dict()
    heads = {name for name in mine if ".head." in name}
    for name in heads & theirs.keys():
        if theirs[name].shape != mine[name].shape:
            del theirs[name]
    wrong = sorted(
        name for name, value in theirs.items() if name not in mine or mine[name].shape != value.shape
    )
    absent = sorted(mine.keys() - theirs.keys() - heads)
    if wrong or absent:
        raise ModelError(
            f"init_from: the weights are of another architecture: {(wrong or absent)[0]} "
            f"{'has no place or another shape' if wrong else 'is missing'}"
        )
    network.load_state_dict(theirs, strict=False)
    return network


def one_logit(network: PixelNet) -> PixelNet:
    """Turn a network of two scores into one of their difference: the log odds of class 1, exactly."""
    head = network.backbone.head
    single = nn.Linear(head.in_features, 1)
    with torch.no_grad():
        single.weight.copy_(head.weight[1:] - head.weight[:1])
        single.bias.copy_(head.bias[1:] - head.bias[:1])
    network.backbone.head = single
    return network
