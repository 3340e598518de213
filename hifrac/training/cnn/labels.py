"""Where a configuration's pictures and labels come from: the data directory, or a user's table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

from hifrac.core.config import data_dir
from hifrac.training.config import TrainingConfig
from hifrac.training.data import BRIGHT, LabelledPictures, numbers_of, read_labelled, require_columns

_ARCHIVE = "sdss_cutouts.zip"
DEEPER = "resolve_labels.ecsv"
#: The column of measured HI fractions in the tables of the data directory.
MEASURED = "log_hi_fraction_true"


def read_pictures(config: TrainingConfig, folder: str | Path | None = None) -> LabelledPictures:
    """Read what a configuration trains on.

    Parameters
    ----------
    config : `~hifrac.training.TrainingConfig`
        Its sections ``data`` and ``pictures`` say what.
    folder : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default.

    Returns
    -------
    pictures : `~hifrac.training.pictures.LabelledPictures`
        Classes numbered, rows between them and rows in excess left out.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError, ~hifrac.core.RowError
        As `~hifrac.training.data.read_labelled`; or if a class is neither 0 nor 1.
    """
    data = config.data
    if data.table is not None:
        from hifrac.core.tables import read_table

        table, cutouts, name, target = read_table(data.table), data.cutouts, data.name, data.target
    else:
        root = Path(folder) if folder is not None else data_dir()
        if root is None:
            raise ValueError(
                "no data directory: give --data-dir, set HIFRAC_DATA_DIR, or name a table and its cutouts"
            )
        cutouts, name, target = root / "cutouts" / _ARCHIVE, "objid", data.target
        if data.sample == "detection":
            table, target = _detection(root, _labels(root)), "detected"
        elif data.sample == "estimates":
            table = _estimated(root, data.teacher)
        else:
            table = _labels(root)
    require_columns(table, [name, target])
    if config.network.classifies:
        table = _classes(table, target, config)
    return read_labelled(table, cutouts, config.pictures, name=name, target=target, is_limit=data.is_limit)


def read_measured(config: TrainingConfig, folder: str | Path | None = None) -> LabelledPictures | None:
    """The measured galaxies that a training on estimates has left out, to be judged by.

    Parameters
    ----------
    config, folder
        As of `read_pictures`.

    Returns
    -------
    pictures : `~hifrac.training.pictures.LabelledPictures` or None
        None unless ``data.sample`` is "estimates".

    Raises
    ------
    FileNotFoundError, ValueError, ~hifrac.core.RowError
        As of `read_pictures`.
    """
    if config.data.table is not None or config.data.sample != "estimates":
        return None
    data = replace(config.data, sample="hi_fraction", target=MEASURED, balance=False)
    return read_pictures(replace(config, data=data), folder)


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


def _estimated(root: Path, teacher: str) -> Table:
    """The galaxies that nobody measured, with the estimates of a model.

    Neither the measured galaxies nor others of their fields are among them, nor pictures unlike those
    that the teacher knows.
    """
    from hifrac.core.flags import Flag
    from hifrac.cutouts import LocalCutouts
    from hifrac.estimator import HIFractionEstimator
    from hifrac.training.splits import galaxy_groups

    index = _read(root, "index.ecsv", ["objid", "ra_approx", "dec_approx"])
    known = [_labels(root)]
    if (root / "cutouts" / DEEPER).is_file():
        known.append(_read(root, DEEPER, ["objid", "ra", "dec"]))
    # Their positions are good to a tenth of a degree: enough for the dust, and the field tells neighbours.
    galaxies = Table(
        {
            "objid": np.asarray(index["objid"], dtype=str),
            "ra": numbers_of(index, "ra_approx") * u.deg,
            "dec": numbers_of(index, "dec_approx") * u.deg,
        }
    )
    measured = np.concatenate([np.asarray(table["objid"], dtype=str) for table in known])
    everything = np.concatenate([galaxies["objid"], measured])
    nowhere = np.full(len(everything), np.nan)
    group = galaxy_groups(everything, nowhere, nowhere)
    galaxies = galaxies[~np.isin(group[: len(galaxies)], group[len(galaxies) :])]
    with LocalCutouts(root / "cutouts" / _ARCHIVE, name="objid") as cutouts:
        estimated = HIFractionEstimator(teacher, cutouts=cutouts).predict(galaxies)
    strange = np.asarray(estimated["flags"]) & Flag.OUT_OF_DISTRIBUTION != 0
    return estimated[~(np.ma.getmaskarray(estimated["log_hi_fraction"]) | strange)]


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
