"""How Lightning is set up: one place for logs, checkpoints, precision and devices."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from hifrac.core.exceptions import ModelError
from hifrac.models._passes import is_out_of_memory
from hifrac.training.cnn.batches import PictureData
from hifrac.training.cnn.module import PictureNetwork
from hifrac.training.config import TrainingConfig

LOGS = "log"

# What Lightning warns of, and why it does not matter here.
_HARMLESS = (
    r".*does not have many workers",  # the pictures are in memory: workers would only copy them
    r".*Checkpoint directory .* exists and is not empty",  # it is that of the run to be continued
    r".*GPU available but not used",
    r".*in bfloat16",
    r".*It is recommended to use `self.log\(.*sync_dist",  # what is logged is the same everywhere
    r".*torch\.distributed\.nn\.functional\.all_gather is deprecated",
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's use of PyTorch
)


def checkpoint_of(folder: str | Path) -> Path:
    """Return the file that keeps the epochs that are done; there once the first one is."""
    return Path(folder) / "checkpoints" / "last.ckpt"


def fit_network(
    module: PictureNetwork,
    data: PictureData,
    config: TrainingConfig,
    *,
    folder: Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> lightning.Trainer:
    """Train a network in place, to the end of its schedule, and return the trainer that has done it.

    The checkpoint of each epoch and the log go to ``folder``; without one neither is kept. With ``resume``
    training goes on from the checkpoint: the result is that of a run that was never interrupted. A
    ModelError says so if there is no memory for a batch.
    """
    # Convolutions are faster so, on processors and cards alike.
    module.to(memory_format=torch.channels_last)
    with _quiet():
        trainer = _trainer(data, config, folder, callbacks)
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=checkpoint_of(folder) if folder is not None and resume else None,
                weights_only=True if resume else None,
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise _no_memory(data, config) from error
        except SystemExit:
            if not trainer.interrupted:
                raise
            # Lightning turns Ctrl-C into an exit, and deafens the process to the next one.
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
    return trainer


def _trainer(
    data: PictureData, config: TrainingConfig, folder: Path | None, callbacks: Sequence[Callback]
) -> lightning.Trainer:
    """Set Lightning up; without a folder it keeps nothing."""
    keepers = []
    if folder is not None:
        checkpoint = checkpoint_of(folder)
        keepers.append(
            ModelCheckpoint(
                checkpoint.parent,
                filename=checkpoint.stem,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
        )
    return lightning.Trainer(
        accelerator=config.run.accelerator,
        devices=config.run.devices,
        precision=config.run.precision,
        max_epochs=config.optimizer.epochs,
        logger=False if folder is None else CSVLogger(folder, name=LOGS),
        callbacks=[*callbacks, *keepers],
        enable_checkpointing=folder is not None,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0 if data.held_out is None else None,
        log_every_n_steps=1,
        use_distributed_sampler=False,  # the data has its own, which knows the seed
        sync_batchnorm=config.run.devices > 1 and torch.cuda.is_available(),
    )


def _no_memory(data: PictureData, config: TrainingConfig) -> ModelError:
    """Say the way out where there is no memory for a batch."""
    smaller = ""
    if data.batch_size > 3:  # fewer than two pictures are no batch, see PictureData
        smaller = f"a smaller one, such as {data.batch_size // 2 * data.n_devices}, "
    return ModelError(
        f"out of memory with optimizer.batch_size = {config.optimizer.batch_size}: give {smaller}"
        "a smaller network.architecture, or a device with more memory"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Spare the users of a command Lightning's advice and advertisements."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _HARMLESS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
