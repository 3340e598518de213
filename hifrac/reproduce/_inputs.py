"""Galaxies with their measured values and the held-out answers of a model, joined by identifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.catalogs import match_ids
from hifrac.core.input import plain_floats
from hifrac.reproduce._experiment import Setting

__all__ = ["answers", "beyond", "held_out", "labels", "model_note"]


def labels(folder: Path) -> Table:
    """The labelled galaxies that ALFALFA detected, ``hi_labels.ecsv``, with objid as text."""
    return _read(folder / "cutouts" / "hi_labels.ecsv", ("ra", "dec", "v_helio", "log_hi_fraction_true"))


def answers(model: Path) -> Table:
    """What a model said of its training galaxies while it had not learned from them.

    ``out_of_fold.ecsv`` of the model: ``objid``, ``detected``, ``undetected``, ``gas_poor``,
    ``log_hi_fraction`` (dex), ``p_detect``, ``fold``.
    """
    return _read(
        model / "out_of_fold.ecsv",
        ("detected", "undetected", "gas_poor", "is_limit", "fold", "log_hi_fraction", "p_detect"),
    )


def held_out(setting: Setting) -> Table:
    """The galaxies that ALFALFA detected, with held-out ``estimate``, ``p_detect`` and ``fold``."""
    return _joined(labels(setting.folder), setting.model)


def beyond(setting: Setting) -> Table:
    """The RESOLVE galaxies that ALFALFA did not detect, joined as by `held_out`; with ``is_limit``."""
    path = setting.folder / "cutouts" / "resolve_labels.ecsv"
    table = _read(path, ("log_hi_fraction_true", "is_limit", "alfalfa_detected"))
    return _joined(table[~np.asarray(table["alfalfa_detected"], bool)], setting.model)


def model_note(model: Path) -> str:
    """Which model answered, for the notes of a result."""
    known = answers(model)
    return f"held-out answers of the model {model.name!r}, trained by {known.meta.get('command', 'unknown')}"


def _joined(table: Table, model: Path) -> Table:
    """The rows that a model answered for; those that it did not are counted in ``meta``."""
    known = answers(model)
    row = match_ids(table["objid"], known["objid"])["row"]
    there = ~np.asarray(row.mask)
    result = table[there]
    row = np.asarray(row[there])
    for name, column in (("estimate", "log_hi_fraction"), ("p_detect", "p_detect"), ("fold", "fold")):
        result[name] = np.asarray(known[column])[row]
    result["truth"] = plain_floats(result["log_hi_fraction_true"])
    result.meta = {"unanswered": int(np.sum(~there))}
    if not len(result):
        raise ValueError("model: none of its held-out answers is of a labelled galaxy of the data directory")
    return result


def _read(path: Path, columns: tuple[str, ...]) -> Table:
    table = Table.read(path, format="ascii.ecsv")
    if missing := [name for name in ("objid", *columns) if name not in table.colnames]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    table["objid"] = np.char.strip(np.asarray(table["objid"]).astype(str))
    return table
