"""What tests of figures and pages share."""

import pytest

from hifrac import load_model


@pytest.fixture(scope="session")
def default():
    return load_model("default", device="cpu")
