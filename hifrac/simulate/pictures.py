"""Pictures of simulated galaxies, stars and sky."""

from __future__ import annotations

import numpy as np

from hifrac.cutouts.recipe import SDSS_RECIPE, CutoutRecipe
from hifrac.simulate import _light as light
from hifrac.simulate import _look as look
from hifrac.simulate.galaxy import SimulatedGalaxy, check_number

# Pixels around the picture out of which light spills in: the half-width of the point spread.
_MARGIN = 16


def model_flux(
    galaxy: SimulatedGalaxy,
    *,
    rng: np.random.Generator | int,
    recipe: CutoutRecipe = SDSS_RECIPE,
) -> np.ndarray:
    """Return the light of a simulated galaxy as seen through the atmosphere, without noise.

    Parameters
    ----------
    galaxy : `SimulatedGalaxy`
        The galaxy, centred in the picture.
    rng : `~numpy.random.Generator` or int
        Places the clumps; a galaxy without clumps does not use it.
    recipe : `~hifrac.cutouts.CutoutRecipe`, optional
        Its pixel scale and width are used; its bands must be i, r, g.

    Returns
    -------
    flux : `~numpy.ndarray` of float, shape (width, width, 3)
        Nanomaggies per pixel in i, r, g. The sum over a band is the galaxy's
        flux in it, less what lies outside of the picture.

    Raises
    ------
    ValueError
        If ``recipe`` shows other bands.

    Examples
    --------
    The magnitudes in i, r and g of the whole picture:

    >>> import numpy as np
    >>> from hifrac.simulate import SimulatedGalaxy, model_flux
    >>> galaxy = SimulatedGalaxy(i_mag=15.2, g_minus_r=0.45, r_minus_i=0.2, r50=4.0, axial_ratio=0.7)
    >>> (22.5 - 2.5 * np.log10(model_flux(galaxy, rng=1).sum(axis=(0, 1)))).round(1)
    array([15.2, 15.4, 15.9])
    """
    check_recipe(recipe)
    flux = light.galaxy_flux(
        galaxy,
        n_pixels=recipe.width + 2 * _MARGIN,
        pixel_scale=recipe.fixed_scale,
        rng=np.random.default_rng(rng),
    )
    return look.blur(flux, recipe.fixed_scale)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def render(
    galaxy: SimulatedGalaxy,
    *,
    rng: np.random.Generator | int,
    recipe: CutoutRecipe = SDSS_RECIPE,
    field: bool = True,
) -> np.ndarray:
    """Draw a picture of a simulated galaxy.

    Parameters
    ----------
    galaxy : `SimulatedGalaxy`
        The galaxy, centred in the picture.
    rng : `~numpy.random.Generator` or int
        Places clumps and field objects, and draws the noise.
    recipe : `~hifrac.cutouts.CutoutRecipe`, optional
        Its pixel scale and width are used; its bands must be i, r, g.
    field : bool, optional
        Whether faint unrelated objects are strewn over the picture.

    Returns
    -------
    picture : `~numpy.ndarray` of uint8, shape (width, width, 3)
        North is up and east is left.

    Raises
    ------
    ValueError
        If ``recipe`` shows other bands.

    Examples
    --------
    >>> from hifrac.simulate import SimulatedGalaxy, render
    >>> galaxy = SimulatedGalaxy(i_mag=15.2, g_minus_r=0.45, r_minus_i=0.2, r50=4.0, axial_ratio=0.7)
    >>> picture = render(galaxy, rng=1)
    >>> picture.shape, bool(picture[64, 64].mean() > picture[0, 0].mean())
    ((128, 128, 3), True)
    """
    rng = np.random.default_rng(rng)
    flux = model_flux(galaxy, rng=rng, recipe=recipe)
    return _develop(flux, recipe, rng, field=field)


