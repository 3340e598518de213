"""Simulated SDSS imaging frames: files as in the survey's data model, with stars where they are wanted."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

#: Rows and columns of a genuine frame; rows that a field has in common with the next one.
SHAPE, OVERLAP = (1489, 2048), 128
PIXEL_SCALE = 0.396

# Chips of one camera column see a field with small offsets (columns, rows) and turns (degrees).
_BANDS = {
    "u": (0.0, 0.0, 0.0),
    "g": (-3.3, 6.4, 0.02),
    "r": (0.0, 0.0, 0.0),
    "i": (4.6, -2.7, -0.03),
    "z": (1.1, 2.0, 0.01),
}


def field_centres(ra: float, dec: float, angle: float, number: int, step: float) -> SkyCoord:
    """Centres of consecutive fields of a scan, ``step`` pixels apart; rows run along the scan."""
    start = SkyCoord(ra, dec, unit="deg")
    return start.directional_offset_by(
        (angle + 90) * u.deg, np.arange(number) * step * PIXEL_SCALE * u.arcsec
    )


def frame_header(ra: float, dec: float, angle: float = 20.0, band: str = "r", shape=SHAPE) -> fits.Header:
    """The primary header of a frame whose columns run at a position angle, its rows 90 degrees further."""
    across, along, turn = _BANDS[band]
    rows, columns = shape
    psi = np.radians(angle + turn)
    step = PIXEL_SCALE / 3600
    header = fits.Header()
    header["SIMPLE"] = True
    header["BITPIX"] = -32, "32 bit floating point"
    header["NAXIS"] = 2
    header["NAXIS1"], header["NAXIS2"] = columns, rows
    header["EXTEND"] = True, "Extensions may be present"
    header["BZERO"], header["BSCALE"] = 0.0, 1.0
    header["FILTER"], header["TELESCOP"] = band, "2.5m"
    header["BUNIT"] = "nanomaggy", "1 nanomaggy = 3.631e-6 Jy"
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["CRPIX1"], header["CRPIX2"] = columns // 2 + 1.0 + across, rows // 2 + 1.0 + along
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CD1_1"], header["CD1_2"] = step * np.sin(psi), step * np.cos(psi)
    header["CD2_1"], header["CD2_2"] = step * np.cos(psi), -step * np.sin(psi)
    header["HISTORY"] = "simulated"
    return header


def frame_pixels(
    header: fits.Header, stars: Iterable[tuple[float, float, float]], *, sigma=1.6
) -> np.ndarray:
    """Nanomaggies per pixel of stars (ra, dec, nanomaggies) with a Gaussian image; no noise."""
    pixels = np.zeros((header["NAXIS2"], header["NAXIS1"]))
    wcs = WCS(header)
    row, column = np.indices(pixels.shape, sparse=True)
    for ra, dec, flux in stars:
        x, y = wcs.wcs_world2pix(ra, dec, 0)
        profile = np.exp(-((column - x) ** 2) / (2 * sigma**2)) * np.exp(-((row - y) ** 2) / (2 * sigma**2))
        pixels += flux / (2 * np.pi * sigma**2) * profile
    return pixels.astype(np.float32)


def frame_file(header: fits.Header, pixels: np.ndarray) -> bytes:
    """A frame as a file: the image, the calibration of each column, the sky, and the astrometric solution."""
    sky = np.zeros(1, [("ALLSKY", ">f4", (24, 32)), ("XINTERP", ">f4", 64), ("YINTERP", ">f4", 48)])
    hdus = [
        fits.PrimaryHDU(pixels, header),
        fits.ImageHDU(np.full(pixels.shape[1], 0.005, np.float32)),
        fits.BinTableHDU(sky),
        fits.BinTableHDU(np.zeros(5, [("FILTER", "S1"), ("A", ">f8"), ("B", ">f8")])),
    ]
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file)
    return file.getvalue()


def frame_path(folder: Path, band: str, field: int, *, run=756, camcol=3, suffix="") -> Path:
    """Where SDSS has a frame, below the folder of a rerun."""
    return folder / f"{run}" / f"{camcol}" / f"frame-{band}-{run:06d}-{camcol}-{field:04d}.fits{suffix}"


def write(path: Path, content: bytes) -> Path:
    """Put a file in its place, compressed as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pack = {".bz2": bz2.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(content))
    return path


def write_field(
    folder: Path,
    ra: float,
    dec: float,
    stars=(),
    *,
    field: int = 100,
    angle: float = 20.0,
    shape=SHAPE,
    bands: str = "gri",
    suffix: str = "",
    colours=(1.0, 1.0, 1.0),
    background=None,
    **place: int,
) -> list[Path]:
    """Frames of a field; a star has its flux times the colour of the band (in the order of ``bands``).

    ``background`` gives nanomaggies per pixel from right ascension and declination.
    """
    paths = []
    for band, colour in zip(bands, colours, strict=False):
        header = frame_header(ra, dec, angle, band, shape)
        pixels = frame_pixels(header, [(*star[:2], star[2] * colour) for star in stars])
        if background is not None:
            row, column = np.indices(shape)
            pixels += np.float32(colour) * background(*WCS(header).wcs_pix2world(column, row, 0)).astype(
                np.float32
            )
        path = frame_path(folder, band, field, suffix=suffix, **place)
        paths.append(write(path, frame_file(header, pixels)))
    return paths
