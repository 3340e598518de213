"""Angles as text to degrees, one text that is a whole position, and degrees to unit vectors."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

#: What to write instead of text that can be read in two ways.
EXAMPLE = "write for instance 10h20m30.5s or 155d07m37.5s, +12d30m00s, or degrees as numbers"

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_PARTS = r"([+-]?)\s*(\d+(?:\.\d*)?){}(?:(\d+(?:\.\d*)?){}(?:(\d+\.?\d*|\.\d+){})?)?"
_HOURS = re.compile(_PARTS.format(r"\s*h\s*", r"\s*(?:m|')?\s*", r"\s*(?:s|\"|'')?"), re.IGNORECASE)
_DEGREES = re.compile(
    _PARTS.format(r"\s*(?:d|deg|°)\s*", r"\s*(?:m|')?\s*", r"\s*(?:s|\"|'')?"), re.IGNORECASE
)
_BARE = re.compile(
    r"([+-]?)\s*(\d+)(?:\s*:\s*|\s+)(\d+(?:\.\d*)?)(?:(?:\s*:\s*|\s+)(\d+\.?\d*|\.\d+))?"
)  # 10:20:30 and 10 20 30: of hours for a right ascension, of degrees for a declination


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the unit vectors of positions in degrees, x, y, z in the last axis."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


class AmbiguousAngleError(ValueError):
    """Text that could be hours or degrees."""


def text_degrees(cells: np.ndarray, name: str, *, is_ra: bool, unit: str | None = None) -> np.ndarray:
    """Return angles in degrees, NaN for cells that are none.

    Parameters
    ----------
    cells : array of str, shape (n,)
        Plain numbers are degrees. ``10h20m30s``, ``155d07m30s`` and ``+12°30'00"`` say what they are;
        ``10:20:30`` and ``10 20 30`` are hours, minutes and seconds for a right ascension, and degrees,
        minutes and seconds for a declination.
    name : str
        What messages call it.
    is_ra : bool
        Whether it is a right ascension.
    unit : {"deg", "hourangle"}, optional
        What plain numbers, and ``10:20:30``, are in, if the column says so.

    Raises
    ------
    AmbiguousAngleError
        If a right ascension such as 155:07:30 cannot be in hours, and nothing says that it is in degrees.
    TypeError
        If no cell is an angle.
    """
    texts = [_plain(cell) for cell in cells]
    degrees = np.array([_angle(text, is_ra=is_ra, unit=unit) for text in texts], dtype=float)
    is_given = np.array([bool(text) for text in texts], dtype=bool)
    if is_given.any() and np.isnan(degrees[is_given]).all():
        text = next(filter(None, texts))
        raise TypeError(f"{name} must hold angles, got text such as {text!r}; {EXAMPLE}")
    if is_ra and unit is None:
        for text in texts:
            parts = _BARE.fullmatch(text)
            if parts and 24 <= int(parts[2]) <= 360:
                raise AmbiguousAngleError(
                    f"{name} has {text!r}, which is no right ascension in hours: say its unit, or {EXAMPLE}"
                )
    return degrees


def is_sexagesimal(cells: np.ndarray) -> bool:
    """Return whether any cell is sexagesimal."""
    return any(_is_angle(text) and not _NUMBER.fullmatch(text) for text in map(_plain, cells))


def parse_position(text: str) -> tuple[float, float] | None:
    """Return the RA and Dec, in degrees, that a text is; None if it is none, but perhaps a name.

    Raises
    ------
    AmbiguousAngleError
        As `text_degrees`.
    """
    text = _plain(text)
    halves = _halves(text)
    if halves is None or not all(map(_is_angle, halves)) or _HOURS.fullmatch(halves[1]):
        return None
    ra, dec = halves
    if _NUMBER.fullmatch(ra) and not _NUMBER.fullmatch(dec) and float(ra) < 24:
        raise AmbiguousAngleError(f"{text!r} may begin with hours or with degrees; {EXAMPLE}")
    return (
        float(text_degrees(np.array([ra]), repr(text), is_ra=True)[0]),
        float(text_degrees(np.array([dec]), repr(text), is_ra=False)[0]),
    )


def _halves(text: str) -> tuple[str, str] | None:
    """Part a text into two angles."""
    for pattern in (r"\s*,\s*", r"\s+(?=[+-])", r"(?<=[0-9s\"])\s*(?=[+-]\s*\d)"):
        parts = re.split(pattern, text)
        if len(parts) == 2:
            return parts[0], parts[1]
    words = text.split()
    if not words or len(words) % 2:
        return None
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


def _plain(text: str) -> str:
    """Return a text without the finesse of typography: superscripts, long minus signs, primes."""
    for sign, plain in (("\u2032", "'"), ("\u2033", '"'), ("\u2212", "-"), ("\u2013", "-")):
        text = text.replace(sign, plain)
    return unicodedata.normalize("NFKC", text).strip()


def _is_angle(text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in (_NUMBER, _HOURS, _DEGREES, _BARE))


def _angle(text: str, *, is_ra: bool, unit: str | None) -> float:
    """Return one angle in degrees, NaN if the text is none."""
    in_hours = 15.0 if unit == "hourangle" else 1.0
    if _NUMBER.fullmatch(text):
        return float(text) * in_hours
    if match := _HOURS.fullmatch(text):
        return _sexagesimal(match) * 15.0 if is_ra else np.nan
    if match := _DEGREES.fullmatch(text):
        return _sexagesimal(match)
    if match := _BARE.fullmatch(text):
        return _sexagesimal(match) * (15.0 if is_ra and unit != "deg" else 1.0)
    return np.nan


def _sexagesimal(match: re.Match[str]) -> float:
    sign, whole, minutes, seconds = match.groups()
    minute, second = float(minutes or 0), float(seconds or 0)
    if minute >= 60 or second > 60:
        return np.nan
    value = float(whole) + minute / 60 + second / 3600
    return -value if sign == "-" else value