def render_star(
    *,
    i_mag: float,
    g_minus_r: float,
    r_minus_i: float,
    rng: np.random.Generator | int,
    recipe: CutoutRecipe = SDSS_RECIPE,
    field: bool = True,
) -> np.ndarray:
    """Draw a picture of a simulated star, without spikes or bleeding.

    Parameters
    ----------
    i_mag, g_minus_r, r_minus_i : float
        Magnitude and colours (AB); finite.
    rng, recipe, field
        As for `render`.

    Returns
    -------
    picture : `~numpy.ndarray` of uint8, shape (width, width, 3)

    Raises
    ------
    TypeError, ValueError
        If a magnitude or colour is no finite number, or ``recipe`` shows other bands.

    Examples
    --------
    >>> from hifrac.simulate import render_star
    >>> picture = render_star(i_mag=16.0, g_minus_r=0.5, r_minus_i=0.2, rng=1)
    >>> bool(picture[64, 64].mean() > picture[0, 0].mean())
    True
    """
    check_recipe(recipe)
    for name, value in (("i_mag", i_mag), ("g_minus_r", g_minus_r), ("r_minus_i", r_minus_i)):
        check_number(name, value)
    flux = np.zeros((recipe.width, recipe.width, 3))
    low, high = (recipe.width - 1) // 2, recipe.width // 2 + 1
    flux[low:high, low:high] = light.band_fluxes(i_mag, g_minus_r, r_minus_i) / (high - low) ** 2
    return _develop(look.blur(flux, recipe.fixed_scale), recipe, np.random.default_rng(rng), field=field)


def render_sky(
    *, rng: np.random.Generator | int, recipe: CutoutRecipe = SDSS_RECIPE, field: bool = True
) -> np.ndarray:
    """Draw a picture of blank sky: noise and, unless ``field`` is False, faint objects.

    Parameters
    ----------
    rng, recipe, field
        As for `render`.

    Returns
    -------
    picture : `~numpy.ndarray` of uint8, shape (width, width, 3)

    Raises
    ------
    ValueError
        If ``recipe`` shows other bands.

    Examples
    --------
    >>> from hifrac.simulate import render_sky
    >>> picture = render_sky(rng=1, field=False)
    >>> picture.shape, picture.dtype
    ((128, 128, 3), dtype('uint8'))
    """
    check_recipe(recipe)
    dark = np.zeros((recipe.width, recipe.width, 3))
    return _develop(dark, recipe, np.random.default_rng(rng), field=field)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """Compress a picture to JPEG as the SDSS service does (quality 75).

    Parameters
    ----------
    picture : `~numpy.ndarray` of uint8, shape (h, w, 3)
        Red, green, blue.

    Returns
    -------
    data : bytes
        Content of a JPEG file; the same picture gives the same bytes with the same version of libjpeg.

    Raises
    ------
    TypeError, ValueError
        If ``picture`` is no uint8 array, or its shape is not (h, w, 3).

    Examples
    --------
    >>> from hifrac.images import decode
    >>> from hifrac.simulate import encode_jpeg, render_sky
    >>> decode(encode_jpeg(render_sky(rng=1))).shape
    (128, 128, 3)
    """
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        raise TypeError("picture must be an array of uint8")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(f"picture must have the shape (h, w, 3), got {picture.shape}")
    return look.to_jpeg(picture)


def _develop(flux: np.ndarray, recipe: CutoutRecipe, rng: np.random.Generator, *, field: bool) -> np.ndarray:
    """Add faint objects and noise to the light, and stretch it to a picture."""
    if field:
        flux = flux + look.field_objects(recipe.width, recipe.fixed_scale, rng)
    return look.develop(look.expose(flux, recipe.fixed_scale, rng), recipe.fixed_scale)


def check_recipe(recipe: CutoutRecipe) -> None:
    """Raise ValueError unless the recipe shows i, r, g."""
    if tuple(recipe.bands) != SDSS_RECIPE.bands:
        raise ValueError(f"recipe must show the bands i, r, g, got {', '.join(recipe.bands)}")
