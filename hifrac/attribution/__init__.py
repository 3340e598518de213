"""What the network sees: heat maps of its estimates, on the sky."""

from __future__ import annotations

from hifrac.attribution.injection import COLOURS, PROFILES, inject_point_sources
from hifrac.attribution.maps import METHODS, HeatMaps, heat_maps, occlusion_maps, resolve_method
from hifrac.attribution.plotting import plot_explanation
from hifrac.attribution.regions import contours, evidence_blobs, write_regions
from hifrac.attribution.report import write_report
from hifrac.attribution.results import Explanation, Explanations
from hifrac.attribution.targets import TARGETS, Target, resolve_target

__all__ = [
    "COLOURS",
    "METHODS",
    "PROFILES",
    "TARGETS",
    "Explanation",
    "Explanations",
    "HeatMaps",
    "Target",
    "contours",
    "evidence_blobs",
    "heat_maps",
    "inject_point_sources",
    "occlusion_maps",
    "plot_explanation",
    "resolve_method",
    "resolve_target",
    "write_regions",
    "write_report",
]
