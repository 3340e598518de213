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
from pictures import jpeg_of, objid

from hifrac.models.structure import StructureNet
from hifrac.training import tables as shared_tables
from hifrac.training.measuring import measurements, photometry
from hifrac.training.measuring.galaxies import Galaxies
from hifrac.training.measuring.measurements import Measurements, augmented_features, measure, measure_all
from hifrac.training.splits import assign_folds
from hifrac.training.structure import catalogs as reading
from hifrac.training.structure import cross_validation, priors, tables
from hifrac.training.structure import learner as training
from hifrac.training.structure.catalogs import add_photometry
from hifrac.training.structure.cross_validation import OutOfFold
from hifrac.training.structure.priors import Catalogs, read_catalogs
from hifrac.training.structure.sample import read_sample

N_DETECTED, N_UNDETECTED, N_NEW, N_FIELD = 46, 46, 14, 400
SCATTER = 0.1
TRAINED_WITH = {"name": "tiny", "seed": 7}
N_FOLDS = 3
RA, DEC = 180.0, 0.5  # of the pictures, in a sky that nothing else may be learned from


@dataclass(frozen=True, eq=False)
class World:
    """What is true of all galaxies with pictures: detections, bright undetected ones, and new ones."""

    objid: np.ndarray
    g_minus_r: np.ndarray
    i: np.ndarray
    axis_ratio: np.ndarray

    def picture(self, row: int) -> bytes:
        light = {"i_mag": self.i[row], "g_minus_r": self.g_minus_r[row]}
        return jpeg_of(row, axial_ratio=self.axis_ratio[row], **light)


@pytest.fixture(scope="session")
def world() -> World:
    """Blue detections, redder non-detections, and redder ones that a deeper survey measured."""
    rng = np.random.default_rng(2020)
    n, m = N_DETECTED, N_UNDETECTED
    # Detections k and k + 1 share a field for k = 0, 10, 20; the undetected 0 shares that of detection 5.
    names = [objid(field - (field in (1, 11, 21)), field) for field in range(n)]
    undetected = [objid(5, 40_000), *(objid(1000 + field, field) for field in range(1, m))]
    # Only a deeper survey has these: the first lies 60 arcsec from detection 7, the second in the field of 8.
    new = [objid(3000, 1), objid(8, 50_000), *(objid(3000 + field, 1) for field in range(2, N_NEW))]
    colours = [rng.uniform(0.1, 0.7, n), rng.uniform(0.65, 0.95, 6), rng.uniform(0.35, 0.85, m - 6)]
    colours = np.concatenate([*colours, rng.uniform(0.65, 0.95, N_NEW)])
    size = len(colours)
    names = np.array([*names, *undetected, *new])
    return World(names, colours, rng.uniform(14.0, 16.5, size), rng.uniform(0.3, 1.0, size))


@pytest.fixture(scope="session")
def data_folder(world, tmp_path_factory) -> Path:
    """A data directory, with rows that training must leave alone."""
    rng = np.random.default_rng(2021)
    folder = tmp_path_factory.mktemp("data") / "cutouts"
    folder.mkdir()
    n, m = N_DETECTED, N_UNDETECTED
    names, colours = world.objid, world.g_minus_r
    with zipfile.ZipFile(folder / "sdss_cutouts.zip", "w") as archive:
        for row, name in enumerate(names):
            archive.writestr(f"sdss/{name}.jpg", world.picture(row))
    ra = RA + 0.5 * np.arange(n)
    ra[31] = ra[30] + 60 / 3600  # closer than 90 arcsec, and in another field
    # GSWLC-2 has no masses of every ninth galaxy; its masses are larger for red galaxies.
    mass = 8.5 + 2.0 * colours[:n]
    gswlc = np.ma.masked_array(mass + 0.3 * colours[:n] - 0.2, mask=np.arange(n) % 9 == 4)
    Table(
        {
            "objid": names[:n],
            "ra": ra,
            "dec": np.full(n, DEC),
            "v_helio": rng.uniform(3000, 9000, n),
            "axial_ratio": world.axis_ratio[:n],
            "log_mstar_taylor": mass,
            "log_mstar_gswlc": gswlc,
            "log_hi_fraction_true": 1.0 - 2.0 * colours[:n] + rng.normal(0, SCATTER, n),
        }
    ).write(folder / "hi_labels.ecsv")
    # The detections; the bright undetected; then, without pictures, outside the footprint and too faint.
    left_out = [objid(5000, 1), objid(5001, 1)]
    Table(
        {
            "objid": [*names[: n + m], *left_out],
            "ra_approx": np.r_[np.round(ra, 1), RA + 0.5 * np.arange(m + 2)],
            "dec_approx": np.r_[np.full(n, DEC), np.full(m + 2, 5.0)],
            "alfalfa_footprint": [True] * (n + m) + [False, True],
            "alfalfa_detected": [True] * n + [False] * (m + 2),
            "flux_16px": [50.0] * (n + m) + [50.0, 29.9],
        }
    ).write(folder / "index.ecsv")
    _write_resolve(world, ra, folder, rng)
    _write_manga(world, folder)
    # Of every second galaxy.
    some = np.arange(0, n + m, 2)
    g = world.i[some] + 1.5 * colours[some]
    magnitudes = {"u": g + 1.2, "g": g, "r": g - colours[some], "i": world.i[some], "z": world.i[some] - 0.2}
    Table(
        {
            "objid": names[some],
            "ra": np.where(some < n, RA + 0.5 * some, 60 + 0.5 * some),
            "dec": np.full(len(some), DEC),
            "redshift": 0.01 + 0.02 * colours[some],
            "log_mstar_taylor": 8.5 + 2.0 * colours[some],
            **{f"modelmag_{band}": values for band, values in magnitudes.items()},
            "extinction_g": np.full(len(some), 0.10),
            "extinction_i": np.full(len(some), 0.05),
        }
    ).write(folder / "photometry_labels.ecsv")
    return folder.parent


