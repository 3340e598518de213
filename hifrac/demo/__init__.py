"""The demonstration: a bundled sample of simulated galaxies, and a figure of its estimates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.table import QTable, Table

__all__ = ["PICTURES", "sample_table"]

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


def run_demo(folder: str | Path) -> tuple[QTable, list[Path]]:
    """Estimate the bundled sample, and write the table and its figure.

    Parameters
    ----------
    folder : path-like
        Folder for ``result.ecsv`` and ``overview.png``, which are replaced; made if missing.

    Returns
    -------
    result : `~astropy.table.QTable`
        Estimates, one row per picture.
    paths : list of `pathlib.Path`
        Table and figure.
    """
    from hifrac.core.tables import write_table
    from hifrac.cutouts import LocalCutouts
    from hifrac.estimator import HIFractionEstimator
    from hifrac.visualization.overview import plot_overview

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    result = estimator.predict(sample_table())
    paths = [folder / "result.ecsv", folder / "overview.png"]
    write_table(result, paths[0], overwrite=True)
    title = "HI mass fractions of simulated galaxies"
    plot_overview(result, estimator.cutouts, columns=9, title=title).savefig(paths[1], dpi=110)
    return result, paths
