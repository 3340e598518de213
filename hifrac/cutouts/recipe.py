"""The recipe of a cutout: everything that decides what its pixels mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac import images
from hifrac.core.exceptions import BadImageError
from hifrac.cutouts._cubes import decode_fluxes
from hifrac.cutouts._scales import check_scale_column, checked_scale, plain_scale, scale_text

if TYPE_CHECKING:
    from astropy.wcs import WCS


@dataclass(frozen=True, kw_only=True)
class CutoutRecipe:
    """How a picture was made; a model is only ever fed pixels of its own recipe.

    Parameters
    ----------
    survey : str
        Imaging survey, e.g. ``"sdss"``.
    data_release : str
        Data release of the survey, e.g. ``"DR16"``.
    service : str
        The service whose colour stretch the pixels carry, e.g. ``"getjpeg"``.
    bands : tuple of str
        The filters shown as red, green and blue. More than three are not shown: pixels are then the fluxes
        of each, in this order.
    width : int
        Side of the square picture in pixels; positive.
    pixel_scale : float, optional
        Arcseconds per pixel; positive. None if each picture has its own, by ``scale_column``.
    scale_column : str, optional
        The column of a table that gives each row's scale, an angle in arcsec, such as ``"petroR90_r"``.
    scale_divisor : float, optional
        The pixels that this angle takes in every picture; positive.

    Raises
    ------
    TypeError
        If ``pixel_scale`` or ``scale_divisor`` is no number, ``scale_column`` no text or ``width`` no
        integer.
    ValueError
        If ``bands`` has less than three entries, or more with one twice,
        ``scale_column`` is empty, ``pixel_scale``, ``scale_divisor`` or
        ``width`` is not positive; or if both ``pixel_scale`` and ``scale_column`` are given, or neither.

    Examples
    --------
    >>> from hifrac.cutouts import CutoutRecipe
    >>> recipe = CutoutRecipe(survey="sdss", data_release="DR16", service="getjpeg",
    ...                       bands=("i", "r", "g"), pixel_scale=0.4, width=128)
    >>> print(recipe)
    sdss DR16 getjpeg (i, r, g), 128 x 128 px at 0.4 arcsec/px

    Pictures in which every galaxy has the same size, those of Wu & Boada (2019), and the one of a galaxy
    whose ``petroR90_r`` is 6 arcsec:

    >>> recipe = CutoutRecipe(survey="sdss", data_release="DR14", service="getjpeg", bands=("i", "r", "g"),
    ...                       scale_column="petroR90_r", scale_divisor=25.344, width=128)
    >>> print(recipe)
    sdss DR14 getjpeg (i, r, g), 128 x 128 px at petroR90_r / 25.344 arcsec/px
    >>> print(recipe.at(6 / 25.344))
    sdss DR14 getjpeg (i, r, g), 128 x 128 px at 0.23674 arcsec/px
    """

    survey: str
    data_release: str
    service: str
    bands: tuple[str, ...]
    width: int
    pixel_scale: float | None = None
    scale_column: str | None = None
    scale_divisor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        if len(self.bands) < 3 or (len(self.bands) > 3 and len(set(self.bands)) < len(self.bands)):
            raise ValueError(
                f"bands must name three filters (red, green, blue), or more different ones, got {self.bands}"
            )
        if isinstance(self.width, bool) or not isinstance(self.width, int):
            raise TypeError(f"width must be an integer, got {self.width!r}")
        if self.width <= 0:
            raise ValueError(f"width must be positive, got {self.width}")
        if (self.pixel_scale is None) == (self.scale_column is None):
            raise ValueError(
                f"pixel_scale or scale_column must be given, and not both, got {self.pixel_scale!r} "
                f"and {self.scale_column!r}"
            )
        if self.pixel_scale is not None:
            # 1 and 1.0 are one recipe, in a model card and in the name of a store as well.
            object.__setattr__(self, "pixel_scale", plain_scale(self.pixel_scale))
        object.__setattr__(self, "scale_divisor", check_scale_column(self.scale_column, self.scale_divisor))

    def at(self, pixel_scale: float | None) -> CutoutRecipe:
        """Return the recipe of one picture, where each has a scale of its own.

        Parameters
        ----------
        pixel_scale : float or None
            Arcsec per pixel of the row: the value of ``scale_column``, in arcsec, over ``scale_divisor``. It
            is rounded to 1e-5 arcsec, as it is asked for and stored. None if it is not known.

        Returns
        -------
        recipe : CutoutRecipe
            With this ``pixel_scale``, and without ``scale_column``; the same recipe for None.

        Raises
        ------
        ~hifrac.core.BadScaleError
            If the scale is not finite, or not 0.02 to 5 arcsec (``petroR90_r`` of 0.5 to 127 arcsec for
            pictures of Wu & Boada 2019): no galaxy needs others.
        ValueError
            If the recipe has one scale for all pictures.
        """
        if pixel_scale is None:
            return self
        if self.scale_column is None:
            raise ValueError(f"pixel_scale must be None: all pictures are {self}")
        scale = checked_scale(pixel_scale, self.scale_column, self.scale_divisor)
        return replace(self, pixel_scale=scale, scale_column=None, scale_divisor=1.0)

    @property
    def is_picture(self) -> bool:
        """Whether pixels are made for display, of three bands; else they are fluxes."""
        return len(self.bands) == 3

    def empty(self, n: int) -> np.ndarray:
        """Return room for the pixels of n pictures, as `decode` makes them: (n, width, width, n_bands)."""
        dtype = np.uint8 if self.is_picture else np.float32
        return np.empty((n, self.width, self.width, len(self.bands)), dtype=dtype)

    @property
    def fixed_scale(self) -> float:
        """Arcsec per pixel; a ValueError if that is different from row to row, see `at`."""
        if self.pixel_scale is None:
            raise ValueError(f"recipe must have one pixel_scale, got {self}")
        return self.pixel_scale

    @property
    def field_of_view(self) -> float:
        """Side of the picture on the sky, in arcsec; a ValueError if that is different from row to row."""
        return self.fixed_scale * self.width

    def step(self, pixel_scale: float | None) -> float | None:
        """Return the pixels of another scale (arcsec) that a pixel of this recipe has along an axis.

        None if the scale is unknown, or this recipe's to a part in ten thousand.
        """
        if pixel_scale is None or abs(pixel_scale / self.fixed_scale - 1) < 1e-4:
            return None
        return self.fixed_scale / pixel_scale

    def decode(self, data: bytes, pixel_scale: float | None = None) -> np.ndarray:
        """Decode a picture into pixels, as all pictures of this recipe have them.

        Parameters
        ----------
        data : bytes
            A complete JPEG, PNG or FITS file. Fluxes of a FITS file go through the stretch of the
            survey (`hifrac.images.STRETCHES`), and what was not compressed as the survey's own pictures are
            (``hifrac.images.JPEG_QUALITY``) is so now.
        pixel_scale : float, optional
            Arcsec per pixel of the picture, where it is not that of the recipe: its middle is resampled. A
            recipe with a scale for each row must be that of a row then, see `at`.

        Returns
        -------
        pixels : `~numpy.ndarray` of uint8, shape (width, width, 3)
            Red, green and blue; the first row is the top of the picture. With more bands than three: fluxes,
            float32, in their order, 0 where a pixel has no value.

        Raises
        ------
        TypeError, ~hifrac.core.BadImageError, ~hifrac.core.OutOfFootprintError
            As of `hifrac.images.decode`.
        """
        if not self.is_picture:
            if self.step(pixel_scale) is not None:
                raise BadImageError(
                    "fluxes of more than three bands are not resampled to another pixel scale"
                )
            return decode_fluxes(data, self.bands, self.width)
        return images.decode(
            data,
            width=self.width,
            stretch=images.STRETCHES.get(self.survey),
            quality=images.JPEG_QUALITY.get(self.survey),
            step=self.step(pixel_scale),
        )

    def wcs(self, ra: float, dec: float) -> WCS:
        """Return world coordinates of a picture of this recipe: north up, east to the left.

        Parameters
        ----------
        ra, dec : float
            ICRS degrees of the centre of the picture.

        Returns
        -------
        wcs : `~astropy.wcs.WCS`
            Gnomonic (TAN). Its pixel (0, 0) is the centre of the *first* pixel of the
            *top* row, as pictures are held in memory: declination falls with
            the row.
        """
        from astropy.wcs import WCS

        wcs = WCS(naxis=2, fix=False)  # else Astropy changes the filters of warnings of all threads
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.cunit = "deg", "deg"
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = ra, dec
        # FITS counts pixels from 1: the centre of the picture lies between two pixels of an even width.
        wcs.wcs.crpix = (self.width + 1) / 2, (self.width + 1) / 2
        wcs.wcs.cdelt = -self.fixed_scale / 3600, -self.fixed_scale / 3600
        wcs.array_shape = self.width, self.width
        wcs.wcs.set()
        return wcs

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain types, as it stands in a model card."""
        facts = {**asdict(self), "bands": list(self.bands)}
        # What has one scale is written as it was before there was any other.
        other = ("scale_column", "scale_divisor") if self.scale_column is None else ("pixel_scale",)
        return {name: value for name, value in facts.items() if name not in other}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> CutoutRecipe:
        """Make the recipe that `to_dict` wrote; an unknown or missing key is a TypeError."""
        return cls(**facts)

    def __str__(self) -> str:
        return (
            f"{self.survey} {self.data_release} {self.service} ({', '.join(self.bands)}), "
            f"{self.width} x {self.width} px at {scale_text(self)} arcsec/px"
        )


