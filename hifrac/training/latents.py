"""Latent spaces learned from spectra: principal components, non-negative factors, and an autoencoder."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.decomposition import NMF, PCA
from torch import Tensor

from hifrac.models.info_vae import InfoVAE, info_vae_loss
from hifrac.spectra.latents import (
    Latents,
    LinearLatents,
    NetworkLatents,
    RotatedLatents,
    StandardisedLatents,
)
from hifrac.spectra.rest_frame import good_pixels

# As in Portillo et al. (2020): what is added to the variances of normalised spectra, so that no pixel rules.
_SOFTENING = 1 / 2e6
# Epochs without an improvement by this share after which the rate falls, and after which it is over.
_IMPROVEMENT, _PATIENCE, _END = 1e-3, 5, 10


def fill_gaps(
    flux: ArrayLike, ivar: ArrayLike | None = None, *, n_components: int = 10, n_iterations: int = 20
) -> np.ndarray:
    """Fill the gaps of spectra by what their principal components say, which are found so too.

    Parameters
    ----------
    flux : array_like, shape (n, n_pixels)
        NaN in gaps.
    ivar : array_like, shape (n, n_pixels), optional
        Inverse variances, 0 in gaps.
    n_components, n_iterations : int, optional
        10 and 20 in Portillo et al. (2020).

    Returns
    -------
    filled : `~numpy.ndarray`, shape (n, n_pixels)
        Good pixels as they are.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a pixel is good in no spectrum.
    """
    flux, ivar = good_pixels(flux, ivar)
    if flux.ndim != 2 or not len(flux):
        raise ValueError(f"flux must be (n, n_pixels) with n of at least 1, got shape {flux.shape}")
    is_good = ivar > 0
    if not is_good.any(0).all():
        pixel = np.flatnonzero(~is_good.any(0))[0]
        raise ValueError(f"flux: a pixel must be good in one spectrum at least, but {pixel} never is")
    mean = np.where(is_good, flux, 0).sum(0) / is_good.sum(0)
    filled = np.where(is_good, flux, mean)
    if not is_good.all():
        for _ in range(n_iterations):
            space = _principal(filled, min(n_components, *filled.shape))
            filled = np.where(is_good, flux, space.decode(space.encode(flux, ivar)))
            filled = np.where(np.isfinite(filled), filled, mean)
    return filled


def _principal(flux: np.ndarray, n_latents: int) -> LinearLatents:
    analysis = PCA(n_latents, svd_solver="full").fit(flux)
    return LinearLatents(analysis.components_, analysis.mean_)


def fit_pca(flux: ArrayLike, ivar: ArrayLike | None = None, *, n_latents: int = 10) -> LinearLatents:
    """Find the principal components of spectra.

    Parameters
    ----------
    flux : array_like, shape (n, n_pixels)
        NaN in gaps, which are filled by what the components say, again and again.
    ivar : array_like, shape (n, n_pixels), optional
        Inverse variances, 0 in gaps; they say only where these are.
    n_latents : int, optional
        Number of components.

    Returns
    -------
    space : LinearLatents

    Raises
    ------
    ValueError
        If the shapes do not fit, a pixel is good in no spectrum, there are fewer spectra or pixels than
        latents, or all spectra are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.training import fit_pca
    >>> flux = np.random.default_rng(0).normal(1, 0.1, (50, 200))
    >>> fit_pca(flux, n_latents=3).encode(flux).shape
    (50, 3)
    """
    filled = fill_gaps(flux, ivar, n_components=n_latents)
    _require_enough(filled, n_latents)
    if not np.ptp(filled, axis=0).any():
        raise ValueError(f"flux: {len(filled)} spectra that are all the same have no principal components")
    return _principal(filled, n_latents)


def fit_nmf(
    flux: ArrayLike,
    ivar: ArrayLike | None = None,
    *,
    n_latents: int = 10,
    n_iterations: int = 2000,
    seed: int = 0,
) -> LinearLatents:
    """Find non-negative templates of spectra, whose factors are not negative either.

    Parameters
    ----------
    flux, ivar : array_like, shape (n, n_pixels)
        As of `fit_pca`; flux below 0 is noise, and counts as 0.
    n_latents : int, optional
        Number of templates.
    n_iterations : int, optional
        At most so many steps.
    seed : int, optional
        Where templates begin that nothing else determines.

    Returns
    -------
    space : LinearLatents

    Raises
    ------
    ValueError
        As of `fit_pca`; but spectra may be the same, and one must have light.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.training import fit_nmf
    >>> rng = np.random.default_rng(0)
    >>> flux = rng.uniform(0, 1, (50, 2)) @ rng.uniform(0, 1, (2, 200))
    >>> space = fit_nmf(flux, n_latents=2)
    >>> bool((space.basis >= 0).all())
    True
    """
    filled = np.maximum(fill_gaps(flux, ivar, n_components=n_latents), 0)
    _require_enough(filled, n_latents)
    if not filled.any():
        raise ValueError("flux must be above 0 in some pixel: non-negative templates are made of light")
    scale = filled.mean()  # the tolerance of scikit-learn is not relative
    analysis = NMF(n_latents, init="nndsvda", max_iter=n_iterations, tol=1e-5, random_state=seed)
    return LinearLatents(analysis.fit(filled / scale).components_, nonnegative=True)


def fit_info_vae(
    flux: ArrayLike,
    ivar: ArrayLike | None = None,
    *,
    n_latents: int = 10,
    hidden: tuple[int, int] = (549, 110),
    lambd: float = 1000.0,
    epochs: int = 200,
    batch_size: int = 64,
    held_out: float = 0.25,
    seed: int = 0,
    device: str = "cpu",
) -> NetworkLatents:
    """Train the variational autoencoder of Portillo et al. (2020) on normalised spectra.

    Adam begins with a rate of 0.001, which falls by 10 after five epochs without progress on the spectra that
    are held out; after ten it is over. The best epoch is taken.

    Parameters
    ----------
    flux, ivar : array_like, shape (n, n_pixels)
        NaN and 0 in gaps. Inverse variances weigh pixels; without them all have the error that is added to
        them anyway, 0.0007.
    n_latents, hidden : int and tuple of int, optional
        Latents, and units of the two hidden layers of the encoder.
    lambd : float, optional
        How strongly all latents together are held to a normal distribution (Zhao et al. 2019, eq. 6); from 1
        to 100,000 in Portillo et al. (2020).
    epochs, batch_size : int, optional
        At most so many epochs, of batches of so many spectra.
    held_out : float, optional
        Share of spectra that judge the epochs.
    seed : int, optional
        Of everything that is drawn.
    device : str, optional
        Where PyTorch trains.

    Returns
    -------
    space : NetworkLatents
        On the CPU.

    Raises
    ------
    ValueError
        If the shapes do not fit, a pixel is good in no spectrum, or too few spectra are left to train or to
        judge.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.training import fit_info_vae
    >>> flux = np.random.default_rng(0).normal(1, 0.1, (64, 100))
    >>> fit_info_vae(flux, n_latents=2, hidden=(16, 8), epochs=1).encode(flux).shape
    (64, 2)
    """
    original = good_pixels(flux, ivar)[1] > 0
    filled = fill_gaps(flux, ivar, n_components=n_latents)
    mean = filled.mean(0)
    variance = np.zeros_like(filled) if ivar is None else 1 / np.where(original, ivar, np.inf)
    weights = np.where(original, 1 / (variance + _SOFTENING), 0)
    n_judges = round(held_out * len(filled))
    if n_judges < 1 or len(filled) - n_judges < 2:
        raise ValueError(f"held_out: {held_out} of {len(filled)} spectra leaves too few to train or to judge")
    data = torch.tensor(np.stack([filled - mean, weights]), dtype=torch.float32, device=device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        order = torch.randperm(len(filled), device="cpu").to(device)
        network = InfoVAE(filled.shape[1], n_latents, hidden).to(device)
        _train(network, data[:, order[n_judges:]], data[:, order[:n_judges]], lambd, epochs, batch_size)
    return NetworkLatents(network.cpu().eval(), mean)


def _train(
    network: InfoVAE, training: Tensor, judging: Tensor, lambd: float, epochs: int, batch_size: int
) -> None:
    """Train a network in place; what it is given are spectra and weights (2, n, n_pixels)."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=_PATIENCE)
    best, best_state, since = np.inf, copy.deepcopy(network.state_dict()), 0
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(training.shape[1]).split(batch_size):
            optimizer.zero_grad()
            info_vae_loss(network, *training[:, rows], lambd=lambd).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            loss = info_vae_loss(network, *judging, lambd=lambd).item()
        schedule.step(loss)
        since += 1
        if loss < best * (1 - _IMPROVEMENT):
            best, best_state, since = loss, copy.deepcopy(network.state_dict()), 0
        if since == _END:
            break
    network.load_state_dict(best_state)


