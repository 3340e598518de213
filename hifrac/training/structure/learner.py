"""The command that makes the default model: read, measure, cross-validate, fit, write."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import LogisticRegression

from hifrac.core.exceptions import ModelError
from hifrac.core.reddening import EBV_SOURCE
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import ModelCard, _artifact, load_model
from hifrac.models.calibration import LEVELS
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training.data import BRIGHT
from hifrac.training.splits import SEPARATION, assign_folds
from hifrac.training.structure.cross_validation import (
    OutOfFold,
    balanced,
    calibrate,
    calibrate_across,
    cross_validate,
    set_edges,
)
from hifrac.training.structure.heads import FEWEST_GSWLC, fit_distances, fit_heads
from hifrac.training.structure.measurements import altered_features, measure, with_ebv
from hifrac.training.structure.ood import as_read, ood_pictures
from hifrac.training.structure.sample import Labels, combine, read_deep, read_sample, require_labels
from hifrac.training.structure.tables import (
    cross_validation_table,
    deep_table,
    gswlc_table,
    ood_table,
    parents_table,
    tercile_table,
)

log = logging.getLogger(__name__)

N_FOLDS = 5
#: p_detect is flagged below the value that 90% of the detections reach, out of fold.
COMPLETENESS = 0.90
#: Pictures farther out than 97% of held-out training pictures are flagged.
OOD_PERCENTILE = 97.0
#: Undetected galaxies whose altered pictures the distance learns from, beside all detections.
N_ALTERED = 700
PERCENTILES = (*range(100), 99.5, 99.9, 100)
#: Whose galaxies the strange pictures are made of: not those on which the distances were designed.
STRANGE_FOLD = 1
TABLES = ("cross_validation", "terciles", "strange", "beyond_alfalfa", "parents", "gswlc")


@dataclass(frozen=True)
class Parent:
    """A parent population: prior odds (natural logarithms) of a galaxy that ALFALFA misses.

    Parameters
    ----------
    estimate, interval : float
        For the estimate, and for the interval.
    summary, validity : str
        For the card.
    """

    estimate: float
    interval: float
    summary: str
    validity: str


#: For whom the estimate is: galaxies of a HI-selected sample, or all galaxies of a volume. The interval of
#: the first still keeps the second in mind.
PARENTS = {
    "hi-selected": Parent(
        -8.0,
        -2.5,
        "for galaxies that a HI survey like ALFALFA would detect",
        "galaxies that ALFALFA would detect; of the others the estimate is too high, and the interval "
        "holds for fewer than it says",
    ),
    "volume-limited": Parent(
        -1.0,
        -1.0,
        "for all galaxies of a volume, gas-poor ones among them",
        "samples that are not selected by HI, such as RESOLVE; some HI-selected galaxies are underestimated",
    ),
}

REFERENCES = (
    "Wu 2020, ApJ 900, 142 (HI mass fractions from images; pattern recognition)",
    "Haynes et al. 2018, ApJ 861, 49 (ALFALFA)",
    "Durbala et al. 2020, AJ 160, 271 (ALFALFA-SDSS catalogue)",
    "Eckert et al. 2015, ApJ 810, 166; Stark et al. 2016, ApJ 832, 126 (RESOLVE)",
    "Taylor et al. 2011, MNRAS 418, 1587 (stellar masses)",
    "Salim et al. 2018, ApJ 859, 11 (GSWLC-2 stellar masses)",
    "Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525 (Galactic reddening)",
    "Ahumada et al. 2020, ApJS 249, 3 (SDSS DR16)",
)


def _detection(labels: Labels, answers: OutOfFold) -> DetectionTable:
    kinds = labels.detected | labels.undetected
    logit = answers.outputs["detection_logit"]
    platt = LogisticRegression(class_weight="balanced", C=1e6).fit(
        logit[kinds][:, None], labels.detected[kinds]
    )
    # Both kinds count alike, although there are many more undetected galaxies.
    distances = np.percentile(balanced(answers.outputs["distance"], labels), PERCENTILES)
    table = DetectionTable(
        slope=float(platt.coef_[0, 0]),
        intercept=float(platt.intercept_[0]),
        threshold=0.0,
        percentiles=PERCENTILES,
        distances=tuple(distances),
        ood_threshold=OOD_PERCENTILE,
        largest_ebv=_largest_ebv(labels),
    )
    probability = table.p_detect(logit)
    threshold = float(np.quantile(probability[labels.detected], 1 - COMPLETENESS))
    return replace(table, threshold=round(threshold, 3))


def _largest_ebv(labels: Labels) -> float | None:
    """The largest reddening, in mag, of the galaxies that the estimate learned from."""
    ebv = labels.ebv[labels.detected | labels.gas_poor]
    known = ebv[np.isfinite(ebv)]
    return float(np.ceil(known.max() * 1000) / 1000) if known.size else None


def train_structure(
    output: str | Path,
    *,
    data: str | Path | None = None,
    name: str | None = None,
    seed: int = 12345,
    parent: str = "hi-selected",
) -> dict[str, Table]:
    """Train the default model and write its folder.

    Parameters
    ----------
    output : path-like
        Folder for ``weights.safetensors``, ``model.pt``, ``card.json``, the tables
        that are returned (as ``<name>.ecsv``) and ``out_of_fold.ecsv``; made if missing.
    data : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default.
    name : str, optional
        Name of the model, for its card; "default", or that of another parent, by default.
    seed : int, optional
        Fixes the folds.
    parent : {"hi-selected", "volume-limited"}, optional
        For whom the estimate is, see ``PARENTS``.

    Returns
    -------
    tables : dict of str to `~astropy.table.Table`
        ``cross_validation``, ``terciles`` and ``strange``; where the data directory has
        galaxies that ALFALFA missed, also ``beyond_alfalfa`` and ``parents``;
        see ``hifrac/training/structure/tables.py``.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.core.RowError
        If the data directory is not as `~hifrac.training.read_sample`
        wants it, or ``parent`` is unknown.
    ~hifrac.core.ModelError
        If the TorchScript file disagrees with the weights.
    """
    if parent not in PARENTS:
        raise ValueError(f"parent must be one of {', '.join(PARENTS)}, got {parent!r}")
    population = PARENTS[parent]
    name = name or ("default" if parent == "hi-selected" else parent)
    odds = (population.estimate, population.interval)
    folder = Path(output)
    sample = read_sample(data, width=SDSS_RECIPE.width)
    beyond = read_deep(data, width=SDSS_RECIPE.width)
    fold = assign_folds(sample.detected, sample.group, N_FOLDS, seed)
    pixels, labels, fold = combine(sample, beyond, fold)
    seen = labels.detected
    log.info(
        "%d detections, %d bright undetected galaxies, %d measured beyond ALFALFA",
        *(kind.sum() for kind in (seen, labels.undetected, labels.gas_poor)),
    )
    require_labels(labels)
    network = StructureNet(SDSS_RECIPE.width)
    features = with_ebv(measure(network, pixels), labels.ebv)
    altered_rows = _rows_to_alter(labels, seed)
    altered = altered_features(network, pixels, altered_rows, fold)
    answers = cross_validate(network, features, labels, fold, altered, altered_rows)
    answers = set_edges(network, answers, labels)
    calibrated = calibrate_across(answers, labels, odds)
    unaware = with_ebv(features[:, :-1], np.full(len(labels), np.nan))
    unaware_answers = cross_validate(network, unaware, labels, fold, altered, altered_rows)
    without = unaware_answers, calibrate_across(unaware_answers, labels, odds)
    detection = _detection(labels, answers)
    tables = {
        "cross_validation": cross_validation_table(sample, features, answers, calibrated, without=without),
        "terciles": tercile_table(labels, calibrated),
        "strange": _strange(network, answers, features, labels, pixels, altered, altered_rows, detection),
    }
    first = tables["cross_validation"][0]
    shown = ("rmse_error", "auc_error")
    figures = {
        key: round(float(first[key]), 4)
        for key in first.colnames
        if key not in ("model", "sigma") and (key in shown or not key.endswith("_error"))
    }
    log.info("cross-validated: %s", figures)
    p_detect = detection.p_detect(answers.outputs["detection_logit"])
    if labels.gas_poor.any():
        flagged = detection.flags(p_detect, detection.ood_score(answers.outputs["distance"])) != 0
        tables["beyond_alfalfa"] = deep_table(labels, calibrated, flagged)
        tables["parents"] = parents_table(answers, labels, odds)
    if np.isfinite(labels.gswlc_offset).sum() >= FEWEST_GSWLC:
        tables["gswlc"] = gswlc_table(labels, answers, calibrated)

    fit_heads(network, features, labels, altered)
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / ".staged"
    shutil.rmtree(staged, ignore_errors=True)
    files = _artifact.save(network, staged)
    truth = labels.log_hi_fraction[seen]
    card = ModelCard(
        name=name,
        summary=f"log10(M_HI/M*) from SDSS colour pictures, {population.summary}",
        created=datetime.now(UTC).date().isoformat(),
        architecture="StructureNet",
        options={"width": SDSS_RECIPE.width},
        recipe=SDSS_RECIPE,
        target="log10(M_HI / M*), dex",
        mass_scale="M* of Taylor et al. (2011, g-i colour method) as in Durbala et al. (2020); "
        "M_HI of ALFALFA (Haynes et al. 2018); log_hi_fraction_gswlc is for the masses of GSWLC-2",
        training_set=f"{seen.sum()} ALFALFA-SDSS galaxies (Durbala et al. 2020); detection: against "
        f"{labels.undetected.sum()} undetected spectroscopic galaxies of the ALFALFA footprint with "
        f"flux_16px >= {BRIGHT:g}; estimate and interval: also {labels.gas_poor.sum()} RESOLVE galaxies that "
        "ALFALFA missed",
        validity=f"{population.validity}; z < 0.06, i = 12-18, log10(M_HI/M*) = "
        f"{truth.min():.1f} to {truth.max():.1f}",
        normalisation="none outside the network: it takes decoded values 0 to 255, and the Galactic "
        f"reddening E(B-V) of {EBV_SOURCE}",
        calibration=calibrate(answers, labels, np.ones(len(labels), dtype=bool), odds),
        detection=detection,
        figures=figures,
        protocol=f"{N_FOLDS}-fold cross-validation, pooled; galaxies of one SDSS field or closer than "
        f"{SEPARATION.value:g} arcsec share a fold; "
        "estimates and intervals calibrated on the other folds; the measurements themselves, the "
        "penalties and the weight of the galaxies that ALFALFA missed were designed and selected on the same "
        "galaxies (in folds of other seeds, too), so expect a slightly larger error on new ones",
        folds={
            "n_folds": N_FOLDS,
            "seed": seed,
            "sha256": _fold_hash(sample.objid, fold[: len(sample.objid)]),
        },
        command=_command(parent, seed),
        files=files,
        references=REFERENCES,
        outputs=NetworkOutput._fields,
        inputs=("pixels", "ebv"),
    )
    card.write(staged)
    _require_equal_artefacts(staged, pixels[:64])
    for title, table in tables.items():
        table.meta = {"command": card.command, "model": card.sha256}
        if title == "cross_validation":
            table.meta["protocol"] = card.protocol
        table.write(staged / f"{title}.ecsv", overwrite=True)
    new = [] if beyond is None else [name for name in beyond.objid if name not in set(sample.objid)]
    out_of_fold = Table(
        {
            "objid": np.concatenate([sample.objid, np.array(new, dtype=sample.objid.dtype)]),
            "detected": seen,
            "undetected": labels.undetected,
            "gas_poor": labels.gas_poor,
            "is_limit": labels.is_limit,
            "fold": fold,
            "log_hi_fraction": calibrated.estimate,
            **{
                f"log_hi_fraction_p{round(100 * level):02d}": calibrated.quantile[level]
                for level in LEVELS
                if level != 0.5
            },
            "pit": calibrated.pit,
            "p_detect": p_detect,
            "distance": answers.outputs["distance"],
        }
    )
    out_of_fold.round(4)
    out_of_fold.meta = {"command": card.command, "model": card.sha256}
    out_of_fold.write(staged / "out_of_fold.ecsv", overwrite=True)
    for title in TABLES:  # of an earlier training with other data
        (folder / f"{title}.ecsv").unlink(missing_ok=True)
    # Only a whole and verified model takes the place of another; its card comes last.
    for path in sorted(staged.iterdir(), key=lambda path: path.name == "card.json"):
        path.replace(folder / path.name)
    staged.rmdir()
    return tables


def _command(parent: str, seed: int) -> str:
    chosen = "" if parent == "hi-selected" else f" --parent {parent}"
    return f"hifrac train default -o OUTPUT --seed {seed}{chosen}"


def _rows_to_alter(labels: Labels, seed: int) -> np.ndarray:
    """All detections, and as many undetected galaxies as are enough."""
    undetected = np.random.default_rng(seed).permutation(np.flatnonzero(labels.undetected))
    return np.sort(np.concatenate([np.flatnonzero(labels.detected), undetected[:N_ALTERED]]))


def _strange(
    network: StructureNet,
    answers: OutOfFold,
    features: np.ndarray,
    labels: Labels,
    pixels: np.ndarray,
    altered: np.ndarray,
    altered_rows: np.ndarray,
    detection: DetectionTable,
) -> Table:
    """What is flagged of strange pictures, made of the galaxies of a fold that the distances do not know."""
    rest = answers.fold != STRANGE_FOLD
    kept = rest[altered_rows]
    fit_distances(network, features[rest], labels.detected[rest], altered[:, kept])
    chosen = altered_rows[~kept]
    with torch.inference_mode():
        distance = {
            kind: (
                network.distances(torch.from_numpy(measure(network, as_read(pictures))).float())
                / network.edge
            )
            .amax(1)
            .numpy()
            for kind, pictures in ood_pictures(pixels[chosen], np.random.default_rng(0)).items()
        }
    outside = answers.outputs["distance"]
    real = {
        "ALFALFA detections, held out": outside[labels.detected],
        "undetected galaxies, held out": outside[labels.undetected],
    }
    if labels.gas_poor.any():
        real["galaxies that ALFALFA missed, held out"] = outside[labels.gas_poor]
    return ood_table(distance, real, detection)


def _fold_hash(objid: np.ndarray, fold: np.ndarray) -> str:
    """What tells whether two sets of folds are the same."""
    lines = sorted(f"{one},{number}" for one, number in zip(objid, fold, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _require_equal_artefacts(folder: Path, pixels: np.ndarray, tolerance: float = 1e-5) -> None:
    eager, script = (
        load_model(folder, device="cpu", runtime=runtime).run(pixels)["estimate"]
        for runtime in ("eager", "torchscript")
    )
    difference = float(np.abs(eager - script).max())
    if not difference <= tolerance:
        raise ModelError(f"the TorchScript file differs from its weights by {difference:.2g} dex")
