"""The recipe of a cutout: everything that decides what its pixels mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hifrac import images

if TYPE_CHECKING:
    import numpy as np
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
        The filters shown as red, green and blue.
    pixel_scale : float
        Arcseconds per pixel; positive.
    width : int
        Side of the square picture in pixels; positive.

    Raises
    ------
    TypeError
        If ``pixel_scale`` is no number or ``width`` is no integer.
    ValueError
        If ``bands`` has not three entries, or ``pixel_scale`` or ``width`` is
        not positive.

    Examples
    --------
    >>> from hifrac.cutouts import CutoutRecipe
    >>> recipe = CutoutRecipe(survey="sdss", data_release="DR16", service="getjpeg",
    ...                       bands=("i", "r", "g"), pixel_scale=0.4, width=128)
    >>> print(recipe)
    sdss DR16 getjpeg (i, r, g), 128 x 128 px at 0.4 arcsec/px
    """

    survey: str
    data_release: str
    service: str
    bands: tuple[str, str, str]
    pixel_scale: float
    width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        if len(self.bands) != 3:
            raise ValueError(f"bands must name three filters (red, green, blue), got {self.bands}")
        if isinstance(self.width, bool) or not isinstance(self.width, int):
            raise TypeError(f"width must be an integer, got {self.width!r}")
        if self.width <= 0:
            raise ValueError(f"width must be positive, got {self.width}")
        if isinstance(self.pixel_scale, bool) or not isinstance(self.pixel_scale, int | float):
            raise TypeError(f"pixel_scale must be a number in arcsec, got {self.pixel_scale!r}")
        if not 0 < self.pixel_scale < float("inf"):
            raise ValueError(f"pixel_scale must be positive and finite, got {self.pixel_scale}")
        # 1 and 1.0 are one recipe, in a model card and in the name of a store as well.
        object.__setattr__(self, "pixel_scale", float(self.pixel_scale))

    @property
    def field_of_view(self) -> float:
        """Side of the picture on the sky, in arcsec."""
        return self.pixel_scale * self.width

    def step(self, pixel_scale: float | None) -> float | None:
        """Return the pixels of another scale (arcsec) that a pixel of this recipe has along an axis.

        None if the scale is unknown, or this recipe's to a part in ten thousand.
        """
        if pixel_scale is None or abs(pixel_scale / self.pixel_scale - 1) < 1e-4:
            return None
        return self.pixel_scale / pixel_scale

    def decode(self, data: bytes, pixel_scale: float | None = None) -> np.ndarray:
        """Decode a picture into pixels, as all pictures of this recipe have them.

        Parameters
        ----------
        data : bytes
            A complete JPEG, PNG or FITS file. Fluxes of a FITS file go through the stretch of the
            survey (`hifrac.images.STRETCHES`), and what was not compressed as the survey's own pictures are
            (``hifrac.images.JPEG_QUALITY``) is so now.
        pixel_scale : float, optional
            Arcsec per pixel of the picture, where it is not that of the recipe: its middle is resampled.

        Returns
        -------
        pixels : `~numpy.ndarray` of uint8, shape (width, width, 3)
            Red, green and blue; the first row is the top of the picture.

        Raises
        ------
        TypeError, ~hifrac.core.BadImageError, ~hifrac.core.OutOfFootprintError
            As of `hifrac.images.decode`.
        """
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

        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.cunit = "deg", "deg"
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = ra, dec
        # FITS counts pixels from 1: the centre of the picture lies between two pixels of an even width.
        wcs.wcs.crpix = (self.width + 1) / 2, (self.width + 1) / 2
        wcs.wcs.cdelt = -self.pixel_scale / 3600, -self.pixel_scale / 3600
        wcs.array_shape = self.width, self.width
        wcs.wcs.set()
        return wcs

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain types, as it stands in a model card."""
        return {**asdict(self), "bands": list(self.bands)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> CutoutRecipe:
        """Make the recipe that `to_dict` wrote; an unknown or missing key is a TypeError."""
        return cls(**facts)

    def __str__(self) -> str:
        return (
            f"{self.survey} {self.data_release} {self.service} ({', '.join(self.bands)}), "
            f"{self.width} x {self.width} px at {self.pixel_scale:g} arcsec/px"
        )


#: SDSS SkyServer's colour pictures as the default model reads them.
SDSS_RECIPE = CutoutRecipe(
    survey="sdss", data_release="DR16", service="getjpeg", bands=("i", "r", "g"), pixel_scale=0.4, width=128
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

#: SDSS as the CDS serves it, with the frame of `SDSS_RECIPE`.
HIPS_RECIPE = CutoutRecipe(
    survey="CDS/P/SDSS9/color",
    data_release="DR9",
    service="hips2fits",
    bands=("i", "r", "g"),
    pixel_scale=0.4,
    width=128,
)
