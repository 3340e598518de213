"""Cutouts of SDSS made here, from the survey's imaging frames at hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hifrac import images
from hifrac.core.exceptions import BadScaleError, OutOfFootprintError, RowError
from hifrac.core.forks import tell_of_forks
from hifrac.cutouts._frames import FrameIndex, Show
from hifrac.cutouts._positions import bad_coordinate, on_sphere
from hifrac.cutouts._scales import checked_scales
from hifrac.cutouts.base import Cutout
from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe

# Bilinear interpolation neither averages many pixels nor sees between them; and over larger fields the nodes
# of a picture are too far from each other.
_SCALES, _MAX_FIELD = (0.1, 0.8), 600.0

# Rows that are looked up, and ordered by field, at a time: few at first, so that pictures come at once.
_FIRST_ROWS, _MOST_ROWS, _MOST_PIXELS = 16, 1024, 2**25


class FrameCutouts:
    """SDSS colour pictures made of imaging frames on disk, without any service.

    Parameters
    ----------
    path : str or path-like
        A folder; searched with all its sub-folders for files named
        ``frame-<band>-<run, 6 digits>-<camcol>-<field, 4 digits>.fits``, also ``.fits.bz2`` (as SDSS has
        them) and ``.fits.gz``. Only the bands of ``recipe`` are looked at; other files are ignored.
    recipe : `CutoutRecipe`, optional
        Of the pictures: survey ``"sdss"``, service ``"getjpeg"``, bands i, r, g, pixels of 0.1 to 0.8 arcsec,
        not wider than 600 arcsec. With a ``scale_column``, that is so of each row: others are errors.

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
    *What is done.* Each band is interpolated bilinearly from its own native pixels of 0.396 arcsec (each band
    of a field has its own world coordinates, which may have any projection and distortion that
    `astropy.wcs.WCS` reads) to the pixels of ``recipe``: gnomonic, north up. The surface brightness then gets
    the colour stretch ``hifrac.images.STRETCHES["sdss"]``, and becomes a JPEG of quality 75 with halved
    resolution in colour, as SkyServer's.

    *What differs from SkyServer's own pictures.* The service stretches whole frames on their native pixels,
    keeps them as pictures at several zoom levels, and resamples these once more; here fluxes are resampled
    once, and then stretched. Stars are a little sharper here, the noise of the sky is somewhat different, and
    no pixel need be the same. The constants of the stretch are not published: they were fitted to the
    service's pictures. Simulated frames of blank sky with typical noise come out at mean levels of 5.6, 4.4,
    3.5 (red, green, blue) with a scatter of 3.7, 3.4, 3.2; blank corners of the service's pictures have 4.6,
    2.9, 3.0 and 3.1, 2.6, 2.6. Compare some pictures of both kinds before figures of a model for the one are
    quoted for the other. In overlaps of runs the service has its own choice of the one that is shown.

    *Overlaps and edges.* The frame in which the target lies farthest from the edges is taken first. What it
    does not cover is filled from the next; so are pixels that are not finite. A row is an
    `~hifrac.core.OutOfFootprintError` if the middle of the picture is not covered in all three bands.
    Elsewhere, pixels that some band lacks are black, as in the service's pictures at the edge of the survey.
    A frame that is missing, damaged or cut off only matters where no other frame shows the same sky: there
    the row's error names the file.

    *Index.* The headers of all frames are read once, when the first picture is asked for. Of a compressed
    file its first block must be unpacked for that. If there are files that cannot be understood, and no other
    band tells where on the sky they belong, a `~hifrac.core.HifracWarning` says so.

    *Memory.* The last 48 uncompressed frames stay memory-mapped, the last 12 compressed ones unpacked (12.2
    MB each). Rows may come in any order: up to 1024 of them at a time are worked on by field, and given back
    in their order. Where many pictures are wanted, unpack the files before: bzip2 takes about a second for
    each.

    `fetch` may be used from several threads at once.

    Frames are described at
    https://dr16.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html.

    Examples
    --------
    >>> from hifrac.cutouts import FrameCutouts
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
        tell_of_forks(self)
        # World coordinates are worked out at three by three nodes of a picture. Parabolas lead from there to
        # all pixels, to much better than a hundredth of one.
        centre = (recipe.width - 1) / 2
        reach = max(centre, 0.5)
        self._nodes = centre + reach * np.array([-1.0, 0.0, 1.0])
        steps = np.vander((np.arange(recipe.width) - centre) / reach, 3)
        self._weights = (steps @ np.linalg.inv(np.vander([-1.0, 0.0, 1.0], 3))).astype(np.float32)

    def _before_fork(self) -> None:
        pass

    def _after_fork(self, is_child: bool) -> None:
        if is_child:
            self._lock = threading.Lock()
            if self._index is not None:
                self._index.renew()

    def __reduce__(self) -> tuple:
        # Another process reads the headers itself.
        return partial(type(self), self._path.absolute(), recipe=self.recipe), ()

    def __enter__(self) -> FrameCutouts:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FrameCutouts({str(self._path)!r})"

    def describe(self) -> str:
        """Describe the source in one line: the name of the folder, not its place."""
        return f"SDSS frames in {self._path.name}, cut out here"

    def close(self) -> None:
        """Let go of all frames; pictures cannot be made any more. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            self._index = None

    def fetch(
        self,
        ra: Sequence[float] | np.ndarray,
        dec: Sequence[float] | np.ndarray,
        names: Sequence[Any] | None = None,  # noqa: ARG002 (the protocol of all sources)
        pixel_scales: Sequence[float] | np.ndarray | None = None,
    ) -> Iterator[Cutout]:
        """Make pictures of positions, one per position, in their order.

        Parameters
        ----------
        ra, dec : array-like of float, shape (n,)
            ICRS positions in degrees.
        names : sequence, optional
            Not used.
        pixel_scales : array-like of float, shape (n,), optional
            Arcsec per pixel of each row, where the recipe has a ``scale_column``; NaN where unknown.

        Yields
        ------
        cutout : `Cutout`
            A JPEG, or as ``error`` what stopped this row: `~hifrac.core.OutOfFootprintError` if no frame
            shows the target, `~hifrac.core.BadImageError` if the frame is damaged or cut off,
            `~hifrac.core.FetchError` if a band is missing or its file cannot be read,
            `~hifrac.core.BadCoordinateError` for no position on the sphere, `~hifrac.core.BadScaleError` for
            pixels that cannot be made.

        Raises
        ------
        ValueError
            If ``ra``, ``dec`` and ``pixel_scales`` differ in length, ``pixel_scales`` is missing or of no
            use, the source is closed, or the folder has no frames in the bands of ``recipe``.
        """
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        if len(ra) != len(dec):
            raise ValueError(f"ra and dec must have the same length, got {len(ra)} and {len(dec)}")
        scales = checked_scales(pixel_scales, self.recipe.scale_column, len(ra))
        self._open()
        return self._fetch(ra, dec, [None] * len(ra) if scales is None else scales.tolist())

    def _fetch(self, ra: np.ndarray, dec: np.ndarray, scales: list[Any]) -> Iterator[Cutout]:
        most = max(1, min(_MOST_ROWS, _MOST_PIXELS // self.recipe.width**2))
        start, n_rows = 0, min(_FIRST_ROWS, most)
        while start < len(ra):
            rows = slice(start, start + n_rows)
            yield from self._batch(ra[rows], dec[rows], scales[rows])
            start, n_rows = start + n_rows, min(2 * n_rows, most)

    def _batch(self, ra: np.ndarray, dec: np.ndarray, scales: list[Any]) -> list[Cutout]:
        """Make pictures of a few rows: those of a field one after the other, each frame being opened once."""
        index = self._open()
        cutouts: dict[int, Cutout] = {}
        rows, recipes = [], []
        for row, position in enumerate(zip(ra.tolist(), dec.tolist(), strict=True)):
            try:
                recipes.append(self._recipe_of_row(*position, scales[row]))
                rows.append(row)
            except RowError as error:
                cutouts[row] = Cutout(error=error)
        shown = list(zip(rows, recipes, self._plan(index, ra[rows], dec[rows], recipes), strict=True))
        for row, recipe, fields in sorted(shown, key=lambda entry: entry[2][0].field if entry[2] else -1):
            try:
                data = self._picture(index, fields)
            except RowError as error:
                cutouts[row] = Cutout(error=error)
            else:
                cutouts[row] = Cutout(data=data, position=(float(ra[row]), float(dec[row])), recipe=recipe)
        return [cutouts[row] for row in range(len(ra))]

    def _recipe_of_row(self, ra: float, dec: float, scale: float | None) -> CutoutRecipe:
        """Return the recipe of a row's picture; a RowError if it has no position, or none can be made."""
        if not on_sphere(ra, dec):
            raise bad_coordinate(ra, dec)
        recipe = self.recipe.at(scale)
        try:
            _check(recipe)
        except ValueError as error:
            raise BadScaleError(f"{self.recipe.scale_column}: {error}") from error
        return recipe

    def _plan(
        self, index: FrameIndex, ra: np.ndarray, dec: np.ndarray, recipes: Sequence[CutoutRecipe]
    ) -> list[list[Show]]:
        """Find the fields that show each picture, and where in their frames its nodes are."""
        if not recipes:
            return []
        nodes = [values.ravel() for values in np.meshgrid(self._nodes, self._nodes)]
        wcs = recipes[0].wcs(0.0, 0.0)
        sky = np.empty((len(ra), 9, 2))
        for row, (*position, recipe) in enumerate(zip(ra, dec, recipes, strict=True)):
            wcs.wcs.crval, wcs.wcs.cdelt = position, [-recipe.fixed_scale / 3600] * 2
            sky[row] = np.transpose(wcs.wcs_pix2world(*nodes, 0))
        fields_of_view = np.array([recipe.field_of_view for recipe in recipes])
        return index.plan(sky.reshape(len(ra), 3, 3, 2), fields_of_view)

    def _picture(self, index: FrameIndex, fields: list[Show]) -> bytes:
        # Pixels of a damaged file may be of any size.
        with np.errstate(over="ignore", invalid="ignore"):
            planes = np.stack([self._plane(index, fields, band) for band in range(3)])
            covered = np.isfinite(planes).all(axis=0)
            middle = slice((len(covered) - 1) // 2, len(covered) // 2 + 1)
            if not covered[middle, middle].all():
                raise OutOfFootprintError(
                    f"no frame in {self._path.name} shows the position in all three bands"
                )
            if not covered.all():
                planes[:, ~covered] = np.nan
            return images.to_jpeg(images.STRETCHES["sdss"].rgb(*planes))

    def _plane(self, index: FrameIndex, fields: list[Show], band: int) -> np.ndarray:
        """Return nanomaggies per native pixel in one band, NaN where no frame has any."""
        width = self.recipe.width
        plane: np.ndarray | None = None
        fault: RowError | None = None
        for show in fields:
            top, left = show.first[band].tolist()
            row, column = self._weights @ show.nodes[band] @ self._weights.T
            is_whole = plane is None and show.is_whole[band]
            if not is_whole:
                plane = np.full((width, width), np.nan, np.float32) if plane is None else plane
                rows, columns = index.shape(show.field, band).tolist()
                lacking = (row >= -top) & (row <= rows - 1 - top)
                lacking &= (column >= -left) & (column <= columns - 1 - left) & ~np.isfinite(plane)
                if not lacking.any():
                    continue
            try:
                image = index.pixels(show.field, band)
            except RowError as error:
                fault = fault or error
                continue
            bottom, right = show.end[band].tolist()
            values = _interpolate(image[top:bottom, left:right], row, column)
            plane = values if plane is None else np.where(lacking, values, plane)
            if np.isfinite(plane).all():
                return plane
        if fault is not None:
            raise fault
        return np.full((width, width), np.nan, np.float32) if plane is None else plane

    def _open(self) -> FrameIndex:
        """Return the index, the headers read."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            if self._index is None:
                self._index = FrameIndex(self._path, self.recipe.bands)
            return self._index


def _interpolate(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return values of an image between its pixels, bilinearly; beyond it they mean nothing.

    A gather of four neighbours in single precision takes a third of the time of
    `scipy.ndimage.map_coordinates`, which would halve the rate of cutouts.
    """
    pixels, width = image.astype(np.float32).ravel(), image.shape[1]
    upper, left = np.trunc(row), np.trunc(column)
    down, right = row - upper, column - left
    place = upper.astype(np.intp)
    place *= width
    place += left.astype(np.intp)
    value, to_right, below, below_to_right = (
        pixels[step:].take(place, mode="clip") for step in (0, 1, width, width + 1)
    )
    for start, end in ((value, to_right), (below, below_to_right)):
        end -= start
        end *= right
        start += end
    below -= value
    below *= down
    value += below
    return value


def _check(recipe: CutoutRecipe) -> None:
    if (recipe.survey.lower(), recipe.service.lower()) != ("sdss", "getjpeg"):
        raise ValueError(f"recipe must be of sdss getjpeg, got {recipe.survey} {recipe.service}")
    if recipe.bands != ("i", "r", "g"):
        raise ValueError(f"recipe must have the bands i, r, g (the stretch is theirs), got {recipe.bands}")
    if recipe.pixel_scale is None:
        return  # that of each row is looked at in its turn
    if not _SCALES[0] <= recipe.pixel_scale <= _SCALES[1]:
        raise ValueError(
            f"recipe must have a pixel_scale of {_SCALES[0]} to {_SCALES[1]}, got {recipe.pixel_scale}"
        )
    if recipe.field_of_view > _MAX_FIELD:
        raise ValueError(
            f"recipe must not be wider than {_MAX_FIELD:g} arcsec, got {recipe.field_of_view:g} arcsec"
        )
