"""FITS pictures of some bands, of services or of known filters, as cubes in the order that is wanted."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hifrac import images
from hifrac.core.exceptions import BadImageError, OutOfFootprintError, silenced

if TYPE_CHECKING:
    from astropy.io import fits

    from hifrac.cutouts._answers import Answer

#: The usual filters, the longest wavelength first.
REDDEST_FIRST = tuple("KHJYyzIiRrVgBuU")


_NPY = b"\x93NUMPY"


def parse_bands(bands: str | Sequence[str], n_bands: int | None = 3) -> tuple[str, ...]:
    """Return names of filters, given as a sequence, ``"g,r,i"`` or ``"gri"``; None for three or more."""
    if isinstance(bands, str):
        bands = bands.split(",") if "," in bands else list(bands.strip())
    if not all(isinstance(band, str) for band in bands):
        raise TypeError(f"bands must be names of filters, got {bands!r}")
    names = tuple(band.strip() for band in bands)
    wanted = max(3, len(names)) if n_bands is None else n_bands
    if "" in names or not len(names) == len(set(names)) == wanted:
        number = {None: "three or more", 3: "three"}.get(n_bands, n_bands)
        raise ValueError(f"bands must be the names of {number} filters, such as 'g,r,i', got {bands!r}")
    return names


def display_order(bands: Sequence[str], shown: Sequence[str] | None) -> tuple[str, ...]:
    """Return filters in the order red, green, blue: that of ``shown``, else by wavelength."""
    if shown is not None:
        if set(shown) != set(bands):
            raise ValueError(f"bands must be those of recipe, {', '.join(shown)}; got {', '.join(bands)}")
        return tuple(shown)
    if unknown := [band for band in bands if band not in REDDEST_FIRST]:
        raise ValueError(
            f"bands: nothing is known of the filter {unknown[0]!r}; the known ones, the reddest first, are "
            f"{', '.join(REDDEST_FIRST)}; recipe= can say which is shown as red, green and blue"
        )
    return tuple(sorted(bands, key=REDDEST_FIRST.index))


def reorder_cube(data: bytes, bands: Sequence[str], wanted: Sequence[str]) -> bytes:
    """Return a FITS file with the planes of a cube, FITS or ``.npy``, in another order, which it says.

    Raises
    ------
    ~hifrac.core.BadImageError
        If it is damaged, or has not one plane for each of its ``bands``.
    """
    if data.startswith(_NPY):
        planes, header = _read_npy(data, len(bands)), None
    else:
        planes, header = images.read_fits(data, n_planes=len(bands))
    return _fits_bytes(planes[[bands.index(band) for band in wanted]], header, wanted)


def _read_npy(data: bytes, n_planes: int) -> np.ndarray:
    try:
        planes = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # NumPy raises whatever it meets in damaged bytes
        raise BadImageError(f"damaged or cut-off .npy: {error}") from error
    if planes.ndim != 3 or len(planes) != n_planes or planes.dtype.kind not in "fiu":
        raise BadImageError(
            f".npy: it must be {n_planes} planes of numbers ({n_planes}, height, width), got shape "
            f"{planes.shape} of {planes.dtype}"
        )
    return planes.astype(np.float32)


def decode_fluxes(data: bytes, bands: Sequence[str], width: int) -> np.ndarray:
    """Return the fluxes of a FITS cube whose header says which plane is which band (BAND0, BAND1, ...).

    Returns
    -------
    fluxes : `~numpy.ndarray` of float32, shape (width, width, n_bands)
        In the order of ``bands``; the first row is the top. Pixels without a value are 0.

    Raises
    ------
    ~hifrac.core.BadImageError
        If it is no such file, is damaged, or lacks a band.
    ~hifrac.core.OutOfFootprintError
        If a band has no pixel with a value, or all have the same.
    """
    if not images.is_fits(data):
        raise BadImageError(f"fluxes of {', '.join(bands)} are wanted: {images.describe_bytes(data)}")
    planes, header = images.read_fits(data, width, n_planes=len(bands))
    stated = [str(header.get(f"BAND{index}", "")).strip() for index in range(len(bands))]
    if not any(stated):
        raise BadImageError(f"FITS: nothing says which plane is which of the bands {', '.join(bands)}")
    if lacking := [band for band in bands if band not in stated]:
        raise BadImageError(f"FITS: it has the bands {', '.join(stated)}, and lacks {', '.join(lacking)}")
    fluxes = planes[[stated.index(band) for band in bands]].astype(np.float32)
    fluxes[~np.isfinite(fluxes)] = np.nan
    if empty := [band for band, plane in zip(bands, fluxes, strict=True) if not _has_light(plane)]:
        raise OutOfFootprintError(f"no image in {', '.join(empty)}: every pixel is NaN, or the same")
    return np.ascontiguousarray(np.moveaxis(np.nan_to_num(fluxes), 0, -1)[::-1])


def _has_light(plane: np.ndarray) -> bool:
    values = plane[np.isfinite(plane)]
    return bool(values.size and np.ptp(values) > 0)


def join_bands(files: Sequence[bytes], bands: Sequence[str]) -> bytes:
    """Return one FITS file of the planes of several, one a band, with the header of the first.

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
    return _fits_bytes(np.concatenate(planes), headers[0], bands)


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
    """Write one FITS file of a plane a band, with the world coordinates of the service's own.

    It says which answers it was made of: their addresses and sha256.
    """
    from astropy.wcs import WCS

    with silenced():
        sky = WCS(header).celestial.to_header()
    sky["BUNIT"] = "nanomaggy"
    for answer in source:
        sky.add_history(f"{hashlib.sha256(answer.body).hexdigest()} {answer.url}")
    return _fits_bytes(np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]), sky, bands)


def _fits_bytes(planes: np.ndarray, header: fits.Header | None, bands: Sequence[str]) -> bytes:
    """Write planes, their bands, and the facts of a header that are not about how numbers are stored."""
    from astropy.io import fits

    header = fits.Header() if header is None else header.copy(strip=True)
    header.remove("BLANK", ignore_missing=True)
    for index, band in enumerate(bands):
        header[f"BAND{index}"] = band
    file = io.BytesIO()
    fits.PrimaryHDU(planes, header).writeto(file, output_verify="silentfix")
    return file.getvalue()
