"""Fine-tuning of the structure network: its measurements stay, one head learns any target anew."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import RidgeCV

from hifrac.core.exceptions import ModelError, warn_caller
from hifrac.core.reddening import galactic_ebv
from hifrac.core.tables import read_table
from hifrac.cutouts._scales import scale_text
from hifrac.metrics import regression_metrics
from hifrac.models import Model, ModelCard, load_model
from hifrac.models.calibration import ConformalTable
from hifrac.models.cards import require_free_column
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training.data import LabelledPictures, read_labelled, require_finite
from hifrac.training.evaluation import coverage_across
from hifrac.training.measuring.linear import PENALTIES, set_head, set_state, without_texture
from hifrac.training.measuring.measurements import measure, with_ebv
from hifrac.training.splits import draw_folds, galaxy_groups
from hifrac.training.write_model import CARD, write_model

log = logging.getLogger(__name__)

N_FOLDS = 5
#: Fewer galaxies calibrate no 90% interval.
FEWEST = 40
#: A larger share of training pictures unlike those of the model is no accident.
MOST_UNLIKE = 0.25


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

    The measurements and ``ood_score`` stay those of ``model``, ``p_detect`` as far as the measurements alone
    tell it. Ridge regression learns the target from the measurements of shape and colour, and from the
    magnitudes, redshift and stellar mass that they show. The interval is learned from galaxies that were held
    out, and is as wide for all.

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

    Examples
    --------
    With pictures and measurements of your own:

    >>> from hifrac.training import refit
    >>> figures = refit("default", "bars.csv", "pictures", "my-model", target="bar_length")  # doctest: +SKIP
    >>> round(figures["rmse"], 3)  # doctest: +SKIP
    """
    folder = Path(output)
    if (folder / CARD).exists():
        raise FileExistsError(f"{folder} holds a model already: give another folder")
    if not target.isidentifier():
        raise ValueError(f"target must be a column whose name is an identifier, got {target!r}")
    require_free_column("target", target)
    base = load_model(model, device="cpu", runtime="eager")
    network = base.network
    if not isinstance(network, StructureNet):
        raise ModelError(
            f"from: {base.card.name!r} is of the architecture {base.card.architecture}, and only "
            "measurements of StructureNet can be kept; take 'default'"
        )
    if command is None:
        call = f"{base.card.name!r}, TABLE, CUTOUTS, OUTPUT, target={target!r}, name={name!r}, seed={seed}"
        command = f"refit({call}) of hifrac.training"
    rows = table if isinstance(table, Table) else read_table(table)
    pictures = read_labelled(rows, cutouts, base.card.recipe, name=name, target=target)
    _require_labels(pictures, target)
    pixels = pictures.pixels.permute(0, 2, 3, 1).contiguous().numpy()
    learned = _measure(network, base.card, pictures, pixels)
    split = draw_folds(pictures.name, learned.group, n_folds=N_FOLDS, seed=seed)
    card = replace(_card(base.card, folder.name, target, learned.target), detection=_detection(base, learned))
    # What the prior says is of the HI fraction: the target is left to the head.
    prior = network.prior
    set_state(prior, coefficients=np.zeros(len(prior.coefficients)), intercept=np.zeros(()))
    residual, figures = _cross_validate(network, learned, np.asarray(split["fold"]))
    _fit(network, learned, np.ones(len(pictures), dtype=bool))
    card = replace(
        card,
        calibration=ConformalTable.from_residuals(residual),
        figures={key: round(value, 4) for key, value in figures.items()},
        folds={"n_folds": N_FOLDS, "seed": seed},
        command=command,
    )
    write_model(folder, network, card, pixels[:64], tables={}, split=split)
    return figures


def _require_labels(pictures: LabelledPictures, target: str) -> None:
    require_finite(pictures, target)
    if len(pictures) < FEWEST:
        raise ValueError(
            f"table must have at least {FEWEST} rows to calibrate an interval, got {len(pictures)}"
        )
    if np.ptp(pictures.target) == 0:
        raise ValueError(f"{target} must not be constant, it is {pictures.target[0]:g} everywhere")


@dataclass(frozen=True)
class _Measured:
    """What is learned from: raw features, inputs of the head, the target, and groups that stay together."""

    features: np.ndarray
    inputs: np.ndarray
    target: np.ndarray
    group: np.ndarray


