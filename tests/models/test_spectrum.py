"""The network of spectra: what its heads read, that it scripts, and what its latents mean."""

import numpy as np
import pytest
import torch
from pictures import batch, galaxy, sky

from hifrac.models.architectures import build
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.spectrum import SpectrumNet, SpectrumOutput, latents_of
from hifrac.models.spectrum_table import LATENTS, LINE_UNIT

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def network():
    """A network whose heads answer something: as made they are random, here they are reproducible."""
    torch.manual_seed(0)
    network = SpectrumNet(128, n_heads=2).eval()
    with torch.no_grad():
        network.reading_scale.fill_(5.0)
        network.latent_basis.normal_()
        network.mean_spectrum.normal_()
    return network


def test_the_answers_have_one_number_a_picture(network):
    with torch.inference_mode():
        output = network(batch(galaxy(0), galaxy(1), sky(1)))
        assert network(batch(galaxy(0))[:0]).shape == (0, len(SpectrumOutput._fields))
    assert output.shape == (3, len(SpectrumOutput._fields))
    assert torch.isfinite(output).all()


def test_what_the_heads_read(network):
    with torch.inference_mode():
        features = network.forward_features(batch(galaxy(0), galaxy(1)))
        quantities = network.quantities(features)
        inputs, output = network.head_inputs(quantities), network.forward_head(features)
        n = len(PHOTOMETRIC) + len(LATENTS)
        assert quantities.shape == (2, n)
        torch.testing.assert_close(inputs[:, n:], inputs[:, :n] ** 2)
        lines = network.h_alpha(inputs)[:, 0]
        torch.testing.assert_close(torch.asinh(output.estimate / LINE_UNIT), lines, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.log_continuum_4340_5877, network.continuum(inputs[:, :n])[:, 1])
        for column, name in enumerate(LATENTS, start=len(PHOTOMETRIC)):
            torch.testing.assert_close(getattr(output, name), quantities[:, column])
        torch.testing.assert_close(output.mag_g - output.mag_i, quantities[:, 0])
        torch.testing.assert_close(output.mag_u - output.mag_g, quantities[:, 2], atol=1e-5, rtol=1e-5)


def test_a_wild_reading_gives_a_finite_width(network):
    with torch.inference_mode():
        features = network.forward_features(batch(galaxy(0)))
        bias = network.h_alpha.bias.clone()
        network.h_alpha.bias.fill_(1e6)
        width = network.forward_head(features).estimate
        network.h_alpha.bias.copy_(bias)
    assert width.item() == pytest.approx(LINE_UNIT * np.sinh(6), rel=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_network_scripts_and_says_the_same(network):
    script = torch.jit.script(network)
    pictures, ebv = batch(galaxy(0), galaxy(1), sky(2)), torch.tensor([0.02, torch.nan, 0.2])
    with torch.inference_mode():
        for arguments in ((pictures,), (pictures, ebv)):
            torch.testing.assert_close(script(*arguments), network(*arguments), rtol=1e-5, atol=1e-5)
    latents = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_array_equal(latents_of(script).decode(latents), latents_of(network).decode(latents))


def test_latents_are_decoded_by_the_basis_of_the_network(network):
    space = latents_of(network)
    np.testing.assert_allclose(space.decode(np.zeros((1, 5)))[0], network.mean_spectrum, rtol=1e-6)
    first = space.decode([[1, 0, 0, 0, 0]]) - space.decode(np.zeros((1, 5)))
    np.testing.assert_allclose(first[0], network.latent_basis[0], atol=1e-6)


@pytest.mark.parametrize("n_heads", [0, 17])
def test_a_number_of_heads_that_makes_no_sense(n_heads):
    with pytest.raises(ValueError, match=rf"^n_heads must be from 1 to 16, got {n_heads}"):
        build("SpectrumNet", {"width": 64, "n_heads": n_heads})
