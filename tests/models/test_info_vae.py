"""The autoencoder of spectra: its size, its loss against one written out, and that it learns."""

import numpy as np
import pytest
import torch

from hifrac.models.info_vae import InfoVAE, info_vae_loss, mean_discrepancy


@pytest.fixture
def network():
    torch.manual_seed(0)
    return InfoVAE(12, 2, (8, 5))


@pytest.fixture
def spectra():
    return torch.randn(6, 12, generator=torch.Generator().manual_seed(1))


def test_the_number_of_parameters_is_that_of_the_paper():
    network = InfoVAE()
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_224_418
    assert (network.n_pixels, network.n_latents) == (1000, 10)


def test_the_layers_written_out(network, spectra):
    state = network.state_dict()

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def leaky(x):
        return torch.where(x > 0, x, 0.01 * x)

    with torch.no_grad():
        decoded, latents, mean, log_variance = network.eval()(spectra)
        encoded = linear(leaky(linear(leaky(linear(spectra, "encoder.0")), "encoder.2")), "encoder.4")
        torch.testing.assert_close(torch.cat([mean, log_variance], 1), encoded)
        torch.testing.assert_close(latents, mean)
        expected = linear(leaky(linear(leaky(linear(mean, "decoder.0")), "decoder.2")), "decoder.4")
        torch.testing.assert_close(decoded, expected)
    # And for spectra and latents that are arrays.
    np.testing.assert_allclose(network.infer(spectra.double().numpy()), mean, rtol=1e-6)
    np.testing.assert_allclose(network.generate(mean.double().numpy()), decoded, rtol=1e-6)


def test_latents_are_drawn_in_training_alone(network, spectra):
    with torch.no_grad():
        wide = spectra[:1].expand(20_000, -1)
        _, latents, mean, log_variance = network(wide)
        torch.testing.assert_close(latents.mean(0), mean[0], rtol=0, atol=0.03)
        torch.testing.assert_close(latents.var(0), log_variance[0].exp(), rtol=0.05, atol=0)
        assert torch.equal(network.eval()(wide)[1], mean)


def test_the_discrepancy_of_two_samples():
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(30, 3, generator=generator), torch.randn(40, 3, generator=generator) + 1
    expected = 0.0
    for one, other, sign in ((first, first, 1), (second, second, 1), (first, second, -2)):
        values = [float(torch.exp(-((x - y) ** 2).sum() / 3)) for x in one for y in other]
        expected += sign * sum(values) / len(values)
    assert mean_discrepancy(first, second).item() == pytest.approx(expected, rel=1e-4)
    assert mean_discrepancy(first, first).item() == pytest.approx(0, abs=1e-6)
    assert mean_discrepancy(first, first + 100).item() > mean_discrepancy(first, second).item()


@pytest.mark.parametrize(("alpha", "lambd"), [(0.0, 1.0), (0.0, 30.0), (1.0, 0.0), (0.5, 3.0)])
def test_the_loss_written_out(network, spectra, alpha, lambd):
    network.eval()  # latents are their means
    weights = torch.rand(6, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.manual_seed(5)
        loss = info_vae_loss(network, spectra, weights, alpha=alpha, lambd=lambd).item()
        torch.manual_seed(5)
        prior = torch.randn(200, 2)
        decoded, latents, mean, log_variance = network(spectra)
        expected = 0.0
        for row in range(6):
            expected += 0.5 * (weights[row] * (spectra[row] - decoded[row]) ** 2).sum().item()
            variance = log_variance[row].exp()
            of_row = torch.distributions.kl_divergence(
                torch.distributions.Normal(mean[row], variance.sqrt()), torch.distributions.Normal(0.0, 1.0)
            )
            expected += (1 - alpha) * of_row.sum().item()
        expected = expected / 6 + (lambd + alpha - 1) * 2 * mean_discrepancy(latents, prior).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_pixels_without_weight_do_not_matter(network, spectra):
    weights = torch.ones(6, 12)
    weights[:, 3:6] = 0
    network.eval()

    def loss(target):
        torch.manual_seed(0)
        decoded, latents, mean, log_variance = network(spectra)

        class Same:
            n_latents = 2

            def __call__(self, _):
                return decoded, latents, mean, log_variance

        return info_vae_loss(Same(), target, weights).item()

    other = spectra.clone()
    other[:, 3:6] = 77
    assert loss(other) == pytest.approx(loss(spectra))
    other[:, 2] = 77
    assert loss(other) > loss(spectra) + 1


@pytest.mark.parametrize("arguments", [(0,), (10, 0), (10, 2, (5, 0))])
def test_networks_that_cannot_be_made(arguments):
    with pytest.raises(ValueError, match=r"^n_pixels, hidden and n_latents must be at least 1"):
        InfoVAE(*arguments)
