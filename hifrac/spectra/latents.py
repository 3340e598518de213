"""Latent spaces: the few numbers that say what a spectrum looks like, and the spectrum that they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hifrac.spectra.rest_frame import good_pixels, numbers_of

if TYPE_CHECKING:
    from hifrac.models.info_vae import InfoVAE

# Rounds in which a network fills the gaps of a spectrum by what it makes of it.
_N_FILLINGS = 20


class Latents(Protocol):
    """What every latent space of spectra has."""

    @property
    def n_latents(self) -> int:
        """Numbers a spectrum."""

    def encode(self, flux: ArrayLike, ivar: ArrayLike | None = None) -> np.ndarray:
        """Return the latents (n, n_latents) of spectra (n, n_pixels).

        A pixel that is NaN, or has no inverse variance, is a gap, and says nothing. A spectrum that has too
        few pixels to say anything has the latents NaN.
        """

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """Return the spectra (n, n_pixels) of latents (n, n_latents)."""


class LinearLatents:
    """Factors of templates: those of a principal component analysis, of a non-negative one, or any others.

    A spectrum is ``mean + latents @ basis``. Its latents are the best by weighted least squares: a pixel of
    smaller error counts for more, and gaps do not count.

    Parameters
    ----------
    basis : array_like, shape (n_latents, n_pixels)
        The templates, linearly independent.
    mean : array_like, shape (n_pixels,), optional
        What is added to them; nothing by default.
    nonnegative : bool, optional
        Whether latents below 0 are excluded.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, or a template is 0 everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.spectra import LinearLatents
    >>> latents = LinearLatents([[1, 1, 1, 1], [0, 1, 2, 3]])
    >>> latents.encode([[2.0, np.nan, 4.0, 5.0]])
    array([[2., 1.]])
    >>> latents.decode([[2, 1]])
    array([[2., 3., 4., 5.]])
    """

    def __init__(self, basis: ArrayLike, mean: ArrayLike | None = None, *, nonnegative: bool = False) -> None:
        self.basis = np.asarray(basis, dtype=float)
        if self.basis.ndim != 2 or not 1 <= len(self.basis) <= self.basis.shape[1]:
            raise ValueError(f"basis must be (n_latents, n_pixels), got shape {self.basis.shape}")
        n_pixels = self.basis.shape[1]
        self.mean = np.zeros(n_pixels) if mean is None else _numbers("mean", mean, n_pixels)
        if not (np.isfinite(self.basis).all() and np.isfinite(self.mean).all()):
            raise ValueError("basis and mean must be finite")
        if not self.basis.any(axis=1).all():
            raise ValueError("basis must have no template that is 0 everywhere")
        self.nonnegative = nonnegative

    @property
    def n_latents(self) -> int:
        """Number of templates."""
        return len(self.basis)

    def encode(self, flux: ArrayLike, ivar: ArrayLike | None = None) -> np.ndarray:
        """Fit spectra.

        Parameters
        ----------
        flux : array_like, shape (n, n_pixels)
            NaN in gaps.
        ivar : array_like, shape (n, n_pixels), optional
            Inverse variances, 0 in gaps; equal by default.

        Returns
        -------
        latents : `~numpy.ndarray`, shape (n, n_latents)
            NaN where the good pixels do not determine them.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        from scipy.optimize import nnls  # takes a quarter of a second, and few need it

        flux, ivar = _spectra(flux, ivar, self.basis.shape[1])
        scale = np.linalg.norm(self.basis, axis=1)
        templates = (self.basis / scale[:, None]).T
        latents = np.full((len(flux), self.n_latents), np.nan)
        for row, (spectrum, weights) in enumerate(zip(flux, np.sqrt(ivar), strict=True)):
            good = weights > 0
            weighted = templates[good] * weights[good, None]
            target = (spectrum[good] - self.mean[good]) * weights[good]
            solution, _, rank, _ = np.linalg.lstsq(weighted, target)
            if rank == self.n_latents:
                latents[row] = nnls(weighted, target)[0] if self.nonnegative else solution
        return latents / scale

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """Return the spectra of latents.

        Parameters
        ----------
        latents : array_like, shape (n, n_latents)

        Returns
        -------
        flux : `~numpy.ndarray`, shape (n, n_pixels)

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        return self.mean + _latents(latents, self.n_latents) @ self.basis


class NetworkLatents:
    """The means of a variational autoencoder; see `LinearLatents` for what its methods take and give.

    A network takes no gaps: they are filled by what it makes of the spectrum itself, again and again from the
    mean spectrum on, as iterated principal components are. Inverse variances say only where the gaps are.

    Parameters
    ----------
    network : InfoVAE
        Trained on spectra less their mean.
    mean : array_like, shape (n_pixels,)
        The mean spectrum.

    Raises
    ------
    ValueError
        If ``mean`` has not the pixels of the network.

    Examples
    --------
    A network as it is before its training, by `hifrac.training.fit_info_vae`:

    >>> import numpy as np
    >>> from hifrac.models.info_vae import InfoVAE
    >>> from hifrac.spectra import NetworkLatents
    >>> space = NetworkLatents(InfoVAE(n_pixels=100, n_latents=2, hidden=(16, 8)), np.zeros(100))
    >>> space.encode(np.ones((3, 100))).shape
    (3, 2)
    """

    def __init__(self, network: InfoVAE, mean: ArrayLike) -> None:
        self.network = network
        self.mean = _numbers("mean", mean, network.n_pixels)

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.network.n_latents

    def encode(self, flux: ArrayLike, ivar: ArrayLike | None = None) -> np.ndarray:
        """Return the means of the latents (n, n_latents); NaN where no pixel is good."""
        flux, ivar = _spectra(flux, ivar, self.network.n_pixels)
        is_good = ivar > 0
        centred = np.where(is_good, flux - self.mean, 0)
        latents = self.network.infer(centred)
        if not is_good.all():
            for _ in range(_N_FILLINGS):
                latents = self.network.infer(np.where(is_good, centred, self.network.generate(latents)))
        return np.where(is_good.any(1, keepdims=True), latents, np.nan)

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """Return the spectra (n, n_pixels) of latents (n, n_latents)."""
        return self.mean + self.network.generate(_latents(latents, self.n_latents))


class RotatedLatents:
    """The latents of another space along other axes, such as their principal ones, or fewer of them.

    Parameters
    ----------
    space : Latents
        The other space.
    center : array_like, shape (space.n_latents,)
        Its latents where those of this one are 0.
    axes : array_like, shape (n_latents, space.n_latents)
        Orthonormal.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the axes are not orthonormal.

    Examples
    --------
    >>> from hifrac.spectra import LinearLatents, RotatedLatents
    >>> space = LinearLatents([[1, 1, 1, 1], [0, 1, 2, 3]])
    >>> RotatedLatents(space, center=[2, 1], axes=[[0.6, 0.8]]).decode([[0.5]])
    array([[2.3, 3.7, 5.1, 6.5]])
    """

    def __init__(self, space: Latents, center: ArrayLike, axes: ArrayLike) -> None:
        self.space = space
        self.center = _numbers("center", center, space.n_latents)
        self.axes = np.asarray(axes, dtype=float)
        if self.axes.ndim != 2 or self.axes.shape[1] != space.n_latents:
            raise ValueError(f"axes must be (n_latents, {space.n_latents}), got shape {self.axes.shape}")
        if not np.allclose(self.axes @ self.axes.T, np.eye(len(self.axes)), atol=1e-5):
            raise ValueError("axes must be orthonormal")

    @property
    def n_latents(self) -> int:
        """Number of axes."""
        return len(self.axes)

    def encode(self, flux: ArrayLike, ivar: ArrayLike | None = None) -> np.ndarray:
        """Return the latents of spectra along the axes; see `LinearLatents.encode`."""
        return (self.space.encode(flux, ivar) - self.center) @ self.axes.T

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """Return the spectra of latents along the axes; see `LinearLatents.decode`."""
        return self.space.decode(self.center + _latents(latents, self.n_latents) @ self.axes)


class StandardisedLatents:
    """The latents of another space in units of their scatter about their mean: what a network learns.

    Decoding undoes it first. The code of Wu & Peek (2020) does not, and draws the spectra of standardised
    latents as if they were latents.

    Parameters
    ----------
    space : Latents
        The other space.
    center, scale : array_like, shape (space.n_latents,)
        Mean and standard deviation of its latents, as in the sample that is learned from.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a scale is not positive.

    Examples
    --------
    >>> from hifrac.spectra import LinearLatents, StandardisedLatents
    >>> space = LinearLatents([[1, 1, 1, 1], [0, 1, 2, 3]])
    >>> StandardisedLatents(space, center=[2, 1], scale=[0.5, 0.1]).decode([[1, 0]])
    array([[2.5, 3.5, 4.5, 5.5]])
    """

    def __init__(self, space: Latents, center: ArrayLike, scale: ArrayLike) -> None:
        self.space = space
        self.center = _numbers("center", center, space.n_latents)
        self.scale = _numbers("scale", scale, space.n_latents)
        if not np.all(self.scale > 0):
            raise ValueError(f"scale must be positive, got {self.scale.tolist()}")

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.space.n_latents

    def encode(self, flux: ArrayLike, ivar: ArrayLike | None = None) -> np.ndarray:
        """Return the standardised latents of spectra; see `LinearLatents.encode`."""
        return (self.space.encode(flux, ivar) - self.center) / self.scale

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """Return the spectra of standardised latents; see `LinearLatents.decode`."""
        return self.space.decode(self.center + _latents(latents, self.n_latents) * self.scale)


def _numbers(name: str, values: ArrayLike, length: int) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape != (length,):
        raise ValueError(f"{name} must have {length} numbers, got shape {values.shape}")
    return values


def _spectra(flux: ArrayLike, ivar: ArrayLike | None, n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    flux, ivar = good_pixels(flux, ivar)
    if flux.ndim != 2 or flux.shape[1] != n_pixels:
        raise ValueError(f"flux must be (n, {n_pixels}), got shape {flux.shape}")
    return flux, ivar


def _latents(latents: ArrayLike, n_latents: int) -> np.ndarray:
    latents = numbers_of("latents", latents)
    if latents.ndim != 2 or latents.shape[1] != n_latents:
        raise ValueError(f"latents must be (n, {n_latents}), got shape {latents.shape}")
    return latents
