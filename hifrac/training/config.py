"""Training as a configuration: what a TOML file may say, checked before any work.

A file has the sections of `TrainingConfig`; what it leaves out keeps its default, which is the paper's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, field, fields, replace
from importlib import resources
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe

#: Where the default training comes from.
WU_2020 = "Wu 2020, ApJ 900, 142 (HI mass fractions from images; the network and its training)"
#: Numbers that a network gives for each loss.
LOSSES = {"rmse": 1, "gaussian_nll": 2, "tobit_nll": 2, "smoothed_cross_entropy": 2}


def _must(words: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """Make the check of one value; its complaint says what the value must do."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"must {words}, got {value!r}")
        return value

    return AfterValidator(check)


def _target(value: Any) -> str | tuple[str, ...]:
    """Check a target: a column, or a list of different ones."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"data.target must be text, or a list of columns, got {value!r}")
    if not value or len(set(value)) < len(value):
        raise ValueError(f"must be one column or several different ones, got {list(value)}")
    return value[0] if len(value) == 1 else tuple(value)


def _complete_recipe(facts: Any) -> Any:
    """Fill in what a recipe leaves out: it is that of the data directory."""
    if not isinstance(facts, Mapping):
        return facts
    defaults = asdict(SDSS_RECIPE)
    if "scale_column" in facts:
        defaults["pixel_scale"] = None
    if unknown := sorted(set(facts) - set(defaults)):
        raise ValueError(f"{unknown[0]} is unknown; known here: {', '.join(defaults)}")
    return {**defaults, **facts}


_Text = Annotated[str, Strict()]
_Integer = Annotated[int, Strict()]
_Number = Annotated[float, Strict()]
_Switch = Annotated[bool, Strict()]
_Whole = Annotated[_Integer, _must("be at least 0", lambda value: value >= 0)]
_Count = Annotated[_Integer, _must("be at least 1", lambda value: value >= 1)]
_Several = Annotated[_Integer, _must("be at least 2", lambda value: value >= 2)]
_Positive = Annotated[_Number, _must("be above 0", lambda value: 0 < value < inf)]
_NotNegative = Annotated[_Number, _must("be at least 0", lambda value: 0 <= value < inf)]
_OpenShare = Annotated[_Number, _must("lie between 0 and 1", lambda value: 0 < value < 1)]
_Share = Annotated[_Number, _must("lie from 0 to 1", lambda value: 0 <= value <= 1)]
_Column = Annotated[_Text, _must("be the name of a column", str.isidentifier)]
_Target = Annotated[
    str | tuple[str, ...],
    PlainValidator(_target),
    PlainSerializer(lambda value: value if isinstance(value, str) else list(value), return_type=Any),
]
_Limits = Annotated[
    tuple[_Number, ...],
    _must("be two increasing numbers", lambda pair: not pair or (len(pair) == 2 and pair[0] <= pair[1])),
]


class _Section:
    """What a type checker must know of pydantic's dataclasses for `dataclasses.replace`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _section(cls: type) -> type:
    return dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})(cls)


