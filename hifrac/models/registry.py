"""The models at hand: found by name, loaded onto a device, run on pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac.core.config import conf
from hifrac.core.exceptions import (
    ModelError,
    ModelIntegrityError,
    UnknownModelError,
    warn_caller,
)
from hifrac.core.reprs import html_facts, html_rows
from hifrac.models._passes import in_parts, side_by_side
from hifrac.models._torch import plain_torch
from hifrac.models.answer import Answer
from hifrac.models.calibration import CHOICES, PosteriorTable, QuantileTable, SpectralTable
from hifrac.models.cards import FILE_NAME, ModelCard

if TYPE_CHECKING:
    import torch
    from astropy.table import Table

    from hifrac.core.evidence import Evidence
    from hifrac.models.posterior import PosteriorModel
    from hifrac.models.quality import Inspection
    from hifrac.spectra import LinearLatents

RUNTIMES = ("torchscript", "eager", "openvino", "half")

#: Pictures in one pass on the CPU: measurements of so many its cache holds, and in memory they take a third
#: longer; maps of features take up memory.
_MEASURED, _MAPPED = 16, 32


def bundled_models() -> dict[str, Path]:
    """Return the folders of the bundled models by their names, sorted."""
    root = Path(str(resources.files("hifrac.models") / "weights"))
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{FILE_NAME}"))}


class _ModelList(list[ModelCard]):
    """Cards, a line each."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))

    def _repr_html_(self) -> str:
        rows = [(card.name, card.summary, card.target_column, card.recipe) for card in self]
        return html_rows("Bundled models", ("name", "what it is", "column", "pictures"), rows)


def list_models() -> list[ModelCard]:
    """Return the cards of the bundled models.

    Returns
    -------
    cards : list of `~hifrac.models.ModelCard`
        Sorted by name.

    Examples
    --------
    >>> from hifrac import list_models
    >>> [card.name for card in list_models()]
    ['default', 'gas-classes', 'gas-classes-monochrome', 'metallicity', 'spectra']
    """
    return _ModelList(ModelCard.read(folder) for folder in bundled_models().values())


def held_out_answers(folder: Path) -> Table | None:
    """Read the answers of cross-validation in a model's folder, by the ``objid`` of its galaxies.

    Parameters
    ----------
    folder : pathlib.Path
        The model's.

    Returns
    -------
    answers : `~astropy.table.Table` or None
        None where there are none.
    """
    from astropy.table import Table

    path = folder / "out_of_fold.ecsv"
    if not path.is_file():
        return None
    table = Table.read(path)
    if not {"objid", "log_hi_fraction"} <= set(table.colnames):
        return None
    table["objid"] = np.char.strip(np.asarray(table["objid"].astype(str)))
    return table


