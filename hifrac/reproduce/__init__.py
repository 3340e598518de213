"""Figures and tables of Wu (2020), Wu & Boada (2019) and Wu & Peek (2020); and estimators on a survey."""

from __future__ import annotations

from hifrac.reproduce._benchmark import benchmark
from hifrac.reproduce._experiment import setting
from hifrac.reproduce._run import EXPERIMENTS, numbers_table, reproduce, result

__all__ = ["EXPERIMENTS", "benchmark", "numbers_table", "reproduce", "result", "setting"]
