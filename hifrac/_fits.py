"""FITS pictures: their planes as display values or fluxes, and their world coordinates."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from hifrac.core.exceptions import BadImageError, silenced

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

# Refused before anything is decoded; Pillow itself warns from 89 million pixels on.
_MAX_PIXELS = 8192 * 8192


def is_fits(data: bytes) -> bool:
    """Tell whether bytes begin as a FITS file does."""
    return data.startswith(b"SIMPLE  =")


def check_size(columns: int, rows: int, width: int | None) -> None:
    """Refuse a size that is not the asked one, or beyond all sense."""
    if width is not None and (columns, rows) != (width, width):
        raise BadImageError(f"the picture has {columns} x {rows} pixels instead of {width} x {width}")
    limit = min(_MAX_PIXELS, Image.MAX_IMAGE_PIXELS or _MAX_PIXELS)
    if columns < 1 or rows < 1 or columns * rows > limit:
        raise BadImageError(f"the picture claims to have {columns} x {rows} pixels: refused")


@contextmanager
def open_fits(data: bytes) -> Iterator[Any]:
    """Open a FITS file, without the warnings of Astropy about it; data must be read while it is open."""
    from astropy.io import fits

    with silenced(), fits.open(io.BytesIO(data), mode="readonly", memmap=False) as hdus:
        yield hdus


@contextmanager
def first_image(data: bytes) -> Iterator[tuple[Any, Any]]:
    """Open a FITS file at its first image with pixels, None if there is none; and yield all of it as well."""
    with open_fits(data) as hdus:
        images = (hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) > 0)
        yield next(images, None), hdus


def read_fits(data: bytes, width: int | None = None, *, n_planes: int = 3) -> tuple[np.ndarray, fits.Header]:
    """Read the first image of a FITS file.

    Parameters
    ----------
    data : bytes
        The file.
    width : int, optional
        The side in pixels that it must have.
    n_planes : int, optional
        How many planes it must have; 1 for an image of one band.

    Returns
    -------
    planes : `~numpy.ndarray`, shape (n_planes, height, width)
        Integers where the file has whole numbers as integers, 0 where they are BLANK; else floating-point
        numbers. The last row is the top of the picture.
    header : `~astropy.io.fits.Header`
        Of the image.

    Raises
    ------
    ~hifrac.core.BadImageError
        If the file is damaged, or the image has another shape or size.
    """
    try:
        with first_image(data) as (image, _):
            shape = () if image is None else tuple(image.shape)
            size = shape[-2:]
            # Planes of one band, and axes of radio astronomy, come with axes of one element before them.
            if len(shape) < 2 or math.prod(shape[:-2]) != n_planes or max(shape[:-2], default=1) != n_planes:
                number = {1: "one plane", 3: "three planes"}.get(n_planes, f"{n_planes} planes")
                wanted = f"{number} ({n_planes}, height, width)" if n_planes > 1 else number
                raise BadImageError(f"FITS: the image must have {wanted}, got shape {shape}")
            check_size(size[1], size[0], width)
            header, is_integer = image.header.copy(), image.header["BITPIX"] > 0
            planes = np.array(image.data).reshape(n_planes, *size)
    except BadImageError:
        raise
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        raise BadImageError(f"damaged or cut-off FITS: {error}") from error
    if is_integer and planes.dtype.kind == "f":  # by BLANK, BSCALE or BZERO
        is_finite = np.isfinite(planes)
        whole = np.rint(np.where(is_finite, planes, 0))
        if is_finite.any() and np.all(np.abs(planes - whole)[is_finite] < 1e-3):
            planes = whole.astype(np.int64)
    return planes, header


def header_wcs(data: bytes) -> WCS | None:
    """Read the world coordinates in the header of a FITS picture, for the rows as `decode` gives them.

    Parameters
    ----------
    data : bytes
        A picture file; JPEG and PNG have no world coordinates.

    Returns
    -------
    wcs : `~astropy.wcs.WCS` or None
        Celestial, two axes, first row on top; with the distortion that the header describes. None if the
        file is not FITS or its first image has no celestial coordinates.

    Raises
    ------
    ~hifrac.core.BadImageError
        If the file is damaged, or its header describes coordinates that `astropy.wcs` cannot read.
    """
    if not is_fits(data):
        return None
    from astropy.wcs import WCS

    try:
        with first_image(data) as (image, hdus):
            if image is None or "CTYPE1" not in image.header:
                return None
            # Two axes from the start: a distortion is of the first two, and does not survive their selection.
            wcs = WCS(image.header, hdus, naxis=2)
            if not wcs.has_celestial:
                return None
            wcs.array_shape = image.shape[-2:]
            return flip_wcs(wcs, image.shape[-2])
    except Exception as error:  # astropy raises whatever it meets in odd headers
        raise BadImageError(f"FITS: the world coordinates of the header cannot be read: {error}") from error


def flip_wcs(wcs: WCS, height: int) -> WCS:
    """Return the world coordinates of an image of which the rows are taken in the opposite order.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Of two axes, with any distortion; it is left as it is.
    height : int
        The number of rows.
    """
    flipped = _regridded(wcs, np.array([0.0, height + 1.0]), np.array([1.0, -1.0]))
    flipped.array_shape = wcs.array_shape
    return flipped


def resampled_wcs(wcs: WCS, width: int, step: float) -> WCS:
    """Return the world coordinates of the picture that `decode` resamples.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Of the picture as it is in the file, with its ``array_shape``.
    width, step : int and float
        As of `decode`.
    """
    sides = np.array(wcs.array_shape[::-1], dtype=float)
    step = min(step, sides.min() / width)
    resampled = _regridded(wcs, (sides - width * step + 1 - step) / 2, np.array([step, step]))
    resampled.array_shape = width, width
    return resampled


def _regridded(wcs: WCS, origin: np.ndarray, step: np.ndarray) -> WCS:
    """Return the world coordinates of another grid: its pixel p is the pixel ``origin + step * p``, from 1.

    Steps are one an axis. Distortions are functions of the pixel, with offsets in pixels: both change.
    """
    from astropy.wcs import DistortionLookupTable, Sip

    with silenced():  # for Astropy changes the filters of warnings for it
        regridded = wcs.deepcopy()
    regridded.wcs.crpix = (wcs.wcs.crpix - origin) / step
    # World = cdelt * pc * pixel, or rotation * cdelt * pixel: a column of the matrix is a pixel axis.
    if wcs.wcs.has_cd():
        regridded.wcs.cd = wcs.wcs.cd * step
    elif wcs.wcs.has_crota() or not ((matrix := wcs.wcs.get_pc())[0, 1] or matrix[1, 0]):
        regridded.wcs.cdelt = wcs.wcs.cdelt * step
    else:
        regridded.wcs.pc = matrix * step
    if (sip := wcs.sip) is not None:
        terms = {}
        for name, axis in (("a", 0), ("b", 1), ("ap", 0), ("bp", 1)):
            terms[name] = coefficients = getattr(sip, name)
            if coefficients is not None:
                powers = np.arange(len(coefficients))
                factors = np.multiply.outer(step[0] ** powers, step[1] ** powers)
                terms[name] = coefficients * factors / step[axis]
        regridded.sip = Sip(*terms.values(), (sip.crpix - origin) / step)
    for name in ("cpdis1", "cpdis2", "det2im1", "det2im2"):
        if (table := getattr(wcs, name)) is not None:
            offsets = (table.data / step[int(name[-1]) - 1]).astype(np.float32)
            place = tuple((np.array(table.crval) - origin) / step), tuple(np.array(table.cdelt) / step)
            setattr(regridded, name, DistortionLookupTable(offsets, table.crpix, *place))
    regridded.wcs.set()
    return regridded
