"""Fine-tuning of the structure network: its measurements kept, one head learned anew for any target."""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict

from hifrac.core.exceptions import HifracWarning, ModelError
from hifrac.core.reddening import galactic_ebv
from hifrac.core.tables import read_table
from hifrac.metrics import regression_metrics
from hifrac.models import Model, _artifact, load_model
from hifrac.models.calibration import ConformalTable
from hifrac.models.cards import require_free_column
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training.data import LabelledPictures, read_labelled
from hifrac.training.evaluation import crossfold_coverage
from hifrac.training.splits import draw_folds, galaxy_groups, write_split
from hifrac.training.structure.heads import fit_spread, set_head, without_texture
from hifrac.training.structure.measurements import measure, with_ebv

log = logging.getLogger(__name__)

N_FOLDS = 5
PENALTIES = np.logspace(0, 4, 17)
#: Fewer galaxies calibrate no 90% interval.
FEWEST = 40
#: A larger share of training pictures unlike those of the model is no accident.
MOST_STRANGE = 0.25


def refit(
    model: str | Path,
    table: str | Path | Table,
    cutouts: str | Path,
    output: str | Path,
    *,
    target: str,
    name: str = "objid",
    seed: int = 12345,
    command: str | None = None,
) -> dict[str, float]:
    """Fit the head of a structure network to another target, and write the model.

    The measurements, ``p_detect`` and ``ood_score`` stay those of ``model``; ridge regression on the
    measurements of shape and colour learns the target, how well it is known is learned from galaxies
    that were held out, and so is the interval.

    Parameters
    ----------
    model : str or path-like
        Name or folder of a model with the architecture ``StructureNet``, such as ``"default"``.
    table : path-like or `~astropy.table.Table`
        One row a galaxy, with the columns named below, and ``ra`` and ``dec`` where they are known.
    cutouts : path-like
        Folder or archive of pictures of the model's recipe.
    output : path-like
        Folder of the new model; must not hold one.
    target : str
        The column to learn: finite numbers. Result columns will have this name, so that it must not be
        that of another column of a result or of its input, such as ``flags`` or ``ra``.
    name : str, optional
        The column that names the pictures.
    seed : int, optional
        Fixes the folds.
    command : str, optional
        What the card says made the model; by default the call of this function.

    Returns
    -------
    figures : dict
        Cross-validated figures of merit, as in the card.

    Raises
    ------
    ValueError
        If a label is missing or not finite, the target constant, its name no
        identifier or that of another column, or there are fewer than 40 rows.
    FileExistsError
        If ``output`` holds a model already.
    ~hifrac.core.ModelError
        If ``model`` is of another architecture.
    ~hifrac.core.RowError
        If a picture is missing, damaged, or not of the recipe's size.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If more than a quarter of the pictures are unlike those that ``model`` was trained on.
    """
    folder = Path(output)
    if (folder / "card.json").exists():
        raise FileExistsError(f"{folder} holds a model already: give another folder")
    if not target.isidentifier():
        raise ValueError(f"target must be a column whose name is an identifier, got {target!r}")
    require_free_column("target", target)
    base = load_model(model, device="cpu", runtime="eager")
    if command is None:
        call = f"{base.card.name!r}, TABLE, CUTOUTS, OUTPUT, target={target!r}, name={name!r}, seed={seed}"
        command = f"refit({call}) of hifrac.training.refit"
    if not isinstance(base.network, StructureNet):
        raise ModelError(f"from: {base.card.name!r} is of the architecture {base.card.architecture}")
    rows = table if isinstance(table, Table) else read_table(table)
    pictures = read_labelled(rows, cutouts, base.card.recipe, name=name, target=target)
    _require_labels(pictures, target)

    network = base.network
    truth = pictures.target
    measured = measure(network, pictures.pixels.permute(0, 2, 3, 1).contiguous().numpy())
    features = with_ebv(measured, galactic_ebv(pictures.ra, pictures.dec, pictures.ebv))
    _warn_of_strange(base, features)
    with torch.inference_mode():
        standard = network.standardise(torch.from_numpy(features)).numpy()
    shape = without_texture(network)
    group = galaxy_groups(pictures.name, pictures.ra, pictures.dec)
    split = draw_folds(pictures.name, group, n_folds=N_FOLDS, seed=seed)
    fold = np.asarray(split["fold"])
    held_out, log_spread = np.empty(len(truth)), np.empty(len(truth))
    for number in np.unique(fold):
        rest, part = fold != number, fold == number
        _fit(network, standard[rest], truth[rest], group[rest], shape)
        with torch.inference_mode():
            answers = network.forward_head(torch.from_numpy(features[part]).float())
        held_out[part], log_spread[part] = answers.estimate.numpy(), answers.log_spread.numpy()
    scaled = (truth - held_out) / np.exp(log_spread)
    figures = {key: float(value) for key, value in regression_metrics(truth, held_out).items()}
    figures |= crossfold_coverage(scaled, np.zeros(len(scaled)), fold)
    figures["standard_deviation"] = float(truth.std())
    log.info("cross-validated: %s", figures)

    _fit(network, standard, truth, group, shape)
    staged = folder / ".staged"
    shutil.rmtree(staged, ignore_errors=True)
    files = _artifact.save(network, staged)
    card = replace(
        base.card,
        name=folder.name,
        summary=f"{target} from pictures; the measurements of {base.card.name!r}, a linear head of its own",
        created=datetime.now(UTC).date().isoformat(),
        target=f"{target}, as the labels are",
        target_column=target,
        mass_scale="as the labels are",
        training_set=f"{len(truth)} galaxies; all else as {base.card.name!r}: {base.card.training_set}",
        validity=f"galaxies like those of the labels, {target} = {truth.min():.4g} to {truth.max():.4g}",
        calibration=ConformalTable.from_residuals(scaled),
        # Whether ALFALFA would detect the galaxy is no reason to doubt another quantity.
        detection=replace(base.card.detection, threshold=0.0),
        figures={key: round(value, 4) for key, value in figures.items()},
        protocol=f"{N_FOLDS}-fold cross-validation, pooled; close galaxies share a fold; the penalty chosen "
        "inside each training part; the interval judged across folds",
        folds={"n_folds": N_FOLDS, "seed": seed},
        command=command,
        files=files,
        outputs=NetworkOutput._fields,
    )
    card.write(staged)
    write_split(split, staged / "splits.ecsv")
    for path in sorted(staged.iterdir(), key=lambda path: path.name == "card.json"):
        path.replace(folder / path.name)
    staged.rmdir()
    return figures


