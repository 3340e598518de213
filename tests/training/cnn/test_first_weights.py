"""First weights: of another model, of ImageNet when the user has them, or random."""

import hashlib

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from hifrac.core.exceptions import ModelError
from hifrac.models.xresnet import PixelNet, shallow, xresnet18
from hifrac.training.cnn.first_weights import describe_first_weights, first_network, load_weights
from hifrac.training.cnn.module import answer
from hifrac.training.config import NetworkConfig

PIXELS = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1)).byte()


def equal(one, other):
    """Whether two networks are the same to the last bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Random


def test_random_weights_follow_from_the_seed_and_leave_the_users_alone():
    config = NetworkConfig(architecture="shallow")
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, same, other = (first_network(config, seed) for seed in (1, 1, 2))
    assert equal(one, same)
    assert not equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert describe_first_weights(config) == "from random weights"


# ImageNet


@pytest.fixture(scope="module")
def theirs():
    """A network with weights of its own, as torchvision keeps it."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = resnet18(weights=None)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
    return network.eval()


def configured(file, architecture="resnet18_concat_pool"):
    return NetworkConfig(architecture=architecture, pretrained=str(file))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("architecture", ["resnet18", "resnet18_concat_pool"])
def test_the_body_is_that_of_imagenet_and_the_head_is_new(theirs, tmp_path, suffix, architecture):
    path = tmp_path / f"resnet18-f37072fd.{suffix}"
    if suffix == "pth":
        torch.save(theirs.state_dict(), path)
    else:
        safetensors.torch.save_file(theirs.state_dict(), path)
    config = configured(path, architecture)
    network = first_network(config, 1).eval()
    body = nn.Sequential(*list(theirs.children())[:-2])
    with torch.inference_mode():
        expected = body(network.normalise(PIXELS))
        torch.testing.assert_close(network.forward_features(PIXELS), expected, rtol=1e-5, atol=1e-5)
    fresh = first_network(NetworkConfig(architecture=architecture), 1)
    assert equal(network.backbone.head, fresh.backbone.head)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert describe_first_weights(config) == f"from weights of ImageNet ({path.name}, sha256 {sha256})"


def test_old_files_have_no_counts_of_batches(theirs, tmp_path):
    weights = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name}
    torch.save(weights, tmp_path / "old.pth")
    network = first_network(configured(tmp_path / "old.pth"), 1)
    assert torch.equal(network.backbone.features[0].weight, theirs.conv1.weight)


def test_what_torchvision_has_kept_is_found_and_nothing_is_fetched(theirs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"torchvision has not kept .*fetch https://.*f37072fd\.pth and"
    ):
        first_network(configured("cache"), 1)
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    network = first_network(configured("cache"), 1)
    assert torch.equal(network.backbone.features[0].weight, theirs.conv1.weight)
    assert "resnet18-f37072fd.pth" in describe_first_weights(configured("cache"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^network\.pretrained: no such file: .*no\.pth"):
        first_network(configured(tmp_path / "no.pth"), 1)


def test_a_file_of_another_network(tmp_path):
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        ModelError, match=r"^network\.pretrained: .*other\.pth does not hold the weights of this"
    ):
        first_network(configured(tmp_path / "other.pth"), 1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"no weights", "cannot be read"),
        ("a.safetensors", b"no weights", "cannot be read"),
        ("list.pth", [1, 2], "does not hold tensors by their names"),
        ("whole.pth", resnet18, "cannot be read"),  # a pickle of code
    ],
)
def test_a_file_that_holds_something_else(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=rf"^network\.pretrained: .*{name} {words}"):
        first_network(configured(path), 1)


# Another model


def test_a_network_starts_from_the_weights_of_another():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other, network = PixelNet(xresnet18(1)), PixelNet(xresnet18(1))
    # An attention that counts.
    for module in other.modules():
        if hasattr(module, "gamma"):
            nn.init.constant_(module.gamma, 0.1)
    load_weights(network, other)
    assert equal(network, other)
    pixels = PIXELS
    np.testing.assert_array_equal(answer(network, pixels), answer(other, pixels))


def test_a_head_of_another_size_is_left_out():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other, network = PixelNet(shallow(1)), PixelNet(shallow(2))
    head = network.backbone.head.weight.detach().clone()
    load_weights(network, other)
    assert torch.equal(network.backbone.head.weight, head)
    assert torch.equal(network.backbone.stem[0][0].weight, other.backbone.stem[0][0].weight)


def test_the_weights_of_another_architecture_are_refused():
    with pytest.raises(ModelError, match=r"^init_from: the weights are of another architecture"):
        load_weights(PixelNet(shallow(1)), PixelNet(xresnet18(1)))
    with pytest.raises(ModelError, match=r"^init_from: the weights are of another architecture"):
        load_weights(PixelNet(xresnet18(1)), PixelNet(shallow(1)))