@dataclass(frozen=True, repr=False)
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
        What runs it: ``"torchscript"``, ``"eager"``, ``"openvino"`` or ``"half"``.
    network : torch.nn.Module
        Takes the card's ``inputs`` on that device, the pixels as uint8 (n, 3, width, width).
    folder : pathlib.Path or None
        Where it was loaded from. Pickled, a model is that and no more: another process loads it again.

    Examples
    --------
    >>> from hifrac import load_model
    >>> model = load_model("default", device="cpu")
    >>> model
    <Model 'default': torchscript on cpu>
    >>> print(model.card.recipe)
    sdss DR16 getjpeg (i, r, g), 128 x 128 px at 0.4 arcsec/px
    """

    card: ModelCard
    device: str
    runtime: str
    network: torch.nn.Module
    folder: Path | None = field(default=None, compare=False)
    # The size of the largest pass: a smaller one, once there was no memory for it.
    _room: list[int] = field(default_factory=list, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.device.startswith("cpu"):
            self._room.append(_MAPPED)

    def __repr__(self) -> str:
        return f"<Model {self.card.name!r}: {self.runtime} on {self.device}>"

    def _repr_html_(self) -> str:
        return html_facts(
            f"Model {self.card.name}",
            {
                "estimates": self.card.target,
                "pictures": self.card.recipe,
                "trained on": self.card.training_set,
                "runs as": f"{self.runtime} on {self.device}",
            },
        )

    def __reduce__(self) -> tuple:
        if self.folder is None:
            raise TypeError(f"model {self.card.name!r} was not loaded from a folder, and cannot be pickled")
        load = partial(load_model, self.folder, device=self.device, runtime=self.runtime)
        return load, ()

    @property
    def sha256(self) -> str:
        """The sha256 of the file that the network was loaded from: the script or the canonical weights."""
        return self.card.files["model.pt"] if self.runtime == "torchscript" else self.card.sha256

    @property
    def uses_evidence(self) -> bool:
        """Whether its answers depend on what is known of a galaxy beside the picture."""
        return isinstance(self.card.calibration, PosteriorTable | QuantileTable)

    @cached_property
    def posterior_model(self) -> PosteriorModel | None:
        """What makes distributions of the outputs; None for a model whose calibration has none."""
        if not isinstance(self.card.calibration, PosteriorTable):
            return None
        from hifrac.models.posterior import PosteriorModel

        return PosteriorModel.from_network(self._with_weights(), self.card.calibration)

    @cached_property
    def latent_space(self) -> LinearLatents | None:
        """What makes spectra of the outputs; None for a model whose calibration makes none."""
        if not isinstance(self.card.calibration, SpectralTable):
            return None
        from hifrac.models.spectrum import latents_of

        return latents_of(self._with_weights())

    def _with_weights(self) -> torch.nn.Module:
        """Return a network that has its weights by name: other runtimes keep none."""
        if self.runtime in ("torchscript", "eager") or self.folder is None:
            return self.network
        from hifrac.models import _artifact

        return _artifact.load_eager(self.folder, self.card)

    def require(self, **options: object) -> None:
        """Refuse options that the model has not, such as a ``selection`` of one that knows no others.

        Raises
        ------
        ValueError
            If an option is not None, and the model has no use for it; or if it is none of its choices.
        """
        for name, choices in CHOICES.items():
            if options.get(name) is not None and options[name] not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {options[name]!r}")
        given = [name for name, value in options.items() if value is not None]
        if isinstance(self.card.calibration, QuantileTable):
            given = [name for name in given if name not in ("photometry", "samples")]
        if given and not isinstance(self.card.calibration, PosteriorTable):
            raise ValueError(
                f"{given[0]}: the model {self.card.name!r} has one answer, for galaxies such as it was "
                "trained on, and no distributions for others"
            )

    def answer(
        self, pixels: np.ndarray, ebv: np.ndarray | None = None, *, in_place: bool = False, **options: Any
    ) -> Answer:
        """Run the network and calibrate its outputs.

        Parameters
        ----------
        pixels, ebv : `~numpy.ndarray`
            As of `run`; ``ebv`` also decides on the flag HIGH_REDDENING.
        in_place : bool, optional
            As of `inspect`.
        **options
            As of `interpret`.

        Returns
        -------
        answer : `Answer`
            Estimate, interval, probability, ``ood_score`` and flags of each picture.

        Raises
        ------
        ValueError, ~hifrac.core.ModelError
            As of `run` and `interpret`.
        """
        inspected = self.inspect(pixels, in_place=in_place)
        answer = self.interpret(self.run(inspected.pixels, ebv), ebv, **options)
        return replace(answer, flags=answer.flags | inspected.flags)

    def inspect(self, pixels: np.ndarray, *, in_place: bool = False) -> Inspection:
        """Centre pictures whose galaxy is off the middle, and flag what spoils an estimate.

        Parameters
        ----------
        pixels : `~numpy.ndarray`
            As of `run`.
        in_place : bool, optional
            Whether these may be changed; by default they are left as they are.

        Returns
        -------
        inspection : Inspection
            Pictures, flags and moves. Networks other than those of measurements, and recipes other than that
            for which the thresholds were chosen, have their pictures as they are, unflagged.

        Raises
        ------
        ValueError
            As `run`.
        """
        self._require_pixels(pixels)
        from hifrac.models.quality import Inspection, inspect_pictures

        recipe, n = self.card.recipe, len(pixels)
        if not self.card.is_measured or (recipe.pixel_scale, recipe.width) != (0.4, 128):
            return Inspection(pixels, np.zeros(n, dtype=np.int32), np.zeros((n, 2), dtype=int))
        with plain_torch():
            return inspect_pictures(pixels, in_place=in_place)

    @plain_torch()
    def interpret(
        self,
        outputs: Mapping[str, np.ndarray],
        ebv: np.ndarray | None = None,
        *,
        evidence: Evidence | None = None,
        selection: str | None = None,
        mass_scale: str | None = None,
        shares: np.ndarray | None = None,
    ) -> Answer:
        """Calibrate outputs of the network.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            As of `run`.
        ebv : array of float, shape (n,), optional
            The reddening that they were made with.
        evidence : ``hifrac.core.evidence.Evidence``, optional
            What is known of the galaxies beside their pictures; of no use to a model without distributions.
        selection : {"intrinsic", "alfalfa", "undetected"}, optional
            Whether the galaxies are of a sample that does not look at HI, the default; detected by ALFALFA;
            or not detected by it.
        mass_scale : {"taylor", "gswlc"}, optional
            The stellar masses: of Taylor et al. (2011), the default, or GSWLC-2.
        shares : array of float, shape (n, k), optional
            Uniform random numbers, for draws from the distributions.

        Raises
        ------
        ValueError
            If ``selection`` or ``mass_scale`` is unknown, or something is asked for that the model has not.
        """
        self.require(selection=selection, mass_scale=mass_scale, samples=shares)
        if self.posterior_model is None:
            return Answer.from_outputs(
                self.card, outputs, ebv, evidence=evidence, shares=shares, space=self.latent_space
            )
        posterior = self.posterior_model.infer(outputs, ebv, evidence, mass_scale or "taylor")
        return Answer.from_outputs(
            self.card, outputs, ebv, posterior, selection=selection or "intrinsic", shares=shares
        )

    def run(self, pixels: np.ndarray, ebv: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Run the network.

        Parameters
        ----------
        pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
            Pictures of the card's recipe; of one of more bands float32, with as many planes.
        ebv : array of float, shape (n,), optional
            Galactic reddening E(B-V) in mag, NaN where unknown, such as
            `~hifrac.core.galactic_ebv` gives; a model without it among its card's ``inputs`` has no
            use for it. Where it is missing, the mean of the training set is assumed.

        Returns
        -------
        outputs : dict of str to `~numpy.ndarray` of float64, shape (n,)
            The card's ``outputs`` by name, uncalibrated.

        Raises
        ------
        ValueError
            If ``pixels`` has another type or shape, or ``ebv`` another length.
        ~hifrac.core.ModelError
            If the network does not give what its card says.
        """
        import torch

        self._require_pixels(pixels)
        reddening = None
        if ebv is not None and "ebv" in self.card.inputs:
            if np.shape(ebv) != (len(pixels),):
                raise ValueError(f"ebv must have the shape ({len(pixels)},), got {np.shape(ebv)}")
            reddening = torch.from_numpy(np.array(ebv, dtype=np.float32))
        with plain_torch(), torch.inference_mode():
            # Writable, or PyTorch warns; only then is anything copied.
            batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(0, 3, 1, 2)
            columns_of = partial(self._columns, batch, reddening)
            if self.card.is_measured and self.device.startswith("cpu"):
                parts = side_by_side(columns_of, len(batch), _MEASURED)
            else:
                advice = "; a smaller batch_size avoids this"
                parts = in_parts(columns_of, len(batch), self._room, self.device, advice=advice)
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        if len(columns) != len(self.card.outputs):
            raise ModelError(
                f"model {self.card.name!r}: the network gives {len(columns)} outputs, "
                f"and its card names {', '.join(self.card.outputs)}"
            )
        return {
            name: column.double().numpy() for name, column in zip(self.card.outputs, columns, strict=True)
        }

    def _require_pixels(self, pixels: np.ndarray) -> None:
        wanted = self.card.recipe.empty(0)
        if pixels.dtype != wanted.dtype or pixels.ndim != 4 or pixels.shape[1:] != wanted.shape[1:]:
            shape = ", ".join(map(str, wanted.shape[1:]))
            raise ValueError(
                f"pixels must be {wanted.dtype} of shape (n, {shape}), got {pixels.dtype} {pixels.shape}"
            )

    def _columns(
        self, batch: torch.Tensor, ebv: torch.Tensor | None, rows: slice
    ) -> tuple[torch.Tensor, ...]:
        """Return the columns of the answer for some rows."""
        import torch

        more = [] if ebv is None else [ebv[rows].to(self.device)]
        pictures = batch[rows].to(self.device)
        if not self.card.is_measured:  # what measures takes them apart by itself
            pictures = pictures.contiguous()
        output = self.network(pictures, *more)
        columns = output.unbind(1) if isinstance(output, torch.Tensor) else output
        return tuple(column.cpu() for column in columns)


