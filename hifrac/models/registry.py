"""The models at hand: found by name, loaded onto a device, run on pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hifrac.config import conf
from hifrac.exceptions import UnknownModelError
from hifrac.models.cards import FILE_NAME, ModelCard

if TYPE_CHECKING:
    import torch

__all__ = ["Model", "RawOutput", "list_models", "load_model"]

RUNTIMES = ("torchscript", "eager")


def _bundled() -> dict[str, Path]:
    root = Path(str(resources.files("hifrac.models") / "weights"))
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{FILE_NAME}"))}


def list_models() -> list[ModelCard]:
    """The cards of the bundled models.

    Returns
    -------
    cards : list of `~hifrac.models.ModelCard`
        Sorted by name.

    Examples
    --------
    >>> from hifrac import list_models
    >>> [card.name for card in list_models()]
    ['default']
    """
    return [ModelCard.read(folder) for folder in _bundled().values()]


@dataclass(frozen=True)
class RawOutput:
    """What a network says of n pictures, uncalibrated; arrays of float64, shape (n,).

    Attributes
    ----------
    log_hi_fraction : `~numpy.ndarray`
        log10(M_HI / M*), in dex.
    detection_logit : `~numpy.ndarray`
        Log odds of a detection.
    distance : `~numpy.ndarray`
        Mahalanobis distance from the training set.
    """

    log_hi_fraction: np.ndarray
    detection_logit: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Model:
    """A network on a device, with its card.

    Made by `load_model`.

    Attributes
    ----------
    card : `~hifrac.models.ModelCard`
        The facts of the model.
    device : str
        Where it runs.
    runtime : str
        ``"torchscript"`` or ``"eager"``.
    """

    card: ModelCard
    device: str
    runtime: str
    network: torch.nn.Module = field(repr=False)

    def run(self, pixels: np.ndarray) -> RawOutput:
        """Run the network.

        Parameters
        ----------
        pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
            Pictures of the card's recipe.

        Returns
        -------
        output : `~hifrac.models.registry.RawOutput`

        Raises
        ------
        ValueError
            If ``pixels`` has another type or shape.
        """
        import torch

        width = self.card.recipe.width
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (width, width, 3):
            raise ValueError(
                f"pixels must be uint8 of shape (n, {width}, {width}, 3), got {pixels.dtype} {pixels.shape}"
            )
        with torch.inference_mode():
            # Writable, or PyTorch warns; only then is anything copied.
            batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self.device)
            output = self.network(batch.permute(0, 3, 1, 2).contiguous())
        return RawOutput(*(tensor.cpu().double().numpy() for tensor in output))


def load_model(
    model: str | Path | None = None, *, device: str | None = None, runtime: str | None = None
) -> Model:
    """Load a model, its files verified.

    Parameters
    ----------
    model : str or path-like, optional
        The name of a bundled model, or a folder with ``card.json`` and its
        artefacts. ``conf.model`` by default.
    device : {"auto", "cpu", "cuda"} or a torch device, optional
        ``conf.device`` by default; ``"auto"`` takes CUDA when there is one.
    runtime : {"torchscript", "eager"}, optional
        Which artefact runs. By default TorchScript where the model has it,
        else the Python network.

    Returns
    -------
    model : `Model`

    Raises
    ------
    TypeError
        If ``model`` is neither text nor a path.
    ~hifrac.exceptions.UnknownModelError
        If there is neither such a name nor such a folder.
    ~hifrac.exceptions.ModelIntegrityError
        If a file differs from its card; nothing of it is executed.
    ~hifrac.exceptions.ModelError
        If the model cannot be loaded otherwise.
    ValueError
        If ``runtime`` or ``device`` is unknown, or ``device`` is not on this machine.
    """
    wanted = conf.model if model is None else model
    if not isinstance(wanted, str | PathLike):
        raise TypeError(f"model must be a name or a folder, got {type(wanted).__name__}")
    bundled = _bundled()
    if isinstance(wanted, str) and wanted in bundled:
        folder = bundled[wanted]
    elif (Path(wanted) / FILE_NAME).is_file():
        folder = Path(wanted)
    else:
        raise UnknownModelError(
            f"model: no model named {str(wanted)!r} and no folder of that name with a {FILE_NAME}; "
            f"bundled models: {', '.join(bundled)}"
        )
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {RUNTIMES}, got {runtime!r}")
    card = ModelCard.read(folder)
    place = _resolve_device(conf.device if device is None else device)

    from hifrac.models import _artifact

    if runtime is None:
        runtime = "torchscript" if _artifact.SCRIPT in card.files else "eager"
    load = _artifact.load_script if runtime == "torchscript" else _artifact.load_eager
    return Model(card=card, device=place, runtime=runtime, network=load(folder, card).to(place))


def _resolve_device(device: str) -> str:
    """The torch device meant; ValueError when it is unknown or not on this machine."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: {device!r} was asked for, but PyTorch finds no CUDA device here")
    try:
        torch.zeros(1, device=place).cpu()
    except (AssertionError, ImportError, RuntimeError) as error:  # what it raises depends on the kind
        raise ValueError(
            f"device: {device!r} was asked for, but PyTorch cannot compute on it here"
        ) from error
    return str(place)
