"""Network deconvolution: convolutions of inputs whose pixels and channels are decorrelated first.

Neighbouring pixels of a picture, and its bands, say nearly the same. Ye et al. (2020, ICLR, "Network
deconvolution", arXiv:1905.11926) remove that correlation before each convolution, in place of the
normalisation after it. Wu & Peek (2020, arXiv:2009.12318) do so in the stem of their hybrid network.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    square_root, inverse = matrices / norm, identity.expand_as(matrices)
    for _ in range(n_iterations):
        step = 1.5 * identity - 0.5 * inverse @ square_root
        square_root, inverse = square_root @ step, step @ inverse
    return inverse / norm.sqrt()


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
            mean = patches.mean(1)
            centred = patches - mean[:, None]
            noise = self.eps * torch.eye(self.n_features, dtype=patches.dtype, device=patches.device)
            covariance = centred.transpose(1, 2) @ centred / patches.shape[1] + noise
            deconv = inverse_square_root(covariance, self.n_iterations)
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
