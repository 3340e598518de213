"""The variational autoencoder of spectra (Portillo et al. 2020, AJ 160, 45)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

# Draws from the prior that a batch of latents is compared with.
_N_PRIOR = 200


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Make linear layers with a leaky ReLU after each but the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


class InfoVAE(nn.Module):
    """A variational autoencoder of spectra, 1,224,418 parameters by default.

    The encoder makes 10 means and 10 logarithms of variances out of 1,000 pixels, through 549 and 110 hidden
    units; the decoder goes the same way back. It is trained on normalised spectra less their mean spectrum.

    Parameters
    ----------
    n_pixels : int, optional
        Pixels of a spectrum.
    n_latents : int, optional
        Latents of a spectrum.
    hidden : sequence of int, optional
        Units of the hidden layers of the encoder.

    Raises
    ------
    ValueError
        If a number is below 1.
    """

    def __init__(self, n_pixels: int = 1000, n_latents: int = 10, hidden: Sequence[int] = (549, 110)) -> None:
        super().__init__()
        sizes = (n_pixels, *hidden)
        if min(*sizes, n_latents) < 1:
            raise ValueError(f"n_pixels, hidden and n_latents must be at least 1, got {(*sizes, n_latents)}")
        self.n_pixels, self.n_latents = n_pixels, n_latents
        self.encoder = _layers((*sizes, 2 * n_latents))
        self.decoder = _layers((n_latents, *sizes[::-1]))

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode spectra, draw latents, and decode them.

        Parameters
        ----------
        spectra : Tensor of float, shape (n, n_pixels)

        Returns
        -------
        decoded : Tensor, shape (n, n_pixels)
        latents, mean, log_variance : Tensor, shape (n, n_latents)
            The latents are drawn in training, and are their means in evaluation.
        """
        mean, log_variance = self.encoder(spectra).chunk(2, 1)
        latents = mean
        if self.training:
            latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(latents), latents, mean, log_variance

    @torch.inference_mode()
    def infer(self, spectra: np.ndarray) -> np.ndarray:
        """Return the means of the latents (n, n_latents) of spectra (n, n_pixels)."""
        return self.encoder(self._tensor(spectra))[:, : self.n_latents].double().cpu().numpy()

    @torch.inference_mode()
    def generate(self, latents: np.ndarray) -> np.ndarray:
        """Return the spectra (n, n_pixels) of latents (n, n_latents)."""
        return self.decoder(self._tensor(latents)).double().cpu().numpy()

    def _tensor(self, values: np.ndarray) -> Tensor:
        weight = next(self.parameters())
        return torch.as_tensor(values).to(weight.device, weight.dtype)


def mean_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples (n, d) and (m, d).

    It is 0 if they are the same, and at most 2 (Gretton et al. 2012, JMLR 13, 723). The kernel is
    exp(-|x - y|^2 / d).
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(-(x[:, None] - y).square().mean(-1)).mean()

    return kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)


def info_vae_loss(
    network: InfoVAE, spectra: Tensor, weights: Tensor, *, alpha: float = 0.0, lambd: float = 1000.0
) -> Tensor:
    """Return the loss of a batch, a spectrum (Zhao et al. 2019, AAAI, arXiv:1706.02262, eq. 6).

    It is half of chi squared, plus (1 - alpha) times the divergence of each posterior from the prior (Kingma
    & Welling 2014, appendix B), plus (lambda + alpha - 1) times the discrepancy of all posteriors together
    from the prior, which is scaled by the number of latents, as in Portillo et al. (2020).

    Parameters
    ----------
    network : InfoVAE
    spectra : Tensor of float, shape (n, n_pixels)
        Less their mean; any number where the weight is 0.
    weights : Tensor of float, shape (n, n_pixels)
        Inverse variances.
    alpha, lambd : float, optional
        0 and drawn from 1 to 100,000 in Portillo et al. (2020).

    Returns
    -------
    loss : Tensor
        One number.
    """
    decoded, latents, mean, log_variance = network(spectra)
    misfit = 0.5 * (weights * (spectra - decoded).square()).sum(1).mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    prior = torch.randn(_N_PRIOR, network.n_latents, dtype=latents.dtype, device=latents.device)
    discrepancy = mean_discrepancy(latents, prior) * network.n_latents
    return misfit + (1 - alpha) * divergence + (lambd + alpha - 1) * discrepancy
