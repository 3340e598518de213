"""The networks that a card can name, and how each is built from the card's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from hifrac.models import xresnet
from hifrac.models.metallicity import MetallicityNet
from hifrac.models.spectrum import SpectrumNet
from hifrac.models.structure import StructureNet
from hifrac.models.xresnet import PAPER_MEAN, PAPER_STD, PixelNet

#: Mean and standard deviation of the pictures of ImageNet, of values / 255 (red, green, blue).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: What the name of a network with the head of Wu & Boada (2019) ends in.
CONCAT_POOL = "_concat_pool"

_HIDDEN = 512


def _pixel_net(
    make: Callable[..., Any],  # an `XResNet`, or what has its parts
    *,
    n_outputs: int = 1,
    n_channels: int = 3,
    mean: Sequence[float] = PAPER_MEAN,
    std: Sequence[float] = PAPER_STD,
    **options: Any,
) -> PixelNet:
    return PixelNet(
        make(n_outputs=n_outputs, n_channels=n_channels),
        mean=mean,
        std=std,
        **options,
    )


class _Residual(nn.Module):
    """A residual network of torchvision (He et al. 2016, CVPR), in the parts that `PixelNet` asks for."""

    def __init__(self, name: str, n_outputs: int, n_channels: int) -> None:
        from torchvision.models import get_model

        super().__init__()
        network = get_model(name, weights=None, num_classes=n_outputs)
        if n_channels != 3:
            network.conv1 = nn.Conv2d(n_channels, 64, 7, stride=2, padding=3, bias=False)
        self.n_channels = n_channels
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        self.features = nn.Sequential(*stem, network.layer1, network.layer2, network.layer3, network.layer4)
        self.head = network.fc

    def forward_features(self, pictures: Tensor) -> Tensor:
        """Return the last map."""
        return self.features(pictures)

    def forward_head(self, maps: Tensor) -> Tensor:
        """Return the answers of the last map."""
        return self.head(maps.mean((2, 3)))

    def body(self) -> list[nn.Module]:
        """Return all layers before the head in their order, the four stages last."""
        return list(self.features)


class _ConcatPool(_Residual):
    """A residual network of torchvision with the head of fastai 0.7 (Wu & Boada 2019, MNRAS 484, 4683).

    Maximum and mean over positions, in this order, as fastai concatenates them (0.7, 1 and 2 alike), enter
    two linear layers, each after batch normalisation and dropout. Its weights start as there.
    """

    def __init__(self, name: str, n_outputs: int, n_channels: int) -> None:
        super().__init__(name, n_outputs, n_channels)
        n_pooled = 2 * self.head.in_features
        self.head = nn.Sequential(
            nn.BatchNorm1d(n_pooled),
            nn.Dropout(0.25),
            nn.Linear(n_pooled, _HIDDEN),
            nn.ReLU(),
            nn.BatchNorm1d(_HIDDEN),
            nn.Dropout(0.5),
            nn.Linear(_HIDDEN, n_outputs),
        )
        for layer in self.head:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward_head(self, maps: Tensor) -> Tensor:
        """Return the answers of the last map."""
        return self.head(torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1))


#: Name in ``card.architecture``, and what makes the network of ``card.options``. The
#: networks of pixels take ``n_outputs``, ``n_channels``, ``mean``, ``std``, ``monochrome``, ``crop`` and
#: ``fluxes``.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "StructureNet": StructureNet,
    "MetallicityNet": MetallicityNet,
    "SpectrumNet": SpectrumNet,
    "xresnet18": partial(_pixel_net, xresnet.xresnet18),
    "xresnet34": partial(_pixel_net, xresnet.xresnet34),
    "xresnet50": partial(_pixel_net, xresnet.xresnet50),
    "shallow": partial(_pixel_net, xresnet.shallow),
    "xresnet18_hybrid": partial(_pixel_net, xresnet.xresnet18_hybrid),
    "xresnet18_cnn": partial(_pixel_net, xresnet.xresnet18_cnn),
    "xresnet18_deconv": partial(_pixel_net, xresnet.xresnet18_deconv),
    "baseline_cnn": partial(_pixel_net, xresnet.baseline_cnn),
    "baseline_deconv": partial(_pixel_net, xresnet.baseline_deconv),
    **{name: partial(_pixel_net, partial(_Residual, name)) for name in ("resnet18", "resnet34", "resnet50")},
    **{
        name + CONCAT_POOL: partial(
            _pixel_net, partial(_ConcatPool, name), mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
        for name in ("resnet18", "resnet34")
    },
}


def build(architecture: str, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a network that takes uint8 pixels (n, channels, height, width), its weights random.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    options : mapping, optional
        Keyword arguments of the architecture.

    Returns
    -------
    network : Module

    Raises
    ------
    KeyError
        If there is no such architecture.
    TypeError, ValueError
        If an option is unknown or wrong.
    """
    if architecture not in ARCHITECTURES:
        raise KeyError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {architecture!r}")
    return ARCHITECTURES[architecture](**(options or {}))


def closest(names: set[str]) -> str | None:
    """Find the architecture whose weights have exactly these names, or None."""
    return next((name for name in ARCHITECTURES if _weight_names(name) == names), None)


@cache
def _weight_names(architecture: str) -> frozenset[str]:
    with torch.device("meta"):  # names are wanted, not numbers
        return frozenset(build(architecture).state_dict())
