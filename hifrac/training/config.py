"""Training as a configuration: what a TOML file may say, checked before any work.

A file has the sections of `TrainingConfig`; what it leaves out keeps its
default. The bundled ones are named by `bundled_configs`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe

ARCHITECTURES = ("xresnet18", "xresnet34", "xresnet50", "shallow")
#: Numbers that a network gives for each loss.
LOSSES = {"rmse": 1, "gaussian_nll": 2, "tobit_nll": 2, "smoothed_cross_entropy": 2}
SAMPLES = ("hi_fraction", "detection", "estimates")
RULES = ("groups", "paper-numpy", "paper-torch")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Section ``[data]``: pictures and labels.

    Parameters
    ----------
    sample : {"hi_fraction", "detection", "estimates"}, optional
        What is read from the data directory: its galaxies with an HI mass,
        these against bright undetected ones, or the galaxies that nobody
        measured, with the estimates of ``teacher`` as their labels. Of no
        account where ``table`` is given.
    teacher : str, optional
        Name or folder of the model that ``sample = "estimates"`` learns from.
    table : str, optional
        A table of labels of any format that Astropy reads, instead.
    cutouts : str, optional
        Folder or archive of the pictures of ``table``.
    name : str, optional
        Column that names the pictures.
    target : str, optional
        Column of the target. For classes it holds their numbers, 0 and 1,
        unless there is ``class_limits``.
    is_limit : str, optional
        Boolean column: where the target is an upper limit. None by default.
    class_limits : sequence of two floats, optional
        Targets below the first are class 0, above the second class 1, and
        what lies between is left out.
    balance : bool, optional
        Whether as many rows of the larger class are drawn as the smaller one has.
    missing : {"raise", "mask"}, optional
        What happens to a row whose target is masked or NaN.
    description : str, optional
        What the target is, for the card; its column's description by default.
    column : str, optional
        The result column of the model; ``target`` by default.
    mass_scale, validity : str, optional
        For the card.
    """

    sample: str = "hi_fraction"
    teacher: str = "default"
    table: str | None = None
    cutouts: str | None = None
    name: str = "objid"
    target: str = "log_hi_fraction_true"
    is_limit: str | None = None
    class_limits: tuple[float, ...] = ()
    balance: bool = False
    missing: str = "raise"
    description: str | None = None
    column: str | None = None
    mass_scale: str = "as the labels are"
    validity: str = "pictures like those it was trained on"

    def __post_init__(self) -> None:
        _one_of("data.sample", self.sample, SAMPLES)
        _one_of("data.missing", self.missing, ("raise", "mask"))
        if (self.table is None) != (self.cutouts is None):
            raise ValueError("data.table and data.cutouts go together: give both or neither")
        if self.class_limits and (
            len(self.class_limits) != 2 or not self.class_limits[0] <= self.class_limits[1]
        ):
            raise ValueError(
                f"data.class_limits must be two increasing numbers, got {list(self.class_limits)}"
            )
        if self.column is not None and not self.column.isidentifier():
            raise ValueError(f"data.column must be the name of a column, got {self.column!r}")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Section ``[split]``: which galaxies are held out, for the figures and the calibration.

    Parameters
    ----------
    file : str, optional
        A written split (`hifrac.training.splits`). By default one is drawn.
    rule : {"groups", "paper-numpy", "paper-torch"}, optional
        How it is drawn: whole groups of galaxies, or as in the paper's code.
    held_out : float, optional
        The share that is held out, between 0 and 1.
    """

    file: str | None = None
    rule: str = "groups"
    held_out: float = 0.2

    def __post_init__(self) -> None:
        _one_of("split.rule", self.rule, RULES)
        if not 0 < self.held_out < 1:
            raise ValueError(f"split.held_out must lie between 0 and 1, got {self.held_out}")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Section ``[network]``.

    Parameters
    ----------
    architecture : {"xresnet18", "xresnet34", "xresnet50", "shallow"}, optional
        See `hifrac.models.xresnet`.
    loss : {"rmse", "gaussian_nll", "tobit_nll", "smoothed_cross_entropy"}, optional
        See `hifrac.training.cnn.losses`.
    smoothing : float, optional
        Of the labels of the last one; 0 to 1.
    monochrome : bool, optional
        Whether the network is shown the mean of the channels alone, without
        colour.
    init_from : str, optional
        Name or folder of a model of the same architecture, whose weights are
        the start. Its last layer is left out where it answers another
        number of questions.
    """

    architecture: str = "xresnet34"
    loss: str = "rmse"
    smoothing: float = 0.05
    monochrome: bool = False
    init_from: str | None = None

    def __post_init__(self) -> None:
        _one_of("network.architecture", self.architecture, ARCHITECTURES)
        _one_of("network.loss", self.loss, tuple(LOSSES))
        if not 0 <= self.smoothing <= 1:
            raise ValueError(f"network.smoothing must lie from 0 to 1, got {self.smoothing}")

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives."""
        return LOSSES[self.loss]

    @property
    def classifies(self) -> bool:
        """Whether the target is a class."""
        return self.loss == "smoothed_cross_entropy"


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Section ``[optimizer]``: the defaults are the paper's.

    Parameters
    ----------
    lr : float, optional
        The largest learning rate of the cycle.
    weight_decay : float, optional
        None on batch normalisation and biases.
    epochs : int, optional
        Passes over the training pictures.
    batch_size : int, optional
        Pictures of one step on all devices together; at least 2 for each, because batch
        normalisation compares pictures.
    warm_up : float, optional
        Share of the steps in which the learning rate rises.
    div, final_div : float, optional
        What ``lr`` is divided by at the start and at the end.
    max_degrees : float, optional
        Pictures are rotated by up to this angle, and then turned and mirrored.
    """

    lr: float = 0.01
    weight_decay: float = 0.01
    epochs: int = 40
    batch_size: int = 64
    warm_up: float = 0.25
    div: float = 25.0
    final_div: float = 1e5
    max_degrees: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lr", "div", "final_div"):
            _at_least(f"optimizer.{name}", getattr(self, name), 0, open_end=True)
        for name, least in (("weight_decay", 0), ("epochs", 1), ("batch_size", 2), ("max_degrees", 0)):
            _at_least(f"optimizer.{name}", getattr(self, name), least)
        if not 0 < self.warm_up < 1:
            raise ValueError(f"optimizer.warm_up must lie between 0 and 1, got {self.warm_up}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Section ``[run]``: machine and chance.

    Parameters
    ----------
    seed : int, optional
        Fixes the split, the first weights, the order and the orientation of pictures.
    precision : {"32-true", "bf16-mixed", "16-mixed"}, optional
        As Lightning names it.
    accelerator : {"auto", "cpu", "cuda"}, optional
        Where it runs.
    devices : int, optional
        How many of them; the batch is shared out.
    """

    seed: int = 12345
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        _at_least("run.seed", self.seed, 0)
        _at_least("run.devices", self.devices, 1)
        _one_of("run.precision", self.precision, PRECISIONS)
        _one_of("run.accelerator", self.accelerator, ACCELERATORS)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All that decides what a training gives.

    Parameters
    ----------
    name : str
        Of the model.
    summary : str, optional
        One line, for the card.
    pictures : `~hifrac.cutouts.CutoutRecipe`, optional
        What the pictures are; the recipe of the data directory by default.
    data, split, network, optimizer, run : optional
        The sections.

    Raises
    ------
    ValueError
        If two sections contradict each other.
    """

    name: str
    summary: str = ""
    pictures: CutoutRecipe = SDSS_RECIPE
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name must not be empty")
        if self.optimizer.batch_size < 2 * self.run.devices:
            raise ValueError(
                f"optimizer.batch_size must be at least 2 for each of {self.run.devices} devices "
                f"(batch normalisation compares pictures), got {self.optimizer.batch_size}"
            )
        if self.data.is_limit is not None and self.network.loss != "tobit_nll":
            raise ValueError("data.is_limit goes with network.loss = 'tobit_nll', which knows upper limits")
        classes = bool(self.data.class_limits) or self.data.balance
        if classes and not self.network.classifies:
            raise ValueError(
                "data.class_limits and data.balance go with network.loss = 'smoothed_cross_entropy'"
            )
        if self.data.table is None and (self.data.sample == "detection") != (
            self.network.classifies and not self.data.class_limits
        ):
            raise ValueError(
                "data.sample = 'detection' and network.loss = 'smoothed_cross_entropy' go together, "
                "or data.class_limits must say what the classes are"
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain types; what is None is left out."""
        return {
            key: value if not isinstance(value, dict) else _without_none(value)
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> TrainingConfig:
        """Check and take what a TOML file says.

        Parameters
        ----------
        facts : mapping
            As ``tomllib`` reads it.

        Raises
        ------
        TypeError
            If a value has the wrong type; the message names the key.
        ValueError
            If a key is unknown or missing, or a value out of range; the message names the key.
        """
        return _build(cls, facts, "")

    def for_table(self, table: str, cutouts: str, *, target: str, name: str | None = None) -> TrainingConfig:
        """The same network and schedule for a user's labels; pictures are still of ``pictures``.

        Parameters
        ----------
        table, cutouts, target, name
            As of `DataConfig`. What the card would say of the data is left out.
        """
        kept = {key: getattr(self.data, key) for key in ("sample", "class_limits", "balance", "missing")}
        data = DataConfig(table=table, cutouts=cutouts, target=target, name=name or self.data.name, **kept)
        return replace(self, name=f"{self.name}-{target}", summary="", data=data)

    def changed(self, **sections: Mapping[str, Any]) -> TrainingConfig:
        """The same with some values of sections replaced; None leaves a value as it is."""
        facts = self.to_dict()
        for section, values in sections.items():
            facts[section] = {
                **facts[section],
                **{key: one for key, one in values.items() if one is not None},
            }
        return self.from_dict(facts)

    def with_settings(self, settings: Sequence[str]) -> TrainingConfig:
        """The same with settings such as ``"optimizer.epochs=5"``, their values in the syntax of TOML.

        Raises
        ------
        TypeError, ValueError
            As `from_dict`, and if a setting is not of this form.
        """
        facts = self.to_dict()
        for setting in settings:
            key, equals, text = setting.partition("=")
            parts = [part.strip() for part in key.split(".")]
            if not equals or not all(parts) or len(parts) > 2:
                raise ValueError(f"a setting must be like optimizer.epochs=5, got {setting!r}")
            try:
                value = tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                value = text.strip()  # text without its quotation marks, which shells take away
            place = facts
            for part in parts[:-1]:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise ValueError(f"{key.strip()}: {part} is no section")
            place[parts[-1]] = value
        return self.from_dict(facts)


def bundled_configs() -> list[str]:
    """Names of the bundled configurations."""
    folder = Path(str(resources.files("hifrac.training") / "configs"))
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_config(source: str | Path) -> TrainingConfig:
    """Read a configuration.

    Parameters
    ----------
    source : str or path-like
        Name of a bundled configuration, or a TOML file. Paths in a file
        are relative to its folder.

    Returns
    -------
    config : TrainingConfig

    Raises
    ------
    FileNotFoundError
        If there is neither such a name nor such a file.
    TypeError, ValueError
        As `TrainingConfig.from_dict`, with the file's name; or if it is not TOML.
    """
    bundled = bundled_configs()
    if isinstance(source, str) and source in bundled:
        text = (resources.files("hifrac.training") / "configs" / f"{source}.toml").read_text("utf-8")
        return TrainingConfig.from_dict(tomllib.loads(text))
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"config: no file {str(source)!r}, and the bundled ones are {', '.join(bundled)}"
        )
    try:
        config = TrainingConfig.from_dict(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error
    data = {key: _beside(path, getattr(config.data, key)) for key in ("table", "cutouts")}
    split = replace(config.split, file=_beside(path, config.split.file))
    return replace(config, data=replace(config.data, **data), split=split)


def _beside(config: Path, value: str | None) -> str | None:
    return None if value is None else str(config.parent / value)


def _build(kind: type, facts: Mapping[str, Any], prefix: str) -> Any:
    """A dataclass from plain types, or an error that names the key."""
    known, hints = {entry.name: entry for entry in fields(kind)}, get_type_hints(kind)
    if unknown := sorted(set(facts) - set(known)):
        raise ValueError(f"{prefix}{unknown[0]} is unknown; known here: {', '.join(known)}")
    needed = [
        name
        for name, entry in known.items()
        if entry.default is MISSING and entry.default_factory is MISSING and name not in facts
    ]
    if kind is CutoutRecipe:  # what a recipe leaves out is that of the data directory
        facts, needed = {**asdict(SDSS_RECIPE), **facts}, []
    if needed:
        raise ValueError(f"{prefix}{needed[0]} is missing")
    values = {name: _take(hints[name], value, f"{prefix}{name}") for name, value in facts.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        if kind is CutoutRecipe:
            raise type(error)(f"{prefix}{error}") from error
        raise


def _take(hint: Any, value: Any, key: str) -> Any:
    """A value of the hinted type, or a TypeError that names the key."""
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise TypeError(f"{key} must be a section, got {value!r}")
        return _build(hint, value, f"{key}.")
    if get_origin(hint) is UnionType:
        hint = next(one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError(f"{key} must be a list, got {value!r}")
        return tuple(_take(get_args(hint)[0], one, key) for one in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    words = {str: "text", int: "an integer", float: "a number", bool: "true or false"}
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{key} must be {words[hint]}, got {value!r}")
    return value


def _without_none(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in section.items()
        if value is not None
    }


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value!r}")


def _at_least(key: str, value: float, least: float, *, open_end: bool = False) -> None:
    if not (value > least if open_end else value >= least) or value == float("inf"):
        raise ValueError(f"{key} must be {'above' if open_end else 'at least'} {least}, got {value}")
