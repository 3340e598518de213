"""Cutouts of SDSS made here, from the survey's imaging frames at hand."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hifrac import images
from hifrac.core.exceptions import (
    BadCoordinateError,
    FetchError,
    OutOfFootprintError,
    RowError,
)
from hifrac.cutouts._frames import FrameIndex, Plan, load
from hifrac.cutouts.base import Cutout
from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe

# Bilinear interpolation neither averages many pixels nor sees between them; and over larger fields the
# mapping of pixels is not straight enough.
_SCALES, _MAX_FIELD = (0.1, 0.8), 600.0
# Pixels: more than the rounding of positions within a frame in single precision.
_HAIR = 1e-3

# How many frames stay mapped (16 fields), and how many stay unpacked: 12.2 MB each.
_MAPPED, _UNPACKED = 48, 12

# Rows that are looked up, and ordered by field, at a time: few at first, so that pictures come at once.
_FIRST_ROWS, _MOST_ROWS, _MOST_PIXELS = 16, 1024, 2**25


class FrameCutouts:
    """SDSS colour pictures made of imaging frames on disk, without any service.

    Parameters
    ----------
    path : str or path-like
        A folder; searched with all its sub-folders for files named
        ``frame-<band>-<run, 6 digits>-<camcol>-<field, 4 digits>.fits``, also
        ``.fits.bz2`` (as SDSS publishes them) and ``.fits.gz``. Only the bands
        of ``recipe`` are looked at; other files are ignored.
    recipe : `CutoutRecipe`, optional
        Of the pictures: survey ``"sdss"``, service ``"getjpeg"``, bands i, r, g,
        pixels of 0.1 to 0.8 arcsec, not wider than 600 arcsec.

    Attributes
    ----------
    recipe : `CutoutRecipe`
        ``recipe``.
    name_column : None
        Positions are enough.

    Raises
    ------
    TypeError
        If ``recipe`` is not a `CutoutRecipe`.
    FileNotFoundError
        If ``path`` does not exist.
    ValueError
        If ``path`` is not a folder, or ``recipe`` is none of the above.

    Notes
    -----
    *What is done.* Each band is interpolated bilinearly from its own native pixels
    of 0.396 arcsec (each band of a field has its own world coordinates) to the
    pixels of ``recipe``: gnomonic, north up. The surface brightness then gets
    the colour stretch ``hifrac.images.STRETCHES["sdss"]``, and becomes a JPEG
    of quality 75 with halved resolution in colour, as SkyServer's.

    *What differs from SkyServer's own pictures.* The service stretches whole
    frames on their native pixels, keeps them as pictures at several zoom
    levels, and resamples these once more; here fluxes are resampled once, and
    then stretched. Stars are a little sharper here, the noise of the sky is
    somewhat different, and no pixel need be the same. The constants of the
    stretch are not published: they were fitted to the service's pictures.
    Simulated frames of blank sky with typical noise come out at mean levels of
    5.6, 4.4, 3.5 (red, green, blue) with a scatter of 3.7, 3.4, 3.2; blank
    corners of the service's pictures have 4.6, 2.9, 3.0 and 3.1, 2.6, 2.6.
    Compare some pictures of both kinds before figures of a model for the one
    are quoted for the other. In overlaps of runs the service has its own
    choice of the one that is shown.

    *Overlaps and edges.* The frame in which the target lies farthest from the
    edges is taken first. What it does not cover is filled from the next; so
    are pixels that are not finite. A row is an
    `~hifrac.core.OutOfFootprintError` if the middle of the picture is
    not covered in all three bands. Elsewhere, pixels that some band lacks are
    black, as in the service's pictures at the edge of the survey. A frame that
    is missing, damaged or cut off only matters where no other frame shows the
    same sky: there the row's error names the file.

    *Index.* The headers of all frames are read once, when the first picture is
    asked for. Of a compressed file its first block must be unpacked for that.
    If there are files that cannot be understood, and no other band tells
    where on the sky they belong, a `~hifrac.core.HifracWarning` says so.

    *Memory.* The last 48 uncompressed frames stay memory-mapped, the last 12
    compressed ones unpacked (12.2 MB each). Rows may come in any order: up to
    1024 of them at a time are worked on by field, and given back in their
    order. Where many pictures are wanted, unpack the files before: bzip2 takes
    about a second for each.

    `fetch` may be used from several threads at once.

    Frames are described at
    https://dr16.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html.

    Examples
    --------
    >>> from hifrac.cutouts.frames import FrameCutouts
    >>> with FrameCutouts("/data/sdss/frames/301") as source:  # doctest: +SKIP
    ...     (cutout,) = source.fetch([184.957], [5.1215])
    """

    name_column = None

    def __init__(self, path: str | os.PathLike[str], *, recipe: CutoutRecipe = SDSS_RECIPE) -> None:
        if not isinstance(recipe, CutoutRecipe):
            raise TypeError(f"recipe must be a CutoutRecipe, got {type(recipe).__name__}")
        _check(recipe)
        self.recipe = recipe
        self._path = Path(path).expanduser()
        if not self._path.exists():
            raise FileNotFoundError(f"path does not exist: {self._path}")
        if not self._path.is_dir():
            raise ValueError(f"path must be a folder, got {self._path}")
        self._lock = threading.Lock()
        self._index: FrameIndex | None = None
        self._closed = False
        self._renew()

    def __enter__(self) -> FrameCutouts:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FrameCutouts({str(self._path)!r})"

    def describe(self) -> str:
        """One line for the provenance of a result: the name of the folder, not its place."""
        return f"SDSS frames in {self._path.name}, cut out here"

    def close(self) -> None:
        """Let go of all frames; pictures cannot be made any more. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            self._index = None
            self._renew()

    def fetch(
        self,
        ra: Sequence[float] | np.ndarray,
        dec: Sequence[float] | np.ndarray,
        names: Sequence[Any] | None = None,  # noqa: ARG002 (the protocol of all sources)
    ) -> Iterator[Cutout]:
        """Pictures of positions, one per position, in their order.

        Parameters
        ----------
        ra, dec : array-like of float, shape (n,)
            ICRS positions in degrees.
        names : sequence, optional
            Not used.

        Yields
        ------
        cutout : `Cutout`
            A JPEG, or as ``error`` what stopped this row:
            `~hifrac.core.OutOfFootprintError` if no frame shows the
            target, `~hifrac.core.BadImageError` if the frame is damaged
            or cut off, `~hifrac.core.FetchError` if a band is missing or
            its file cannot be read, `~hifrac.core.BadCoordinateError` for no position on
            the sphere.

        Raises
        ------
        ValueError
            If ``ra`` and ``dec`` differ in length, the source is closed, or
            the folder has no frames in the bands of ``recipe``.
        """
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        if len(ra) != len(dec):
            raise ValueError(f"ra and dec must have the same length, got {len(ra)} and {len(dec)}")
        self._open()
        return self._fetch(ra, dec)

    def _fetch(self, ra: np.ndarray, dec: np.ndarray) -> Iterator[Cutout]:
        most = max(1, min(_MOST_ROWS, _MOST_PIXELS // self.recipe.width**2))
        start, n_rows = 0, min(_FIRST_ROWS, most)
        while start < len(ra):
            rows = slice(start, start + n_rows)
            yield from self._some(ra[rows], dec[rows])
            start, n_rows = start + n_rows, min(2 * n_rows, most)

    def _some(self, ra: np.ndarray, dec: np.ndarray) -> list[Cutout]:
        """Pictures of a few rows: those of a field one after the other, each frame being opened once."""
        index = self._open()
        good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(ra) <= 360) & (np.abs(dec) <= 90)
        plan = index.plan(np.where(good, ra, 0.0), np.where(good, dec, 0.0), self.recipe)
        done: dict[int, Cutout] = {}
        for row in plan.order:
            position = float(ra[row]), float(dec[row])
            try:
                if not good[row]:
                    raise BadCoordinateError(f"ra and dec must be finite and on the sphere, got {position}")
                data = self._picture(index, plan, row)
            except RowError as error:
                done[row] = Cutout(error=error)
            else:
                done[row] = Cutout(data=data, position=position, recipe=self.recipe)
        return [done[row] for row in range(len(ra))]

    def _picture(self, index: FrameIndex, plan: Plan, row: int) -> bytes:
        # Pixels of a damaged file may be of any size.
        with np.errstate(over="ignore", invalid="ignore"):
            planes = [self._plane(index, plan, row, band) for band in range(3)]
            # One sum for all: a pixel that is not finite in any band is not in it either.
            if not np.isfinite(planes[0] + planes[1] + planes[2]).all():
                _black_out(planes, self._path.name)
            return images.to_jpeg(images.STRETCHES["sdss"].rgb(*planes))

    def _plane(self, index: FrameIndex, plan: Plan, row: int, band: int) -> np.ndarray:
        """Nanomaggies per native pixel in one band, NaN where no frame has any."""
        width = self.recipe.width
        plane: np.ndarray | None = None
        fault: RowError | None = None
        for pair in plan.pairs(row):
            field = plan.field[pair]
            points = _points(plan.mapping[pair, band], index.frames["shape"][field, band], width, plane)
            if points is None:
                continue
            try:
                pixels = self._pixels(index, field, band)
            except RowError as error:
                fault = fault or error
                continue
            values = _bilinear(pixels, points)
            if points.where is None:
                plane = values
            else:
                plane = np.full((width, width), np.nan, np.float32) if plane is None else plane
                plane[points.where] = values
            if np.isfinite(plane).all():
                return plane
        if fault is not None:
            raise fault
        return np.full((width, width), np.nan, np.float32) if plane is None else plane

    def _pixels(self, index: FrameIndex, field: int, band: int) -> np.ndarray:
        """The image of a frame."""
        frame = index.frames[field, band]
        if not frame["usable"]:
            raise index.fault(field, band)
        if self._process != os.getpid():
            # After a fork: locks may be held, and frames awaited, by threads that are not here.
            self._renew()
        recent = self._unpacked if index.is_packed(field, band) else self._mapped
        found = recent.get((field, band), lambda: load(index.path(field, band), frame))
        if isinstance(found, RowError):
            raise type(found)(str(found))
        return found

    def _renew(self) -> None:
        self._mapped, self._unpacked = _Recent(_MAPPED), _Recent(_UNPACKED)
        self._process = os.getpid()

    def _open(self) -> FrameIndex:
        """The index, the headers read."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            if self._index is None:
                self._index = FrameIndex(self._path, self.recipe.bands)
            return self._index


class _Recent:
    """The frames used last; threads that want the same one wait for one reading.

    A frame that proved damaged is remembered as well: it takes as long to find that out.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[int, int], Future[np.ndarray | RowError]] = OrderedDict()

    def get(self, key: tuple[int, int], load: Callable[[], np.ndarray | RowError]) -> np.ndarray | RowError:
        with self._lock:
            frame = self._frames.get(key)
            mine = frame is None
            if frame is None:
                frame = self._frames[key] = Future()
            self._frames.move_to_end(key)
            while len(self._frames) > self._capacity:
                self._frames.popitem(last=False)
        if mine:
            try:
                frame.set_result(load())
            except BaseException as error:
                frame.set_exception(error)
                self._forget(key)
                raise
            if isinstance(frame.result(), FetchError):  # the disk may do better next time
                self._forget(key)
        return frame.result()

    def _forget(self, key: tuple[int, int]) -> None:
        with self._lock:
            self._frames.pop(key, None)


