"""The card of a model: every fact needed to use its weights correctly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hifrac.core.columns import DEC_ALIASES, RA_ALIASES, RESULT_COLUMNS, ResultColumn, columns_of
from hifrac.core.exceptions import ModelError
from hifrac.core.files import write_whole
from hifrac.core.measurements import BANDS, find_measurement
from hifrac.core.quantities import QUANTITIES
from hifrac.core.reprs import html_facts
from hifrac.cutouts.recipe import CutoutRecipe
from hifrac.metrics import written_figures
from hifrac.models._facts import check_facts
from hifrac.models.calibration import (
    ConformalTable,
    ConformalTables,
    PosteriorTable,
    QuantileTable,
    estimate_names,
)
from hifrac.models.detection import DetectionTable
from hifrac.models.evidence_table import READINGS
from hifrac.models.metallicity_table import MetallicityTable
from hifrac.models.spectrum_table import LATENTS, RATIOS, SpectrumTable

if TYPE_CHECKING:
    from astropy.table import Table

FILE_NAME = "card.json"

#: Architectures of `hifrac.models.measuring.MeasuringNet`.
MEASURING = ("StructureNet", "MetallicityNet", "SpectrumNet")

#: What a network may say of a picture, of as many targets at most.
MOST_TARGETS = 64
OUTPUTS = {
    **dict.fromkeys(estimate_names(MOST_TARGETS), "the target, in its unit; with a number, a further one"),
    "log_spread": "natural logarithm of the estimate's expected error, in the unit of the target",
    "residual_redshift": "what the picture adds to the prior where the redshift is known, in dex",
    "residual_photometry": "what the picture adds to the prior where magnitudes are known, in dex",
    "g_minus_i": "colour that the picture shows, in mag, not corrected for the Galaxy",
    "i": "magnitude that the picture shows, not corrected for the Galaxy",
    **{
        f"mag_{band}": f"magnitude in {band} that the picture shows, not corrected for the Galaxy"
        for band in BANDS
    },
    "log_cz": "log10 of the redshift times the speed of light in km/s that the picture shows",
    "log_mstar": "log10(M*/Msun) that the picture shows",
    "axis_ratio": "apparent axis ratio b/a that the picture shows",
    "detection_logit": "log odds that a galaxy is a detection, not a non-detection, at equal prior odds",
    "star_forming_logit": "log odds that a galaxy forms stars, as all with a label do, at equal prior odds",
    "log_continuum_3900_6500": "log10 of the ratio of the continua at 3900 and 6500 Angstrom",
    "log_continuum_4340_5877": "log10 of the ratio of the continua at 4340 and 5877 Angstrom",
    **{name: f"coordinate {name[-1]} of the template spectrum that the picture shows" for name in LATENTS},
    "distance": "distance from the training set in feature space",
    "gswlc_offset": "what to add to the estimate for the stellar masses of GSWLC-2, in dex",
}

#: What a `PosteriorTable` needs.
POSTERIOR_OUTPUTS = (
    "estimate",
    "residual_redshift",
    "residual_photometry",
    "g_minus_i",
    "i",
    "log_cz",
    "axis_ratio",
    "gswlc_offset",
)

#: The calibrations other than `ConformalTable`, each by a fact that no other has.
_CALIBRATIONS = {
    "columns": ConformalTables,
    "scores": PosteriorTable,
    "score_quantiles": MetallicityTable,
    "latent_covariance": SpectrumTable,
}

#: Columns that mean something else in a result, or in the table that it is made of.
_TAKEN = frozenset(
    {*RESULT_COLUMNS, *RA_ALIASES, *DEC_ALIASES, "log_mstar", "ebv", "z"}
    - {quantity.column for quantity in QUANTITIES.values()}
)


def require_free_column(key: str, column: str, outputs: Sequence[str] = ("estimate",)) -> None:
    """Refuse to give an estimate the name of a column that means something else.

    Parameters
    ----------
    key : str
        What the message calls the parameter.
    column : str
        The result column of the estimate. Case does not matter: in a FITS table it tells nothing apart.
    outputs : sequence of str, optional
        What the network says of a picture; one that gives no estimate, only ``"detection_logit"``,
        may have ``p_detect``, which is made of that.

    Raises
    ------
    ValueError
        If ``column`` is one of `~hifrac.core.RESULT_COLUMNS` other than an estimate, one of
        `~hifrac.core.columns.POSITION_COLUMNS`, ``log_mstar``, ``ebv`` or ``z``.
    """
    if column == "p_detect" and "detection_logit" in outputs and "estimate" not in outputs:
        return
    if column.lower() in _TAKEN:
        raise ValueError(
            f"{key} must not be {column!r}: results, or the tables that they are made of, have that column "
            "for something else; give it another name"
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelCard:
    """The facts of one model, as they stand in its ``card.json``.

    Parameters
    ----------
    name : str
        What an estimator calls it: ``HIFractionEstimator(model=name)``.
    summary : str
        One line.
    created : str
        Date of training, ISO 8601.
    architecture : str
        Name of the network class.
    options : mapping
        Keyword arguments of the network class.
    recipe : `~hifrac.cutouts.CutoutRecipe`
        The pictures that the model reads.
    target : str
        Definition of the estimated quantity.
    mass_scale : str
        The stellar masses that the target rests on.
    training_set : str
        What the weights were fitted to.
    validity : str
        For which galaxies the figures hold.
    normalisation : str
        What happens to a picture before the network.
    calibration : ConformalTable, ConformalTables, PosteriorTable, QuantileTable or None
        What makes estimate and interval of the outputs; None for a model without an interval.
    detection : DetectionTable or None
        Calibration of ``p_detect`` and ``ood_score``; None for a model without them.
    figures : mapping
        Cross-validated figures of merit.
    protocol : str
        How the figures were obtained.
    folds : mapping
        Number of folds, the seed that fixes them, and their sha256.
    command : str
        The command that trained the model; of one that was trained from Python, the call.
    files : mapping
        File name to sha256 of each artefact.
    references : tuple of str
        What to cite.
    licence : str
        Licence of the weights.
    target_column : str
        The result column of the estimate, of several the first; not the name of another column of a result
        or of its input.
    outputs : tuple of str
        What the network says of a picture, in its order; names of ``OUTPUTS``.
    inputs : tuple of str
        What it takes, in its order: ``"pixels"``, and ``"ebv"`` if it corrects for Galactic reddening.

    Examples
    --------
    >>> from hifrac import load_model
    >>> card = load_model("default").card
    >>> card.recipe.survey, card.recipe.width, card.target_column
    ('sdss', 128, 'log_hi_fraction')
    """

    name: str
    summary: str
    created: str
    architecture: str
    options: Mapping[str, Any]
    recipe: CutoutRecipe
    target: str
    mass_scale: str
    training_set: str
    validity: str
    normalisation: str
    calibration: ConformalTable | ConformalTables | PosteriorTable | QuantileTable | None
    detection: DetectionTable | None
    figures: Mapping[str, Any]
    protocol: str
    folds: Mapping[str, Any]
    command: str
    files: Mapping[str, str]
    references: tuple[str, ...]
    licence: str = "BSD-3-Clause"
    target_column: str = "log_hi_fraction"
    outputs: tuple[str, ...] = ("estimate", "detection_logit", "distance")
    inputs: tuple[str, ...] = ("pixels",)

    def __post_init__(self) -> None:
        if (
            not self.outputs
            or not set(self.outputs) <= OUTPUTS.keys()
            or len({*self.outputs}) < len(self.outputs)
        ):
            given = ", ".join(map(str, self.outputs)) or "none"
            names = (name for name in OUTPUTS if not name.startswith("estimate_"))
            raise ValueError(f"outputs must be different ones of {', '.join(names)}; got {given}")
        if self.inputs not in (("pixels",), ("pixels", "ebv")):
            raise ValueError(
                f"inputs must be pixels, or pixels and ebv; got {', '.join(map(str, self.inputs))}"
            )
        needed = set() if self.calibration is None else {"estimate"}
        if isinstance(self.calibration, ConformalTables):
            needed |= set(estimate_names(len(self.calibration.columns)))
            if self.calibration.columns[0] != self.target_column:
                raise ValueError(f"target_column must be the first of {', '.join(self.calibration.columns)}")
        if isinstance(self.calibration, PosteriorTable):
            needed |= set(POSTERIOR_OUTPUTS)
        if isinstance(self.calibration, MetallicityTable):
            needed |= set(READINGS)
        if isinstance(self.calibration, SpectrumTable):
            needed |= {*READINGS, *LATENTS, *RATIOS}
        if missing := sorted(needed - set(self.outputs)):
            raise ValueError(f"outputs must have {', '.join(missing)}: the calibration needs them")
        for column in self.target_columns:
            if not isinstance(column, str) or not column.isidentifier():
                raise ValueError(f"target_column must be the name of a column, got {column!r}")
            require_free_column("target_column", column, self.outputs)

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The result columns of all estimates."""
        if isinstance(self.calibration, ConformalTables):
            return self.calibration.columns
        return (self.target_column,)

    def columns_for(
        self, table: Table, *, with_environment: bool = False, with_samples: bool = False
    ) -> dict[str, ResultColumn]:
        """Return the columns of the result for a table by name."""
        return columns_of(
            self.target_column,
            self.target,
            others=self.target_columns[1:],
            with_mass=find_measurement(table, "log_mstar") is not None,
            with_environment=with_environment,
            with_samples=with_samples,
        )

    @property
    def is_measured(self) -> bool:
        """Whether its network measures whole pictures, and has no maps of features."""
        return self.architecture in MEASURING

    @property
    def sha256(self) -> str:
        """The sha256 of the canonical weights: the model's identity."""
        return self.files["weights.safetensors"]

    def to_json(self) -> str:
        """Return the card as JSON text."""
        facts = asdict(self)
        facts["recipe"] = self.recipe.to_dict()
        return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Parameters
        ----------
        text : str
            What `to_json` wrote.

        Returns
        -------
        card : ModelCard

        Raises
        ------
        ~hifrac.core.ModelError
            If the text is no JSON object, or a fact is missing, unknown or wrong.
        """
        try:
            facts = json.loads(text)
            check_facts(cls, facts, "the card")
            check_facts(CutoutRecipe, facts["recipe"], "recipe")
            facts["recipe"] = CutoutRecipe.from_dict(facts["recipe"])
            if facts["calibration"] is not None:
                table = next(
                    (table for key, table in _CALIBRATIONS.items() if key in facts["calibration"]),
                    ConformalTable,
                )
                check_facts(table, facts["calibration"], "calibration")
                facts["calibration"] = table(**facts["calibration"])
            if facts["detection"] is not None:
                check_facts(DetectionTable, facts["detection"], "detection")
                facts["detection"] = DetectionTable(**facts["detection"])
            for name, value in facts["figures"].items():
                if value is None or isinstance(value, str | list | dict):
                    raise TypeError(f"figures must be numbers, and {name[:80]!r} is none")
            for name in ("references", "outputs", "inputs"):
                if name in facts:
                    facts[name] = tuple(facts[name])
            card = cls(**facts)
            card.sha256  # noqa: B018 (a card without weights is no card)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ModelError(f"not a model card: {type(error).__name__}: {error}") from error
        return card

    @classmethod
    def read(cls, folder: str | Path) -> ModelCard:
        """Read the card of a model folder.

        Raises
        ------
        ~hifrac.core.ModelError
            If the folder has no readable card.
        """
        path = Path(folder) / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"no readable model card at {path}: {error}") from error
        try:
            return cls.from_json(text)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    def write(self, folder: str | Path) -> Path:
        """Write ``card.json`` into a folder and return its path."""
        path = Path(folder) / FILE_NAME
        write_whole(path, self.to_json())
        return path

    def __repr__(self) -> str:
        return f"<ModelCard {self.name!r}: {self.summary}>"

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.summary}"]
        lines += [f"  {label:14} {value}" for label, value in self._facts().items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_facts(f"{self.name}: {self.summary}", self._facts())

    def _facts(self) -> dict[str, Any]:
        """Return what a reader wants to know first."""
        return {
            "target": self.target,
            "mass scale": self.mass_scale,
            "pictures": self.recipe,
            "trained on": f"{self.training_set} ({self.created})",
            "valid for": self.validity,
            "figures": ", ".join(f"{key} {text}" for key, text in written_figures(self.figures).items()),
            "obtained by": self.protocol,
            "trained by": self.command,
            "sha256": self.sha256,
            "licence": self.licence,
        }
