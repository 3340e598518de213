"""One training from a configuration to the folder of a model."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from astropy.table import Table
from lightning.pytorch.utilities import rank_zero_only

from hifrac.core.exceptions import ModelError
from hifrac.models import ModelCard, _artifact, load_model
from hifrac.models.calibration import LEVELS, ConformalTable
from hifrac.models.cards import require_free_column
from hifrac.models.detection import DetectionTable
from hifrac.models.registry import bundled_models
from hifrac.models.xresnet import PixelNet
from hifrac.training.cnn.batches import PictureData
from hifrac.training.cnn.labels import read_measured, read_pictures
from hifrac.training.cnn.module import PictureNetwork, answer, build, load_weights, one_logit
from hifrac.training.cnn.trainer import LOGS, checkpoint_of, fit_network
from hifrac.training.config import TrainingConfig
from hifrac.training.data import LabelledPictures
from hifrac.training.evaluation import class_figures, held_out_coverage, regression_figures
from hifrac.training.splits import (
    HELD_OUT,
    TRAIN,
    draw_roles,
    galaxy_groups,
    paper_roles,
    read_split,
    split_hash,
    write_split,
)

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

log = logging.getLogger(__name__)

CONFIG, SPLITS, LOG, ESTIMATES = "config.json", "splits.ecsv", "log.csv", "held_out.ecsv"
#: The fewest held-out rows that reach the outermost level, and the fewest of each class.
FEWEST = round(1 / min(LEVELS)) - 1
FEWEST_OF_A_CLASS = 5
#: p_detect is flagged below the value that 90% of the held-out detections reach.
COMPLETENESS = 0.90

REFERENCES = ("Wu 2020, ApJ 900, 142 (HI mass fractions from images; the network and its training)",)


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
        Figures of merit of the held-out galaxies, as in the card. None in
        the processes that only help another one.

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
    """
    folder = Path(output)
    _require_column(config)
    # Lightning starts the same command once more for each further device; the first has prepared the folder.
    helping = rank_zero_only.rank > 0
    if not helping:
        _require_place(folder, config, resume)
    resume = resume and checkpoint_of(folder).is_file()
    pictures, measured = read_pictures(config, data), read_measured(config, data)
    split = _split(config, folder, pictures, resume or helping)
    train, held_out = (pictures[np.asarray(split["role"]) == role] for role in (TRAIN, HELD_OUT))
    _require_labels(config, train, held_out)
    # The state of the user's own random numbers is left alone.
    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        network = build(config.network)
    if config.network.init_from is not None:
        _start_from(network, config)
    module = PictureNetwork(network, config.network, config.optimizer, config.data.missing)
    batches = PictureData(
        train,
        held_out,
        batch_size=config.optimizer.batch_size,
        seed=config.run.seed,
        max_degrees=config.optimizer.max_degrees,
        n_devices=config.run.devices,
    )
    _require_steps(config, len(train) // batches.batch_size // config.run.devices)
    folder.mkdir(parents=True, exist_ok=True)
    if not (resume or helping):
        (folder / CONFIG).write_text(json.dumps(config.to_dict(), indent=1) + "\n", encoding="utf-8")
        write_split(split, folder / SPLITS)
        for path in (folder / LOGS).glob("version_*"):  # of an epoch that was not done
            shutil.rmtree(path)
    log.info("%d pictures to train on, %d held out", len(train), len(held_out))
    trainer = fit_network(module, batches, config, folder=folder, resume=resume, callbacks=callbacks)
    if not trainer.is_global_zero:
        return None
    _merge_logs(folder)
    command = command or f"train_network of hifrac.training.run, with the configuration in {CONFIG}"
    return _finish(config, folder, module.network.cpu(), len(train), held_out, split, measured, command)


def _require_column(config: TrainingConfig) -> None:
    """The result column of the target means nothing else."""
    outputs = ("detection_logit",) if _recognises(config) else ("estimate",)
    key = "data.target" if config.data.column is None else "data.column, the result column of the target,"
    require_free_column(key, _target_column(config), outputs)


def _target_column(config: TrainingConfig) -> str:
    data = config.data
    return data.column or (data.target if data.target.isidentifier() else "estimate")


def _recognises(config: TrainingConfig) -> bool:
    """Whether the classes are detections and others; whatever else they are called, they are an estimate."""
    return config.network.classifies and config.data.sample == "detection"


def _require_place(folder: Path, config: TrainingConfig, resume: bool) -> None:
    """Neither write over a training, nor go on with another one."""
    begun, kept = (folder / CONFIG).is_file(), checkpoint_of(folder).is_file()
    made = (folder / "card.json").exists()
    if not resume:
        if kept or made:
            raise FileExistsError(
                f"{folder} holds a training already: "
                + ("resume it (--resume), or give another folder" if kept else "give another folder")
            )
        return
    if not begun or (made and not kept):
        raise FileNotFoundError(f"resume: {folder} has no checkpoint of a training to go on with")
    if not kept:  # the first epoch was not done: nothing is lost by starting anew
        return
    before = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    now = json.loads(json.dumps(config.to_dict()))
    if before.get("network", {}).get("architecture") != config.network.architecture:
        raise ModelError(
            f"resume: the checkpoint is of another architecture, {before['network']['architecture']}, "
            f"not {config.network.architecture}"
        )
    for section, values in now.items():
        if before.get(section) != values:
            raise ValueError(
                f"resume: the run was started with another [{section}]: {before.get(section)}, now {values}"
            )


def _split(config: TrainingConfig, folder: Path, pictures: LabelledPictures, resume: bool) -> Table:
    """The split of the run to be resumed, of a file, or a new one."""
    if resume:
        return read_split(folder / SPLITS, pictures.name, pictures.ra, pictures.dec)
    options = config.split
    if options.file is not None:
        split = read_split(options.file, pictures.name, pictures.ra, pictures.dec)
        if "role" not in split.colnames:
            raise ValueError(f"split {options.file}: a training needs roles, not folds")
        return split
    if options.rule != "groups":
        generator = options.rule.removeprefix("paper-")
        return paper_roles(
            pictures.name, fraction=options.held_out, seed=config.run.seed, generator=generator
        )
    group = galaxy_groups(pictures.name, pictures.ra, pictures.dec)
    return draw_roles(pictures.name, group, held_out=options.held_out, seed=config.run.seed)


def _require_labels(config: TrainingConfig, train: LabelledPictures, held_out: LabelledPictures) -> None:
    """Refuse what nothing can be learned from, or what nothing can be calibrated with."""
    target = config.data.target
    for part in (train, held_out):
        bad = ~np.isfinite(part.target)
        if config.data.missing == "mask":
            bad &= ~np.isnan(part.target)
        if bad.any():
            raise ValueError(
                f"{target}: {bad.sum()} labels are missing or not finite, the first is that of "
                f"{part.name[bad][0]}; data.missing = 'mask' leaves missing ones out"
            )
    known = train.target[np.isfinite(train.target)]
    if known.size < 2 or np.ptp(known) == 0:
        what = f"always {known[0]:g}" if known.size else "never known"
        raise ValueError(f"{target}: the target is {what} among the training pictures: nothing to learn")
    judged = held_out.target[np.isfinite(held_out.target) & ~held_out.is_limit]
    if config.network.classifies:
        counts = [int(np.sum(judged == one)) for one in (0, 1)]
        if min(counts) < FEWEST_OF_A_CLASS:
            raise ValueError(
                f"too few rows to calibrate: of the two classes {counts[0]} and {counts[1]} are held out, "
                f"and {FEWEST_OF_A_CLASS} of each are needed; raise split.held_out or give more rows"
            )
    elif judged.size < FEWEST:
        raise ValueError(
            f"too few rows to calibrate: {judged.size} measured values are held out, and the 90% interval "
            f"needs {FEWEST}; raise split.held_out or give more rows"
        )


def _require_steps(config: TrainingConfig, of_an_epoch: int) -> None:
    """A cycle has a rise and a fall."""
    options = config.optimizer
    if options.epochs * of_an_epoch * options.warm_up <= 1:
        raise ValueError(
            f"optimizer.epochs: {options.epochs} epochs of {of_an_epoch} steps are too few for a learning "
            f"rate that rises in a share of {options.warm_up:g} of them and falls again"
        )


def _start_from(network: PixelNet, config: TrainingConfig) -> None:
    """The weights of another model of the same architecture."""
    source, wanted = config.network.init_from, config.network.architecture
    card = _card_of(source)
    if card.architecture != wanted:
        raise ModelError(
            f"init_from: {source} is of another architecture, {card.architecture}, not {wanted}: "
            "its weights are no start"
        )
    load_weights(network, load_model(source, device="cpu", runtime="eager").network)


def _card_of(source: str) -> ModelCard:
    """The card of a model by its name or folder."""
    return ModelCard.read(bundled_models().get(source, source))


def _merge_logs(folder: Path) -> None:
    """One row an epoch, of the last run that reached it."""
    epochs: dict[int, dict[str, str]] = {}
    for path in sorted(
        (folder / LOGS).glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:])
    ):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                # Lightning writes what it logs at one time in several rows, with gaps.
                epochs.setdefault(int(row["epoch"]), {}).update({key: one for key, one in row.items() if one})
    rows = [epochs[number] for number in sorted(epochs)]
    names = ["epoch", "step", *sorted({key for row in rows for key in row} - {"epoch", "step"})]
    with (folder / LOG).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _finish(
    config: TrainingConfig,
    folder: Path,
    network: PixelNet,
    n_train: int,
    held_out: LabelledPictures,
    split: Table,
    measured: LabelledPictures | None,
    command: str,
) -> dict[str, float]:
    """Judge, calibrate, and write the model; only a whole and verified one gets a card."""
    if config.network.classifies:
        network = one_logit(network)
    once, turned = (answer(network, held_out.pixels, orientations=count) for count in (1, 8))
    judged = np.isfinite(held_out.target) & ~held_out.is_limit
    truth = held_out.target[judged]
    if config.network.classifies:
        outputs = ("detection_logit",) if _recognises(config) else ("estimate",)
        calibration, detection = None, None
        figures = class_figures(truth == 1, once[judged, 0])
        figures["auc_8_orientations"] = class_figures(truth == 1, turned[judged, 0])["auc"]
        if outputs == ("detection_logit",):
            detection = _detection(truth == 1, once[judged, 0])
    else:
        outputs = ("estimate", "log_spread")[: once.shape[1]]
        spread = np.exp(once[judged, 1]) if once.shape[1] > 1 else 1.0
        scaled = (truth - once[judged, 0]) / spread
        calibration, detection = ConformalTable.from_residuals(scaled), None
        figures = regression_figures(truth, once[judged, 0])
        figures["rmse_8_orientations"] = float(np.sqrt(np.mean((turned[judged, 0] - truth) ** 2)))
        figures |= held_out_coverage(scaled, config.run.seed)
    # Measured galaxies of one class alone judge nothing.
    if measured is not None and np.ptp(measured.target) > 0:
        score = class_figures if config.network.classifies else regression_figures
        truth = measured.target == 1 if config.network.classifies else measured.target
        of_measured = score(truth, answer(network, measured.pixels)[:, 0])
        figures |= {f"{key}_measured": value for key, value in of_measured.items()}
    staged = folder / ".staged"
    shutil.rmtree(staged, ignore_errors=True)
    files = _artifact.save(network, staged)
    card = _card(config, n_train, held_out, split, files, figures, outputs, command)
    card = replace(card, calibration=calibration, detection=detection)
    card.write(staged)
    _require_equal(staged, network, held_out.pixels[:16])
    _estimates(held_out, once, turned, outputs, card).write(staged / ESTIMATES, overwrite=True)
    for path in sorted(staged.iterdir(), key=lambda path: path.name == "card.json"):
        path.replace(folder / path.name)
    staged.rmdir()
    return figures


