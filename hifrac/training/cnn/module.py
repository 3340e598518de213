"""A network in training: loss, optimizer and schedule, for Lightning; and its answers afterwards."""

from __future__ import annotations

from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from hifrac.models import architectures
from hifrac.models._passes import in_parts
from hifrac.models.xresnet import PixelNet
from hifrac.training.cnn.augment import Augmentation, DihedralMean
from hifrac.training.cnn.batches import seed_of_step
from hifrac.training.cnn.losses import gaussian_nll, rmse, smoothed_cross_entropy, tobit_nll
from hifrac.training.cnn.optim import layer_groups, momentum_descent, one_cycle, radam_lookahead, restarts
from hifrac.training.config import NetworkConfig, OptimizerConfig


def build(config: NetworkConfig, **options: Any) -> PixelNet:
    """Build the network of a configuration, its weights random, for uint8 pixels (n, 3, h, w).

    ``options`` are further ones of the architecture, which take the place of those of the configuration.
    """
    mine = {"n_outputs": config.n_outputs, "monochrome": config.monochrome, "crop": config.crop}
    return cast(PixelNet, architectures.build(config.architecture, mine | options))


class PictureNetwork(lightning.LightningModule):
    """A network with its loss, optimizer and schedule, for `lightning.Trainer`.

    Logs ``train_loss``, ``valid_loss`` (that of all held-out pictures
    together, not a mean over batches), the learning rate, and ``valid_rmse`` or
    ``valid_accuracy``. ``missing`` says what the loss does about a missing label, and ``seed`` fixes the
    dropout of each step.
    """

    def __init__(
        self,
        network: PixelNet,
        config: NetworkConfig,
        optimizer: OptimizerConfig,
        missing: str = "raise",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.options = optimizer
        self.missing = missing
        self.seed = seed
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
        # Of its own, and left alone afterwards: a resumed training goes on as one that was not interrupted.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_of_step(self.seed, self.trainer))
            output = self.network(pixels)
        value = self.loss(output, target, is_limit)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=len(target), sync_dist=True)
        return value

    def on_train_epoch_start(self) -> None:
        """Freeze the body or thaw it, and begin a part of the schedule without momentum.

        As in fastai 0.7, whose frozen batch normalisation keeps its running statistics (``set_train_mode``),
        and which makes a new optimizer for each call of ``fit``.
        """
        options = self.options
        if options.schedule != "restarts":
            return
        is_frozen = self.current_epoch < options.frozen_epochs
        for group in layer_groups(self.network)[:2]:
            group.requires_grad_(not is_frozen).train(not is_frozen)
        if self.current_epoch in options.first_epochs:
            self.trainer.optimizers[0].state.clear()

    def on_train_epoch_end(self) -> None:
        """Log where the schedule is."""
        # Of the last group: the head's, or with one cycle that of all. After the last step of all the
        # schedule has ended: what it says then is the rate of that step.
        self.log("lr", self.trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[-1])

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
        scored = torch.isfinite(target)
        if target.ndim == 1:
            scored &= ~is_limit
        if self.config.classifies:
            right = (output.argmax(1) == target)[scored]
            self.log("valid_accuracy", right.float().mean(), rank_zero_only=True)
        else:
            estimate = output[:, 0] if target.ndim == 1 else output
            self.log("valid_rmse", rmse(estimate[scored], target[scored]), rank_zero_only=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Set up the optimizer and its schedule, stepped after each batch."""
        options = self.options
        n_steps = int(self.trainer.estimated_stepping_batches)
        optimizer: torch.optim.Optimizer
        schedule: torch.optim.lr_scheduler.LRScheduler
        if options.schedule == "restarts":
            of_an_epoch = n_steps // options.epochs
            lrs = options.layer_lrs or (options.lr,) * 3
            optimizer = momentum_descent(self.network, lrs, weight_decay=options.weight_decay)
            schedule = restarts(
                optimizer,
                constant_steps=of_an_epoch * (options.frozen_epochs + options.constant_epochs),
                cycle_steps=[of_an_epoch * epochs for epochs in options.cycles],
            )
        else:
            optimizer = radam_lookahead(self.network, options.lr, weight_decay=options.weight_decay)
            schedule = one_cycle(
                optimizer,
                options.lr,
                n_steps,
                warm_up=options.warm_up,
                div=options.div,
                final_div=options.final_div,
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def answer(network: nn.Module, pixels: Tensor, *, orientations: int = 1, batch_size: int = 64) -> np.ndarray:
    """Return what a network answers to pixels, as it takes them: float64 (n, outputs), in evaluation mode.

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


def answer_views(network: nn.Module, pixels: Tensor, augmentation: Augmentation, n_views: int) -> np.ndarray:
    """Return the mean `answer` to the pictures as they are and to some random views of them.

    All count alike: with 4 views these are the test-time means of fastai 0.7.
    """
    answers = [answer(network, pixels), *(answer(network, augmentation(pixels)) for _ in range(n_views))]
    return np.mean(answers, axis=0)


def undo_standardisation(network: PixelNet, mean: np.ndarray, scatter: np.ndarray) -> PixelNet:
    """Turn a network of standardised targets into one of the targets, by the weights of its last layer."""
    last = _last_layer(network)
    factor = torch.as_tensor(scatter, dtype=last.weight.dtype)
    with torch.no_grad():
        last.weight.mul_(factor[:, None])
        last.bias.mul_(factor).add_(torch.as_tensor(mean, dtype=last.bias.dtype))
    return network


def _last_layer(network: PixelNet) -> nn.Linear:
    head: Any = network.backbone.head  # a linear layer, or several of which the last is one
    return head if isinstance(head, nn.Linear) else head[-1]


def one_logit(network: PixelNet) -> PixelNet:
    """Turn a network of two scores into one of their difference: the log odds of class 1, exactly."""
    head: Any = network.backbone.head
    last = _last_layer(network)
    single = nn.Linear(last.in_features, 1)
    with torch.no_grad():
        single.weight.copy_(last.weight[1:] - last.weight[:1])
        single.bias.copy_(last.bias[1:] - last.bias[:1])
    if last is head:
        network.backbone.head = single
    else:
        head[-1] = single
    return network
