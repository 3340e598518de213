"""The command that makes the default model: read, measure, cross-validate, fit, write."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import LogisticRegression

from hifrac.calibration import ConformalTable
from hifrac.cutouts import SDSS_RECIPE
from hifrac.exceptions import ModelError
from hifrac.models import ModelCard, _artifact, load_model
from hifrac.models.structure import StructureNet
from hifrac.recognition import RecognitionTable
from hifrac.training.data import BRIGHT, SEPARATION, TrainingSample, read_beyond, read_sample
from hifrac.training.evaluation import beyond_table, cross_validation_table
from hifrac.training.fit import OutOfFold, assign_folds, centred, cross_validate, fit_heads, measure

__all__ = ["train"]

log = logging.getLogger(__name__)

N_FOLDS = 5
#: p_detect is flagged below the value that 90% of the detections reach, out of fold.
COMPLETENESS = 0.90
#: Pictures farther out than 99% of held-out training pictures are flagged.
OOD_PERCENTILE = 99.0
PERCENTILES = (*range(100), 99.5, 99.9, 100)

REFERENCES = (
    "Wu 2020, ApJ 900, 142 (HI mass fractions from images; pattern recognition)",
    "Haynes et al. 2018, ApJ 861, 49 (ALFALFA)",
    "Durbala et al. 2020, AJ 160, 271 (ALFALFA-SDSS catalogue)",
    "Taylor et al. 2011, MNRAS 418, 1587 (stellar masses)",
    "Ahumada et al. 2020, ApJS 249, 3 (SDSS DR16)",
)


def _recognition(sample: TrainingSample, answers: OutOfFold) -> RecognitionTable:
    platt = LogisticRegression(class_weight="balanced", C=1e6).fit(
        answers.detection_logit[:, None], sample.detected
    )
    # Both kinds count alike, although there are many more undetected galaxies.
    levels = np.linspace(0, 1, 2001)
    balanced = np.concatenate(
        [np.quantile(answers.distance[kind], levels) for kind in (sample.detected, ~sample.detected)]
    )
    # The outermost distance is open-ended: the farthest galaxy has nothing behind it.
    table = RecognitionTable(
        slope=float(platt.coef_[0, 0]),
        intercept=float(platt.intercept_[0]),
        threshold=0.0,
        percentiles=PERCENTILES,
        distances=tuple(np.percentile(balanced, PERCENTILES)),
        ood_threshold=OOD_PERCENTILE,
    )
    probability = table.p_detect(answers.detection_logit)
    threshold = float(np.quantile(probability[sample.detected], 1 - COMPLETENESS))
    return RecognitionTable(**{**vars(table), "threshold": round(threshold, 3)})


def train(
    output: str | Path, *, data: str | Path | None = None, name: str = "default", seed: int = 12345
) -> tuple[Table, Table | None]:
    """Train the default model and write its folder.

    Parameters
    ----------
    output : path-like
        Folder for ``weights.safetensors``, ``model.pt``, ``card.json``,
        ``cross_validation.ecsv``, ``beyond_alfalfa.ecsv`` and
        ``out_of_fold.ecsv``; made if missing.
    data : path-like, optional
        The data directory; `~hifrac.config.data_dir` by default.
    name : str, optional
        Name of the model, for its card.
    seed : int, optional
        Fixes the folds.

    Returns
    -------
    figures : `~astropy.table.Table`
        The cross-validated figures, as written to ``cross_validation.ecsv``.
    beyond : `~astropy.table.Table` or None
        Those on galaxies that ALFALFA did not detect, as written to
        ``beyond_alfalfa.ecsv``; None if the data directory has none.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.exceptions.RowError
        If the data directory is not as `~hifrac.training.data.read_sample`
        wants it.
    ~hifrac.exceptions.ModelError
        If the TorchScript file disagrees with the weights.
    """
    folder = Path(output)
    sample = read_sample(data, width=SDSS_RECIPE.width)
    seen = sample.detected
    log.info("%d detections, %d bright undetected galaxies", seen.sum(), (~seen).sum())
    network = StructureNet(SDSS_RECIPE.width)
    features = measure(network, sample.pixels)
    fold = assign_folds(seen, sample.group, N_FOLDS, seed)
    answers = cross_validate(sample, features, fold)
    answers, shift = centred(answers, sample.log_hi_fraction, seen)
    table = cross_validation_table(sample, features, answers)
    figures = {key: round(float(table[key][0]), 4) for key in table.colnames if key not in ("model", "sigma")}
    log.info("cross-validated: %s", figures)

    network = fit_heads(network, features, seen, sample.log_hi_fraction, sample.group)
    with torch.no_grad():
        network.fraction.bias += shift
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / ".staged"
    files = _artifact.save(network, staged)
    truth = sample.log_hi_fraction[seen]
    card = ModelCard(
        name=name,
        summary="log10(M_HI/M*) from SDSS colour pictures; measured structure, robust linear heads",
        created=datetime.now(UTC).date().isoformat(),
        architecture="StructureNet",
        options={"width": SDSS_RECIPE.width},
        recipe=SDSS_RECIPE,
        target="log10(M_HI / M*), dex",
        mass_scale="M* of Taylor et al. (2011, g-i colour method) as in Durbala et al. (2020); "
        "M_HI of ALFALFA (Haynes et al. 2018); GSWLC-2 masses are larger and would lower the target",
        training_set=f"{seen.sum()} ALFALFA-SDSS galaxies (Durbala et al. 2020); detection: against "
        f"{(~seen).sum()} undetected spectroscopic galaxies of the ALFALFA footprint with "
        f"flux_16px >= {BRIGHT:g}",
        validity="galaxies that ALFALFA would detect, z < 0.06, i = 12-18, log10(M_HI/M*) = "
        f"{truth.min():.1f} to {truth.max():.1f}; gas-poor galaxies are overestimated, flagged or not",
        normalisation="none outside the network: it takes decoded values 0 to 255",
        calibration=ConformalTable.from_residuals(truth - answers.log_hi_fraction[seen]),
        recognition=_recognition(sample, answers),
        figures=figures,
        protocol=f"{N_FOLDS}-fold cross-validation, pooled; galaxies of one SDSS field or closer than "
        f"{SEPARATION.value:g} arcsec share a fold; penalties chosen inside each training part; "
        "a constant, of the other folds too, centres the residuals on their median; the "
        "measurements themselves were designed and selected on the same galaxies (in folds of other seeds), "
        "so expect a slightly larger error on new ones",
        folds={"n_folds": N_FOLDS, "seed": seed, "sha256": _fold_hash(sample.objid, fold)},
        command=f"hifrac train OUTPUT --seed {seed}",
        files=files,
        references=REFERENCES,
    )
    card.write(staged)
    _require_equal_artefacts(staged, sample.pixels[:64])
    beyond = _beyond(staged, data, sample, answers)
    table.meta = {"command": card.command, "protocol": card.protocol, "model": card.sha256}
    table.write(staged / "cross_validation.ecsv", overwrite=True)
    if beyond is not None:
        beyond.meta = {"command": card.command, "model": card.sha256}
        beyond.write(staged / "beyond_alfalfa.ecsv", overwrite=True)
    out_of_fold = Table(
        {
            "objid": sample.objid,
            "detected": seen,
            "fold": fold,
            "log_hi_fraction": answers.log_hi_fraction,
            "log_hi_fraction_true": sample.log_hi_fraction,
            "p_detect": card.recognition.p_detect(answers.detection_logit),
            "distance": answers.distance,
        }
    )
    out_of_fold.write(staged / "out_of_fold.ecsv", overwrite=True)
    # Only a whole and verified model takes the place of another; its card comes last.
    for path in sorted(staged.iterdir(), key=lambda path: path.name == "card.json"):
        path.replace(folder / path.name)
    staged.rmdir()
    return table, beyond


def _fold_hash(objid: np.ndarray, fold: np.ndarray) -> str:
    """What tells whether two sets of folds are the same."""
    lines = sorted(f"{one},{number}" for one, number in zip(objid, fold, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _beyond(
    folder: Path, data: str | Path | None, sample: TrainingSample, answers: OutOfFold
) -> Table | None:
    """The figures beyond ALFALFA: estimates of the final network, recognition out of fold."""
    beyond = read_beyond(data, width=SDSS_RECIPE.width)
    if beyond is None:
        return None
    model = load_model(folder, device="cpu")
    raw = model.run(beyond.pixels)
    # Some are among the undetected galaxies that the detection head and the distance were fitted to.
    logit, distance = raw.detection_logit.copy(), raw.distance.copy()
    row_of = {name: row for row, name in enumerate(sample.objid)}
    for place, name in enumerate(beyond.objid):
        if (row := row_of.get(name)) is not None:
            logit[place], distance[place] = answers.detection_logit[row], answers.distance[row]
    recognition = model.card.recognition
    return beyond_table(
        beyond, model.card, raw.log_hi_fraction, recognition.p_detect(logit), recognition.ood_score(distance)
    )


def _require_equal_artefacts(folder: Path, pixels: np.ndarray, tolerance: float = 1e-5) -> None:
    eager, script = (
        load_model(folder, device="cpu", runtime=runtime).run(pixels).log_hi_fraction
        for runtime in ("eager", "torchscript")
    )
    difference = float(np.abs(eager - script).max())
    if not difference <= tolerance:
        raise ModelError(f"the TorchScript file differs from its weights by {difference:.2g} dex")