def _write_resolve(world: World, ra: np.ndarray, folder: Path, rng: np.random.Generator) -> None:
    """Galaxies that ALFALFA missed, three of them limits and one confused, and one that it has.

    What ALFALFA missed has less gas than its colour tells.
    """
    n, m = N_DETECTED, N_UNDETECTED
    rows = np.r_[np.arange(n, n + 6), np.arange(n + m, n + m + N_NEW), 0]
    value = 0.2 - 2.0 * world.g_minus_r[rows] + rng.normal(0, 0.2, len(rows))
    place = np.arange(len(rows))
    places = np.concatenate(
        [300 + 0.5 * np.arange(6), [ra[7] + 60 / 3600], 320 + np.arange(N_NEW - 1), [ra[0]]]
    )
    Table(
        {
            "objid": world.objid[rows],
            "ra": places,
            "dec": np.full(len(rows), DEC),
            "cz": np.full(len(rows), 5500.0),
            "g_minus_i": 1.4 * world.g_minus_r[rows],
            "i_mag": world.i[rows],
            "axial_ratio": world.axis_ratio[rows],
            "log_hi_fraction_true": value,
            "is_limit": np.isin(place, (1, 5, 9)),
            "confused": place == 3,
            "alfalfa_detected": place == len(rows) - 1,
        }
    ).write(folder / "resolve_labels.ecsv")


def _write_manga(world: World, folder: Path) -> None:
    """Two galaxies of HI-MaNGA: one that ALFALFA has, and an upper limit that nobody else has."""
    rows = np.array([3, N_DETECTED + 20])
    Table(
        {
            "objid": world.objid[rows],
            "OBJRA": [RA + 1.5, 310.0],
            "OBJDEC": [DEC, DEC],
            "VOPT": [6000.0, 6000.0],
            "LOGMSTARS": [9.0, 9.5],
            "LOGMHI": [9.9, -999.0],
            "LOGHILIM200KMS": [8.0, 9.2],
            "conflag": [1, 0],
        }
    ).write(folder / "himanga_labels.ecsv")


