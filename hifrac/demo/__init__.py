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
    """Estimate the bundled sample, and write the table and a figure for each quantity.

    Parameters
    ----------
    folder : path-like
        Folder for ``result.ecsv``, ``overview.png`` and ``metallicity.png``, which are replaced; made if
        missing.

    Returns
    -------
    result : `~astropy.table.QTable`
        HI mass fractions, one row per picture; then the columns of the metallicities, of whose flags
        NOT_STAR_FORMING is with the others.
    paths : list of `pathlib.Path`
        Table and figures.
    """
    import hifrac
    from hifrac.core.files import new_file
    from hifrac.core.flags import Flag
    from hifrac.core.quantities import QUANTITIES
    from hifrac.core.tables import write_table

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("result.ecsv", "overview.png", "metallicity.png")]
    results = []
    for name, path in zip(("hi", "metallicity"), paths[1:], strict=True):
        quantity = QUANTITIES[name]
        cutouts = hifrac.LocalCutouts(PICTURES, name="name")
        result = getattr(hifrac, quantity.estimator)(cutouts=cutouts).predict(sample_table())
        title = f"{quantity.title} of simulated galaxies"
        figure = hifrac.plot_overview(result, cutouts, columns=9, title=title)
        with new_file(path, overwrite=True) as partial:
            figure.savefig(partial, dpi=110)
        results.append(result)
    result, metallicity = results
    for name in metallicity.colnames:
        if name not in result.colnames:
            result[name] = metallicity[name]
    result["flags"] |= metallicity["flags"] & int(Flag.NOT_STAR_FORMING)
    result.meta["hifrac"]["metallicity"] = metallicity.meta["hifrac"]
    write_table(result, paths[0], overwrite=True)
    return result, paths
