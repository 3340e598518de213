"""What tests of attribution share: small models of either kind, and pictures for them."""

import numpy as np
import pytest
from model_files import blurred_blobs, write

from hifrac import load_model


@pytest.fixture(scope="session")
def blobs():
    """Blurred blobs of colour, as galaxies are; an odd number of them."""
    return blurred_blobs()


@pytest.fixture(scope="session")
def pooled(tmp_path_factory):
    """A small network that ends in a mean over positions: outputs estimate and distance; its folder."""
    folder = tmp_path_factory.mktemp("models") / "shallow"
    write(folder, "shallow")
    return folder


@pytest.fixture(scope="session")
def default():
    return load_model("default", device="cpu")


@pytest.fixture(scope="session")
def demo_pixels():
    """Three of the bundled simulated galaxies: elliptical, spiral, irregular."""
    from hifrac.demo import PICTURES
    from hifrac.images import decode

    names = sorted(path for path in PICTURES.glob("sim-*.jpg"))
    return np.stack([decode(path.read_bytes()) for path in names[:24:10]])