def rotate(space: Latents, latents: ArrayLike, n_latents: int | None = None) -> RotatedLatents:
    """Turn a space so that its axes are the principal ones of a sample, the widest first.

    Parameters
    ----------
    space : Latents
        Of spectra.
    latents : array_like, shape (n, space.n_latents)
        Of the sample.
    n_latents : int, optional
        How many axes to take; all by default, 6 in Wu & Peek (2020).

    Returns
    -------
    rotated : RotatedLatents

    Raises
    ------
    ValueError
        If there are fewer spectra or latents than axes.
    """
    latents = np.asarray(latents, dtype=float)
    number = space.n_latents if n_latents is None else n_latents
    _require_enough(latents, number)
    analysis = PCA(number, svd_solver="full").fit(latents)
    return RotatedLatents(space, analysis.mean_, analysis.components_)


def standardise(space: Latents, latents: ArrayLike) -> StandardisedLatents:
    """Take the latents of a space in units of the scatter of a sample, about its mean.

    Parameters
    ----------
    space : Latents
        Of spectra.
    latents : array_like, shape (n, space.n_latents)
        Of the sample.

    Returns
    -------
    standardised : StandardisedLatents

    Raises
    ------
    ValueError
        If a latent has no scatter.
    """
    latents = np.asarray(latents, dtype=float)
    return StandardisedLatents(space, latents.mean(0), latents.std(0))


def _require_enough(values: np.ndarray, n_latents: int) -> None:
    if not 1 <= n_latents <= min(values.shape):
        raise ValueError(
            f"n_latents must be from 1 to the numbers of spectra and pixels, {values.shape}, got {n_latents}"
        )
