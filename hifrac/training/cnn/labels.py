"""The pictures and labels that a configuration names: of the data directory, or of a user's table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import Table, join

from hifrac.core.flags import Flag
from hifrac.core.tables import read_table
from hifrac.cutouts import LocalCutouts
from hifrac.training.config import TrainingConfig
from hifrac.training.data import (
    ARCHIVE,
    DEEP,
    DEMO,
    DEMO_ARCHIVE,
    LABELS,
    METALLICITY,
    LabelledPictures,
    data_folder,
    numbers_of,
    read_alfalfa,
    read_data_table,
    read_index,
    read_labelled,
    require_classes,
    require_columns,
)
from hifrac.training.splits import galaxy_groups

#: The column of measured HI fractions in the tables of the data directory.
MEASURED = "log_hi_fraction_true"


def read_pictures(config: TrainingConfig, folder: str | Path | None = None) -> LabelledPictures:
    """Read what a configuration trains on: classes numbered, rows between them and in excess left out.

    ``folder`` is the data directory; `~hifrac.core.data_dir` by default.
    """
    data, name = config.data, "objid"
    target: str | tuple[str, ...] = data.target
    if data.table is None and len(data.targets) > 1:
        raise ValueError(
            "data.target: several columns are learned of a table of yours: give data.table and data.cutouts "
            "(--table and --cutouts)"
        )
    cutouts: str | Path
    if data.table is not None and data.cutouts is not None:
        table, cutouts, name = read_table(data.table), data.cutouts, data.name
    else:
        root = data_folder(folder)
        cutouts = root / ARCHIVE
        if data.sample == "detection":
            table, target = read_alfalfa(root, ("ra", "dec")), "detected"
        elif data.sample == "estimates":
            table = _estimates_table(root, data.teacher)
        elif data.sample == "metallicity":
            table = _with_approximate_positions(root, read_data_table(root, METALLICITY, ["objid"]))
        elif data.sample == "metallicity-demo":
            table, cutouts = read_data_table(root, DEMO, ["objid"]), root / DEMO_ARCHIVE
        else:
            table = _labels(root)
    require_columns(table, [name, *([target] if isinstance(target, str) else target)])
    if config.network.classifies and isinstance(target, str):
        table = _with_classes(table, target, config)
    return read_labelled(
        table,
        cutouts,
        config.pictures,
        name=name,
        target=target,
        is_limit=data.is_limit,
        bands=data.bands or None,
        pixel_scale=data.pixel_scale,
    )


def read_measured(config: TrainingConfig, folder: str | Path | None = None) -> LabelledPictures | None:
    """Read the measured galaxies that a training on estimates has left out; None for another training."""
    if config.data.table is not None or config.data.sample != "estimates":
        return None
    data = replace(config.data, sample="hi_fraction", target=MEASURED, balance=False)
    return read_pictures(replace(config, data=data), folder)


def _labels(root: Path, name: str = LABELS) -> Table:
    return read_data_table(root, name, ["objid", "ra", "dec"])


def _estimates_table(root: Path, teacher: str) -> Table:
    """List the galaxies that nobody measured, with the estimates of a model.

    Neither the measured galaxies nor others of their fields are among them, nor pictures unlike those
    that the teacher knows.
    """
    from hifrac.estimator import HIFractionEstimator

    galaxies = read_index(root)
    measured = [_labels(root)] + ([_labels(root, DEEP)] if (root / DEEP).is_file() else [])
    objid = np.concatenate([np.asarray(table["objid"], dtype=str) for table in (galaxies, *measured)])
    unknown = np.full(len(objid), np.nan)
    group = galaxy_groups(objid, unknown, unknown)
    galaxies = galaxies[~np.isin(group[: len(galaxies)], group[len(galaxies) :])]
    with LocalCutouts(root / ARCHIVE, name="objid") as cutouts:
        estimates = HIFractionEstimator(teacher, cutouts=cutouts).predict(galaxies)
    is_ood = np.asarray(estimates["flags"]) & Flag.OUT_OF_DISTRIBUTION != 0
    return estimates[~(np.ma.getmaskarray(estimates["log_hi_fraction"]) | is_ood)]


def _with_approximate_positions(root: Path, table: Table) -> Table:
    """Add the positions of pictures to a table that has none."""
    return join(table, read_index(root), keys="objid", join_type="left", keep_order=True)


def _with_classes(table: Table, target: str, config: TrainingConfig) -> Table:
    """Return the rows that have a class, as many of each if they are to be; the target is its number."""
    data, values = config.data, numbers_of(table, target)
    if data.class_limits:
        low, high = data.class_limits
        has_class = (values < low) | (values > high) | np.isnan(values)
        table, values = table[has_class], values[has_class]
        values = np.where(np.isnan(values), np.nan, values > high)
    else:
        require_classes(values, f"{target} must hold", "; data.class_limits makes classes of values")
    table = table.copy()
    table[target] = values
    if not data.balance:
        return table
    smaller, larger = sorted((np.flatnonzero(values == number) for number in (0, 1)), key=len)
    drawn = np.random.default_rng(config.run.seed).choice(larger, len(smaller), replace=False)
    return table[np.sort(np.concatenate([smaller, drawn]))]
