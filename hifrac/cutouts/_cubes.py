"""FITS pictures of three bands, of services or of known filters, as cubes in the order red, green, blue."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hifrac import images
from hifrac.core.exceptions import BadImageError

if TYPE_CHECKING:
    from astropy.io import fits

    from hifrac.cutouts._http import Answer

# The usual filters, the longest wavelength first.
_REDDEST_FIRST = tuple("KHJYyzIiRrVgBuU")


def parse_bands(bands: str | Sequence[str]) -> tuple[str, str, str]:
    """Return three names of filters, given as a sequence, ``"g,r,i"`` or ``"gri"``."""
    if isinstance(bands, str):
        bands = bands.split(",") if "," in bands else list(bands.strip())
    if not all(isinstance(band, str) for band in bands):
        raise TypeError(f"bands must be names of filters, got {bands!r}")
    first, second, third, *more = [*(band.strip() for band in bands), "", "", ""]
    if "" in (first, second, third) or any(more) or len({first, second, third}) != 3:
        raise ValueError(f"bands must be the names of three filters, such as 'g,r,i', got {bands!r}")
    return first, second, third


def display_order(bands: Sequence[str], shown: Sequence[str] | None) -> tuple[str, ...]:
    """Return filters in the order red, green, blue: that of ``shown``, else by wavelength."""
    if shown is not None:
        if set(shown) != set(bands):
            raise ValueError(f"bands must be those of recipe, {', '.join(shown)}; got {', '.join(bands)}")
        return tuple(shown)
    if unknown := [band for band in bands if band not in _REDDEST_FIRST]:
        raise ValueError(
            f"bands: nothing is known of the filter {unknown[0]!r}; the known ones, the reddest first, are "
            f"{', '.join(_REDDEST_FIRST)}; recipe= can say which is shown as red, green and blue"
        )
    return tuple(sorted(bands, key=_REDDEST_FIRST.index))


def reorder_cube(data: bytes, order: Sequence[int]) -> bytes:
    """Return a FITS file with the planes of another in the order of their numbers, from 0."""
    planes, header = images.read_fits(data)
    return _fits_bytes(planes[list(order)], header)


def join_bands(files: Sequence[bytes]) -> bytes:
    """Return one FITS file of the planes of three, with the header of the first.

    Raises
    ------
    ~hifrac.core.BadImageError
        If a file is damaged or has not one plane, or they are not on one grid of pixels.
    """
    planes, headers = zip(*(images.read_fits(data, n_planes=1) for data in files), strict=True)
    sizes = [f"{plane.shape[2]} x {plane.shape[1]}" for plane in planes]
    if len(set(sizes)) > 1:
        raise BadImageError(f"FITS: the bands have pictures of different sizes, {', '.join(sizes)} pixels")
    if len({plane.dtype.kind == "f" for plane in planes}) > 1:
        raise BadImageError("FITS: some bands have integers, which are display values, and some fluxes")
    grids = [images.header_wcs(data) for data in files]
    corners = np.array([[0.0, 0.0], [planes[0].shape[2] - 1.0, planes[0].shape[1] - 1.0]])
    for grid in grids[1:]:
        if grid is None or grids[0] is None:
            continue
        there = np.transpose(grid.world_to_pixel(grids[0].pixel_to_world(*corners.T)))
        if (shift := np.abs(there - corners).max()) > 0.5:
            raise BadImageError(f"FITS: the bands are not on one grid of pixels: they differ by {shift:.1f}")
    return _fits_bytes(np.concatenate(planes), headers[0])


def read_image(answer: Answer) -> tuple[np.ndarray, fits.Header]:
    """Return planes and header of the first image of a FITS answer.

    Raises
    ------
    ~hifrac.core.BadImageError
        If the answer is no FITS file, or a damaged one.
    """
    if not images.is_fits(answer.body):
        raise BadImageError(f"{images.describe_bytes(answer.body)} ({answer.url})")
    try:
        with images.first_image(answer.body) as (image, _):
            if image is None:
                raise ValueError("it has no image")
            return np.array(image.data, dtype=np.float32), image.header.copy()
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        raise BadImageError(f"damaged or cut-off FITS: {error} ({answer.url})") from error


def compose(
    planes: Sequence[np.ndarray], header: fits.Header, bands: Sequence[str], source: Sequence[Answer]
) -> bytes:
    """Write one FITS file of three planes, with the world coordinates of the service's own.

    It says which answers it was made of: their addresses and sha256.
    """
    from astropy.wcs import WCS

    with images.FITS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sky = WCS(header).celestial.to_header()
    sky["BUNIT"] = "nanomaggy"
    for index, band in enumerate(bands):
        sky[f"BAND{index}"] = band
    for answer in source:
        sky.add_history(f"{hashlib.sha256(answer.body).hexdigest()} {answer.url}")
    return _fits_bytes(np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]), sky)


def _fits_bytes(planes: np.ndarray, header: fits.Header) -> bytes:
    """Write planes with the facts of a header that are not about how numbers are stored."""
    from astropy.io import fits

    header = header.copy(strip=True)
    header.remove("BLANK", ignore_missing=True)
    file = io.BytesIO()
    fits.PrimaryHDU(planes, header).writeto(file, output_verify="silentfix")
    return file.getvalue()
