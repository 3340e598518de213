"""The demonstration: a bundled sample of simulated galaxies, and a figure of its estimates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from astropy.table import QTable, Table

__all__ = ["PICTURES", "run_demo", "sample_table"]

#: Folder of the bundled pictures and their catalogue.
PICTURES = Path(__file__).parent / "pictures"


def sample_table() -> Table:
    """Read the catalogue of the bundled sample: simulated galaxies at invented positions.

    Returns
    -------
    table : `~astropy.table.Table`
        One row per picture: ``name`` (of the file in `PICTURES`), ``ra``, ``dec``, ``morphology``,
        ``log_mstar`` (NaN for objects that are no galaxies).

    Examples
    --------
    >>> from hifrac.demo import sample_table
    >>> print(sample_table()["name", "morphology"][:3])
          name       morphology
    ----------------- ----------
    sim-01-elliptical elliptical
    sim-02-elliptical elliptical
    sim-03-elliptical elliptical
    """
    from astropy.table import Table

    return Table.read(PICTURES / "catalog.ecsv", format="ascii.ecsv")


def run_demo(
    folder: str | Path, *, progress: bool | Callable[[int], object] = False
) -> tuple[QTable, list[Path]]:
    """Estimate the bundled sample, and write the table and its figure.

    Parameters
    ----------
    folder : path-like
        Folder for ``result.ecsv`` and ``overview.png``, which are replaced; made if missing.
    progress : bool or callable, optional
        As for `~hifrac.HIFractionEstimator.predict`.

    Returns
    -------
    result : `~astropy.table.QTable`
        Estimates, one row per picture.
    paths : list of `pathlib.Path`
        Table and figure.
    """
    from hifrac.core.exceptions import OutOfFootprintError
    from hifrac.core.tables import write_table
    from hifrac.cutouts import LocalCutouts
    from hifrac.demo.overview import plot_overview
    from hifrac.estimator import HIFractionEstimator
    from hifrac.images import decode

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = sample_table()
    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    result = estimator.predict(table, progress=progress)
    pictures: list[np.ndarray | None] = []
    for name in table["name"]:
        try:
            pictures.append(decode((PICTURES / f"{name}.jpg").read_bytes()))
        except OutOfFootprintError:
            pictures.append(None)
    paths = [folder / "result.ecsv", folder / "overview.png"]
    write_table(result, paths[0], overwrite=True)
    plot_overview(result, pictures, columns=9, names=table["name"]).savefig(paths[1], dpi=110)
    return result, paths