#: SDSS SkyServer's colour pictures as the default model reads them.
SDSS_RECIPE = CutoutRecipe(
    survey="sdss", data_release="DR16", service="getjpeg", bands=("i", "r", "g"), pixel_scale=0.4, width=128
)

#: The pictures of Wu & Boada (2019): each galaxy fills the same part of its own. The scale in the code that
#: fetched them is 2 petroR90_r / 0.396 / 128.
WU_BOADA_RECIPE = replace(
    SDSS_RECIPE, data_release="DR14", pixel_scale=None, scale_column="petroR90_r", scale_divisor=25.344
)

#: The Legacy Surveys' colour pictures at the scale of their images. DR9 is the last release with g, r and z
#: over both galactic caps; the width is that which Wu (2020) gave his network.
LEGACY_RECIPE = CutoutRecipe(
    survey="legacy",
    data_release="DR9",
    service="viewer-jpg",
    bands=("z", "r", "g"),
    pixel_scale=0.262,
    width=224,
)

#: Three bands of the Pan-STARRS1 stacks, one arcminute wide as on the survey's own page.
PANSTARRS_RECIPE = CutoutRecipe(
    survey="panstarrs",
    data_release="DR2",
    service="fitscut",
    bands=("i", "r", "g"),
    pixel_scale=0.25,
    width=240,
)

#: The fluxes that Wu & Peek (2020) predicted spectra from. The planes of their files stand in another order:
#: see ``hifrac.cutouts.fluxes``.
WU_PEEK_RECIPE = replace(PANSTARRS_RECIPE, bands=("g", "r", "i", "z", "y"), width=224)

#: SDSS as the CDS serves it, with the frame of `SDSS_RECIPE`.
HIPS_RECIPE = replace(SDSS_RECIPE, survey="CDS/P/SDSS9/color", data_release="DR9", service="hips2fits")
