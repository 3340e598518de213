"""Labels and pictures: read from the data directory or from a user's table, checked, decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from astropy import units as u
from astropy.table import Table
from torch import Tensor

from hifrac.core.config import data_dir
from hifrac.core.exceptions import RowError, warn_caller
from hifrac.core.input import parse_labelled
from hifrac.cutouts import LocalCutouts
from hifrac.cutouts.recipe import CutoutRecipe

#: The files of a data directory, in its folder ``cutouts``.
ARCHIVE, LABELS, INDEX, DEEP = "sdss_cutouts.zip", "hi_labels.ecsv", "index.ecsv", "resolve_labels.ecsv"
METALLICITY = "metallicity_labels.ecsv"
#: Pictures of Wu & Boada (2019), each of a scale of its own, and their labels.
DEMO_ARCHIVE, DEMO = "metallicity_demo.zip", "metallicity_demo_labels.ecsv"
#: An undetected galaxy is bright when its central light (``flux_16px``, red
#: counts within 16 px) reaches that of nearly every detection (250 of 259).
BRIGHT = 30.0


def data_folder(folder: str | Path | None) -> Path:
    """Return the folder of a data directory's cutouts; by default of the configured one."""
    root = Path(folder) if folder is not None else data_dir()
    if root is None:
        raise ValueError(
            "data_dir: none is configured: give --data-dir, set HIFRAC_DATA_DIR or conf.data_dir, or name a "
            "table and its cutouts"
        )
    return root / "cutouts"


