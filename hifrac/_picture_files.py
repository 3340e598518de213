"""Picture files as bytes: what kind they are, and whether they are complete.

JPEG and PNG files are walked from segment to segment before Pillow sees them:
Pillow forgives missing tails (all of them under
``ImageFile.LOAD_TRUNCATED_IMAGES``) and warns of odd metadata, and a setting
or a warnings filter of the process is no business of a thread that decodes.
"""

from __future__ import annotations

import re
import struct
import zlib

from hifrac.core.exceptions import BadImageError

__all__ = ["strip_jpeg", "strip_png", "what_instead"]


def what_instead(data: bytes) -> str:
    """Message for bytes that are no picture of a known kind."""
    if not data:
        return "not a picture: the file is empty"
    start = data[:400].decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    quoted = " ".join(start.split())[:120]
    if re.match(r"<(!doctype|html|\?xml|[a-z]+[\s>/])", start, flags=re.IGNORECASE):
        return f"not a picture but HTML or XML, beginning {quoted!r}"
    if quoted.isprintable() and "\ufffd" not in quoted:
        return f"not a picture but text, beginning {quoted!r}"
    return f"not a JPEG, PNG or FITS picture: it begins with the bytes {data[:8]!r}"


def strip_jpeg(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """Walk a JPEG from marker to marker: without its metadata, and its (columns, rows).

    APP0 (JFIF) and APP14 (Adobe) stay: they define the colours. Bytes after the
    end marker are left out too.
    """
    kept, at, size = [data[:2]], 2, None
    while True:
        if data[at : at + 1] != b"\xff":
            raise BadImageError(f"damaged or cut-off JPEG: no marker at byte {at} of {len(data)}")
        while data[at + 1 : at + 2] == b"\xff":
            at += 1
        marker = data[at + 1] if at + 1 < len(data) else None
        if marker == 0xD9:
            break
        if marker is None or at + 4 > len(data):
            raise BadImageError(f"cut-off JPEG: it has no end marker after {len(data)} bytes")
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data) or end < at + 4:
            raise BadImageError(f"cut-off JPEG: a segment is incomplete after {len(data)} bytes")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if end < at + 10 or size is not None:
                raise BadImageError("damaged JPEG: bad frame header")
            rows, columns = struct.unpack_from(">HH", data, at + 5)
            size = columns, rows
        if marker == 0xDA:  # the scan runs to the next marker that is no stuffing and no restart
            end = data.find(b"\xff", end)
            while end >= 0 and (data[end + 1 : end + 2] == b"\0" or 0xD0 <= _at(data, end + 1) <= 0xD7):
                end = data.find(b"\xff", end + 2)
            if end < 0:
                raise BadImageError(f"cut-off JPEG: it has no end marker after {len(data)} bytes")
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[at:end])
        at = end
    if size is None:
        raise BadImageError("damaged JPEG: it has no frame header")
    return b"".join([*kept, b"\xff\xd9"]), size


def _at(data: bytes, index: int) -> int:
    return data[index] if index < len(data) else -1


def strip_png(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """Walk a PNG from chunk to chunk: its picture alone, and its (columns, rows).

    Every checksum is verified.
    """
    kept, at, kind = [data[:8]], 8, b""
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if len(data) < end:
            raise BadImageError(f"cut-off PNG: a chunk is incomplete after {len(data)} bytes")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BadImageError(f"damaged PNG: wrong checksum of the chunk at byte {at}")
        if at == 8 and (kind != b"IHDR" or length != 13):
            raise BadImageError("damaged PNG: it does not begin with its header")
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept), struct.unpack_from(">II", data, 16)
