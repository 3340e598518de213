"""Model files: written, verified by sha256, and loaded. The only file that names torch.jit.

Python's pickle is never used, and a file whose hash differs from its card is
refused before a byte of it is interpreted. The card is in the same folder,
though: a model folder from a stranger is a stranger's program.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from hifrac.exceptions import ModelError, ModelIntegrityError
from hifrac.models.cards import ModelCard
from hifrac.models.structure import StructureNet

__all__ = ["SCRIPT", "WEIGHTS", "load_eager", "load_script", "save"]

WEIGHTS = "weights.safetensors"
SCRIPT = "model.pt"

_ARCHITECTURES: dict[str, type[nn.Module]] = {"StructureNet": StructureNet}


@contextmanager
def _deprecations_of_jit_silenced() -> Iterator[None]:
    """PyTorch deprecates TorchScript; it is asked for, and portable from 2.8 on."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=category)
        yield


def save(network: nn.Module, folder: Path) -> dict[str, str]:
    """Write the canonical weights and the TorchScript file derived from them.

    Returns
    -------
    files : dict
        File name to sha256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = network.cpu().eval()
    # Not save_file: it makes a file that nobody else may read.
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    with _deprecations_of_jit_silenced(), torch.no_grad():
        torch.jit.save(torch.jit.script(network), folder / SCRIPT)
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, SCRIPT)}


def _verified(folder: Path, name: str, card: ModelCard) -> bytes:
    """The bytes of a model file, once their sha256 is the card's."""
    expected = card.files.get(name)
    if expected is None:
        raise ModelError(f"model {card.name!r} has no {name}")
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"model {card.name!r}: {name} cannot be read: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ModelIntegrityError(
            f"model {card.name!r}: {folder / name} is not the file its card describes "
            f"(sha256 {found}, card {expected}); nothing of it was loaded"
        )
    return data


def load_eager(folder: Path, card: ModelCard) -> nn.Module:
    """The network in Python, with the canonical weights."""
    data = _verified(folder, WEIGHTS, card)
    try:
        network = _ARCHITECTURES[card.architecture](**card.options)
        network.load_state_dict(safetensors.torch.load(data))
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"model {card.name!r}: its weights do not fit the architecture {card.architecture!r}: {error}"
        ) from error
    return network.eval()


def load_script(folder: Path, card: ModelCard) -> nn.Module:
    """The TorchScript network."""
    data = _verified(folder, SCRIPT, card)
    try:
        with _deprecations_of_jit_silenced():
            return torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
    except RuntimeError as error:
        raise ModelError(f"model {card.name!r}: {SCRIPT} cannot be loaded: {error}") from error