def _measure(
    network: StructureNet, card: ModelCard, pictures: LabelledPictures, pixels: np.ndarray
) -> _Measured:
    """Measure the pictures; warn if too many are unlike those that the model knows."""
    ebv = galactic_ebv(pictures.ra, pictures.dec, pictures.ebv)
    features = with_ebv(measure(network, pixels), ebv)
    head = network.residual.picture
    with torch.inference_mode():
        raw = torch.from_numpy(features).float()
        distance = network.forward_head(raw).distance.numpy()
        shown = (network.photometry(raw) - head.extra_center) / head.extra_scale
        standard = network.standardise(raw)[:, without_texture(network)]
    _warn_of_unlike(card, distance)
    group = galaxy_groups(pictures.name, pictures.ra, pictures.dec)
    return _Measured(features, torch.cat([standard, shown], 1).double().numpy(), pictures.target, group)


def _detection(base: Model, learned: _Measured) -> DetectionTable | None:
    """Return the table of a model without a posterior: p_detect as far as the measurements alone tell it."""
    if base.card.detection is None:
        return None
    # Whether ALFALFA would detect the galaxy is no reason to doubt another quantity.
    table = replace(base.card.detection, threshold=0.0)
    if not table.posterior_slope:
        return table
    network = cast(StructureNet, base.network)
    with torch.inference_mode():
        answers = network.forward_head(torch.from_numpy(learned.features).float())._asdict()
    outputs = {name: values.numpy() for name, values in answers.items()}
    p_detect = np.clip(base.interpret(outputs, learned.features[:, -1]).probability, 1e-6, 1 - 1e-6)
    slope, intercept = np.polyfit(outputs["detection_logit"], np.log(p_detect / (1 - p_detect)), 1)
    return replace(table, slope=float(slope), intercept=float(intercept), posterior_slope=0.0)


def _warn_of_unlike(card: ModelCard, distance: np.ndarray) -> None:
    """Warn of another scale or other bands: they can be learned from, but all estimates would be flagged."""
    detection, recipe = card.detection, card.recipe
    if detection is None:
        return
    unlike = int(np.count_nonzero(detection.ood_score(distance) >= detection.ood_threshold))
    if unlike > MOST_UNLIKE * len(distance):
        warn_caller(
            f"cutouts: {unlike} of {len(distance)} pictures are unlike those that {card.name!r} was "
            f"trained on (ood_score {detection.ood_threshold:g} or more), and estimates from such pictures "
            f"will be flagged: have they {scale_text(recipe)} arcsec a pixel, and the bands "
            f"{', '.join(recipe.bands)} of {recipe.survey}?"
        )


def _cross_validate(
    network: StructureNet, learned: _Measured, fold: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Return the held-out residuals, truth minus estimate, and the figures of merit."""
    truth = learned.target
    estimate = np.empty(len(truth))
    for number in np.unique(fold):
        held_out = fold == number
        _fit(network, learned, ~held_out)
        with torch.inference_mode():
            answers = network.forward_head(torch.from_numpy(learned.features[held_out]).float())
        estimate[held_out] = answers.estimate.numpy()
    figures = {key: float(value) for key, value in regression_metrics(truth, estimate).items()}
    figures |= coverage_across(truth - estimate, fold) | {"standard_deviation": float(truth.std())}
    log.info("cross-validated: %s", figures)
    return truth - estimate, figures


def _fit(network: StructureNet, learned: _Measured, rows: np.ndarray) -> None:
    """Fit the head of the target to some rows."""
    head = network.residual.picture
    columns = [*without_texture(network), *range(head.n_features, head.in_features)]
    fitted = RidgeCV(PENALTIES).fit(learned.inputs[rows], learned.target[rows])
    set_head(head, columns, float(fitted.intercept_), fitted.coef_)


def _card(base: ModelCard, name: str, target: str, truth: np.ndarray) -> ModelCard:
    """Say what is new in the card of the model whose measurements are kept."""
    return replace(
        base,
        name=name,
        summary=f"{target} from pictures; the measurements of {base.name!r}, a linear head of its own",
        target=f"{target}, as the labels are",
        target_column=target,
        mass_scale="as the labels are",
        training_set=f"{len(truth)} galaxies; all else as {base.name!r}: {base.training_set}",
        validity=f"galaxies like those of the labels, {target} = {truth.min():.4g} to {truth.max():.4g}",
        protocol=f"{N_FOLDS}-fold cross-validation, pooled; close galaxies share a fold; the penalty chosen "
        "inside each training part; the interval judged across folds",
        outputs=NetworkOutput._fields,
    )