def _detection(detected: np.ndarray, logit: np.ndarray) -> DetectionTable:
    """p_detect from held-out log odds (Platt 1999); no picture is ever strange, for want of a distance."""
    from sklearn.linear_model import LogisticRegression

    platt = LogisticRegression(class_weight="balanced", C=1e6).fit(logit[:, None], detected)
    table = DetectionTable(
        slope=float(platt.coef_[0, 0]),
        intercept=float(platt.intercept_[0]),
        threshold=0.0,
        percentiles=(0.0, 100.0),
        distances=(0.0, 0.0),
        ood_threshold=101.0,
    )
    threshold = np.quantile(table.p_detect(logit[detected]), 1 - COMPLETENESS)
    return replace(table, threshold=round(float(threshold), 3))


def _card(
    config: TrainingConfig,
    n_train: int,
    held_out: LabelledPictures,
    split: Table,
    files: dict[str, str],
    figures: dict[str, float],
    outputs: tuple[str, ...],
    command: str,
) -> ModelCard:
    data, network = config.data, config.network
    judged = "two classes" if network.classifies else "measured values"
    if not network.classifies:
        rests = "the interval rests on the same pictures, its coverage on parts of them in turn"
    elif outputs == ("detection_logit",):
        rests = "p_detect is calibrated on the same pictures"
    else:
        rests = "a class has no interval"
    teacher = _teacher(config)
    return ModelCard(
        name=config.name,
        summary=config.summary or f"{data.target} from pictures; {network.architecture}",
        created=datetime.now(UTC).date().isoformat(),
        architecture=network.architecture,
        options={"n_outputs": len(outputs), "n_channels": 3}
        | ({"monochrome": True} if network.monochrome else {}),
        recipe=config.pictures,
        target=data.description or f"{data.target}, as the labels are",
        mass_scale=data.mass_scale,
        training_set=f"{n_train} pictures of {data.table or 'the data directory'}, "
        f"{len(held_out)} more held out{_lesson(teacher)}",
        validity=data.validity,
        normalisation="none outside the network: it takes decoded values 0 to 255",
        calibration=None,
        detection=None,
        figures={key: round(value, 4) for key, value in figures.items()},
        protocol=f"{judged} of the held-out pictures, one orientation each unless said; the last of "
        f"{config.optimizer.epochs} epochs, chosen by nothing; {rests}",
        folds={"seed": split.meta.get("seed"), "rule": split.meta.get("rule"), "sha256": split_hash(split)},
        command=command,
        files=files,
        references=REFERENCES + (() if teacher is None else teacher.references),
        target_column=_target_column(config),
        outputs=outputs,
    )


