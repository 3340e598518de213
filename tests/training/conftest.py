"""A data directory in miniature: simulated galaxies whose gas content follows from their colour."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier

from hifrac.models.structure import StructureNet
from hifrac.simulate import SimulatedGalaxy, encode_jpeg, render
from hifrac.training.splits import assign_folds
from hifrac.training.structure import cross_validation, measurements
from hifrac.training.structure import learner as training
from hifrac.training.structure import tables as evaluation
from hifrac.training.structure.cross_validation import OutOfFold, calibrate_across
from hifrac.training.structure.measurements import augmented_features, measure, with_ebv
from hifrac.training.structure.sample import (
    DeepSample,
    Labels,
    TrainingSample,
    combine,
    read_deep,
    read_sample,
)

N_DETECTED, N_UNDETECTED, N_NEW = 46, 46, 16
SCATTER = 0.1
TRAINED_WITH = {"name": "tiny", "seed": 7}
N_FOLDS = 3


def objid(field: int, number: int) -> str:
    """An SDSS objID: its last 16 bits are the object's number, the others its field."""
    return str((1237648722312298496 >> 16) + field << 16 | number)


def _draw(rng: np.random.Generator, colour: float, seed: int) -> bytes:
    galaxy = SimulatedGalaxy(
        i_mag=rng.uniform(14.0, 16.5),
        g_minus_r=colour,
        r_minus_i=0.5 * colour,
        r50=rng.uniform(3.0, 7.0),
        axial_ratio=rng.uniform(0.3, 1.0),
        position_angle=rng.uniform(0.0, 180.0),
    )
    return encode_jpeg(render(galaxy, rng=seed, field=False))


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """Blue detections, redder non-detections, and rows that training must leave alone."""
    rng = np.random.default_rng(2020)
    root = tmp_path_factory.mktemp("data")
    (root / "cutouts").mkdir()
    n, m = N_DETECTED, N_UNDETECTED
    # Detections k and k + 1 share a field for k = 0, 10, 20; the undetected 0 shares that of detection 5.
    names = [objid(field - (field in (1, 11, 21)), field) for field in range(n)]
    undetected = [objid(5, 40_000), *(objid(1000 + field, field) for field in range(1, m))]
    # Only a deeper survey has these: the first lies 60 arcsec from detection 7, the second in the field of 8.
    new = [objid(3000, 1), objid(8, 50_000), *(objid(3000 + field, 1) for field in range(2, N_NEW))]
    # What the deeper survey measures is redder: a network can tell it from detections.
    colours = np.concatenate(
        [
            rng.uniform(0.1, 0.7, n),
            rng.uniform(0.65, 0.95, 6),
            rng.uniform(0.35, 0.85, m - 6),
            rng.uniform(0.65, 0.95, N_NEW),
        ]
    )
    with zipfile.ZipFile(root / "cutouts" / "sdss_cutouts.zip", "w") as archive:
        for seed, (name, colour) in enumerate(zip(names + undetected + new, colours, strict=True)):
            archive.writestr(f"sdss/{name}.jpg", _draw(rng, colour, seed))
    ra = 180 + 0.5 * np.arange(n)
    ra[31] = ra[30] + 60 / 3600  # closer than 90 arcsec, and in another field
    # GSWLC-2 has no masses of every ninth galaxy; its masses are larger for red galaxies.
    log_mstar = rng.uniform(8.5, 10.5, n)
    gswlc = np.ma.masked_array(log_mstar + 0.3 * colours[:n] - 0.2, mask=np.arange(n) % 9 == 4)
    Table(
        {
            "objid": names,
            "ra": ra,
            "dec": np.zeros(n),
            "log_mstar_taylor": log_mstar,
            "log_mstar_gswlc": gswlc,
            "g_minus_i": 1.5 * colours[:n],
            "i_cmodel": rng.uniform(14.0, 16.5, n),
            "log_hi_fraction_true": 1.0 - 2.0 * colours[:n] + rng.normal(0, SCATTER, n),
        }
    ).write(root / "cutouts" / "hi_labels.ecsv")
    # The detections; the bright undetected; then, without pictures, outside the footprint and too faint.
    left_out = [objid(5000, 1), objid(5001, 1)]
    Table(
        {
            "objid": names + undetected + left_out,
            "ra_approx": np.r_[np.round(ra, 1), 180 + 0.5 * np.arange(m + 2)],
            "dec_approx": np.r_[np.zeros(n), np.full(m + 2, 5.0)],
            "alfalfa_footprint": [True] * (n + m) + [False, True],
            "alfalfa_detected": [True] * n + [False] * (m + 2),
            "flux_16px": [50.0] * (n + m) + [50.0, 29.9],
        }
    ).write(root / "cutouts" / "index.ecsv")
    # Deeper data: 22 galaxies that ALFALFA missed, four of them limits, and one that it has. What ALFALFA
    # missed has less gas than its colour tells.
    poor = undetected[:6] + new
    value = (
        0.2 - 2.0 * colours[[*range(n, n + 6), *range(n + m, n + m + N_NEW)]] + rng.normal(0, 0.2, len(poor))
    )
    is_limit = np.isin(np.arange(len(poor)), (1, 5, 9, 13))
    value[13] = 5.0  # a limit far above all estimates
    resolve_ra = np.concatenate([300 + 0.5 * np.arange(6), [ra[7] + 60 / 3600], 320 + np.arange(N_NEW - 1.0)])
    Table(
        {
            "objid": [*poor, names[0]],
            "ra": [*resolve_ra, ra[0]],
            "dec": np.zeros(len(poor) + 1),
            "log_hi_fraction_true": [*value, 0.3],
            "is_limit": [*is_limit, False],
            "alfalfa_detected": [False] * len(poor) + [True],
        }
    ).write(root / "cutouts" / "resolve_labels.ecsv")
    return root


