"""The learner of convolutional networks: from a configuration to the folder of a model."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from astropy.table import Table
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from hifrac.core.exceptions import ModelError
from hifrac.models import ModelCard
from hifrac.models.calibration import LEVELS, ConformalTable, ConformalTables, estimate_names
from hifrac.models.cards import require_free_column
from hifrac.models.xresnet import PixelNet
from hifrac.training.cnn.augment import N_DIHEDRAL, Augmentation
from hifrac.training.cnn.batches import PictureData
from hifrac.training.cnn.first_weights import card_of, describe_first_weights, first_network
from hifrac.training.cnn.labels import read_measured, read_pictures
from hifrac.training.cnn.module import PictureNetwork, answer, answer_views, one_logit, undo_standardisation
from hifrac.training.cnn.trainer import LOGS, checkpoint_of, fit_network
from hifrac.training.config import TrainingConfig
from hifrac.training.data import LabelledPictures, require_finite
from hifrac.training.evaluation import (
    class_figures,
    fit_detection,
    held_out_coverage,
    regression_figures,
    several_figures,
)
from hifrac.training.splits import (
    HELD_OUT,
    TRAIN,
    draw_folds,
    draw_roles,
    galaxy_groups,
    paper_roles,
    read_split,
    split_hash,
    write_split,
)
from hifrac.training.write_model import CARD, SPLITS, write_model

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

log = logging.getLogger(__name__)

CONFIG, LOG = "config.json", "log.csv"
#: The fewest held-out rows that reach the outermost level, and the fewest of each class.
FEWEST = round(1 / min(LEVELS)) - 1
FEWEST_OF_A_CLASS = 5


def train_network(
    config: TrainingConfig,
    output: str | Path,
    *,
    data: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    command: str | None = None,
) -> dict[str, float] | None:
    """Train a network and write the folder of a model.

    Parameters
    ----------
    config : `~hifrac.training.TrainingConfig`
        What to train, on what, and how.
    output : path-like
        Folder; made if missing. At the end it holds a model (``card.json``,
        ``weights.safetensors``, ``model.pt``), ``config.json``, ``splits.ecsv``, ``log.csv`` (one
        row an epoch), ``held_out.ecsv`` (the answers for the galaxies that were held
        out), and the checkpoint of the last epoch.
    data : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default. Not used where the
        configuration names a table.
    resume : bool, optional
        Whether to go on after the last epoch that ``output`` has a checkpoint of. On the same
        machine the result is, bit for bit, that of a run without an interruption. A run that did
        not come to the end of its first epoch has none, and is started anew, with or without this.
    callbacks : sequence of callback, optional
        Lightning's, to look on.
    command : str, optional
        What the card says made the model; by default this function, with the configuration that
        stands in ``config.json``.

    Returns
    -------
    figures : dict or None
        Figures of merit of the held-out galaxies, as in the card; of several targets, and of standardised
        ones, all errors are in units of the scatter of the training galaxies. None in the processes that
        only help another one.

    Raises
    ------
    FileExistsError
        If ``output`` holds a model or a checkpoint already, and ``resume`` is false.
    FileNotFoundError
        If there is nothing to resume, or a file is missing.
    ValueError
        If the result column of the target is called like another column of a result or of its
        input, such as ``flags`` or ``ra``; if the configuration is not that of the run to be
        resumed; if a label is missing or the target is constant; or if too few galaxies are held
        out to calibrate anything.
    ~hifrac.core.RowError
        If a picture is missing, damaged, or not of the recipe's size.
    ~hifrac.core.ModelError
        If ``init_from`` or the checkpoint is of another architecture, there is no memory for a
        batch, or the written model does not answer as the trained one.

    Examples
    --------
    With a data directory; longer training needs a GPU:

    >>> from hifrac.training import read_config, train_network
    >>> config = read_config("paper").with_settings(["optimizer.epochs=5"])
    >>> figures = train_network(config, "my-model", data="/data/hifrac")  # doctest: +SKIP
    """
    folder = Path(output)
    _require_columns(config)
    # Lightning starts the same command once more for each further device; the first has prepared the folder.
    helping = rank_zero_only.rank > 0  # type: ignore[attr-defined]  # Lightning's function has it
    if not helping:
        _require_place(folder, config, resume)
    resume = resume and checkpoint_of(folder).is_file()
    galaxies = _read(config, data, folder if resume or helping else None)
    network = first_network(config.network, config.run.seed, **_options(config, galaxies.train))
    module = PictureNetwork(network, config.network, config.optimizer, config.data.missing, config.run.seed)
    batches = PictureData(
        *_learned(config, galaxies),
        batch_size=config.optimizer.batch_size,
        seed=config.run.seed,
        augmentation=_augmentation(config),
        n_devices=config.run.devices,
    )
    _require_steps(config, len(galaxies.train) // batches.batch_size // config.run.devices)
    if not (resume or helping):
        _prepare(folder, config, galaxies.split)
    log.info("%d pictures to train on, %d held out", len(galaxies.train), len(galaxies.held_out))
    if missing := sum(int(np.isnan(side.target).sum()) for side in (galaxies.train, galaxies.held_out)):
        log.warning("%d labels are missing: they are left out of loss and figures", missing)
    trainer = fit_network(module, batches, config, folder=folder, resume=resume, callbacks=callbacks)
    if not trainer.is_global_zero:
        return None
    _merge_logs(folder)
    command = command or f"train_network of hifrac.training, with the configuration in {CONFIG}"
    return _finish(config, folder, module.network.cpu(), galaxies, command)


def _require_columns(config: TrainingConfig) -> None:
    """Refuse a result column of a target that means something else."""
    outputs = ("detection_logit",) if _detects(config) else ("estimate",)
    key = "data.target" if config.data.column is None else "data.column, the result column of the target,"
    for column in _target_columns(config):
        require_free_column(key, column, outputs)


def _target_columns(config: TrainingConfig) -> tuple[str, ...]:
    """Return the result columns of the targets; what cannot be a column's name is called an estimate."""
    data = config.data
    if data.column is not None:
        return (data.column,)
    names = estimate_names(len(data.targets))
    pairs = zip(data.targets, names, strict=True)
    return tuple(target if target.isidentifier() else name for target, name in pairs)


