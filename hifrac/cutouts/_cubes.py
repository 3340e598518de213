"""FITS files of services: their planes in, and one cube in the order red, green, blue out."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hifrac import images
from hifrac.core.exceptions import BadImageError
from hifrac.cutouts._http import Answer

if TYPE_CHECKING:
    from astropy.io import fits


def read_image(answer: Answer) -> tuple[np.ndarray, fits.Header]:
    """Planes and header of the first image of a FITS answer.

    Raises
    ------
    ~hifrac.core.BadImageError
        If the answer is no FITS file, or a damaged one.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    if not answer.body.startswith(b"SIMPLE"):
        raise BadImageError(f"{images.describe_bytes(answer.body)} ({answer.url})")
    try:
        with images.FITS_LOCK, warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=AstropyWarning)
            with fits.open(io.BytesIO(answer.body), memmap=False) as hdus:
                hdu = next(hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) > 0)
                return np.array(hdu.data, dtype=np.float32), hdu.header.copy()
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        raise BadImageError(f"damaged or cut-off FITS: {error} ({answer.url})") from error


def compose(
    planes: Sequence[np.ndarray], header: fits.Header, bands: Sequence[str], source: Sequence[Answer]
) -> bytes:
    """One FITS file of three planes, with the world coordinates of the service's own.

    It says which answers it was made of: their addresses and sha256.
    """
    from astropy.io import fits
    from astropy.wcs import WCS

    with images.FITS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sky = WCS(header).celestial.to_header()
    made = fits.PrimaryHDU(np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]), sky)
    made.header["BUNIT"] = "nanomaggy"
    for index, band in enumerate(bands):
        made.header[f"BAND{index}"] = band
    for answer in source:
        made.header.add_history(f"{hashlib.sha256(answer.body).hexdigest()} {answer.url}")
    file = io.BytesIO()
    made.writeto(file)
    return file.getvalue()
