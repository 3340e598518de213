"""Pictures: bytes of a JPEG, PNG or FITS file to an array of display colours.

`decode` is the only door. What it accepts is a complete colour picture of the
sky; everything else is an error that says what came instead.
"""

from __future__ import annotations

import functools
import io
import math
import re
import struct
import zlib

import numpy as np
import simplejpeg

from hifrac._fits import check_size, read_fits
from hifrac._fits import first_image as first_image
from hifrac._fits import flip_wcs as flip_wcs
from hifrac._fits import header_wcs as header_wcs
from hifrac._fits import is_fits as is_fits
from hifrac._fits import resampled_wcs as resampled_wcs
from hifrac._stretch import STRETCHES, Stretch, lupton_rgb
from hifrac.core.exceptions import BadImageError, OutOfFootprintError

__all__ = ["STRETCHES", "Stretch", "decode", "lupton_rgb"]

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"


#: How the surveys' own JPEG pictures are compressed, as `to_jpeg` has it, by survey; others are not known.
JPEG_QUALITY = {"sdss": 75}


def decode(
    data: bytes,
    *,
    width: int | None = None,
    stretch: Stretch | str | None = None,
    quality: int | None = None,
    step: float | None = None,
) -> np.ndarray:
    """Decode a picture.

    Parameters
    ----------
    data : bytes
        A complete JPEG, PNG or FITS file; recognised by its content, not by a
        name. JPEG and PNG must be colour pictures; an alpha channel is dropped
        if it is opaque everywhere. FITS: the first image of the file must have
        three planes in the order red, green, blue. Integer planes (0 to 255)
        are display values, black where they are BLANK; so are integers with BSCALE or BZERO that stand for
        whole numbers. Other numbers are calibrated fluxes and go through `lupton_rgb` with its defaults.
    width : int, optional
        The side in pixels that the square picture must have. By default every
        size is accepted.
    stretch : `Stretch` or str, optional
        How floating-point planes of a FITS file become display colours, or
        its name in `STRETCHES`; the defaults of `lupton_rgb` by default.
    quality : int, optional
        A picture that does not come as a JPEG of this quality goes through ``compress``: what compression
        leaves of the noise tells a network where a picture is from. By default it stays as it is.
    step : float, optional
        Pixels of the file in one pixel of the result, along each axis, for a picture of another scale: its
        middle is resampled (bicubic) to ``width`` pixels. Fluxes become those in pixels of the new size.

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
        If ``stretch`` is not the name of one, or ``step`` is given without ``width``.
    ~hifrac.core.BadImageError
        If ``data`` is not a picture, is damaged or cut off, has no colour, has
        transparent parts, has more than 67 million pixels, does not
        have the side ``width``, or does not cover as much sky.
    ~hifrac.core.OutOfFootprintError
        If the picture is blank; see ``is_blank``.

    Examples
    --------
    >>> from hifrac.demo import PICTURES
    >>> from hifrac.images import decode
    >>> pixels = decode((PICTURES / "sim-01-elliptical.jpg").read_bytes(), width=128)
    >>> pixels.shape, pixels.dtype
    ((128, 128, 3), dtype('uint8'))
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"data must be bytes, got {type(data).__name__}")
    data = bytes(data)
    if isinstance(stretch, str):
        if stretch not in STRETCHES:
            raise ValueError(f"stretch must be one of {', '.join(STRETCHES)}, got {stretch!r}")
        stretch = STRETCHES[stretch]
    if step is not None and width is None:
        raise ValueError("step needs width: the pixels that the result has")
    compression, side = None, width if step is None else None
    if data.startswith(_JPEG):
        pixels, subsampling = _decode_jpeg(data, side)
        if quality is not None and step is None:
            compression = subsampling, _quantisation(data)
    elif data.startswith(_PNG):
        pixels = _decode_png(data, side)
    elif is_fits(data):
        planes = read_fits(data, side)[0]
        if step is not None and width is not None and planes.dtype.kind == "f":
            fluxes = np.nan_to_num(planes.astype(np.float32), posinf=0, neginf=0)
            planes = np.stack([_resample(plane, width, step) for plane in fluxes]) * np.float32(step**2)
            step = None
        pixels = _display(planes, stretch)
    else:
        raise BadImageError(describe_bytes(data))
    if step is not None and width is not None:
        pixels = _resample(pixels, width, step)
    if is_blank(pixels):
        raise OutOfFootprintError("the picture is blank: the survey has no image of this position")
    if _has_no_colour(pixels):
        raise BadImageError("greyscale picture: it has no colour (its three channels are equal)")
    if quality is not None and compression != _compression_of(quality):
        pixels = compress(pixels, quality=quality)
    return pixels


def is_blank(pixels: np.ndarray) -> bool:
    """Tell whether a picture shows no sky where its target should be.

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
    # A sample settles nearly all real pictures; it may only ever rule blankness out. One channel of it is
    # cheaper than all three, and enough for half of them.
    sample = pixels[:: max(1, height // 32), :: max(1, width // 32)]
    enough = math.ceil(0.2 * sample[..., 0].size)
    if np.bincount(sample[..., 1].ravel()).max() < enough:
        return False
    ranked = np.sort(_packed(sample), axis=None)
    if not np.any(ranked[enough - 1 :] == ranked[: ranked.size - enough + 1]) and np.ptp(sample[..., 1]) > 4:
        return False
    if _range(pixels) <= 4:
        return True
    _, index, counts = np.unique(_packed(pixels), return_index=True, return_counts=True)
    if counts.max() < height * width / 3:
        return False
    ground = pixels.reshape(-1, 3)[index[counts.argmax()]].astype(np.int16)
    centre = pixels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    if np.abs(centre.astype(np.int16) - ground).max() <= 4:
        return True
    brightness = pixels.sum(axis=2, dtype=np.int32)
    contrast = np.ptp(brightness)
    steps = np.abs(np.diff(brightness, axis=1))
    steps[3 * steps < contrast] = 0
    return bool(contrast >= 96 and steps.sum(axis=1).max(initial=0) >= 3 * contrast)


def to_jpeg(pixels: np.ndarray, *, quality: int = 75) -> bytes:
    """Encode a JPEG file with half the resolution in colour (4:2:0), as SkyServer's.

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
    from PIL import Image  # JPEG files are read without it

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def compress(pixels: np.ndarray, *, quality: int = 75) -> np.ndarray:
    """Return what is left of a picture after `to_jpeg`.

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
    return simplejpeg.decode_jpeg(to_jpeg(pixels, quality=quality))


# How much less of the colour there is than of the brightness, and the quantisation tables.
_Compression = tuple[str, dict[int, bytes]]


@functools.cache
def _compression_of(quality: int) -> _Compression:
    """Return what the header of a JPEG of `to_jpeg` says of its compression."""
    # Not by `to_jpeg` itself: both have the tables of libjpeg, and this one need not load Pillow.
    data = simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8), quality=quality, colorsubsampling="420")
    return simplejpeg.decode_jpeg_header(data)[3], _quantisation(data)


