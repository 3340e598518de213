"""Networks and their files."""

from hifrac.models.cards import ModelCard
from hifrac.models.registry import Model, list_models, load_model

__all__ = ["Model", "ModelCard", "list_models", "load_model"]
