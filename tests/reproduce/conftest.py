"""A small data directory as a setting."""

import shutil
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from reproduce_data import write_data, write_metallicities, write_spectra

from hifrac.demo import PICTURES
from hifrac.images import decode
from hifrac.models.registry import bundled_models
from hifrac.reproduce._experiment import Setting

mpl.use("agg")


@pytest.fixture
def made(tmp_path):
    """A setting, and the tables behind it."""
    tables = write_data(tmp_path / "data", tmp_path / "model", pictures=True)
    return Setting(tmp_path / "data", tmp_path / "model", seed=1, draws=20), *tables


@pytest.fixture
def made_metallicity(made, tmp_path):
    """A setting with a model of the metallicity, and the tables behind it."""
    here = replace(made[0], metallicity=tmp_path / "metallicity")
    return here, *write_metallicities(here.folder, here.metallicity)


@pytest.fixture(scope="module")
def made_spectra(tmp_path_factory):
    """A setting with a model of spectra, the bundled one, and the tables behind it; nothing may change it."""
    folder = tmp_path_factory.mktemp("spectra")
    (folder / "data" / "cutouts").mkdir(parents=True)
    here = Setting(folder / "data", folder, seed=1, draws=20, spectrum=folder / "spectrum")
    tables = write_spectra(here.folder, here.spectrum)
    for name in ("card.json", "weights.safetensors"):
        shutil.copy(bundled_models()["spectra"] / name, here.spectrum)
    return here, *tables


@pytest.fixture(scope="module")
def demo_pixels():
    """Three bundled pictures of galaxies."""
    paths = sorted(PICTURES.glob("*.jpg"))[:3]
    return np.stack([decode(path.read_bytes(), width=128) for path in paths])
