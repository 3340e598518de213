"""A data directory in miniature: simulated galaxies whose metallicity follows from their mass."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from pictures import jpeg_of, objid

from hifrac.training import tables as shared_tables
from hifrac.training.measuring import measurements, photometry
from hifrac.training.metallicity import learner, tables
from hifrac.training.metallicity.sample import read_sample

# With a metallicity, of which some have no photometry; with photometry alone; of the last some have lines.
N_LABELLED, N_WITHOUT, N_OTHERS, N_PASSIVE = 66, 12, 70, 48
SEED = 7


@dataclass(frozen=True, eq=False)
class MetalWorld:
    """What is true of all galaxies with pictures, those with a metallicity first."""

    objid: np.ndarray
    g_minus_r: np.ndarray
    i: np.ndarray
    log_mstar: np.ndarray
    oh: np.ndarray

    def picture(self, row: int) -> bytes:
        light = {"i_mag": self.i[row], "g_minus_r": self.g_minus_r[row]}
        return jpeg_of(row, axial_ratio=0.4 + 0.1 * (row % 6), **light)


@pytest.fixture(scope="session")
def metal_world():
    """Blue galaxies, then others of which the last are red: the redder, the more massive and metal-rich."""
    rng = np.random.default_rng(4)
    n = N_LABELLED + N_OTHERS
    colour = np.concatenate([rng.uniform(0.2, 0.6, n - N_PASSIVE), rng.uniform(0.65, 0.95, N_PASSIVE)])
    mass = 8.5 + 3.0 * colour + rng.normal(0, 0.3, n)  # of which the picture knows nothing
    oh = 8.9 + 0.3 * (mass - 10) + rng.normal(0, 0.03, n)
    return MetalWorld(
        np.array([objid(field) for field in range(n)]), colour, rng.uniform(14, 16.5, n), mass, oh
    )


@pytest.fixture(scope="session")
def metal_folder(metal_world, tmp_path_factory):
    """A data directory with all files that the metallicity model reads."""
    world, n = metal_world, N_LABELLED + N_OTHERS
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("metals") / "cutouts"
    folder.mkdir()
    with zipfile.ZipFile(folder / "sdss_cutouts.zip", "w") as archive:
        for row, name in enumerate(world.objid):
            archive.writestr(f"sdss/{name}.jpg", world.picture(row))
    labelled = slice(0, N_LABELLED)
    published = {
        f"wu_boada_2019_prediction{end}": world.oh[labelled] + rng.normal(0, error, N_LABELLED)
        for end, error in (("", 0.02), ("_64", 0.03), ("_32", 0.04), ("_16", 0.05))
    }
    table = Table({"objid": world.objid[labelled], "oh_p50": world.oh[labelled], **published})
    table.write(folder / "metallicity_labels.ecsv")
    rows = np.arange(N_WITHOUT, n)
    g = world.i[rows] + 1.5 * world.g_minus_r[rows]
    bands = {
        "u": g + 1.2,
        "g": g,
        "r": g - world.g_minus_r[rows],
        "i": world.i[rows],
        "z": world.i[rows] - 0.2,
    }
    subclass = np.ma.masked_array(np.full(len(rows), "BROADLINE"), mask=rows < n - N_PASSIVE)
    subclass[:3] = ["STARFORMING", "STARBURST", "AGN"]  # the last of them has a metallicity all the same
    Table(
        {
            "objid": world.objid[rows],
            "ra": 130 + 0.5 * rows,
            "dec": np.full(len(rows), 0.5),
            "redshift": 0.02 + 0.05 * world.g_minus_r[rows],
            "log_mstar_taylor": world.log_mstar[rows],
            **{f"modelmag_{band}": values for band, values in bands.items()},
            "extinction_g": np.full(len(rows), 0.10),
            "extinction_i": np.full(len(rows), 0.05),
            "subclass": subclass,
            "broadline_agn": rows == N_LABELLED,
        }
    ).write(folder / "photometry_labels.ecsv")
    index = {"objid": world.objid, "ra_approx": 130 + 0.5 * np.arange(n), "dec_approx": np.full(n, 0.4)}
    Table(index).write(folder / "index.ecsv")
    lines = np.array([0, N_LABELLED + 1, N_LABELLED + 2])
    Table({"objid": world.objid[lines], "is_sf": [False, True, False]}).write(folder / "line_labels.ecsv")
    Table(
        {
            "objid": world.objid[[N_LABELLED + 2, N_LABELLED + 3, 1]],
            "ra": [10.0, 11.0, 12.0],
            "dec": [0.0, 0.1, 0.2],
            "bpt": ["Star Forming", "Star Forming", "Seyfert"],
        }
    ).write(folder / "portsmouth_labels.ecsv")
    Table({"objid": world.objid[[N_LABELLED + 4]], "radeg": [20.0], "dedeg": [1.0], "is_sf": [False]}).write(
        folder / "resolve_eco_labels.ecsv"
    )
    return folder.parent


@pytest.fixture(scope="session")
def quick():
    """Few steps, draws and pictures, as long as the tests of this learner run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photometry, "EPOCHS", 15)
        patch.setattr(measurements, "N_AUGMENTED", 20)
        patch.setattr(learner, "N_FOLDS", 3)
        for module in (tables, shared_tables):
            patch.setattr(module, "N_BOOTSTRAP", 50)
        yield


@pytest.fixture(scope="session")
def metals(metal_folder):
    return read_sample(metal_folder)


@pytest.fixture(scope="session")
def trained_metals(metal_folder, quick, tmp_path_factory) -> tuple[Path, dict[str, Table]]:
    """The folder of a trained model, and its tables."""
    folder = tmp_path_factory.mktemp("model")
    return folder, learner.train_metallicity(folder, data=metal_folder, name="tiny", seed=SEED)