def read_data_table(folder: Path, name: str, columns: Sequence[str]) -> Table:
    """Read a table of a data directory that must have some columns."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"data_dir: {path} is missing (set HIFRAC_DATA_DIR or conf.data_dir)")
    table = Table.read(path, format="ascii.ecsv")
    if missing := [column for column in columns if column not in table.colnames]:
        raise ValueError(f"data_dir: {path} lacks the columns {', '.join(missing)}")
    return table


def read_alfalfa(folder: Path, of_detections: Sequence[str], of_others: Sequence[str] = ()) -> Table:
    """List detections, then bright galaxies of the ALFALFA footprint that ALFALFA did not detect.

    ``of_detections`` and ``of_others`` are columns of numbers that only the one or the other have.
    """
    labels = read_data_table(folder, LABELS, ["objid", *of_detections])
    selection = ("alfalfa_footprint", "alfalfa_detected", "flux_16px")
    index = read_data_table(folder, INDEX, ["objid", *of_others, *selection])
    index = index[index["alfalfa_footprint"] & ~index["alfalfa_detected"] & (index["flux_16px"] >= BRIGHT)]
    names = [np.asarray(table["objid"], dtype=str) for table in (labels, index)]
    galaxies = Table({"objid": np.concatenate(names)})
    galaxies["detected"] = np.arange(len(galaxies)) < len(labels)
    for table, columns, rows in (
        (labels, of_detections, galaxies["detected"]),
        (index, of_others, ~galaxies["detected"]),
    ):
        for column in columns:
            galaxies[column] = np.nan
            galaxies[column][rows] = numbers_of(table, column)
    return galaxies


def read_index(folder: Path) -> Table:
    """List all pictures: ``objid``, ``ra`` and ``dec``, NaN where unknown."""
    index = read_data_table(folder, INDEX, ["objid", "ra_approx", "dec_approx"])
    # Their positions are good to a tenth of a degree: enough for the dust, and the field tells neighbours.
    return Table(
        {
            "objid": np.asarray(index["objid"], dtype=str),
            "ra": numbers_of(index, "ra_approx") * u.deg,
            "dec": numbers_of(index, "dec_approx") * u.deg,
        }
    )


def pictures_or_errors(
    names: Sequence | np.ndarray,
    cutouts: str | Path,
    recipe: CutoutRecipe,
    column: str = "objid",
    *,
    bands: str | None = None,
    pixel_scale: float | None = None,
) -> Iterator[np.ndarray | RowError]:
    """Yield the decoded picture (width, width, n_bands) of each name, or the error that is in its place.

    ``bands`` are those of the planes of the files, ``pixel_scale`` is that of the files, where they are not
    the recipe's.
    """
    nowhere = np.zeros(len(names))
    # Pictures are taken as they are, whatever made them; fluxes are of their bands, or of none.
    mine = None if recipe.is_picture else recipe
    with LocalCutouts(cutouts, column, recipe=mine, bands=bands, pixel_scale=pixel_scale) as source:
        for cutout in source.fetch(nowhere, nowhere, list(names)):
            if cutout.error is not None:
                yield cutout.error
                continue
            try:
                # What has no error has data.
                picture = recipe.decode(cast(bytes, cutout.data), cutout.pixel_scale)
            except RowError as error:
                yield error
            else:
                yield picture


def decode_all(
    names: Sequence | np.ndarray,
    cutouts: str | Path,
    recipe: CutoutRecipe,
    column: str = "objid",
    **files: Any,
) -> np.ndarray:
    """Decode the pictures of some names: uint8 (n, width, width, 3); a RowError if one cannot be had.

    Of a recipe of more bands they are fluxes, float32. ``files`` are as of `pictures_or_errors`.
    """
    pixels = recipe.empty(len(names))
    for row, picture in enumerate(pictures_or_errors(names, cutouts, recipe, column, **files)):
        if isinstance(picture, RowError):
            raise type(picture)(f"{column} {names[row]}: {picture}") from picture
        pixels[row] = picture
    return pixels


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Pictures with one target each; arrays of shape (n,), NaN where unknown.

    ``pixels``, a Tensor of uint8, is (n, 3, width, width), or of float32, with as many bands as there are;
    ``target`` holds values, upper limits where ``is_limit``, or numbers of classes; of several targets it is
    (n, n_targets); ``ra`` and ``dec`` are ICRS degrees, and ``ebv`` the Galactic
    reddening in mag, if the table states one. Each name stands there once.
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
        """Return the rows of an index array or mask."""
        rows = np.arange(len(self))[rows]
        columns: dict[str, Any] = {
            name: None if values is None else values[torch.from_numpy(rows) if name == "pixels" else rows]
            for name, values in vars(self).items()
        }
        return LabelledPictures(**columns)


def read_labelled(
    table: Table,
    cutouts: str | Path,
    recipe: CutoutRecipe,
    *,
    name: str = "objid",
    target: str | Sequence[str],
    is_limit: str | None = None,
    **files: Any,
) -> LabelledPictures:
    """Read the pictures that a table of labels names.

    Positions may be missing; ``ra`` and ``dec`` are degrees unless their unit says otherwise. A table
    without rows or columns, a name that stands there twice, or values of the wrong kind are a ValueError, a
    picture that is missing, damaged or not of the recipe's size a RowError: training takes all or nothing.
    The columns are those of the pictures' names, of the target or of several, and of truth values, where it
    is an upper limit. ``files`` are as of `pictures_or_errors`.
    """
    targets = [target] if isinstance(target, str) else list(target)
    require_columns(table, [name, *targets, *([] if is_limit is None else [is_limit])])
    if not len(table):
        raise ValueError("table must have at least one row")
    limits = flags_of(table, is_limit)
    names = np.array([str(value) for value in table[name]])
    unique, count = np.unique(names, return_counts=True)
    if np.any(count > 1):
        raise ValueError(f"{name}: {str(unique[count > 1][0])!r} stands in the table {count.max()} times")
    positions = parse_labelled(table, "ebv")
    if not np.isfinite(positions.ra).any():
        warn_caller(
            "table has no valid positions, ra and dec for instance: the split may part galaxies closer than "
            "90 arcsec, and predict will need positions"
        )
    values = np.stack([numbers_of(table, column) for column in targets], axis=1)
    pixels = decode_all(table[name], cutouts, recipe, name, **files)
    return LabelledPictures(
        name=names,
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        target=values[:, 0] if isinstance(target, str) else values,
        is_limit=limits,
        ra=positions.ra,
        dec=positions.dec,
        ebv=positions.ebv,
    )


def require_finite(
    pictures: LabelledPictures, target: str | Sequence[str], *, masked: bool = False, way_out: str = ""
) -> None:
    """Raise a ValueError that names the first picture without a finite label; ``masked`` allows for NaN."""
    values = pictures.target.reshape(len(pictures), -1)
    for column, labels in zip([target] if isinstance(target, str) else target, values.T, strict=True):
        bad = np.isinf(labels) if masked else ~np.isfinite(labels)
        if bad.any():
            raise ValueError(
                f"{column}: {bad.sum()} labels are missing or not finite, the first is that of "
                f"{pictures.name[bad][0]}{way_out}"
            )


def require_columns(table: Table, names: Sequence[str]) -> None:
    """Raise a ValueError that names the first column that a table lacks."""
    if missing := [name for name in names if name not in table.colnames]:
        raise ValueError(
            f"table has no column {missing[0]!r}; its columns are {', '.join(table.colnames) or '(none)'}"
        )


def flags_of(table: Table, column: str | None) -> np.ndarray:
    """Return a column of truth values: boolean, or the numbers 0 and 1; all False without a column."""
    if column is None:
        return np.zeros(len(table), dtype=bool)
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
    """Return a column as float, NaN where masked."""
    values = table[column]
    if values.dtype.kind not in "biuf" or values.ndim != 1:
        raise ValueError(f"{column} must hold one number a row, got {values.dtype}")
    values = getattr(values, "value", values)
    numbers = np.array(np.ma.getdata(values), dtype=float)
    numbers[np.ma.getmaskarray(np.ma.asarray(values))] = np.nan
    return numbers


def require_classes(values: np.ndarray, before: str, after: str) -> None:
    """Raise a ValueError, in the words given, for the first value that is neither 0, 1 nor NaN."""
    if others := sorted(set(np.unique(values[np.isfinite(values)]).tolist()) - {0.0, 1.0}):
        raise ValueError(f"{before} the classes 0 and 1, got {others[0]:g}{after}")