def _learned(config: TrainingConfig, galaxies: _Galaxies) -> list[LabelledPictures]:
    """Return both sides of the split with their targets as they are learned."""
    sides = [galaxies.train, galaxies.held_out]
    if not config.data.standardise:
        return sides
    mean, scatter = galaxies.moments
    shape = np.shape(galaxies.train.target[:1])[1:]
    return [
        replace(side, target=(side.target - mean.reshape(shape)) / scatter.reshape(shape)) for side in sides
    ]


def _options(config: TrainingConfig, train: LabelledPictures) -> dict[str, Any]:
    """Return the options of the architecture that depend on targets and pictures."""
    options: dict[str, Any] = {
        "n_outputs": config.network.n_outputs * len(config.data.targets),
        "n_channels": train.pixels.shape[1],
    }
    if train.pixels.is_floating_point():
        options["fluxes"] = True
    if config.network.statistics == "paper":
        return options
    pixels = train.pixels
    if config.network.statistics == "batch":
        generator = torch.Generator().manual_seed(config.run.seed)
        pixels = pixels[torch.randperm(len(pixels), generator=generator)[: config.optimizer.batch_size]]
    return options | _statistics(pixels)


def _statistics(pixels: Tensor) -> dict[str, list[float]]:
    """Return mean and standard deviation of each band of pictures, in the unit that networks take."""
    unit = 1.0 if pixels.is_floating_point() else 255.0
    means, spreads = [], []
    # A band at a time, and in double precision: a few stars are a thousand times brighter than the rest.
    for number in range(pixels.shape[1]):
        spread, mean = torch.std_mean(pixels[:, number].double() / unit)
        if not spread > 0:
            raise ValueError(f"pictures: all pixels of band {number} are the same")
        means.append(float(mean))
        spreads.append(float(spread))
    return {"mean": means, "std": spreads}


