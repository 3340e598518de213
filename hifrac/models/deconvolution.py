"""Network deconvolution: convolutions of inputs whose pixels and channels are decorrelated first.

Neighbouring pixels of a picture, and its bands, say nearly the same. Ye et al. (2020, ICLR, "Network
deconvolution", arXiv:1905.11926) remove that correlation before each convolution, in place of the
normalisation after it. Wu & Peek (2020, arXiv:2009.12318) do so in the stem of their hybrid network.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Patches are sampled at this many strides for the statistics of a batch: neighbours say little more.
_SAMPLING = 3


def inverse_square_root(matrices: Tensor, n_iterations: int = 5) -> Tensor:
    """Approximate the inverse square roots of symmetric, positive matrices by Newton and Schulz's iteration.

    The matrices are divided by their Frobenius norm first, so that the iteration converges for all of them
    (Higham 2008, "Functions of matrices", eq. 6.35); from below, and the more slowly the smaller an
    eigenvalue is beside the norm.

    Parameters
    ----------
    matrices : Tensor of float, shape (m, n, n)
    n_iterations : int, optional
        Number of steps; 5 in Ye et al. (2020).

    Returns
    -------
    roots : Tensor of float, shape (m, n, n)
    """
    norm = torch.linalg.matrix_norm(matrices, keepdim=True)
    scaled = matrices / norm
    if matrices.is_cuda:
        return _iterated(scaled, n_iterations) / norm.sqrt()
    # On a CPU one decomposition costs less than all these products, and their derivatives.
    return _IteratedByEigenvalues.apply(scaled, n_iterations) / norm.sqrt()


def _iterated(matrices: Tensor, n_iterations: int) -> Tensor:
    """Iterate with products of matrices, those left out that are with the identity or for nothing."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    square_root, inverse = matrices, identity.expand_as(matrices)
    for number in range(n_iterations):
        product = inverse @ square_root if number else square_root
        step = 1.5 * identity - 0.5 * product
        inverse = step @ inverse if number else step
        if number < n_iterations - 1:
            square_root = square_root @ step
    return inverse


class _IteratedByEigenvalues(torch.autograd.Function):
    """The same iteration of the eigenvalues of symmetric matrices, whose vectors it leaves as they are."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, n_iterations: int) -> Tensor:
        values, vectors = torch.linalg.eigh(matrices)
        ctx.save_for_backward(values, vectors)
        ctx.n_iterations = n_iterations
        square_root, inverse = values, torch.ones_like(values)
        for _ in range(n_iterations):
            step = 1.5 - 0.5 * inverse * square_root
            square_root, inverse = square_root * step, step * inverse
        return (vectors * inverse[..., None, :]) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        slopes = _divided_differences(values, ctx.n_iterations)
        # Of a function of a symmetric matrix (Daleckii & Krein; Higham 2008, theorem 3.11).
        inner = vectors.mT @ (gradient + gradient.mT).mul_(0.5) @ vectors
        return vectors @ inner.mul_(slopes) @ vectors.mT, None


def _divided_differences(values: Tensor, n_iterations: int) -> Tensor:
    """Return (f(a) - f(b)) / (a - b) for all pairs of numbers (m, n), f the iteration: (m, n, n).

    By the rule for products, (f g)[a, b] = f[a, b] g(b) + f(a) g[a, b], so that no close numbers are
    subtracted, and that of equal ones is the derivative.
    """
    root, inverse = values, torch.ones_like(values)
    of_root = torch.ones_like(values[..., None] * values[..., None, :])
    of_inverse = torch.zeros_like(of_root)
    for _ in range(n_iterations):
        step = 1.5 - 0.5 * inverse * root
        of_step = _of_product(of_inverse, of_root, inverse, root).mul_(-0.5)
        of_root, of_inverse = (
            _of_product(of_root, of_step, root, step),
            _of_product(of_step, of_inverse, step, inverse),
        )
        root, inverse = root * step, step * inverse
    return of_inverse


def _of_product(of_first: Tensor, of_second: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the divided differences of a product, given those of its factors and their values."""
    return torch.addcmul(of_first * second[..., None, :], of_second, first[..., None])


class _Moments(torch.autograd.Function):
    """Mean (groups, f) and covariance (groups, f, f) of patches (groups, n, f).

    The derivative of the covariance is one product of matrices: automatic differentiation would not know
    that it is symmetric, nor that what is centred has no mean.
    """

    @staticmethod
    def forward(ctx: Any, patches: Tensor) -> tuple[Tensor, Tensor]:
        mean = patches.mean(1)
        centred = patches - mean[:, None]
        ctx.save_for_backward(centred)
        return mean, centred.mT @ centred / patches.shape[1]

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_covariance: Tensor) -> Tensor:
        (centred,) = ctx.saved_tensors
        symmetric = of_covariance + of_covariance.mT
        number = centred.shape[1]
        return torch.baddbmm(of_mean[:, None], centred, symmetric).div_(number)


