"""The learner of the default model: galaxies read, measured, cross-validated, fitted to, written."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import ModelCard
from hifrac.models.calibration import PosteriorTable
from hifrac.models.detection import DetectionTable
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training.data import BRIGHT
from hifrac.training.measuring.distances import ood_tests_table
from hifrac.training.measuring.measurements import measure_all
from hifrac.training.splits import SEPARATION, assign_folds
from hifrac.training.structure import tables as figures
from hifrac.training.structure.catalogs import add_photometry
from hifrac.training.structure.cross_validation import (
    OutOfFold,
    calibrate,
    calibrate_across,
    cross_validate,
    detection_log_odds,
    fit_all,
    fit_detection_and_ood,
    learning_curve,
    set_edges,
)
from hifrac.training.structure.heads import FEWEST_GSWLC, fit_readings, require_labels
from hifrac.training.structure.priors import (
    Catalogs,
    fit_catalogs,
    read_catalogs,
)
from hifrac.training.structure.sample import read_sample
from hifrac.training.tables import network_figures, targets_table
from hifrac.training.write_model import measuring_card, write_measuring

log = logging.getLogger(__name__)

N_FOLDS = 5
#: Of which the learning curve is made.
N_LABELS = (25, 50, 100, 150, 200)

REFERENCES = (
    "Wu 2020, ApJ 900, 142 (HI mass fractions from images; pattern recognition)",
    "Haynes et al. 2011, AJ 142, 170; Haynes et al. 2018, ApJ 861, 49 (ALFALFA)",
    "Durbala et al. 2020, AJ 160, 271 (ALFALFA-SDSS catalogue)",
    "Catinella et al. 2018, MNRAS 476, 875 (xGASS)",
    "Eckert et al. 2015, ApJ 810, 166; Stark et al. 2016, ApJ 832, 126 (RESOLVE)",
    "Stark et al. 2021, MNRAS 503, 1345 (HI-MaNGA)",
    "Taylor et al. 2011, MNRAS 418, 1587 (stellar masses)",
    "Salim et al. 2018, ApJ 859, 11 (GSWLC-2 stellar masses)",
    "Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525 (Galactic reddening)",
    "Ahumada et al. 2020, ApJS 249, 3 (SDSS DR16)",
)

#: The tables of a training; which there are depends on the data.
TABLES = (
    *("cross_validation", "thirds", "learning_curve", "readings", "detection", "xgass"),
    *("missed", "targets", "gswlc", "ood_tests"),
)


def train_structure(
    output: str | Path, *, data: str | Path | None = None, name: str = "default", seed: int = 12345
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
        Name of the model, for its card.
    seed : int, optional
        Fixes the folds, and which galaxies of ALFALFA the population is fitted to.

    Returns
    -------
    tables : dict of str to `~astropy.table.Table`
        Figures of galaxies that were held out: ``cross_validation``, ``thirds``, ``learning_curve``,
        ``missed``, ``xgass``, ``readings``, ``detection``, ``gswlc``, ``ood_tests``, and ``targets``, what
        was asked for and whether it is reached.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.core.RowError
        If the data directory is not as `~hifrac.training.read_sample` wants it, or has too few galaxies.
    ~hifrac.catalogs.CatalogError
        If ALFALFA, ALFALFA-SDSS or xGASS is not there and cannot be fetched.
    ~hifrac.core.ModelError
        If the written files disagree with the network.

    Examples
    --------
    With a data directory:

    >>> from hifrac.training import train_structure
    >>> tables = train_structure("my-model", data="/data/hifrac")  # doctest: +SKIP
    >>> tables["cross_validation"]  # doctest: +SKIP
    """
    galaxies = read_sample(data, width=SDSS_RECIPE.width)
    catalogs = read_catalogs(data, seed)
    table = galaxies.table
    add_photometry(table, catalogs.alfalfa)
    require_labels(table)
    log.info("galaxies with pictures: %s", _count(table))
    fold = assign_folds(_kind_of(table), np.asarray(table["group"]), N_FOLDS, seed)
    network = StructureNet(SDSS_RECIPE.width)
    detected, undetected = np.asarray(table["detected"]), np.asarray(table["undetected"])
    measured = measure_all(network, galaxies, detected, undetected, fold, seed)
    fit_catalogs(network, catalogs)
    answers = set_edges(network, cross_validate(network, table, fold, measured, catalogs))
    calibration = calibrate(answers, np.flatnonzero(detected))
    answers, posterior = calibrate_across(answers), detection_log_odds(answers)
    log_odds = answers.outputs["detection_logit"] + answers.weights[fold] * posterior
    detection = fit_detection_and_ood(answers, log_odds)
    scores = {"p_detect": detection.probability(log_odds), "posterior": posterior}
    tables = {
        **_tabulate(network, answers, measured.features, scores, catalogs, seed),
        "ood_tests": ood_tests_table(
            network, galaxies, detected, fold, measured, detection, _held_out_distances(answers)
        ),
    }
    log.info("cross-validated: %s", network_figures(tables["cross_validation"]))
    fit_readings(network, measured.features, table)
    every = np.ones(len(table), dtype=bool)
    weight = fit_all(network, table, every, measured, answers.read, catalogs)
    detection = replace(detection, posterior_slope=detection.slope * weight)
    card = _card(name, seed, answers, tables, calibration, detection)
    out_of_fold = figures.out_of_fold_table(answers, scores["p_detect"])
    write_measuring(output, network, card, galaxies.pixels, tables, out_of_fold, obsolete=TABLES)
    return tables


