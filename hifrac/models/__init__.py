"""Networks and their files."""

from hifrac.models.answer import Answer
from hifrac.models.cards import ModelCard
from hifrac.models.export import export_model
from hifrac.models.registry import Model, list_models, load_model

__all__ = ["Answer", "Model", "ModelCard", "export_model", "list_models", "load_model"]
