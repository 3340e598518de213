"""The papers' networks: xresnet with Mish and simple self-attention, and the shallow ones they compare.

The xresnet is a residual network with the changes of He et al. (2019, CVPR,
"Bag of tricks", arXiv:1812.01187): three 3x3 convolutions as the stem, average
pooling in the shortcut, and residual blocks that start as the identity. Wu
(2020, ApJ 900, 142, section 3) adds Mish (Misra 2019, arXiv:1908.08681) and
self-attention; Wu & Peek (2020, arXiv:2009.12318) deconvolution in the stem,
grouped convolutions, and squeeze-excitation (Hu et al. 2018, CVPR,
arXiv:1709.01507).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from hifrac.models.deconvolution import FastDeconv

#: What the paper's code takes from pixel values / 255 (red, green, blue), and then divides them by. They
#: are nearly the identity: statistics of pictures that had been normalised before.
PAPER_MEAN = (-0.0169, -0.0105, -0.0004)
PAPER_STD = (0.9912, 0.9968, 1.0224)

#: Stem, pooling and four stages make one position of the last map out of this many pixels a side.
MINIMUM_SIDE = 32


def _convolution(
    n_in: int,
    n_out: int,
    size: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    act: type[nn.Module] | None = nn.Mish,
    zero: bool = False,
    deconvolve: bool = False,
) -> nn.Sequential:
    """Make a convolution, batch normalisation (its factor 0 if ``zero``) and an activation (if ``act``).

    If ``deconvolve``, its inputs are decorrelated in place of the normalisation.
    """
    activation = [] if act is None else [act()]
    if deconvolve:
        return nn.Sequential(FastDeconv(n_in, n_out, size, stride, groups=groups), *activation)
    convolution = nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False)
    normalisation = nn.BatchNorm2d(n_out)
    nn.init.kaiming_normal_(convolution.weight)
    nn.init.constant_(normalisation.weight, 0.0 if zero else 1.0)
    return nn.Sequential(convolution, normalisation, *activation)


class SimpleSelfAttention(nn.Module):
    """Attention of the channels to each other: x + gamma (x x^T) (W x).

    x is the map with its positions in one row, (n, channels, positions). W is
    a 1x1 convolution whose largest singular value is held at 1 (Miyato et al.
    2018, arXiv:1802.05957); gamma starts at 0, so that at first nothing is
    attended to.

    Parameters
    ----------
    n_channels : int
        Channels of the map.
    """

    if TYPE_CHECKING:
        conv: nn.Conv1d

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_channels, n_channels, 1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)
        parametrizations.spectral_norm(self.conv)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """Add its attention to a map (n, c, h, w)."""
        x = maps.flatten(2)
        # In this order the cost is that of c x c matrices, not of positions x positions.
        attended = torch.bmm(torch.bmm(x, x.transpose(1, 2)), self.conv(x))
        return (x + self.gamma * attended).reshape(maps.shape)


def _squeeze_excitation(n_channels: int, reduction: int) -> nn.Module:
    """Make factors for the channels out of their means, through a multiple of 8 channels as in fastai."""
    from torchvision.ops import SqueezeExcitation

    module = SqueezeExcitation(n_channels, math.ceil(n_channels // reduction / 8) * 8, activation=nn.Mish)
    for convolution in (module.fc1, module.fc2):
        nn.init.kaiming_normal_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    return module


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions, or three with a bottleneck where ``expansion`` is 4.

    Only the strided convolution has groups.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        stride: int,
        *,
        attention: bool,
        expansion: int,
        groups: int,
        reduction: int | None,
        deconvolve: bool,
    ) -> None:
        super().__init__()
        inner = n_out // expansion
        convolution = partial(_convolution, deconvolve=deconvolve)
        if expansion == 1:
            layers = [convolution(n_in, inner, stride=stride, groups=groups)]
            layers.append(convolution(inner, n_out, act=None, zero=True))
        else:
            layers = [convolution(n_in, inner, 1), convolution(inner, inner, stride=stride, groups=groups)]
            layers.append(convolution(inner, n_out, 1, act=None, zero=True))
        self.convolutions = nn.Sequential(*layers)
        self.excitation = nn.Identity() if reduction is None else _squeeze_excitation(n_out, reduction)
        self.attention = SimpleSelfAttention(n_out) if attention else nn.Identity()
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if n_in != n_out:
            shortcut.append(convolution(n_in, n_out, 1, act=None))
        self.shortcut = nn.Sequential(*shortcut)
        self.act = nn.Mish()

    def forward(self, maps: Tensor) -> Tensor:
        changes = self.attention(self.excitation(self.convolutions(maps)))
        return self.act(changes + self.shortcut(maps))


class _MapNetwork(nn.Module):
    """A network whose answer is linear in the mean of its last map; made by what derives from it."""

    if TYPE_CHECKING:
        head: nn.Linear

    def __init__(self, n_outputs: int, n_channels: int, minimum_side: int) -> None:
        super().__init__()
        for name, value in (("n_outputs", n_outputs), ("n_channels", n_channels)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.n_channels = n_channels
        self.minimum_side = minimum_side

    def forward(self, pictures: Tensor) -> Tensor:
        """Read a batch of pictures.

        Parameters
        ----------
        pictures : Tensor of float, shape (n, n_channels, h, w)
            Normalised pictures.

        Returns
        -------
        outputs : Tensor of float, shape (n, n_outputs)

        Raises
        ------
        ValueError
            If ``pictures`` has another shape, or a side that is too small.
        """
        return self.forward_head(self.forward_features(pictures))

    def forward_features(self, pictures: Tensor) -> Tensor:
        """Return the last map, whose sides round up; see `forward` for what is refused."""
        if pictures.dim() != 4 or pictures.shape[1] != self.n_channels:
            raise ValueError(f"pictures must be (n, {self.n_channels}, h, w), got {pictures.shape}")
        if pictures.shape[2] < self.minimum_side or pictures.shape[3] < self.minimum_side:
            raise ValueError(
                f"pictures must have sides of at least {self.minimum_side} pixels, got {pictures.shape}"
            )
        return self.layers(pictures)

    def layers(self, pictures: Tensor) -> Tensor:
        """Make the last map of pictures that have been checked."""
        raise NotImplementedError

    def body(self) -> list[nn.Module]:
        """Return all layers before the head in their order, the stages last."""
        raise NotImplementedError

    def forward_head(self, maps: Tensor) -> Tensor:
        """Answer from the last map: its mean over positions, and one linear layer."""
        return self.head(maps.mean((2, 3)))


def _head(n_in: int, n_outputs: int) -> nn.Linear:
    head = nn.Linear(n_in, n_outputs)
    nn.init.kaiming_normal_(head.weight)  # as the original; its biases are 0 too
    nn.init.zeros_(head.bias)
    return head


class XResNet(_MapNetwork):
    """A residual network of pictures of any size; made by `xresnet34` and its like.

    Parameters
    ----------
    blocks : sequence of int
        Number of residual blocks in each stage. Each stage after the first
        halves the map and doubles the channels, from 64.
    n_outputs : int, optional
        Numbers that it answers with.
    n_channels : int, optional
        Channels of the pictures.
    expansion : {1, 4}, optional
        1 for blocks of two convolutions; 4 for bottlenecks with four times
        the channels.
    self_attention : bool, optional
        Whether the last block of the first stage has self-attention, before
        the shortcut is added.
    groups : int, optional
        Groups of channels in the strided convolution of each block; a divisor of 64.
    reduction : int, optional
        Blocks have squeeze-excitation with so many times fewer channels; by default none.
    deconvolution : {"none", "stem", "all"}, optional
        Where inputs of convolutions are decorrelated (`FastDeconv`) in place of batch normalisation.

    Raises
    ------
    ValueError
        If ``blocks`` is empty or has a number below 1, or another number or word is none of those above.

    Notes
    -----
    The pictures are float, (n, n_channels, h, w), h and w at least 32. After four stages the sides of the
    last map are those of the pictures / 32.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        n_outputs: int = 1,
        n_channels: int = 3,
        *,
        expansion: int = 1,
        self_attention: bool = True,
        groups: int = 1,
        reduction: int | None = None,
        deconvolution: Literal["none", "stem", "all"] = "none",
    ) -> None:
        super().__init__(n_outputs, n_channels, MINIMUM_SIDE)
        if not blocks or min(blocks) < 1:
            raise ValueError(f"blocks must be numbers of at least 1, got {blocks}")
        if expansion not in (1, 4):
            raise ValueError(f"expansion must be 1 or 4, got {expansion}")
        if groups < 1 or 64 % groups:
            raise ValueError(f"groups must be a divisor of 64, got {groups}")
        if reduction is not None and not 1 <= reduction <= 64:
            raise ValueError(f"reduction must be from 1 to 64, got {reduction}")
        if deconvolution not in ("none", "stem", "all"):
            raise ValueError(f"deconvolution must be 'none', 'stem' or 'all', got {deconvolution!r}")
        convolution = partial(_convolution, deconvolve=deconvolution != "none")
        self.stem = nn.Sequential(
            convolution(n_channels, 32, stride=2), convolution(32, 32), convolution(32, 64)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        block = partial(
            _Block,
            expansion=expansion,
            groups=groups,
            reduction=reduction,
            deconvolve=deconvolution == "all",
        )
        stages = []
        n_in = 64
        for stage, depth in enumerate(blocks):
            n_out = 64 * expansion * 2**stage
            layers = []
            for number in range(depth):
                attention = self_attention and stage == 0 and number == depth - 1
                stride = 2 if stage > 0 and number == 0 else 1
                layers.append(block(n_in, n_out, stride, attention=attention))
                n_in = n_out
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = _head(n_in, n_outputs)

    def layers(self, pictures: Tensor) -> Tensor:
        """Make the last map of pictures that have been checked."""
        return self.stages(self.pool(self.stem(pictures)))

    def body(self) -> list[nn.Module]:
        """Return all layers before the head in their order."""
        return [self.stem, self.pool, *self.stages]


class _Baseline(_MapNetwork):
    """Three convolutions with ReLU, the first two of stride 2: what Wu & Peek (2020) compare with."""

    def __init__(self, n_outputs: int, n_channels: int, *, deconvolve: bool) -> None:
        super().__init__(n_outputs, n_channels, 4)
        convolution = partial(_convolution, act=nn.ReLU, deconvolve=deconvolve)
        self.stem = nn.Sequential(
            convolution(n_channels, 32, stride=2), convolution(32, 32, stride=2), convolution(32, 64)
        )
        self.head = _head(64, n_outputs)

    def layers(self, pictures: Tensor) -> Tensor:
        """Make the last map of pictures that have been checked."""
        return self.stem(pictures)

    def body(self) -> list[nn.Module]:
        """Return all layers before the head in their order."""
        return [*self.stem]


def xresnet18(n_outputs: int = 1, n_channels: int = 3, *, self_attention: bool = True) -> XResNet:
    """Make the network of eight blocks of two convolutions; parameters as of `xresnet34`."""
    return XResNet((2, 2, 2, 2), n_outputs, n_channels, self_attention=self_attention)


def xresnet34(n_outputs: int = 1, n_channels: int = 3, *, self_attention: bool = True) -> XResNet:
    """Make the paper's network (Wu 2020, section 3): 21,308,514 parameters with one output.

    Parameters
    ----------
    n_outputs : int, optional
        1 for log10(M_HI / M*); 2 for two classes.
    n_channels : int, optional
        Channels of the pictures.
    self_attention : bool, optional
        Whether it has self-attention.

    Returns
    -------
    network : XResNet
    """
    return XResNet((3, 4, 6, 3), n_outputs, n_channels, self_attention=self_attention)


def xresnet50(n_outputs: int = 1, n_channels: int = 3, *, self_attention: bool = True) -> XResNet:
    """Make the network of sixteen bottleneck blocks; parameters as of `xresnet34`."""
    return XResNet((3, 4, 6, 3), n_outputs, n_channels, expansion=4, self_attention=self_attention)


def shallow(n_outputs: int = 2, n_channels: int = 3) -> XResNet:
    """Make the network of the paper's Grad-CAM maps (Wu 2020, section 8.1).

    Stem and two residual blocks of two convolutions, without self-attention:
    of a picture of 224 pixels it makes a map of 56 x 56 positions.

    Parameters
    ----------
    n_outputs : int, optional
        Number of classes.
    n_channels : int, optional
        Channels of the pictures.

    Returns
    -------
    network : XResNet
    """
    return XResNet((2,), n_outputs, n_channels, self_attention=False)


# The networks of Wu & Peek (2020): latent variables of a spectrum out of pictures in five bands.

_xresnet18_grouped = partial(XResNet, (2, 2, 2, 2), groups=64, reduction=8)


def xresnet18_hybrid(*, n_channels: int = 5, n_outputs: int = 6, self_attention: bool = True) -> XResNet:
    """Make the best network of Wu & Peek (2020): 6,734,743 parameters.

    Its stem decorrelates its inputs; the stages are normalised by batches.

    Parameters
    ----------
    n_channels : int, optional
        Bands of the pictures.
    n_outputs : int, optional
        Latent variables of the spectrum.
    self_attention : bool, optional
        Whether it has self-attention.

    Returns
    -------
    network : XResNet
    """
    return _xresnet18_grouped(n_outputs, n_channels, self_attention=self_attention, deconvolution="stem")


def xresnet18_cnn(*, n_channels: int = 5, n_outputs: int = 6, self_attention: bool = True) -> XResNet:
    """Make the network with batch normalisation everywhere: 6,734,871 parameters; see `xresnet18_hybrid`."""
    return _xresnet18_grouped(n_outputs, n_channels, self_attention=self_attention)


def xresnet18_deconv(*, n_channels: int = 5, n_outputs: int = 6, self_attention: bool = True) -> XResNet:
    """Make the network with deconvolution everywhere: 6,730,007 parameters; see `xresnet18_hybrid`."""
    return _xresnet18_grouped(n_outputs, n_channels, self_attention=self_attention, deconvolution="all")


def baseline_cnn(*, n_channels: int = 5, n_outputs: int = 6) -> nn.Module:
    """Make three convolutions with batch normalisation: 29,734 parameters; see `xresnet18_hybrid`."""
    return _Baseline(n_outputs, n_channels, deconvolve=False)


def baseline_deconv(*, n_channels: int = 5, n_outputs: int = 6) -> nn.Module:
    """Make three convolutions with deconvolution: 29,606 parameters; see `xresnet18_hybrid`."""
    return _Baseline(n_outputs, n_channels, deconvolve=True)


class PixelNet(nn.Module):
    """A network that takes decoded pixels: the normalisation travels with the weights.

    Parameters
    ----------
    backbone : XResNet
        The network of normalised pictures.
    mean, std : sequence of float, optional
        One number a channel: pixel values / 255, minus ``mean``, divided by
        ``std``, are what the backbone reads. By default those of the paper.
    monochrome : bool, optional
        Whether each channel is replaced by the mean of all, so that no colour is seen (Wu 2020, section 8.3).
    crop : int, optional
        Side of the central part of a picture that the backbone reads; all of it by default.
    fluxes : bool, optional
        Whether it takes fluxes, float32, instead of values 0 to 255 of uint8; they are not divided by 255.

    Raises
    ------
    ValueError
        If ``mean`` or ``std`` does not have one number a channel, ``std``
        has one that is not positive, or ``crop`` is below 1.
    """

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        mean: Tensor
        std: Tensor

    def __init__(
        self,
        backbone: XResNet,
        *,
        mean: Sequence[float] = PAPER_MEAN,
        std: Sequence[float] = PAPER_STD,
        monochrome: bool = False,
        crop: int | None = None,
        fluxes: bool = False,
    ) -> None:
        super().__init__()
        if crop is not None and crop < 1:
            raise ValueError(f"crop must be at least 1, got {crop}")
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != backbone.n_channels:
                raise ValueError(f"{name} must have {backbone.n_channels} numbers, got {len(values)}")
        if min(std) <= 0:
            raise ValueError(f"std must be positive, got {std}")
        self.backbone = backbone
        self.monochrome = monochrome
        self.crop = crop
        self.fluxes = fluxes
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Read a batch of pictures.

        Parameters
        ----------
        pixels : Tensor of uint8, shape (n, n_channels, h, w)
            Pictures as decoded, 0 to 255; of a network of fluxes float32.

        Returns
        -------
        outputs : Tensor of float, shape (n, n_outputs)

        Raises
        ------
        TypeError
            If ``pixels`` are not uint8, or not float32 for a network of fluxes.
        ValueError
            If they have another shape, or a side below 32 pixels.
        """
        return self.forward_head(self.forward_features(pixels))

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the last map of the backbone."""
        wanted = torch.float32 if self.fluxes else torch.uint8
        if pixels.dtype != wanted:
            raise TypeError(f"pixels must be {'float32' if self.fluxes else 'uint8'}, got {pixels.dtype}")
        if self.crop is not None:
            pixels = centre(pixels, self.crop)
        return self.backbone.forward_features(self.normalise(pixels))

    def forward_head(self, maps: Tensor) -> Tensor:
        """Answer from the last map."""
        return self.backbone.forward_head(maps)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return what the backbone reads, of values 0 to 255 of any dtype, or of fluxes."""
        values = pixels.to(self.mean.dtype)
        if not self.fluxes:
            values = values / 255.0
        if self.monochrome:
            values = values.mean(1, keepdim=True).expand_as(values)
        return (values - self.mean) / self.std


def centre(pictures: Tensor, side: int) -> Tensor:
    """Return the central part of pictures (n, c, h, w); beyond the border of a smaller picture it is 0."""
    top, left = (side - pictures.shape[2]) // 2, (side - pictures.shape[3]) // 2
    bottom, right = side - pictures.shape[2] - top, side - pictures.shape[3] - left
    return functional.pad(pictures, [left, right, top, bottom])


def fold_for_inference(network: nn.Module) -> nn.Module:
    """Replace weights that are computed from others by their values: spectral norms and deconvolutions.

    Parameters
    ----------
    network : Module
        Any network; it is left as it is.

    Returns
    -------
    folded : Module
        A copy in evaluation mode that answers the same, and scripts: TorchScript
        takes no parametrised weights.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if isinstance(module, SimpleSelfAttention):
            # A new layer: to remove the parametrisation from the copy would remove it from the original,
            # whose class it shares.
            conv = nn.Conv1d(module.conv.in_channels, module.conv.out_channels, 1, bias=False)
            conv.weight = nn.Parameter(module.conv.weight.detach().clone())
            module.conv = conv.eval()
        for name, child in list(module.named_children()):
            if isinstance(child, FastDeconv):
                setattr(module, name, child.as_convolution())
    return folded
