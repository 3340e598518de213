"""The learner of the default model: galaxies read, measured, cross-validated, the heads fitted, written."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from astropy.table import Table

from hifrac.core.reddening import EBV_SOURCE
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import ModelCard
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training.data import BRIGHT
from hifrac.training.splits import SEPARATION, split_hash
from hifrac.training.structure.cross_validation import HeldOut, hold_out
from hifrac.training.structure.heads import fit_heads, require_labels
from hifrac.training.structure.measurements import measure_all
from hifrac.training.structure.sample import Galaxies, read_galaxies
from hifrac.training.structure.tables import network_figures, out_of_fold_table, tabulate
from hifrac.training.write_model import write_model

log = logging.getLogger(__name__)

N_FOLDS = 5
TABLES = ("cross_validation", "terciles", "ood_tests", "deep_sample", "parents", "gswlc")


@dataclass(frozen=True)
class Parent:
    """Log prior odds of a galaxy that ALFALFA misses, for estimate and interval; and words for the card."""

    log_odds: tuple[float, float]
    summary: str
    validity: str


#: For whom the estimate is: galaxies of a HI-selected sample, or all galaxies of a volume. The interval of
#: the first still keeps the second in mind.
PARENTS = {
    "hi-selected": Parent(
        (-8.0, -2.5),
        "for galaxies that a HI survey like ALFALFA would detect",
        "galaxies that ALFALFA would detect; of the others the estimate is too high, and the interval "
        "holds for fewer than it says",
    ),
    "volume-limited": Parent(
        (-1.0, -1.0),
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
        For whom the estimate is: galaxies that a HI survey would detect, or all galaxies of a volume.

    Returns
    -------
    tables : dict of str to `~astropy.table.Table`
        ``cross_validation``, ``terciles`` and ``ood_tests``; where the data directory has
        galaxies that ALFALFA missed, also ``deep_sample`` and ``parents``; and where it has enough masses
        of GSWLC-2, ``gswlc``.

    Raises
    ------
    ValueError, FileNotFoundError, ~hifrac.core.RowError
        If the data directory is not as `~hifrac.training.read_sample`
        wants it, or ``parent`` is unknown.
    ~hifrac.core.ModelError
        If the written files disagree with the network.
    """
    if parent not in PARENTS:
        raise ValueError(f"parent must be one of {', '.join(PARENTS)}, got {parent!r}")
    log_odds = PARENTS[parent].log_odds
    galaxies = read_galaxies(data, width=SDSS_RECIPE.width, n_folds=N_FOLDS, seed=seed)
    labels = galaxies.labels
    log.info(
        "%d detections, %d bright undetected galaxies, %d measured beyond ALFALFA",
        *(rows.sum() for rows in (labels.detected, labels.undetected, labels.gas_poor)),
    )
    require_labels(labels)
    network = StructureNet(SDSS_RECIPE.width)
    measured = measure_all(network, galaxies, seed)
    held_out = hold_out(network, galaxies, measured, log_odds)
    tables = tabulate(network, galaxies, measured, held_out, log_odds)
    log.info("cross-validated: %s", network_figures(tables["cross_validation"]))
    fit_heads(network, measured.features, labels, measured.augmented)
    name = name or ("default" if parent == "hi-selected" else parent)
    card = _card(name, parent, seed, galaxies, held_out, tables)
    tables["cross_validation"].meta = {"protocol": card.protocol}
    write_model(
        Path(output),
        network,
        card,
        galaxies.pixels[:64],
        tables={**tables, "out_of_fold": out_of_fold_table(galaxies, held_out)},
        obsolete=TABLES,
    )
    return tables


def _card(
    name: str, parent: str, seed: int, galaxies: Galaxies, held_out: HeldOut, tables: dict[str, Table]
) -> ModelCard:
    """Say what the model is, what it learned from, and how well it does."""
    labels, population = galaxies.labels, PARENTS[parent]
    truth = labels.log_hi_fraction[labels.detected]
    option = "" if parent == "hi-selected" else f" --parent {parent}"
    split = Table({"objid": galaxies.objid, "fold": galaxies.fold})[: len(galaxies.sample.objid)]
    return ModelCard(
        name=name,
        summary=f"log10(M_HI/M*) from SDSS colour pictures, {population.summary}",
        created="",
        architecture="StructureNet",
        options={"width": SDSS_RECIPE.width},
        recipe=SDSS_RECIPE,
        target="log10(M_HI / M*), dex",
        mass_scale="M* of Taylor et al. (2011, g-i colour method) as in Durbala et al. (2020); "
        "M_HI of ALFALFA (Haynes et al. 2018); log_hi_fraction_gswlc is for the masses of GSWLC-2",
        training_set=f"{labels.detected.sum()} ALFALFA-SDSS galaxies (Durbala et al. 2020); detection: "
        f"against {labels.undetected.sum()} undetected spectroscopic galaxies of the ALFALFA footprint with "
        f"flux_16px >= {BRIGHT:g}; estimate and interval: also {labels.gas_poor.sum()} RESOLVE galaxies that "
        "ALFALFA missed",
        validity=f"{population.validity}; z < 0.06, i = 12-18, log10(M_HI/M*) = "
        f"{truth.min():.1f} to {truth.max():.1f}",
        normalisation="none outside the network: it takes decoded values 0 to 255, and the Galactic "
        f"reddening E(B-V) of {EBV_SOURCE}",
        calibration=held_out.calibration,
        detection=held_out.detection,
        figures=network_figures(tables["cross_validation"]),
        protocol=f"{N_FOLDS}-fold cross-validation, pooled; galaxies of one SDSS field or closer than "
        f"{SEPARATION.value:g} arcsec share a fold; "
        "estimates and intervals calibrated on the other folds; the measurements themselves, the "
        "penalties and the weight of the galaxies that ALFALFA missed were designed and selected on the same "
        "galaxies (in folds of other seeds, too), so expect a slightly larger error on new ones",
        folds={"n_folds": N_FOLDS, "seed": seed, "sha256": split_hash(split)},
        command=f"hifrac train default -o OUTPUT --seed {seed}{option}",
        files={},
        references=REFERENCES,
        outputs=NetworkOutput._fields,
        inputs=("pixels", "ebv"),
    )
