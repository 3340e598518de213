"""The learner of the metallicity model: galaxies read, measured, cross-validated, fitted to, written."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import ModelCard
from hifrac.models.detection import DetectionTable
from hifrac.models.metallicity import MetallicityNet, MetallicityOutput
from hifrac.models.metallicity_table import MetallicityTable
from hifrac.training.evaluation import fit_detection
from hifrac.training.measuring.distances import fit_distances, ood_tests_table, percentiles_of
from hifrac.training.measuring.measurements import largest_reddening, measure_all
from hifrac.training.measuring.photometry import readings
from hifrac.training.metallicity import tables as figures
from hifrac.training.metallicity.cross_validation import OutOfFold, calibrate, cross_validate, set_edges
from hifrac.training.metallicity.heads import (
    fit_heads,
    fit_readings,
    require_labels,
    with_photometry,
    without_label,
)
from hifrac.training.metallicity.sample import read_sample
from hifrac.training.splits import SEPARATION, assign_folds
from hifrac.training.tables import network_figures, targets_table
from hifrac.training.write_model import measuring_card, write_measuring

log = logging.getLogger(__name__)

N_FOLDS = 5

REFERENCES = (
    "Wu & Boada 2019, MNRAS 484, 4683 (metallicities from images)",
    "Tremonti et al. 2004, ApJ 613, 898 (metallicities of MPA-JHU)",
    "Brinchmann et al. 2004, MNRAS 351, 1151 (MPA-JHU)",
    "Thomas et al. 2013, MNRAS 431, 1383 (emission lines, Portsmouth)",
    "Eckert et al. 2015, ApJ 810, 166 (RESOLVE and ECO)",
    "Blanton & Roweis 2007, AJ 133, 734 (kcorrect)",
    "Taylor et al. 2011, MNRAS 418, 1587 (stellar masses)",
    "Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525 (Galactic reddening)",
    "Ahumada et al. 2020, ApJS 249, 3 (SDSS DR16)",
)


def train_metallicity(
    output: str | Path, *, data: str | Path | None = None, name: str = "metallicity", seed: int = 12345
) -> dict[str, Table]:
    """Train the metallicity model and write its folder.

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
        Fixes the folds.

    Returns
    -------
    tables : dict of str to `~astropy.table.Table`
        Figures of galaxies that were held out: ``cross_validation``, ``published``, ``thirds``,
        ``readings``, ``star_forming``, ``ood_tests``, and ``targets``, what was asked for and whether it
        is reached.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.core.RowError
        If the data directory lacks labels or pictures, or has too few galaxies.
    ~hifrac.core.ModelError
        If the written files disagree with the network.

    Examples
    --------
    With a data directory:

    >>> from hifrac.training import train_metallicity
    >>> tables = train_metallicity("my-model", data="/data/hifrac")  # doctest: +SKIP
    >>> tables["cross_validation"]  # doctest: +SKIP
    """
    galaxies = read_sample(data, width=SDSS_RECIPE.width)
    table = galaxies.table
    require_labels(table)
    labelled = ~without_label(table)
    log.info("galaxies with pictures: %s", _count(table))
    fold = assign_folds(labelled * (1 + with_photometry(table)), np.asarray(table["group"]), N_FOLDS, seed)
    network = MetallicityNet(SDSS_RECIPE.width)
    measured = measure_all(network, galaxies, labelled, ~labelled, fold, seed)
    fit_readings(network, measured.features, table)
    answers = set_edges(network, cross_validate(network, table, fold, measured))
    detection = _fit_detection(answers)
    probability = detection.probability(answers.outputs["star_forming_logit"])
    tables = {
        "cross_validation": figures.cross_validation_table(answers, measured.features),
        "published": figures.published_table(answers),
        "thirds": figures.thirds_table(answers, measured.features),
        "readings": figures.readings_table(answers, readings(network, measured.features)),
        "star_forming": figures.star_forming_table(answers, detection),
        "ood_tests": ood_tests_table(
            network, galaxies, labelled, fold, measured, detection, _held_out_distances(answers)
        ),
    }
    tables["targets"] = targets_table(tables, figures.TARGETS)
    log.info("cross-validated: %s", network_figures(tables["cross_validation"]))
    fit_heads(network, measured.features, table)
    fit_distances(network, measured, labelled)
    card = _card(name, seed, answers, tables, calibrate(answers), detection)
    out_of_fold = figures.out_of_fold_table(answers, probability)
    write_measuring(output, network, card, galaxies.pixels, tables, out_of_fold)
    return tables


def _fit_detection(answers: OutOfFold) -> DetectionTable:
    """Calibrate p_star_forming and the score of the distance."""
    galaxies = answers.galaxies
    labelled, truth = ~without_label(galaxies), np.asarray(galaxies["star_forming"])
    rows = np.isfinite(truth)
    return fit_detection(
        truth[rows] == 1,
        answers.outputs["star_forming_logit"][rows],
        **percentiles_of(answers.outputs["distance"], labelled, ~labelled),
        largest_ebv=largest_reddening(np.asarray(galaxies["ebv"])[labelled]),
    )


def _held_out_distances(answers: OutOfFold) -> dict[str, np.ndarray]:
    labelled, distance = ~without_label(answers.galaxies), answers.outputs["distance"]
    return {"galaxies with a metallicity": distance[labelled], "other galaxies": distance[~labelled]}


def _count(galaxies: Table) -> dict[str, int]:
    return {
        "oh": int((~without_label(galaxies)).sum()),
        "photometry": int((without_label(galaxies) & with_photometry(galaxies)).sum()),
        "star_forming": int(np.sum(galaxies["star_forming"] == 1)),
        "not_star_forming": int(np.sum(galaxies["star_forming"] == 0)),
    }


PROTOCOL = (
    f"{N_FOLDS}-fold cross-validation, pooled; galaxies of one SDSS field or closer than "
    f"{SEPARATION.value:g} arcsec share a fold. Magnitudes, redshift and mass are read off the pictures by "
    "heads that learned from galaxies without a metallicity alone. In each fold the metallicity, its "
    "penalty, star formation, distances and what evidence changes are fitted without it, the metallicity to "
    "the mean of the label and of the prediction of the network of Wu & Boada (2019); judged is by labels "
    "alone. What calibrates the intervals of a fold is of estimates for the galaxies of each other fold "
    "that knew neither. The two numbers of p_star_forming alone are fitted to all. Chosen on the same "
    "galaxies, in folds of other seeds: that of the readings the mass is squared, that evidence counts "
    "through the mass, the share of the published prediction, and the penalty of star formation. So expect "
    "a slightly larger error on new galaxies"
)


def _card(
    name: str,
    seed: int,
    answers: OutOfFold,
    tables: dict[str, Table],
    calibration: MetallicityTable,
    detection: DetectionTable,
) -> ModelCard:
    """Say what the model is, what it learned from, and how well it does."""
    galaxies, counts = answers.galaxies, _count(answers.galaxies)
    truth = np.asarray(galaxies["oh"])[~without_label(galaxies)]
    return measuring_card(
        galaxies["objid"],
        answers.fold,
        seed,
        name=name,
        summary="12 + log(O/H) from SDSS colour pictures, and from redshift, photometry and mass where known",
        architecture="MetallicityNet",
        target="12 + log(O/H) of the gas, on the scale of Tremonti et al. (2004), oh_p50 of MPA-JHU",
        mass_scale="M* of Taylor et al. (2011, g-i colour method); masses of other scales are taken to "
        "scatter by 0.1 dex about it",
        training_set=f"{counts['oh']} star-forming galaxies with oh_p50 of MPA-JHU, and predictions of the "
        "network of Wu & Boada (2019) for them, from sharper pictures; magnitudes, redshift and "
        f"mass: {counts['photometry']} others; star formation by emission lines: {counts['star_forming']} "
        f"and {counts['not_star_forming']} that are not star-forming",
        validity="star-forming galaxies, z = 0.02 to 0.2, r < 18, "
        f"oh = {truth.min():.1f} to {truth.max():.1f}",
        calibration=calibration,
        detection=detection,
        figures=network_figures(tables["cross_validation"]),
        protocol=PROTOCOL,
        command=f"hifrac train metallicity -o OUTPUT --seed {seed}",
        references=REFERENCES,
        target_column="oh",
        outputs=MetallicityOutput._fields,
    )
