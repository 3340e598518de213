"""The networks that a card can name: those of torchvision are built and scripted like the paper's."""

import pytest
import torch

from hifrac.models import _artifact
from hifrac.models.architectures import build, closest

OPTIONS = {"n_outputs": 2, "n_channels": 3}


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("resnet18", OPTIONS).eval()


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (3, 3, 48, 48), generator=torch.Generator().manual_seed(1)).byte()


def test_a_network_of_torchvision_is_that_of_torchvision(network, pixels):
    from torchvision.models import resnet18

    theirs = resnet18(weights=None, num_classes=2).eval()
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), network.backbone.state_dict().values(), strict=True))
    )
    with torch.inference_mode():
        expected = theirs(network.normalise(pixels))
        torch.testing.assert_close(network(pixels), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_its_script_answers_the_same(network, pixels, tmp_path):
    files = _artifact.save(network, tmp_path)
    assert set(files) == {"weights.safetensors", "model.pt"}
    script = torch.jit.load(tmp_path / "model.pt")
    with torch.inference_mode():
        torch.testing.assert_close(script(pixels), network(pixels), rtol=1e-5, atol=1e-5)


def test_it_is_known_by_the_names_of_its_weights(network):
    assert closest(set(network.state_dict())) == "resnet18"


def test_it_takes_other_channels_and_no_colour():
    assert build("resnet18", {"n_channels": 1, "mean": (0.0,), "std": (1.0,)}).backbone.n_channels == 1
    grey = build("resnet18", {**OPTIONS, "monochrome": True}).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).byte()
    with torch.inference_mode():
        torch.testing.assert_close(grey(pixels), grey(pixels.flip(1)))