def _detects(config: TrainingConfig) -> bool:
    """Tell whether the classes are detections and others; all other classes are an estimate."""
    return config.network.classifies and config.data.sample == "detection"


def _require_place(folder: Path, config: TrainingConfig, resume: bool) -> None:
    """Neither write over a training, nor go on with another one."""
    begun, has_checkpoint = (folder / CONFIG).is_file(), checkpoint_of(folder).is_file()
    is_model = (folder / CARD).exists()
    if not resume:
        if has_checkpoint or is_model:
            way_out = "resume it (--resume), or give another" if has_checkpoint else "give another"
            raise FileExistsError(f"{folder} holds a training already: {way_out} folder")
        return
    if not begun or (is_model and not has_checkpoint):
        raise FileNotFoundError(f"resume: {folder} has no checkpoint of a training to go on with")
    if not has_checkpoint:  # the first epoch was not done: nothing is lost by starting anew
        return
    before = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if before.get("network", {}).get("architecture") != config.network.architecture:
        raise ModelError(
            f"resume: the checkpoint is of another architecture, {before['network']['architecture']}, "
            f"not {config.network.architecture}"
        )
    for section, values in config.to_dict().items():
        if before.get(section) != values:
            raise ValueError(
                f"resume: the run was started with another [{section}]: {before.get(section)}, now {values}"
            )


