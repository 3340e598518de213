"""What the network sees: heat maps of its estimates, on the sky."""

from __future__ import annotations

from hifrac.attribution.faithfulness import (
    RANKINGS,
    faithfulness_table,
    injection_scatter,
    perturbation_curves,
    randomisation_table,
    randomised,
)
from hifrac.attribution.injection import COLOURS, PROFILES, inject_point_sources
from hifrac.attribution.maps import HeatMaps, occlusion_maps
from hifrac.attribution.methods import METHODS, heat_maps, resolve_method
from hifrac.attribution.plotting import plot_explanation
from hifrac.attribution.regions import contours, evidence_blobs, write_regions
from hifrac.attribution.report import write_report
from hifrac.attribution.results import Explanation, Explanations
from hifrac.attribution.stacking import elliptical_radius, radial_evidence, stack_by_class
from hifrac.attribution.targets import TARGETS, Target, resolve_target

__all__ = [
    "COLOURS",
    "METHODS",
    "PROFILES",
    "RANKINGS",
    "TARGETS",
    "Explanation",
    "Explanations",
    "HeatMaps",
    "Target",
    "contours",
    "elliptical_radius",
    "evidence_blobs",
    "faithfulness_table",
    "heat_maps",
    "inject_point_sources",
    "injection_scatter",
    "occlusion_maps",
    "perturbation_curves",
    "plot_explanation",
    "radial_evidence",
    "randomisation_table",
    "randomised",
    "resolve_method",
    "resolve_target",
    "stack_by_class",
    "write_regions",
    "write_report",
]