def catalog_tables(world: World) -> dict[str, Table]:
    """ALFALFA-SDSS, alpha.100 and xGASS as far as they are read: detections, and galaxies elsewhere."""
    rng = np.random.default_rng(5)
    n, size = N_DETECTED, N_DETECTED + N_FIELD
    colour = np.r_[1.5 * world.g_minus_r[:n], rng.uniform(0.1, 1.2, N_FIELD)]
    axis_ratio = np.r_[world.axis_ratio[:n], rng.uniform(0.2, 1.0, N_FIELD)]
    i, velocity = np.r_[world.i[:n], rng.uniform(13, 17, N_FIELD)], rng.uniform(2000, 12000, size)
    agc, mass = np.arange(1, size + 1), 8.5 + 4 / 3 * colour
    fraction = 1.0 - 4 / 3 * colour + rng.normal(0, 0.25, size)
    optical = Table(
        {
            "agc": agc,
            "objid": np.r_[
                world.objid[:n], [str(int(objid(row, 1)) + (9000 << 32)) for row in range(N_FIELD)]
            ],
            "ra": np.r_[RA + 0.5 * np.arange(n), rng.uniform(130, 240, N_FIELD)],
            "dec": np.r_[np.full(n, DEC), rng.uniform(5, 30, N_FIELD)],
            "axial_ratio": axis_ratio,
            "v": velocity,
            "distance": velocity / 70,
            "i_mag": i + 0.05,
            "extinction_i": np.full(size, 0.05),
            "g_minus_i_foreground": colour,
            "log_mstar": mass,
            "log_hi_fraction": fraction,
            "catalog_flags": np.where(agc == size, 32, 0),
        }
    )
    survey = Table(
        {
            "agc": agc[:-1],
            "w50": rng.uniform(50, 350, size - 1),
            "hi_rms": rng.uniform(2.0, 2.8, size - 1),
            "hi_code": np.where(agc[:-1] % 5, 1.0, 2.0),
        }
    )
    part = slice(n, n + 120)
    light = i[part] + 0.3
    xgass = Table(
        {
            "agc": np.ma.masked_array(agc[part], mask=np.arange(120) % 3 == 0),
            "ra": optical["ra"][part],
            "dec": np.where(np.arange(120) < 4, 0.3, optical["dec"][part]),
            "z": velocity[part] / 299792.458,
            "axial_ratio": axis_ratio[part],
            "r_mag": light + 0.1,
            "extinction_r": np.full(120, 0.1),
            "nuv_minus_r": np.where(np.arange(120) == 7, -99, 1 + 4 * colour[part]),
            "log_mstar": 0.6 * colour[part] - 0.4 * (light - 5 * np.log10(velocity[part] / 70) - 25) + 1.2,
            "log_mhi": rng.normal(9.3, 0.4, 120),
            "log_mhi_limit": np.arange(120) % 4 == 1,
            "catalog_flags": np.where(np.arange(120) % 10 == 5, 8, 0),
        }
    )
    return {"durbala2020": optical, "alfalfa_a100": survey, "xgass": xgass}


@pytest.fixture(scope="session")
def small_catalogs(world):
    """The readers of catalogues give those of this world, as long as the tests of training run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, table in catalog_tables(world).items():
            patch.setattr(reading, name, lambda folder, table=table: table.copy())
        patch.setattr(priors, "N_ALFALFA", 200)
        patch.setattr(photometry, "EPOCHS", 15)
        patch.setattr(measurements, "N_AUGMENTED", 20)
        yield


@pytest.fixture(scope="session")
def sample(data_folder) -> Galaxies:
    return read_sample(data_folder)


@pytest.fixture(scope="session")
def catalogs(small_catalogs) -> Catalogs:
    return read_catalogs(None, 7)


@pytest.fixture(scope="session")
def galaxies(sample, catalogs) -> Table:
    """The galaxies with pictures, with what the catalogue says of them."""
    table = sample.table.copy()
    add_photometry(table, catalogs.alfalfa)
    return table


@pytest.fixture(scope="session")
def fold(galaxies) -> np.ndarray:
    return assign_folds(np.asarray(galaxies["detected"]), np.asarray(galaxies["group"]), N_FOLDS, 0)


@pytest.fixture(scope="session")
def measured(sample, fold, small_catalogs) -> Measurements:
    kinds = [np.asarray(sample.table[name]) for name in ("detected", "undetected")]
    return measure_all(StructureNet(128), sample, *kinds, fold, 7)


@dataclass(frozen=True)
class Trained:
    """What one run of the training command left behind."""

    folder: Path
    tables: dict[str, Table]
    messages: list[str]
    answers: OutOfFold
    again: Callable[..., dict[str, Table]]


@pytest.fixture(scope="session")
def trained(data_folder, small_catalogs, tmp_path_factory) -> Trained:
    class Keeper(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    messages: list[str] = []
    memory: dict[tuple, object] = {}
    seen: list[OutOfFold] = []

    def remembering(function):
        """A measuring function that measures the same pictures only once."""

        def remembered(network, pixels, *rows):
            key = (function.__name__, hash(pixels.tobytes()), *(hash(row.tobytes()) for row in rows))
            if key not in memory:
                memory[key] = function(network, pixels, *rows)
            return memory[key]

        return remembered

    def watched(answers):
        calibrated = cross_validation.calibrate_across(answers)
        seen.append(calibrated)
        return calibrated

    def train(folder: Path, **options) -> dict[str, Table]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "N_FOLDS", N_FOLDS)
            patch.setattr(training, "N_LABELS", (15, 25))
            patch.setattr(training, "calibrate_across", watched)
            for module in (tables, shared_tables):
                patch.setattr(module, "N_BOOTSTRAP", 50)
            patch.setattr(priors, "STEPS", 25)
            for function in (measure, augmented_features):
                patch.setattr(measurements, function.__name__, remembering(function))
            return training.train_structure(folder, data=data_folder, **options)

    logger = logging.getLogger("hifrac.training.structure.learner")
    keeper, level = Keeper(), logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    folder = tmp_path_factory.mktemp("models") / "deep" / "tiny"
    try:
        written = train(folder, **TRAINED_WITH)
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
    return Trained(folder, written, messages, seen[0], train)