@dataclass(frozen=True)
class _Galaxies:
    """What a training reads: two sides of a split, and measured galaxies that are on neither."""

    train: LabelledPictures
    held_out: LabelledPictures
    split: Table
    measured: LabelledPictures | None

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scatter of each target of the training galaxies."""
        values = self.train.target.reshape(len(self.train), -1)
        return np.nanmean(values, axis=0), np.nanstd(values, axis=0)


def _read(config: TrainingConfig, data: str | Path | None, begun: Path | None) -> _Galaxies:
    """Read and split pictures and labels; the split is that of a folder where the training was begun."""
    pictures, measured = read_pictures(config, data), read_measured(config, data)
    split = _split(config, pictures, begun)
    role = np.asarray(split["role"])
    train, held_out = pictures[role == TRAIN], pictures[role == HELD_OUT]
    _require_labels(config, train, held_out)
    return _Galaxies(train, held_out, split, measured)


def _split(config: TrainingConfig, pictures: LabelledPictures, begun: Path | None) -> Table:
    """Read the split of a training that was begun, or of a file, or draw one."""
    options, seed = config.split, config.run.seed
    file = options.file if begun is None else begun / SPLITS
    if file is not None:
        split = read_split(file, pictures.name, pictures.ra, pictures.dec)
        if "role" not in split.colnames:
            raise ValueError(f"split {file}: a training needs roles, not folds")
        return split
    if options.rule != "groups":
        generator = options.rule.removeprefix("paper-")
        return paper_roles(pictures.name, fraction=options.held_out, seed=seed, generator=generator)
    group = galaxy_groups(pictures.name, pictures.ra, pictures.dec)
    if options.fold is not None:
        split = draw_folds(pictures.name, group, n_folds=options.n_folds, seed=seed)
        split["role"] = np.where(split["fold"] == options.fold, HELD_OUT, TRAIN)
        split.remove_column("fold")
        return split
    return draw_roles(pictures.name, group, held_out=options.held_out, seed=seed)


def _require_labels(config: TrainingConfig, train: LabelledPictures, held_out: LabelledPictures) -> None:
    """Refuse what nothing can be learned from, or what nothing can be calibrated with."""
    way_out = "; data.missing = 'mask' leaves missing ones out"
    for part in (train, held_out):
        require_finite(part, config.data.targets, masked=config.data.missing == "mask", way_out=way_out)
    for number, target in enumerate(config.data.targets):
        learned, scored = _labels(train, number), _labels(held_out, number)
        _require_target(config, target, learned[np.isfinite(learned)], scored[_scored(held_out, number)])


def _require_target(config: TrainingConfig, target: str, values: np.ndarray, scored: np.ndarray) -> None:
    """Refuse a target that nothing can be learned of, or too little be calibrated with."""
    if values.size < 2 or np.ptp(values) == 0:
        what = f"always {values[0]:g}" if values.size else "never known"
        raise ValueError(f"{target}: the target is {what} among the training pictures: nothing to learn")
    way_out = "raise split.held_out or give more rows"
    if config.network.classifies:
        counts = [int(np.sum(scored == number)) for number in (0, 1)]
        if min(counts) < FEWEST_OF_A_CLASS:
            raise ValueError(
                f"too few rows to calibrate: of the two classes {counts[0]} and {counts[1]} are held out, "
                f"and {FEWEST_OF_A_CLASS} of each are needed; {way_out}"
            )
    elif scored.size < FEWEST:
        raise ValueError(
            f"too few rows to calibrate: {scored.size} measured values are held out, and the 90% interval "
            f"needs {FEWEST}; {way_out}"
        )


def _labels(pictures: LabelledPictures, number: int = 0) -> np.ndarray:
    """Return the labels of one of the targets, (n,)."""
    return pictures.target.reshape(len(pictures), -1)[:, number]


def _scored(pictures: LabelledPictures, number: int = 0) -> np.ndarray:
    """Tell which rows figures and intervals rest on: those with a value that is no limit."""
    return np.isfinite(_labels(pictures, number)) & ~pictures.is_limit


def _augmentation(config: TrainingConfig) -> Callable[[torch.Generator], Augmentation]:
    """Return what makes the changes of pictures that a configuration asks for."""
    options = config.optimizer
    return partial(
        Augmentation,
        max_degrees=options.max_degrees,
        max_zoom=options.max_zoom,
        dihedral=options.dihedral,
        lighting=options.lighting,
        frame=options.frame,
        crop=config.network.crop,
    )


def _require_steps(config: TrainingConfig, of_an_epoch: int) -> None:
    """Refuse a cycle without a rise and a fall."""
    options = config.optimizer
    if options.schedule == "one-cycle" and options.epochs * of_an_epoch * options.warm_up <= 1:
        raise ValueError(
            f"optimizer.epochs: {options.epochs} epochs of {of_an_epoch} steps are too few for a learning "
            f"rate that rises in a share of {options.warm_up:g} of them and falls again"
        )


def _prepare(folder: Path, config: TrainingConfig, split: Table) -> None:
    """Write what a later run needs to go on with this one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config.to_dict(), indent=1) + "\n", encoding="utf-8")
    write_split(split, folder / SPLITS)
    for path in (folder / LOGS).glob("version_*"):  # of an epoch that was not done
        shutil.rmtree(path)