def _require_labels(pictures: LabelledPictures, target: str) -> None:
    if bad := int(np.count_nonzero(~np.isfinite(pictures.target))):
        first = pictures.name[~np.isfinite(pictures.target)][0]
        raise ValueError(f"{target}: {bad} labels are missing or not finite, the first is that of {first}")
    if len(pictures) < FEWEST:
        raise ValueError(
            f"table must have at least {FEWEST} rows to calibrate an interval, got {len(pictures)}"
        )
    if np.ptp(pictures.target) == 0:
        raise ValueError(f"{target} must not be constant, it is {pictures.target[0]:g} everywhere")


def _warn_of_strange(base: Model, features: np.ndarray) -> None:
    """Pictures of another scale or other bands can be learned from, but all estimates would be flagged."""
    with torch.inference_mode():
        distance = base.network.forward_head(torch.from_numpy(features).float()).distance.numpy()
    detection, recipe = base.card.detection, base.card.recipe
    strange = int(np.count_nonzero(detection.ood_score(distance) >= detection.ood_threshold))
    if strange > MOST_STRANGE * len(features):
        warnings.warn(
            f"cutouts: {strange} of {len(features)} pictures are unlike those that {base.card.name!r} was "
            f"trained on (ood_score {detection.ood_threshold:g} or more), and estimates from such pictures "
            f"will be flagged: have they {recipe.pixel_scale:g} arcsec a pixel, and the bands "
            f"{', '.join(recipe.bands)} of {recipe.survey}?",
            HifracWarning,
            stacklevel=3,
        )


def _fit(
    network: StructureNet, standard: np.ndarray, target: np.ndarray, group: np.ndarray, columns: np.ndarray
) -> None:
    """The head of the target, and that of its spread."""
    inputs = standard[:, columns]
    fitted = RidgeCV(PENALTIES).fit(inputs, target)
    set_head(network.fraction, columns, float(fitted.intercept_), fitted.coef_)
    folds = GroupKFold(min(N_FOLDS, len(np.unique(group))))
    held_out = cross_val_predict(RidgeCV(PENALTIES), inputs, target, groups=group, cv=folds)
    fit_spread(network, standard, target - held_out)
