"""Cutouts of the Pan-STARRS1 stacks, from the image server of MAST."""

from __future__ import annotations

import math

import numpy as np

from hifrac.core.exceptions import BadImageError, OutOfFootprintError
from hifrac.cutouts._answers import Answer
from hifrac.cutouts._cubes import compose, read_image
from hifrac.cutouts._scales import scale_text
from hifrac.cutouts._store import BlankError
from hifrac.cutouts.recipe import PANSTARRS_RECIPE, CutoutRecipe
from hifrac.cutouts.remote import Get, RemoteCutouts

_SCALE = 0.25
_LARGEST = 6000  # about a skycell

#: Nanomaggies of one count per second: the stacks' zero point is 25 mag (AB) for one second.
_NANOMAGGIES = 10 ** (0.4 * (22.5 - 25.0))

#: Of the asinh scale of full stacks: x = a asinh((flux - BOFFSET) / (2 BSOFTEN)), a = 2.5 log10(e).
_POGSON = 2.5 / math.log(10.0)

_GRID = "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"


class PanSTARRSCutouts(RemoteCutouts):
    """Pictures of three bands of the Pan-STARRS1 stacks, or fluxes of more, through the local store.

    Parameters
    ----------
    recipe : `CutoutRecipe`, optional
        What is asked for; survey and service must be ``"panstarrs"`` and
        ``"fitscut"``, the bands three or more of g, r, i, z, y. By default DR2 in i, r, g
        with 240 pixels of 0.25 arcsec, which is one arcminute.
    base_url : str, optional
        Address of the folder that has ``ps1filenames.py`` and ``fitscut.cgi``
        in it. By default ``conf.panstarrs_url``.
    store, offline, retry_permanent : bool, optional
        See `RemoteCutouts`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If ``recipe`` is not one that the service can give: the stacks have pixels of 0.25 arcsec, and sides
        of at most 6000 of them. Or if ``base_url`` is not one of http or https.

    Notes
    -----
    A cutout of three bands takes four requests: the names of the files at the position
    (``ps1filenames.py``), then a FITS cutout of each band (``fitscut.cgi``); each of them counts for the
    limit of the rate. The service states no limit of its own
    (https://outerspace.stsci.edu/display/PANSTARRS/PS1+Image+Cutout+Service).

    Counts become nanomaggies by the stacks' zero point, 25 + 2.5 log10(EXPTIME) mag
    (AB; https://outerspace.stsci.edu/plugins/viewsource/viewpagesrc.action?pageId=10258063). Cutouts are
    linear; a file that is scaled by asinh all the same (keywords BOFFSET, BSOFTEN) is made linear
    (https://outerspace.stsci.edu/pages/viewpage.action?pageId=120559173). What is stored is *one* FITS file
    of all planes, composed here: with the world coordinates that they share, and the address and
    sha256 of each answer in its HISTORY.

    Pan-STARRS1 covers declinations north of -30 deg: elsewhere the list of files is
    empty, and the position is outside the footprint, as it is where a band has no pixel.
    Single pixels that a stack lacks are NaN, and dark in that band. The survey publishes no fixed
    stretch of its colour pictures: that of SDSS is taken over, by the ratio of the pixels' areas. Other
    bands than i, r, g get the display colours of these.

    Examples
    --------
    >>> from hifrac.cutouts import PanSTARRSCutouts
    >>> for url, params in PanSTARRSCutouts().payload(184.957, 5.1215):
    ...     print(url.rpartition("/")[2], params.get("filters"), params.get("red"))
    ps1filenames.py gri None
    fitscut.cgi None <file of i>
    fitscut.cgi None <file of r>
    fitscut.cgi None <file of g>
    """

    title = "Pan-STARRS1 fitscut"
    default_recipe = PANSTARRS_RECIPE
    url_item = "panstarrs_url"
    gives_fluxes = True

    def _check(self, recipe: CutoutRecipe) -> None:
        if (recipe.survey, recipe.service) != ("panstarrs", "fitscut"):
            raise ValueError(f"recipe must be of panstarrs fitscut, got {recipe.survey} {recipe.service}")
        if recipe.pixel_scale != _SCALE:
            raise ValueError(f"recipe must have a pixel_scale of {_SCALE}, got {scale_text(recipe)}")
        if recipe.width > _LARGEST:
            raise ValueError(f"recipe must have a width of at most {_LARGEST}, got {recipe.width}")
        if len(set(recipe.bands)) < 3 or not set(recipe.bands) <= set("grizy"):
            raise ValueError(f"recipe must have three bands or more of g, r, i, z, y, got {recipe.bands}")

    def _requests(self, recipe: CutoutRecipe, ra: str, dec: str) -> list[tuple[str, dict[str, str]]]:
        # The names of the files come with the answer to the first request.
        bands = recipe.bands
        return [self._list_request(ra, dec), *(self._cut_request(ra, dec, f"<file of {b}>") for b in bands)]

    def _list_request(self, ra: str, dec: str) -> tuple[str, dict[str, str]]:
        filters = "".join(band for band in "grizy" if band in self._recipe.bands)
        return f"{self.url.rstrip('/')}/ps1filenames.py", {
            "ra": ra,
            "dec": dec,
            "filters": filters,
            "type": "stack",
        }

    def _cut_request(self, ra: str, dec: str, file: str) -> tuple[str, dict[str, str]]:
        return f"{self.url.rstrip('/')}/fitscut.cgi", {
            "red": file,
            "ra": ra,
            "dec": dec,
            "size": str(self._recipe.width),
            "format": "fits",
        }

    def _obtain(self, get: Get, recipe: CutoutRecipe, ra: str, dec: str) -> tuple[bytes, np.ndarray]:
        files = get(*self._list_request(ra, dec), self._files)
        cutouts = [get(*self._cut_request(ra, dec, files[band]), self._plane) for band in recipe.bands]
        planes, headers, answers = zip(*cutouts, strict=True)
        grids = [[float(header.get(key, np.nan)) for key in _GRID] for header in headers]
        if not np.allclose(grids, grids[0], rtol=0, atol=1e-3):
            raise BadImageError(f"the cutouts of the bands are not on one grid of pixels ({answers[0].url})")
        data = compose(planes, headers[0], recipe.bands, answers)
        return data, self._decode(data, answers[0])

    def _files(self, answer: Answer) -> dict[str, str]:
        """Return the file of each band, all of one skycell."""
        if answer.status != 200:
            raise self._refusal(answer)
        lines = [
            line.split()
            for line in answer.body.decode("utf-8", errors="replace").splitlines()
            if line.strip()
        ]
        if not lines or not {"filter", "filename", "projcell", "subcell"} <= set(lines[0]):
            raise BadImageError(f"not a list of files ({answer.url})")
        rows = [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            if len(row) == len(lines[0]) and row["filename"].startswith("/"):
                cells.setdefault((row["projcell"], row["subcell"]), {})[row["filter"]] = row["filename"]
        # It lists the skycell that the position is in; should it ever list more, its order is kept.
        for files in cells.values():
            if set(self._recipe.bands) <= set(files):
                return files
        there = set().union(*cells.values())
        lacking = [band for band in self._recipe.bands if band not in there]
        which = f"no stack in {', '.join(lacking)}" if lacking else "no stack of all bands in one skycell"
        raise OutOfFootprintError(f"Pan-STARRS1 has {which} there ({answer.url})")

    def _plane(self, answer: Answer) -> tuple[np.ndarray, object, Answer]:
        """Return a band in nanomaggies per pixel, with its header."""
        if answer.status != 200:
            raise self._refusal(answer)
        plane, header = read_image(answer)
        width = self._recipe.width
        if plane.shape != (width, width):
            raise BadImageError(
                f"the picture has the shape {plane.shape} instead of {width} x {width} ({answer.url})"
            )
        if not np.isfinite(plane).any():
            raise BlankError(f"every pixel is NaN: the stack has no image there ({answer.url})")
        if "BSOFTEN" in header and "BOFFSET" in header:
            plane = header["BOFFSET"] + 2 * header["BSOFTEN"] * np.sinh(plane.astype(np.float64) / _POGSON)
        try:
            seconds = float(header["EXPTIME"])
        except (KeyError, TypeError, ValueError):
            seconds = np.nan
        if not 0 < seconds < np.inf:
            raise BadImageError(f"FITS without a positive EXPTIME, which the zero point needs ({answer.url})")
        return plane * (_NANOMAGGIES / seconds), header, answer