def _quantisation(data: bytes) -> dict[int, bytes]:
    """Read the quantisation tables before the first scan of a JPEG, by their precision and number."""
    tables, at = {}, 2
    while at < len(data) and data[at + 1 : at + 2] != b"\xda":
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1 : at + 2] == b"\xdb":
            segment = data[at + 4 : end]
            while segment:
                size = 1 + (64 << (segment[0] >> 4))
                tables[segment[0]] = segment[1:size]
                segment = segment[size:]
        at = end if data[at + 1 : at + 2] != b"\xff" else at + 1  # markers may begin with several 255
    return tables


def _has_no_colour(pixels: np.ndarray) -> bool:
    """Tell whether something is shown in grey alone; compression may leave the noise of empty sky grey."""
    red = pixels[..., 0]
    if not np.array_equal(red[::8], pixels[::8, :, 1]):  # which settles nearly all pictures
        return False
    if not (np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2])):
        return False
    return bool(np.ptp(red) >= 32)


def _packed(pixels: np.ndarray) -> np.ndarray:
    """Return the colours of a picture, each as one number."""
    packed = np.zeros((*pixels.shape[:2], 4), np.uint8)
    packed[..., :3] = pixels
    return packed.view(np.uint32)[..., 0]


def _range(pixels: np.ndarray) -> int:
    """Return the largest range of any channel."""
    flat = pixels.reshape(-1, 3)
    return int((flat.max(axis=0).astype(int) - flat.min(axis=0)).max())


def _decode_jpeg(data: bytes, width: int | None) -> tuple[np.ndarray, str]:
    """Decode a complete and undamaged JPEG; return its pixels and the subsampling of its colour."""
    try:
        rows, columns, colours, subsampling = simplejpeg.decode_jpeg_header(data)
        check_size(columns, rows, width)
        if colours == "Gray":
            raise BadImageError("greyscale JPEG: it has no colour")
        if colours not in ("YCbCr", "RGB"):
            raise BadImageError(f"JPEG of mode {colours}: only RGB pictures can be used")
        return simplejpeg.decode_jpeg(data), subsampling
    except BadImageError:
        raise
    except ValueError as error:  # of libjpeg-turbo, which is told to forgive nothing
        raise BadImageError(f"damaged or cut-off JPEG: {error}") from error


