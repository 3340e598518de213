"""What a map can be of: the outputs of a model, by the names that users know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from astropy import units as u

if TYPE_CHECKING:
    from astropy.units import UnitBase

    from hifrac.models import ModelCard

__all__ = ["TARGETS", "Target", "resolve_target"]

#: What every model may be asked for; a model that estimates something else has its ``target_column`` too.
TARGETS = ("log_hi_fraction", "p_detect", "gas-rich", "gas-poor")


@dataclass(frozen=True)
class Target:
    """One output of a network, with the sign and the unit of its map.

    Parameters
    ----------
    name : str
        What was asked for.
    output : str
        The output of the network that it is.
    sign : int
        1, or -1 where the output says the opposite.
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


def available(card: ModelCard) -> dict[str, Target]:
    """The targets that a model has, by name."""
    none = u.dimensionless_unscaled
    found: list[Target] = []
    column = card.target_column
    if "estimate" in card.outputs:
        is_hi = column == "log_hi_fraction"
        meaning = "the network's estimate of log10(M_HI/M*), before its calibration" if is_hi else card.target
        found.append(Target(column, "estimate", 1, u.dex if is_hi else none, meaning))
        if column == "gas_rich_logit":
            for name, sign in (("gas-rich", 1), ("gas-poor", -1)):
                found.append(Target(name, "estimate", sign, none, "log odds of the class against the other"))
    if "detection_logit" in card.outputs:
        found.append(
            Target("p_detect", "detection_logit", 1, none, "log odds of a detection, before calibration")
        )
    if "gas_poor_logit" in card.outputs and column != "gas_rich_logit":
        poor = "log odds that ALFALFA missed the galaxy, a deeper survey having looked for its HI"
        found.append(Target("gas-poor", "gas_poor_logit", 1, none, poor))
        rich = "log odds that ALFALFA detected the galaxy, against those that it missed"
        found.append(Target("gas-rich", "gas_poor_logit", -1, none, rich))
    return {target.name: target for target in found}


def resolve_target(card: ModelCard, target: str) -> Target:
    """The output that a target is in a model.

    Parameters
    ----------
    card : `~hifrac.models.ModelCard`
        The model's.
    target : str
        One of `TARGETS`, or the model's ``target_column``.

    Returns
    -------
    target : `Target`

    Raises
    ------
    ValueError
        If the model does not have it; the message says what it has.

    Notes
    -----
    ``"p_detect"`` is the raw log odds ``detection_logit``, of which p_detect is a function that increases.
    ``"gas-rich"`` and ``"gas-poor"`` are the two classes of a model that has them (``gas_rich_logit``, the
    classes of Wu 2020, section 8.1). The default model has other classes: ``"gas-poor"`` is its
    ``gas_poor_logit``, galaxies that ALFALFA missed though a deeper survey looked for their HI; and
    ``"gas-rich"`` is its negative. Either map of such a pair is the negative of the other.
    """
    targets = available(card)
    if target not in targets:
        raise ValueError(
            f"target: the model {card.name!r} has no {target!r}; it has {', '.join(targets) or 'none'}"
        )
    return targets[target]
