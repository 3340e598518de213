"""What all relations share: the flags, the facts, the checks of the input, the table that comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Column, QTable

import hifrac
from hifrac.core.columns import RESULT_COLUMNS, ResultColumn, make_column
from hifrac.core.exceptions import warn_caller
from hifrac.core.flags import BitFlag

_SIGMA_84 = 0.994458  # normal deviate of 84%, the upper of the two percentiles

#: What a relation can estimate: its column, and what it is.
ESTIMATED = {
    "log_hi_fraction": (RESULT_COLUMNS["log_hi_fraction"], "the HI mass fraction"),
    "oh": (
        ResultColumn("oh", None, "gas-phase oxygen abundance 12 + log10(O/H): the estimate, the median"),
        "12 + log10(O/H)",
    ),
}


class RelationFlag(BitFlag):
    """One bit of the ``relation_flags`` column; ``summary`` says what it means."""

    MISSING_INPUT = 1, "a measurement is masked or not finite: masked"
    OUT_OF_RANGE = 2, "a measurement is outside the range of the relation: masked"
    GAS_POOR = 4, "the median is below M_gas/M* = 0.05: an upper limit rather than an estimate"


@dataclass(frozen=True)
class Relation:
    """What is known of a published relation.

    Attributes
    ----------
    name : str
        Its name here.
    call : str
        How to call it.
    expression : str
        What it computes.
    ranges : dict of str to tuple of float
        For each measurement the least and the greatest value that is used.
    ranges_from : str
        Where the ranges come from.
    scatter : float or None
        Published scatter in dex; None where the relation is a density of its own.
    system : str
        The photometric system of the measurements.
    reference, equation : str
        The paper, and the place in it.
    quantity : {"log_hi_fraction", "oh"}
        What it estimates: a key of `ESTIMATED`.
    """

    name: str
    call: str
    expression: str
    ranges: dict[str, tuple[float, float]]
    ranges_from: str
    scatter: float | None
    system: str
    reference: str
    equation: str
    quantity: str = "log_hi_fraction"


def same_length(inputs: dict[str, np.ndarray]) -> None:
    lengths = {name: len(values) for name, values in inputs.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "lengths differ: " + ", ".join(f"{name} has {length}" for name, length in lengths.items())
        )


def check(inputs: dict[str, np.ndarray], relation: Relation) -> np.ndarray:
    """Return the flags of each row."""
    same_length(inputs)
    missing = np.any([np.isnan(values) for values in inputs.values()], axis=0)
    outside = np.zeros(len(missing), bool)
    for name, values in inputs.items():
        low, high = relation.ranges[name]
        with np.errstate(invalid="ignore"):
            is_outside = (values < low) | (values > high)
        if np.any(is_outside) and np.all(is_outside[~np.isnan(values)]):
            warn_caller(
                f"{name}: all values are outside {low:g} to {high:g}, for instance "
                f"{values[is_outside][0]:g}: is it measured as {relation.name} wants it? ({relation.system})"
            )
        outside |= is_outside
    flags = np.where(missing, int(RelationFlag.MISSING_INPUT), 0)
    return flags | np.where(outside, int(RelationFlag.OUT_OF_RANGE), 0)


def normal_percentiles(estimate: np.ndarray, spread: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return estimate - _SIGMA_84 * spread, estimate + _SIGMA_84 * spread


def relation_result(
    estimate: np.ndarray, p16: np.ndarray, p84: np.ndarray, flags: np.ndarray, relation: Relation
) -> QTable:
    mask = (flags & int(RelationFlag.MISSING_INPUT | RelationFlag.OUT_OF_RANGE)) != 0
    table = QTable()
    entry, what = ESTIMATED[relation.quantity]
    table[entry.name] = make_column(entry, estimate, mask)
    for level, values in (("16", p16), ("84", p84)):
        part = ResultColumn(
            f"{entry.name}_p{level}", entry.unit, f"{level}th percentile of {what}, of the relation"
        )
        table[part.name] = make_column(part, values, mask | np.isnan(values))
    table["relation_flags"] = Column(
        flags, description="what to know of the row, a bit mask: see RelationFlag"
    )
    table.meta["hifrac"] = {
        "version": hifrac.__version__,
        "relation": relation.name,
        "expression": relation.expression,
        "scatter_dex": relation.scatter,
        "photometric_system": relation.system,
        "references": [f"{relation.reference}, {relation.equation}"] if relation.reference else [],
    }
    return table