@_section
class DataConfig(_Section):
    """Section ``[data]``: pictures and labels, of the data directory or of a table."""

    sample: Literal["hi_fraction", "detection", "estimates", "metallicity", "metallicity-demo"] = (
        "hi_fraction"
    )
    teacher: _Text = "default"  # the model whose estimates are the labels of sample = "estimates"
    table: _Text | None = None
    cutouts: _Text | None = None
    name: _Text = "objid"
    # Filters of the planes of cutouts, such as "yzirg"; none, or "", where files say, and for pictures.
    bands: _Text | None = None
    pixel_scale: _Positive | None = None  # arcsec per pixel of cutouts, where that is not the recipe's
    # Column, or list of columns: one of classes 0 and 1, unless there are class_limits.
    target: _Target = "log_hi_fraction_true"
    standardise: _Switch = False  # learn targets in units of their scatter; answers are as the labels are
    is_limit: _Text | None = None
    class_limits: _Limits = ()  # below the first is class 0, above the second class 1
    balance: _Switch = False
    missing: Literal["raise", "mask"] = "raise"
    description: _Text | None = None
    column: _Column | None = None  # the result column; the target's name by default
    mass_scale: _Text = "as the labels are"
    validity: _Text = "pictures like those it was trained on"

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if (self.table is None) != (self.cutouts is None):
            raise ValueError("data.table and data.cutouts go together: give both or neither")
        if self.column is not None and len(self.targets) > 1:
            raise ValueError("data.column is the result column of one target, and there are several")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to be learned."""
        return (self.target,) if isinstance(self.target, str) else self.target


@_section
class SplitConfig(_Section):
    """Section ``[split]``: which galaxies are held out, for the figures and the calibration."""

    file: _Text | None = None
    rule: Literal["groups", "paper-numpy", "paper-torch"] = "groups"
    held_out: _OpenShare = 0.2
    fold: _Whole | None = None  # of n_folds folds, the one that is held out

    @property
    def n_folds(self) -> int:
        """Number of folds of which each is about the share to hold out."""
        return round(1 / self.held_out)

    @model_validator(mode="after")
    def _check(self) -> SplitConfig:
        if self.fold is None:
            return self
        if self.file is not None or self.rule != "groups":
            raise ValueError("split.fold goes with split.rule = 'groups', and without split.file")
        if not self.fold < self.n_folds or self.n_folds < 2:
            raise ValueError(
                f"split.fold must be below {self.n_folds}, the number of folds with a share "
                f"split.held_out = {self.held_out:g}, got {self.fold}"
            )
        return self


@_section
class NetworkConfig(_Section):
    """Section ``[network]``: architecture, loss, and the weights to start from."""

    architecture: Literal[
        "xresnet18",
        "xresnet34",
        "xresnet50",
        "shallow",
        "xresnet18_hybrid",
        "xresnet18_cnn",
        "xresnet18_deconv",
        "baseline_cnn",
        "baseline_deconv",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet18_concat_pool",
        "resnet34_concat_pool",
    ] = "xresnet34"
    loss: Literal["rmse", "gaussian_nll", "tobit_nll", "smoothed_cross_entropy"] = "rmse"
    smoothing: _Share = 0.05
    # What pictures are normalised by: the paper's numbers, or those of the training pictures, all of them or
    # one batch.
    statistics: Literal["paper", "training", "batch"] = "paper"
    monochrome: _Switch = False
    crop: _Count | None = None  # side of the part that is read: central, in training any
    init_from: _Text | None = None
    pretrained: _Text | None = None  # torchvision's weights of ImageNet: a file, or "cache"

    @model_validator(mode="after")
    def _check(self) -> NetworkConfig:
        if self.pretrained is not None and not self.architecture.startswith("resnet"):
            raise ValueError(
                "network.pretrained: torchvision has no weights of ImageNet for the architecture "
                f"{self.architecture}, only for resnet18, resnet34, resnet50 and what is made of them"
            )
        if self.pretrained is not None and self.init_from is not None:
            raise ValueError("network.pretrained and network.init_from exclude each other")
        return self

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives of one target."""
        return LOSSES[self.loss]

    @property
    def classifies(self) -> bool:
        """Whether the target is a class."""
        return self.loss == "smoothed_cross_entropy"


@_section
class OptimizerConfig(_Section):
    """Section ``[optimizer]``: steps, rates and views of pictures; the defaults are those of Wu (2020)."""

    schedule: Literal["one-cycle", "restarts"] = "one-cycle"
    lr: _Positive = 0.01
    layer_lrs: tuple[_Positive, ...] = ()  # of the three groups of layers, instead of lr
    weight_decay: _NotNegative = 0.01
    epochs: _Count = 40
    batch_size: _Several = 64  # on all devices together, because batch normalisation compares pictures
    warm_up: _OpenShare = 0.25
    div: _Positive = 25.0
    final_div: _Positive = 1e5
    # Of restarts, in epochs: how long only the head learns, how long all layers do so at the same rate
    # (constant in both), and the cosines.
    frozen_epochs: _Whole = 0
    constant_epochs: _Whole = 0
    cycles: tuple[_Count, ...] = ()
    max_degrees: _NotNegative = 0.0
    dihedral: _Share = 1.0  # how often pictures are turned and mirrored by one of the eight ways
    max_zoom: Annotated[_Number, _must("be at least 1", lambda value: 1 <= value < inf)] = 1.0
    lighting: Annotated[_Number, _must("lie from 0 to 1", lambda value: 0 <= value < 1)] = 0.0
    frame: _Count | None = None  # side that pictures are cut or padded to, before network.crop
    test_views: _Whole = 0  # random views that are averaged with the picture itself, for the figures

    @model_validator(mode="after")
    def _check(self) -> OptimizerConfig:
        phases = self.frozen_epochs, self.constant_epochs, *self.cycles
        if self.schedule == "one-cycle":
            if any(phases) or self.layer_lrs:
                raise ValueError(
                    "optimizer.layer_lrs, frozen_epochs, constant_epochs and cycles go with "
                    "optimizer.schedule = 'restarts'"
                )
            return self
        if not self.cycles or sum(phases) != self.epochs:
            raise ValueError(
                "optimizer.epochs must be the sum of frozen_epochs, constant_epochs and at least one of the "
                f"cycles, {sum(phases)}; got {self.epochs}"
            )
        if self.layer_lrs and len(self.layer_lrs) != 3:
            raise ValueError(f"optimizer.layer_lrs must be three numbers, got {len(self.layer_lrs)}")
        return self

    @property
    def first_epochs(self) -> set[int]:
        """Epochs that begin a part of the schedule of restarts."""
        return {0, self.frozen_epochs, self.frozen_epochs + self.constant_epochs}


