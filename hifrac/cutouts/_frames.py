"""SDSS imaging frames in a folder: which there are, where they lie on the sky, and their pixels.

Frames are described at
https://dr16.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hifrac.core.angles import unit_vectors
from hifrac.core.exceptions import BadImageError, FetchError, RowError, silenced, warn_caller

if TYPE_CHECKING:
    from astropy.wcs import WCS

_NAME = re.compile(r"frame-([ugriz])-(\d{6}-[1-6]-\d{4})\.fits(|\.gz|\.bz2)")
_UNPACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
# When a frame is there in several forms, the one that is read fastest.
_RANK = {"": 0, ".gz": 1, ".bz2": 2}
_CARD, _BLOCK, _MAX_HEADER = 80, 2880, 200 * 2880
_LAST_BLOCK = re.compile(rb"(?s)(?:.{80})*END {5}")

# How many frames stay mapped (16 fields), and how many stay unpacked: 12.2 MB each.
MAPPED, UNPACKED = 48, 12

# What is kept of a header, for there may be a million of them: a plain gnomonic projection (the numbers of
# these cards), rows and columns of the image, and where in the file it begins; 0 where it cannot be used.
_CARDS = "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"
_HEADER = np.dtype([("numbers", "f8", 8), ("shape", "i4", 2), ("offset", "i8")])
# A projection is not plain if there is one of these cards: its `WCS` is kept then.
_NOT_PLAIN = "LONPOLE", "A_ORDER", "B_ORDER", "CPDIS1", "CPDIS2", "D2IMDIS1", "D2IMDIS2", "PV1_1", "PV2_1"


class Show(NamedTuple):
    """Where a field shows some of a picture; but for ``depth`` and ``field`` for each band."""

    #: How far within the field the target is, in pixels.
    depth: float
    field: int
    #: The box of the frame with the picture: rows and columns, shape (3, 2); ``end`` may be beyond the frame.
    first: np.ndarray
    end: np.ndarray
    #: Whether the frame has all of the picture, shape (3,).
    is_whole: np.ndarray
    #: Rows and columns of the nodes in the box, shape (3, 2, 3, 3).
    nodes: np.ndarray


class FrameIndex:
    """The frames of a folder by field and band, where on the sky they are, and the pixels used last."""

    def __init__(self, folder: Path, bands: tuple[str, ...]) -> None:
        from scipy.spatial import cKDTree

        self._folder, self._bands = folder, bands
        files = _find(folder, bands)
        if not files:
            raise ValueError(f"path has no frames in {', '.join(bands)}: {folder}")
        self._fields, self._suffixes = list(files), list(files.values())
        self._headers = np.zeros((len(files), 3), _HEADER)
        self._not_plain: dict[tuple[int, int], WCS] = {}
        self._faults: dict[tuple[int, int], RowError] = {}
        self._read_headers()
        usable = self._headers["offset"] > 0
        # A band that cannot be used will be missed where another of its field is.
        substitute = np.where(usable[:, 1], 1, usable.argmax(axis=1))
        self._place = np.where(usable, np.arange(3), substitute[:, np.newaxis])
        self._placed = np.flatnonzero(usable.any(axis=1))
        self._check_faults()
        plain = _plain_wcs()
        outlines = np.array([self._outline(field, plain) for field in self._placed.tolist()])
        vectors = unit_vectors(*np.moveaxis(outlines, -1, 0))
        self._radius = float(np.linalg.norm(vectors[:, 1:] - vectors[:, :1], axis=-1).max())
        self._tree = cKDTree(vectors[:, 0])
        self.renew()

    def _read_headers(self) -> None:
        files = [(field, band) for field, suffixes in enumerate(self._suffixes) for band in suffixes]
        # Threads, because bzip2 unpacks in all of them at the same time.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            results = threads.map(_read_header, (self.path(*file) for file in files))
            for file, result in zip(files, results, strict=True):
                if isinstance(result, RowError):
                    self._faults[file] = result
                    continue
                self._headers[file], wcs = result
                if wcs is not None:
                    self._not_plain[file] = wcs

    def _check_faults(self) -> None:
        """Warn of files of which nothing tells where they belong; refuse a folder that has no others."""
        placed = set(self._placed.tolist())
        nowhere = [fault for (field, _), fault in self._faults.items() if field not in placed]
        if nowhere:
            warn_caller(
                f"{len(nowhere)} files in {self._folder} cannot be read, and no other band tells where they "
                f"belong; the first: {nowhere[0]}"
            )
        if not self._placed.size:
            raise ValueError(f"path has no frame that can be read: {nowhere[0]}")

    def _outline(self, field: int, plain: WCS) -> np.ndarray:
        """Return right ascension and declination of the centre of a field, and of its corners."""
        unit = np.array([[0.5, 0.5], [0, 0], [0, 1], [1, 0], [1, 1]])
        return self._wcs(field, 1, plain).all_pix2world(unit * self.shape(field, 1)[::-1] - 0.5, 0)

    def _wcs(self, field: int, band: int, plain: WCS) -> WCS:
        """Return the world coordinates of a frame, or of what stands in for one that cannot be used.

        Where they are plain, that is ``plain``, which is changed: to make a `WCS` takes as long as to use it.
        """
        file = field, self._place[field, band]
        if (wcs := self._not_plain.get(file)) is not None:
            return wcs
        numbers = self._headers["numbers"][file]
        plain.wcs.crval, plain.wcs.crpix, plain.wcs.cd = numbers[:2], numbers[2:4], numbers[4:].reshape(2, 2)
        return plain

    def shape(self, field: int, band: int) -> np.ndarray:
        """Return rows and columns of a frame, or of what stands in for one that cannot be used."""
        return self._headers["shape"][field, self._place[field, band]]

    def path(self, field: int, band: int) -> Path:
        """Return the file of a frame; where there is none, the one that is missing."""
        folder, stem = self._fields[field]
        suffixes = self._suffixes[field]
        suffix = suffixes.get(band, next(iter(suffixes.values())))
        return self._folder / folder / f"frame-{self._bands[band]}-{stem}.fits{suffix}"

    def plan(self, sky: np.ndarray, fields_of_view: np.ndarray) -> list[list[Show]]:
        """Find the fields that show some part of pictures, for each picture the best first.

        Parameters
        ----------
        sky : `~numpy.ndarray`, shape (n, 3, 3, 2)
            Right ascension and declination of the nodes of each picture.
        fields_of_view : `~numpy.ndarray`, shape (n,)
            Side of each picture in arcsec.
        """
        # As chords: three quarters of the side are a little more than half the diagonal.
        reach = self._radius + 0.75 * np.radians(fields_of_view / 3600)
        rows_of: dict[int, list[int]] = defaultdict(list)
        targets = unit_vectors(*sky[:, 1, 1].T)
        for row, neighbours in enumerate(self._tree.query_ball_point(targets, reach)):
            for neighbour in neighbours:
                rows_of[int(self._placed[neighbour])].append(row)
        shows: list[list[Show]] = [[] for _ in sky]
        plain = _plain_wcs()
        for field, rows in rows_of.items():
            nodes = [_pixels_at(sky[rows], self._wcs(field, band, plain)) for band in range(3)]
            shapes = self._headers["shape"][field, self._place[field]]
            for row, show in zip(rows, shows_of(field, np.stack(nodes, axis=1), shapes), strict=True):
                if show is not None:
                    shows[row].append(show)
        return [sorted(fields, key=lambda show: (-show.depth, show.field)) for fields in shows]

    def pixels(self, field: int, band: int) -> np.ndarray:
        """Return the image of a frame; a RowError says what is wrong with its file."""
        if (fault := self._faults.get((field, band))) is not None:
            raise type(fault)(str(fault))
        if not self._headers["offset"][field, band]:
            raise FetchError(f"the frame is missing: {self.path(field, band)}")
        recent = self._unpacked if self._suffixes[field][band] else self._mapped
        # Threads that want the same frame wait for one reading.
        with self._locks[(3 * field + band) % len(self._locks)]:
            pixels = recent(field, band)
        if isinstance(pixels, BadImageError):
            raise BadImageError(str(pixels))
        return pixels

    def renew(self) -> None:
        """Forget the pixels of all frames, and locks that threads may hold which a forked process has not."""
        self._locks = [Lock() for _ in range(64)]
        self._mapped, self._unpacked = lru_cache(MAPPED)(self._load), lru_cache(UNPACKED)(self._load)

    def _load(self, field: int, band: int) -> np.ndarray | BadImageError:
        """Map or unpack the image of a frame. Damage is returned: it takes as long again to find it out."""
        path, header = self.path(field, band), self._headers[field, band]
        shape, offset = tuple(header["shape"].tolist()), int(header["offset"])
        try:
            if path.suffix not in _UNPACKERS:
                # As a plain array: slices of a memmap object take long.
                return np.asarray(np.memmap(path, dtype=">f4", mode="r", offset=offset, shape=shape))
            with _UNPACKERS[path.suffix](path, "rb") as file:
                data = file.read()  # past the image: only at its end gzip proves its content
            return np.frombuffer(data, ">f4", shape[0] * shape[1], offset).reshape(shape)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            fault = _fault(error, path)
            if isinstance(fault, BadImageError):
                return fault
            raise fault from error


def _plain_wcs() -> WCS:
    """Return world coordinates of a plain gnomonic projection, without its numbers."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2, fix=False)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    return wcs