@plain_torch()
def load_model(
    model: str | PathLike[str] | None = None,
    *,
    device: str | None = None,
    runtime: str | None = None,
    sha256: str | None = None,
) -> Model:
    """Load a model, its files verified.

    Parameters
    ----------
    model : str or path-like, optional
        The name of a bundled model; a folder with ``card.json`` and its artefacts; or where such a folder is
        on the network, ``hf://OWNER/NAME@REVISION`` of the Hugging Face Hub or ``https://...``, of which the
        card and the weights are fetched once, and kept in the local store. ``conf.model`` by default.
    device : {"auto", "cpu", "cuda"} or a torch device, optional
        ``conf.device`` by default; ``"auto"`` takes CUDA when there is one.
    runtime : {"torchscript", "eager", "openvino", "half"}, optional
        What runs the network. By default TorchScript for the bundled models on the CPU where this PyTorch
        can load it; on a GPU, where the first batches of a script take a quarter of a minute, and for any
        other folder the Python network (``"eager"``), whose weights are numbers and nothing else: a script
        is a program, which can read and write files. Say ``"torchscript"`` if you trust where it is from.
        ``"openvino"`` is for the CPU, in single precision, and needs the extra of
        that name; ``"half"`` is for the xresnets on CUDA, in 16 bits.
    sha256 : str, optional
        That of ``card.json``, which has those of the other files: another card is refused. A model from the
        network needs it, here or behind its address as ``#sha256=...``.

    Returns
    -------
    model : `Model`

    Raises
    ------
    TypeError
        If ``model`` is neither text nor a path.
    ~hifrac.core.UnknownModelError
        If there is neither such a name nor such a folder.
    ~hifrac.core.ModelIntegrityError
        If a file differs from its card, or the card from ``sha256``; nothing of it is executed.
    ~hifrac.core.ModelError
        If the model cannot be loaded otherwise, or has nothing for ``runtime``, or what
        ``runtime`` needs is not installed.
    ValueError
        If ``runtime`` or ``device`` is unknown, ``device`` is not on this machine, or
        ``runtime`` is not for it; if an address is none, or lacks its ``sha256``.
    ~hifrac.core.HifracError
        If a service does not give the files.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If the TorchScript file is missing or cannot be loaded, and the Python
        network takes its place.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac import load_model
    >>> model = load_model("default", device="cpu")
    >>> outputs = model.run(np.zeros((2, 128, 128, 3), dtype=np.uint8))
    >>> outputs["estimate"].shape
    (2,)
    """
    wanted = conf.model if model is None else model
    if not isinstance(wanted, str | PathLike):
        raise TypeError(f"model must be a name or a folder, got {type(wanted).__name__}")
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {RUNTIMES}, got {runtime!r}")
    folder = _folder_of(wanted, runtime, sha256)
    card = ModelCard.read(folder)
    place = _resolve_device(conf.device if device is None else device)

    needed = {"openvino": "cpu", "half": "cuda"}.get(runtime or "")
    if needed is not None and not place.startswith(needed):
        raise ValueError(f"runtime: {runtime!r} needs the device {needed!r}, not {place!r}")
    network, used = _network(folder, card, runtime, place)
    return Model(card=card, device=place, runtime=used, network=network.to(place), folder=folder)


