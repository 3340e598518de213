"""Model files: written, verified by sha256, and loaded. The only file that names torch.jit or torch.export.

Python's pickle is never used, and a file whose hash differs from its card is
refused before a byte of it is interpreted. The card is in the same folder,
though: it protects from damage, not from a stranger, whose TorchScript is a program.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from hifrac.core.exceptions import ModelError, ModelIntegrityError, silenced
from hifrac.core.files import file_sha256, write_whole
from hifrac.models.cards import ModelCard

WEIGHTS = "weights.safetensors"
SCRIPT = "model.pt"
PROGRAM = "model.pt2"

#: Name of a format, and the file that it is. The weights are always written: they are the model.
FORMATS = {"safetensors": WEIGHTS, "torchscript": SCRIPT, "export": PROGRAM}

# Outputs and channels of a network that a card may ask for.
_MOST_CHANNELS = 256

#: Pictures in one pass of an exported program, at most.
_MOST = 65536


# What PyTorch says of TorchScript, which it deprecates: it is asked for, and portable from 2.8 on.
_DEPRECATION_OF_JIT = r".*torch\.jit\."


class _Columns(nn.Module):
    """A network whose answer is a plain tuple of (n,) tensors: what an exported program can say."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        output = self.network(pixels)
        return output.unbind(1) if isinstance(output, Tensor) else tuple(output)


def exported(network: nn.Module, width: int, n_channels: int = 3) -> torch.export.ExportedProgram:
    """Trace the network as a graph, for any number of pictures of one size.

    Parameters
    ----------
    network : Module
        Takes uint8 pixels; it is left as it is.
    width : int
        Side of the pictures.
    n_channels : int, optional
        Their channels.

    Returns
    -------
    program : torch.export.ExportedProgram
        On the CPU. Answers with a tuple, one tensor (n,) for each output.
    """
    from hifrac.models.measuring import MeasuringNet
    from hifrac.models.xresnet import fold_for_inference

    folded = fold_for_inference(network).cpu()
    if isinstance(folded, MeasuringNet):  # a word of one picture: for words of more, their number were fixed
        folded.places = folded.places[:1].clone()
    # Two pictures: a dimension of one would be taken for a constant.
    dtype = torch.float32 if getattr(network, "fluxes", False) else torch.uint8
    example = torch.zeros(2, n_channels, width, width, dtype=dtype)
    number = torch.export.Dim("n", min=1, max=_MOST)
    with torch.no_grad():
        return torch.export.export(
            _Columns(folded).eval(),
            (example,),
            dynamic_shapes={"pixels": {0: number}},
        )


def save(
    network: nn.Module,
    folder: Path,
    *,
    formats: Sequence[str] = ("safetensors", "torchscript"),
    width: int | None = None,
    n_channels: int = 3,
) -> dict[str, str]:
    """Write the canonical weights and the files derived from them.

    Parameters
    ----------
    network : Module
        One of ``hifrac.models.architectures``; it is left as it is.
    folder : path
        Made if it does not exist; files in it are written over.
    formats : sequence of str, optional
        Keys of `FORMATS`. ``"safetensors"`` is written in any case: what was trained, to
        the letter, so that training can go on. The others are for inference: their
        spectral normalisation is folded into the weights.
    width, n_channels : int, optional
        Side of the pictures, needed for ``"export"``, and their channels.

    Returns
    -------
    files : dict
        File name to sha256.

    Raises
    ------
    ValueError
        If a format is unknown, or ``width`` is missing.
    """
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"formats must be of {', '.join(FORMATS)}; got {unknown[0]!r}")
    if "export" in formats and width is None:
        raise ValueError("width: an exported program is for pictures of one size; say which")
    from hifrac.models.xresnet import fold_for_inference

    folder.mkdir(parents=True, exist_ok=True)
    # Not safetensors' save_file: it makes a file that nobody else may read.
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_whole(folder / WEIGHTS, safetensors.torch.save(weights))
    written = [WEIGHTS]
    if "torchscript" in formats:
        with silenced(_DEPRECATION_OF_JIT), torch.no_grad():
            torch.jit.save(torch.jit.script(fold_for_inference(network).cpu()), folder / SCRIPT)
        written.append(SCRIPT)
    if "export" in formats and width is not None:
        torch.export.save(exported(network, width, n_channels), folder / PROGRAM)
        written.append(PROGRAM)
    return {name: file_sha256(folder / name) for name in written}


def _verified(folder: Path, name: str, card: ModelCard) -> bytes:
    """Read the bytes of a model file, if their sha256 is the card's."""
    expected = card.files.get(name)
    if expected is None:
        raise ModelError(f"model {card.name!r} has no {name}")
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"model {card.name!r}: {name} cannot be read: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise ModelIntegrityError(
            f"model {card.name!r}: {folder / name} is not the file its card describes "
            f"(sha256 {digest}, card {expected}); nothing of it was loaded"
        )
    return data


def load_eager(folder: Path, card: ModelCard) -> nn.Module:
    """Load the network in Python, with the canonical weights."""
    from hifrac.models.architectures import build  # a script is run without the code of any network

    data = _verified(folder, WEIGHTS, card)
    misfit = f"model {card.name!r}: its weights do not fit the architecture {card.architecture!r}: "
    options = dict(card.options)
    try:
        for name in ("n_outputs", "n_channels"):  # before memory is asked for
            if name in options and not 1 <= options[name] <= _MOST_CHANNELS:
                raise ValueError(f"{name} must be from 1 to {_MOST_CHANNELS}")
        if options.get("width", card.recipe.width) != card.recipe.width:
            raise ValueError(f"its pictures have {card.recipe.width} pixels, not {options['width']!r}")
        weights = safetensors.torch.load(data)
        network = build(card.architecture, options)
    except KeyError as error:
        raise ModelError(misfit + str(error.args[0])) from error
    except Exception as error:  # options of any type go into code that does not expect them
        raise ModelError(f"{misfit}{error}") from error
    if fault := _misfit(network, weights):
        raise ModelError(misfit + fault)
    network.load_state_dict(weights)
    return network.eval()


def _misfit(network: nn.Module, weights: dict[str, Tensor]) -> str:
    """Say why weights are not those of a network; nothing if they are."""
    from hifrac.models.architectures import closest

    wanted = network.state_dict()
    if set(weights) != set(wanted):
        other = closest(set(weights))
        if other is not None:
            return f"they are those of the architecture {other!r}"
        missing, unknown = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
        parts = [
            f"{len(names)} {what}, the first of them {names[0]}"
            for what, names in (("are missing", missing), ("have no place in it", unknown))
            if names
        ]
        return "; ".join(parts)
    for name, value in wanted.items():
        if weights[name].shape != value.shape:
            return f"{name} has the shape {tuple(weights[name].shape)}, not {tuple(value.shape)}"
    return ""


def load_script(folder: Path, card: ModelCard) -> nn.Module:
    """Load the TorchScript network."""
    data = _verified(folder, SCRIPT, card)
    try:
        with silenced(_DEPRECATION_OF_JIT):
            return torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
    except RuntimeError as error:
        raise ModelError(f"model {card.name!r}: {SCRIPT} cannot be loaded: {error}") from error
