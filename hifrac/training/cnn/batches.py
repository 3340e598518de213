"""Batches of labelled pictures, drawn and turned by the seed alone."""

from __future__ import annotations

from collections.abc import Callable

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from hifrac.training.cnn.augment import Augmentation
from hifrac.training.data import LabelledPictures


class _Batches(Dataset):
    """Rows of pictures, a batch at a time, out of the memory of a device."""

    def __init__(self, pictures: LabelledPictures, device: torch.device) -> None:
        self._device = device
        self._columns = (
            pictures.pixels.to(device),
            torch.from_numpy(pictures.target.astype(np.float32)).to(device),
            torch.from_numpy(pictures.is_limit).to(device),
        )
        self._n = len(pictures)

    def __len__(self) -> int:
        return self._n

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.tensor(rows, device=self._device)
        pixels, target, is_limit = self._columns
        return pixels[chosen], target[chosen], is_limit[chosen]


def seed_of_step(seed: int, trainer: lightning.Trainer) -> int:
    """Return what fixes the chance of one step on one device."""
    chance = np.random.SeedSequence((seed, trainer.global_step, trainer.global_rank))
    # manual_seed takes a signed integer of 64 bits.
    return int(chance.generate_state(1, np.uint64)[0] >> np.uint64(1))


class PictureData(lightning.LightningDataModule):
    """The pictures of a training, for `lightning.Trainer`; ``held_out``, if any, are scored after each epoch.

    The order of the pictures follows from the seed and the epoch, their views from the seed and the
    number of the step: nothing is left to a state that a checkpoint could lose. ``batch_size`` counts the
    pictures of one step on all devices together; the incomplete batch at the end of an epoch is left out,
    and fewer pictures than this are one batch. ``augmentation`` makes what changes the pictures.
    """

    def __init__(
        self,
        train: LabelledPictures,
        held_out: LabelledPictures | None,
        *,
        batch_size: int,
        seed: int,
        augmentation: Callable[[torch.Generator], Augmentation] = Augmentation,
        n_devices: int = 1,
    ) -> None:
        super().__init__()
        self.train, self.held_out = train, held_out
        self.batch_size = min(batch_size, len(train)) // n_devices
        if self.batch_size < 2:
            raise ValueError(
                "batch_size must leave at least 2 pictures to each device, because batch normalisation "
                f"compares pictures; got {batch_size} for {len(train)} pictures and {n_devices} devices"
            )
        self.seed, self.augmentation, self.n_devices = seed, augmentation, n_devices

    def _loader(self, pictures: LabelledPictures, *, shuffle: bool) -> DataLoader:
        rank = 0 if self.trainer is None else self.trainer.global_rank
        batches = _Batches(pictures, self._place(pictures))
        sampler: DistributedSampler = DistributedSampler(
            batches, self.n_devices, rank, shuffle=shuffle, seed=self.seed, drop_last=shuffle
        )
        # A batch is a tuple already.
        return DataLoader(batches, self.batch_size, sampler=sampler, drop_last=shuffle, collate_fn=tuple)

    def _place(self, pictures: LabelledPictures) -> torch.device:
        """Choose the memory that pictures are drawn from: the GPU's, if they take a quarter of it at most."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if device.type == "cuda" and pictures.pixels.nbytes <= torch.cuda.mem_get_info(device)[0] / 4:
            return device
        return torch.device("cpu")

    def train_dataloader(self) -> DataLoader:
        """Load complete batches in an order of the epoch."""
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader | list:
        """Load all held-out pictures."""
        if self.held_out is None:
            return []
        return self._loader(self.held_out, shuffle=False)

    def on_after_batch_transfer(
        self,
        batch: tuple[Tensor, Tensor, Tensor],
        dataloader_idx: int,  # noqa: ARG002 (Lightning's)
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change the pictures of a training batch at random, each on its own."""
        trainer = self.trainer
        if trainer is None or not trainer.training:
            return batch
        pixels, target, is_limit = batch
        generator = torch.Generator().manual_seed(seed_of_step(self.seed, trainer))
        augment = self.augmentation(generator)
        return augment(pixels), target, is_limit