@_section
class RunConfig(_Section):
    """Section ``[run]``: machine and chance."""

    seed: _Whole = 12345
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: _Count = 1


@_section
class TrainingConfig(_Section):
    """All that decides what a training gives; read one with `read_config`.

    Attributes
    ----------
    name, summary : str
        Of the model, for its card.
    references : tuple of str
        What to cite, for its card.
    pictures : `~hifrac.cutouts.CutoutRecipe`
        What the pictures are; what a file leaves out is that of the data directory.
    data, split, network, optimizer, run
        The sections, with an attribute for each of their keys.

    Raises
    ------
    ValueError
        If a value is wrong, or two sections contradict each other.

    Examples
    --------
    >>> from hifrac.training import read_config
    >>> config = read_config("paper")
    >>> print(config.pictures)
    sdss DR16 getjpeg (i, r, g), 128 x 128 px at 0.4 arcsec/px
    >>> config.changed(optimizer={"epochs": 20}).optimizer.epochs
    20
    """

    name: Annotated[_Text, _must("not be empty", bool)]
    summary: _Text = ""
    references: tuple[_Text, ...] = (WU_2020,)
    pictures: Annotated[CutoutRecipe, BeforeValidator(_complete_recipe)] = SDSS_RECIPE
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.optimizer.batch_size < 2 * self.run.devices:
            raise ValueError(
                f"optimizer.batch_size must be at least 2 for each of {self.run.devices} devices "
                f"(batch normalisation compares pictures), got {self.optimizer.batch_size}"
            )
        if self.optimizer.frozen_epochs and self.run.devices > 1:
            raise ValueError("optimizer.frozen_epochs: layers cannot be frozen with run.devices above 1")
        largest = self.optimizer.frame or self.pictures.width
        if self.network.crop is not None and self.network.crop > largest:
            raise ValueError(
                f"network.crop must be at most {largest}, the side of what is cut, got {self.network.crop}"
            )
        self._check_targets()
        if self.data.is_limit is not None and self.network.loss != "tobit_nll":
            raise ValueError("data.is_limit goes with network.loss = 'tobit_nll', which knows upper limits")
        if (self.data.class_limits or self.data.balance) and not self.network.classifies:
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
        return self

    def _check_targets(self) -> None:
        """Refuse what does not go with several targets, with standardised ones, or with fluxes."""
        if self.network.loss != "rmse" and (len(self.data.targets) > 1 or self.data.standardise):
            raise ValueError(
                "data.target with several columns and data.standardise go with network.loss = 'rmse', got "
                f"{self.network.loss!r}"
            )
        if not self.pictures.is_picture and self.network.statistics == "paper":
            raise ValueError(
                "network.statistics must be 'training' or 'batch' for pictures of more than three bands"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain types; what is None is left out."""
        return TypeAdapter(TrainingConfig).dump_python(self, mode="json", exclude_none=True)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> TrainingConfig:
        """Check and take what a TOML file says, as ``tomllib`` reads it.

        Raises
        ------
        TypeError
            If a value has the wrong type; the message names the key.
        ValueError
            If a key is unknown or missing, or a value out of range; the message names the key.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(facts))
        except ValidationError as error:
            raise _plain_error(error.errors()) from None

    def for_table(
        self,
        table: str,
        cutouts: str,
        *,
        target: str | tuple[str, ...] | None = None,
        name: str | None = None,
    ) -> TrainingConfig:
        """Return the same network and schedule for a user's labels.

        Pictures are still of the recipe ``pictures``; what the card would say of the data is left out.

        Parameters
        ----------
        table, cutouts : str
            A table of labels of any format that Astropy reads, and the folder or archive of its pictures.
        target, name : str, optional
            Columns: of the target, or of several, and of the pictures' names; by default those of the
            configuration.
        """
        kept = ("sample", "class_limits", "balance", "missing", "bands", "pixel_scale", "standardise")
        data = DataConfig(
            table=table,
            cutouts=cutouts,
            target=_target(target or self.data.target),
            name=name or self.data.name,
            **{key: getattr(self.data, key) for key in kept},
        )
        if target is None:
            return replace(self, data=replace(data, description=self.data.description))
        return replace(self, name="-".join([self.name, *data.targets]), summary="", data=data)

    def changed(self, **sections: Mapping[str, Any]) -> TrainingConfig:
        """Return the same with some values of sections replaced; None leaves a value as it is."""
        facts = self.to_dict()
        for section, values in sections.items():
            facts[section] |= {key: value for key, value in values.items() if value is not None}
        return self.from_dict(facts)

    def with_settings(self, settings: Sequence[str]) -> TrainingConfig:
        """Return the same with settings such as ``"optimizer.epochs=5"``, their values in TOML's syntax.

        Raises
        ------
        TypeError, ValueError
            As `from_dict`, and if a setting is not of this form.
        """
        facts = self.to_dict()
        for setting in settings:
            key, equals, text = setting.partition("=")
            *sections, name = (part.strip() for part in key.split("."))
            if not equals or not name or not all(sections) or len(sections) > 1:
                raise ValueError(f"a setting must be like optimizer.epochs=5, got {setting!r}")
            try:
                value = tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                value = text.strip()  # text without its quotation marks, which shells take away
            section = facts.setdefault(sections[0], {}) if sections else facts
            if not isinstance(section, dict):
                raise ValueError(f"{key.strip()}: {sections[0]} is no section")
            section[name] = value
        return self.from_dict(facts)