def _pixels_at(sky: np.ndarray, wcs: WCS) -> np.ndarray:
    """Return rows and columns of a frame at the nodes of pictures, shape (n, 2, 3, 3)."""
    pixels = wcs.all_world2pix(sky.reshape(-1, 2), 0, quiet=True).reshape(sky.shape)
    return pixels[..., ::-1].transpose(0, 3, 1, 2)


def shows_of(field: int, nodes: np.ndarray, shapes: np.ndarray) -> list[Show | None]:
    """Return where a field shows some of each picture, or None.

    Parameters
    ----------
    field : int
        Its number.
    nodes : `~numpy.ndarray`, shape (n, 3, 2, 3, 3)
        Rows and columns of the nodes of each picture, in the frame of each band.
    shapes : `~numpy.ndarray`, shape (3, 2)
        Rows and columns of these frames.
    """
    low, high, last = nodes.min(axis=(3, 4)), nodes.max(axis=(3, 4)), shapes - 1
    overlaps = ((high >= 0) & (low <= last)).all(axis=2).any(axis=1)
    target = nodes[:, 1, :, 1, 1]
    depth = np.minimum(target, last[1] - target).min(axis=1).tolist()
    margin = 1 + 0.02 * (high - low)  # between nodes, what curves goes beyond them
    low, high = low - margin, high + margin
    is_whole = ((low >= 0) & (high <= last)).all(axis=2)
    first, end = np.maximum(low, 0).astype(int), high.astype(int) + 2
    nodes = (nodes - first[..., np.newaxis, np.newaxis]).astype(np.float32)
    facts = zip(overlaps, depth, first, end, is_whole, nodes, strict=True)
    return [Show(depth, field, *boxes) if overlap else None for overlap, depth, *boxes in facts]