def _black_out(planes: list[np.ndarray], name: str) -> None:
    """Leave only pixels that all bands have; an OutOfFootprintError if the middle is not among them."""
    covered: np.ndarray = np.asarray(np.isfinite(planes).all(axis=0))
    width = len(covered)
    middle = slice((width - 1) // 2, width // 2 + 1)
    if not covered[middle, middle].all():
        raise OutOfFootprintError(f"no frame in {name} shows the position in all three bands")
    for plane in planes:
        plane[~covered] = np.nan


def _check(recipe: CutoutRecipe) -> None:
    if (recipe.survey.lower(), recipe.service.lower()) != ("sdss", "getjpeg"):
        raise ValueError(f"recipe must be of sdss getjpeg, got {recipe.survey} {recipe.service}")
    if recipe.bands != ("i", "r", "g"):
        raise ValueError(f"recipe must have the bands i, r, g (the stretch is theirs), got {recipe.bands}")
    if not _SCALES[0] <= recipe.pixel_scale <= _SCALES[1]:
        raise ValueError(
            f"recipe must have a pixel_scale of {_SCALES[0]} to {_SCALES[1]}, got {recipe.pixel_scale}"
        )
    if recipe.field_of_view > _MAX_FIELD:
        raise ValueError(
            f"recipe must not be wider than {_MAX_FIELD:g} arcsec, got {recipe.field_of_view:g} arcsec"
        )


@dataclass(frozen=True)
class _Points:
    """Where in a picture (all of it, or a mask), and where in a box of a frame (in single precision)."""

    where: np.ndarray | None
    rows: slice
    columns: slice
    x: np.ndarray
    y: np.ndarray


def _points(mapping: np.ndarray, shape: np.ndarray, width: int, plane: np.ndarray | None) -> _Points | None:
    """The pixels that a plane still misses and a frame has; None if there are none."""
    (x0, x_column, x_row), (y0, y_column, y_row) = mapping.tolist()
    rows, columns = shape.tolist()
    side = width - 1
    # A straight mapping has its extremes in the corners.
    left, right = (
        x0 + side * (min(x_column, 0) + min(x_row, 0)),
        x0 + side * (max(x_column, 0) + max(x_row, 0)),
    )
    top, bottom = (
        y0 + side * (min(y_column, 0) + min(y_row, 0)),
        y0 + side * (max(y_column, 0) + max(y_row, 0)),
    )
    whole = left >= 0 and top >= 0 and right < columns - 1 - _HAIR and bottom < rows - 1 - _HAIR
    first_column, first_row = max(0, int(left)), max(0, int(top))
    box = (
        slice(first_row, min(rows, int(bottom + _HAIR) + 2)),
        slice(first_column, min(columns, int(right + _HAIR) + 2)),
    )
    grid = np.arange(width)
    x = np.add.outer(
        (x0 - first_column + x_row * grid).astype(np.float32), (x_column * grid).astype(np.float32)
    )
    y = np.add.outer((y0 - first_row + y_row * grid).astype(np.float32), (y_column * grid).astype(np.float32))
    if whole and plane is None:
        return _Points(None, *box, x, y)
    where = (
        (x >= 0) & (x < columns - 1 - _HAIR - first_column) & (y >= 0) & (y < rows - 1 - _HAIR - first_row)
    )
    if plane is not None:
        where &= ~np.isfinite(plane)
    return _Points(where, *box, x[where], y[where]) if where.any() else None


def _bilinear(pixels: np.ndarray, points: _Points) -> np.ndarray:
    """Values of a frame between its pixels, in single precision.

    A gather of four neighbours by numpy: several times as fast as `scipy.ndimage.affine_transform`,
    faster than torch's ``grid_sample``, and without threads of its own, which a fork could not bear.
    """
    box = pixels[points.rows, points.columns].astype(np.float32)
    width = box.shape[1]
    # Rounding may put a point a hair outside: towards zero, that is within the first pixel.
    column, row = np.trunc(points.x), np.trunc(points.y)
    to_right, to_bottom = points.x - column, points.y - row
    place = row.astype(np.intp)
    place *= width
    place += column.astype(np.intp)
    flat = box.ravel()
    upper, upper_right, lower, lower_right = (flat[shift:][place] for shift in (0, 1, width, width + 1))
    upper_right -= upper
    upper_right *= to_right
    upper += upper_right
    lower_right -= lower
    lower_right *= to_right
    lower += lower_right
    lower -= upper
    lower *= to_bottom
    upper += lower
    return upper