_BUNDLED = Path(str(resources.files("hifrac.training") / "configs"))


def bundled_configs() -> list[str]:
    """Return the names of the bundled configurations.

    Returns
    -------
    names : list of str
        Each is a ``source`` for `read_config`.

    Examples
    --------
    >>> from hifrac.training import bundled_configs
    >>> [name for name in bundled_configs() if name.startswith("metallicity")]
    ['metallicity-paper', 'metallicity-paper-as-written', 'metallicity-paper-demo',
    'metallicity-paper-revised', 'metallicity-xresnet34']
    """
    return sorted(path.stem for path in _BUNDLED.glob("*.toml"))


def read_config(source: str | Path) -> TrainingConfig:
    """Read a configuration.

    Parameters
    ----------
    source : str or path-like
        Name of a bundled configuration, see `bundled_configs`, or a TOML file. Paths in a file
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

    Examples
    --------
    >>> from hifrac.training import read_config
    >>> config = read_config("paper").with_settings(["optimizer.epochs=20"])
    >>> config.network.architecture, config.optimizer.epochs
    ('xresnet34', 20)
    """
    bundled = bundled_configs()
    if isinstance(source, str) and source in bundled:
        return TrainingConfig.from_dict(_read_toml(_BUNDLED / f"{source}.toml"))
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"config: no file {str(source)!r}, and the bundled ones are {', '.join(bundled)}"
        )
    try:
        config = TrainingConfig.from_dict(_read_toml(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error
    table, cutouts, file = (
        _beside(path, value) for value in (config.data.table, config.data.cutouts, config.split.file)
    )
    data = replace(config.data, table=table, cutouts=cutouts)
    return replace(config, data=data, split=replace(config.split, file=file))


def _read_toml(path: Path) -> dict[str, Any]:
    """Read a file, its values in place of those of the bundled configuration that it ``extends``, if any."""
    facts = tomllib.loads(path.read_text("utf-8"))
    base = facts.pop("extends", None)
    if base is None:
        return facts
    if base not in bundled_configs():
        raise ValueError(f"extends must be one of {', '.join(bundled_configs())}, got {base!r}")
    merged = read_config(base).to_dict()
    for key, value in facts.items():
        # Of pictures nothing is taken over: a recipe with a column of scales has no scale.
        is_section = key != "pictures" and isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if is_section else value
    return merged


def _beside(config: Path, value: str | None) -> str | None:
    return None if value is None else str(config.parent / value)


#: What pydantic calls a value of another type, and what it must be.
_WORDS = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dataclass_type": "a section",
}


def _plain_error(errors: list[ErrorDetails]) -> TypeError | ValueError:
    """Say the first of pydantic's errors in one line that names the key."""
    # A key that is unknown is the likeliest cause of one that is missing.
    error = min(errors, key=lambda error: error["type"] != "unexpected_keyword_argument")
    section = [part for part in error["loc"] if isinstance(part, str)]
    key, value = ".".join(section), error["input"]
    if error["type"] == "missing":
        return ValueError(f"{key} is missing")
    if error["type"] == "unexpected_keyword_argument":
        holder = TrainingConfig if len(section) == 1 else get_type_hints(TrainingConfig)[section[0]]
        names = ", ".join(entry.name for entry in fields(holder))
        return ValueError(f"{key} is unknown; known here: {names}")
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return ValueError(f"{key} must be one of {allowed}, got {value!r}")
    if error["type"] in _WORDS:
        return TypeError(f"{key} must be {_WORDS[error['type']]}, got {value!r}")
    message = str(error["ctx"]["error"]) if "error" in error.get("ctx", {}) else error["msg"]
    if message.startswith("must "):
        return ValueError(f"{key} {message}")
    return ValueError(f"pictures.{message}" if section == ["pictures"] else message)
