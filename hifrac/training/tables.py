"""Rows and tables of figures of held-out galaxies, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from hifrac.metrics import bootstrap_errors, detection_auc, score_estimates
from hifrac.training.evaluation import FIGURES

N_BOOTSTRAP = 1000


def regression_row(
    name: str, truth: np.ndarray, estimate: np.ndarray, shares: dict[str, float]
) -> dict[str, Any]:
    """Return the figures of a model, with errors, and the shares that its intervals cover."""
    scores = score_estimates(truth, estimate, draws=N_BOOTSTRAP)
    row = {"model": name, **{key: scores[key] for name in FIGURES for key in (name, f"{name}_error")}}
    return {**row, **shares_with_errors(shares, len(truth))}


def shares_with_errors(shares: dict[str, float], n: int) -> dict[str, float]:
    """Add to each share the standard error of one of so many galaxies."""
    both: dict[str, float] = {}
    for share, value in shares.items():
        both |= {share: value, f"{share}_error": float(np.sqrt(value * (1 - value) / n))}
    return both


def rmse(residual: np.ndarray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(residual**2)))


def auc_with_error(is_class: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Return the area under the curve, and its bootstrap error."""
    error = bootstrap_errors(detection_auc, is_class, score, draws=N_BOOTSTRAP, strata=is_class)
    return detection_auc(is_class, score), error


def targets_table(
    tables: dict[str, Table], targets: Sequence[tuple[str, str, str, float, float]], **only: str
) -> Table:
    """Tabulate the figures that a model was asked for, with their errors, and whether they are reached.

    Each target is a table, what its first column says, a figure and its range; ``only`` says what other
    columns must say where there are such.
    """
    rows = []
    for name, first, figure, lowest, highest in targets:
        table = tables[name]
        chosen = table[table.colnames[0]] == first
        for column, value in only.items():
            if column in table.colnames:
                chosen &= table[column] == value
        (row,) = table[chosen]
        error = f"{figure}_error"
        number = float(row[figure])
        rows.append(
            {
                "table": name,
                "evidence": first,
                "figure": figure,
                "value": number,
                "error": float(row[error]) if error in table.colnames else np.nan,
                "lowest": lowest,
                "highest": highest,
                "reached": lowest <= number <= highest,
            }
        )
    return formatted(Table(rows=rows), first=3)


def formatted(table: Table, first: int = 1) -> Table:
    """Round the numbers to four decimals, and show three of them."""
    table.round(4)
    for name in table.colnames[first:]:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".3f"
    return table
