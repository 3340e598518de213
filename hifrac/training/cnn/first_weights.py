"""The first weights of a network: random, those of another model, or torchvision's of ImageNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from hifrac.core.exceptions import ModelError
from hifrac.core.files import file_sha256
from hifrac.models import ModelCard, load_model
from hifrac.models.architectures import CONCAT_POOL
from hifrac.models.registry import bundled_models
from hifrac.models.xresnet import PixelNet
from hifrac.training.cnn.module import build
from hifrac.training.config import NetworkConfig

#: Value of ``network.pretrained`` that means the folder in which torchvision keeps what it has fetched.
CACHE = "cache"

# Names of torchvision, in the order of our body; what has no weights has no name here.
_PARTS = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


def first_network(config: NetworkConfig, seed: int, **options: Any) -> PixelNet:
    """Build the network of a configuration with its first weights; ``options`` are as of `build`."""
    # The state of the user's own random numbers is left alone.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(config, **options)
    if config.pretrained is not None:
        return load_imagenet(network, pretrained_file(config))
    if config.init_from is None:
        return network
    card = card_of(config.init_from)
    if card.architecture != config.architecture:
        raise ModelError(
            f"init_from: {config.init_from} is of another architecture, {card.architecture}, not "
            f"{config.architecture}: its weights are no start"
        )
    return load_weights(network, load_model(config.init_from, device="cpu", runtime="eager").network)


def describe_first_weights(config: NetworkConfig) -> str:
    """Say in the card where the first weights come from."""
    if config.pretrained is not None:
        file = pretrained_file(config)
        return f"from weights of ImageNet ({file.name}, sha256 {file_sha256(file)[:12]})"
    if config.init_from is not None:
        return f"from the weights of the model {card_of(config.init_from).name}"
    return "from random weights"


def card_of(source: str) -> ModelCard:
    """Read the card of a model by its name or folder."""
    return ModelCard.read(bundled_models().get(source, source))


def pretrained_file(config: NetworkConfig) -> Path:
    """Return the file of the weights of ImageNet that a configuration names; nothing is ever fetched.

    Raises
    ------
    FileNotFoundError
        If there is no such file; of torchvision's own folder the message says where to get it.
    """
    source = config.pretrained or CACHE
    if source != CACHE:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"network.pretrained: no such file: {path}")
        return path
    from torchvision.models import get_model_weights

    url = get_model_weights(config.architecture.removesuffix(CONCAT_POOL))["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise FileNotFoundError(
            f"network.pretrained: torchvision has not kept {path}; fetch {url} and name the file"
        )
    return path


def load_imagenet(network: PixelNet, path: Path) -> PixelNet:
    """Start the body of a residual network from torchvision's weights, in place.

    The file is a ``.pth`` or ``.safetensors``. Its last layer, which tells the classes of ImageNet apart, is
    left out.
    """
    theirs = {}
    for name, value in _read_weights(path).items():
        part, _, rest = name.partition(".")
        if part in _PARTS:
            theirs[f"{_PARTS[part]}.{rest}"] = value
    features = cast(nn.Sequential, network.backbone.features)
    wanted, given = (
        # Counts of batches are not in old files, and PyTorch fills them in.
        {name: value.shape for name, value in weights.items() if not name.endswith("num_batches_tracked")}
        for weights in (features.state_dict(), theirs)
    )
    wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if wrong:
        raise ModelError(
            f"network.pretrained: {path} does not hold the weights of this architecture as torchvision has "
            f"them: {len(wrong)} of {len(wanted)} do not fit"
        )
    features.load_state_dict(theirs)
    return network


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by their names; a pickle may hold nothing else."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of damaged files raise whatever they meet
        raise ModelError(f"network.pretrained: {path} cannot be read: {error}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ModelError(f"network.pretrained: {path} does not hold tensors by their names")
    return weights


def load_weights(network: PixelNet, other: nn.Module) -> PixelNet:
    """Start from the weights of another network of the same architecture, in place.

    Where its last layer has another number of outputs, that of ``network`` stays as it is.
    """
    theirs, mine = dict(other.state_dict()), network.state_dict()
    heads = {name for name in mine if ".head." in name}
    for name in heads & theirs.keys():
        if theirs[name].shape != mine[name].shape:
            del theirs[name]
    wrong = sorted(
        name for name, value in theirs.items() if name not in mine or mine[name].shape != value.shape
    )
    absent = sorted(mine.keys() - theirs.keys() - heads)
    if wrong or absent:
        raise ModelError(
            f"init_from: the weights are of another architecture: {(wrong or absent)[0]} "
            f"{'has no place or another shape' if wrong else 'is missing'}"
        )
    network.load_state_dict(theirs, strict=False)
    return network
