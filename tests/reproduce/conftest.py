"""A small data directory as a setting."""

import matplotlib as mpl
import numpy as np
import pytest
from reproduce_data import write_data

from hifrac.demo import PICTURES
from hifrac.images import decode
from hifrac.reproduce._experiment import Setting

mpl.use("agg")


@pytest.fixture
def made(tmp_path):
    """A setting, and the tables behind it."""
    tables = write_data(tmp_path / "data", tmp_path / "model", pictures=True)
    return Setting(tmp_path / "data", tmp_path / "model", seed=1, draws=20), *tables


@pytest.fixture(scope="module")
def demo_pixels():
    """Three bundled pictures of galaxies."""
    paths = sorted(PICTURES.glob("*.jpg"))[:3]
    return np.stack([decode(path.read_bytes(), width=128) for path in paths])
