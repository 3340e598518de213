"""Pictures: bytes of a JPEG, PNG or FITS file to an array of display colours.

`decode` is the only door. What it accepts is a complete colour picture of the
sky; everything else is an error that says what came instead.
"""

from __future__ import annotations

import functools
import io
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, JpegImagePlugin

from hifrac._picture_files import strip_jpeg, strip_png, what_instead
from hifrac.core.exceptions import BadImageError, OutOfFootprintError

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from numpy.typing import ArrayLike

__all__ = [
    "JPEG_QUALITY",
    "STRETCHES",
    "Stretch",
    "compress",
    "decode",
    "header_wcs",
    "is_blank",
    "lupton_rgb",
    "to_jpeg",
]

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_FITS = b"SIMPLE  ="

# Refused before anything is decoded; Pillow itself warns from 89 million pixels on.
_MAX_PIXELS = 8192 * 8192

#: Held while astropy reads headers: the warnings filters are those of the whole process.
FITS_LOCK = threading.Lock()


@dataclass(frozen=True)
class Stretch:
    """How a survey's colour pictures are made of fluxes: value = amplitude asinh(softening I).

    ``I`` is the mean over the three bands of weight times flux, less
    ``minimum``; each band then has its share of the value (Lupton et al. 2004).
    A pixel whose brightest band exceeds 255 is dimmed in all three bands,
    which keeps its colour.

    Parameters
    ----------
    weights : tuple of float
        Factors of the bands shown as red, green and blue.
    amplitude : float
        Grey levels; positive.
    softening : float
        Per unit of weighted flux; positive.
    minimum : float
        The weighted flux that is shown black.
    source : str
        Where the numbers are from.
    """

    weights: tuple[float, float, float]
    amplitude: float
    softening: float
    minimum: float
    source: str

    def levels(self, red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
        """Grey levels of three planes of flux, not yet rounded.

        Parameters
        ----------
        red, green, blue : `~numpy.ndarray` of float, shape (height, width)
            Fluxes in the unit of the stretch. Pixels that are not finite count as
            ``minimum``, in their own band only.

        Returns
        -------
        levels : `~numpy.ndarray` of float, shape (height, width, 3)
            0 to 255; of single precision if the planes are. Where noise makes ``I`` negative,
            a band that is positive still shows: `lupton_rgb` has black there.
        """
        planes = [
            weight * _as_float(plane) for weight, plane in zip(self.weights, (red, green, blue), strict=True)
        ]
        dtype = np.result_type(*planes)
        return _asinh_levels(planes, self.amplitude, self.softening, self.minimum, dtype)

    def rgb(self, red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
        """The picture of three planes of flux: their `levels`, rounded to uint8."""
        return np.rint(self.levels(red, green, blue)).astype(np.uint8)


#: The stretches of the surveys' own JPEG pictures, by survey.
STRETCHES = {
    # Fluxes in nanomaggies per native pixel of 0.396 arcsec (i, r, g).
    "sdss": Stretch((1.0, 1.14, 1.48), 37.5, 12.9, 0.0, "fit to DR16 getjpeg pictures, see hifrac.simulate"),
    # Nanomaggies per pixel of 0.262 arcsec (z, r, g): asinh(20 I) / sqrt(20) of the range. The viewer itself
    # lets what is too bright go white, and counts what is below black as black in I.
    "legacy": Stretch(
        (2.2, 3.4, 6.0), 255 / 20**0.5, 20.0, -0.03, "https://github.com/legacysurvey/imagine, map/views.py"
    ),
    # Nanomaggies per pixel of 0.25 arcsec (i, r, g). The survey's own colour JPEGs are scaled by percentiles
    # of each picture; what suits SDSS is taken over, by the ratio of the pixels' areas.
    "panstarrs": Stretch(
        tuple(weight * (0.396 / 0.25) ** 2 for weight in (1.0, 1.14, 1.48)), 37.5, 12.9, 0.0, "as sdss"
    ),
}


#: How the surveys' own JPEG pictures are compressed, as `to_jpeg` has it, by survey; others are not known.
JPEG_QUALITY = {"sdss": 75}


def decode(
    data: bytes,
    *,
    width: int | None = None,
    stretch: Stretch | str | None = None,
    quality: int | None = None,
) -> np.ndarray:
    """Pixels of a picture.

    Parameters
    ----------
    data : bytes
        A complete JPEG, PNG or FITS file; recognised by its content, not by a
        name. JPEG and PNG must be colour pictures; an alpha channel is dropped
        if it is opaque everywhere. FITS: the first image of the file must have
        three planes in the order red, green, blue. Integer planes (0 to 255)
        are display values; floating-point planes are calibrated fluxes and go
        through `lupton_rgb` with its defaults.
    width : int, optional
        The side in pixels that the square picture must have. By default every
        size is accepted.
    stretch : `Stretch` or str, optional
        How floating-point planes of a FITS file become display colours, or
        its name in `STRETCHES`; the defaults of `lupton_rgb` by default.
    quality : int, optional
        A picture that does not come as a JPEG of this quality goes through `compress`: what compression
        leaves of the noise tells a network where a picture is from. By default it stays as it is.

    Returns
    -------
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3)
        Red, green and blue; the first row is the top of the picture (for FITS
        the last row of the file). Writable, not shared with ``data``.

    Raises
    ------
    TypeError
        If ``data`` is not bytes.
    ValueError
        If ``stretch`` is not the name of one.
    ~hifrac.core.exceptions.BadImageError
        If ``data`` is not a picture, is damaged or cut off, has no colour, has
        transparent parts, has more than 67 million pixels, or does not
        have the side ``width``.
    ~hifrac.core.exceptions.OutOfFootprintError
        If the picture is blank; see `is_blank`.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if isinstance(stretch, str):
        if stretch not in STRETCHES:
            raise ValueError(f"stretch must be one of {', '.join(STRETCHES)}, got {stretch!r}")
        stretch = STRETCHES[stretch]
    compression = None
    if data.startswith(_JPEG):
        pixels, compression = _decode_picture(*strip_jpeg(data), "JPEG", width)
    elif data.startswith(_PNG):
        pixels, _ = _decode_picture(*strip_png(data), "PNG", width)
    elif data.startswith(_FITS):
        pixels = _decode_fits(data, width, stretch)
    else:
        raise BadImageError(what_instead(data))
    if is_blank(pixels):
        raise OutOfFootprintError("the picture is blank: the survey has no image of this position")
    if _has_no_colour(pixels):
        raise BadImageError("greyscale picture: it has no colour (its three channels are equal)")
    if quality is not None and compression != _compression_of(quality):
        pixels = compress(pixels, quality=quality)
    return pixels


def header_wcs(data: bytes) -> WCS | None:
    """World coordinates in the header of a FITS picture, for the rows as `decode` gives them.

    Parameters
    ----------
    data : bytes
        A picture file; JPEG and PNG have no world coordinates.

    Returns
    -------
    wcs : `~astropy.wcs.WCS` or None
        Celestial, two axes, first row on top; None if the file is not FITS
        or its first image has no celestial coordinates.
    """
    if not data.startswith(_FITS):
        return None
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS

    try:
        with FITS_LOCK, warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=AstropyWarning)
            with fits.open(io.BytesIO(data), mode="readonly", memmap=False) as hdus:
                image = next(hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) > 0)
                wcs = WCS(image.header).celestial
                height, width = image.shape[-2:]
    except Exception:
        return None
    if wcs.naxis != 2 or not wcs.has_celestial:
        return None
    flipped = flip_wcs(wcs, height)
    flipped.array_shape = height, width
    return flipped


def flip_wcs(wcs: WCS, height: int) -> WCS:
    """Return the world coordinates of an image of which the rows are taken in the opposite order.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Of two axes; it is left as it is.
    height : int
        The number of rows.
    """
    flipped = wcs.deepcopy()
    flipped.wcs.crpix = wcs.wcs.crpix[0], height + 1 - wcs.wcs.crpix[1]
    # World = cdelt * pc * pixel: the flip of the second pixel axis is a sign of its column.
    signs = np.array([1.0, -1.0])
    if wcs.wcs.has_cd():
        flipped.wcs.cd = wcs.wcs.cd * signs
    elif not ((matrix := wcs.wcs.get_pc())[0, 1] or matrix[1, 0]):
        flipped.wcs.cdelt = wcs.wcs.cdelt * signs  # as most images have it: no matrix at all
    else:
        flipped.wcs.pc = matrix * signs
    flipped.array_shape = wcs.array_shape
    flipped.wcs.set()
    return flipped


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a picture shows no sky where its target should be.

    Services answer outside their footprint with a uniform picture, often with
    a message printed on it. Real sky has noise, so the test asks for *exactly*
    uniform ground. A picture is blank if

    * no channel varies by more than 4 levels; or
    * at least a third of the pixels have exactly one colour (the ground), and

      - the central quarter of the picture (half its side) is ground to within
        4 levels: the target was not imaged; or
      - some row alternates like print: counting only steps between
        neighbouring pixels of at least a third of the picture's range, its
        steps sum to at least 3 times that range (a star alone: 2).

    Of the 21,181 genuine SDSS cutouts of the package's data directory seven
    have a third or more exactly uniform ground (73% at most: frames with a wrong
    sky level), and their rows sum to 0.4 at most; none is called blank. A
    printed message in letters of 8 to 16 pixels leaves 39% or more of a
    128-pixel picture ground.

    Parameters
    ----------
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3)
        The picture.

    Returns
    -------
    blank : bool
        True for a blank picture. Some services also print failures of their
        own on uniform ground; these cannot be told from a missing image.
    """
    height, width = pixels.shape[:2]
    # A sample settles nearly all real pictures; it may only ever rule blankness out.
    sample = pixels[:: max(1, height // 32), :: max(1, width // 32), 1]
    if np.bincount(sample.ravel()).max() < 0.2 * sample.size:
        return False
    corner = pixels[0, 0].astype(np.int16)
    if np.abs(pixels[:: max(1, height // 32)].astype(np.int16) - corner).max() <= 4 and _range(pixels) <= 4:
        return True
    packed = pixels.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, counts = np.unique(packed, return_counts=True)
    if counts.max() < packed.size / 3:
        return False
    ground = colours[counts.argmax()]
    rgb = np.array([ground >> 16, ground >> 8 & 255, ground & 255], dtype=np.int16)
    centre = pixels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    if np.abs(centre.astype(np.int16) - rgb).max() <= 4:
        return True
    brightness = pixels.sum(axis=2, dtype=np.int32)
    contrast = np.ptp(brightness)
    steps = np.abs(np.diff(brightness, axis=1))
    steps[3 * steps < contrast] = 0
    return bool(contrast >= 96 and steps.sum(axis=1).max(initial=0) >= 3 * contrast)


def lupton_rgb(
    red: np.ndarray,
    green: np.ndarray,
    blue: np.ndarray,
    *,
    stretch: float = 0.5,
    Q: float = 10.0,  # noqa: N803 (the symbol of the paper and of astropy)
    minimum: float = 0.0,
) -> np.ndarray:
    """Display colours of calibrated fluxes: the asinh stretch of Lupton et al. (2004).

    Parameters
    ----------
    red, green, blue : array-like of float, shape (height, width)
        Sky-subtracted fluxes, all three on one scale; for SDSS frames in
        nanomaggies per pixel. Pixels that are not finite count as
        ``minimum``, in their own band only.
    stretch : float, optional
        Linear stretch of the faint end, in the unit of the fluxes. Positive.
        The default suits SDSS frames in nanomaggies.
    Q : float, optional
        Softening: larger values compress the bright end more. Positive.
    minimum : float, optional
        The flux that is shown black.

    Returns
    -------
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3)
        The picture; its rows are in the order of the input.

    Raises
    ------
    ValueError
        If the planes are not two-dimensional and of one shape, or
        ``stretch`` or ``Q`` is not positive and finite, or ``minimum`` is not finite.

    Notes
    -----
    Lupton et al. 2004, PASP 116, 133, equations 1 and 2, in single precision; the result is that of
    `astropy.visualization.make_lupton_rgb` to within one level. It is not the stretch of SkyServer's
    JPEG pictures (`STRETCHES` has that): a model trained on these sees a different recipe.
    """
    planes = [_as_float(plane) for plane in (red, green, blue)]
    if planes[0].ndim != 2 or len({plane.shape for plane in planes}) != 1:
        shapes = ", ".join(str(plane.shape) for plane in planes)
        raise ValueError(f"red, green and blue must be two-dimensional and of one shape, got {shapes}")
    for name, value in (("stretch", stretch), ("Q", Q)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    if not np.isfinite(minimum):
        raise ValueError(f"minimum must be finite, got {minimum}")
    # Astropy's own limits of Q.
    q = 0.1 if Q < 2.0**-23 else min(float(Q), 1e10)
    # Lupton's Q is stated at a tenth of the range, as astropy has it.
    levels = _asinh_levels(
        planes,
        25.5 / float(np.arcsinh(0.1 * q)),
        # Beyond that limit every flux is saturated anyhow.
        min(q / float(stretch), 1e100),
        float(minimum),
        np.dtype(np.float32),
        black_below=True,
    )
    return levels.astype(np.uint8)


def to_jpeg(pixels: np.ndarray, *, quality: int = 75) -> bytes:
    """A JPEG file with half the resolution in colour (4:2:0), as SkyServer's.

    Parameters
    ----------
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3)
        Red, green and blue; the first row is the top.
    quality : int, optional
        From 1 to 95; SkyServer's quantisation tables are those of 75.

    Returns
    -------
    data : bytes
        The same pixels give the same bytes with the same version of libjpeg.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def compress(pixels: np.ndarray, *, quality: int = 75) -> np.ndarray:
    """What is left of a picture after `to_jpeg`.

    Parameters
    ----------
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3)
        Red, green and blue. What was compressed so before hardly changes.
    quality : int, optional
        As of `to_jpeg`.

    Returns
    -------
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3)
        Writable, not shared with those given.
    """
    with Image.open(io.BytesIO(to_jpeg(pixels, quality=quality))) as picture:
        return np.array(picture)


# Quantisation tables, and how much less of the colour there is than of the brightness.
_Compression = tuple[dict[int, list[int]], int]


@functools.cache
def _compression_of(quality: int) -> _Compression:
    """What the header of a JPEG of `to_jpeg` says of its compression."""
    with Image.open(io.BytesIO(to_jpeg(np.zeros((16, 16, 3), np.uint8), quality=quality))) as picture:
        return picture.quantization, JpegImagePlugin.get_sampling(picture)


def _as_float(plane: ArrayLike) -> np.ndarray:
    """A plane in this computer's single or double precision."""
    plane = np.asarray(plane)
    single = plane.dtype.kind == "f" and plane.dtype.itemsize <= 4
    return plane.astype(np.float32 if single else np.float64, copy=False)


def _asinh_levels(
    planes: list[np.ndarray],
    amplitude: float,
    softening: float,
    minimum: float,
    dtype: np.dtype,
    *,
    black_below: bool = False,
) -> np.ndarray:
    """Grey levels, shape (height, width, 3), of weighted fluxes: see `Stretch` and `lupton_rgb`.

    ``dtype`` is that of the costly part. The sum is of double precision,
    because bands of opposite sign may cancel.
    """
    excess, peaks = zip(*(_excess(plane, minimum) for plane in planes), strict=True)
    if max(1.0, *peaks) * amplitude * softening > 1e30:
        dtype = np.dtype(np.float64)  # single precision would overflow
    total = np.add(excess[0], excess[1], dtype=np.float64)
    total += excess[2]
    intensity = total.astype(dtype)
    intensity /= 3
    gain = intensity * dtype.type(softening)
    # asinh(x) / x is 1 there, to all digits.
    small = np.abs(gain) < 1e-9
    intensity[small] = 1
    np.arcsinh(gain, out=gain)
    gain /= intensity
    gain[small] = softening
    if black_below:
        gain[total <= 0] = 0
    gain *= amplitude
    bands = [plane.astype(dtype, copy=False) * gain for plane in excess]
    levels = np.empty((*gain.shape, 3), dtype)
    for channel, band in enumerate(bands):
        levels[..., channel] = band
    np.maximum(levels, 0, out=levels)
    saturated = np.flatnonzero(np.maximum(np.maximum(bands[0], bands[1]), bands[2]) > 255)
    pixels = levels.reshape(-1, 3)
    beyond = pixels[saturated]
    # In this order it is exactly 255 for the brightest band.
    pixels[saturated] = beyond / beyond.max(axis=1, keepdims=True) * 255
    return levels


def _excess(plane: np.ndarray, minimum: float) -> tuple[np.ndarray, float]:
    """A plane less its minimum, finite and so bounded that no later product overflows; its largest size."""
    with np.errstate(over="ignore", invalid="ignore"):
        excess = plane - plane.dtype.type(minimum)
        peak = float(np.abs(excess).max(initial=0))
        if not peak <= 1e30:
            peak = 1e30
            np.clip(excess, -peak, peak, out=excess)
            excess[~np.isfinite(plane)] = 0
    return excess, peak


def _has_no_colour(pixels: np.ndarray) -> bool:
    """Whether something is shown, and in grey alone; compression may leave the noise of empty sky grey."""
    red = pixels[..., 0]
    if not (np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2])):
        return False
    return bool(np.ptp(red) >= 32)


def _range(pixels: np.ndarray) -> int:
    """The largest range of any channel."""
    flat = pixels.reshape(-1, 3)
    return int((flat.max(axis=0).astype(int) - flat.min(axis=0)).max())


def _check_size(columns: int, rows: int, width: int | None) -> None:
    """Refuse a size that is not the asked one, or beyond all sense."""
    if width is not None and (columns, rows) != (width, width):
        raise BadImageError(f"the picture has {columns} x {rows} pixels instead of {width} x {width}")
    limit = min(_MAX_PIXELS, Image.MAX_IMAGE_PIXELS or _MAX_PIXELS)
    if columns < 1 or rows < 1 or columns * rows > limit:
        raise BadImageError(f"the picture claims to have {columns} x {rows} pixels: refused")


def _decode_picture(
    data: bytes, size: tuple[int, int], kind: str, width: int | None
) -> tuple[np.ndarray, _Compression | None]:
    """Pixels of a stripped JPEG or PNG, by Pillow, and how a JPEG was compressed."""
    _check_size(*size, width)
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            picture.load()
            compression = None
            if kind == "JPEG":
                compression = picture.quantization, JpegImagePlugin.get_sampling(picture)
            if picture.mode == "P":
                picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            elif picture.mode == "RGB" and "transparency" in picture.info:
                picture = picture.convert("RGBA")
            mode, pixels = picture.mode, np.array(picture)
    except Exception as error:  # Pillow raises whatever its parsers meet in damaged bytes
        raise BadImageError(f"damaged {kind}: {error}") from error
    if mode == "RGBA":
        opaque = pixels[..., 3] == 255
        if not pixels[..., 3].any():
            raise OutOfFootprintError("the picture is transparent everywhere: the survey has no image there")
        if not opaque.all():
            raise BadImageError(f"the picture is transparent in {np.mean(~opaque):.1%} of its pixels")
        pixels = np.ascontiguousarray(pixels[..., :3])
    elif mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F"):
        raise BadImageError(f"greyscale {kind}: it has no colour (mode {mode})")
    elif mode != "RGB":
        raise BadImageError(f"{kind} of mode {mode}: only RGB pictures can be used")
    return pixels, compression


def _decode_fits(data: bytes, width: int | None, stretch: Stretch | None) -> np.ndarray:
    """Display colours of the first image of a FITS file, top row first."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    planes = None
    try:
        # The lock keeps our own threads from restoring each other's filters.
        with FITS_LOCK, warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=AstropyWarning)
            with fits.open(io.BytesIO(data), mode="readonly", memmap=False) as hdus:
                for hdu in hdus:
                    if hdu.is_image and hdu.header.get("NAXIS", 0) > 0:
                        shape = tuple(hdu.shape)
                        if len(shape) == 3 and shape[0] == 3:
                            _check_size(shape[2], shape[1], width)
                            planes = np.array(hdu.data)
                        break
                else:
                    shape = ()
    except BadImageError:
        raise
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        raise BadImageError(f"damaged or cut-off FITS: {error}") from error
    if planes is None:
        raise BadImageError(f"FITS: the image must have three planes (3, height, width), got shape {shape}")
    if planes.dtype.kind in "iu":
        if planes.min() < 0 or planes.max() > 255:
            span = f"{planes.min()} to {planes.max()}"
            raise BadImageError(f"FITS: integer planes must be display values of 0 to 255, got {span}")
        display = np.moveaxis(planes.astype(np.uint8), 0, -1)
    elif not np.isfinite(planes).any():
        raise OutOfFootprintError("every pixel is NaN: the survey has no image of this position")
    else:
        display = lupton_rgb(*planes) if stretch is None else stretch.rgb(*planes)
    return np.ascontiguousarray(display[::-1])