class FastDeconv(nn.Module):
    """A convolution of decorrelated inputs.

    The patches that the kernel sees have a mean mu and a covariance C. The convolution is that of the patches
    D (x - mu), where D = (C + eps)^(-1/2): its weights are w D, its bias is b - w D mu. While it trains, mu
    and D are those of the batch, and gradients pass through them; in evaluation they are running averages,
    and the layer is an ordinary convolution.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the maps that it takes and makes.
    size : int
        Side of the kernel, an odd number of pixels; maps are padded by zeros so that they keep their size.
    stride : int, optional
        Pixels from one position of the kernel to the next.
    groups : int, optional
        Groups of channels that are convolved apart, and decorrelated apart.
    block : int, optional
        Without groups: the largest number of channels that are decorrelated together. Consecutive blocks of
        so many, or of the largest divisor that it shares with ``n_in``, have one matrix D.
    eps : float, optional
        Added to the variances.
    n_iterations : int, optional
        Steps of the inverse square root.
    momentum : float, optional
        Weight of a batch in the running averages, which start at mu = 0 and D = 1.

    Raises
    ------
    ValueError
        If ``groups`` does not divide ``n_in`` and ``n_out``, or ``size`` is even.
    """

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        running_mean: Tensor
        running_deconv: Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int,
        stride: int = 1,
        *,
        groups: int = 1,
        block: int = 64,
        eps: float = 1e-5,
        n_iterations: int = 5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if groups < 1 or n_in % groups or n_out % groups:
            raise ValueError(f"groups must divide the {n_in} and {n_out} channels, got {groups}")
        if size % 2 == 0:
            raise ValueError(f"size must be odd, got {size}")
        self.n_in, self.n_out, self.size, self.stride, self.groups = n_in, n_out, size, stride, groups
        self.sampling_stride = _SAMPLING * stride
        self.eps, self.n_iterations, self.momentum = eps, n_iterations, momentum
        self.block = n_in // groups if groups > 1 else math.gcd(min(block, n_in), n_in)
        self.n_features = self.block * size**2
        self.weight = nn.Parameter(torch.empty(n_out, n_in // groups, size, size))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as PyTorch's convolutions start
        self.register_buffer("running_mean", torch.zeros(groups, self.n_features))
        self.register_buffer("running_deconv", torch.eye(self.n_features).repeat(groups, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve maps (n, n_in, h, w), and learn their statistics in training."""
        mean, deconv = self.running_mean, self.running_deconv
        if self.training:
            mean, deconv = self._statistics(maps)
        weight, bias = self._effective(mean, deconv)
        return functional.conv2d(maps, weight, bias, self.stride, self.size // 2, 1, self.groups)

    def _statistics(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (groups, n_features) and matrices D of a batch; move the running ones towards them."""
        if not maps.numel():
            raise ValueError(f"maps must have pixels to learn from, got {maps.shape}")
        # Half precision holds neither the covariance of bright pixels nor the steps of the iteration.
        with torch.autocast(maps.device.type, enabled=False):
            patches = functional.unfold(
                maps.to(self.weight.dtype), self.size, padding=self.size // 2, stride=self.sampling_stride
            )
            patches = patches.reshape(len(maps), self.groups, -1, self.n_features, patches.shape[-1])
            patches = patches.permute(1, 0, 2, 4, 3).reshape(self.groups, -1, self.n_features)
            mean, covariance = _Moments.apply(patches)
            noise = self.eps * torch.eye(self.n_features, dtype=patches.dtype, device=patches.device)
            deconv = inverse_square_root(covariance + noise, self.n_iterations)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_deconv.lerp_(deconv, self.momentum)
        return mean, deconv

    def _effective(self, mean: Tensor, deconv: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and bias of the ordinary convolution that does the same."""
        weight = self.weight.reshape(self.groups, -1, self.n_features) @ deconv
        shift = (weight @ mean[:, :, None]).reshape(self.n_out, -1).sum(1)
        return weight.reshape(self.weight.shape), self.bias - shift

    def as_convolution(self) -> nn.Conv2d:
        """Return the ordinary convolution that answers the same in evaluation, and scripts."""
        with torch.no_grad():
            weight, bias = self._effective(self.running_mean, self.running_deconv)
        convolution = nn.Conv2d(
            self.n_in, self.n_out, self.size, self.stride, self.size // 2, groups=self.groups
        )
        convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)
        return convolution.eval()
