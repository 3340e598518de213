"""Rows and tables of figures of held-out galaxies, whatever the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from hifrac.metrics import bootstrap_errors, detection_auc, score_estimates
from hifrac.training.evaluation import FIGURES

N_BOOTSTRAP = 1000
#: The evidence of which the card tells the error beside that of the picture alone.
MOST_EVIDENCE = "picture+z+photometry"
#: What is asked of the shares that intervals cover, as `targets_table` has it.
COVERAGE_TARGETS = (("coverage_68", 0.62, 0.74), ("coverage_90", 0.85, 0.95))


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


def network_figures(table: Table) -> dict[str, float]:
    """Return the figures that the card shows: of the picture alone, and the error with most evidence."""
    with_error = ("rmse_error", "auc_error")
    figures = {
        name: round(float(table[name][0]), 4)
        for name in table.colnames
        if name not in ("model", "n", "sigma") and (name in with_error or not name.endswith("_error"))
    }
    best = table[list(table["model"]).index(MOST_EVIDENCE)]
    return {**figures, "rmse_z_photometry": round(float(best["rmse"]), 4)}


def thirds(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names and the rows of the thirds with the lowest, the middle and the highest values."""
    return zip(("lowest", "middle", "highest"), np.array_split(np.argsort(values), 3), strict=True)


def residual_row(residual: np.ndarray) -> dict[str, Any]:
    """Return how many residuals there are, and their error and offset."""
    return {"n": len(residual), "rmse": rmse(residual), "offset": float(residual.mean())}


def nmad(residual: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation from the median."""
    return float(1.4826 * np.median(np.abs(residual - np.median(residual))))


def percentile_columns(name: str, levels: Sequence[float]) -> list[str]:
    """Return the names of result columns of some levels: the median is the estimate."""
    return [name if level == 0.5 else f"{name}_p{round(100 * level):02d}" for level in levels]


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