def _kind_of(galaxies: Table) -> np.ndarray:
    """Number the kinds of galaxies that are shared out to folds evenly: each has at least one for a fold."""
    detected, others = np.asarray(galaxies["detected"]), np.asarray(galaxies["missed"] | galaxies["manga"])
    return detected + 2 * (others if others.sum() >= N_FOLDS else np.zeros(len(others), dtype=bool))


def _count(galaxies: Table) -> dict[str, int]:
    counts = {name: int(np.sum(galaxies[name])) for name in ("detected", "undetected", "missed", "manga")}
    return {**counts, "photometry": int(np.isfinite(galaxies["photometry"]).any(1).sum())}


def _held_out_distances(answers: OutOfFold) -> dict[str, np.ndarray]:
    names = {"ALFALFA detections": "detected", "undetected galaxies": "undetected"}
    names |= {"galaxies that ALFALFA missed": "missed"}
    distance = answers.outputs["distance"]
    return {name: distance[answers.galaxies[column]] for name, column in names.items()}


def _tabulate(
    network: StructureNet,
    answers: OutOfFold,
    features: np.ndarray,
    scores: dict[str, np.ndarray],
    catalogs: Catalogs,
    seed: int,
) -> dict[str, Table]:
    """Tabulate the figures of held-out galaxies; the network's heads are overwritten."""
    galaxies = answers.galaxies
    tables = {
        "cross_validation": figures.cross_validation_table(answers, features, scores["p_detect"]),
        "thirds": figures.thirds_table(answers, features),
        "readings": figures.readings_table(answers),
        "detection": figures.detection_table(answers, scores),
        "xgass": figures.xgass_table(network, catalogs, seed),
        "learning_curve": figures.learning_curve_table(
            learning_curve(network, answers, features, seed, N_LABELS)
        ),
    }
    if galaxies["missed"].any():
        tables["missed"] = figures.missed_table(answers)
        tables["targets"] = targets_table(tables, figures.TARGETS, selection="intrinsic")
    if np.isfinite(galaxies["log_mstar_gswlc"]).sum() >= FEWEST_GSWLC:
        tables["gswlc"] = figures.gswlc_table(answers)
    return tables


PROTOCOL = (
    f"{N_FOLDS}-fold cross-validation, pooled; galaxies of one SDSS field or closer than "
    f"{SEPARATION.value:g} arcsec share a fold. In each fold all that is learned from pictures is fitted "
    "without it: photometry, axis ratio, residuals, detection, population, distances; and what a later step "
    "learns from an earlier one knows neither this fold nor its own. Prior, line widths and the population "
    "to begin with are of catalogues, without a galaxy in the sky of the pictures. Intervals are calibrated "
    "on the other folds; the two numbers of p_detect alone are fitted to all. Chosen on the same galaxies, "
    "in folds of other seeds: the measurements themselves, which of them the residuals read, and penalties "
    "(to choose these anew in each fold costs 0.001 to 0.003 dex). The weight of ALFALFA in the population "
    "was chosen by the score of xGASS, and the range of its colours with an eye on the galaxies that ALFALFA "
    "missed. So expect a slightly larger error on new galaxies"
)


def _card(
    name: str,
    seed: int,
    answers: OutOfFold,
    tables: dict[str, Table],
    calibration: PosteriorTable,
    detection: DetectionTable,
) -> ModelCard:
    """Say what the model is, what it learned from, and how well it does."""
    galaxies, counts = answers.galaxies, _count(answers.galaxies)
    truth = np.asarray(galaxies["log_hi_fraction"][galaxies["detected"]])
    return measuring_card(
        galaxies["objid"],
        answers.fold,
        seed,
        name=name,
        summary="log10(M_HI/M*) from SDSS colour pictures, and from redshift and photometry where known",
        architecture="StructureNet",
        target="log10(M_HI / M*), dex",
        mass_scale="M* of Taylor et al. (2011, g-i colour method) as in Durbala et al. (2020); "
        "M_HI of ALFALFA (Haynes et al. 2018); with mass_scale='gswlc' the masses of GSWLC-2",
        training_set=f"{counts['detected']} ALFALFA-SDSS galaxies (Durbala et al. 2020) with pictures, "
        f"{counts['missed']} of RESOLVE that ALFALFA missed and {counts['manga']} of HI-MaNGA; photometry: "
        f"{counts['photometry']} pictures; detection: against {counts['undetected']} undetected "
        f"spectroscopic galaxies of the ALFALFA footprint with flux_16px >= {BRIGHT:g}; without pictures: "
        "ALFALFA-SDSS and xGASS outside the sky of the pictures",
        validity="z < 0.06, i = 12-18, log10(M_HI/M*) = "
        f"{truth.min():.1f} to {truth.max():.1f}; galaxies as they are (selection 'intrinsic'), those that "
        "ALFALFA detects ('alfalfa'), or those that it does not ('undetected')",
        calibration=calibration,
        detection=detection,
        figures=network_figures(tables["cross_validation"]),
        protocol=PROTOCOL,
        command=f"hifrac train default -o OUTPUT --seed {seed}",
        references=REFERENCES,
        outputs=NetworkOutput._fields,
    )