def _teacher(config: TrainingConfig) -> ModelCard | None:
    """The model whose estimates are the labels, if they are."""
    if config.data.table is not None or config.data.sample != "estimates":
        return None
    return _card_of(config.data.teacher)


def _lesson(teacher: ModelCard | None) -> str:
    """What a card must say of labels that are estimates."""
    if teacher is None:
        return ""
    return (
        f"; labels are estimates of the model {teacher.name} ({teacher.sha256[:12]}); figures named "
        "'measured' are of the measured galaxies, which are not among them, but which the teacher "
        "learned from"
    )


def _estimates(
    held_out: LabelledPictures,
    once: np.ndarray,
    turned: np.ndarray,
    outputs: tuple[str, ...],
    card: ModelCard,
) -> Table:
    """The answers for the held-out galaxies, from one orientation and from the mean of eight."""
    table = Table({"objid": held_out.name, "target": held_out.target, "is_limit": held_out.is_limit})
    for number, name in enumerate(outputs):
        table[name] = once[:, number]
        table[f"{name}_8_orientations"] = turned[:, number]
    table.meta = {"model": card.sha256, "target": card.target}
    return table


def _require_equal(folder: Path, network: PixelNet, pixels: torch.Tensor, tolerance: float = 1e-4) -> None:
    """The written model answers as the trained one."""
    expected = answer(network, pixels)
    model = load_model(folder, device="cpu")
    found = np.stack(list(model.run(pixels.permute(0, 2, 3, 1).contiguous().numpy()).values()), axis=1)
    difference = float(np.abs(found - expected).max())
    if not difference <= tolerance * max(1.0, float(np.abs(expected).max())):
        raise ModelError(f"the written model differs from the trained one by {difference:.2g}")
