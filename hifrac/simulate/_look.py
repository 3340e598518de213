"""The look of an SDSS colour cutout: point spread, noise, colour stretch, JPEG.

Pictures are ``(height, width, 3)`` arrays in the order of the bands shown as
red, green and blue: i, r, g. Fluxes are nanomaggies per pixel.

The constants of the stretch and of the resampling were found from real DR16
``getjpeg`` cutouts of some two hundred galaxies. First the stretch was inverted
and the fluxes behind the pixels were made to add up to the catalogue
magnitudes in g and i (14.8 < i < 17.8). Then simulated galaxies of the same
magnitudes, colours, sizes and axial ratios were compared with the real ones
ring by ring, and blank corners by their mean, scatter and correlation.
"""

from __future__ import annotations

import numpy as np
from astropy.modeling.functional_models import Moffat2D
from scipy import ndimage, signal

from hifrac.images import STRETCHES
from hifrac.images import to_jpeg as to_jpeg

#: Side of an SDSS pixel, arcsec: the noise is stated for pixels of this size.
NATIVE_SCALE = 0.396
#: Scatter of blank sky in an SDSS frame, nanomaggies per native pixel (i, r, g):
#: sqrt(sky electrons) for typical sky brightnesses of 20.2, 20.8, 21.8 mag arcsec^-2.
SKY_SIGMA = np.array([0.045, 0.029, 0.018])
#: Electrons per nanomaggy: gain over calibration, as in the headers of typical frames (i, r, g).
ELECTRONS = np.array([740.0, 940.0, 1010.0])

#: Full width at half maximum of the seeing, arcsec, and the exponent of its Moffat profile.
SEEING_FWHM = 1.3
MOFFAT_BETA = 3.0

#: The stretch of the service's pictures, on surface brightness in native pixels.
STRETCH = STRETCHES["sdss"]
#: Gaussian widths, in pixels, of the resampling before and after the stretch.
#: The service cuts its pictures out of frames that were stretched before.
FRAME_SMOOTHING = 0.5
TILE_SMOOTHING = 0.7

#: Faint unrelated objects: how many per square arcmin between these i magnitudes, the slope of
#: log10 N(m), and the mean and scatter of their g-r and r-i.
FIELD_DENSITY = 11.0
FIELD_LIMITS = (18.0, 22.5)
FIELD_SLOPE = 0.35
FIELD_COLOURS = (0.8, 0.4)
FIELD_SCATTER = (0.35, 0.2)


def point_spread(pixel_scale: float, *, half_width: int = 16) -> np.ndarray:
    """Return the seeing as a kernel that sums up to one: a Moffat profile (Moffat 1969, A&A 3, 455)."""
    core = SEEING_FWHM / pixel_scale / (2.0 * np.sqrt(2.0 ** (1.0 / MOFFAT_BETA) - 1.0))
    y, x = np.mgrid[-half_width : half_width + 1, -half_width : half_width + 1]
    kernel = Moffat2D.evaluate(x, y, 1.0, 0.0, 0.0, core, MOFFAT_BETA)
    return kernel / kernel.sum()


def blur(flux: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Convolve a picture with the seeing; same shape, dark beyond its edges."""
    kernel = point_spread(pixel_scale)
    return signal.oaconvolve(flux, kernel[..., np.newaxis], mode="same", axes=(0, 1))


def field_objects(width: int, pixel_scale: float, rng: np.random.Generator) -> np.ndarray:
    """Strew faint pointlike objects over a picture: nanomaggies per pixel in i, r, g."""
    n_objects = rng.poisson(FIELD_DENSITY * (width * pixel_scale / 60.0) ** 2)
    bright, faint = (10.0 ** (FIELD_SLOPE * limit) for limit in FIELD_LIMITS)
    i_mag = np.log10(rng.uniform(bright, faint, n_objects)) / FIELD_SLOPE
    g_minus_r, r_minus_i = rng.normal(FIELD_COLOURS, FIELD_SCATTER, (n_objects, 2)).T
    magnitudes = np.stack([i_mag, i_mag + r_minus_i, i_mag + r_minus_i + g_minus_r], axis=1)
    flux = np.zeros((width, width, 3))
    row, column = rng.integers(0, width, (2, n_objects))
    np.add.at(flux, (row, column), 10.0 ** (0.4 * (22.5 - magnitudes)))
    return blur(flux, pixel_scale)


def expose(flux: np.ndarray, pixel_scale: float, rng: np.random.Generator) -> np.ndarray:
    """Add the noise of an SDSS frame whose mean sky was subtracted.

    The variance is the sky's plus flux / electrons per nanomaggy, the error model of
    the SDSS frame files. It is drawn Gaussian: the sky alone gives hundreds of
    electrons in every pixel.
    """
    sky = SKY_SIGMA * pixel_scale / NATIVE_SCALE
    sigma = np.sqrt(sky**2 + np.maximum(flux, 0.0) / ELECTRONS)
    noisy = flux + sigma * rng.standard_normal(flux.shape)
    return ndimage.gaussian_filter(noisy, (FRAME_SMOOTHING, FRAME_SMOOTHING, 0.0))


def stretch(flux: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Stretch nanomaggies to 0 to 255 (Lupton et al. 2004, PASP 116, 133, eqs. 2-5).

    It works on surface brightness. A pixel whose brightest band exceeds 255 is dimmed in all three, which
    keeps its colour; negative fluxes become 0.
    """
    native = np.asarray(flux, dtype=np.float64) * (NATIVE_SCALE / pixel_scale) ** 2
    return STRETCH.levels(*np.moveaxis(native, -1, 0))


def develop(flux: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Stretch fluxes, resample them once more, and round them to a picture of uint8."""
    picture = stretch(flux, pixel_scale)
    picture = ndimage.gaussian_filter(picture, (TILE_SMOOTHING, TILE_SMOOTHING, 0.0))
    return np.rint(np.clip(picture, 0.0, 255.0)).astype(np.uint8)
