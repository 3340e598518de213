"""Simulated galaxies, drawn in the look of SDSS colour cutouts.

A simulated galaxy is a Sersic bulge and an exponential disk with, if wanted,
spiral arms and star-forming clumps; its fluxes are those of its magnitude and
colours. There is no dust, and no relation between gas and light. All
randomness comes from the ``rng`` given: the same seed gives the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from hifrac import _galaxy_light as light
from hifrac import _sdss_look as look
from hifrac.cutouts.recipe import CutoutRecipe

__all__ = [
    "SDSS_RECIPE",
    "SimulatedGalaxy",
    "encode_jpeg",
    "model_flux",
    "render",
    "render_sky",
    "render_star",
]

#: The recipe that the simulated pictures imitate.
SDSS_RECIPE = CutoutRecipe(
    survey="sdss",
    data_release="DR16",
    service="getjpeg",
    bands=("i", "r", "g"),
    pixel_scale=0.4,
    width=128,
)

# Pixels around the picture out of which light spills in: the half-width of the point spread.
_MARGIN = 16

_CLOSED_RANGES = (
    ("bulge_fraction", 0.0, 1.0),
    ("bulge_index", 0.5, 8.0),
    ("arm_contrast", 0.0, 1.0),
    ("clump_fraction", 0.0, 1.0),
    ("n_arms", 0, np.inf),
    ("n_clumps", 0, np.inf),
)


@dataclass(frozen=True, kw_only=True)
class SimulatedGalaxy:
    """What a simulated galaxy is made of.

    Parameters
    ----------
    i_mag : float
        Total i magnitude (AB); finite.
    g_minus_r, r_minus_i : float
        Colours of the whole galaxy, in mag; the bulge is redder and the clumps
        are bluer than the disk.
    r50 : float
        Half-light radius of the disk along its major axis, in arcsec; positive.
    axial_ratio : float
        Minor over major axis of the disk, in (0, 1]. The bulge is rounder, the
        more so the smaller it is; a bulge without a disk has this axial ratio.
    position_angle : float
        Of the major axis, in degrees from north through east (up through left).
    bulge_fraction : float
        Share of the bulge in the i-band light, in [0, 1]; 1 is an elliptical.
    bulge_size : float
        Half-light radius of the bulge in units of ``r50``; positive.
    bulge_index : float
        Sersic index of the bulge, from 0.5 to 8.
    n_arms : int
        Number of logarithmic spiral arms; 0 for a smooth disk.
    arm_contrast : float
        From 0 (no arms) to 1 (dark between the arms).
    pitch_angle : float
        Of the arms, in degrees, in (0, 90).
    n_clumps : int
        Number of star-forming clumps, strewn over the disk and along its arms.
    clump_fraction : float
        Share of the clumps in the i-band light, in [0, 1]; together with the bulge
        at most 1. Without clumps it counts as 0.

    Raises
    ------
    TypeError
        If a number is no number, or a count no integer.
    ValueError
        If a value is not finite or outside its range.

    Examples
    --------
    >>> from hifrac.simulate import SimulatedGalaxy, render
    >>> galaxy = SimulatedGalaxy(i_mag=15.2, g_minus_r=0.45, r_minus_i=0.2, r50=8.0,
    ...                          axial_ratio=0.7, n_arms=2, n_clumps=30, clump_fraction=0.1)
    >>> render(galaxy, rng=1).shape
    (128, 128, 3)
    """

    i_mag: float
    g_minus_r: float
    r_minus_i: float
    r50: float
    axial_ratio: float = 1.0
    position_angle: float = 0.0
    bulge_fraction: float = 0.0
    bulge_size: float = 0.25
    bulge_index: float = 4.0
    n_arms: int = 0
    arm_contrast: float = 0.6
    pitch_angle: float = 18.0
    n_clumps: int = 0
    clump_fraction: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _check_number(field.name, value, integer=field.type == "int")
        for name, low, high in _CLOSED_RANGES:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, got {getattr(self, name)}")
        for name, high in (("r50", np.inf), ("bulge_size", np.inf), ("pitch_angle", 90.0)):
            if not 0.0 < getattr(self, name) < high:
                raise ValueError(f"{name} must lie between 0 and {high:g}, got {getattr(self, name)}")
        if not 0.0 < self.axial_ratio <= 1.0:
            raise ValueError(f"axial_ratio must be in (0, 1], got {self.axial_ratio}")
        if self.n_clumps and self.bulge_fraction + self.clump_fraction > 1.0:
            raise ValueError("clump_fraction and bulge_fraction add up to more than 1")


def _check_number(name: str, value: object, *, integer: bool = False) -> None:
    kinds = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be {'an integer' if integer else 'a number'}, got {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def model_flux(
    galaxy: SimulatedGalaxy, *, rng: np.random.Generator | int, recipe: CutoutRecipe = SDSS_RECIPE
) -> np.ndarray:
    """The light of a simulated galaxy through the atmosphere, without noise.

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
    """
    _check_recipe(recipe)
    flux = light.galaxy_flux(
        galaxy,
        n_pixels=recipe.width + 2 * _MARGIN,
        pixel_scale=recipe.pixel_scale,
        rng=np.random.default_rng(rng),
    )
    return look.blur(flux, recipe.pixel_scale)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def render(
    galaxy: SimulatedGalaxy,
    *,
    rng: np.random.Generator | int,
    recipe: CutoutRecipe = SDSS_RECIPE,
    field: bool = True,
) -> np.ndarray:
    """A picture of a simulated galaxy.

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
    """
    rng = np.random.default_rng(rng)
    return _develop(model_flux(galaxy, rng=rng, recipe=recipe), recipe, rng, field=field)


def render_star(
    *,
    i_mag: float,
    g_minus_r: float,
    r_minus_i: float,
    rng: np.random.Generator | int,
    recipe: CutoutRecipe = SDSS_RECIPE,
    field: bool = True,
) -> np.ndarray:
    """A picture of a simulated star, without spikes or bleeding.

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
    """
    _check_recipe(recipe)
    for name, value in (("i_mag", i_mag), ("g_minus_r", g_minus_r), ("r_minus_i", r_minus_i)):
        _check_number(name, value)
    flux = np.zeros((recipe.width, recipe.width, 3))
    low, high = (recipe.width - 1) // 2, recipe.width // 2 + 1
    flux[low:high, low:high] = light.band_fluxes(i_mag, g_minus_r, r_minus_i) / (high - low) ** 2
    return _develop(look.blur(flux, recipe.pixel_scale), recipe, np.random.default_rng(rng), field=field)


def render_sky(
    *, rng: np.random.Generator | int, recipe: CutoutRecipe = SDSS_RECIPE, field: bool = True
) -> np.ndarray:
    """A picture of blank sky: noise and, unless ``field`` is False, faint objects.

    Parameters
    ----------
    rng, recipe, field
        As for `render`.

    Returns
    -------
    picture : `~numpy.ndarray` of uint8, shape (width, width, 3)
    """
    _check_recipe(recipe)
    dark = np.zeros((recipe.width, recipe.width, 3))
    return _develop(dark, recipe, np.random.default_rng(rng), field=field)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """JPEG bytes of a picture, compressed as the SDSS service does (quality 75).

    Parameters
    ----------
    picture : `~numpy.ndarray` of uint8, shape (h, w, 3)
        Red, green, blue.

    Returns
    -------
    data : bytes
        The same picture gives the same bytes with the same version of libjpeg.

    Raises
    ------
    TypeError, ValueError
        If ``picture`` is no uint8 array, or its shape is not (h, w, 3).
    """
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        raise TypeError("picture must be an array of uint8")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(f"picture must have the shape (h, w, 3), got {picture.shape}")
    return look.to_jpeg(picture)


def _develop(flux: np.ndarray, recipe: CutoutRecipe, rng: np.random.Generator, *, field: bool) -> np.ndarray:
    if field:
        flux = flux + look.field_objects(recipe.width, recipe.pixel_scale, rng)
    return look.develop(look.expose(flux, recipe.pixel_scale, rng), recipe.pixel_scale)


def _check_recipe(recipe: CutoutRecipe) -> None:
    if tuple(recipe.bands) != SDSS_RECIPE.bands:
        raise ValueError(f"recipe must show the bands i, r, g, got {', '.join(recipe.bands)}")
