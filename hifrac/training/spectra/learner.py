"""The learner of the model of spectra: galaxies read, measured, cross-validated, fitted to, written."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import ModelCard
from hifrac.models.detection import DetectionTable
from hifrac.models.spectrum import SpectrumNet, SpectrumOutput
from hifrac.models.spectrum_table import SpectrumTable
from hifrac.training.measuring.distances import fit_distances, ood_tests_table, percentiles_of
from hifrac.training.measuring.measurements import largest_reddening, measure_all
from hifrac.training.spectra import tables as figures
from hifrac.training.spectra.cross_validation import OutOfFold, cross_validate
from hifrac.training.spectra.heads import fit_heads, set_space
from hifrac.training.spectra.sample import read_sample, require_labels, with_lines, with_template
from hifrac.training.splits import SEPARATION, assign_folds
from hifrac.training.tables import targets_table
from hifrac.training.write_model import measuring_card, write_measuring

log = logging.getLogger(__name__)

N_FOLDS = 5

REFERENCES = (
    "Wu & Peek 2020, arXiv:2009.12318 (spectra from images)",
    "Blanton & Roweis 2007, AJ 133, 734 (kcorrect, templates)",
    "Tremonti et al. 2004, ApJ 613, 898 (lines of MPA-JHU)",
    "Brinchmann et al. 2004, MNRAS 351, 1151 (MPA-JHU)",
    "Thomas et al. 2013, MNRAS 431, 1383 (emission lines, Portsmouth)",
    "Taylor et al. 2011, MNRAS 418, 1587 (stellar masses)",
    "Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525 (Galactic reddening)",
    "Ahumada et al. 2020, ApJS 249, 3 (SDSS DR16)",
)


def train_spectra(
    output: str | Path, *, data: str | Path | None = None, name: str = "spectra", seed: int = 12345
) -> dict[str, Table]:
    """Train the model of spectra and write its folder.

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
        Figures of galaxies that were held out: ``template``, ``lines``, ``readings``, ``ood_tests``, and
        ``targets``, what was asked for and whether it is reached.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.core.RowError
        If the data directory lacks labels, templates or pictures, or has too few galaxies.
    ~hifrac.core.ModelError
        If the written files disagree with the network.

    Examples
    --------
    With a data directory:

    >>> from hifrac.training import train_spectra
    >>> tables = train_spectra("my-model", data="/data/hifrac")  # doctest: +SKIP
    >>> tables["lines"]  # doctest: +SKIP
    """
    galaxies, space = read_sample(data, width=SDSS_RECIPE.width)
    table = galaxies.table
    require_labels(table)
    labelled, has_template = with_lines(table), with_template(table)
    log.info("galaxies with lines: %d, with templates: %d", labelled.sum(), has_template.sum())
    fold = assign_folds(labelled * (1 + has_template), np.asarray(table["group"]), N_FOLDS, seed)
    network = SpectrumNet(SDSS_RECIPE.width)
    set_space(network, space)
    measured = measure_all(network, galaxies, labelled, ~labelled, fold, seed)
    answers, calibration = cross_validate(network, table, fold, measured, space)
    distance = answers.outputs["distance"]
    detection = _distance_table(table, distance)
    held_out = {"galaxies with lines": distance[labelled], "other galaxies": distance[~labelled]}
    tables = {
        "template": figures.template_table(answers),
        "lines": figures.lines_table(answers, measured.features),
        "readings": figures.readings_table(answers),
        "ood_tests": ood_tests_table(network, galaxies, labelled, fold, measured, detection, held_out),
    }
    tables["targets"] = targets_table(tables, figures.TARGETS, model=figures.JUDGED)
    log.info("cross-validated: %s", figures.card_figures(tables))
    fit_heads(network, measured.features, table)
    fit_distances(network, measured, labelled)
    card = _card(name, seed, answers, tables, calibration, detection)
    out_of_fold = figures.out_of_fold_table(answers)
    write_measuring(output, network, card, galaxies.pixels, tables, out_of_fold)
    return tables


def _distance_table(galaxies: Table, distance: np.ndarray) -> DetectionTable:
    """Return what makes the score of the distance; there is no probability."""
    labelled = with_lines(galaxies)
    return DetectionTable(
        slope=1.0,
        intercept=0.0,
        threshold=0.0,
        largest_ebv=largest_reddening(np.asarray(galaxies["ebv"])[with_template(galaxies)]),
        **percentiles_of(distance, labelled, ~labelled),
    )


PROTOCOL = (
    f"{N_FOLDS}-fold cross-validation, pooled; galaxies of one SDSS field or closer than "
    f"{SEPARATION.value:g} arcsec share a fold. In each fold template spectra, magnitudes, redshift and mass "
    "are read off the pictures by heads that learned from other folds' galaxies without measured lines; "
    "lines and ratios of continua by linear maps of these readings, learned from those with lines. "
    "Lines and continua of Thomas et al. (2013) are judged less their offset from MPA-JHU, fitted without "
    "the fold. What calibrates the intervals of lines and continua in a fold is of estimates that knew "
    "neither that fold nor the galaxy; what calibrates the bands of template spectra is of held-out readings "
    "of the other folds, of heads that knew this one. Template spectra are "
    "fits of kcorrect to five magnitudes and a redshift, no measured spectra; the basis spans all templates. "
    "Evidence moves lines and continua by half of what the covariances of the other folds say. "
    "Chosen on the same galaxies, in other folds: the readings, that of H-alpha they are squared, "
    "the penalty, the decay of weights, and that half. So expect a slightly larger error on new galaxies"
)


def _card(
    name: str,
    seed: int,
    answers: OutOfFold,
    tables: dict[str, Table],
    calibration: SpectrumTable,
    detection: DetectionTable,
) -> ModelCard:
    """Say what the model is, what it learned from, and how well it does."""
    galaxies = answers.galaxies
    labelled, has_template = with_lines(galaxies), with_template(galaxies)
    n_thomas = int(np.sum(np.asarray(galaxies["portsmouth"])[labelled] == 1))
    return measuring_card(
        galaxies["objid"],
        answers.fold,
        seed,
        name=name,
        summary="rest-frame template spectrum, H-alpha and continua from SDSS colour pictures, and from "
        "redshift and photometry where known",
        architecture="SpectrumNet",
        target="equivalent width of H-alpha in Angstrom, positive in emission, within a fibre of 3 arcsec; "
        "beside it the photometric template spectrum, no measured one (kcorrect, of the whole galaxy, 3388 "
        "to 8310 Angstrom, of norm 1) by five latents, and ratios of continua within the fibre",
        mass_scale="M* of Taylor et al. (2011, g-i colour method); masses of other scales are taken to "
        "scatter by 0.1 dex about it",
        training_set=f"{int(np.sum(has_template & ~labelled))} galaxies with template spectra fitted to SDSS "
        f"magnitudes and redshift; lines and continua: {int(labelled.sum())} others with real spectra, "
        f"{n_thomas} of them of Thomas et al. (2013)",
        validity="galaxies of the main sample of SDSS, z = 0.02 to 0.2, r < 18",
        calibration=calibration,
        detection=detection,
        figures=figures.card_figures(tables),
        protocol=PROTOCOL,
        command=f"hifrac train spectra -o OUTPUT --seed {seed}",
        references=REFERENCES,
        target_column="h_alpha_ew",
        outputs=SpectrumOutput._fields,
    )
