"""How a model is made: labels and pictures read, galaxies split, a network fitted, judged and written.

Four learners: ``structure`` fits the heads of the structure network (the default model) in closed form,
``metallicity`` those of the metallicity network, ``spectra`` those of the network of spectra, which all
share ``measuring``; ``cnn`` trains convolutional networks by steps of an optimizer. ``latents`` finds what
few numbers say of spectra. They need the extra ``train``.
"""

from __future__ import annotations

from importlib import import_module

_PLACES = {
    "TrainingConfig": "config",
    "bundled_configs": "config",
    "draw_folds": "splits",
    "draw_roles": "splits",
    "evaluate": "evaluation",
    "fit_info_vae": "latents",
    "fit_nmf": "latents",
    "fit_pca": "latents",
    "read_config": "config",
    "read_sample": "structure.sample",
    "read_split": "splits",
    "refit": "structure.refit",
    "train_metallicity": "metallicity.learner",
    "train_network": "cnn.learner",
    "train_spectra": "spectra.learner",
    "train_structure": "structure.learner",
    "write_split": "splits",
}

__all__ = [
    "TrainingConfig",
    "bundled_configs",
    "draw_folds",
    "draw_roles",
    "evaluate",
    "fit_info_vae",
    "fit_nmf",
    "fit_pca",
    "read_config",
    "read_sample",
    "read_split",
    "refit",
    "train_metallicity",
    "train_network",
    "train_spectra",
    "train_structure",
    "write_split",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