@pytest.fixture(scope="session")
def sample(data_folder) -> TrainingSample:
    return read_sample(data_folder)


@pytest.fixture(scope="session")
def deep(data_folder) -> DeepSample:
    return read_deep(data_folder)


@pytest.fixture(scope="session")
def everything(sample, deep) -> tuple[np.ndarray, Labels, np.ndarray]:
    """Pictures, labels and folds of the sample and of the deeper survey."""
    fold = assign_folds(sample.detected, sample.group, N_FOLDS, 0)
    galaxies = combine(sample, deep, fold)
    return galaxies.pixels, galaxies.labels, galaxies.fold


@pytest.fixture(scope="session")
def labels(everything) -> Labels:
    return everything[1]


@pytest.fixture(scope="session")
def features(everything) -> np.ndarray:
    """Raw measurements of all of them, and their reddening."""
    pixels, labels, _ = everything
    return with_ebv(measure(StructureNet(128), pixels), labels.ebv)


@dataclass(frozen=True)
class Augmented:
    """Measurements of augmented pictures, and the rows of which they are."""

    features: np.ndarray
    rows: np.ndarray


@pytest.fixture(scope="session")
def augmented(everything, labels) -> Augmented:
    rows = np.flatnonzero(labels.detected | labels.undetected)[::3]
    return Augmented(augmented_features(StructureNet(128), everything[0], rows, everything[2]), rows)


@dataclass(frozen=True)
class Trained:
    """What one run of the training command left behind."""

    folder: Path
    tables: dict[str, Table]
    messages: list[str]
    remembering: Callable[[Callable], Callable]
    answers: OutOfFold
    labels: Labels


@pytest.fixture(scope="session")
def trained(data_folder, tmp_path_factory) -> Trained:
    class Keeper(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    messages: list[str] = []
    memory: dict[tuple, np.ndarray] = {}

    def remembering(function):
        """A measuring function that measures the same pictures only once."""

        def measured(network, pixels, *rows):
            key = (function.__name__, hash(pixels.tobytes()), *(hash(one.tobytes()) for one in rows))
            if key not in memory:
                memory[key] = function(network, pixels, *rows)
            return memory[key].copy()

        return measured

    def watched(answers, labels, odds):
        seen[:] = seen or (answers, labels)  # the second time they are those of a network without reddening
        return calibrate_across(answers, labels, odds)

    seen: list = []
    logger = logging.getLogger("hifrac.training.structure.learner")
    keeper, level = Keeper(), logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    folder = tmp_path_factory.mktemp("models") / "deep" / "tiny"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "N_FOLDS", N_FOLDS)
            for function in (measure, augmented_features):
                patch.setattr(measurements, function.__name__, remembering(function))
            patch.setattr(cross_validation, "calibrate_across", watched)
            # Of the simple models beside the network the woods are slow: here they are small.
            patch.setattr(evaluation, "N_BOOTSTRAP", 200)
            patch.setattr(
                evaluation,
                "RandomForestClassifier",
                lambda *_, **__: RandomForestClassifier(20, random_state=0),
            )
            patch.setattr(
                evaluation, "ExtraTreesRegressor", lambda *_, **__: ExtraTreesRegressor(20, random_state=0)
            )
            tables = training.train_structure(folder, data=data_folder, **TRAINED_WITH)
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
    return Trained(folder, tables, messages, remembering, *seen)
