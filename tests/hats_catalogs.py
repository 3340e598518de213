"""Catalogues in HATS for tests, and a source of pictures that shows which process opens it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable

from hifrac import LocalCutouts
from hifrac.core.exceptions import HifracWarning
from hifrac.core.shapes import as_table
from hifrac.demo import PICTURES, sample_table
from hifrac.hats._cluster import import_lsdb


def galaxies(n_rows: int) -> pd.DataFrame:
    """Rows on some degrees of the sky with pictures of the demonstration; two have none, some have a mass."""
    sample = sample_table()
    names = np.resize(np.asarray(sample["name"][:24]).astype(str), n_rows)
    names[[3, n_rows // 2]] = "nothing"
    generator = np.random.default_rng(20)
    masses = np.where(np.arange(n_rows) % 10 == 0, 9.7, np.nan)
    return pd.DataFrame(
        {
            "objid": 1237648720693755000 + np.arange(n_rows),
            "name": names,
            "ra": generator.uniform(160.0, 180.0, n_rows),
            "dec": generator.uniform(0.0, 20.0, n_rows),
            "log_mstar": masses,
        }
    )


def estimates(estimator, frame: pd.DataFrame) -> QTable:
    """Return the estimates of all rows by one call."""
    table = as_table(frame)
    table["ra"].unit = table["dec"].unit = "deg"
    return estimator.predict(table)


def write_catalog(frame: pd.DataFrame, folder: Path, *, rows: int = 10, margin: float | None = None) -> Path:
    """Write a catalogue in HATS, or with a margin (arcsec) a collection, with partitions of so many rows."""
    catalog = import_lsdb().from_dataframe(
        frame,
        catalog_name=folder.name,
        lowest_order=2,
        highest_order=8,
        partition_rows=rows,
        margin_threshold=margin,
    )
    catalog.write_catalog(folder, as_collection=margin is not None, progress_bar=False)
    return folder


def open_catalog(folder: Path):
    """Open a catalogue. LSDB takes seconds to import: what only collects tests does without it."""
    return import_lsdb().open_catalog(folder)


def written(folder: Path) -> dict[str, int]:
    """Return the partitions that are marked as done, and when their files were written (ns)."""
    marks = [path.name.removesuffix("_done").split("_") for path in folder.glob("done/*_done")]
    paths = {
        f"{order}/{pixel}": f"dataset/Norder={order}/Dir=*/Npix={pixel}.parquet" for order, pixel in marks
    }
    return {name: next(folder.glob(path)).stat().st_mtime_ns for name, path in paths.items()}


def says_why():
    """Expect the warning of the two rows without a picture."""
    return pytest.warns(HifracWarning, match="2 of 36 rows have no estimate\n  2 FETCH_FAILED: ")


def rows_of(catalog):
    """The rows of a catalogue in the order of objid."""
    return as_table(catalog.compute(progress_bar=False).sort_values("objid").reset_index(drop=True))


def wait_for(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class WatchedCutouts(LocalCutouts):
    """The pictures of the demonstration, each after a pause; who opens them is written to a log."""

    def __init__(self, log: Path, pause: float = 0.0) -> None:
        super().__init__(PICTURES, name="name")
        self._log, self._pause = log, pause
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")

    def __reduce__(self) -> tuple:
        return type(self), (self._log, self._pause)

    def fetch(self, *args, **options):
        for cutout in super().fetch(*args, **options):
            time.sleep(self._pause)
            yield cutout
