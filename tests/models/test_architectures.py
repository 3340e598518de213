"""The networks that a card can name: those of torchvision are built and scripted like the paper's."""

import pytest
import torch
from model_files import stirred

from hifrac.models import _artifact
from hifrac.models.architectures import build, closest
from hifrac.models.xresnet import centre

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


#: Parameters of torchvision's resnet34 without its layer of 1000 classes.
BODY_34 = 21_797_672 - (512 * 1000 + 1000)


@pytest.mark.parametrize("n_outputs", [1, 4, 5, 6])
def test_the_network_of_metallicities_has_the_papers_layers(n_outputs):
    with torch.device("meta"):
        network = build("resnet34_concat_pool", {"n_outputs": n_outputs})
    layers = list(network.backbone.head)
    names = [type(layer).__name__ for layer in layers]
    assert names == ["BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"]
    shapes = [tuple(layers[number].weight.shape) for number in (0, 2, 4, 6)]
    assert shapes == [(1024,), (512, 1024), (512,), (n_outputs, 512)]
    assert (layers[1].p, layers[5].p) == (0.25, 0.5)
    head = 2 * 1024 + (1024 * 512 + 512) + 2 * 512 + (512 * n_outputs + n_outputs)
    assert sum(value.numel() for value in network.parameters()) == BODY_34 + head
    assert network.mean.flatten().shape == (3,)


def test_its_weights_start_as_those_of_fastai():
    head = build("resnet18_concat_pool").backbone.head
    assert head[2].bias.abs().max() == head[6].bias.abs().max() == 0
    assert head[2].weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.02)
    assert head[6].weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.1)


def test_its_head_is_that_of_the_paper_on_the_body_of_torchvision(pixels):
    from torchvision.models import resnet18

    network = stirred(build("resnet18_concat_pool", OPTIONS))
    theirs = torch.nn.Sequential(*list(resnet18(weights=None).children())[:-2]).eval()
    body = network.backbone.features.state_dict()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), body.values(), strict=True)))
    # Red, green and blue of the pictures of ImageNet.
    statistics = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    mean, std = statistics[:, :, None, None]
    with torch.inference_mode():
        maps = theirs((pixels / 255 - mean) / std)
        pooled = torch.nn.AdaptiveMaxPool2d(1)(maps), torch.nn.AdaptiveAvgPool2d(1)(maps)
        expected = network.backbone.head(torch.cat(pooled, 1).flatten(1))
        torch.testing.assert_close(network(pixels), expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_crops_reads_the_middle():
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(2)).byte()
    whole, cropped = build("shallow"), build("shallow", {"crop": 40})
    cropped.load_state_dict(whole.state_dict())
    with torch.inference_mode():
        assert torch.equal(cropped.eval()(pixels), whole.eval()(pixels[:, :, 12:52, 12:52]))
    with pytest.raises(ValueError, match=r"^crop must be at least 1, got 0"):
        build("shallow", {"crop": 0})


@pytest.mark.parametrize(
    ("side", "expected"), [(2, [[5, 6], [9, 10]]), (3, [[5, 6, 7], [9, 10, 11], [13, 14, 15]])]
)
def test_the_centre_of_a_picture(side, expected):
    picture = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    found = centre(picture, side)
    assert found.dtype == torch.uint8
    assert found[0, 0].tolist() == expected
    wider = centre(picture, 6)
    assert torch.equal(wider[:, :, 1:5, 1:5], picture)
    assert wider.sum() == picture.sum()


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
