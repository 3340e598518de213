"""Networks and their files: cards, calibration, and what a model answers."""

from hifrac.models.answer import Answer
from hifrac.models.calibration import ConformalTable, PosteriorTable
from hifrac.models.cards import ModelCard
from hifrac.models.detection import DetectionTable
from hifrac.models.export import export_model
from hifrac.models.registry import Model, list_models, load_model

__all__ = [
    "Answer",
    "ConformalTable",
    "DetectionTable",
    "Model",
    "ModelCard",
    "PosteriorTable",
    "export_model",
    "list_models",
    "load_model",
]
