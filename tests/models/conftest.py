"""What tests of models share."""

import numpy as np
import pytest
from model_files import WIDTH, write

from hifrac.models import _artifact


@pytest.fixture(scope="module")
def blobs():
    """Blurred blobs of colour, as galaxies are; an odd number of them."""
    y, x = np.mgrid[:WIDTH, :WIDTH] - (WIDTH - 1) / 2
    rng = np.random.default_rng(5)
    light = [
        rng.uniform(90, 250, 3) * np.exp(-np.hypot(x, y * rng.uniform(1, 2)) / rng.uniform(3, 9))[..., None]
        for _ in range(5)
    ]
    return np.clip(np.array(light) + rng.uniform(2, 14, (5, WIDTH, WIDTH, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def shallow_model(tmp_path_factory):
    """A folder of the smallest xresnet, for reading only."""
    folder = tmp_path_factory.mktemp("models") / "shallow"
    write(folder, "shallow", formats=tuple(_artifact.FORMATS))
    return folder


@pytest.fixture
def shallow_folder(shallow_model, tmp_path):
    """The same, for changing: its files are not in the card of any other."""
    made = tmp_path / "copy"
    made.mkdir()
    for path in shallow_model.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    return made
