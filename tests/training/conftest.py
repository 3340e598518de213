"""A data directory in miniature: simulated galaxies whose gas content follows from their colour."""

from __future__ import annotations

import logging
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_limits

from hifrac.models.structure import StructureNet
from hifrac.simulate import SimulatedGalaxy, encode_jpeg, render
from hifrac.training import evaluation
from hifrac.training import train as training
from hifrac.training.data import TrainingSample, read_sample
from hifrac.training.fit import measure

N_DETECTED, N_UNDETECTED = 46, 46
SCATTER = 0.1
TRAINED_WITH = {"name": "tiny", "seed": 7}
N_FOLDS = 3


@contextmanager
def one_thread():
    """Threads that wait for each other make many small fits slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


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
    colours = np.concatenate([rng.uniform(0.1, 0.7, n), rng.uniform(0.35, 0.85, m)])
    with zipfile.ZipFile(root / "cutouts" / "sdss_cutouts.zip", "w") as archive:
        for seed, (name, colour) in enumerate(zip(names + undetected, colours, strict=True)):
            archive.writestr(f"sdss/{name}.jpg", _draw(rng, colour, seed))
    ra = 180 + 0.5 * np.arange(n)
    ra[31] = ra[30] + 60 / 3600  # closer than 90 arcsec, and in another field
    Table(
        {
            "objid": names,
            "ra": ra,
            "dec": np.zeros(n),
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
            "alfalfa_footprint": [True] * (n + m) + [False, True],
            "alfalfa_detected": [True] * n + [False] * (m + 2),
            "flux_16px": [50.0] * (n + m) + [50.0, 29.9],
        }
    ).write(root / "cutouts" / "index.ecsv")
    # Deeper data: two detections and four limits that ALFALFA does not have, and one galaxy that it has.
    Table(
        {
            "objid": [*undetected[:6], names[0]],
            "log_hi_fraction_true": [-1.5, 0.0, -1.0, -1.2, 5.0, -1.1, 0.3],
            "is_limit": [False, False, True, True, True, True, False],
            "alfalfa_detected": [False] * 6 + [True],
        }
    ).write(root / "cutouts" / "resolve_labels.ecsv")
    return root


@pytest.fixture(scope="session")
def sample(data_folder) -> TrainingSample:
    return read_sample(data_folder)


@pytest.fixture(scope="session")
def features(sample) -> np.ndarray:
    """Raw measurements of the sample."""
    with one_thread():
        return measure(StructureNet(128), sample.pixels)


@dataclass(frozen=True)
class Trained:
    """What one run of the training command left behind."""

    folder: Path
    table: Table
    beyond: Table
    messages: list[str]


@pytest.fixture(scope="session")
def trained(data_folder, tmp_path_factory) -> Trained:
    class Keeper(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    messages: list[str] = []
    logger = logging.getLogger("hifrac.training.train")
    keeper, level = Keeper(), logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    folder = tmp_path_factory.mktemp("models") / "deep" / "tiny"
    try:
        with one_thread(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "N_FOLDS", N_FOLDS)
            # Of the simple models beside the network the forest is slow: here it is a small wood.
            patch.setattr(
                evaluation,
                "RandomForestClassifier",
                lambda *_, **__: RandomForestClassifier(20, random_state=0),
            )
            table, beyond = training.train(folder, data=data_folder, **TRAINED_WITH)
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
    return Trained(folder, table, beyond, messages)
