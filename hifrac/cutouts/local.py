"""Cutouts at hand: picture files in a folder or in one archive, found by name."""

from __future__ import annotations

import os
import threading
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from hifrac.core.exceptions import BadImageError, FetchError, RowError
from hifrac.core.forks import tell_of_forks
from hifrac.cutouts._archives import Collection, Folder, TarArchive, ZipArchive, is_tar
from hifrac.cutouts._cubes import display_order, join_bands, parse_bands, reorder_cube
from hifrac.cutouts._scales import (
    check_scale_column,
    checked_scale,
    checked_scales,
    plain_scale,
    scale_text,
)
from hifrac.cutouts.base import Cutout
from hifrac.cutouts.recipe import CutoutRecipe

# What is taken first when a name has files of several formats: pictures made for display before raw planes.
_RANK = {"jpg": 0, "jpeg": 0, "png": 1, "fits": 2}
_BANDS_RANK = {"fits": 0, "npy": 1}

# Of one file, where no recipe says how large a picture is: three planes of fluxes with 3,000 pixels a side.
_MOST_BYTES = 2**27

# Of the parent process. Never closed: that waits for threads which read at the fork, and are not here.
_inherited: list[Collection | None] = []


class LocalCutouts:
    """Pictures from files: ``<value of a column>.jpg``, ``.jpeg``, ``.png`` or ``.fits``.

    Parameters
    ----------
    path : str or path-like
        A folder (its sub-folders are not searched), or a ``.zip`` or
        ``.tar`` archive, ``.tar.gz``, ``.tar.bz2`` and ``.tar.xz`` included, in
        which the files may lie in any folder. Archives are recognised by
        their content.
    name : str, optional
        The input column whose values are the names of the files. Values may be
        integers, text or bytes; blanks around them do not count. A column of
        floating-point numbers is refused: they cannot hold an 18-digit identifier.
    recipe : `CutoutRecipe`, optional
        How the pictures were made, where that is known: files do not tell. It gives them world coordinates,
        and an estimator then refuses a model of another recipe.
    bands : str or sequence of str, optional
        The filters of FITS pictures, which then need not be in the order red, green, blue: ``"g,r,i"``, or
        ``"gri"``. For cubes, in the order of their planes. Where there is no cube of a name, there are three
        files of it, one a band, of one plane each: ``<name>-g.fits``, ``<name>_g.fits`` or ``<name>.g.fits``.
        Cubes may be ``.npy`` files, too; other formats are then ignored. The filter of the longest wavelength
        is shown as red. A ``recipe`` of more than three bands needs as many, and gives their fluxes.
    pixel_scale : float, optional
        Arcsec per pixel of the pictures, where that is not the scale of the model: they are resampled, and
        their rows have the flag RESAMPLED. They must cover the field that the model reads.
    scale_column, scale_divisor : str and float, optional
        Instead of ``pixel_scale``, the column of the table that gives the scale of each row's picture, an
        angle in arcsec, and the pixels that this angle takes.

    Attributes
    ----------
    recipe : `CutoutRecipe` or None
        ``recipe``.
    name_column : str
        ``name``.
    bands : tuple of str or None
        ``bands``, in the order red, green, blue, or in that of the recipe.
    pixel_scale, scale_column, scale_divisor : float or None, str or None, float
        As given.

    Raises
    ------
    TypeError
        If ``name`` or ``scale_column`` is not text, ``recipe`` is no recipe, or ``pixel_scale`` or
        ``scale_divisor`` no number.
    FileNotFoundError
        If ``path`` does not exist.
    ValueError
        If ``path`` is neither a folder nor an intact archive, ``name`` is
        empty, ``bands`` are not three filters of known order, or not those of the recipe,
        ``pixel_scale`` or ``scale_divisor`` is not
        positive, or the scale is not that of ``recipe``.

    Notes
    -----
    The extension may be in capitals; the name must match exactly, but for the way in which accents are
    encoded (Unicode NFC or NFD). If a name has files of several
    formats, the JPEG is taken before the PNG, and the PNG before the FITS. Two
    files of one format with the same name, say in two folders of an archive,
    are an error of that row, because nothing tells which is meant. Files whose names begin
    with a dot are ignored.

    The files are listed once, when the first picture is asked for. A compressed
    tar archive is then unpacked into an unnamed temporary file (as large as the
    pictures), because it cannot be read in any other order than its own.

    `fetch` may be used from several threads at once. Close the
    archive with `close`, or use the object as a context manager.

    Examples
    --------
    >>> import io, tempfile
    >>> from pathlib import Path
    >>> from hifrac import LocalCutouts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "1237648720693755918.jpg").write_bytes(b"...")
    ...     with LocalCutouts(folder) as source:
    ...         found, missing = source.fetch([0.0, 1.0], [0.0, 1.0], [1237648720693755918, 42])
    >>> found.data
    b'...'
    >>> missing.error
    FetchError(...'42'...)
    """

    recipe: CutoutRecipe | None = None
    name_column: str = "objid"

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "objid",
        *,
        recipe: CutoutRecipe | None = None,
        bands: str | Sequence[str] | None = None,
        pixel_scale: float | None = None,
        scale_column: str | None = None,
        scale_divisor: float = 1.0,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be the name of a column, got {name!r}")
        if not name:
            raise ValueError("name must be the name of a column, got an empty text")
        if recipe is not None and not isinstance(recipe, CutoutRecipe):
            raise TypeError(f"recipe must be a CutoutRecipe, got {type(recipe).__name__}")
        self.name_column = name
        self.recipe = recipe
        self.pixel_scale = None if pixel_scale is None else plain_scale(pixel_scale)
        self.scale_column, self.scale_divisor = scale_column, check_scale_column(scale_column, scale_divisor)
        self._check_scale()
        n_bands = 3 if recipe is None else len(recipe.bands)
        self._planes: tuple[str, ...] = () if bands is None else parse_bands(bands, n_bands)
        self.bands: tuple[str, ...] | None = None
        if self._planes:
            self.bands = display_order(self._planes, None if recipe is None else recipe.bands)
        self._path = Path(path).expanduser()
        if not self._path.exists():
            raise FileNotFoundError(f"path does not exist: {self._path}")
        if self._path.is_dir():
            self._collection_class: type[Collection] = Folder
        elif is_tar(self._path):  # first: a tar archive may end with a zip archive
            self._collection_class = TarArchive
        elif zipfile.is_zipfile(self._path):
            self._collection_class = ZipArchive
        else:
            raise ValueError(f"path must be a folder or an intact zip or tar archive, got {self._path}")
        self._lock = threading.Lock()
        self._collection: Collection | None = None
        self._index: dict[str, Any] = {}
        self._twins: dict[str, tuple[str, str]] = {}
        self._closed = False
        tell_of_forks(self)

    def _before_fork(self) -> None:
        pass

    def _after_fork(self, is_child: bool) -> None:
        if is_child:  # which must not share the place in an open archive: it opens it itself
            _inherited.append(self._collection)
            self._lock, self._collection = threading.Lock(), None

    def __reduce__(self) -> tuple:
        # Another process opens the collection itself.
        opened = partial(
            type(self),
            self._path.absolute(),
            self.name_column,
            recipe=self.recipe,
            bands=self._planes or None,
            pixel_scale=self.pixel_scale,
            scale_column=self.scale_column,
            scale_divisor=self.scale_divisor,
        )
        return opened, ()

    def __enter__(self) -> LocalCutouts:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LocalCutouts({str(self._path)!r}, name={self.name_column!r})"

    def describe(self) -> str:
        """Describe the source in one line: the name of the folder or archive, not its place."""
        bands = f", bands {', '.join(self._planes)}" if self._planes else ""
        scale = f", at {scale_text(self)} arcsec/px" if self.pixel_scale or self.scale_column else ""
        return f"local files in {self._path.name}, by {self.name_column}{bands}{scale}"

    def _check_scale(self) -> None:
        """Refuse a scale that another argument contradicts."""
        if self.pixel_scale is not None and self.scale_column is not None:
            raise ValueError(f"pixel_scale must not be given with scale_column, got {self.pixel_scale}")
        if (recipe := self.recipe) is None or (self.pixel_scale is None and self.scale_column is None):
            return
        if self.scale_column is None and recipe.scale_column is None:
            is_that = recipe.step(self.pixel_scale) is None
        else:
            theirs = recipe.scale_column, recipe.scale_divisor
            is_that = (self.scale_column, self.scale_divisor) == theirs
        if not is_that:
            name = "pixel_scale" if self.scale_column is None else "scale_column"
            raise ValueError(f"{name} must be that of recipe, {scale_text(recipe)}, got {scale_text(self)}")

    def close(self) -> None:
        """Close the archive; pictures cannot be read any more. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            if self._collection is not None:
                self._collection.close()
            self._collection = None
            self._index, self._twins = {}, {}

    def fetch(
        self,
        ra: Sequence[float] | np.ndarray,
        dec: Sequence[float] | np.ndarray,
        names: Sequence[Any] | None = None,
        pixel_scales: Sequence[float] | np.ndarray | None = None,
    ) -> Iterator[Cutout]:
        """Read pictures by name, one per row, in their order.

        Parameters
        ----------
        ra, dec : array-like of float, shape (n,)
            ICRS positions in degrees; not used to find the files, which have names.
        names : sequence
            The value of ``name_column`` of each row; None or masked where it has none.
        pixel_scales : array-like of float, shape (n,), optional
            Arcsec per pixel of each row's picture, where files or their recipe have a ``scale_column``; NaN
            where unknown.

        Yields
        ------
        cutout : `Cutout`
            The file as it is, or as ``error`` what stopped this row:
            `~hifrac.core.FetchError` if there is no such file or the
            value cannot be a name, `~hifrac.core.BadImageError` if the
            file's checksum or compression is damaged, `~hifrac.core.BadScaleError` if the row has no possible
            scale.

        Raises
        ------
        TypeError
            If ``names`` are floating-point numbers, masked or not; a single one among other values is the
            error of its row.
        ValueError
            If ``names`` is missing, if ``ra``, ``dec`` and ``names`` differ in length, if ``pixel_scales`` is
            missing or of no use, if the source is closed, or if the archive proves damaged as a whole.
        """
        if names is None:
            raise ValueError(f"names must be given: the values of the column {self.name_column!r}")
        if len(names) != len(ra):
            raise ValueError(f"names must have one value per row ({len(ra)}), got {len(names)}")
        if len(dec) != len(ra):
            raise ValueError(f"ra and dec must have the same length, got {len(ra)} and {len(dec)}")
        if _are_floats(names):
            raise TypeError(
                f"{self.name_column} must be a column of integers or text, got floating-point numbers: they "
                "have lost digits of long identifiers"
            )
        columns = self.scale_column, None if self.recipe is None else self.recipe.scale_column
        scales = checked_scales(pixel_scales, columns[0] or columns[1], len(ra))
        self._open()
        return map(self._fetch_one, names, ra, dec, repeat(None) if scales is None else scales)

    def _fetch_one(self, value: Any, ra: float, dec: float, scale: Any) -> Cutout:
        recipe, pixel_scale = self.recipe, self.pixel_scale
        try:
            if self.scale_column is not None:
                pixel_scale = checked_scale(scale, self.scale_column, self.scale_divisor)
            if recipe is not None:
                recipe = recipe.at(scale)
            stem = self._stem(value)
            data = self._read(stem) if self.bands is None else self._read_bands(stem, self.bands)
        except RowError as error:
            return Cutout(error=error)
        position = (float(ra), float(dec)) if np.isfinite(ra) else None
        return Cutout(data=data, position=position, recipe=recipe, pixel_scale=pixel_scale)

    def _open(self) -> Collection:
        """Return the collection, its files listed."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self!r} is closed")
            if self._collection is None:
                most_bytes = _MOST_BYTES if self.recipe is None else 2**20 + 32 * self.recipe.width**2
                collection = self._collection_class(self._path, most_bytes)
                try:
                    self._list(collection)
                except BaseException:
                    collection.close()
                    raise
                self._collection = collection
            return self._collection

    def _list(self, collection: Collection) -> None:
        """Build the index: of each stem the file of the best format, and the stems with two of these."""
        index: dict[str, tuple[int, str, Any]] = {}
        ranks = _BANDS_RANK if self._planes else _RANK
        for file_name, place in collection.files():
            # Backslashes are of old programs for Windows; macOS decomposes accents.
            base = unicodedata.normalize("NFC", file_name.replace("\\", "/").rpartition("/")[2])
            stem, _, extension = base.rpartition(".")
            rank = ranks.get(extension.lower())
            if rank is None or not stem or stem.startswith("."):
                continue
            other = index.get(stem)
            if other is None or rank < other[0]:
                self._twins.pop(stem, None)
                index[stem] = (rank, file_name, place)
            elif file_name == other[1]:  # appended again: the later one counts
                index[stem] = (rank, file_name, place)
            elif rank == other[0]:
                self._twins[stem] = (other[1], file_name)
        self._index = {stem: place for stem, (_, _, place) in index.items()}

    def _read_bands(self, stem: str, bands: tuple[str, ...]) -> bytes:
        """Return a picture of known bands as one FITS file in the order of ``bands``."""
        self._open()
        try:
            if stem in self._index or stem in self._twins:
                return reorder_cube(self._read(stem), self._planes, bands)
            for sign in "-_.":
                names = [f"{stem}{sign}{band}" for band in bands]
                if any(name in self._index for name in names):
                    return join_bands([self._read(name) for name in names], bands)
        except BadImageError as error:
            raise BadImageError(f"{stem}: {error}") from error
        raise FetchError(
            f"no picture named {stem!r} (.fits), and none of one band ({stem}-{bands[0]}.fits), "
            f"in {self._path}"
        )

    def _read(self, stem: str) -> bytes:
        collection = self._open()
        if stem in self._twins:
            first, second = self._twins[stem]
            raise FetchError(f"two pictures are named {stem!r} in {self._path}: {first} and {second}")
        place = self._index.get(stem)
        if place is None:
            raise FetchError(f"no picture named {stem!r} (.jpg, .jpeg, .png, .fits) in {self._path}")
        try:
            return collection.read(place)
        except BadImageError as error:
            raise BadImageError(f"{stem}: {error} in {self._path}") from error
        except OSError as error:
            raise FetchError(f"the picture {stem!r} in {self._path} cannot be read: {error}") from error

    def _stem(self, value: Any) -> str:
        """Return the name that a value of the column is."""
        column = self.name_column
        if value is None or np.any(getattr(value, "mask", False)):
            raise FetchError(f"{column} is masked: the row's picture has no name")
        if isinstance(value, np.ndarray) and value.ndim == 0:  # a scalar of a masked column
            value = np.asarray(getattr(value, "unmasked", value))[()]
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError as error:
                raise FetchError(f"{column} is not text: {value!r}") from error
        if isinstance(value, float | np.floating):
            raise FetchError(
                f"{column} is a floating-point number ({value!r}): it has lost digits of a long identifier; "
                "use an integer or text column"
            )
        if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | np.integer):
            raise FetchError(f"{column} must be an integer or text, got {value!r}")
        stem = unicodedata.normalize("NFC", str(value).strip())
        if not stem or stem in (".", "..") or any(sign in stem for sign in "/\\\0"):
            raise FetchError(f"{column} is no plain file name: {stem!r}")
        return stem


def _are_floats(names: Sequence[Any]) -> bool:
    """Tell whether names are floating-point numbers as a whole, which no row is to blame for."""
    if len(names) == 0:  # a column without rows may have any type
        return False
    dtype = getattr(names, "dtype", None)
    if dtype is not None:
        return dtype.kind == "f"
    return all(isinstance(value, float | np.floating) for value in names)