def _folder_of(model: str | PathLike[str], runtime: str | None, sha256: str | None) -> Path:
    """Return the folder of a model, whose card is the one that is wanted."""
    from hifrac.models import hub

    if hub.is_address(model):
        if runtime == "torchscript":
            raise ValueError("runtime: no script is fetched from the network, and none is run")
        return hub.fetched(str(model), sha256)
    bundled = bundled_models()
    folder = bundled[model] if isinstance(model, str) and model in bundled else Path(model)
    if not (folder / FILE_NAME).is_file():
        raise UnknownModelError(
            f"model: no model named {str(model)!r} and no folder of that name with a {FILE_NAME}; "
            f"bundled models: {', '.join(bundled)}"
        )
    if model in bundled and (Path(model) / FILE_NAME).is_file():
        warn_caller(f"model: the bundled {model!r} is meant, not the folder; say './{model}' for that one")
    if sha256 is not None:
        hub.require_digest(folder / FILE_NAME, sha256)
    return folder


def _network(folder: Path, card: ModelCard, runtime: str | None, place: str) -> tuple[torch.nn.Module, str]:
    """Load the network as a runtime has it, and say which one that is."""
    from hifrac.models import _artifact

    is_ours = folder in bundled_models().values() and _artifact.SCRIPT in card.files
    if runtime == "torchscript" or (runtime is None and is_ours and place.startswith("cpu")):
        try:
            return _artifact.load_script(folder, card), "torchscript"
        except ModelIntegrityError:
            raise
        except ModelError as error:
            if runtime is not None:
                raise
            warn_caller(f"{error}; the Python network takes its place")
    network = _artifact.load_eager(folder, card)
    if runtime in ("openvino", "half"):
        from hifrac.models import runtimes

        if runtime == "half":
            return runtimes.HalfPrecision(network), runtime
        return runtimes.OpenVINO(network, card.recipe.width), runtime
    return network, "eager"


def _resolve_device(device: str) -> str:
    """Return the torch device meant; ValueError when it is unknown or not on this machine."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: {device!r} was asked for, but PyTorch finds no CUDA device here")
    if place.type == "cuda" and place.index is None:
        # The current one is that of this thread; others, in which batches are run, have their own.
        place = torch.device("cuda", torch.cuda.current_device())
    try:
        torch.zeros(1, device=place).cpu()
    except (AssertionError, ImportError, RuntimeError) as error:  # what it raises depends on the kind
        raise ValueError(
            f"device: {device!r} was asked for, but PyTorch cannot compute on it here"
        ) from error
    return str(place)
