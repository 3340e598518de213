"""What the network sees: heat maps of its estimates, on the sky."""

from __future__ import annotations

from hifrac.attribution.injection import inject_point_sources
from hifrac.attribution.maps import HeatMaps
from hifrac.attribution.methods import heat_maps
from hifrac.attribution.regions import contours, evidence_blobs, write_regions
from hifrac.attribution.report import write_report
from hifrac.attribution.results import Explanation, Explanations
from hifrac.attribution.targets import Target, resolve_target

__all__ = [
    "Explanation",
    "Explanations",
    "HeatMaps",
    "Target",
    "contours",
    "evidence_blobs",
    "heat_maps",
    "inject_point_sources",
    "resolve_target",
    "write_regions",
    "write_report",
]
