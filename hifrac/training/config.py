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

from pydantic import AfterValidator, BeforeValidator, Strict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe

#: Numbers that a network gives for each loss.
LOSSES = {"rmse": 1, "gaussian_nll": 2, "tobit_nll": 2, "smoothed_cross_entropy": 2}


def _must(words: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """Make the check of one value; its complaint says what the value must do."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"must {words}, got {value!r}")
        return value

    return AfterValidator(check)


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
_Seed = Annotated[_Integer, _must("be at least 0", lambda value: value >= 0)]
_Count = Annotated[_Integer, _must("be at least 1", lambda value: value >= 1)]
_Several = Annotated[_Integer, _must("be at least 2", lambda value: value >= 2)]
_Positive = Annotated[_Number, _must("be above 0", lambda value: 0 < value < inf)]
_NotNegative = Annotated[_Number, _must("be at least 0", lambda value: 0 <= value < inf)]
_OpenShare = Annotated[_Number, _must("lie between 0 and 1", lambda value: 0 < value < 1)]
_Share = Annotated[_Number, _must("lie from 0 to 1", lambda value: 0 <= value <= 1)]
_Column = Annotated[_Text, _must("be the name of a column", str.isidentifier)]
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

    sample: Literal["hi_fraction", "detection", "estimates"] = "hi_fraction"
    teacher: _Text = "default"  # the model whose estimates are the labels of sample = "estimates"
    table: _Text | None = None
    cutouts: _Text | None = None
    name: _Text = "objid"
    target: _Text = "log_hi_fraction_true"  # for classes 0 and 1, unless there are class_limits
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
        return self


@_section
class SplitConfig(_Section):
    """Section ``[split]``: which galaxies are held out, for the figures and the calibration."""

    file: _Text | None = None
    rule: Literal["groups", "paper-numpy", "paper-torch"] = "groups"
    held_out: _OpenShare = 0.2


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
    ] = "xresnet34"
    loss: Literal["rmse", "gaussian_nll", "tobit_nll", "smoothed_cross_entropy"] = "rmse"
    smoothing: _Share = 0.05
    monochrome: _Switch = False
    init_from: _Text | None = None

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives."""
        return LOSSES[self.loss]

    @property
    def classifies(self) -> bool:
        """Whether the target is a class."""
        return self.loss == "smoothed_cross_entropy"


@_section
class OptimizerConfig(_Section):
    """Section ``[optimizer]``: steps, learning rate and rotations; the defaults are the paper's."""

    lr: _Positive = 0.01
    weight_decay: _NotNegative = 0.01
    epochs: _Count = 40
    batch_size: _Several = 64  # on all devices together, because batch normalisation compares pictures
    warm_up: _OpenShare = 0.25
    div: _Positive = 25.0
    final_div: _Positive = 1e5
    max_degrees: _NotNegative = 0.0


@_section
class RunConfig(_Section):
    """Section ``[run]``: machine and chance."""

    seed: _Seed = 12345
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
    pictures : `~hifrac.cutouts.CutoutRecipe`
        What the pictures are; what a file leaves out is that of the data directory.
    data, split, network, optimizer, run
        The sections, with an attribute for each of their keys.

    Raises
    ------
    ValueError
        If a value is wrong, or two sections contradict each other.
    """

    name: Annotated[_Text, _must("not be empty", bool)]
    summary: _Text = ""
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

    def for_table(self, table: str, cutouts: str, *, target: str, name: str | None = None) -> TrainingConfig:
        """Return the same network and schedule for a user's labels.

        Pictures are still of the recipe ``pictures``; what the card would say of the data is left out.

        Parameters
        ----------
        table, cutouts : str
            A table of labels of any format that Astropy reads, and the folder or archive of its pictures.
        target, name : str
            Columns: of the target, and of the pictures' names.
        """
        data = DataConfig(
            table=table,
            cutouts=cutouts,
            target=target,
            name=name or self.data.name,
            **{key: getattr(self.data, key) for key in ("sample", "class_limits", "balance", "missing")},
        )
        return replace(self, name=f"{self.name}-{target}", summary="", data=data)

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
    """Return the names of the bundled configurations."""
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
        return TrainingConfig.from_dict(tomllib.loads((_BUNDLED / f"{source}.toml").read_text("utf-8")))
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
    table, cutouts, file = (
        _beside(path, value) for value in (config.data.table, config.data.cutouts, config.split.file)
    )
    data = replace(config.data, table=table, cutouts=cutouts)
    return replace(config, data=data, split=replace(config.split, file=file))


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
