"""Labels and pictures: read from a user's table or from the data directory, checked, decoded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from torch import Tensor

from hifrac.core.config import data_dir
from hifrac.core.exceptions import HifracWarning, RowError
from hifrac.core.input import parse_labelled
from hifrac.cutouts import LocalCutouts
from hifrac.cutouts.recipe import CutoutRecipe

#: An undetected galaxy is bright when its central light (``flux_16px``, red
#: counts within 16 px) reaches that of nearly every detection (250 of 259).
BRIGHT = 30.0


def _root(folder: str | Path | None) -> Path:
    root = Path(folder) if folder is not None else data_dir()
    if root is None:
        raise ValueError("data_dir: none is configured; set HIFRAC_DATA_DIR or conf.data_dir")
    return root


def _table(folder: Path, name: str, columns: tuple[str, ...]) -> Table:
    path = folder / "cutouts" / name
    if not path.is_file():
        raise FileNotFoundError(f"data_dir: {path} is missing (set HIFRAC_DATA_DIR or conf.data_dir)")
    table = Table.read(path, format="ascii.ecsv")
    if missing := [column for column in columns if column not in table.colnames]:
        raise ValueError(f"data_dir: {path} lacks the columns {', '.join(missing)}")
    return table


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Pictures with one target each.

    Attributes
    ----------
    name : array of str, shape (n,)
        What names the pictures, each once.
    pixels : Tensor of uint8, shape (n, 3, width, width)
        Decoded once.
    target : array of float, shape (n,)
        Values, upper limits, or numbers of classes; NaN where unknown.
    is_limit : array of bool, shape (n,)
        Where the target is an upper limit.
    ra, dec : array of float, shape (n,)
        ICRS degrees; NaN where unknown.
    ebv : array of float, shape (n,), or None
        Galactic reddening E(B-V) in mag that the table states; NaN where it states none.
    """

    name: np.ndarray
    pixels: Tensor
    target: np.ndarray
    is_limit: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    ebv: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, rows: np.ndarray) -> LabelledPictures:
        """The rows of an index array or mask."""
        kept = np.arange(len(self))[rows]
        return LabelledPictures(
            **{
                key: None if value is None else value[kept]
                for key, value in vars(self).items()
                if key != "pixels"
            },
            pixels=self.pixels[torch.from_numpy(kept)],
        )


def read_labelled(
    table: Table,
    cutouts: str | Path,
    recipe: CutoutRecipe,
    *,
    name: str = "objid",
    target: str,
    is_limit: str | None = None,
) -> LabelledPictures:
    """Read the pictures that a table of labels names.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the columns named below, and positions where they are known: ``ra`` and ``dec`` (degrees,
        unless their unit says otherwise), or what else `~hifrac.HIFractionEstimator.predict` takes.
    cutouts : path-like
        Folder or archive of pictures.
    recipe : `~hifrac.cutouts.CutoutRecipe`
        What they are; their size is checked.
    name, target : str
        Columns.
    is_limit : str, optional
        Column of truth values, see `flags_of`: where the target is an upper limit.

    Returns
    -------
    pictures : LabelledPictures

    Raises
    ------
    ValueError
        If the table has no rows, lacks a column, names a picture twice, or a
        column holds the wrong kind of values.
    TypeError
        If positions or ``ebv`` are not numbers.
    ~astropy.units.UnitConversionError
        If the unit of a position is no angle, or that of ``ebv`` not mag.
    FileNotFoundError
        If there are no such ``cutouts``.
    ~hifrac.core.RowError
        If a picture is missing, damaged or not of the recipe's size: training takes all or nothing.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If no row has a valid position.
    """
    require_columns(table, [name, target, *([] if is_limit is None else [is_limit])])
    if not len(table):
        raise ValueError("table must have at least one row")
    limits = np.zeros(len(table), dtype=bool)
    if is_limit is not None:
        limits = flags_of(table, is_limit)
    names = np.array([str(one) for one in table[name]])
    unique, count = np.unique(names, return_counts=True)
    if np.any(count > 1):
        raise ValueError(f"{name}: {str(unique[count > 1][0])!r} stands in the table {count.max()} times")
    positions = parse_labelled(table, "ebv")
    if not np.isfinite(positions.ra).any():
        warnings.warn(
            "table has no valid positions, ra and dec for instance: the split may part galaxies closer than "
            "90 arcsec, and predict will need positions",
            HifracWarning,
            stacklevel=2,
        )
    return LabelledPictures(
        name=names,
        pixels=decode_all(table[name], cutouts, recipe, name),
        target=numbers_of(table, target),
        is_limit=limits,
        ra=positions.ra,
        dec=positions.dec,
        ebv=positions.ebv,
    )


def decode_all(names: Sequence, cutouts: str | Path, recipe: CutoutRecipe, column: str = "objid") -> Tensor:
    """The pictures of some names, decoded: uint8 (n, 3, width, width); a RowError if one cannot be had."""
    width = recipe.width
    pixels = np.empty((len(names), width, width, 3), dtype=np.uint8)
    nowhere = np.zeros(len(names))
    with LocalCutouts(cutouts, name=column) as source:
        for row, cutout in enumerate(source.fetch(nowhere, nowhere, names)):
            try:
                if cutout.error is not None:
                    raise cutout.error
                pixels[row] = recipe.decode(cutout.data)
            except RowError as error:
                raise type(error)(f"{column} {names[row]}: {error}") from error
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def require_columns(table: Table, names: Sequence[str]) -> None:
    """A ValueError that names the first column that a table lacks."""
    if missing := [one for one in names if one not in table.colnames]:
        raise ValueError(
            f"table has no column {missing[0]!r}; its columns are {', '.join(table.colnames) or '(none)'}"
        )


def flags_of(table: Table, column: str) -> np.ndarray:
    """A column of truth values: boolean, or the numbers 0 and 1, which is all that some formats have.

    Raises
    ------
    ValueError
        If it holds anything else, or has gaps.
    """
    values = table[column]
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{column} must be boolean, or 0 and 1, got {values.dtype}")
    numbers = numbers_of(table, column)
    bad = np.flatnonzero((numbers != 0) & (numbers != 1))
    if bad.size:
        value = "a gap" if np.isnan(numbers[bad[0]]) else f"{numbers[bad[0]]:g}"
        raise ValueError(f"{column} must be boolean, or 0 and 1, without gaps, got {value} in row {bad[0]}")
    return numbers == 1


def numbers_of(table: Table, column: str) -> np.ndarray:
    """A column as float, NaN where masked."""
    values = table[column]
    if values.dtype.kind not in "biuf" or values.ndim != 1:
        raise ValueError(f"{column} must hold one number a row, got {values.dtype}")
    values = getattr(values, "value", values)
    numbers = np.array(np.ma.getdata(values), dtype=float)
    numbers[np.ma.getmaskarray(np.ma.asarray(values))] = np.nan
    return numbers
