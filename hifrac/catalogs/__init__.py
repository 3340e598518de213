"""HI surveys and SDSS catalogues as tables of one form, their cross-matches, and the samples of the paper."""

from __future__ import annotations

from hifrac.catalogs._registry import CATALOGS
from hifrac.catalogs.alfalfa import alfalfa_a40, alfalfa_a100, durbala2020
from hifrac.catalogs.columns import CATALOG_COLUMNS, CatalogFlag, plain_values
from hifrac.catalogs.errors import CatalogError, CatalogWarning
from hifrac.catalogs.matching import count_neighbours, find_duplicates, match_ids, match_positions
from hifrac.catalogs.scales import convert_h0, declare_scale
from hifrac.catalogs.sdss import mpa_jhu, nsa, teimoorinia2017, tmrs
from hifrac.catalogs.targeted import nibles, resolve, xgass
from hifrac.catalogs.wu_boada import wu2019

__all__ = [
    "CATALOGS",
    "CATALOG_COLUMNS",
    "CatalogError",
    "CatalogFlag",
    "CatalogWarning",
    "alfalfa_a40",
    "alfalfa_a100",
    "convert_h0",
    "count_neighbours",
    "declare_scale",
    "durbala2020",
    "find_duplicates",
    "match_ids",
    "match_positions",
    "mpa_jhu",
    "nibles",
    "nsa",
    "plain_values",
    "resolve",
    "teimoorinia2017",
    "tmrs",
    "wu2019",
    "xgass",
]
