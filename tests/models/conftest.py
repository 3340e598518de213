"""What tests of models share."""

import pytest
from model_files import blurred_blobs, write

from hifrac.models import _artifact


@pytest.fixture(scope="module")
def blobs():
    """Blurred blobs of colour, as galaxies are; an odd number of them."""
    return blurred_blobs()


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
