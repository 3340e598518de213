"""The metallicity network: what its heads read, its symmetries, and that it scripts."""

import pytest
import torch
from pictures import batch, galaxy, sky

from hifrac.models.architectures import build
from hifrac.models.metallicity import MetallicityNet, MetallicityOutput
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.structure import StructureNet

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def network():
    """A network whose heads answer something: as made they are random, here they are reproducible."""
    torch.manual_seed(0)
    network = MetallicityNet(128, n_heads=2).eval()
    with torch.no_grad():
        network.center.copy_(network.measure(batch(galaxy(0)).float())[0].new_zeros(network.n_features))
        network.reading_scale.fill_(5.0)
    return network


def test_the_answers_have_one_number_a_picture(network):
    pictures = batch(galaxy(0), galaxy(1), sky(1))
    with torch.inference_mode():
        output = network(pictures)
        assert network(pictures[:0]).shape == (0, len(MetallicityOutput._fields))
    assert output.shape == (3, len(MetallicityOutput._fields))
    assert torch.isfinite(output).all()
    assert (MetallicityOutput(*output.unbind(1)).distance >= 0).all()


def test_the_measurements_are_those_of_the_structure_network(network):
    pictures = batch(galaxy(0), galaxy(1))
    with torch.inference_mode():
        expected = StructureNet(128).forward_features(pictures)
        torch.testing.assert_close(network.forward_features(pictures), expected, rtol=0, atol=0)


def test_magnitudes_are_those_of_the_mean_of_the_heads(network):
    pictures = batch(galaxy(0), galaxy(1))
    with torch.inference_mode():
        features = network.forward_features(pictures)
        output = network.forward_head(features)
        heads = torch.stack([head(features) for head in network.photometry]).mean(0)
    shown = dict(zip(PHOTOMETRIC, heads.T, strict=True))
    for name, expected in (
        ("mag_i", shown["i"]),
        ("log_cz", shown["log_cz"]),
        ("log_mstar", shown["log_mstar"]),
    ):
        torch.testing.assert_close(getattr(output, name), expected)
    for first, second, name in (
        ("mag_g", "mag_i", "g_minus_i"),
        ("mag_u", "mag_g", "u_minus_g"),
        ("mag_g", "mag_r", "g_minus_r"),
        ("mag_i", "mag_z", "i_minus_z"),
    ):
        difference = getattr(output, first) - getattr(output, second)
        torch.testing.assert_close(difference, shown[name], rtol=1e-4, atol=1e-4)


def test_the_estimate_is_linear_in_measurements_readings_and_the_square_of_the_mass(network):
    with torch.inference_mode():
        features = network.forward_features(batch(galaxy(0), galaxy(1)))
        quantities = network.quantities(features)
        inputs = network.head_inputs(features, quantities)
        estimate = network.forward_head(features).estimate
        expected = network.metallicity(inputs)[:, 0]
    n = network.n_features
    assert inputs.shape == (2, n + len(PHOTOMETRIC) + 1)
    torch.testing.assert_close(inputs[:, :n], network.standardise(features))
    torch.testing.assert_close(inputs[:, -1], inputs[:, -2] ** 2)
    torch.testing.assert_close(estimate, expected)


def test_the_place_in_the_batch_changes_nothing(network):
    pictures = [galaxy(seed) for seed in range(5)]
    with torch.inference_mode():
        together = network(batch(*pictures))
        alone = torch.cat([network(batch(picture)) for picture in pictures])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_the_estimate_has_a_gradient_on_the_galaxy(network):
    picture = batch(galaxy(3)).float().requires_grad_()
    network(picture)[:, MetallicityOutput._fields.index("estimate")].sum().backward()
    slope = picture.grad[0].abs().sum(0)
    assert torch.isfinite(slope).all()
    assert slope[40:88, 40:88].mean() > 0


def test_where_the_reddening_is_unknown_it_is_that_of_the_training_set(network):
    pictures = batch(galaxy(0), galaxy(1))
    with torch.inference_mode():
        network.center[-1] = 0.05
        mean = network(pictures, torch.tensor([0.05, 0.05]))
        for unknown in (None, torch.full((2,), torch.nan)):
            torch.testing.assert_close(network(pictures, unknown), mean, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_network_scripts_and_says_the_same(network):
    script = torch.jit.script(network)
    pictures, ebv = batch(galaxy(0), galaxy(1), sky(2)), torch.tensor([0.02, torch.nan, 0.2])
    with torch.inference_mode():
        for arguments in ((pictures,), (pictures, ebv)):
            torch.testing.assert_close(script(*arguments), network(*arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_heads", [0, 17])
def test_a_number_of_heads_that_makes_no_sense(n_heads):
    with pytest.raises(ValueError, match=rf"^n_heads must be from 1 to 16, got {n_heads}"):
        build("MetallicityNet", {"width": 64, "n_heads": n_heads})
