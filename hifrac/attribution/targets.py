"""Targets of an explanation: the outputs of a model, by the names that users know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from astropy import units as u

from hifrac.core.columns import RESULT_COLUMNS
from hifrac.core.quantities import PROBABILITIES, quantity_of
from hifrac.models.spectrum_table import RATIOS

if TYPE_CHECKING:
    from astropy.units import UnitBase

    from hifrac.models import ModelCard


@dataclass(frozen=True)
class Target:
    """One output of a network, with the sign and the unit of its map.

    Parameters
    ----------
    name : str
        Name of the target.
    output : str
        Name of the network's output.
    sign : int
        1, or -1 where the output measures the opposite.
    unit : `~astropy.units.UnitBase`
        Of the output; dex, or dimensionless for log odds.
    meaning : str
        In words.
    """

    name: str
    output: str
    sign: int
    unit: UnitBase
    meaning: str


def _targets(card: ModelCard) -> dict[str, Target]:
    """Return the targets that a model has, by name."""
    no_unit = u.dimensionless_unscaled
    targets: list[Target] = []
    column = card.target_column
    if "estimate" in card.outputs:
        is_registered = bool(quantity_of(column).estimator)
        unit = (is_registered and RESULT_COLUMNS[column].unit) or no_unit
        meaning = f"the network's estimate of {card.target}, before its calibration"
        targets.append(Target(column, "estimate", 1, unit, meaning if is_registered else card.target))
        if column == "gas_rich_logit":
            odds = "log odds of the class against the other"
            targets.append(Target("gas-rich", "estimate", 1, no_unit, odds))
            targets.append(Target("gas-poor", "estimate", -1, no_unit, odds))
    for name, (output, *_) in PROBABILITIES.items():
        if output in card.outputs:
            targets.append(Target(name, output, 1, no_unit, f"log odds of {name}, before their calibration"))
    for name in RATIOS:
        if name in card.outputs:
            of_result = RESULT_COLUMNS[name]
            targets.append(Target(name, name, 1, of_result.unit or no_unit, of_result.description))
    return {target.name: target for target in targets}


def resolve_target(card: ModelCard, target: str | None = None) -> Target:
    """Find a target among the outputs of a model.

    Parameters
    ----------
    card : `~hifrac.models.ModelCard`
        Card of the model.
    target : str, optional
        The estimate by default, ``target_column`` of the model, such as ``"log_hi_fraction"`` or ``"oh"``;
        ``"p_detect"`` or ``"p_star_forming"``; ``"gas-rich"`` or ``"gas-poor"``; of spectra also the ratios
        of continua, such as ``"log_continuum_3900_6500"``.

    Returns
    -------
    target : `Target`

    Raises
    ------
    ValueError
        If the model does not have the target; the message lists those that it has.

    Notes
    -----
    ``"p_detect"`` is the raw log odds ``detection_logit``, with which it increases; ``"p_star_forming"`` is
    ``star_forming_logit``.
    ``"gas-rich"`` and ``"gas-poor"`` are the two classes of a model that has them (``gas_rich_logit``, the
    classes of Wu 2020, section 8.1); the map of one is the negative of the other's. What the default model
    explains is its estimate from the picture alone, of a galaxy that ALFALFA detects.

    Examples
    --------
    >>> from hifrac import list_models
    >>> from hifrac.attribution import resolve_target
    >>> card = next(card for card in list_models() if card.name == "default")
    >>> target = resolve_target(card)
    >>> target.name, target.unit
    ('log_hi_fraction', Unit("dex"))
    """
    targets = _targets(card)
    target = card.target_column if target is None else target
    if target not in targets:
        raise ValueError(
            f"target: the model {card.name!r} has no {target!r}; it has {', '.join(targets) or 'none'}"
        )
    return targets[target]