def _decode_png(data: bytes, width: int | None) -> np.ndarray:
    """Decode a PNG by Pillow."""
    from PIL import Image

    data, size = _strip_png(data)
    check_size(*size, width)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as file:
            picture: Image.Image = file
            if "transparency" in file.info and file.mode in ("P", "RGB"):
                picture = file.convert("RGBA")
            elif file.mode == "P":
                picture = file.convert("RGB")
            mode, pixels = picture.mode, np.array(picture)
    except Exception as error:  # Pillow raises whatever its parsers meet in damaged bytes
        raise BadImageError(f"damaged PNG: {error}") from error
    if mode == "RGBA":
        opaque = pixels[..., 3] == 255
        if not pixels[..., 3].any():
            raise OutOfFootprintError("the picture is transparent everywhere: the survey has no image there")
        if not opaque.all():
            raise BadImageError(f"the picture is transparent in {np.mean(~opaque):.1%} of its pixels")
        return np.ascontiguousarray(pixels[..., :3])
    if mode != "RGB":
        raise BadImageError(f"greyscale PNG: it has no colour (mode {mode})")
    return pixels


def _strip_png(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """Verify every checksum of a PNG, and return its picture without metadata, and its (columns, rows).

    Pillow forgives missing tails under ``ImageFile.LOAD_TRUNCATED_IMAGES``, and warns of odd metadata:
    settings and filters of the whole process are no business of a thread that decodes.
    """
    chunks, at, name = [data[:8]], 8, b""
    while name != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        name, end = data[at + 4 : at + 8], at + 12 + length
        if len(data) < end:
            raise BadImageError(f"cut-off PNG: a chunk is incomplete after {len(data)} bytes")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BadImageError(f"damaged PNG: wrong checksum of the chunk at byte {at}")
        if at == 8 and (name != b"IHDR" or length != 13):
            raise BadImageError("damaged PNG: it does not begin with its header")
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            chunks.append(data[at:end])
        at = end
    return b"".join(chunks), struct.unpack_from(">II", data, 16)


def describe_bytes(data: bytes) -> str:
    """Return the message for bytes that are no picture of a known format."""
    if not data:
        return "not a picture: the file is empty"
    start = data[:400].decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    quoted = " ".join(start.split())[:120]
    if re.match(r"<(!doctype|html|\?xml|[a-z]+[\s>/])", start, flags=re.IGNORECASE):
        return f"not a picture but HTML or XML, beginning {quoted!r}"
    if quoted.isprintable() and "\ufffd" not in quoted:
        return f"not a picture but text, beginning {quoted!r}"
    return f"not a JPEG, PNG or FITS picture: it begins with the bytes {data[:8]!r}"


def _display(planes: np.ndarray, stretch: Stretch | None) -> np.ndarray:
    """Return the display colours of the planes of a FITS file, top row first."""
    if planes.dtype.kind in "iu":
        if planes.min() < 0 or planes.max() > 255:
            span = f"{planes.min()} to {planes.max()}"
            raise BadImageError(f"FITS: integer planes must be display values of 0 to 255, got {span}")
        display = np.moveaxis(planes.astype(np.uint8), 0, -1)
    elif not np.isfinite(planes).any():
        raise OutOfFootprintError("every pixel is NaN: the survey has no image of this position")
    elif not np.isfinite(planes).any(axis=(1, 2)).all():
        raise BadImageError("FITS: one of the three planes has no pixel that is a number")
    else:
        display = lupton_rgb(*planes) if stretch is None else stretch.rgb(*planes)
    return np.ascontiguousarray(display[::-1])


def _resample(pixels: np.ndarray, width: int, step: float) -> np.ndarray:
    """Resample the middle of a picture, or of a plane of float32, to ``width`` pixels."""
    from PIL import Image

    rows, columns = pixels.shape[:2]
    field = width * step
    if field > min(rows, columns) + 1:  # a pixel of rounding is forgiven
        raise BadImageError(
            f"the picture has {columns} x {rows} pixels of its scale, and {math.ceil(field)} x "
            f"{math.ceil(field)} are needed for the field of the model"
        )
    field = min(field, rows, columns)
    left, top = (columns - field) / 2, (rows - field) / 2
    box = (left, top, left + field, top + field)
    # Pillow widens the kernel for smaller pictures, so that nothing is aliased.
    return np.array(Image.fromarray(pixels).resize((width, width), Image.Resampling.BICUBIC, box))
