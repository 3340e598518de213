"""The rest-frame grid of spectra, and how an observed spectrum comes onto it."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike

from hifrac.core.measurements import parse_numbers, plain_floats

#: Pixels of a spectrum in the rest frame.
N_PIXELS = 1000
# The grid of Wu & Peek (2020): log10(wavelength / Angstrom) of the first pixel, and from one to the next.
_LOG_FIRST, _LOG_STEP = 3.53, 0.00039


def rest_wavelength() -> u.Quantity:
    """Return the wavelengths of the rest-frame grid, log10(lambda / Angstrom) = 3.53 + 0.00039 i.

    Returns
    -------
    wavelength : `~astropy.units.Quantity`, shape (1000,)
        In vacuum, 3388.44 to 8310.17 Angstrom.

    Examples
    --------
    >>> from hifrac.spectra import rest_wavelength
    >>> rest_wavelength()[[0, -1]].round(2)
    <Quantity [3388.44, 8310.17] Angstrom>
    """
    return 10 ** (_LOG_FIRST + _LOG_STEP * np.arange(N_PIXELS)) * u.AA


def to_rest_frame(
    wavelength: ArrayLike | u.Quantity,
    flux: ArrayLike,
    ivar: ArrayLike | None = None,
    *,
    redshift: float,
    mask: ArrayLike | None = None,
    coverage: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Put an observed spectrum on the rest-frame grid, so that its flux is conserved.

    A pixel of the grid is the mean flux density of its good observed pixels, each weighed by the wavelengths
    that both share. Flux densities are multiplied by 1 + z, and wavelengths divided by it.

    Parameters
    ----------
    wavelength : array_like or `~astropy.units.Quantity`, shape (n,)
        Observed wavelengths in vacuum, increasing; in Angstrom if they have no unit.
    flux : array_like, shape (n,)
        Flux density per unit of wavelength; NaN, or masked, is a gap. A unit is left away.
    ivar : array_like, shape (n,), optional
        Inverse variances; 0, NaN or masked is a gap. Without them, all pixels count as having the variance 1.
    redshift : float
        Of the galaxy.
    mask : array_like of bool, shape (n,), optional
        True for pixels that are not to be used.
    coverage : float, optional
        The share of a grid pixel, above 0 and up to 1, that good pixels must cover; with less it is a gap.

    Returns
    -------
    flux : `~numpy.ndarray`, shape (1000,)
        NaN in gaps.
    ivar : `~numpy.ndarray`, shape (1000,)
        0 in gaps. Errors of neighbours that share an observed pixel are correlated: their sum is right.

    Raises
    ------
    TypeError
        If something does not hold numbers.
    ValueError
        If shapes differ, wavelengths do not increase, the redshift is not a number above -1, no pixel is
        usable, or none is on the grid at this redshift.
    ~astropy.units.UnitConversionError
        If the unit of wavelengths is none of length, or the redshift has one.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.spectra import to_rest_frame
    >>> wavelength = np.linspace(3800, 9200, 3000)
    >>> flux, ivar = to_rest_frame(wavelength, np.full(3000, 2.0), redshift=0.1)
    >>> int(np.isnan(flux).sum()), round(float(np.nanmean(flux)), 6)
    (22, 2.2)
    """
    unit = getattr(wavelength, "unit", None) or u.AA
    wavelength = u.Quantity(numbers_of("wavelength", wavelength), unit).to_value(u.AA)
    flux = numbers_of("flux", flux)
    ivar = np.ones_like(flux) if ivar is None else numbers_of("ivar", ivar)
    mask = np.zeros(flux.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    redshift = _number("redshift", redshift, "a number above -1", -1.0, np.inf)
    coverage = _number("coverage", coverage, "above 0 and at most 1", 0.0, 1.0)
    _check(wavelength, flux, ivar, mask)
    good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & ~mask
    if not good.any():
        raise ValueError("flux must have a usable pixel: all are masked, NaN, or of no inverse variance")
    edges = _edges(wavelength) / (1 + redshift)
    widths = np.diff(edges)
    grid = 10 ** (_LOG_FIRST + _LOG_STEP * (np.arange(N_PIXELS + 1) - 0.5))

    def integrate(values: np.ndarray) -> np.ndarray:
        """Integrate over each pixel of the grid what is constant in each good observed pixel."""
        steps = np.where(good, values, 0) * widths
        return np.diff(np.interp(grid, edges, np.concatenate([[0], np.cumsum(steps)])))

    covered = integrate(np.ones_like(flux))
    is_good = covered >= coverage * np.diff(grid)
    if not is_good.any():
        raise ValueError(
            f"redshift: at z = {redshift:g} the spectrum's good pixels are at {edges[:-1][good][0]:.0f} to "
            f"{edges[1:][good][-1]:.0f} Angstrom in the rest frame, none of them on the grid of 3388 to 8310"
        )
    covered = np.where(is_good, covered, np.inf)
    mean = integrate(np.where(good, flux, 0)) / covered
    # A pixel that lies in two of the grid gives each its share of the variance.
    variance = integrate(widths / np.where(good, ivar, 1)) / covered**2
    stretch = 1 + redshift
    with np.errstate(divide="ignore"):
        return np.where(is_good, mean * stretch, np.nan), np.where(is_good, 1 / (variance * stretch**2), 0.0)


def _check(wavelength: np.ndarray, flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray) -> None:
    if wavelength.ndim != 1 or len(wavelength) < 2:
        raise ValueError(f"wavelength must have one axis of at least 2 pixels, got shape {wavelength.shape}")
    for name, values in (("flux", flux), ("ivar", ivar), ("mask", mask)):
        if values.shape != wavelength.shape:
            raise ValueError(
                f"{name} must have the shape {wavelength.shape} of wavelength, got {values.shape}"
            )
    if not (np.all(np.diff(wavelength) > 0) and wavelength[0] > 0):
        raise ValueError("wavelength must be positive and increase from pixel to pixel")


def _number(name: str, value: float, what: str, above: float, highest: float) -> float:
    """Return one number above a limit, and up to another."""
    numbers = parse_numbers(value, name, u.dimensionless_unscaled, "redshift")
    if numbers.shape != (1,) or not above < numbers[0] <= highest:
        raise ValueError(f"{name} must be {what}, got {value}")
    return float(numbers[0])


def numbers_of(name: str, values: ArrayLike) -> np.ndarray:
    """Return plain floats, NaN where masked; a TypeError with the name if they are no numbers."""
    try:
        return plain_floats(values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold numbers: {error}") from error


def _edges(wavelength: np.ndarray) -> np.ndarray:
    """Return the limits of pixels: halfway between their centres."""
    between = (wavelength[1:] + wavelength[:-1]) / 2
    return np.concatenate([[2 * wavelength[0] - between[0]], between, [2 * wavelength[-1] - between[-1]]])


def normalise(flux: ArrayLike, ivar: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide spectra by their norm, the root of the sum of squares.

    The sum is that of good pixels, times the number of all pixels over that of good ones: a gap counts as the
    rest of its spectrum does.

    Parameters
    ----------
    flux : array_like, shape (..., n_pixels)
        Spectra; NaN, or masked, in gaps.
    ivar : array_like, shape (..., n_pixels), optional
        Inverse variances; 0 in gaps.

    Returns
    -------
    flux, ivar : `~numpy.ndarray`, shape (..., n_pixels)
        Normalised; NaN and 0 in gaps, and everywhere in a spectrum without light.
    norm : `~numpy.ndarray`, shape (...)
        What the flux was divided by.

    Raises
    ------
    TypeError
        If something does not hold numbers.
    ValueError
        If the shapes differ, or there is no axis of pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.spectra import normalise
    >>> flux, ivar, norm = normalise([[3.0, 4.0, np.nan]])
    >>> flux.round(2), norm.round(2)
    (array([[0.49, 0.65,  nan]]), array([6.12]))
    """
    flux, ivar = good_pixels(flux, ivar)
    is_good = ivar > 0
    number = is_good.sum(-1, keepdims=True)
    squares = np.where(is_good, flux, 0) ** 2
    norm = np.sqrt(squares.sum(-1, keepdims=True) * flux.shape[-1] / np.maximum(number, 1))
    norm = np.where(norm > 0, norm, np.nan)
    return flux / norm, np.nan_to_num(ivar * norm**2), norm[..., 0]


def good_pixels(flux: ArrayLike, ivar: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return flux, NaN in gaps, and inverse variance, 0 in gaps and 1 elsewhere if it is not known.

    Raises
    ------
    TypeError
        If something does not hold numbers.
    ValueError
        If the shapes differ, or there is no axis of pixels.
    """
    flux = numbers_of("flux", flux)
    if not flux.ndim:
        raise ValueError("flux must have an axis of pixels, got one number")
    weights = np.ones_like(flux) if ivar is None else numbers_of("ivar", ivar)
    if weights.shape != flux.shape:
        raise ValueError(f"ivar must have the shape of flux, {flux.shape}, got {weights.shape}")
    is_good = np.isfinite(flux) & np.isfinite(weights) & (weights > 0)
    return np.where(is_good, flux, np.nan), np.where(is_good, weights, 0.0)