def _find(folder: Path, bands: tuple[str, ...]) -> dict[tuple[str, str], dict[int, str]]:
    """Find frames by their folder and field: of each band the end of its file's name.

    The last folder comes first: of several reductions of the same frames (301 and
    137 are folders of SDSS) the latest is preferred.
    """
    files: dict[tuple[str, str], dict[int, str]] = {}
    for place, _, names in os.walk(folder):
        for match in filter(None, map(_NAME.fullmatch, names)):
            band, stem, suffix = match.groups()
            if band in bands:
                suffixes = files.setdefault((os.path.relpath(place, folder), stem), {})
                other = suffixes.get(bands.index(band), suffix)
                suffixes[bands.index(band)] = min(suffix, other, key=_RANK.__getitem__)
    return dict(sorted(files.items(), reverse=True))


def _read_header(path: Path) -> tuple[np.void, WCS | None] | RowError:
    """Read where a frame lies on the sky and in its file; return what is wrong with the file otherwise."""
    try:
        with _UNPACKERS.get(path.suffix, open)(path, "rb") as file:
            return parse_header(_header_text(file))
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        return _fault(error, path)


def _fault(error: Exception, path: Path) -> RowError:
    """Tell trouble with the disk from damage: for that the unpackers have an OSError without a number."""
    if isinstance(error, OSError) and error.errno is not None:
        return FetchError(f"the frame cannot be read: {error}")
    reason = f"its header has no {error.args[0]}" if isinstance(error, KeyError) else error
    return BadImageError(f"damaged or cut-off frame ({reason}): {path}")


def _header_text(file: Any) -> bytes:
    """Read the primary header, whole blocks of it."""
    text = b""
    while len(text) < _MAX_HEADER:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or not (text or block).startswith(b"SIMPLE  ="):
            break
        text += block
        if _LAST_BLOCK.match(block):
            return text
    raise ValueError("it is cut off or no FITS file" if text else "it is empty or no FITS file")


def parse_header(text: bytes) -> tuple[np.void, WCS | None]:
    """Return what is kept of the primary header of a frame, and its `WCS` if that is not plain.

    Its cards are taken apart here, ten times faster than by `astropy.io.fits`: there may be a million frames.
    """
    # From the end, because the first card of a name counts.
    starts = range(len(text) - _CARD, -1, -_CARD)
    cards = {text[at : at + 8].decode("latin-1").rstrip(): text[at + 10 : at + _CARD] for at in starts}

    def number(name: str) -> float:
        value = cards[name].partition(b"/")[0].strip()
        try:
            return float(value.replace(b"D", b"E"))
        except ValueError as error:
            raise ValueError(f"{name} is no number: {value!r}") from error

    if (number("BITPIX"), number("NAXIS")) != (-32, 2):
        raise ValueError("its image is not of two dimensions in single precision")
    for name, value in (("BSCALE", 1), ("BZERO", 0)):
        if name in cards and number(name) != value:
            raise ValueError(f"its pixels are scaled ({name})")
    projection = [cards[name].partition(b"/")[0].strip(b" '") for name in ("CTYPE1", "CTYPE2")]
    if not (projection[0].startswith(b"RA--") and projection[1].startswith(b"DEC-")):
        raise ValueError(f"its coordinates are not equatorial: CTYPE1 and CTYPE2 are {projection}")
    header = np.zeros(1, _HEADER)[0]
    header["numbers"], header["offset"] = [number(name) for name in _CARDS], len(text)
    shape = number("NAXIS2"), number("NAXIS1")
    determinant = np.linalg.det(header["numbers"][4:].reshape(2, 2))
    is_finite = np.isfinite([*header["numbers"], determinant]).all()
    if not is_finite or not determinant or not 2 <= min(shape) <= max(shape) < 2**16:
        raise ValueError("its coordinates or the size of its image cannot be")
    header["shape"] = shape
    if projection == [b"RA---TAN", b"DEC--TAN"] and not any(name in cards for name in _NOT_PLAIN):
        return header, None
    from astropy.io import fits
    from astropy.wcs import WCS

    with silenced():
        return header, WCS(fits.Header.fromstring(text))