def _merge_logs(folder: Path) -> None:
    """Write one row an epoch, of the last run that reached it."""
    epochs: dict[int, dict[str, str]] = {}
    versions = (folder / LOGS).glob("version_*/metrics.csv")
    for path in sorted(versions, key=lambda path: int(path.parent.name[8:])):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                # Lightning writes what it logs at one time in several rows, with gaps.
                epochs.setdefault(int(row["epoch"]), {}).update(
                    {key: value for key, value in row.items() if value}
                )
    rows = [epochs[number] for number in sorted(epochs)]
    names = ["epoch", "step", *sorted({key for row in rows for key in row} - {"epoch", "step"})]
    with (folder / LOG).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _finish(
    config: TrainingConfig, folder: Path, network: PixelNet, galaxies: _Galaxies, command: str
) -> dict[str, float]:
    """Score the network on the held-out galaxies, calibrate it, and write the model."""
    held_out, classifies = galaxies.held_out, config.network.classifies
    if classifies:
        network = one_logit(network)
    if config.data.standardise:
        network = undo_standardisation(network, *galaxies.moments)
    outputs: tuple[str, ...]
    once, mean = (answer(network, held_out.pixels, orientations=n) for n in (1, N_DIHEDRAL))
    if classifies:
        outputs = ("detection_logit",) if _detects(config) else ("estimate",)
        facts, figures = _score_classes(outputs, held_out, once, mean)
    elif len(config.data.targets) > 1:
        outputs = estimate_names(once.shape[1])
        facts, figures = _score_several(config, galaxies, once, mean)
    else:
        outputs = ("estimate", "log_spread")[: once.shape[1]]
        facts, figures = _score_values(held_out, once, mean, config.run.seed)
        figures |= _score_views(config, network, held_out)
    figures |= _score_measured(network, galaxies.measured, classifies)
    rounded = {key: round(value, 4) for key, value in figures.items()}
    card = replace(_card(config, galaxies, outputs, command), figures=rounded, **facts)
    table = _held_out_table(held_out, outputs, once, mean)
    table.meta["target"] = card.target
    pixels = held_out.pixels[:16].permute(0, 2, 3, 1).contiguous().numpy()
    write_model(folder, network, card, pixels, tables={"held_out": table}, tolerance=1e-4)
    return figures


def _held_out_table(
    held_out: LabelledPictures, outputs: tuple[str, ...], once: np.ndarray, mean: np.ndarray
) -> Table:
    """Return the targets of the held-out galaxies, and the answers for them; further ones have a number."""
    table = Table({"objid": held_out.name})
    for number, column in enumerate(held_out.target.reshape(len(held_out), -1).T, 1):
        table["target" if number == 1 else f"target_{number}"] = column
    table["is_limit"] = held_out.is_limit
    for number, name in enumerate(outputs):
        table[name], table[f"{name}_{N_DIHEDRAL}_orientations"] = once[:, number], mean[:, number]
    return table


