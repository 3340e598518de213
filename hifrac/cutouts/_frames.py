"""SDSS imaging frames in a folder: which there are, where they lie on the sky, and their pixels.

Frames are described at
https://dr16.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hifrac.core.exceptions import BadImageError, FetchError, HifracWarning, RowError
from hifrac.cutouts.recipe import CutoutRecipe

_NAME = re.compile(r"frame-([ugriz])-(\d{6})-([1-6])-(\d{4})\.fits(|\.gz|\.bz2)")
_UNPACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
# When a frame is there in several forms, the one that is read fastest.
_RANK = {"": 0, ".gz": 1, ".bz2": 2}

_BLOCK, _CARD, _END = 2880, 80, b"END".ljust(8)
_MAX_HEADER = 200 * _BLOCK

# Where a frame is on the sky (degrees), its reference pixel (from 1), pixels per degree, rows and columns,
# and where in its file the image begins.
_FRAME = np.dtype(
    [
        ("sky", "f8", 2),
        ("pixel", "f8", 2),
        ("inverse", "f8", (2, 2)),
        ("shape", "i4", 2),
        ("offset", "i8"),
        ("usable", "?"),
    ]
)


@dataclass(frozen=True)
class Plan:
    """Which fields show which rows, and where: pairs of row and field, sorted by row, the best field first.

    ``mapping`` has for each pair and band the coefficients of x and y: one, column, row.
    """

    starts: np.ndarray
    field: np.ndarray
    mapping: np.ndarray
    order: list[int]

    def pairs(self, row: int) -> range:
        return range(self.starts[row], self.starts[row + 1])


class FrameIndex:
    """The frames of a folder by field, and where on the sky they are.

    ``frames`` has a row for each field and a column for each band.
    """

    def __init__(self, folder: Path, bands: tuple[str, str, str]) -> None:
        from scipy.spatial import cKDTree

        self._folder, self._bands = folder, bands
        files = _find(folder, bands)
        if not files:
            raise ValueError(f"path has no frames in {', '.join(bands)}: {folder}")
        self._fields, self._suffixes = list(files), list(files.values())
        self.frames = np.zeros((len(files), 3), _FRAME)
        self._faults: dict[tuple[int, int], RowError] = {}
        self._read_headers()
        known = self._stand_in()
        if not known.any():
            raise ValueError(f"path has no frame that can be read: {next(iter(self._faults.values()))}")
        self._known = np.flatnonzero(known)
        centres, self._radius = _circles(self.frames[self._known, 1])
        self._tree = cKDTree(centres)

    def _read_headers(self) -> None:
        places = [(field, band) for field, suffixes in enumerate(self._suffixes) for band in suffixes]
        # Threads, because bzip2 unpacks in all of them at the same time.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            headers = threads.map(_read_header, (self.path(*place) for place in places))
            for place, found in zip(places, headers, strict=True):
                if isinstance(found, RowError):
                    self._faults[place] = found
                else:
                    self.frames[place] = found

    def _stand_in(self) -> np.ndarray:
        """Put a band that cannot be used where another of its field is; which fields have any.

        That is where on the sky it will be missed.
        """
        usable = self.frames["usable"].copy()
        other = np.where(usable[:, 1], 1, usable.argmax(axis=1))
        for band in range(3):
            lost = np.flatnonzero(~usable[:, band])
            self.frames[lost, band] = self.frames[lost, other[lost]]
        self.frames["usable"] = usable
        known: np.ndarray = np.asarray(usable.any(axis=1))
        nowhere = [fault for (field, _), fault in self._faults.items() if not known[field]]
        if nowhere:
            warnings.warn(
                f"{len(nowhere)} files in {self._folder} cannot be read, and no other band tells where they "
                f"belong; the first: {nowhere[0]}",
                HifracWarning,
                stacklevel=5,
            )
        return known

    def path(self, field: int, band: int) -> Path:
        """The file of a frame; where there is none, the one that is missing."""
        folder, stem = self._fields[field]
        suffixes = self._suffixes[field]
        suffix = suffixes.get(band, next(iter(suffixes.values())))
        return self._folder / folder / f"frame-{self._bands[band]}-{stem}.fits{suffix}"

    def is_packed(self, field: int, band: int) -> bool:
        """Whether a frame must be unpacked as a whole."""
        return bool(self._suffixes[field].get(band))

    def fault(self, field: int, band: int) -> RowError:
        """Why a frame cannot be used."""
        if (fault := self._faults.get((field, band))) is not None:
            return type(fault)(str(fault))
        return FetchError(f"the frame is missing: {self.path(field, band)}")

    def plan(self, ra: np.ndarray, dec: np.ndarray, recipe: CutoutRecipe) -> Plan:
        """The fields that show some part of each picture."""
        triads = _triads(np.stack([ra, dec], axis=1))
        # Three quarters of the side: a little more than half the diagonal.
        reach = self._radius + 0.75 * np.radians(recipe.field_of_view / 3600)
        found = self._tree.query_ball_point(triads[0], 2 * np.sin(reach / 2))
        counts = np.array([len(one) for one in found])
        row = np.repeat(np.arange(len(ra)), counts)
        field = self._known[np.fromiter(chain.from_iterable(found), np.intp, counts.sum())]
        frames = self.frames[field]
        mapping = _mappings([vectors[row] for vectors in triads], frames, recipe)
        shows, margin = _fit(mapping, frames["shape"], recipe.width)
        order = np.lexsort((field, -margin, row))
        order = order[shows[order]]
        row, field = row[order], field[order]
        starts = np.searchsorted(row, np.arange(len(ra) + 1))
        best = np.full(len(ra), -1)
        some = starts[:-1] < starts[1:]
        best[some] = field[starts[:-1][some]]
        return Plan(starts, field, mapping[order], np.argsort(best, kind="stable").tolist())


# Files


def _find(folder: Path, bands: tuple[str, str, str]) -> dict[tuple[str, str], dict[int, str]]:
    """Frames by their folder and field: of each band the end of its file's name.

    The last folder comes first: of several reductions of the same frames (301 and
    137 are folders of SDSS) the latest is preferred.
    """
    files: dict[tuple[str, str], dict[int, str]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None or match[1] not in bands:
                continue
            stem, suffix = f"{match[2]}-{match[3]}-{match[4]}", match[5]
            entry = files.setdefault((os.path.relpath(place, folder), stem), {})
            known = entry.setdefault(bands.index(match[1]), suffix)
            if _RANK[suffix] < _RANK[known]:
                entry[bands.index(match[1])] = suffix
    return dict(sorted(files.items(), reverse=True))


def _read_header(path: Path) -> np.void | RowError:
    """Where a frame lies on the sky and in its file; or what is wrong with the file."""
    try:
        with _UNPACKERS.get(path.suffix, open)(path, "rb") as file:
            text = _header_text(file)
        return frame_of(text)
    except KeyError as error:
        return BadImageError(f"damaged frame (its header has no {error.args[0]}): {path}")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        return _fault(error, path)


def _fault(error: Exception, path: Path) -> RowError:
    """Trouble with the disk, or damage: for that the unpackers have an OSError without a number."""
    if isinstance(error, OSError) and error.errno is not None:
        return FetchError(f"the frame cannot be read: {error}")
    return BadImageError(f"damaged or cut-off frame ({error}): {path}")


def _header_text(file: Any) -> bytes:
    """The primary header, whole blocks of it."""
    text = b""
    while len(text) < _MAX_HEADER:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or not (text or block).startswith(b"SIMPLE  ="):
            break
        text += block
        if any(block.startswith(_END, card) for card in range(0, _BLOCK, _CARD)):
            return text
    raise ValueError("it is cut off or no FITS file" if text else "it is empty or no FITS file")


def frame_of(text: bytes) -> np.void:
    """The facts of a frame's primary header; ValueError or KeyError if it is none.

    Its cards are read here, several times faster than by `astropy.io.fits`: there may be a million frames.
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
    for name, projection in (("CTYPE1", b"'RA---TAN'"), ("CTYPE2", b"'DEC--TAN'")):
        if not cards[name].strip().startswith(projection):
            raise ValueError(f"its coordinates are not gnomonic: {name} is not {projection.decode()}")
    frame = np.zeros(1, _FRAME)[0]
    frame["sky"] = number("CRVAL1"), number("CRVAL2")
    frame["pixel"] = number("CRPIX1"), number("CRPIX2")
    matrix = np.array([[number(f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)])
    shape = number("NAXIS2"), number("NAXIS1")
    numbers = [*frame["sky"], *frame["pixel"], *matrix.flat, np.linalg.det(matrix), *shape]
    if (
        not np.isfinite(numbers).all()
        or not np.linalg.det(matrix)
        or not 2 <= min(shape) <= max(shape) < 2**16
    ):
        raise ValueError("its coordinates or the size of its image cannot be")
    frame["inverse"], frame["shape"] = np.linalg.inv(matrix), shape
    frame["offset"], frame["usable"] = len(text), True
    return frame


def load(path: Path, frame: np.void) -> np.ndarray | RowError:
    """The image of a frame, mapped or unpacked; or what is wrong with its file."""
    shape, offset = tuple(frame["shape"].tolist()), int(frame["offset"])
    try:
        if path.suffix not in _UNPACKERS:
            size = path.stat().st_size
            if size < offset + 4 * shape[0] * shape[1]:
                return BadImageError(f"cut-off frame ({size} bytes): {path}")
            # As a plain array: slices of a memmap object take long.
            return np.asarray(np.memmap(path, dtype=">f4", mode="r", offset=offset, shape=shape))
        with _UNPACKERS[path.suffix](path, "rb") as file:
            # To the end, past the image: only there gzip proves its content.
            data = file.read()
        return np.frombuffer(data, ">f4", shape[0] * shape[1], offset).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        return _fault(error, path)


# Geometry


def _triads(sky: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors to positions (degrees, in the last axis), and to east and north there."""
    ra, dec = np.radians(sky[..., 0]), np.radians(sky[..., 1])
    sin_ra, cos_ra, sin_dec, cos_dec = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
    return (
        np.stack([cos_dec * cos_ra, cos_dec * sin_ra, sin_dec], axis=-1),
        np.stack([-sin_ra, cos_ra, np.zeros_like(ra)], axis=-1),
        np.stack([-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec], axis=-1),
    )


def _circles(frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit vectors to the centres of images, and the radius (radians) that holds each of them."""
    rows, columns = frames["shape"][:, 0], frames["shape"][:, 1]
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
    pixel = corners * np.stack([columns, rows], axis=-1)[:, np.newaxis] + 0.5 - frames["pixel"][:, np.newaxis]
    plane = np.radians(np.einsum("fij,fcj->fci", np.linalg.inv(frames["inverse"]), pixel))
    target, east, north = (vectors[:, np.newaxis] for vectors in _triads(frames["sky"]))
    vectors = target + plane[..., :1] * east + plane[..., 1:] * north
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    chord = np.linalg.norm(vectors[:, :4] - vectors[:, 4:], axis=-1).max()
    return vectors[:, 4], 2 * float(np.arcsin(min(1.0, chord / 2)))


def _mappings(triads: Sequence[np.ndarray], frames: np.ndarray, recipe: CutoutRecipe) -> np.ndarray:
    """Straight mappings of the pixels of pictures to those of frames, exact at the picture's centre.

    Between two gnomonic projections, that around the target and that of the frame,
    lines stay straight. Over the 600 arcsec that a picture may have, the change
    of scale moves no pixel by more than a hundredth of its side.

    Returns
    -------
    mapping : `~numpy.ndarray`, shape (n, 3, 2, 3)
        For each frame the coefficients of x and y: one, column, row; pixels count from 0.
    """
    target, east, north = (vectors[:, np.newaxis] for vectors in triads)
    frame_target, frame_east, frame_north = _triads(frames["sky"])
    depth = (target * frame_target).sum(axis=-1)
    plane = np.stack([(target * axis).sum(axis=-1) for axis in (frame_east, frame_north)], axis=-1)
    plane /= depth[..., np.newaxis]
    # Derivatives by a step to the east and to the north: the quotient rule.
    steps = []
    for step in (east, north):
        along = np.stack([(step * axis).sum(axis=-1) for axis in (frame_east, frame_north)], axis=-1)
        deeper = (step * frame_target).sum(axis=-1)
        steps.append((along - plane * deeper[..., np.newaxis]) / depth[..., np.newaxis])
    # Columns run to the west, rows to the south.
    pixel = np.radians(recipe.pixel_scale / 3600)
    columns = np.stack([plane, -pixel * steps[0], -pixel * steps[1]], axis=-1)
    mapping = frames["inverse"] @ np.degrees(columns)
    mapping[..., 0] += frames["pixel"] - 1
    mapping[..., 0] -= (recipe.width - 1) / 2 * (mapping[..., 1] + mapping[..., 2])
    return mapping


def _fit(mapping: np.ndarray, shape: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Which fields show a part of the picture, and how far within them (pixels) its centre lies."""
    size = shape[..., ::-1]
    centre = mapping[..., 0] + (width - 1) / 2 * (mapping[..., 1] + mapping[..., 2])
    half = (width - 1) / 2 * (np.abs(mapping[..., 1]) + np.abs(mapping[..., 2]))
    shows = ((centre + half >= 0) & (centre - half <= size - 1)).all(axis=-1).any(axis=-1)
    margin = np.minimum(centre, size - 1 - centre)[:, 1].min(axis=-1)
    return shows, margin
