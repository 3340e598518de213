"""HI mass fractions, metallicities and spectra of galaxies from their pictures, with calibrated errors."""

from __future__ import annotations

import importlib

__version__ = "0.1.0.dev0"

# Names are imported on first use: `import hifrac` must cost nothing, and torch costs seconds.
_ROOM_OF = {
    "CutoutRecipe": "hifrac.cutouts",
    "Flag": "hifrac.core.flags",
    "HIFractionEstimator": "hifrac.estimator",
    "LocalCutouts": "hifrac.cutouts",
    "MetallicityEstimator": "hifrac.metallicity",
    "ModelCard": "hifrac.models",
    "SkyServerCutouts": "hifrac.cutouts",
    "SpectrumEstimator": "hifrac.spectrum",
    "conf": "hifrac.core.config",
    "decode_flags": "hifrac.core.flags",
    "list_models": "hifrac.models",
    "load_model": "hifrac.models",
    "plot_overview": "hifrac.visualization.overview",
    "plot_result": "hifrac.visualization.estimates",
    "plot_spectrum": "hifrac.visualization.spectra",
    "predict_parts": "hifrac.parts",
}

__all__ = [
    "CutoutRecipe",
    "Flag",
    "HIFractionEstimator",
    "LocalCutouts",
    "MetallicityEstimator",
    "ModelCard",
    "SkyServerCutouts",
    "SpectrumEstimator",
    "__citation__",
    "__version__",
    "conf",
    "decode_flags",
    "list_models",
    "load_model",
    "plot_overview",
    "plot_result",
    "plot_spectrum",
    "predict_parts",
]


def __getattr__(name: str):
    if name == "__citation__":
        from importlib import resources

        return resources.files(__name__).joinpath("CITATION.bib").read_text(encoding="utf-8")
    if name in _ROOM_OF:
        from hifrac.core.imports import uncollected

        with uncollected():
            value = getattr(importlib.import_module(_ROOM_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
