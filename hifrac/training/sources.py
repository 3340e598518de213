"""Where a configuration's pictures and labels come from: the data directory, or a user's table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.config import data_dir
from hifrac.training.config import TrainingConfig
from hifrac.training.data import BRIGHT
from hifrac.training.pictures import LabelledPictures, numbers_of, read_labelled, require_columns

__all__ = ["read_pictures"]


def read_pictures(config: TrainingConfig, folder: str | Path | None = None) -> LabelledPictures:
    """Read what a configuration trains on.

    Parameters
    ----------
    config : `~hifrac.training.config.TrainingConfig`
        Its sections ``data`` and ``pictures`` say what.
    folder : path-like, optional
        The data directory; `~hifrac.config.data_dir` by default.

    Returns
    -------
    pictures : `~hifrac.training.pictures.LabelledPictures`
        Classes numbered, rows between them and rows in excess left out.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError, ~hifrac.exceptions.RowError
        As `~hifrac.training.pictures.read_labelled`; or if a class is neither 0 nor 1.
    """
    data = config.data
    if data.table is not None:
        from hifrac.tables import read_table

        table, cutouts, name, target = read_table(data.table), data.cutouts, data.name, data.target
    else:
        root = Path(folder) if folder is not None else data_dir()
        if root is None:
            raise ValueError(
                "no data directory: give --data-dir, set HIFRAC_DATA_DIR, or name a table and its cutouts"
            )
        table, cutouts, name, target = (
            _labels(root),
            root / "cutouts" / "sdss_cutouts.zip",
            "objid",
            data.target,
        )
        if data.sample == "detection":
            table, target = _detection(root, table), "detected"
    require_columns(table, [name, target])
    if config.network.classifies:
        table = _classes(table, target, config)
    return read_labelled(table, cutouts, config.pictures, name=name, target=target, is_limit=data.is_limit)


def _labels(root: Path) -> Table:
    return _read(root, "hi_labels.ecsv", ["objid", "ra", "dec"])


def _read(root: Path, name: str, columns: list[str]) -> Table:
    path = root / "cutouts" / name
    if not path.is_file():
        raise FileNotFoundError(f"data_dir: {path} is missing (set HIFRAC_DATA_DIR or conf.data_dir)")
    table = Table.read(path, format="ascii.ecsv")
    require_columns(table, columns)
    return table


def _detection(root: Path, labels: Table) -> Table:
    """Detections, then bright undetected galaxies of the survey's footprint."""
    columns = ["objid", "alfalfa_footprint", "alfalfa_detected", "flux_16px"]
    index = _read(root, "index.ecsv", columns)
    bright = index["alfalfa_footprint"] & ~index["alfalfa_detected"] & (index["flux_16px"] >= BRIGHT)
    undetected = np.asarray(index["objid"][bright], dtype=str)
    nowhere = np.full(len(undetected), np.nan)
    return Table(
        {
            "objid": np.concatenate([np.asarray(labels["objid"], dtype=str), undetected]),
            "detected": np.arange(len(labels) + len(undetected)) < len(labels),
            **{name: np.concatenate([numbers_of(labels, name), nowhere]) for name in ("ra", "dec")},
        }
    )


def _classes(table: Table, target: str, config: TrainingConfig) -> Table:
    """The rows that have a class, as many of each if they are to be; the target is its number."""
    data, values = config.data, numbers_of(table, target)
    if data.class_limits:
        low, high = data.class_limits
        kept = (values < low) | (values > high) | np.isnan(values)
        table, values = table[kept], values[kept]
        values = np.where(np.isnan(values), np.nan, values > high)
    elif strange := sorted(set(np.unique(values[np.isfinite(values)]).tolist()) - {0.0, 1.0}):
        raise ValueError(
            f"{target} must hold the classes 0 and 1, got {strange[0]:g}; "
            "data.class_limits makes classes of values"
        )
    table = table.copy()
    table[target] = values
    if not data.balance:
        return table
    smaller, larger = sorted((np.flatnonzero(values == one) for one in (0, 1)), key=len)
    drawn = np.random.default_rng(config.run.seed).choice(larger, len(smaller), replace=False)
    return table[np.sort(np.concatenate([smaller, drawn]))]
