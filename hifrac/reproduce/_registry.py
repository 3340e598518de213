"""The experiments of the paper, and those that go beyond it."""

from __future__ import annotations

from collections.abc import Iterable

# Each module registers its experiments.
from hifrac.reproduce import (  # noqa: F401
    calibration,
    comparison,
    detection,
    environment,
    gradcam,
    regression,
    robustness,
    samples,
    simple,
    simulated,
)
from hifrac.reproduce._experiment import REGISTERED, Experiment

_FIGURES = [f"fig{number}" for number in range(1, 14)]
_TABLES = [f"table{number}" for number in range(1, 5)]
_BEYOND = ["coverage", "reliability", "slopes", "fig4-simulated", "table2-simulated"]

#: Every experiment by its name in the paper; then those that go beyond it.
EXPERIMENTS = {name: REGISTERED[name] for name in (*_FIGURES, *_TABLES, *_BEYOND)}


def select(names: str | Iterable[str | Experiment]) -> list[Experiment]:
    """Return experiments by name, each once; "all" is all of them."""
    names = [names] if isinstance(names, str) else list(names)
    if "all" in names:
        return list(EXPERIMENTS.values())
    if unknown := [name for name in names if isinstance(name, str) and name not in EXPERIMENTS]:
        raise ValueError(f"name must be all or one of {', '.join(EXPERIMENTS)}; got {', '.join(unknown)}")
    chosen = [EXPERIMENTS[name] if isinstance(name, str) else name for name in names]
    return list({experiment.name: experiment for experiment in chosen}.values())