def _score_classes(
    outputs: tuple[str, ...], held_out: LabelledPictures, once: np.ndarray, mean: np.ndarray
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the tables of the card and the figures of two classes, told apart by log odds."""
    rows = _scored(held_out)
    truth, logit = held_out.target[rows] == 1, once[rows, 0]
    figures = class_figures(truth, logit)
    figures["auc_8_orientations"] = class_figures(truth, mean[rows, 0])["auc"]
    if outputs != ("detection_logit",):
        return {}, figures
    # No picture is out of the distribution, for want of a distance.
    detection = fit_detection(
        truth, logit, percentiles=(0.0, 100.0), distances=(0.0, 0.0), ood_threshold=101.0
    )
    return {"detection": detection}, figures


def _score_values(
    held_out: LabelledPictures, once: np.ndarray, mean: np.ndarray, seed: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the tables of the card and the figures of measured values."""
    rows = _scored(held_out)
    truth, estimate = held_out.target[rows], once[rows, 0]
    spread = np.exp(once[rows, 1]) if once.shape[1] > 1 else 1.0
    scaled = (truth - estimate) / spread
    figures = regression_figures(truth, estimate)
    figures["rmse_8_orientations"] = float(np.sqrt(np.mean((mean[rows, 0] - truth) ** 2)))
    figures |= held_out_coverage(scaled, seed)
    return {"calibration": ConformalTable.from_residuals(scaled)}, figures


def _score_several(
    config: TrainingConfig, galaxies: _Galaxies, once: np.ndarray, mean: np.ndarray
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the tables of the card and the figures of several targets: errors in units of their scatter."""
    held_out, scatter = galaxies.held_out, galaxies.moments[1]
    columns = _target_columns(config)
    residuals = held_out.target - once
    figures = several_figures(residuals / scatter, columns)
    figures["rmse_8_orientations"] = float(np.sqrt(np.nanmean(((held_out.target - mean) / scatter) ** 2)))
    scored = {name: residuals[_scored(held_out, i), i] for i, name in enumerate(columns)}
    for name, values in scored.items():
        figures |= {
            f"{key}_{name}": share for key, share in held_out_coverage(values, config.run.seed).items()
        }
    return {"calibration": ConformalTables.from_residuals(scored)}, figures


def _score_views(config: TrainingConfig, network: PixelNet, held_out: LabelledPictures) -> dict[str, float]:
    """Return the RMSE of the mean over the picture and random views of it, if a configuration asks for it."""
    n_views, rows = config.optimizer.test_views, _scored(held_out)
    if not n_views:
        return {}
    augmentation = _augmentation(config)(torch.Generator().manual_seed(config.run.seed))
    estimate = answer_views(network, held_out.pixels[rows], augmentation, n_views)[:, 0]
    return {f"rmse_{n_views + 1}_views": float(np.sqrt(np.mean((estimate - held_out.target[rows]) ** 2)))}


def _score_measured(
    network: PixelNet, measured: LabelledPictures | None, classifies: bool
) -> dict[str, float]:
    """Return the figures of the measured galaxies, which a training on estimates leaves out."""
    # Galaxies of one class alone tell nothing.
    if measured is None or np.ptp(measured.target) == 0:
        return {}
    output = answer(network, measured.pixels)[:, 0]
    if classifies:
        figures = class_figures(measured.target == 1, output)
    else:
        figures = regression_figures(measured.target, output)
    return {f"{key}_measured": value for key, value in figures.items()}


def _card(config: TrainingConfig, galaxies: _Galaxies, outputs: tuple[str, ...], command: str) -> ModelCard:
    """Say what the model is, what it learned from, and how it was scored."""
    data, network, split = config.data, config.network, galaxies.split
    what = ", ".join(data.targets)
    scored = "two classes" if network.classifies else "measured values"
    if not network.classifies:
        rests = "the interval rests on the same pictures, its coverage on parts of them in turn"
    elif outputs == ("detection_logit",):
        rests = "p_detect is calibrated on the same pictures"
    else:
        rests = "a class has no interval"
    teacher = card_of(data.teacher) if data.table is None and data.sample == "estimates" else None
    return ModelCard(
        name=config.name,
        summary=config.summary or f"{what} from pictures; {network.architecture}",
        created="",
        architecture=network.architecture,
        options=_options(config, galaxies.train)
        | {"n_outputs": len(outputs)}
        | ({"monochrome": True} if network.monochrome else {})
        | ({} if network.crop is None else {"crop": network.crop}),
        recipe=config.pictures,
        target=data.description or f"{what}, as the labels are",
        mass_scale=data.mass_scale,
        training_set=f"{len(galaxies.train)} pictures of {data.table or 'the data directory'}, "
        f"{len(galaxies.held_out)} more held out; {describe_first_weights(network)}{_lesson(teacher)}",
        validity=data.validity,
        normalisation="none outside the network: it takes "
        + ("decoded values 0 to 255" if config.pictures.is_picture else "fluxes"),
        calibration=None,
        detection=None,
        figures={},
        protocol=f"{scored} of the held-out pictures, one orientation each unless said; the last of "
        f"{config.optimizer.epochs} epochs, chosen by nothing; {rests}",
        folds={"seed": split.meta.get("seed"), "rule": split.meta.get("rule"), "sha256": split_hash(split)},
        command=command,
        files={},
        references=config.references + (() if teacher is None else teacher.references),
        target_column=_target_columns(config)[0],
        outputs=outputs,
    )


def _lesson(teacher: ModelCard | None) -> str:
    """Say in the card that labels are estimates."""
    if teacher is None:
        return ""
    return (
        f"; labels are estimates of the model {teacher.name} ({teacher.sha256[:12]}); figures named "
        "'measured' are of the measured galaxies, which are not among them, but which the teacher "
        "learned from"
    )
