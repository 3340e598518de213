"""Fluxes of three bands to display colours: the asinh stretch of Lupton et al. (2004)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.images import STRETCHES
    >>> i, r, g = np.full((64, 64), 0.5), np.full((64, 64), 0.4), np.full((64, 64), 0.2)  # nanomaggies
    >>> STRETCHES["sdss"].rgb(i, r, g)[0, 0].tolist()
    [107, 98, 63]
    """

    weights: tuple[float, float, float]
    amplitude: float
    softening: float
    minimum: float
    source: str

    def levels(self, red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
        """Compute the grey levels of three planes of flux, not yet rounded.

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
        """Make the picture of three planes of flux: their `levels`, rounded to uint8."""
        return np.rint(self.levels(red, green, blue)).astype(np.uint8)


# Area of a pixel of SDSS, in pixels of Pan-STARRS1.
_PANSTARRS_AREA = (0.396 / 0.25) ** 2

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
        (_PANSTARRS_AREA, 1.14 * _PANSTARRS_AREA, 1.48 * _PANSTARRS_AREA), 37.5, 12.9, 0.0, "as sdss"
    ),
}


def lupton_rgb(
    red: np.ndarray,
    green: np.ndarray,
    blue: np.ndarray,
    *,
    stretch: float = 0.5,
    Q: float = 10.0,  # noqa: N803 (the symbol of the paper and of astropy)
    minimum: float = 0.0,
) -> np.ndarray:
    """Make display colours of calibrated fluxes: the asinh stretch of Lupton et al. (2004).

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

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.images import lupton_rgb
    >>> i, r, g = np.full((64, 64), 0.5), np.full((64, 64), 0.4), np.full((64, 64), 0.2)  # nanomaggies
    >>> lupton_rgb(i, r, g)[0, 0].tolist()
    [106, 84, 42]
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


def _as_float(plane: ArrayLike) -> np.ndarray:
    """Return a plane in this computer's single or double precision."""
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
    """Compute grey levels, shape (height, width, 3), of weighted fluxes: see `Stretch` and `lupton_rgb`.

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
    """Subtract the minimum of a plane, bound it against overflows, and give its largest size."""
    with np.errstate(over="ignore", invalid="ignore"):
        excess = plane - plane.dtype.type(minimum)
        peak = float(np.abs(excess).max(initial=0))
        if not peak <= 1e30:
            peak = 1e30
            np.clip(excess, -peak, peak, out=excess)
            excess[~np.isfinite(plane)] = 0
    return excess, peak
